//! Sets of transaction numbers, as the private data store keeps them (fabric uses bits-and-blooms/bitset): the number of bits, then
//! words of 64 bits, all big-endian; bit `x` is in word `x / 64`.

/// Bytes of the number of bits, and of a word.
const WORD_BYTES: usize = 8;

/// Encodes ascending numbers (doubles count once). The highest one decides the length.
pub(super) fn encode(numbers: &[u64]) -> Vec<u8> {
    let bits = numbers.last().map_or(0, |&last| last + 1);
    let mut bytes = bits.to_be_bytes().to_vec();
    let mut word = 0_u64;
    let mut numbers = numbers.iter().copied().peekable();
    for index in 0..bits.div_ceil(64) {
        while let Some(number) = numbers.next_if(|number| number / 64 == index) {
            word |= 1 << (number % 64);
        }
        bytes.extend(std::mem::take(&mut word).to_be_bytes());
    }
    bytes
}

/// The transactions of a block whose private data are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxSet(Vec<u64>);

impl TxSet {
    /// Reads the value of a record of missing data; `None` unless the words are those that the number of bits needs.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<WORD_BYTES>() else { return None };
        let mut words = words.iter().map(|word| u64::from_be_bytes(*word));
        let bits = words.next()?;
        let words: Vec<u64> = words.collect();
        let unused = (64 - bits % 64) % 64;
        let sound = words.len() as u64 == bits.div_ceil(64)
            && words.last().is_none_or(|last| u64::from(last.leading_zeros()) >= unused);
        sound.then_some(Self(words))
    }

    /// How many transactions there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Their numbers in the block, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        (0_u64..).zip(&self.0).flat_map(move |(index, &word)| bits(word).map(move |bit| index * 64 + bit))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_fabrics_and_others_are_refused() {
        assert_eq!(encode(&[0]), b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01");
        assert_eq!(encode(&[1, 1, 65]), b"\0\0\0\0\0\0\0\x42\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02");
        assert_eq!(encode(&[]), [0; 8]);
        let set = TxSet::decode(b"\0\0\0\0\0\0\0\x42\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02").unwrap();
        assert_eq!((set.count(), set.iter().collect::<Vec<_>>()), (1, vec![65]), "bits in front may be cleared again");
        for bad in [
            &b""[..],
            b"\0\0\0\0\0\0\0\x01",
            b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02",
            b"\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01",
            b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01",
        ] {
            assert_eq!(TxSet::decode(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn sets_come_back(numbers: BTreeSet<u16>) {
            let numbers: Vec<u64> = numbers.into_iter().map(u64::from).collect();
            let set = TxSet::decode(&encode(&numbers)).unwrap();
            prop_assert_eq!(set.count(), numbers.len() as u64);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), numbers);
        }
    }
}
