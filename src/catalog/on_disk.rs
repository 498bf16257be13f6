//! What lies in the peer's snapshots folder, looked at without a service: nothing is hashed and nothing is written.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CatalogError, KnownSnapshot, Repairs, RottenChunk, ServedSnapshot,
    manifest_cache::{self, Cached},
    remains,
    rot::{self, Rot},
    scan::{Candidate, Stamp, look},
    served,
};
use crate::{
    disk::Dir,
    snapshot::{ManifestHash, SnapshotHash, SnapshotId, read_metadata},
};

/// One snapshot, or what is left of one.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnDisk {
    /// Channel and last block.
    pub id: SnapshotId,
    /// What can be said of it.
    pub found: Found,
}

/// What can be said of a snapshot without reading its data.
#[derive(Debug)]
pub enum Found {
    /// A service read all of it, and nothing was written since; or it deleted the data and kept this.
    Known(Box<KnownSnapshot>),
    /// Nobody has read it: this is what its metadata say.
    Unread {
        /// SHA-256 of the signable metadata.
        snapshot_hash: SnapshotHash,
        /// Bytes of all data files together.
        total_bytes: u64,
        /// Number of data files.
        files: u32,
    },
    /// It can't even be looked at, or its metadata are none.
    Unusable(String),
}

/// Every snapshot under `ROOT/completed`, and in `STATE/manifests` what services left there, by channel and block.
///
/// # Errors
/// One of the folders can't be listed.
pub fn list_on_disk(completed: &dyn Dir, manifests: Option<&Arc<dyn Dir>>) -> Result<Vec<OnDisk>, CatalogError> {
    let mut all: BTreeMap<SnapshotId, Found> = BTreeMap::new();
    for left in manifests.map_or(Ok(Vec::new()), |dir| remains::load_all(dir.as_ref())).map_err(CatalogError::State)? {
        all.insert(left.known.entry.id.clone(), Found::Known(Box::new(left.known)));
    }
    let looked = look(completed).map_err(CatalogError::Completed)?;
    for candidate in looked.candidates {
        let cached = manifests.and_then(|dir| manifest_cache::load(dir.as_ref(), &candidate.id, &candidate.stamp));
        let found = cached.map_or_else(|| unread(&candidate), known);
        all.insert(candidate.id, found);
    }
    for ((channel, block_number), error) in looked.unreadable {
        if let Some(block_number) = block_number {
            all.insert(SnapshotId { channel, block_number }, Found::Unusable(error.to_string()));
        }
    }
    Ok(all.into_iter().map(|(id, found)| OnDisk { id, found }).collect())
}

/// The chunks that a service has found to have rotted, of a snapshot that it knows; by what lies in `STATE/manifests` and
/// `STATE/repairs`.
#[must_use]
pub fn rotten_on_disk(manifests: &dyn Dir, repairs: Option<&Repairs>, known: &KnownSnapshot) -> Vec<RottenChunk> {
    let places = rot::kept(manifests, &known.entry.id, known.entry.manifest_hash);
    served::rotten(&known.manifest, places, repairs)
}

/// How many chunks of a snapshot a service has found to have rotted; by what lies in `STATE/manifests`.
#[must_use]
pub fn rotten_chunks_on_disk(manifests: &dyn Dir, id: &SnapshotId, manifest_hash: ManifestHash) -> usize {
    rot::kept(manifests, id, manifest_hash).len()
}

/// A snapshot to read from without a service, by what one has found out about it; `None` if none has, or the folder has changed since.
///
/// # Errors
/// The folder can't be opened.
pub fn open_on_disk(
    completed: &dyn Dir,
    manifests: &dyn Dir,
    repairs: Option<Repairs>,
    id: &SnapshotId,
) -> Result<Option<ServedSnapshot>, CatalogError> {
    let opened = completed.open_dir(id.channel.as_str()).and_then(|dir| dir.open_dir(&id.block_number.to_string()));
    let dir = opened.map_err(CatalogError::Completed)?;
    let stamp = Stamp::of(dir.as_ref()).map_err(CatalogError::Completed)?;
    let Some(cached) = manifest_cache::load(manifests, id, &stamp) else { return Ok(None) };
    let known = KnownSnapshot::new(cached.manifest, cached.commit_hash);
    let rot = Rot::unkept(id, known.entry.manifest_hash);
    ServedSnapshot::open(dir.as_ref(), known, cached.trees, rot, repairs).map(Some).map_err(CatalogError::Completed)
}

fn known(cached: Cached) -> Found {
    Found::Known(Box::new(KnownSnapshot::new(cached.manifest, cached.commit_hash)))
}

fn unread(candidate: &Candidate) -> Found {
    match read_metadata(candidate.dir.as_ref()) {
        Err(error) => Found::Unusable(error.to_string()),
        Ok(metadata) if *metadata.signable.id() != candidate.id => {
            Found::Unusable(format!("its metadata are those of {}", metadata.signable.id()))
        }
        Ok(metadata) => {
            let files = metadata.signable.files();
            let listed = |name: &str| files.keys().any(|file| file.name() == name);
            let total_bytes = candidate.stamp.0.iter().filter(|file| listed(&file.name)).map(|file| file.len).sum();
            let files = u32::try_from(files.len()).unwrap_or(u32::MAX);
            Found::Unread { snapshot_hash: metadata.signable.hash(), total_bytes, files }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::test_site::{Site, id};

    fn listed(site: &Site, manifests: bool) -> Vec<(SnapshotId, String)> {
        let manifests = manifests.then(|| site.open("manifests"));
        let all = list_on_disk(site.open("completed").as_ref(), manifests.as_ref()).unwrap();
        let kind = |found: Found| match found {
            Found::Known(known) if known.entry.only_metadata_available => "only metadata".to_owned(),
            Found::Known(_) => "known".to_owned(),
            Found::Unread { files, total_bytes, .. } => format!("{files} files, {total_bytes} bytes"),
            Found::Unusable(reason) => reason,
        };
        all.into_iter().map(|one| (one.id, kind(one.found))).collect()
    }

    #[test]
    fn what_nobody_read_is_told_from_its_metadata_and_the_rest_from_what_the_service_keeps() {
        let site = Site::new();
        site.add(132, 132);
        site.add(83, 90);
        let unread = listed(&site, true);
        assert_eq!(unread[0].0, id(83));
        assert!(unread[0].1.starts_with("8 files, "), "{unread:?}");
        assert!(unread[1].1.contains("those of mychannel/83"), "{unread:?}");
        let catalog = site.catalog();
        catalog.delete(&id(132)).unwrap();
        let kinds: Vec<String> = listed(&site, true).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!((kinds[0].as_str(), kinds[2].as_str()), ("known", "only metadata"));
        assert_eq!(listed(&site, false).len(), 2, "without our state, folders only");
    }
}
