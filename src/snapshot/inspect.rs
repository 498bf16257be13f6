//! What is in a snapshot folder, as a value to print: `inspect`.
//!
//! Reads the data once more with the rows known, which [`super::verify_folder`] can't rely on.

use std::{collections::BTreeSet, io};

use prost::Message;
use serde::Serialize;

use super::{
    COUNTS_BYTES_MAX, ConfigHistoryReader, FolderError, ReadError, SnapshotFile, StateDbType, StateReader,
    check_exact_set, decode_count_file, decode_rows_file, read_metadata, split_private_namespace,
};
use crate::disk::{Access, Dir, DiskError, FileReader, read_small};

#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unnameable_types,
    reason = "generated from proto/fabric/collection.proto"
)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/fabric.collection.rs"));
}

/// Why a folder can't be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// Metadata, or the set of files.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file's content.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A collection configuration that is no peer.CollectionConfigPackage.
    #[error("confighistory.data: the configuration of {chaincode} at block {block_number} can't be read: {source}")]
    CollectionConfig {
        /// The chaincode.
        chaincode: String,
        /// The block that committed it.
        block_number: u64,
        /// Why.
        source: prost::DecodeError,
    },
}

/// A snapshot folder in numbers. Hashes are as stated: [`super::verify_folder`] says whether they are right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The channel.
    pub channel: String,
    /// The last block in the snapshot.
    pub block_number: u64,
    /// Hash of the last block.
    pub last_block_hash: String,
    /// Hash of the block before; empty at block 0.
    pub previous_block_hash: String,
    /// Commit hash of the last block; empty if the ledger has none.
    pub last_block_commit_hash: String,
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: String,
    /// The peer's state database.
    pub state_db_type: StateDbType,
    /// The files, ascending by name.
    pub files: Vec<FileInspection>,
    /// Public state per namespace, in the file's order.
    pub public_state: Vec<NamespaceInspection>,
    /// Hashes of private state per collection, in the file's order.
    pub private_state_hashes: Vec<CollectionInspection>,
    /// Number of transaction ids.
    pub transaction_ids: u64,
    /// Collection configurations, newest first for each chaincode.
    pub collection_config_history: Vec<CollectionConfigInspection>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileInspection {
    /// Its name.
    pub name: &'static str,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, as stated.
    pub sha256: String,
}

/// One namespace of the public state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NamespaceInspection {
    /// The namespace; "" holds the channel's configuration.
    pub namespace: String,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys, values and key-level policies.
    pub bytes: u64,
}

/// Hashes of one private collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionInspection {
    /// The chaincode.
    pub namespace: String,
    /// The collection; `_implicit_org_<MSP ID>` for an organisation's own.
    pub collection: String,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of key hashes, value hashes and key-level policies.
    pub bytes: u64,
}

/// The collections that a chaincode definition set at a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionConfigInspection {
    /// The chaincode.
    pub chaincode: String,
    /// The block that committed the definition.
    pub block_number: u64,
    /// The collections.
    pub collections: Vec<CollectionDefinition>,
}

/// One collection's definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CollectionDefinition {
    /// Its name.
    pub name: String,
    /// MSP IDs that its member policy names.
    pub members: Vec<String>,
    /// Peers that must receive private data at endorsement.
    pub required_peer_count: i32,
    /// Peers that private data are sent to at endorsement.
    pub maximum_peer_count: i32,
    /// Blocks after which private data expire; 0 = never.
    pub block_to_live: u64,
    /// Whether only members may read.
    pub member_only_read: bool,
    /// Whether only members may write.
    pub member_only_write: bool,
}

/// Reads a whole folder.
///
/// # Errors
/// Metadata or set of files are wrong, or a file can't be read as what it should be.
pub fn inspect_folder(dir: &dyn Dir) -> Result<Inspection, InspectError> {
    inspect_folder_with(dir, &mut |_| ())
}

/// As [`inspect_folder`]; `progress` is told the bytes of each step. Together they are the bytes of the listed files: one that
/// needn't be read is told at once.
///
/// # Errors
/// As [`inspect_folder`].
pub fn inspect_folder_with(dir: &dyn Dir, progress: &mut dyn FnMut(u64)) -> Result<Inspection, InspectError> {
    let metadata = read_metadata(dir)?;
    check_exact_set(dir, &metadata.signable)?;
    let signable = &metadata.signable;
    let mut files = Vec::new();
    for (file, digest) in signable.files() {
        let bytes = dir.open_file(file.name(), Access::Read)?.len()?;
        files.push(FileInspection { name: file.name(), bytes, sha256: digest.to_string() });
        if !is_read_through(*file) {
            progress(bytes);
        }
    }
    let has = |file| signable.files().contains_key(&file);
    let public_state = state(dir, SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata, progress)?;
    let private = match has(SnapshotFile::PrivateStateHashesData) {
        true => state(dir, SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata, progress)?,
        false => Vec::new(),
    };
    let text = |hash: Option<super::BlockHash>| hash.map(|hash| hash.to_string()).unwrap_or_default();
    let count_bytes = read_small(dir, SnapshotFile::TxIdsMetadata.name(), COUNTS_BYTES_MAX as u64)?;
    Ok(Inspection {
        channel: signable.id().channel.to_string(),
        block_number: signable.id().block_number.0,
        last_block_hash: signable.last_block_hash().to_string(),
        previous_block_hash: text(signable.previous_block_hash()),
        last_block_commit_hash: text(metadata.commit_hash),
        snapshot_hash: signable.hash().to_string(),
        state_db_type: signable.state_db_type(),
        files,
        public_state,
        private_state_hashes: private.into_iter().map(collection).collect(),
        transaction_ids: decode_count_file(SnapshotFile::TxIdsMetadata, &count_bytes).map_err(ReadError::from)?,
        collection_config_history: match has(SnapshotFile::ConfigHistoryData) {
            true => config_history(dir, progress)?,
            false => Vec::new(),
        },
    })
}

/// The others are small, or only counted.
const fn is_read_through(file: SnapshotFile) -> bool {
    matches!(
        file,
        SnapshotFile::PublicStateData | SnapshotFile::PrivateStateHashesData | SnapshotFile::ConfigHistoryData
    )
}

/// A file's stream that tells how much of it was read.
struct Told<'a> {
    reader: FileReader,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Told<'a> {
    fn open(dir: &dyn Dir, file: SnapshotFile, progress: &'a mut dyn FnMut(u64)) -> Result<Self, DiskError> {
        Ok(Self { reader: FileReader::new(dir.open_file(file.name(), Access::Read)?), progress })
    }
}

impl io::Read for Told<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

fn state(
    dir: &dyn Dir,
    data: SnapshotFile,
    rows: SnapshotFile,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<NamespaceInspection>, InspectError> {
    let rows_bytes = read_small(dir, rows.name(), COUNTS_BYTES_MAX as u64)?;
    let rows = decode_rows_file(rows, &rows_bytes).map_err(ReadError::from)?;
    let mut reader = StateReader::new(data, Told::open(dir, data, progress)?, rows);
    let mut namespaces: Vec<NamespaceInspection> = Vec::new();
    while let Some((namespace, record)) = reader.next_record()? {
        if namespaces.last().is_none_or(|last| last.namespace != namespace) {
            namespaces.push(NamespaceInspection { namespace: namespace.to_owned(), ..Default::default() });
        }
        if let Some(last) = namespaces.last_mut() {
            last.keys += 1;
            last.bytes += (record.key.len() + record.value.len() + record.metadata.len()) as u64;
        }
    }
    Ok(namespaces)
}

fn collection(state: NamespaceInspection) -> CollectionInspection {
    let (namespace, collection) = split_private_namespace(&state.namespace).unwrap_or((&state.namespace, ""));
    let (namespace, collection) = (namespace.to_owned(), collection.to_owned());
    CollectionInspection { namespace, collection, keys: state.keys, bytes: state.bytes }
}

fn config_history(
    dir: &dyn Dir,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<CollectionConfigInspection>, InspectError> {
    let mut reader = ConfigHistoryReader::new(Told::open(dir, SnapshotFile::ConfigHistoryData, progress)?);
    let mut history = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let (chaincode, block_number) = (entry.chaincode.to_owned(), entry.block_number.0);
        match pb::CollectionConfigPackage::decode(entry.package) {
            Ok(package) => {
                let collections = package.config.into_iter().filter_map(definition).collect();
                history.push(CollectionConfigInspection { chaincode, block_number, collections });
            }
            Err(source) => return Err(InspectError::CollectionConfig { chaincode, block_number, source }),
        }
    }
    Ok(history)
}

fn definition(config: pb::CollectionConfig) -> Option<CollectionDefinition> {
    let config = config.static_collection_config?;
    let policy = config.member_orgs_policy.and_then(|policy| policy.signature_policy).unwrap_or_default();
    let role = |principal: &pb::MspPrincipal| pb::MspRole::decode(principal.principal.clone()).ok();
    let is_role = |principal: &&pb::MspPrincipal| principal.principal_classification == 0;
    let members = policy.identities.iter().filter(is_role).filter_map(role).map(|role| role.msp_identifier);
    Some(CollectionDefinition {
        name: config.name,
        members: members.collect::<BTreeSet<_>>().into_iter().collect(),
        required_peer_count: config.required_peer_count,
        maximum_peer_count: config.maximum_peer_count,
        block_to_live: config.block_to_live,
        member_only_read: config.member_only_read,
        member_only_write: config.member_only_write,
    })
}
