//! TLS from Fabric's own certificates: who gets a connection at all, and what the two sides agree on.
//!
//! One verifier for both directions. Each organisation keeps its own roots, never one pool: the result is the set of MSP IDs that
//! accept the chain (organisations may share a TLS CA), and an empty set is a refusal. Which of them the other side
//! *is* is for [`super::session`] to say: a TLS certificate carries no MSP ID.

use std::{
    collections::BTreeSet,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite},
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::WallClock;
use crate::msp::{ChannelConfig, MspId, OrgConfig, TlsPair};

/// The protocol's name and major version in the handshake.
pub const ALPN: &[u8] = b"snapferry/1";

/// Most certificates that a peer may send: deeper chains than Fabric allows.
const CHAIN_CERTIFICATES_MAX: usize = 8;

/// What a certificate is judged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Its holder accepted our connection.
    Server,
    /// Its holder dialled us.
    Client,
}

/// How a server's certificate is tied to the host that was dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameCheck {
    /// A subject alternative name equals the dialled host, or the name that the operator gave instead.
    #[default]
    San,
    /// Only the organisation counts: for certificates that have no alternative name.
    OrgOnly,
}

/// The TLS roots of the organisations of one or more channels.
#[derive(Default)]
pub struct TlsBundle {
    orgs: Vec<OrgRoots>,
}

struct OrgRoots {
    msp_id: MspId,
    /// Each with the dates within which it counts.
    anchors: Vec<(TrustAnchor<'static>, RangeInclusive<SystemTime>)>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl OrgRoots {
    fn new(org: &OrgConfig) -> Self {
        let anchor = |root| match webpki::anchor_from_trusted_cert(root) {
            Ok(anchor) => Some(anchor.to_owned()),
            Err(error) => {
                tracing::warn!(msp_id = %org.msp_id(), %error, "a TLS root in the channel configuration is not usable");
                None
            }
        };
        let dated = org.tls_roots().iter().zip(org.tls_root_dates());
        Self {
            msp_id: org.msp_id().clone(),
            anchors: dated.filter_map(|(root, dates)| Some((anchor(root)?, dates.clone()))).collect(),
            intermediates: org.tls_intermediates().to_vec(),
        }
    }

    /// The roots that count at `now`; an organisation without one accepts nobody.
    fn anchors_at(&self, now: UnixTime) -> impl Iterator<Item = &TrustAnchor<'static>> {
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        self.anchors.iter().filter(move |(_, dates)| dates.contains(&now)).map(|(anchor, _)| anchor)
    }

    fn accepts(
        &self,
        leaf: &EndEntityCert<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<(), webpki::Error> {
        let intermediates: Vec<CertificateDer<'_>> = self.intermediates.iter().chain(sent).cloned().collect();
        let key_usage = match usage {
            Usage::Server => KeyUsage::server_auth(),
            Usage::Client => KeyUsage::client_auth(),
        };
        // webpki doesn't look at an anchor's own dates.
        let anchors: Vec<TrustAnchor<'_>> = self.anchors_at(now).cloned().collect();
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, now, key_usage, None, None).map(drop)
    }
}

impl TlsBundle {
    /// The roots of every application organisation of these channels.
    #[must_use]
    pub fn new<'a>(configs: impl IntoIterator<Item = &'a ChannelConfig>) -> Self {
        Self { orgs: configs.into_iter().flat_map(|config| config.orgs().values()).map(OrgRoots::new).collect() }
    }

    /// Logs which organisations have TLS roots past their dates at `now`: those roots count for nothing, so their peers may find
    /// every door shut.
    pub fn warn_of_outdated(&self, now: SystemTime) {
        for org in &self.orgs {
            let (all, counting) = (org.anchors.len(), org.anchors_at(unix_time(now)).count());
            if counting < all {
                tracing::warn!(
                    msp_id = %org.msp_id, outdated = all - counting, counting,
                    "TLS roots of the channel configuration are past their dates and are left out; the organisation has to renew them"
                );
            }
        }
    }

    /// The MSP IDs that accept the chain (leaf first) at `now`; or, if none does, why the last one didn't.
    fn accepting(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<BTreeSet<MspId>, webpki::Error> {
        let (leaf, sent) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
        if chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(webpki::Error::MaximumPathDepthExceeded);
        }
        let leaf = EndEntityCert::try_from(leaf)?;
        let mut accepting = BTreeSet::new();
        let mut refusal = webpki::Error::UnknownIssuer;
        for org in &self.orgs {
            match org.accepts(&leaf, sent, now, usage) {
                Ok(()) => {
                    accepting.insert(org.msp_id.clone());
                }
                Err(webpki::Error::UnknownIssuer) => {}
                Err(error) => refusal = error,
            }
        }
        if accepting.is_empty() { Err(refusal) } else { Ok(accepting) }
    }
}

impl fmt::Debug for TlsBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.orgs.iter().map(|org| &org.msp_id)).finish()
    }
}

/// The organisations of a channel that accept a connection's certificate chain (leaf first). Empty: none.
#[must_use]
pub fn orgs_accepting(
    config: &ChannelConfig,
    chain: &[CertificateDer<'_>],
    now: SystemTime,
    usage: Usage,
) -> BTreeSet<MspId> {
    TlsBundle::new([config]).accepting(chain, unix_time(now), usage).unwrap_or_default()
}

/// The bundle that verifiers use: swapped whole, while connections live.
#[derive(Debug, Clone, Default)]
pub struct TlsTrust(Arc<RwLock<Arc<TlsBundle>>>);

impl TlsTrust {
    /// Starts with that bundle.
    #[must_use]
    pub fn new(bundle: TlsBundle) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(bundle))))
    }

    /// The bundle of the moment.
    #[must_use]
    pub fn current(&self) -> Arc<TlsBundle> {
        // Nothing can panic while it holds the lock; a poisoned one still holds a whole bundle.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges every later handshake by that bundle.
    pub fn swap(&self, bundle: TlsBundle) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bundle);
    }
}

/// The dialling side's TLS settings: 1.3 only, our certificate offered, nothing resumed, nothing early.
///
/// # Errors
/// If our own pair isn't usable.
pub fn client_config(
    trust: TlsTrust,
    pair: &TlsPair,
    name_check: NameCheck,
    clock: WallClock,
) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = provider();
    let verifier = Verifier { trust, name_check, provider: provider.clone() };
    let mut config = rustls::ClientConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// The accepting side's TLS settings: 1.3 only, a client certificate demanded, no tickets, nothing early.
///
/// # Errors
/// If our own pair isn't usable.
pub fn server_config(trust: TlsTrust, pair: &TlsPair, clock: WallClock) -> Result<rustls::ServerConfig, rustls::Error> {
    let provider = provider();
    let verifier = Verifier { trust, name_check: NameCheck::default(), provider: provider.clone() };
    let mut config = rustls::ServerConfig::builder_with_details(provider, time_provider(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(pair.chain.clone(), pair.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// AES-128-GCM first: the cheapest suite where the CPU has AES (performance.md section 3).
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// Judges the other side's chain, whichever side that is.
#[derive(Debug)]
struct Verifier {
    trust: TlsTrust,
    name_check: NameCheck,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<(), rustls::Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(leaf).chain(sent).cloned().collect();
        match self.trust.current().accepting(&chain, now, usage) {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(?usage, %error, "no organisation accepts the TLS certificate");
                // The server tells every stranger the same; the client's operator is told more.
                Err(match (usage, error) {
                    (Usage::Server, webpki::Error::CertExpired { .. }) => CertificateError::Expired,
                    (Usage::Server, webpki::Error::CertNotValidYet { .. }) => CertificateError::NotValidYet,
                    (Usage::Server, webpki::Error::RequiredEkuNotFoundContext(_)) => CertificateError::InvalidPurpose,
                    _ => CertificateError::UnknownIssuer,
                }
                .into())
            }
        }
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn check_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.provider.signature_verification_algorithms)
    }
}

/// TLS 1.2 is never offered, so nothing of it is accepted.
fn no_tls12() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, sent, now, Usage::Server)?;
        if self.name_check == NameCheck::San {
            EndEntityCert::try_from(leaf)
                .and_then(|leaf| leaf.verify_is_valid_for_subject_name(server_name))
                .map_err(|_| CertificateError::NotValidForName)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    /// Empty: strangers do not learn the members.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(leaf, sent, now, Usage::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// Our wall clock as rustls asks for it.
pub(crate) fn time_provider(clock: WallClock) -> Arc<dyn TimeProvider> {
    Arc::new(Clock(clock))
}

struct Clock(WallClock);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time((self.0)()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A clock before 1970 reads 1970: no certificate is valid then.
fn unix_time(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}
