//! Accepts connections until told to stop.

use std::{sync::Arc, time::Duration};

use quinn::{Endpoint, Incoming};
use tokio::task::JoinSet;

use super::{
    ServeContext,
    buffers::ServeBuffers,
    deletions,
    produce::Producer,
    rates::Rates,
    recorder::Recorder,
    seats::{Seat, Seats},
    session,
};
use crate::transport::{fault::ErrorCode, limits::HANDSHAKES_BEFORE_RETRY};

/// How long the sessions may take to finish what they are sending once the service is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the audit log's disk may take to write what the sessions said at their end.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// What all sessions share.
pub(super) struct Shared {
    pub(super) context: ServeContext,
    pub(super) buffers: ServeBuffers,
    pub(super) producer: Producer,
    pub(super) rates: Rates,
    pub(super) recorder: Recorder,
}

/// Serves on that endpoint until `shutdown`; then running answers get five seconds, everybody is told SHUTTING_DOWN, and the endpoint is
/// closed.
pub async fn serve(endpoint: Endpoint, context: ServeContext) {
    let seats = Seats::new(context.limits);
    let mut shutdown = context.shutdown.clone();
    let producer = Producer::new(context.workers.clone(), context.limits.compressions, context.busy.clone());
    let (recorder, writer) = Recorder::new(context.audit.clone(), context.workers.clone());
    let rates = Rates::new(context.limits.rate_per_org, context.busy.clone());
    let shared = Arc::new(Shared { context, buffers: ServeBuffers::default(), producer, rates, recorder });
    let mut sessions = JoinSet::new();
    // In a set, so that it ends with this future, too.
    let mut writing = JoinSet::new();
    writing.spawn(writer);
    let mut deleting = JoinSet::new();
    deleting.spawn(deletions::finish(Arc::clone(&shared)));
    loop {
        tokio::select! {
            biased;
            // Its sender gone means the same.
            _ = shutdown.wait_for(|stop| *stop) => break,
            Some(_) = sessions.join_next() => {}
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    if let Some((incoming, seat)) = admit(&seats, incoming) {
                        sessions.spawn(session::run(Arc::clone(&shared), incoming, seat));
                    }
                }
                None => break,
            },
        }
    }
    // Each session sees the shutdown itself; whoever is late is cut off.
    let drained = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("sessions that didn't end in time are cut off");
    }
    sessions.abort_all();
    endpoint.close(ErrorCode::ShuttingDown.varint(), b"the service stops");
    // The last packets, which say so, must leave before the socket goes.
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    // Ends when the last session has given its records.
    drop((sessions, deleting, shared));
    if tokio::time::timeout(RECORDS_TIMEOUT, writing.join_next()).await.is_err() {
        tracing::error!("the audit log's last records weren't written in time");
    }
}

/// Decides about a connection before any cryptography.
fn admit(seats: &Arc<Seats>, incoming: Incoming) -> Option<(Incoming, Seat)> {
    if seats.handshakes() >= HANDSHAKES_BEFORE_RETRY && !incoming.remote_address_validated() && incoming.may_retry() {
        // Costs us nothing to remember; an invented address can't answer.
        let _ = incoming.retry();
        return None;
    }
    let address = incoming.remote_address();
    match seats.enter(address.ip()) {
        Some(seat) => Some((incoming, seat)),
        None => {
            tracing::debug!(%address, "refused: too many connections");
            incoming.refuse();
            None
        }
    }
}
