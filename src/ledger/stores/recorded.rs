//! The stores of real peers: what they held after they joined from the recorded snapshots, record by record.

use std::{
    collections::BTreeMap,
    io::Cursor,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    disk::{Dir, OsDir, read_small},
    snapshot::{ConfigHistoryReader, ItemReader, SnapshotFile, SnapshotMetadata, StateReader, decode_rows_file},
};

pub(crate) const BLOCKS: [u64; 2] = [83, 132];

pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A recorded snapshot.
pub(crate) struct Recorded {
    pub(crate) folder: PathBuf,
    pub(crate) metadata: SnapshotMetadata,
}

impl Recorded {
    pub(crate) fn open(block: u64) -> Self {
        let folder = fixtures().join(format!("snapshots/org1/{block}"));
        let read = |name| read_small(&*OsDir::open(&folder).unwrap(), name, 1 << 20).unwrap();
        let (signable, additional) = (read(SnapshotFile::SIGNABLE_METADATA), read(SnapshotFile::ADDITIONAL_METADATA));
        Self { metadata: SnapshotMetadata::parse(&signable, &additional).unwrap(), folder }
    }

    fn bytes(&self, file: SnapshotFile) -> Cursor<Vec<u8>> {
        Cursor::new(read_small(&*OsDir::open(&self.folder).unwrap(), file.name(), 4 << 20).unwrap())
    }

    fn state(&self, data: SnapshotFile, metadata: SnapshotFile) -> StateReader<Cursor<Vec<u8>>> {
        StateReader::new(data, self.bytes(data), decode_rows_file(metadata, self.bytes(metadata).get_ref()).unwrap())
    }

    /// All records of all stores, as the peer of organisation 1, 2 or 3 has them; sorted in so much memory.
    fn records(&self, org: u8, budget_bytes: usize) -> BTreeMap<Store, Records> {
        let temp = tempfile::tempdir().unwrap();
        let scratch: std::sync::Arc<dyn Dir> = OsDir::open(temp.path()).unwrap();
        let id = self.metadata.signable.id();
        let (mut stores, mut hints) = (Stores::new(), MetadataHints::default());

        let mut run = stores.run(Store::ConfigHistory);
        let mut reader = ConfigHistoryReader::new(self.bytes(SnapshotFile::ConfigHistoryData));
        let collections = config_history(&id.channel, &mut reader, &format!("Org{org}MSP"), &mut run).unwrap();
        drop(run);

        let mut tx_ids = ItemReader::new(SnapshotFile::TxIdsData, self.bytes(SnapshotFile::TxIdsData));
        index(id, &mut tx_ids, &mut stores.run(Store::Index)).unwrap();

        let mut reader = self.state(SnapshotFile::PublicStateData, SnapshotFile::PublicStateMetadata);
        public_state(id, &mut reader, &mut hints, &mut stores.run(Store::State)).unwrap();

        let mut reader = self.state(SnapshotFile::PrivateStateHashesData, SnapshotFile::PrivateStateHashesMetadata);
        let (sorting, mut more) = ((&scratch, budget_bytes), MetadataHints::default());
        let mut run = stores.run(Store::State);
        let gathered = private_hashes(id, &mut reader, &collections, &mut more, sorting, &mut run).unwrap();
        drop(run);
        hints.merge(more);
        gathered.expiries.records(&id.channel, &mut stores.run(Store::Bookkeeper)).unwrap();
        hints.records(&id.channel, &mut stores.run(Store::Bookkeeper)).unwrap();
        let (mut hashes, mut missing) = (Stores::new(), Stores::new());
        let (mut put_hashes, mut put_missing) = (hashes.run(Store::PrivateData), missing.run(Store::PrivateData));
        gathered.missing.records(id, &collections, &mut put_hashes, &mut put_missing).unwrap();
        drop((put_hashes, put_missing));
        stores.merge(hashes);
        stores.merge(missing);

        stores.add(Store::State, state_savepoint(id));
        stores.add(Store::History, history_savepoint(id));
        stores.add(Store::LedgerProvider, (ledger_key(&id.channel), ledger_record(&self.metadata, Status::Active)));
        for (store, (key, value)) in Store::ALL.into_iter().filter_map(|store| Some((store, store.format()?))) {
            stores.add(store, (key.to_vec(), value.to_vec()));
        }
        assert_eq!(scratch.list().unwrap(), [], "nothing is left of the sorting");
        stores.0
    }
}

/// What was put, by store.
struct Stores(BTreeMap<Store, Records>);

impl Stores {
    const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes one run, which must ascend.
    fn run(&mut self, store: Store) -> impl FnMut(&[u8], &[u8]) -> Result<(), StoreError> {
        let mut last: Option<Vec<u8>> = None;
        move |key, value| {
            assert!(last.as_deref().is_none_or(|last| last < key), "{store:?}: {} is out of order", hex::encode(key));
            last = Some(key.to_vec());
            self.add(store, (key.to_vec(), value.to_vec()));
            Ok(())
        }
    }

    fn add(&mut self, store: Store, (key, value): (Vec<u8>, Vec<u8>)) {
        assert_eq!(self.0.entry(store).or_default().insert(key, value), None, "a key comes once");
    }

    fn merge(&mut self, other: Self) {
        for (store, records) in other.0 {
            records.into_iter().for_each(|record| self.add(store, record));
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network")
}

/// The dump of a store: a line `key value` in hex of each record.
pub(crate) fn dump(block: u64, org: u8, store: Store) -> Records {
    let folder = if store == Store::PrivateData { format!("org{org}") } else { "common".to_owned() };
    let path = fixtures().join(format!("expected/{block}/{folder}"));
    let name = format!("{}.kv.zst", store.folder().join("_"));
    let packed = read_small(&*OsDir::open(&path).unwrap(), &name, 1 << 20).unwrap();
    let text = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    let line = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap();
        (hex::decode(key).unwrap(), hex::decode(value).unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn all_stores_of_all_organisations_are_those_of_real_peers() {
    for block in BLOCKS {
        let snapshot = Recorded::open(block);
        for org in 1..=3 {
            let records = snapshot.records(org, 1 << 20);
            for store in Store::ALL {
                let (found, expected) = (&records[&store], dump(block, org, store));
                for (key, value) in &expected {
                    let found = found.get(key).map(hex::encode);
                    assert_eq!(found, Some(hex::encode(value)), "{block} org{org} {store:?} {}", hex::encode(key));
                }
                assert!(found.keys().eq(expected.keys()), "{block} org{org} {store:?} has records that no peer has");
            }
        }
    }
}

#[test]
fn the_budget_of_memory_changes_nothing() {
    let recorded = Recorded::open(132);
    let expected = recorded.records(3, 1 << 20);
    for budget_bytes in [0, 100, 3_000] {
        assert!(recorded.records(3, budget_bytes) == expected, "{budget_bytes}");
    }
}

#[test]
fn every_record_of_a_channel_is_within_its_key_ranges() {
    let recorded = Recorded::open(132);
    for (store, records) in recorded.records(1, 1 << 20) {
        let ranges = store.key_ranges(&recorded.metadata.signable.id().channel);
        let format = store.format().map(|(key, _)| key);
        let own = |key: &[u8]| ranges.iter().any(|range| range.contains(&key.to_vec()));
        for key in records.keys() {
            assert!(own(key) != (Some(key.as_slice()) == format), "{store:?} {}", hex::encode(key));
        }
    }
}

#[test]
fn the_record_of_a_channel_under_construction_differs_in_the_status_only() {
    let recorded = Recorded::open(83);
    let (key, active) = dump(83, 1, Store::LedgerProvider).pop_last().unwrap();
    assert_eq!(key, ledger_key(&recorded.metadata.signable.id().channel));
    let made = ledger_record(&recorded.metadata, Status::UnderConstruction);
    assert_eq!(made, [&b"\x08\x02"[..], &active].concat());
    let signable = Some(recorded.metadata.signable.bytes());
    assert_eq!(LedgerRecord::decode(&active), Some(LedgerRecord { status: Status::Active, signable }));
    let status = Status::UnderConstruction;
    assert_eq!(LedgerRecord::decode(&made), Some(LedgerRecord { status, signable }));
}

/// `path length content` of each file in hex.
#[test]
fn the_folder_of_block_files_is_that_of_a_real_peer() {
    for block in BLOCKS {
        let recorded = Recorded::open(block);
        let folder = format!("{}/{}", CHAINS_FOLDER.join("/"), recorded.metadata.signable.id().channel);
        let info = BootstrappingInfo::of(&recorded.metadata.signable);
        let bytes = info.encode();
        let line = |name: &str, content: &[u8]| format!("{folder}/{name} {} {}\n", content.len(), hex::encode(content));
        let made = [line(FIRST_BLOCK_FILE, b""), line(BOOTSTRAPPING_INFO_FILE, &bytes)].concat();
        let path = fixtures().join(format!("expected/{block}/common"));
        let expected = read_small(&*OsDir::open(&path).unwrap(), "chains_files.txt", 1 << 10).unwrap();
        assert_eq!(made, String::from_utf8(expected).unwrap());

        assert_eq!(BootstrappingInfo::decode(&bytes), Some(info));
        for bad in [&bytes[..bytes.len() - 1], &bytes[2..5], &[&bytes[..], b"\x08\x01"].concat()] {
            assert_eq!(BootstrappingInfo::decode(bad), None);
        }
    }
}

#[test]
fn records_of_state_and_of_missing_data_are_read_back() {
    let recorded = Recorded::open(132);
    let keys = LevelKey::new("mychannel");
    let stores = recorded.records(1, 1 << 20);
    let mut entries = 0;
    for (key, value) in &stores[&Store::State] {
        let Some(rest) = keys.rest_of(key) else { continue };
        if let Some(entry) = StateEntry::decode(rest, value) {
            assert!(!entry.value.is_empty() && entry.version.block_number.0 <= 132);
            entries += 1;
        } else {
            assert_eq!(savepoint_of(rest, value).unwrap().block_number.0, 132);
        }
        assert_eq!(StateEntry::decode(rest, &value[..value.len() - 1]), None);
    }
    assert_eq!(entries, stores[&Store::State].len() - 2);

    let rests = stores[&Store::PrivateData].iter().filter_map(|(key, value)| Some((keys.rest_of(key)?, value)));
    let missing: Vec<_> = rests.filter_map(|(rest, value)| MissingKey::decode(rest, value)).collect();
    let eligible = missing.iter().filter(|(key, _)| key.is_eligible).count();
    let starting = |kind| {
        let rests = stores[&Store::PrivateData].keys().filter_map(|key| keys.rest_of(key));
        rests.filter(|rest| rest[0] == kind).count()
    };
    assert_eq!((eligible, missing.len() - eligible), (starting(4), starting(5)));
    assert!(eligible > 0 && missing.len() > eligible);
    let (newest, transactions) = &missing[0];
    assert_eq!((newest.namespace, newest.collection, newest.written.0), ("labcc", "collection-3", 129));
    assert_eq!(transactions.iter().collect::<Vec<_>>(), [0]);
}

/// The history of configurations is empty, too.
#[test]
fn without_private_data_there_are_only_the_numbers_of_the_last_block() {
    let snapshot = Recorded::open(132);
    let id = snapshot.metadata.signable.id();
    let temp = tempfile::tempdir().unwrap();
    let scratch: std::sync::Arc<dyn Dir> = OsDir::open(temp.path()).unwrap();
    let gathered = Gathered::nothing(&scratch).unwrap();
    let collections = CollectionHistory::new("Org1MSP");
    let (mut stores, mut missing) = (Stores::new(), Stores::new());
    gathered.expiries.records(&id.channel, &mut stores.run(Store::Bookkeeper)).unwrap();
    assert!(stores.0.is_empty());
    let (mut put_hashes, mut put_missing) = (stores.run(Store::PrivateData), missing.run(Store::PrivateData));
    gathered.missing.records(id, &collections, &mut put_hashes, &mut put_missing).unwrap();
    drop((put_hashes, put_missing));
    stores.merge(missing);
    let last_block = |kind: &[u8]| ([b"mychannel\0", kind].concat(), vec![0x84, 1]);
    assert_eq!(stores.0[&Store::PrivateData], Records::from([last_block(b"\x01"), last_block(b"\x61")]));
}
