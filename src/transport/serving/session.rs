//! One accepted connection from handshake to goodbye.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use quinn::{Connection, Incoming, RecvStream, SendStream};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    access::Access,
    attest::Pace,
    buffers::SessionBuffers,
    control,
    haves::{self, Watches},
    leases,
    listener::Shared,
    range,
    seats::Seat,
};
use crate::{
    catalog::{AuditBy, AuditRecord, Catalog, Holder, KnownSnapshot, ServedSnapshot},
    msp::{ChannelConfig, Operation},
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotId},
    transport::{
        endpoint,
        fault::{ErrorCode, chain},
        frame,
        limits::{CLOCK_SKEW_MAX, CONTROL_QUEUE_FRAMES, FRAME_BYTES_BEFORE_HELLO_MAX},
        session::{PeerIdentity, authenticate_server, judge_again},
        tls::Usage,
        wire::{Body, Frame, Hello, Notice, Refusal, SessionLimits},
    },
};

/// When a client may come back after the service was stopped: a restart takes about so long.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// What the streams of one session share.
pub(super) struct ServedSession {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) peer: PeerIdentity,
    /// The client, as one that holds leases.
    pub(super) holder: Holder,
    pub(super) channel: ChannelId,
    pub(super) buffers: SessionBuffers,
    /// How often the client may ask for attestations.
    pub(super) pace: Pace,
    access: Access,
    /// Frames for the control stream.
    pub(super) out: mpsc::Sender<Frame>,
    /// Told once the client wants to hear of changes of the catalog.
    pub(super) watching: Notify,
    /// Which files' chunks the client wants to hear of.
    pub(super) watches: Watches,
    /// Wire bytes sent by snapshot, for the log.
    sent: Mutex<BTreeMap<SnapshotId, u64>>,
}

/// An accepted client whose Hello is answered.
struct Accepted {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    peer: PeerIdentity,
    access: Access,
    config: Arc<ChannelConfig>,
    /// Told of every change since before the configuration was looked up.
    changes: watch::Receiver<u64>,
}

/// Serves one connection to its end. Whatever goes wrong ends here, in the log.
pub(super) async fn run(shared: Arc<Shared>, incoming: Incoming, mut seat: Seat) {
    let address = incoming.remote_address();
    let Some(accepted) = accept(&shared, incoming, &mut seat).await else { return };
    let Accepted { connection, send, recv, peer, access, config, changes } = accepted;
    let (out, frames) = mpsc::channel(CONTROL_QUEUE_FRAMES);
    let buffers = shared.buffers.for_session(&peer.msp_id);
    let channel = config.channel().clone();
    tracing::info!(%address, org = %peer.msp_id, identity = %peer.identity_id, %channel, "session opened");
    let (pace, watching, watches, sent) =
        (Pace::new(Instant::now()), Notify::new(), Watches::default(), Mutex::default());
    let holder = Holder { msp_id: peer.msp_id.clone(), identity_id: peer.identity_id };
    let session = Arc::new(ServedSession {
        shared,
        connection,
        peer,
        holder,
        channel,
        buffers,
        pace,
        access,
        out,
        watching,
        watches,
        sent,
    });
    endpoint::accepted(&session.connection, session.shared.context.limits.streams);
    let (code, reason) = serve(&session, send, recv, frames, changes).await;
    session.connection.close(code.varint(), reason.as_bytes());
    session.log_end(code, &reason);
    drop(seat);
}

/// Handshake and greeting, within one limit of time for both.
async fn accept(shared: &Arc<Shared>, incoming: Incoming, seat: &mut Seat) -> Option<Accepted> {
    let address = incoming.remote_address();
    let limit = shared.context.session.timeout;
    let deadline = Instant::now() + limit;
    // Strangers are many and free to try: quiet, unless they got as far as naming an identity.
    let connecting = incoming.accept().inspect_err(|error| tracing::debug!(%address, %error, "no handshake")).ok()?;
    let connection = match timeout_at(deadline, connecting).await {
        Ok(connected) => connected.inspect_err(|error| tracing::debug!(%address, %error, "no handshake")).ok()?,
        Err(_) => {
            tracing::debug!(%address, ?limit, "no handshake in time");
            return None;
        }
    };
    match timeout_at(deadline, greet(shared, connection.clone(), seat)).await {
        Ok(accepted) => accepted,
        Err(_) => {
            tracing::info!(%address, ?limit, "not accepted: it took too long");
            // As for every other failure: silence is no easier to tell from a refusal.
            connection.close(ErrorCode::Unauthorized.varint(), b"");
            None
        }
    }
}

/// Session auth, a seat for the organisation, Hello.
async fn greet(shared: &Arc<Shared>, connection: Connection, seat: &mut Seat) -> Option<Accepted> {
    let address = connection.remote_address();
    let (mut send, mut recv) = connection.accept_bi().await.ok()?;
    let context = &shared.context;
    let changes = context.channels.changes();
    let client = authenticate_server(&connection, &mut send, &mut recv, &context.session, &context.channels).await;
    let client = client.inspect_err(|error| tracing::warn!(%address, error = %chain(error), "refused")).ok()?;
    let (peer, config) = (client.peer, client.config);
    if context.only_org.as_ref().is_some_and(|org| *org != peer.msp_id) {
        tracing::info!(%address, org = %peer.msp_id, "refused: only our own organisation is served here");
        connection.close(ErrorCode::Unauthorized.varint(), b"");
        return None;
    }
    if !seat.accept(&peer.msp_id) {
        tracing::info!(%address, org = %peer.msp_id, "refused: no seat left for its organisation");
        connection.close(ErrorCode::Busy.varint(), b"no session left for this organisation");
        return None;
    }
    let hello = match frame::read_frame(&mut recv, FRAME_BYTES_BEFORE_HELLO_MAX).await {
        Ok(Some(Frame { request_id, body: Body::Hello(hello) })) => (request_id, hello),
        Ok(_) => {
            connection.close(ErrorCode::Protocol.varint(), b"no hello");
            return None;
        }
        Err(error) => {
            tracing::warn!(%address, org = %peer.msp_id, %error, "no hello");
            connection.close(ErrorCode::Protocol.varint(), b"no hello");
            return None;
        }
    };
    let (request_id, theirs) = hello;
    let ours = our_hello(shared);
    if theirs.time_unix_s.abs_diff(ours.time_unix_s) > CLOCK_SKEW_MAX.as_secs() {
        tracing::warn!(
            %address, org = %peer.msp_id, theirs = theirs.time_unix_s, ours = ours.time_unix_s,
            "its clock and ours differ by more than 5 minutes: certificates may be judged differently"
        );
    }
    let access = Access::new(&theirs.join_grant, &peer);
    frame::write_frame(&mut send, Frame { request_id, body: Body::HelloAck(ours) }).await.ok()?;
    Some(Accepted { connection, send, recv, peer, access, config, changes })
}

fn our_hello(shared: &Shared) -> Hello {
    let now = (shared.context.session.clock)();
    let limits = &shared.context.limits;
    Hello {
        minor: 0,
        features: 0,
        limits: SessionLimits {
            streams: limits.streams,
            chunks_in_flight: 0,
            rate_bytes_per_s: limits.rate_per_org.unwrap_or(0),
        },
        time_unix_s: now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        join_grant: Bytes::new(),
    }
}

/// Until one of its parts ends; why.
async fn serve(
    session: &Arc<ServedSession>,
    send: SendStream,
    recv: RecvStream,
    frames: mpsc::Receiver<Frame>,
    changes: watch::Receiver<u64>,
) -> (ErrorCode, String) {
    let mut shutdown = session.shared.context.shutdown.clone();
    let mut ranges = range::Ranges::new(Arc::clone(session));
    let write = control::write(send, frames);
    tokio::pin!(write);
    let ended = tokio::select! {
        biased;
        _ = shutdown.wait_for(|stop| *stop) => None,
        () = revalidate(session, changes) => Some((ErrorCode::Unauthorized, String::new())),
        end = control::read(session, recv) => Some(end),
        () = &mut write => Some((ErrorCode::Ok, "the control stream ended".to_owned())),
        () = ranges.accept() => Some((ErrorCode::Ok, "the client left".to_owned())),
        () = control::push_changes(session) => None,
        () = haves::push(session) => None,
        () = leases::push_endings(session) => None,
    };
    if let Some(ended) = ended {
        return ended;
    }
    // Stopping: no further request is taken, what is being sent may be finished.
    let told = session
        .out
        .try_send(Frame { request_id: 0, body: Body::Notice(Notice::GoingAway { retry_after: RESTART_WAIT }) })
        .is_ok();
    // A full queue has no room for the notice: the close says it too.
    if told {
        tokio::join!(ranges.drain(), write);
    } else {
        ranges.drain().await
    }
    (ErrorCode::ShuttingDown, "the service stops".to_owned())
}

/// Ends when the peer would no longer be accepted by the configuration and the clock of the moment: looked at whenever a configuration
/// has changed, and every minute.
async fn revalidate(session: &ServedSession, mut changes: watch::Receiver<u64>) {
    let context = &session.shared.context;
    loop {
        tokio::select! {
            biased;
            // Its sender lives as long as the context.
            _ = changes.changed() => {}
            () = tokio::time::sleep(context.limits.revalidate_every) => {}
        }
        let now = (context.session.clock)();
        let Some(config) = context.channels.current(&session.channel) else { return };
        if let Err(error) = judge_again(&session.connection, &session.peer, &config, now, Usage::Client) {
            tracing::warn!(
                org = %session.peer.msp_id, identity = %session.peer.identity_id, channel = %session.channel, error = %chain(&error),
                "the session's client is no longer accepted"
            );
            return;
        }
    }
}

impl ServedSession {
    pub(super) fn catalog(&self) -> &Catalog {
        &self.shared.context.catalog
    }

    /// The configuration of the moment.
    pub(super) fn config(&self) -> Result<Arc<ChannelConfig>, Refusal> {
        let config = self.shared.context.channels.current(&self.channel);
        config.ok_or_else(|| Refusal::new(ErrorCode::NotFound, "the channel is no longer served"))
    }

    /// Whether the client may do that now.
    pub(super) fn allow(&self, operation: Operation, block: Option<BlockNumber>) -> Result<(), Refusal> {
        let now = (self.shared.context.session.clock)();
        self.access.check(&*self.config()?, &self.peer, operation, block, now)
    }

    /// What is known of the snapshot of that id and manifest, if it is of the session's channel. Whatever is wrong, the answer is the
    /// same.
    pub(super) fn known(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<KnownSnapshot, Refusal> {
        let known = (id.channel == self.channel).then(|| self.catalog().known(id)).flatten();
        known
            .filter(|known| known.entry.manifest_hash == manifest_hash)
            .ok_or_else(|| Refusal::new(ErrorCode::NotFound, "no snapshot of that block with that manifest"))
    }

    /// As [`Self::known`], with its data.
    pub(super) fn find(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<Arc<ServedSnapshot>, Refusal> {
        // Before the data are looked for: what is deleted in between is gone, not unknown.
        self.known(id, manifest_hash)?;
        let served = self.catalog().snapshot(id);
        served
            .filter(|snapshot| snapshot.entry().manifest_hash == manifest_hash)
            .ok_or_else(|| Refusal::new(ErrorCode::Gone, "only the metadata are left"))
    }

    /// Refuses a request: in words on the control stream, if there is room. The code goes by RESET as well where there is a stream.
    pub(super) fn refuse(&self, request_id: u64, refusal: Refusal) {
        tracing::debug!(org = %self.peer.msp_id, request_id, code = ?refusal.code, detail = %refusal.detail, "request refused");
        let _ = self.out.try_send(Frame { request_id, body: Body::Error(refusal) });
    }

    /// Counts bytes that quinn has taken.
    pub(super) fn count(&self, id: &SnapshotId, bytes: u64) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match sent.get_mut(id) {
            Some(count) => *count += bytes,
            None => {
                sent.insert(id.clone(), bytes);
                self.record(AuditRecord::fetch_begun(self.client(), id.clone()));
            }
        }
    }

    /// Who fetched what.
    fn log_end(&self, code: ErrorCode, reason: &str) {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        let (address, org, identity) = (self.connection.remote_address(), &self.peer.msp_id, self.peer.identity_id);
        for (snapshot, bytes) in &sent {
            tracing::info!(%address, %org, %identity, %snapshot, bytes, "fetched");
            self.record(AuditRecord::fetch_ended(self.client(), snapshot.clone(), *bytes));
        }
        let bytes: u64 = sent.values().sum();
        tracing::info!(%address, %org, %identity, channel = %self.channel, bytes, ?code, reason, "session ended");
    }

    /// For the audit log.
    fn record(&self, record: AuditRecord) {
        let now = (self.shared.context.session.clock)();
        self.shared.recorder.record(record, now);
    }

    fn client(&self) -> AuditBy {
        AuditBy {
            msp_id: self.peer.msp_id.clone(),
            identity_id: self.peer.identity_id,
            address: Some(self.connection.remote_address().to_string()),
        }
    }
}
