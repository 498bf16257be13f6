//! Who is no member: what it learns by dialling, and what a recorded handshake is good for.

use std::sync::{Arc, Mutex};

use rustls::{
    ClientConnection, HandshakeKind, ServerConnection, SignatureScheme,
    client::{ClientSessionMemoryCache, ResolvesClientCert, Resumption},
    pki_types::ServerName,
    sign::CertifiedKey,
};
use snapferry::transport::tls::{NameCheck, client_config, server_config};

use crate::loopback::{self, tls_pair};

/// A client of Org3 that notes what a server says before it knows it, and remembers sessions and sends early if it is let.
struct Eager {
    config: Arc<rustls::ClientConfig>,
    hints: Arc<Mutex<Vec<usize>>>,
}

#[derive(Debug)]
struct Noting {
    key: Arc<CertifiedKey>,
    hints: Arc<Mutex<Vec<usize>>>,
}

impl ResolvesClientCert for Noting {
    fn resolve(&self, hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.hints.lock().unwrap().push(hints.len());
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Eager {
    fn new() -> Self {
        let (pair, hints) = (tls_pair(3), Arc::default());
        let mut config = client_config(loopback::live().trust(), &pair, NameCheck::San, clock()).unwrap();
        let key = config.crypto_provider().key_provider.load_private_key(pair.key.clone_key()).unwrap();
        let key = Arc::new(CertifiedKey::new(pair.chain.clone(), key));
        config.client_auth_cert_resolver = Arc::new(Noting { key, hints: Arc::clone(&hints) });
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        config.enable_early_data = true;
        Self { config: Arc::new(config), hints }
    }

    /// One handshake with our server side, in memory; whether it could send early, and how the handshake went.
    fn handshake(&self, server: &Arc<rustls::ServerConfig>) -> (bool, HandshakeKind) {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let early = client.early_data().is_some();
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            take(&mut server, &wire);
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            take(&mut client, &wire);
        }
        assert_eq!(client.handshake_kind(), server.handshake_kind());
        (early, client.handshake_kind().unwrap())
    }
}

/// Tickets come behind the handshake: all of it is read.
fn take<Data>(side: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<Data>>, mut wire: &[u8]) {
    while !wire.is_empty() {
        side.read_tls(&mut wire).unwrap();
        side.process_new_packets().unwrap();
    }
}

fn clock() -> snapferry::transport::WallClock {
    loopback::context(1).clock
}

fn server_side() -> Arc<rustls::ServerConfig> {
    Arc::new(server_config(loopback::live().trust(), &tls_pair(1), clock()).unwrap())
}

/// Defence: the request for a client certificate names no issuer (`root_hint_subjects`). Removed, whoever dials reads the members'
/// CAs before it has shown anything.
#[test]
fn strangers_are_not_told_who_the_members_are() {
    let eager = Eager::new();
    eager.handshake(&server_side());
    assert_eq!(*eager.hints.lock().unwrap(), [0]);
}

/// Defence: no tickets, no early data, on either side's word. Removed, a second connection isn't judged anew, and its first flight can
/// be recorded and played back.
/// N6: neither side can.
#[test]
fn no_handshake_is_resumed_and_nothing_is_sent_early() {
    let (eager, server) = (Eager::new(), server_side());
    for _ in 0..3 {
        assert_eq!(eager.handshake(&server), (false, HandshakeKind::Full));
    }
    // Nor do we as a client, with a server that would: the settings that a service dials with.
    let ours = client_config(loopback::live().trust(), &tls_pair(3), NameCheck::San, clock()).unwrap();
    let ours = Eager { config: Arc::new(ours), hints: Arc::default() };
    let mut willing = (*server).clone();
    willing.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
    (willing.send_tls13_tickets, willing.max_early_data_size) = (2, u32::MAX);
    let willing = Arc::new(willing);
    for _ in 0..3 {
        assert_eq!(ours.handshake(&willing), (false, HandshakeKind::Full));
    }
    // The eager one can with it, else this test would find nothing.
    eager.handshake(&willing);
    assert_eq!(eager.handshake(&willing), (true, HandshakeKind::Resumed));
}
