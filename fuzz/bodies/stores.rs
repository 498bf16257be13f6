//! Records of a peer's stores of any bytes: readers take them or say no, and what a reader takes encodes to the same bytes again. The first byte
//! chooses the reader, the second how many of the bytes are the key.

use snapferry::{
    ledger::stores::{
        BootstrappingInfo, CollectionHistory, Expiring, LedgerRecord, MissingKey, StateEntry, TxSet, put_reversed,
        savepoint_of, split_reversed,
    },
    snapshot::{BlockNumber, ConfigHistoryEntry, Height},
};

/// Runs the chosen reader.
pub(crate) fn body(data: &[u8]) {
    let Some((&[choice, key_len], data)) = data.split_first_chunk() else { return };
    let (key, value) = data.split_at_checked(usize::from(key_len)).unwrap_or((data, &[]));
    match choice % 9 {
        0 => {
            if let Some((value, rest)) = split_reversed(data) {
                let mut again = Vec::new();
                put_reversed(&mut again, value);
                assert_eq!([again.as_slice(), rest].concat(), data);
            }
        }
        1 => {
            if let Some(info) = BootstrappingInfo::decode(data) {
                assert_eq!(info.encode(), data);
            }
        }
        2 => drop(LedgerRecord::decode(data)),
        3 => {
            if let Some(entry) = StateEntry::decode(key, value) {
                assert_eq!([b"d", entry.namespace.as_bytes(), b"\0", entry.key].concat(), key);
            }
        }
        4 => {
            if let Some((_, transactions)) = MissingKey::decode(key, value) {
                assert_eq!(transactions.iter().count() as u64, transactions.count());
            }
        }
        5 => {
            if let Some(set) = TxSet::decode(data) {
                assert_eq!(set.iter().count() as u64, set.count());
                assert!(set.iter().is_sorted_by(|a, b| a < b));
            }
        }
        6 => {
            if let Some(height) = savepoint_of(key, value) {
                let mut again = Vec::new();
                Height::encode_into(height, &mut again);
                assert_eq!((key, again.as_slice()), (&b"s"[..], value));
            }
        }
        7 => drop(Expiring::decode(key, value)),
        _ => {
            let entry = ConfigHistoryEntry { chaincode: "cc", block_number: BlockNumber(7), package: data };
            let _ = CollectionHistory::new("Org1MSP").add(&entry);
        }
    }
}
