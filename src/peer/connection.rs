//! One connection to a peer: TCP, TLS 1.3 with the roots that the operator gave, HTTP/2.
//!
//! It is made once and never again by itself: who calls for hours connects again when it is lost.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

use super::{
    PeerError,
    last_words::{Ended, LastWords},
};
use crate::{
    msp::TlsPair,
    transport::{WallClock, tls::time_provider},
};

/// gRPC speaks HTTP/2 only.
const ALPN: &[u8] = b"h2";
/// Largest file of roots that is read.
const ROOTS_BYTES_MAX: u64 = 1 << 20;
/// Longest headers of an answer, in bytes; a refusal's text is one of them.
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Where a peer is, and how the two sides know each other.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    /// `HOST:PORT`.
    pub address: String,
    /// The name in its TLS certificate, if that isn't the host.
    pub server_name: Option<String>,
    /// Its TLS roots.
    pub roots: Vec<CertificateDer<'static>>,
    /// Our own certificate, for a peer that asks for one (`peer.tls.clientAuthRequired`).
    pub client: Option<TlsPair>,
    /// The longest wait for the connection, and for the answer to each call.
    pub timeout: Duration,
}

impl PeerConnection {
    /// Connects.
    pub(super) async fn connect(&self, clock: WallClock) -> Result<(Channel, Ended), PeerError> {
        let waited = timeout(self.timeout, self.connect_in_any_time(clock)).await;
        waited.unwrap_or_else(|_| {
            let (address, after) = (self.address.clone(), self.timeout);
            Err(PeerError::Timeout { address, what: "the connection".to_owned(), after })
        })
    }

    async fn connect_in_any_time(&self, clock: WallClock) -> Result<(Channel, Ended), PeerError> {
        let address = || self.address.clone();
        let malformed = || PeerError::Address { address: address() };
        let name = self.server_name.as_deref().or_else(|| host(&self.address)).ok_or_else(malformed)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| malformed())?;
        let config = self.tls_config(clock)?;
        let unreachable = |source| PeerError::Unreachable { address: address(), source };
        let tcp = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        let connector = TlsConnector::from(Arc::new(config));
        let tls = connector.connect(name, tcp).await.map_err(|error| self.tls_error(error))?;
        self.speak_http2(tls).await
    }

    fn tls_config(&self, clock: WallClock) -> Result<ClientConfig, PeerError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots.iter().cloned());
        let builder = ClientConfig::builder_with_details(Arc::new(aws_lc_rs::default_provider()), time_provider(clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(PeerError::OwnCertificate)?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            Some(pair) => builder
                .with_client_auth_cert(pair.chain.clone(), pair.key.clone_key())
                .map_err(PeerError::OwnCertificate)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    async fn speak_http2(&self, tls: TlsStream<TcpStream>) -> Result<(Channel, Ended), PeerError> {
        let address = || self.address.clone();
        let uri = |scheme: &str| {
            let uri = format!("{scheme}://{}", self.address).parse::<Uri>();
            uri.map_err(|_| PeerError::Address { address: address() })
        };
        // TLS is ours: the library must not want to begin it, but the peer is to see what it is.
        let endpoint = Endpoint::from(uri("http")?).origin(uri("https")?).http2_max_header_list_size(HEADERS_BYTES_MAX);
        let ended = Ended::default();
        let mut once = Some(TokioIo::new(LastWords::new(tls, ended.clone())));
        let connector = tower::service_fn(move |_: Uri| {
            let made = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            std::future::ready(made)
        });
        match endpoint.connect_with_connector(connector).await {
            Ok(channel) => Ok((channel, ended)),
            Err(error) => {
                Err(self.refused_certificate(&ended).unwrap_or_else(|| self.tls_error(io::Error::other(error))))
            }
        }
    }

    /// What an error of the handshake means.
    fn tls_error(&self, error: io::Error) -> PeerError {
        let address = self.address.clone();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                PeerError::Certificate { address, reason: reason.clone() }
            }
            _ => PeerError::Tls { address, source: error },
        }
    }

    /// The peer's alert about our certificate, if that ended the connection: a client hears of it behind the handshake only.
    pub(super) fn refused_certificate(&self, ended: &Ended) -> Option<PeerError> {
        // HTTP/2 keeps only the text of what went wrong below it, so that is what there is.
        let (_, alert) = ended.reason()?.rsplit_once(ALERT)?;
        let alert = CERTIFICATE_ALERTS.into_iter().find(|known| alert.starts_with(known))?;
        Some(PeerError::ClientCertificate { address: self.address.clone(), alert: alert.to_owned() })
    }
}

/// What rustls puts before the name of an alert.
const ALERT: &str = "received fatal alert: ";
/// Alerts by which a server says that it wants a certificate, or another one.
const CERTIFICATE_ALERTS: [&str; 8] = [
    "CertificateRequired",
    "BadCertificate",
    "UnsupportedCertificate",
    "CertificateRevoked",
    "CertificateExpired",
    "CertificateUnknown",
    "UnknownCA",
    "AccessDenied",
];

/// The host of `HOST:PORT`, without the brackets of an IPv6 address.
fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some(host)
}

/// The certificates of a PEM file that can be TLS roots.
///
/// # Errors
/// If it can't be read, or holds none.
pub fn read_tls_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, PeerError> {
    let failed = |source| PeerError::RootsFile { path: path.to_owned(), source };
    let mut pem = Vec::new();
    File::open(path).map_err(failed)?.take(ROOTS_BYTES_MAX + 1).read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > ROOTS_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    let none = || PeerError::Roots { path: path.to_owned() };
    let roots: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| none())?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(roots.iter().cloned());
    if usable == 0 { Err(none()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn a_host_is_taken_out_of_its_address() {
        assert_eq!(host("peer0.org1.example.com:7051"), Some("peer0.org1.example.com"));
        assert_eq!(host("[::1]:7051"), Some("::1"));
        for bad in ["", ":1", "peer", "peer:", "peer:x", "peer:70000"] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "test code")]
    fn a_file_of_roots_must_hold_one() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("ca.crt");
        assert!(matches!(read_tls_roots(&path), Err(PeerError::RootsFile { .. })));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(matches!(read_tls_roots(&path), Err(PeerError::Roots { .. })));
        std::fs::write(&path, vec![b'\n'; ROOTS_BYTES_MAX as usize + 1]).unwrap();
        assert!(matches!(read_tls_roots(&path), Err(PeerError::RootsFile { .. })));
    }
}
