//! Who downloads what: a lease pins a snapshot until its holder is done, and says to whom a deletion would do harm.
//!
//! Decides how many leases there are, how long each lasts, and when a deletion that waits may begin. A pure value: the time is handed
//! in, from a clock that nobody sets. Leaves to `deletions` what is deleted, and to `transport` who a holder is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    msp::{IdentityId, MspId},
    snapshot::{ManifestHash, SnapshotId},
};

/// How long a lease lasts without being renewed: longer than any break after which a joiner still comes back to the same source.
pub const LEASE_TIME: Duration = Duration::from_secs(600);

/// How often a lease by which nothing was fetched is renewed: a joiner whose disk is full has half an hour, an idle one doesn't pin a
/// snapshot for ever.
pub const IDLE_RENEWALS_MAX: u32 = 3;

/// How long who downloads may go on once a deletion is forced.
pub const DRAIN_TIME: Duration = Duration::from_secs(600);

/// Shortest and longest wait that is named to who finds no lease left: it may end early, and asking costs little.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How many leases there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLimits {
    /// Of one organisation.
    pub per_org: usize,
    /// In all: each may read from the peer's disk all day.
    pub all: usize,
}

impl Default for LeaseLimits {
    fn default() -> Self {
        Self { per_org: 4, all: 16 }
    }
}

/// Who has a lease: proved by session auth.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its organisation.
    pub msp_id: MspId,
    /// Its identity.
    pub identity_id: IdentityId,
}

/// A lease, as its holder is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedLease {
    /// Its number, never 0: worth nothing to anybody but its holder.
    pub lease_id: u64,
    /// How long it lasts from now.
    pub expires: Duration,
    /// Leases that its organisation may still open.
    pub quota: usize,
}

/// A lease, as the operator is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLease {
    /// Whose it is.
    pub holder: Holder,
    /// How long ago it was opened.
    pub held: Duration,
    /// How long it still lasts.
    pub left: Duration,
}

/// A deletion that waits for leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingDeletion {
    /// How long ago it was commanded, or the service started again.
    pub waiting: Duration,
    /// When it begins whoever still downloads; `None`: when the last lease has ended.
    pub forced_in: Option<Duration>,
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseRefusal {
    /// There are as many as there may be.
    #[error("no lease is left for this organisation: ask again in {} s", retry_after.as_secs())]
    Full {
        /// When one may be free.
        retry_after: Duration,
    },
    /// The snapshot is about to be deleted.
    #[error("the snapshot is about to be deleted")]
    Ending,
    /// Its data aren't here (any more).
    #[error("only the metadata are left")]
    Gone,
    /// Something was asked without a lease.
    #[error("chunks need a lease")]
    Required,
    /// It has ended, or it was never this client's.
    #[error("the lease has ended")]
    Expired,
}

#[derive(Debug)]
struct Held {
    holder: Holder,
    id: SnapshotId,
    since: Instant,
    until: Instant,
    /// Whether chunks were asked for since it was last renewed.
    used: bool,
    idle_renewals: u32,
}

/// A deletion that was commanded and isn't done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// What is to be deleted, and nothing else that comes into its place.
    pub(super) manifest_hash: ManifestHash,
    /// Of its folder.
    pub(super) inode: u64,
    pub(super) since: Instant,
    /// When it no longer waits for leases.
    pub(super) by: Option<Instant>,
    /// Not to be tried before: it failed.
    pub(super) again: Option<Instant>,
}

/// All leases, and the deletions that wait for them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    pub(super) limits: LeaseLimits,
    last_id: u64,
    held: BTreeMap<u64, Held>,
    ending: BTreeMap<SnapshotId, Ending>,
}

impl Leases {
    /// Forgets what has ended; whether anything has.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.held.len();
        self.held.retain(|_, held| held.until > now);
        self.held.len() < before
    }

    /// A lease for who has none there, more time for who has one. Only for snapshots that are there.
    pub(super) fn open(
        &mut self,
        id: &SnapshotId,
        holder: &Holder,
        now: Instant,
    ) -> Result<GrantedLease, LeaseRefusal> {
        self.expire(now);
        let own = self.held.iter().find(|(_, held)| held.holder == *holder && held.id == *id);
        if let Some((&lease_id, _)) = own {
            return self.renew(lease_id, holder, now);
        }
        if self.ending.contains_key(id) {
            return Err(LeaseRefusal::Ending);
        }
        if self.quota(holder) == 0 {
            let full = self.held.len() >= self.limits.all;
            let counts = self.held.values().filter(|held| full || held.holder.msp_id == holder.msp_id);
            let first = counts.map(|held| held.until).min().unwrap_or(now);
            let retry_after = first.saturating_duration_since(now).clamp(RETRY_MIN, RETRY_MAX);
            return Err(LeaseRefusal::Full { retry_after });
        }
        Ok(self.put(id.clone(), holder.clone(), now))
    }

    /// The lease of who had one before the service started again, though a deletion waits for it.
    pub(super) fn restore(&mut self, id: &SnapshotId, holder: Holder, now: Instant) {
        self.put(id.clone(), holder, now);
    }

    fn put(&mut self, id: SnapshotId, holder: Holder, now: Instant) -> GrantedLease {
        self.last_id += 1;
        let until = self.at_most(&id, now + LEASE_TIME);
        let held = Held { holder: holder.clone(), id, since: now, until, used: false, idle_renewals: 0 };
        self.held.insert(self.last_id, held);
        GrantedLease {
            lease_id: self.last_id,
            expires: until.saturating_duration_since(now),
            quota: self.quota(&holder),
        }
    }

    /// More time, unless it was renewed often and nothing was fetched, or the snapshot is about to go.
    pub(super) fn renew(&mut self, lease_id: u64, holder: &Holder, now: Instant) -> Result<GrantedLease, LeaseRefusal> {
        self.expire(now);
        let quota = self.quota(holder);
        let held = self.held.get(&lease_id).filter(|held| held.holder == *holder).ok_or(LeaseRefusal::Expired)?;
        let most = self.at_most(&held.id, now + LEASE_TIME);
        let held = self.held.get_mut(&lease_id).ok_or(LeaseRefusal::Expired)?;
        held.idle_renewals = if held.used { 0 } else { held.idle_renewals.saturating_add(1) };
        held.used = false;
        if held.idle_renewals <= IDLE_RENEWALS_MAX {
            held.until = most;
        }
        Ok(GrantedLease { lease_id, expires: held.until.saturating_duration_since(now), quota })
    }

    /// The holder is done; what its organisation may open now.
    pub(super) fn close(&mut self, lease_id: u64, holder: &Holder, now: Instant) -> Result<usize, LeaseRefusal> {
        self.expire(now);
        self.held.get(&lease_id).filter(|held| held.holder == *holder).ok_or(LeaseRefusal::Expired)?;
        self.held.remove(&lease_id);
        Ok(self.quota(holder))
    }

    /// Whether chunks may be fetched by that lease.
    pub(super) fn use_it(
        &mut self,
        lease_id: u64,
        id: &SnapshotId,
        holder: &Holder,
        now: Instant,
    ) -> Result<(), LeaseRefusal> {
        if lease_id == 0 {
            return Err(LeaseRefusal::Required);
        }
        self.expire(now);
        let held = self.held.get_mut(&lease_id).filter(|held| held.holder == *holder && held.id == *id);
        held.ok_or(LeaseRefusal::Expired)?.used = true;
        Ok(())
    }

    fn quota(&self, holder: &Holder) -> usize {
        let of_org = self.held.values().filter(|held| held.holder.msp_id == holder.msp_id).count();
        self.limits.per_org.saturating_sub(of_org).min(self.limits.all.saturating_sub(self.held.len()))
    }

    fn at_most(&self, id: &SnapshotId, until: Instant) -> Instant {
        let by = self.ending.get(id).and_then(|ending| ending.by);
        by.map_or(until, |by| by.min(until))
    }

    /// The leases of a snapshot, by their age.
    pub(super) fn of(&self, id: &SnapshotId, now: Instant) -> Vec<HeldLease> {
        let of_it = self.held.values().filter(|held| held.id == *id && held.until > now);
        let told = |held: &Held| HeldLease {
            holder: held.holder.clone(),
            held: now.saturating_duration_since(held.since),
            left: held.until.saturating_duration_since(now),
        };
        of_it.map(told).collect()
    }

    /// Who holds the snapshot is all who is waited for from now on: nobody else gets a lease. What was known of its deletion before.
    pub(super) fn end(&mut self, id: &SnapshotId, ending: Ending) -> Option<Ending> {
        let by = ending.by;
        let before = self.ending.insert(id.clone(), ending);
        if let Some(by) = by {
            let of_it = self.held.values_mut().filter(|held| held.id == *id);
            of_it.for_each(|held| held.until = held.until.min(by));
        }
        before
    }

    /// The deletion is done, or isn't wanted.
    pub(super) fn forget_ending(&mut self, id: &SnapshotId) {
        self.ending.remove(id);
    }

    pub(super) fn ending(&self, id: &SnapshotId) -> Option<&Ending> {
        self.ending.get(id)
    }

    /// Not to be tried before that time.
    pub(super) fn again_at(&mut self, id: &SnapshotId, at: Instant) {
        if let Some(ending) = self.ending.get_mut(id) {
            ending.again = Some(at);
        }
    }

    /// Deletions that nobody holds up any more.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(SnapshotId, Ending)> {
        self.expire(now);
        let due =
            |(id, ending): &(&SnapshotId, &Ending)| !self.is_held(id) && ending.again.is_none_or(|again| again <= now);
        self.ending.iter().filter(due).map(|(id, ending)| (id.clone(), ending.clone())).collect()
    }

    /// When a deletion may be due without anybody closing a lease.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let of_one = |(id, ending): (&SnapshotId, &Ending)| {
            let last = self.held.values().filter(|held| held.id == *id).map(|held| held.until).max();
            last.or(ending.again)
        };
        self.ending.iter().filter_map(of_one).min()
    }

    fn is_held(&self, id: &SnapshotId) -> bool {
        self.held.values().any(|held| held.id == *id)
    }

    /// Snapshots that are there for their holders only: about to be deleted, and no lease of this client on them.
    pub(super) fn closed_to(&self, holder: &Holder) -> BTreeSet<SnapshotId> {
        let holds = |id: &SnapshotId| self.held.values().any(|held| held.holder == *holder && held.id == *id);
        self.ending.keys().filter(|id| !holds(id)).cloned().collect()
    }

    /// Leases of that holder which end whatever it does, and when.
    pub(super) fn ending_of(&self, holder: &Holder, now: Instant) -> Vec<(u64, Duration)> {
        let by = |held: &Held| self.ending.get(&held.id).and_then(|ending| ending.by);
        let own = self.held.iter().filter(|(_, held)| held.holder == *holder);
        own.filter_map(|(id, held)| Some((*id, by(held)?.saturating_duration_since(now)))).collect()
    }
}

#[cfg(test)]
mod tests;
