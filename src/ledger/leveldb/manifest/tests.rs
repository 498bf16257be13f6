use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::ledger::leveldb::Kind;

fn key(user_key: &[u8], sequence: u64) -> InternalKey {
    InternalKey::new(user_key, sequence, Kind::Put)
}

fn sample() -> VersionEdit {
    let table = TableMeta { number: 5, bytes: 300, smallest: key(b"a", 9), largest: key(b"b", 8) };
    VersionEdit {
        comparator: Some(COMPARATOR.to_owned()),
        log_number: Some(6),
        previous_log_number: Some(0),
        next_file: Some(7),
        last_sequence: Some(9),
        compact_pointers: vec![(1, key(b"a", 9))],
        deleted: vec![(0, 4)],
        added: vec![(1, table)],
    }
}

#[test]
fn the_bytes_are_those_of_leveldb() {
    let golden = [
        &b"\x01\x1aleveldb.BytewiseComparator"[..],
        b"\x02\x06\x09\x00\x03\x07\x04\x09",
        b"\x05\x01\x09a\x01\x09\0\0\0\0\0\0",
        b"\x06\x00\x04",
        b"\x07\x01\x05\xac\x02\x09a\x01\x09\0\0\0\0\0\0\x09b\x01\x08\0\0\0\0\0\0",
    ];
    assert_eq!(sample().encode(), golden.concat());
    assert_eq!(VersionEdit::decode(&golden.concat()), Ok(sample()));
}

#[test]
fn what_is_no_edit_is_refused() {
    let refused = |bytes: &[u8]| VersionEdit::decode(bytes).unwrap_err();
    assert_eq!(refused(b"\x08\x01"), ManifestFault::Field(8));
    assert_eq!(refused(b"\x02"), ManifestFault::Truncated);
    assert_eq!(refused(b"\x02\x80"), ManifestFault::Truncated);
    assert_eq!(refused(b"\x06\x20\x04"), ManifestFault::Level(32));
    assert!(VersionEdit::decode(b"\x06\x1f\x04").is_ok(), "the highest level");
    assert_eq!(refused(b"\x05\x01\x03abc"), ManifestFault::Key);
    assert_eq!(refused(b"\x05\x01\x09a\x02\x09\0\0\0\0\0\0"), ManifestFault::Key);
    let with = |last_sequence| VersionEdit { last_sequence: Some(last_sequence), ..VersionEdit::default() }.encode();
    assert_eq!(refused(&with(SEQUENCE_MAX + 1)), ManifestFault::Sequence);
    assert!(VersionEdit::decode(&with(SEQUENCE_MAX)).is_ok());
    let mut upside_down = sample();
    for (_, table) in &mut upside_down.added {
        std::mem::swap(&mut table.smallest, &mut table.largest);
    }
    assert_eq!(refused(&upside_down.encode()), ManifestFault::TableRange(5));
}

/// R1: the length of a key.
#[test]
fn a_huge_length_takes_no_memory() {
    let huge = [&b"\x05\x01"[..], &[0xff; 9], &[1]].concat();
    assert_eq!(VersionEdit::decode(&huge), Err(ManifestFault::Truncated));
}

fn keys() -> impl Strategy<Value = InternalKey> {
    (vec(any::<u8>(), 0..40), 0..=SEQUENCE_MAX).prop_map(|(user_key, sequence)| key(&user_key, sequence))
}

prop_compose! {
    fn tables()(number: u64, bytes: u64, one in keys(), other in keys()) -> TableMeta {
        let (smallest, largest) = if one <= other { (one, other) } else { (other, one) };
        TableMeta { number, bytes, smallest, largest }
    }
}

prop_compose! {
    fn edits()(
        numbers: [Option<u64>; 3],
        last_sequence in option::of(0..=SEQUENCE_MAX),
        comparator in option::of("[a-z.]{0,100}"),
        compact_pointers in vec((0..LEVELS_MAX, keys()), 0..3),
        deleted in vec((0..LEVELS_MAX, any::<u64>()), 0..5),
        added in vec((0..LEVELS_MAX, tables()), 0..5),
    ) -> VersionEdit {
        let [log_number, previous_log_number, next_file] = numbers;
        VersionEdit {
            comparator, log_number, previous_log_number, next_file, last_sequence, compact_pointers, deleted, added,
        }
    }
}

proptest! {
    #[test]
    fn edits_come_back(edit in edits()) {
        prop_assert_eq!(VersionEdit::decode(&edit.encode()), Ok(edit));
    }
}
