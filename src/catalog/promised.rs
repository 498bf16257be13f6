//! A deletion that was accepted and waits for leases, so that a restart doesn't forget it, nor who it waits for.
//!
//! `STATE/manifests/CHANNEL/BLOCK.deletion`, sealed: forced (1 byte), inode of the folder (8 bytes, little endian), hash of the manifest
//! (32 bytes); then per holder: length of its MSP ID (2 bytes, little endian), the MSP ID, identity id (32 bytes).

use super::leases::Holder;
use crate::{
    disk::{Dir, DiskError, EntryKind, Magic, read_small, seal, unseal, write_durably},
    msp::{IdentityId, MspId},
    snapshot::{ManifestHash, SnapshotId},
};

const MAGIC: &Magic = b"snapferry ends 1";
const SUFFIX: &str = ".deletion";
/// Holders that are remembered: more than leases there can be unless somebody allows so many.
const HOLDERS_MAX: usize = 64;
/// Each holder with the longest MSP ID.
const FILE_BYTES_MAX: u64 = (HOLDERS_MAX * (2 + 256 + 32) + 128) as u64;

/// What was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promised {
    pub(super) id: SnapshotId,
    /// Leases end at a time of their own.
    pub(super) forced: bool,
    /// Of the folder that is to go.
    pub(super) inode: u64,
    pub(super) manifest_hash: ManifestHash,
    /// Who downloads.
    pub(super) holders: Vec<Holder>,
}

impl Promised {
    /// Makes it durable.
    pub(super) fn store(&self, state: &dyn Dir) -> Result<(), DiskError> {
        state.create_dir(self.id.channel.as_str())?;
        state.sync_dir()?;
        let channel = state.open_dir(self.id.channel.as_str())?;
        write_durably(channel.as_ref(), &file_name(&self.id), &self.encode())
    }

    /// It is done, or isn't wanted.
    pub(super) fn remove(state: &dyn Dir, id: &SnapshotId) -> Result<(), DiskError> {
        let channel = match state.open_dir(id.channel.as_str()) {
            Err(error) if error.is_not_found() => return Ok(()),
            channel => channel?,
        };
        match channel.remove_file(&file_name(id)) {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed.and_then(|()| channel.sync_dir()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut content = vec![u8::from(self.forced)];
        content.extend_from_slice(&self.inode.to_le_bytes());
        content.extend_from_slice(self.manifest_hash.as_bytes());
        for holder in self.holders.iter().take(HOLDERS_MAX) {
            let name = holder.msp_id.as_str().as_bytes();
            // An MSP ID has at most 256 bytes.
            content.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            content.extend_from_slice(name);
            content.extend_from_slice(holder.identity_id.as_bytes());
        }
        seal(MAGIC, &content)
    }

    fn decode(id: SnapshotId, bytes: &[u8]) -> Option<Self> {
        let content = unseal(MAGIC, bytes)?;
        let (&forced, rest) = content.split_first()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (manifest_hash, mut rest) = rest.split_first_chunk()?;
        let mut holders = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (name, after) = after.split_at_checked(u16::from_le_bytes(*length).into())?;
            let (identity_id, after) = after.split_first_chunk()?;
            let msp_id = MspId::new(std::str::from_utf8(name).ok()?)?;
            holders.push(Holder { msp_id, identity_id: IdentityId(*identity_id) });
            rest = after;
        }
        let (inode, manifest_hash) = (u64::from_le_bytes(*inode), ManifestHash(*manifest_hash));
        Some(Self { id, forced: forced == 1, inode, manifest_hash, holders })
    }
}

/// Everything that was promised; what can't be read is named in the log, and stays where it is.
pub(super) fn load_all(state: &dyn Dir) -> Result<Vec<Promised>, DiskError> {
    let mut all = Vec::new();
    for channel in state.list()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let dir = state.open_dir(&channel.name)?;
        for entry in dir.list()?.into_iter().filter(|entry| is_promise(&entry.name)) {
            let id = || {
                let block_number = entry.name.strip_suffix(SUFFIX)?.parse().ok()?;
                let id = SnapshotId { channel: channel.name.parse().ok()?, block_number };
                (file_name(&id) == entry.name).then_some(id)
            };
            let read = read_small(dir.as_ref(), &entry.name, FILE_BYTES_MAX).ok();
            match id().zip(read).and_then(|(id, bytes)| Promised::decode(id, &bytes)) {
                Some(promised) => all.push(promised),
                None => tracing::error!(
                    channel = %channel.name, file = %entry.name,
                    "a deletion that was commanded can't be read: command it again, and remove this file of the state folder"
                ),
            }
        }
    }
    Ok(all)
}

/// Whether a file in a channel's folder is one of these.
pub(super) fn is_promise(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

fn file_name(id: &SnapshotId) -> String {
    format!("{}{SUFFIX}", id.block_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::BlockNumber;

    fn promised() -> Promised {
        let holder = |name, id| Holder { msp_id: MspId::new(name).unwrap(), identity_id: IdentityId([id; 32]) };
        Promised {
            id: SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(83) },
            forced: true,
            inode: 258,
            manifest_hash: ManifestHash([0x11; 32]),
            holders: vec![holder("Org1MSP", 2), holder("Ö", 3)],
        }
    }

    /// The bytes as the module's head says, written out by hand.
    #[test]
    fn the_bytes_are_the_documented_ones() {
        let bytes = promised().encode();
        let parts = [
            &hex::encode(MAGIC),
            "01",
            "0201000000000000",
            &"11".repeat(32),
            "0700",
            "4f7267314d5350",
            &"02".repeat(32),
            "0200",
            "c396",
            &"03".repeat(32),
        ];
        assert_eq!(hex::encode(&bytes[..bytes.len() - 32]), parts.concat());
        assert_eq!(Promised::decode(promised().id, &bytes), Some(promised()));
    }

    #[test]
    fn what_is_sealed_but_torn_is_no_promise() {
        let sealed = promised().encode();
        let content = unseal(MAGIC, &sealed).unwrap();
        // Without a holder, or two, it is whole.
        let whole = [41, 41 + 2 + 7 + 32, content.len()];
        for at in 0..=content.len() {
            let decoded = Promised::decode(promised().id, &seal(MAGIC, &content[..at]));
            assert_eq!(decoded.is_some(), whole.contains(&at), "cut at {at}");
        }
    }

    #[test]
    fn the_longest_fits() {
        let holder = Holder { msp_id: MspId::new(&"a".repeat(256)).unwrap(), identity_id: IdentityId([1; 32]) };
        let longest = Promised { holders: vec![holder; HOLDERS_MAX + 1], ..promised() };
        let bytes = longest.encode();
        assert!(bytes.len() as u64 <= FILE_BYTES_MAX);
        assert_eq!(Promised::decode(longest.id, &bytes).unwrap().holders.len(), HOLDERS_MAX);
    }
}
