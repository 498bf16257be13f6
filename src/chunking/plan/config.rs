//! The limits and constants of a plan, each with its unit and reason.

use std::time::Duration;

/// What a plan may use. `Default` is what `protocol.md` 7 and 9 decide.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanConfig {
    /// Permits of the byte budget, in chunks of 1 MiB: in flight plus arrived and not released. 32 MiB keep a joiner under 64.
    pub budget_chunks: u32,
    /// Chunks ahead of the loader that are fetched strictly by need: 16 MiB are some 20 ms of SHA-256 work.
    pub frontier_chunks: u32,
    /// Chunks ahead of the loader within which sources spread their runs: 256 MiB stay in the page cache until the loader comes.
    pub window_chunks: u32,
    /// Chunks in one request, at most: the wire's limit (`ChunkRequest.count`).
    pub run_chunks_max: u32,
    /// A run isn't sent shorter than this while permits are scarce, unless the loader starves or no more is missing there:
    /// as permits come back one by one, requests would shrink to single chunks.
    pub run_chunks_least: u32,
    /// Chunks in flight at one source, at least: one on its way while another arrives.
    pub in_flight_min: u32,
    /// Chunks in flight at one source, at most: what the budget holds.
    pub in_flight_max: u32,
    /// Chunks in flight at a source that isn't measured yet: two requests of two give a rate after one round trip.
    pub in_flight_start: u32,
    /// Requests at one source at a time: 4 streams; 8 were measured to be worse.
    pub requests_per_source_max: u32,
    /// Work queued at a source, at least, where the round trip alone would ask for less (loopback: twice the round trip
    /// is a fraction of a chunk, but receiver and driver need some work in hand to never wait).
    pub queued_work: Duration,
    /// A request's deadline, at least; else 4 x the time that its chunks should take.
    pub deadline_min: Duration,
    /// No byte from a source for so long while it owes some: all its requests are cancelled.
    pub stall_after: Duration,
    /// Wire bytes per second under which a source is demoted while another one is above.
    pub rate_floor_bytes_per_s: u64,
    /// Over how long the floor is judged.
    pub rate_floor_window: Duration,
    /// Demotions count half after this time.
    pub penalty_half_life: Duration,
    /// Every so many requests one goes to a demoted source, so that it can prove itself: 1 in 16 is 6 %.
    pub probe_every: u32,
    /// The last chunks that may be asked twice, at least; else one second of work.
    pub end_game_chunks: u32,
    /// A frontier chunk isn't asked a second time sooner, however fast the others come: below this a hiccup looks like a fault.
    pub hedge_age_min: Duration,
    /// What may be asked a second time because it is late, in per cent of all bytes.
    pub hedge_per_cent_max: u32,
    /// A `retry_after` below this is raised to it: a source that says "at once" isn't asked in a tight loop.
    pub wait_min: Duration,
    /// A `retry_after` beyond this is cut to it: no source can put itself to sleep for the whole job.
    pub wait_max: Duration,
    /// Differs between joiners, so that those who were refused together don't come back together.
    pub jitter_seed: u64,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            budget_chunks: 32,
            frontier_chunks: 16,
            window_chunks: 256,
            run_chunks_max: 16,
            run_chunks_least: 4,
            in_flight_min: 2,
            in_flight_max: 32,
            in_flight_start: 4,
            requests_per_source_max: 4,
            queued_work: Duration::from_millis(500),
            deadline_min: Duration::from_secs(2),
            stall_after: Duration::from_secs(5),
            rate_floor_bytes_per_s: 64 << 10,
            rate_floor_window: Duration::from_secs(10),
            penalty_half_life: Duration::from_secs(60),
            probe_every: 16,
            end_game_chunks: 16,
            hedge_age_min: Duration::from_millis(100),
            hedge_per_cent_max: 5,
            wait_min: Duration::from_millis(100),
            wait_max: Duration::from_secs(300),
            jitter_seed: 0,
        }
    }
}

impl PlanConfig {
    /// The configuration with every bound at least 1 where 0 would stop the transfer.
    pub(super) fn sane(mut self) -> Self {
        for bound in [
            &mut self.budget_chunks,
            &mut self.frontier_chunks,
            &mut self.window_chunks,
            &mut self.run_chunks_max,
            &mut self.run_chunks_least,
            &mut self.in_flight_min,
            &mut self.in_flight_start,
            &mut self.requests_per_source_max,
            &mut self.probe_every,
        ] {
            *bound = (*bound).max(1);
        }
        self.in_flight_max = self.in_flight_max.max(self.in_flight_min);
        self.penalty_half_life = self.penalty_half_life.max(Duration::from_millis(1));
        self.rate_floor_window = self.rate_floor_window.max(Duration::from_millis(1));
        self
    }
}
