//! Where a snapshot lands: `LAND/CH/N`, after work in `LAND/.snapferry/CH-N/`, so that publishing is one rename.

use std::{path::PathBuf, sync::Arc};

use super::{error::JoinError, given_up::unmark};
use crate::{
    catalog::AgreedSnapshot,
    chunking::{Candidates, LOCK_FILE, Store, StoreError, VerifiedFile},
    disk::{Dir, DiskError},
    snapshot::{ContentSummary, FolderError, SnapshotId, SnapshotMetadata, verify_folder},
};

/// Folder of work under way, beside the channels' folders; no channel name begins with a dot.
pub const WORK_DIR: &str = ".snapferry";
/// Left free beside the files: metadata, journal, and room for others on the disk.
const MARGIN_BYTES: u64 = 64 << 20;
/// How often the work folder is made anew: each time another join finished and removed it while we opened it.
const OPEN_TRIES: u32 = 3;

/// What comes of opening a work folder.
#[derive(Debug)]
pub(super) enum Opened {
    /// Its store, and what an earlier run left there.
    Store(Box<Store>, Vec<Candidates>),
    /// The snapshot was published meanwhile; what it holds.
    There(ContentSummary),
}

/// One snapshot's places under the landing folder.
#[derive(Debug)]
pub(super) struct Landing {
    land: Arc<dyn Dir>,
    id: SnapshotId,
}

impl Landing {
    pub(super) fn new(land: Arc<dyn Dir>, id: SnapshotId) -> Self {
        Self { land, id }
    }

    /// `LAND/CH/N`.
    pub(super) fn path(&self) -> PathBuf {
        self.land.path().join(self.id.channel.as_str()).join(self.id.block_number.to_string())
    }

    /// What the agreed snapshot holds, if it already lies there, whole, under durable names. Reads every byte: a folder is only as
    /// good as its last check.
    ///
    /// # Errors
    /// [`JoinError::ExistsDifferently`] if something else does.
    pub(super) fn is_there(&self, agreed: &AgreedSnapshot) -> Result<Option<ContentSummary>, JoinError> {
        let open = || {
            let channel = self.channel_dir()?;
            channel.open_dir(&self.id.block_number.to_string()).map(|dir| (channel, dir))
        };
        let (channel, dir) = match open() {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let differs = |source| JoinError::ExistsDifferently { path: self.path(), source: Box::new(source) };
        let content = check_folder(&*dir, agreed).map_err(differs)?;
        let content = content.ok_or_else(|| JoinError::ExistsOther { path: self.path() })?;
        // Whoever renamed it may have been stopped before these.
        channel.sync_dir()?;
        self.land.sync_dir()?;
        Ok(Some(content))
    }

    pub(super) const fn land(&self) -> &Arc<dyn Dir> {
        &self.land
    }

    /// Opens the store of the work folder and checks that the rest will fit, in `more` bytes that can be had beside the free ones; unless another join has published the
    /// snapshot since [`Self::is_there`] was asked.
    ///
    /// # Errors
    /// [`JoinError::NoSpace`]; another process works there; as [`Self::is_there`]; the disk.
    pub(super) fn open_store(&self, agreed: &AgreedSnapshot, more: u64) -> Result<Opened, JoinError> {
        let mut tries = 1..OPEN_TRIES;
        let (store, candidates) = loop {
            match self.try_open_store(agreed) {
                Err(StoreError::Disk(error)) if error.is_not_found() && tries.next().is_some() => {}
                opened => break opened?,
            }
        };
        // Publishing happens under the lock, so from here on nobody else does it.
        if let Some(content) = self.is_there(agreed)? {
            self.remove_job();
            drop(store); // its lock goes last
            return Ok(Opened::There(content));
        }
        self.check_space(&store, agreed, more)?;
        Ok(Opened::Store(Box::new(store), candidates))
    }

    /// Whether what the store lacks fits into the free space and `more` bytes.
    ///
    /// # Errors
    /// [`JoinError::NoSpace`] if not; the disk.
    pub(super) fn check_space(&self, store: &Store, agreed: &AgreedSnapshot, more: u64) -> Result<(), JoinError> {
        let total: u64 = agreed.manifest().files().iter().map(|file| file.size).sum();
        let needed = total.saturating_sub(store.allocated()?).saturating_add(MARGIN_BYTES);
        let free = self.land.free_space()?.saturating_add(more);
        if free < needed {
            return Err(JoinError::NoSpace { path: self.land.path().to_owned(), needed, free });
        }
        Ok(())
    }

    fn try_open_store(&self, agreed: &AgreedSnapshot) -> Result<(Store, Vec<Candidates>), StoreError> {
        // Each name is made durable before anything below it is: else a power cut takes all of the work.
        self.land.create_dir(WORK_DIR)?;
        self.land.sync_dir()?;
        let work = self.land.open_dir(WORK_DIR)?;
        work.create_dir(&job_name(&self.id))?;
        work.sync_dir()?;
        let job = work.open_dir(&job_name(&self.id))?;
        let opened = Store::open(Arc::clone(&job), agreed.manifest())?;
        unmark(&*job)?;
        Ok(opened)
    }

    /// Gives the proved files their final name, and removes the work folder. The store's lock is the caller's: who gets it must not find
    /// the folder half removed.
    ///
    /// # Errors
    /// The store's; nothing is published then.
    pub(super) fn publish(
        &self,
        store: &Store,
        agreed: &AgreedSnapshot,
        files: &[VerifiedFile],
    ) -> Result<PathBuf, JoinError> {
        self.land.create_dir(self.id.channel.as_str())?;
        self.land.sync_dir()?;
        let channel = self.channel_dir()?;
        store.publish(files, &metadata(agreed)?, &*channel, &self.id.block_number.to_string())?;
        self.remove_job();
        Ok(self.path())
    }

    /// Removes the work folder that a join left which was stopped right behind the renaming. If somebody works there, it
    /// is theirs to remove.
    pub(super) fn clean_up(&self) {
        self.clean_up_if(|_| true);
    }

    /// As [`Self::clean_up`], if that holds of the work folder while nobody works there.
    pub(super) fn clean_up_if(&self, holds: impl Fn(&dyn Dir) -> bool) {
        let lock = || {
            let job = self.land.open_dir(WORK_DIR)?.open_dir(&job_name(&self.id))?;
            Ok::<_, DiskError>((job.lock(LOCK_FILE)?, job))
        };
        match lock() {
            Ok((_lock, job)) if holds(&*job) => self.remove_job(),
            Ok(_) | Err(DiskError::Locked { .. }) => {}
            Err(error) if error.is_not_found() => drop(self.remove_aside().map_err(|error| self.warn_left(&error))),
            Err(error) => self.warn_left(&error),
        }
    }

    /// Removes the work folder of a snapshot that is published; the caller holds its lock. What can't be removed only
    /// takes space: the snapshot is there.
    fn remove_job(&self) {
        let remove = || {
            self.remove_aside()?;
            // Aside first: whoever opens it while it goes would find half of it, and a lock of its own.
            let work = self.land.open_dir(WORK_DIR)?;
            work.rename(&job_name(&self.id), &*work, &aside(&self.id))?;
            work.remove_dir_all(&aside(&self.id))
        };
        if let Err(error) = remove() {
            self.warn_left(&error);
        }
    }

    /// What is left of one that was cut off while it was removed.
    fn remove_aside(&self) -> Result<(), DiskError> {
        match self.land.open_dir(WORK_DIR)?.remove_dir_all(&aside(&self.id)) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    fn warn_left(&self, error: &DiskError) {
        if !error.is_not_found() {
            tracing::warn!(id = %self.id, "the work folder of the published snapshot is left, remove it by hand: {error}");
        }
    }

    fn channel_dir(&self) -> Result<Arc<dyn Dir>, DiskError> {
        self.land.open_dir(self.id.channel.as_str())
    }
}

/// Its name while it is removed; that of no channel's begins with a dot.
fn aside(id: &SnapshotId) -> String {
    format!(".{}", job_name(id))
}

/// Name of a snapshot's work folder.
pub(super) fn job_name(id: &SnapshotId) -> String {
    format!("{}-{}", id.channel.stem(), id.block_number)
}

/// What a folder holds that is exactly what was agreed on; `None`: it is sound, and something else. Reads every byte.
pub(super) fn check_folder(dir: &dyn Dir, agreed: &AgreedSnapshot) -> Result<Option<ContentSummary>, FolderError> {
    let verified = verify_folder(dir, &mut |_| ())?;
    let is_agreed =
        verified.manifest == *agreed.manifest() && agreed.metadata().is_ok_and(|agreed| verified.metadata == agreed);
    Ok(is_agreed.then_some(verified.content))
}

/// The two JSON files, as agreed.
fn metadata(agreed: &AgreedSnapshot) -> Result<SnapshotMetadata, JoinError> {
    agreed.metadata().map_err(|error| JoinError::Metadata(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        catalog,
        chunking::{FILES_DIR, fixture::Sample},
        disk::{
            Access, OsDir,
            faulty::{Faults, FaultyDir},
        },
    };

    const JOB: &str = "mychannel-132";

    struct Place {
        sample: Sample,
        agreed: AgreedSnapshot,
        land: Arc<dyn Dir>,
        faults: Arc<Faults>,
        _keep: TempDir,
    }

    impl Place {
        fn new() -> Self {
            let sample = Sample::recorded();
            let agreed = catalog::fixture::agreed(&sample.manifest, sample.metadata.commit_hash);
            let keep = tempfile::tempdir().unwrap();
            let root = OsDir::open(keep.path()).unwrap();
            root.create_dir("land").unwrap();
            let land = root.open_dir("land").unwrap();
            Self { sample, agreed, land, faults: Arc::default(), _keep: keep }
        }

        /// A join on the disk that can be broken.
        fn landing(&self) -> Landing {
            Landing::new(FaultyDir::wrap(Arc::clone(&self.land), &self.faults), self.agreed.id().clone())
        }

        fn open(&self) -> Store {
            let Opened::Store(store, _) = self.landing().open_store(&self.agreed, 0).unwrap() else {
                panic!("it is there")
            };
            *store
        }

        fn fill(&self, store: &Store) {
            for (file, chunk) in self.sample.all() {
                store.write(&self.sample.chunk(file, chunk), std::time::Duration::ZERO).unwrap();
            }
        }

        fn publish(&self, store: Store) -> Result<PathBuf, JoinError> {
            self.fill(&store);
            self.landing().publish(&store, &self.agreed, &self.sample.verified())
        }

        fn jobs(&self) -> Vec<String> {
            let work = self.land.open_dir(WORK_DIR).unwrap();
            work.list().unwrap().into_iter().map(|entry| entry.name).collect()
        }
    }

    /// Whether `after` was done directly behind the last `before`.
    fn follows(log: &[String], before: &str, after: &str) -> bool {
        let at = log.iter().rposition(|done| done == before).unwrap();
        log.get(at + 1).is_some_and(|done| done == after)
    }

    #[test]
    fn the_names_of_the_work_folder_are_durable() {
        let place = Place::new();
        drop(place.open());
        let log = place.faults.taken_log();
        assert!(follows(&log, "create in land", "sync land"), "{log:?}");
        assert!(follows(&log, "create in .snapferry", "sync .snapferry"), "{log:?}");
    }

    #[test]
    fn what_is_already_there_has_durable_names() {
        let place = Place::new();
        place.publish(place.open()).unwrap();
        place.faults.taken_log();
        assert!(place.landing().is_there(&place.agreed).unwrap().is_some());
        let log = place.faults.taken_log();
        assert_eq!(&log[log.len() - 2..], ["sync mychannel", "sync land"], "{log:?}");
        for operation in ["sync mychannel", "sync land"] {
            place.faults.break_only(&[operation]);
            place.landing().is_there(&place.agreed).unwrap_err();
        }
    }

    #[test]
    fn the_work_folder_goes_while_it_is_locked() {
        let place = Place::new();
        let store = place.open();
        let (work, refused) = (place.land.open_dir(WORK_DIR).unwrap(), Arc::new(AtomicBool::new(false)));
        place.faults.before("remove from .snapferry", {
            let refused = Arc::clone(&refused);
            move || {
                let second = work.open_dir(JOB).unwrap().lock(LOCK_FILE);
                refused.store(matches!(second, Err(DiskError::Locked { .. })), Ordering::Relaxed);
            }
        });
        place.publish(store).unwrap();
        assert!(refused.load(Ordering::Relaxed), "nobody else gets the lock of a folder that goes");
        assert_eq!(place.jobs(), [""; 0]);
    }

    #[test]
    fn a_published_snapshot_is_published_even_if_the_work_folder_stays() {
        let place = Place::new();
        let store = place.open();
        place.faults.break_only(&["remove from .snapferry"]);
        let path = place.publish(store).unwrap();
        assert!(path.ends_with("mychannel/132"));
        assert_eq!(place.jobs(), [JOB]);
        place.landing().clean_up();
        assert_eq!(place.jobs(), [JOB]);
        place.faults.break_only(&[]);
        place.landing().clean_up();
        assert_eq!(place.jobs(), [""; 0]);
        place.landing().clean_up();
    }

    #[test]
    fn nobody_cleans_up_where_somebody_works() {
        let place = Place::new();
        let store = place.open();
        place.landing().clean_up();
        assert_eq!(place.jobs(), [JOB]);
        place.publish(store).unwrap();
    }

    /// B4: the snapshot itself.
    #[test]
    fn a_snapshot_that_another_join_published_meanwhile_is_already_there() {
        let place = Place::new();
        let second = place.landing();
        assert!(second.is_there(&place.agreed).unwrap().is_none());
        place.publish(place.open()).unwrap();
        assert!(matches!(second.open_store(&place.agreed, 0).unwrap(), Opened::There(_)));
        assert_eq!(place.jobs(), [""; 0]);
        // Something else there is refused, as always.
        place.land.open_dir("mychannel").unwrap().open_dir("132").unwrap().remove_file("txids.data").unwrap();
        assert!(matches!(second.open_store(&place.agreed, 0), Err(JoinError::ExistsDifferently { .. })));
    }

    #[test]
    fn a_work_folder_that_goes_while_it_is_opened_is_made_anew() {
        let place = Place::new();
        drop(place.open());
        let work = place.land.open_dir(WORK_DIR).unwrap();
        // Between opening the folder and taking its lock, as another join does when it is through.
        place.faults.before(&format!("create in {JOB}"), move || work.remove_dir_all(JOB).unwrap());
        place.publish(place.open()).unwrap();
        assert!(place.landing().is_there(&place.agreed).unwrap().is_some());
    }

    #[test]
    fn space_counts_as_taken_only_where_the_disk_gave_it() {
        let place = Place::new();
        let total = place.sample.manifest.total_bytes();
        // A file system that can't tell holes: everything may be data, nothing is there.
        let holes: Vec<_> =
            place.sample.manifest.files().iter().map(|listed| format!("know holes of {}", listed.file)).collect();
        place.faults.break_only(&holes.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in 0..2 {
            place.faults.set_free(MARGIN_BYTES + total - 1);
            let refused = place.landing().open_store(&place.agreed, 0);
            assert!(matches!(refused, Err(JoinError::NoSpace { .. })), "{refused:?}");
            place.faults.set_free(MARGIN_BYTES + total);
            place.open();
        }
        // What is fetched needs no more room, claimed or not.
        let store = place.open();
        place.fill(&store);
        drop(store);
        let work = place.land.open_dir(WORK_DIR).unwrap().open_dir(JOB).unwrap().open_dir(FILES_DIR).unwrap();
        let file = work.open_file("public_state.data", Access::ReadWrite).unwrap();
        file.sync().unwrap();
        place.faults.set_free(MARGIN_BYTES);
        drop(place.open());
        work.remove_file("public_state.data").unwrap();
        let refused = place.landing().open_store(&place.agreed, 0);
        assert!(matches!(refused, Err(JoinError::NoSpace { .. })), "{refused:?}");
    }
}
