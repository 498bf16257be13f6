//! Dials the sources of a job: resolves their names, one QUIC endpoint per address family.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use quinn::Endpoint;
use tokio::{task::JoinSet, time};

use super::error::{JoinError, SourceTrouble};
use crate::{
    chunking::BufferPool,
    disk::lacks_descriptors,
    msp::{ChannelConfig, LocalIdentity, TlsPair},
    snapshot::ChannelId,
    transport::{
        WallClock,
        asking::{AskError, AskProblem, ConnectParams, Session},
        endpoint::Tuning,
        fault::{Effect, ErrorCode, Fault},
        live::LiveChannels,
        network::Network,
        session::SessionContext,
        tls::{NameCheck, client_config},
    },
};

/// Sources of one job: each may park a receive window of unread bytes here, whatever the plan asked for.
pub const SOURCES_MAX: usize = 16;
/// Receive window of a connection, in bytes: its share of the budget, but at least this, or one far source alone is slow ...
const WINDOW_MIN_BYTES: u64 = 8 << 20;
/// ... and at most this: more than 5 Gbit/s at 50 ms need.
const WINDOW_MAX_BYTES: u64 = 32 << 20;

/// Everything from looking a name up to the last page of a catalog: the longest wait for one answer, as often as a good source needs
/// it. The start waits for every source, so none may hold it up for longer.
const START_MAX: Duration = Duration::from_secs(30);

/// First wait before a lost source is dialled again; doubled up to [`REDIAL_MAX`].
const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before a source is dialled again.
const REDIAL_MAX: Duration = Duration::from_secs(20);
/// How long one address of a source may be silent before the next one is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Shortest wait before a request is sent again, whatever the source says.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// A session that lasted for so long was a good one: the next wait is the first again. One that is closed at once, with a whole
/// catalog sent each time, isn't dialled twice a second.
const LASTED: Duration = Duration::from_secs(10);

/// A source as the operator names it.
#[derive(Debug, Clone)]
pub struct SourceAddress {
    /// `HOST:PORT`.
    pub address: String,
    /// The name in its TLS certificate, if that isn't the host.
    pub server_name: Option<String>,
    /// How its certificate is tied to that name.
    pub name_check: NameCheck,
}

/// Who dials: our identity, our TLS pair, the channel, and how connections are tuned.
#[derive(Clone)]
pub struct Dialling {
    /// The channel that all connections are about.
    pub channel: ChannelId,
    /// Its configuration of the moment, by which sources are judged.
    pub live: LiveChannels,
    /// Our MSP identity.
    pub identity: Arc<LocalIdentity>,
    /// Our TLS pair; its certificate must be usable as a client's.
    pub tls: Arc<TlsPair>,
    /// An admin's grant for our identity, if it is no admin's own.
    pub grant: Option<Bytes>,
    /// Settings of the connections.
    pub tuning: Tuning,
    /// The way to the sources.
    pub network: Network,
    /// Wall time.
    pub clock: WallClock,
}

impl Dialling {
    /// The channel's configuration of the moment.
    ///
    /// # Errors
    /// [`JoinError::NoConfig`] if `live` lacks the channel.
    pub fn config(&self) -> Result<Arc<ChannelConfig>, JoinError> {
        self.live.current(&self.channel).ok_or_else(|| JoinError::NoConfig(self.channel.clone()))
    }
}

/// Why no connection can even be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Our own TLS certificate or key.
    #[error("our own TLS pair can't be used to dial: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC needs AES-128-GCM for its first packets.
    #[error("TLS without the cipher suite that QUIC starts with")]
    NoInitialSuite,
    /// Too many sources.
    #[error("{named} sources are named, at most {max} can be asked at a time: name fewer")]
    TooManySources {
        /// How many.
        named: usize,
        /// The limit.
        max: usize,
    },
    /// The address that others were to be served at.
    #[error("UDP {address} can't be bound: {source}; is another service running there?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No socket.
    #[error("no UDP socket can be opened: {0}")]
    Socket(#[source] std::io::Error),
}

/// Endpoints and credentials of one job.
#[derive(Clone)]
pub(super) struct Dialer {
    v4: Endpoint,
    v6: Option<Endpoint>,
    by_name: quinn::ClientConfig,
    by_org: quinn::ClientConfig,
    pub(super) context: SessionContext,
    pub(super) channel: ChannelId,
    pub(super) live: LiveChannels,
    grant: Option<Bytes>,
    network: Network,
    buffers: BufferPool,
}

impl Dialer {
    /// Credentials for `sources` connections that share `budget_bytes` of memory.
    pub(super) fn new(
        dialling: &Dialling,
        buffers: BufferPool,
        sources: usize,
        budget_bytes: u64,
    ) -> Result<Self, DialError> {
        if sources > SOURCES_MAX {
            return Err(DialError::TooManySources { named: sources, max: SOURCES_MAX });
        }
        let share = budget_bytes.checked_div(sources as u64).unwrap_or(budget_bytes);
        let receive_window_bytes = u32::try_from(share.clamp(WINDOW_MIN_BYTES, WINDOW_MAX_BYTES)).unwrap_or(u32::MAX);
        let tuning = Tuning { receive_window_bytes, ..dialling.tuning.clone() };
        let trust = dialling.live.trust();
        trust.current().warn_of_outdated((dialling.clock)());
        let config = |name_check| {
            let tls = client_config(trust.clone(), &dialling.tls, name_check, Arc::clone(&dialling.clock))?;
            tuning.client(tls).map_err(|_| DialError::NoInitialSuite)
        };
        let socket = |ip: IpAddr| dialling.network.open(SocketAddr::new(ip, 0), &tuning);
        let leaf = dialling.tls.leaf().clone();
        let v4 = socket(Ipv4Addr::UNSPECIFIED.into()).map_err(DialError::Socket)?;
        let v6 = match socket(Ipv6Addr::UNSPECIFIED.into()) {
            Err(error) if lacks_descriptors(&error) => return Err(DialError::Socket(error)),
            v6 => v6.ok(), // a host without IPv6 is fine
        };
        Ok(Self {
            v4,
            v6,
            by_name: config(NameCheck::San)?,
            by_org: config(NameCheck::OrgOnly)?,
            context: SessionContext::new(Arc::clone(&dialling.identity), leaf, Arc::clone(&dialling.clock)),
            channel: dialling.channel.clone(),
            live: dialling.live.clone(),
            grant: dialling.grant.clone(),
            network: dialling.network.clone(),
            buffers,
        })
    }

    /// Connects to the first address of the source's name that answers.
    pub(super) async fn connect(&self, source: &SourceAddress) -> Result<Session, (SourceTrouble, Redial)> {
        let fail = |reason: String| {
            let trouble = SourceTrouble { source: source.address.clone(), reason, refused: false, dropped: false };
            (trouble, Redial::Again)
        };
        let host = source.address.rsplit_once(':').map_or(source.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let resolved = self.network.resolve(&source.address).await;
        let addresses = resolved
            .map_err(|error| fail(format!("its name can't be resolved here, is it spelled right? ({error})")))?;
        let config =
            self.live.current(&self.channel).ok_or_else(|| fail("the channel has no configuration here".to_owned()))?;
        let params = |address| ConnectParams {
            address,
            server_name: source.server_name.clone().unwrap_or_else(|| host.to_owned()),
            quic: match source.name_check {
                NameCheck::San => self.by_name.clone(),
                NameCheck::OrgOnly => self.by_org.clone(),
            },
            channel: Arc::clone(&config),
            context: self.context.clone(),
            grant: self.grant.clone(),
            buffers: self.buffers.clone(),
        };
        let mut waiting = by_turns(addresses).into_iter().filter_map(|address| {
            let endpoint = if address.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() };
            Some((endpoint?.clone(), params(address)))
        });
        let mut last = fail("its name has no address".to_owned());
        let mut dialling = JoinSet::new();
        loop {
            if let Some((endpoint, params)) = waiting.next() {
                dialling.spawn(async move { Session::connect(&endpoint, &params).await });
            }
            // A family that doesn't work is often silent: the next address isn't kept waiting for it.
            let answer = time::timeout(NEXT_ADDRESS_AFTER, dialling.join_next());
            match answer.await {
                Ok(None) => return Err(last),
                Ok(Some(Ok(Ok(session)))) => return Ok(session),
                Ok(Some(Ok(Err(error)))) => last = (trouble(&source.address, &error), Redial::after(&error)),
                Ok(Some(Err(error))) => last = fail(error.to_string()),
                Err(_) => {}
            }
        }
    }

    /// Lets closing words out before the sockets go.
    pub(super) async fn wait_idle(&self) {
        self.v4.wait_idle().await;
        if let Some(v6) = &self.v6 {
            v6.wait_idle().await;
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer({})", self.channel)
    }
}

/// The addresses, families by turns: each family is tried at once, whatever the resolver puts first.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == first_is_v4);
    let turns = first.len().max(second.len());
    (0..turns).flat_map(|turn| [first.get(turn), second.get(turn)]).flatten().copied().collect()
}

/// The waits between calls of one source.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(REDIAL_FIRST)
    }
}

impl Pauses {
    /// The wait after a session that `lasted` so long; zero: there was none.
    pub(super) fn after(&mut self, lasted: Duration) -> Duration {
        let pause = if lasted >= LASTED { REDIAL_FIRST } else { self.0 };
        self.0 = (pause * 2).min(REDIAL_MAX);
        pause
    }
}

/// Bounds all that dialling a source takes, whatever the source does.
pub(super) async fn within_start<T>(
    address: &str,
    dial: impl Future<Output = Result<T, (SourceTrouble, Redial)>>,
) -> Result<T, (SourceTrouble, Redial)> {
    time::timeout(START_MAX, dial).await.unwrap_or_else(|_| {
        let reason = AskProblem::Silent { what: "within 30 s to all that comes before the first chunk" }.to_string();
        Err((SourceTrouble { source: address.to_owned(), reason, refused: false, dropped: false }, Redial::Again))
    })
}

/// Whether a source is worth another call after it failed (protocol.md 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redial {
    /// Links break, services restart.
    Again,
    /// It is there, and takes nobody now: as [`Self::Again`], and worth waiting for.
    WhenFree,
    /// It may have refused us by an old configuration: once more, then no longer.
    Once,
    /// It broke the protocol, says that we did, or speaks another version.
    Never,
}

impl Redial {
    pub(super) fn after(error: &AskError) -> Self {
        let closed = matches!(error.problem, AskProblem::Closed { .. });
        match error.code().map(ErrorCode::effect) {
            Some(Effect::LogAndDropIfClosed) if closed => Self::Never,
            Some(Effect::ShowOperator) => Self::Never,
            Some(Effect::RetryAfter) => Self::WhenFree,
            Some(Effect::RefreshConfigAndRetryOnce) => Self::Once,
            _ if error.fault() == Fault::Peer => Self::Never,
            None if trouble("", error).refused => Self::Once,
            _ => Self::Again,
        }
    }
}

/// When a request that failed so may be sent again; `None`: the answer would be the same.
pub(super) fn again_after(error: &AskError) -> Option<Duration> {
    let retry_after = match &error.problem {
        AskProblem::Refused { refusal, .. } => refusal.retry_after,
        _ => None,
    };
    // A source mends its own copy in hours, if at all.
    let final_here = |code| is_final(code) || code == ErrorCode::ChunkCorruptAtSource;
    let by_code = error.code().is_some_and(final_here) && matches!(error.problem, AskProblem::Refused { .. });
    let over = by_code || error.fault() == Fault::Peer || matches!(error.problem, AskProblem::BadRequest { .. });
    (!over).then(|| retry_after.unwrap_or(ErrorCode::RETRY_AFTER_DEFAULT).max(AGAIN_MIN))
}

/// Whether a request that was refused so would be refused again, on this connection at least.
pub(super) const fn is_final(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Protocol
            | ErrorCode::Version
            | ErrorCode::Unauthorized
            | ErrorCode::Forbidden
            | ErrorCode::NotFound
            | ErrorCode::Gone
    )
}

/// An error at a source, as the operator reads it.
pub(super) fn trouble(address: &str, error: &AskError) -> SourceTrouble {
    let by_certificate = match &error.problem {
        AskProblem::Tls { .. } | AskProblem::TlsRefused => true,
        // A link that breaks in the middle of it refuses nobody.
        AskProblem::SessionAuth(error) => error.fault() != Fault::Link,
        _ => false,
    };
    let by_code = matches!(error.code(), Some(ErrorCode::Unauthorized | ErrorCode::Forbidden));
    let refused = by_certificate || by_code;
    SourceTrouble { source: address.to_owned(), reason: error.problem.to_string(), refused, dropped: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::wire::Refusal;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_takes_for_ever_holds_the_start_up_for_half_a_minute_and_is_dialled_again() {
        let begun = tokio::time::Instant::now();
        let (trouble, redial) = within_start("host:7061", std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(begun.elapsed(), START_MAX);
        assert_eq!((trouble.source.as_str(), trouble.refused, redial), ("host:7061", false, Redial::Again));
        assert!(trouble.reason.contains("no answer within 30 s"), "{}", trouble.reason);
    }

    /// N8: which is tried when.
    #[test]
    fn both_families_of_a_name_are_tried_by_turns() {
        let address = |text: &str| format!("{text}:7061").parse::<SocketAddr>().unwrap();
        let found = by_turns(["[::1]", "[::2]", "[::3]", "10.0.0.1"].map(address).to_vec());
        assert_eq!(found, ["[::1]", "10.0.0.1", "[::2]", "[::3]"].map(address));
        assert_eq!(by_turns(Vec::new()), []);
    }

    #[test]
    fn only_a_session_that_lasted_makes_the_next_wait_short_again() {
        let mut pauses = Pauses::default();
        let millis: Vec<u128> = (0..7).map(|_| pauses.after(Duration::from_secs(9)).as_millis()).collect();
        assert_eq!(millis, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000]);
        assert_eq!(pauses.after(LASTED), REDIAL_FIRST);
        assert_eq!(pauses.after(Duration::ZERO), 2 * REDIAL_FIRST);
    }

    #[test]
    fn who_refuses_us_is_asked_once_more_and_who_broke_off_for_good_never() {
        let after = |problem| Redial::after(&AskError { address: ([127, 0, 0, 1], 1).into(), problem });
        let closed = |code| AskProblem::Closed { code, reason: String::new() };
        let refused = |code| AskProblem::Refused { what: "catalog", refusal: Refusal::new(code, "") };
        assert_eq!(after(closed(ErrorCode::Protocol)), Redial::Never);
        assert_eq!(after(closed(ErrorCode::Version)), Redial::Never);
        assert_eq!(after(closed(ErrorCode::Unauthorized)), Redial::Once);
        for code in [ErrorCode::Ok, ErrorCode::Internal] {
            assert_eq!(after(closed(code)), Redial::Again, "{code}");
        }
        for code in [ErrorCode::Busy, ErrorCode::ShuttingDown] {
            assert_eq!(after(closed(code)), Redial::WhenFree, "{code}");
        }
        assert_eq!(after(refused(ErrorCode::Busy)), Redial::WhenFree);
        assert_eq!(after(AskProblem::Silent { what: "10 s" }), Redial::Again);
    }
}
