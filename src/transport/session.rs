//! Session authentication: who is on the other end, before anything else is said (proto/snapferry/v1/session.proto).
//!
//! Each side signs with its MSP identity, bound to this TLS session by its exporter, by both leaf certificates and, for the
//! server, by what the client said. Whatever is wrong, the other side is told UNAUTHORIZED and nothing more; the
//! reason is in our own error. What the accepted identity may do is decided elsewhere.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use prost::Message;
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{
    WallClock,
    fault::{ErrorCode, Fault},
    limits::{ACCEPT_TIMEOUT, FRAME_BYTES_BEFORE_HELLO_MAX},
    live::LiveChannels,
    pb,
    tls::{Usage, orgs_accepting},
};
use crate::msp::{ChannelConfig, Identity, IdentityId, LocalIdentity, MspError, MspId, Purpose, SerializedIdentity};

/// What we bring into a session.
#[derive(Clone)]
pub struct SessionContext {
    /// Who we are.
    pub identity: Arc<LocalIdentity>,
    /// The leaf of the certificate chain that this endpoint uses.
    pub tls_leaf: CertificateDer<'static>,
    /// Wall time, for dates of certificates.
    pub clock: WallClock,
    /// How long the other side may take in all.
    pub timeout: Duration,
}

impl SessionContext {
    /// With the protocol's time limit.
    #[must_use]
    pub const fn new(identity: Arc<LocalIdentity>, tls_leaf: CertificateDer<'static>, clock: WallClock) -> Self {
        Self { identity, tls_leaf, clock, timeout: ACCEPT_TIMEOUT }
    }
}

/// Who is on the other end: proved.
#[derive(Debug, Clone)]
pub struct PeerIdentity {
    /// Its validated identity.
    pub identity: Identity,
    /// Its organisation, which its TLS chain belongs to as well.
    pub msp_id: MspId,
    /// Its certificate, however spelled.
    pub identity_id: IdentityId,
    /// Sequence of the channel configuration that it judges by.
    pub config_sequence: u64,
}

/// A client that was accepted, and what it asks about.
#[derive(Debug, Clone)]
pub struct AcceptedClient {
    /// Who it is.
    pub peer: PeerIdentity,
    /// The configuration of the connection's channel, by which it was judged.
    pub config: Arc<ChannelConfig>,
}

/// Why a session did not come about. The other side learns none of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The other side took too long.
    #[error("it did not say who it is within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection broke before it said who it is")]
    Connection(#[source] ConnectionError),
    /// The stream ended or was reset.
    #[error("it ended the conversation before it said who it is")]
    StreamEnded,
    /// The other side refused our certificate or identity.
    #[error(
        "it refuses us without saying why: it doesn't serve this channel, or our organisation isn't in its configuration of the channel, or \
         one of our certificates isn't valid (`snapferry config check` knows); its operator finds the reason in its log, at level debug"
    )]
    Refused,
    /// A frame over the limit.
    #[error("the authentication frame has {bytes} bytes, more than {limit}")]
    FrameTooLarge {
        /// Bytes announced.
        bytes: u32,
        /// Bytes allowed.
        limit: usize,
    },
    /// A message that doesn't decode.
    #[error("the authentication message does not decode")]
    Decode,
    /// Another version of the body.
    #[error("authentication version {0} is not 1")]
    Version(u32),
    /// Not the role that the other side has: reflected, perhaps.
    #[error("the authentication is for role {0}, which the other side does not have")]
    Role(u32),
    /// A channel that isn't served, or not the one that we asked about.
    #[error("the authentication is for channel {0:?}, which is not served here")]
    Channel(String),
    /// A TLS certificate in the body isn't the connection's: relayed, perhaps.
    #[error("the authentication names another TLS certificate than the connection's")]
    TlsCertificate,
    /// The server answers another client's authentication.
    #[error("the server's authentication does not answer ours")]
    Transcript,
    /// The identity is unusable, invalid, or its signature is wrong.
    #[error("it has no valid identity of the channel")]
    Identity(#[source] MspError),
    /// The TLS certificate belongs to other organisations.
    #[error("it says that it is of {claimed}, but its TLS certificate {}", issuers(.accepted))]
    TlsOrganisation {
        /// The MSP ID claimed.
        claimed: MspId,
        /// The organisations of the channel that accept its TLS chain.
        accepted: BTreeSet<MspId>,
    },
    /// The channel's policy says that it is none of its readers.
    #[error("it is none of the channel's readers")]
    Reader(#[source] MspError),
    /// The TLS layer has no certificate or no exporter.
    #[error("the TLS session gives no certificate or exporter")]
    Tls,
    /// We can't sign.
    #[error("signing our own authentication")]
    Signing(#[source] MspError),
}

impl SessionError {
    /// Whose fault it was. Membership is a matter of configuration, on either side; a wrong message is malice.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Timeout(_) | Self::Connection(_) | Self::StreamEnded => Fault::Link,
            Self::Identity(MspError::Signature { .. } | MspError::SerializedIdentity { .. })
            | Self::FrameTooLarge { .. }
            | Self::Decode
            | Self::Role(_)
            | Self::TlsCertificate
            | Self::Transcript => Fault::Peer,
            Self::Refused
            | Self::Version(_)
            | Self::Channel(_)
            | Self::Identity(_)
            | Self::TlsOrganisation { .. }
            | Self::Reader(_)
            | Self::Tls
            | Self::Signing(_) => Fault::Operator,
        }
    }
}

/// Authenticates as the client, on the connection's first stream, for the configuration's channel: signs, then checks the
/// server. Only when this returns is the session accepted on both sides.
///
/// # Errors
/// If the server refuses, fails a check, or takes too long. The connection is then closed with UNAUTHORIZED.
pub async fn authenticate_client(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    context: &SessionContext,
    config: &ChannelConfig,
) -> Result<PeerIdentity, SessionError> {
    let exchange = async {
        let session = TlsSession::of(connection, context)?;
        let ours = session.sign(context, Role::Client, config, Bytes::new())?;
        write_frame(send, &ours).await?;
        let answer = read_frame(recv).await?;
        let received = Received::decode(&answer, Role::Server)?;
        if received.body.channel_id != config.channel().as_str() {
            return Err(SessionError::Channel(printable(&received.body.channel_id)));
        }
        session.check(&received, config, context, &Sha256::digest(&ours))
    };
    judged(connection, context.timeout, exchange).await
}

/// Authenticates as the server, on the connection's first stream: checks the client, then signs.
///
/// # Errors
/// If the client fails a check or takes too long. The connection is then closed with UNAUTHORIZED.
pub async fn authenticate_server(
    connection: &Connection,
    send: &mut SendStream,
    recv: &mut RecvStream,
    context: &SessionContext,
    channels: &LiveChannels,
) -> Result<AcceptedClient, SessionError> {
    let exchange = async {
        let session = TlsSession::of(connection, context)?;
        let question = read_frame(recv).await?;
        let received = Received::decode(&question, Role::Client)?;
        let channel = received.body.channel_id.parse().ok();
        let config = channel
            .and_then(|channel| channels.current(&channel))
            .ok_or_else(|| SessionError::Channel(printable(&received.body.channel_id)))?;
        let peer = session.check(&received, &config, context, &[])?;
        let transcript = Bytes::copy_from_slice(&Sha256::digest(&question));
        let ours = session.sign(context, Role::Server, &config, transcript)?;
        write_frame(send, &ours).await?;
        Ok(AcceptedClient { peer, config })
    };
    judged(connection, context.timeout, exchange).await
}

/// Judges the other side of an accepted session once more, by another configuration or a later clock: its identity, its TLS chain,
/// that both still belong together, and that it is still a reader. `usage` is what its TLS certificate is used for.
///
/// # Errors
/// Why it would no longer be accepted. Closing the connection is left to the caller.
pub fn judge_again(
    connection: &Connection,
    peer: &PeerIdentity,
    config: &ChannelConfig,
    now: SystemTime,
    usage: Usage,
) -> Result<(), SessionError> {
    config.validate(&peer.identity, now).map_err(SessionError::Identity)?;
    check_tls_organisation(config, &peer_chain(connection)?, &peer.msp_id, now, usage)?;
    config.check_reader(&peer.identity).map_err(SessionError::Reader)
}

/// One place closes, so that every failure looks the same from outside.
async fn judged<T>(
    connection: &Connection,
    limit: Duration,
    exchange: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let result = timeout(limit, exchange).await.unwrap_or(Err(SessionError::Timeout(limit)));
    if result.is_err() {
        connection.close(ErrorCode::Unauthorized.varint(), b"");
    }
    result
}

/// Which side signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client = 1,
    Server = 2,
}

/// Version of AuthBody.
const VERSION: u32 = 1;
/// Label of the TLS exporter.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-snapferry/1 session-auth";

/// What the TLS session under the stream contributes.
struct TlsSession<'a> {
    connection: &'a Connection,
    peer_chain: Vec<CertificateDer<'static>>,
    own_leaf_sha256: [u8; 32],
    peer_leaf_sha256: [u8; 32],
}

impl<'a> TlsSession<'a> {
    fn of(connection: &'a Connection, context: &SessionContext) -> Result<Self, SessionError> {
        let peer_chain = peer_chain(connection)?;
        let peer_leaf = peer_chain.first().ok_or(SessionError::Tls)?;
        let peer_leaf_sha256 = Sha256::digest(peer_leaf).into();
        Ok(Self { connection, peer_chain, own_leaf_sha256: Sha256::digest(&context.tls_leaf).into(), peer_leaf_sha256 })
    }

    /// The secret of this session for the signer of that role.
    fn exporter(&self, role: Role) -> Result<[u8; 32], SessionError> {
        let mut secret = [0; 32];
        let made = self.connection.export_keying_material(&mut secret, EXPORTER_LABEL, &[role as u8]);
        made.map(|()| secret).map_err(|_| SessionError::Tls)
    }

    /// Our SignedAuth.
    fn sign(
        &self,
        context: &SessionContext,
        role: Role,
        config: &ChannelConfig,
        client_auth_sha256: Bytes,
    ) -> Result<Vec<u8>, SessionError> {
        let body = pb::AuthBody {
            version: VERSION,
            role: role as u32,
            channel_id: config.channel().as_str().to_owned(),
            identity: context.identity.identity.serialized().encode().into(),
            own_tls_cert_sha256: Bytes::copy_from_slice(&self.own_leaf_sha256),
            peer_tls_cert_sha256: Bytes::copy_from_slice(&self.peer_leaf_sha256),
            config_sequence: config.sequence(),
            client_auth_sha256,
        };
        let body = body.encode_to_vec();
        let signature = context.identity.sign(Purpose::SessionAuth, &[&self.exporter(role)?, &body]);
        let signature = signature.map_err(SessionError::Signing)?.into();
        Ok(pb::SignedAuth { body: body.into(), signature }.encode_to_vec())
    }

    /// The checks that remain once version, role and channel are right, in the protocol's order.
    fn check(
        &self,
        received: &Received,
        config: &ChannelConfig,
        context: &SessionContext,
        client_auth_sha256: &[u8],
    ) -> Result<PeerIdentity, SessionError> {
        let body = &received.body;
        if *body.own_tls_cert_sha256 != self.peer_leaf_sha256 || *body.peer_tls_cert_sha256 != self.own_leaf_sha256 {
            return Err(SessionError::TlsCertificate);
        }
        if body.client_auth_sha256 != client_auth_sha256 {
            return Err(SessionError::Transcript);
        }
        let now = (context.clock)();
        let serialized = SerializedIdentity::decode(&body.identity).map_err(SessionError::Identity)?;
        let identity = Identity::parse(serialized).map_err(SessionError::Identity)?;
        config.validate(&identity, now).map_err(SessionError::Identity)?;
        let usage = match received.role {
            Role::Client => Usage::Client,
            Role::Server => Usage::Server,
        };
        check_tls_organisation(config, &self.peer_chain, identity.msp_id(), now, usage)?;
        let parts: [&[u8]; 2] = [&self.exporter(received.role)?, &received.signed.body];
        identity.verify(Purpose::SessionAuth, &parts, &received.signed.signature).map_err(SessionError::Identity)?;
        config.check_reader(&identity).map_err(SessionError::Reader)?;
        if body.config_sequence != config.sequence() {
            tracing::warn!(
                channel = %config.channel(), peer = %identity.msp_id(), theirs = body.config_sequence, ours = config.sequence(),
                "the two sides judge by different channel configurations: refresh the older one"
            );
        }
        Ok(PeerIdentity {
            msp_id: identity.msp_id().clone(),
            identity_id: identity.id(),
            config_sequence: body.config_sequence,
            identity,
        })
    }
}

/// The certificates that the other side of the connection proved to hold, leaf first.
fn peer_chain(connection: &Connection) -> Result<Vec<CertificateDer<'static>>, SessionError> {
    let chain = connection.peer_identity().and_then(|chain| chain.downcast().ok());
    chain.map(|chain| *chain).ok_or(SessionError::Tls)
}

/// A TLS certificate names no organisation: the one that is claimed must be among those whose roots accept it now.
fn check_tls_organisation(
    config: &ChannelConfig,
    chain: &[CertificateDer<'_>],
    claimed: &MspId,
    now: SystemTime,
    usage: Usage,
) -> Result<(), SessionError> {
    let accepted = orgs_accepting(config, chain, now, usage);
    if accepted.contains(claimed) {
        return Ok(());
    }
    Err(SessionError::TlsOrganisation { claimed: claimed.clone(), accepted })
}

/// A SignedAuth taken apart; its version and role are right.
struct Received {
    role: Role,
    signed: pb::SignedAuth,
    body: pb::AuthBody,
}

impl Received {
    fn decode(bytes: &[u8], role: Role) -> Result<Self, SessionError> {
        let signed = pb::SignedAuth::decode(bytes).map_err(|_| SessionError::Decode)?;
        let body = pb::AuthBody::decode(signed.body.clone()).map_err(|_| SessionError::Decode)?;
        if body.version != VERSION {
            return Err(SessionError::Version(body.version));
        }
        if body.role != role as u32 {
            return Err(SessionError::Role(body.role));
        }
        Ok(Self { role, signed, body })
    }
}

/// Whether those bytes are a SignedAuth of that role, by their form alone: for the fuzz target, which has no connection.
#[doc(hidden)]
#[must_use]
pub fn is_signed_auth(bytes: &[u8], by_server: bool) -> bool {
    Received::decode(bytes, if by_server { Role::Server } else { Role::Client }).is_ok()
}

async fn write_frame(send: &mut SendStream, message: &[u8]) -> Result<(), SessionError> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= FRAME_BYTES_BEFORE_HELLO_MAX);
    let length = length.ok_or(SessionError::FrameTooLarge { bytes: u32::MAX, limit: FRAME_BYTES_BEFORE_HELLO_MAX })?;
    let frame = Bytes::from([&length.to_be_bytes(), message].concat());
    send.write_chunk(frame).await.map_err(|error| match error {
        WriteError::ConnectionLost(error) => lost(error),
        _ => SessionError::StreamEnded,
    })
}

async fn read_frame(recv: &mut RecvStream) -> Result<Vec<u8>, SessionError> {
    let failed = |error| match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => lost(error),
        _ => SessionError::StreamEnded,
    };
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(failed)?;
    let bytes = u32::from_be_bytes(length);
    if bytes as usize > FRAME_BYTES_BEFORE_HELLO_MAX {
        return Err(SessionError::FrameTooLarge { bytes, limit: FRAME_BYTES_BEFORE_HELLO_MAX });
    }
    let mut message = vec![0; bytes as usize];
    recv.read_exact(&mut message).await.map_err(failed)?;
    Ok(message)
}

/// A TLS 1.3 client finishes before its certificate is judged: the server's verdict may arrive only now, as a TLS alert.
fn lost(error: ConnectionError) -> SessionError {
    /// QUIC's error codes for TLS alerts (RFC 9001, 4.8).
    const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
    match &error {
        ConnectionError::ApplicationClosed(close) if close.error_code == ErrorCode::Unauthorized.varint() => {
            SessionError::Refused
        }
        ConnectionError::ConnectionClosed(close) if CRYPTO_ERRORS.contains(&u64::from(close.error_code)) => {
            SessionError::Refused
        }
        _ => SessionError::Connection(error),
    }
}

fn issuers(accepted: &BTreeSet<MspId>) -> String {
    match accepted.iter().map(MspId::as_str).collect::<Vec<_>>().as_slice() {
        [] => "is from no organisation of the channel, or no longer valid".to_owned(),
        orgs => format!("is from a CA of {}", orgs.join(", ")),
    }
}

/// Foreign text for a message: short, no control characters.
fn printable(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
