//! Session authentication over loopback QUIC with the recorded network's keys: members are accepted both ways, nobody else
//! is, and whoever is refused learns nothing but UNAUTHORIZED. Messages are forged here by hand, field by field, so that
//! the test is a second reading of the protocol.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use config_blocks::{Change, newer, tls_ca};

use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sha2::{Digest, Sha256};
use snapferry::{
    msp::{ChannelConfig, LocalIdentity, MspError, MspId, Purpose, TlsPair},
    transport::{
        WallClock,
        endpoint::{self, Tuning},
        fault::{ErrorCode, Fault},
        live::LiveChannels,
        session::{AcceptedClient, SessionContext, SessionError, authenticate_client, authenticate_server},
        tls::{self, NameCheck, TlsBundle, TlsTrust, Usage, orgs_accepting},
    },
};
use tokio::task::JoinHandle;

const TIMEOUT: Duration = Duration::from_secs(5);

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn config() -> Arc<ChannelConfig> {
    let block = std::fs::read(fixture("network/config_block.pb")).unwrap();
    Arc::new(ChannelConfig::from_block(&block).unwrap())
}

/// One service: MSP identity and TLS pair, of one organisation or not.
#[derive(Clone)]
struct Side {
    identity: Arc<LocalIdentity>,
    tls: TlsPair,
}

impl Side {
    fn of(org: u8) -> Self {
        Self { identity: identity(org, org), tls: tls_pair(org) }
    }

    fn context(&self, timeout: Duration) -> SessionContext {
        let context = SessionContext::new(self.identity.clone(), self.tls.leaf().clone(), clock());
        SessionContext { timeout, ..context }
    }
}

fn peer_folder(org: u8) -> PathBuf {
    fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/peers/peer0.org{org}.example.com"))
}

/// The peer of `org`, claiming to be of `claimed`.
fn identity(org: u8, claimed: u8) -> Arc<LocalIdentity> {
    let msp_id = MspId::new(&format!("Org{claimed}MSP")).unwrap();
    Arc::new(LocalIdentity::load(&msp_id, &peer_folder(org).join("msp")).unwrap())
}

fn tls_pair(org: u8) -> TlsPair {
    let folder = peer_folder(org).join("tls");
    TlsPair::load(&folder.join("server.crt"), &folder.join("server.key")).unwrap()
}

/// A wall clock that stands still, a day after the network was made.
fn clock() -> WallClock {
    let now = identity(3, 3).identity.not_before() + Duration::from_secs(86_400);
    Arc::new(move || now)
}

/// A certificate for localhost and its key, by a CA that nobody knows, in PEM.
fn stranger() -> (String, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "ca.org1.example.com");
    let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::OrganizationalUnitName, "peer");
    (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

fn stranger_tls() -> TlsPair {
    let (certificate, key) = stranger();
    TlsPair::from_pem(certificate.as_bytes(), key.as_bytes(), "stranger").unwrap()
}

fn stranger_identity(claimed: &str) -> Arc<LocalIdentity> {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = stranger();
    for (name, text) in [("signcerts", certificate), ("keystore", key)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("file_sk"), text).unwrap();
    }
    Arc::new(LocalIdentity::load(&MspId::new(claimed).unwrap(), folder.path()).unwrap())
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn trust() -> TlsTrust {
    TlsTrust::new(TlsBundle::new([&*config()]))
}

fn bind_server(tls: &TlsPair, trust: TlsTrust) -> Endpoint {
    let server = Tuning::default().server(tls::server_config(trust, tls, clock()).unwrap()).unwrap();
    endpoint::bind(loopback(), Some(server), &Tuning::default()).unwrap()
}

fn bind_client(tls: &TlsPair, name_check: NameCheck) -> Endpoint {
    let mut endpoint = endpoint::bind(loopback(), None, &Tuning::default()).unwrap();
    let tls = tls::client_config(trust(), tls, name_check, clock()).unwrap();
    endpoint.set_default_client_config(Tuning::default().client(tls).unwrap());
    endpoint
}

/// One connection between two sides; the endpoints live as long.
struct Link {
    client: Connection,
    server: Connection,
    endpoints: (Endpoint, Endpoint),
}

async fn connect(client: &Side, server: &Side) -> Link {
    let endpoints = (bind_client(&client.tls, NameCheck::San), bind_server(&server.tls, trust()));
    let address = endpoints.1.local_addr().unwrap();
    let dialled = endpoints.0.connect(address, "localhost").unwrap();
    let accepted = async { endpoints.1.accept().await.unwrap().await.unwrap() };
    let (client, server) = tokio::join!(dialled, accepted);
    Link { client: client.unwrap(), server, endpoints }
}

fn serve(connection: Connection, context: SessionContext) -> JoinHandle<Result<AcceptedClient, SessionError>> {
    tokio::spawn(async move {
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        authenticate_server(&connection, &mut send, &mut recv, &context, &LiveChannels::new([(*config()).clone()]))
            .await
    })
}

/// A SignedAuth to forge: starts right, then a test changes one thing.
struct Forged {
    version: u64,
    role: u8,
    channel: String,
    identity: Vec<u8>,
    own_leaf: Vec<u8>,
    peer_leaf: Vec<u8>,
    client_auth: Vec<u8>,
    exporter_role: u8,
    sequence: u8,
}

impl Forged {
    /// What that side of the link would say.
    fn new(role: u8, side: &Side, other: &Side) -> Self {
        Self {
            version: 1,
            role,
            channel: "mychannel".to_owned(),
            identity: side.identity.identity.serialized().encode(),
            own_leaf: Sha256::digest(side.tls.leaf()).to_vec(),
            peer_leaf: Sha256::digest(other.tls.leaf()).to_vec(),
            client_auth: Vec::new(),
            exporter_role: role,
            sequence: u8::try_from(config().sequence()).unwrap(),
        }
    }

    fn signed(&self, connection: &Connection, signer: &LocalIdentity, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut body = Vec::new();
        for (field, number) in [(1, self.version), (2, self.role.into())] {
            body.extend([field << 3, u8::try_from(number).unwrap()]);
        }
        put(&mut body, 3, self.channel.as_bytes());
        put(&mut body, 4, &self.identity);
        put(&mut body, 5, &self.own_leaf);
        put(&mut body, 6, &self.peer_leaf);
        body.extend([7 << 3, self.sequence]);
        put(&mut body, 8, &self.client_auth);
        let mut exporter = [0; 32];
        connection
            .export_keying_material(&mut exporter, b"EXPORTER-snapferry/1 session-auth", &[self.exporter_role])
            .unwrap();
        let mut signature = signer.sign(Purpose::SessionAuth, &[&exporter, &body]).unwrap();
        change(&mut signature);
        let mut message = Vec::new();
        put(&mut message, 1, &body);
        put(&mut message, 2, &signature);
        message
    }
}

/// A length-delimited field.
fn put(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(bytes);
}

async fn send_frame(send: &mut SendStream, message: &[u8]) {
    send.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).await.unwrap();
    send.write_all(message).await.unwrap();
}

async fn read_frame(recv: &mut RecvStream) -> Vec<u8> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.unwrap();
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    recv.read_exact(&mut message).await.unwrap();
    message
}

/// UNAUTHORIZED and nothing else, whatever was wrong.
fn assert_uniform(closed: ConnectionError) {
    let ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code, ErrorCode::Unauthorized.varint());
    assert!(close.reason.is_empty());
}

/// What the server makes of a message that a client of those keys sends first.
async fn refused_by_server(client: &Side, message: impl FnOnce(&Connection) -> Vec<u8>) -> SessionError {
    let server = Side::of(1);
    let link = connect(client, &server).await;
    let verdict = serve(link.server.clone(), server.context(TIMEOUT));
    let (mut send, _recv) = link.client.open_bi().await.unwrap();
    send_frame(&mut send, &message(&link.client)).await;
    let error = verdict.await.unwrap().unwrap_err();
    assert_uniform(link.client.closed().await);
    error
}

/// What the client makes of the answer that a server of those keys gives.
async fn refused_by_client(server: &Side, answer: impl FnOnce(&Connection, &[u8]) -> Vec<u8>) -> SessionError {
    let client = Side::of(2);
    let link = connect(&client, server).await;
    let context = client.context(TIMEOUT);
    let (mut send, mut recv) = link.client.open_bi().await.unwrap();
    let config = config();
    let asking = async {
        let verdict = authenticate_client(&link.client, &mut send, &mut recv, &context, &config).await;
        // Closed already, if the answer was refused.
        link.client.close(ErrorCode::Ok.varint(), b"accepted");
        verdict
    };
    let serving = async {
        let (mut send, mut recv) = link.server.accept_bi().await.unwrap();
        let question = read_frame(&mut recv).await;
        send_frame(&mut send, &answer(&link.server, &question)).await;
        link.server.closed().await
    };
    let (verdict, closed) = tokio::join!(asking, serving);
    assert_uniform(closed);
    verdict.unwrap_err()
}

fn is_bad_signature(error: &SessionError) -> bool {
    matches!(error, SessionError::Identity(MspError::Signature { .. })) && error.fault() == Fault::Peer
}

#[tokio::test]
async fn members_accept_each_other() {
    for (client, server) in [(1, 2), (3, 1)] {
        let (client, server) = (Side::of(client), Side::of(server));
        let link = connect(&client, &server).await;
        let accepted = serve(link.server.clone(), server.context(TIMEOUT));
        let (mut send, mut recv) = link.client.open_bi().await.unwrap();
        let context = client.context(TIMEOUT);
        let theirs = authenticate_client(&link.client, &mut send, &mut recv, &context, &config()).await.unwrap();
        link.client.close(ErrorCode::Ok.varint(), b"");
        let ours = accepted.await.unwrap().unwrap();
        for (seen, real) in [(&theirs, &server), (&ours.peer, &client)] {
            assert_eq!(&seen.msp_id, real.identity.identity.msp_id());
            assert_eq!(seen.identity_id, real.identity.identity.id());
            assert_eq!(seen.config_sequence, config().sequence());
        }
        assert_eq!(ours.config.channel().as_str(), "mychannel");
        link.endpoints.0.wait_idle().await;
    }
}

#[tokio::test]
async fn the_hand_made_message_is_the_protocols() {
    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let accepted = serve(link.server.clone(), server.context(TIMEOUT));
    let (mut send, mut recv) = link.client.open_bi().await.unwrap();
    let question = Forged::new(1, &client, &server).signed(&link.client, &client.identity, |_| ());
    send_frame(&mut send, &question).await;
    let answer = read_frame(&mut recv).await;
    assert!(answer.windows(32).any(|window| window == &*Sha256::digest(&question)));
    link.client.close(ErrorCode::Ok.varint(), b"");
    assert_eq!(accepted.await.unwrap().unwrap().peer.msp_id.as_str(), "Org2MSP");
}

/// Defence: each organisation's own TLS roots judge the chain; removed, any certificate gets a connection.
/// A1: by TLS.
#[tokio::test]
async fn a_stranger_gets_no_connection_in_either_direction() {
    let member = Side::of(1);
    let strange = Side { tls: stranger_tls(), identity: identity(2, 2) };

    let client = bind_client(&strange.tls, NameCheck::San);
    let server = bind_server(&member.tls, trust());
    let dialled = client.connect(server.local_addr().unwrap(), "localhost").unwrap();
    let accepting = tokio::spawn({
        let server = server.clone();
        async move { server.accept().await.unwrap().await.map(drop) }
    });
    // A TLS 1.3 client believes that it is connected before the server judged its certificate.
    if let Ok(connection) = dialled.await {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let context = strange.context(TIMEOUT);
        let verdict = authenticate_client(&connection, &mut send, &mut recv, &context, &config()).await;
        assert!(matches!(verdict, Err(SessionError::Refused)), "{verdict:?}");
    }
    assert!(accepting.await.unwrap().is_err());

    let server = bind_server(&strange.tls, trust());
    for name_check in [NameCheck::San, NameCheck::OrgOnly] {
        let client = bind_client(&member.tls, name_check);
        let dialled = client.connect(server.local_addr().unwrap(), "localhost").unwrap();
        let accepted = async { server.accept().await.unwrap().await };
        let (dialled, accepted) = tokio::join!(dialled, accepted);
        let error = dialled.unwrap_err().to_string();
        assert!(error.contains("UnknownIssuer"), "{error}");
        assert!(accepted.is_err());
    }
}

#[tokio::test]
async fn the_dialled_name_counts_unless_only_the_organisation_does() {
    let server = bind_server(&Side::of(1).tls, trust());
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let _ = incoming.await;
        }
    });
    for (name_check, name, ok) in [
        (NameCheck::San, "127.0.0.1", true),
        (NameCheck::San, "peer0.org1.example.com", true),
        (NameCheck::San, "peer0.org2.example.com", false),
        (NameCheck::OrgOnly, "peer0.org2.example.com", true),
    ] {
        let client = bind_client(&Side::of(2).tls, name_check);
        assert_eq!(client.connect(address, name).unwrap().await.is_ok(), ok, "{name}");
    }
}

#[tokio::test]
async fn a_swapped_bundle_judges_the_next_connection() {
    let trust = trust();
    let server = bind_server(&Side::of(1).tls, trust.clone());
    let client = bind_client(&Side::of(2).tls, NameCheck::San);
    let address = server.local_addr().unwrap();
    for member in [true, false] {
        let dialled = client.connect(address, "localhost").unwrap();
        let accepted = async { server.accept().await.unwrap().await };
        let (_client, accepted) = tokio::join!(dialled, accepted);
        assert_eq!(accepted.is_ok(), member);
        trust.swap(TlsBundle::default());
    }
}

#[test]
fn a_chain_belongs_to_its_own_organisation_only() {
    let (config, now) = (config(), clock()());
    for org in 1..=3 {
        for usage in [Usage::Client, Usage::Server] {
            let accepting = orgs_accepting(&config, &tls_pair(org).chain, now, usage);
            assert_eq!(accepting.iter().map(MspId::as_str).collect::<Vec<_>>(), [format!("Org{org}MSP")]);
            let expired = now + Duration::from_secs(20 * 365 * 86_400);
            assert!(orgs_accepting(&config, &tls_pair(org).chain, expired, usage).is_empty());
        }
    }
    assert!(orgs_accepting(&config, &stranger_tls().chain, now, Usage::Client).is_empty());
    assert!(orgs_accepting(&config, &[], now, Usage::Client).is_empty());
}

/// Defence: the claimed MSP ID must accept the identity and the TLS chain; removed, one organisation speaks as another.
/// A1: right CA, wrong organisation.
#[tokio::test]
async fn nobody_is_of_an_organisation_that_only_his_word_names() {
    // Org1's identity under Org2's TLS certificate, and the other way round.
    let mixed = Side { identity: identity(1, 1), tls: tls_pair(2) };
    let server = Side::of(1);
    let error = refused_by_server(&mixed, |connection| {
        Forged::new(1, &mixed, &server).signed(connection, &mixed.identity, |_| ())
    });
    assert!(matches!(error.await, SessionError::TlsOrganisation { claimed, .. } if claimed.as_str() == "Org1MSP"));
    let error = refused_by_client(&mixed, |connection, question| {
        let answer = Forged { client_auth: Sha256::digest(question).to_vec(), ..Forged::new(2, &mixed, &Side::of(2)) };
        answer.signed(connection, &mixed.identity, |_| ())
    });
    assert!(matches!(error.await, SessionError::TlsOrganisation { .. }));
    // Org1's certificate under the name of Org2, with Org2's TLS certificate; and an unknown CA's under that of Org2.
    for identity in [identity(1, 2), stranger_identity("Org2MSP")] {
        let liar = Side { identity, tls: tls_pair(2) };
        let error = refused_by_server(&liar, |connection| {
            Forged::new(1, &liar, &server).signed(connection, &liar.identity, |_| ())
        });
        let error = error.await;
        assert!(matches!(error, SessionError::Identity(MspError::Invalid { .. })), "{error:?}");
        assert_eq!(error.fault(), Fault::Operator);
    }
    let outsider = Side { identity: stranger_identity("OrdererMSP"), tls: tls_pair(2) };
    let error = refused_by_server(&outsider, |connection| {
        Forged::new(1, &outsider, &server).signed(connection, &outsider.identity, |_| ())
    });
    assert!(matches!(error.await, SessionError::Identity(MspError::NotInChannel { .. })));
}

/// Defence: of the organisations whose roots accept the TLS chain, the one that signs counts, and only if it is among them. Removed
/// (any of them, or one pool of roots), Org1 passes with Org2's TLS certificate.
#[tokio::test]
async fn organisations_that_share_a_tls_ca_are_told_apart_by_who_signs_and_a_third_is_neither() {
    let shared = Arc::new(ChannelConfig::from_block(&newer(1, &Change::TlsRoot(3, tls_ca(2)))).unwrap());
    let accepting = orgs_accepting(&shared, &tls_pair(2).chain, clock()(), Usage::Client);
    assert_eq!(accepting.iter().map(MspId::as_str).collect::<Vec<_>>(), ["Org2MSP", "Org3MSP"]);
    let member = Side::of(1);
    for (org, belongs) in [(2, true), (3, true), (1, false)] {
        let side = Side { identity: identity(org, org), tls: tls_pair(2) };
        for (client, server) in [(&side, &member), (&member, &side)] {
            let link = connect(client, server).await;
            let (connection, context) = (link.server.clone(), server.context(TIMEOUT));
            let channels = LiveChannels::new([(*shared).clone()]);
            let accepted = tokio::spawn(async move {
                let (mut send, mut recv) = connection.accept_bi().await.unwrap();
                authenticate_server(&connection, &mut send, &mut recv, &context, &channels).await
            });
            let (mut send, mut recv) = link.client.open_bi().await.unwrap();
            let context = client.context(TIMEOUT);
            let theirs = authenticate_client(&link.client, &mut send, &mut recv, &context, &shared).await;
            link.client.close(ErrorCode::Ok.varint(), b"");
            let ours = accepted.await.unwrap().map(|accepted| accepted.peer);
            let judged = if std::ptr::eq(client, &side) { ours } else { theirs };
            match judged {
                Ok(peer) => assert!(belongs && peer.msp_id == *side.identity.identity.msp_id(), "Org{org}: {peer:?}"),
                Err(error) => {
                    assert!(!belongs && matches!(error, SessionError::TlsOrganisation { .. }), "Org{org}: {error:?}");
                }
            }
        }
    }
}

/// Defence: what is signed holds this session's exporter; removed, a recorded authentication opens another session.
#[tokio::test]
async fn a_replayed_authentication_is_worthless() {
    let (client, server) = (Side::of(2), Side::of(1));
    // What our own side says, not what this test would: else it couldn't tell what is signed.
    let earlier = connect(&client, &server).await;
    let (asking, context) = (earlier.client.clone(), client.context(TIMEOUT));
    let speaking = tokio::spawn(async move {
        let (mut send, mut recv) = asking.open_bi().await.unwrap();
        authenticate_client(&asking, &mut send, &mut recv, &context, &config()).await
    });
    let (_send, mut recv) = earlier.server.accept_bi().await.unwrap();
    let recorded = read_frame(&mut recv).await;
    speaking.abort();
    let error = refused_by_server(&client, |_| recorded).await;
    assert!(is_bad_signature(&error), "{error:?}");
}

/// Defence: the signature is verified, with low S; removed, anybody speaks in a member's name.
#[tokio::test]
async fn a_bit_of_the_signature_and_a_high_s_are_noticed() {
    let (client, server) = (Side::of(2), Side::of(1));
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 3] = [|signature| *signature.last_mut().unwrap() ^= 1, raise_s, Vec::clear];
    for change in changes {
        let error = refused_by_server(&client, |connection| {
            Forged::new(1, &client, &server).signed(connection, &client.identity, change)
        });
        let error = error.await;
        assert!(is_bad_signature(&error), "{error:?}");
        let error = refused_by_client(&server, |connection, question| {
            let answer = Forged { client_auth: Sha256::digest(question).to_vec(), ..Forged::new(2, &server, &client) };
            answer.signed(connection, &server.identity, change)
        });
        let error = error.await;
        assert!(is_bad_signature(&error), "{error:?}");
    }
}

/// The ECDSA signature's other twin, (r, n - s) over P-256: as valid to a library that doesn't ask for low S.
fn raise_s(signature: &mut Vec<u8>) {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let s_at = 4 + usize::from(signature[3]) + 2;
    let mut s = signature.split_off(s_at);
    while s.len() < 32 {
        s.insert(0, 0);
    }
    let mut borrow = 0i32;
    for at in (0..32).rev() {
        let digit = i32::from(order[at]) - i32::from(s[at]) - borrow;
        borrow = i32::from(digit < 0);
        s[at] = (digit + 256 * borrow) as u8;
    }
    assert!(s[0] >= 0x7f, "our own signatures are low");
    if s[0] >= 0x80 {
        s.insert(0, 0);
    }
    signature[s_at - 1] = u8::try_from(s.len()).unwrap();
    signature.extend(s);
    signature[1] = u8::try_from(signature.len() - 2).unwrap();
}

/// Defence: the role stands in the body and in the exporter's context; removed, our own words come back as the server's.
/// A2: the reverse role.
#[tokio::test]
async fn the_clients_own_words_are_no_answer() {
    let error = refused_by_client(&Side::of(1), |_, question| question.to_vec()).await;
    assert!(matches!(error, SessionError::Role(1)), "{error:?}");
    assert_eq!(error.fault(), Fault::Peer);
    // Nor are they with the role changed: the exporter's context is the role.
    let (client, server) = (Side::of(2), Side::of(1));
    let error = refused_by_client(&server, |connection, question| {
        let client_auth = Sha256::digest(question).to_vec();
        let answer = Forged { client_auth, exporter_role: 1, ..Forged::new(2, &server, &client) };
        answer.signed(connection, &server.identity, |_| ())
    });
    assert!(is_bad_signature(&error.await));
}

/// Defence: every field of the body is checked, and all failures look the same; removed, a body made for another session passes, or
/// a stranger learns which check it failed.
/// A2, C8: reverse role, another session, another channel.
#[tokio::test]
async fn relayed_or_foreign_bodies_are_refused() {
    let (client, server) = (Side::of(2), Side::of(1));
    type Change = fn(&mut Forged);
    type Expected = fn(&SessionError) -> bool;
    let cases: [(Change, Expected); 9] = [
        (|body| body.version = 2, |error| matches!(error, SessionError::Version(2))),
        (|body| body.role = 2, |error| matches!(error, SessionError::Role(2))),
        // A server's words, whole: role and exporter; and with the role changed only.
        (|body| (body.role, body.exporter_role) = (2, 2), |error| matches!(error, SessionError::Role(2))),
        (|body| body.exporter_role = 2, is_bad_signature),
        (|body| body.channel = "other".to_owned(), |error| matches!(error, SessionError::Channel(_))),
        (|body| body.channel.clear(), |error| matches!(error, SessionError::Channel(_))),
        (|body| body.own_leaf[0] ^= 1, |error| matches!(error, SessionError::TlsCertificate)),
        (|body| body.peer_leaf.clear(), |error| matches!(error, SessionError::TlsCertificate)),
        (|body| body.client_auth = vec![0; 32], |error| matches!(error, SessionError::Transcript)),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let error = refused_by_server(&client, |connection| {
            let mut body = Forged::new(1, &client, &server);
            change(&mut body);
            body.signed(connection, &client.identity, |_| ())
        });
        let error = error.await;
        assert!(expected(&error), "{number}: {error:?}");
    }
    let error = refused_by_client(&server, |connection, _| {
        let answer = Forged { client_auth: vec![7; 32], ..Forged::new(2, &server, &client) };
        answer.signed(connection, &server.identity, |_| ())
    });
    assert!(matches!(error.await, SessionError::Transcript));
}

/// M is a member, so both sides take its TLS certificate: it passes on what each says to the other.
/// Defence: both TLS certificates are in the body; removed, a member in between passes as another one.
#[tokio::test]
async fn a_member_that_relays_between_two_others_is_found_out_by_both() {
    let (client, server, relay) = (Side::of(3), Side::of(1), Side::of(2));
    let to_client = connect(&client, &relay).await;
    let to_server = connect(&relay, &server).await;

    let question = Forged::new(1, &client, &relay).signed(&to_client.client, &client.identity, |_| ());
    let verdict = serve(to_server.server.clone(), server.context(TIMEOUT));
    let (mut send, _recv) = to_server.client.open_bi().await.unwrap();
    send_frame(&mut send, &question).await;
    let error = verdict.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::TlsCertificate), "{error:?}");
    assert_eq!(error.fault(), Fault::Peer);

    // The relay speaks to the server in its own name, and passes the server's answer off as one to the client.
    let to_server = connect(&relay, &server).await;
    let asking = to_client.client.clone();
    let context = client.context(TIMEOUT);
    let verdict = tokio::spawn(async move {
        let (mut send, mut recv) = asking.open_bi().await.unwrap();
        authenticate_client(&asking, &mut send, &mut recv, &context, &config()).await
    });
    let (mut send, mut recv) = to_client.server.accept_bi().await.unwrap();
    let client_auth = Sha256::digest(read_frame(&mut recv).await).to_vec();
    let answer = Forged { client_auth, ..Forged::new(2, &server, &relay) };
    send_frame(&mut send, &answer.signed(&to_server.server, &server.identity, |_| ())).await;
    let error = verdict.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::TlsCertificate), "{error:?}");
}

#[tokio::test]
async fn two_sides_with_different_configurations_talk_all_the_same() {
    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let verdict = serve(link.server.clone(), server.context(TIMEOUT));
    let newer = Forged { sequence: 99, ..Forged::new(1, &client, &server) };
    let (mut send, mut recv) = link.client.open_bi().await.unwrap();
    send_frame(&mut send, &newer.signed(&link.client, &client.identity, |_| ())).await;
    assert_eq!(verdict.await.unwrap().unwrap().peer.config_sequence, 99);
    read_frame(&mut recv).await;
}

/// Defence: the length is looked at before the frame; removed, whoever dials is read gigabytes from.
/// R1: a frame.
#[tokio::test]
async fn an_oversize_frame_and_garbage_are_refused_unread() {
    let error = refused_by_server(&Side::of(2), |_| b"\xff\xff\xff".to_vec()).await;
    assert!(matches!(error, SessionError::Decode), "{error:?}");
    let error = refused_by_server(&Side::of(2), |_| Vec::new()).await;
    assert!(matches!(error, SessionError::Version(0)), "{error:?}");

    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let verdict = serve(link.server.clone(), server.context(TIMEOUT));
    let (mut send, _recv) = link.client.open_bi().await.unwrap();
    send.write_all(&((64u32 << 10) + 1).to_be_bytes()).await.unwrap();
    let error = verdict.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::FrameTooLarge { bytes: 65_537, .. }), "{error:?}");
    assert_uniform(link.client.closed().await);
}

#[tokio::test]
async fn silence_is_cut_off() {
    let short = Duration::from_millis(100);
    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let verdict = serve(link.server.clone(), server.context(short));
    let (mut send, _recv) = link.client.open_bi().await.unwrap();
    // One byte of a frame, then nothing.
    send.write_all(&[0]).await.unwrap();
    assert!(matches!(verdict.await.unwrap(), Err(SessionError::Timeout(limit)) if limit == short));
    assert_uniform(link.client.closed().await);
    assert_eq!(
        server.context(TIMEOUT).timeout,
        SessionContext::new(server.identity, server.tls.leaf().clone(), clock()).timeout
    );
}

/// Defence: the limit is on the whole exchange, not on each read. Removed, a byte now and then holds a place for ever.
/// R6: a greeting by single bytes.
#[tokio::test]
async fn a_byte_now_and_then_buys_no_time() {
    let short = Duration::from_millis(200);
    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let verdict = serve(link.server.clone(), server.context(short));
    let (mut send, _recv) = link.client.open_bi().await.unwrap();
    send.write_all(&(64u32 << 10).to_be_bytes()).await.unwrap();
    let trickle = async {
        while send.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(short / 10).await;
        }
    };
    // Far longer than the limit, and far shorter than the frame takes at this rate.
    tokio::time::timeout(TIMEOUT, trickle).await.expect("cut off");
    assert!(matches!(verdict.await.unwrap(), Err(SessionError::Timeout(limit)) if limit == short));
    assert_uniform(link.client.closed().await);
}

#[tokio::test]
async fn before_it_is_accepted_a_client_has_one_stream() {
    let (client, server) = (Side::of(2), Side::of(1));
    let link = connect(&client, &server).await;
    let _first = link.client.open_bi().await.unwrap();
    // The server's word on streams came with the handshake, so nothing has to arrive first: a second one waits.
    assert!(link.client.open_bi().now_or_never().is_none());
    assert!(link.client.open_uni().now_or_never().is_none());
    endpoint::accepted(&link.server, 64);
    assert!(link.client.open_bi().await.is_ok());
}

/// Polls once.
trait NowOrNever: Future + Sized {
    fn now_or_never(self) -> Option<Self::Output> {
        let mut future = std::pin::pin!(self);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

impl<F: Future> NowOrNever for F {}
