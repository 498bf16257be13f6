//! Dialling a source: QUIC, session auth, Hello. What comes out is a [`Session`] that may ask.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use quinn::{ConnectionStats, Endpoint};
use tokio::sync::watch;

use super::{
    control::{Control, SourceNews},
    error::{AskError, AskProblem, Misbehaviour},
};
use crate::{
    chunking::BufferPool,
    msp::ChannelConfig,
    snapshot::ChannelId,
    transport::{
        fault::ErrorCode,
        frame::{self, FrameError},
        limits::{CLOCK_SKEW_MAX, DIAL_TIMEOUT, FRAME_BYTES_BEFORE_HELLO_MAX},
        session::{PeerIdentity, SessionContext, SessionError, authenticate_client, judge_again},
        tls::Usage,
        wire::{Body, Frame, Hello, SessionLimits},
    },
};

/// Whom to dial, and what we bring along.
#[derive(Clone)]
pub struct ConnectParams {
    /// Where.
    pub address: SocketAddr,
    /// The name that its TLS certificate is checked for (what the operator wrote, or `server_name_override`).
    pub server_name: String,
    /// TLS and QUIC settings: [`crate::transport::endpoint::Tuning::client`] of [`crate::transport::tls::client_config`].
    pub quic: quinn::ClientConfig,
    /// The channel that the connection is about, and who is in it: the configuration of the moment.
    pub channel: Arc<ChannelConfig>,
    /// Who we are, and our clock.
    pub context: SessionContext,
    /// The bytes of a JoinGrant for our identity, at most 24 KiB; an admin needs none.
    pub grant: Option<Bytes>,
    /// Where chunks are received; how many are out, the caller's budget bounds.
    pub buffers: BufferPool,
}

/// An accepted session with one source, for one channel. Dropping it closes the connection.
pub struct Session {
    pub(super) control: Arc<Control>,
    pub(super) buffers: BufferPool,
    channel: ChannelId,
    peer: PeerIdentity,
    hello: Hello,
    clock_ahead_s: i64,
}

impl Session {
    /// Dials, proves who we are, checks who it is, and says Hello.
    ///
    /// # Errors
    /// [`AskError`] with whose fault it was; what the other side said when it closed comes in words.
    pub async fn connect(endpoint: &Endpoint, params: &ConnectParams) -> Result<Self, AskError> {
        let address = params.address;
        let fail = |problem| AskError { address, problem };
        let dialling = endpoint
            .connect_with(params.quic.clone(), address, &params.server_name)
            .map_err(|error| fail(error.into()))?;
        let connection = match tokio::time::timeout(DIAL_TIMEOUT, dialling).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(fail(error.into())),
            Err(_) => return Err(fail(AskProblem::Silent { what: "within 10 s" })),
        };
        match tokio::time::timeout(params.context.timeout, introduce(&connection, params)).await {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(problem)) => {
                let code = AskError { address, problem: problem.clone() }.fault().close_code();
                connection.close(code.varint(), b"");
                Err(fail(problem))
            }
            Err(_) => {
                connection.close(ErrorCode::Cancelled.varint(), b"");
                Err(fail(AskProblem::Silent { what: "within 5 s, though it took the connection" }))
            }
        }
    }

    /// The channel that it is about.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Who the source is: proved.
    #[must_use]
    pub const fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Judges the source once more, by another configuration or a later clock. Closing the session is left to the caller.
    ///
    /// # Errors
    /// Why it would no longer be accepted.
    pub fn judge_again(&self, config: &ChannelConfig, now: SystemTime) -> Result<(), SessionError> {
        judge_again(&self.control.connection, &self.peer, config, now, Usage::Server)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.control.address
    }

    /// What the source said of itself: versions, limits.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How many seconds its clock is ahead of ours (negative: behind). Beyond five minutes certificates and
    /// attestations of the two sides may be judged differently: tell the operator.
    #[must_use]
    pub const fn clock_ahead_s(&self) -> i64 {
        self.clock_ahead_s
    }

    /// Round trip, as measured.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.control.connection.rtt()
    }

    /// Counters of the connection: bytes, packets, losses.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.control.connection.stats()
    }

    /// What the source pushes.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<SourceNews> {
        self.control.news()
    }

    /// Completes when the connection is closed, with the reason.
    pub async fn closed(&self) -> AskError {
        self.control.connection.closed().await;
        self.control.lost()
    }

    /// Whether that has happened.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.control.connection.close_reason().is_some()
    }

    /// One round trip over the control stream.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ping(&self) -> Result<(), AskError> {
        match self.control.ask("ping", Body::Ping).await? {
            Body::Pong => Ok(()),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("ping"))),
        }
    }

    /// Closes the connection; `code` says why: OK when done, else what [`super::super::fault::Fault::close_code`] gives.
    pub fn close(&self, code: ErrorCode, reason: &str) {
        self.control.connection.close(code.varint(), reason.as_bytes());
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} at {}, {})", self.peer.msp_id, self.control.address, self.channel)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closing twice keeps the first reason.
        self.close(ErrorCode::Ok, "");
    }
}

/// Session auth and Hello on the first stream.
async fn introduce(connection: &quinn::Connection, params: &ConnectParams) -> Result<Session, AskProblem> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let peer = authenticate_client(connection, &mut send, &mut recv, &params.context, &params.channel).await.map_err(
        |error| match error {
            SessionError::Connection(error) => error.into(),
            other => AskProblem::SessionAuth(Arc::new(other)),
        },
    )?;
    let hello = Hello {
        minor: 0,
        features: 0,
        limits: SessionLimits::default(),
        time_unix_s: unix_s(params),
        join_grant: params.grant.clone().unwrap_or_default(),
    };
    let lost = |error: Option<quinn::ConnectionError>| {
        error.or_else(|| connection.close_reason()).map_or(AskProblem::Silent { what: "to our greeting" }, Into::into)
    };
    frame::write_frame(&mut send, Frame { request_id: 1, body: Body::Hello(hello) }).await.map_err(|_| lost(None))?;
    let hello = match frame::read_frame(&mut recv, FRAME_BYTES_BEFORE_HELLO_MAX).await {
        Ok(Some(Frame { request_id: 1, body: Body::HelloAck(hello) })) => hello,
        Ok(Some(Frame { body: Body::Error(refusal), .. })) => {
            return Err(AskProblem::Refused { what: "hello", refusal });
        }
        Ok(Some(_)) => return Err(AskProblem::Misbehaved(Misbehaviour::WrongAnswer("hello"))),
        Ok(None) => return Err(lost(None)),
        Err(FrameError::Read(quinn::ReadError::ConnectionLost(error))) => return Err(lost(Some(error))),
        Err(FrameError::Read(_)) => return Err(lost(None)),
        Err(error) => return Err(AskProblem::Misbehaved(Misbehaviour::Frame(error))),
    };
    let clock_ahead_s = i64::try_from(i128::from(hello.time_unix_s) - i128::from(unix_s(params))).unwrap_or(i64::MAX);
    if clock_ahead_s.unsigned_abs() > CLOCK_SKEW_MAX.as_secs() {
        tracing::warn!(
            source = %params.address, org = %peer.msp_id, clock_ahead_s,
            "the source's clock and this one differ by more than 5 minutes: certificates may be judged differently"
        );
    }
    Ok(Session {
        control: Control::start(connection.clone(), params.address, send, recv),
        buffers: params.buffers.clone(),
        channel: params.channel.channel().clone(),
        peer,
        hello,
        clock_ahead_s,
    })
}

fn unix_s(params: &ConnectParams) -> u64 {
    (params.context.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
