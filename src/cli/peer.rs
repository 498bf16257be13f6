//! What every command that asks our peer needs: where it is, how it is known, and what its refusals mean for the operator.

use super::{
    admin::AdminArgs,
    channel,
    context::Context,
    exit::{Exit, Failure},
};
use clap::Args;
use snapferry::{
    msp::{LocalIdentity, TlsPair},
    peer::{Peer, PeerConnection, PeerError, Refusal, read_tls_roots},
    service::{config::Config, units::parse_duration},
    transport::fault::chain,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Where our peer is, and how it is known.
#[derive(Debug, Args)]
pub(crate) struct PeerAddressArgs {
    /// The peer's gRPC [default: peer.address, or CORE_PEER_ADDRESS]
    #[arg(long, value_name = "HOST:PORT", alias = "peerAddress")]
    peer_address: Option<String>,
    /// The CA of the peer's TLS certificate, PEM [default: peer.tls.rootCert, or CORE_PEER_TLS_ROOTCERT_FILE]
    #[arg(long, value_name = "FILE", alias = "tlsRootCertFile")]
    tls_root_cert_file: Option<PathBuf>,
    /// The name in the peer's TLS certificate, if that isn't the host [default: peer.tls.serverName, or
    /// CORE_PEER_TLS_SERVERHOSTOVERRIDE]
    #[arg(long, value_name = "NAME")]
    peer_server_name: Option<String>,
    /// How long to wait for the connection to the peer, and for each answer
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,
}

/// Our peer, for a command that asks nobody else.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    #[command(flatten)]
    at: PeerAddressArgs,
    /// Our TLS certificate, PEM, for a peer that asks for one [default: peer.tls.clientCert, or CORE_PEER_TLS_CLIENTCERT_FILE]
    #[arg(long, value_name = "FILE", alias = "tlsCertFile", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", alias = "tlsKeyFile", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

fn shown(path: &Option<PathBuf>) -> Option<String> {
    path.as_ref().map(|path| path.display().to_string())
}

impl PeerAddressArgs {
    /// The flags by the keys that they stand over.
    pub(crate) fn by_key(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("peer.address", self.peer_address.clone()),
            ("peer.tls.rootCert", shown(&self.tls_root_cert_file)),
            ("peer.tls.serverName", self.peer_server_name.clone()),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The peer that flags and configuration name.
    pub(crate) fn connection(&self, config: &Config) -> Result<PeerConnection, Failure> {
        configured_peer(config, self.timeout)
    }
}

/// The peer that the configuration names; waits so long for it, and for each of its answers.
pub(crate) fn configured_peer(config: &Config, timeout: Duration) -> Result<PeerConnection, Failure> {
    let peer = &config.peer;
    let address = peer.address.clone().ok_or_else(|| {
        Failure::new(Exit::Usage, "which peer?")
            .next("give --peer-address HOST:PORT, or set peer.address or CORE_PEER_ADDRESS")
    })?;
    let roots = peer.tls_root_cert.as_ref().ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("nothing says by which CA the peer {address} is known: it is called over TLS only"),
        )
        .next("give --tls-root-cert-file FILE, or set peer.tls.rootCert or CORE_PEER_TLS_ROOTCERT_FILE")
    })?;
    let client = match (&peer.tls_client_cert, &peer.tls_client_key) {
        (Some(certificate), Some(key)) => {
            let pair = TlsPair::load(certificate, key);
            Some(pair.map_err(|error| Failure::new(Exit::Usage, chain(&error)))?)
        }
        (None, None) => None,
        _ => {
            let half = Failure::new(Exit::Usage, "of our TLS certificate and its key only one is set");
            return Err(half.next("set both peer.tls.clientCert and peer.tls.clientKey, or neither"));
        }
    };
    if timeout.is_zero() {
        return Err(Failure::new(Exit::Usage, "within no time nothing answers").next("give another --timeout"));
    }
    Ok(PeerConnection {
        address,
        server_name: peer.server_name.clone(),
        roots: read_tls_roots(roots)?,
        client,
        timeout,
    })
}

impl PeerArgs {
    /// The flags by the keys that they stand over.
    pub(crate) fn by_key(&self) -> Vec<(&'static str, String)> {
        let pair = [("peer.tls.clientCert", shown(&self.tls_cert)), ("peer.tls.clientKey", shown(&self.tls_key))];
        let pair = pair.into_iter().filter_map(|(key, value)| Some((key, value?)));
        self.at.by_key().into_iter().chain(pair).collect()
    }

    /// Who asks whom: everything that can be wrong without a connection is found here.
    pub(crate) fn admins(&self, admin: &AdminArgs, context: &Context, config: &Config) -> Result<AdminsPeer, Failure> {
        let connection = self.at.connection(config)?;
        Ok(AdminsPeer { connection, admin: Arc::new(admin.load(context, config)?) })
    }
}

/// Our peer, as an admin asks it.
pub(crate) struct AdminsPeer {
    connection: PeerConnection,
    admin: Arc<LocalIdentity>,
}

impl AdminsPeer {
    pub(crate) const fn new(connection: PeerConnection, admin: Arc<LocalIdentity>) -> Self {
        Self { connection, admin }
    }

    pub(crate) fn address(&self) -> &str {
        &self.connection.address
    }

    pub(crate) async fn connect(&self) -> Result<Peer, PeerError> {
        Peer::connect(self.connection.clone(), Arc::clone(&self.admin), channel::wall_clock()).await
    }

    /// A failure with what helps here: who was refused, or what channels there are.
    pub(crate) async fn failure(&self, peer: &Peer, error: PeerError) -> Failure {
        match error.refused().map(|refused| refused.refusal) {
            Some(Refusal::Denied) => self.denied(&error),
            Some(Refusal::NotJoined) => {
                let channels = match peer.channels().await {
                    Ok(channels) if channels.is_empty() => "it is in no channel".to_owned(),
                    Ok(channels) => {
                        let names: Vec<&str> = channels.iter().map(|channel| channel.as_str()).collect();
                        format!("its channels are {}", names.join(", "))
                    }
                    Err(_) => "it doesn't say which channels it is in".to_owned(),
                };
                Failure::new(Exit::Failed, format!("{error}; {channels}"))
            }
            _ => error.into(),
        }
    }

    fn denied(&self, error: &PeerError) -> Failure {
        let identity = &self.admin.identity;
        let units = match identity.organizational_units() {
            [] => "none".to_owned(),
            units => units.join(", "),
        };
        let who = format!(
            "{error}; it was signed by {}, organizational unit {units}, of {}",
            identity.subject(),
            identity.msp_id()
        );
        Failure::new(Exit::Refused, who)
            .next("use an admin of the peer's own organisation: --msp-config-path, --msp-id")
    }
}

/// A runtime for a command that asks.
pub(crate) fn block_on<T>(asking: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking)
}

impl From<PeerError> for Failure {
    fn from(error: PeerError) -> Self {
        const ROOTS: &str = "give the CA of the peer's TLS certificate (the peer's tls/ca.crt): --tls-root-cert-file";
        let text = chain(&error);
        let failure = |exit| Self::new(exit, &text);
        match &error {
            PeerError::Address { .. } => failure(Exit::Usage).next("give --peer-address HOST:PORT"),
            PeerError::RootsFile { .. } | PeerError::Roots { .. } => failure(Exit::Usage).next(ROOTS),
            PeerError::OwnCertificate(_) => failure(Exit::Usage),
            PeerError::Certificate { reason, .. } => failure(Exit::Usage).next(match reason {
                rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. } => {
                    "give the name that stands in it: --peer-server-name, or peer.tls.serverName"
                }
                rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
                    "renew it, and check the clocks of both machines"
                }
                _ => ROOTS,
            }),
            PeerError::ClientCertificate { .. } => failure(Exit::Refused).next(
                "give a certificate of a CA that the peer accepts (peer.tls.clientRootCAs): --tls-cert, --tls-key",
            ),
            PeerError::Unreachable { .. } => failure(Exit::Unreachable).next("is the peer running?"),
            PeerError::Tls { .. } => {
                failure(Exit::Unreachable).next("is that a peer's address, and TLS on there (peer.tls.enabled)?")
            }
            PeerError::Timeout { .. } | PeerError::Lost { .. } => {
                failure(Exit::Unreachable).next("try again; the peer's log may say more")
            }
            PeerError::Unknown { .. } => {
                failure(Exit::Failed).next("is that the address of a peer of Fabric 2.3 or newer?")
            }
            PeerError::Refused { refused, .. } => match refused.refusal {
                Refusal::Denied => failure(Exit::Refused),
                Refusal::JoinUnderWay => {
                    failure(Exit::Partial).next("a peer joins by one snapshot at a time: try again later")
                }
                Refusal::BehindLastBlock(_) => {
                    failure(Exit::Failed).next("a peer can't go back: -b 0 makes a snapshot of the last block")
                }
                Refusal::UnderProcessing => failure(Exit::Failed).next("it is too late to cancel"),
                _ => failure(Exit::Failed),
            },
            _ => failure(Exit::Failed),
        }
    }
}
