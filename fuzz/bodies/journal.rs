//! A damaged journal: opening it never fails for its content, what it returns survives a second opening, and it can be continued.

use snapferry::disk::{Access, Journal, OsDir};

const NAME: &str = "journal";

/// Identity of the work whose journal `data` claims to be.
pub const HEADER: &[u8] = b"fuzz";

/// `data`: the file's bytes.
pub fn body(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = OsDir::open(folder.path()).expect("it opens");
    dir.open_file(NAME, Access::CreateNew).and_then(|file| file.write_all_at(data, 0)).expect("it is written");

    let (mut journal, mut records) = Journal::open(&*dir, NAME, HEADER).expect("content is no error");
    let bytes: usize = records.iter().map(Vec::len).sum();
    assert!(bytes <= data.len(), "records come from the file only");
    journal.append(b"continued").and_then(|()| journal.sync()).expect("it can be continued");
    records.push(b"continued".to_vec());
    drop(journal);
    let (_, again) = Journal::open(&*dir, NAME, HEADER).expect("it opens again");
    assert_eq!(again, records);
}
