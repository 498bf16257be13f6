//! Range and tree streams: one request each, checked, answered chunk by chunk.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::{task::JoinSet, time::timeout};

use super::{
    answer::Answer,
    leases,
    produce::{Produced, Wanted},
    session::ServedSession,
};
use crate::{
    catalog::ReadError,
    msp::Operation,
    snapshot::{ChunkIndex, ChunkTree, GroupValue},
    transport::{
        fault::ErrorCode,
        frame::{self, FrameError},
        limits::{RANGE_REQUEST_BYTES_MAX, RANGE_REQUEST_TIMEOUT, TREE_VALUE_BYTES},
        wire::{Body, ChunkRequest, ChunkTreeRequest, Frame, Refusal, RequestClass},
    },
};

/// Values of a tree written at once: 32 KiB, so that a list of 2 MiB is never held a second time.
const TREE_STEP_VALUES: usize = 1_024;

/// The streams of one session.
pub(super) struct Ranges {
    session: Arc<ServedSession>,
    running: JoinSet<()>,
}

/// Why an answer ended early.
enum Stop {
    /// Refused or failed: told by RESET and in words.
    Refused(Refusal),
    /// Nobody to tell: cancelled, or the connection is gone.
    Gone,
    /// Not to be borne: the connection is closed.
    Close(FrameError),
}

impl Ranges {
    pub(super) fn new(session: Arc<ServedSession>) -> Self {
        Self { session, running: JoinSet::new() }
    }

    /// Takes streams until the connection ends. How many there can be at a time, QUIC's own limit says.
    pub(super) async fn accept(&mut self) {
        let connection = self.session.connection.clone();
        loop {
            tokio::select! {
                biased;
                Some(_) = self.running.join_next() => {}
                stream = connection.accept_bi() => match stream {
                    Ok((send, recv)) => {
                        self.running.spawn(answer(Arc::clone(&self.session), send, recv));
                    }
                    Err(_) => return,
                },
            }
        }
    }

    /// Until all that run are done.
    pub(super) async fn drain(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

async fn answer(session: Arc<ServedSession>, send: SendStream, mut recv: RecvStream) {
    let mut request_id = 0;
    let mut send = Answer::new(send, session.shared.context.shutdown.clone());
    let stop = match respond(&session, &mut send, &mut recv, &mut request_id).await {
        // Sent is only what has arrived: a service that stops waits for it.
        Ok(()) => return send.finish().await,
        Err(stop) => stop,
    };
    match stop {
        Stop::Refused(refusal) => {
            let _ = send.reset(refusal.code.varint());
            let _ = recv.stop(refusal.code.varint());
            session.refuse(request_id, refusal);
        }
        Stop::Gone => {
            let _ = send.reset(ErrorCode::Cancelled.varint());
        }
        Stop::Close(error) => {
            tracing::warn!(org = %session.peer.msp_id, %error, "the client broke the protocol");
            session.connection.close(ErrorCode::Protocol.varint(), error.to_string().as_bytes());
        }
    }
}

async fn respond(
    session: &ServedSession,
    send: &mut SendStream,
    recv: &mut RecvStream,
    request_id: &mut u64,
) -> Result<(), Stop> {
    let read = async {
        let frame = frame::read_frame(recv, RANGE_REQUEST_BYTES_MAX).await?;
        // One frame and the end: more is a client that doesn't speak this protocol.
        let ended = recv.read_chunk(1, true).await.map_err(FrameError::Read)?.is_none();
        Ok((frame, ended))
    };
    let (frame, ended) = match timeout(RANGE_REQUEST_TIMEOUT, read).await {
        Err(_) => return Err(refused(ErrorCode::Protocol, "no request came")),
        Ok(Err(FrameError::Read(_))) => return Err(Stop::Gone),
        Ok(Err(FrameError::Wire(error))) if error.request_id().is_some() => {
            *request_id = error.request_id().unwrap_or_default();
            return Err(refused(error.code(), &error.to_string()));
        }
        Ok(Err(error)) => return Err(Stop::Close(error)),
        Ok(Ok(read)) => read,
    };
    let Some(Frame { request_id: id, body }) = frame else {
        return Err(refused(ErrorCode::Protocol, "no request came"));
    };
    *request_id = id;
    if !ended {
        return Err(refused(ErrorCode::Protocol, "bytes follow the request"));
    }
    session.allow(Operation::Fetch, None).map_err(Stop::Refused)?;
    match body {
        Body::ChunkRequest(request) => chunks(session, send, id, request).await?,
        Body::ChunkTreeRequest(request) => tree(session, send, &request).await?,
        _ => return Err(refused(ErrorCode::Protocol, "not a request for a range stream")),
    }
    Ok(())
}

async fn chunks(
    session: &ServedSession,
    send: &mut SendStream,
    request_id: u64,
    request: ChunkRequest,
) -> Result<(), Stop> {
    let snapshot = session.find(&request.id, request.manifest_hash).map_err(Stop::Refused)?;
    let file = snapshot.manifest.files().get(request.file_index as usize);
    let file = file.ok_or_else(|| refused(ErrorCode::Protocol, "no such file in the manifest"))?;
    let chunks = ChunkIndex::count(file.size).unwrap_or(0);
    let end = request.first_chunk.0.checked_add(request.count).filter(|end| *end <= chunks);
    let end = end.ok_or_else(|| refused(ErrorCode::Protocol, "chunks behind the end of the file"))?;
    leases::check(session, request.lease_id, &request.id).map_err(Stop::Refused)?;
    // Who was asked for what, and when: enough to see whether a chunk is fetched twice.
    tracing::debug!(
        address = %session.connection.remote_address(), org = %session.peer.msp_id, snapshot = %request.id, file = %file.file,
        first = request.first_chunk.0, count = request.count, class = ?request.class, "chunks asked"
    );
    let _ = send.set_priority(priority(request.class, request_id));
    for index in request.first_chunk.0..end {
        let raw = ChunkIndex(index).range(file.size);
        // Given up while it waits: the wait must end then, not when its turn comes.
        let (leave, buffer) = tokio::select! {
            biased;
            _ = send.stopped() => return Err(Stop::Gone),
            both = async {
                let leave = session.shared.rates.take(&session.holder, raw.end - raw.start).await;
                (leave, session.buffers.take().await)
            } => both,
        };
        let wanted = Wanted {
            snapshot: Arc::clone(&snapshot),
            file_index: request.file_index,
            chunk: ChunkIndex(index),
            accept_zstd: request.accept_zstd,
        };
        let made = session.shared.producer.produce(wanted, buffer).await;
        let Produced { header, wire } = match made {
            Some(Ok(produced)) => produced,
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(refused(ErrorCode::Internal, "")),
        };
        let bytes = wire.len() as u64;
        leave.spend(bytes);
        write(session, send, [header.encode(), wire]).await?;
        session.count(&request.id, bytes);
    }
    Ok(())
}

async fn tree(session: &ServedSession, send: &mut SendStream, request: &ChunkTreeRequest) -> Result<(), Stop> {
    let snapshot = session.find(&request.id, request.manifest_hash).map_err(Stop::Refused)?;
    let tree = snapshot.tree(request.file_index);
    let tree = tree.ok_or_else(|| refused(ErrorCode::Protocol, "no such file in the manifest"))?;
    let _ = send.set_priority(priority(RequestClass::Frontier, 0));
    let owned;
    let values = match request.span {
        None if tree.size() <= crate::snapshot::SPAN_BYTES => tree.values(),
        None => {
            owned = tree.span_values();
            &owned
        }
        Some(span) => span_of(tree, span).ok_or_else(|| refused(ErrorCode::Protocol, "no such span"))?,
    };
    for step in values.chunks(TREE_STEP_VALUES) {
        let mut bytes = BytesMut::with_capacity(step.len() * TREE_VALUE_BYTES);
        for value in step {
            bytes.extend_from_slice(value.as_bytes());
        }
        write(session, send, [bytes.freeze()]).await?;
    }
    Ok(())
}

/// Spans exist only in files above 64 GiB.
fn span_of(tree: &ChunkTree, span: u32) -> Option<&[GroupValue]> {
    if tree.size() <= crate::snapshot::SPAN_BYTES { None } else { tree.span(span) }
}

/// Hands bytes to quinn, and gives up when none are taken for a while: their buffer serves others.
async fn write<const N: usize>(
    session: &ServedSession,
    send: &mut SendStream,
    mut bytes: [Bytes; N],
) -> Result<(), Stop> {
    let patience = session.shared.context.limits.write_stall;
    let mut rest: &mut [Bytes] = &mut bytes;
    while !rest.is_empty() {
        let written = match timeout(patience, send.write_chunks(rest)).await {
            Ok(Ok(written)) => written,
            // Stopped by the other side, or the connection is gone.
            Ok(Err(_)) => return Err(Stop::Gone),
            Err(_) => return Err(refused(ErrorCode::Cancelled, "the answer wasn't read")),
        };
        rest = rest.get_mut(written.chunks..).unwrap_or_default();
    }
    Ok(())
}

/// By class, and within a class the older request first (the asker numbers them upwards): chunks then come nearly in the order in which
/// they are needed, and the joiner needn't read back what came long before its turn. A session can only reorder its own
/// streams by its numbers. Control is above all of them.
fn priority(class: RequestClass, request_id: u64) -> i32 {
    const STEP: i32 = 1 << 28;
    let level = match class {
        RequestClass::Frontier => 2,
        RequestClass::Bulk => 1,
        RequestClass::Prefetch => 0,
    };
    // Once in so many requests the order is upside down for a moment: nothing is lost by it.
    let age = i32::try_from(request_id % (1 << 28)).unwrap_or(0);
    level * STEP + (STEP - 1 - age)
}

fn refused(code: ErrorCode, detail: &str) -> Stop {
    Stop::Refused(Refusal::new(code, detail))
}

/// What our own failure to read is called: the details are for our log, not for the other side.
fn failed(error: &ReadError) -> Stop {
    let code = match error {
        // The one who found it has said so; a joiner's missing chunks are no news at all.
        ReadError::CorruptAtSource { .. } => return refused(ErrorCode::ChunkCorruptAtSource, ""),
        ReadError::NotHere { .. } => return refused(ErrorCode::ChunkUnavailable, ""),
        ReadError::NoSuchChunk { .. } | ReadError::NoSuchFile { .. } => ErrorCode::Protocol,
        _ => ErrorCode::Internal,
    };
    tracing::error!(%error, "a chunk can't be served");
    refused(code, "")
}
