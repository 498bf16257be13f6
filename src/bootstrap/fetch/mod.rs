//! Drives the plan: what it asks for is asked, what arrives is proved on the workers, written, and hashed in order.
//!
//! ```text
//!            Request                     WireChunk                  VerifiedChunk            VerifiedChunk, in order
//!   Plan ----------------> range stream ------------> worker: proof --------------> store --------------------------> in-order pass
//!     ^  (one task each)                                |  rejected: source dropped, asked elsewhere       SHA-256, content |
//!     +------------------------- events ----------------+------------------------------------------------------------------+
//! ```
//!
//! [`Driver`] holds the state; each of the files here is one side of it: the loop, what is asked, what is hashed, and what the disk and
//! the sources say.

mod asking;
mod disk;
mod driver;
mod hashing;
mod message;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use message::Failing;
pub(super) use message::{Answer, Message};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time,
};

use super::{
    drought::Drought,
    error::JoinError,
    event::{Observer, Share},
    feed::Feeder,
    haves::Listening,
    in_order::{Inbox, Pass, Proved, Ranges},
    keeper::SourceIndex,
    lease::Leasing,
    meter::Meter,
    shortage::Shortage,
    sources::{Instead, Sources},
    writing::Writing,
};
use crate::{
    catalog::AgreedSnapshot,
    chunking::{
        BufferPool, Candidates, FileTree, Store, Workers,
        plan::{Layout, Plan, PlanConfig, RequestId, SourceId},
    },
    snapshot::SnapshotFile,
};

/// What a transfer works with.
pub(super) struct Fetch<'a> {
    pub(super) agreed: Arc<AgreedSnapshot>,
    pub(super) trees: Arc<[FileTree]>,
    pub(super) store: Arc<Store>,
    pub(super) candidates: Vec<Candidates>,
    pub(super) sources: &'a mut Sources,
    pub(super) workers: Workers,
    pub(super) buffers: BufferPool,
    pub(super) plan: PlanConfig,
    pub(super) accept_zstd: bool,
    pub(super) observer: Observer,
    /// A load that takes what is proved, in the order of the line.
    pub(super) feeder: Option<Feeder>,
    /// Whether those who vouched still count: asked whenever the channel's configuration changes.
    pub(super) still: &'a (dyn Fn() -> Result<(), JoinError> + Send + Sync),
    pub(super) changes: watch::Receiver<u64>,
    /// What may be taken instead; `None`: nothing may.
    pub(super) instead: Option<Instead<'a>>,
}

/// What a transfer gives.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) proved: Proved,
    pub(super) shares: Vec<Share>,
    pub(super) reused_bytes: u64,
}

struct Driver<'a> {
    job: Fetch<'a>,
    layout: Layout,
    plan: Plan,
    started: time::Instant,
    inbox: Inbox,
    sender: mpsc::UnboundedSender<Message>,
    /// Sources that have only some chunks, and say which.
    partial: BTreeMap<SourceIndex, Listening>,
    /// Our leases at the sources that have the snapshot.
    leases: BTreeMap<SourceIndex, Leasing>,
    requests: BTreeMap<RequestId, (SourceId, JoinHandle<()>)>,
    /// Chunks that wait in memory and still hold their permit.
    kept: BTreeSet<u64>,
    hashed: u64,
    /// What the last source that was dropped did.
    last_lie: Option<String>,
    shares: BTreeMap<SourceIndex, Share>,
    meter: Meter,
    drought: Drought,
    /// When sources and agreement were judged last.
    judged: time::Instant,
    syncing: bool,
    /// Chunks that the workers have, of which no answer has come.
    in_workers: u64,
    /// Files whose sync failed, to be begun anew before anything is asked.
    failing: Vec<Failing>,
    /// Until when the transfer rests, and what for.
    paused: Option<(time::Instant, Shortage)>,
    /// A proved chunk that found the disk full. Once the pause is over it is tried before anything is asked: a disk that stays full must
    /// not cost the network a budget of chunks each time.
    refused: Option<Box<Writing>>,
    /// The position of the one that is being tried.
    trying: Option<u64>,
    /// Positions that an earlier run left, and their bytes.
    reused: Ranges,
    reused_bytes: u64,
    /// How often each file was begun anew.
    started_over: BTreeMap<u32, u32>,
    /// What the pass gave, while the last chunks are still to be accounted for.
    proved: Option<Proved>,
    /// The in-order pass, where it has no thread of its own.
    pass: Option<Pass>,
}

/// Fetches, proves and writes every chunk and proves every file.
///
/// # Errors
/// [`JoinError::Stopped`] when `stop` ends; what makes going on senseless otherwise. The store keeps what was proved.
pub(super) async fn fetch(
    job: Fetch<'_>,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Fetched, JoinError> {
    // The files that tell whose records follow lead the line: a load beside the transfer needs them first.
    let files = job.agreed.manifest().files();
    let rows = [SnapshotFile::PrivateStateHashesMetadata, SnapshotFile::PublicStateMetadata];
    let is_first = |index: u32| {
        usize::try_from(index).ok().and_then(|index| files.get(index)).is_some_and(|listed| rows.contains(&listed.file))
    };
    let layout = Layout::with_first(files.iter().map(|file| file.size), is_first)?;
    let (sender, mut inbound) = mpsc::unbounded_channel();
    let inbox = Inbox::new(job.plan.budget_chunks);
    let plan = Plan::new(layout.clone(), job.plan.clone());
    let meter = Meter::new(job.agreed.manifest().files().iter().map(|file| file.size).sum());
    let started = time::Instant::now();
    let mut driver = Driver {
        layout,
        plan,
        started,
        inbox: inbox.clone(),
        sender,
        partial: BTreeMap::new(),
        leases: BTreeMap::new(),
        requests: BTreeMap::new(),
        kept: BTreeSet::new(),
        hashed: 0,
        last_lie: None,
        shares: BTreeMap::new(),
        meter,
        drought: Drought::begin(),
        judged: started,
        syncing: false,
        in_workers: 0,
        failing: Vec::new(),
        paused: None,
        refused: None,
        trying: None,
        reused: Ranges::default(),
        reused_bytes: 0,
        started_over: BTreeMap::new(),
        proved: None,
        pass: None,
        job,
    };
    driver.resume();
    let pass = driver.start_pass()?;
    let result = driver.run(&mut inbound, stop).await;
    driver.requests.values().for_each(|(_, task)| task.abort());
    driver.close_leases().await;
    inbox.stop();
    if let (Err(_), Some(feeder)) = (&result, &driver.job.feeder) {
        feeder.call_off(); // the pass may wait for the load
    }
    if let Some(pass) = pass {
        let _ = tokio::task::spawn_blocking(move || pass.join()).await; // its end was already told by message
    }
    if let Err(JoinError::Stopped) = &result {
        driver.sync_at_end().await;
    }
    result.map(|proved| Fetched {
        proved,
        shares: driver.shares.into_values().collect(),
        reused_bytes: driver.reused_bytes,
    })
}
