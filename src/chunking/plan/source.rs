//! One source: how fast it is, how much it may owe us, and how far it is trusted to be quick (quality; malice is the driver's).

use std::time::Duration;

use super::{config::PlanConfig, has::Has, rate::Rate};

/// A refusal without `retry_after`: `protocol.md` 2 says a second.
pub(super) const RETRY_DEFAULT: Duration = Duration::from_secs(1);
/// First wait after a request broke off; doubles with each one in a row that brings nothing.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Doublings of it at most: 100 ms x 2^6 = 6.4 s.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;
/// A wait is longer than the source asked for by up to this part of it: those whom it refused together come back one by one.
const JITTER_DIVISOR: u32 = 4;
/// A source that isn't measured gets at most one part in so many of the budget.
const STRANGERS_SHARE: u32 = 8;
/// A demotion's weight; decays by half each half-life, so 60 s after one demotion it is over.
pub(super) const PENALTY: f64 = 1.0;
/// From here on a source counts as demoted.
const DEMOTED_ABOVE: f64 = 0.5;
/// However bad it was: after four half-lives it is asked as any other.
const PENALTY_MAX: f64 = 8.0;

/// Whether there is a way to a source at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    Gone,
    Banned,
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) link: Link,
    /// Folded identity: this source's side of the rendezvous hash.
    pub(super) seed: u64,
    pub(super) rtt: Duration,
    pub(super) rate: Rate,
    /// Whether a chunk ever came from it.
    pub(super) delivered: bool,
    pub(super) wait_until: Duration,
    /// Chunks it owes.
    pub(super) in_flight: u32,
    pub(super) requests: u32,
    /// When its last byte came, or when it began to owe something.
    pub(super) last_byte: Duration,
    /// Start of the window in which the rate floor is judged, and the wire bytes since.
    pub(super) floor_from: Duration,
    pub(super) floor_bytes: u64,
    pub(super) run_max: u32,
    pub(super) has: Has,
    pub(super) verified: u64,
    /// AIMD: chunks that it may owe whatever its rate suggests.
    cap: f64,
    penalty: f64,
    penalty_at: Duration,
    failures: u32,
    /// How often it asked us to wait.
    waits: u32,
}

impl Source {
    pub(super) fn new(config: &PlanConfig) -> Self {
        Self {
            link: Link::Gone,
            seed: 0,
            rtt: Duration::ZERO,
            rate: Rate::new(),
            delivered: false,
            wait_until: Duration::ZERO,
            in_flight: 0,
            requests: 0,
            last_byte: Duration::ZERO,
            floor_from: Duration::ZERO,
            floor_bytes: 0,
            run_max: config.run_chunks_max,
            has: Has::default(),
            verified: 0,
            cap: f64::from(config.in_flight_max),
            penalty: 0.0,
            penalty_at: Duration::ZERO,
            failures: 0,
            waits: 0,
        }
    }

    /// A connection to it is there.
    pub(super) fn join(&mut self, identity: &[u8; 32], rtt: Duration) {
        if self.link != Link::Banned {
            (self.link, self.rtt) = (Link::Up, rtt);
        }
        let word = |eight: &[u8]| eight.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        self.seed = identity.chunks(8).fold(0, |seed, eight| mix(seed ^ word(eight)));
    }

    pub(super) fn is_ready(&self, now: Duration) -> bool {
        self.link == Link::Up && self.wait_until <= now
    }

    /// Its place in the rendezvous for a block of chunks: the highest of all sources owns the block.
    pub(super) fn rendezvous(&self, block: u64) -> u64 {
        mix(self.seed ^ mix(block))
    }

    /// Chunks that it should owe, before the budget is shared out: twice the round trip's worth or the work it shall
    /// have in hand, whichever is more, under what AIMD allows.
    pub(super) fn wanted(&self, config: &PlanConfig) -> u32 {
        let in_hand_s = (self.rtt * 2).max(config.queued_work).as_secs_f64();
        let wanted = match self.rate.chunks_per_s() {
            Some(rate) => (rate * in_hand_s).ceil(),
            // Strangers must not fill the budget between them: a quick one that comes later would find no room.
            None => f64::from(config.in_flight_start.min(config.budget_chunks / STRANGERS_SHARE)),
        };
        (wanted.min(self.cap) as u32).clamp(config.in_flight_min, config.in_flight_max)
    }

    /// How long it takes until it has delivered `chunks` after all that it owes; `None` if it isn't measured.
    pub(super) fn time_for(&self, chunks: u32) -> Option<Duration> {
        let seconds = f64::from(chunks) / self.rate.chunks_per_s()?;
        Some(self.rtt + Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)))
    }

    pub(super) fn took_request(&mut self, now: Duration, chunks: u32) {
        if self.requests == 0 {
            self.rate.start(now);
            (self.last_byte, self.floor_from, self.floor_bytes) = (now, now, 0);
        }
        self.requests += 1;
        self.in_flight += chunks;
    }

    pub(super) fn got_bytes(&mut self, now: Duration, bytes: u64) {
        if bytes > 0 {
            self.last_byte = now;
        }
        self.floor_bytes = self.floor_bytes.saturating_add(bytes);
    }

    /// A whole chunk: one more may be in flight per window, and half of a demotion is made good.
    pub(super) fn got_chunk(&mut self, now: Duration, config: &PlanConfig) {
        self.in_flight -= 1;
        self.delivered = true;
        self.failures = 0;
        self.cap = (self.cap + 1.0 / self.cap).min(f64::from(config.in_flight_max));
        self.penalty = self.penalty_at(now, config) / 2.0;
        self.penalty_at = now;
    }

    /// Half the window (AIMD).
    pub(super) fn narrow(&mut self, config: &PlanConfig) {
        self.cap = (f64::from(self.wanted(config)) / 2.0).max(f64::from(config.in_flight_min));
    }

    pub(super) fn demote(&mut self, now: Duration, config: &PlanConfig, weight: f64) {
        self.penalty = (self.penalty_at(now, config) + weight).min(PENALTY_MAX);
        self.penalty_at = now;
    }

    pub(super) fn is_demoted(&self, now: Duration, config: &PlanConfig) -> bool {
        self.penalty_at(now, config) > DEMOTED_ABOVE
    }

    /// When its demotion will have decayed; `None` if it isn't demoted.
    pub(super) fn demoted_until(&self, config: &PlanConfig) -> Option<Duration> {
        if self.penalty <= DEMOTED_ABOVE {
            return None;
        }
        let halvings = (self.penalty / DEMOTED_ABOVE).log2().ceil().max(1.0) as u32;
        Some(self.penalty_at + config.penalty_half_life * halvings)
    }

    /// It asked to be left alone for so long: it is, and a little longer.
    pub(super) fn wait(&mut self, now: Duration, retry_after: Duration, config: &PlanConfig) {
        let asked = retry_after.clamp(config.wait_min, config.wait_max.max(config.wait_min));
        self.waits = self.waits.wrapping_add(1);
        let draw = mix(self.seed ^ mix(config.jitter_seed ^ u64::from(self.waits))) >> 48; // 16 bits
        let jitter = asked / JITTER_DIVISOR * u32::try_from(draw).unwrap_or(0) / (1 << 16);
        self.wait_until = self.wait_until.max(now + asked + jitter);
    }

    /// A request brought nothing: wait longer each time, so that a source that always fails costs little.
    pub(super) fn back_off(&mut self, now: Duration, config: &PlanConfig) {
        let pause = BACKOFF_FIRST * (1 << self.failures.min(BACKOFF_DOUBLINGS_MAX));
        self.wait_until = self.wait_until.max(now + pause.min(config.wait_max));
        self.failures = self.failures.saturating_add(1);
    }

    /// It says that it lacks a chunk. Each third time it has claimed too much: it is demoted.
    pub(super) fn said_it_lacks(&mut self, now: Duration, linear: u64, config: &PlanConfig) {
        if self.has.said_it_lacks(now, linear) {
            self.demote(now, config, PENALTY);
        }
    }

    /// Decay in exact halves with a straight line between them: the same on every machine, as `powf` is not.
    fn penalty_at(&self, now: Duration, config: &PlanConfig) -> f64 {
        let half_lives = now.saturating_sub(self.penalty_at).as_secs_f64() / config.penalty_half_life.as_secs_f64();
        let whole = half_lives.floor().min(64.0);
        self.penalty * 0.5_f64.powi(whole as i32) * (1.0 - (half_lives - whole).clamp(0.0, 1.0) / 2.0)
    }
}

/// Finaliser of splitmix64: every bit of the input moves half of the output's. Not for security: identities are hashes already.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demotion_is_over_after_its_half_life_and_sooner_if_it_delivers() {
        let config = PlanConfig::default();
        let mut source = Source::new(&config);
        let at = Duration::from_secs(100);
        source.demote(at, &config, PENALTY);
        assert!(source.is_demoted(at + Duration::from_secs(59), &config));
        assert_eq!(source.demoted_until(&config), Some(at + Duration::from_secs(60)));
        assert!(!source.is_demoted(at + Duration::from_secs(60), &config));
        (0..100).for_each(|_| source.demote(at, &config, PENALTY));
        assert!(source.is_demoted(at + Duration::from_secs(239), &config));
        assert!(!source.is_demoted(source.demoted_until(&config).unwrap(), &config), "never for good");

        let mut proving = Source::new(&config);
        proving.demote(at, &config, PENALTY);
        proving.took_request(at, 1);
        proving.got_chunk(at, &config);
        assert!(!proving.is_demoted(at, &config));
    }

    #[test]
    fn the_window_follows_rate_and_round_trip_within_its_bounds() {
        let config = PlanConfig::default();
        let mut source = Source::new(&config);
        assert_eq!(source.wanted(&config), 4);
        let chunk = 1 << 20;
        source.rate.start(Duration::ZERO);
        source.rate.chunk(Duration::from_millis(100), chunk, chunk, chunk); // 10 chunks/s
        assert_eq!(source.wanted(&config), 5, "half a second's work");
        source.rtt = Duration::from_millis(600);
        assert_eq!(source.wanted(&config), 12, "two round trips' worth");
        source.narrow(&config);
        assert_eq!(source.wanted(&config), 6);
        (0..9).for_each(|_| source.narrow(&config));
        assert_eq!(source.wanted(&config), 2);
    }
}
