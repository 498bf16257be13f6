//! The fuzz bodies of codec and journal, over a corpus made here and its deterministic mutations: the same on every machine.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

#[path = "../fuzz/bodies/codec.rs"]
mod codec;
#[path = "../fuzz/bodies/journal.rs"]
mod journal;

use snapferry::{
    chunking::{Codec, CodecContext},
    disk::{Journal, OsDir, read_small},
};

/// A generator with a fixed start (xorshift64*): no seed to lose.
struct Generator(u64);

impl Generator {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    /// Flips, cuts, repeats or splices in a few places.
    fn mutate(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = [0, 0xff, 0x7f, 0x80][self.below(4)],
                2 => bytes.truncate(at),
                3 => bytes.extend_from_within(at..),
                _ => drop(bytes.splice(at.., other[self.below(other.len() + 1)..].iter().copied())),
            }
        }
        bytes
    }
}

fn run(corpus: &[Vec<u8>], rounds: usize, body: fn(&[u8])) {
    let mut generator = Generator(0x5eed);
    corpus.iter().for_each(|seed| body(seed));
    for _ in 0..rounds {
        let (one, other) = (generator.below(corpus.len()), generator.below(corpus.len()));
        body(&generator.mutate(&corpus[one], &corpus[other]));
    }
}

#[test]
fn codec() {
    let mut context = CodecContext::new();
    let mut corpus = vec![vec![], vec![0, 0, 1, 7]];
    for (len, level) in [(200_usize, 1), (5000, 3), (1 << 16, 1), (1 << 20, 9)] {
        let raw: Vec<u8> = (0..len).map(|n| (n / 7 % 251) as u8).collect();
        let mut wire = Vec::new();
        assert_eq!(context.compress(&raw, level, &mut wire), Codec::Zstd);
        corpus.push([&u32::try_from(len).unwrap().to_be_bytes()[1..], &wire].concat());
    }
    run(&corpus, 3000, codec::body);
}

#[test]
fn journal() {
    let mut corpus = vec![vec![]];
    for records in [0_usize, 1, 5, 60] {
        let folder = tempfile::tempdir().unwrap();
        let dir = OsDir::open(folder.path()).unwrap();
        let (mut journal, _) = Journal::open(&*dir, "journal", journal::HEADER).unwrap();
        (0..records).for_each(|n| journal.append(&vec![n as u8; n * 3]).unwrap());
        corpus.push(read_small(&*dir, "journal", 1 << 20).unwrap());
    }
    run(&corpus, 1000, journal::body);
}
