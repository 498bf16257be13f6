//! The store of ledger ids: which channels a peer has, whether they are whole, and from which snapshot they came
//! (fabric: core/ledger/kvledger/kv_ledger_provider.go).

use crate::snapshot::{
    ChannelId, SnapshotMetadata,
    protobuf::{Fields, Value, bytes_field, put_bytes, put_number},
};

/// Whether a channel can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It can.
    Active,
    /// An administrator paused it.
    Inactive,
    /// It is being made. A peer that starts drops it.
    UnderConstruction,
    /// It is being dropped. A peer that starts goes on with that.
    UnderDeletion,
}

impl Status {
    const ALL: [Self; 4] = [Self::Active, Self::Inactive, Self::UnderConstruction, Self::UnderDeletion];
}

/// The channel's key.
#[must_use]
pub fn key(channel: &ChannelId) -> Vec<u8> {
    [b"s", channel.as_str().as_bytes()].concat()
}

/// The channel's record: proto LedgerMetadata, with both metadata files of the snapshot as they are.
#[must_use]
pub fn record(metadata: &SnapshotMetadata, status: Status) -> Vec<u8> {
    let mut boot = Vec::new();
    put_bytes(&mut boot, 1, metadata.signable.bytes());
    put_bytes(&mut boot, 2, &metadata.additional().encode());
    let mut record = Vec::new();
    put_number(&mut record, 1, status as u64);
    put_bytes(&mut record, 2, &boot);
    record
}

/// What a channel's record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRecord<'a> {
    /// Whether it can be used.
    pub status: Status,
    /// `_snapshot_signable_metadata.json` of the snapshot that it came from; `None`: it began with the genesis block.
    pub signable: Option<&'a [u8]>,
}

impl<'a> LedgerRecord<'a> {
    /// Reads the record; `None` if it is none that this Fabric writes.
    #[must_use]
    pub fn decode(record: &'a [u8]) -> Option<Self> {
        let (mut status, mut signable) = (Status::Active, None);
        for field in Fields::of(record) {
            match field.ok()? {
                (1, Value::Number(number)) => status = *Status::ALL.get(usize::try_from(number).ok()?)?,
                (2, Value::Bytes(boot)) => signable = Some(bytes_field(boot, 1)?),
                _ => return None,
            }
        }
        Some(Self { status, signable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_torn_ones_are_not() {
        assert_eq!(LedgerRecord::decode(b""), Some(LedgerRecord { status: Status::Active, signable: None }));
        let record = b"\x08\x02\x12\x06\x0a\x01{\x12\x01[";
        let expected = LedgerRecord { status: Status::UnderConstruction, signable: Some(b"{") };
        assert_eq!(LedgerRecord::decode(record), Some(expected));
        for len in [1, 3, record.len() - 1] {
            assert_eq!(LedgerRecord::decode(&record[..len]), None, "{len}");
        }
        assert_eq!(LedgerRecord::decode(b"\x08\x04"), None, "an unknown status");
        assert_eq!(LedgerRecord::decode(b"\x18\x01"), None, "an unknown field");
    }
}
