//! What was said about snapshots, kept: by us, so that we never say two different things about one block, and by other
//! organisations, so that it can be relayed and shown.
//!
//! `STATE/statements/CHANNEL/BLOCK/`: `guard` (what we signed: snapshot, manifest and commit hash; written once, durably, **before** the
//! signature is made, and kept past DeleteSnapshot), `own` (our last attestation without a nonce), `others` (attestations of other
//! organisations). Each is sealed. A damaged guard refuses to sign; the other two are only copies, so damaged ones are dropped.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    Attestation, Screening,
    attestation_file::{ATTESTATION_FILE_BYTES_MAX, decode_attestation_file, encode_attestation_file},
    judging::is_unexpired,
};
use crate::{
    disk::{Dir, DiskError, Magic, read_small, seal, unseal, write_durably},
    msp::{IdentityId, MspId},
    snapshot::{BlockHash, ManifestHash, SnapshotHash, SnapshotId},
};

/// Its folder, in the state folder.
pub const STATEMENTS_DIR: &str = "statements";

/// Attestations of one organisation that are kept for a block: its peers, and what it contradicts itself with.
pub const FOREIGN_PER_ORG_MAX: usize = 4;
/// Attestations of others that are kept for a block: an answer to AttestationGet holds 256, and must fit into a frame of 1 MiB.
pub const FOREIGN_PER_BLOCK_MAX: usize = 40;

const GUARD: &str = "guard";
const GUARD_MAGIC: &Magic = b"snapferry guard2";
/// Snapshot hash, manifest hash, whether there is a commit hash (1 byte), commit hash.
const GUARD_BYTES: usize = 97;
const OWN: &str = "own";
const OWN_MAGIC: &Magic = b"snapferry own  1";
const OTHERS: &str = "others";
const OTHERS_MAGIC: &Magic = b"snapferry other1";
/// Magic and checksum.
const SEAL_BYTES: u64 = 48;

/// What the service signed about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnStatement {
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Hash of the manifest.
    pub manifest_hash: ManifestHash,
    /// Commit hash of the last block: no hash covers it, and another one would be a second version of the block all the same.
    pub commit_hash: Option<BlockHash>,
}

/// Statements on disk.
#[derive(Debug)]
pub struct StatementStore {
    dir: Arc<dyn Dir>,
    /// One writer at a time in this process; file locks keep others out.
    writing: Mutex<()>,
}

/// Why nothing may be signed, or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// We signed something else about this block.
    #[error(
        "this service has already signed another snapshot {id}: {signed}, not {asked}; it never signs two for one block (its record is \
         {file} in the state folder): find out why the peer's snapshot changed"
    )]
    SignedAnother {
        /// The snapshot.
        id: SnapshotId,
        /// What was signed.
        signed: Box<OwnStatement>,
        /// What should be signed now.
        asked: Box<OwnStatement>,
        /// The guard, below the state folder.
        file: String,
    },
    /// The guard can't be read, so what was signed is unknown.
    #[error(
        "{file} in the state folder is damaged, so what this service has signed about snapshot {id} is unknown and nothing more is \
         signed: restore the file from a backup"
    )]
    Damaged {
        /// The snapshot.
        id: SnapshotId,
        /// The guard, below the state folder.
        file: String,
    },
    /// The disk.
    #[error("can't use the record of signed statements: {0}")]
    Disk(#[from] DiskError),
}

impl StatementStore {
    /// Over `STATE/statements`.
    #[must_use]
    pub const fn open(dir: Arc<dyn Dir>) -> Self {
        Self { dir, writing: Mutex::new(()) }
    }

    /// Allows to sign `asked`, and remembers that durably for ever; the first one for a block wins.
    ///
    /// # Errors
    /// Another one was signed, the record is damaged, or it can't be made durable: don't sign.
    pub fn allow(&self, id: &SnapshotId, asked: OwnStatement) -> Result<(), StatementError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.holds(id, asked)? {
            return Ok(());
        }
        let block = self.make_block_dir(id)?;
        // A second service over the same state: it may have signed since we looked.
        let _lock = block.lock(".guard.lock")?;
        if self.holds(id, asked)? {
            return Ok(());
        }
        Ok(write_durably(block.as_ref(), GUARD, &seal(GUARD_MAGIC, &asked.encode()))?)
    }

    /// What we have signed about a block.
    ///
    /// # Errors
    /// The record is damaged, or can't be read.
    pub fn signed(&self, id: &SnapshotId) -> Result<Option<OwnStatement>, StatementError> {
        let damaged = || StatementError::Damaged { id: id.clone(), file: guard_path(id) };
        let bytes = match self.read(id, GUARD, SEAL_BYTES + GUARD_BYTES as u64) {
            Err(error) if error.is_not_found() => return Ok(None),
            Err(DiskError::TooLarge { .. }) => return Err(damaged()),
            read => read?,
        };
        unseal(GUARD_MAGIC, &bytes).and_then(OwnStatement::decode).map(Some).ok_or_else(damaged)
    }

    /// Keeps our own attestation, for the record; a later one takes its place.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_own(&self, attestation: &Attestation) -> Result<(), StatementError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let block = self.make_block_dir(&attestation.body().id)?;
        Ok(write_durably(block.as_ref(), OWN, &seal(OWN_MAGIC, &encode_attestation_file(attestation)))?)
    }

    /// Our own attestation, if one is kept. It may have expired.
    #[must_use]
    pub fn own(&self, id: &SnapshotId) -> Option<Attestation> {
        let bytes = self.read(id, OWN, SEAL_BYTES + ATTESTATION_FILE_BYTES_MAX as u64).ok()?;
        let own = decode_attestation_file(unseal(OWN_MAGIC, &bytes)?).ok()?;
        (own.body().id == *id).then_some(own)
    }

    /// Keeps attestations of other organisations, as far as they are admitted; how many are kept. Of one identity saying one thing the
    /// one that holds longest is kept. What isn't admitted any more gives its place away, and nothing more is taken when an
    /// organisation, or the block, has its share. One write per block.
    ///
    /// # Errors
    /// The disk; or another process is just doing the same. Blocks that came before are kept then.
    pub fn keep_all(&self, screening: &Screening<'_>, said: &[&Attestation]) -> Result<usize, StatementError> {
        let mut by_block: BTreeMap<&SnapshotId, BTreeMap<Key, &Attestation>> = BTreeMap::new();
        for attestation in said.iter().filter(|attestation| screening.admits(attestation)) {
            let of_block = by_block.entry(&attestation.body().id).or_default();
            let longest = of_block.entry(Key::of(attestation)).or_insert(attestation);
            if expiry(attestation) > expiry(longest) {
                *longest = attestation;
            }
        }
        let mut kept = 0;
        for (id, said) in by_block {
            kept += self.keep_block(screening, id, said)?;
        }
        Ok(kept)
    }

    fn keep_block(
        &self,
        screening: &Screening<'_>,
        id: &SnapshotId,
        said: BTreeMap<Key, &Attestation>,
    ) -> Result<usize, StatementError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let block = self.make_block_dir(id)?;
        let _lock = block.lock(".others.lock")?;
        let mut all: BTreeMap<Key, Attestation> =
            self.relayed(screening, id).into_iter().map(|kept| (Key::of(&kept), kept)).collect();
        let mut kept = 0;
        for (key, attestation) in said {
            match all.get(&key) {
                Some(known) if expiry(known) >= expiry(attestation) => continue,
                Some(_) => {}
                None => {
                    let of_org = all.keys().filter(|kept| kept.msp_id == key.msp_id).count();
                    if of_org >= FOREIGN_PER_ORG_MAX || all.len() >= FOREIGN_PER_BLOCK_MAX {
                        tracing::debug!(snapshot = %id, org = %key.msp_id, "enough attestations are kept: this one isn't");
                        continue;
                    }
                }
            }
            all.insert(key, attestation.clone());
            kept += 1;
        }
        if kept > 0 {
            write_durably(block.as_ref(), OTHERS, &seal(OTHERS_MAGIC, &encode_all(all.values())))?;
        }
        Ok(kept)
    }

    /// Attestations of other organisations that may be given on now: a member that was removed since, or its revoked peer, is none.
    #[must_use]
    pub fn relayed(&self, screening: &Screening<'_>, id: &SnapshotId) -> Vec<Attestation> {
        let mut kept = self.foreign(id, screening.now);
        kept.retain(|kept| screening.admits(kept));
        kept
    }

    /// Attestations of other organisations that haven't expired, ordered by organisation, to be shown. Their signatures are right, and
    /// their signers were members when they were kept; whether they still are is for the reader to judge.
    #[must_use]
    pub fn foreign(&self, id: &SnapshotId, now: SystemTime) -> Vec<Attestation> {
        let longest = SEAL_BYTES + (FOREIGN_PER_BLOCK_MAX * (ATTESTATION_FILE_BYTES_MAX + 4)) as u64;
        let Ok(bytes) = self.read(id, OTHERS, longest) else { return Vec::new() };
        let Some(mut kept) = unseal(OTHERS_MAGIC, &bytes).and_then(decode_all) else {
            tracing::warn!(snapshot = %id, "the kept attestations of other organisations are damaged: they are dropped");
            return Vec::new();
        };
        kept.retain(|kept| kept.body().id == *id && is_unexpired(kept.body(), now));
        kept
    }

    /// Whether just this was signed already.
    fn holds(&self, id: &SnapshotId, asked: OwnStatement) -> Result<bool, StatementError> {
        match self.signed(id)? {
            None => Ok(false),
            Some(signed) if signed == asked => Ok(true),
            Some(signed) => Err(StatementError::SignedAnother {
                id: id.clone(),
                signed: Box::new(signed),
                asked: Box::new(asked),
                file: guard_path(id),
            }),
        }
    }

    fn read(&self, id: &SnapshotId, name: &str, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        let block = self.dir.open_dir(id.channel.as_str())?.open_dir(&id.block_number.to_string())?;
        read_small(block.as_ref(), name, bytes_max)
    }

    fn make_block_dir(&self, id: &SnapshotId) -> Result<Arc<dyn Dir>, DiskError> {
        self.dir.create_dir(id.channel.as_str())?;
        self.dir.sync_dir()?;
        let channel = self.dir.open_dir(id.channel.as_str())?;
        channel.create_dir(&id.block_number.to_string())?;
        // Else a power cut may take the guard away with its folder.
        channel.sync_dir()?;
        channel.open_dir(&id.block_number.to_string())
    }
}

impl OwnStatement {
    fn encode(&self) -> Vec<u8> {
        let has_commit_hash = [u8::from(self.commit_hash.is_some())];
        let commit_hash = self.commit_hash.map_or([0; 32], |hash| hash.0);
        [&self.snapshot_hash.0[..], &self.manifest_hash.0, &has_commit_hash, &commit_hash].concat()
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let (&snapshot_hash, rest) = content.split_first_chunk()?;
        let (&manifest_hash, rest) = rest.split_first_chunk()?;
        let (&has_commit_hash, rest) = rest.split_first()?;
        let commit_hash = BlockHash(rest.try_into().ok()?);
        let read = Self {
            snapshot_hash: SnapshotHash(snapshot_hash),
            manifest_hash: ManifestHash(manifest_hash),
            commit_hash: (has_commit_hash == 1).then_some(commit_hash),
        };
        (read.encode() == content).then_some(read)
    }
}

impl fmt::Display for OwnStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {} with manifest {} and ", self.snapshot_hash, self.manifest_hash)?;
        match self.commit_hash {
            Some(hash) => write!(f, "commit hash {hash}"),
            None => f.write_str("no commit hash"),
        }
    }
}

/// Who says what: one attestation of each is enough.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    msp_id: MspId,
    identity_id: IdentityId,
    content: (SnapshotHash, ManifestHash, Option<BlockHash>),
}

impl Key {
    fn of(attestation: &Attestation) -> Self {
        let (body, identity) = (attestation.body(), attestation.identity());
        let content = (body.snapshot_hash, body.manifest_hash, body.commit_hash);
        Self { msp_id: identity.msp_id().clone(), identity_id: identity.id(), content }
    }
}

fn guard_path(id: &SnapshotId) -> String {
    format!("statements/{}/{}/{GUARD}", id.channel, id.block_number)
}

const fn expiry(attestation: &Attestation) -> u64 {
    attestation.body().expires_at
}

/// Each with its length in front, u32 little endian.
fn encode_all<'a>(attestations: impl Iterator<Item = &'a Attestation>) -> Vec<u8> {
    let mut out = Vec::new();
    for file in attestations.map(encode_attestation_file) {
        // At most ATTESTATION_FILE_BYTES_MAX.
        out.extend_from_slice(&u32::try_from(file.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&file);
    }
    out
}

fn decode_all(mut bytes: &[u8]) -> Option<Vec<Attestation>> {
    let mut all = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (file, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        all.push(decode_attestation_file(file).ok()?);
        bytes = rest;
    }
    bytes.is_empty().then_some(all)
}

#[cfg(test)]
mod tests;
