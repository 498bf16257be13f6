//! Every record of both recorded snapshots: the same content as the recorded dump, and encoded again the same bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{fmt::Write, fs, path::PathBuf};

use sha2::{Digest, Sha256};
use snapferry::{
    disk::OsDir,
    snapshot::{
        ConfigHistoryReader, ItemReader, SnapshotFile, SnapshotMetadata, StateReader, decode_count_file,
        decode_rows_file, encode_count, encode_rows, inspect_folder, inspect_folder_with, put_item, verify_folder,
    },
};

const BLOCKS: [u64; 2] = [83, 132];

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network")
}

fn read(block: u64, file: SnapshotFile) -> Vec<u8> {
    fs::read(fixtures().join(format!("snapshots/org1/{block}")).join(file.name())).unwrap()
}

/// As the dump was written: long values as length and SHA-256.
fn value_text(value: &[u8]) -> String {
    if value.len() <= 200 {
        return hex::encode(value);
    }
    format!("[{} bytes sha256 {}]", value.len(), hex::encode(Sha256::digest(value)))
}

/// The state records of a file as lines of the dump; asserts that they encode to the file again.
fn state_lines(block: u64, data: SnapshotFile, metadata: SnapshotFile, lines: &mut String) {
    let (bytes, row_bytes) = (read(block, data), read(block, metadata));
    let rows = decode_rows_file(metadata, &row_bytes).unwrap();
    assert_eq!(encode_rows(&rows), row_bytes);
    let name = data.name().strip_suffix(".data").unwrap();
    let mut reader = StateReader::new(data, bytes.as_slice(), rows);
    let mut again = vec![1];
    while let Some((namespace, record)) = reader.next_record().unwrap() {
        let (key, metadata) = (hex::encode(record.key), hex::encode(record.metadata));
        let (value, version) = (value_text(record.value), record.version);
        writeln!(
            lines,
            "{name}\t{namespace:?}\t{key}\tv={value}\tmd={metadata}\tver={},{}",
            version.block_number, version.tx_number
        )
        .unwrap();
        record.encode_into(&mut again);
    }
    assert_eq!(again, bytes, "{data} of {block} encodes to the same bytes");
}

#[test]
fn every_record_is_the_dumped_one_and_encodes_to_the_same_bytes() {
    for block in BLOCKS {
        let mut lines = String::new();
        state_lines(block, SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata, &mut lines);
        state_lines(block, SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata, &mut lines);

        let bytes = read(block, SnapshotFile::TxIdsData);
        let mut reader = ItemReader::new(SnapshotFile::TxIdsData, bytes.as_slice());
        let (mut again, mut count) = (vec![1], 0);
        while let Some(id) = reader.next_item().unwrap() {
            writeln!(lines, "txid\t{:?}", str::from_utf8(id).unwrap()).unwrap();
            put_item(&mut again, id);
            count += 1;
        }
        assert_eq!(again, bytes);
        let count_bytes = read(block, SnapshotFile::TxIdsMetadata);
        assert_eq!(decode_count_file(SnapshotFile::TxIdsMetadata, &count_bytes).unwrap(), count);
        assert_eq!(encode_count(count), count_bytes);

        let bytes = read(block, SnapshotFile::ConfigHistoryData);
        let mut reader = ConfigHistoryReader::new(bytes.as_slice());
        let (mut again, mut count) = (vec![1], 0);
        while let Some(entry) = reader.next_entry().unwrap() {
            let start = again.len();
            entry.encode_into(&mut again);
            // One byte of length: the keys are short.
            let key = hex::encode(&again[start + 1..start + 1 + usize::from(again[start])]);
            writeln!(lines, "confighistory\t{key}\t{}", hex::encode(entry.package)).unwrap();
            count += 1;
        }
        assert_eq!(again, bytes);
        assert_eq!(encode_count(count), read(block, SnapshotFile::ConfigHistoryMetadata));

        let dump = fs::read(fixtures().join(format!("expected/{block}/records.tsv.zst"))).unwrap();
        let dump = String::from_utf8(zstd::stream::decode_all(dump.as_slice()).unwrap()).unwrap();
        for (number, (ours, recorded)) in lines.lines().zip(dump.lines()).enumerate() {
            // The dump goes on with the collection configuration as JSON.
            let recorded = match recorded.strip_prefix("confighistory\t") {
                Some(_) => recorded.rsplit_once('\t').unwrap().0,
                None => recorded,
            };
            assert_eq!(ours, recorded, "line {number} of {block}");
        }
        assert_eq!(lines.lines().count(), dump.lines().count());
        assert!(dump.lines().count() > 600);
    }
}

#[test]
fn recorded_snapshots_are_sound_and_two_organisations_metadata_are_the_same() {
    for block in BLOCKS {
        let dir = OsDir::open(&fixtures().join(format!("snapshots/org1/{block}"))).unwrap();
        let mut seen = 0;
        let verified = verify_folder(&*dir, &mut |bytes| seen += bytes).unwrap();
        assert_eq!(verified.metadata.signable.id().to_string(), format!("mychannel/{block}"));
        assert_eq!(verified.manifest.total_bytes(), seen);
        assert_eq!(verified.trees.len(), 8);
        for file in verified.manifest.files() {
            assert_eq!(file.root.0, *blake3::hash(&read(block, file.file)).as_bytes(), "the root is the plain BLAKE3");
        }
        let first_value = &read(block, SnapshotFile::PublicStateData)[..64 << 10];
        assert!(first_value.windows(64).any(|bytes| bytes == &verified.content.channel_config[..64]));

        let org2 = |name| fs::read(fixtures().join(format!("snapshots/org2/{block}/{name}"))).unwrap();
        let other =
            SnapshotMetadata::parse(&org2(SnapshotFile::SIGNABLE_METADATA), &org2(SnapshotFile::ADDITIONAL_METADATA));
        assert_eq!(other.unwrap(), verified.metadata);
    }
}

#[test]
fn inspect_counts_namespaces_and_collections() {
    let dir = OsDir::open(&fixtures().join("snapshots/org1/132")).unwrap();
    let inspection = inspect_folder(&*dir).unwrap();
    let mut told = 0;
    assert_eq!(inspect_folder_with(&*dir, &mut |bytes| told += bytes).unwrap(), inspection);
    assert_eq!(told, inspection.files.iter().map(|file| file.bytes).sum::<u64>(), "progress ends at the end");
    let keys: Vec<_> = inspection.public_state.iter().map(|row| (row.namespace.as_str(), row.keys)).collect();
    assert_eq!(keys, [("", 1), ("_lifecycle", 5), ("labcc", 347)]);
    assert_eq!(inspection.public_state[0].bytes, 24 + 26_944);
    let private: Vec<_> = inspection
        .private_state_hashes
        .iter()
        .map(|row| (row.namespace.as_str(), row.collection.as_str(), row.keys))
        .collect();
    assert_eq!(private[0], ("_lifecycle", "_implicit_org_Org1MSP", 18));
    assert_eq!(private[6], ("labcc", "collection-3", 18));
    assert_eq!(inspection.transaction_ids, 232);
    let history = &inspection.collection_config_history;
    assert_eq!(history.iter().map(|entry| entry.block_number).collect::<Vec<_>>(), [125, 75, 3]);
    let newest: Vec<_> = history[0]
        .collections
        .iter()
        .map(|collection| (collection.name.as_str(), collection.block_to_live, collection.members.join(" ")))
        .collect();
    assert_eq!(
        newest,
        [
            ("collection-1", 0, "Org1MSP Org2MSP Org3MSP".to_owned()),
            ("collection-2", 1_000_000, "Org1MSP Org2MSP".to_owned()),
            ("collection-3", 40, "Org1MSP Org2MSP Org3MSP".to_owned()),
        ]
    );
    let json = serde_json::to_value(&inspection).unwrap();
    assert_eq!(json["state_db_type"], "SimpleKeyValueDB");
    assert_eq!(json["block_number"], 132);
}
