//! What a source claims to have, and the two things that make a claim worth something: manifest and attestations.

use bytes::Bytes;

use super::{Broken, hash, snapshot_id, snapshot_id_pb};
use crate::{
    snapshot::{BlockHash, BlockNumber, ManifestHash, SnapshotHash, SnapshotId},
    transport::{
        limits::{
            ATTESTATION_BODY_BYTES_MAX, CATALOG_ENTRIES_MAX, FILE_INDEX_MAX, NONCE_BYTES_MAX, SIGNATURE_BYTES_MAX,
        },
        pb,
    },
};

/// Asks for the catalog of the session's channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogGet {
    /// A version that the asker has; 0: none.
    pub after_version: u64,
    /// `next` of the page before; 0: the first page.
    pub cursor: u64,
}

/// A page of the catalog, at most 1 000 entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatalogPage {
    /// Version of the catalog, monotone per source.
    pub version: u64,
    /// What the source claims to have.
    pub entries: Vec<CatalogClaim>,
    /// Cursor of the next page; 0: this is the last.
    pub next: u64,
    /// The first block that the source's own peer has of the channel, if the source knows.
    pub peer_begins_at: Option<BlockNumber>,
}

/// One snapshot that a source claims to have. Unsigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogClaim {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Hash of its manifest.
    pub manifest_hash: ManifestHash,
    /// Hash of its signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Bytes of all its data files.
    pub total_bytes: u64,
    /// Number of its data files, 1 to 8.
    pub files: u32,
    /// Only manifest and metadata remain.
    pub only_metadata_available: bool,
    /// The source holds only some chunks.
    pub partial: bool,
    /// Bit set; unknown bits are ignored.
    pub flags: u64,
    /// From the additional metadata, which nothing covers.
    pub last_block_commit_hash: Option<BlockHash>,
}

/// Asks for attestations of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationGet {
    /// Which snapshot.
    pub id: SnapshotId,
    /// At most 64 bytes, echoed in a live attestation.
    pub nonce: Bytes,
}

/// An attestation as sent, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// AttestBody (trust.md 6.1), at most 20 KiB.
    pub body: Bytes,
    /// At most 512 bytes.
    pub signature: Bytes,
}

/// Asks for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestGet {
    /// Which snapshot.
    pub id: SnapshotId,
    /// Hash of the manifest that is wanted.
    pub manifest_hash: ManifestHash,
}

impl From<pb::CatalogGet> for CatalogGet {
    fn from(get: pb::CatalogGet) -> Self {
        Self { after_version: get.after_version, cursor: get.cursor }
    }
}

impl From<CatalogGet> for pb::CatalogGet {
    fn from(get: CatalogGet) -> Self {
        Self { after_version: get.after_version, cursor: get.cursor }
    }
}

impl TryFrom<pb::CatalogPage> for CatalogPage {
    type Error = Broken;
    fn try_from(page: pb::CatalogPage) -> Result<Self, Broken> {
        if page.entries.len() > CATALOG_ENTRIES_MAX {
            return Err(Broken::Field("entries"));
        }
        let entries = page.entries.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let peer_begins_at = page.peer_begins_at.map(BlockNumber);
        Ok(Self { version: page.version, entries, next: page.next, peer_begins_at })
    }
}

impl From<CatalogPage> for pb::CatalogPage {
    fn from(page: CatalogPage) -> Self {
        let entries = page.entries.into_iter().map(Into::into).collect();
        let peer_begins_at = page.peer_begins_at.map(|block| block.0);
        Self { version: page.version, entries, next: page.next, peer_begins_at }
    }
}

impl TryFrom<pb::CatalogEntry> for CatalogClaim {
    type Error = Broken;
    fn try_from(entry: pb::CatalogEntry) -> Result<Self, Broken> {
        if entry.files == 0 || entry.files > FILE_INDEX_MAX + 1 {
            return Err(Broken::Field("files"));
        }
        let commit_hash = match entry.last_block_commit_hash.as_ref() {
            [] => None,
            bytes => Some(hash(bytes, "last_block_commit_hash")?),
        };
        Ok(Self {
            id: snapshot_id(entry.snapshot)?,
            manifest_hash: hash(&entry.manifest_hash, "manifest_hash")?,
            snapshot_hash: hash(&entry.snapshot_hash, "snapshot_hash")?,
            total_bytes: entry.total_bytes,
            files: entry.files,
            only_metadata_available: entry.only_metadata_available,
            partial: entry.partial,
            flags: entry.flags,
            last_block_commit_hash: commit_hash,
        })
    }
}

impl From<CatalogClaim> for pb::CatalogEntry {
    fn from(claim: CatalogClaim) -> Self {
        Self {
            snapshot: Some(snapshot_id_pb(&claim.id)),
            manifest_hash: Bytes::copy_from_slice(claim.manifest_hash.as_bytes()),
            snapshot_hash: Bytes::copy_from_slice(claim.snapshot_hash.as_bytes()),
            total_bytes: claim.total_bytes,
            files: claim.files,
            only_metadata_available: claim.only_metadata_available,
            partial: claim.partial,
            flags: claim.flags,
            last_block_commit_hash: claim
                .last_block_commit_hash
                .map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash.as_bytes())),
        }
    }
}

impl TryFrom<pb::AttestationGet> for AttestationGet {
    type Error = Broken;
    fn try_from(get: pb::AttestationGet) -> Result<Self, Broken> {
        if get.nonce.len() > NONCE_BYTES_MAX {
            return Err(Broken::Field("nonce"));
        }
        Ok(Self { id: snapshot_id(get.snapshot)?, nonce: get.nonce })
    }
}

impl From<AttestationGet> for pb::AttestationGet {
    fn from(get: AttestationGet) -> Self {
        Self { snapshot: Some(snapshot_id_pb(&get.id)), nonce: get.nonce }
    }
}

impl TryFrom<pb::Attestation> for Attestation {
    type Error = Broken;
    fn try_from(attestation: pb::Attestation) -> Result<Self, Broken> {
        if attestation.body.len() > ATTESTATION_BODY_BYTES_MAX {
            return Err(Broken::Field("body"));
        }
        if attestation.signature.len() > SIGNATURE_BYTES_MAX {
            return Err(Broken::Field("signature"));
        }
        Ok(Self { body: attestation.body, signature: attestation.signature })
    }
}

impl From<Attestation> for pb::Attestation {
    fn from(attestation: Attestation) -> Self {
        Self { body: attestation.body, signature: attestation.signature }
    }
}

impl TryFrom<pb::ManifestGet> for ManifestGet {
    type Error = Broken;
    fn try_from(get: pb::ManifestGet) -> Result<Self, Broken> {
        Ok(Self { id: snapshot_id(get.snapshot)?, manifest_hash: hash(&get.manifest_hash, "manifest_hash")? })
    }
}

impl From<ManifestGet> for pb::ManifestGet {
    fn from(get: ManifestGet) -> Self {
        Self {
            snapshot: Some(snapshot_id_pb(&get.id)),
            manifest_hash: Bytes::copy_from_slice(get.manifest_hash.as_bytes()),
        }
    }
}
