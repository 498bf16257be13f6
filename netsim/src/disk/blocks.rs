//! The bytes of a file, in blocks that copies share.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Bytes of a block; a hole is a block that isn't there.
pub(super) const BLOCK: u64 = 4 << 10;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    blocks: BTreeMap<u64, Arc<[u8]>>,
    pub(super) len: u64,
}

impl Blocks {
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let end = self.len.min(offset.saturating_add(buf.len() as u64));
        let mut at = offset;
        while at < end {
            let (block, within) = (at / BLOCK, at % BLOCK);
            let count = (BLOCK - within).min(end - at);
            let into = buf.get_mut((at - offset) as usize..(at - offset + count) as usize).unwrap_or_default();
            match self.blocks.get(&block).and_then(|bytes| bytes.get(within as usize..(within + count) as usize)) {
                Some(bytes) => into.copy_from_slice(bytes),
                None => into.fill(0),
            }
            at += count;
        }
        (at.saturating_sub(offset)) as usize
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let (block, within) = (at / BLOCK, at % BLOCK);
            let count = (BLOCK - within).min(end - at);
            let mut bytes = self.blocks.get(&block).map_or_else(|| vec![0; BLOCK as usize], |bytes| bytes.to_vec());
            let from = data.get((at - offset) as usize..(at - offset + count) as usize).unwrap_or_default();
            if let Some(into) = bytes.get_mut(within as usize..(within + count) as usize) {
                into.copy_from_slice(from);
            }
            self.blocks.insert(block, bytes.into());
            at += count;
        }
        self.len = self.len.max(end);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.retain(|block, _| block * BLOCK < len);
            let within = (len % BLOCK) as usize;
            if let Some(bytes) = self.blocks.get_mut(&(len / BLOCK)).filter(|_| within > 0) {
                let mut cut = bytes.to_vec();
                cut.get_mut(within..).unwrap_or_default().fill(0);
                *bytes = cut.into();
            }
        }
        self.len = len;
    }

    /// Bytes that it takes.
    pub(super) fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// Where it is no hole, ascending.
    pub(super) fn data_ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for block in self.blocks.keys() {
            let range = block * BLOCK..((block + 1) * BLOCK).min(self.len);
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges.retain(|range| range.start < range.end);
        ranges
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }
}
