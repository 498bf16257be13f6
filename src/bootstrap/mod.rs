//! Where the layers meet: a joining peer gets a snapshot. The whole path is [`join`].
//!
//! Decides the order of things and who is still asked. Leaves to the layers below: what may be believed
//! ([`crate::catalog`]), which bytes come next from whom ([`crate::chunking::plan`]), whether they are right
//! ([`crate::chunking`]), how they move ([`crate::transport`]), how they become durable ([`crate::disk`]).

mod catalogs;
mod dialer;
mod error;
mod event;
mod fetch;
mod in_order;
mod keeper;
mod landing;
mod meter;
mod ready;
mod request;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};

pub use catalogs::{CatalogRequest, Manifests, SourceCatalog, SourceListing, catalogs, manifests};
use dialer::Dialer;
pub use dialer::{DialError, Dialling, SOURCES_MAX, SourceAddress};
pub use error::{JoinError, SourceTrouble};
pub use event::{JoinEvent, Observer, Share, TransferProgress};
use fetch::{Fetch, fetch};
use landing::Landing;
pub use landing::WORK_DIR;
use sources::Sources;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    catalog::{AgreedSnapshot, AgreementError, Judging, Statements, TrustPolicy, agree},
    chunking::{BufferPool, FileTree, Workers, plan::PlanConfig},
    disk::Dir,
    msp::ChannelConfig,
    snapshot::{BlockNumber, CHUNK_BYTES, ContentSummary, Manifest, ManifestHash, SnapshotHash, SnapshotId},
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
    /// Who must agree.
    pub policy: TrustPolicy,
    /// The landing folder.
    pub land: Arc<dyn Dir>,
    /// The scheduler's limits; `budget_chunks` MiB bound the transfer's memory.
    pub plan: PlanConfig,
    /// Whether sources may compress chunks.
    pub accept_zstd: bool,
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
    /// The organisations that offer exactly this.
    pub organisations: BTreeSet<String>,
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
    let started = Instant::now();
    let mut stop = pin!(stop);
    let buffers = BufferPool::new(request.plan.budget_chunks as usize + WORKERS_MAX);
    let budget_bytes = u64::from(request.plan.budget_chunks) * CHUNK_BYTES;
    let dialer = Dialer::new(&request.dialling, buffers.clone(), request.sources.len(), budget_bytes)?;
    let mut sources = Sources::dial(&dialer, &request.sources, true, observer);

    // catalog: who has what, who agrees
    let agreed = tokio::select! {
        agreed = agree_with(&request.dialling, &request.policy, request.block_number, &mut sources) => Arc::new(agreed?),
        () = &mut stop => return Err(JoinError::Stopped),
    };
    observer(told(&agreed));
    let landing = Landing::new(Arc::clone(&request.land), agreed.id().clone());
    let landing = Arc::new(landing);
    let there = on_disk({
        let (landing, agreed) = (Arc::clone(&landing), Arc::clone(&agreed));
        move || landing.is_there(&agreed)
    });
    let there = tokio::select! {
        there = there => there?,
        () = &mut stop => return Err(JoinError::Stopped),
    };
    if there || request.dry_run {
        let outcome = if there { Outcome::AlreadyThere } else { Outcome::DryRun };
        if there && !request.dry_run {
            landing.clean_up(); // a crash right behind the renaming leaves the work folder
        }
        return Ok(summary(&agreed, &landing, outcome, started));
    }

    // plan, fetch, verify: chunk proofs first, then chunks, each proved before it is written
    let trees = tokio::select! {
        trees = chunk_trees(&agreed, &mut sources) => trees?,
        () = &mut stop => return Err(JoinError::Stopped),
    };
    let opened = on_disk({
        let (landing, agreed) = (Arc::clone(&landing), Arc::clone(&agreed));
        move || landing.open_store(&agreed)
    });
    let Some((store, candidates)) = opened.await? else {
        return Ok(summary(&agreed, &landing, Outcome::AlreadyThere, started));
    };
    let store = Arc::new(store);
    let job = Fetch {
        agreed: Arc::clone(&agreed),
        trees: trees.into(),
        store: Arc::clone(&store),
        candidates,
        sources: &mut sources,
        workers: workers(&request.plan)?,
        buffers,
        plan: request.plan.clone(),
        accept_zstd: request.accept_zstd,
        observer: Arc::clone(observer),
    };
    let fetched = fetch(job, stop).await?;

    // load: the folder gets its name when all is proved
    check_channel_config(&request.dialling.channel, &agreed, &fetched.proved.content)?;
    let publish = {
        let (landing, agreed, files) = (Arc::clone(&landing), Arc::clone(&agreed), fetched.proved.files);
        move || landing.publish(store, &agreed, &files)
    };
    on_disk(publish).await?;
    drop(sources);
    // The sources hear that we are done; a lost one doesn't hold us up.
    let _ = tokio::time::timeout(Duration::from_millis(200), dialer.wait_idle()).await;
    Ok(Joined {
        shares: fetched.shares,
        reused_bytes: fetched.reused_bytes,
        content: Some(fetched.proved.content),
        ..summary(&agreed, &landing, Outcome::Landed, started)
    })
}

/// Threads for proofs and writes: they keep up with any link long before there are so many.
const WORKERS_MAX: usize = 4;

fn workers(plan: &PlanConfig) -> Result<Workers, JoinError> {
    let count = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    // A place per permit, so that handing over never waits.
    Workers::threads(count, plan.budget_chunks as usize + count).map_err(JoinError::Threads)
}

/// Waits for all answers and applies the policy; the manifest that it needs is fetched from whoever names it.
async fn agree_with(
    dialling: &Dialling,
    policy: &TrustPolicy,
    block_number: Option<BlockNumber>,
    sources: &mut Sources,
) -> Result<AgreedSnapshot, JoinError> {
    sources.settle().await?;
    let config = &*dialling.channel;
    let channel = config.channel();
    let own_msp = dialling.identity.identity.msp_id();
    let (now, floor) = ((dialling.clock)(), config.block_number());
    let judging = Judging { config, policy, own_msp, now, nonce: None, floor, allow_older: false };
    let statements = Statements::default();
    let mut manifests: BTreeMap<(SnapshotId, ManifestHash), Manifest> = BTreeMap::new();
    // Ends: each turn brings a manifest that wasn't there, or drops a liar, or is the last.
    loop {
        for ((id, manifest_hash), manifest) in &manifests {
            sources.hold_to(id, *manifest_hash, manifest.signable().hash());
        }
        if sources.all_dropped() {
            return Err(sources.nobody());
        }
        // Counted anew each time: who lied about a manifest no longer has a say.
        let mut offers = sources.offers();
        for offer in &mut offers {
            offer.manifest = manifests.get(&(offer.entry.id.clone(), offer.entry.manifest_hash)).cloned();
        }
        match agree(&judging, channel, &offers, &statements, block_number) {
            Ok(agreed) => return Ok(agreed),
            Err(AgreementError::ManifestMissing { id, manifest_hash })
                if !manifests.contains_key(&(id.clone(), manifest_hash)) =>
            {
                let liars = sources.liars();
                match sources.manifest(&id, manifest_hash).await {
                    Ok(manifest) => drop(manifests.insert((id, manifest_hash), manifest)),
                    // Without who named it, something else may be agreed on.
                    Err(_) if sources.liars() > liars => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => {
                return Err(JoinError::Agreement { source: Box::new(error), troubles: sources.troubles() });
            }
        }
    }
}

/// Every file's list of values, merged to the root that was agreed on before a chunk is asked for.
async fn chunk_trees(agreed: &AgreedSnapshot, sources: &mut Sources) -> Result<Vec<FileTree>, JoinError> {
    let mut trees = Vec::new();
    for (file_index, file) in (0..).zip(agreed.manifest().files()) {
        let tree = if file.size <= CHUNK_BYTES {
            // The agreed root is the chunk's own hash: there is no list.
            FileTree::prove(agreed.manifest(), file_index, Vec::new()).map_err(JoinError::Proof)?
        } else {
            sources.chunk_tree(agreed, file_index, file).await?
        };
        trees.push(tree);
    }
    Ok(trees)
}

/// The state's own channel configuration must be readable, and not older than the one that we were given.
fn check_channel_config(
    given: &ChannelConfig,
    agreed: &AgreedSnapshot,
    content: &ContentSummary,
) -> Result<(), JoinError> {
    let id = agreed.id();
    let found = ChannelConfig::from_config_envelope(id.channel.clone(), id.block_number, &content.channel_config)
        .map_err(|error| JoinError::ChannelConfig(Box::new(error)))?;
    if id.block_number >= given.block_number() && found.sequence() < given.sequence() {
        let (found, given) = (found.sequence(), given.sequence());
        return Err(JoinError::ConfigRollback { id: id.clone(), found, given });
    }
    Ok(())
}

fn told(agreed: &AgreedSnapshot) -> JoinEvent {
    let manifest = agreed.manifest();
    JoinEvent::Agreed {
        channel: agreed.id().channel.to_string(),
        block_number: agreed.id().block_number.0,
        snapshot_hash: manifest.signable().hash().to_string(),
        manifest_hash: agreed.manifest_hash().to_string(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        total_bytes: manifest.files().iter().map(|file| file.size).sum(),
        files: manifest.files().len(),
    }
}

fn summary(agreed: &AgreedSnapshot, landing: &Landing, outcome: Outcome, started: Instant) -> Joined {
    Joined {
        outcome,
        id: agreed.id().clone(),
        snapshot_hash: agreed.manifest().signable().hash(),
        manifest_hash: agreed.manifest_hash(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        total_bytes: agreed.manifest().files().iter().map(|file| file.size).sum(),
        reused_bytes: 0,
        shares: Vec::new(),
        path: landing.path(),
        content: None,
        elapsed: started.elapsed(),
    }
}

/// Disk work off the thread that drives QUIC.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JoinError> + Send + 'static,
) -> Result<T, JoinError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(JoinError::Threads(std::io::Error::other(error))),
    }
}
