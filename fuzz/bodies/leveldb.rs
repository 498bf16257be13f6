//! Logs, batches of writes and MANIFEST edits of any bytes: refused, or the same again when written anew.

use snapferry::{
    disk::{Access, OsDir},
    ledger::leveldb::{Batch, BatchWriter, LogReader, LogWriter, Operation, VersionEdit},
};

/// Runs the decoders; the log's records through the others, too.
pub(crate) fn body(data: &[u8]) {
    record(data);
    log(data);
}

fn record(data: &[u8]) {
    if let Ok(batch) = Batch::decode(data) {
        let mut again = BatchWriter::new(batch.sequence);
        for operation in &batch.operations {
            match operation {
                Operation::Put(key, value) => again.put(key, value),
                Operation::Delete(key) => again.delete(key),
            }
        }
        assert_eq!(again.finish(), data);
    }
    if let Ok(edit) = VersionEdit::decode(data) {
        assert_eq!(VersionEdit::decode(&edit.encode()), Ok(edit));
    }
}

fn log(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = OsDir::open(folder.path()).expect("it opens");
    dir.open_file("read", Access::CreateNew).and_then(|file| file.write_all_at(data, 0)).expect("it is written");
    let read = |name| LogReader::new(dir.open_file(name, Access::Read).expect("it opens"));

    let mut log = read("read");
    let mut again = LogWriter::create(&*dir, "again").expect("it is made");
    let mut records = Vec::new();
    while let Ok(Some(found)) = log.next_record() {
        record(&found);
        again.append(&found).expect("it is written");
        records.push(found);
    }
    assert!(log.offset() <= data.len() as u64);
    assert!(matches!(log.next_record(), Ok(None)), "it stays ended");
    let mut log = read("again");
    for expected in records {
        assert_eq!(log.next_record().expect("it is whole"), Some(expected));
    }
    assert_eq!(log.next_record().expect("it is whole"), None);
}
