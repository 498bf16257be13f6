//! Who lied to this peer: nobody asks it again for a day, unless an operator lifts the ban.
//!
//! `STATE/bans/IDENTITY` (the identity's id in hex), sealed: when it was banned (Unix seconds, 8 bytes, little endian), length of its MSP ID
//! (2 bytes, little endian), the MSP ID, and the reason (UTF-8). Written when the lie is found, so that a join that is killed doesn't
//! forget it. Leaves to `bootstrap` what a lie is: never slowness, and never BUSY.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    disk::{Dir, DiskError, EntryKind, Magic, read_small, seal, unseal, write_durably},
    msp::{IdentityId, MspId},
};

const MAGIC: &Magic = b"snapferry ban 01";

/// Its folder, in the state folder.
pub const BANS_DIR: &str = "bans";

/// How long a ban lasts: a source that was mended meanwhile isn't shut out for good.
pub const BAN_TIME: Duration = Duration::from_secs(24 * 3_600);

/// Bans that are kept at a time: more identities than a channel has peers.
pub const BANS_MAX: usize = 256;

/// Bytes of a reason; what is longer is cut.
const REASON_BYTES_MAX: usize = 512;
/// Magic, time, the longest MSP ID, reason, checksum.
const FILE_BYTES_MAX: u64 = 16 + 8 + 2 + 256 + REASON_BYTES_MAX as u64 + 32;

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The organisation that the liar proved to be of.
    pub msp_id: MspId,
    /// The identity that it proved to have.
    pub identity_id: IdentityId,
    /// What it did.
    pub reason: String,
    /// When.
    pub since: SystemTime,
}

impl Ban {
    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> SystemTime {
        self.since + BAN_TIME
    }

    /// A ban of the future is one by a clock that was wrong: it doesn't last longer for that.
    fn is_over(&self, now: SystemTime) -> bool {
        now.duration_since(self.since).map_or_else(|before| before.duration() > BAN_TIME, |since| since >= BAN_TIME)
    }

    fn encode(&self) -> Vec<u8> {
        let since = self.since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = self.msp_id.as_str().as_bytes();
        let ends = (0..=REASON_BYTES_MAX.min(self.reason.len())).rev();
        let end = ends.into_iter().find(|end| self.reason.is_char_boundary(*end)).unwrap_or(0);
        let mut content = since.to_le_bytes().to_vec();
        // An MSP ID has at most 256 bytes.
        content.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        content.extend_from_slice(name);
        content.extend_from_slice(self.reason.as_bytes().get(..end).unwrap_or_default());
        seal(MAGIC, &content)
    }

    fn decode(identity_id: IdentityId, bytes: &[u8]) -> Option<Self> {
        let content = unseal(MAGIC, bytes)?;
        let (since, rest) = content.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (name, reason) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        Some(Self {
            msp_id: MspId::new(std::str::from_utf8(name).ok()?)?,
            identity_id,
            reason: std::str::from_utf8(reason).ok()?.to_owned(),
            since: UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_le_bytes(*since)))?,
        })
    }
}

/// The bans of a state folder, over `STATE/bans`. Read anew each time: joins run beside each other.
#[derive(Debug, Clone)]
pub struct Bans {
    dir: Arc<dyn Dir>,
}

impl Bans {
    /// Over `STATE/bans`.
    #[must_use]
    pub const fn open(dir: Arc<dyn Dir>) -> Self {
        Self { dir }
    }

    /// Makes a ban durable; a newer one of the same identity replaces it. Bans that are over make room.
    ///
    /// # Errors
    /// The disk. [`DiskError::TooLarge`]: there are [`BANS_MAX`].
    pub fn record(&self, ban: &Ban, now: SystemTime) -> Result<(), DiskError> {
        let name = ban.identity_id.to_string();
        let others = self.read()?.into_iter().filter(|(of, _)| *of != name);
        let (over, kept): (Vec<_>, Vec<_>) =
            others.partition(|(_, kept)| kept.as_ref().is_some_and(|kept| kept.is_over(now)));
        for (of, _) in over {
            self.dir.remove_file(&of)?;
        }
        if kept.len() >= BANS_MAX {
            let path = self.dir.path().to_owned();
            return Err(DiskError::TooLarge { path, len: kept.len() as u64 + 1, max: BANS_MAX as u64 });
        }
        write_durably(&*self.dir, &name, &ban.encode())
    }

    /// The bans that are in force, by identity. A file that can't be read is named in the log, and bans nobody.
    ///
    /// # Errors
    /// The disk.
    pub fn in_force(&self, now: SystemTime) -> Result<Vec<Ban>, DiskError> {
        let mut bans = Vec::new();
        for (name, ban) in self.read()? {
            match ban {
                Some(ban) if !ban.is_over(now) => bans.push(ban),
                Some(_) => {}
                None => {
                    tracing::warn!(file = %name, "a file among the bans in the state folder can't be read: remove it")
                }
            }
        }
        Ok(bans)
    }

    /// Lifts the ban of that identity; whether there was one.
    ///
    /// # Errors
    /// The disk.
    pub fn lift(&self, identity_id: &IdentityId) -> Result<bool, DiskError> {
        match self.dir.remove_file(&identity_id.to_string()) {
            Err(error) if error.is_not_found() => Ok(false),
            removed => removed.and_then(|()| self.dir.sync_dir()).map(|()| true),
        }
    }

    fn read(&self) -> Result<Vec<(String, Option<Ban>)>, DiskError> {
        let mut names: Vec<_> = self.dir.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File).collect();
        names.retain(|entry| !entry.name.starts_with('.')); // being written
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let ban = |name: &str, bytes: &[u8]| {
            let mut id = [0; 32];
            hex::decode_to_slice(name, &mut id).ok()?;
            Ban::decode(IdentityId(id), bytes)
        };
        let read = |entry: crate::disk::DirEntry| match read_small(&*self.dir, &entry.name, FILE_BYTES_MAX) {
            // Nothing is wrong with the file, and who is banned in it stays so.
            Err(error) if error.lacks_descriptors() => Err(error),
            bytes => {
                let ban = bytes.ok().and_then(|bytes| ban(&entry.name, &bytes));
                Ok((entry.name, ban))
            }
        };
        names.into_iter().take(2 * BANS_MAX).map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDir;

    fn ban(id: u8, since_s: u64) -> Ban {
        Ban {
            msp_id: MspId::new("Org1MSP").unwrap(),
            identity_id: IdentityId([id; 32]),
            reason: "chunk 3 isn't what the manifest names".to_owned(),
            since: UNIX_EPOCH + Duration::from_secs(since_s),
        }
    }

    fn bans() -> (tempfile::TempDir, Bans) {
        let folder = tempfile::tempdir().unwrap();
        let bans = Bans::open(OsDir::open(folder.path()).unwrap());
        (folder, bans)
    }

    /// The bytes as the module's head says, written out by hand.
    #[test]
    fn the_bytes_are_the_documented_ones() {
        let bytes = ban(2, 258).encode();
        let parts = [hex::encode(MAGIC), "0201000000000000".into(), "0700".into(), hex::encode("Org1MSP")].concat();
        assert_eq!(hex::encode(&bytes[..bytes.len() - 32]), parts + &hex::encode(ban(2, 0).reason));
        assert_eq!(Ban::decode(IdentityId([2; 32]), &bytes), Some(ban(2, 258)));
        for at in 0..bytes.len() {
            assert_eq!(Ban::decode(IdentityId([2; 32]), &bytes[..at]), None);
        }
        let long = Ban { reason: "ä".repeat(1_000), ..ban(2, 258) };
        assert!(long.encode().len() as u64 <= FILE_BYTES_MAX);
        assert_eq!(Ban::decode(IdentityId([2; 32]), &long.encode()).unwrap().reason, "ä".repeat(256));
    }

    #[test]
    fn a_ban_lasts_a_day_survives_a_restart_and_can_be_lifted() {
        let (folder, bans) = bans();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        bans.record(&ban(1, 1_000_000), at(1_000_000)).unwrap();
        bans.record(&ban(2, 1_000_100), at(1_000_100)).unwrap();
        let reopened = Bans::open(OsDir::open(folder.path()).unwrap());
        let day = 24 * 3_600;
        assert_eq!(reopened.in_force(at(1_000_000 + day - 1)).unwrap(), [ban(1, 1_000_000), ban(2, 1_000_100)]);
        assert_eq!(reopened.in_force(at(1_000_000 + day)).unwrap(), [ban(2, 1_000_100)]);
        // A clock that was a day ahead bans nobody for longer.
        assert!(reopened.in_force(at(1_000_000 - day - 1)).unwrap().is_empty());
        assert!(bans.lift(&IdentityId([2; 32])).unwrap());
        assert!(!bans.lift(&IdentityId([2; 32])).unwrap());
        assert!(reopened.in_force(at(1_000_000 + day)).unwrap().is_empty());
        // What is over makes room.
        bans.record(&ban(3, 2_000_000), at(2_000_000)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_read_bans_nobody_and_their_number_is_bounded() {
        let (folder, bans) = bans();
        let dir = OsDir::open(folder.path()).unwrap();
        write_durably(&*dir, &"11".repeat(32), b"no ban").unwrap();
        write_durably(&*dir, "foreign", b"").unwrap();
        assert!(bans.in_force(UNIX_EPOCH).unwrap().is_empty());
        for number in 0..BANS_MAX {
            let mut one = ban(0, 5);
            one.identity_id.0[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
            match bans.record(&one, UNIX_EPOCH) {
                Ok(()) => {}
                Err(DiskError::TooLarge { .. }) => return assert!(number + 2 >= BANS_MAX, "{number}"),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no end");
    }
}
