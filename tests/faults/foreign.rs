//! What was said in another run, of another channel or of another block has no effect here: nonces, names and keys keep it out.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use snapferry::{
    bootstrap::JoinError,
    catalog::{AttestBody, Attestation},
};

use crate::sim::{
    channel::{SimChannel, SimPeer},
    liar::Of as Lie,
    run::{Report, run, run_with},
    scenario::{Expect, Scenario, SourceSpec},
};

/// The source that repeats what others said; of Org1, as its number.
const RELAY: usize = 1;
/// Whose words it repeats: no source of theirs is there.
const ABSENT: [usize; 2] = [3, 4];

/// What a signed word is about is changed so before it is signed.
type Change = fn(&mut AttestBody);

/// Of this channel, but made for somebody else.
const OTHER_RUN: Change = |body| body.request_nonce[0] ^= 1;
const OTHER_CHANNEL: Change = |body| body.id.channel = "otherchannel".parse().unwrap();
const EARLIER_BLOCK: Change = |body| body.id.block_number.0 -= 1;
const LATER_BLOCK: Change = |body| body.id.block_number.0 += 1;

fn signed(by: &SimPeer, body: &AttestBody, change: Change) -> Attestation {
    let mut body = AttestBody { identity: by.identity.identity.serialized().clone(), ..body.clone() };
    change(&mut body);
    Attestation::sign(&body, &by.identity).unwrap()
}

/// The relay, which says `words` (made of what an honest service of Org1 would say), and an honest source of Org2; of four organisations so
/// many must vouch.
fn joined(
    min_orgs: u32,
    expect: Expect,
    words: impl Fn(&SimChannel, AttestBody) -> Vec<Attestation> + Send + Sync + 'static,
) -> Report {
    let sources = vec![SourceSpec::of(RELAY).lying(Lie::AttestsAsTold), SourceSpec::of(2)];
    let scenario = Scenario { organisations: 5, min_orgs, sources, expect, ..Scenario::default() };
    let report = run_with(&scenario, 61, |world| {
        let channel = Arc::clone(&world.channel);
        let relay = world.source(RELAY).liar.clone().unwrap();
        relay.attests(Box::new(move |body| words(&channel, body)));
    });
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    report
}

/// Those who vouched, by number.
fn vouched(report: &Report) -> BTreeSet<usize> {
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("refused")) };
    let number = |org: &String| org.trim_start_matches("Org").trim_end_matches("MSP").parse().unwrap();
    joined.organisations.iter().map(number).collect()
}

/// Nothing was agreed on, nothing fetched; the reason in words.
fn refused(report: &Report) -> String {
    let Some(Err(error @ JoinError::Agreement { .. })) = &report.ended else {
        panic!("{}", report.account("not refused for want of an agreement"))
    };
    assert_eq!(report.attempts[0].received_bytes, 0);
    assert!(report.landed.is_none());
    error.to_string()
}

/// C8: a source relays what peers of two other organisations signed: for another run, of another channel, of another block. None of it
/// counts, and the relay isn't blamed for it. Made for this join, as the same peers would make it, it does.
#[test]
fn relayed_words_count_only_if_they_were_made_for_this_join() {
    let relays = |change: Change| {
        move |channel: &SimChannel, body: AttestBody| {
            let of = |org, change| signed(&channel.peer(org, 0), &body, change);
            [of(RELAY, |_| ())].into_iter().chain(ABSENT.map(|org| of(org, change))).collect()
        }
    };
    assert_eq!(vouched(&joined(4, Expect::Lands, relays(|_| ()))), [1, 2, 3, 4].into());
    for (what, change) in
        [("run", OTHER_RUN), ("channel", OTHER_CHANNEL), ("earlier block", EARLIER_BLOCK), ("later block", LATER_BLOCK)]
    {
        let report = joined(2, Expect::Lands, relays(change));
        assert_eq!(vouched(&report), [1, 2].into(), "{what}");
        assert!(report.attempts[0].dropped.is_empty(), "{what}: it isn't the relay's lie");
        let report = joined(3, Expect::Refused, relays(change));
        let told = refused(&report);
        // Of another channel or block it isn't about what was asked, and not even told of.
        assert_eq!(told.contains("it wasn't made for this join"), what == "run", "{what}: {told}");
        assert!(report.attempts[0].dropped.is_empty(), "{what}: it isn't the relay's lie");
    }
}

/// C8: what organisations signed for one join, to the byte, is replayed in the next one of the same peer.
#[test]
fn what_was_signed_for_an_earlier_join_is_worth_nothing_in_the_next() {
    let kept: Arc<Mutex<Vec<Attestation>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let first = joined(4, Expect::Lands, move |channel, body| {
        let said: Vec<Attestation> =
            [RELAY].iter().chain(&ABSENT).map(|org| signed(&channel.peer(*org, 0), &body, |_| ())).collect();
        *keeps.lock().unwrap() = said.clone();
        said
    });
    assert_eq!(vouched(&first), [1, 2, 3, 4].into());
    let replays = || {
        let kept = kept.lock().unwrap().clone();
        move |_: &SimChannel, _| kept.clone()
    };
    // Its own old word is no answer to what it was asked now, either.
    let told = refused(&joined(2, Expect::Refused, replays()));
    assert!(told.contains("it wasn't made for this join"), "{told}");
    assert_eq!(vouched(&joined(1, Expect::Lands, replays())), [2].into());
}

/// C8: what a source signs for this join is of another channel or block than it was asked about: it is dropped, and the others land the
/// join; if they aren't enough, it is refused.
#[test]
fn who_answers_this_join_with_another_channel_or_block_is_dropped() {
    for change in [OTHER_CHANNEL, EARLIER_BLOCK, LATER_BLOCK] {
        let own = move |channel: &SimChannel, body: AttestBody| vec![signed(&channel.peer(RELAY, 0), &body, change)];
        for (min_orgs, expect) in [(1, Expect::Lands), (2, Expect::Refused)] {
            let report = joined(min_orgs, expect, own);
            assert_dropped(&report, "it signed for us an attestation of");
            if expect == Expect::Refused {
                refused(&report);
            } else {
                assert_eq!(vouched(&report), [2].into());
            }
        }
    }
}

/// C8: a catalog that lists a snapshot of another channel.
#[test]
fn a_catalog_with_another_channel_ends_its_source() {
    let with_honest = |min_orgs, expect| {
        let sources = vec![SourceSpec::of(RELAY).lying(Lie::OtherChannel), SourceSpec::of(2), SourceSpec::of(3)];
        let report = run(&Scenario { organisations: 5, min_orgs, sources, expect, ..Scenario::default() }, 62);
        report.check();
        assert_dropped(&report, "which is of another channel");
        report
    };
    assert_eq!(vouched(&with_honest(2, Expect::Lands)), [2, 3].into());
    refused(&with_honest(3, Expect::Refused));
}

fn assert_dropped(report: &Report, words: &str) {
    let dropped = &report.attempts[0].dropped;
    let told = dropped.get(&RELAY).unwrap_or_else(|| panic!("{}", report.account("it wasn't dropped")));
    assert!(told.contains(words) && dropped.len() == 1, "{dropped:?}");
}
