//! The items of the data files, each read from its bytes and written back to the very same bytes.
//!
//! State records bear no namespace: the rows of the `.metadata` file say how many records each namespace has, in the same order.

use super::{
    BlockNumber, Height, ItemFault, SnapshotFile, WireError,
    protobuf::{put_bytes, put_uvarint, split_uvarint, uvarint_len},
};

/// Key of the record that holds the channel's configuration, in the namespace "" (fabric: core/peer/configtx_processor.go).
pub const CHANNEL_CONFIG_KEY: &[u8] = b"CHANNEL_CONFIG_ENV_BYTES";

/// One record of the state (public, or hashes of private state), borrowed from its bytes (fabric: privacyenabledstate/snapshot.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateRecord<'a> {
    /// The key; SHA-256 of the key in private state.
    pub key: &'a [u8],
    /// The value, never empty; SHA-256 of the value in private state.
    pub value: &'a [u8],
    /// Key-level endorsement (proto kvrwset.KVMetadataWrite), or empty.
    pub metadata: &'a [u8],
    /// Who wrote it last.
    pub version: Height,
}

impl<'a> StateRecord<'a> {
    /// Reads the message `{1 key, 2 value, 3 metadata, 4 version}`.
    ///
    /// # Errors
    /// Whatever [`Self::encode_into`] wouldn't write: other fields or order, present but empty fields, needless bytes.
    #[inline]
    pub fn decode(message: &'a [u8]) -> Result<Self, ItemFault> {
        let (key, rest) = split_field(message, 1)?;
        let (value, rest) = split_field(rest, 2)?;
        let (metadata, rest) = split_field(rest, 3)?;
        let (version, rest) = split_field(rest, 4)?;
        if let Some((&tag, _)) = rest.split_first() {
            return Err(WireError::Field(u32::from(tag) >> 3).into());
        }
        if value.is_empty() {
            return Err(ItemFault::NoValue);
        }
        let version = Height::decode(version).ok_or(ItemFault::Version)?;
        Ok(Self { key, value, metadata, version })
    }

    /// Appends the item: length and message.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let version_len = self.version.encoded_len();
        let fields = [self.key.len(), self.value.len(), self.metadata.len(), version_len];
        let len: usize = fields.into_iter().filter(|&len| len > 0).map(|len| 1 + uvarint_len(len as u64) + len).sum();
        put_uvarint(out, len as u64);
        put_bytes(out, 1, self.key);
        put_bytes(out, 2, self.value);
        put_bytes(out, 3, self.metadata);
        out.push(4 << 3 | 2);
        out.push(version_len as u8);
        self.version.encode_into(out);
    }
}

/// Splits a bytes field off; empty if the message goes on with a later field.
#[inline]
fn split_field(message: &[u8], field: u8) -> Result<(&[u8], &[u8]), WireError> {
    let Some((_, rest)) = message.split_first().filter(|(tag, _)| **tag == field << 3 | 2) else {
        return Ok((&[], message));
    };
    let (len, rest) = split_uvarint(rest)?.ok_or(WireError::Truncated)?;
    if len == 0 {
        return Err(WireError::Field(u32::from(field)));
    }
    let len = usize::try_from(len).map_err(|_| WireError::Truncated)?;
    rest.split_at_checked(len).ok_or(WireError::Truncated)
}

/// One entry of the collection-configuration history (fabric: core/ledger/confighistory).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigHistoryEntry<'a> {
    /// The chaincode.
    pub chaincode: &'a str,
    /// The block that committed the configuration.
    pub block_number: BlockNumber,
    /// Proto peer.CollectionConfigPackage, as it was committed.
    pub package: &'a [u8],
}

const CONFIG_KEY_PREFIX: &[u8] = b"slscc\0";
const CONFIG_KEY_SUFFIX: &[u8] = b"~collection";

impl<'a> ConfigHistoryEntry<'a> {
    /// Reads key (`s` `lscc` 00 `<chaincode>~collection`, 8 bytes of 2^64-1 minus the block) and value.
    ///
    /// # Errors
    /// [`ItemFault::ConfigHistoryKey`] for a key of another form.
    pub fn decode(key: &'a [u8], package: &'a [u8]) -> Result<Self, ItemFault> {
        let parsed = || {
            let (name, block) = key.split_last_chunk::<8>()?;
            let chaincode = name.strip_prefix(CONFIG_KEY_PREFIX)?.strip_suffix(CONFIG_KEY_SUFFIX)?;
            let chaincode = str::from_utf8(chaincode).ok().filter(|name| !name.is_empty() && !name.contains('\0'))?;
            Some((chaincode, BlockNumber(u64::MAX - u64::from_be_bytes(*block))))
        };
        let (chaincode, block_number) = parsed().ok_or(ItemFault::ConfigHistoryKey)?;
        Ok(Self { chaincode, block_number, package })
    }

    /// The key, as [`Self::decode`] takes it.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let newest_first = (u64::MAX - self.block_number.0).to_be_bytes();
        [CONFIG_KEY_PREFIX, self.chaincode.as_bytes(), CONFIG_KEY_SUFFIX, &newest_first].concat()
    }

    /// Appends both items.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        put_item(out, &self.key());
        put_item(out, self.package);
    }
}

/// Appends a length and the bytes: a transaction id, a name.
pub fn put_item(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A row of `public_state.metadata` or `private_state_hashes.metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// The namespace; of private state `<namespace>$$h<collection>`.
    pub namespace: String,
    /// How many records of the data file are its own; never 0.
    pub records: u64,
}

/// Most namespaces in a file. 1000 chaincodes with an implicit collection for each of 100 organisations are 100 000.
pub const NAMESPACES_MAX: u64 = 1 << 17;

/// Most bytes of a namespace's name; real ones are under 200.
pub const NAMESPACE_BYTES_MAX: usize = 1 << 10;

/// Largest `.metadata` file: [`NAMESPACES_MAX`] names of 62 bytes each.
pub const COUNTS_BYTES_MAX: usize = 8 << 20;

/// Which row is wrong, and how.
type RowFault = (u64, ItemFault);

/// Reads the rows that follow the format byte.
pub(super) fn decode_rows(bytes: &[u8]) -> Result<(Vec<NamespaceRow>, &[u8]), RowFault> {
    let (count, mut rest) = decode_count(bytes).map_err(|fault| (0, fault))?;
    if count > NAMESPACES_MAX {
        return Err((0, ItemFault::TooManyNamespaces { rows: count, max: NAMESPACES_MAX }));
    }
    // Not reserved by the announced count: a row takes two bytes at least, so the bytes bound the rows.
    let mut rows = Vec::new();
    for index in 0..count {
        let (row, behind) = decode_row(rest).map_err(|fault| (index, fault))?;
        rows.push(row);
        rest = behind;
    }
    Ok((rows, rest))
}

/// Reads a count; what follows it comes back.
pub(super) fn decode_count(bytes: &[u8]) -> Result<(u64, &[u8]), ItemFault> {
    split_uvarint(bytes)?.ok_or(ItemFault::Truncated)
}

fn decode_row(bytes: &[u8]) -> Result<(NamespaceRow, &[u8]), ItemFault> {
    let (len, rest) = decode_count(bytes)?;
    let too_long = ItemFault::TooLong { len, max: NAMESPACE_BYTES_MAX };
    let len = usize::try_from(len).ok().filter(|&len| len <= NAMESPACE_BYTES_MAX).ok_or(too_long)?;
    let (name, rest) = rest.split_at_checked(len).ok_or(ItemFault::Truncated)?;
    let namespace = str::from_utf8(name).map_err(|_| ItemFault::Utf8)?.to_owned();
    let (records, rest) = decode_count(rest)?;
    if records == 0 { Err(ItemFault::EmptyNamespace) } else { Ok((NamespaceRow { namespace, records }, rest)) }
}

/// A whole `public_state.metadata` or `private_state_hashes.metadata`.
#[must_use]
pub fn encode_rows(rows: &[NamespaceRow]) -> Vec<u8> {
    let mut out = encode_count(rows.len() as u64);
    for row in rows {
        put_item(&mut out, row.namespace.as_bytes());
        put_uvarint(&mut out, row.records);
    }
    out
}

/// A whole `txids.metadata` or `confighistory.metadata`.
#[must_use]
pub fn encode_count(count: u64) -> Vec<u8> {
    let mut out = vec![super::items::FORMAT];
    put_uvarint(&mut out, count);
    out
}

/// Splits the name of a private namespace into namespace and collection; `None` if it isn't `<namespace>$$h<collection>`.
#[must_use]
pub fn split_private_namespace(name: &str) -> Option<(&str, &str)> {
    let (namespace, collection) = name.split_once("$$h")?;
    let legal = !namespace.is_empty() && !collection.is_empty() && !collection.contains("$$h");
    legal.then_some((namespace, collection))
}

/// Whether the file holds rows (namespace, count) rather than one count.
pub(super) const fn has_rows(file: SnapshotFile) -> bool {
    matches!(file, SnapshotFile::PublicStateMetadata | SnapshotFile::PrivateStateHashesMetadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: &[u8]) -> Result<StateRecord<'_>, ItemFault> {
        StateRecord::decode(message)
    }

    #[test]
    fn records_come_back_and_absent_fields_stay_absent() {
        let version = Height { block_number: BlockNumber(386), tx_number: 1 };
        for (key, metadata) in [(&b"k"[..], &b""[..]), (b"", b"policy"), (b"a\0b", b"")] {
            let value = vec![7; 300];
            let record = StateRecord { key, value: &value, metadata, version };
            let mut item = Vec::new();
            record.encode_into(&mut item);
            let (len, message) = split_uvarint(&item).unwrap().unwrap();
            assert_eq!(len, message.len() as u64);
            assert_eq!(StateRecord::decode(message), Ok(record));
        }
    }

    #[test]
    fn what_fabric_would_not_write_is_refused() {
        let good = b"\x0a\x01k\x12\x01v\x22\x03\x01\x05\x00";
        assert!(record(good).is_ok());
        assert_eq!(record(b"\x0a\x01k\x22\x03\x01\x05\x00"), Err(ItemFault::NoValue));
        assert_eq!(record(b"\x0a\x01k\x12\x01v"), Err(ItemFault::Version));
        assert_eq!(record(b"\x0a\x00\x12\x01v\x22\x03\x01\x05\x00"), Err(WireError::Field(1).into()));
        assert_eq!(record(b"\x12\x01v\x0a\x01k\x22\x03\x01\x05\x00"), Err(WireError::Field(1).into()));
        assert_eq!(record(&[good, &b"\x28\x01"[..]].concat()), Err(WireError::Field(5).into()));
        assert_eq!(record(b"\x0a\x81\x00k\x12\x01v\x22\x03\x01\x05\x00"), Err(WireError::Varint.into()));
        assert_eq!(record(&good[..good.len() - 1]), Err(WireError::Truncated.into()));
    }

    #[test]
    fn a_namespace_has_at_most_a_kilobyte_and_a_file_so_many_rows() {
        let rows = |len| encode_rows(&[NamespaceRow { namespace: "n".repeat(len), records: 1 }]);
        let decode = |bytes: &[u8]| decode_rows(&bytes[1..]).map(|(rows, _)| rows[0].namespace.len());
        assert_eq!(decode(&rows(NAMESPACE_BYTES_MAX)), Ok(NAMESPACE_BYTES_MAX));
        let too_long = ItemFault::TooLong { len: NAMESPACE_BYTES_MAX as u64 + 1, max: NAMESPACE_BYTES_MAX };
        assert_eq!(decode(&rows(NAMESPACE_BYTES_MAX + 1)), Err((0, too_long)));
        // The announced number alone is enough to refuse it; with one row less the first row is missed.
        let announced = |rows| decode(&encode_count(rows));
        assert_eq!(announced(NAMESPACES_MAX), Err((0, ItemFault::Truncated)));
        let too_many = ItemFault::TooManyNamespaces { rows: NAMESPACES_MAX + 1, max: NAMESPACES_MAX };
        assert_eq!(announced(NAMESPACES_MAX + 1), Err((0, too_many)));
    }

    #[test]
    fn private_namespaces_have_one_separator() {
        assert_eq!(split_private_namespace("cc$$hcoll"), Some(("cc", "coll")));
        for bad in ["cc", "$$hcoll", "cc$$h", "cc$$pcoll", "a$$hb$$hc"] {
            assert_eq!(split_private_namespace(bad), None, "{bad}");
        }
    }
}
