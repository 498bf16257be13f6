//! Two quinn endpoints that move bytes over a net: an Ed25519 identity, a server that answers every stream, a client that asks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use netsim::{Host, Net};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};
use tokio::task::JoinHandle;

pub const KIB: usize = 1024;
pub const MS: Duration = Duration::from_millis(1);
pub const SERVER: &str = "10.0.0.1";
pub const CLIENT: &str = "10.0.0.2";
pub const PORT: u16 = 7400;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn at(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), PORT)
}

/// The same Ed25519 certificate's two sides: signatures of a fixed length, a fixed serial.
pub struct Tls {
    server: ServerConfig,
    client: ClientConfig,
}

impl Tls {
    pub fn new(idle: Duration) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::new(["server".to_owned()]).unwrap();
        params.serial_number = Some(1.into());
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(IdleTimeout::try_from(idle).unwrap()));
        let transport = Arc::new(transport);
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        server.transport_config(Arc::clone(&transport));
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        client.transport_config(transport);
        Self { server, client }
    }

    /// A server on `host` that answers each stream with [`pattern`] of the length asked.
    pub fn serve(&self, host: &Host) -> (Endpoint, JoinHandle<()>) {
        let endpoint = host.endpoint(PORT, seeded(1), Some(self.server.clone())).unwrap();
        let (accepting, on) = (endpoint.clone(), host.clone());
        let task = host.spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let Ok(connecting) = incoming.accept() else { continue };
                on.spawn(async move {
                    let Ok(connection) = connecting.await else { return };
                    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                        let Ok(asked) = receive.read_to_end(8).await else { return };
                        let len = u64::from_be_bytes(asked.try_into().unwrap());
                        if send.write_all(&pattern(usize::try_from(len).unwrap())).await.is_err() {
                            return;
                        }
                        send.finish().unwrap();
                    }
                });
            }
        });
        (endpoint, task)
    }

    pub fn client(&self, host: &Host) -> Endpoint {
        let mut endpoint = host.endpoint(0, seeded(2), None).unwrap();
        endpoint.set_default_client_config(self.client.clone());
        endpoint
    }
}

/// quinn's own chances are part of the trace.
fn seeded(seed: u8) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    config
}

pub fn pattern(len: usize) -> Vec<u8> {
    let mut rng = netsim::Rng::new(len as u64);
    (0..len).map(|_| rng.bits() as u8).collect()
}

/// Asks for `len` bytes and gives what came.
pub async fn ask(connection: &Connection, len: usize) -> Result<Vec<u8>, quinn::ReadToEndError> {
    let (mut send, mut receive) =
        connection.open_bi().await.map_err(|lost| quinn::ReadToEndError::Read(lost.into()))?;
    send.write_all(&(len as u64).to_be_bytes()).await.unwrap();
    send.finish().unwrap();
    receive.read_to_end(len).await
}

/// A server and a client, each on a host of one address.
pub struct Pair {
    pub net: Net,
    pub server: Host,
    pub client: Host,
    pub tls: Tls,
    pub endpoint: Endpoint,
}

impl Pair {
    pub fn new(seed: u64) -> Self {
        let net = Net::new(seed);
        let host = |address| net.host([ip(address)]).unwrap();
        let (server, client) = (host(SERVER), host(CLIENT));
        let tls = Tls::new(Duration::from_secs(30));
        let (endpoint, _) = tls.serve(&server);
        drop(endpoint);
        let endpoint = tls.client(&client);
        Self { net, server, client, tls, endpoint }
    }

    pub async fn connect(&self) -> Connection {
        self.endpoint.connect(at(SERVER), "server").unwrap().await.unwrap()
    }
}
