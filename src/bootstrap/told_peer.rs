//! What a peer was told to join, until it is proved what became of it: a run that is cut off in between leaves the question open, and the
//! peer's word that it has a channel is no answer (operator.md, "Joining, and making sure").

use std::fmt::Write as _;

use super::landing::WORK_DIR;
use crate::{
    disk::{Dir, DiskError, read_small, write_durably},
    snapshot::{BlockHash, BlockNumber, ChannelId, SignableMetadata, SnapshotId},
};

/// A number and a hash.
const NOTE_BYTES_MAX: u64 = 256;

/// What the peer must have, if its join went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: SnapshotId,
    pub(super) last_block_hash: BlockHash,
}

impl Told {
    /// To join by that snapshot.
    pub(super) fn of(signable: &SignableMetadata) -> Self {
        Self { id: signable.id().clone(), last_block_hash: signable.last_block_hash() }
    }

    /// Says durably that the peer at that address is told now.
    pub(super) fn note(&self, land: &dyn Dir, address: &str) -> Result<(), DiskError> {
        land.create_dir(WORK_DIR)?;
        let text = format!("{} {}\n", self.id.block_number, self.last_block_hash);
        write_durably(&*land.open_dir(WORK_DIR)?, &name(&self.id, address), text.as_bytes())
    }

    /// What that peer was told of the channel; `None`: nothing, or it was settled. A note that can't be read is none.
    pub(super) fn find(land: &dyn Dir, channel: &ChannelId, address: &str) -> Result<Option<Self>, DiskError> {
        let mut id = SnapshotId { channel: channel.clone(), block_number: BlockNumber(0) };
        let name = name(&id, address);
        let read = land.open_dir(WORK_DIR).and_then(|work| read_small(&*work, &name, NOTE_BYTES_MAX));
        let text = match read {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        let told = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n')?.split_once(' '));
        Ok(told.and_then(|(block, hash)| {
            id.block_number = block.parse().ok()?;
            Some(Self { id, last_block_hash: hash.parse().ok()? })
        }))
    }

    /// It is known what became of it.
    pub(super) fn settle(&self, land: &dyn Dir, address: &str) {
        let settled = land.open_dir(WORK_DIR).and_then(|work| work.remove_file(&name(&self.id, address)));
        if let Err(error) = settled {
            tracing::warn!("the next join of this channel looks once more at what the peer has: {error}");
        }
    }
}

/// Whether an earlier join told the peer at that address to join the channel, and it isn't known what became of it. `land` is its landing
/// folder.
///
/// # Errors
/// The disk.
pub fn was_told(land: &dyn Dir, channel: &ChannelId, address: &str) -> Result<bool, DiskError> {
    Ok(Told::find(land, channel, address)?.is_some())
}

fn name(id: &SnapshotId, address: &str) -> String {
    note_name(&id.channel, "told", address)
}

/// A note of that kind about a channel of that peer. Peers may share a landing folder.
pub(super) fn note_name(channel: &ChannelId, kind: &str, peer: &str) -> String {
    let mut name = format!("{}.{kind}-", channel.stem());
    let hash = blake3::hash(peer.as_bytes());
    for byte in hash.as_bytes().iter().take(8) {
        let _ = write!(name, "{byte:02x}"); // a String takes everything
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDir;

    #[test]
    fn what_a_peer_was_told_is_known_until_it_is_settled() {
        let temp = tempfile::tempdir().unwrap();
        let land = OsDir::open(temp.path()).unwrap();
        let id = SnapshotId { channel: "ch".parse().unwrap(), block_number: BlockNumber(7) };
        let told = Told { id, last_block_hash: BlockHash([9; 32]) };
        let found = |address| Told::find(&*land, &told.id.channel, address).unwrap();
        assert_eq!(found("peer:1"), None);
        told.note(&*land, "peer:1").unwrap();
        assert_eq!((found("peer:1"), found("peer:2")), (Some(told.clone()), None));
        told.settle(&*land, "peer:1");
        assert_eq!(found("peer:1"), None);
    }
}
