//! Which explicit private collections have a configuration. A peer that joins asks for it for each collection that it gets
//! hashes of, and gives up if there is none (fabric: core/ledger/pvtdatastorage/snapshot_data_importer.go).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    COUNTS_BYTES_MAX, ConfigHistoryEntry, ItemFault, NAMESPACE_BYTES_MAX, NAMESPACES_MAX,
    protobuf::{Fields, Value, bytes_field},
};

/// An organisation's own collection in every chaincode starts with this; nothing configures it (fabric: core/chaincode/implicitcollection).
const IMPLICIT_PREFIX: &str = "_implicit_org_";

/// Names of collections by chaincode, of any block: at most [`NAMESPACES_MAX`] with [`COUNTS_BYTES_MAX`] bytes, which is as many as
/// there can be namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ConfiguredCollections {
    by_chaincode: BTreeMap<String, BTreeSet<String>>,
    count: u64,
    bytes: usize,
}

impl ConfiguredCollections {
    /// Remembers what an entry names. A package that can't be read configures nothing.
    pub(super) fn add(&mut self, entry: &ConfigHistoryEntry<'_>) -> Result<(), ItemFault> {
        for field in Fields::of(entry.package) {
            let Ok((1, Value::Bytes(config))) = field else { continue };
            let name = bytes_field(config, 1).and_then(|collection| bytes_field(collection, 1));
            let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) else { continue };
            let bytes = entry.chaincode.len() + name.len();
            // No namespace can be as long.
            if bytes > NAMESPACE_BYTES_MAX || self.contains(entry.chaincode, name) {
                continue;
            }
            self.count += 1;
            self.bytes += bytes;
            if self.count > NAMESPACES_MAX || self.bytes > COUNTS_BYTES_MAX {
                return Err(ItemFault::TooManyCollections { max: NAMESPACES_MAX, bytes_max: COUNTS_BYTES_MAX });
            }
            self.by_chaincode.entry(entry.chaincode.to_owned()).or_default().insert(name.to_owned());
        }
        Ok(())
    }

    /// Whether a peer finds the collection: it is implicit, or configured.
    pub(super) fn knows(&self, chaincode: &str, collection: &str) -> bool {
        collection.starts_with(IMPLICIT_PREFIX) || self.contains(chaincode, collection)
    }

    fn contains(&self, chaincode: &str, collection: &str) -> bool {
        self.by_chaincode.get(chaincode).is_some_and(|names| names.contains(collection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{BlockNumber, protobuf::put_bytes};

    fn package(names: impl IntoIterator<Item = String>) -> Vec<u8> {
        let mut package = Vec::new();
        for name in names {
            let (mut collection, mut config) = (Vec::new(), Vec::new());
            put_bytes(&mut collection, 1, name.as_bytes());
            put_bytes(&mut config, 1, &collection);
            put_bytes(&mut package, 1, &config);
        }
        package
    }

    fn added(known: &mut ConfiguredCollections, package: &[u8]) -> Result<(), ItemFault> {
        known.add(&ConfigHistoryEntry { chaincode: "cc", block_number: BlockNumber(1), package })
    }

    #[test]
    fn names_of_every_entry_are_known_and_implicit_collections_need_none() {
        let mut known = ConfiguredCollections::default();
        added(&mut known, &package(["one".to_owned(), "two".to_owned()])).unwrap();
        added(&mut known, &package(["three".to_owned()])).unwrap();
        added(&mut known, b"\x0a\x04\xff\xff\xff\xff").unwrap();
        for (chaincode, collection, knows) in [
            ("cc", "one", true),
            ("cc", "two", true),
            ("cc", "three", true),
            ("cc", "four", false),
            ("other", "one", false),
            ("other", "_implicit_org_Org1MSP", true),
        ] {
            assert_eq!(known.knows(chaincode, collection), knows, "{chaincode} {collection}");
        }
    }

    #[test]
    fn the_names_are_bounded_in_number_and_bytes_and_repetitions_cost_nothing() {
        let mut known = ConfiguredCollections::default();
        let all = package((0..NAMESPACES_MAX).map(|number| number.to_string()));
        added(&mut known, &all).unwrap();
        added(&mut known, &all).unwrap();
        assert!(matches!(added(&mut known, &package(["x".to_owned()])), Err(ItemFault::TooManyCollections { .. })));

        let mut known = ConfiguredCollections::default();
        let long = |number: u64| format!("{number:0>1000}");
        let fit = COUNTS_BYTES_MAX as u64 / 1_002;
        added(&mut known, &package((0..fit).map(long))).unwrap();
        let too_long = "x".repeat(NAMESPACE_BYTES_MAX);
        added(&mut known, &package([too_long.clone()])).unwrap();
        assert!(!known.knows("cc", &too_long));
        assert!(added(&mut known, &package([long(fit)])).is_err());
    }
}
