//! Which snapshot was made active in a stopped peer's databases, until that was told: a run that is killed right behind its last write could
//! tell nobody, and the next one would only see that the channel exists.
//!
//! Only the very record that was written counts, metadata and all, and only for the same organisation's peer: whatever else has the channel's
//! name there is somebody else's.

use sha2::{Digest, Sha256};

use super::{landing::WORK_DIR, told_peer::note_name};
use crate::{
    disk::{Dir, DiskError, read_small, write_durably},
    ledger::stores::{Status, ledger_record},
    msp::MspId,
    snapshot::{BlockNumber, ChannelId, SnapshotId, SnapshotMetadata},
};

/// A number, a hash and an MSP ID.
const NOTE_BYTES_MAX: u64 = 512;

/// What the databases must say, if that load went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) id: SnapshotId,
    /// SHA-256 of the channel's record.
    record: [u8; 32],
    msp_id: String,
}

impl Made {
    pub(super) fn of(metadata: &SnapshotMetadata, msp_id: &MspId) -> Self {
        Self {
            id: metadata.signable.id().clone(),
            record: Sha256::digest(ledger_record(metadata, Status::Active)).into(),
            msp_id: msp_id.as_str().to_owned(),
        }
    }

    /// Whether that record is its.
    pub(super) fn is(&self, record: &[u8], msp_id: &MspId) -> bool {
        self.record == <[u8; 32]>::from(Sha256::digest(record)) && self.msp_id == msp_id.as_str()
    }

    /// Says durably that it is made active now in the databases at that path.
    pub(super) fn note(&self, land: &dyn Dir, ledgers: &str) -> Result<(), DiskError> {
        land.create_dir(WORK_DIR)?;
        let text = format!("{} {} {}\n", self.id.block_number, hex::encode(self.record), self.msp_id);
        write_durably(&*land.open_dir(WORK_DIR)?, &name(&self.id.channel, ledgers), text.as_bytes())
    }

    /// What was noted of the channel there; `None`: nothing, or it was told. A note that can't be read is none.
    pub(super) fn find(land: &dyn Dir, channel: &ChannelId, ledgers: &str) -> Option<Self> {
        let work = land.open_dir(WORK_DIR).ok()?;
        let text = read_small(&*work, &name(channel, ledgers), NOTE_BYTES_MAX).ok()?;
        let mut parts = std::str::from_utf8(&text).ok()?.strip_suffix('\n')?.splitn(3, ' ');
        let block_number = BlockNumber(parts.next()?.parse().ok()?);
        let record = hex::decode(parts.next()?).ok()?.try_into().ok()?;
        let id = SnapshotId { channel: channel.clone(), block_number };
        Some(Self { id, record, msp_id: parts.next()?.to_owned() })
    }

    /// That it is there was told.
    pub(super) fn settle(land: &dyn Dir, channel: &ChannelId, ledgers: &str) {
        let settled = land.open_dir(WORK_DIR).and_then(|work| work.remove_file(&name(channel, ledgers)));
        match settled {
            Err(error) if !error.is_not_found() => {
                tracing::warn!("the next join of this channel says once more that it is there: {error}");
            }
            _ => {}
        }
    }
}

fn name(channel: &ChannelId, ledgers: &str) -> String {
    note_name(channel, "made", ledgers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDir;

    #[test]
    fn what_was_made_active_is_known_until_it_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let land = OsDir::open(temp.path()).unwrap();
        let id = SnapshotId { channel: "ch".parse().unwrap(), block_number: BlockNumber(7) };
        let org = |name| MspId::new(name).unwrap();
        let record = Sha256::digest(b"record").into();
        let made = Made { id, record, msp_id: "an Org".to_owned() };
        let found = |ledgers| Made::find(&*land, &made.id.channel, ledgers);
        assert_eq!(found("/a"), None);
        made.note(&*land, "/a").unwrap();
        assert_eq!((found("/a"), found("/b")), (Some(made.clone()), None));
        assert!(made.is(b"record", &org("an Org")));
        assert!(!made.is(b"record", &org("Org")) && !made.is(b"another", &org("an Org")));
        Made::settle(&*land, &made.id.channel, "/a");
        assert_eq!(found("/a"), None);
    }
}
