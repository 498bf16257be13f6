//! Sources that are members of the channel and lie: each is caught by what it sent, dropped by name and not asked again, and the join
//! ends right with the others, or not at all (faults.md L1, L4, L5).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/lying.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod lying;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use lying::{Lie, Source};
use processes::{Credentials, Ended, Join, Root, Service, assert_identical, binary, names};
use relay::Relay;
use rustix::process::Signal;
use snapferry::transport::fault::ErrorCode;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const SAMPLE: u64 = 16 * MIB;
/// Room for everything before the first chunk.
const GREETINGS: u64 = 128 << 10;

/// Two honest services of two organisations, and what they serve.
struct Honest {
    root: Root,
    block: u64,
    services: [Service; 2],
    land: TempDir,
}

impl Honest {
    fn new() -> Self {
        let root = Root::new();
        let block = root.add_sample(SAMPLE, 4);
        let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
        Self { root, block, services, land: TempDir::new().unwrap() }
    }

    /// A source over the same snapshot that has an identity of its own, Org1's second peer's.
    fn liar(&self, lie: Lie) -> Source {
        source(&self.root, "org1-peer1", "Org1MSP", lie)
    }

    fn assert_landed(&self, ended: &Ended) {
        assert_eq!(ended.result()["outcome"], "landed");
        assert_identical(&self.land.path().join(format!("mychannel/{}", self.block)), &self.root.snapshot(self.block));
    }
}

fn source(root: &Root, name: &str, msp_id: &str, lie: Lie) -> Source {
    Source::start(&Credentials::of(name, msp_id), &root.path().join("completed"), lie)
}

/// The liar and nobody else was dropped, once and by name, for a reason that has those words.
fn assert_dropped(ended: &Ended, liar: &Source, words: &str) {
    let dropped = ended.of("source_dropped");
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert_eq!(dropped[0]["source"], liar.address.to_string());
    assert_eq!(
        (&dropped[0]["msp_id"], &dropped[0]["identity_id"]),
        (&"Org1MSP".into(), &liar.identity_id.as_str().into())
    );
    assert!(dropped[0]["reason"].as_str().unwrap().contains(words), "{dropped:?}");
}

/// Nothing has its final name.
fn assert_nothing_published(land: &TempDir) {
    assert!(names(land.path()).iter().all(|name| name == ".snapferry"), "{:?}", names(land.path()));
}

#[test]
fn an_honest_source_of_the_tests_own_is_believed() {
    let honest = Honest::new();
    let source = honest.liar(Lie::Nothing);
    let ended = Join::new(&[source.address, honest.services[1].address], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert!(ended.share(source.address) > 0, "else the lies of this file are told to nobody");
    assert!(ended.of("source_dropped").is_empty());
}

/// Defence: a chunk's BLAKE3 value is compared before it is used, and its source banned; removed, the bit is written, or fetched
/// again and again.
/// L1: with the real binary.
#[test]
fn a_flipped_bit_is_fetched_elsewhere_and_the_liar_is_dropped_by_name() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::Chunks);
    // The honest ones can't finish before the liar was heard.
    let links = honest.services.each_ref().map(|service| Relay::to(service.address, GREETINGS));
    let join = Join::new(&[links[0].address, liar.address, links[1].address], honest.land.path()).start();
    join.wait_source("source_dropped", liar.address);
    links.iter().for_each(Relay::release);
    let ended = join.wait();
    honest.assert_landed(&ended);
    assert_dropped(&ended, &liar, "chunk");
    assert_eq!(ended.share(liar.address), 0, "nothing of it counts");
    let shares = ended.result()["shares"].as_array().unwrap();
    let of_liar = shares.iter().find(|share| share["source"] == liar.address.to_string()).unwrap();
    assert_eq!(of_liar["dropped"], true);
    assert!(of_liar["chunks_rejected"].as_u64().unwrap() >= 1);
    assert!(ended.of("source_lost").is_empty(), "it isn't dialled again");
}

/// Defence: a ban is written down at once; removed, a liar is asked again by every join.
/// L1: bans outlive a join, are listed, and are lifted by command.
#[test]
fn a_ban_outlives_the_join_is_listed_and_can_be_lifted() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::Chunks);
    let state = TempDir::new().unwrap();
    let join = |waits_for: &str| {
        let links = honest.services.each_ref().map(|service| Relay::to(service.address, GREETINGS));
        let land = TempDir::new().unwrap();
        let join =
            Join::new(&[links[0].address, liar.address, links[1].address], land.path()).state(state.path()).start();
        join.wait_source(waits_for, liar.address);
        links.iter().for_each(Relay::release);
        join.wait()
    };
    let command = |args: &[&str]| {
        let output = binary().args(["catalog"]).args(args).arg("--state-dir").arg(state.path()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(command(&["bans"]), (0, "Nobody is banned.\n".to_owned()));
    assert_dropped(&join("source_dropped"), &liar, "chunk");
    let (code, listed) = command(&["bans"]);
    let short: String = liar.identity_id.chars().take(16).collect();
    assert!(code == 0 && listed.contains(&short) && listed.contains("Org1MSP") && listed.contains("chunk"), "{listed}");
    assert!(listed.contains("23 h") || listed.contains("24 h"), "{listed}");
    let ended = join("source_failed");
    assert_eq!(ended.result()["outcome"], "landed");
    assert!(ended.of("source_dropped").is_empty(), "it wasn't even asked");
    assert!(ended.of("source_failed")[0]["reason"].as_str().unwrap().contains("catalog unban"));
    assert_eq!(command(&["unban", "0123"]).0, 2);
    assert_eq!(command(&["unban", "0123456789"]).0, 2);
    assert_eq!(command(&["unban", &short]).0, 0);
    assert_eq!(command(&["bans"]).1, "Nobody is banned.\n");
    assert_dropped(&join("source_dropped"), &liar, "chunk");
}

/// Defence: a chunk is taken only with the index and length that are due and the value that stands in the agreed chunk tree, and is
/// decompressed into a buffer of just that length. Removed, bytes of another place, another file or another length would be published.
/// L2, R2: with the real binary.
#[test]
fn chunks_of_another_place_file_or_length_and_bombs_are_refused_and_their_source_is_dropped() {
    let honest = Honest::new();
    for (lie, words) in [
        (Lie::SwappedChunks, "is not what the manifest names"),
        (Lie::OtherFile, "is not what the manifest names"),
        (Lie::ShortChunk, "bytes"),
        (Lie::LongChunk, "bytes"),
        (Lie::ShortFile, "end"),
        (Lie::LongFile, "bytes follow the last chunk"),
        (Lie::Bomb, "zstd"),
    ] {
        let liar = honest.liar(lie);
        let links = honest.services.each_ref().map(|service| Relay::to(service.address, GREETINGS));
        let land = TempDir::new().unwrap();
        let join = Join::new(&[links[0].address, liar.address, links[1].address], land.path()).start();
        join.wait_source("source_dropped", liar.address);
        links.iter().for_each(Relay::release);
        let ended = join.wait();
        assert_eq!(ended.result()["outcome"], "landed", "{lie:?}");
        assert_identical(&land.path().join(format!("mychannel/{}", honest.block)), &honest.root.snapshot(honest.block));
        assert_dropped(&ended, &liar, words);
    }
}

/// Defence: the list merges to the agreed root first; removed, whatever list a source gives proves its chunks.
/// L5: the tree, with the real binary.
#[test]
fn a_liar_in_the_chunk_tree_is_dropped_before_any_chunk() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::Tree);
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    // The first that is named is the first that is asked.
    let ended = Join::new(&[liar.address, first, second], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert_dropped(&ended, &liar, "chunk");
    assert_eq!(liar.chunk_requests(), 0);
}

/// Defence: a manifest has the hash that is attested; removed, its source chooses roots and sizes.
/// L5: the manifest, with the real binary.
#[test]
fn a_liar_in_the_manifest_is_dropped_and_its_offer_does_not_count() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::Manifest);
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    let ended = Join::new(&[liar.address, first, second], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert_dropped(&ended, &liar, "manifest");
    assert_eq!(liar.chunk_requests(), 0);

    let land = TempDir::new().unwrap();
    let ended = Join::new(&[liar.address, second], land.path()).run();
    ended.assert_failed(3, &["lacking: one more organisation", "Org2MSP (live) attests"]);
    assert_nothing_published(&land);
}

#[test]
fn a_liar_in_the_catalog_is_dropped_by_name() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::Catalog);
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    let ended = Join::new(&[liar.address, first, second], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert_dropped(&ended, &liar, "catalog doesn't ascend");
    assert_eq!(liar.chunk_requests(), 0);
}

#[test]
fn a_catalog_that_contradicts_the_manifest_it_names_is_a_lie_whoever_else_tells_it() {
    let honest = Honest::new();
    let liar = honest.liar(Lie::SnapshotHash);
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    let ended = Join::new(&[liar.address, first, second], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert_dropped(&ended, &liar, "it attests another snapshot hash than its catalog names");

    let other = source(&honest.root, "org2", "Org2MSP", Lie::SnapshotHash);
    let land = TempDir::new().unwrap();
    let ended = Join::new(&[liar.address, other.address], land.path()).run();
    ended.assert_failed(3, &["every source was dropped"]);
    assert_eq!(ended.of("source_dropped").len(), 2);
    assert_nothing_published(&land);
}

/// S7, C2: with the real binary.
#[test]
fn sources_that_are_all_busy_or_restart_before_the_first_chunk_are_asked_again() {
    let root = Root::new();
    let block = root.add_sample(SAMPLE, 8);
    for lie in [Lie::BusyAtFirst, Lie::RestartsAtFirst] {
        let sources = [source(&root, "org1-peer1", "Org1MSP", lie), source(&root, "org2", "Org2MSP", lie)];
        let land = TempDir::new().unwrap();
        let ended = Join::new(&sources.each_ref().map(|source| source.address), land.path()).run();
        assert_eq!(ended.result()["outcome"], "landed", "{lie:?}");
        assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
        assert!(ended.of("source_dropped").is_empty(), "{lie:?}");
    }
}

#[test]
fn a_chunk_tree_that_every_source_refuses_ends_the_join_with_their_answers() {
    let root = Root::new();
    root.add_sample(SAMPLE, 9);
    for (code, exit) in [(ErrorCode::NotFound, 4), (ErrorCode::Forbidden, 5)] {
        let lie = Lie::TreesRefused(code);
        let sources = [source(&root, "org1-peer1", "Org1MSP", lie), source(&root, "org2", "Org2MSP", lie)];
        let from = sources.each_ref().map(|source| source.address);
        let (land, each) = (TempDir::new().unwrap(), from.map(|address| address.to_string()));
        let ended = Join::new(&from, land.path()).run();
        ended.assert_failed(exit, &["the chunk tree of", &each[0], &each[1], &code.to_string()]);
        assert_nothing_published(&land);
    }
}

#[test]
fn chunks_that_every_source_refuses_end_the_join_with_their_answers() {
    let root = Root::new();
    root.add_sample(SAMPLE, 10);
    for (code, exit) in [(ErrorCode::NotFound, 4), (ErrorCode::Gone, 4), (ErrorCode::Forbidden, 5)] {
        let lie = Lie::ChunksRefused(code);
        let sources = [source(&root, "org1-peer1", "Org1MSP", lie), source(&root, "org2", "Org2MSP", lie)];
        let from = sources.each_ref().map(|source| source.address);
        let (land, each) = (TempDir::new().unwrap(), from.map(|address| address.to_string()));
        // The deadline is only for a join that would never end.
        let ended = Join::new(&from, land.path()).args(["--deadline", "60s"]).run();
        ended.assert_failed(exit, &["no source gives the chunks of", &each[0], &each[1], &code.to_string()]);
        let words = |told: &&serde_json::Value| {
            told["waiting_for"].as_str().is_some_and(|words| words.contains("sources that refuse the chunks"))
        };
        assert!(ended.of("progress").iter().any(words), "{}", ended.stdout);
        assert_nothing_published(&land);
    }
}

/// Defence: only proved files are published; removed, agreement among liars about bytes is enough.
#[test]
fn nothing_is_published_if_all_lie() {
    let root = Root::new();
    root.add_sample(SAMPLE, 5);
    for (lie, words) in [(Lie::Chunks, "every source was dropped"), (Lie::Tree, "every source was dropped")] {
        let liars = [source(&root, "org1-peer1", "Org1MSP", lie), source(&root, "org2", "Org2MSP", lie)];
        let land = TempDir::new().unwrap();
        let ended = Join::new(&liars.each_ref().map(|liar| liar.address), land.path()).run();
        ended.assert_failed(3, &[words]);
        assert_eq!(ended.of("source_dropped").len(), 2, "{lie:?}");
        assert_nothing_published(&land);
    }
}

#[test]
fn a_source_that_keeps_its_chunk_tree_to_itself_is_passed_over() {
    let honest = Honest::new();
    let silent = honest.liar(Lie::SilentTree);
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    let ended = Join::new(&[silent.address, first, second], honest.land.path()).run();
    honest.assert_landed(&ended);
    assert!(ended.of("source_dropped").is_empty(), "silence is no lie");
}

#[test]
fn a_source_that_keeps_its_chunk_tree_to_itself_does_not_hold_ctrl_c_up() {
    let root = Root::new();
    root.add_sample(SAMPLE, 7);
    let silent = [("org1-peer1", "Org1MSP"), ("org2", "Org2MSP")];
    let silent = silent.map(|(name, msp_id)| source(&root, name, msp_id, Lie::SilentTree));
    let (from, land) = (silent.each_ref().map(|source| source.address), TempDir::new().unwrap());
    Join::new(&from, land.path()).args(["--deadline", "1s"]).run().assert_failed(6, &["run the same command again"]);
    let join = Join::new(&from, land.path()).start();
    join.wait_for(|told| processes::is(told, "agreed").then_some(()));
    join.signal(Signal::INT);
    join.wait().assert_failed(130, &["run the same command again"]);
}

/// Defence: an attestation is verified, and compared with the catalog of who gives it; removed, a forged one vouches, or a source
/// that tells one thing and signs another stays in use.
#[test]
fn who_attests_what_no_honest_service_would_is_dropped_and_does_not_count() {
    let honest = Honest::new();
    let [first, second] = honest.services.each_ref().map(|service| service.address);
    for (lie, words) in [
        (Lie::AttestsFalsely, "it sent an unsound attestation"),
        (Lie::AttestsOther, "it attests another snapshot hash than its catalog names"),
    ] {
        let liar = honest.liar(lie);
        let land = TempDir::new().unwrap();
        let ended = Join::new(&[liar.address, first, second], land.path()).run();
        assert_eq!(ended.result()["outcome"], "landed", "{lie:?}");
        assert_dropped(&ended, &liar, words);
        // With it alone an organisation is missing: its word is worth nothing.
        let land = TempDir::new().unwrap();
        let ended = Join::new(&[liar.address, second], land.path()).run();
        ended.assert_failed(3, &["Org2MSP (live) attests", "lacking: one more organisation"]);
        assert_nothing_published(&land);
    }
}

/// Defence: an attestation counts by our own nonce. Removed, what was signed for somebody else, at another time, would do.
/// C8: what was signed for another run counts for nothing.
#[test]
fn who_attests_nothing_or_only_for_others_is_used_but_does_not_count() {
    let honest = Honest::new();
    for (lie, words) in [
        (Lie::AttestsNothing, "Org1MSP offers it without attesting"),
        (Lie::AttestsAgain, "it wasn't made for this join"),
    ] {
        let silent = honest.liar(lie);
        let land = TempDir::new().unwrap();
        let ended = Join::new(&[silent.address, honest.services[1].address], land.path()).run();
        ended.assert_failed(3, &["Org2MSP (live) attests", words]);
        assert!(ended.of("source_dropped").is_empty(), "that isn't a lie: it may be relayed");
        let (land, from) = (TempDir::new().unwrap(), honest.services.each_ref().map(|service| service.address));
        let ended = Join::new(&[silent.address, from[0], from[1]], land.path()).run();
        assert_eq!(ended.result()["outcome"], "landed", "{lie:?}");
    }
}
