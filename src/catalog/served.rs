//! A snapshot that others may read: of our own peer, every file hashed when it was found; or one that is being joined, of which the
//! proved chunks can be read. Every chunk is checked again when it is read.
//!
//! A chunk that has rotted on the disk is flagged, withheld from then on without being read again, and given from our own state once it
//! was fetched from others ([`Repairs`]). The other chunks are as good as ever.

use super::{
    CatalogEntry, KnownSnapshot, ReadError, Repairs, UnderWay,
    rot::{Place, Rot},
};
use crate::{
    disk::{Access, Dir, DiskError, File},
    snapshot::{
        BlockHash, ChunkIndex, ChunkTree, Manifest, ManifestFile, SnapshotFile, SnapshotId, group_value, hash_small,
    },
};
use bytes::Bytes;
use std::{io, ops::Range, sync::Arc};

/// Manifest, chunk trees and bytes of one snapshot. Its files stay readable if their names are removed meanwhile.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServedSnapshot {
    /// What the chunks prove against.
    pub manifest: Arc<Manifest>,
    /// The manifest's canonical bytes.
    pub manifest_bytes: Bytes,
    known: KnownSnapshot,
    trees: Vec<ChunkTree>,
    data: Data,
}

/// Where the bytes lie.
#[derive(Debug)]
enum Data {
    /// In a folder of our peer's, read completely.
    Finished { files: Vec<Arc<dyn File>>, rot: Rot, repairs: Option<Repairs> },
    /// In the store of a join.
    UnderWay(UnderWay),
}

/// A chunk that is not what it was when the snapshot was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RottenChunk {
    /// The file.
    pub file: SnapshotFile,
    /// Its number in the manifest.
    pub file_index: u32,
    /// The chunk.
    pub chunk: ChunkIndex,
    /// Whether a copy from others lies in our own state.
    pub repaired: bool,
}

impl ServedSnapshot {
    /// Opens the files of a snapshot that was verified; `trees` are in the order of the manifest's files.
    pub(super) fn open(
        dir: &dyn Dir,
        known: KnownSnapshot,
        trees: Vec<ChunkTree>,
        rot: Rot,
        repairs: Option<Repairs>,
    ) -> Result<Self, DiskError> {
        let opened = known.manifest.files().iter().map(|file| dir.open_file(file.file.name(), Access::Read));
        let files = opened.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::new(known, trees, Data::Finished { files, rot, repairs }))
    }

    /// A snapshot that is being joined: its proved chunks can be read, and it is never vouched for. `trees` are in the order of the
    /// manifest's files.
    #[must_use]
    pub fn under_way(manifest: Manifest, trees: Vec<ChunkTree>, chunks: UnderWay) -> Self {
        let mut known = KnownSnapshot::new(manifest, None);
        known.entry.partial = true;
        Self::new(known, trees, Data::UnderWay(chunks))
    }

    fn new(known: KnownSnapshot, trees: Vec<ChunkTree>, data: Data) -> Self {
        let (manifest, manifest_bytes) = (Arc::clone(&known.manifest), known.manifest_bytes.clone());
        Self { manifest, manifest_bytes, known, trees, data }
    }

    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        self.manifest.id()
    }

    /// The line of the catalog.
    #[must_use]
    pub const fn entry(&self) -> &CatalogEntry {
        &self.known.entry
    }

    /// Commit hash of the last block, from the additional metadata; covered by no hash.
    #[must_use]
    pub const fn commit_hash(&self) -> Option<BlockHash> {
        self.known.commit_hash
    }

    /// What is known of it, which outlives its data.
    #[must_use]
    pub const fn known(&self) -> &KnownSnapshot {
        &self.known
    }

    /// The chunk tree of a file, by its place in the manifest.
    #[must_use]
    pub fn tree(&self, file_index: u32) -> Option<&ChunkTree> {
        self.trees.get(usize::try_from(file_index).ok()?)
    }

    /// The chunks of a file that can be read, ascending; `None`: all of them.
    #[must_use]
    pub fn have(&self, file_index: u32) -> Option<Vec<Range<u32>>> {
        match &self.data {
            Data::Finished { .. } => None,
            Data::UnderWay(chunks) => Some(chunks.have(file_index)),
        }
    }

    /// Grows whenever [`Self::have`] changes; 0 if it never does.
    #[must_use]
    pub fn have_version(&self) -> u64 {
        match &self.data {
            Data::Finished { .. } => 0,
            Data::UnderWay(chunks) => chunks.version(),
        }
    }

    /// Every chunk that is known to have rotted, ascending.
    #[must_use]
    pub fn rotten(&self) -> Vec<RottenChunk> {
        let Data::Finished { rot, repairs, .. } = &self.data else { return Vec::new() };
        rotten(&self.manifest, rot.all(), repairs.as_ref())
    }

    /// Fills `buf` with one chunk (at most 1 MiB), checked against our own tree. Reusing one buffer spares its zeroing.
    /// Blocking.
    ///
    /// # Errors
    /// No such file or chunk; the chunk isn't here yet; the disk fails; the bytes aren't those any more that were hashed, then `buf` is
    /// empty.
    pub fn read_chunk(&self, file_index: u32, chunk: ChunkIndex, buf: &mut Vec<u8>) -> Result<(), ReadError> {
        let (listed, _) = self.size_for(file_index, chunk, buf)?;
        let read = match &self.data {
            Data::UnderWay(chunks) => match chunks.file(file_index, chunk) {
                // What the store lost meanwhile is as good as not there yet: it is fetched again.
                Some(file) if self.reads_right(&*file, file_index, chunk, buf)? => Ok(()),
                _ => Err(ReadError::NotHere { id: self.id().clone(), file: listed.file, chunk }),
            },
            Data::Finished { files, rot, repairs } => {
                let own = self.read_own(files, rot, file_index, chunk, buf);
                match (own, repairs) {
                    (Err(ReadError::CorruptAtSource { .. } | ReadError::Disk(_)), Some(repairs))
                        if self.reads_repaired(repairs, file_index, chunk, buf) =>
                    {
                        Ok(())
                    }
                    (own, _) => own,
                }
            }
        };
        if read.is_err() {
            buf.clear();
        }
        read
    }

    /// Reads a chunk of our peer's file, unless it is known to have rotted.
    fn read_own(
        &self,
        files: &[Arc<dyn File>],
        rot: &Rot,
        file_index: u32,
        chunk: ChunkIndex,
        buf: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let (listed, _) = self.size_for(file_index, chunk, buf)?;
        let no_file = || ReadError::NoSuchFile { id: self.id().clone(), file_index };
        let file = usize::try_from(file_index).ok().and_then(|at| files.get(at)).ok_or_else(no_file)?;
        if !rot.contains((file_index, chunk)) {
            if self.reads_right(&**file, file_index, chunk, buf)? {
                return Ok(());
            }
            self.flag(rot, (file_index, chunk), listed);
        }
        Err(ReadError::CorruptAtSource { id: self.id().clone(), file: listed.file, chunk })
    }

    /// Whether our own state holds the chunk.
    fn reads_repaired(&self, repairs: &Repairs, file_index: u32, chunk: ChunkIndex, buf: &mut Vec<u8>) -> bool {
        let Ok((listed, _)) = self.size_for(file_index, chunk, buf) else { return false };
        let read = repairs.read(self.id(), listed.file, chunk, buf);
        read.is_ok() && self.proves(file_index, listed, chunk, buf)
    }

    /// Reads a chunk of our peer's own file whatever is known of it, and takes note of what it is now: whether it is right. `buf` is
    /// scratch. Of a snapshot under way there is nothing to look at. Blocking.
    ///
    /// # Errors
    /// As [`Self::read_chunk`], but for rot, which is an answer here.
    pub fn scrub_chunk(&self, file_index: u32, chunk: ChunkIndex, buf: &mut Vec<u8>) -> Result<bool, ReadError> {
        let Data::Finished { files, rot, .. } = &self.data else { return Ok(true) };
        let (listed, _) = self.size_for(file_index, chunk, buf)?;
        let Some(file) = usize::try_from(file_index).ok().and_then(|at| files.get(at)) else { return Ok(true) };
        if chunk.0 == 0 {
            file.forget_cached(); // what lies on the disk is looked for, not what the system remembers of it
        }
        let right = self.reads_right(&**file, file_index, chunk, buf)?;
        if !right {
            self.flag(rot, (file_index, chunk), listed);
        } else if rot.healed((file_index, chunk)) {
            tracing::info!(snapshot = %self.id(), file = %listed.file, chunk = chunk.0, "a chunk that had rotted reads right again");
        }
        Ok(right)
    }

    fn flag(&self, rot: &Rot, place: Place, listed: &ManifestFile) {
        if rot.found(place) {
            tracing::error!(
                snapshot = %self.id(), file = %listed.file, chunk = place.1.0,
                "a chunk has rotted on our disk: it isn't served. `snapferry snapshot repair` fetches it again from other peers"
            );
        }
    }

    /// The listed file and the chunk's length, to which `buf` is resized.
    fn size_for(
        &self,
        file_index: u32,
        chunk: ChunkIndex,
        buf: &mut Vec<u8>,
    ) -> Result<(&ManifestFile, usize), ReadError> {
        let listed = usize::try_from(file_index).ok().and_then(|at| self.manifest.files().get(at));
        let listed = listed.ok_or_else(|| ReadError::NoSuchFile { id: self.id().clone(), file_index })?;
        // A chunk is at most 1 MiB, so its length fits.
        let len = usize::try_from(chunk.range(listed.size).len()).unwrap_or(0);
        if len == 0 {
            return Err(ReadError::NoSuchChunk { id: self.id().clone(), file: listed.file, chunk });
        }
        buf.resize(len, 0);
        Ok((listed, len))
    }

    /// Whether a file still holds the chunk.
    fn reads_right(
        &self,
        file: &dyn File,
        file_index: u32,
        chunk: ChunkIndex,
        buf: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let (listed, _) = self.size_for(file_index, chunk, buf)?;
        match file.read_exact_at(buf, chunk.offset()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(self.proves(file_index, listed, chunk, buf)),
        }
    }

    fn proves(&self, file_index: u32, listed: &ManifestFile, chunk: ChunkIndex, bytes: &[u8]) -> bool {
        match self.tree(file_index).and_then(|tree| tree.value(chunk)) {
            Some(value) => group_value(chunk, bytes, listed.size) == value,
            None => hash_small(bytes) == listed.root,
        }
    }
}

/// Flagged places of a manifest's files, as they are told.
pub(super) fn rotten(
    manifest: &Manifest,
    places: impl IntoIterator<Item = Place>,
    repairs: Option<&Repairs>,
) -> Vec<RottenChunk> {
    let told = |(file_index, chunk): Place| {
        let file = manifest.files().get(usize::try_from(file_index).ok()?)?.file;
        let repaired = repairs.is_some_and(|repairs| repairs.has(manifest.id(), file, chunk));
        Some(RottenChunk { file, file_index, chunk, repaired })
    };
    places.into_iter().filter_map(told).collect()
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of chunks is what is meant")]
mod tests {
    use super::*;
    use crate::catalog::{
        Catalog, FindChunk, ListChunks,
        test_site::{Site, id, now},
    };

    const FILE: SnapshotFile = SnapshotFile::PublicStateData;

    fn index(snapshot: &ServedSnapshot) -> u32 {
        let at = snapshot.manifest.files().iter().position(|file| file.file == FILE).unwrap();
        u32::try_from(at).unwrap()
    }

    /// L12: what rotted is withheld.
    #[test]
    fn a_rotten_chunk_is_withheld_at_once_and_the_others_are_given() {
        let site = Site::new();
        let catalog = site.catalog();
        let snapshot = catalog.snapshot(&id(83)).unwrap();
        let (file_index, mut buf) = (index(&snapshot), Vec::new());
        snapshot.read_chunk(file_index, ChunkIndex(0), &mut buf).unwrap();
        site.rot(83, FILE.name(), 3);
        let read = |buf: &mut Vec<u8>| snapshot.read_chunk(file_index, ChunkIndex(0), buf);
        assert!(matches!(read(&mut buf), Err(ReadError::CorruptAtSource { file: FILE, .. })));
        assert!(buf.is_empty(), "no rot leaves here");
        assert_eq!(snapshot.rotten().len(), 1);
        // Not read again: right bytes wouldn't be seen before the scrubber comes by.
        site.rot(83, FILE.name(), 3);
        assert!(matches!(read(&mut buf), Err(ReadError::CorruptAtSource { .. })));
        for other in (0..8).filter(|other| *other != file_index) {
            snapshot.read_chunk(other, ChunkIndex(0), &mut buf).unwrap();
        }
        assert!(snapshot.scrub_chunk(file_index, ChunkIndex(0), &mut buf).unwrap());
        read(&mut buf).unwrap();
    }

    /// L12: what was mended is given again.
    #[test]
    fn a_repaired_chunk_is_given_from_our_own_state_if_it_proves_itself() {
        let site = Site::new();
        let repairs = Repairs::open(site.open("repairs"));
        let catalog =
            Catalog::open(site.open("completed"), site.open("manifests"), now()).with_repairs(repairs.clone());
        catalog.scan().unwrap();
        let snapshot = catalog.snapshot(&id(83)).unwrap();
        let (file_index, mut right, mut buf) = (index(&snapshot), Vec::new(), Vec::new());
        snapshot.read_chunk(file_index, ChunkIndex(0), &mut right).unwrap();
        site.rot(83, FILE.name(), 3);
        let mut wrong = right.clone();
        wrong[3] ^= 1;
        repairs.keep(&id(83), FILE, ChunkIndex(0), &wrong).unwrap();
        let read = snapshot.read_chunk(file_index, ChunkIndex(0), &mut buf);
        assert!(matches!(read, Err(ReadError::CorruptAtSource { .. })) && buf.is_empty(), "a wrong repair is none");
        repairs.keep(&id(83), FILE, ChunkIndex(0), &right).unwrap();
        snapshot.read_chunk(file_index, ChunkIndex(0), &mut buf).unwrap();
        assert_eq!(buf, right);
        assert!(snapshot.rotten()[0].repaired, "the peer's own file is as it was");
        // Whoever replaces the file is read again, and nothing is left to repair.
        site.add(83, 83);
        catalog.scan().unwrap();
        assert!(catalog.snapshot(&id(83)).unwrap().rotten().is_empty());
        assert!(!repairs.has(&id(83), FILE, ChunkIndex(0)));
    }

    #[test]
    fn what_is_under_way_gives_what_is_there_and_right_and_lacks_the_rest() {
        let site = Site::new();
        let catalog = site.catalog();
        let whole = catalog.snapshot(&id(83)).unwrap();
        let (dir, file_index) = (site.open("completed/mychannel/83"), index(&whole));
        let find: FindChunk = Arc::new(move |file, chunk| {
            let there = file == file_index && chunk == ChunkIndex(0);
            there.then(|| dir.open_file(FILE.name(), Access::Read).unwrap())
        });
        let list: ListChunks = Arc::new(move |file| if file == file_index { vec![0..1] } else { Vec::new() });
        let trees = (0..8).map(|file| whole.tree(file).unwrap().clone()).collect();
        let chunks = UnderWay::new(find, list, Arc::new(|| 7));
        let partial = ServedSnapshot::under_way((*whole.manifest).clone(), trees, chunks);
        assert!(partial.entry().partial && !whole.entry().partial);
        let mut buf = Vec::new();
        partial.read_chunk(file_index, ChunkIndex(0), &mut buf).unwrap();
        let lacking = partial.read_chunk(file_index + 1, ChunkIndex(0), &mut buf);
        assert!(matches!(lacking, Err(ReadError::NotHere { .. })));
        site.rot(83, FILE.name(), 3);
        let lost = partial.read_chunk(file_index, ChunkIndex(0), &mut buf);
        assert!(matches!(lost, Err(ReadError::NotHere { .. })) && buf.is_empty());
        assert_eq!((partial.have(file_index), whole.have(file_index)), (Some(vec![0..1]), None));
        assert_eq!((partial.have_version(), whole.have_version()), (7, 0));
    }
}
