//! Where the layers meet: a joining peer gets a snapshot. The whole path is [`join`].
//!
//! Decides the order of things and who is still asked. Leaves to the layers below: what may be believed
//! ([`crate::catalog`]), which bytes come next from whom ([`crate::chunking::plan`]), whether they are right
//! ([`crate::chunking`]), how they move ([`crate::transport`]), how they become durable ([`crate::disk`]).

mod catalogs;
mod confirm;
mod dialer;
mod drought;
mod error;
mod event;
mod feed;
mod fetch;
mod given_folder;
mod given_up;
mod haves;
mod helping;
mod in_order;
mod into_peer;
mod joined;
mod keeper;
mod landing;
mod late_peers;
mod lease;
mod loader;
mod loading;
mod made_active;
mod meter;
mod ready;
mod receipt;
mod records;
mod repair;
mod request;
mod reuse;
mod ruled_out;
mod shortage;
mod sources;
mod stock_peer;
mod told_peer;
mod vouch;
mod vouching;
mod writing;

use std::{
    future::{self, Future},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

pub use catalogs::{CatalogRequest, Manifests, SourceCatalog, SourceListing, catalogs, listings, manifests};
use confirm::{check_channel_config, still_agreed};
use dialer::Dialer;
pub use dialer::{DialError, Dialling, SOURCES_MAX, SourceAddress};
pub use error::{JoinError, SourceTrouble};
pub use event::{JoinEvent, LatePeer, Observer, Share, TransferProgress};
pub use feed::Feed;
use fetch::{Fetch, Fetched, fetch};
use given_up::GivenUp;
use helping::Helper;
pub use helping::ServeWhileJoining;
pub use joined::{Joined, Outcome};
use joined::{Times, summary};
pub use landing::WORK_DIR;
use landing::{Landing, Opened};
pub use loader::{Loader, Loading, ToLoad, Watch};
pub use loading::{LedgerLoader, LoadingError};
pub use records::Records;
pub use repair::{RepairRequest, Repaired, repair};
use ruled_out::RuledOut;
use shortage::outlast;
use sources::{Instead, Patience, Sources, Target};
pub use stock_peer::{Mounted, StockPeer, StockPeerError};
use tokio::{sync::watch, time::Instant};
pub use told_peer::was_told;
use vouch::vouch_again;
pub use vouching::JoinTrust;
use vouching::Vouched;

use crate::{
    catalog::{AgreedSnapshot, Mode, RootOfTrust},
    chunking::{BufferPool, Candidates, FileTree, Store, Workers, plan::PlanConfig},
    disk::Dir,
    msp::IdentityId,
    snapshot::{BlockNumber, CHUNK_BYTES},
    transport::off_the_driver,
};

/// What to join, from whom, under which rule, to where.
#[derive(Clone)]
pub struct JoinRequest {
    /// Our credentials and the channel's configuration.
    pub dialling: Dialling,
    /// Whom to ask.
    pub sources: Vec<SourceAddress>,
    /// This block; else the newest that meets the policy.
    pub block_number: Option<BlockNumber>,
    /// Who must vouch.
    pub trust: JoinTrust,
    /// Why the channel's configuration is believed: stands in the receipt.
    pub root: RootOfTrust,
    /// Our state folder.
    pub records: Records,
    /// The landing folder.
    pub land: Arc<dyn Dir>,
    /// A folder that is there: nothing is fetched, it must be what was agreed on.
    pub folder: Option<Arc<dyn Dir>>,
    /// What makes it a channel of a peer; `None`: it only lands.
    pub loader: Option<Arc<dyn Loader>>,
    /// The scheduler's limits; `budget_chunks` MiB bound the transfer's memory.
    pub plan: PlanConfig,
    /// Whether sources may compress chunks.
    pub accept_zstd: bool,
    /// Whether proved chunks are served to joiners of our own organisation meanwhile, and how.
    pub serve: Option<ServeWhileJoining>,
    /// Where chunks are proved and written: see [`join_workers`].
    pub workers: Workers,
    /// Stop once it is known what would be fetched.
    pub dry_run: bool,
}

/// Asks all sources, agrees on a snapshot, fetches it from all of them at once, proves every byte, publishes the folder, and loads it into
/// the peer, if there is one to load it into.
///
/// Stops, with what was proved saved, when `stop` completes. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// [`JoinError`]. Nothing is published or loaded unless everything was proved.
pub async fn join(
    request: &JoinRequest,
    observer: &Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<Joined, JoinError> {
    let beside = if request.loader.is_some() { feed::QUEUED_CHUNKS_MAX } else { 0 };
    let buffers = BufferPool::new(request.plan.budget_chunks as usize + WORKERS_MAX + beside);
    let budget_bytes = u64::from(request.plan.budget_chunks) * CHUNK_BYTES;
    let mut stop: Pin<&mut (dyn Future<Output = ()> + Send)> = pin!(stop);
    if let Some(loader) = &request.loader {
        into_peer::check(&**loader, request, observer, stop.as_mut()).await?;
    }
    if let (Some(folder), []) = (&request.folder, &*request.sources) {
        return given_folder::join_unasked(request, folder, observer, stop).await;
    }
    let dialer = || {
        let dialer = Dialer::new(&request.dialling, buffers.clone(), request.sources.len(), budget_bytes);
        future::ready(dialer.map_err(JoinError::Dial))
    };
    let dialer = outlast(observer, stop.as_mut(), dialer).await?;
    let helper = || {
        let serve = request.serve.filter(|_| !request.dry_run);
        let helper = serve.map(|serve| Helper::start(serve, &request.dialling, &request.workers, &request.land));
        future::ready(helper.transpose())
    };
    let helper = outlast(observer, stop.as_mut(), helper).await?;
    if let Some(helper) = &helper {
        observer(JoinEvent::Serving { address: helper.address.to_string() });
    }
    let bans = || {
        let (records, now) = (request.records.clone(), (request.dialling.clock)());
        on_disk(&request.workers, move || Ok(records.bans(now)?))
    };
    let bans = outlast(observer, stop.as_mut(), bans).await?;
    let keeps_bans = (!request.dry_run).then(|| request.records.clone());
    let sources = Sources::dial(&dialer, &request.sources, Patience::UntilStopped, bans, keeps_bans, observer);
    let joined = join_from(sources, request, &buffers, helper.as_ref(), observer, stop).await;
    if let Some(helper) = helper {
        helper.stop().await;
    }
    // The sources hear that we are done, however it ended, or they keep our places for a while; a lost one doesn't hold us up.
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, dialer.wait_idle()).await;
    joined
}

/// [`join`] from those sources, which are left when it ends.
async fn join_from(
    mut sources: Sources,
    request: &JoinRequest,
    buffers: &BufferPool,
    helper: Option<&Helper>,
    observer: &Observer,
    mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Joined, JoinError> {
    let times = Times { begun: Instant::now(), begun_at: (request.dialling.clock)() };
    // Ends: each turn but the last rules out a manifest that doesn't lead to the files that were vouched for, and whoever offered it; or
    // a snapshot that nobody has any more.
    let mut ruled_out = RuledOut::default();
    let (vouched, landing, landed) = loop {
        // Before who vouches is judged: no change of the configuration is missed.
        let changes = request.dialling.live.changes();
        // catalog: who has what, who vouches
        let vouched = tokio::select! {
            biased;
            vouched = vouch_again(request, &mut sources, &mut ruled_out, observer) => vouched?,
            () = &mut stop => return Err(JoinError::Stopped),
        };
        let landing = Arc::new(Landing::new(Arc::clone(&request.land), vouched.agreed.id().clone()));
        // plan, fetch, verify, load
        let means = Means { sources: &mut sources, ruled_out: &ruled_out, buffers, helper, changes, observer };
        match land(request, &vouched, &landing, means, stop.as_mut()).await {
            Err(error) if vouched.agreed.mode() == Mode::Staged && error.is_of_manifest() => {
                ruled_out.misleads(vouched.agreed.manifest_hash());
                sources.misled(&vouched.agreed, &vouched.offered_by, &error.to_string());
            }
            Err(JoinError::Vanished { id, troubles }) => {
                let block_number = id.block_number.0;
                let reason = JoinError::Vanished { id, troubles }.to_string();
                observer(JoinEvent::OtherSnapshot { block_number, reason });
                ruled_out.give_up(&vouched.agreed, &sources);
            }
            landed => break (vouched, landing, landed?),
        }
    };
    drop(sources);
    finish(request, Arrived { vouched, landing, landed, times }, observer, stop).await
}

/// What has come of a join but for its receipt and the peer.
struct Arrived {
    vouched: Vouched,
    landing: Arc<Landing>,
    landed: Landed,
    times: Times,
}

/// Writes the receipt, and makes what has landed a channel of the peer.
async fn finish(
    request: &JoinRequest,
    arrived: Arrived,
    observer: &Observer,
    mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Joined, JoinError> {
    let Arrived { vouched, landing, mut landed, times } = arrived;
    if !request.dry_run {
        let given_up = GivenUp::find(&request.land, vouched.agreed.id());
        on_disk(&request.workers, move || {
            given_up.clean_up();
            Ok(())
        })
        .await?;
    }
    let summary = summary(&vouched.agreed, request, &landing, &landed, &times);
    let finished_at = (request.dialling.clock)();
    let receipt = || {
        let earlier = match landed.outcome {
            Outcome::AlreadyThere => receipt::of_before(request, &vouched, &summary)?,
            Outcome::Landed | Outcome::DryRun => None,
        };
        // Also of what was found in place: whoever landed it may have been stopped before its receipt, or joined by another rule.
        match earlier {
            None if !request.dry_run => receipt::write(request, &vouched, &summary, &times, finished_at).map(Some),
            earlier => Ok(earlier),
        }
    };
    let receipt = outlast(observer, stop.as_mut(), || future::ready(receipt())).await?;
    let loaded = into_peer::load(request, &vouched, landed.feed.take(), observer, stop).await?;
    Ok(Joined { receipt, loaded, content: landed.fetched.map(|fetched| fetched.proved.content), ..summary })
}

/// How it ended at the landing folder, and what was fetched for it.
struct Landed {
    outcome: Outcome,
    /// The load that took what was proved while it came.
    feed: Option<Feed>,
    fetched: Option<Fetched>,
}

/// What a landing works with.
struct Means<'a> {
    sources: &'a mut Sources,
    /// Of its earlier targets something may be used again.
    ruled_out: &'a RuledOut,
    buffers: &'a BufferPool,
    /// Gives others what is proved.
    helper: Option<&'a Helper>,
    /// Of the configuration, since before who vouches was judged by it.
    changes: watch::Receiver<u64>,
    observer: &'a Observer,
}

/// How long the sources may take to hear that we are done.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(200);

/// Fetches what was agreed on and publishes it, unless it is there.
async fn land(
    request: &JoinRequest,
    vouched: &Vouched,
    landing: &Arc<Landing>,
    means: Means<'_>,
    mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Landed, JoinError> {
    let Means { sources, ruled_out, buffers, helper, changes, observer } = means;
    let agreed = Arc::new(vouched.agreed.clone());
    if let Some(folder) = &request.folder {
        return given_folder::find(request, vouched, folder, stop).await;
    }
    let is_there = || {
        let (landing, agreed) = (Arc::clone(landing), Arc::clone(&agreed));
        on_disk(&request.workers, move || landing.is_there(&agreed))
    };
    let never = pin!(future::pending());
    let there = tokio::select! {
        biased;
        there = outlast(observer, never, is_there) => there?,
        () = &mut stop => return Err(JoinError::Stopped),
    };
    if let Some(content) = there {
        check_channel_config(request, vouched, &content)?;
        if !request.dry_run {
            landing.clean_up(); // a crash right behind the renaming leaves the work folder
        }
        return Ok(Landed { outcome: Outcome::AlreadyThere, feed: None, fetched: None });
    }
    if request.dry_run {
        return Ok(Landed { outcome: Outcome::DryRun, feed: None, fetched: None });
    }

    // plan, fetch, verify: chunk proofs first, then chunks, each proved before it is written
    let instead = request.block_number.is_none().then(|| Instead {
        floor: request.trust.floor(&vouched.config),
        orgs_min: request.trust.orgs_needed(&vouched.config),
        ruled_out,
    });
    let trees: Arc<[FileTree]> = tokio::select! {
        biased;
        trees = chunk_trees(Target { agreed: &agreed, instead }, sources) => trees?.into(),
        () = &mut stop => return Err(JoinError::Stopped),
    };
    let open_store = || {
        let (landing, agreed) = (Arc::clone(landing), Arc::clone(&agreed));
        on_disk(&request.workers, move || {
            let given_up = GivenUp::find(landing.land(), agreed.id());
            Ok((landing.open_store(&agreed, given_up.room())?, given_up))
        })
    };
    let (store, mut candidates, given_up) = match outlast(observer, stop.as_mut(), open_store).await? {
        (Opened::Store(store, candidates), given_up) => (store, candidates, given_up),
        (Opened::There(content), _) => {
            check_channel_config(request, vouched, &content)?;
            return Ok(Landed { outcome: Outcome::AlreadyThere, feed: None, fetched: None });
        }
    };
    let store = Arc::new(*store);
    let stopped = Arc::new(AtomicBool::new(false));
    let reuse = reused(request, given_up, (landing, &agreed), &trees, &store, buffers, &stopped);
    candidates.extend(until_stopped(reuse, stop.as_mut(), &stopped).await?);
    // Where nobody vouches for the manifest, a chunk's proof says only who sent it: others had better ask who sent it themselves.
    let helper = helper.filter(|_| agreed.mode() == Mode::Streaming);
    let _shared = helper.map(|helper| helper.share(&agreed, &trees, &store));
    let feed = into_peer::begin(request, &agreed, observer)?;
    let job = Fetch {
        agreed: Arc::clone(&agreed),
        trees,
        store: Arc::clone(&store),
        candidates,
        sources,
        workers: request.workers.clone(),
        buffers: buffers.clone(),
        plan: PlanConfig { jitter_seed: jitter_seed(request.dialling.identity.identity.id()), ..request.plan.clone() },
        accept_zstd: request.accept_zstd,
        observer: Arc::clone(observer),
        feeder: feed.as_ref().map(Feed::feeder),
        still: &|| still_agreed(request, &vouched.agreed, vouched.nonce.as_ref(), None),
        changes,
        instead,
    };
    let fetched = fetch(job, stop.as_mut()).await;
    if let Err(JoinError::Vanished { id, .. }) = &fetched {
        // While the store's lock is ours: else it may be somebody else's work.
        let (land, id, store) = (Arc::clone(&request.land), id.clone(), Arc::clone(&store));
        on_disk(&request.workers, move || {
            given_up::mark(&*land, &id);
            drop(store);
            Ok(())
        })
        .await?;
    }
    let fetched = fetched?;

    // load: the folder gets its name when all is proved, and those who vouched for it still count
    check_channel_config(request, vouched, &fetched.proved.content)?;
    let publish = || {
        let (landing, agreed, files) = (Arc::clone(landing), Arc::clone(&agreed), fetched.proved.files.clone());
        let (records, store) = (request.records.clone(), Arc::clone(&store));
        on_disk(&request.workers, move || {
            // First: a crash in between must not leave a folder that looks as if our own peer had made it.
            records.landed(agreed.id(), agreed.manifest_hash())?;
            landing.publish(&store, &agreed, &files)
        })
    };
    outlast(observer, stop, publish).await?;
    Ok(Landed { outcome: Outcome::Landed, feed, fetched: Some(fetched) })
}

/// What that disk work gives, unless the job is stopped: then it is told, and waited for.
async fn until_stopped<T>(
    work: impl Future<Output = Result<T, JoinError>>,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    stopped: &AtomicBool,
) -> Result<T, JoinError> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        () = stop => {
            stopped.store(true, Ordering::Relaxed);
            work.await?;
            Err(JoinError::Stopped)
        }
        done = work.as_mut() => done,
    }
}

/// What targets that were given up have that this one needs. They go at once where it needs their room, too.
async fn reused(
    request: &JoinRequest,
    given_up: GivenUp,
    (landing, agreed): (&Arc<Landing>, &Arc<AgreedSnapshot>),
    trees: &Arc<[FileTree]>,
    store: &Arc<Store>,
    buffers: &BufferPool,
    stopped: &Arc<AtomicBool>,
) -> Result<Vec<Candidates>, JoinError> {
    let (landing, agreed, buffers) = (Arc::clone(landing), Arc::clone(agreed), buffers.clone());
    let (trees, store, stopped) = (Arc::clone(trees), Arc::clone(store), Arc::clone(stopped));
    on_disk(&request.workers, move || {
        let reused = given_up.reuse(&trees, &store, &buffers, &stopped);
        if landing.check_space(&store, &agreed, 0).is_err() {
            given_up.clean_up();
        }
        Ok(reused)
    })
    .await
}

/// Threads for proofs and writes: they keep up with any link long before there are so many.
const WORKERS_MAX: usize = 4;

/// Joiners differ in it, and the same one waits the same way each time.
fn jitter_seed(own: IdentityId) -> u64 {
    own.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Threads for a join of that plan: as many as the machine has cores, at most four.
///
/// # Errors
/// [`JoinError::Threads`].
pub fn join_workers(plan: &PlanConfig) -> Result<Workers, JoinError> {
    let count = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    // A place per permit, so that handing over never waits.
    Workers::threads(count, plan.budget_chunks as usize + count).map_err(JoinError::Threads)
}

/// Every file's list of values, merged to the root that was agreed on before a chunk is asked for.
async fn chunk_trees(target: Target<'_>, sources: &mut Sources) -> Result<Vec<FileTree>, JoinError> {
    let agreed = target.agreed;
    let mut trees = Vec::new();
    for (file_index, file) in (0..).zip(agreed.manifest().files()) {
        let tree = if file.size <= CHUNK_BYTES {
            // The agreed root is the chunk's own hash: there is no list.
            FileTree::prove(agreed.manifest(), file_index, Vec::new()).map_err(JoinError::Proof)?
        } else {
            sources.chunk_tree(target, file_index, file).await?
        };
        trees.push(tree);
    }
    Ok(trees)
}

/// Disk work off the thread that drives QUIC.
async fn on_disk<T: Send + 'static>(
    workers: &Workers,
    work: impl FnOnce() -> Result<T, JoinError> + Send + 'static,
) -> Result<T, JoinError> {
    off_the_driver(workers, work).await.map_err(JoinError::Threads)?
}
