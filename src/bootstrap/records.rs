//! What a joining peer keeps in its state folder: what it landed, what others attested, receipts and evidence.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::{
    catalog::{
        Attestation, BANS_DIR, Ban, Bans, EVIDENCE_BYTES_MAX, Equivocation, FOREIGN_PER_BLOCK_MAX, LANDED_DIR, Landed,
        LandedError, RECEIPT_BYTES_MAX, STATEMENTS_DIR, Screening, StatementStore, Statements,
    },
    disk::{Dir, DiskError, read_small, write_durably},
    msp::{IdentityId, MspId},
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotHash, SnapshotId},
};

/// Folder of join receipts, in the state folder.
const RECEIPTS_DIR: &str = "receipts";
/// Folder of evidence against organisations that contradict themselves.
const EVIDENCE_DIR: &str = "evidence";

/// Proofs that are kept against one organisation about one block: one is enough, its peers may each give another.
const EVIDENCE_PER_BLOCK_MAX: usize = 4;
/// What follows channel and block in a proof's name: two digests of 16 digits, a dash, and the ending.
const EVIDENCE_NAME_REST: usize = 16 + 1 + 16 + ".json".len();
/// Proofs about one block that a join reads: more organisations would have to contradict themselves than any channel has.
const PROOFS_READ_MAX: usize = 256;
/// Attestations of one block that are kept of one source: its own, and what a service keeps of others. An answer may hold 256.
const SAID_BY_SOURCE_MAX: usize = 1 + FOREIGN_PER_BLOCK_MAX;
/// Blocks of which one join keeps attestations: it has asked about more only if somebody invented them.
const BLOCKS_KEPT_MAX: usize = 16;

/// Why a proof isn't kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum EvidenceNotKept {
    /// There are enough.
    #[error("{EVIDENCE_PER_BLOCK_MAX} other proofs against {org} about {id} are kept, and that is enough")]
    Enough {
        /// Against whom.
        org: MspId,
        /// About what.
        id: SnapshotId,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The state folder as joins use it. Clones share it.
#[derive(Debug, Clone)]
pub struct Records {
    landed: Arc<Landed>,
    statements: Arc<StatementStore>,
    receipts: Arc<dyn Dir>,
    evidence: Arc<dyn Dir>,
    bans: Bans,
}

fn receipt_prefix(id: &SnapshotId, hash: SnapshotHash) -> String {
    let hash: String = hash.to_string().chars().take(16).collect();
    format!("{}-{}-{hash}-", id.channel.stem(), id.block_number)
}

impl Records {
    /// Opens the folders below the state folder; makes what is missing.
    ///
    /// # Errors
    /// The disk.
    pub fn open(state: &dyn Dir) -> Result<Self, DiskError> {
        let folder = |name| {
            state.create_dir(name)?;
            state.sync_dir()?;
            state.open_dir(name)
        };
        Ok(Self {
            landed: Arc::new(Landed::open(folder(LANDED_DIR)?)),
            statements: Arc::new(StatementStore::open(folder(STATEMENTS_DIR)?)),
            receipts: folder(RECEIPTS_DIR)?,
            evidence: folder(EVIDENCE_DIR)?,
            bans: Bans::open(folder(BANS_DIR)?),
        })
    }

    /// Who isn't asked, as it lied within the last day.
    ///
    /// # Errors
    /// The disk.
    pub fn bans(&self, now: SystemTime) -> Result<Vec<Ban>, DiskError> {
        self.bans.in_force(now)
    }

    /// Keeps a ban, durably. That it can't be kept stops no join: the log says so.
    pub(super) fn ban(&self, ban: &Ban) {
        if let Err(error) = self.bans.record(ban, ban.since) {
            tracing::warn!(org = %ban.msp_id, identity = %ban.identity_id, %error, "a ban isn't kept: the next join finds out anew");
        }
    }

    /// Lifts a ban; whether there was one.
    ///
    /// # Errors
    /// The disk.
    pub fn unban(&self, identity_id: &IdentityId) -> Result<bool, DiskError> {
        self.bans.lift(identity_id)
    }

    /// The highest block that this peer ever had of the channel: the floor of what it takes.
    ///
    /// # Errors
    /// The disk: not knowing isn't the same as none.
    pub fn highest_had(&self, channel: &ChannelId) -> Result<Option<BlockNumber>, LandedError> {
        self.landed.highest(channel)
    }

    /// [`Self::highest_had`] of a state folder that nothing is made in.
    ///
    /// # Errors
    /// The disk.
    pub fn landed_in(state: &dyn Dir, channel: &ChannelId) -> Result<Option<BlockNumber>, LandedError> {
        match state.open_dir(LANDED_DIR) {
            Err(error) if error.is_not_found() => Ok(None),
            landed => Landed::open(landed?).highest(channel),
        }
    }

    /// Notes, durably, that the snapshot came from others: a service with this state folder never attests it.
    pub(super) fn landed(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<(), LandedError> {
        self.landed.record(id, manifest_hash)
    }

    /// Keeps what other organisations attested, to relay it and to notice who says something else later. What can't be kept is only
    /// missing then. Blocking.
    pub(super) fn keep(&self, screening: &Screening<'_>, statements: &Statements) {
        let mut by_block: BTreeMap<&SnapshotId, BTreeMap<&str, Vec<&Attestation>>> = BTreeMap::new();
        for heard in &statements.heard {
            let of_block = by_block.entry(&heard.attestation.body().id).or_default();
            let of_source = of_block.entry(&heard.source).or_default();
            if of_source.len() < SAID_BY_SOURCE_MAX {
                of_source.push(&heard.attestation);
            }
        }
        let mut blocks: Vec<_> = by_block.into_values().collect();
        // Stable: of those that as many sources speak of, the newest ones.
        blocks.reverse();
        blocks.sort_by_key(|sources| Reverse(sources.len()));
        let said: Vec<&Attestation> =
            blocks.into_iter().take(BLOCKS_KEPT_MAX).flat_map(BTreeMap::into_values).flatten().collect();
        if let Err(error) = self.statements.keep_all(screening, &said) {
            tracing::warn!(%error, "what other organisations attested isn't kept");
        }
    }

    /// Writes a receipt, under a name that tells snapshot and time; its path.
    pub(super) fn receipt(
        &self,
        id: &SnapshotId,
        hash: SnapshotHash,
        at: SystemTime,
        file: &[u8],
    ) -> Result<PathBuf, DiskError> {
        // Two joins may end within a second; each leaves its own.
        let nanoseconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let name = format!("{}{nanoseconds}.json", receipt_prefix(id, hash));
        write_durably(&*self.receipts, &name, file)?;
        Ok(self.receipts.path().join(name))
    }

    /// The newest receipt of a snapshot, if there is one.
    pub(super) fn newest_receipt(&self, id: &SnapshotId, hash: SnapshotHash) -> Result<Option<PathBuf>, DiskError> {
        let prefix = receipt_prefix(id, hash);
        // The rest is the time alone: a channel's name may look like the beginning of another's.
        let is_time = |name: &String| {
            let rest = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".json"));
            rest.is_some_and(|rest| rest.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let newest = self.receipts.list()?.into_iter().map(|entry| entry.name).filter(is_time).max();
        Ok(newest.map(|name| self.receipts.path().join(name)))
    }

    /// A receipt's bytes, by the path that [`Self::newest_receipt`] gives.
    pub(super) fn read_receipt(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        read_small(&*self.receipts, name, RECEIPT_BYTES_MAX as u64)
    }

    /// What was proved before about that block, as far as the files can be read.
    pub(super) fn proofs(&self, id: &SnapshotId) -> Vec<Equivocation> {
        let prefix = format!("{}-{}-", id.channel.stem(), id.block_number);
        // The length: block 5 of channel "ch-83" has names that begin like those of channel "ch".
        let is_of = |name: &String| name.starts_with(&prefix) && name.len() == prefix.len() + EVIDENCE_NAME_REST;
        let names = match self.evidence.list() {
            Ok(entries) => entries.into_iter().map(|entry| entry.name).filter(is_of),
            Err(error) => {
                tracing::warn!(%error, "what was proved before against organisations isn't known");
                return Vec::new();
            }
        };
        let read = |name: String| {
            let bytes = read_small(&*self.evidence, &name, EVIDENCE_BYTES_MAX as u64);
            let proof = bytes
                .map_err(|error| error.to_string())
                .and_then(|bytes| Equivocation::decode(&bytes).map_err(|error| error.to_string()));
            if let Err(error) = &proof {
                tracing::warn!(%name, %error, "an earlier proof can't be read");
            }
            // Judged by the configuration of the moment: the block in it may be large.
            proof.ok().map(Equivocation::without_config_block)
        };
        names.take(PROOFS_READ_MAX).filter_map(read).filter(|proof| proof.id() == id).collect()
    }

    /// What other organisations attested before of that block.
    pub(super) fn said_before(&self, id: &SnapshotId, now: SystemTime) -> Vec<Attestation> {
        self.statements.foreign(id, now)
    }

    /// Writes a proof that an organisation contradicts itself; its path. The same proof has the same name.
    ///
    /// # Errors
    /// There are [`EVIDENCE_PER_BLOCK_MAX`] others against it about that block, or the disk.
    pub(super) fn evidence(&self, proof: &Equivocation) -> Result<PathBuf, EvidenceNotKept> {
        let (org, id) = (proof.msp_id(), proof.id());
        let [first, second] = proof.statements();
        let digest = Sha256::new().chain_update(first.body_bytes()).chain_update(second.body_bytes()).finalize();
        let prefix = format!("{}-{}-{}-", id.channel.stem(), id.block_number, short(&Sha256::digest(org.as_str())));
        let name = format!("{prefix}{}.json", short(&digest));
        let names = self.evidence.list()?.into_iter().map(|entry| entry.name);
        // The length: block 5 of channel "ch-83" has names that begin like those of channel "ch".
        let others = names.filter(|other| other.starts_with(&prefix) && other.len() == name.len() && *other != name);
        if others.count() >= EVIDENCE_PER_BLOCK_MAX {
            return Err(EvidenceNotKept::Enough { org: org.clone(), id: id.clone() });
        }
        write_durably(&*self.evidence, &name, &proof.encode())?;
        Ok(self.evidence.path().join(name))
    }
}

/// 16 digits tell any two apart that nobody made to collide; whoever does hides only one proof against himself behind another.
fn short(digest: &[u8]) -> String {
    hex::encode(digest).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            Heard,
            fixture::{manifest, network, now, org, peer, says, says_so, stranger},
        },
        disk::OsDir,
    };

    /// What is kept of it.
    fn kept(heard: Vec<Heard>, blocks: impl Iterator<Item = u64>) -> Vec<usize> {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
        let (config, own_msp) = (network(), org(1));
        let screening = Screening { config: &config, own_msp: &own_msp, now: now() };
        records.keep(&screening, &Statements { heard, ..Statements::default() });
        blocks.map(|block| records.statements.foreign(manifest(block, 0).id(), now()).len()).collect()
    }

    /// Defence: only members' statements are kept; removed, four self-signed ones take an organisation's places for ever.
    #[test]
    fn strangers_do_not_take_the_places_of_an_organisation() {
        let of = manifest(83, 0);
        let forever = |_| says_so(&stranger(2), &of, |body| body.expires_at = u64::MAX);
        let mut heard: Vec<Heard> = (0..4).map(forever).collect();
        heard.extend([says(&peer(2), &of), says(&peer(1), &of)]);
        assert_eq!(kept(heard, [83].into_iter()), [1], "neither the strangers' nor our own");
    }

    /// Defence: of one source's statements about a block only so many are looked at; removed, each costs the check of a chain.
    #[test]
    fn a_source_that_says_more_than_a_service_can_is_not_heard_to_the_end() {
        let of = manifest(83, 0);
        let noise = says(&stranger(2), &of);
        let from = |count: usize, source: &str| {
            let mut heard = vec![noise.clone(); count];
            heard.push(says(&peer(2), &of));
            heard.iter_mut().for_each(|heard| source.clone_into(&mut heard.source));
            heard
        };
        assert_eq!(kept(from(SAID_BY_SOURCE_MAX - 1, "one"), [83].into_iter()), [1]);
        assert_eq!(kept(from(SAID_BY_SOURCE_MAX, "one"), [83].into_iter()), [0]);
        let both = [from(SAID_BY_SOURCE_MAX, "one"), from(0, "another")].concat();
        assert_eq!(kept(both, [83].into_iter()), [1], "nobody else suffers");
    }

    /// Defence: one join keeps so many blocks, those that most sources speak of; removed, one member fills the disk with blocks.
    #[test]
    fn a_join_keeps_only_so_many_blocks() {
        let newest = 83 + BLOCKS_KEPT_MAX as u64;
        let mut heard: Vec<Heard> = (83..=newest).map(|block| says(&peer(2), &manifest(block, 0))).collect();
        let ones = |count: usize, zero: usize| -> Vec<usize> { (0..count).map(|at| usize::from(at != zero)).collect() };
        assert_eq!(kept(heard.clone(), 83..=newest), ones(BLOCKS_KEPT_MAX + 1, 0), "the newest ones");
        heard.push(says(&peer(3), &manifest(83, 0)));
        let mut expected = ones(BLOCKS_KEPT_MAX + 1, 1);
        expected[0] = 2;
        assert_eq!(kept(heard, 83..=newest), expected, "but first what two speak of");
    }

    /// Defence: so many proofs per organisation and block; removed, one that signs anything fills the disk.
    #[test]
    fn an_organisation_leaves_only_so_many_proofs_about_a_block() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
        let proof = |number: u8, block: u64, variant: u8| {
            let [one, other] = [0, variant].map(|variant| says(&peer(number), &manifest(block, variant)).attestation);
            Equivocation::new(one, other, None).unwrap()
        };
        let most = u8::try_from(EVIDENCE_PER_BLOCK_MAX).unwrap();
        let proofs: Vec<Equivocation> = (1..=most).map(|variant| proof(2, 83, variant)).collect();
        let paths: Vec<PathBuf> = proofs.iter().map(|proof| records.evidence(proof).unwrap()).collect();
        assert!(matches!(records.evidence(&proof(2, 83, most + 1)), Err(EvidenceNotKept::Enough { .. })));
        assert_eq!(records.evidence(&proofs[0]).unwrap(), paths[0], "the same one again");
        records.evidence(&proof(2, 132, 1)).unwrap();
        records.evidence(&proof(3, 83, 1)).unwrap();
        assert_eq!(records.evidence.list().unwrap().len(), EVIDENCE_PER_BLOCK_MAX + 2);
    }

    #[test]
    fn the_newest_receipt_is_of_just_that_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
        let id =
            |channel: &str, block| SnapshotId { channel: channel.parse().unwrap(), block_number: BlockNumber(block) };
        let (hash, other) = (SnapshotHash([1; 32]), SnapshotHash([2; 32]));
        let at = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        records.receipt(&id("ch-83", 5), hash, at(10), b"{}").unwrap();
        records.receipt(&id("ch", 83), other, at(11), b"{}").unwrap();
        assert_eq!(records.newest_receipt(&id("ch", 83), hash).unwrap(), None);
        records.receipt(&id("ch", 83), hash, at(12), b"{}").unwrap();
        let newest = records.receipt(&id("ch", 83), hash, at(13), b"{}").unwrap();
        assert_eq!(records.newest_receipt(&id("ch", 83), hash).unwrap(), Some(newest));
    }
}
