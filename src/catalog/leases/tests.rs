use super::*;
use crate::snapshot::BlockNumber;

const MINUTE: Duration = Duration::from_secs(60);

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn id(block: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) }
}

fn holder(org: u8, identity: u8) -> Holder {
    Holder { msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(), identity_id: IdentityId([identity; 32]) }
}

fn ending(since: Instant, by: Option<Instant>) -> Ending {
    Ending { manifest_hash: ManifestHash([1; 32]), inode: 7, since, by, again: None }
}

#[test]
fn who_opens_again_has_the_same_lease_and_nobody_else_has_it() {
    let (mut leases, now) = (Leases::default(), start());
    let first = leases.open(&id(1), &holder(1, 1), now).unwrap();
    assert_eq!(first, GrantedLease { lease_id: 1, expires: LEASE_TIME, quota: 3 });
    let again = leases.open(&id(1), &holder(1, 1), now + MINUTE).unwrap();
    assert_eq!((again.lease_id, again.expires, again.quota), (1, LEASE_TIME, 3));
    assert_ne!(leases.open(&id(2), &holder(1, 1), now).unwrap().lease_id, 1, "another snapshot");
    assert_ne!(leases.open(&id(1), &holder(1, 2), now).unwrap().lease_id, 1, "another client");
    assert_eq!(leases.use_it(1, &id(1), &holder(1, 1), now), Ok(()));
    assert_eq!(leases.use_it(0, &id(1), &holder(1, 1), now), Err(LeaseRefusal::Required));
    for (lease, block, who) in [(1, 2, holder(1, 1)), (1, 1, holder(1, 2)), (1, 1, holder(2, 1)), (9, 1, holder(1, 1))]
    {
        assert_eq!(leases.use_it(lease, &id(block), &who, now), Err(LeaseRefusal::Expired));
    }
    for who in [holder(1, 2), holder(2, 1)] {
        assert_eq!(leases.renew(1, &who, now), Err(LeaseRefusal::Expired));
        assert_eq!(leases.close(1, &who, now), Err(LeaseRefusal::Expired));
    }
    assert_eq!(leases.close(1, &holder(1, 1), now), Ok(2));
    assert_eq!(leases.use_it(1, &id(1), &holder(1, 1), now), Err(LeaseRefusal::Expired));
}

#[test]
fn four_of_an_organisation_and_sixteen_in_all_then_it_is_busy() {
    let (mut leases, now) = (Leases::default(), start());
    for identity in 0..4 {
        assert_eq!(leases.open(&id(1), &holder(1, identity), now).unwrap().quota, 3 - usize::from(identity));
    }
    let full = leases.open(&id(1), &holder(1, 4), now + LEASE_TIME - 5 * RETRY_MIN);
    assert_eq!(full, Err(LeaseRefusal::Full { retry_after: 5 * RETRY_MIN }));
    assert_eq!(leases.open(&id(1), &holder(1, 4), now), Err(LeaseRefusal::Full { retry_after: RETRY_MAX }));
    for org in 2..=4 {
        for identity in 0..4 {
            leases.open(&id(1), &holder(org, identity), now).unwrap();
        }
    }
    assert!(matches!(leases.open(&id(1), &holder(5, 1), now), Err(LeaseRefusal::Full { .. })));
    leases.close(1, &holder(1, 0), now).unwrap();
    assert_eq!(leases.open(&id(1), &holder(5, 1), now).unwrap().quota, 0);
}

#[test]
fn a_lease_ends_by_itself_and_lasts_as_long_as_chunks_flow() {
    let (mut leases, start, who) = (Leases::default(), start(), holder(1, 1));
    leases.open(&id(1), &who, start).unwrap();
    let mut now = start;
    for _ in 0..100 {
        now += LEASE_TIME - MINUTE;
        leases.use_it(1, &id(1), &who, now).unwrap();
        assert_eq!(leases.renew(1, &who, now).unwrap().expires, LEASE_TIME);
    }
    // Nothing is fetched any more.
    for _ in 0..IDLE_RENEWALS_MAX {
        now += MINUTE;
        assert_eq!(leases.renew(1, &who, now).unwrap().expires, LEASE_TIME);
    }
    now += MINUTE;
    assert_eq!(leases.renew(1, &who, now).unwrap().expires, LEASE_TIME - MINUTE);
    assert_eq!(leases.open(&id(1), &who, now).unwrap().expires, LEASE_TIME - MINUTE, "opening is no way around");
    now += LEASE_TIME - MINUTE;
    assert_eq!(leases.renew(1, &who, now), Err(LeaseRefusal::Expired));
    assert_eq!(leases.open(&id(1), &who, now).unwrap().lease_id, 2);
}

#[test]
fn a_deletion_waits_for_those_who_hold_the_snapshot_and_nobody_joins_them() {
    let (mut leases, now) = (Leases::default(), start());
    leases.open(&id(1), &holder(1, 1), now).unwrap();
    leases.open(&id(1), &holder(2, 2), now + MINUTE).unwrap();
    assert_eq!(leases.end(&id(1), ending(now, None)), None);
    assert_eq!(leases.open(&id(1), &holder(3, 3), now), Err(LeaseRefusal::Ending));
    assert_eq!(leases.closed_to(&holder(3, 3)), [id(1)].into());
    assert!(leases.closed_to(&holder(1, 1)).is_empty());
    assert!(leases.ending_of(&holder(1, 1), now).is_empty(), "they may take their time");
    assert!(leases.due(now).is_empty());
    assert_eq!(leases.next_due(), Some(now + MINUTE + LEASE_TIME));
    assert_eq!(leases.open(&id(1), &holder(1, 1), now + MINUTE).unwrap().lease_id, 1, "who has one comes back");
    leases.close(1, &holder(1, 1), now + MINUTE).unwrap();
    assert!(leases.due(now + LEASE_TIME).is_empty());
    assert_eq!(leases.due(now + MINUTE + LEASE_TIME).len(), 1);
    leases.again_at(&id(1), now + 20 * MINUTE);
    assert!(leases.due(now + 15 * MINUTE).is_empty());
    assert_eq!(leases.next_due(), Some(now + 20 * MINUTE));
    assert_eq!(leases.due(now + 20 * MINUTE).len(), 1);
    leases.forget_ending(&id(1));
    assert!(leases.open(&id(1), &holder(3, 3), now + 20 * MINUTE).is_ok());
}

#[test]
fn a_forced_deletion_ends_leases_at_its_time_however_often_they_are_renewed() {
    let (mut leases, now, who) = (Leases::default(), start(), holder(1, 1));
    leases.open(&id(1), &who, now).unwrap();
    leases.end(&id(1), ending(now, Some(now + 2 * MINUTE)));
    assert_eq!(leases.ending_of(&who, now + MINUTE), [(1, MINUTE)]);
    leases.use_it(1, &id(1), &who, now + MINUTE).unwrap();
    assert_eq!(leases.renew(1, &who, now + MINUTE).unwrap().expires, MINUTE);
    assert_eq!(leases.next_due(), Some(now + 2 * MINUTE));
    assert_eq!(leases.due(now + 2 * MINUTE).len(), 1);
    assert_eq!(leases.use_it(1, &id(1), &who, now + 2 * MINUTE), Err(LeaseRefusal::Expired));
}

#[test]
fn the_operator_sees_who_holds_what_for_how_long() {
    let (mut leases, now) = (Leases::default(), start());
    leases.open(&id(1), &holder(1, 1), now).unwrap();
    leases.open(&id(2), &holder(2, 2), now).unwrap();
    let seen = leases.of(&id(1), now + MINUTE);
    assert_eq!(seen, [HeldLease { holder: holder(1, 1), held: MINUTE, left: LEASE_TIME - MINUTE }]);
    assert!(leases.of(&id(1), now + LEASE_TIME).is_empty());
}
