//! Which explicit private collections have a configuration. A peer that joins asks the chaincode's newest one for each collection that it
//! gets hashes of, and gives up if that doesn't name it (fabric: core/ledger/kvledger/kv_ledger_provider.go,
//! mostRecentCollectionConfigFetcher).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    COUNTS_BYTES_MAX, ConfigHistoryEntry, ItemFault, NAMESPACE_BYTES_MAX, NAMESPACES_MAX,
    protobuf::{Fields, Value, bytes_field},
};

/// An organisation's own collection in every chaincode starts with this; nothing configures it (fabric: core/chaincode/implicitcollection).
const IMPLICIT_PREFIX: &str = "_implicit_org_";

/// Names of collections by chaincode, of its newest configuration: at most [`NAMESPACES_MAX`] with [`COUNTS_BYTES_MAX`] bytes, which is as many as
/// there can be namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ConfiguredCollections {
    by_chaincode: BTreeMap<String, BTreeSet<String>>,
    /// Whose entries were added last.
    last: Option<String>,
    count: u64,
    bytes: usize,
}

impl ConfiguredCollections {
    /// Remembers what an entry names; a chaincode's newest one comes first, as the history is sorted. A package that can't be read
    /// configures nothing.
    pub(super) fn add(&mut self, entry: &ConfigHistoryEntry<'_>) -> Result<(), ItemFault> {
        if self.last.as_deref() == Some(entry.chaincode) {
            return Ok(());
        }
        self.last = Some(entry.chaincode.to_owned());
        let mut names = BTreeSet::new();
        for field in Fields::of(entry.package) {
            let Ok((1, Value::Bytes(config))) = field else { continue };
            let name = bytes_field(config, 1).and_then(|collection| bytes_field(collection, 1));
            let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) else { continue };
            let bytes = entry.chaincode.len() + name.len();
            // No namespace can be as long.
            if bytes > NAMESPACE_BYTES_MAX || names.contains(name) {
                continue;
            }
            self.count += 1;
            self.bytes += bytes;
            if self.count > NAMESPACES_MAX || self.bytes > COUNTS_BYTES_MAX {
                return Err(ItemFault::TooManyCollections { max: NAMESPACES_MAX, bytes_max: COUNTS_BYTES_MAX });
            }
            names.insert(name.to_owned());
        }
        if !names.is_empty() {
            self.by_chaincode.insert(entry.chaincode.to_owned(), names);
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

    fn added(known: &mut ConfiguredCollections, chaincode: &str, package: &[u8]) -> Result<(), ItemFault> {
        known.add(&ConfigHistoryEntry { chaincode, block_number: BlockNumber(1), package })
    }

    #[test]
    fn names_of_the_newest_entry_are_known_and_implicit_collections_need_none() {
        let mut known = ConfiguredCollections::default();
        added(&mut known, "cc", &package(["one".to_owned(), "two".to_owned(), "one".to_owned()])).unwrap();
        added(&mut known, "cc", &package(["three".to_owned()])).unwrap();
        added(&mut known, "unreadable", b"\x0a\x04\xff\xff\xff\xff").unwrap();
        added(&mut known, "unreadable", &package(["one".to_owned()])).unwrap();
        for (chaincode, collection, knows) in [
            ("cc", "one", true),
            ("cc", "two", true),
            ("cc", "three", false), // an older configuration named it
            ("cc", "four", false),
            ("unreadable", "one", false),
            ("other", "one", false),
            ("other", "_implicit_org_Org1MSP", true),
        ] {
            assert_eq!(known.knows(chaincode, collection), knows, "{chaincode} {collection}");
        }
    }

    #[test]
    fn the_names_are_bounded_in_number_and_bytes_and_repetitions_cost_nothing() {
        let mut known = ConfiguredCollections::default();
        let all = || (0..NAMESPACES_MAX).map(|number| number.to_string());
        added(&mut known, "a", &package(all().chain(all()))).unwrap();
        let more = package(["x".to_owned()]);
        assert!(matches!(added(&mut known, "b", &more), Err(ItemFault::TooManyCollections { .. })));

        let mut known = ConfiguredCollections::default();
        let long = |number: u64| format!("{number:0>1000}");
        let fit = COUNTS_BYTES_MAX as u64 / 1_002;
        added(&mut known, "aa", &package((0..fit).map(long))).unwrap();
        let too_long = "x".repeat(NAMESPACE_BYTES_MAX);
        added(&mut known, "bb", &package([too_long.clone()])).unwrap();
        assert!(!known.knows("bb", &too_long));
        assert!(added(&mut known, "cc", &package([long(fit)])).is_err());
    }
}
