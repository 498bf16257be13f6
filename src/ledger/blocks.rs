//! A block's header in the peer's block files (fabric: common/ledger/blkstorage/blockindex.go and block_serialization.go). The other parts of
//! blocks are nobody's business here.
//!
//! ```text
//! location = number of the file (varint) | offset (varint) | length (varint)
//! block    = length (varint) | number (varint) | data hash (varint length, bytes) | previous hash (likewise) | ...
//! ```

use sha2::{Digest as _, Sha256};

use super::LedgerError;
use crate::{
    disk::{Access, Dir},
    snapshot::{BlockHash, BlockNumber, protobuf::split_uvarint, put_ordered},
};

/// Most bytes of a header in a file: three numbers, two lengths, two hashes.
const HEADER_BYTES_MAX: usize = 4 * 10 + 2 * 32;

/// Tags of ASN.1.
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;

/// What links a block to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) number: BlockNumber,
    data_hash: BlockHash,
    /// `None` of block 0.
    pub(super) previous_hash: Option<BlockHash>,
}

impl BlockHeader {
    /// Reads the header of a block whose bytes begin `bytes`.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, block) = split_uvarint(bytes).ok()??;
        let (number, rest) = split_uvarint(block).ok()??;
        let (data_hash, rest) = split_bytes(rest)?;
        let (previous, rest) = split_bytes(rest)?;
        if len < (block.len() - rest.len()) as u64 {
            return None;
        }
        let previous_hash = if previous.is_empty() { None } else { Some(previous.try_into().ok()?) };
        Some(Self { number: BlockNumber(number), data_hash: data_hash.try_into().ok()?, previous_hash })
    }

    /// The block's hash: SHA-256 of the header as ASN.1 (fabric: protoutil/blockutils.go).
    pub(super) fn hash(&self) -> BlockHash {
        let digits = self.number.0.to_be_bytes();
        let zeros = (self.number.0.leading_zeros() / 8).min(7) as usize;
        let mut number = digits.get(zeros..).unwrap_or_default().to_vec();
        if number.first().is_some_and(|&first| first >= 0x80) {
            number.insert(0, 0); // else it would be negative
        }
        let previous = self.previous_hash.as_ref().map_or(&[][..], |hash| hash.as_bytes());
        let mut content = Vec::new();
        for (tag, bytes) in
            [(INTEGER, &number[..]), (OCTET_STRING, previous), (OCTET_STRING, self.data_hash.as_bytes())]
        {
            content.push(tag);
            content.push(bytes.len() as u8); // at most 32
            content.extend_from_slice(bytes);
        }
        let header = [&[SEQUENCE, content.len() as u8], &content[..]].concat(); // at most 79
        BlockHash(Sha256::digest(header).into())
    }
}

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockLocation {
    file: u64,
    offset: u64,
}

impl BlockLocation {
    /// The rest of the index's key of a block, behind the channel.
    pub(super) fn key(block_number: BlockNumber) -> Vec<u8> {
        let mut key = b"n".to_vec();
        put_ordered(&mut key, block_number.0);
        key
    }

    /// Reads the index's value.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (file, rest) = split_uvarint(value).ok()??;
        let (offset, rest) = split_uvarint(rest).ok()??;
        let (_, rest) = split_uvarint(rest).ok()??;
        rest.is_empty().then_some(Self { file, offset })
    }

    /// Reads the header of block `block_number` in the channel's folder of block files.
    ///
    /// # Errors
    /// [`LedgerError::Block`] if that isn't there; or whatever the disk says.
    pub(super) fn header(self, folder: &dyn Dir, block_number: BlockNumber) -> Result<BlockHeader, LedgerError> {
        let file = folder.open_file(&format!("blockfile_{:06}", self.file), Access::Read)?;
        let mut bytes = vec![0; HEADER_BYTES_MAX];
        let count = file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(count);
        let header = BlockHeader::decode(&bytes).filter(|header| header.number == block_number);
        let path = || file.path().to_owned();
        header.ok_or_else(|| LedgerError::Block { path: path(), block_number, offset: self.offset })
    }
}

fn split_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = split_uvarint(bytes).ok()??;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        disk::{OsDir, write_durably},
        snapshot::protobuf::put_uvarint,
    };

    /// Block 132 of the recorded network, as its peer's block file has it.
    const BLOCK_132: &str = "d5298401205f2903d3b247a6fa14f5fb6a701b92b3f47cbf23a789c5851a4f85518ce613d1\
                             2037c15acb369ef6d5a457e9c891a3bfc31aeddad8215c4a8e9615688fb3e5999e";
    const GENESIS: &str = "dcc4010020279291275d3c759982e9835c88bbff38d2d261ccf27094e75ca6fb572a0c928e00";

    #[test]
    fn recorded_headers_have_the_hashes_that_the_next_blocks_name() {
        for (bytes, number, hash) in [
            (GENESIS, 0, "e2236288bf5446b8eebed5ec7bcdf0aa8be0819e83a6a769713ebfdc0c8df16f"),
            (BLOCK_132, 132, "35faf461cedd944485e7cc6a99dd463ec1ba42c2f62301b47d514a331d3fd51d"),
        ] {
            let bytes = hex::decode(bytes).unwrap();
            let header = BlockHeader::decode(&bytes).unwrap();
            assert_eq!((header.number, header.hash().to_string().as_str()), (BlockNumber(number), hash));
            assert_eq!(header.previous_hash.is_none(), number == 0);
            for len in 0..bytes.len() {
                assert_eq!(BlockHeader::decode(&bytes[..len]), None, "{len}");
            }
        }
    }

    #[test]
    fn a_header_is_read_where_the_index_says_and_nowhere_else() {
        let folder = tempfile::TempDir::new().unwrap();
        let block = hex::decode(BLOCK_132).unwrap();
        let dir = OsDir::open(folder.path()).unwrap();
        write_durably(&*dir, "blockfile_000003", &[&[9; 500], &block[..]].concat()).unwrap();
        let at = |file, offset| {
            let mut value = Vec::new();
            [file, offset, 5_000].into_iter().for_each(|number| put_uvarint(&mut value, number));
            assert_eq!(BlockLocation::decode(&value[1..]), None);
            BlockLocation::decode(&value).unwrap()
        };
        assert!(at(3, 500).header(&*dir, BlockNumber(132)).is_ok());
        for (file, offset, number) in [(3, 500, 131), (3, 499, 132), (3, 9_999, 132)] {
            let error = at(file, offset).header(&*dir, BlockNumber(number)).unwrap_err();
            assert!(matches!(error, LedgerError::Block { offset: found, .. } if found == offset), "{error}");
        }
        assert!(matches!(at(4, 500).header(&*dir, BlockNumber(132)), Err(LedgerError::Disk(_))));
    }

    /// R1: a length in a header.
    #[test]
    fn a_huge_length_takes_no_memory() {
        let mut bytes = vec![5, 1];
        put_uvarint(&mut bytes, u64::MAX);
        assert_eq!(BlockHeader::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_a_header_within_them(start in 0..3_usize, bytes in vec(any::<u8>(), 0..120)) {
            // Also behind a sound beginning.
            let sound = hex::decode(BLOCK_132).unwrap();
            let bytes = [&sound[..start * 35], &bytes].concat();
            if let Some(header) = BlockHeader::decode(&bytes) {
                prop_assert!(bytes.windows(32).any(|window| window == header.data_hash.as_bytes()));
            }
            if let Some(location) = BlockLocation::decode(&bytes) {
                let mut again = Vec::new();
                put_uvarint(&mut again, location.file);
                put_uvarint(&mut again, location.offset);
                prop_assert!(bytes.starts_with(&again));
            }
        }
    }
}
