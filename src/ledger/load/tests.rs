//! Whole loads of recorded snapshots: what lies in the databases afterwards is what real peers have there, byte for byte.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tempfile::TempDir;

use super::*;
use crate::{
    disk::{Access, FileReader, OsDir},
    ledger::{
        leveldb::Database,
        stores::{
            Status,
            recorded::{BLOCKS, Recorded, Records, dump},
        },
    },
};

struct Place {
    ledgers: Arc<dyn Dir>,
    scratch: Arc<dyn Dir>,
    keep: TempDir,
}

impl Place {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = OsDir::open(keep.path()).unwrap();
        let folder = |name| {
            root.create_dir(name).unwrap();
            root.open_dir(name).unwrap()
        };
        Self { ledgers: folder("ledgersData"), scratch: folder("scratch"), keep }
    }

    fn load(&self, recorded: &Recorded, org: u8) -> Result<(), LoadError> {
        let folder = OsDir::open(&recorded.folder).unwrap();
        self.load_from(recorded, org, &|file| {
            Ok(FileStream::Unproved(Box::new(FileReader::new(folder.open_file(file.name(), Access::Read)?))))
        })
    }

    fn load_from(
        &self,
        recorded: &Recorded,
        org: u8,
        open: &(dyn Fn(SnapshotFile) -> Result<FileStream<'static>, DiskError> + Sync),
    ) -> Result<(), LoadError> {
        load(&Load {
            ledgers: Arc::clone(&self.ledgers),
            metadata: &recorded.metadata,
            open: &|file| open(file),
            msp_id: &format!("Org{org}MSP"),
            scratch: Arc::clone(&self.scratch),
            sort_bytes: 1 << 20,
            may_activate: &|| true,
        })
    }

    fn records(&self, store: Store) -> Records {
        let folder = store.folder().iter().fold(Arc::clone(&self.ledgers), |dir, name| dir.open_dir(name).unwrap());
        Database::open(folder).unwrap().scan(..).map(Result::unwrap).collect()
    }

    fn assert_is_that_of_a_real_peer(&self, block: u64, org: u8) {
        for store in Store::ALL {
            let (found, expected) = (self.records(store), dump(block, org, store));
            assert!(found == expected, "{block} {org} {store:?}: {} records for {}", found.len(), expected.len());
        }
    }
}

#[test]
fn every_database_of_every_organisation_is_that_of_a_real_peer() {
    for block in BLOCKS {
        let recorded = Recorded::open(block);
        for org in 1..=3 {
            let place = Place::new();
            place.load(&recorded, org).unwrap();
            place.assert_is_that_of_a_real_peer(block, org);
            assert_eq!(place.scratch.list().unwrap(), [], "nothing is left of the sorting");
            let again = place.load(&recorded, org).unwrap_err();
            assert!(matches!(again, LoadError::ChannelExists { status: Status::Active, .. }), "{again}");
        }
    }
}

/// An implementation of LevelDB that has nothing to do with ours opens each database, and reads the same.
#[test]
fn an_independent_leveldb_reads_every_database() {
    for (block, org) in BLOCKS.into_iter().flat_map(|block| [1, 2, 3].map(|org| (block, org))) {
        let place = Place::new();
        place.load(&Recorded::open(block), org).unwrap();
        for store in Store::ALL {
            assert!(place.read_by_others(store) == dump(block, org, store), "{block} {org} {store:?}");
        }
    }
}

impl Place {
    fn read_by_others(&self, store: Store) -> Records {
        let path = store.folder().iter().fold(self.keep.path().join("ledgersData"), |path, name| path.join(name));
        let options = rusty_leveldb::Options {
            create_if_missing: false,
            paranoid_checks: true,
            ..rusty_leveldb::Options::default()
        };
        let mut database = rusty_leveldb::DB::open(&path, options).unwrap();
        let mut found = Records::new();
        let mut iter = database.new_iter().unwrap();
        while let Some((key, value)) = rusty_leveldb::LdbIterator::next(&mut iter) {
            found.insert(key.to_vec(), value.to_vec());
        }
        found
    }
}

#[test]
fn a_wrong_byte_in_any_file_loads_nothing() {
    let recorded = Recorded::open(83);
    for &wrong in recorded.metadata.signable.files().keys() {
        let place = Place::new();
        let folder = OsDir::open(&recorded.folder).unwrap();
        let result = place.load_from(&recorded, 1, &|file| {
            let mut bytes = Vec::new();
            FileReader::new(folder.open_file(file.name(), Access::Read)?).read_to_end(&mut bytes).unwrap();
            if file == wrong {
                *bytes.last_mut().unwrap() ^= 1;
            }
            Ok(FileStream::Unproved(Box::new(std::io::Cursor::new(bytes))))
        });
        let error = result.unwrap_err();
        assert!(matches!(error, LoadError::HashMismatch { file, .. } if file == wrong), "{wrong}: {error}");
        for store in Store::ALL {
            let ranges = store.key_ranges(&recorded.metadata.signable.id().channel);
            let own = |key: &Vec<u8>| ranges.iter().any(|range| range.contains(key));
            assert!(!place.records(store).keys().any(own), "{wrong} {store:?}");
        }
        assert!(!Path::new(&place.keep.path().join("ledgersData/chains/chains/mychannel")).exists());
        // And the right bytes are taken afterwards.
        place.load(&recorded, 1).unwrap();
        place.assert_is_that_of_a_real_peer(83, 1);
    }
}

/// Transaction ids without an end; the first comes once the other file's stream is gone.
struct TxIdsFor {
    other: std::sync::mpsc::Receiver<()>,
    given: u64,
    waiting: Vec<u8>,
}

const MANY_TX_IDS: u64 = 1 << 20;

impl Read for TxIdsFor {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.given == 0 {
            let gone = self.other.recv();
            gone.unwrap_err();
            self.waiting.push(1);
        }
        while self.waiting.len() < buf.len() && self.given < MANY_TX_IDS {
            self.waiting.push(64);
            self.waiting.extend(format!("{:064x}", self.given).bytes());
            self.given += 1;
        }
        let count = buf.len().min(self.waiting.len());
        buf[..count].copy_from_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        assert!(self.given < MANY_TX_IDS, "the others are read on");
        Ok(count)
    }
}

/// Can't be read, and tells when it is gone.
struct Broken {
    _gone: std::sync::mpsc::Sender<()>,
}

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

#[test]
fn a_file_that_cant_be_loaded_stops_the_others_and_is_named() {
    let recorded = Recorded::open(83);
    let folder = OsDir::open(&recorded.folder).unwrap();
    for proved in [false, true] {
        let (gone, other) = std::sync::mpsc::channel();
        let (gone, other) = (Mutex::new(Some(gone)), Mutex::new(Some(other)));
        let place = Place::new();
        let error = place.load_from(&recorded, 1, &|file| {
            let stream: Box<dyn Read + Send> = match file {
                SnapshotFile::PublicStateData => Box::new(Broken { _gone: gone.lock().unwrap().take().unwrap() }),
                SnapshotFile::TxIdsData => {
                    let other = other.lock().unwrap().take().unwrap();
                    Box::new(TxIdsFor { other, given: 0, waiting: Vec::new() })
                }
                _ => Box::new(FileReader::new(folder.open_file(file.name(), Access::Read)?)),
            };
            Ok(if proved { FileStream::Proved(stream) } else { FileStream::Unproved(stream) })
        });
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "public_state.data: the disk is gone");
    }
}

#[test]
fn a_peer_that_runs_is_left_alone() {
    let place = Place::new();
    place.ledgers.create_dir("fileLock").unwrap();
    let lock = place.ledgers.open_dir("fileLock").unwrap().lock("LOCK").unwrap();
    let error = place.load(&Recorded::open(83), 1).unwrap_err();
    assert!(error.to_string().contains("a peer runs on"), "{error}");
    assert_eq!(place.ledgers.list().unwrap().len(), 1, "nothing was made");
    drop(lock);
    place.load(&Recorded::open(83), 1).unwrap();
}

/// What an earlier attempt has left, ours or the peer's, doesn't come back; another channel's records stay.
#[test]
fn an_attempt_that_was_cut_off_is_replaced_and_other_channels_stay() {
    let place = Place::new();
    let recorded = Recorded::open(132);
    let id = recorded.metadata.signable.id().clone();
    let places = ChannelPlaces::claim(&place.ledgers, &id.channel).unwrap();
    places.begin(&recorded.metadata).unwrap();
    let mut others: BTreeMap<Store, Records> = BTreeMap::new();
    for store in Store::ALL {
        let mut ranges = store.key_ranges(&id.channel);
        let of_other = store.key_ranges(&format!("{}2", id.channel).parse().unwrap());
        ranges.extend(of_other.iter().cloned());
        match store.format() {
            _ if store == Store::LedgerProvider => drop(ranges.remove(0)),
            Some(format) => put(&place, store, &[format]),
            None => {}
        }
        let folder = store.folder().iter().fold(Arc::clone(&place.ledgers), |dir, name| {
            dir.create_dir(name).unwrap();
            dir.open_dir(name).unwrap()
        });
        let mut bulk = crate::ledger::leveldb::Bulk::begin(folder, ranges.clone()).unwrap();
        let mut run = bulk.run();
        for range in &ranges {
            let key = [range.start.as_slice(), b"zzz"].concat();
            if range.contains(&key) {
                run.add(&key, b"old").unwrap();
                if of_other.contains(range) {
                    others.entry(store).or_default().insert(key, b"old".to_vec());
                }
            }
        }
        bulk.take(run.finish().unwrap());
        bulk.commit().unwrap();
    }
    drop(places);
    place.load(&recorded, 2).unwrap();
    for store in Store::ALL {
        let mut found = place.records(store);
        let ranges = store.key_ranges(&format!("{}2", id.channel).parse().unwrap());
        let of_other = |key: &Vec<u8>| ranges.iter().any(|range| range.contains(key));
        let kept: Records = found.extract_if(.., |key, _| of_other(key)).collect();
        assert_eq!(kept, others.remove(&store).unwrap_or_default(), "{store:?}");
        assert!(!kept.is_empty() || store == Store::LedgerProvider, "{store:?}");
        assert!(found == dump(132, 2, store), "{store:?}");
    }
}

/// The folder of a store, made if it is missing.
fn folder(place: &Place, store: Store) -> Arc<dyn Dir> {
    store.folder().iter().fold(Arc::clone(&place.ledgers), |dir, name| {
        dir.create_dir(name).unwrap();
        dir.open_dir(name).unwrap()
    })
}

fn put(place: &Place, store: Store, records: &[(&[u8], &[u8])]) {
    let ranges = records.iter().map(|(key, _)| key.to_vec()..[key, &b"\0"[..]].concat()).collect();
    let mut bulk = crate::ledger::leveldb::Bulk::begin(folder(place, store), ranges).unwrap();
    let mut run = bulk.run();
    records.iter().for_each(|(key, value)| run.add(key, value).unwrap());
    bulk.take(run.finish().unwrap());
    bulk.commit().unwrap();
}

/// A peer of another Fabric, one with CouchDB, and one whose database is damaged: found out before anything is begun, and told so that the
/// operator knows what to do.
#[test]
fn a_peer_that_cant_be_loaded_into_is_left_as_it_was() {
    let recorded = Recorded::open(83);
    let channel = recorded.metadata.signable.id().channel.clone();
    type Spoil = fn(&Place);
    let spoilt: [(&str, Spoil); 5] = [
        ("ledgerProvider is of format \"\", and only \"2.0\"", |place| {
            put(place, Store::LedgerProvider, &[(b"lother", b"a genesis block of 1.4")]);
        }),
        ("pvtdataStore is of format \"\", and only \"2.5\"", |place| {
            put(place, Store::PrivateData, &[(b"other\0\x01", b"of 2.4")]);
        }),
        ("pvtdataStore is of format \"2.0\"", |place| put(place, Store::PrivateData, &[(b"_\0f", b"2.0")])),
        ("is of a peer with CouchDB", |place| place.ledgers.create_dir("couchdbRedoLogs").unwrap()),
        ("CURRENT", |place| {
            put(place, Store::State, &[(b"_\0f", b"2.0")]);
            let current = folder(place, Store::State).open_file("CURRENT", Access::ReadWrite).unwrap();
            current.write_all_at(b"nonsense", 0).unwrap();
        }),
    ];
    for (words, spoil) in spoilt {
        let place = Place::new();
        spoil(&place);
        let before = everything(&place.keep.path().join("ledgersData"));
        for error in [may_load(&place.ledgers, &channel).unwrap_err(), place.load(&recorded, 1).unwrap_err()] {
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
        assert!(everything(&place.keep.path().join("ledgersData")) == before, "{words}");
    }
}

/// Every file below, with its bytes.
fn everything(path: &Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: std::path::PathBuf| match path.is_dir() {
        true => everything(&path),
        false => [(path.clone(), std::fs::read(&path).unwrap())].into(),
    };
    entries.flat_map(of).collect()
}

/// A database that was begun and cut off has no format yet, and nothing else either.
#[test]
fn an_empty_database_gets_its_format() {
    let place = Place::new();
    for store in Store::ALL {
        drop(crate::ledger::leveldb::Bulk::begin(folder(&place, store), Vec::new()).unwrap());
    }
    place.load(&Recorded::open(83), 3).unwrap();
    place.assert_is_that_of_a_real_peer(83, 3);
}

/// Whose peer is loaded into, and cut off.
const MSP_ID: &str = "Org2MSP";

/// A load that was cut off right before the channel's record would say that it is whole.
fn cut_off(place: &Place, recorded: &Recorded) {
    let folder = OsDir::open(&recorded.folder).unwrap();
    let open = |file: SnapshotFile| {
        Ok(FileStream::Unproved(Box::new(FileReader::new(folder.open_file(file.name(), Access::Read)?))))
    };
    let job = Load {
        ledgers: Arc::clone(&place.ledgers),
        metadata: &recorded.metadata,
        open: &open,
        msp_id: MSP_ID,
        scratch: Arc::clone(&place.scratch),
        sort_bytes: 1 << 20,
        may_activate: &|| true,
    };
    let places = ChannelPlaces::claim(&place.ledgers, &recorded.metadata.signable.id().channel).unwrap();
    places.begin(&recorded.metadata).unwrap();
    fill(&job, &places).unwrap();
}

#[test]
fn what_was_cut_off_right_before_its_end_is_finished_without_reading_anything() {
    let (place, recorded) = (Place::new(), Recorded::open(132));
    let finishes = |recorded: &Recorded, may| finish(&place.ledgers, &recorded.metadata, MSP_ID, &|| may).unwrap();
    let for_another = || finish(&place.ledgers, &recorded.metadata, "Org1MSP", &|| true).unwrap();
    assert!(!finishes(&recorded, true), "nothing was begun");
    cut_off(&place, &recorded);
    assert!(!finishes(&Recorded::open(83), true), "another snapshot was");
    assert!(!for_another(), "what a peer may have of private data is another matter for each organisation");
    assert!(!finishes(&recorded, false), "who vouched doesn't count any more");
    assert!(finishes(&recorded, true));
    place.assert_is_that_of_a_real_peer(132, 2);
    assert!(!place.ledgers.list().unwrap().iter().any(|entry| entry.name.starts_with('.')), "our marker is left");
    let again = finish(&place.ledgers, &recorded.metadata, MSP_ID, &|| true).unwrap_err();
    assert!(matches!(again, LoadError::ChannelExists { .. }), "{again}");
}

/// A peer that starts opens every database, and writes what it finds anew.
#[test]
fn what_somebody_has_changed_since_is_loaded_again() {
    let recorded = Recorded::open(132);
    for store in Store::ALL.into_iter().filter(|store| *store != Store::LedgerProvider) {
        let place = Place::new();
        cut_off(&place, &recorded);
        put(&place, store, &[(b"other\0key", b"of another channel")]);
        assert!(!finish(&place.ledgers, &recorded.metadata, MSP_ID, &|| true).unwrap(), "{store:?}");
        place.load(&recorded, 2).unwrap();
    }
    let place = Place::new();
    cut_off(&place, &recorded);
    let chain = place.ledgers.open_dir("chains").unwrap().open_dir("chains").unwrap().open_dir("mychannel").unwrap();
    chain.remove_file("bootstrappingSnapshot.info").unwrap();
    assert!(!finish(&place.ledgers, &recorded.metadata, MSP_ID, &|| true).unwrap());
    place.load(&recorded, 2).unwrap();
    place.assert_is_that_of_a_real_peer(132, 2);
}
