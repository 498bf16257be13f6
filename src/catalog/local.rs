//! The catalog of our own peer's snapshots: what was found and verified, and what was refused.

use super::{
    CatalogEntry, CatalogError, KnownSnapshot, Refusal, Repairs, ServedSnapshot,
    leases::Leases,
    manifest_cache::{self, Cached},
    promised::{self, Promised},
    remains::{self, Remains, Stage},
    rot::{self, Rot},
    scan::{Candidate, Found, Place, Stamp, look},
};
use crate::{
    disk::{Dir, DiskError},
    snapshot::{BlockNumber, ChannelId, FolderError, SnapshotId, verify_folder},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Longest wait between two reads of a folder that can't be read or changes while it is read, in scans: 5 minutes at one every 5 s.
const WAIT_SCANS_MAX: u64 = 64;

/// What we serve. Readers never wait for a scan: a snapshot appears when all of it was verified.
#[derive(Debug)]
pub struct Catalog {
    pub(super) completed: Arc<dyn Dir>,
    pub(super) state: Arc<dyn Dir>,
    /// Where repaired chunks are looked for.
    repairs: Option<Repairs>,
    /// Whether we may write below `completed`.
    pub(super) deletion_allowed: bool,
    /// Held while a deletion is commanded, or one that waited is done. Locked first.
    pub(super) deletions: Mutex<()>,
    /// Who downloads what. Locked before `served`, and never while that is held.
    pub(super) leases: Mutex<Leases>,
    /// Deletions that were commanded before the start, until a clock is handed in. Locked before `leases`.
    pub(super) promised: Mutex<Vec<Promised>>,
    pub(super) lease_changes: watch::Sender<u64>,
    /// Held while a folder is deleted, and while one becomes advertised. Locked before the next two.
    pub(super) folders: Mutex<()>,
    served: RwLock<BTreeMap<SnapshotId, Served>>,
    /// What is left of deleted ones; those that are served (again) too, but then nobody looks here. Locked after `served`.
    pub(super) remains: RwLock<BTreeMap<SnapshotId, Remains>>,
    /// Held through a whole scan: one at a time.
    seen: Mutex<Seen>,
    /// Versions start with this one.
    first_version: u64,
    /// The first block that our peer has of a channel, where that is known.
    pub(super) begins: Mutex<BTreeMap<ChannelId, BlockNumber>>,
    /// Per channel, so that nobody is woken for a channel that isn't theirs. Locked last.
    versions: Mutex<BTreeMap<ChannelId, watch::Sender<u64>>>,
}

/// What a scan changed and found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ScanReport {
    /// Now advertised; a snapshot whose folder was replaced is here and in `removed`.
    pub added: Vec<SnapshotId>,
    /// No longer advertised.
    pub removed: Vec<SnapshotId>,
    /// Folders that look like snapshots and aren't advertised, with the reason; also those refused by an earlier scan. One
    /// that can't be looked at is here, too, although it stays advertised if it was.
    pub refused: Vec<(SnapshotId, String)>,
}

#[derive(Debug)]
struct Served {
    stamp: Stamp,
    snapshot: Arc<ServedSnapshot>,
}

/// What earlier scans found out.
#[derive(Debug, Default)]
struct Seen {
    /// Number of the scan that runs.
    scan: u64,
    refused: BTreeMap<SnapshotId, Refused>,
    /// Folders that can't be looked at, and why.
    unreadable: BTreeMap<Place, String>,
}

#[derive(Debug)]
struct Refused {
    /// What the folder looked like; `None`: look again whatever it looks like.
    stamp: Option<Stamp>,
    reason: String,
    /// How often it was refused in a row.
    times: u32,
    /// The scan that may read it again. A failing disk or a folder that somebody writes to would be read all day otherwise.
    next: u64,
}

impl Refused {
    /// Whether reading the folder again could tell nothing new, or is too early.
    fn holds(&self, candidate: &Candidate, scan: u64) -> bool {
        self.stamp.as_ref() == Some(&candidate.stamp) || scan < self.next
    }
}

impl Catalog {
    /// A catalog over `ROOT/completed` that keeps its manifests in `STATE/manifests`. Until the first [`Self::scan`] it knows
    /// deleted snapshots only. Versions count from `now` (in ms), so they are greater than those before a restart.
    #[must_use]
    pub fn open(completed: Arc<dyn Dir>, state: Arc<dyn Dir>, now: SystemTime) -> Self {
        let remains = remains::load_all(state.as_ref()).unwrap_or_else(|error| {
            tracing::error!(%error, "the metadata of deleted snapshots can't be read: they can't be signed");
            Vec::new()
        });
        let promised = promised::load_all(state.as_ref()).unwrap_or_else(|error| {
            tracing::error!(%error, "deletions that wait for downloads can't be read: command them again");
            Vec::new()
        });
        Self { promised: Mutex::new(promised), ..Self::new(completed, state, now, remains) }
    }

    fn new(completed: Arc<dyn Dir>, state: Arc<dyn Dir>, now: SystemTime, remains: Vec<Remains>) -> Self {
        let since = now.duration_since(UNIX_EPOCH);
        let first_version = since.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or(1));
        let remains = remains.into_iter().map(|remains| (remains.known.entry.id.clone(), remains)).collect();
        Self {
            completed,
            state,
            repairs: None,
            deletion_allowed: false,
            deletions: Mutex::default(),
            leases: Mutex::default(),
            promised: Mutex::default(),
            lease_changes: watch::Sender::default(),
            folders: Mutex::default(),
            served: RwLock::default(),
            remains: RwLock::new(remains),
            seen: Mutex::default(),
            first_version,
            begins: Mutex::default(),
            versions: Mutex::default(),
        }
    }

    /// The catalog of a join: what it [shares](Self::share) and nothing else. Never scanned; nothing is kept in `work`.
    #[must_use]
    pub fn of_join(work: Arc<dyn Dir>, now: SystemTime) -> Self {
        Self::new(Arc::clone(&work), work, now, Vec::new())
    }

    /// Chunks that have rotted are given from there, once they are.
    #[must_use]
    pub fn with_repairs(self, repairs: Repairs) -> Self {
        Self { repairs: Some(repairs), ..self }
    }

    /// Looks for added, changed and removed snapshots; reads every byte of each one that isn't in the cache. Blocking,
    /// possibly for minutes; each snapshot is advertised as soon as it is verified.
    ///
    /// A refused folder is logged once, and again when it changes; it isn't read again before, and after each further refusal
    /// only twice as many scans later, up to 64. What was advertised from a
    /// folder that can't be looked at stays advertised: its files are open, and every chunk is checked when it is read.
    ///
    /// # Errors
    /// `completed` can't be listed. What is wrong with one folder is in the report, never an error.
    pub fn scan(&self) -> Result<ScanReport, CatalogError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = ScanReport::default();
        seen.scan = seen.scan.saturating_add(1);
        let mut queue = VecDeque::from(self.look(&mut seen, &mut report)?);
        while let Some(candidate) = queue.pop_front() {
            let id = candidate.id.clone();
            if self.judge(candidate, &mut seen, &mut report) {
                // That may have taken an hour: what was removed meanwhile must not wait for the next candidate, too.
                queue = self.look(&mut seen, &mut report)?.into();
                queue.retain(|candidate| candidate.id > id);
            }
        }
        for ((channel, block_number), reason) in &seen.unreadable {
            let id = block_number.map(|block_number| SnapshotId { channel: channel.clone(), block_number });
            report.refused.extend(id.map(|id| (id, reason.clone())));
        }
        Ok(report)
    }

    /// What lies there now; whatever is gone is withdrawn and forgotten.
    fn look(&self, seen: &mut Seen, report: &mut ScanReport) -> Result<Vec<Candidate>, CatalogError> {
        let mut found = look(self.completed.as_ref()).map_err(CatalogError::Completed)?;
        self.finish_deletions(&mut found, report);
        self.withdraw_missing(&found, report);
        seen.refused.retain(|id, _| found.may_hold(id));
        let unreadable = found.unreadable.into_iter().map(|(place, error)| (place, error.to_string())).collect();
        let before = std::mem::replace(&mut seen.unreadable, unreadable);
        for (place, reason) in seen.unreadable.iter().filter(|(place, reason)| before.get(*place) != Some(*reason)) {
            let (channel, block_number) = (&place.0, place.1.map(|block_number| block_number.0));
            tracing::error!(%channel, block_number, %reason, "can't be looked at: nothing new is advertised from there");
        }
        Ok(found.candidates)
    }

    /// Advertises a candidate, or says why not; whether its files had to be read.
    fn judge(&self, candidate: Candidate, seen: &mut Seen, report: &mut ScanReport) -> bool {
        let id = candidate.id.clone();
        if self.serves(&candidate) {
            return false;
        }
        self.withdraw(&id, report);
        if let Some(known) = seen.refused.get(&id).filter(|known| known.holds(&candidate, seen.scan)) {
            report.refused.push((id, known.reason.clone()));
            return false;
        }
        let known = seen.refused.remove(&id);
        let stamp = candidate.stamp.clone();
        if !self.stands(&id, &stamp) {
            return false; // deleted or replaced since we looked
        }
        let cached = manifest_cache::load(self.state.as_ref(), &id, &stamp);
        let read = cached.is_none();
        match self.admit(candidate, cached) {
            Ok(()) => report.added.push(id),
            Err(_) if self.is_gone(&id) => {} // deleted while it was read
            Err(refusal) => {
                let reason = refusal.to_string();
                let again = matches!(refusal, Refusal::Changed) || is_disk_failure(&refusal);
                let stamp = (!again).then_some(stamp);
                let times = known.as_ref().map_or(0, |known| known.times).saturating_add(1);
                // Wrong content is read again only, and at once, when the folder looks different: somebody repaired it.
                let doubled = || 1_u64.checked_shl(times - 1).unwrap_or(u64::MAX).min(WAIT_SCANS_MAX);
                let wait = if stamp.is_some() { 0 } else { doubled() };
                if known.is_none_or(|known| known.reason != reason || known.stamp != stamp) {
                    tracing::error!(snapshot = %id, %reason, "NOT advertised: the folder is no valid snapshot");
                }
                report.refused.push((id.clone(), reason.clone()));
                let next = seen.scan.saturating_add(wait);
                seen.refused.insert(id, Refused { stamp, reason, times, next });
            }
        }
        read
    }

    /// The channel's version, and its snapshots, ascending by block; also those of which only the metadata are left.
    #[must_use]
    pub fn page(&self, channel: &ChannelId) -> (u64, Vec<CatalogEntry>) {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let remains = self.remains.read().unwrap_or_else(PoisonError::into_inner);
        let left = remains.values().map(|remains| &remains.known.entry);
        // The later ones win: what is served is listed as such.
        let entries = left.chain(served.values().map(|served| served.snapshot.entry()));
        let entries: BTreeMap<&SnapshotId, &CatalogEntry> =
            entries.filter(|entry| entry.id.channel == *channel).map(|entry| (&entry.id, entry)).collect();
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = versions.get(channel).map_or(self.first_version, |version| *version.borrow());
        (version, entries.into_values().cloned().collect())
    }

    /// Every channel that has a snapshot, or metadata of one.
    #[must_use]
    pub fn channels(&self) -> BTreeSet<ChannelId> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let remains = self.remains.read().unwrap_or_else(PoisonError::into_inner);
        served.keys().chain(remains.keys()).map(|id| id.channel.clone()).collect()
    }

    /// What is known of a snapshot, whether its data are there or not.
    #[must_use]
    pub fn known(&self, id: &SnapshotId) -> Option<KnownSnapshot> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let remains = self.remains.read().unwrap_or_else(PoisonError::into_inner);
        let left = || remains.get(id).map(|remains| &remains.known);
        served.get(id).map(|served| served.snapshot.known()).or_else(left).cloned()
    }

    /// A snapshot to read from.
    #[must_use]
    pub fn snapshot(&self, id: &SnapshotId) -> Option<Arc<ServedSnapshot>> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.get(id).map(|served| Arc::clone(&served.snapshot))
    }

    /// Every snapshot to read from, ascending.
    #[must_use]
    pub fn all_served(&self) -> Vec<Arc<ServedSnapshot>> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.values().map(|served| Arc::clone(&served.snapshot)).collect()
    }

    /// The channel's version, and a wake-up whenever it grows. (For channels that we serve: each is remembered.)
    #[must_use]
    pub fn subscribe(&self, channel: &ChannelId) -> watch::Receiver<u64> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.entry(channel.clone()).or_insert_with(|| watch::Sender::new(self.first_version)).subscribe()
    }

    /// Advertises a snapshot that is under way.
    pub fn share(&self, snapshot: Arc<ServedSnapshot>) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let id = snapshot.id().clone();
        let channel = id.channel.clone();
        served.insert(id, Served { stamp: Stamp(Vec::new()), snapshot });
        self.changed(&channel);
    }

    /// No longer advertises what was [shared](Self::share).
    pub fn unshare(&self, id: &SnapshotId) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if served.remove(id).is_some() {
            self.changed(&id.channel);
        }
    }

    pub(super) fn changed(&self, channel: &ChannelId) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = versions.entry(channel.clone()).or_insert_with(|| watch::Sender::new(self.first_version));
        version.send_modify(|version| *version = version.saturating_add(1));
    }

    fn serves(&self, candidate: &Candidate) -> bool {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.get(&candidate.id).is_some_and(|served| served.stamp == candidate.stamp)
    }

    /// Whether the folder that is served is still the one in its place.
    pub(super) fn is_as_served(&self, id: &SnapshotId) -> bool {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.get(id).is_some_and(|served| self.stands(id, &served.stamp))
    }

    /// Whether the folder in the snapshot's place looks just so; if it can't be looked at, it is believed to.
    fn stands(&self, id: &SnapshotId, stamp: &Stamp) -> bool {
        match self.open_folder(id).and_then(|dir| Stamp::of(dir.as_ref())) {
            Ok(found) => found == *stamp,
            Err(error) => !error.is_not_found(),
        }
    }

    fn is_gone(&self, id: &SnapshotId) -> bool {
        self.open_folder(id).is_err_and(|error| error.is_not_found())
    }

    fn open_folder(&self, id: &SnapshotId) -> Result<Arc<dyn Dir>, DiskError> {
        self.completed.open_dir(id.channel.as_str())?.open_dir(&id.block_number.to_string())
    }

    /// Only the metadata are left from now on.
    pub(super) fn withdraw_to(&self, remains: Remains) {
        debug_assert_eq!(remains.stage, Stage::Deleting, "files go only after the stage is durable");
        let id = remains.known.entry.id.clone();
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        self.remains.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), remains);
        served.remove(&id);
        self.changed(&id.channel);
    }

    /// Verifies a folder, unless that was kept, and advertises it.
    fn admit(&self, candidate: Candidate, cached: Option<Cached>) -> Result<(), Refusal> {
        let Candidate { id, dir, stamp, .. } = candidate;
        let cached = match cached {
            Some(cached) => cached,
            None => {
                let cached = read_all(&id, dir.as_ref())?;
                if Stamp::of(dir.as_ref())? != stamp {
                    return Err(Refusal::Changed);
                }
                // All of it was read, and is right: whatever had rotted was replaced.
                let forgotten = rot::forget(self.state.as_ref(), &id)
                    .and_then(|()| self.repairs.as_ref().map_or(Ok(()), |repairs| repairs.forget(&id)));
                if let Err(error) = forgotten {
                    tracing::warn!(snapshot = %id, %error, "an old record of rot is left: those chunks are withheld until they are read again");
                }
                if let Err(error) = manifest_cache::store(self.state.as_ref(), &stamp, &cached) {
                    tracing::warn!(snapshot = %id, %error, "its manifest isn't kept: it will be read again after a restart");
                }
                cached
            }
        };
        let known = KnownSnapshot::new(cached.manifest, cached.commit_hash);
        let rot = Rot::load(Arc::clone(&self.state), &id, known.entry.manifest_hash);
        let snapshot = ServedSnapshot::open(dir.as_ref(), known, cached.trees, rot, self.repairs.clone())?;
        let snapshot = Arc::new(snapshot);
        // It may have been deleted while it was read, which took no notice of us.
        let _folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.stands(&id, &stamp) {
            return Err(Refusal::Changed);
        }
        tracing::info!(snapshot = %id, bytes = snapshot.entry().total_bytes, manifest = %snapshot.entry().manifest_hash, "advertised");
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let channel = id.channel.clone();
        served.insert(id, Served { stamp, snapshot });
        self.changed(&channel);
        Ok(())
    }

    fn withdraw_missing(&self, found: &Found, report: &mut ScanReport) {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<SnapshotId> = served.keys().filter(|id| !found.may_hold(id)).cloned().collect();
        drop(served);
        for id in gone {
            self.withdraw(&id, report);
        }
        if let Err(error) = manifest_cache::retain(self.state.as_ref(), |id| found.may_hold(id)) {
            tracing::warn!(%error, "manifests of removed snapshots are still kept");
        }
        let kept = self.repairs.as_ref().map_or(Ok(()), |repairs| repairs.retain(|id| found.may_hold(id)));
        if let Err(error) = kept {
            tracing::warn!(%error, "repaired chunks of removed snapshots are still kept");
        }
    }

    fn withdraw(&self, id: &SnapshotId, report: &mut ScanReport) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if served.remove(id).is_some() {
            self.changed(&id.channel);
            drop(served);
            tracing::info!(snapshot = %id, "no longer advertised: its folder was removed or changed");
            report.removed.push(id.clone());
        }
    }
}

/// Reads and checks every byte.
fn read_all(id: &SnapshotId, dir: &dyn Dir) -> Result<Cached, Refusal> {
    let verified = verify_folder(dir, &mut |_| {})?;
    if verified.manifest.id() != id {
        return Err(Refusal::OtherSnapshot(verified.manifest.id().clone()));
    }
    Ok(Cached { manifest: verified.manifest, commit_hash: verified.metadata.commit_hash, trees: verified.trees })
}

/// A failing disk may work the next time; wrong bytes stay wrong until somebody writes.
fn is_disk_failure(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Disk(_) | Refusal::Folder(FolderError::Disk(_)))
}
