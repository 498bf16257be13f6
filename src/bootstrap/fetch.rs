//! Drives the plan: what it asks for is asked, what arrives is proved on the workers, written, and hashed in order.
//!
//! ```text
//!            Request                     WireChunk                  VerifiedChunk            VerifiedChunk, in order
//!   Plan ----------------> range stream ------------> worker: proof --------------> store --------------------------> in-order pass
//!     ^  (one task each)                                |  rejected: source dropped, asked elsewhere       SHA-256, content |
//!     +------------------------- events ----------------+------------------------------------------------------------------+
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time,
};

use super::{
    error::JoinError,
    event::{JoinEvent, Observer, Share},
    haves::{Listen, Listening},
    in_order::{Inbox, Pass, PassOf, Proved, Ranges},
    keeper::{News, Peer, SourceIndex},
    lease::Leasing,
    meter::Meter,
    ready::Ready,
    request::{self, Asked},
    sources::Sources,
    writing::Writing,
};
use crate::{
    catalog::AgreedSnapshot,
    chunking::{
        BufferPool, Candidates, FileTree, Store, StoreError, Workers,
        plan::{Action, Event, Have, Layout, Plan, PlanConfig, RequestId, SourceId, SourceState},
    },
    disk::DiskError,
    snapshot::{BlockNumber, SnapshotFile},
    transport::off_the_driver,
};

/// How often progress is told and the store is asked whether a sync is due.
const TICK: Duration = Duration::from_millis(200);
/// How long the transfer rests after the disk said that it's full.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(3);
/// How often sources and agreement are judged by the clock, as the serving side judges its sessions.
const JUDGE_EVERY: Duration = Duration::from_secs(60);
/// How often one file may begin anew before the disk counts as broken.
const START_OVER_MAX: u32 = 3;

/// What the parts of a transfer tell its driver.
#[derive(Debug)]
pub(super) enum Message {
    /// Straight to the plan.
    Plan(Event),
    /// A chunk is proved and written; `kept`: it waits in memory for its turn.
    Written { linear: u64, source: SourceId, wire_bytes: u64, raw_bytes: u64, kept: bool },
    /// A chunk failed its proof.
    Rejected { linear: u64, source: SourceId, peer: Peer, reason: String },
    /// A proved chunk couldn't be written.
    NotWritten { writing: Box<Writing>, error: StoreError },
    /// A range request failed.
    Ended(Asked),
    /// The in-order pass has hashed everything before this position.
    Hashed { linear: u64 },
    /// The store doesn't hold these after all.
    Lost { chunks: BTreeSet<u64> },
    /// A file is whole and right.
    FileVerified { file: SnapshotFile, size: u64 },
    /// A group sync is through; these files failed and were begun anew.
    Synced(Result<Vec<Failing>, StoreError>),
    /// A source is about to delete the snapshot.
    LeaseEnding { source: SourceIndex, drain: Duration },
    /// Every file is.
    Proved(Box<Proved>),
    /// The transfer can't go on.
    Failed(Box<JoinError>),
}

/// A file whose sync failed; it was begun anew.
#[derive(Debug)]
pub(super) struct Failing {
    file_index: u32,
    file: SnapshotFile,
    source: Arc<DiskError>,
}

/// The answer that the driver waits for: if whoever owes it panics, the driver hears that instead of nothing.
pub(super) struct Answer {
    sender: mpsc::UnboundedSender<Message>,
    part: &'static str,
    given: bool,
}

impl Answer {
    pub(super) fn new(sender: &mpsc::UnboundedSender<Message>, part: &'static str) -> Self {
        Self { sender: sender.clone(), part, given: false }
    }

    pub(super) fn give(mut self, message: Message) {
        self.given = true;
        drop(self.sender.send(message)); // nobody listens once the transfer is over
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            drop(self.sender.send(Message::Failed(Box::new(JoinError::Bug { part: self.part }))));
        }
    }
}

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
    /// Whether those who vouched still count: asked whenever the channel's configuration changes.
    pub(super) still: &'a (dyn Fn() -> Result<(), JoinError> + Send + Sync),
    pub(super) changes: watch::Receiver<u64>,
    /// The oldest block that may be taken instead; `None`: no other may.
    pub(super) instead_from: Option<BlockNumber>,
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
    /// When sources and agreement were judged last.
    judged: time::Instant,
    syncing: bool,
    paused_until: Option<time::Instant>,
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
    let layout = Layout::new(job.agreed.manifest().files().iter().map(|file| file.size))?;
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
        judged: started,
        syncing: false,
        paused_until: None,
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

impl Driver<'_> {
    async fn run(
        &mut self,
        inbound: &mut mpsc::UnboundedReceiver<Message>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<Proved, JoinError> {
        let ready: Vec<(SourceIndex, Ready)> =
            self.job.sources.ready().iter().map(|(index, ready)| (*index, ready.clone())).collect();
        for (index, ready) in ready {
            self.source_ready(index, &ready);
        }
        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            self.advance_pass();
            self.poll_plan();
            // Nothing is asked while the disk is full: then the plan's own wake-ups mean nothing.
            let wakeup = match self.trying {
                Some(_) => None,
                None => self.paused_until.or_else(|| self.plan.next_wakeup().map(|at| self.started + at)),
            };
            tokio::select! {
                biased;
                () = &mut stop => return Err(JoinError::Stopped),
                // Rare, and before the chunks: a fast transfer must not silence them.
                _ = tick.tick() => {
                    self.tick();
                    if let Some(error) = self.withheld() {
                        return Err(error);
                    }
                }
                // A configuration that changes may take a source's membership, or the agreement itself; time may take a certificate.
                () = due(&mut self.job.changes, self.judged + JUDGE_EVERY) => {
                    self.judged = time::Instant::now();
                    (self.job.still)()?;
                    for news in self.job.sources.judge_again() {
                        self.source_news(news);
                    }
                }
                news = self.job.sources.next() => self.source_news(news),
                Some(message) = inbound.recv() => {
                    if let Some(proved) = self.take(message)? {
                        self.tell_progress();
                        return Ok(proved);
                    }
                    // What has piled up goes in before the plan is asked again.
                    for _ in 0..64 {
                        let Ok(message) = inbound.try_recv() else { break };
                        if let Some(proved) = self.take(message)? {
                            self.tell_progress();
                            return Ok(proved);
                        }
                    }
                }
                () = sleep_until(wakeup) => {}
            }
            if self.nobody_left() {
                return Err(match self.last_lie.clone().filter(|_| self.job.sources.all_dropped()) {
                    Some(reason) => JoinError::EverySourceDropped { reason },
                    None => JoinError::NoSource { troubles: self.job.sources.troubles() },
                });
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn event(&mut self, event: Event) {
        let now = self.now();
        self.plan.handle(now, event);
    }

    /// What the store claims isn't asked for; the in-order pass proves it when it reads it.
    fn resume(&mut self) {
        let mut bytes = 0;
        for candidates in std::mem::take(&mut self.job.candidates) {
            for chunk in candidates.claimed.into_iter().chain(candidates.unclaimed) {
                let Some(linear) = self.layout.linear(candidates.file_index, chunk) else { continue };
                bytes += self.layout.bytes(linear);
                self.inbox.claimed(linear, linear + 1);
                self.reused.insert(linear, linear + 1);
                self.event(Event::AlreadyPresent { range: linear..linear + 1 });
            }
        }
        self.reused_bytes = bytes;
        if bytes > 0 {
            (self.job.observer)(JoinEvent::Resuming { bytes });
            self.meter.start_at(bytes);
        }
    }

    /// Starts the in-order pass: on its own thread, unless nothing here has one.
    fn start_pass(&mut self) -> Result<Option<std::thread::JoinHandle<()>>, JoinError> {
        let of = PassOf {
            agreed: Arc::clone(&self.job.agreed),
            layout: self.layout.clone(),
            trees: Arc::clone(&self.job.trees),
            store: Arc::clone(&self.job.store),
            buffers: self.job.buffers.clone(),
            started: self.started,
        };
        let pass = Pass::new(of, self.inbox.clone());
        let sender = self.sender.clone();
        let report = move |message| drop(sender.send(message)); // nobody listens once the transfer is over
        if matches!(self.job.workers, Workers::Threads(_)) {
            return pass.start(report).map(Some).map_err(JoinError::Threads);
        }
        self.pass = Some(pass);
        Ok(None)
    }

    /// Lets a pass without a thread take what has come.
    fn advance_pass(&mut self) {
        let sender = &self.sender;
        let report = |message| drop(sender.send(message));
        if self.pass.as_mut().is_some_and(|pass| !pass.advance(&report)) {
            self.pass = None;
        }
    }

    fn poll_plan(&mut self) {
        if self.paused_until.is_some_and(|until| time::Instant::now() < until) {
            return;
        }
        self.paused_until = None;
        self.try_refused();
        if self.trying.is_some() {
            return;
        }
        while let Some(action) = self.plan.poll(self.started.elapsed()) {
            match action {
                Action::Request { id, source, file_index, first, count, class } => {
                    let lease = self.leases.get(&source.0).map(|leasing| Arc::clone(&leasing.lease));
                    let Some((ready, lease)) = self.job.sources.ready().get(&source.0).zip(lease) else {
                        self.event(Event::SourceLeft { source });
                        continue;
                    };
                    let ask = request::Ask {
                        id,
                        source,
                        file_index,
                        first,
                        count,
                        class,
                        snapshot: self.job.agreed.id().clone(),
                        manifest_hash: self.job.agreed.manifest_hash(),
                        accept_zstd: self.job.accept_zstd,
                        session: Arc::clone(&ready.session),
                        lease,
                        layout: self.layout.clone(),
                        trees: Arc::clone(&self.job.trees),
                        store: Arc::clone(&self.job.store),
                        workers: self.job.workers.clone(),
                        buffers: self.job.buffers.clone(),
                        inbox: self.inbox.clone(),
                        started: self.started,
                        sender: self.sender.clone(),
                    };
                    self.requests.insert(id, (source, tokio::spawn(ask.run())));
                }
                Action::Cancel { id, .. } => {
                    if let Some((_, task)) = self.requests.remove(&id) {
                        task.abort(); // dropping the stream sends STOP_SENDING
                    }
                }
            }
        }
    }

    /// Has the chunk that found the disk full written once more.
    fn try_refused(&mut self) {
        let Some(writing) = self.refused.take() else { return };
        self.trying = Some(writing.linear);
        let (store, inbox, started) = (Arc::clone(&self.job.store), self.inbox.clone(), self.started);
        let answer = Answer::new(&self.sender, "a worker");
        self.job.workers.run(move |_| writing.write(&store, &inbox, started.elapsed(), answer));
    }

    fn take(&mut self, message: Message) -> Result<Option<Proved>, JoinError> {
        match message {
            Message::Plan(event) => {
                if let Event::ChunkArrived { linear, .. } = event {
                    self.meter.received(self.layout.bytes(linear));
                }
                self.event(event);
            }
            Message::Written { linear, source, wire_bytes, raw_bytes, kept } => {
                self.trying.take_if(|trying| *trying == linear);
                if !self.plan.is_wanted(linear) {
                    return Ok(None); // the copy that came second: it changes nothing
                }
                self.event(Event::ChunkVerified { linear });
                if self.plan.is_wanted(linear) {
                    // Its request was given up meanwhile; the chunk is as good.
                    self.event(Event::AlreadyPresent { range: linear..linear + 1 });
                } else if kept && linear >= self.hashed {
                    self.kept.insert(linear);
                } else {
                    self.event(Event::ChunkReleased { linear });
                }
                self.job.sources.gave(source.0);
                self.meter.add(self.started.elapsed(), raw_bytes);
                let share = self.shares.entry(source.0).or_default();
                share.verified_bytes += raw_bytes;
                share.wire_bytes += wire_bytes;
            }
            Message::Rejected { linear, source, peer, reason } => {
                self.event(Event::ChunkRejected { linear, source });
                self.shares.entry(source.0).or_default().chunks_rejected += 1;
                self.ban(&peer, &reason);
            }
            Message::NotWritten { writing, error } => self.not_written(writing, error)?,
            Message::Ended(asked) => self.request_ended(asked),
            Message::Hashed { linear } => {
                self.hashed = linear;
                let later = self.kept.split_off(&linear);
                for released in std::mem::replace(&mut self.kept, later) {
                    self.event(Event::ChunkReleased { linear: released });
                }
                self.event(Event::LoaderAt { linear });
            }
            Message::Lost { chunks } => self.lost(&chunks),
            Message::LeaseEnding { source, drain } => {
                let source = self.job.sources.address(source).to_owned();
                (self.job.observer)(JoinEvent::SourceEnds { source, drain });
            }
            Message::FileVerified { file, size } => {
                (self.job.observer)(JoinEvent::FileVerified { file: file.to_string(), size });
            }
            Message::Synced(result) => self.synced(result)?,
            Message::Proved(proved) => self.proved = Some(*proved),
            Message::Failed(error) => return Err(*error),
        }
        Ok(self.finished())
    }

    /// What the pass gave, once every chunk that it hashed lies in the store, too.
    fn finished(&mut self) -> Option<Proved> {
        // The pass may be through before the worker that wrote the last chunk has said so.
        let status = self.plan.status();
        if self.proved.is_none() || status.chunks_verified < status.chunks_total {
            return None;
        }
        // And a file may have begun anew behind the pass: what was hashed from memory counts only once it is written.
        let missing = self.job.store.missing();
        if missing.is_empty() {
            return self.proved.take();
        }
        let missing = missing.into_iter().filter_map(|(file_index, chunk)| self.layout.linear(file_index, chunk));
        self.lost(&missing.collect());
        None
    }

    fn request_ended(&mut self, asked: Asked) {
        self.requests.remove(&asked.id);
        if let Some(error) = &asked.refused {
            self.job.sources.refused(asked.source.0, error);
        }
        if let Some(reason) = asked.lie {
            self.ban(&asked.peer, &reason);
        }
        self.event(Event::RequestEnded { request: asked.id, outcome: asked.outcome });
    }

    fn not_written(&mut self, writing: Box<Writing>, error: StoreError) -> Result<(), JoinError> {
        let linear = writing.linear;
        self.trying.take_if(|trying| *trying == linear);
        // But for one, the chunks are dropped: they are fetched again when there is room.
        if self.plan.is_wanted(linear) {
            self.event(Event::ChunkVerified { linear });
            self.event(Event::Lost { range: linear..linear + 1 });
        }
        match error {
            StoreError::Disk(error) if error.is_full() => {
                if self.paused_until.is_none() {
                    (self.job.observer)(JoinEvent::DiskFull { reason: error.to_string() });
                }
                self.refused.get_or_insert(writing);
                self.paused_until = Some(time::Instant::now() + DISK_FULL_PAUSE);
                Ok(())
            }
            StoreError::StartsOver { .. } => Ok(()),
            error => Err(error.into()),
        }
    }

    fn lost(&mut self, chunks: &BTreeSet<u64>) {
        for &linear in chunks {
            let bytes = self.layout.bytes(linear);
            if !self.plan.is_wanted(linear) {
                self.meter.remove(bytes);
            }
            if self.reused.contains(linear) {
                self.reused.remove(linear, linear + 1);
                self.reused_bytes -= bytes;
            }
            self.event(Event::Lost { range: linear..linear + 1 });
        }
    }

    fn synced(&mut self, result: Result<Vec<Failing>, StoreError>) -> Result<(), JoinError> {
        self.syncing = false;
        match result {
            Ok(failing) => failing.into_iter().try_for_each(|failing| self.begun_anew(failing)),
            Err(StoreError::Disk(error)) if error.is_full() => {
                (self.job.observer)(JoinEvent::DiskFull { reason: error.to_string() });
                self.paused_until = Some(time::Instant::now() + DISK_FULL_PAUSE);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// All chunks of a file are missing again, whether they were hashed or not.
    fn begun_anew(&mut self, Failing { file_index, file, source }: Failing) -> Result<(), JoinError> {
        let times = self.started_over.entry(file_index).or_default();
        *times += 1;
        if *times > START_OVER_MAX {
            return Err(JoinError::DiskKeepsFailing { file, times: *times, source });
        }
        tracing::warn!(%file, error = %source, "a sync failed: the file is fetched again");
        if let Some(range) = self.layout.file(file_index) {
            self.inbox.lost(range.start, range.end);
            self.lost(&range.collect());
        }
        Ok(())
    }

    fn source_news(&mut self, news: News) {
        match news {
            News::Ready(index, ready) => self.source_ready(index, &ready),
            News::Listed(index, listed) => self.source_listed(index, &listed),
            News::GivenUp(_) | News::Lied(..) => {}
            News::Dropped(sources, reason) => self.dropped(&sources, &reason),
            News::Failed(index, _) | News::Lost(index, _) => {
                self.partial.remove(&index);
                self.leases.remove(&index);
                self.event(Event::SourceLeft { source: SourceId(index) });
            }
        }
    }

    fn source_ready(&mut self, index: SourceIndex, ready: &Ready) {
        let agreed = &self.job.agreed;
        if !self.job.sources.ready().contains_key(&index) || !ready.has(agreed.id(), agreed.manifest_hash()) {
            return;
        }
        let peer = ready.session.peer();
        let share = self.shares.entry(index).or_default();
        share.source = self.job.sources.address(index).to_owned();
        share.msp_id = peer.msp_id.to_string();
        let mut identity = blake3::Hasher::new();
        identity.update(peer.msp_id.as_str().as_bytes()).update(peer.identity_id.as_bytes());
        identity.update(share.source.as_bytes());
        let identity = *identity.finalize().as_bytes();
        self.lease_at(index, ready);
        self.source_has(index, ready);
        self.event(Event::SourceJoined { source: SourceId(index), identity, rtt: ready.session.rtt() });
    }

    /// Chunks need a lease: opened with the first request.
    fn lease_at(&mut self, index: SourceIndex, ready: &Ready) {
        if self.leases.get(&index).is_some_and(|leasing| leasing.is_of(&ready.session)) {
            return;
        }
        let (id, manifest_hash) = (self.job.agreed.id().clone(), self.job.agreed.manifest_hash());
        self.leases.insert(index, Leasing::start(index, &ready.session, id, manifest_hash, &self.sender));
    }

    /// However the transfer ended; a source that doesn't hear it lets our lease expire.
    async fn close_leases(&mut self) {
        let mut closing = JoinSet::new();
        for leasing in std::mem::take(&mut self.leases).into_values() {
            closing.spawn(leasing.close());
        }
        while closing.join_next().await.is_some() {}
    }

    /// It has every chunk, or nothing until it says what.
    fn source_has(&mut self, index: SourceIndex, ready: &Ready) {
        let (agreed, source) = (&self.job.agreed, SourceId(index));
        let partial = ready.is_partial(agreed.id(), agreed.manifest_hash());
        let listen = partial.then(|| Listen {
            source,
            session: Arc::clone(&ready.session),
            snapshot: agreed.id().clone(),
            manifest_hash: agreed.manifest_hash(),
            files: u32::try_from(agreed.manifest().files().len()).unwrap_or(u32::MAX),
            layout: self.layout.clone(),
            sender: self.sender.clone(),
        });
        // The earlier one first: what it still tells is of another session.
        self.partial.remove(&index);
        let have = if partial { Have::Ranges(Vec::new()) } else { Have::Complete };
        self.event(Event::Has { source, have });
        self.partial.extend(listen.map(|listen| (index, listen.start())));
    }

    /// It no longer has the snapshot, or has it now.
    fn source_listed(&mut self, index: SourceIndex, listed: &Ready) {
        let agreed = &self.job.agreed;
        let source = SourceId(index);
        let asked = self.plan.status().sources.get(&source).is_some_and(|status| status.state != SourceState::Gone);
        match (listed.has(agreed.id(), agreed.manifest_hash()), asked) {
            (true, false) => self.source_ready(index, listed),
            (false, true) => {
                self.partial.remove(&index);
                self.event(Event::SourceLeft { source });
            }
            _ => {}
        }
    }

    /// Drops every address of an identity.
    fn ban(&mut self, liar: &Peer, reason: &str) {
        let dropped = self.job.sources.lied(liar, reason);
        self.dropped(&dropped, reason);
    }

    fn dropped(&mut self, sources: &[SourceIndex], reason: &str) {
        for &index in sources {
            self.last_lie = Some(reason.to_owned());
            self.shares.entry(index).or_default().dropped = true;
            self.partial.remove(&index);
            self.leases.remove(&index);
            self.event(Event::SourceBanned { source: SourceId(index) });
        }
    }

    /// Those who are connected won't bring what is missing.
    fn withheld(&mut self) -> Option<JoinError> {
        if self.plan.status().chunks_missing == 0 {
            return None;
        }
        let (agreed, sources) = (&self.job.agreed, &mut self.job.sources);
        let vanished = self.job.instead_from.and_then(|floor| sources.vanished(agreed, floor));
        vanished.or_else(|| sources.withheld(agreed))
    }

    /// Nobody can bring what is missing, now or later.
    fn nobody_left(&self) -> bool {
        self.job.sources.nobody_comes() && self.requests.is_empty() && self.plan.status().chunks_missing > 0
    }

    fn tick(&mut self) {
        self.tell_progress();
        if !self.syncing && self.job.store.sync_due(self.now()) {
            self.syncing = true;
            let (store, answer) = (Arc::clone(&self.job.store), Answer::new(&self.sender, "a sync"));
            let workers = self.job.workers.clone();
            tokio::spawn(async move {
                let _ = off_the_driver(&workers, move || answer.give(Message::Synced(sync(&store)))).await;
            });
        }
    }

    async fn sync_at_end(&self) {
        let store = Arc::clone(&self.job.store);
        // What could not be made durable, the store has thrown away: the next run fetches it again.
        let _ = off_the_driver(&self.job.workers, move || store.sync().map(drop)).await;
    }

    fn tell_progress(&mut self) {
        let waits_for = self.plan.status().waits_for;
        let shares = self.shares.values().cloned().collect();
        let mut progress = self.meter.progress(self.started.elapsed(), shares, waits_for);
        progress.memory_peak_bytes = self.job.buffers.peak_bytes();
        if let Some(words) = self.job.sources.all_refuse(&self.job.agreed) {
            progress.waiting_for = Some(words);
        }
        (self.job.observer)(JoinEvent::Progress(progress));
    }
}

/// Makes durable what was written; a file that fails begins anew, at once and off the thread that drives QUIC.
fn sync(store: &Store) -> Result<Vec<Failing>, StoreError> {
    match store.sync() {
        Ok(_) => Ok(Vec::new()),
        Err(StoreError::SyncFailed { files, source }) => {
            let source = Arc::new(source);
            let begin_anew = |(file_index, file)| {
                store.start_over(file_index)?;
                Ok(Failing { file_index, file, source: Arc::clone(&source) })
            };
            files.into_iter().map(begin_anew).collect()
        }
        Err(error) => Err(error),
    }
}

/// When the configuration has changed, or that time has come.
async fn due(changes: &mut watch::Receiver<u64>, at: time::Instant) {
    tokio::select! {
        biased;
        // Nobody changes it any more: time goes on.
        Ok(()) = changes.changed() => {}
        () = time::sleep_until(at) => {}
    }
}

async fn sleep_until(at: Option<time::Instant>) {
    match at {
        Some(at) => time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
