use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::disk::OsDir;

const NAME: &str = "000003.log";

fn folder() -> (TempDir, Arc<dyn Dir>) {
    let folder = TempDir::new().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    (folder, dir)
}

/// The bytes of a log with these records, and where each record ends.
fn written(records: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
    let (folder, dir) = folder();
    let mut log = LogWriter::create(&*dir, NAME).unwrap();
    let mut ends = Vec::new();
    for record in records {
        log.append(record).unwrap();
        ends.push(log.bytes());
    }
    log.sync().unwrap();
    (std::fs::read(folder.path().join(NAME)).unwrap(), ends)
}

/// The records that come out of a log's bytes, and how it ends.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), LogFault>) {
    let (_folder, dir) = folder();
    let file = dir.open_file(NAME, Access::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    let mut log = LogReader::new(file);
    let mut records = Vec::new();
    let end = loop {
        match log.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => break Ok(()),
            Err(LevelDbError::Log { fault, .. }) => break Err(fault),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(matches!(log.next_record(), Ok(None)), "it stays ended");
    (records, end)
}

fn of_lengths(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().enumerate().map(|(index, &len)| vec![index as u8 + 1; len]).collect()
}

#[test]
fn the_bytes_are_those_of_leveldb() {
    // CRC-32C of 01 "foo" is 3a82ec18, masked 7ab35fdd (computed apart).
    let golden = b"\xdd\x5f\xb3\x7a\x03\0\x01foo";
    assert_eq!(written(&[b"foo".to_vec()]).0, golden);
    assert_eq!(read(golden), (vec![b"foo".to_vec()], Ok(())));
}

#[test]
fn records_around_the_end_of_a_block_come_back() {
    for len in BLOCK_BYTES - 3 * HEADER_BYTES..BLOCK_BYTES + HEADER_BYTES {
        let records = of_lengths(&[len, 0, 1, 70_000, 5]);
        assert_eq!(read(&written(&records).0), (records, Ok(())), "{len}");
    }
}

#[test]
fn a_torn_tail_ends_the_log_before_the_record_that_it_cuts() {
    let records = of_lengths(&[10, 40_000, 0, 33_000, 20]);
    let (bytes, ends) = written(&records);
    let around: Vec<usize> = ends.iter().flat_map(|&end| end as usize - 9..=end as usize + 9).collect();
    for cut in (0..bytes.len()).step_by(997).chain(around).filter(|&cut| cut <= bytes.len()) {
        let whole = ends.iter().filter(|&&end| end <= cut as u64).count();
        assert_eq!(read(&bytes[..cut]), (records[..whole].to_vec(), Ok(())), "cut at {cut}");
        // What wasn't written is a hole, as after a power cut.
        let mut holed = bytes.clone();
        holed[cut..].fill(0);
        assert_eq!(read(&holed), (records[..whole].to_vec(), Ok(())), "zeros from {cut}");
    }
}

#[test]
fn damage_before_a_whole_record_is_an_error() {
    let records = of_lengths(&[10, 40_000, 0, 33_000, 20]);
    let (bytes, ends) = written(&records);
    let last = ends[3] as usize;
    for at in (0..last).step_by(997).chain(0..32).chain(BLOCK_BYTES - 20..BLOCK_BYTES + 20).chain(last - 20..last) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let (found, end) = read(&damaged);
        assert!(end.is_err() || found == records, "the bit at {at} is found, or it means nothing");
        assert!(records.starts_with(&found), "only what was written, {at}");
    }
}

#[test]
fn damage_to_the_last_record_is_a_torn_tail() {
    let records = of_lengths(&[10, 20]);
    let (bytes, ends) = written(&records);
    for at in ends[0] as usize..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert_eq!(read(&damaged), (records[..1].to_vec(), Ok(())), "{at}");
    }
}

#[test]
fn chunks_of_no_record_are_errors() {
    let (bytes, _) = written(&of_lengths(&[3 * BLOCK_BYTES, 5]));
    let (first, behind) = bytes.split_at(BLOCK_BYTES);
    assert_eq!(read(behind), (vec![], Err(LogFault::NoBeginning)));
    let twice = [first, first, behind].concat();
    assert_eq!(read(&twice), (vec![], Err(LogFault::NoEnd)));
}

/// R1: a record of any number of chunks.
#[test]
fn a_record_over_the_limit_is_refused() {
    let (_folder, dir) = folder();
    let mut log = LogWriter::create(&*dir, NAME).unwrap();
    log.append(&vec![1; 100_000]).unwrap();
    let read = |max| LogReader::with_limit(dir.open_file(NAME, Access::Read).unwrap(), max).next_record();
    assert!(read(100_000).unwrap().is_some());
    assert!(matches!(read(99_999), Err(LevelDbError::Log { fault: LogFault::TooLong, .. })));
    assert!(matches!(log.append(&vec![0; LOG_RECORD_BYTES_MAX + 1]), Err(DiskError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn records_come_back(lengths in vec(prop_oneof![0..300_usize, 30_000..80_000_usize], 0..12)) {
        let records = of_lengths(&lengths);
        prop_assert_eq!(read(&written(&records).0), (records, Ok(())));
    }
}
