//! Where the snapshots of one block differ, file by file. Two organisations that differ don't lie: one of them has another state.

use std::{collections::BTreeSet, fmt};

use crate::snapshot::{Manifest, ManifestFile, SnapshotFile, StateDbType};

/// What differs between two or more manifests of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// The kinds of state database, if there are two: such snapshots never have one hash.
    pub state_db_types: Vec<StateDbType>,
    /// The last block itself, or the one before, isn't the same: the chains forked.
    pub chain: bool,
    /// Files whose SHA-256 differs, or that only some have; ascending by name.
    pub files: Vec<SnapshotFile>,
    /// Files whose SHA-256 is the same, but whose size or chunk root isn't: one of the manifests is wrong.
    pub roots: Vec<SnapshotFile>,
}

impl Divergence {
    /// Compares manifests; `None` if they are the same.
    #[must_use]
    pub fn between(manifests: &[&Manifest]) -> Option<Self> {
        let types: BTreeSet<&str> =
            manifests.iter().map(|manifest| manifest.signable().state_db_type().as_str()).collect();
        let state_db_types: Vec<StateDbType> =
            StateDbType::ALL.into_iter().filter(|kind| types.len() > 1 && types.contains(kind.as_str())).collect();
        let chains: BTreeSet<_> = manifests
            .iter()
            .map(|manifest| (manifest.signable().last_block_hash(), manifest.signable().previous_block_hash()))
            .collect();
        let mut found = Self { state_db_types, chain: chains.len() > 1, files: Vec::new(), roots: Vec::new() };
        for file in SnapshotFile::ALL {
            let of = |manifest: &&Manifest| manifest.files().iter().find(|of| of.file == file).cloned();
            let versions: Vec<Option<ManifestFile>> = manifests.iter().map(of).collect();
            let differ = |same: &dyn Fn(&ManifestFile, &ManifestFile) -> bool| {
                versions.windows(2).any(|pair| match pair {
                    [Some(one), Some(other)] => !same(one, other),
                    [one, other] => one.is_some() != other.is_some(),
                    _ => false,
                })
            };
            if differ(&|one, other| one.sha256 == other.sha256) {
                found.files.push(file);
            } else if differ(&|one, other| one == other) {
                found.roots.push(file);
            }
        }
        let nothing =
            !found.chain && found.state_db_types.is_empty() && found.files.is_empty() && found.roots.is_empty();
        (!nothing).then_some(found)
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.chain {
            parts.push("the last block itself differs: the chains forked".to_owned());
        }
        if !self.state_db_types.is_empty() {
            let types: Vec<&str> = self.state_db_types.iter().map(|kind| kind.as_str()).collect();
            parts.push(format!(
                "they use different state databases, {}, so their snapshots never have one hash",
                types.join(" and ")
            ));
        }
        let names = |files: &[SnapshotFile]| files.iter().map(|file| file.name()).collect::<Vec<_>>().join(", ");
        if !self.files.is_empty() {
            parts.push(format!("they differ in {}", names(&self.files)));
        }
        if !self.roots.is_empty() {
            parts.push(format!(
                "their manifests differ about {}, whose SHA-256 is the same: one is wrong",
                names(&self.roots)
            ));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{BlockHash, BlockNumber, ChunkRoot, FileDigest, SignableMetadata, SnapshotId};

    /// Made from the SHA-256 of both public-state files, a chunk root, the last block's hash, and the kind.
    fn manifest(state: u8, root: u8, block: u8, kind: StateDbType) -> Manifest {
        let id = SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(83) };
        let digest = |file| FileDigest([if file == SnapshotFile::PublicStateData { state } else { 0 }; 32]);
        let files = [
            SnapshotFile::PublicStateData,
            SnapshotFile::PublicStateMetadata,
            SnapshotFile::TxIdsData,
            SnapshotFile::TxIdsMetadata,
        ];
        let digests = files.into_iter().map(|file| (file, digest(file))).collect();
        let hash = BlockHash([block; 32]);
        let signable = SignableMetadata::new(id, hash, Some(hash), digests, kind).unwrap();
        let root = ChunkRoot([root; 32]);
        let files = files.into_iter().map(|file| ManifestFile { file, size: 9, sha256: digest(file), root });
        Manifest::new(signable, files.collect()).unwrap()
    }

    #[test]
    fn what_differs_is_named() {
        const LEVEL: StateDbType = StateDbType::SimpleKeyValueDb;
        let text = |other: Manifest| {
            Divergence::between(&[&manifest(1, 1, 1, LEVEL), &other])
                .map_or_else(String::new, |found| found.to_string())
        };
        assert_eq!(text(manifest(1, 1, 1, LEVEL)), "");
        assert_eq!(text(manifest(2, 1, 1, LEVEL)), "they differ in public_state.data");
        assert!(text(manifest(1, 1, 2, LEVEL)).contains("forked"));
        let roots = text(manifest(1, 2, 1, LEVEL));
        assert!(roots.contains("differ about public_state.data, public_state.metadata, txids.data"), "{roots}");
        let mere = text(manifest(1, 1, 1, StateDbType::CouchDb));
        assert_eq!(
            mere,
            "they use different state databases, SimpleKeyValueDB and CouchDB, so their snapshots never have one hash"
        );
    }
}
