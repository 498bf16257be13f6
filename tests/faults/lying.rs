//! What sources do that are members of the channel and lie: each is found out by what it sends, and costs no more than that.
//!
//! Over real sockets and with the real binary the same lies are told in tests/lying_source.rs.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use netsim::disk::SimDisk;
use snapferry::{
    bootstrap::JoinError,
    catalog::{Equivocation, JoinReceipt},
    msp::MspId,
    transport::fault::ErrorCode,
};

use crate::sim::{
    channel::SimChannel,
    liar::{LyingService, Of as Lie},
    run::{Report, run, run_with},
    scenario::{Expect, LinkSpec, Scenario, SourceSpec},
};

/// The liar's number: it is named first, so asked first for what one source gives.
const LIAR: usize = 1;

/// So slow that whoever lies is heard before the honest ones are through.
const SLOW: LinkSpec = LinkSpec::of(40, 400_000, 64_000);

/// Three honest organisations, and a second peer of the first one that lies and is the fastest of all.
fn with_liar(lie: Lie) -> Scenario {
    let honest = [1, 2, 3].map(|org| SourceSpec::of(org).over(SLOW));
    let sources = [SourceSpec::of(1).lying(lie)].into_iter().chain(honest).collect();
    Scenario { name: format!("{lie:?}"), snapshot_bytes: 4 << 20, sources, ..Scenario::default() }
}

/// Runs it, holds it to the oracles, and gives the liar too.
fn lied_to(lie: Lie, seed: u64) -> (Report, Arc<LyingService>) {
    let mut liar = None;
    let report = run_with(&with_liar(lie), seed, |world| liar = world.source(LIAR).liar.clone());
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("it took two runs"));
    (report, liar.unwrap())
}

/// It was dropped for that, and nobody else was.
fn assert_dropped(report: &Report, words: &str) {
    let dropped = &report.attempts[0].dropped;
    let told = dropped.get(&LIAR).unwrap_or_else(|| panic!("{}", report.account("the liar wasn't dropped")));
    assert!(told.contains(words), "{:?}: {told}", report.scenario.name);
    assert_eq!(dropped.len(), 1, "{dropped:?}");
}

fn assert_not_dropped(report: &Report) {
    assert!(report.attempts[0].dropped.is_empty(), "{}", report.account("somebody was dropped"));
}

/// Proved bytes that came from the liar.
fn share(report: &Report) -> u64 {
    let last = report.samples.last().expect("progress is told");
    last.by_source.get(&LIAR).copied().unwrap_or(0)
}

/// L1: a bit is wrong in every chunk. None of it counts, and the others give it.
#[test]
fn a_flipped_bit_is_refused_and_its_source_is_dropped() {
    let (report, liar) = lied_to(Lie::Chunks, 101);
    assert_dropped(&report, "is not what the manifest names");
    assert!(report.attempts[0].chunks_rejected >= 1);
    assert_eq!(share(&report), 0);
    let asked = liar.chunk_requests();
    assert!((1..=8).contains(&asked), "no more than what was under way: {asked}");
}

/// L2: right bytes under a wrong index, of another file, too short, too long, with more behind them, or that unpack to more.
#[test]
fn chunks_of_another_place_or_length_are_refused_and_their_source_is_dropped() {
    let lies = [
        (Lie::SwappedChunks, "is not what the manifest names"),
        (Lie::OtherFile, "is not what the manifest names"),
        (Lie::ShortChunk, "bytes"),
        (Lie::LongChunk, "bytes"),
        (Lie::LongFile, "bytes follow the last chunk"),
        (Lie::Bomb, "zstd"),
    ];
    for (lie, words) in lies {
        assert_dropped(&lied_to(lie, 102).0, words);
    }
}

/// L3: what comes is a chunk of the same file that somebody else was asked for, or nobody.
#[test]
fn a_chunk_that_was_not_asked_of_it_ends_a_source() {
    let (report, _) = lied_to(Lie::UnaskedChunks, 103);
    assert_dropped(&report, "came instead of chunk");
    assert_eq!(share(&report), 0, "it may not even be right");
}

/// L4: chunks without bytes, lists without values, answers that end before their last chunk or their first: never progress.
#[test]
fn nothing_is_not_taken_for_an_answer() {
    for lie in [Lie::EmptyAnswers, Lie::EmptyChunks, Lie::EmptyTree, Lie::ShortFile] {
        let (report, liar) = lied_to(lie, 104);
        assert_dropped(&report, "");
        assert!(liar.chunk_requests() <= 8, "{lie:?}: {} requests", liar.chunk_requests());
        if lie != Lie::ShortFile {
            assert_eq!(share(&report), 0, "{lie:?}");
        }
    }
}

/// L5: manifest or chunk tree are altered, another's, smaller, larger, or of another group size. They don't have the hash that is vouched
/// for, or don't merge to the root, which is known before anything is asked by them.
#[test]
fn a_manifest_or_tree_that_was_not_vouched_for_ends_its_source_before_any_chunk() {
    let manifests = [Lie::Manifest, Lie::ShortManifest, Lie::LongManifest, Lie::OtherGroups];
    let trees = [Lie::Tree, Lie::ShortTree, Lie::LongTree, Lie::OtherTree];
    for lie in manifests.into_iter().chain(trees) {
        let (report, liar) = lied_to(lie, 105);
        assert_dropped(&report, if manifests.contains(&lie) { "manifest" } else { "chunk" });
        assert_eq!(liar.chunk_requests(), 0, "{lie:?}");
        assert_eq!(report.attempts[0].chunks_rejected, 0, "{lie:?}");
    }
}

/// L6: a block that it lacks is vouched for by nobody else; one that is gone is asked of others.
#[test]
fn a_catalog_with_what_its_source_lacks_misleads_nobody() {
    let (report, _) = lied_to(Lie::BlockItLacks, 106);
    assert_not_dropped(&report);
    let (report, liar) = lied_to(Lie::ChunksRefused(ErrorCode::Gone), 106);
    assert_not_dropped(&report);
    assert!(liar.chunk_requests() >= 1, "else nobody was misled");
    assert_eq!(share(&report), 0);
}

/// L6: versions of a catalog only rise: one that falls is passed over, and looked at once in a second however often a newer one is told of.
#[test]
fn an_older_catalog_than_before_is_passed_over() {
    let (report, liar) = lied_to(Lie::OlderCatalog, 107);
    assert_not_dropped(&report);
    let (asked, seconds) = (liar.catalog_requests() as u64, report.took.as_secs());
    assert!(asked >= 2, "else no older one was seen");
    assert!(asked <= seconds + 2, "{asked} times in {seconds} s");
    assert!(share(&report) > 0, "what its first catalog said still holds");
}

/// L7: it claims all chunks and has none. Nothing waits for it, no chunk is asked of it twice, and none any more once it has refused three.
#[test]
fn a_source_that_claims_all_and_has_nothing_costs_no_time() {
    let mut scenario =
        Scenario { snapshot_bytes: 24 << 20, ..with_liar(Lie::ChunksRefused(ErrorCode::ChunkUnavailable)) };
    let mut liar = None;
    let report = run_with(&scenario, 108, |world| liar = world.source(LIAR).liar.clone());
    report.check();
    assert_not_dropped(&report);
    let asked = liar.unwrap().chunks_asked();
    let different: BTreeSet<_> = asked.iter().collect();
    assert_eq!(different.len(), asked.len(), "asked again for what it refused: {asked:?}");
    assert!((3..=5).contains(&asked.len()), "it is demoted at the third, others may be under way: {asked:?}");
    // One that isn't there at all is what it's worth.
    scenario.sources.remove(0);
    let without = run(&scenario, 108);
    without.check();
    assert!(report.took < without.took + Duration::from_secs(2), "{:?}, else {:?}", report.took, without.took);
}

/// L8: names that lead out of the folder, or that two systems read differently, are not of the closed set: a manifest with one is refused
/// even if all organisations vouch for it. (Folders are held to the same set: tests/damaged_folders.rs, tests/damaged_landing.rs.)
#[test]
fn a_manifest_with_a_foreign_file_name_is_refused_whoever_vouches_for_it() {
    let names = [
        "../ds.data",
        "/xids.data",
        "TXIDS.data",
        "txids.dat\0",
        "txids.dat.",
        "txi\u{17f}.data",
        "NUL\\s.data",
        "txid/.data",
    ];
    for name in names {
        let sources = [1, 2, 3].map(|org| SourceSpec::of(org).lying(Lie::FileNamed(name))).into();
        let scenario = Scenario { sources, expect: Expect::Refused, ..Scenario::default() };
        let report = run(&scenario, 109);
        report.check();
        assert_eq!(report.attempts[0].dropped.len(), 3, "{name:?}");
        assert!(report.landed.is_none());
        let Some(Err(error @ JoinError::EverySourceDropped { .. })) = &report.ended else {
            panic!("{name:?}: {}", report.account("not refused for that"))
        };
        // Read back, without the sign that no log should show.
        let named = format!("exactly the files of its metadata: {}", name.replace('\0', "?"));
        assert!(error.to_string().contains(&named), "{name:?}: {error}");
    }
}

/// L9: good for a while, then wrong or slow: what was right stays, and the others give the rest.
#[test]
fn a_source_that_turns_bad_near_the_end_is_replaced() {
    let (report, _) = lied_to(Lie::GoodThenBad, 110);
    assert_dropped(&report, "is not what the manifest names");
    assert!(share(&report) > 0, "what it gave rightly counts");

    // As fast as the others; its third chunk is one of the last. The rest of it would take two months.
    let mut scenario = Scenario { snapshot_bytes: 9 << 20, ..with_liar(Lie::GoodThenTrickles) };
    scenario.sources[0].link = Some(SLOW);
    let report = run(&scenario, 111);
    report.check();
    assert_not_dropped(&report);
    assert!(share(&report) > 0);
    scenario.sources.remove(0);
    let without = run(&scenario, 111);
    without.check();
    assert!(report.took < without.took + Duration::from_secs(1), "{}", report.account("it was waited for"));
}

/// L10: fewer organisations than the rule asks for tell the same lie. There is no agreement, and nothing is fetched.
#[test]
fn organisations_below_the_rule_get_no_lie_through() {
    let forked = |org| SourceSpec { forked: true, ..SourceSpec::of(org) };
    let sources = vec![forked(1), forked(2), SourceSpec::of(3)];
    let report = run(&Scenario { sources, min_orgs: 3, expect: Expect::Refused, ..Scenario::default() }, 112);
    report.check();
    assert!(matches!(report.ended, Some(Err(JoinError::Agreement { .. }))), "{}", report.account(""));
    assert_eq!(report.attempts[0].received_bytes, 0);
    // Nor do they stop a join that has enough others.
    let sources = vec![forked(1), SourceSpec::of(2), SourceSpec::of(3), SourceSpec::of(4)];
    let report = run(&Scenario { organisations: 5, min_orgs: 3, sources, ..Scenario::default() }, 112);
    report.check();
    assert_not_dropped(&report);
}

/// L10: as many organisations as the rule asks for tell the same lie: the limit that is documented. The receipt names them.
#[test]
fn organisations_that_satisfy_the_rule_are_believed_and_named_in_the_receipt() {
    let forked = |org| SourceSpec { forked: true, ..SourceSpec::of(org) };
    let sources = [1, 2, 3].map(forked).into();
    let scenario = Scenario { sources, min_orgs: 3, ..Scenario::default() };
    let (report, disk) = with_disk(&scenario, 113);
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("")) };
    let channel = SimChannel::shared(scenario.organisations);
    assert_eq!(report.landed.as_ref(), Some(&channel.golden(scenario.snapshot_bytes, 2).files));
    assert_ne!(report.landed.as_ref(), Some(&report.golden));
    let receipt = only_file(&disk, "state/receipts");
    let receipt = JoinReceipt::verify(&receipt, Some(channel.config())).unwrap();
    let named: Vec<&str> = receipt.agreed().vouching_orgs().iter().map(MspId::as_str).collect();
    assert_eq!(named, ["Org1MSP", "Org2MSP", "Org3MSP"]);
    assert!(joined.organisations.iter().eq(named), "{:?}", joined.organisations);
}

/// L11: a service signs two snapshots of one block. Its organisation doesn't count, and the proof is kept; enough others vouch.
#[test]
fn who_signs_two_snapshots_of_a_block_is_left_out_and_the_proof_is_kept() {
    let honest = [2, 3, 4].map(SourceSpec::of);
    let sources = [SourceSpec::of(1).lying(Lie::AttestsTwo)].into_iter().chain(honest).collect();
    let scenario = Scenario { organisations: 5, sources, ..Scenario::default() };
    let (report, disk) = with_disk(&scenario, 114);
    report.check();
    assert_contradicts_itself(&report, &disk);
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("")) };
    assert!(joined.organisations.iter().eq(["Org2MSP", "Org3MSP", "Org4MSP"]), "{:?}", joined.organisations);
}

/// L11: two peers of one organisation vouch for different snapshots of one block. Where it takes the organisation's word nothing is agreed
/// on, and the proof is kept; where it doesn't, the others are enough.
#[test]
fn an_organisation_whose_peers_contradict_each_other_does_not_count() {
    let sources = |last| {
        let forked = SourceSpec { forked: true, ..SourceSpec::of(1) };
        [SourceSpec::of(1), forked].into_iter().chain((2..=last).map(SourceSpec::of)).collect()
    };
    let scenario = Scenario { sources: sources(3), min_orgs: 3, expect: Expect::Refused, ..Scenario::default() };
    let (report, disk) = with_disk(&scenario, 115);
    report.check();
    assert_contradicts_itself(&report, &disk);
    assert!(matches!(report.ended, Some(Err(JoinError::Agreement { .. }))), "{}", report.account(""));

    let report = run(&Scenario { organisations: 5, min_orgs: 3, sources: sources(4), ..Scenario::default() }, 115);
    report.check();
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("")) };
    assert!(joined.organisations.iter().eq(["Org2MSP", "Org3MSP", "Org4MSP"]), "{:?}", joined.organisations);
}

/// The first organisation does: it was told, and what is kept proves it to anybody.
fn assert_contradicts_itself(report: &Report, disk: &SimDisk) {
    assert!(report.log.iter().any(|line| line.text.contains("Org1MSP contradicts itself")), "{}", report.account(""));
    let proof = Equivocation::decode(&only_file(disk, "state/evidence")).unwrap();
    proof.verify(Some(SimChannel::shared(report.scenario.organisations).config())).unwrap();
    assert_eq!(proof.msp_id().as_str(), "Org1MSP");
}

/// L12: a source finds rot in its own files and says so: quality only, the others give the chunk.
#[test]
fn a_source_that_reports_its_rot_is_no_liar() {
    let (report, liar) = lied_to(Lie::ChunksRefused(ErrorCode::ChunkCorruptAtSource), 116);
    assert_not_dropped(&report);
    assert!(liar.chunk_requests() >= 1);
}

/// Runs it; what lies on the joiner's disk afterwards.
fn with_disk(scenario: &Scenario, seed: u64) -> (Report, SimDisk) {
    let disk = Mutex::new(None);
    let report = run_with(scenario, seed, |world| *disk.lock().unwrap() = Some(world.joiner.disk.clone()));
    (report, disk.into_inner().unwrap().unwrap())
}

/// The only file of a folder.
fn only_file(disk: &SimDisk, folder: &str) -> Vec<u8> {
    let files = disk.folder(Path::new(folder)).unwrap_or_else(|| panic!("no {folder}"));
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    files.into_values().next().unwrap()
}

/// L6: a catalog that has the snapshot, hasn't, and has it again: what was asked for before is given up each time, so it takes no more
/// memory than any other source.
#[test]
fn a_catalog_that_changes_to_and_fro_takes_no_memory() {
    let slow = LinkSpec::of(40, 40_000, 64_000);
    let honest = [1, 2, 3].map(|org| SourceSpec::of(org).over(slow));
    let sources = [SourceSpec::of(1).lying(Lie::FlipsCatalog)].into_iter().chain(honest).collect();
    let mut liar = None;
    let report = run_with(&Scenario { snapshot_bytes: 16 << 20, sources, ..Scenario::default() }, 1, |world| {
        liar = world.source(LIAR).liar.clone();
    });
    report.check();
    assert!(liar.unwrap().chunk_requests() > 32, "it was asked again and again");
}
