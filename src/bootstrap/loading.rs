//! `trait Loader` for a stopped peer: a snapshot becomes a channel of its databases, from the chunks while they come or from the folder
//! that has landed, held to what was agreed on either way.
//!
//! Leaves how to [`crate::ledger::load`].

use std::{
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time;

use super::{
    Observer,
    event::JoinEvent,
    feed::Feed,
    landing::{WORK_DIR, job_name},
    loader::{Loader, Loading, ToLoad, Watch},
    made_active::Made,
    stock_peer::StockPeerError,
};
use crate::{
    disk::{Access, Dir, DiskError, FileReader},
    ledger::{
        LedgerError, LiveLedgers,
        load::{FileStream, Load, LoadError, finish, load, may_load},
        stores::{Status, Store},
    },
    msp::MspId,
    peer::PeerError,
    snapshot::{
        ChannelId, FolderError, MetadataError, SnapshotFile, SnapshotId, SnapshotMetadata, StateDbType,
        check_exact_set, read_metadata,
    },
    transport::off_the_driver,
};

/// Memory for sorting what lies in another order than the peer keeps it: some minutes' worth of private data; more goes to the disk.
const SORT_BYTES: usize = 64 << 20;
/// How often whoever watches is told how far the loading is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Into which databases, and whose peer's they are. Clones load into the same.
#[derive(Debug, Clone)]
pub struct LedgerLoader {
    /// The peer's `ledgersData`; no peer runs on it.
    pub ledgers: Arc<dyn Dir>,
    /// The organisation whose peer it is: that decides which private data it may have.
    pub msp_id: MspId,
    /// The landing folder, where it is noted what is made active.
    pub land: Arc<dyn Dir>,
}

/// Why a snapshot isn't loaded. What has landed stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadingError {
    /// The folder isn't what landed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Somebody changed it since.
    #[error("{path} isn't what was agreed on any more")]
    Changed {
        /// The folder.
        path: String,
    },
    /// Metadata that can't be written back.
    #[error("the agreed metadata are not sound: {0}")]
    Metadata(Box<MetadataError>),
    /// A peer with another state database keeps its state elsewhere.
    #[error(
        "the snapshot is of a peer with CouchDB, whose state isn't in files: it can't be loaded, only joined (--loader folder)"
    )]
    CouchDb,
    /// Loading.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is nothing left to do: the channel is there by an earlier run, which didn't see or tell its end.
    #[error(
        "{place} has channel {channel} by the snapshot of block {block}, as an earlier run saw to: its hash is the agreed one",
        channel = id.channel, block = id.block_number
    )]
    AlreadyJoined {
        /// The peer, or its databases.
        place: String,
        /// By which snapshot.
        id: SnapshotId,
    },
    /// The peer can't be asked, or refuses.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The peer doesn't have what was agreed on.
    #[error(transparent)]
    StockPeer(#[from] StockPeerError),
    /// Whoever wanted it wants it no more.
    #[error("the load was called off: the peer was left as it was")]
    CalledOff,
    /// A thread couldn't be started.
    #[error("the system refused a thread: {0}")]
    Threads(io::Error),
    /// A part of this program panicked.
    #[error("the load failed unexpectedly, which is a bug in snapferry: run the same command again, and report it")]
    Panicked,
}

impl Loader for LedgerLoader {
    fn check<'a>(&'a self, channel: &'a ChannelId, watch: &'a Watch) -> Loading<'a, ()> {
        let (this, channel) = (self.clone(), channel.clone());
        Box::pin(async move {
            let may = off_the_driver(&watch.workers, move || {
                may_load(&this.ledgers, &channel)
                    .map_err(|error| this.made_before(&channel, &error).unwrap_or_else(|| error.into()))
            });
            may.await.map_err(LoadingError::Threads)?
        })
    }

    fn consider(&self, agreed: &ToLoad, observer: &Observer) -> Result<(), LoadingError> {
        let metadata = agreed.agreed.metadata().map_err(|error| LoadingError::Metadata(Box::new(error)))?;
        refuse_couchdb(&metadata)?;
        let ledgers = LiveLedgers::new(Arc::clone(&self.ledgers));
        // What an attempt that was cut off has left goes first.
        let has_leftovers = ledgers.status(&agreed.agreed.id().channel).is_ok_and(|status| status.is_some());
        let (expected, free) = (agreed.bytes(), self.ledgers.free_space()?);
        if free < expected && !has_leftovers {
            observer(JoinEvent::LedgerRoom { path: self.place(), expected, free });
        }
        Ok(())
    }

    fn settle(&self, channel: &ChannelId) {
        Made::settle(&*self.land, channel, &self.place());
    }

    fn feed(&self, proved: &ToLoad) -> Result<Option<Feed>, LoadingError> {
        let metadata = proved.agreed.metadata().map_err(|error| LoadingError::Metadata(Box::new(error)))?;
        let (this, proved) = (self.clone(), proved.clone());
        let feed = Feed::start(move |fed| {
            let open = |file: SnapshotFile| Ok(FileStream::Proved(Box::new(fed.stream(file))));
            this.run(&proved, &metadata, &open, &|| fed.may_activate())
        });
        feed.map(Some).map_err(LoadingError::Threads)
    }

    fn load<'a>(&'a self, landed: &'a ToLoad, watch: &'a Watch) -> Loading<'a, ()> {
        Box::pin(async move {
            let total_bytes = landed.bytes();
            let read = Arc::new(AtomicU64::new(0));
            let mut work = {
                let (this, landed, read) = (self.clone(), landed.clone(), Arc::clone(&read));
                let (workers, watch) = (&watch.workers, watch.clone());
                Box::pin(off_the_driver(workers, move || this.load_folder(&landed, &read, &watch)))
            };
            let mut tell = time::interval(TELL_EVERY);
            let loaded = loop {
                tokio::select! {
                    biased;
                    loaded = &mut work => break loaded,
                    _ = tell.tick() => {
                        (watch.observer)(JoinEvent::Loading { bytes: read.load(Ordering::Relaxed), total_bytes });
                    }
                }
            };
            loaded.map_err(LoadingError::Threads)??;
            (watch.observer)(JoinEvent::Loading { bytes: total_bytes, total_bytes });
            Ok(())
        })
    }
}

impl LedgerLoader {
    /// Says so if what stands in the way is what an earlier run has made active: one that was killed right behind that, or a peer that has
    /// started on it since.
    fn made_before(&self, channel: &ChannelId, in_the_way: &LoadError) -> Option<LoadingError> {
        match in_the_way {
            LoadError::ChannelExists { status: Status::Active, .. }
            | LoadError::Ledger(LedgerError::PeerRuns { .. }) => {}
            _ => return None,
        }
        let made = Made::find(&*self.land, channel, &self.place())?;
        let record = LiveLedgers::new(Arc::clone(&self.ledgers)).whole(channel).ok()??;
        // Whoever wrote the record may not have lived to see it durable.
        let mut ids = Store::LedgerProvider.folder().iter();
        let ids = ids.try_fold(Arc::clone(&self.ledgers), |dir, name| dir.open_dir(name)).ok()?;
        ids.sync_dir().ok()?;
        made.is(&record, &self.msp_id)
            .then(|| LoadingError::AlreadyJoined { place: format!("the ledger in {}", self.place()), id: made.id })
    }

    fn place(&self) -> String {
        self.ledgers.path().display().to_string()
    }

    /// `may_activate`, and what is made active then is noted.
    fn noting(&self, metadata: &SnapshotMetadata, may_activate: &dyn Fn() -> bool) -> bool {
        let may = may_activate();
        if may && let Err(error) = Made::of(metadata, &self.msp_id).note(&*self.land, &self.place()) {
            tracing::warn!(
                "if this run is cut off right at its end, the next one only says that the channel exists: {error}"
            );
        }
        may
    }

    /// The folder, read once more and proved once more. `read` counts the bytes.
    fn load_folder(&self, landed: &ToLoad, read: &AtomicU64, watch: &Watch) -> Result<(), LoadingError> {
        let folder = landed.folder()?;
        let metadata = read_metadata(&*folder)?;
        let agreed = &landed.agreed;
        let is_agreed = metadata.signable.hash() == agreed.manifest().signable().hash()
            && metadata.commit_hash == agreed.commit_hash();
        if !is_agreed {
            return Err(LoadingError::Changed { path: folder.path().display().to_string() });
        }
        refuse_couchdb(&metadata)?;
        let may_activate = || !watch.is_stopped() && (watch.still_agreed)();
        // An earlier run may have been cut off right before its end.
        if finish(&self.ledgers, &metadata, self.msp_id.as_str(), &|| self.noting(&metadata, &may_activate))? {
            return Ok(());
        }
        check_exact_set(&*folder, &metadata.signable)?;
        let open = |file: SnapshotFile| {
            let reader = FileReader::new(folder.open_file(file.name(), Access::Read)?);
            Ok(FileStream::Unproved(Box::new(Counted { reader, read, stopped: &watch.stopped })))
        };
        self.run(landed, &metadata, &open, &may_activate)
    }

    fn run<'a>(
        &self,
        of: &ToLoad,
        metadata: &SnapshotMetadata,
        open: &(dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
        may_activate: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), LoadingError> {
        // Peers of one machine may share the landing folder, and load the same at once.
        let peer = blake3::hash(self.ledgers.path().as_os_str().as_bytes()).to_hex();
        let name = format!("{}.load-{}", job_name(of.agreed.id()), peer.get(..16).unwrap_or_default());
        let scratch = Scratch::new(&of.land, &name)?;
        Ok(load(&Load {
            ledgers: Arc::clone(&self.ledgers),
            metadata,
            open: &|file| open(file),
            msp_id: self.msp_id.as_str(),
            scratch: Arc::clone(&scratch.dir),
            sort_bytes: SORT_BYTES,
            may_activate: &|| self.noting(metadata, may_activate),
        })?)
    }
}

fn refuse_couchdb(metadata: &SnapshotMetadata) -> Result<(), LoadingError> {
    match metadata.signable.state_db_type() {
        StateDbType::SimpleKeyValueDb => Ok(()),
        StateDbType::CouchDb => Err(LoadingError::CouchDb),
    }
}

/// A folder for sorting, beside the work under way; removed when dropped, and emptied when an earlier one was left by a crash.
struct Scratch {
    work: Arc<dyn Dir>,
    name: String,
    dir: Arc<dyn Dir>,
}

impl Scratch {
    fn new(land: &Arc<dyn Dir>, name: &str) -> Result<Self, DiskError> {
        land.create_dir(WORK_DIR)?;
        let work = land.open_dir(WORK_DIR)?;
        match work.remove_dir_all(name) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        work.create_dir(name)?;
        let dir = work.open_dir(name)?;
        Ok(Self { work, name: name.to_owned(), dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.work.remove_dir_all(&self.name); // it only takes room, and the next load removes it
    }
}

/// Tells what was read, and ends when the load is to end.
struct Counted<'a> {
    reader: FileReader,
    read: &'a AtomicU64,
    stopped: &'a AtomicBool,
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("the load was called off"));
        }
        let count = self.reader.read(buf)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
