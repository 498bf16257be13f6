//! A peer of Org1 in the recorded network, as far as gRPC shows it: TLS, HTTP/2 and Fabric's messages by hand, and the texts that a real
//! one was recorded with. Checks of every request what a real one checks: signature (low S), creator, nonce, transaction ID, header.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey},
};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::pem::parse_x509_pem;

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands among the calls where it hung up on one.
pub const HUNG_UP: &str = "hung up";

/// What it does to whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// As a real one.
    Fabric,
    /// Takes the request and never answers.
    Silent,
    /// Takes the request and closes the connection.
    HangsUp,
    /// Answers what is no message.
    Garbage,
    /// Answers more bytes than may be.
    Floods,
    /// Knows no service.
    NoPeer,
}

/// What becomes of a join by snapshot that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// It runs until the test says that it doesn't.
    Stays,
    /// The channel is there at the second look.
    Well,
    /// It has ended at the second look, without the channel.
    Badly,
    /// The peer is restarted at the second look, drops what it had, and takes the next one well.
    Restarts,
    /// The channel is there, joined by another block.
    OtherBlock,
    /// The channel is there, and ends in another block of that number.
    OtherHash,
    /// The channel is there, and two blocks further.
    Ahead,
    /// The same, and the next block names another one before it.
    AheadOfAnother,
}

/// A channel of it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub last: u64,
    pub pending: BTreeSet<u64>,
    pub generated: BTreeSet<u64>,
    pub joined_by: Option<u64>,
    /// The hash of the block by which it joined.
    pub joined_hash: Vec<u8>,
    /// Without one it answers what is no block.
    pub config_block: Option<Vec<u8>>,
}

#[derive(Debug)]
struct State {
    conduct: Conduct,
    ledgers: BTreeMap<String, Ledger>,
    /// The organisation that it is of.
    msp_id: &'static str,
    /// Folder that is being joined from, and how often somebody looked.
    joining: Option<String>,
    /// The folder of the newest join that it took, as it was told.
    joined_from: Option<String>,
    looks: u32,
    joins: Joins,
    /// So many calls find it gone.
    gone_for: u32,
    /// Snapshots of the moment stay pending until the test says that they are made.
    holds: bool,
    calls: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    called: Condvar,
}

/// The running peer, and the files that a client needs.
pub struct FakePeer {
    pub address: SocketAddr,
    files: TempDir,
    shared: Arc<Shared>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl FakePeer {
    /// With channel mychannel, last block 83, of which there is a snapshot.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// One of that organisation, in no channel.
    pub fn start_of(msp_id: &'static str, joins: Joins) -> Self {
        let peer = Self::start();
        let mut state = peer.state();
        state.ledgers.clear();
        (state.msp_id, state.joins) = (msp_id, joins);
        drop(state);
        peer
    }

    /// One that asks for client certificates.
    pub fn start_with_mutual_tls() -> Self {
        Self::start_with(true)
    }

    fn start_with(mutual: bool) -> Self {
        let files = TempDir::new().unwrap();
        let config = tls(files.path(), mutual);
        let ledger = Ledger { last: 83, generated: [83].into(), ..Ledger::default() };
        let state = State {
            conduct: Conduct::Fabric,
            ledgers: [("mychannel".to_owned(), ledger)].into(),
            msp_id: "Org1MSP",
            joining: None,
            joined_from: None,
            looks: 0,
            joins: Joins::Stays,
            gone_for: 0,
            holds: false,
            calls: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), called: Condvar::new() });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, address) = mpsc::channel();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(config));
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = serve(listener, acceptor, serving) => {}
                }
            });
        });
        Self { address: address.recv().unwrap(), files, shared, _stop: stop }
    }

    /// One of `ca.crt` (of the peer's own certificate), `other.crt` (of nobody's), `client.crt`, `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub fn behave(&self, conduct: Conduct) {
        self.state().conduct = conduct;
    }

    /// Snapshots of the moment stay pending until [`Self::make`].
    pub fn hold(&self) {
        self.state().holds = true;
    }

    pub fn ledger(&self, channel: &str) -> Ledger {
        self.state().ledgers[channel].clone()
    }

    pub fn add(&self, channel: &str, ledger: Ledger) {
        self.state().ledgers.insert(channel.to_owned(), ledger);
    }

    pub fn set_joining(&self, folder: Option<&str>) {
        self.state().joining = folder.map(str::to_owned);
    }

    /// How its joins go from now on, that of this moment, too.
    pub fn set_joins(&self, joins: Joins) {
        self.state().joins = joins;
    }

    /// The join of this moment ends, though nobody looks.
    pub fn finish_joining(&self) {
        let mut state = self.state();
        while state.joining.is_some() {
            state.look();
        }
    }

    /// The folder of the newest join that it took, as it was told.
    pub fn joined_from(&self) -> Option<String> {
        self.state().joined_from.clone()
    }

    /// The calls until now.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Waits until it was called so often by that name.
    pub fn wait_calls(&self, name: &str, times: usize) {
        let enough = |state: &mut State| state.calls.iter().filter(|call| *call == name).count() < times;
        let (state, waited) = self.shared.called.wait_timeout_while(self.state(), PATIENCE, enough).unwrap();
        assert!(!waited.timed_out(), "{:?}", state.calls);
    }

    /// Block and snapshot are made; with a root, its folder is put into place before the request ends.
    pub fn make(&self, channel: &str, block: u64, root: Option<&Path>) {
        if let Some(root) = root {
            std::fs::create_dir_all(root.join("completed").join(channel).join(block.to_string())).unwrap();
        }
        let mut state = self.state();
        let ledger = state.ledgers.get_mut(channel).unwrap();
        assert!(ledger.pending.remove(&block), "{ledger:?}");
        ledger.last = ledger.last.max(block);
        ledger.generated.insert(block);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

/// Writes the certificates; the peer's is for 127.0.0.1 and `peer0.org1.example.com`.
fn tls(files: &Path, mutual: bool) -> ServerConfig {
    let ca = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(files.join(name), certificate.pem()).unwrap();
        (certificate, Issuer::new(params, key))
    };
    let (ca_certificate, issuer) = ca("ca.crt");
    ca("other.crt");
    let issued = |name: &str, usage| {
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "peer0.org1.example.com"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        std::fs::write(files.join(format!("{name}.crt")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(files.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    issued("server", ExtendedKeyUsagePurpose::ServerAuth);
    issued("client", ExtendedKeyUsagePurpose::ClientAuth);
    let provider = Arc::new(default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(ca_certificate.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let certificate = CertificateDer::from_pem_file(files.join("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(files.join("server.key")).unwrap();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // Whoever doesn't trust it, or isn't trusted, goes.
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let Ok(mut connection) = h2::server::handshake(tls).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let conduct = {
                    let mut state = shared.state.lock().unwrap();
                    let is_gone = state.gone_for > 0;
                    state.gone_for = state.gone_for.saturating_sub(1);
                    if is_gone { Conduct::HangsUp } else { state.conduct }
                };
                if conduct == Conduct::HangsUp {
                    shared.state.lock().unwrap().calls.push(HUNG_UP.to_owned());
                    shared.called.notify_all();
                    return;
                }
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (head, body) = request.into_parts();
                    assert_eq!(head.method, http::Method::POST);
                    assert_eq!(head.headers["content-type"], "application/grpc");
                    let message = message(body).await;
                    answer(head.uri.path(), &message, conduct, &shared, respond).await;
                });
            }
        });
    }
}

/// The one message of a unary call.
async fn message(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    assert_eq!(bytes[0], 0, "not compressed");
    assert_eq!(u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize, bytes.len() - 5);
    bytes.split_off(5)
}

async fn answer(path: &str, message: &[u8], conduct: Conduct, shared: &Shared, mut respond: SendResponse<Bytes>) {
    let answered = match conduct {
        Conduct::Silent => return std::future::pending().await,
        Conduct::NoPeer => Err((12, "unknown service".to_owned())),
        Conduct::Garbage => Ok(vec![0xff; 7]),
        Conduct::Floods => Ok(vec![0; snapferry::peer::ANSWER_BYTES_MAX + 1]),
        Conduct::Fabric | Conduct::HangsUp => {
            let mut state = shared.state.lock().unwrap();
            state.ask(path, message).map_err(|text| (2, text))
        }
    };
    shared.called.notify_all();
    let head = http::Response::builder().header("content-type", "application/grpc");
    match answered {
        Ok(message) => {
            let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
            let mut framed = vec![0];
            framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
            framed.extend_from_slice(&message);
            // A client that has read enough hangs up.
            let _ = body.send_data(framed.into(), false);
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let _ = body.send_trailers(trailers);
        }
        Err((code, text)) => {
            let head = head.header("grpc-status", code.to_string()).header("grpc-message", text);
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        }
    }
}

impl State {
    /// The answer to a call, or the text of a status `UNKNOWN`.
    fn ask(&mut self, path: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        match path {
            "/protos.Endorser/ProcessProposal" => {
                let answered = self.proposal(&SignedBytes::decode(message).unwrap());
                let response = match answered {
                    Ok(payload) => Response { status: 200, message: String::new(), payload },
                    Err(message) => Response { status: 500, message, payload: Vec::new() },
                };
                Ok(ProposalResponse { response: Some(response) }.encode_to_vec())
            }
            "/protos.Snapshot/Generate" | "/protos.Snapshot/Cancel" | "/protos.Snapshot/QueryPendings" => {
                let call = path.rsplit('/').next().unwrap();
                self.calls.push(call.to_owned());
                let signed = SignedBytes::decode(message).unwrap();
                // A query is a request without a block.
                let request = SnapshotRequest::decode(&signed.bytes[..]).unwrap();
                let header = request.signature_header.clone().unwrap();
                check_admin(self.msp_id, &header, &signed, "signed data identity", "")?;
                self.snapshot(call, &request)
            }
            _ => panic!("{path}"),
        }
    }

    fn snapshot(&mut self, call: &str, request: &SnapshotRequest) -> Result<Vec<u8>, String> {
        let holds = self.holds;
        let Some(ledger) = self.ledgers.get_mut(&request.channel_id) else {
            return Err(format!("cannot find ledger for channel {}", request.channel_id));
        };
        let block = if request.block_number == 0 { ledger.last } else { request.block_number };
        match call {
            "Generate" if block < ledger.last => Err(format!(
                "requested snapshot for block number {block} cannot be less than the last committed block number {}",
                ledger.last
            )),
            "Generate" if ledger.generated.contains(&block) => {
                Err(format!("snapshot already generated for block number {block}"))
            }
            "Generate" if ledger.pending.contains(&block) => {
                Err(format!("duplicate snapshot request for block number {block}"))
            }
            "Generate" if block == ledger.last && !holds => {
                ledger.generated.insert(block);
                Ok(Vec::new())
            }
            "Generate" => {
                ledger.pending.insert(block);
                Ok(Vec::new())
            }
            "Cancel" if block == ledger.last && ledger.pending.contains(&block) => {
                Err("cannot cancel the snapshot request because it is under processing".to_owned())
            }
            "Cancel" if ledger.pending.remove(&block) => Ok(Vec::new()),
            "Cancel" => Err(format!("no snapshot request exists for block number {block}")),
            _ => Ok(Pendings { block_numbers: ledger.pending.iter().copied().collect() }.encode_to_vec()),
        }
    }

    /// At the second look a join has ended as it shall.
    fn look(&mut self) {
        let Some(folder) = self.joining.clone().filter(|_| self.joins != Joins::Stays) else { return };
        self.looks += 1;
        if self.looks < 2 {
            return;
        }
        (self.joining, self.looks) = (None, 0);
        let joins = self.joins;
        if joins == Joins::Restarts {
            (self.joins, self.gone_for) = (Joins::Well, 2);
        }
        if matches!(joins, Joins::Badly | Joins::Restarts) {
            return;
        }
        let metadata = std::fs::read(Path::new(&folder).join("_snapshot_signable_metadata.json")).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
        let block = metadata["last_block_number"].as_u64().unwrap();
        let other = matches!(joins, Joins::OtherHash | Joins::AheadOfAnother);
        let hash = hex::decode(metadata["last_block_hash"].as_str().unwrap()).unwrap();
        let ledger = Ledger {
            last: if matches!(joins, Joins::Ahead | Joins::AheadOfAnother) { block + 2 } else { block },
            joined_by: Some(if joins == Joins::OtherBlock { block - 1 } else { block }),
            joined_hash: if other { vec![9; 32] } else { hash },
            ..Ledger::default()
        };
        self.ledgers.insert(metadata["channel_name"].as_str().unwrap().to_owned(), ledger);
    }

    /// The payload of a chaincode's response, or its message.
    fn proposal(&mut self, signed: &SignedBytes) -> Result<Vec<u8>, String> {
        let proposal = Pair::decode(&signed.bytes[..]).unwrap();
        let header = Pair::decode(&proposal.first[..]).unwrap();
        let channel_header = ChannelHeader::decode(&header.first[..]).unwrap();
        let signature_header = SignatureHeader::decode(&header.second[..]).unwrap();
        let id = digest(&SHA256, &[&signature_header.nonce[..], &signature_header.creator].concat());
        assert_eq!(channel_header.tx_id, hex::encode(id));
        assert!(channel_header.timestamp.unwrap().seconds > 1_700_000_000);
        let input = Wrapped::decode(&proposal.second[..]).unwrap().inner;
        let spec = Invocation::decode(&input[..]).unwrap().spec.unwrap();
        let named = HeaderExtension::decode(&channel_header.extension[..]).unwrap().chaincode_id.unwrap();
        assert_eq!(Some(&named), spec.chaincode_id.as_ref());
        assert_eq!(spec.kind, 1);
        let args = spec.input.unwrap().args;
        let text = |at: usize| String::from_utf8(args[at].clone()).unwrap();
        let call = text(0);
        self.calls.push(call.clone());
        let known = match call.as_str() {
            "GetChannels" | "JoinBySnapshotStatus" => ("cscc", 3, String::new()),
            "JoinChainBySnapshot" => ("cscc", 1, String::new()),
            "GetConfigBlock" => ("cscc", 3, text(1)),
            "GetChainInfo" | "GetBlockByNumber" => ("qscc", 3, text(1)),
            _ => panic!("{call}"),
        };
        assert_eq!((named.name.as_str(), channel_header.kind, channel_header.channel_id.clone()), known);
        if call.starts_with("Join") {
            check_admin(self.msp_id, &signature_header, signed, "proposal's creator", &call)?;
        } else {
            let (msp_id, _) = check_signature(&signature_header, signed);
            if call == "GetChannels" && msp_id != self.msp_id {
                let text =
                    "error validating proposal: access denied: channel [] creator org unknown, creator is malformed";
                return Err(text.to_owned());
            }
        }
        let channel = channel_header.channel_id;
        if !channel.is_empty() && !self.ledgers.contains_key(&channel) {
            return Err(format!("channel '{channel}' not found"));
        }
        Ok(match call.as_str() {
            "GetChannels" => {
                let channels = self.ledgers.keys().map(|name| Channel { name: name.clone() }).collect();
                Channels { channels }.encode_to_vec()
            }
            "JoinBySnapshotStatus" => {
                self.look();
                let folder = self.joining.clone();
                JoinStatus { in_progress: folder.is_some(), folder: folder.unwrap_or_default() }.encode_to_vec()
            }
            "JoinChainBySnapshot" => {
                let folder = text(1);
                if let Some(other) = &self.joining {
                    return Err(format!(
                        "cannot create ledger from snapshot {folder}: a ledger is being created from a snapshot at {other}. Call ledger \
                         creation again after it is done."
                    ));
                }
                if !Path::new(&folder).is_dir() {
                    return Err(format!(
                        "cannot create ledger from snapshot {folder}: error opening dir [{folder}]: open {folder}: no such file or directory"
                    ));
                }
                self.joined_from = Some(folder.clone());
                self.joining = Some(folder);
                Vec::new()
            }
            "GetConfigBlock" => self.ledgers[&channel].config_block.clone().unwrap_or_else(|| b"a block".to_vec()),
            "GetBlockByNumber" => {
                let ledger = &self.ledgers[&channel];
                let number: u64 = text(2).parse().unwrap();
                assert_eq!(Some(number), ledger.joined_by.map(|last| last + 1));
                let header = BlockHeader { number, previous: ledger.joined_hash.clone() };
                Block { header: Some(header) }.encode_to_vec()
            }
            _ => {
                let ledger = &self.ledgers[&channel];
                let snapshot = ledger.joined_by.map(|last| BootSnapshot { last });
                let is_last = ledger.joined_by == Some(ledger.last);
                let current = if is_last { ledger.joined_hash.clone() } else { vec![1; 32] };
                ChainInfo { height: ledger.last + 1, current, previous: vec![2; 32], snapshot }.encode_to_vec()
            }
        })
    }
}

/// What a real one says of who is no admin of its organisation.
fn check_admin(
    own: &str,
    header: &SignatureHeader,
    signed: &SignedBytes,
    who: &str,
    resource: &str,
) -> Result<(), String> {
    let (msp_id, units) = check_signature(header, signed);
    let denied = |text: String| match resource {
        "" => text,
        _ => {
            let mut capital = text;
            capital[..1].make_ascii_uppercase();
            format!("access denied for [{resource}]: [{capital}]")
        }
    };
    if msp_id != own {
        return Err(denied(format!(
            "failed deserializing {who} during channelless check policy with policy [Admins]: [expected MSP ID {own}, received {msp_id}]"
        )));
    }
    if !units.iter().any(|unit| unit == "admin") {
        return Err(denied(format!(
            "failed verifying that the {who} satisfies local MSP principal during channelless check policy with policy [Admins]: [The identity \
             is not an admin under this MSP [{own}]: The identity does not contain OU [ADMIN], MSP: [{own}]]"
        )));
    }
    Ok(())
}

/// Half of the order of P-256: Fabric refuses an S above it.
const HALF_ORDER: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";

/// Panics unless it is the creator's signature with a low S; who that is.
fn check_signature(header: &SignatureHeader, signed: &SignedBytes) -> (String, Vec<String>) {
    assert_eq!(header.nonce.len(), 24);
    let creator = Identity::decode(&header.creator[..]).unwrap();
    let (_, pem) = parse_x509_pem(&creator.id_bytes).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let point = &certificate.public_key().subject_public_key.data[..];
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(&signed.bytes, &signed.signature).expect("signature");
    // SEQUENCE { INTEGER r, INTEGER s }, all lengths below 128.
    let r_length = signed.signature[3] as usize;
    let s = hex::encode(&signed.signature[6 + r_length..]);
    let s = s.trim_start_matches("00");
    assert!(format!("{s:0>64}").as_str() <= HALF_ORDER, "high S: {s}");
    let units = certificate.subject().iter_organizational_unit();
    (creator.msp_id.clone(), units.map(|unit| unit.as_str().unwrap().to_owned()).collect())
}

// Fabric's messages, once more.

/// SignedSnapshotRequest and SignedProposal.
#[derive(Clone, PartialEq, Message)]
struct SignedBytes {
    #[prost(bytes, tag = "1")]
    bytes: Vec<u8>,
    #[prost(bytes, tag = "2")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SignatureHeader {
    #[prost(bytes, tag = "1")]
    creator: Vec<u8>,
    #[prost(bytes, tag = "2")]
    nonce: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotRequest {
    #[prost(message, optional, tag = "1")]
    signature_header: Option<SignatureHeader>,
    #[prost(string, tag = "2")]
    channel_id: String,
    #[prost(uint64, tag = "3")]
    block_number: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Pendings {
    #[prost(uint64, repeated, tag = "1")]
    block_numbers: Vec<u64>,
}

/// msp.SerializedIdentity.
#[derive(Clone, PartialEq, Message)]
struct Identity {
    #[prost(string, tag = "1")]
    msp_id: String,
    #[prost(bytes, tag = "2")]
    id_bytes: Vec<u8>,
}

/// Proposal (header, payload) and Header (channel header, signature header).
#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(bytes, tag = "1")]
    first: Vec<u8>,
    #[prost(bytes, tag = "2")]
    second: Vec<u8>,
}

/// ChaincodeProposalPayload.
#[derive(Clone, PartialEq, Message)]
struct Wrapped {
    #[prost(bytes, tag = "1")]
    inner: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ChannelHeader {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "4")]
    channel_id: String,
    #[prost(string, tag = "5")]
    tx_id: String,
    #[prost(bytes, tag = "7")]
    extension: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderExtension {
    #[prost(message, optional, tag = "2")]
    chaincode_id: Option<ChaincodeId>,
}

#[derive(Clone, PartialEq, Message)]
struct ChaincodeId {
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Invocation {
    #[prost(message, optional, tag = "1")]
    spec: Option<Spec>,
}

#[derive(Clone, PartialEq, Message)]
struct Spec {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    chaincode_id: Option<ChaincodeId>,
    #[prost(message, optional, tag = "3")]
    input: Option<Input>,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(bytes, repeated, tag = "1")]
    args: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct ProposalResponse {
    #[prost(message, optional, tag = "4")]
    response: Option<Response>,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bytes, tag = "3")]
    payload: Vec<u8>,
}

/// ChannelInfo.
#[derive(Clone, PartialEq, Message)]
struct Channel {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Channels {
    #[prost(message, repeated, tag = "1")]
    channels: Vec<Channel>,
}

#[derive(Clone, PartialEq, Message)]
struct JoinStatus {
    #[prost(bool, tag = "1")]
    in_progress: bool,
    #[prost(string, tag = "2")]
    folder: String,
}

#[derive(Clone, PartialEq, Message)]
struct ChainInfo {
    #[prost(uint64, tag = "1")]
    height: u64,
    #[prost(bytes, tag = "2")]
    current: Vec<u8>,
    #[prost(bytes, tag = "3")]
    previous: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    snapshot: Option<BootSnapshot>,
}

#[derive(Clone, PartialEq, Message)]
struct BootSnapshot {
    #[prost(uint64, tag = "1")]
    last: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Block {
    #[prost(message, optional, tag = "1")]
    header: Option<BlockHeader>,
}

#[derive(Clone, PartialEq, Message)]
struct BlockHeader {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(bytes, tag = "2")]
    previous: Vec<u8>,
}
