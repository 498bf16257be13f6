//! What was found out about a snapshot, kept across restarts, so that its files needn't be read again: manifest, commit
//! hash, chunk trees, and the stamp of the folder that they hold for.
//!
//! `STATE/manifests/CHANNEL/BLOCK`, little endian: magic; stamp (count, then name, size, mtime, inode each); commit hash
//! (flag, 32 bytes); manifest (length, bytes); per file its group values (count, 32 bytes each); BLAKE3 of all before.
//! A cache that doesn't read back exactly, or that holds for another stamp, counts as missing.

use super::{
    promised::is_promise,
    remains::is_remains,
    rot,
    scan::{Stamp, StampedFile},
};
use crate::{
    disk::{Dir, DiskError, EntryKind, read_small, write_durably},
    snapshot::{BlockHash, ChunkTree, GroupValue, Manifest, SnapshotId},
};

const MAGIC: &[u8; 16] = b"snapferry cache1";
const CHECKSUM_BYTES: usize = 32;

/// Longest cache: 32 MiB of group values per TiB, so this is a snapshot of 8 TiB. A larger one is read again at each start.
const CACHE_BYTES_MAX: u64 = 256 << 20;

/// What a cache holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) manifest: Manifest,
    pub(super) commit_hash: Option<BlockHash>,
    /// In the order of the manifest's files.
    pub(super) trees: Vec<ChunkTree>,
}

/// The cache of a snapshot if it holds for the folder as it is now. Every tree merges to its root in the manifest.
pub(super) fn load(state: &dyn Dir, id: &SnapshotId, stamp: &Stamp) -> Option<Cached> {
    load_within(state, id, stamp, CACHE_BYTES_MAX)
}

fn load_within(state: &dyn Dir, id: &SnapshotId, stamp: &Stamp, bytes_max: u64) -> Option<Cached> {
    let dir = state.open_dir(id.channel.as_str()).ok()?;
    let bytes = read_small(dir.as_ref(), &id.block_number.to_string(), bytes_max).ok()?;
    let (kept, cached) = decode(&bytes)?;
    (kept == *stamp && cached.manifest.id() == id).then_some(cached)
}

/// Keeps a cache durably; one that would be too long isn't kept.
pub(super) fn store(state: &dyn Dir, stamp: &Stamp, cached: &Cached) -> Result<(), DiskError> {
    store_within(state, stamp, cached, CACHE_BYTES_MAX)
}

fn store_within(state: &dyn Dir, stamp: &Stamp, cached: &Cached, bytes_max: u64) -> Result<(), DiskError> {
    let id = cached.manifest.id();
    let bytes = encode(stamp, cached);
    if bytes.len() as u64 > bytes_max {
        return Ok(());
    }
    state.create_dir(id.channel.as_str())?;
    state.sync_dir()?;
    write_durably(state.open_dir(id.channel.as_str())?.as_ref(), &id.block_number.to_string(), &bytes)
}

/// Forgets every snapshot but those to `keep` (and what rotted of them), and what else lies in the channels' folders, the remains of deleted ones apart.
pub(super) fn retain(state: &dyn Dir, keep: impl Fn(&SnapshotId) -> bool) -> Result<(), DiskError> {
    for channel in state.list()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let dir = state.open_dir(&channel.name)?;
        for entry in dir.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File) {
            let block = rot::block_named(&entry.name).unwrap_or(&entry.name);
            let keeps = snapshot_named(&channel.name, block).is_some_and(|id| keep(&id));
            if !keeps && !is_remains(&entry.name) && !is_promise(&entry.name) {
                dir.remove_file(&entry.name)?;
            }
        }
    }
    Ok(())
}

/// The snapshot whose cache has just this name.
fn snapshot_named(channel: &str, block: &str) -> Option<SnapshotId> {
    let id = SnapshotId { channel: channel.parse().ok()?, block_number: block.parse().ok()? };
    (id.block_number.to_string() == block).then_some(id)
}

fn encode(stamp: &Stamp, cached: &Cached) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_len(&mut out, stamp.0.len());
    for file in &stamp.0 {
        put_len(&mut out, file.name.len());
        out.extend_from_slice(file.name.as_bytes());
        out.extend_from_slice(&file.len.to_le_bytes());
        out.extend_from_slice(&file.mtime_ns.to_le_bytes());
        out.extend_from_slice(&file.inode.to_le_bytes());
    }
    out.push(u8::from(cached.commit_hash.is_some()));
    out.extend_from_slice(&cached.commit_hash.map_or([0; 32], |hash| hash.0));
    let manifest = cached.manifest.encode();
    put_len(&mut out, manifest.len());
    out.extend_from_slice(&manifest);
    for tree in &cached.trees {
        put_len(&mut out, tree.values().len());
        tree.values().iter().for_each(|value| out.extend_from_slice(value.as_bytes()));
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

/// Lengths here fit: names, a manifest of 64 KiB, and at most 2^32 - 1 chunks.
fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn decode(bytes: &[u8]) -> Option<(Stamp, Cached)> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let mut rest = Reader(body.strip_prefix(MAGIC)?);
    let mut stamped = Vec::new();
    for _ in 0..rest.len()? {
        let name_bytes = rest.len()?;
        let name = String::from_utf8(rest.take(name_bytes)?.to_vec()).ok()?;
        let (len, mtime_ns) = (u64::from_le_bytes(rest.array()?), i128::from_le_bytes(rest.array()?));
        stamped.push(StampedFile { name, len, mtime_ns, inode: u64::from_le_bytes(rest.array()?) });
    }
    let has_commit_hash = rest.array::<1>()? == [1];
    let commit_hash = BlockHash(rest.array()?);
    let manifest_bytes = rest.len()?;
    let manifest = Manifest::decode(rest.take(manifest_bytes)?).ok()?;
    let mut trees = Vec::new();
    for file in manifest.files() {
        let count = rest.len()?;
        let values = rest.take(count.checked_mul(32)?)?.chunks_exact(32);
        let values = values.map(GroupValue::try_from).collect::<Result<Vec<_>, _>>().ok()?;
        let tree = if values.is_empty() {
            ChunkTree::small(file.size).ok()?
        } else {
            let (root, tree) = ChunkTree::from_values(file.size, values).ok()?;
            if root == file.root { tree } else { return None }
        };
        trees.push(tree);
    }
    let cached = Cached { manifest, commit_hash: has_commit_hash.then_some(commit_hash), trees };
    rest.0.is_empty().then_some((Stamp(stamped), cached))
}

/// Bytes not read yet; nothing is allocated for a length before the bytes are there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::OsDir,
        snapshot::{CHUNK_BYTES, ChunkTreeBuilder, ManifestFile, SignableMetadata},
    };

    fn sample() -> (Stamp, Cached) {
        let json = include_bytes!("../../tests/fixtures/network/snapshots/org1/83/_snapshot_signable_metadata.json");
        let signable = SignableMetadata::parse(json).unwrap();
        let (mut files, mut trees) = (Vec::new(), Vec::new());
        for (index, (file, sha256)) in signable.files().clone().into_iter().enumerate() {
            let mut builder = ChunkTreeBuilder::new();
            builder.update(&vec![7; index * usize::try_from(CHUNK_BYTES).unwrap() / 2 + 1]);
            let (size, root, tree) = builder.finish();
            files.push(ManifestFile { file, size, sha256, root });
            trees.push(tree);
        }
        let stamp = Stamp(vec![StampedFile { name: "txids.data".to_owned(), len: 5, mtime_ns: -3, inode: 9 }]);
        let commit_hash = Some(BlockHash([4; 32]));
        (stamp, Cached { manifest: Manifest::new(signable, files).unwrap(), commit_hash, trees })
    }

    #[test]
    fn a_cache_comes_back_and_every_damaged_one_counts_as_missing() {
        let (stamp, cached) = sample();
        let bytes = encode(&stamp, &cached);
        assert_eq!(decode(&bytes), Some((stamp, cached)));
        for at in (0..bytes.len()).step_by(41) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "flipped at {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    /// R1: in our own cache.
    #[test]
    fn a_huge_length_under_a_right_checksum_takes_no_memory() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn a_cache_over_its_cap_is_neither_kept_nor_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let state = OsDir::open(dir.path()).unwrap();
        let (stamp, cached) = sample();
        let id = cached.manifest.id().clone();
        let len = encode(&stamp, &cached).len() as u64;
        store_within(state.as_ref(), &stamp, &cached, len - 1).unwrap();
        assert_eq!(load(state.as_ref(), &id, &stamp), None);
        store_within(state.as_ref(), &stamp, &cached, len).unwrap();
        assert_eq!(load_within(state.as_ref(), &id, &stamp, len - 1), None);
        assert_eq!(load_within(state.as_ref(), &id, &stamp, len), Some(cached));
    }

    #[test]
    fn a_cache_holds_only_for_its_own_stamp() {
        let dir = tempfile::TempDir::new().unwrap();
        let state = OsDir::open(dir.path()).unwrap();
        let (stamp, cached) = sample();
        let id = cached.manifest.id().clone();
        assert_eq!(load(state.as_ref(), &id, &stamp), None);
        store(state.as_ref(), &stamp, &cached).unwrap();
        assert_eq!(load(state.as_ref(), &id, &stamp), Some(cached));
        let mut other = stamp.clone();
        other.0[0].mtime_ns += 1;
        assert_eq!(load(state.as_ref(), &id, &other), None);
        retain(state.as_ref(), |kept| *kept == id).unwrap();
        assert!(load(state.as_ref(), &id, &stamp).is_some());
        retain(state.as_ref(), |_| false).unwrap();
        assert_eq!(load(state.as_ref(), &id, &stamp), None);
    }
}
