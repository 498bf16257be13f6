//! A service's own rotten chunks, fetched again from others that may lie, be busy or be gone.

use std::{sync::Arc, time::Duration};

use netsim::disk::SimDisk;
use snapferry::{
    bootstrap::{JoinError, JoinEvent, Observer, RepairRequest, Repaired, repair},
    catalog::{Repairs, RottenChunk, ServedSnapshot},
    chunking::Workers,
    snapshot::ChunkIndex,
    transport::fault::ErrorCode,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    floods::simulated,
    sim::{
        liar::Of as Lie,
        scenario::{Scenario, SourceSpec},
        world::World,
    },
};

/// Whose chunks have rotted.
const OURS: usize = 1;

/// Longer than any repair takes that nobody stops.
const HOUR: Duration = Duration::from_secs(3_600);

/// Two chunks of the largest file of the first service have rotted.
struct Rotten {
    snapshot: Arc<ServedSnapshot>,
    rotten: Vec<RottenChunk>,
    repairs: Repairs,
    world: World,
}

impl Rotten {
    fn new(others: Vec<SourceSpec>, seed: u64) -> Self {
        let sources = [SourceSpec::of(1)].into_iter().chain(others).collect();
        let scenario = Scenario { snapshot_bytes: 4 << 20, sources, ..Scenario::default() };
        let mut world = World::new(&scenario, seed);
        let id = world.golden.id.clone();
        let snapshot = world.source(OURS).catalog().unwrap().snapshot(&id).unwrap();
        let largest = snapshot.manifest.files().iter().max_by_key(|file| file.size).unwrap();
        let path = format!("snapshots/completed/{}/{}/{}", id.channel, id.block_number, largest.file);
        for chunk in [0, 2] {
            assert!(world.source(OURS).disk.rot(&path, (chunk << 23) + 77));
        }
        let repairs = world.source(OURS).repairs();
        let rotten = snapshot.read_again(&repairs);
        assert_eq!(rotten.iter().map(|one| one.chunk).collect::<Vec<_>>(), [ChunkIndex(0), ChunkIndex(2)]);
        Self { snapshot, rotten, repairs, world }
    }

    /// Repairs them from the others.
    fn repair(&self) -> (JoinHandle<Result<Repaired, JoinError>>, UnboundedReceiver<JoinEvent>) {
        let asked = self.world.joiner.request(&self.world.addresses()[1..]).unwrap();
        let (sender, told) = unbounded_channel();
        let observer: Observer = Arc::new(move |event| drop(sender.send(event)));
        let request = RepairRequest {
            dialling: asked.dialling,
            sources: asked.sources,
            records: asked.records,
            snapshot: Arc::clone(&self.snapshot),
            rotten: self.rotten.clone(),
            repairs: self.repairs.clone(),
            workers: Workers::Inline,
        };
        (tokio::spawn(async move { repair(&request, &observer, std::future::pending()).await }), told)
    }
}

struct Mended {
    snapshot: Arc<ServedSnapshot>,
    rotten: Vec<RottenChunk>,
    repaired: Repaired,
    told: Vec<JoinEvent>,
    banned: usize,
    world: World,
}

/// They are repaired from the `others`.
fn mended(others: Vec<SourceSpec>, seed: u64) -> Mended {
    simulated(async {
        let rotten = Rotten::new(others, seed);
        let (repairing, mut events) = rotten.repair();
        let repaired = timeout(HOUR, repairing).await.expect("it hangs").unwrap().unwrap();
        let told = std::iter::from_fn(|| events.try_recv().ok()).collect();
        let Rotten { snapshot, rotten, world, .. } = rotten;
        Mended { snapshot, rotten, repaired, told, banned: world.joiner.bans().len(), world }
    })
}

/// Every byte of our service's snapshot, as it gives it.
fn given(mended: &Mended) -> Result<Vec<Vec<u8>>, String> {
    let mut buf = Vec::new();
    let files = (0..).zip(mended.snapshot.manifest.files());
    let file = |(index, file): (u32, &snapferry::snapshot::ManifestFile)| {
        let mut bytes = Vec::new();
        for chunk in 0..ChunkIndex::count(file.size).unwrap() {
            let read = mended.snapshot.read_chunk(index, ChunkIndex(chunk), &mut buf);
            read.map_err(|error| error.to_string())?;
            bytes.extend_from_slice(&buf);
        }
        Ok(bytes)
    };
    files.map(file).collect()
}

/// L12: what rotted is repaired from whoever has it right; who sends something else is caught, and banned.
#[test]
fn rotten_chunks_are_repaired_though_the_first_who_is_asked_lies() {
    let mended = mended(vec![SourceSpec::of(2).lying(Lie::Chunks), SourceSpec::of(3)], 1_301);
    assert_eq!((mended.repaired.repaired.clone(), mended.repaired.missing.len()), (mended.rotten.clone(), 0));
    let golden = &mended.world.golden.files;
    let files = mended.snapshot.manifest.files().iter();
    let right: Vec<Vec<u8>> = files.map(|file| golden[file.file.name()].clone()).collect();
    assert!(given(&mended) == Ok(right), "what the service gives is what it was");
    let dropped = |event: &&JoinEvent| matches!(event, JoinEvent::SourceDropped { .. });
    assert_eq!((mended.told.iter().filter(dropped).count(), mended.banned), (1, 1), "{:?}", mended.told);
}

/// L12: nobody has it right: it says so, nothing wrong is kept, and who only reports rot is not blamed.
#[test]
fn what_nobody_has_right_stays_rotten_and_nobody_honest_is_blamed() {
    let rotten_too = SourceSpec::of(2).lying(Lie::ChunksRefused(ErrorCode::ChunkCorruptAtSource));
    let mended = mended(vec![rotten_too], 1_302);
    assert_eq!((mended.repaired.repaired.len(), mended.repaired.missing.len()), (0, 2));
    let (_, said) = &mended.repaired.missing[0];
    assert!(said.len() == 1 && said[0].reason.contains("damaged"), "{said:?}");
    assert!(given(&mended).is_err(), "rot is still withheld");
    assert_eq!(mended.banned, 0);
}

/// Defence: a repair ends by itself. Removed, it goes on for as long as the only source that has the snapshot stays away.
/// L12: one source has another snapshot, the one that has the right one goes away for good: it ends, and says of each what it lacks.
#[test]
fn a_repair_ends_though_who_has_the_snapshot_stays_away() {
    simulated(async {
        let mut rotten = Rotten::new(vec![SourceSpec::of(2), SourceSpec::of(3)], 1_303);
        let newer = rotten.world.channel.golden(rotten.world.golden.bytes, 3);
        let source = rotten.world.source(2);
        source.crash();
        source.disk = SimDisk::new();
        newer.put(&source.disk, "snapshots/completed");
        source.start();
        let (begun, (repairing, mut told)) = (Instant::now(), rotten.repair());
        for _ in 0..2 {
            let event = told.recv().await.unwrap();
            assert!(matches!(event, JoinEvent::SourceReady { .. }), "{event:?}");
        }
        rotten.world.source(3).crash();
        let repaired = timeout(HOUR, repairing).await.expect("it hangs").unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
        assert_eq!((repaired.repaired.len(), repaired.missing.len()), (0, 2));
        for (_, said) in &repaired.missing {
            let of_each: Vec<&str> = said.iter().map(|trouble| trouble.reason.as_str()).collect();
            assert!(
                matches!(of_each[..], [lacks, away] if lacks.contains("offer") && away.contains("answer")),
                "{said:?}"
            );
        }
    });
}

/// Defence: a repair's patience has an end. Removed, it waits for ever for sources that are always busy.
/// L12: all who have it are busy for ever, at the door or for chunks: they are asked for ten minutes.
#[test]
fn a_repair_ends_though_everybody_is_busy_for_ever() {
    for at_the_door in [true, false] {
        simulated(async {
            let busy = |org| SourceSpec::of(org).lying(Lie::ChunksRefused(ErrorCode::Busy));
            let others = if at_the_door { [2, 3].map(SourceSpec::of) } else { [2, 3].map(busy) };
            let mut rotten = Rotten::new(others.into(), 1_304);
            for number in [2, 3].into_iter().filter(|_| at_the_door) {
                let source = rotten.world.source(number);
                source.crash();
                source.limits.sessions = 0;
                source.start();
            }
            let (begun, (repairing, _told)) = (Instant::now(), rotten.repair());
            let ended = timeout(HOUR, repairing).await.expect("it hangs").unwrap();
            let minutes = begun.elapsed().as_secs() / 60;
            assert!((10..12).contains(&minutes), "{minutes} min: {ended:?}");
            let said = match ended {
                Ok(repaired) => repaired.missing.into_iter().flat_map(|(_, said)| said).collect(),
                Err(JoinError::NoSource { troubles }) => troubles,
                Err(error) => panic!("{error}"),
            };
            assert!(said.len() >= 2 && said.iter().all(|trouble| trouble.reason.contains("busy")), "{said:?}");
        });
    }
}
