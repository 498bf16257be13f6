//! The collections' configurations, from the newest to the oldest, and what follows from them for the peer that joins.

use std::collections::BTreeMap;

use super::{
    ConfigFault, StoreError,
    btl::{BlocksToLive, NotInNewest},
    eligibility::{Membership, is_eligible},
    membership::names_org,
};
use crate::snapshot::{
    BlockNumber, ConfigHistoryEntry,
    protobuf::{Fields, Value, bytes_field},
};

/// An organisation's own collection of every chaincode: this and the MSP id (fabric: core/chaincode/implicitcollection).
const IMPLICIT_PREFIX: &str = "_implicit_org_";

/// Most collections that all entries of the history configure together: 1000 chaincodes with 10 collections, upgraded 400 times.
pub const COLLECTION_CONFIGS_MAX: usize = 4 << 20;

/// What the history of configurations says of the collections.
#[derive(Debug, Clone, Default)]
pub struct CollectionHistory {
    /// Of the organisation whose peer joins.
    msp_id: String,
    own_implicit: String,
    chaincodes: BTreeMap<String, Chaincode>,
    configs: usize,
}

#[derive(Debug, Clone)]
struct Chaincode {
    newest: BlockNumber,
    collections: BTreeMap<String, Collection>,
}

#[derive(Debug, Clone, Default)]
struct Collection {
    /// Newest first.
    memberships: Vec<Membership>,
    blocks_to_live: BlocksToLive,
}

impl CollectionHistory {
    /// A history without entries, for a peer of that organisation: only implicit collections.
    #[must_use]
    pub fn new(msp_id: &str) -> Self {
        Self { msp_id: msp_id.to_owned(), own_implicit: [IMPLICIT_PREFIX, msp_id].concat(), ..Self::default() }
    }

    /// Adds an entry; those of one chaincode come newest first, as in the file.
    ///
    /// # Errors
    /// [`StoreError::Package`], [`StoreError::TooManyConfigs`].
    pub fn add(&mut self, entry: &ConfigHistoryEntry<'_>) -> Result<(), StoreError> {
        let committed = entry.block_number;
        let damaged =
            || StoreError::Package { chaincode: entry.chaincode.to_owned(), block_number: entry.block_number };
        let chaincode = self
            .chaincodes
            .entry(entry.chaincode.to_owned())
            .or_insert_with(|| Chaincode { newest: committed, collections: BTreeMap::new() });
        for field in Fields::of(entry.package) {
            let Ok((1, Value::Bytes(config))) = field else { return Err(damaged()) };
            let Some(config) = StaticConfig::decode(config) else { return Err(damaged()) };
            self.configs += 1;
            if self.configs > COLLECTION_CONFIGS_MAX {
                return Err(StoreError::TooManyConfigs { max: COLLECTION_CONFIGS_MAX });
            }
            let collection = chaincode.collections.entry(config.name.to_owned()).or_default();
            collection
                .memberships
                .push(Membership { committed, is_member: names_org(config.member_orgs_policy, &self.msp_id) });
            collection.blocks_to_live.add(config.block_to_live, committed == chaincode.newest);
        }
        Ok(())
    }

    /// Whether the peer may have what `written` wrote to the collection.
    pub(super) fn is_eligible(&self, ns: &str, collection: &str, written: BlockNumber) -> Result<bool, StoreError> {
        if collection.starts_with(IMPLICIT_PREFIX) {
            return Ok(collection == self.own_implicit);
        }
        self.collection(ns, collection)
            .and_then(|collection| is_eligible(&collection.memberships, written))
            .ok_or_else(|| no_config(ns, collection, written, ConfigFault::NoneBefore))
    }

    /// When hashes of the state expire.
    pub(super) fn state_expiry(
        &self,
        ns: &str,
        collection: &str,
        written: BlockNumber,
    ) -> Result<Option<BlockNumber>, StoreError> {
        if collection.starts_with(IMPLICIT_PREFIX) {
            return Ok(None);
        }
        let blocks = self.collection(ns, collection).map(|collection| collection.blocks_to_live).unwrap_or_default();
        blocks.of_state(written).map_err(|NotInNewest| no_config(ns, collection, written, ConfigFault::NotInNewest))
    }

    /// When entries of the private data store expire.
    pub(super) fn private_data_expiry(&self, ns: &str, collection: &str, written: BlockNumber) -> Option<BlockNumber> {
        self.collection(ns, collection).and_then(|collection| collection.blocks_to_live.of_private_data(written))
    }

    fn collection(&self, ns: &str, collection: &str) -> Option<&Collection> {
        self.chaincodes.get(ns)?.collections.get(collection)
    }
}

fn no_config(ns: &str, collection: &str, block_number: BlockNumber, why: ConfigFault) -> StoreError {
    StoreError::NoConfig { chaincode: ns.to_owned(), collection: collection.to_owned(), block_number, why }
}

/// The part of peer.StaticCollectionConfig that counts here.
struct StaticConfig<'a> {
    name: &'a str,
    member_orgs_policy: &'a [u8],
    block_to_live: u64,
}

impl<'a> StaticConfig<'a> {
    fn decode(collection_config: &'a [u8]) -> Option<Self> {
        let mut config = Self { name: "", member_orgs_policy: &[], block_to_live: 0 };
        for field in Fields::of(bytes_field(collection_config, 1)?) {
            match field.ok()? {
                (1, Value::Bytes(name)) => config.name = str::from_utf8(name).ok()?,
                (2, Value::Bytes(policy)) => config.member_orgs_policy = bytes_field(policy, 1).unwrap_or_default(),
                (5, Value::Number(blocks)) => config.block_to_live = blocks,
                _ => {}
            }
        }
        Some(config)
    }
}

#[cfg(test)]
mod tests;
