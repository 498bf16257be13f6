//! One range request: its chunks come from the wire and go to the workers, which prove and write them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time};

use super::{
    dialer::is_final,
    fetch::{Answer, Message},
    in_order::Inbox,
    keeper::{Peer, peer_of},
    lease::Lease,
    writing::Writing,
};
use crate::{
    chunking::{
        BufferPool, Codec, FileTree, Store, Workers,
        plan::{Class, Event, Layout, Outcome, Refusal, RequestId, SourceId},
    },
    snapshot::{ChunkIndex, ManifestHash, SnapshotId},
    transport::{
        asking::{AskError, AskProblem, Session, WireChunk},
        fault::{Effect, ErrorCode, Fault},
        wire::{ChunkRequest, RequestClass},
    },
};

/// How often the plan hears of the bytes of a chunk that is still coming: a fraction of the stall timer.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// Leases with which one request is tried: each of them may end in between, but not for ever.
const LEASES_MAX: u32 = 3;

/// Everything that one request needs.
pub(super) struct Ask {
    pub(super) id: RequestId,
    pub(super) source: SourceId,
    pub(super) file_index: u32,
    pub(super) first: ChunkIndex,
    pub(super) count: u32,
    pub(super) class: Class,
    pub(super) snapshot: SnapshotId,
    pub(super) manifest_hash: ManifestHash,
    pub(super) accept_zstd: bool,
    pub(super) session: Arc<Session>,
    pub(super) lease: Arc<Lease>,
    pub(super) layout: Layout,
    pub(super) trees: Arc<[FileTree]>,
    pub(super) store: Arc<Store>,
    pub(super) workers: Workers,
    pub(super) buffers: BufferPool,
    pub(super) inbox: Inbox,
    pub(super) started: time::Instant,
    pub(super) sender: mpsc::UnboundedSender<Message>,
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) id: RequestId,
    pub(super) source: SourceId,
    /// Who was asked: by now somebody else may answer at that source's address.
    pub(super) peer: Peer,
    pub(super) outcome: Outcome,
    /// The source broke the protocol: how.
    pub(super) lie: Option<String>,
    /// It refused in a way that won't change.
    pub(super) refused: Option<AskError>,
}

impl Ask {
    /// Runs the request to its end; dropped, it is cancelled.
    pub(super) async fn run(self) {
        let result = self.chunks().await;
        let (outcome, lie) = result.as_ref().err().map_or((Outcome::Completed, None), outcome);
        // Without a lease in spite of all repeating: that won't change either.
        let refused = result.err().filter(|error| error.code().is_some_and(|code| is_final(code) || needs_lease(code)));
        let peer = peer_of(&self.session);
        self.tell(Message::Ended(Asked { id: self.id, source: self.source, peer, outcome, lie, refused }));
    }

    /// A lease that has ended is no fault of anybody's: the request is repeated with another one.
    async fn chunks(&self) -> Result<(), AskError> {
        for _ in 1..LEASES_MAX {
            let lease_id = self.lease.id().await?;
            match self.chunks_by(lease_id).await {
                Err(error) if error.code().is_some_and(needs_lease) => {
                    self.lease.ended(lease_id).await;
                }
                asked => return asked,
            }
        }
        self.chunks_by(self.lease.id().await?).await
    }

    async fn chunks_by(&self, lease_id: u64) -> Result<(), AskError> {
        let Some(tree) = self.tree() else { return Ok(()) };
        let request = ChunkRequest {
            id: self.snapshot.clone(),
            manifest_hash: self.manifest_hash,
            file_index: self.file_index,
            first_chunk: self.first,
            count: self.count,
            accept_zstd: self.accept_zstd,
            class: match self.class {
                Class::Frontier => RequestClass::Frontier,
                Class::Bulk => RequestClass::Bulk,
                Class::Prefetch => RequestClass::Prefetch,
            },
            lease_id,
        };
        let mut stream = self.session.chunks(request, tree.file().size).await?;
        let received = stream.received();
        let mut told = 0;
        let mut tick = time::interval(PROGRESS_PERIOD);
        loop {
            tokio::select! {
                biased;
                chunk = stream.next() => match chunk? {
                    Some(chunk) => {
                        told = received.load(Ordering::Relaxed);
                        self.arrived(chunk);
                    }
                    None => return Ok(()),
                },
                _ = tick.tick() => {
                    let bytes = received.load(Ordering::Relaxed).saturating_sub(told);
                    if bytes > 0 {
                        told += bytes;
                        self.tell(Message::Plan(Event::Progress { request: self.id, bytes }));
                    }
                }
            }
        }
    }

    /// Hands a chunk to the workers.
    fn arrived(&self, chunk: WireChunk) {
        let Some(linear) = self.layout.linear(self.file_index, chunk.index) else { return };
        let wire_bytes = chunk.wire.len() as u64;
        self.tell(Message::Plan(Event::ChunkArrived { request: self.id, linear, wire_bytes }));
        let (source, file_index, started) = (self.source, self.file_index, self.started);
        let (trees, store, buffers) = (Arc::clone(&self.trees), Arc::clone(&self.store), self.buffers.clone());
        let (inbox, sender, session) = (self.inbox.clone(), self.sender.clone(), Arc::clone(&self.session));
        self.workers.run(move |state| {
            let answer = Answer::new(&sender, "a worker");
            let rejected = |answer: Answer, reason: String| {
                answer.give(Message::Rejected { linear, source, peer: peer_of(&session), reason });
            };
            let Some(tree) = usize::try_from(file_index).ok().and_then(|index| trees.get(index)) else { return };
            let raw = match chunk.codec {
                Codec::None => chunk.wire,
                codec @ Codec::Zstd => {
                    let mut raw = buffers.take(usize::try_from(chunk.raw_len).unwrap_or(0));
                    if let Err(error) = state.codec.decompress(codec, &chunk.wire, &mut raw) {
                        return rejected(answer, error.to_string());
                    }
                    raw
                }
            };
            let proved = match tree.prove_chunk(chunk.index, raw) {
                Ok(proved) => proved,
                Err(error) => return rejected(answer, error.to_string()),
            };
            Writing { linear, source, wire_bytes, chunk: proved }.write(&store, &inbox, started.elapsed(), answer);
        });
    }

    fn tree(&self) -> Option<&FileTree> {
        usize::try_from(self.file_index).ok().and_then(|index| self.trees.get(index))
    }

    fn tell(&self, message: Message) {
        drop(self.sender.send(message)); // nobody listens once the transfer is over
    }
}

const fn needs_lease(code: ErrorCode) -> bool {
    matches!(code.effect(), Effect::OpenLeaseAndRepeat)
}

/// What an error means for the plan, and whether it's a lie.
fn outcome(error: &AskError) -> (Outcome, Option<String>) {
    if error.fault() == Fault::Peer {
        return (Outcome::Broken, Some(error.problem.to_string()));
    }
    let refusal = match error.code() {
        Some(ErrorCode::ChunkCorruptAtSource) => Refusal::ChunkLacking, // its own rot: others have the chunk
        Some(code) => match code.effect() {
            Effect::RetryAfter => Refusal::Wait { retry_after: retry_after(error) },
            Effect::ClearHave | Effect::Replan => Refusal::ChunkLacking,
            Effect::HalveRun => Refusal::RunTooLong,
            Effect::QualityDown | Effect::QualityDownIfClaimed => Refusal::Quality,
            Effect::OpenLeaseAndRepeat => Refusal::Request,
            Effect::Nothing if code == ErrorCode::Forbidden => Refusal::Request,
            _ => return (Outcome::Broken, None),
        },
        None => return (Outcome::Broken, None),
    };
    (Outcome::Refused(refusal), None)
}

fn retry_after(error: &AskError) -> Duration {
    match &error.problem {
        AskProblem::Refused { refusal, .. } => refusal.retry_after.unwrap_or(ErrorCode::RETRY_AFTER_DEFAULT),
        _ => ErrorCode::RETRY_AFTER_DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::wire;

    #[test]
    fn no_answer_but_a_lie_is_held_against_a_source_for_good() {
        for code in ErrorCode::ALL {
            let refusal = wire::Refusal::new(code, "");
            let problem = AskProblem::Refused { what: "chunks", refusal };
            let (found, lie) = outcome(&AskError { address: ([127, 0, 0, 1], 1).into(), problem });
            assert_eq!(lie, None, "{code}");
            let expected = match code {
                ErrorCode::Busy | ErrorCode::RateLimited | ErrorCode::ShuttingDown => {
                    Outcome::Refused(Refusal::Wait { retry_after: ErrorCode::RETRY_AFTER_DEFAULT })
                }
                ErrorCode::ChunkUnavailable | ErrorCode::ChunkCorruptAtSource | ErrorCode::Gone => {
                    Outcome::Refused(Refusal::ChunkLacking)
                }
                ErrorCode::LimitExceeded => Outcome::Refused(Refusal::RunTooLong),
                ErrorCode::NotFound | ErrorCode::Internal => Outcome::Refused(Refusal::Quality),
                ErrorCode::Forbidden | ErrorCode::LeaseRequired | ErrorCode::LeaseExpired => {
                    Outcome::Refused(Refusal::Request)
                }
                ErrorCode::Ok
                | ErrorCode::Cancelled
                | ErrorCode::Protocol
                | ErrorCode::Version
                | ErrorCode::Unauthorized => Outcome::Broken,
            };
            assert_eq!(found, expected, "{code}");
        }
    }
}
