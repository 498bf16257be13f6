//! Joins whose loader fills a stopped peer's databases while chunks come: whatever happens to the transfer, the databases end as a load of
//! the landed folder makes them, or hold nothing of the channel.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use netsim::disk::SimDisk;
use snapferry::{
    bootstrap::{JoinError, JoinEvent, Joined, LedgerLoader, LoadingError, Observer, Outcome, join},
    disk::{Dir, read_small, write_durably},
    ledger::{
        leveldb::Database,
        load::{LoadError, clean_up, may_load},
        stores::Store,
    },
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    ends::replace,
    floods::simulated,
    sim::{
        disk::sim_dir,
        scenario::{LinkSpec, Scenario},
        world::World,
    },
};

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A stopped peer's disk.
struct StoppedPeer(SimDisk);

impl StoppedPeer {
    fn new() -> Self {
        let disk = SimDisk::new();
        disk.root().create_dir("ledgersData").unwrap();
        Self(disk)
    }

    fn ledgers(&self) -> Arc<dyn Dir> {
        sim_dir(&self.0).open_dir("ledgersData").unwrap()
    }

    fn loader(&self, world: &World, land: Arc<dyn Dir>) -> LedgerLoader {
        LedgerLoader { ledgers: self.ledgers(), msp_id: world.joiner.peer.identity.identity.msp_id().clone(), land }
    }

    /// All records of all its databases.
    fn records(&self) -> BTreeMap<&'static str, Records> {
        let all = Store::ALL.into_iter().filter_map(|store| {
            let folder = store.folder().iter().try_fold(self.ledgers(), |dir, name| dir.open_dir(name)).ok()?;
            let records = Database::open(folder).unwrap().scan(..).map(Result::unwrap).collect();
            Some((*store.folder().last().unwrap(), records))
        });
        all.collect()
    }
}

/// A join into that peer, and what it tells while it runs.
struct Loads {
    task: JoinHandle<Result<Joined, JoinError>>,
    events: UnboundedReceiver<JoinEvent>,
}

impl Loads {
    fn start(world: &World, peer: &StoppedPeer, also: impl Fn(&JoinEvent) + Send + Sync + 'static) -> Self {
        let (sender, events) = unbounded_channel();
        let observer: Observer = Arc::new(move |event| {
            also(&event);
            drop(sender.send(event));
        });
        let mut request = world.joiner.request(&world.addresses()).unwrap();
        request.loader = Some(Arc::new(peer.loader(world, Arc::clone(&request.land))));
        let task = tokio::spawn(async move { join(&request, &observer, std::future::pending()).await });
        Self { task, events }
    }

    async fn has(&mut self, bytes: u64) {
        loop {
            match self.events.recv().await {
                Some(JoinEvent::Progress(progress)) if progress.verified_bytes >= bytes => return,
                Some(_) => {}
                None => panic!("it ends: {:?}", (&mut self.task).await),
            }
        }
    }

    async fn ends(self) -> Joined {
        timeout(Duration::from_secs(7_200), self.task).await.expect("it hangs").unwrap().unwrap()
    }
}

fn world(seed: u64) -> World {
    let links = LinkSpec::of(20, 400_000, 64_000);
    World::new(&Scenario { snapshot_bytes: 4 << 20, links, ..Scenario::default() }, seed)
}

/// What a load of the folder that has landed puts into another peer's databases.
async fn from_the_folder(world: &World) -> BTreeMap<&'static str, Records> {
    let peer = StoppedPeer::new();
    let joined = Loads::start(world, &peer, |_| ()).ends().await;
    assert_eq!(joined.outcome, Outcome::AlreadyThere);
    peer.records()
}

/// C1, C3: the target changes in the middle of the transfer, and with it what is loaded.
#[test]
fn what_was_loaded_of_a_target_that_is_given_up_is_not_there() {
    simulated(async {
        let mut world = world(1_901);
        let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
        let peer = StoppedPeer::new();
        let mut loads = Loads::start(&world, &peer, |_| ());
        loads.has(2 << 20).await;
        replace(&mut world, &[1, 2, 3], &older, &newer);
        let joined = loads.ends().await;
        assert_eq!((joined.outcome, &joined.id), (Outcome::Landed, &newer.id));
        assert!(joined.loaded.is_some());
        assert!(peer.records() == from_the_folder(&world).await);
    });
}

/// B2: the joiner is killed while it fetches and loads. What it had fetched is fed again, nothing of it is fetched again, and until then
/// the peer's record says that the channel isn't whole.
#[test]
fn a_join_that_was_killed_is_fed_again_without_a_download() {
    simulated(async {
        let world = world(1_902);
        let peer = StoppedPeer::new();
        let mut loads = Loads::start(&world, &peer, |_| ());
        loads.has(2 << 20).await;
        // First its disks: what a killed process would still clean up, it doesn't.
        peer.0.kill();
        world.joiner.disk.kill();
        loads.task.abort();
        assert!(loads.task.await.unwrap_err().is_cancelled());
        world.joiner.host.crash();
        let begun = peer.records();
        assert_eq!(begun["ledgerProvider"].len(), 2, "its format, and the channel under construction");
        let joined = Loads::start(&world, &peer, |_| ()).ends().await;
        assert_eq!(joined.outcome, Outcome::Landed);
        assert!(joined.reused_bytes >= 1 << 20, "{}", joined.reused_bytes);
        assert!(peer.records() == from_the_folder(&world).await);
    });
}

/// B2: the same, after which nothing more is wanted of the channel: it is cleaned up.
#[test]
fn what_a_killed_join_has_loaded_can_be_cleaned_up() {
    simulated(async {
        let world = world(1_903);
        let peer = StoppedPeer::new();
        let mut loads = Loads::start(&world, &peer, |_| ());
        loads.has(2 << 20).await;
        peer.0.kill();
        loads.task.abort();
        assert!(loads.task.await.unwrap_err().is_cancelled());
        let ledgers = peer.ledgers();
        let channel = &world.golden.id.channel;
        clean_up(&ledgers, channel).unwrap();
        let left: usize = peer.records().values().map(BTreeMap::len).sum();
        assert_eq!(left, 5, "each database's format, where it has one: {:?}", peer.records());
        may_load(&ledgers, channel).unwrap();
    });
}

/// D2, B1: the peer's own disk is full while chunks come, from the start or in the middle of a file behind which others come. The transfer
/// goes on, and what has landed is loaded once there is room.
#[test]
fn a_load_that_fails_beside_the_transfer_is_done_from_the_folder() {
    for full_at in [0, 1 << 20, 2 << 20, 3 << 20] {
        simulated(async move {
            let world = world(1_904);
            let peer = StoppedPeer::new();
            let failed = Arc::new(AtomicBool::new(false));
            let (disk, noted) = (peer.0.clone(), Arc::clone(&failed));
            let loads = Loads::start(&world, &peer, move |event| match event {
                JoinEvent::LoadsBeside if full_at == 0 => disk.set_capacity(Some(1 << 20)),
                JoinEvent::Progress(progress) if full_at > 0 && progress.verified_bytes >= full_at => {
                    disk.set_capacity(Some(0));
                }
                JoinEvent::LoadFailed { .. } => {
                    noted.store(true, Ordering::Relaxed);
                    disk.set_capacity(None);
                }
                _ => {}
            });
            let joined = loads.ends().await;
            assert_eq!((joined.outcome, failed.load(Ordering::Relaxed)), (Outcome::Landed, true), "{full_at}");
            assert!(peer.records() == from_the_folder(&world).await, "{full_at}");
        });
    }
}

/// D2, B1: the landing folder's disk is full while the load beside it runs: what that has written may be what lacks. It is called off, the
/// transfer waits for room, and what has landed is loaded.
#[test]
fn a_load_beside_a_full_landing_folder_is_called_off() {
    simulated(async {
        let world = world(1_906);
        let peer = StoppedPeer::new();
        let landing = world.joiner.disk.clone();
        let failed = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&failed);
        let mut loads = Loads::start(&world, &peer, move |event| {
            if matches!(event, JoinEvent::LoadFailed { .. }) {
                noted.store(true, Ordering::Relaxed);
            }
        });
        loads.has(1 << 20).await;
        landing.set_capacity(Some(landing.used()));
        while !matches!(loads.events.recv().await, Some(JoinEvent::DiskFull { .. })) {}
        landing.set_capacity(None);
        let joined = loads.ends().await;
        assert_eq!((joined.outcome, failed.load(Ordering::Relaxed)), (Outcome::Landed, true));
        assert!(peer.records() == from_the_folder(&world).await);
    });
}

/// D2: a peer's disk that may be too small is told of before anything is fetched.
#[test]
fn a_peers_disk_with_little_room_is_told_of_before_anything_is_fetched() {
    simulated(async {
        let (world, peer) = (world(1_907), StoppedPeer::new());
        let told = async |mut loads: Loads| {
            let mut told = false;
            while let Some(event) = loads.events.recv().await {
                told |= matches!(event, JoinEvent::LedgerRoom { .. });
                if matches!(event, JoinEvent::Progress(progress) if progress.verified_bytes >= 2 << 20) {
                    break;
                }
            }
            loads.task.abort();
            drop((&mut loads.task).await);
            told
        };
        assert!(!told(Loads::start(&world, &peer, |_| ())).await);
        let other = StoppedPeer::new();
        other.0.set_capacity(Some(other.0.used() + (3 << 20)));
        assert!(told(Loads::start(&world, &other, |_| ())).await);
    });
}

/// B4: the peer has the channel: nobody is asked for anything.
#[test]
fn a_channel_that_exists_is_refused_before_any_source_is_dialled() {
    simulated(async {
        let world = world(1_905);
        let peer = StoppedPeer::new();
        Loads::start(&world, &peer, |_| ()).ends().await;
        let again = async || {
            let mut loads = Loads::start(&world, &peer, |_| ());
            let error = (&mut loads.task).await.unwrap().unwrap_err();
            assert!(loads.events.recv().await.is_none(), "it told something");
            error
        };
        // By our own hand, as is noted there: nothing is left to do.
        let error = again().await;
        let JoinError::Loading(LoadingError::AlreadyJoined { id, .. }) = &error else { panic!("{error}") };
        assert_eq!(*id, world.golden.id);
        let work = sim_dir(&world.joiner.disk).open_dir("land").unwrap().open_dir(".snapferry").unwrap();
        let note = work.list().unwrap().into_iter().find(|entry| entry.name.contains(".made-")).unwrap();
        let noted = String::from_utf8(read_small(&*work, &note.name, 1_000).unwrap()).unwrap();
        // What is there is another snapshot's, or was loaded for another organisation, or nobody knows of it.
        let (block, rest) = noted.split_once(' ').unwrap();
        let digit = if rest.starts_with('0') { "1" } else { "0" };
        for changed in [format!("{block} {digit}{}", &rest[1..]), noted.replace("MSP", "MSP2"), "garbage".to_owned()] {
            assert_ne!(changed, noted);
            write_durably(&*work, &note.name, changed.as_bytes()).unwrap();
            let error = again().await;
            assert!(
                matches!(error, JoinError::Loading(LoadingError::Load(LoadError::ChannelExists { .. }))),
                "{changed}: {error}"
            );
        }
        write_durably(&*work, &note.name, noted.as_bytes()).unwrap();
        assert!(matches!(again().await, JoinError::Loading(LoadingError::AlreadyJoined { .. })));
        peer.ledgers().remove_dir_all("stateLeveldb").unwrap();
        let error = again().await;
        assert!(matches!(error, JoinError::Loading(LoadingError::Load(LoadError::ChannelExists { .. }))), "{error}");
    });
}
