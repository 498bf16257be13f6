//! `join --serve`: while it joins, a peer gives what it has proved to joiners of its own organisation, and to nobody else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use std::net::SocketAddr;

use processes::{Credentials, Join, Joining, Root, Service, assert_identical, share};
use relay::Relay;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const SAMPLE: u64 = 16 * MIB;
/// Room for everything before the first chunk.
const GREETINGS: u64 = 128 << 10;

/// Links to those services that hold after so much beside the greetings.
fn held(services: &[Service], bytes: u64) -> Vec<Relay> {
    services.iter().map(|service| Relay::to(service.address, GREETINGS + bytes)).collect()
}

fn addresses(links: &[Relay]) -> Vec<SocketAddr> {
    links.iter().map(|link| link.address).collect()
}

fn serving_at(join: &Joining) -> SocketAddr {
    join.wait_for(|told| (told["event"] == "serving").then(|| told["address"].as_str().unwrap().parse().unwrap()))
}

/// Defence: while it joins, a peer lets in its own organisation only. Removed, every member takes from it what no peer has vouched for yet.
#[test]
fn a_joiner_gives_what_it_has_proved_to_its_own_organisation_and_to_nobody_else() {
    let root = Root::new();
    let block = root.add_sample(SAMPLE, 4);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let lands = [(); 3].map(|()| TempDir::new().unwrap());

    // The first one is held in the middle of its transfer.
    let links = held(&services, 4 * MIB);
    let first = Join::new(&addresses(&links), lands[0].path()).args(["--serve", "127.0.0.1:0"]).start();
    let helper = serving_at(&first);
    first.wait_verified(2 * MIB);

    // The second one gets not one chunk from the services, so what it has comes from the first.
    let others = held(&services, 0);
    let from = [addresses(&others), vec![helper]].concat();
    let second = Join::new(&from, lands[1].path()).start();
    second.wait_for(|told| (share(told, helper) >= MIB).then_some(()));

    // A member of the channel, but of another organisation.
    let stranger = Join::new_as(&Credentials::admin(2), &[helper], lands[2].path()).run();
    stranger.assert_failed(5, &[&helper.to_string()]);

    links.iter().chain(&others).for_each(Relay::release);
    let ended = [first.wait(), second.wait()];
    for (ended, land) in ended.iter().zip(&lands) {
        assert_eq!(ended.result()["outcome"], "landed");
        assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
        assert!(ended.of("source_dropped").is_empty(), "{}", ended.stdout);
    }
    assert!(ended[1].share(helper) >= MIB);
    let organisations = ended[1].result()["organisations"].to_string();
    assert_eq!(organisations, r#"["Org1MSP","Org2MSP"]"#, "who joins vouches for nothing");
}

#[test]
fn nothing_is_served_unless_it_is_asked_for() {
    let root = Root::with_recorded();
    let services = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let land = TempDir::new().unwrap();
    let join = || Join::new(&services.each_ref().map(|service| service.address), land.path());
    let ended = join().run();
    assert_eq!(ended.result()["outcome"], "landed");
    assert!(ended.of("serving").is_empty());
    let taken = services[0].address.to_string();
    let refused = join().args(["--serve", &taken]).run();
    refused.assert_failed(2, &[&taken, "can't be bound"]);
}
