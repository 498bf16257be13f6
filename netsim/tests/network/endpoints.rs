//! quinn's endpoints over the simulated network: whatever a link does, what is asked for arrives whole; a crash is silent; a
//! seed is a trace.

use std::time::Duration;

use netsim::{Fate, Faults, Link, SendQueue, Unheard, What};

use crate::pair::{CLIENT, KIB, MS, Pair, SERVER, Tls, ask, at, ip, pattern};

/// 20 ms round trip, 10 MB/s.
fn wan() -> Link {
    Link { latency: MS * 10, bandwidth_bytes_per_s: Some(10_000_000), queue_bytes: 200_000, ..Link::default() }
}

/// One transfer of 256 KiB: its shape, faults, and virtual time.
async fn transfer(seed: u64, link: Link) -> (u64, Faults, Duration) {
    let pair = Pair::new(seed);
    pair.net.set_default_link(link);
    let connection = pair.connect().await;
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
    let took = pair.net.now();
    connection.close(0u8.into(), b"");
    pair.endpoint.wait_idle().await;
    (pair.net.shape_hash(), pair.net.faults(), took)
}

#[tokio::test(start_paused = true)]
async fn a_clean_link_takes_its_time_and_does_no_harm() {
    let (_, faults, took) = transfer(1, wan()).await;
    assert_eq!(faults.total(), 0, "{faults:?}");
    assert!((MS * 65..MS * 500).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_arrives_whole_over_every_bad_link() {
    let bad = [
        (Link { loss_ppm: 50_000, ..wan() }, (|faults| faults.lost) as fn(&Faults) -> u64),
        (Link { reorder_ppm: 50_000, reorder_delay: MS * 30, jitter: MS * 3, ..wan() }, |faults| faults.reordered),
        (Link { corrupt_ppm: 50_000, ..wan() }, |faults| faults.corrupted),
        (Link { duplicate_ppm: 50_000, ..wan() }, |faults| faults.doubled),
        (Link { queue_bytes: 15_000, ..wan() }, |faults| faults.tail_dropped),
        (Link { mtu: Some(1280), ..wan() }, |faults| faults.too_big),
    ];
    for (seed, (link, met)) in (0..).zip(bad) {
        let (_, faults, _) = transfer(seed, link.clone()).await;
        assert!(met(&faults) > 0, "{link:?} did nothing: {faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_a_trace() {
    let nasty = Link {
        loss_ppm: 30_000,
        duplicate_ppm: 20_000,
        corrupt_ppm: 10_000,
        reorder_ppm: 30_000,
        reorder_delay: MS * 15,
        jitter: MS * 2,
        ..wan()
    };
    let mut shapes = Vec::new();
    for seed in 0..8 {
        let (shape, faults, _) = transfer(seed, nasty.clone()).await;
        for _ in 0..3 {
            assert_eq!(transfer(seed, nasty.clone()).await.0, shape, "seed {seed}");
        }
        assert!(faults.total() > 10, "{faults:?}");
        assert!(!shapes.contains(&shape), "seed {seed} is like another");
        shapes.push(shape);
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_stops_everything_until_it_heals() {
    let pair = Pair::new(1);
    pair.net.set_default_link(wan());
    let connection = pair.connect().await;
    pair.net.partition(&[ip(SERVER)], &[ip(CLIENT)]);
    let asking = tokio::spawn(async move { ask(&connection, 256 * KIB).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!asking.is_finished() && pair.net.faults().cut > 0);
    pair.net.heal();
    assert_eq!(asking.await.unwrap().unwrap(), pattern(256 * KIB));
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_one_direction_leaves_the_other() {
    let pair = Pair::new(1);
    pair.net.cut(&[ip(SERVER)], &[ip(CLIENT)]);
    pair.net.keep_log(1000);
    let connecting = pair.endpoint.connect(at(SERVER), "server").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fates = |of: &str| {
        let fate = |event: netsim::Event| match event.what {
            What::Sent { from, fates, .. } if from.ip() == ip(of) => Some(fates.first),
            _ => None,
        };
        pair.net.log().into_iter().filter_map(fate).collect::<Vec<_>>()
    };
    assert!(
        !fates(SERVER).is_empty() && fates(SERVER).iter().all(|fate| *fate == Fate::Cut),
        "the server has answered"
    );
    assert!(fates(CLIENT).iter().all(|fate| *fate != Fate::Cut));
    pair.net.mend(&[ip(SERVER)], &[ip(CLIENT)]);
    connecting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_silent_and_a_restart_works() {
    let pair = Pair::new(1);
    pair.net.set_default_link(wan());
    pair.net.keep_log(10_000);
    let connection = pair.connect().await;
    let asking = ask(&connection, 1024 * KIB);
    let crashing = async {
        tokio::time::sleep(MS * 60).await;
        pair.server.crash();
        pair.net.now()
    };
    let (asked, crashed) = tokio::join!(asking, crashing);
    let lost = match asked.unwrap_err() {
        quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(lost)) => lost,
        other => panic!("{other}"),
    };
    assert_eq!(lost, quinn::ConnectionError::TimedOut, "nobody said goodbye");
    assert!(pair.net.now() - crashed > Duration::from_secs(29));
    let log = pair.net.log();
    let said = |what: &What| matches!(what, What::Sent { from, .. } if *from == at(SERVER));
    assert!(!log.iter().any(|event| event.at > crashed && said(&event.what)));
    let vanished = |what: &What| matches!(what, What::Unheard { why: Unheard::SenderCrashed, .. });
    assert!(log.iter().any(|event| vanished(&event.what)), "what was under way is gone");
    let _server = pair.tls.serve(&pair.server);
    assert_eq!(ask(&pair.connect().await, 256 * KIB).await.unwrap(), pattern(256 * KIB));
}

#[tokio::test(start_paused = true)]
async fn a_connection_outlives_a_nat_that_forgets_and_a_client_that_moves() {
    let pair = Pair::new(1);
    pair.net.set_default_link(wan());
    pair.net.nat(&pair.client, ip("203.0.113.7")).unwrap();
    let connection = pair.connect().await;
    let sent = pair.net.record(|packet| packet.to == at(SERVER));
    let seen_as = || sent.take().iter().map(|packet| packet.from).collect::<Vec<_>>();
    ask(&connection, KIB).await.unwrap();
    let before = seen_as();
    assert!(before.iter().all(|from| from.ip() == ip("203.0.113.7") && *from == before[0]));
    pair.net.rebind(&pair.client);
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
    let after = seen_as();
    assert!(after.iter().all(|from| from.ip() == ip("203.0.113.7") && *from == after[0]) && after[0] != before[0]);
    pair.net.nat(&pair.client, ip("203.0.113.8")).unwrap();
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
    assert!(seen_as().iter().all(|from| from.ip() == ip("203.0.113.8")));
    pair.client.move_to(ip("10.0.0.3")).unwrap();
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
}

#[tokio::test(start_paused = true)]
async fn a_full_send_queue_blocks_and_goes_on() {
    let pair = Pair::new(1);
    pair.net.set_default_link(Link { latency: MS * 10, ..Link::default() });
    let connection = pair.connect().await;
    let begun = pair.net.now();
    pair.server.set_send_queue(Some(SendQueue { bytes: 20_000, bandwidth_bytes_per_s: 1_000_000 }));
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
    assert!((MS * 262..MS * 400).contains(&(pair.net.now() - begun)), "{:?}", pair.net.now() - begun);
    assert_eq!(pair.net.faults().total(), 0, "blocked, not dropped");
}

#[tokio::test(start_paused = true)]
async fn both_families_reach_a_host_that_has_both() {
    let net = netsim::Net::new(1);
    let tls = Tls::new(Duration::from_secs(10));
    let server = net.host([ip("10.0.0.1"), ip("fd00::1")]).unwrap();
    let client = net.host([ip("10.0.0.2"), ip("fd00::2")]).unwrap();
    let _server = tls.serve(&server);
    let endpoint = tls.client(&client);
    net.change_links(|from, _, link| link.up = from.is_ipv6());
    let v4 = endpoint.connect(at("10.0.0.1"), "server").unwrap();
    let v6 = endpoint.connect(at("fd00::1"), "server").unwrap();
    assert_eq!(ask(&v6.await.unwrap(), KIB).await.unwrap(), pattern(KIB));
    assert_eq!(v4.await.unwrap_err(), quinn::ConnectionError::TimedOut, "IPv4 is broken");
    net.change_links(|_, _, link| link.up = true);
    let v4 = endpoint.connect(at("10.0.0.1"), "server").unwrap().await.unwrap();
    assert_eq!(ask(&v4, KIB).await.unwrap(), pattern(KIB));
}

#[tokio::test(start_paused = true)]
async fn a_recorded_flight_can_be_replayed_from_anywhere() {
    let pair = Pair::new(1);
    pair.net.set_default_link(wan());
    let flight = pair.net.record(|packet| packet.to == at(SERVER));
    let connection = pair.connect().await;
    let flight = flight.take();
    let replay = || flight.iter().for_each(|packet| pair.net.inject(at("10.0.0.66"), at(SERVER), packet.bytes.clone()));
    let answers = pair.net.record(|packet| packet.to == at("10.0.0.66"));
    replay();
    assert_eq!(ask(&connection, 256 * KIB).await.unwrap(), pattern(256 * KIB));
    assert!(answers.take().is_empty(), "the server knows that connection");
    pair.server.crash();
    let _server = pair.tls.serve(&pair.server);
    replay();
    tokio::time::sleep(MS * 100).await;
    assert!(!answers.take().is_empty(), "to a new program it is a first flight");
}
