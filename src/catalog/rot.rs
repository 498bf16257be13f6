//! Which chunks of a served snapshot have rotted on our peer's disk: found when one is read, by a request or by the scrubber.
//!
//! `STATE/manifests/CHANNEL/BLOCK.rot`, sealed: the manifest's hash (32 bytes), then file number and chunk (4 bytes each, little
//! endian) of every rotten chunk. It holds as long as the folder looks as it did when it was read, and survives a restart: a rotten chunk
//! is withheld at once then. Decides nothing about what is served instead: that is [`super::ServedSnapshot`]'s.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    disk::{Dir, DiskError, Magic, read_small, seal, unseal, write_durably},
    snapshot::{ChunkIndex, ManifestHash, SnapshotId},
};

const MAGIC: &Magic = b"snapferry rot  1";
const SUFFIX: &str = ".rot";
/// Rotten chunks of a snapshot that are kept across a restart: each is found again when it is read, and with so many the disk is gone.
const KEPT_MAX: usize = 4_096;
/// Bytes of one entry.
const ENTRY_BYTES: usize = 8;
/// Longest file: all entries, the manifest's hash, and what sealing adds.
const FILE_BYTES_MAX: u64 = (KEPT_MAX * ENTRY_BYTES + 128) as u64;

/// File number in the manifest, and chunk.
pub(super) type Place = (u32, ChunkIndex);

/// What is known to have rotted of one snapshot.
#[derive(Debug)]
pub(super) struct Rot {
    id: SnapshotId,
    manifest_hash: ManifestHash,
    /// `STATE/manifests`; `None`: nothing is kept.
    state: Option<Arc<dyn Dir>>,
    places: Mutex<BTreeSet<Place>>,
    /// Held while the file is written, so that an older set never replaces a newer one.
    writing: Mutex<()>,
}

impl Rot {
    /// With what was kept of the snapshot.
    pub(super) fn load(state: Arc<dyn Dir>, id: &SnapshotId, manifest_hash: ManifestHash) -> Self {
        let places = Mutex::new(kept(state.as_ref(), id, manifest_hash));
        Self { id: id.clone(), manifest_hash, state: Some(state), places, writing: Mutex::default() }
    }

    /// Of whoever only looks: nothing is known, and nothing will be kept.
    pub(super) fn unkept(id: &SnapshotId, manifest_hash: ManifestHash) -> Self {
        Self { id: id.clone(), manifest_hash, state: None, places: Mutex::default(), writing: Mutex::default() }
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        self.places().contains(&place)
    }

    /// Ascending.
    pub(super) fn all(&self) -> BTreeSet<Place> {
        self.places().clone()
    }

    /// Notes a rotten chunk; whether that is news.
    pub(super) fn found(&self, place: Place) -> bool {
        let news = self.places().insert(place);
        if news {
            self.keep();
        }
        news
    }

    /// Notes that a chunk is right (again): whether it wasn't before.
    pub(super) fn healed(&self, place: Place) -> bool {
        let news = self.places().remove(&place);
        if news {
            self.keep();
        }
        news
    }

    fn keep(&self) {
        let Some(state) = &self.state else { return };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let places = self.places().clone();
        let kept = if places.is_empty() {
            forget(state.as_ref(), &self.id)
        } else {
            store(state.as_ref(), &self.id, self.manifest_hash, &places)
        };
        if let Err(error) = kept {
            tracing::warn!(snapshot = %self.id, %error, "rotten chunks aren't kept on record: they are found again after a restart");
        }
    }

    fn places(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        // A set of numbers can't be left half changed.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept of a snapshot's rot; nothing if the file is none, or of another manifest.
pub(super) fn kept(state: &dyn Dir, id: &SnapshotId, manifest_hash: ManifestHash) -> BTreeSet<Place> {
    let read = || {
        let dir = state.open_dir(id.channel.as_str()).ok()?;
        read_small(dir.as_ref(), &file_name(id), FILE_BYTES_MAX).ok()
    };
    read().and_then(|bytes| decode(&bytes, manifest_hash)).unwrap_or_default()
}

/// Forgets what is kept: the folder was read again and is right, or is another.
pub(super) fn forget(state: &dyn Dir, id: &SnapshotId) -> Result<(), DiskError> {
    let removed = state.open_dir(id.channel.as_str()).and_then(|dir| dir.remove_file(&file_name(id)));
    match removed {
        Err(error) if error.is_not_found() => Ok(()),
        removed => removed,
    }
}

/// The block of the snapshot that a file of that name is about.
pub(super) fn block_named(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

fn store(
    state: &dyn Dir,
    id: &SnapshotId,
    manifest_hash: ManifestHash,
    places: &BTreeSet<Place>,
) -> Result<(), DiskError> {
    state.create_dir(id.channel.as_str())?;
    write_durably(state.open_dir(id.channel.as_str())?.as_ref(), &file_name(id), &encode(manifest_hash, places))
}

fn encode(manifest_hash: ManifestHash, places: &BTreeSet<Place>) -> Vec<u8> {
    let mut content = manifest_hash.as_bytes().to_vec();
    for (file_index, chunk) in places.iter().take(KEPT_MAX) {
        content.extend_from_slice(&file_index.to_le_bytes());
        content.extend_from_slice(&chunk.0.to_le_bytes());
    }
    seal(MAGIC, &content)
}

fn decode(bytes: &[u8], manifest_hash: ManifestHash) -> Option<BTreeSet<Place>> {
    let entries = unseal(MAGIC, bytes)?.strip_prefix(manifest_hash.as_bytes())?;
    if entries.len() % ENTRY_BYTES != 0 || entries.len() / ENTRY_BYTES > KEPT_MAX {
        return None;
    }
    let place = |entry: &[u8]| {
        let (file_index, chunk) = entry.split_first_chunk::<4>()?;
        Some((u32::from_le_bytes(*file_index), ChunkIndex(u32::from_le_bytes(chunk.try_into().ok()?))))
    };
    entries.chunks_exact(ENTRY_BYTES).map(place).collect()
}

fn file_name(id: &SnapshotId) -> String {
    format!("{}{SUFFIX}", id.block_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::test_site::{Site, id};

    const HASH: ManifestHash = ManifestHash([7; 32]);

    #[test]
    fn what_rotted_is_known_after_a_restart_and_forgotten_when_it_is_right_again() {
        let site = Site::new();
        let load = || Rot::load(site.open("manifests"), &id(83), HASH);
        let rot = load();
        assert!(rot.found((2, ChunkIndex(5))) && rot.found((0, ChunkIndex(9))));
        assert!(!rot.found((2, ChunkIndex(5))), "no news");
        let again = load();
        assert_eq!(again.all().into_iter().collect::<Vec<_>>(), [(0, ChunkIndex(9)), (2, ChunkIndex(5))]);
        assert!(
            Rot::load(site.open("manifests"), &id(83), ManifestHash([8; 32])).all().is_empty(),
            "of another manifest"
        );
        assert!(again.healed((0, ChunkIndex(9))) && again.healed((2, ChunkIndex(5))));
        assert!(load().all().is_empty());
        assert!(!site.path("manifests/mychannel/83.rot").exists());
    }

    #[test]
    fn a_damaged_record_counts_as_none() {
        let places = BTreeSet::from([(1, ChunkIndex(3)), (7, ChunkIndex(u32::MAX))]);
        let bytes = encode(HASH, &places);
        assert_eq!(decode(&bytes, HASH), Some(places));
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at], HASH), None, "cut at {at}");
        }
        let torn = seal(MAGIC, &[HASH.as_bytes().as_slice(), &[0; ENTRY_BYTES - 1]].concat());
        assert_eq!(decode(&torn, HASH), None, "half an entry");
    }

    #[test]
    fn a_record_has_its_limit() {
        let many = |count: u32| (0..count).map(|chunk| (0, ChunkIndex(chunk))).collect::<BTreeSet<Place>>();
        let longest = encode(HASH, &many(KEPT_MAX as u32 + 1));
        assert!(longest.len() as u64 <= FILE_BYTES_MAX);
        assert_eq!(decode(&longest, HASH).map(|places| places.len()), Some(KEPT_MAX));
        let longer = [HASH.as_bytes().as_slice(), &vec![0; (KEPT_MAX + 1) * ENTRY_BYTES]].concat();
        assert_eq!(decode(&seal(MAGIC, &longer), HASH), None);
    }
}
