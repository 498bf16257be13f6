//! Which chunks of a file a source has: asked of sources that are joining themselves.

use std::ops::Range;

use bytes::Bytes;

use super::{Broken, file_index, hash, snapshot_id, snapshot_id_pb};
use crate::{
    snapshot::{ManifestHash, SnapshotId},
    transport::{limits::HAVE_RANGES_MAX, pb},
};

/// Asks which chunks of a file are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaveGet {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The manifest by which the file index counts.
    pub manifest_hash: ManifestHash,
    /// Index in the manifest's list of files, 0 to 7.
    pub file_index: u32,
}

/// What a source claims to have of a file: a claim, as all that isn't proved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Have {
    /// Grows with every change at that source.
    pub version: u64,
    /// `None`: all chunks; else these, ascending, none of them empty or next to another.
    pub ranges: Option<Vec<Range<u32>>>,
}

impl Have {
    /// With the first [`HAVE_RANGES_MAX`] ranges: whoever has more says so when it has them in fewer pieces.
    #[must_use]
    pub fn new(version: u64, ranges: Option<Vec<Range<u32>>>) -> Self {
        let cut = |mut ranges: Vec<Range<u32>>| {
            ranges.truncate(HAVE_RANGES_MAX);
            ranges
        };
        Self { version, ranges: ranges.map(cut) }
    }
}

impl TryFrom<pb::HaveGet> for HaveGet {
    type Error = Broken;
    fn try_from(get: pb::HaveGet) -> Result<Self, Broken> {
        Ok(Self {
            id: snapshot_id(get.snapshot)?,
            manifest_hash: hash(&get.manifest_hash, "manifest_hash")?,
            file_index: file_index(get.file_index)?,
        })
    }
}

impl From<HaveGet> for pb::HaveGet {
    fn from(get: HaveGet) -> Self {
        Self {
            snapshot: Some(snapshot_id_pb(&get.id)),
            manifest_hash: Bytes::copy_from_slice(get.manifest_hash.as_bytes()),
            file_index: get.file_index,
        }
    }
}

impl TryFrom<pb::Have> for Have {
    type Error = Broken;
    fn try_from(have: pb::Have) -> Result<Self, Broken> {
        let broken = Broken::Field("runs");
        if have.complete {
            return if have.runs.is_empty() { Ok(Self { version: have.version, ranges: None }) } else { Err(broken) };
        }
        let (pairs, rest) = have.runs.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() > HAVE_RANGES_MAX {
            return Err(broken);
        }
        let mut ranges = Vec::with_capacity(pairs.len());
        let mut end = 0_u32;
        for [lacking, having] in pairs {
            // Only the first run may be empty: else two ranges would be one.
            if *having == 0 || (*lacking == 0 && !ranges.is_empty()) {
                return Err(broken);
            }
            let start = end.checked_add(*lacking).ok_or(broken)?;
            end = start.checked_add(*having).ok_or(broken)?;
            ranges.push(start..end);
        }
        Ok(Self { version: have.version, ranges: Some(ranges) })
    }
}

impl From<Have> for pb::Have {
    fn from(have: Have) -> Self {
        let mut runs = Vec::new();
        let mut end = 0;
        for range in have.ranges.iter().flatten() {
            runs.extend([range.start.saturating_sub(end), range.end.saturating_sub(range.start)]);
            end = range.end;
        }
        Self { version: have.version, complete: have.ranges.is_none(), runs }
    }
}
