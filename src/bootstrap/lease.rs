//! Our lease at one source: opened before the first chunk is asked, renewed as long as the transfer runs, closed at its end.
//!
//! What the source refuses here is the answer to whoever asked for chunks: BUSY is waited for, GONE is planned around.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, mpsc, watch},
    task::JoinHandle,
    time::{self, Instant},
};

use super::{dialer::again_after, fetch::Message, keeper::SourceIndex};
use crate::{
    snapshot::{ManifestHash, SnapshotId},
    transport::{
        asking::{AskError, Session, SourceNews},
        fault::ErrorCode,
        wire::{self, LeaseOpen},
    },
};

/// Shortest time between two renewals, whatever the source grants.
const RENEW_MIN: Duration = Duration::from_secs(5);
/// How long the end of a transfer waits for the source to hear of it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The lease of one session; what asks for chunks shares it.
#[derive(Debug)]
pub(super) struct Lease {
    session: Arc<Session>,
    snapshot: SnapshotId,
    manifest_hash: ManifestHash,
    state: Mutex<State>,
    /// Nobody asks any more.
    over: AtomicBool,
    /// Told when one was opened.
    opened: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// What the source said last, and until when it isn't asked again.
    refused: Option<(AskError, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    lease_id: u64,
    renew_at: Instant,
}

impl Held {
    fn new(lease: wire::Lease) -> Self {
        let half = (lease.expires / 2).max(RENEW_MIN);
        Self { lease_id: lease.lease_id, renew_at: Instant::now() + half }
    }
}

impl Lease {
    fn new(session: Arc<Session>, snapshot: SnapshotId, manifest_hash: ManifestHash) -> Self {
        Self {
            session,
            snapshot,
            manifest_hash,
            state: Mutex::default(),
            over: AtomicBool::new(false),
            opened: Notify::new(),
        }
    }

    /// The lease to ask with; opened if there is none. Many may wait for the same answer.
    pub(super) async fn id(self: &Arc<Self>) -> Result<u64, AskError> {
        if let Some(held) = self.state.lock().await.held {
            return Ok(held.lease_id);
        }
        // Whoever asks may give up meanwhile; what the source grants has to be known all the same, or nobody closes it.
        let lease = Arc::clone(self);
        match tokio::spawn(async move { lease.open().await }).await {
            Ok(opened) => opened,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await, // the process ends
            },
        }
    }

    async fn open(&self) -> Result<u64, AskError> {
        let mut state = self.state.lock().await;
        if let Some(held) = state.held {
            return Ok(held.lease_id);
        }
        if let Some((error, _)) = state.refused.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return Err(error.clone());
        }
        let open = LeaseOpen { id: self.snapshot.clone(), manifest_hash: self.manifest_hash };
        match self.session.open_lease(open).await {
            Ok(lease) => {
                *state = State { held: Some(Held::new(lease)), refused: None };
                drop(state);
                self.opened.notify_one();
                if self.over.load(Ordering::SeqCst) {
                    self.close().await;
                }
                Ok(lease.lease_id)
            }
            Err(error) => {
                let pause = again_after(&error).unwrap_or(ErrorCode::RETRY_AFTER_DEFAULT);
                state.refused = Some((error.clone(), Instant::now() + pause));
                Err(error)
            }
        }
    }

    /// Tells the source that its snapshot may go; one that is just being opened is closed once it is there.
    async fn close(&self) {
        self.over.store(true, Ordering::SeqCst);
        let Some(held) = self.state.lock().await.held.take() else { return };
        let _ = self.session.close_lease(held.lease_id).await; // else it expires
    }

    /// Waits until this lease has to end, and says how long chunks still come.
    async fn ending(&self, news: &mut watch::Receiver<SourceNews>) -> Option<Duration> {
        loop {
            let ending = news.borrow_and_update().lease_ending;
            if let Some((lease_id, drain)) = ending {
                // Waits for one that is just being opened. Another's of this session is of an earlier snapshot.
                if self.state.lock().await.held.is_some_and(|held| held.lease_id == lease_id) {
                    return Some(drain);
                }
            }
            news.changed().await.ok()?;
        }
    }

    /// The source doesn't know that one any more.
    pub(super) async fn ended(&self, lease_id: u64) {
        let mut state = self.state.lock().await;
        state.held = state.held.filter(|held| held.lease_id != lease_id);
    }

    async fn renew(&self) {
        loop {
            let held = self.state.lock().await.held;
            let Some(held) = held else {
                self.opened.notified().await;
                continue;
            };
            time::sleep_until(held.renew_at).await;
            match self.session.renew_lease(held.lease_id).await {
                Ok(lease) => {
                    let mut state = self.state.lock().await;
                    let renewed = |now: Held| if now.lease_id == lease.lease_id { Held::new(lease) } else { now };
                    state.held = state.held.map(renewed);
                }
                Err(error) if error.code() == Some(ErrorCode::LeaseExpired) => self.ended(held.lease_id).await,
                // The next request for chunks finds out what it means.
                Err(_) => time::sleep(RENEW_MIN).await,
            }
        }
    }
}

/// A source's lease, kept as long as this lives.
#[derive(Debug)]
pub(super) struct Leasing {
    pub(super) lease: Arc<Lease>,
    task: JoinHandle<()>,
}

impl Leasing {
    /// Opens nothing yet.
    pub(super) fn start(
        source: SourceIndex,
        session: &Arc<Session>,
        snapshot: SnapshotId,
        manifest_hash: ManifestHash,
        sender: &mpsc::UnboundedSender<Message>,
    ) -> Self {
        let lease = Arc::new(Lease::new(Arc::clone(session), snapshot, manifest_hash));
        let (renewed, told_of) = (Arc::clone(&lease), Arc::clone(&lease));
        let (mut news, sender) = (session.news(), sender.clone());
        let task = tokio::spawn(async move {
            let told = async {
                if let Some(drain) = told_of.ending(&mut news).await {
                    drop(sender.send(Message::LeaseEnding { source, drain })); // nobody listens once the transfer is over
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = renewed.renew() => {}
                () = told => {}
            }
        });
        Self { lease, task }
    }

    /// Whether it is of that session.
    pub(super) fn is_of(&self, session: &Arc<Session>) -> bool {
        Arc::ptr_eq(&self.lease.session, session)
    }

    /// Tells the source that its snapshot may go, if it hears it soon.
    pub(super) async fn close(self) {
        self.task.abort();
        let _ = time::timeout(CLOSE_TIMEOUT, self.lease.close()).await; // else it expires
    }
}

impl Drop for Leasing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
