//! A service's own rotten chunks, fetched again from others that may lie, be busy or be gone.

use std::sync::{Arc, Mutex};

use snapferry::{
    bootstrap::{JoinEvent, Observer, RepairRequest, Repaired, repair},
    catalog::{RottenChunk, ServedSnapshot},
    chunking::Workers,
    snapshot::ChunkIndex,
    transport::fault::ErrorCode,
};

use crate::sim::{
    liar::Of as Lie,
    scenario::{Scenario, SourceSpec},
    world::World,
};

/// Whose chunks have rotted.
const OURS: usize = 1;

struct Mended {
    snapshot: Arc<ServedSnapshot>,
    rotten: Vec<RottenChunk>,
    repaired: Repaired,
    told: Vec<JoinEvent>,
    banned: usize,
    world: World,
}

/// Two chunks of the largest file of the first service rot, and are repaired from the `others`.
fn mended(others: Vec<SourceSpec>, seed: u64) -> Mended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
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
        let asked = world.joiner.request(&world.addresses()[1..]).unwrap();
        let told: Arc<Mutex<Vec<JoinEvent>>> = Arc::default();
        let observer: Observer = {
            let told = Arc::clone(&told);
            Arc::new(move |event| told.lock().unwrap().push(event))
        };
        let request = RepairRequest {
            dialling: asked.dialling,
            sources: asked.sources,
            records: asked.records,
            snapshot: Arc::clone(&snapshot),
            rotten: rotten.clone(),
            repairs,
            workers: Workers::Inline,
        };
        let repaired = repair(&request, &observer, std::future::pending()).await.unwrap();
        let (told, banned) = (told.lock().unwrap().clone(), world.joiner.bans().len());
        Mended { snapshot, rotten, repaired, told, banned, world }
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
