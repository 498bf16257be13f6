//! The relay between real sockets on loopback: what goes through, whom the far side sees, what the binary says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "test code")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use netsim::{Link, Relay, RelaySettings};

/// Who waits so long has found a fault.
const PATIENCE: Duration = Duration::from_secs(60);

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn relay(to: &UdpSocket, up: Link, down: Link) -> Relay {
    let listen = "127.0.0.1:0".parse().unwrap();
    Relay::start(RelaySettings { listen, to: to.local_addr().unwrap(), up, down, seed: 1 }).unwrap()
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

/// As whom the service sees the client.
fn seen_as(client: &UdpSocket, relay: &Relay, service: &UdpSocket) -> SocketAddr {
    client.send_to(b"hello", relay.address()).unwrap();
    receive(service).1
}

#[test]
fn datagrams_go_both_ways_and_each_client_has_a_port() {
    let (service, one, other) = (socket(), socket(), socket());
    let relay = relay(&service, Link::default(), Link { latency: Duration::from_millis(5), ..Link::default() });
    let seen = [&one, &other].map(|client| seen_as(client, &relay, &service));
    assert_ne!(seen[0], seen[1]);
    assert_eq!(seen_as(&one, &relay, &service), seen[0]);
    service.send_to(b"to the other", seen[1]).unwrap();
    service.send_to(b"to one", seen[0]).unwrap();
    assert_eq!(receive(&one), (b"to one".to_vec(), relay.address()));
    assert_eq!(receive(&other), (b"to the other".to_vec(), relay.address()));
    let (up, down) = relay.passed();
    assert_eq!((up.datagrams, down.datagrams, up.faults.total() + down.faults.total()), (3, 2, 0));
}

#[test]
fn links_do_what_they_say_and_can_be_changed() {
    let (service, client) = (socket(), socket());
    let doubling = Link { duplicate_ppm: 1_000_000, corrupt_ppm: 1_000_000, ..Link::default() };
    let relay = relay(&service, doubling, Link { loss_ppm: 1_000_000, ..Link::default() });
    let seen = seen_as(&client, &relay, &service);
    let (double, _) = receive(&service);
    let flipped = double.iter().zip(b"hello").map(|(is, was)| (is ^ was).count_ones()).sum::<u32>();
    assert_eq!((double.len(), flipped), (5, 1));
    service.send_to(b"lost", seen).unwrap();
    while relay.passed().1.datagrams == 0 {
        std::thread::yield_now();
    }
    relay.set_links(Link::default(), Link::default());
    service.send_to(b"heard", seen).unwrap();
    assert_eq!(receive(&client).0, b"heard");
    let (up, down) = relay.passed();
    assert_eq!((up.faults.doubled, up.faults.corrupted, down.faults.lost), (1, 1, 1));
}

#[test]
fn one_client_too_many_takes_the_place_of_the_most_silent() {
    let service = socket();
    let relay = relay(&service, Link::default(), Link::default());
    let clients: Vec<_> = (0..256).map(|_| socket()).collect();
    let seen: Vec<_> = clients.iter().map(|client| seen_as(client, &relay, &service)).collect();
    assert_eq!(seen_as(&clients[0], &relay, &service), seen[0], "all have a place");
    seen_as(&socket(), &relay, &service);
    assert_eq!(seen_as(&clients[0], &relay, &service), seen[0], "it has spoken since");
    service.send_to(b"to nobody", seen[1]).unwrap();
    assert_ne!(seen_as(&clients[1], &relay, &service), seen[1], "it has to begin anew");
}

#[test]
fn the_binary_says_where_it_listens_and_what_it_did() {
    let (service, client) = (socket(), socket());
    let to = service.local_addr().unwrap().to_string();
    let mut relay = Command::new(env!("CARGO_BIN_EXE_relay"));
    relay.args(["--to", &to, "--latency-ms", "1", "--down-loss-ppm", "1000000"]);
    let mut relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut says = BufReader::new(relay.stdout.take().unwrap());
    let mut address = String::new();
    says.read_line(&mut address).unwrap();
    client.send_to(b"hello", address.trim_end()).unwrap();
    assert_eq!(receive(&service).0, b"hello");
    drop(relay.stdin.take());
    let mut rest = String::new();
    says.read_to_string(&mut rest).unwrap();
    assert!(relay.wait().unwrap().success());
    assert!(rest.starts_with("up: 1 datagrams") && rest.contains("down: 0 datagrams"), "{rest}");
}

#[test]
fn the_binary_refuses_what_it_does_not_know() {
    for (arguments, word) in [
        (&["--latency-ms", "1"][..], "--to HOST:PORT is missing"),
        (&["--to", "127.0.0.1:1", "--loss-ppm", "1000001"], "--loss-ppm 1000001: at most 1000000"),
        (&["--to", "127.0.0.1:1", "--up-lateness", "1"], "--up-lateness 1: no such option"),
        (&["--to", "127.0.0.1:1", "--seed"], "--seed has no value"),
        (&["--to", "nowhere"], "--to nowhere"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_relay")).args(arguments).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && output.stdout.is_empty() && told.contains(word), "{told}");
    }
}
