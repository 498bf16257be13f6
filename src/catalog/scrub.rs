//! The scrubber: reads what is served again, chunk by chunk and slowly, so that rot is found before somebody asks for it.
//!
//! Decides which chunk is next and when, from the time that is handed in: each byte once in a period, within a rate that leaves the disk
//! to the peer. A thread of the service drives it, or the simulator. Where a pass begins follows from the time alone, so that a service
//! that is restarted every day still comes by everything.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Catalog, ServedSnapshot};
use crate::snapshot::{CHUNK_BYTES, ChunkIndex, SnapshotId};

/// How often each byte is read unless it is configured: disks are commonly checked once a week or a month.
pub const SCRUB_PERIOD: Duration = Duration::from_secs(7 * 86_400);
/// Most that is read per second, in bytes: a tenth of what a spinning disk gives; 9 TiB in a week. More than that takes longer.
pub const SCRUB_RATE_MAX: u64 = 16 << 20;
/// Look again so often if nothing is served.
const IDLE: Duration = Duration::from_secs(60);

/// What was looked at last, and what comes next.
#[derive(Debug)]
pub struct Scrubber {
    period: Duration,
    last: Option<Place>,
    buf: Vec<u8>,
}

/// One chunk of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    id: SnapshotId,
    file_index: u32,
    chunk: ChunkIndex,
}

impl Scrubber {
    /// Comes by each byte once in `period`.
    #[must_use]
    pub const fn new(period: Duration) -> Self {
        Self { period, last: None, buf: Vec::new() }
    }

    /// Reads the next chunk of what the catalog serves, and says how long to wait before the one after it. What is found is flagged at
    /// the snapshot and in the log. Blocking.
    pub fn step(&mut self, catalog: &Catalog, now: SystemTime) -> Duration {
        let served = catalog.all_served();
        let total: u64 = served.iter().map(|snapshot| snapshot.entry().total_bytes).sum();
        let next = match &self.last {
            Some(last) => after(&served, last),
            None => at(&served, offset_now(total, self.period, now)),
        };
        let Some((snapshot, place)) = next else { return IDLE.min(self.period) };
        if let Err(error) = snapshot.scrub_chunk(place.file_index, place.chunk, &mut self.buf) {
            tracing::error!(snapshot = %place.id, %error, "the scrubber can't read a chunk");
        }
        let len = self.buf.len() as u64;
        self.last = Some(place);
        pause(len, total, self.period)
    }
}

/// How long the reading of `len` bytes may take of a period in which `total` are to be read.
fn pause(len: u64, total: u64, period: Duration) -> Duration {
    let share = |of: u64| u32::try_from(of >> 10).unwrap_or(u32::MAX).max(1);
    // In KiB, so that 4 TiB fit.
    let even = period.mul_f64(f64::from(share(len)) / f64::from(share(total)));
    even.max(Duration::from_micros(len.saturating_mul(1_000_000) / SCRUB_RATE_MAX))
}

/// Where a scrubber that never stops would be now, in bytes of all that is served.
fn offset_now(total: u64, period: Duration, now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let period = period.as_millis().max(1);
    u64::try_from(u128::from(total) * (since % period) / period).unwrap_or(0)
}

/// The chunk at an offset into all files of all snapshots.
fn at(served: &[Arc<ServedSnapshot>], mut offset: u64) -> Option<(Arc<ServedSnapshot>, Place)> {
    for snapshot in served {
        for (file_index, file) in (0..).zip(snapshot.manifest.files()) {
            if offset < file.size {
                let chunk = ChunkIndex(u32::try_from(offset / CHUNK_BYTES).unwrap_or(u32::MAX));
                return Some((Arc::clone(snapshot), Place { id: snapshot.id().clone(), file_index, chunk }));
            }
            offset -= file.size;
        }
    }
    None
}

/// The chunk that follows, round and round.
fn after(served: &[Arc<ServedSnapshot>], last: &Place) -> Option<(Arc<ServedSnapshot>, Place)> {
    let following = |snapshot: &Arc<ServedSnapshot>| {
        let here = *snapshot.id() == last.id;
        let start =
            if here { (last.file_index, ChunkIndex(last.chunk.0.saturating_add(1))) } else { (0, ChunkIndex(0)) };
        let place = first_from(snapshot, start)?;
        Some((Arc::clone(snapshot), place))
    };
    let found = served.iter().filter(|snapshot| *snapshot.id() >= last.id).find_map(following);
    found.or_else(|| at(served, 0))
}

/// The first chunk of a snapshot from there on.
fn first_from(snapshot: &ServedSnapshot, start: (u32, ChunkIndex)) -> Option<Place> {
    let (from, first) = start;
    let chunk = |file_index| if file_index == from { first } else { ChunkIndex(0) };
    let files = (0..).zip(snapshot.manifest.files()).filter(|(file_index, _)| *file_index >= from);
    let mut exists = files.filter(|(file_index, file)| !chunk(*file_index).range(file.size).is_empty());
    exists.next().map(|(file_index, _)| Place { id: snapshot.id().clone(), file_index, chunk: chunk(file_index) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::test_site::{Site, id, now};

    /// What a scrubber reads in so many steps, and how long that takes.
    fn steps(scrubber: &mut Scrubber, catalog: &Catalog, count: usize) -> (Vec<Place>, Duration) {
        let mut taken = Duration::ZERO;
        let mut places = Vec::new();
        for _ in 0..count {
            taken += scrubber.step(catalog, now() + taken);
            places.extend(scrubber.last.clone());
        }
        (places, taken)
    }

    fn chunks(catalog: &Catalog) -> usize {
        let count = |snapshot: &Arc<ServedSnapshot>| {
            let files = snapshot.manifest.files().iter();
            files.map(|file| ChunkIndex::count(file.size).unwrap() as usize).sum::<usize>()
        };
        catalog.all_served().iter().map(count).sum()
    }

    #[test]
    fn every_chunk_comes_by_once_in_a_period() {
        let site = Site::new();
        site.add(132, 132);
        let catalog = site.catalog();
        let mut scrubber = Scrubber::new(SCRUB_PERIOD);
        let all = chunks(&catalog);
        let (places, taken) = steps(&mut scrubber, &catalog, all);
        let mut seen: BTreeMap<_, u32> = BTreeMap::new();
        for place in &places {
            *seen.entry((place.id.clone(), place.file_index, place.chunk)).or_default() += 1;
        }
        assert_eq!((seen.len(), places.len()), (all, all), "each once");
        assert!(taken <= SCRUB_PERIOD + Duration::from_secs(3600) && taken > SCRUB_PERIOD / 2, "{taken:?}");
        assert_eq!(steps(&mut scrubber, &catalog, 1).0[0], places[0], "and round again");
    }

    #[test]
    fn the_rate_has_a_bound_and_nothing_served_takes_no_rate() {
        let chunk = 1 << 20;
        assert_eq!(pause(chunk, chunk, Duration::from_millis(1)), Duration::from_micros(62_500), "16 MiB a second");
        assert_eq!(pause(chunk, 100 * chunk, Duration::from_secs(100)), Duration::from_secs(1));
        let site = Site::new();
        site.open("completed/mychannel").remove_dir_all("83").unwrap();
        assert_eq!(Scrubber::new(SCRUB_PERIOD).step(&site.catalog(), now()), IDLE);
    }

    #[test]
    fn where_it_begins_follows_the_time() {
        let day = Duration::from_secs(86_400);
        let start = UNIX_EPOCH + 700 * SCRUB_PERIOD;
        assert_eq!(offset_now(7_000, SCRUB_PERIOD, start), 0);
        assert_eq!(offset_now(7_000, SCRUB_PERIOD, start + 3 * day), 3_000);
        assert_eq!(offset_now(7_000, SCRUB_PERIOD, start + 8 * day), 1_000);
    }

    /// L12: the scrubber.
    #[test]
    fn rot_is_found_without_being_asked_for_and_known_after_a_restart() {
        let site = Site::new();
        let catalog = site.catalog();
        let all = chunks(&catalog);
        site.rot(83, "public_state.data", 7);
        let snapshot = catalog.snapshot(&id(83)).unwrap();
        assert!(snapshot.rotten().is_empty());
        steps(&mut Scrubber::new(SCRUB_PERIOD), &catalog, all);
        let rotten = snapshot.rotten();
        assert_eq!(rotten.len(), 1);
        assert_eq!(
            (rotten[0].file.name(), rotten[0].chunk, rotten[0].repaired),
            ("public_state.data", ChunkIndex(0), false)
        );
        assert_eq!(site.catalog().snapshot(&id(83)).unwrap().rotten(), rotten, "after a restart");
        // Somebody puts the right byte back without touching anything else.
        site.rot(83, "public_state.data", 7);
        steps(&mut Scrubber::new(SCRUB_PERIOD), &catalog, all);
        assert!(snapshot.rotten().is_empty());
    }
}
