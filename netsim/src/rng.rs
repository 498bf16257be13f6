//! The one source of chance: a small seeded generator of our own, so that no upgrade of a crate changes a recorded seed.

/// splitmix64: every seed is good, the sequence is the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same sequence for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: no modulo bias worth the name.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `parts` of 1 000 000 cases.
    pub fn hits(&mut self, parts_per_million: u32) -> bool {
        // Always draws, so that switching one fault off doesn't shift the others' sequence.
        self.below(1_000_000) < u64::from(parts_per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence_for_ever() {
        let mut rng = Rng::new(0);
        // Reference values of splitmix64 for seed 0.
        assert_eq!([rng.bits(), rng.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        assert!((0..100).all(|_| !rng.hits(0) && rng.hits(1_000_000)));
    }
}
