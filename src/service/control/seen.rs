//! Which commands were given already: none is obeyed twice, whatever happens in between.
//!
//! `STATE/nonces`, sealed: floor (8 bytes, little endian, Unix s), then per command nonce (24 bytes) and when it was issued (8 bytes).
//! A command from before the floor is refused. The floor is raised to the clock at each start, so that a lost file forgives nothing
//! older, and above each command that is forgotten, so that a clock set back revives none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::command::CONTROL_NONCE_BYTES;
use crate::{
    disk::{Dir, DiskError, Magic, read_small, seal, unseal, write_durably},
    service::clock::unix_seconds,
};

/// How long a command is remembered by its nonce: twice the time in which it may be given.
pub const NONCE_MEMORY: Duration = Duration::from_secs(600);
/// Commands within [`NONCE_MEMORY`]: nobody types so many, and the file stays small.
pub const COMMANDS_REMEMBERED_MAX: usize = 1_024;

const FILE: &str = "nonces";
const MAGIC: &Magic = b"snapferry nonce1";
const FILE_BYTES_MAX: u64 = 16 + 8 + (COMMANDS_REMEMBERED_MAX * (CONTROL_NONCE_BYTES + 8)) as u64 + 32;

/// The commands of the last minutes, durably.
#[derive(Debug)]
pub struct SeenCommands {
    state: Arc<dyn Dir>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Unix seconds.
    floor: u64,
    /// When each was issued.
    nonces: BTreeMap<[u8; CONTROL_NONCE_BYTES], u64>,
}

/// Why a command isn't admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// A second time.
    #[error("this very command was given before: it isn't obeyed twice; give a new one")]
    Replayed,
    /// From before the floor.
    #[error(
        "the command was signed before this service started: give it again (if it stays so, the service's clock was ahead once: set it \
         right, stop the service, remove `nonces` in its state folder, and start it)"
    )]
    TooOld,
    /// Too many at a time.
    #[error("{COMMANDS_REMEMBERED_MAX} commands within 10 minutes are the most that is obeyed: wait some minutes")]
    TooMany,
    /// It can't be made durable, so it might be obeyed twice.
    #[error("the command can't be remembered, and so isn't obeyed: {0}")]
    Disk(#[from] DiskError),
}

impl SeenCommands {
    /// Over the state folder; nothing issued before `now` is admitted from here on, but what is issued in this very second.
    ///
    /// # Errors
    /// The state folder can't be read or written.
    pub fn open(state: Arc<dyn Dir>, now: SystemTime) -> Result<Self, DiskError> {
        let read = match read_small(state.as_ref(), FILE, FILE_BYTES_MAX) {
            Err(error) if error.is_not_found() => Some(Seen::default()),
            Err(DiskError::TooLarge { .. }) => None,
            read => Seen::decode(&read?),
        };
        let mut seen = read.unwrap_or_else(|| {
            tracing::warn!("the record of given commands is damaged: those signed until now aren't obeyed any more");
            // The second that runs may hold one of them.
            Seen { floor: unix_seconds(now).saturating_add(1), nonces: BTreeMap::new() }
        });
        seen.floor = seen.floor.max(unix_seconds(now));
        write_durably(state.as_ref(), FILE, &seen.encode())?;
        Ok(Self { state, seen: Mutex::new(seen) })
    }

    /// Remembers a command durably, unless it was given before. Call it last, when the command is admitted otherwise.
    ///
    /// # Errors
    /// [`SeenError`]: then don't obey.
    pub fn admit(&self, nonce: [u8; CONTROL_NONCE_BYTES], issued_at: u64, now: SystemTime) -> Result<(), SeenError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = seen.clone();
        next.forget(unix_seconds(now));
        if next.nonces.contains_key(&nonce) {
            return Err(SeenError::Replayed);
        }
        if issued_at < next.floor {
            return Err(SeenError::TooOld);
        }
        if next.nonces.len() >= COMMANDS_REMEMBERED_MAX {
            return Err(SeenError::TooMany);
        }
        next.nonces.insert(nonce, issued_at);
        write_durably(self.state.as_ref(), FILE, &next.encode())?;
        *seen = next;
        Ok(())
    }
}

impl Seen {
    /// Drops what can't be within its time any more; the floor keeps it out if the clock is set back.
    fn forget(&mut self, now: u64) {
        let forgotten = now.saturating_sub(NONCE_MEMORY.as_secs());
        let dropped = self.nonces.values().filter(|issued_at| **issued_at < forgotten).max();
        self.floor = dropped.map_or(self.floor, |issued_at| self.floor.max(issued_at.saturating_add(1)));
        self.nonces.retain(|_, issued_at| *issued_at >= forgotten);
    }

    fn encode(&self) -> Vec<u8> {
        let mut content = self.floor.to_le_bytes().to_vec();
        for (nonce, issued_at) in &self.nonces {
            content.extend_from_slice(nonce);
            content.extend_from_slice(&issued_at.to_le_bytes());
        }
        seal(MAGIC, &content)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (floor, mut rest) = unseal(MAGIC, bytes)?.split_first_chunk()?;
        let mut nonces = BTreeMap::new();
        while !rest.is_empty() {
            let (nonce, tail) = rest.split_first_chunk()?;
            let (issued_at, tail) = tail.split_first_chunk()?;
            nonces.insert(*nonce, u64::from_le_bytes(*issued_at));
            rest = tail;
        }
        Some(Self { floor: u64::from_le_bytes(*floor), nonces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{
        OsDir,
        faulty::{Faults, FaultyDir},
    };
    use tempfile::TempDir;

    const START: u64 = 1_800_000_000;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn open(dir: &TempDir, second: u64) -> SeenCommands {
        SeenCommands::open(OsDir::open(dir.path()).unwrap(), at(second)).unwrap()
    }

    #[test]
    fn a_command_is_admitted_once_also_after_a_restart_in_the_same_second() {
        let dir = TempDir::new().unwrap();
        let seen = open(&dir, START);
        seen.admit([1; 24], START, at(START)).unwrap();
        assert!(matches!(seen.admit([1; 24], START, at(START)), Err(SeenError::Replayed)));
        let seen = open(&dir, START);
        assert!(matches!(seen.admit([1; 24], START, at(START)), Err(SeenError::Replayed)));
        seen.admit([2; 24], START, at(START)).unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test takes the file away")]
    fn after_a_restart_nothing_older_is_admitted_even_if_the_file_is_lost_or_damaged() {
        for damage in [None, Some(&b"torn"[..]), Some(&[0; 100_000])] {
            let dir = TempDir::new().unwrap();
            open(&dir, START).admit([1; 24], START + 5, at(START + 5)).unwrap();
            match damage {
                None => std::fs::remove_file(dir.path().join(FILE)).unwrap(),
                Some(bytes) => std::fs::write(dir.path().join(FILE), bytes).unwrap(),
            }
            let seen = open(&dir, START + 6);
            assert!(matches!(seen.admit([1; 24], START + 5, at(START + 6)), Err(SeenError::TooOld)));
            seen.admit([2; 24], START + 7, at(START + 7)).unwrap();
        }
    }

    #[test]
    fn a_clock_that_is_set_back_revives_no_command() {
        let dir = TempDir::new().unwrap();
        let seen = open(&dir, START);
        seen.admit([1; 24], START + 1, at(START + 1)).unwrap();
        // Much later its nonce is forgotten; the floor remembers.
        seen.admit([2; 24], START + 2_000, at(START + 2_000)).unwrap();
        assert_eq!(seen.seen.lock().unwrap().nonces.len(), 1);
        assert!(matches!(seen.admit([1; 24], START + 1, at(START + 1)), Err(SeenError::TooOld)));
        let seen = open(&dir, START + 1);
        assert!(matches!(seen.admit([1; 24], START + 1, at(START + 1)), Err(SeenError::TooOld)));
    }

    #[test]
    fn the_number_of_commands_is_bounded_and_the_file_of_so_many_is_read() {
        let dir = TempDir::new().unwrap();
        let mut full = Seen { floor: START, nonces: BTreeMap::new() };
        let mut nonce = [0; 24];
        for index in 0..COMMANDS_REMEMBERED_MAX {
            nonce[..8].copy_from_slice(&(index as u64).to_le_bytes());
            full.nonces.insert(nonce, START);
        }
        write_durably(OsDir::open(dir.path()).unwrap().as_ref(), FILE, &full.encode()).unwrap();
        let seen = open(&dir, START);
        assert!(matches!(seen.admit([0xff; 24], START, at(START)), Err(SeenError::TooMany)));
        assert!(matches!(seen.admit(nonce, START, at(START)), Err(SeenError::Replayed)));
        seen.admit([0xff; 24], START + 601, at(START + 601)).unwrap();
    }

    #[test]
    fn what_is_not_durable_is_not_admitted() {
        for n in 1.. {
            let dir = TempDir::new().unwrap();
            let faults = Arc::new(Faults::default());
            let state = FaultyDir::wrap(OsDir::open(dir.path()).unwrap(), &faults);
            let seen = SeenCommands::open(state, at(START)).unwrap();
            faults.fail_next(n, std::io::ErrorKind::Other);
            let admitted = seen.admit([1; 24], START, at(START));
            if faults.left() > 0 {
                assert!(n > 4);
                break;
            }
            assert!(matches!(admitted, Err(SeenError::Disk(_))), "fault {n}: {admitted:?}");
        }
    }
}
