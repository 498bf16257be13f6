//! The snapshot that is being fetched seems to be gone, and something else is offered: what is here isn't given up for less than enough
//! organisations that offer the same, and nobody who is gone for a moment is given up on.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use netsim::disk::SimDisk;
use snapferry::{
    bootstrap::{JoinEvent, Observer, Outcome, join},
    catalog::{DetachedSignature, Mode, TrustPolicy, TrustSettings},
    chunking::{Executor, HandedJob, Workers},
    snapshot::{AdditionalMetadata, BlockHash, SnapshotId, SnapshotMetadata},
    transport::fault::ErrorCode,
};

use tokio::sync::mpsc::unbounded_channel;

use crate::sim::{
    joiner::Joiner,
    liar::{Lie, Of},
    run::{Report, run_with},
    scenario::{Happening, LinkSpec, Scenario, SourceSpec, Timed},
    service::PORT,
    world::{JOINER, World, source_ip},
};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101));
const SLOW: LinkSpec = LinkSpec::of(20, 400_000, 64_000);

/// A join from three sources of which the third offers nothing but a newer block, which nobody else has.
fn beside_a_newer_block(happenings: Vec<(u64, Happening)>) -> Report {
    let happenings = happenings.into_iter().map(|(at_ms, what)| Timed { at_ms, what }).collect();
    let scenario = Scenario { snapshot_bytes: 4 << 20, links: SLOW, happenings, ..Scenario::default() };
    run_with(&scenario, 31, |world| {
        let newer = world.channel.golden(world.golden.bytes, 3);
        let source = world.source(3);
        source.crash();
        source.disk = SimDisk::new();
        newer.put(&source.disk, "snapshots/completed");
        source.start();
    })
}

/// One join, that was never run again.
fn assert_landed_at_once(report: &Report) {
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("it failed, and was run again"));
}

/// C3: a newer snapshot of a single source, while all others restart or are cut off: the target stays, and they are waited for.
#[test]
fn a_target_isnt_given_up_while_those_who_have_it_are_away() {
    for away_ms in [12_000, 45_000] {
        let (down, up) = (3_000, 3_000 + away_ms);
        let stops = [(down, Happening::Stop(1)), (down, Happening::Stop(2))];
        let starts = [(up, Happening::Restart(1)), (up, Happening::Restart(2))];
        assert_landed_at_once(&beside_a_newer_block([stops, starts].concat()));
        let cut = vec![(down, Happening::Cut(vec![1, 2])), (up, Happening::Heal(vec![1, 2]))];
        assert_landed_at_once(&beside_a_newer_block(cut));
    }
}

/// A join from two sources, the first of which lacks every chunk and the second of which does that, while two others, of as many
/// organisations as must agree, soon have nothing but a newer block.
fn while_enough_have_another(lie: impl Into<Lie>) -> (Report, SnapshotId) {
    let lacking = SourceSpec::of(1).lying(Of::ChunksRefused(ErrorCode::ChunkCorruptAtSource));
    let sources = vec![lacking, SourceSpec::of(2).lying(lie), SourceSpec::of(1), SourceSpec::of(3)];
    let scenario = Scenario { snapshot_bytes: 4 << 20, sources, links: SLOW, deadline_s: 3_600, ..Scenario::default() };
    let mut other = None;
    let report = run_with(&scenario, 43, |world| {
        let (newer, old) = (world.channel.golden(world.golden.bytes, 3), world.golden.id.clone());
        other = Some(newer.id.clone());
        for number in [3, 4] {
            let source = world.source(number);
            let (disk, catalog) = (source.disk.clone(), Arc::clone(source.catalog().unwrap()));
            let (newer, old) = (Arc::clone(&newer), old.clone());
            world.beside(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                newer.put(&disk, "snapshots/completed");
                catalog.scan().unwrap();
                catalog.delete(&old).unwrap();
            });
        }
    });
    (report, other.unwrap())
}

/// S7: a source that says BUSY for long has what is missing: it is waited for, though another lacks it and enough offer something else.
#[test]
fn a_target_isnt_given_up_while_the_one_that_has_it_is_busy() {
    let (report, _) = while_enough_have_another(Of::ChunksBusyFor(Duration::from_secs(300)));
    assert_landed_at_once(&report);
    assert!(report.took > Duration::from_secs(300), "it wasn't busy for long: {:?}", report.took);
}

/// C1: the only source that still offers a snapshot gives none of it: others' offers that are as good as it are taken after ten minutes.
#[test]
fn who_gives_nothing_of_a_vanished_snapshot_holds_nobody_up_for_ever() {
    for lie in [Of::ChunksRefused(ErrorCode::Busy), Of::SilentChunks] {
        let (report, other) = while_enough_have_another(lie);
        let joined = report.ended.as_ref().unwrap().as_ref().unwrap_or_else(|error| panic!("{lie:?}: {error}"));
        report.check();
        assert_eq!(joined.id, other, "{lie:?}");
        assert!(report.took > Duration::from_secs(600) && report.took < Duration::from_secs(900), "{:?}", report.took);
    }
}

/// C1: every source deletes what two joiners fetch, who serve each other: neither waits for what the other doesn't have.
#[test]
fn joiners_that_serve_each_other_dont_wait_for_what_neither_has() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let link = LinkSpec::of(20, 200_000, 64_000);
        let sources = [1, 2, 3].map(|org| SourceSpec::of(org).over(link)).into();
        let mut world = World::new(&Scenario { snapshot_bytes: 16 << 20, sources, ..Scenario::default() }, 41);
        let mut other = world.another_joiner(OTHER);
        (1..=3).for_each(|number| world.net.set_link(source_ip(number), OTHER, link.link()));
        world.joiner.serves_at = Some(PORT);
        other.serves_at = Some(PORT);
        let addresses = world.addresses();
        let with = |ip: IpAddr| [addresses.clone(), vec![format!("{ip}:{PORT}")]].concat();
        let (mut first, mut second) = (world.joiner.start(&with(OTHER)), other.start(&with(JOINER)));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let newer = world.channel.golden(world.golden.bytes, 3);
        for number in 1..=3 {
            newer.put(&world.source(number).disk, "snapshots/completed");
            world.source(number).catalog().unwrap().scan().unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = world.golden.id.clone();
        for number in 1..=3 {
            world.source(number).catalog().unwrap().delete(&id).unwrap();
        }
        tokio::join!(first.lands(&world.joiner, &newer, &[]), second.lands(&other, &newer, &[]));
    });
}

/// Signatures of the metadata that came another way, of two organisations: nobody vouches for a manifest with them.
fn detached(world: &World) -> Vec<DetachedSignature> {
    let text = String::from_utf8(world.golden.files["_snapshot_additional_metadata.json"].clone()).unwrap();
    let additional: serde_json::Value = serde_json::from_str(&text).unwrap();
    let commit = hex::decode(additional["last_block_commit_hash"].as_str().unwrap()).unwrap();
    let signable = world.golden.manifest.signable().clone();
    let last_block_commit_hash = Some(BlockHash(commit.try_into().unwrap()));
    let additional = AdditionalMetadata { snapshot_hash: signable.hash(), last_block_commit_hash };
    let metadata = SnapshotMetadata::new(signable, additional).unwrap();
    let sign = |org| DetachedSignature::sign(&metadata, &world.channel.peer(org, 7).identity).unwrap();
    [1, 2].map(sign).into()
}

/// L5: a manifest that nobody vouches for, and that leads elsewhere, comes from a liar. A joiner that fetched by it too, and gives others
/// what it has, is no liar: it offers nothing before the manifest is vouched for, and nobody bans it.
#[test]
fn who_was_misled_itself_misleads_nobody_and_is_not_banned() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let slow = LinkSpec::of(20, 20_000, 64_000);
        let liar = |org| SourceSpec::of(org).over(slow).lying(Of::OwnManifest);
        let sources = vec![liar(1), liar(2), SourceSpec::of(3).over(slow)];
        let mut world = World::new(&Scenario { snapshot_bytes: 300_000, sources, ..Scenario::default() }, 77);
        let mut other = world.another_joiner(OTHER);
        (1..=3).for_each(|number| world.net.set_link(source_ip(number), OTHER, slow.link()));
        world.joiner.serves_at = Some(PORT);
        other.serves_at = Some(PORT);
        let (addresses, detached) = (world.addresses(), detached(&world));
        let start = |joiner: &Joiner, helper: IpAddr| {
            let mut request = joiner.request(&[addresses.clone(), vec![format!("{helper}:{PORT}")]].concat()).unwrap();
            let config = joiner.live.all().remove(0);
            let of = |count| Some(format!("OutOf({count}, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')"));
            let (metadata_policy, manifest_policy) = (of(2), of(3));
            let settings = TrustSettings {
                metadata_policy,
                manifest_policy,
                min_orgs: 2,
                require_live: true,
                ..TrustSettings::default()
            };
            request.trust.policy = TrustPolicy::new(&settings, &config).unwrap();
            request.trust.given.detached = detached.clone();
            let told: Arc<Mutex<Vec<JoinEvent>>> = Arc::default();
            let observer: Observer = {
                let told = Arc::clone(&told);
                Arc::new(move |event| told.lock().unwrap().push(event))
            };
            (tokio::spawn(async move { join(&request, &observer, std::future::pending()).await }), told)
        };
        let (first, told_first) = start(&world.joiner, OTHER);
        tokio::time::sleep(Duration::from_millis(900)).await;
        let (second, told_second) = start(&other, JOINER);
        for (task, told, joiner) in [(first, told_first, &world.joiner), (second, told_second, &other)] {
            let ended = tokio::time::timeout(Duration::from_secs(3_600), task).await.expect("it hangs").unwrap();
            let dropped = |event: &JoinEvent| match event {
                JoinEvent::SourceDropped { source, .. } => Some(source.clone()),
                _ => None,
            };
            let dropped: Vec<String> = told.lock().unwrap().iter().filter_map(dropped).collect();
            assert!(!dropped.is_empty(), "the liars are found out: {ended:?}");
            let helpers = [JOINER, OTHER].map(|ip| format!("{ip}:{PORT}"));
            let met =
                |event: &JoinEvent| matches!(event, JoinEvent::SourceReady { source, .. } if helpers.contains(source));
            assert!(told.lock().unwrap().iter().any(met), "it met the other one");
            let joined = ended.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((joined.outcome, joined.mode), (Outcome::Landed, Mode::Staged));
            let id = &world.golden.id;
            let landed = joiner.landed(id.channel.as_str(), id.block_number.0);
            assert_eq!(landed.as_ref(), Some(&world.golden.files));
            assert!(dropped.iter().all(|source| !helpers.contains(source)), "{dropped:?}");
            let ours = joiner.peer.identity.identity.msp_id();
            assert!(joiner.bans().iter().all(|ban| ban.msp_id != *ours), "{:?}", joiner.bans());
        }
    });
}

/// Both blocks at every source.
fn with_two_blocks(world: &mut World) {
    let newer = world.channel.golden(world.golden.bytes, 3);
    for number in 1..=world.services.len() {
        newer.put(&world.source(number).disk, "snapshots/completed");
        world.source(number).catalog().unwrap().scan().unwrap();
    }
}

/// S7: all sources are busy for 25 minutes, and all have two blocks: whoever is busy gives nothing of the other one either.
#[test]
fn a_target_isnt_given_up_while_all_who_have_it_are_busy() {
    let busy = |org| SourceSpec::of(org).lying(Of::ChunksBusyFor(Duration::from_secs(1_500)));
    let sources = vec![busy(1), busy(2), busy(3)];
    let scenario = Scenario { snapshot_bytes: 4 << 20, sources, links: SLOW, deadline_s: 7_200, ..Scenario::default() };
    let report = run_with(&scenario, 47, with_two_blocks);
    assert_landed_at_once(&report);
    let joined = report.ended.as_ref().unwrap().as_ref().unwrap();
    assert!(joined.id.block_number.0 > 100 && report.attempts[0].targets.len() == 1, "{}", report.account("the newer"));
}

/// S5: the joiner's own disk hangs for eleven minutes in the midst of a transfer, and all sources have an older block, too.
#[test]
fn a_target_isnt_given_up_while_our_own_disk_hangs() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let scenario = Scenario { snapshot_bytes: 32 << 20, links: SLOW, ..Scenario::default() };
        let mut world = World::new(&scenario, 53);
        with_two_blocks(&mut world);
        let (hang, (jobs, mut queue)) = (Arc::new(AtomicBool::new(false)), unbounded_channel::<HandedJob>());
        let hangs = Arc::clone(&hang);
        tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                if hangs.swap(false, Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_secs(660)).await;
                }
                job();
            }
        });
        let (sender, mut events) = unbounded_channel();
        let observer: Observer = Arc::new(move |event| drop(sender.send(event)));
        let mut request = world.joiner.request(&world.addresses()).unwrap();
        request.workers = Workers::By(Executor::new(move |job| drop(jobs.send(job))));
        let begun = tokio::time::Instant::now();
        let joining = tokio::spawn(async move { join(&request, &observer, std::future::pending()).await });
        let half = |event: &JoinEvent| matches!(event, JoinEvent::Progress(now) if now.verified_bytes >= 16 << 20);
        while !half(&events.recv().await.unwrap()) {}
        hang.store(true, Ordering::SeqCst);
        let joined = joining.await.unwrap().unwrap();
        assert!(begun.elapsed() > Duration::from_secs(660), "it didn't hang");
        assert!(joined.id.block_number.0 > 100, "{}", joined.id);
    });
}

/// C1: the only source that still lists a snapshot says that it's gone, and its list stays as it is: others' offers are taken at once.
#[test]
fn who_lists_what_is_gone_doesnt_end_a_join() {
    let (report, other) = while_enough_have_another(Of::ChunksRefused(ErrorCode::Gone));
    report.check();
    let joined = report.ended.as_ref().unwrap().as_ref().unwrap();
    assert_eq!((&joined.id, report.attempts.len()), (&other, 1), "{}", report.account("in one go"));
    assert!(report.took < Duration::from_secs(60), "{:?}", report.took);
}
