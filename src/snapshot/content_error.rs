//! What can be wrong with the content of a snapshot's files. The files' maker is to blame, or whoever changed them.

use super::{BlockNumber, SnapshotFile, WireError};

/// Why the content of a file, or of the files together, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The first byte is not Fabric's format 1; `None`: the file is empty.
    #[error("{file} starts with format byte {found:?}, only 1 is known")]
    Format {
        /// The file.
        file: SnapshotFile,
        /// Its first byte.
        found: Option<u8>,
    },
    /// An item is wrong.
    #[error("{file}: item {item} {fault}")]
    Item {
        /// The file.
        file: SnapshotFile,
        /// Which one, counted from 0.
        item: u64,
        /// What's wrong with it.
        fault: ItemFault,
    },
    /// A `.metadata` file is larger than any real one.
    #[error("{file} has more than {max} bytes")]
    TooLong {
        /// The file.
        file: SnapshotFile,
        /// The limit in bytes.
        max: usize,
    },
    /// Bytes behind the last item that the file announces.
    #[error("{file} has bytes behind its last item")]
    Trailing {
        /// The file.
        file: SnapshotFile,
    },
    /// The data don't hold as many items as the metadata say.
    #[error("{file} holds {found} items, but its metadata count {stated}")]
    Count {
        /// The data file.
        file: SnapshotFile,
        /// How many it holds.
        found: u64,
        /// How many its metadata state.
        stated: u64,
    },
    /// A namespace's name is illegal, repeated or out of order.
    #[error("{file}: namespace {namespace:?} {fault}")]
    Namespace {
        /// The metadata file.
        file: SnapshotFile,
        /// The name, cut to 100 characters.
        namespace: String,
        /// What's wrong with it.
        fault: NamespaceFault,
    },
    /// The first record of the public state is not the channel's configuration.
    #[error("{file} doesn't start with the channel's configuration ({why})", file = SnapshotFile::PublicStateData)]
    ChannelConfig {
        /// What's wrong with it.
        why: &'static str,
    },
    /// Hashes of a private collection that the chaincode's newest entry of the collection-configuration history doesn't name.
    #[error(
        "there are hashes of collection {collection:?} of chaincode {chaincode:?}, but the chaincode's newest configuration in {file} doesn't name it: a peer couldn't join from this",
        file = SnapshotFile::ConfigHistoryData
    )]
    NoCollectionConfig {
        /// The chaincode, cut to 100 characters.
        chaincode: String,
        /// The collection, cut to 100 characters.
        collection: String,
    },
    /// Something was written by a block that is not in the snapshot.
    #[error("{file} holds something of block {block_number}, but the snapshot ends at block {last}")]
    FutureBlock {
        /// The file.
        file: SnapshotFile,
        /// The highest block in it.
        block_number: BlockNumber,
        /// The snapshot's last block.
        last: BlockNumber,
    },
    /// A listed file was not checked, or an unlisted one was: the caller's mistake.
    #[error("{file} is listed but was not checked, or was checked but isn't listed")]
    Unchecked {
        /// The file.
        file: SnapshotFile,
    },
}

/// What's wrong with an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ItemFault {
    /// Longer than any real one; refused before memory is taken.
    #[error("has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Stated length in bytes.
        len: u64,
        /// The limit in bytes.
        max: usize,
    },
    /// The file ends within it.
    #[error("is cut off by the end of the file")]
    Truncated,
    /// No canonical number or message.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// A state record without a value: Fabric takes an empty value for a deletion.
    #[error("has no value")]
    NoValue,
    /// A version that isn't two order-preserving numbers.
    #[error("has no valid version")]
    Version,
    /// A private record whose key or value is no SHA-256.
    #[error("has a key or value that is no hash of 32 bytes")]
    NoHash,
    /// Not above the item before it, where the order is fixed.
    #[error("is out of order or doubled")]
    Order,
    /// A collection-configuration key of another form than `s` `lscc` 00 `<chaincode>~collection` and 8 bytes.
    #[error("is no key of a collection configuration")]
    ConfigHistoryKey,
    /// A key of the collection-configuration history without its value.
    #[error("is a key without a value")]
    KeyWithoutValue,
    /// More collections than there can be namespaces.
    #[error("names more collections than are allowed together, {max} with {bytes_max} bytes")]
    TooManyCollections {
        /// The limit of names.
        max: u64,
        /// The limit of their bytes.
        bytes_max: usize,
    },
    /// A name that isn't UTF-8.
    #[error("is not UTF-8")]
    Utf8,
    /// A namespace that counts no record, which Fabric doesn't write.
    #[error("counts no record")]
    EmptyNamespace,
    /// More namespaces than allowed.
    #[error("is one of {rows} namespaces, at most {max} are allowed")]
    TooManyNamespaces {
        /// How many the file announces.
        rows: u64,
        /// The limit.
        max: u64,
    },
}

/// What's wrong with a namespace's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceFault {
    /// It comes twice: a namespace's records must lie together.
    #[error("comes twice")]
    Twice,
    /// The order of LevelDB is that of the names' bytes.
    #[error("is out of order")]
    Order,
    /// A NUL would make `namespace 00 key` ambiguous.
    #[error("holds a NUL")]
    Nul,
    /// A private namespace that isn't `<namespace>$$h<collection>`, or a public one that is.
    #[error("is of the wrong kind for this file")]
    Kind,
}
