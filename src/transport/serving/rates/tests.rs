//! Waits at the rates, in paused time.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::{chunking::plan::PlanConfig, msp::IdentityId};

/// Of the chunks that all together are sent while the host is busy.
const CHUNK_TIME: Duration = Duration::from_nanos(CHUNK_BYTES * 1_000_000_000 / YIELDING_RATE);

fn member(org: u8, number: u8) -> Holder {
    Holder { msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(), identity_id: IdentityId([number; 32]) }
}

/// So many streams of that member, each of which takes a chunk again and again; aborted when dropped.
async fn flood(rates: &Arc<Rates>, member: &Holder, streams: usize) -> JoinSet<()> {
    let mut flooding = JoinSet::new();
    for _ in 0..streams {
        let (rates, member) = (Arc::clone(rates), member.clone());
        flooding.spawn(async move {
            loop {
                rates.take(&member, CHUNK_BYTES).await.spend(CHUNK_BYTES);
            }
        });
    }
    // Paused time passes once all of them wait.
    sleep(Duration::from_millis(1)).await;
    flooding
}

/// The longest that a chunk is waited for, of so many in a row.
async fn longest(rates: &Rates, member: &Holder, chunks: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..chunks {
        let begun = Instant::now();
        rates.take(member, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        longest = longest.max(begun.elapsed());
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_takes_nothing_and_other_organisations_do_not_wait() {
    let (one, other) = (member(1, 1), member(2, 1));
    let rates = Rates::new(Some(1 << 20), watch::channel(false).1);
    let begun = Instant::now();
    for _ in 0..RUN_CHUNKS_MAX {
        rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
    }
    assert!(tokio::time::timeout(Duration::from_millis(1), rates.take(&one, CHUNK_BYTES)).await.is_err());
    rates.take(&other, CHUNK_BYTES).await.spend(CHUNK_BYTES);
    assert!(begun.elapsed() < Duration::from_millis(10));
    // Half of it is enough once it is compressed.
    rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES / 2);
    rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(1_499) && waited <= Duration::from_millis(1_510), "{waited:?}");
}

/// Defence: one bucket for everybody while the host is busy. Removed, serving takes what the peer beside us needs.
#[tokio::test(start_paused = true)]
async fn while_the_host_is_busy_all_share_a_small_rate_and_nobody_waits_longer_than_that() {
    let (one, other) = (member(1, 1), member(2, 1));
    let (told, busy) = watch::channel(false);
    let rates = Rates::new(None, busy);
    let begun = Instant::now();
    for _ in 0..100 {
        rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "the host is free");
    told.send_replace(true);
    for _ in 0..8 {
        rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        rates.take(&other, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        drop(rates.take(&other, CHUNK_BYTES).await);
    }
    let waited = begun.elapsed();
    // One was in the bucket, and what wasn't sent is waited for once, by whoever comes next.
    assert!(waited >= CHUNK_TIME * 15 && waited <= CHUNK_TIME * 16 + Duration::from_millis(50), "{waited:?}");
    let begun = Instant::now();
    tokio::join!(async { rates.take(&one, 64 * CHUNK_BYTES).await.spend(64 * CHUNK_BYTES) }, async {
        told.send_replace(false)
    },);
    assert_eq!(begun.elapsed(), Duration::ZERO, "free again: what waits goes at once");
}

/// Defence: bytes are taken in turn. Removed, one with many streams has the next minute, and others' joins take the source for stalled.
/// R5: a member with 64 streams. While the host is busy another's chunk waits for one that goes and one of the flood; where only the
/// organisation's rate is bounded the same goes for its other members.
#[tokio::test(start_paused = true)]
async fn whoever_asks_on_many_streams_has_one_chunk_in_turn_with_others() {
    // A timer's grain.
    let slack = Duration::from_millis(5);
    for other in [member(1, 2), member(2, 1)] {
        let (_told, busy) = watch::channel(true);
        let rates = Arc::new(Rates::new(None, busy));
        let _flood = flood(&rates, &member(1, 1), 64).await;
        let waited = longest(&rates, &other, 16).await;
        assert!(waited <= 2 * CHUNK_TIME + slack, "{waited:?} for a chunk of {other:?}");
    }
    let second = Duration::from_secs(1);
    let rates = Arc::new(Rates::new(Some(CHUNK_BYTES), watch::channel(false).1));
    let _flood = flood(&rates, &member(1, 1), 64).await;
    let waited = longest(&rates, &member(1, 2), 16).await;
    assert!(waited <= 2 * second + slack, "{waited:?}");
}

/// As many organisations as YIELDING_RATE says are served, each with a member that floods, before any takes the source for stalled.
#[tokio::test(start_paused = true)]
async fn nineteen_organisations_at_a_busy_host_have_each_a_chunk_before_it_looks_stalled() {
    let (_told, busy) = watch::channel(true);
    let rates = Arc::new(Rates::new(None, busy));
    let mut floods = Vec::new();
    for org in 1..19 {
        floods.push(flood(&rates, &member(org, 1), 8).await);
    }
    let waited = longest(&rates, &member(19, 1), 4).await;
    assert!(waited < PlanConfig::default().stall_after, "{waited:?}");
}

/// Defence: what was booked and not waited for is given back. Removed, a host that is busy now and then leaves joiners less each time.
#[tokio::test(start_paused = true)]
async fn who_waits_when_the_host_is_free_again_leaves_no_debt_for_the_next_time() {
    let (told, busy) = watch::channel(true);
    let rates = Rates::new(None, busy);
    let one = member(1, 1);
    rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
    tokio::join!(async { rates.take(&one, 64 * CHUNK_BYTES).await.spend(64 * CHUNK_BYTES) }, async {
        told.send_replace(false)
    },);
    tokio::time::sleep(CHUNK_TIME).await;
    told.send_replace(true);
    assert_eq!(longest(&rates, &one, 1).await, Duration::ZERO, "the bucket is full again");
    let waited = longest(&rates, &one, 1).await;
    assert!(waited >= CHUNK_TIME, "and holds no more than one: {waited:?}");
}
