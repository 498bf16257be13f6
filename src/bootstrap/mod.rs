//! Where the layers meet: a joining peer gets a snapshot. The whole path is [`join`].
//!
//! Decides the order of things and who is still asked. Leaves to the layers below: what may be believed
//! ([`crate::catalog`]), which bytes come next from whom ([`crate::chunking::plan`]), whether they are right
//! ([`crate::chunking`]), how they move ([`crate::transport`]), how they become durable ([`crate::disk`]).

mod catalogs;
mod dialer;
mod drought;
mod error;
mod event;
mod fetch;
mod given_up;
mod haves;
mod helping;
mod in_order;
mod keeper;
mod landing;
mod lease;
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
mod vouching;
mod writing;

use std::{
    collections::BTreeSet,
    future::{self, Future},
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

pub use catalogs::{CatalogRequest, Manifests, SourceCatalog, SourceListing, catalogs, manifests};
use dialer::Dialer;
pub use dialer::{DialError, Dialling, SOURCES_MAX, SourceAddress};
pub use error::{JoinError, SourceTrouble};
pub use event::{JoinEvent, Observer, Share, TransferProgress};
use fetch::{Fetch, Fetched, fetch};
use given_up::GivenUp;
use helping::Helper;
pub use helping::ServeWhileJoining;
pub use landing::WORK_DIR;
use landing::{Landing, Opened};
pub use records::Records;
pub use repair::{RepairRequest, Repaired, repair};
use ruled_out::RuledOut;
use shortage::outlast;
use sources::{Instead, Patience, Sources, Target};
use tokio::{sync::watch, time::Instant};
pub use vouching::JoinTrust;
use vouching::{Vouched, Vouching};

use crate::{
    catalog::{AgreedSnapshot, Equivocation, Judging, Mode, RootOfTrust, Screening},
    chunking::{BufferPool, Candidates, FileTree, Store, Workers, plan::PlanConfig},
    disk::Dir,
    msp::{ChannelConfig, IdentityId},
    snapshot::{BlockNumber, CHUNK_BYTES, ContentSummary, ManifestHash, SnapshotHash, SnapshotId},
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

/// How a join ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The folder is published.
    Landed,
    /// It was there before, and is whole.
    AlreadyThere,
    /// Nothing was fetched: only asked.
    DryRun,
}

/// A join that ended well.
#[derive(Debug)]
pub struct Joined {
    /// How.
    pub outcome: Outcome,
    /// The snapshot.
    pub id: SnapshotId,
    /// SHA-256 of its signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Hash of its manifest.
    pub manifest_hash: ManifestHash,
    /// The organisations that vouch for exactly this.
    pub organisations: BTreeSet<String>,
    /// The rule that they satisfy.
    pub policy: String,
    /// Whether chunks counted at once, or only whole files did.
    pub mode: Mode,
    /// The receipt; written when something landed.
    pub receipt: Option<PathBuf>,
    /// Bytes in its data files.
    pub total_bytes: u64,
    /// Bytes of an earlier run that were not fetched again.
    pub reused_bytes: u64,
    /// What came from whom.
    pub shares: Vec<Share>,
    /// The published folder.
    pub path: PathBuf,
    /// What the files hold; known only after a transfer.
    pub content: Option<ContentSummary>,
    /// The whole command's time.
    pub elapsed: Duration,
}

/// Asks all sources, agrees on a snapshot, fetches it from all of them at once, proves every byte, and publishes the folder.
///
/// Stops, with what was proved saved, when `stop` completes. Needs a tokio runtime with time and I/O.
///
/// # Errors
/// [`JoinError`]. Nothing is published unless everything was proved.
pub async fn join(
    request: &JoinRequest,
    observer: &Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<Joined, JoinError> {
    let buffers = BufferPool::new(request.plan.budget_chunks as usize + WORKERS_MAX);
    let budget_bytes = u64::from(request.plan.budget_chunks) * CHUNK_BYTES;
    let mut stop: Pin<&mut (dyn Future<Output = ()> + Send)> = pin!(stop);
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
                given_up::mark(&*request.land, vouched.agreed.id());
            }
            landed => break (vouched, landing, landed?),
        }
    };
    drop(sources);
    if !request.dry_run {
        GivenUp::find(&request.land, vouched.agreed.id(), ruled_out.earlier()).clean_up();
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
    let receipt = outlast(observer, stop, || future::ready(receipt())).await?;
    Ok(Joined { receipt, content: landed.fetched.map(|fetched| fetched.proved.content), ..summary })
}

/// When a join began.
struct Times {
    begun: Instant,
    begun_at: SystemTime,
}

/// How it ended at the landing folder, and what was fetched for it.
struct Landed {
    outcome: Outcome,
    fetched: Option<Fetched>,
}

/// [`vouch`]; once a snapshot was given up for another one that isn't vouched for after all, it is looked at again if it is offered again,
/// and whoever is lost may bring it back, and is waited for.
async fn vouch_again(
    request: &JoinRequest,
    sources: &mut Sources,
    ruled_out: &mut RuledOut,
    observer: &Observer,
) -> Result<Vouched, JoinError> {
    let mut waits = ruled_out.has_begun();
    loop {
        let error = match vouch(request, sources, ruled_out, observer).await {
            Err(
                error @ (JoinError::Agreement { .. } | JoinError::NotDelivered { .. } | JoinError::NoSource { .. }),
            ) => error,
            vouched => return vouched,
        };
        if ruled_out.take_back(sources) {
            continue;
        }
        if !waits || !sources.somebody_comes() {
            return Err(error);
        }
        observer(JoinEvent::WaitsForSources { reason: error.to_string() });
        ruled_out.take_all_back();
        waits = sources.somebody_came().await;
    }
}

/// Agrees on a snapshot, and keeps what was said about it.
async fn vouch(
    request: &JoinRequest,
    sources: &mut Sources,
    ruled_out: &RuledOut,
    observer: &Observer,
) -> Result<Vouched, JoinError> {
    let dialling = &request.dialling;
    let vouching = Vouching::new(
        &request.trust,
        Some((&request.records, &request.workers)),
        dialling.identity.identity.msp_id(),
        &dialling.clock,
        ruled_out,
    )?;
    let config = dialling.config()?;
    let vouched = vouching.agree(&config, request.block_number, sources).await;
    let proofs: &[Equivocation] = match &vouched {
        Ok(Vouched { evidence, .. }) | Err(JoinError::Agreement { evidence, .. }) => evidence,
        Err(_) => &[],
    };
    for proof in proofs {
        let proof = match config.block_bytes() {
            Some(block) => proof.clone().with_config_block(block.clone()),
            None => proof.clone(),
        };
        let kept = (!request.dry_run).then(|| request.records.evidence(&proof));
        let file = match kept.transpose() {
            Ok(None) => "nowhere: a dry run writes nothing".to_owned(),
            Ok(Some(path)) => path.display().to_string(),
            Err(error) => format!("nowhere: {error}"),
        };
        tracing::error!(org = %proof.msp_id(), %file, "an organisation contradicts itself: it doesn't count");
        observer(JoinEvent::Equivocation { msp_id: proof.msp_id().to_string(), what: proof.to_string(), file });
    }
    let vouched = vouched?;
    let keep = {
        let (records, statements) = (request.records.clone(), vouched.statements.clone());
        let (own_msp, now) = (dialling.identity.identity.msp_id().clone(), (dialling.clock)());
        move || {
            records.keep(&Screening { config: &config, own_msp: &own_msp, now }, &statements);
            Ok(())
        }
    };
    if !request.dry_run {
        on_disk(&request.workers, keep).await?;
    }
    observer(told(&vouched.agreed, &request.trust));
    Ok(vouched)
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
        return Ok(Landed { outcome: Outcome::AlreadyThere, fetched: None });
    }
    if request.dry_run {
        return Ok(Landed { outcome: Outcome::DryRun, fetched: None });
    }

    // plan, fetch, verify: chunk proofs first, then chunks, each proved before it is written
    let instead = request.block_number.is_none().then(|| Instead {
        floor: request.trust.floor(&vouched.config),
        orgs_min: request.trust.orgs_needed(&vouched.config),
    });
    let trees: Arc<[FileTree]> = tokio::select! {
        biased;
        trees = chunk_trees(Target { agreed: &agreed, instead }, sources) => trees?.into(),
        () = &mut stop => return Err(JoinError::Stopped),
    };
    let open_store = || {
        let (landing, agreed, earlier) = (Arc::clone(landing), Arc::clone(&agreed), ruled_out.earlier().clone());
        on_disk(&request.workers, move || {
            let given_up = GivenUp::find(landing.land(), agreed.id(), &earlier);
            Ok((landing.open_store(&agreed, given_up.room())?, given_up))
        })
    };
    let (store, mut candidates, given_up) = match outlast(observer, stop.as_mut(), open_store).await? {
        (Opened::Store(store, candidates), given_up) => (store, candidates, given_up),
        (Opened::There(content), _) => {
            check_channel_config(request, vouched, &content)?;
            return Ok(Landed { outcome: Outcome::AlreadyThere, fetched: None });
        }
    };
    let store = Arc::new(*store);
    candidates.extend(reused(request, given_up, landing, &agreed, &trees, &store, buffers).await?);
    // Where nobody vouches for the manifest, a chunk's proof says only who sent it: others had better ask who sent it themselves.
    let helper = helper.filter(|_| agreed.mode() == Mode::Streaming);
    let _shared = helper.map(|helper| helper.share(&agreed, &trees, &store));
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
        still: &|| still_agreed(request, vouched, None),
        changes,
        instead,
    };
    let fetched = fetch(job, stop.as_mut()).await?;

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
    Ok(Landed { outcome: Outcome::Landed, fetched: Some(fetched) })
}

/// What targets that were given up have that this one needs. They go at once where it needs their room, too.
async fn reused(
    request: &JoinRequest,
    given_up: GivenUp,
    landing: &Arc<Landing>,
    agreed: &Arc<AgreedSnapshot>,
    trees: &Arc<[FileTree]>,
    store: &Arc<Store>,
    buffers: &BufferPool,
) -> Result<Vec<Candidates>, JoinError> {
    let (landing, agreed, buffers) = (Arc::clone(landing), Arc::clone(agreed), buffers.clone());
    let (trees, store) = (Arc::clone(trees), Arc::clone(store));
    on_disk(&request.workers, move || {
        let reused = given_up.reuse(&trees, &store, &buffers);
        if landing.check_space(&store, &agreed, 0).is_err() {
            given_up.clean_up();
        }
        Ok(reused)
    })
    .await
}

/// Whether those who vouched still count, by the configuration and the clock of the moment; and by the snapshot's own, if it is known.
fn still_agreed(request: &JoinRequest, vouched: &Vouched, state: Option<&ChannelConfig>) -> Result<(), JoinError> {
    let dialling = &request.dialling;
    let config = dialling.config()?;
    let judging = Judging {
        config: &config,
        policy: &request.trust.policy,
        own_msp: dialling.identity.identity.msp_id(),
        now: (dialling.clock)(),
        nonce: Some(&vouched.nonce),
        floor: request.trust.floor(&config),
        allow_older: request.trust.allow_older,
    };
    let confirmed = vouched.agreed.confirm(&judging, state);
    confirmed.map_err(|error| JoinError::NoLongerAgreed { id: vouched.agreed.id().clone(), source: Box::new(error) })
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

/// The state's own channel configuration must be readable, and not older than the one that we were given; and those who vouch must
/// suffice though only members by both count (trust.md 2.4).
fn check_channel_config(request: &JoinRequest, vouched: &Vouched, content: &ContentSummary) -> Result<(), JoinError> {
    let (given, id) = (request.dialling.config()?, vouched.agreed.id());
    let found = ChannelConfig::from_config_envelope(id.channel.clone(), id.block_number, &content.channel_config)
        .map_err(|error| JoinError::ChannelConfig(Box::new(error)))?;
    // An older snapshot, asked for on purpose, holds an older configuration.
    let newer = id.block_number >= given.block_number();
    if newer && found.sequence() < given.sequence() {
        let (found, given) = (found.sequence(), given.sequence());
        return Err(JoinError::ConfigRollback { id: id.clone(), found, given });
    }
    still_agreed(request, vouched, newer.then_some(&found))
}

fn told(agreed: &AgreedSnapshot, trust: &JoinTrust) -> JoinEvent {
    let manifest = agreed.manifest();
    JoinEvent::Agreed {
        channel: agreed.id().channel.to_string(),
        block_number: agreed.id().block_number.0,
        snapshot_hash: manifest.signable().hash().to_string(),
        manifest_hash: agreed.manifest_hash().to_string(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        policy: trust.policy.metadata.as_str().to_owned(),
        staged: agreed.mode() == Mode::Staged,
        total_bytes: manifest.files().iter().map(|file| file.size).sum(),
        files: manifest.files().len(),
    }
}

fn summary(
    agreed: &AgreedSnapshot,
    request: &JoinRequest,
    landing: &Landing,
    landed: &Landed,
    times: &Times,
) -> Joined {
    Joined {
        outcome: landed.outcome,
        id: agreed.id().clone(),
        snapshot_hash: agreed.manifest().signable().hash(),
        manifest_hash: agreed.manifest_hash(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        policy: request.trust.policy.metadata.as_str().to_owned(),
        mode: agreed.mode(),
        receipt: None,
        total_bytes: agreed.manifest().files().iter().map(|file| file.size).sum(),
        reused_bytes: landed.fetched.as_ref().map_or(0, |fetched| fetched.reused_bytes),
        shares: landed.fetched.as_ref().map(|fetched| fetched.shares.clone()).unwrap_or_default(),
        path: landing.path(),
        content: None,
        elapsed: times.begun.elapsed(),
    }
}

/// Disk work off the thread that drives QUIC.
async fn on_disk<T: Send + 'static>(
    workers: &Workers,
    work: impl FnOnce() -> Result<T, JoinError> + Send + 'static,
) -> Result<T, JoinError> {
    off_the_driver(workers, work).await.map_err(JoinError::Threads)?
}
