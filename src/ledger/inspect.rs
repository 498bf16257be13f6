//! What is in a channel's ledger, as a value to print: `inspect --ledger`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    LedgerError, LedgerView,
    blocks::BlockLocation,
    leveldb::Database,
    stores::{CHAINS_FOLDER, Expiring, LevelKey, MissingKey, StateEntry, Status, Store, savepoint_of},
};
use crate::snapshot::{BlockHash, BlockNumber, ChannelId, protobuf::split_uvarint, split_private_namespace};

/// Under this the index says up to which block it is complete (fabric: common/ledger/blkstorage/blockindex.go).
const INDEX_CHECKPOINT: &[u8] = b"indexCheckpointKey";

/// In front of missing data (fabric: core/ledger/pvtdatastorage/kv_encoding.go): those that the reconciler asks for first, those that it
/// asked for in vain and asks for now and then, and those that the peer may not have.
const ELIGIBLE: u8 = 0x04;
const DEPRIORITIZED: u8 = 0x08;
const INELIGIBLE: u8 = 0x05;
/// Of the private data store: up to which block it is complete.
const LAST_BLOCK: u8 = 0x01;

/// A ledger in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LedgerInspection {
    /// The channel.
    pub channel: String,
    /// `active`, or why a peer wouldn't serve it.
    pub status: &'static str,
    /// Number of blocks, those before the snapshot counted.
    pub height: u64,
    /// Hash of the last block; empty without a block.
    pub current_block_hash: String,
    /// Hash of the block before; empty without one.
    pub previous_block_hash: String,
    /// The snapshot that the ledger came from; absent if it began with the genesis block.
    pub boot_snapshot: Option<BootSnapshot>,
    /// The last block that is in the state; absent before the first, and of a peer with CouchDB.
    pub state_block: Option<u64>,
    /// Namespaces of the state, ascending; absent of a peer with CouchDB, whose state isn't in this folder.
    pub state: Option<Vec<StateNamespace>>,
    /// Private data that the peer doesn't have, per collection.
    pub missing_private_data: Vec<MissingCollection>,
}

/// The snapshot that a ledger came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BootSnapshot {
    /// Its last block.
    pub block_number: u64,
    /// Hash of its last block.
    pub last_block_hash: String,
    /// SHA-256 of its signable metadata.
    pub snapshot_hash: String,
}

/// One namespace of the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StateNamespace {
    /// The chaincode; "" holds the channel's configuration.
    pub namespace: String,
    /// `public`, `hashes` (of private data) or `private`.
    pub kind: &'static str,
    /// The collection, unless public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys, values and key-level policies.
    pub bytes: u64,
}

/// Missing private data of one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MissingCollection {
    /// The chaincode.
    pub namespace: String,
    /// The collection.
    pub collection: String,
    /// Transactions whose data the peer may have: it asks others for them.
    pub eligible_transactions: u64,
    /// Transactions whose data only other organisations may have.
    pub ineligible_transactions: u64,
}

impl LedgerInspection {
    /// Reads the databases of a channel through.
    ///
    /// # Errors
    /// As [`LedgerView::database`]; a record that isn't what a peer writes.
    pub fn read(view: &LedgerView) -> Result<Self, LedgerError> {
        let tip = Tip::read(view)?;
        let (state_block, state) = match view.database(Store::State) {
            Err(LedgerError::NoStore { .. }) => (None, None),
            database => {
                let (block, namespaces) = state(view, &database?)?;
                (block, Some(namespaces))
            }
        };
        let text = |hash: Option<BlockHash>| hash.map(|hash| hash.to_string()).unwrap_or_default();
        Ok(Self {
            channel: view.channel().to_string(),
            status: match view.status() {
                Status::Active => "active",
                Status::Inactive => "inactive",
                Status::UnderConstruction => "under construction",
                Status::UnderDeletion => "under deletion",
            },
            height: tip.height,
            current_block_hash: text(tip.current),
            previous_block_hash: text(tip.previous),
            boot_snapshot: view.boot_snapshot().map(|signable| BootSnapshot {
                block_number: signable.id().block_number.0,
                last_block_hash: signable.last_block_hash().to_string(),
                snapshot_hash: signable.hash().to_string(),
            }),
            state_block,
            state,
            missing_private_data: missing(&view.database(Store::PrivateData)?, view.channel())?,
        })
    }
}

/// Where the chain ends.
struct Tip {
    height: u64,
    current: Option<BlockHash>,
    previous: Option<BlockHash>,
}

impl Tip {
    fn read(view: &LedgerView) -> Result<Self, LedgerError> {
        let index = view.database(Store::Index)?;
        let mut keys = LevelKey::new(view.channel().as_str());
        let key = keys.of(&[INDEX_CHECKPOINT]);
        let Some(checkpoint) = index.get(key)? else { return Ok(Self { height: 0, current: None, previous: None }) };
        let last = match split_uvarint(&checkpoint) {
            Ok(Some((last, []))) if last < u64::MAX => BlockNumber(last),
            _ => return Err(LedgerError::record(Store::Index, key, "it is no block number")),
        };
        let height = last.0 + 1;
        if let Some(boot) = view.boot_snapshot().filter(|boot| boot.id().block_number == last) {
            return Ok(Self { height, current: Some(boot.last_block_hash()), previous: boot.previous_block_hash() });
        }
        let key = keys.of(&[&BlockLocation::key(last)]);
        let location = index.get(key)?.as_deref().and_then(BlockLocation::decode);
        let location =
            location.ok_or_else(|| LedgerError::record(Store::Index, key, "it doesn't say where the last block is"))?;
        let [chains, of_channels] = CHAINS_FOLDER;
        let folder = view.ledgers().open_dir(chains)?.open_dir(of_channels)?.open_dir(view.channel().as_str())?;
        let header = location.header(&*folder, last)?;
        Ok(Self { height, current: Some(header.hash()), previous: header.previous_hash })
    }
}

/// The last block in the state, and its namespaces.
fn state(view: &LedgerView, database: &Database) -> Result<(Option<u64>, Vec<StateNamespace>), LedgerError> {
    let keys = LevelKey::new(view.channel().as_str());
    let (mut block, mut namespaces) = (None, Vec::<(String, StateNamespace)>::new());
    for pair in database.scan(keys.range()) {
        let (key, value) = pair?;
        let fault = || LedgerError::record(Store::State, &key, "it is no value of the state");
        let rest = keys.rest_of(&key).ok_or_else(fault)?;
        if let Some(height) = savepoint_of(rest, &value) {
            block = Some(height.block_number.0);
            continue;
        }
        let entry = StateEntry::decode(rest, &value).ok_or_else(fault)?;
        if namespaces.last().is_none_or(|(name, _)| name != entry.namespace) {
            namespaces.push((entry.namespace.to_owned(), namespace(entry.namespace)));
        }
        if let Some((_, last)) = namespaces.last_mut() {
            last.keys += 1;
            last.bytes += (entry.key.len() + entry.value.len() + entry.metadata.len()) as u64;
        }
    }
    Ok((block, namespaces.into_iter().map(|(_, namespace)| namespace).collect()))
}

/// What a namespace's name in the database says (fabric: core/ledger/kvledger/txmgmt/privacyenabledstate/db.go).
fn namespace(name: &str) -> StateNamespace {
    let (namespace, kind, collection) = match (split_private_namespace(name), name.split_once("$$p")) {
        (Some((namespace, collection)), _) => (namespace, "hashes", Some(collection)),
        (None, Some((namespace, collection))) => (namespace, "private", Some(collection)),
        (None, None) => (name, "public", None),
    };
    let collection = collection.map(str::to_owned);
    StateNamespace { namespace: namespace.to_owned(), kind, collection, ..StateNamespace::default() }
}

/// What private data of the channel that database lacks. What has expired is not missing: the peer doesn't ask for it any more, though it
/// removes the record later.
pub(super) fn missing(database: &Database, channel: &ChannelId) -> Result<Vec<MissingCollection>, LedgerError> {
    let mut keys = LevelKey::new(channel.as_str());
    let expired = expired(database, &mut keys)?;
    let mut collections = BTreeMap::<(String, String), (u64, u64)>::new();
    for kind in [ELIGIBLE, DEPRIORITIZED, INELIGIBLE] {
        let range = keys.of(&[&[kind]]).to_vec()..keys.of(&[&[kind + 1]]).to_vec();
        for pair in database.scan(range) {
            let (key, value) = pair?;
            let mut rest = keys.rest_of(&key).unwrap_or_default().to_vec();
            if let Some(first) = rest.first_mut().filter(|first| **first == DEPRIORITIZED) {
                *first = ELIGIBLE; // of the same form
            }
            let (missing, transactions) = MissingKey::decode(&rest, &value)
                .ok_or_else(|| LedgerError::record(Store::PrivateData, &key, "it is no record of missing data"))?;
            let name = (missing.namespace.to_owned(), missing.collection.to_owned());
            if expired.contains(&(missing.written, name.clone())) {
                continue;
            }
            let (eligible, ineligible) = collections.entry(name).or_default();
            *(if missing.is_eligible { eligible } else { ineligible }) += transactions.count();
        }
    }
    let collection = |((namespace, collection), (eligible_transactions, ineligible_transactions))| MissingCollection {
        namespace,
        collection,
        eligible_transactions,
        ineligible_transactions,
    };
    Ok(collections.into_iter().map(collection).collect())
}

/// The blocks, and the chaincodes and collections, whose missing data have expired.
type Expired = BTreeSet<(BlockNumber, (String, String))>;

/// What has expired by the last block.
fn expired(database: &Database, keys: &mut LevelKey) -> Result<Expired, LedgerError> {
    let key = keys.of(&[&[LAST_BLOCK]]);
    let Some(last_block) = database.get(key)? else { return Ok(BTreeSet::new()) };
    let Ok(Some((last_block, []))) = split_uvarint(&last_block) else {
        return Err(LedgerError::record(Store::PrivateData, key, "it is no block number"));
    };
    let end = Expiring::behind(BlockNumber(last_block));
    let range = keys.of(&[&Expiring::first()]).to_vec()..keys.of(&[&end]).to_vec();
    let mut expired = BTreeSet::new();
    for pair in database.scan(range) {
        let (key, value) = pair?;
        let record = keys.rest_of(&key).and_then(|rest| Expiring::decode(rest, &value));
        let record = record
            .ok_or_else(|| LedgerError::record(Store::PrivateData, &key, "it is no record of expiring private data"))?;
        let collections = record.missing.iter();
        expired.extend(
            collections.map(|(namespace, name)| (record.written, ((*namespace).to_owned(), (*name).to_owned()))),
        );
    }
    Ok(expired)
}
