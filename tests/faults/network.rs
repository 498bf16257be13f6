//! What networks do: they cut, rebind, reorder, swallow what is long, and are blocked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use snapferry::bootstrap::JoinError;

use crate::sim::{
    run::{Report, run, run_with},
    scenario::{Expect, Happening, JoinerSpec, LinkSpec, Scenario, Timed},
    world::{JOINER, source_ip, v6},
};

/// So slow that a join of 4 MiB is still going on when something happens.
const SLOW: LinkSpec = LinkSpec::of(20, 400_000, 64_000);

fn slowly(happenings: Vec<(u64, Happening)>) -> Scenario {
    let happenings = happenings.into_iter().map(|(at_ms, what)| Timed { at_ms, what }).collect();
    Scenario { snapshot_bytes: 4 << 20, links: SLOW, happenings, ..Scenario::default() }
}

/// When a file was whole, or the join was through.
fn when(report: &Report, text: &str) -> Duration {
    let line = report.log.iter().find(|line| line.text.contains(text));
    line.unwrap_or_else(|| panic!("{}", report.account(text))).at
}

/// N1: all organisations but one are cut off in mid-transfer; the one that is left goes on giving, and what was proved stays.
#[test]
fn a_join_goes_on_with_whoever_is_left_when_the_others_are_cut_off() {
    let cut = vec![(2_000, Happening::Cut(vec![1, 2])), (60_000, Happening::Heal(vec![1, 2]))];
    let report = run(&slowly(cut), 11);
    report.check();
    assert!(when(&report, "Landed") < Duration::from_secs(60), "it didn't wait for them:\n{}", report.account(""));
    assert_eq!(report.attempts.len(), 1);
}

/// N2: nobody can be reached for hours; afterwards the join goes on where it was.
#[test]
fn a_partition_of_hours_costs_no_proved_chunk() {
    const HOURS: u64 = 5 * 3_600_000;
    let all = || vec![1, 2, 3];
    let report = run(&slowly(vec![(4_000, Happening::Cut(all())), (HOURS, Happening::Heal(all()))]), 12);
    report.check();
    assert_eq!(report.attempts.len(), 1, "the same run: {}", report.account(""));
    let before = report.samples.iter().rfind(|sample| sample.at < Duration::from_secs(60)).unwrap().verified_bytes;
    assert!(before > 1 << 20, "some of it had come: {before}");
    assert!(report.samples.iter().all(|sample| sample.at < Duration::from_secs(60) || sample.verified_bytes >= before));
    assert!(when(&report, "Landed") < Duration::from_millis(HOURS) + Duration::from_secs(60));
}

/// N3: the NAT in front of the joiner gives it other ports in mid-transfer: the connections migrate.
#[test]
fn a_nat_that_forgets_the_joiner_costs_no_chunk_and_no_connection() {
    let rebound = vec![(2_000, Happening::RebindJoiner), (4_000, Happening::RebindJoiner)];
    let scenario = Scenario { joiner: JoinerSpec { nat: true, ..JoinerSpec::default() }, ..slowly(rebound) };
    let report = run(&scenario, 13);
    report.check();
    assert!(report.log.iter().all(|line| !line.text.starts_with("lost")), "{}", report.account("a connection broke"));
}

/// N3: a service moves to another address in mid-transfer; the others give its chunks, and it is dialled in vain without harm.
#[test]
fn a_source_that_moves_away_costs_no_chunk() {
    let report = run_with(&slowly(Vec::new()), 14, |world| {
        let host = world.services[0].host.clone();
        world.beside(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            host.move_to([10, 0, 77, 1].into()).unwrap();
        });
    });
    report.check();
    assert_eq!(report.attempts.len(), 1);
    let given = |until: Duration| {
        let before = report.samples.iter().rfind(|sample| sample.at <= until);
        before.and_then(|sample| sample.by_source.get(&1)).copied().unwrap_or(0)
    };
    let (before, after) = (given(Duration::from_secs(4)), given(report.took));
    assert!(before > 0 && report.took > Duration::from_secs(6), "{}", report.account("it was over before it moved"));
    assert_eq!(before, after, "{}", report.account("it gave more after it had moved away"));
}

/// N4: a path swallows every datagram above 1 280 bytes, without a word.
#[test]
fn an_mtu_black_hole_is_found_and_the_join_finishes() {
    let links = LinkSpec { mtu: Some(1_280), ..SLOW };
    let report = run(&Scenario { links, ..slowly(Vec::new()) }, 15);
    report.check();
    assert!(report.faults.too_big > 0, "nothing met the black hole");
    // A path that turns into one in mid-transfer, as after a change of routes.
    let narrowed = (1..=3).map(|number| (3_000, Happening::Link(number, links))).collect();
    let report = run(&slowly(narrowed), 16);
    report.check();
    assert!(report.faults.too_big > 0);
}

/// N5: datagrams are lost, overtaken, doubled and damaged, and some are sent again by somebody much later.
#[test]
fn reordered_doubled_damaged_and_replayed_datagrams_do_no_harm() {
    let links = LinkSpec {
        jitter_ms: 15,
        loss_ppm: 10_000,
        duplicate_ppm: 50_000,
        reorder_ppm: 100_000,
        reorder_ms: 60,
        corrupt_ppm: 10_000,
        ..SLOW
    };
    let report = run_with(&Scenario { links, ..slowly(Vec::new()) }, 17, |world| {
        let net = world.net.clone();
        let mut count = 0_u64;
        let recording = net.record(move |_| {
            count += 1;
            count.is_multiple_of(10)
        });
        world.beside(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                recording.take().into_iter().for_each(|packet| net.inject(packet.from, packet.to, packet.bytes));
            }
        });
    });
    report.check();
    let faults = report.faults;
    assert!(faults.lost > 0 && faults.doubled > 0 && faults.reordered > 0 && faults.corrupted > 0, "{faults:?}");
}

/// N6: the joiner's first flight is recorded and sent again, at once and later, from its own address and from another's: there is no 0-RTT
/// that could take effect twice.
#[test]
fn a_replayed_first_flight_has_no_effect() {
    let replayed = Arc::new(AtomicUsize::new(0));
    let (injected, mut disks) = (Arc::clone(&replayed), Vec::new());
    let report = run_with(&slowly(Vec::new()), 18, |world| {
        disks.extend(world.services.iter().map(|service| service.disk.clone()));
        let net = world.net.clone();
        let first = net.record(|packet| packet.from.ip() == JOINER && packet.at < Duration::from_millis(50));
        world.beside(async move {
            let mut flights = Vec::new();
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                flights.extend(first.take());
                for packet in &flights {
                    injected.fetch_add(1, Ordering::SeqCst);
                    net.inject(packet.from, packet.to, packet.bytes.clone());
                    net.inject(([203, 0, 113, 9], 4_000).into(), packet.to, packet.bytes.clone());
                }
            }
        });
    });
    report.check();
    assert!(replayed.load(Ordering::SeqCst) > 20, "nothing was recorded");
    for disk in disks {
        let audit = disk.folder("state").unwrap()["audit.log"].clone();
        let begun = String::from_utf8(audit).unwrap().matches("fetch-begun").count();
        assert_eq!(begun, 1, "one session, that of the joiner");
    }
    assert!(report.log.iter().all(|line| !line.text.starts_with("lost")), "{}", report.account("a connection broke"));
}

/// N8: IPv6 goes nowhere (or IPv4 does): the other family is used within two seconds.
#[test]
fn a_family_that_does_not_work_is_gone_around_within_two_seconds() {
    for broken_v6 in [true, false] {
        let report = run_with(&Scenario { dual_stack: true, ..Scenario::default() }, 19, |world| {
            for number in 1..=3 {
                let ip = source_ip(number);
                let (ours, theirs) = if broken_v6 { (v6(JOINER), v6(ip)) } else { (JOINER, ip) };
                world.net.partition(&[ours], &[theirs]);
            }
        });
        report.check();
        for number in 1..=3 {
            let ready = report
                .log
                .iter()
                .find(|line| line.text.starts_with("ready") && line.who.to_string().ends_with(&number.to_string()));
            assert!(ready.unwrap().at < Duration::from_secs(2), "{}", report.account("too late"));
        }
    }
}

/// N9: UDP is blocked: the refusal says so, and names the port that has to be open.
#[test]
fn a_blocked_path_is_told_as_such() {
    let links = LinkSpec { down: true, ..LinkSpec::default() };
    let report = run(&Scenario { links, expect: Expect::Refused, ..Scenario::default() }, 20);
    report.check();
    let Some(Err(error @ JoinError::NoSource { .. })) = &report.ended else { panic!("{}", report.account("")) };
    let text = error.to_string();
    assert!(text.contains("UDP") && text.contains("7061"), "{text}");
}
