//! Fabric's order-preserving numbers and the version (height) of a record made of two of them (fabric: common/ledger/util/util.go).

use super::BlockNumber;

/// Block and transaction that wrote a record. The encoding sorts as the numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Height {
    /// The block.
    pub block_number: BlockNumber,
    /// Number of the transaction in it.
    pub tx_number: u64,
}

impl Height {
    /// Most bytes of an encoded height.
    pub const BYTES_MAX: usize = 18;

    /// Reads exactly one height; `None` unless the bytes are what [`Self::encode_into`] writes.
    #[must_use]
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::split(bytes).and_then(|(height, rest)| rest.is_empty().then_some(height))
    }

    /// Splits a height off the front of a key.
    #[must_use]
    #[inline]
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (block_number, rest) = split_ordered(bytes)?;
        let (tx_number, rest) = split_ordered(rest)?;
        Some((Self { block_number: BlockNumber(block_number), tx_number }, rest))
    }

    /// Appends the encoded height.
    pub fn encode_into(self, out: &mut Vec<u8>) {
        put_ordered(out, self.block_number.0);
        put_ordered(out, self.tx_number);
    }

    /// Length of the encoded height in bytes.
    #[must_use]
    pub const fn encoded_len(self) -> usize {
        2 + ordered_len(self.block_number.0) + ordered_len(self.tx_number)
    }
}

/// One byte that counts the following big-endian bytes, which don't start with 00; the number 0 is `00`.
#[inline]
pub(crate) fn split_ordered(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&count, rest) = bytes.split_first()?;
    if count > 8 {
        return None;
    }
    let (digits, rest) = rest.split_at_checked(usize::from(count))?;
    if digits.first() == Some(&0) {
        return None;
    }
    Some((digits.iter().fold(0, |value, &digit| value << 8 | u64::from(digit)), rest))
}

/// Appends such a number; the bytes sort as the numbers do.
pub(crate) fn put_ordered(out: &mut Vec<u8>, value: u64) {
    let len = ordered_len(value);
    out.push(len as u8);
    out.extend(value.to_be_bytes().into_iter().skip(8 - len));
}

const fn ordered_len(value: u64) -> usize {
    8 - value.leading_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_are_fabrics() {
        for (block, tx, bytes) in [
            (0, 0, &[0, 0][..]),
            (125, 0, &[1, 125, 0]),
            (258, 1, &[2, 1, 2, 1, 1]),
            (
                u64::MAX,
                0x1234_5678_9abc_def0,
                &[8, 255, 255, 255, 255, 255, 255, 255, 255, 8, 18, 52, 86, 120, 154, 188, 222, 240],
            ),
        ] {
            let height = Height { block_number: BlockNumber(block), tx_number: tx };
            let mut encoded = Vec::new();
            height.encode_into(&mut encoded);
            assert_eq!(encoded, bytes);
            assert_eq!(height.encoded_len(), bytes.len());
            assert_eq!(Height::decode(bytes), Some(height));
        }
        // Empty, one number only, too many digits, a leading zero, a trailing byte, torn.
        for bad in [&[][..], &[0], &[9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], &[1, 0, 0], &[0, 0, 0], &[2, 1]] {
            assert_eq!(Height::decode(bad), None, "{bad:?}");
        }
    }
}
