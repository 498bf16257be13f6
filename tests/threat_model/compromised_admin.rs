//! An admin whose key is in other hands: it commands nothing over the network.

use std::path::Path;

use quinn::{Connection, ReadError, ReadToEndError, RecvStream, SendStream};
use snapferry::{
    catalog::Deleted,
    msp::{LocalIdentity, MspId},
    service::{
        clock::{unix_seconds, wall_time},
        control::{ControlBody, Method, Request, Response, SignedCommand, ask_control},
    },
    snapshot::{BlockNumber, SnapshotId},
    transport::{
        fault::ErrorCode,
        session::authenticate_client,
        wire::{Body, Frame, Hello, Refusal},
    },
};

use crate::{
    beside_peer::{Machine, admin_msp, peer_msp},
    loopback::{self, Joiner, admin, read, tls_pair},
};

/// An accepted session of Org1's own admin, by hand.
struct ByHand {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    _joiner: Joiner,
}

impl ByHand {
    async fn connect(address: std::net::SocketAddr) -> Self {
        let joiner = Joiner::with(admin(1), tls_pair(1));
        let context = joiner.params(address).context;
        let connection = joiner.dial(address).await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        authenticate_client(&connection, &mut send, &mut recv, &context, &loopback::config()).await.unwrap();
        loopback::write(&mut send, 1, Body::Hello(Hello::default())).await;
        assert!(matches!(read(&mut recv).await.unwrap().body, Body::HelloAck(_)));
        Self { connection, send, recv, _joiner: joiner }
    }
}

/// A frame with those bytes as the body of that field.
fn frame(request_id: u8, field: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1 << 3, request_id];
    for mut number in [u64::from(field << 3 | 2), body.len() as u64] {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    [out, body.to_vec()].concat()
}

async fn send_raw(send: &mut SendStream, bytes: &[u8]) {
    send.write_all(&[&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()).await.unwrap();
}

/// The bodies of wire.proto. Whoever adds one says here that it commands nothing and sets no policy: those are files on the machine,
/// and local control.
const KNOWN_BODIES: [std::ops::RangeInclusive<u32>; 2] = [2..=17, 20..=26];

/// Defence: no message of the wire commands or configures anything; what isn't a message of it is refused for that request only.
/// Removed (a body that carries local control's commands), a stolen admin's key deletes from afar.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_commands_nothing_over_the_network() {
    let machine = Machine::new(1, true);
    let service = machine.serve(&[83, 132]);
    let address = service.address.parse().unwrap();
    let command = delete_command(83);
    let whole = Request::Command(command.clone()).encode();
    let mut session = ByHand::connect(address).await;
    for field in (2..100).filter(|field| !KNOWN_BODIES.iter().any(|known| known.contains(field))) {
        for body in [&whole[..], &command.body] {
            send_raw(&mut session.send, &frame(7, field, body)).await;
            let answer = read(&mut session.recv).await.unwrap();
            assert_eq!(answer.request_id, 7);
            assert!(
                matches!(&answer.body, Body::Error(Refusal { code: ErrorCode::Protocol, .. })),
                "field {field}: {answer:?}"
            );
        }
    }
    // On a stream of its own, short as such requests are: no command at all.
    let (mut send, mut recv) = session.connection.open_bi().await.unwrap();
    send_raw(&mut send, &frame(8, 60, &command.body[..200])).await;
    let _ = send.finish();
    let refused = recv.read_to_end(1 << 20).await;
    let Err(ReadToEndError::Read(ReadError::Reset(code))) = refused else { panic!("{refused:?}") };
    assert_eq!(code, ErrorCode::Protocol.varint());
    assert!(matches!(read(&mut session.recv).await.unwrap(), Frame { request_id: 8, body: Body::Error(_) }));
    loopback::write(&mut session.send, 9, Body::Ping).await;
    assert_eq!(read(&mut session.recv).await.unwrap(), Frame { request_id: 9, body: Body::Pong }, "it lives on");
    // The control socket's own bytes, in place of a frame.
    send_raw(&mut session.send, &whole).await;
    while read(&mut session.recv).await.is_some() {}

    assert!(machine.folder(83).exists());
    let listed = Joiner::with(admin(3), tls_pair(3)).connect(address).await.unwrap().catalog().await.unwrap();
    assert!(listed.claims.iter().all(|claim| !claim.only_metadata_available) && listed.claims.len() == 2);
    // It was a good command: where it may be given, it is obeyed.
    let given = ask_control(&machine.path("state"), &Request::Command(command)).unwrap();
    assert!(matches!(given, Response::Deleted(Deleted::Now)), "{given:?}");
    assert!(!machine.folder(83).exists());
}

/// A command of Org1's admin to its service.
fn delete_command(block: u64) -> SignedCommand {
    let org1 = MspId::new("Org1MSP").unwrap();
    let load = |msp: String| LocalIdentity::load(&org1, Path::new(&msp)).unwrap();
    let admin = load(admin_msp(1));
    let body = ControlBody {
        method: Method::Delete(SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) }),
        creator: admin.identity.serialized().clone(),
        nonce: [7; 24],
        issued_at: unix_seconds(wall_time()),
        target: load(peer_msp(1)).identity.id(),
    };
    body.sign(&admin).unwrap()
}
