//! The control stream on the asking side: requests out, answers matched by their id, what is pushed kept for whoever watches.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::error::{AskError, AskProblem, Misbehaviour};
use crate::transport::{
    fault::{ErrorCode, Fault},
    frame::{self, FrameError},
    limits::{CONTROL_QUEUE_FRAMES, CONTROL_TIMEOUT, FRAME_BYTES_MAX, REFUSAL_DETAIL_WAIT, REQUESTS_OPEN_MAX},
    wire::{Body, Frame, Goodbye, Have, Notice, Refusal, WireError},
};

/// What a source has pushed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceNews {
    /// Newest catalog version that it named.
    pub catalog_version: u64,
    /// Set once it is about to stop: when it may be dialled again.
    pub going_away: Option<Duration>,
    /// The last lease of ours there that must end, and how long chunks still came then.
    pub lease_ending: Option<(u64, Duration)>,
}

/// What every request of a session shares.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) connection: Connection,
    pub(super) address: SocketAddr,
    next_id: AtomicU64,
    /// `None` once nothing comes any more.
    waiting: Mutex<Option<BTreeMap<u64, oneshot::Sender<Body>>>>,
    out: mpsc::Sender<Frame>,
    news: watch::Sender<SourceNews>,
    /// Who hears of chunks that a partial source gets, by request.
    haves: Mutex<BTreeMap<u64, watch::Sender<Have>>>,
    /// The first misbehaviour found: what everybody who waits is told, rather than "closed".
    verdict: Mutex<Option<Misbehaviour>>,
}

/// A request that waits for its answer; dropped, the answer is ignored.
#[derive(Debug)]
pub(super) struct Waiting {
    control: Arc<Control>,
    pub(super) id: u64,
    answer: oneshot::Receiver<Body>,
    /// Set by the first wait for words about a refusal, so that a wait that is given up and taken up again ends, too.
    words_until: Option<Instant>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiting) = self.control.waiting().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

impl Control {
    /// Takes over the control stream once Hello is through.
    pub(super) fn start(connection: Connection, address: SocketAddr, send: SendStream, recv: RecvStream) -> Arc<Self> {
        let (out, frames) = mpsc::channel(CONTROL_QUEUE_FRAMES);
        let control = Arc::new(Self {
            connection,
            address,
            // 1 was Hello's.
            next_id: AtomicU64::new(2),
            waiting: Mutex::new(Some(BTreeMap::new())),
            out,
            news: watch::Sender::default(),
            haves: Mutex::default(),
            verdict: Mutex::default(),
        });
        tokio::spawn(write(send, frames));
        tokio::spawn(read(Arc::downgrade(&control), recv));
        control
    }

    fn waiting(&self) -> MutexGuard<'_, Option<BTreeMap<u64, oneshot::Sender<Body>>>> {
        // A map can't be left half changed by a panic elsewhere.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn news(&self) -> watch::Receiver<SourceNews> {
        self.news.subscribe()
    }

    /// A new request's id, and the place where its answer or its refusal will arrive.
    pub(super) fn expect(self: &Arc<Self>) -> Waiting {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        // Else the sender is dropped here, and whoever waits knows at once.
        if let Some(waiting) = waiting.as_mut().filter(|waiting| waiting.len() < REQUESTS_OPEN_MAX) {
            waiting.insert(id, sender);
        }
        drop(waiting);
        Waiting { control: Arc::clone(self), id, answer, words_until: None }
    }

    /// Sends a request on the control stream and waits for the answer.
    pub(super) async fn ask(self: &Arc<Self>, what: &'static str, body: Body) -> Result<Body, AskError> {
        self.ask_as(self.expect(), what, body).await
    }

    /// As [`Self::ask`], under an id that is known before.
    pub(super) async fn ask_as(&self, mut waiting: Waiting, what: &'static str, body: Body) -> Result<Body, AskError> {
        let exchange = async {
            let frame = Frame { request_id: waiting.id, body };
            self.out.send(frame).await.map_err(|_| self.lost())?;
            (&mut waiting.answer).await.map_err(|_| self.lost())
        };
        match tokio::time::timeout(CONTROL_TIMEOUT, exchange).await {
            Err(_) => Err(self.error(AskProblem::Silent { what: "within 30 s" })),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Body::Error(refusal))) => Err(self.error(AskProblem::Refused { what, refusal })),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// What comes under that id from now on, also after the first answer.
    pub(super) fn watch_haves(&self, id: u64) -> watch::Receiver<Have> {
        self.haves().entry(id).or_default().subscribe()
    }

    /// Nobody hears of it any more.
    pub(super) fn forget_haves(&self, id: u64) {
        self.haves().remove(&id);
    }

    fn haves(&self) -> MutexGuard<'_, BTreeMap<u64, watch::Sender<Have>>> {
        // As `waiting`.
        self.haves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn error(&self, problem: AskProblem) -> AskError {
        AskError { address: self.address, problem }
    }

    /// Closes the connection because of what the source did; the error says so.
    pub(super) fn accuse(&self, what: Misbehaviour) -> AskError {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let first = verdict.get_or_insert_with(|| what.clone());
        let text = first.to_string();
        drop(verdict);
        self.connection.close(Fault::Peer.close_code().varint(), text.as_bytes());
        self.error(AskProblem::Misbehaved(what))
    }

    /// Why nothing comes any more.
    pub(super) fn lost(&self) -> AskError {
        if let Some(what) = self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return self.error(AskProblem::Misbehaved(what));
        }
        match self.connection.close_reason() {
            Some(reason) => self.error(reason.into()),
            // It is about to close, or too many requests are open here: nobody's malice.
            None => self.error(AskProblem::ControlEnded),
        }
    }

    /// A frame of the other side.
    fn take(&self, frame: Frame) -> Result<(), Misbehaviour> {
        match frame.body {
            Body::Notice(notice) => {
                let answer = Body::Notice(notice.clone());
                self.news.send_modify(|news| match notice {
                    Notice::CatalogChanged { version } => news.catalog_version = news.catalog_version.max(version),
                    Notice::GoingAway { retry_after } => news.going_away = Some(retry_after),
                    Notice::LeaseEnding { lease_id, drain } => news.lease_ending = Some((lease_id, drain)),
                });
                self.answer(frame.request_id, answer);
            }
            Body::Goodbye(Goodbye { retry_after, .. }) => {
                self.news.send_modify(|news| news.going_away = Some(retry_after));
            }
            Body::Have(have) => {
                if let Some(watched) = self.haves().get(&frame.request_id) {
                    let newer = |known: &mut Have| {
                        let newer = have.version > known.version;
                        if newer {
                            known.clone_from(&have);
                        }
                        newer
                    };
                    watched.send_if_modified(newer);
                }
                self.answer(frame.request_id, Body::Have(have));
            }
            // An answer to a request that was given up is no fault.
            body @ (Body::CatalogPage(_)
            | Body::Manifest(_)
            | Body::Attestations(_)
            | Body::Lease(_)
            | Body::Pong
            | Body::Error(_)) => {
                self.answer(frame.request_id, body);
            }
            _ => return Err(Misbehaviour::WrongAnswer("the control stream's server")),
        }
        Ok(())
    }

    fn answer(&self, request_id: u64, body: Body) {
        let waiting = self.waiting().as_mut().and_then(|waiting| waiting.remove(&request_id));
        if let Some(waiting) = waiting {
            // Whoever waited may have given up.
            let _ = waiting.send(body);
        }
    }
}

impl Waiting {
    /// The `Error` frame that goes with a RESET of that code, if it comes soon; else one made from the code.
    pub(super) async fn refusal(&mut self, code: ErrorCode) -> Refusal {
        let until = *self.words_until.get_or_insert_with(|| Instant::now() + REFUSAL_DETAIL_WAIT);
        match tokio::time::timeout_at(until, &mut self.answer).await {
            // The code of the stream counts: it can't be swapped by a late frame.
            Ok(Ok(Body::Error(refusal))) => Refusal { code, ..refusal },
            _ => Refusal::new(code, ""),
        }
    }
}

async fn write(mut send: SendStream, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if frame::write_frame(&mut send, frame).await.is_err() {
            return; // the reader finds out why
        }
    }
    let _ = send.finish();
}

/// Ends when the connection does, or when nobody asks any more.
async fn read(control: std::sync::Weak<Control>, mut recv: RecvStream) {
    loop {
        let next = frame::read_frame(&mut recv, FRAME_BYTES_MAX).await;
        let Some(control) = control.upgrade() else { return };
        let outcome = match next {
            Ok(Some(frame)) => control.take(frame),
            // A body of a later version: what is pushed is skipped, an answer spoils its request only.
            Err(FrameError::Wire(WireError::UnknownBody { request_id })) => {
                let refusal = Refusal::new(ErrorCode::Protocol, "an unknown kind of answer");
                control.answer(request_id, Body::Error(refusal));
                Ok(())
            }
            Err(FrameError::Read(_)) | Ok(None) => {
                *control.waiting() = None;
                return;
            }
            Err(error) => Err(Misbehaviour::Frame(error)),
        };
        if let Err(misbehaviour) = outcome {
            control.accuse(misbehaviour);
            *control.waiting() = None;
            return;
        }
    }
}
