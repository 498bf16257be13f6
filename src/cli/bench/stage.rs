//! What a run needs on the disk, in a temporary folder that goes with it: identities, the channel's block, the sample.

use super::{
    Data,
    child::{Program, Usage},
};
use crate::cli::exit::{Exit, Failure};
use snapferry::{
    disk::{Access, Dir, OsDir},
    service::{
        builtin::{self, BuiltinFile},
        units::format_bytes,
    },
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const CONFIG_BLOCK: &str = "config_block.pb";
const ADMIN: &str = "org3-admin";
const TOUCHED: &str = "touched";
/// Sample and landing, and room for metadata; a peer's databases take about as much again.
const SIZES_NEEDED: u64 = 2;
const MARGIN_BYTES: u64 = 256 << 20;

/// A peer of the built-in network.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) msp_id: &'static str,
    folder: PathBuf,
}

/// The snapshot that is transferred.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) folder: PathBuf,
    /// Bytes of its data files.
    pub(super) bytes: u64,
    /// What writing it cost.
    pub(super) usage: Usage,
}

/// The temporary folder. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Stage {
    dir: TempDir,
    sources: Vec<Peer>,
    joiner: Peer,
    raw: Peer,
}

impl Stage {
    /// Lays out identities below `parent` for so many sources; fails if the disk is too small for a sample of `size`.
    pub(super) fn new(parent: &Path, sources: usize, size: u64, loads: bool) -> Result<Self, Failure> {
        let free = OsDir::open(parent)?.free_space()?;
        let needed = size.saturating_mul(SIZES_NEEDED + u64::from(loads)).saturating_add(MARGIN_BYTES);
        if free < needed {
            let place = parent.display();
            let what = format!("{place} has {} free, {} are needed", format_bytes(free), format_bytes(needed));
            return Err(Failure::new(Exit::Failed, what).next("choose another disk with --dir, or a smaller --size"));
        }
        let dir = tempfile::Builder::new().prefix("snapferry-bench-").tempdir_in(parent)?;
        let root = OsDir::open(dir.path())?;
        put(&*root, CONFIG_BLOCK, builtin::CONFIG_BLOCK)?;
        let [org1, org2, org3] = builtin::PEERS;
        write_files(&*root, ADMIN, builtin::ADMIN_OF_ORG3.1)?;
        let mut peers = Vec::new();
        for (name, (msp_id, files)) in
            [("org1", org1), ("org2", org2), ("org1-peer1", builtin::PEER1_OF_ORG1), ("org3", org3)]
        {
            write_files(&*root, name, files)?;
            peers.push(Peer { msp_id, folder: dir.path().join(name) });
        }
        // Two organisations have three identities; one more connection to the second is as good as a fourth.
        let order = [0, 1, 2, 1];
        let at = |index: usize| peers.get(index).cloned().expect("four were laid out");
        let chosen = order.into_iter().take(sources).map(at).collect();
        Ok(Self { sources: chosen, joiner: at(3), raw: at(0), dir })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The sources, the first of another organisation than the second.
    pub(super) fn sources(&self) -> &[Peer] {
        &self.sources
    }

    /// Who joins: of an organisation that is no source.
    pub(super) const fn joiner(&self) -> &Peer {
        &self.joiner
    }

    /// The flags of who joins: an admin, who needs no grant, with the TLS pair of the machine.
    pub(super) fn joiner_flags(&self) -> Vec<String> {
        let mut flags = ["--msp-id", self.joiner.msp_id, "--msp-config-path"].map(str::to_owned).to_vec();
        flags.push(self.path().join(ADMIN).join("msp").display().to_string());
        flags.extend(self.joiner.tls_flags());
        flags
    }

    /// Who sends raw bytes.
    pub(super) const fn raw(&self) -> &Peer {
        &self.raw
    }

    pub(super) fn config_block(&self) -> PathBuf {
        self.dir.path().join(CONFIG_BLOCK)
    }

    /// The peers' `ledger.snapshots.rootDir`: one for all, they hold the same.
    pub(super) fn snapshots_root(&self) -> PathBuf {
        self.dir.path().join("snapshots")
    }

    /// A state folder of source number `index`.
    pub(super) fn state(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("state-{index}"))
    }

    /// Writes the sample, by a child, where a peer would.
    pub(super) async fn write_sample(&self, program: &Program, size: u64, data: Data) -> Result<Sample, Failure> {
        let made = self.snapshots_root().join("sample");
        let mut args = ["-O", "json", "sample"].map(str::to_owned).to_vec();
        args.extend([made.display().to_string(), "--size".to_owned(), size.to_string()]);
        if data == Data::Random {
            args.push("--incompressible".to_owned());
        }
        let (usage, output) = program.start("sample", &args)?.finish().await?;
        let result = output.last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let number =
            |field: &str| result.as_ref().and_then(|result| result.get(field)).and_then(|value| value.as_u64());
        let (Some(block), Some(bytes)) = (number("block_number"), number("bytes")) else {
            return Err(Failure::new(Exit::Failed, "sample: no result"));
        };
        // A peer's folder has the block's number as its name.
        let root = OsDir::open(&self.snapshots_root())?;
        root.create_dir("completed")?;
        let completed = root.open_dir("completed")?;
        completed.create_dir(builtin::CHANNEL)?;
        let channel = completed.open_dir(builtin::CHANNEL)?;
        root.rename("sample", &*channel, &block.to_string())?;
        Ok(Sample { folder: channel.path().join(block.to_string()), bytes, usage })
    }

    /// Removes what a join landed.
    pub(super) fn clear(&self, name: &str) -> Result<(), Failure> {
        Ok(OsDir::open(self.path())?.remove_dir_all(name)?)
    }
}

impl Peer {
    /// The flags that make it our identity.
    pub(super) fn identity_flags(&self) -> Vec<String> {
        let mut flags = ["--msp-id", self.msp_id, "--msp-config-path"].map(str::to_owned).to_vec();
        flags.push(self.folder.join("msp").display().to_string());
        flags.extend(self.tls_flags());
        flags
    }

    /// The flags that name its TLS pair.
    pub(super) fn tls_flags(&self) -> [String; 4] {
        let tls = |file: &str| self.folder.join("tls").join(file).display().to_string();
        ["--tls-cert".to_owned(), tls("server.crt"), "--tls-key".to_owned(), tls("server.key")]
    }
}

/// Has the kernel hold as much free memory for files as a landing takes: what a virtual machine touches for the first time its
/// host must find first, which was measured at up to 2.5 s of system time per GB, ten times the rest of a write.
/// Takes a path and no [`Stage`]: an interrupted run must not wait for it to be removed.
pub(super) fn touch_memory(dir: &Path, bytes: u64) -> Result<(), Failure> {
    let root = OsDir::open(dir)?;
    let file = root.open_file(TOUCHED, Access::CreateNew)?;
    let block = vec![0x5a; 1 << 20];
    for offset in (0..bytes).step_by(block.len()) {
        file.write_all_at(&block, offset)?;
    }
    Ok(root.remove_file(TOUCHED)?)
}

fn write_files(root: &dyn Dir, name: &str, files: &[BuiltinFile]) -> Result<(), Failure> {
    root.create_dir(name)?;
    let home = root.open_dir(name)?;
    for (path, bytes) in files {
        let mut parts: Vec<&str> = path.split('/').collect();
        let Some(file) = parts.pop() else { continue };
        let mut dir = std::sync::Arc::clone(&home);
        for part in parts {
            dir.create_dir(part)?;
            dir = dir.open_dir(part)?;
        }
        put(&*dir, file, bytes)?;
    }
    Ok(())
}

fn put(dir: &dyn Dir, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    Ok(dir.open_file(name, Access::CreateNew)?.write_all_at(bytes, 0)?)
}
