//! A whole direct load that is cut off before every single operation of the peer's disk, and with every single operation failing. Whatever is
//! left, a peer that starts then has the channel whole or drops what there is of it, other channels' records are the same bytes, and the next
//! load brings it about, of this snapshot or another.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    ops::Range,
    sync::Arc,
};

use netsim::{
    Rng,
    disk::{Fault, SimDisk},
};
use snapferry::{
    disk::{Dir, DiskError},
    ledger::{
        leveldb::{Bulk, Database, make_database},
        load::{FileStream, Load, LoadError, clean_up, finish, load},
        stores::{LedgerRecord, Status, Store, ledger_key},
    },
    snapshot::{ChannelId, SnapshotFile, SnapshotMetadata},
};

use crate::sim::{
    channel::{CHANNEL, Golden, SimChannel},
    disk::sim_dir,
};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;
type Files = BTreeMap<String, Vec<u8>>;

/// All that a peer would read: what is in its databases, and the block files of each channel.
#[derive(PartialEq, Default)]
struct Everything {
    stores: BTreeMap<Store, Records>,
    blocks: BTreeMap<String, Files>,
}

/// What is drawn of the states that a power cut may leave.
const SEED: u64 = 7;
/// Bytes of the snapshots: some tables of each store are enough.
const BYTES: u64 = 200 << 10;
/// Names that sort close before and behind the channel's, and one that begins with it.
const OTHERS: [&str; 4] = ["aaa", "simchannel-1", "simchannel2", "zzz"];

fn golden(number: u64) -> Arc<Golden> {
    SimChannel::shared(3).golden(BYTES, number)
}

fn metadata(golden: &Golden) -> SnapshotMetadata {
    let json = |name| golden.files[name].as_slice();
    SnapshotMetadata::parse(json(SnapshotFile::SIGNABLE_METADATA), json(SnapshotFile::ADDITIONAL_METADATA)).unwrap()
}

fn ledgers(disk: &SimDisk) -> Result<Arc<dyn Dir>, DiskError> {
    let root = sim_dir(disk);
    root.create_dir("ledgersData")?;
    root.sync_dir()?;
    root.open_dir("ledgersData")
}

/// Loads the snapshot; sorting has a disk of its own, and needs none.
fn load_into(disk: &SimDisk, golden: &Golden) -> Result<(), LoadError> {
    let (metadata, scratch) = (metadata(golden), sim_dir(&SimDisk::new()));
    let open = |file: SnapshotFile| {
        let bytes: Box<dyn Read + Send> = Box::new(Cursor::new(golden.files[file.name()].clone()));
        Ok(FileStream::Unproved(bytes))
    };
    let ledgers = ledgers(disk)?;
    // As a join does that finds the folder in place.
    if finish(&ledgers, &metadata, "Org1MSP", &|| true)? {
        return Ok(());
    }
    load(&Load {
        ledgers,
        metadata: &metadata,
        open: &open,
        msp_id: "Org1MSP",
        scratch,
        sort_bytes: 8 << 20,
        may_activate: &|| true,
    })
}

fn channel() -> ChannelId {
    CHANNEL.parse().unwrap()
}

fn status(disk: &SimDisk) -> Option<Status> {
    let found = everything(disk);
    let record = found.stores.get(&Store::LedgerProvider)?.get(&ledger_key(&channel()))?;
    Some(LedgerRecord::decode(record).unwrap().status)
}

/// Panics where no peer could start: at a folder that is neither empty nor a database.
fn everything(disk: &SimDisk) -> Everything {
    let ledgers = ledgers(disk).unwrap();
    let of = |store: Store| {
        let folder = store.folder().iter().try_fold(Arc::clone(&ledgers), |dir, name| dir.open_dir(name)).ok()?;
        if folder.list().unwrap().is_empty() {
            return None;
        }
        let database = Database::open(folder).unwrap_or_else(|error| panic!("no peer opens it: {error}"));
        Some((store, database.scan(..).map(Result::unwrap).collect()))
    };
    let stores = Store::ALL.into_iter().filter_map(of).collect();
    if let Ok(lock) = ledgers.open_dir("fileLock")
        && !lock.list().unwrap().is_empty()
    {
        Database::open(lock).unwrap_or_else(|error| panic!("no peer opens its lock: {error}"));
    }
    Everything { stores, blocks: blocks(disk) }
}

/// The block files of each channel.
fn blocks(disk: &SimDisk) -> BTreeMap<String, Files> {
    let chains = ["ledgersData", "chains", "chains"].iter().try_fold(sim_dir(disk), |dir, name| dir.open_dir(name));
    let Ok(chains) = chains else { return BTreeMap::new() };
    let files = |name: String| {
        let folder = chains.open_dir(&name).unwrap();
        let names = folder.list().unwrap().into_iter().map(|entry| entry.name);
        let content = |file: String| {
            let bytes = disk.read(format!("ledgersData/chains/chains/{name}/{file}")).unwrap();
            (file, bytes)
        };
        let files = names.map(content).collect();
        (name, files)
    };
    chains.list().unwrap().into_iter().map(|entry| files(entry.name)).collect()
}

/// The channel's keys in a peer's own databases (fabric: leveldbhelper, `constructLevelKey`). Said here again, so that what is loaded, and
/// removed, isn't checked against itself.
fn keys_of_channel(store: Store) -> Vec<Range<Vec<u8>>> {
    let of = |name: String| [name.as_bytes(), b"\0"].concat()..[name.as_bytes(), b"\x01"].concat();
    match store {
        Store::LedgerProvider => vec![ledger_key(&channel())..[ledger_key(&channel()), vec![0]].concat()],
        Store::Bookkeeper => (0..3).map(|category| of(format!("{CHANNEL}/{category}"))).collect(),
        _ => vec![of(CHANNEL.to_owned())],
    }
}

/// Without formats: a database that isn't there yet has none.
fn without_formats(mut found: Everything) -> Everything {
    for (store, records) in &mut found.stores {
        records.retain(|key, _| store.format().is_none_or(|(format, _)| format != key));
    }
    found.stores.retain(|_, records| !records.is_empty());
    found
}

/// Without what is the channel's, and without formats.
fn others(mut found: Everything) -> Everything {
    for (store, records) in &mut found.stores {
        let ranges = keys_of_channel(*store);
        records.retain(|key, _| !ranges.iter().any(|range| range.contains(key)));
    }
    found.blocks.remove(CHANNEL);
    without_formats(found)
}

/// What a peer that starts makes of a channel that isn't active (fabric: core/ledger/kvledger/kv_ledger_provider.go, `deletePartialLedgers`).
/// Of the index only where there is a folder of blocks (common/ledger/blkstorage/blockstore_provider.go, `Drop`).
fn peer_starts(disk: &SimDisk) {
    if !matches!(status(disk), Some(Status::UnderConstruction | Status::UnderDeletion)) {
        return;
    }
    let ledgers = ledgers(disk).unwrap();
    let drops = |store: Store| store != Store::Index || blocks(disk).contains_key(CHANNEL);
    let (last, all): (Vec<_>, Vec<_>) = Store::ALL.into_iter().partition(|store| *store == Store::LedgerProvider);
    for store in all.into_iter().filter(|store| drops(*store)).chain(last) {
        let (name, above) = store.folder().split_last().unwrap();
        let above = above.iter().fold(Arc::clone(&ledgers), |dir, name| {
            dir.create_dir(name).unwrap();
            dir.open_dir(name).unwrap()
        });
        let database = make_database(&*above, name).unwrap();
        Bulk::begin(database, keys_of_channel(store)).unwrap().commit().unwrap();
        if store == Store::Index && blocks(disk).contains_key(CHANNEL) {
            above.open_dir("chains").unwrap().remove_dir_all(CHANNEL).unwrap();
        }
    }
}

/// A peer with other channels.
fn with_others() -> SimDisk {
    let disk = SimDisk::new();
    let ledgers = ledgers(&disk).unwrap();
    for store in Store::ALL {
        let (name, above) = store.folder().split_last().unwrap();
        let above = above.iter().fold(Arc::clone(&ledgers), |dir, name| {
            dir.create_dir(name).unwrap();
            dir.open_dir(name).unwrap()
        });
        let mut records = Records::new();
        records.extend(store.format().map(|(key, value)| (key.to_vec(), value.to_vec())));
        for other in OTHERS {
            for range in store.key_ranges(&other.parse().unwrap()) {
                let first = range.start.clone();
                let more = (0..40).map(|n| [first.as_slice(), format!("{n:03}").as_bytes()].concat());
                let keys = std::iter::once(first.clone()).chain(more).filter(|key| range.contains(key));
                records.extend(keys.map(|key| (key, other.as_bytes().to_vec())));
            }
        }
        let range = vec![Vec::new()..vec![0xff; 9]];
        let mut bulk = Bulk::begin(make_database(&*above, name).unwrap(), range).unwrap();
        let mut run = bulk.run();
        records.iter().for_each(|(key, value)| run.add(key, value).unwrap());
        bulk.take(run.finish().unwrap());
        bulk.commit().unwrap();
    }
    for other in OTHERS {
        disk.put(format!("ledgersData/chains/chains/{other}/blockfile_000000"), other.as_bytes()).unwrap();
    }
    disk
}

/// A peer in which a load was killed half-way, of another snapshot of the channel.
fn with_a_rest() -> SimDisk {
    let (probe, counted) = (with_others(), golden(2));
    let before = probe.operations();
    load_into(&probe, &counted).unwrap();
    let half = before + (probe.operations() - before) / 2;
    let disk = with_others();
    disk.crash_before(half);
    load_into(&disk, &counted).unwrap_err();
    disk.kill();
    assert_eq!(status(&disk), Some(Status::UnderConstruction));
    disk
}

/// What is done with a channel that isn't whole.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The same snapshot once more.
    Load,
    /// A peer starts, ends, and another snapshot is loaded.
    PeerStarts,
    /// It is cleaned up, and another snapshot is loaded.
    CleanUp,
}

impl Next {
    const fn of(turn: usize) -> Self {
        match turn % 3 {
            0 => Self::PeerStarts,
            1 => Self::Load,
            _ => Self::CleanUp,
        }
    }
}

/// What a peer has, before and after a load that nothing went wrong with.
struct Expected {
    before: Everything,
    whole: Everything,
}

impl Expected {
    /// Whether it is active on this disk, which its processes have left. However the load has ended, it is whole then, or else goes.
    fn check(&self, disk: &SimDisk, context: &str, next: Next) -> bool {
        let (found, status_before) = (everything(disk), status(disk));
        if status_before == Some(Status::Active) {
            assert!(found == self.whole, "{context}: it is active, and isn't whole");
            return true;
        }
        if status_before.is_none() {
            let nothing = without_formats(everything(disk)) == self.before;
            assert!(nothing, "{context}: the peer knows nothing of the channel, and something of it is there");
        }
        assert!(others(found) == self.before, "{context}: what is other channels' has changed");
        match next {
            Next::Load => {}
            Next::PeerStarts => peer_starts(disk),
            Next::CleanUp => clean_up(&ledgers(disk).unwrap(), &channel())
                .unwrap_or_else(|error| panic!("{context}: it can't be cleaned up: {error}")),
        }
        if !matches!(next, Next::Load) {
            let nothing = without_formats(everything(disk)) == self.before;
            assert!(nothing, "{context}: something of the channel is there after {next:?}");
        }
        let number = if matches!(next, Next::Load) { 1 } else { 3 };
        load_into(disk, &golden(number)).unwrap_or_else(|error| panic!("{context}: {number} can't be loaded: {error}"));
        assert_eq!(status(disk), Some(Status::Active), "{context}");
        let found = everything(disk);
        assert!(number != 1 || found == self.whole, "{context}: loaded again");
        assert!(others(found) == self.before, "{context}: loaded again, and what is other channels' has changed");
        false
    }
}

/// Every `stride`th operation's turn. Of what a power cut may leave one state is drawn, or each is tried.
fn crash_everywhere(start: impl Fn() -> SimDisk, stride: usize, all_outcomes: bool) {
    let disk = start();
    let before = others(everything(&disk));
    disk.keep_images();
    load_into(&disk, &golden(1)).unwrap();
    let expected = Expected { before, whole: everything(&disk) };
    let (mut images, operations) = (disk.taken_images(), disk.operations());
    images.push(disk.image());
    let mut rng = Rng::new(SEED);
    let (mut states, mut actives) = (0, 0);
    let last = images.len() - 1;
    for (_, image) in images.iter().enumerate().filter(|(at, _)| at % stride == 0 || *at == last) {
        let context = format!("cut off before operation {} of {operations}", image.operation());
        let cut = if all_outcomes { image.outcomes(&mut rng) } else { vec![image.drawn(&mut rng)] };
        for disk in cut.into_iter().chain([image.killed()]) {
            actives += usize::from(expected.check(&disk, &context, Next::of(states)));
            states += 1;
        }
    }
    println!("{} crash points, {states} states, {actives} of them whole", images.len());
    assert!(actives > 0, "a load that says it is done is durable");
    assert!(
        images.len() > 200 && states >= 2 * images.len() / stride,
        "{} crash points, {states} states",
        images.len()
    );
}

/// B2: a new peer.
#[test]
fn a_load_into_a_new_peer_is_cut_off_anywhere() {
    crash_everywhere(SimDisk::new, 3, false);
}

/// B2: one that has other channels.
#[test]
fn a_load_beside_other_channels_is_cut_off_anywhere() {
    crash_everywhere(with_others, 3, false);
}

/// B2: one in which an earlier load was killed.
#[test]
fn a_load_over_the_rest_of_another_is_cut_off_anywhere() {
    crash_everywhere(with_a_rest, 3, false);
}

/// RFC integration test 5, "Failure during bootstrapping the peer, after peer loads the full data": the next run finishes it by itself, and reads
/// nothing of the snapshot for it.
#[test]
fn rfc_integration_test_5_failure_during_bootstrapping_after_the_full_data_is_loaded() {
    let disk = with_others();
    disk.keep_images();
    load_into(&disk, &golden(1)).unwrap();
    let (whole, images) = (everything(&disk), disk.taken_images());
    let mut finished = 0;
    for image in images.iter().rev().take(60) {
        let disk = image.killed();
        let was = status(&disk);
        if was == Some(Status::Active) {
            continue;
        }
        assert_eq!(was, Some(Status::UnderConstruction));
        if finish(&ledgers(&disk).unwrap(), &metadata(&golden(1)), "Org1MSP", &|| true).unwrap() {
            finished += 1;
            assert!(everything(&disk) == whole, "cut off before operation {}", image.operation());
        }
    }
    assert!(finished > 3, "it can be cut off between its marker and its record: {finished}");
}

#[test]
#[ignore = "minutes: just faults-exhaustive"]
fn every_operation_of_every_load_is_the_last_one_once() {
    for start in [SimDisk::new, with_others, with_a_rest] {
        crash_everywhere(start, 1, true);
    }
}

/// Every `stride`th operation fails in each way it can.
fn fail_everywhere(start: impl Fn() -> SimDisk, stride: usize) {
    let probe = start();
    let (begun, before) = (probe.operations(), others(everything(&start())));
    load_into(&probe, &golden(1)).unwrap();
    let expected = Expected { before, whole: everything(&probe) };
    let kinds: Vec<_> = probe.log().iter().map(|operation| operation.kind).collect();
    let mut turn = 0;
    for (at, kind) in (0..).zip(kinds).skip(begun as usize).step_by(stride) {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(kind)) {
            let disk = start();
            // Counted from where this disk is: it was made by just as many operations.
            disk.fail(at, fault);
            let done = load_into(&disk, &golden(1));
            disk.lose_unsynced();
            // A fault whose turn hasn't come goes with the process.
            let disk = disk.image().killed();
            let context = format!("operation {at} fails with {fault:?}: {done:?}");
            let is_active = expected.check(&disk, &context, Next::of(turn));
            assert!(is_active || done.is_err(), "{context}: it said that it is done");
            turn += 1;
        }
    }
    println!("{turn} failures");
}

/// D2, D3: what a disk does to a load in any of its operations leaves nothing half done, and the next load isn't harmed.
#[test]
fn a_load_whose_disk_fails_anywhere_says_so_or_is_whole() {
    fail_everywhere(with_others, 12);
    fail_everywhere(SimDisk::new, 18);
    fail_everywhere(with_a_rest, 18);
}

#[test]
#[ignore = "minutes: just faults-exhaustive"]
fn every_operation_of_every_load_fails_once() {
    [SimDisk::new, with_others, with_a_rest].into_iter().for_each(|start| fail_everywhere(start, 1));
}
