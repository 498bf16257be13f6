//! The bytes of one file: sparse, in pages that all copies share until one of them changes.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    sync::{Arc, OnceLock},
};

/// What a page holds, in bytes: the block of common file systems, so holes and torn writes have a real one's grain.
pub(super) const PAGE_BYTES: u64 = 4096;
const PAGE: usize = PAGE_BYTES as usize;

/// What a file holds: pages that were written, holes between them.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

/// A whole page, or the part of one that a write touches.
#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    /// Taken once: thousands of states share the page.
    hash: OnceLock<u64>,
}

/// One change of a file's bytes.
#[derive(Debug)]
pub(super) enum Change {
    /// Bytes at a place, cut at the pages' borders.
    Write(Vec<Piece>),
    /// Another length; what is added is a hole.
    SetLen(u64),
}

/// The part of a write that lies in one page.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    index: u64,
    from: usize,
    page: Arc<Page>,
}

impl Page {
    fn new(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into(), hash: OnceLock::new() })
    }

    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&self.bytes);
            hasher.finish()
        })
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.index * PAGE_BYTES + (self.from + self.page.bytes.len()) as u64
    }
}

impl Change {
    /// A write of `data` at `offset`.
    pub(super) fn write(data: &[u8], offset: u64) -> Self {
        let (mut rest, mut at, mut pieces) = (data, offset, Vec::new());
        while !rest.is_empty() {
            let from = (at % PAGE_BYTES) as usize;
            let (bytes, tail) = rest.split_at(rest.len().min(PAGE - from));
            pieces.push(Piece { index: at / PAGE_BYTES, from, page: Page::new(bytes) });
            at += bytes.len() as u64;
            rest = tail;
        }
        Self::Write(pieces)
    }

    /// Its first half: what a power cut in the middle leaves. `None` if nothing lies between all and nothing.
    pub(super) fn torn(&self) -> Option<Self> {
        let Self::Write(pieces) = self else { return None };
        let mut left = pieces.iter().map(|piece| piece.page.bytes.len()).sum::<usize>() / 2;
        let mut kept = Vec::new();
        for piece in pieces {
            let bytes = piece.page.bytes.get(..left).unwrap_or(&piece.page.bytes);
            left -= bytes.len();
            let whole = bytes.len() == piece.page.bytes.len();
            let page = if whole { Arc::clone(&piece.page) } else { Page::new(bytes) };
            kept.extend((!bytes.is_empty()).then_some(Piece { page, ..piece.clone() }));
        }
        (!kept.is_empty()).then_some(Self::Write(kept))
    }
}

impl Content {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(pieces) => pieces.iter().for_each(|piece| self.put(piece)),
            Change::SetLen(len) => self.set_len(*len),
        }
    }

    fn put(&mut self, piece: &Piece) {
        let page = if piece.page.bytes.len() == PAGE {
            Arc::clone(&piece.page)
        } else {
            self.changed(piece.index, |bytes| {
                let place = bytes.get_mut(piece.from..piece.from + piece.page.bytes.len());
                place.unwrap_or_default().copy_from_slice(&piece.page.bytes);
            })
        };
        self.pages.insert(piece.index, page);
        self.len = self.len.max(piece.end());
    }

    fn changed(&self, index: u64, change: impl FnOnce(&mut [u8])) -> Arc<Page> {
        let mut bytes = self.pages.get(&index).map_or_else(|| vec![0; PAGE], |page| page.bytes.to_vec());
        change(&mut bytes);
        Page::new(&bytes)
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            drop(self.pages.split_off(&len.div_ceil(PAGE_BYTES)));
            let (last, within) = (len / PAGE_BYTES, (len % PAGE_BYTES) as usize);
            if self.pages.contains_key(&last) {
                // What was cut off must not come back when the file grows again.
                let page = self.changed(last, |bytes| bytes.get_mut(within..).unwrap_or_default().fill(0));
                self.pages.insert(last, page);
            }
        }
        self.len = len;
    }

    /// Fills `buf` from `offset` as far as the file goes; how many bytes that are.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        let (mut rest, mut at) = (buf.get_mut(..count).unwrap_or_default(), offset);
        while !rest.is_empty() {
            let from = (at % PAGE_BYTES) as usize;
            let (bytes, tail) = rest.split_at_mut(rest.len().min(PAGE - from));
            match self.pages.get(&(at / PAGE_BYTES)).and_then(|page| page.bytes.get(from..from + bytes.len())) {
                Some(stored) => bytes.copy_from_slice(stored),
                None => bytes.fill(0),
            }
            at += bytes.len() as u64;
            rest = tail;
        }
        count
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        self.read_at(&mut bytes, 0);
        bytes
    }

    /// Bytes of the disk that it takes.
    pub(super) fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }

    /// Bytes of the disk that it would take on top after `change`.
    pub(super) fn growth(&self, change: &Change) -> u64 {
        let Change::Write(pieces) = change else { return 0 };
        pieces.iter().filter(|piece| !self.pages.contains_key(&piece.index)).count() as u64 * PAGE_BYTES
    }

    /// Where it isn't a hole, ascending.
    pub(super) fn data_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for index in self.pages.keys() {
            let page = index * PAGE_BYTES..((index + 1) * PAGE_BYTES).min(self.len);
            match ranges.last_mut() {
                Some(last) if last.end == page.start => last.end = page.end,
                _ => ranges.push(page),
            }
        }
        ranges.retain(|range| range.start < range.end);
        ranges
    }

    /// Flips a bit, counted from the first byte's lowest and around at the end; false if there is no byte.
    pub(super) fn flip(&mut self, bit: u64) -> bool {
        let Some(bit) = bit.checked_rem(self.len.saturating_mul(8)) else { return false };
        let (index, within) = (bit / 8 / PAGE_BYTES, (bit / 8 % PAGE_BYTES) as usize);
        let page = self.changed(index, |bytes| {
            bytes.get_mut(within).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
        });
        self.pages.insert(index, page);
        true
    }
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.pages.iter().for_each(|(index, page)| (index, page.hash()).hash(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn it_holds_what_a_plain_vector_holds() {
        for seed in 0..10 {
            let (mut rng, mut content, mut plain) = (Rng::new(seed), Content::default(), Vec::<u8>::new());
            for round in 0..20_u8 {
                let at = usize::try_from(rng.below(20_000)).unwrap();
                let change = if rng.hits(300_000) {
                    plain.resize(at, 0);
                    Change::SetLen(at as u64)
                } else {
                    let data = vec![round + 1; 1 + usize::try_from(rng.below(9_000)).unwrap()];
                    plain.resize(plain.len().max(at + data.len()), 0);
                    plain[at..at + data.len()].copy_from_slice(&data);
                    Change::write(&data, at as u64)
                };
                content.apply(&change);
                assert_eq!(content.bytes(), plain);
                let holes = |at: usize| !content.data_ranges().iter().any(|range| range.contains(&(at as u64)));
                assert!(plain.iter().enumerate().all(|(at, byte)| *byte == 0 || !holes(at)));
            }
        }
    }

    #[test]
    fn a_torn_write_is_its_first_half() {
        for (offset, len) in [(0, 2), (4090, 12), (1, 20_000), (8192, 8192)] {
            let mut content = Content::default();
            content.apply(&Change::write(&vec![7; len], offset).torn().unwrap());
            assert_eq!(content.len(), offset + len as u64 / 2);
            assert!(content.bytes().iter().skip(usize::try_from(offset).unwrap()).all(|byte| *byte == 7));
        }
        assert!(Change::write(b"x", 3).torn().is_none() && Change::SetLen(9).torn().is_none());
    }

    #[test]
    fn a_flipped_bit_flips_back() {
        let mut content = Content::default();
        assert!(!content.flip(5));
        content.apply(&Change::write(b"abc", 0));
        assert!(content.flip(24 + 8));
        assert_eq!(content.bytes(), [b'a', b'b' ^ 1, b'c']);
        assert!(content.flip(8));
        assert_eq!(content.bytes(), b"abc");
    }
}
