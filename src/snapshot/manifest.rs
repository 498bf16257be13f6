//! The manifest: what a source offers and what organisations vouch for, a function of the snapshot folder alone.
//!
//! Decides: its canonical bytes and so its hash (own fixed encoder: ascending fields, minimal varints, defaults left out).
//! Whether the roots are right is known to whoever hashed the files; who vouches for it is `catalog`'s part.
//!
//! ```text
//! 1 version=1  2 channel_id  3 last_block_number  4 last_block_hash  5 previous_block_hash  6 signable_metadata_json
//! 7 snapshot_hash  8 group_log2=20  9 files[] by name: { 1 name  2 size  3 sha256  4 blake3_root }
//! ```

use sha2::{Digest, Sha256};

use super::{
    CHUNK_BYTES, ChunkIndex, ChunkRoot, FileDigest, ManifestHash, MetadataError, SignableMetadata, SnapshotFile,
    SnapshotId,
    protobuf::{Fields, Value, WireError, put_bytes, put_number},
};

/// Largest manifest. A legal one is under 4 KiB: metadata of at most 1.5 KiB and eight files.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;

const VERSION: u64 = 1;
const GROUP_LOG2: u64 = CHUNK_BYTES.ilog2() as u64;
const HASH_CONTEXT: &[u8] = b"snapferry/1 manifest\0";

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Larger than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest has {0} bytes, at most {MANIFEST_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// No message.
    #[error("the manifest {0}")]
    Wire(#[from] WireError),
    /// The signable metadata within are refused.
    #[error("the manifest's metadata: {0}")]
    Metadata(#[from] MetadataError),
    /// Made by another version of the format, or with another chunk size.
    #[error("the manifest has version {version} and chunks of 2^{group_log2} bytes, only version 1 with 2^20 is known")]
    Version {
        /// Field 1.
        version: u64,
        /// Field 8.
        group_log2: u64,
    },
    /// Its files are not those of the signable metadata.
    #[error("the manifest doesn't list exactly the files of its metadata: {0}")]
    Files(String),
    /// A file's SHA-256 is not that of the signable metadata.
    #[error("the manifest's SHA-256 of {0} isn't the one in its metadata")]
    FileDigest(SnapshotFile),
    /// A file of more chunks than 32 bits count (4 PiB).
    #[error("{file} has {size} bytes, more than 2^32 chunks")]
    FileSize {
        /// The file.
        file: SnapshotFile,
        /// Its stated size in bytes.
        size: u64,
    },
    /// A field is repeated, out of order or default-valued, or says something else than the metadata within.
    #[error("the manifest isn't canonical, or its fields don't agree with its metadata")]
    NotCanonical,
}

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Which file.
    pub file: SnapshotFile,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, as in the metadata.
    pub sha256: FileDigest,
    /// Its BLAKE3: what chunk proofs lead to.
    pub root: ChunkRoot,
}

/// Metadata, sizes and chunk roots of one snapshot, which agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    signable: SignableMetadata,
    files: Vec<ManifestFile>,
}

impl Manifest {
    /// Puts a manifest together; the files may come in any order.
    ///
    /// # Errors
    /// The files are not exactly those of the metadata with their SHA-256, or one is larger than 4 PiB.
    pub fn new(signable: SignableMetadata, mut files: Vec<ManifestFile>) -> Result<Self, ManifestError> {
        files.sort_by_key(|file| file.file);
        if !files.iter().map(|file| file.file).eq(signable.files().keys().copied()) {
            let names: Vec<_> = files.iter().take(SnapshotFile::ALL.len()).map(|file| file.file.name()).collect();
            return Err(ManifestError::Files(names.join(", ")));
        }
        for (file, digest) in files.iter().zip(signable.files().values()) {
            if file.sha256 != *digest {
                return Err(ManifestError::FileDigest(file.file));
            }
            if ChunkIndex::count(file.size).is_none() {
                return Err(ManifestError::FileSize { file: file.file, size: file.size });
            }
        }
        Ok(Self { signable, files })
    }

    /// The canonical bytes, under 4 KiB.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let id = self.signable.id();
        let mut out = Vec::with_capacity(4 << 10);
        put_number(&mut out, 1, VERSION);
        put_bytes(&mut out, 2, id.channel.as_str().as_bytes());
        put_number(&mut out, 3, id.block_number.0);
        put_bytes(&mut out, 4, self.signable.last_block_hash().as_bytes());
        if let Some(hash) = self.signable.previous_block_hash() {
            put_bytes(&mut out, 5, hash.as_bytes());
        }
        put_bytes(&mut out, 6, self.signable.bytes());
        put_bytes(&mut out, 7, self.signable.hash().as_bytes());
        put_number(&mut out, 8, GROUP_LOG2);
        let mut message = Vec::new();
        for file in &self.files {
            message.clear();
            put_bytes(&mut message, 1, file.file.name().as_bytes());
            put_number(&mut message, 2, file.size);
            put_bytes(&mut message, 3, file.sha256.as_bytes());
            put_bytes(&mut message, 4, file.root.as_bytes());
            put_bytes(&mut out, 9, &message);
        }
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] wouldn't have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let (mut version, mut group_log2, mut json, mut files) = (0, 0, &[][..], Vec::new());
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(value)) => version = value,
                (6, Value::Bytes(value)) => json = value,
                (8, Value::Number(value)) => group_log2 = value,
                (9, Value::Bytes(_)) if files.len() == SnapshotFile::ALL.len() => {
                    return Err(ManifestError::Files("more than eight".to_owned()));
                }
                (9, Value::Bytes(value)) => files.push(decode_file(value)?),
                // These say again what stands in field 6: comparing the bytes below compares them.
                (2 | 4 | 5 | 7, Value::Bytes(_)) | (3, Value::Number(_)) => {}
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        if (version, group_log2) != (VERSION, GROUP_LOG2) {
            return Err(ManifestError::Version { version, group_log2 });
        }
        let manifest = Self::new(SignableMetadata::parse(json)?, files)?;
        if manifest.encode() == bytes { Ok(manifest) } else { Err(ManifestError::NotCanonical) }
    }

    /// SHA-256 of `"snapferry/1 manifest\0"` and the canonical bytes.
    #[must_use]
    pub fn hash(&self) -> ManifestHash {
        ManifestHash(Sha256::new_with_prefix(HASH_CONTEXT).chain_update(self.encode()).finalize().into())
    }

    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        self.signable.id()
    }

    /// Fabric's metadata.
    #[must_use]
    pub fn signable(&self) -> &SignableMetadata {
        &self.signable
    }

    /// The files, ascending by name: four, six or eight. A file's index on the wire is its place here.
    #[must_use]
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        // At most eight files of 4 PiB each.
        self.files.iter().map(|file| file.size).sum()
    }
}

fn decode_file(message: &[u8]) -> Result<ManifestFile, ManifestError> {
    let (mut name, mut size, mut sha256, mut root) = (&[][..], 0, None, None);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(value)) => name = value,
            (2, Value::Number(value)) => size = value,
            (3, Value::Bytes(value)) => sha256 = FileDigest::try_from(value).ok(),
            (4, Value::Bytes(value)) => root = ChunkRoot::try_from(value).ok(),
            (field, _) => return Err(WireError::Field(field).into()),
        }
    }
    let file = str::from_utf8(name).ok().and_then(SnapshotFile::from_name);
    match (file, sha256, root) {
        (Some(file), Some(sha256), Some(root)) => Ok(ManifestFile { file, size, sha256, root }),
        (None, ..) => Err(ManifestError::Files(String::from_utf8_lossy(name).chars().take(100).collect())),
        (Some(_), None, _) => Err(WireError::Field(3).into()),
        (Some(_), _, None) => Err(WireError::Field(4).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNABLE: &[u8] =
        include_bytes!("../../tests/fixtures/network/snapshots/org1/132/_snapshot_signable_metadata.json");

    fn manifest() -> Manifest {
        let signable = SignableMetadata::parse(SIGNABLE).unwrap();
        let files = signable.files().iter().rev().map(|(&file, &sha256)| ManifestFile {
            file,
            size: 1 + sha256.0[0] as u64 * 1_000,
            sha256,
            root: ChunkRoot([file as u8; 32]),
        });
        let files = files.collect();
        Manifest::new(signable, files).unwrap()
    }

    /// The bytes with `from` replaced by `to` of the same length.
    fn patched(bytes: &[u8], from: &[u8], to: &[u8], which: usize) -> Vec<u8> {
        let at = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).nth(which).expect("found").0;
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    }

    #[test]
    fn bytes_and_hash_are_fixed() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest());
        assert!(bytes.starts_with(b"\x08\x01\x12\x09mychannel\x18\x84\x01\x22\x20\x35\xfa"));
        // Made by an independent restatement of the format; other bytes would be another format, which needs another version.
        assert_eq!(manifest().hash().to_string(), "2dc01c88fa6e84ce34d6ad06a9e13fbe11481e45898f36a75748401b32c8ba06");
        assert!(bytes.len() < 4 << 10);
    }

    #[test]
    fn what_disagrees_with_the_metadata_is_refused() {
        let bytes = manifest().encode();
        let refused = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err().to_string();
        assert!(refused(&patched(&bytes, b"\x12\x09mychannel", b"\x12\x09mychannex", 0)).contains("canonical"));
        assert!(refused(&patched(&bytes, b"\x18\x84\x01", b"\x18\x85\x01", 0)).contains("canonical"));
        assert!(refused(&patched(&bytes, b"\x22\x20\x35", b"\x22\x20\x36", 0)).contains("canonical"));
        assert!(refused(&patched(&bytes, b"\x2a\x20\x37", b"\x2a\x20\x38", 0)).contains("canonical"));
        assert!(refused(&patched(&bytes, b"\x3a\x20\xba", b"\x3a\x20\xbb", 0)).contains("canonical"));
        assert!(refused(&patched(&bytes, b"\x1a\x20\x03\x6d", b"\x1a\x20\x03\x6e", 0)).contains("SHA-256 of config"));
        assert!(refused(&patched(&bytes, b"\x40\x14", b"\x40\x15", 0)).contains("2^21"));
        assert!(refused(&patched(&bytes, b"\x0a\x0atxids.data", b"\x0a\x0atxids.dat/", 0)).contains("txids.dat/"));
    }

    /// R4: a manifest with unknown, doubled or cut fields.
    #[test]
    fn what_is_not_canonical_is_refused() {
        let bytes = manifest().encode();
        let version_twice = [b"\x08\x01".as_slice(), &bytes].concat();
        assert!(matches!(Manifest::decode(&version_twice), Err(ManifestError::NotCanonical)));
        let unknown = [bytes.as_slice(), b"\x50\x01"].concat();
        assert!(matches!(Manifest::decode(&unknown), Err(ManifestError::Wire(WireError::Field(10)))));
        let padded = patched(&bytes, b"\x18\x84\x01", b"\x18\x84\x81\x00", 0);
        assert!(matches!(Manifest::decode(&padded), Err(ManifestError::Wire(WireError::Varint))));
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        assert!(matches!(Manifest::decode(&vec![0; MANIFEST_BYTES_MAX + 1]), Err(ManifestError::TooLong(_))));
    }

    /// Defence: sizes and entries are counted as they come. Removed, a manifest of a few KiB has chunks without number.
    /// R1: a file of 2^63 bytes or 2^32 chunks, a ninth file, a million of them.
    #[test]
    fn sizes_and_files_beyond_count_are_refused() {
        let largest = u64::from(u32::MAX) * CHUNK_BYTES;
        let sized = |size| {
            let mut whole = manifest();
            whole.files[2].size = size;
            Manifest::decode(&whole.encode())
        };
        assert_eq!(sized(largest).unwrap().files()[2].size, largest);
        for size in [largest + 1, 1 << 63, u64::MAX] {
            let error = sized(size).unwrap_err();
            assert!(matches!(error, ManifestError::FileSize { size: said, .. } if said == size), "{error}");
        }

        let bytes = manifest().encode();
        assert_eq!(manifest().files().len(), SnapshotFile::ALL.len());
        let mut one_less = manifest();
        one_less.files.pop();
        let last = &bytes[one_less.encode().len()..];
        let ninth = Manifest::decode(&[&bytes[..], last].concat()).unwrap_err();
        assert!(matches!(&ninth, ManifestError::Files(why) if why == "more than eight"), "{ninth}");
        let many = Manifest::decode(&[&bytes[..], &last.repeat(500)].concat()).unwrap_err();
        assert!(matches!(&many, ManifestError::Files(why) if why == "more than eight"), "{many}");
        // Not even looked at.
        let million = [0x4a, 0].repeat(1_000_000);
        assert!(matches!(Manifest::decode(&million), Err(ManifestError::TooLong(2_000_000))));
    }

    #[test]
    fn the_files_are_exactly_those_of_the_metadata() {
        let whole = manifest();
        let mut files = whole.files().to_vec();
        files.pop();
        assert!(matches!(Manifest::new(whole.signable().clone(), files.clone()), Err(ManifestError::Files(_))));
        files.push(files[0].clone());
        assert!(matches!(Manifest::new(whole.signable().clone(), files), Err(ManifestError::Files(_))));
        let mut files = whole.files().to_vec();
        files[2].size = u64::MAX;
        assert!(matches!(Manifest::new(whole.signable().clone(), files), Err(ManifestError::FileSize { .. })));
    }
}
