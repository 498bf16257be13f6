//! The fuzz body for frames, on stable: over the golden frames and tens of thousands of deterministic mutations of them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/numbers.rs"]
#[allow(unreachable_pub, reason = "shared by several tests")]
mod numbers;
#[path = "../fuzz/bodies/wire.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod wire;

use numbers::Numbers;

const MUTATIONS_PER_FRAME: u64 = 2_000;

fn golden() -> Vec<Vec<u8>> {
    let text = include_str!("fixtures/wire/golden.txt");
    text.lines().map(|line| hex::decode(line.split_once(' ').unwrap().1).unwrap()).collect()
}

fn mutate(frames: &[Vec<u8>], numbers: &mut Numbers, frame: &mut Vec<u8>) {
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(frame.len());
        match numbers.below(6) {
            0 if !frame.is_empty() => frame[at] ^= 1 << numbers.below(8),
            1 if !frame.is_empty() => frame[at] = [0, 0x7f, 0x80, 0xff][numbers.below(4)],
            2 => frame.truncate(at),
            3 => frame.insert(at, numbers.next() as u8),
            4 => {
                let other = &frames[numbers.below(frames.len())];
                let tail = &other[numbers.below(other.len())..];
                frame.extend_from_slice(tail);
            }
            _ => {
                let copy = frame[at..].to_vec();
                frame.splice(at..at, copy);
            }
        }
    }
}

/// Defence: frames are checked field by field; removed, what a mutated one decodes to isn't what it encodes from.
#[test]
fn mutated_frames_never_panic() {
    let frames = golden();
    assert!(frames.len() > 15);
    let mut numbers = Numbers(1);
    for golden in &frames {
        wire::body(golden);
        wire::body(&golden[4.min(golden.len())..]);
        for _ in 0..MUTATIONS_PER_FRAME {
            let mut frame = golden.clone();
            mutate(&frames, &mut numbers, &mut frame);
            wire::body(&frame);
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut numbers = Numbers(2);
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..numbers.below(80)).map(|_| numbers.next() as u8).collect();
        wire::body(&noise);
    }
}
