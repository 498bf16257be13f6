//! Sockets without quinn: what is joined, what is refused, what is dropped, who is reached.

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use netsim::{Fate, Link, Net, SendQueue, SimSocket, Unheard, What};
use quinn::{
    AsyncUdpSocket,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};

use crate::pair::{CLIENT, MS, SERVER, at, ip};

fn net() -> (Net, netsim::Host, netsim::Host) {
    let net = Net::new(1);
    let (server, client) = (net.host([ip(SERVER)]).unwrap(), net.host([ip(CLIENT)]).unwrap());
    (net, server, client)
}

fn send(socket: &SimSocket, to: SocketAddr, contents: &[u8], segment: usize) {
    let ecn = Some(EcnCodepoint::Ect0);
    socket.try_send(&Transmit { destination: to, ecn, contents, segment_size: Some(segment), src_ip: None }).unwrap();
}

/// Everything that is there now: (sender, length, stride, ECN), one for each buffer filled.
async fn receive(socket: &Arc<SimSocket>) -> Vec<(SocketAddr, usize, usize, Option<EcnCodepoint>)> {
    let mut memory = vec![[0; 20_000]; 4];
    let mut buffers: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
    let mut metas = [RecvMeta::default(); 4];
    let count = poll_fn(|cx| socket.poll_recv(cx, &mut buffers, &mut metas)).await.unwrap();
    metas[..count].iter().map(|meta| (meta.addr, meta.len, meta.stride, meta.ecn)).collect()
}

#[tokio::test(start_paused = true)]
async fn equal_datagrams_of_one_sender_are_joined_and_a_shorter_one_ends_them() {
    let (net, server, client) = net();
    let (hears, says) = (server.bind(7400).unwrap(), client.bind(7400).unwrap());
    send(&says, at(SERVER), &[1; 3500], 1000);
    net.inject(at("10.0.0.3"), at(SERVER), vec![2; 1000]);
    net.inject(at("10.0.0.3"), at(SERVER), vec![2; 1200]);
    let marked = Some(EcnCodepoint::Ect0);
    let expected =
        [(at(CLIENT), 3500, 1000, marked), (at("10.0.0.3"), 1000, 1000, None), (at("10.0.0.3"), 1200, 1200, None)];
    tokio::time::sleep(MS).await;
    assert_eq!(receive(&hears).await, expected);
    assert_eq!(net.datagrams(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_bit_is_flipped_where_the_log_says() {
    let (net, server, _) = net();
    net.set_default_link(Link { corrupt_ppm: 1_000_000, ..Link::default() });
    net.keep_log(1);
    let hears = server.bind(7400).unwrap();
    for _ in 0..2 {
        net.inject(at(CLIENT), at(SERVER), vec![0; 100]);
        let mut buffer = [0; 200];
        let mut metas = [RecvMeta::default()];
        let mut buffers = [IoSliceMut::new(&mut buffer)];
        poll_fn(|cx| hears.poll_recv(cx, &mut buffers, &mut metas)).await.unwrap();
        let [last] = &net.log()[..] else { panic!("one event is kept") };
        let What::Sent { fates, .. } = last.what else { panic!("{last:?}") };
        let Fate::Arrives { flip_bit: Some(bit), .. } = fates.first else { panic!("{fates:?}") };
        let mut expected = [0; 100];
        expected[bit as usize / 8] = 1 << (bit % 8);
        assert_eq!(buffer[..100], expected);
    }
    assert_eq!(net.faults().corrupted, 2);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_does_not_read_loses_what_its_buffer_cannot_hold() {
    let (net, server, _) = net();
    net.keep_log(10);
    let _deaf = server.bind(7400).unwrap();
    for _ in 0..(4 << 20) / 1024 {
        net.inject(at(CLIENT), at(SERVER), vec![0; 1024]);
    }
    tokio::time::sleep(MS).await;
    let full = |net: &Net| net.log().iter().any(|e| matches!(e.what, What::Unheard { why: Unheard::BufferFull, .. }));
    assert!(!full(&net));
    net.inject(at(CLIENT), at(SERVER), vec![0; 1]);
    tokio::time::sleep(MS).await;
    assert!(full(&net));
}

#[tokio::test(start_paused = true)]
async fn a_full_send_queue_blocks_until_it_has_room() {
    let (net, server, client) = net();
    let (hears, says) = (server.bind(7400).unwrap(), client.bind(7400).unwrap());
    client.set_send_queue(Some(SendQueue { bytes: 2000, bandwidth_bytes_per_s: 100_000 }));
    let mut poller = Arc::clone(&says).create_io_poller();
    let mut writable = async || poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    writable().await;
    send(&says, at(SERVER), &[1; 1000], 1000);
    writable().await;
    send(&says, at(SERVER), &[1; 2000], 1000);
    let full = Transmit { destination: at(SERVER), ecn: None, contents: &[1], segment_size: None, src_ip: None };
    assert_eq!((net.now(), says.try_send(&full).unwrap_err().kind()), (Duration::ZERO, ErrorKind::WouldBlock));
    writable().await;
    assert_eq!(net.now(), MS * 10, "one of three has left");
    says.try_send(&full).unwrap();
    tokio::time::sleep(MS * 25).await;
    let lengths: Vec<_> = receive(&hears).await.iter().map(|meta| meta.1).collect();
    assert_eq!(lengths, [3000, 1]);
}

#[tokio::test(start_paused = true)]
async fn addresses_and_ports_belong_to_one() {
    let (net, server, client) = net();
    let kind = |bound: std::io::Result<Arc<SimSocket>>| bound.map_err(|e| e.kind()).unwrap_err();
    assert_eq!(net.host([ip(SERVER)]).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(net.host([ip("127.0.0.1")]).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(net.nat(&client, ip(SERVER)).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(client.move_to(ip(SERVER)).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert_eq!(kind(server.bind_addr(at(CLIENT))), ErrorKind::AddrNotAvailable);
    let first = server.bind(7400).unwrap();
    assert_eq!(kind(server.bind_addr(at(SERVER))), ErrorKind::AddrInUse);
    assert_ne!(server.bind(0).unwrap().local_addr().unwrap(), server.bind(0).unwrap().local_addr().unwrap());
    drop(first);
    server.bind_addr(at(SERVER)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_a_crashed_program_is_dead() {
    let (net, server, client) = net();
    let (old, peer, runtime) = (server.bind(7400).unwrap(), client.bind(7400).unwrap(), server.runtime());
    let running = server.spawn(std::future::pending::<()>());
    net.set_default_link(Link { latency: MS * 10, ..Link::default() });
    send(&old, at(CLIENT), &[1], 1);
    send(&peer, at(SERVER), &[2], 1);
    server.crash();
    let new = server.bind(7400).unwrap();
    send(&old, at(CLIENT), &[3], 1);
    assert!(tokio::time::timeout(MS, running).await.unwrap().unwrap_err().is_cancelled());
    let (said, mut heard) = tokio::sync::oneshot::channel();
    runtime.spawn(Box::pin(async { said.send(()).unwrap() }));
    drop(runtime);
    tokio::time::sleep(MS * 20).await;
    assert!(heard.try_recv().is_err(), "an old runtime spawns nothing");
    drop(old);
    send(&new, at(CLIENT), &[4; 4], 4);
    send(&peer, at(SERVER), &[5; 5], 5);
    let lengths = |received: Vec<(_, usize, _, _)>| received.iter().map(|meta| meta.1).collect::<Vec<_>>();
    assert_eq!(lengths(receive(&peer).await), [4], "nothing of the old one");
    assert_eq!(lengths(receive(&new).await), [5], "nothing for the old one");
}

#[tokio::test(start_paused = true)]
async fn a_nat_gives_each_socket_a_port_and_forgets_it() {
    let (net, server, client) = net();
    let (hears, says) = (server.bind(7400).unwrap(), client.bind(7400).unwrap());
    net.nat(&client, ip("203.0.113.7")).unwrap();
    let seen_as = async || {
        send(&says, at(SERVER), &[1], 1);
        receive(&hears).await[0].0
    };
    let first = seen_as().await;
    assert_eq!((first.ip(), seen_as().await), (ip("203.0.113.7"), first));
    send(&hears, first, &[1; 2], 2);
    assert_eq!(receive(&says).await[0].0, at(SERVER), "an answer finds its way");
    net.rebind(&client);
    send(&hears, first, &[1; 3], 3);
    assert_ne!(seen_as().await, first);
    assert!(tokio::time::timeout(Duration::from_secs(1), receive(&says)).await.is_err(), "the old port is nobody's");
}
