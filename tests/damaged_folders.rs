//! Damaged snapshot folders, one kind of damage each: every one is refused, for the right reason.
//!
//! Where the content check must catch it, the hashes are made right again: as if the maker of the snapshot had lied.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use snapferry::{
    disk::OsDir,
    snapshot::{
        AdditionalMetadata, BlockNumber, CHANNEL_CONFIG_KEY, ConfigHistoryEntry, ContentError, FileDigest, FolderError,
        Height, ItemFault, ItemReader, MetadataError, NamespaceFault, NamespaceRow, SignableMetadata, SnapshotFile,
        StateDbType, StateReader, StateRecord, decode_rows_file, encode_count, encode_rows, put_item, verify_folder,
    },
};
use tempfile::TempDir;

const SIGNABLE: &str = SnapshotFile::SIGNABLE_METADATA;
const ADDITIONAL: &str = SnapshotFile::ADDITIONAL_METADATA;

/// A copy of a recorded snapshot, to be damaged.
struct Folder {
    root: TempDir,
}

impl Folder {
    fn recorded() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("132")).unwrap();
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network/snapshots/org1/132");
        let folder = Self { root };
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::write(folder.path().join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("132")
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    fn read(&self, file: SnapshotFile) -> Vec<u8> {
        fs::read(self.file(file.name())).unwrap()
    }

    fn write(&self, file: SnapshotFile, bytes: &[u8]) -> &Self {
        fs::write(self.file(file.name()), bytes).unwrap();
        self
    }

    /// Changes a file and makes the hashes right again.
    fn lie(&self, file: SnapshotFile, bytes: &[u8]) -> &Self {
        self.write(file, bytes).rehash(|_, _| ())
    }

    /// Makes both metadata files right for the files as they are, after `change` of database type and files.
    fn rehash(&self, change: impl FnOnce(&mut StateDbType, &mut BlockNumber)) -> &Self {
        let old = SignableMetadata::parse(&fs::read(self.file(SIGNABLE)).unwrap()).unwrap();
        let mut db_type = old.state_db_type();
        let mut id = old.id().clone();
        change(&mut db_type, &mut id.block_number);
        let files = SnapshotFile::ALL
            .into_iter()
            .filter(|file| self.file(file.name()).exists())
            .map(|file| (file, FileDigest(Sha256::digest(self.read(file)).into())))
            .collect();
        let new = SignableMetadata::new(id, old.last_block_hash(), old.previous_block_hash(), files, db_type).unwrap();
        let additional = AdditionalMetadata { snapshot_hash: new.hash(), last_block_commit_hash: None };
        fs::write(self.file(SIGNABLE), new.bytes()).unwrap();
        fs::write(self.file(ADDITIONAL), additional.encode()).unwrap();
        self
    }

    fn verify(&self) -> Result<(), FolderError> {
        verify_folder(&*OsDir::open(&self.path()).unwrap(), &mut |_| ()).map(drop)
    }

    fn content_error(&self) -> ContentError {
        match self.verify() {
            Err(FolderError::Content { source, .. }) => source,
            other => panic!("expected a content error, got {other:?}"),
        }
    }

    /// The items of a state file as bytes, each with its length.
    fn records(&self, file: SnapshotFile) -> Vec<Vec<u8>> {
        let bytes = self.read(file);
        let mut reader = ItemReader::new(file, bytes.as_slice());
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            let mut bytes = Vec::new();
            put_item(&mut bytes, item);
            items.push(bytes);
        }
        items
    }

    fn rows(&self, file: SnapshotFile) -> Vec<NamespaceRow> {
        decode_rows_file(file, &self.read(file)).unwrap()
    }
}

fn data_file(items: &[Vec<u8>]) -> Vec<u8> {
    [&[1][..], &items.concat()].concat()
}

fn is_item(error: &ContentError, file: SnapshotFile, fault: &ItemFault) -> bool {
    matches!(error, ContentError::Item { file: at, fault: found, .. } if *at == file && found == fault)
}

#[test]
fn the_undamaged_copy_passes_also_with_hashes_made_anew() {
    let folder = Folder::recorded();
    folder.verify().unwrap();
    folder.rehash(|_, _| ()).verify().unwrap();
}

#[test]
fn a_flipped_byte_in_any_file_is_found() {
    for file in SnapshotFile::ALL {
        let folder = Folder::recorded();
        let good = folder.read(file);
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let error = folder.write(file, &bad).verify().unwrap_err();
            assert!(matches!(error, FolderError::Digest { file: named, .. } if named == file), "{file}: {error}");
        }
    }
    for (name, at) in [(SIGNABLE, 30), (SIGNABLE, 300), (ADDITIONAL, 30), (ADDITIONAL, 0)] {
        let folder = Folder::recorded();
        let mut bytes = fs::read(folder.file(name)).unwrap();
        bytes[at] ^= 1;
        fs::write(folder.file(name), &bytes).unwrap();
        assert!(matches!(folder.verify(), Err(FolderError::Metadata { .. })), "{name}");
    }
}

/// Defence: the exact set; removed, a file that nobody hashed is in the snapshot.
/// L8: in a folder that was copied.
#[test]
fn missing_extra_and_renamed_files_are_refused() {
    for file in SnapshotFile::ALL {
        let folder = Folder::recorded();
        fs::remove_file(folder.file(file.name())).unwrap();
        assert!(matches!(folder.verify(), Err(FolderError::Missing { name, .. }) if name == file.name()));
        fs::write(folder.file("other.data"), "x").unwrap();
        assert!(matches!(folder.verify(), Err(FolderError::Extra { name, .. }) if name == "other.data"));
    }
    for name in [SIGNABLE, ADDITIONAL] {
        let folder = Folder::recorded();
        fs::remove_file(folder.file(name)).unwrap();
        assert!(matches!(folder.verify(), Err(FolderError::Disk(error)) if error.is_not_found()));
    }
    // Fabric reads fixed names, listed or not: an unlisted pair would be loaded unchecked.
    let folder = Folder::recorded();
    let history = folder.read(SnapshotFile::ConfigHistoryData);
    // Private collections need the history.
    for name in ["private_state_hashes", "confighistory"] {
        fs::remove_file(folder.file(format!("{name}.data"))).unwrap();
        fs::remove_file(folder.file(format!("{name}.metadata"))).unwrap();
    }
    folder.rehash(|_, _| ()).verify().unwrap();
    folder.write(SnapshotFile::ConfigHistoryData, &history);
    assert!(matches!(folder.verify(), Err(FolderError::Extra { name, .. }) if name == "confighistory.data"));
    let folder = Folder::recorded();
    fs::create_dir(folder.file("sub")).unwrap();
    assert!(matches!(folder.verify(), Err(FolderError::Extra { name, .. }) if name == "sub"));
}

/// L8: links in a folder that was copied.
#[test]
fn links_and_folders_in_place_of_files_are_refused() {
    let folder = Folder::recorded();
    let (inside, outside) = (folder.file("txids.data"), folder.root.path().join("outside"));
    fs::rename(&inside, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &inside).unwrap();
    assert!(matches!(folder.verify(), Err(FolderError::NotAFile { name, .. }) if name == "txids.data"));
    fs::remove_file(&inside).unwrap();
    fs::create_dir(&inside).unwrap();
    assert!(matches!(folder.verify(), Err(FolderError::NotAFile { name, .. }) if name == "txids.data"));
}

/// Defence: strict JSON with a closed set of names; removed, `../x` is a file and two readers read two things.
/// L8: names in the metadata.
#[test]
fn names_outside_the_closed_set_and_doubled_keys_are_refused() {
    let folder = Folder::recorded();
    let good = fs::read_to_string(folder.file(SIGNABLE)).unwrap();
    let line = good.lines().find(|line| line.contains("txids.data")).unwrap();
    for (from, to) in [
        ("\"txids.data\"", "\"../txids.data\""),
        ("\"txids.data\"", "\"/txids.data\""),
        ("\"txids.data\"", "\"txids.dat\""),
        (line, &format!("{line}\n{line}")),
        ("\"channel_name\"", "\"channel_name\": \"other\",\n    \"channel_name\""),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good);
        let hash = hex::encode(Sha256::digest(&bad));
        let additional = AdditionalMetadata { snapshot_hash: hash.parse().unwrap(), last_block_commit_hash: None };
        fs::write(folder.file(SIGNABLE), bad).unwrap();
        fs::write(folder.file(ADDITIONAL), additional.encode()).unwrap();
        assert!(
            matches!(
                folder.verify(),
                Err(FolderError::Metadata {
                    source: MetadataError::ForeignFile { .. } | MetadataError::Json { .. },
                    ..
                })
            ),
            "{to}"
        );
    }
}

#[test]
fn an_unknown_format_or_an_empty_file_is_refused() {
    for file in SnapshotFile::ALL {
        let folder = Folder::recorded();
        let mut bytes = folder.read(file);
        bytes[0] = 2;
        assert_eq!(folder.lie(file, &bytes).content_error(), ContentError::Format { file, found: Some(2) });
        assert_eq!(folder.lie(file, &[]).content_error(), ContentError::Format { file, found: None });
    }
}

#[test]
fn truncated_files_and_trailing_bytes_are_refused() {
    for file in SnapshotFile::ALL {
        let folder = Folder::recorded();
        let good = folder.read(file);
        let cut = &good[..good.len() - 1];
        let error = folder.lie(file, cut).content_error();
        assert!(is_item(&error, file, &ItemFault::Truncated), "{file}: {error}");
        let error = folder.lie(file, &[&good[..], &[0]].concat()).content_error();
        assert!(
            matches!(error, ContentError::Trailing { file: at } | ContentError::Item { file: at, .. } if at == file)
        );
    }
}

/// Defence: lengths first; removed, a few bytes ask for all memory.
/// R1: in the records of a file.
#[test]
fn huge_lengths_and_counts_are_refused_before_memory_is_taken() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for file in SnapshotFile::ALL {
        let folder = Folder::recorded();
        let error = folder.lie(file, &[&[1][..], &huge].concat()).content_error();
        let right = match error {
            ContentError::Item { fault: ItemFault::TooLong { .. } | ItemFault::TooManyNamespaces { .. }, .. } => true,
            ContentError::Count { stated, .. } => stated == u64::MAX,
            _ => false,
        };
        assert!(right, "{file}");
    }
}

#[test]
fn counts_that_are_not_those_of_the_data_are_refused() {
    for (data, metadata) in [
        (SnapshotFile::TxIdsData, SnapshotFile::TxIdsMetadata),
        (SnapshotFile::ConfigHistoryData, SnapshotFile::ConfigHistoryMetadata),
    ] {
        let folder = Folder::recorded();
        let error = folder.lie(metadata, &encode_count(7)).content_error();
        assert!(matches!(error, ContentError::Count { file, stated: 7, .. } if file == data));
    }
    for (data, metadata) in [
        (SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata),
        (SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata),
    ] {
        for difference in [1, u64::MAX] {
            let folder = Folder::recorded();
            let mut rows = folder.rows(metadata);
            let last = rows.last_mut().unwrap();
            last.records = last.records.wrapping_add(difference);
            let error = folder.lie(metadata, &encode_rows(&rows)).content_error();
            assert!(matches!(error, ContentError::Count { file, .. } if file == data), "{error}");
        }
        let folder = Folder::recorded();
        let mut rows = folder.rows(metadata);
        rows.push(NamespaceRow { namespace: "z$$hz".to_owned(), records: 0 });
        let error = folder.lie(metadata, &encode_rows(&rows)).content_error();
        assert!(is_item(&error, metadata, &ItemFault::EmptyNamespace), "{error}");
    }
}

/// Defence: in the files of private hashes keys and values are hashes. Removed, a folder with the private data themselves is served to
/// every member.
#[test]
fn private_data_in_place_of_their_hashes_are_refused() {
    let data = SnapshotFile::PrivateStateHashesData;
    type Plain = fn(&mut StateRecord<'_>);
    let changes: [Plain; 3] = [
        |record| record.value = b"{\"owner\":\"Org1\"}",
        |record| record.key = b"p2-000002",
        |record| record.value = &[0],
    ];
    for change in changes {
        let folder = Folder::recorded();
        let mut items = folder.records(data);
        let item = items[7].clone();
        // Behind its length, whose last byte has no high bit.
        let start = 1 + item.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let mut record = StateRecord::decode(&item[start..]).unwrap();
        change(&mut record);
        items[7].clear();
        record.encode_into(&mut items[7]);
        let error = folder.lie(data, &data_file(&items)).content_error();
        assert!(is_item(&error, data, &ItemFault::NoHash), "{error}");
    }
}

#[test]
fn state_out_of_order_is_refused_and_so_is_a_wrong_boundary_of_namespaces() {
    for (data, metadata) in [
        (SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata),
        (SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata),
    ] {
        let folder = Folder::recorded();
        let good = folder.records(data);
        for (from, to) in [(good.len() - 1, good.len() - 2), (good.len() - 3, good.len() - 1)] {
            let mut items = good.clone();
            items.swap(from, to);
            let error = folder.lie(data, &data_file(&items)).content_error();
            assert!(is_item(&error, data, &ItemFault::Order), "{error}");
        }
        let mut doubled = good.clone();
        let last = doubled.len() - 1;
        doubled[last] = doubled[last - 1].clone();
        let error = folder.lie(data, &data_file(&doubled)).content_error();
        assert!(is_item(&error, data, &ItemFault::Order), "{error}");

        // The keys' order drops where the second last namespace begins in truth: one record later isn't right.
        folder.write(data, &data_file(&good));
        let mut rows = folder.rows(metadata);
        let at = rows.len() - 2;
        rows[at].records += 1;
        rows[at + 1].records -= 1;
        let error = folder.lie(metadata, &encode_rows(&rows)).content_error();
        assert!(is_item(&error, data, &ItemFault::Order), "{error}");
    }
}

#[test]
fn couchdb_order_is_free_but_namespaces_stay_together() {
    let folder = Folder::recorded();
    let (data, metadata) = (SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata);
    let mut items = folder.records(data);
    let last = items.len() - 1;
    items.swap(last, last - 1);
    folder.write(data, &data_file(&items)).rehash(|db_type, _| *db_type = StateDbType::CouchDb).verify().unwrap();

    let mut rows = folder.rows(metadata);
    rows[2].records -= 1;
    rows.push(NamespaceRow { namespace: rows[1].namespace.clone(), records: 1 });
    let error = folder.lie(metadata, &encode_rows(&rows)).content_error();
    assert!(matches!(error, ContentError::Namespace { fault: NamespaceFault::Twice, .. }), "{error}");
}

#[test]
fn illegal_namespaces_are_refused() {
    let (public, private) = (SnapshotFile::PublicStateMetadata, SnapshotFile::PrivateStateHashesMetadata);
    for (file, name, wanted) in [
        (public, "labcc$$hcollection-1", NamespaceFault::Kind),
        (private, "zz", NamespaceFault::Kind),
        (private, "zz$$hb$$hc", NamespaceFault::Kind),
        (public, "a\0b", NamespaceFault::Nul),
        (public, "Z", NamespaceFault::Order),
        (public, "_lifecycle", NamespaceFault::Twice),
    ] {
        let folder = Folder::recorded();
        let mut rows = folder.rows(file);
        rows.last_mut().unwrap().namespace = name.to_owned();
        let error = folder.lie(file, &encode_rows(&rows)).content_error();
        assert!(matches!(error, ContentError::Namespace { fault, .. } if fault == wanted), "{name:?}: {error}");
    }
}

#[test]
fn transaction_ids_are_ordered_by_length_then_bytes_without_doubles() {
    let (data, metadata) = (SnapshotFile::TxIdsData, SnapshotFile::TxIdsMetadata);
    let file_of = |ids: &[&str]| {
        let mut bytes = vec![1];
        ids.iter().for_each(|id| put_item(&mut bytes, id.as_bytes()));
        bytes
    };
    for (ids, good) in [
        (&["b", "c", "aa", "ab", "aaa"][..], true),
        (&["a", "aa", "ab", "b", "c"], false),
        (&["a", "b", "b", "c", "d"], false),
        (&["b", "a", "c", "d", "e"], false),
    ] {
        let folder = Folder::recorded();
        folder.write(data, &file_of(ids)).lie(metadata, &encode_count(5));
        if good {
            folder.verify().unwrap();
        } else {
            assert!(is_item(&folder.content_error(), data, &ItemFault::Order));
        }
    }
    let folder = Folder::recorded();
    // A sender chooses the id of a transaction that turns out invalid; real peers keep it (seen with 3,000 bytes).
    let long = "a".repeat(3_000);
    folder.write(data, &file_of(&["odd", &long])).lie(metadata, &encode_count(2)).verify().unwrap();
    let announced = [1, 0x81, 0x80, 0x80, 0x34];
    let error = folder.write(data, &announced).lie(metadata, &encode_count(1)).content_error();
    assert!(is_item(&error, data, &ItemFault::TooLong { len: (104 << 20) + 1, max: 104 << 20 }), "{error}");
}

#[test]
fn collection_configurations_have_well_formed_ascending_keys() {
    let file = SnapshotFile::ConfigHistoryData;
    let entry = |chaincode, block| {
        let mut bytes = Vec::new();
        let block_number = BlockNumber(block);
        ConfigHistoryEntry { chaincode, block_number, package: b"\x0a\x00" }.encode_into(&mut bytes);
        bytes
    };
    let folder = Folder::recorded();
    let metadata = SnapshotFile::ConfigHistoryMetadata;
    folder.write(metadata, &encode_count(2));
    fs::remove_file(folder.file("private_state_hashes.data")).unwrap();
    fs::remove_file(folder.file("private_state_hashes.metadata")).unwrap();
    folder.lie(file, &data_file(&[entry("a", 9), entry("a", 3)])).verify().unwrap();
    let older_first = folder.lie(file, &data_file(&[entry("a", 3), entry("a", 9)])).content_error();
    assert!(is_item(&older_first, file, &ItemFault::Order));
    let beyond = folder.lie(file, &data_file(&[entry("a", 133), entry("a", 9)])).content_error();
    assert!(matches!(beyond, ContentError::FutureBlock { block_number: BlockNumber(133), .. }), "{beyond}");
    let mut key_only = entry("a", 3);
    key_only.truncate(key_only.len() - 3);
    let error = folder.lie(file, &data_file(&[entry("a", 9), key_only])).content_error();
    assert!(is_item(&error, file, &ItemFault::KeyWithoutValue));
    for key in [&b""[..], b"slscc\0~collection12345678", b"slscc\0a~collection1234567", b"tlscc\0a~collection12345678"]
    {
        let mut item = Vec::new();
        put_item(&mut item, key);
        put_item(&mut item, b"v");
        let error = folder.lie(file, &data_file(&[item])).content_error();
        assert!(matches!(error, ContentError::Item { item: 0, .. }), "{error}");
    }
}

#[test]
fn hashes_of_a_collection_without_a_configuration_are_refused() {
    let (data, metadata) = (SnapshotFile::ConfigHistoryData, SnapshotFile::ConfigHistoryMetadata);
    let lacks = |folder: &Folder, wanted: &str| {
        let error = folder.content_error();
        let right = matches!(&error, ContentError::NoCollectionConfig { chaincode, collection } if chaincode == "labcc" && collection == wanted);
        assert!(right, "{error}");
    };
    // Recorded: labcc at 125, 75 and 3; collection-3 came at 75.
    let folder = Folder::recorded();
    let items = folder.records(data);
    assert_eq!(items.len(), 6);
    folder.write(metadata, &encode_count(1)).lie(data, &data_file(&items[4..]));
    lacks(&folder, "collection-3");
    folder.lie(data, &data_file(&items[2..4])).verify().unwrap();

    let mut other = Vec::new();
    ConfigHistoryEntry { chaincode: "othercc", block_number: BlockNumber(3), package: b"\x0a\x00" }
        .encode_into(&mut other);
    folder.lie(data, &data_file(&[other]));
    lacks(&folder, "collection-1");

    fs::remove_file(folder.file(data.name())).unwrap();
    fs::remove_file(folder.file(metadata.name())).unwrap();
    folder.rehash(|_, _| ());
    lacks(&folder, "collection-1");

    // An organisation's own collections need none.
    let (hashes, rows_file) = (SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata);
    let mut rows = folder.rows(rows_file);
    let implicit = rows.iter().take_while(|row| row.namespace.contains("$$h_implicit_org_")).count();
    assert!(implicit > 1);
    rows.truncate(implicit);
    let records = rows.iter().map(|row| usize::try_from(row.records).unwrap()).sum();
    let items = folder.records(hashes);
    folder.write(hashes, &data_file(&items[..records])).lie(rows_file, &encode_rows(&rows)).verify().unwrap();
}

#[test]
fn the_channel_configuration_comes_first_and_holds_one() {
    let (data, metadata) = (SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata);
    let version = Height { block_number: BlockNumber(0), tx_number: 0 };
    let config = |key: &[u8], value: &[u8]| {
        let mut item = Vec::new();
        StateRecord { key, value, metadata: &[], version }.encode_into(&mut item);
        item
    };
    for first in [
        config(b"CHANNEL_CONFIG_ENV_BYTE", b"\x0a\x03\x12\x01x"),
        config(CHANNEL_CONFIG_KEY, b"garbage"),
        config(CHANNEL_CONFIG_KEY, b"\x12\x03\x12\x01x"),
        config(CHANNEL_CONFIG_KEY, b"\x0a\x02\x08\x01"),
        config(CHANNEL_CONFIG_KEY, &vec![0; (16 << 20) + 1]),
    ] {
        let folder = Folder::recorded();
        let mut items = folder.records(data);
        items[0] = first;
        let error = folder.lie(data, &data_file(&items)).content_error();
        assert!(matches!(error, ContentError::ChannelConfig { .. }), "{error}");
    }
    let folder = Folder::recorded();
    let (mut items, mut rows) = (folder.records(data), folder.rows(metadata));
    items.remove(0);
    rows.remove(0);
    let error = folder.write(data, &data_file(&items)).lie(metadata, &encode_rows(&rows)).content_error();
    assert!(matches!(error, ContentError::ChannelConfig { .. }), "{error}");
}

#[test]
fn records_that_no_peer_writes_are_refused() {
    let file = SnapshotFile::PrivateStateHashesData;
    let folder = Folder::recorded();
    let bytes = folder.read(file);
    let rows = folder.rows(SnapshotFile::PrivateStateHashesMetadata);
    let mut reader = StateReader::new(file, bytes.as_slice(), rows);
    let (_, first) = reader.next_record().unwrap().unwrap();
    let good = folder.records(file);
    let future = Height { block_number: BlockNumber(133), tx_number: 0 };
    for (record, what) in [
        (StateRecord { key: &first.key[..31], ..first }, "hash of 32 bytes"),
        (StateRecord { value: b"v", ..first }, "hash of 32 bytes"),
        (StateRecord { value: b"", ..first }, "has no value"),
        (StateRecord { version: future, ..first }, "block 133"),
    ] {
        let mut items = good.clone();
        items[0].clear();
        record.encode_into(&mut items[0]);
        let error = folder.lie(file, &data_file(&items)).content_error().to_string();
        assert!(error.contains(what), "{error}");
    }
}
