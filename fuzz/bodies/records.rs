//! Snapshot files of any bytes: both parsers (pushed slices, pulled stream) judge alike, and what they accept encodes to the same
//! bytes again. The first byte chooses the file and the size of the slices.

use snapferry::snapshot::{
    ConfigHistoryReader, ContentCheck, ContentError, ItemReader, NamespaceRow, ReadError, SnapshotFile, StateDbType,
    StateReader, decode_count_file, decode_rows_file, encode_count, encode_rows, put_item,
};

/// Runs every parser that the chosen file has.
pub(crate) fn body(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let Some(&file) = SnapshotFile::ALL.get(usize::from(choice % 8)) else { return };
    let slice_bytes = 1 + usize::from(choice / 8);
    let sound = pushed(file, data, slice_bytes).is_ok();
    // However the bytes are cut, the verdict is the same.
    assert_eq!(sound, pushed(file, data, data.len().max(1)).is_ok());
    match encoded_again(file, data) {
        Ok(again) => assert_eq!(again, data, "{file}"),
        // Order alone is the check's part, all else both must see.
        Err(_) => assert!(!sound, "{file}: sound, but can't be read"),
    }
}

fn pushed(file: SnapshotFile, data: &[u8], slice_bytes: usize) -> Result<(), ContentError> {
    let mut check = ContentCheck::new(file, StateDbType::SimpleKeyValueDb);
    for slice in data.chunks(slice_bytes) {
        check.update(slice)?;
    }
    check.finish().map(drop)
}

fn encoded_again(file: SnapshotFile, data: &[u8]) -> Result<Vec<u8>, ReadError> {
    let mut out = vec![1];
    match file {
        SnapshotFile::PublicStateData | SnapshotFile::PrivateStateHashesData => {
            let rows = vec![NamespaceRow { namespace: "n".to_owned(), records: u64::MAX }];
            let mut reader = StateReader::new(file, data, rows);
            while let Some((_, record)) = reader.next_record()? {
                record.encode_into(&mut out);
            }
        }
        SnapshotFile::TxIdsData => {
            let mut reader = ItemReader::new(file, data);
            while let Some(id) = reader.next_item()? {
                put_item(&mut out, id);
            }
        }
        SnapshotFile::ConfigHistoryData => {
            let mut reader = ConfigHistoryReader::new(data);
            while let Some(entry) = reader.next_entry()? {
                entry.encode_into(&mut out);
            }
        }
        SnapshotFile::PublicStateMetadata | SnapshotFile::PrivateStateHashesMetadata => {
            out = encode_rows(&decode_rows_file(file, data)?);
        }
        SnapshotFile::TxIdsMetadata | SnapshotFile::ConfigHistoryMetadata => {
            out = encode_count(decode_count_file(file, data)?);
        }
    }
    Ok(out)
}
