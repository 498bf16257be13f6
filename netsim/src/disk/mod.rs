//! A simulated disk: what is durable and what isn't yet, kept apart; every operation can be the last, or fail.
//!
//! # Fault model
//! - **Processes** see all that was written, synced or not, as through a page cache. [`SimDisk::kill`] ends them: nothing is lost, locks
//!   are free, their handles are dead.
//! - **Power cut** ([`SimDisk::crash`], or every outcome one by one by [`SimDisk::outcomes`]): of what wasn't synced any subset survives; of the last write
//!   perhaps only a part (it is torn). A write that survives may lie in a file whose name doesn't. A rename is one change, wherever it
//!   leads: the file is at the old or at the new name, never at both or none.
//! - **Sync** of a file makes its bytes and its length durable, not its name; sync of a folder makes the names in it durable, not their bytes.
//! - **Failures** ([`SimDisk::fail_at`]): one operation returns EIO or ENOSPC, or a write stops half way. After a sync that failed the bytes
//!   that it should have made durable never will be, though they can still be read until the cache forgets them: what Linux does.
//! - **Lasting conditions**: a capacity, a folder tree that can't be written ([`SimDisk::set_read_only`]), rot ([`SimDisk::rot`]).
//!
//! Not modelled: time (operations take none), hard and symbolic links, permissions of single files.

mod blocks;
mod handles;
mod outcome;
mod state;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use handles::{DirEntry, EntryKind, Open, SimDir, SimFile, SimLock};
pub use outcome::Outcome;
use state::State;

use crate::Rng;

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

/// How one operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The device reports an error.
    Eio,
    /// There is no room.
    NoSpace,
    /// Of a write the first half is done, then there is no room; other operations fail as with [`Failure::Eio`].
    ShortWrite,
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its root folder, for a process that starts now.
    #[must_use]
    pub fn root(&self) -> SimDir {
        let epoch = self.state().epoch;
        SimDir::root(self.clone(), epoch)
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What each operation since [`Self::keep_log`] was.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.state().log.clone().unwrap_or_default()
    }

    /// Begins to note what each operation is.
    pub fn keep_log(&self) {
        self.state().log = Some(Vec::new());
    }

    /// Before operation `n` (from 1, counted since the disk was made) the machine stops: it and all later ones fail, until
    /// [`Self::crash`] or [`Self::become_outcome`].
    pub fn crash_at(&self, n: u64) {
        self.state().crash_at = Some(n);
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// Operation `n` fails so.
    pub fn fail_at(&self, n: u64, failure: Failure) {
        self.state().fail_at = Some((n, failure));
    }

    /// Whether the operation that [`Self::fail_at`] named has come, and failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// At most so many bytes fit; `None`: any.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Whether nothing can be changed any more, as after a remount.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// All processes die; nothing is lost.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// The power is cut: chance decides what survives of what wasn't synced.
    pub fn crash(&self, rng: &mut Rng) {
        let mut state = self.state();
        let outcome = Outcome::drawn(&state, rng);
        state.become_outcome(&outcome);
    }

    /// What a power cut now could leave: every subset if there are at most `pending_max` unsynced changes, each with the last write whole or torn;
    /// else nothing, all, all but one and only one of each, and `draws` subsets by chance.
    #[must_use]
    pub fn outcomes(&self, pending_max: usize, draws: usize, rng: &mut Rng) -> Vec<Outcome> {
        Outcome::all(&self.state(), pending_max, draws, rng)
    }

    /// The power is cut, and this is what survives.
    pub fn become_outcome(&self, outcome: &Outcome) {
        self.state().become_outcome(outcome);
    }

    /// A disk of its own with the same content and the same unsynced changes; its processes are none of this one's.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.kill();
        (state.crash_at, state.fail_at, state.failed, state.operations) = (None, None, false, 0);
        Self(Arc::new(Mutex::new(state)))
    }

    /// A number for all that is durable: two disks with the same bytes under the same names have the same.
    #[must_use]
    pub fn durable_hash(&self) -> u64 {
        self.state().durable_hash()
    }

    /// Flips one bit of the file, chosen by `bit`, also on the platter. False: there is no such file, or it is empty.
    pub fn rot(&self, path: &Path, bit: u64) -> bool {
        self.state().rot(path, bit)
    }

    /// Puts a file there, durably, with its folders.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.state().put(path, bytes);
    }

    /// The files of a folder, byte for byte; `None`: there is no such folder.
    #[must_use]
    pub fn folder(&self, path: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
        self.state().folder(path)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed already; others still look at the disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> io::Error {
    io::Error::other("the machine is gone")
}
