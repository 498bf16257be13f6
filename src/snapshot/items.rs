//! Cuts a stream of slices into items: a LEB128 length and that many bytes. Whole items are handed out where they lie; only one
//! that straddles two slices is copied.

use super::{ItemFault, protobuf::split_uvarint};

/// First byte of every data file: the only format that Fabric has had.
pub(super) const FORMAT: u8 = 1;

/// Longest record, key or value in a file: a transaction and so a value is at most 100 MiB (fabric: `comm.DefaultMaxRecvMsgSize`);
/// key, key-level policy and version come on top.
pub const ITEM_BYTES_MAX: usize = 104 << 20;

/// What a carry buffer may keep after an unusually long item.
const CARRY_BYTES_KEPT: usize = 1 << 20;

/// Holds what came of the item that the last slice cut; grows only as bytes arrive, whatever length is announced.
#[derive(Debug)]
pub(super) struct ItemSplitter {
    carry: Vec<u8>,
    bytes_max: usize,
}

impl ItemSplitter {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { carry: Vec::new(), bytes_max }
    }

    /// Calls `each` with every item that `bytes` complete.
    #[inline]
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), ItemFault>,
    ) -> Result<(), ItemFault> {
        while !self.carry.is_empty() && !bytes.is_empty() {
            // The rest of the body; or, as long as the length itself is cut, one more byte.
            let missing = match split_uvarint(&self.carry)? {
                Some((len, body)) => self.bounded(len)?.saturating_sub(body.len()),
                None => 1,
            };
            let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.carry.extend_from_slice(part);
            bytes = rest;
            if let Some((len, body)) = split_uvarint(&self.carry)?
                && self.bounded(len)? == body.len()
            {
                each(body)?;
                self.carry.clear();
                self.carry.shrink_to(CARRY_BYTES_KEPT);
            }
        }
        while let Some((len, rest)) = split_uvarint(bytes)? {
            let Some((body, rest)) = rest.split_at_checked(self.bounded(len)?) else { break };
            each(body)?;
            bytes = rest;
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    /// The file has ended.
    pub(super) fn finish(&self) -> Result<(), ItemFault> {
        if self.carry.is_empty() { Ok(()) } else { Err(ItemFault::Truncated) }
    }

    #[inline]
    fn bounded(&self, len: u64) -> Result<usize, ItemFault> {
        let too_long = ItemFault::TooLong { len, max: self.bytes_max };
        usize::try_from(len).ok().filter(|&len| len <= self.bytes_max).ok_or(too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::protobuf::put_uvarint;

    #[test]
    fn items_are_the_same_however_the_bytes_are_cut() {
        let items: Vec<Vec<u8>> = [0, 1, 127, 128, 300, 0, 5].iter().map(|&len| vec![len as u8; len]).collect();
        let mut bytes = Vec::new();
        for item in &items {
            put_uvarint(&mut bytes, item.len() as u64);
            bytes.extend(item);
        }
        for step in 1..=bytes.len() {
            let (mut splitter, mut found) = (ItemSplitter::new(300), Vec::new());
            for slice in bytes.chunks(step) {
                splitter
                    .feed(slice, |item| {
                        found.push(item.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, items, "step {step}");
            assert_eq!(splitter.finish(), Ok(()));
        }
    }

    /// R1: an item of a file.
    #[test]
    fn a_huge_length_takes_no_memory() {
        let mut huge = Vec::new();
        put_uvarint(&mut huge, u64::MAX);
        let mut splitter = ItemSplitter::new(ITEM_BYTES_MAX);
        let error = splitter.feed(&huge, |_| Ok(())).unwrap_err();
        assert_eq!(error, ItemFault::TooLong { len: u64::MAX, max: ITEM_BYTES_MAX });

        let mut large = Vec::new();
        put_uvarint(&mut large, ITEM_BYTES_MAX as u64);
        let mut splitter = ItemSplitter::new(ITEM_BYTES_MAX);
        for byte in large.chunks(1) {
            splitter.feed(byte, |_| Ok(())).unwrap();
        }
        assert!(splitter.carry.capacity() < 64, "nothing is reserved for what hasn't come");
        assert_eq!(splitter.finish(), Err(ItemFault::Truncated));
    }
}
