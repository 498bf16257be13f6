//! Leases and deletions of a catalog's snapshots: a deletion waits until nobody downloads any more, also across a restart.
//!
//! ```text
//! commanded --nobody holds it--------------------------------> deleted
//!     |                                                          ^
//!     +--somebody does--> promised (durable), nobody new --last lease closed, expired, or forced out--+
//! ```
//! Leaves to `leases` who may have what for how long, and to `delete` how data go without harm.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    Catalog, DeleteError, Deleted,
    leases::{DRAIN_TIME, Ending, GrantedLease, HeldLease, Holder, LeaseLimits, LeaseRefusal, Leases, PendingDeletion},
    promised::Promised,
    remains::Stage,
};
use crate::snapshot::SnapshotId;

/// After a deletion that waited has failed: its reason takes an operator.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// While the first scan hasn't come to it yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What came of the deletions that waited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// Their data are gone now.
    pub deleted: Vec<SnapshotId>,
    /// When to look again, if nobody closes a lease before.
    pub again: Option<Instant>,
}

impl Catalog {
    /// Other limits than [`LeaseLimits::default`].
    #[must_use]
    pub fn with_lease_limits(mut self, limits: LeaseLimits) -> Self {
        self.leases.get_mut().unwrap_or_else(PoisonError::into_inner).limits = limits;
        self
    }

    /// Pins a snapshot for who downloads it. `now` of a clock that nobody sets, here as everywhere.
    ///
    /// # Errors
    /// [`LeaseRefusal`].
    pub fn open_lease(&self, id: &SnapshotId, holder: &Holder, now: Instant) -> Result<GrantedLease, LeaseRefusal> {
        let mut leases = self.leases(now);
        // Looked up under the lock: what is deleted is marked first.
        if self.snapshot(id).is_none() {
            return Err(LeaseRefusal::Gone);
        }
        leases.open(id, holder, now)
    }

    /// More time for a lease.
    ///
    /// # Errors
    /// [`LeaseRefusal::Expired`].
    pub fn renew_lease(&self, lease_id: u64, holder: &Holder, now: Instant) -> Result<GrantedLease, LeaseRefusal> {
        self.leases(now).renew(lease_id, holder, now)
    }

    /// The holder is done; how many its organisation may open now.
    ///
    /// # Errors
    /// [`LeaseRefusal::Expired`].
    pub fn close_lease(&self, lease_id: u64, holder: &Holder, now: Instant) -> Result<usize, LeaseRefusal> {
        let quota = self.leases(now).close(lease_id, holder, now)?;
        self.leases_changed();
        Ok(quota)
    }

    /// Whether chunks of a snapshot may be fetched by that lease, which counts as use of it.
    ///
    /// # Errors
    /// [`LeaseRefusal::Required`] without one, else [`LeaseRefusal::Expired`].
    pub fn use_lease(&self, lease_id: u64, id: &SnapshotId, holder: &Holder, now: Instant) -> Result<(), LeaseRefusal> {
        self.leases(now).use_it(lease_id, id, holder, now)
    }

    /// Who downloads a snapshot.
    #[must_use]
    pub fn leases_of(&self, id: &SnapshotId, now: Instant) -> Vec<HeldLease> {
        self.leases(now).of(id, now)
    }

    /// The snapshot's deletion, if one waits.
    #[must_use]
    pub fn pending_deletion(&self, id: &SnapshotId, now: Instant) -> Option<PendingDeletion> {
        let leases = self.leases(now);
        leases.ending(id).map(|ending| PendingDeletion {
            waiting: now.saturating_duration_since(ending.since),
            forced_in: ending.by.map(|by| by.saturating_duration_since(now)),
        })
    }

    /// Snapshots that are about to be deleted, as far as that client doesn't hold them: it is told that only metadata are left.
    #[must_use]
    pub fn closed_to(&self, holder: &Holder, now: Instant) -> BTreeSet<SnapshotId> {
        self.leases(now).closed_to(holder)
    }

    /// That client's leases which end whatever it does, and when.
    #[must_use]
    pub fn leases_ending(&self, holder: &Holder, now: Instant) -> Vec<(u64, Duration)> {
        self.leases(now).ending_of(holder, now)
    }

    /// A wake-up whenever a lease was closed or a deletion began to wait: time for [`Self::finish_pending`] and to tell holders.
    #[must_use]
    pub fn lease_changes(&self) -> watch::Receiver<u64> {
        self.lease_changes.subscribe()
    }

    /// Deletes a snapshot's data once nobody downloads it any more: at once, or, durably promised, when the last lease has ended.
    /// `force`: those who download have ten minutes. Commanded again it changes nothing, but that it may be forced then. Blocking;
    /// never waits for leases or a scan. Retention asks the same way.
    ///
    /// # Errors
    /// [`DeleteError`]: then nothing is promised that wasn't before.
    pub fn request_deletion(&self, id: &SnapshotId, force: bool, now: Instant) -> Result<Deleted, DeleteError> {
        if !self.deletion_allowed {
            return Err(DeleteError::NotAllowed);
        }
        let _one = self.deletions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(snapshot) = self.snapshot(id) else {
            let left = self.known(id).is_some();
            return if left { Ok(Deleted::Already) } else { Err(DeleteError::Unknown(id.clone())) };
        };
        let kept = |source| DeleteError::Kept { id: id.clone(), source };
        let inode = self.folder_inode(id).map_err(kept)?;
        let inode = inode.filter(|_| self.is_as_served(id)).ok_or_else(|| DeleteError::Changed(id.clone()))?;
        let manifest_hash = snapshot.entry().manifest_hash;
        // From here on nobody new holds it.
        let mut leases = self.leases(now);
        let earlier = leases.ending(id).cloned();
        let by = earlier.as_ref().and_then(|earlier| earlier.by).or_else(|| force.then(|| now + DRAIN_TIME));
        let since = earlier.as_ref().map_or(now, |earlier| earlier.since);
        let holders: Vec<Holder> = leases.of(id, now).into_iter().map(|held| held.holder).collect();
        leases.end(id, Ending { manifest_hash, inode, since, by: None, again: None });
        drop(leases);
        let take_back = || match &earlier {
            Some(earlier) => drop(self.leases(now).end(id, earlier.clone())),
            None => self.leases(now).forget_ending(id),
        };
        if holders.is_empty() {
            let deleted = self.delete(id);
            match &deleted {
                Ok(_) | Err(DeleteError::Unfinished { .. }) => self.forget(id),
                Err(_) => take_back(),
            }
            return deleted;
        }
        let promised = Promised { id: id.clone(), forced: by.is_some(), inode, manifest_hash, holders };
        if let Err(source) = promised.store(self.state.as_ref()) {
            take_back();
            return Err(kept(source));
        }
        self.leases(now).end(id, Ending { manifest_hash, inode, since, by, again: None });
        tracing::info!(snapshot = %id, holders = promised.holders.len(), forced = by.is_some(), "its deletion waits for leases");
        self.changed(&id.channel);
        self.leases_changed();
        Ok(Deleted::Pending)
    }

    /// Does what waited and need no longer wait. Blocking.
    pub fn finish_pending(&self, now: Instant) -> Looked {
        let mut looked = Looked::default();
        if !self.deletion_allowed {
            return looked; // said by the next deletion that is commanded
        }
        let _one = self.deletions.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.leases(now).due(now);
        for (id, ending) in due {
            match self.finish_one(&id, &ending) {
                Finished::Deleted => {
                    self.forget(&id);
                    looked.deleted.push(id);
                }
                Finished::Dropped => self.forget(&id),
                Finished::Again(after) => self.leases(now).again_at(&id, now + after),
            }
        }
        looked.again = self.leases(now).next_due();
        looked
    }

    fn finish_one(&self, id: &SnapshotId, ending: &Ending) -> Finished {
        let left = self.remains.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let left = left.filter(|left| left.inode == ending.inode).map(|left| left.stage);
        if left == Some(Stage::Deleted) {
            return Finished::Deleted; // just before a crash
        }
        let inode = match self.folder_inode(id) {
            Ok(inode) => inode,
            Err(error) => return again(id, &error.to_string()),
        };
        if inode != Some(ending.inode) {
            if left == Some(Stage::Deleting) {
                return Finished::Again(LOOK_AGAIN_AFTER); // a crash in the middle of it: the next scan finishes it
            }
            tracing::warn!(snapshot = %id, "not deleted: its folder is gone, or another one has its place");
            return Finished::Dropped;
        }
        match self.snapshot(id) {
            None => Finished::Again(LOOK_AGAIN_AFTER),
            Some(snapshot) if snapshot.entry().manifest_hash != ending.manifest_hash => {
                tracing::warn!(snapshot = %id, "not deleted: it isn't what was to be deleted any more");
                Finished::Dropped
            }
            Some(_) => match self.delete(id) {
                Ok(_) | Err(DeleteError::Unfinished { .. }) => Finished::Deleted,
                Err(error) => again(id, &error.to_string()),
            },
        }
    }

    /// Nothing waits any more.
    fn forget(&self, id: &SnapshotId) {
        if let Err(error) = Promised::remove(self.state.as_ref(), id) {
            tracing::warn!(snapshot = %id, %error, "a deletion that is done stays on record: the next start sees that it is");
        }
        self.table().forget_ending(id);
        self.changed(&id.channel);
        self.leases_changed();
    }

    fn leases_changed(&self) {
        self.lease_changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// The leases as they are now.
    fn leases(&self, now: Instant) -> MutexGuard<'_, Leases> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut leases = self.table();
        // Of before the start, whose clock was another; each stays on record while nothing may be deleted.
        if !self.deletion_allowed {
            for Promised { id, .. } in promised.drain(..) {
                tracing::warn!(snapshot = %id, "its deletion was commanded, but isn't allowed any more: it is served as before");
            }
        }
        for Promised { id, forced, inode, manifest_hash, holders } in promised.drain(..) {
            let by = forced.then(|| now + DRAIN_TIME);
            leases.end(&id, Ending { manifest_hash, inode, since: now, by, again: None });
            holders.into_iter().for_each(|holder| leases.restore(&id, holder, now));
        }
        leases.expire(now);
        leases
    }

    fn table(&self) -> MutexGuard<'_, Leases> {
        // Maps can't be left half changed by a panic elsewhere.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a deletion that waited.
enum Finished {
    Deleted,
    /// What was meant isn't there any more.
    Dropped,
    Again(Duration),
}

fn again(id: &SnapshotId, reason: &str) -> Finished {
    tracing::error!(snapshot = %id, %reason, "a deletion that was commanded can't be done yet: it is tried again");
    Finished::Again(TRY_AGAIN_AFTER)
}

#[cfg(test)]
mod tests;
