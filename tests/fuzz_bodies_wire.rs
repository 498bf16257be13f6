//! The fuzz body for frames, on stable: over the golden frames and tens of thousands of deterministic mutations of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "../fuzz/bodies/wire.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod wire;

const MUTATIONS_PER_FRAME: u64 = 2_000;

/// splitmix64: the same sequence everywhere.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn golden() -> Vec<Vec<u8>> {
    let text = include_str!("fixtures/wire/golden.txt");
    text.lines().map(|line| hex::decode(line.split_once(' ').unwrap().1).unwrap()).collect()
}

fn mutate(frames: &[Vec<u8>], sequence: &mut Sequence, frame: &mut Vec<u8>) {
    for _ in 0..=sequence.below(4) {
        let at = sequence.below(frame.len());
        match sequence.below(6) {
            0 if !frame.is_empty() => frame[at] ^= 1 << sequence.below(8),
            1 if !frame.is_empty() => frame[at] = [0, 0x7f, 0x80, 0xff][sequence.below(4)],
            2 => frame.truncate(at),
            3 => frame.insert(at, sequence.next() as u8),
            4 => {
                let other = &frames[sequence.below(frames.len())];
                let tail = &other[sequence.below(other.len())..];
                frame.extend_from_slice(tail);
            }
            _ => {
                let copy = frame[at..].to_vec();
                frame.splice(at..at, copy);
            }
        }
    }
}

#[test]
fn mutated_frames_never_panic() {
    let frames = golden();
    assert!(frames.len() > 15);
    let mut sequence = Sequence(1);
    for golden in &frames {
        wire::body(golden);
        wire::body(&golden[4.min(golden.len())..]);
        for _ in 0..MUTATIONS_PER_FRAME {
            let mut frame = golden.clone();
            mutate(&frames, &mut sequence, &mut frame);
            wire::body(&frame);
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut sequence = Sequence(2);
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..sequence.below(80)).map(|_| sequence.next() as u8).collect();
        wire::body(&noise);
    }
}
