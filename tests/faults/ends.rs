//! Waits that have an end, and those that have none: what nobody has any more is given up for another block or told by name, what somebody
//! may still bring is waited for, and what was begun for it stays neither unused nor on the disk.

use std::{sync::Arc, time::Duration};

use netsim::disk::SimDisk;
use snapferry::{
    bootstrap::{JoinError, JoinEvent, Joined, Observer, Outcome, WORK_DIR, join},
    snapshot::BlockNumber,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    floods::simulated,
    sim::{
        channel::Golden,
        disk::sim_dir,
        run::{Report, run_with},
        scenario::{Happening, JoinerSpec, LinkSpec, Scenario, Timed},
        world::{JOINER, World, source_ip},
    },
};

const SLOW: LinkSpec = LinkSpec::of(20, 400_000, 64_000);
/// Longer than any wait that has an end.
const HOUR: Duration = Duration::from_secs(3_600);

/// A join, and what it tells while it runs.
struct Watched {
    task: JoinHandle<Result<Joined, JoinError>>,
    events: UnboundedReceiver<JoinEvent>,
}

impl Watched {
    fn start(world: &World, block_number: Option<BlockNumber>) -> Self {
        let (sender, events) = unbounded_channel();
        let observer: Observer = Arc::new(move |event| drop(sender.send(event)));
        let mut request = world.joiner.request(&world.addresses()).unwrap();
        request.block_number = block_number;
        let task = tokio::spawn(async move { join(&request, &observer, std::future::pending()).await });
        Self { task, events }
    }

    /// Waits until it tells that.
    async fn tells(&mut self, what: impl Fn(&JoinEvent) -> bool) -> JoinEvent {
        let told = async {
            loop {
                match self.events.recv().await {
                    Some(event) if what(&event) => break event,
                    Some(_) => {}
                    None => panic!("it doesn't tell that, and ends: {:?}", (&mut self.task).await),
                }
            }
        };
        timeout(HOUR, told).await.expect("it doesn't tell that")
    }

    /// Waits until it has proved so much of a snapshot.
    async fn has(&mut self, bytes: u64) {
        self.tells(|event| matches!(event, JoinEvent::Progress(progress) if progress.verified_bytes >= bytes)).await;
    }

    async fn ends(self) -> Result<Joined, JoinError> {
        timeout(2 * HOUR, self.task).await.expect("it hangs").unwrap()
    }
}

fn agreed(event: &JoinEvent) -> bool {
    matches!(event, JoinEvent::Agreed { .. })
}

fn other(event: &JoinEvent) -> bool {
    matches!(event, JoinEvent::OtherSnapshot { .. })
}

fn waits(event: &JoinEvent) -> bool {
    matches!(event, JoinEvent::WaitsForSources { .. })
}

fn world(seed: u64) -> World {
    World::new(&Scenario { snapshot_bytes: 4 << 20, links: SLOW, ..Scenario::default() }, seed)
}

/// Those sources have that snapshot, and the other one no longer.
pub(super) fn replace(world: &mut World, numbers: &[usize], gone: &Golden, comes: &Golden) {
    for number in numbers {
        comes.put(&world.source(*number).disk, "snapshots/completed");
        let catalog = world.source(*number).catalog().unwrap();
        catalog.scan().unwrap();
        catalog.delete(&gone.id).unwrap();
    }
}

/// What lies in the folder of work under way.
fn work(world: &World) -> Vec<String> {
    let work = sim_dir(&world.joiner.disk).open_dir("land").unwrap().open_dir(WORK_DIR).unwrap();
    work.list().unwrap().into_iter().map(|entry| entry.name).collect()
}

/// C1: the snapshot goes from all sources, or from all but one that is lost, once it is agreed on and before its first chunk is asked for:
/// the newer one that they have is joined.
#[test]
fn a_snapshot_that_goes_before_its_first_chunk_is_given_up_for_another() {
    for lost in [None, Some(3)] {
        simulated(async {
            let mut world = world(1_701);
            let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
            let mut joining = Watched::start(&world, None);
            joining.tells(agreed).await;
            let deleted: Vec<usize> = (1..=3).filter(|number| Some(*number) != lost).collect();
            replace(&mut world, &deleted, &older, &newer);
            if let Some(number) = lost {
                world.source(number).crash();
            }
            let begun = Instant::now();
            joining.tells(other).await;
            assert!(begun.elapsed() < Duration::from_secs(60), "it waits for what is gone: {:?}", begun.elapsed());
            let joined = joining.ends().await.unwrap_or_else(|error| panic!("lost {lost:?}: {error}"));
            assert_eq!((joined.outcome, joined.id), (Outcome::Landed, newer.id.clone()));
            assert_eq!(work(&world), [""; 0]);
        });
    }
}

/// C1: the same, where the operator named the block: nothing may be taken in its place, and the join says what happened.
#[test]
fn a_named_block_that_goes_before_its_first_chunk_ends_the_join_in_words() {
    simulated(async {
        let mut world = world(1_702);
        let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
        let mut joining = Watched::start(&world, Some(older.id.block_number));
        joining.tells(agreed).await;
        let begun = Instant::now();
        replace(&mut world, &[1, 2, 3], &older, &newer);
        let error = joining.ends().await.unwrap_err().to_string();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert!(error.contains("no source offers") && error.contains("name others"), "{error}");
        let each = world.addresses().iter().filter(|address| error.contains(address.as_str())).count();
        assert_eq!(each, 3, "{error}");
    });
}

/// N2: a join waits for those who are cut off, however long, though it hasn't got the list of a file yet.
#[test]
fn a_partition_of_an_hour_before_the_first_chunk_doesnt_end_a_join() {
    for block_number in [false, true] {
        simulated(async {
            let world = world(1_703);
            let mut joining = Watched::start(&world, block_number.then_some(world.golden.id.block_number));
            joining.tells(agreed).await;
            let sources: Vec<_> = (1..=3).map(source_ip).collect();
            world.net.partition(&sources, &[JOINER]);
            joining.tells(waits).await;
            sleep(HOUR).await;
            world.net.mend(&sources, &[JOINER]);
            let joined = joining.ends().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((joined.outcome, &joined.id), (Outcome::Landed, &world.golden.id));
        });
    }
}

/// C3: a target was given up, and all sources crash before they can attest what they have in its place: they are waited for, and once the
/// other one has landed nothing is left of the first.
#[test]
fn nothing_stays_of_a_target_that_was_given_up() {
    simulated(async {
        let mut world = world(1_704);
        let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
        let mut joining = Watched::start(&world, None);
        joining.has(1 << 20).await;
        replace(&mut world, &[1, 2, 3], &older, &newer);
        joining.tells(other).await;
        (1..=3).for_each(|number| world.source(number).crash());
        joining.tells(waits).await;
        (1..=3).for_each(|number| world.source(number).start());
        let joined = joining.ends().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((joined.outcome, joined.id), (Outcome::Landed, newer.id.clone()));
        assert_eq!(work(&world), [""; 0]);
    });
}

/// C3: a target that was given up, and that all sources have again when the next one goes, is taken again and goes on with what was proved of
/// it; nothing is left of the one in between.
#[test]
fn a_target_that_comes_back_goes_on_where_it_was() {
    simulated(async {
        let mut world = world(1_705);
        let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
        let mut joining = Watched::start(&world, None);
        joining.has(2 << 20).await;
        replace(&mut world, &[1, 2, 3], &older, &newer);
        joining.tells(other).await;
        joining.tells(agreed).await;
        joining.has(1 << 20).await;
        replace(&mut world, &[1, 2, 3], &newer, &older);
        let JoinEvent::Resuming { bytes } = joining.tells(|event| matches!(event, JoinEvent::Resuming { .. })).await
        else {
            unreachable!()
        };
        assert!(bytes >= 2 << 20, "{bytes} bytes");
        let joined = joining.ends().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((joined.outcome, joined.id), (Outcome::Landed, older.id.clone()));
        assert!(joined.reused_bytes >= 2 << 20, "{} bytes", joined.reused_bytes);
        assert_eq!(work(&world), [""; 0]);
    });
}

/// A join whose target goes for a newer block in its midst, on a disk with that room, and the disk; and what else happens.
fn changes_its_target(disk_bytes: u64, others: Vec<(u64, Happening)>) -> (Report, SimDisk) {
    let newer = (1..=3).map(|number| (2_000, Happening::NewSnapshot(number)));
    let gone = (1..=3).map(|number| (3_500, Happening::Delete(number)));
    let happenings = newer.chain(gone).chain(others).map(|(at_ms, what)| Timed { at_ms, what }).collect();
    let joiner = JoinerSpec { disk_bytes: Some(disk_bytes), ..JoinerSpec::default() };
    let scenario = Scenario { snapshot_bytes: 4 << 20, links: SLOW, happenings, joiner, ..Scenario::default() };
    let mut disk = None;
    let report = run_with(&scenario, 37, |world| disk = Some(world.joiner.disk.clone()));
    (report, disk.unwrap())
}

fn work_left(disk: &SimDisk) -> Vec<String> {
    disk.paths()
        .into_iter()
        .filter_map(|path| path.strip_prefix("land/.snapferry/").map(str::to_owned))
        .filter(|path| !path.is_empty())
        .collect()
}

/// C1, D2: there is room for one snapshot only: the next target gets the room of the one that is gone.
#[test]
fn another_block_finds_the_room_that_the_one_that_is_gone_took() {
    let (report, disk) = changes_its_target((64 << 20) + (5 << 20), Vec::new());
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("nothing was joined")) };
    report.check();
    assert!(joined.id.block_number.0 > 100 && report.attempts.len() == 1, "{}", report.account("in one go"));
    assert_eq!(work_left(&disk), Vec::<String>::new());
}

/// C1, D1: the process dies after the target has changed: the next run knows of both work folders, and none stays.
#[test]
fn a_run_that_dies_after_its_target_has_changed_leaves_nothing_for_ever() {
    let (report, disk) = changes_its_target(1 << 30, vec![(6_500, Happening::KillJoiner)]);
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("nothing was joined")) };
    report.check();
    assert!(joined.id.block_number.0 > 100 && report.attempts.len() == 2, "{}", report.account("killed too late"));
    assert!(report.attempts[1].resumed_bytes > 0, "{}", report.account("killed too early"));
    assert_eq!(work_left(&disk), Vec::<String>::new());
}

/// D6: somebody else works, or has worked, at a block that this join gave up before it fetched any of it: that work isn't ours to remove.
#[test]
fn the_work_of_another_join_is_left_alone() {
    simulated(async {
        let mut world = World::new(&Scenario { snapshot_bytes: 4 << 20, links: SLOW, ..Scenario::default() }, 49);
        let (older, newer) = (Arc::clone(&world.golden), world.channel.golden(world.golden.bytes, 3));
        let mut named = Watched::start(&world, Some(older.id.block_number));
        named.has(2 << 20).await;
        let mut newest = Watched::start(&world, None);
        newest.tells(|event| matches!(event, JoinEvent::Agreed { .. })).await;
        for number in 1..=3 {
            newer.put(&world.source(number).disk, "snapshots/completed");
            let catalog = world.source(number).catalog().unwrap();
            catalog.scan().unwrap();
            catalog.delete(&older.id).unwrap();
        }
        assert_eq!(newest.ends().await.unwrap().id, newer.id);
        named.task.abort();
        let _ = named.task.await;
        assert_eq!(Watched::start(&world, None).ends().await.unwrap().outcome, Outcome::AlreadyThere);
        let work = sim_dir(&world.joiner.disk).open_dir("land").unwrap().open_dir(WORK_DIR).unwrap();
        let left: Vec<_> = work.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(left, [format!("simchannel-{}", older.id.block_number)], "it can be resumed");
    });
}
