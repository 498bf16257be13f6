//! A peer's snapshots folder with recorded snapshots, our state folder, and who signs: for the tests of what signs and deletes.
#![expect(clippy::disallowed_methods, reason = "tests lay out their files")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

use super::{Attestor, Catalog, Landed, StatementStore};
use crate::{
    disk::{Dir, OsDir},
    msp::{LocalIdentity, MspId},
    snapshot::{BlockNumber, SnapshotId},
};

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

pub(super) struct Site {
    dir: TempDir,
}

impl Site {
    /// With the recorded snapshot 83 in place.
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["completed/mychannel", "manifests", "repairs", "statements", "landed"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let site = Self { dir };
        site.add(83, 83);
        site
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a recorded snapshot into the place of `block`.
    pub(super) fn add(&self, recorded: u64, block: u64) {
        copy(&Path::new(NETWORK).join(format!("snapshots/org1/{recorded}")), &self.folder(block));
    }

    pub(super) fn folder(&self, block: u64) -> PathBuf {
        self.path(&format!("completed/mychannel/{block}"))
    }

    /// Flips a bit of a byte, unseen by whoever looks at names, sizes and times; done twice, it is as before.
    pub(super) fn rot(&self, block: u64, file: &str, at: usize) {
        let path = self.folder(block).join(file);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        // In place: the service's open file sees it.
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }

    pub(super) fn open(&self, name: &str) -> Arc<dyn Dir> {
        OsDir::open(&self.path(name)).unwrap()
    }

    /// A freshly started catalog that may delete, after its first scan.
    pub(super) fn catalog(&self) -> Catalog {
        let catalog = Catalog::open(self.open("completed"), self.open("manifests"), now()).with_deletion(true);
        catalog.scan().unwrap();
        catalog
    }

    pub(super) fn statements(&self) -> Arc<StatementStore> {
        Arc::new(StatementStore::open(self.open("statements")))
    }

    pub(super) fn landed(&self) -> Arc<Landed> {
        Arc::new(Landed::open(self.open("landed")))
    }

    /// A freshly started attestor of Org1.
    pub(super) fn attestor(&self) -> Attestor {
        Attestor::new(identity(1), self.statements(), self.landed())
    }

    /// Makes another valid snapshot of the block: the same data, told of another previous block.
    pub(super) fn change_content(&self, block: u64) {
        let folder = self.folder(block);
        let signable = folder.join("_snapshot_signable_metadata.json");
        let text = fs::read_to_string(&signable).unwrap();
        let at = text.find("\"previous_block_hash\": \"").unwrap() + 24;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        let changed = format!("{}{digit}{}", &text[..at], &text[at + 1..]);
        let additional = folder.join("_snapshot_additional_metadata.json");
        let hash = |text: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text));
        let rehashed = fs::read_to_string(&additional).unwrap().replace(&hash(&text), &hash(&changed));
        fs::write(signable, changed).unwrap();
        fs::write(additional, rehashed).unwrap();
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(super) fn id(block: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) }
}

pub(super) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The first peer of an organisation.
pub(super) fn identity(org: u8) -> Arc<LocalIdentity> {
    let folder = format!("crypto/peerOrganizations/org{org}.example.com/peers/peer0.org{org}.example.com/msp");
    let msp_id = MspId::new(&format!("Org{org}MSP")).unwrap();
    Arc::new(LocalIdentity::load(&msp_id, &Path::new(NETWORK).join(folder)).unwrap())
}
