//! A grant holds for whom, by whom and while it says; its bytes are fixed.

use super::*;
use crate::msp::{
    IdentityId, MspError, MspId, SerializedIdentity,
    recorded::{admin, network as config, peer},
};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    peer(3).identity.not_before() + DAY
}

fn body(by: &LocalIdentity) -> GrantBody {
    GrantBody::new(config().channel(), peer(3).identity.id(), now(), DAY, &by.identity)
}

/// Of org3's peer, by whoever signs, for all that there is.
fn check(grant: &JoinGrant, now: SystemTime) -> Result<(), GrantError> {
    grant.check(&config(), &peer(3).identity, None, None, now)
}

/// The bytes as trust.md 2.3 defines them, written out by hand.
#[test]
fn the_bytes_are_the_documented_ones() {
    let body = GrantBody {
        channel: "ch1".parse().unwrap(),
        peer: IdentityId([0x11; 32]),
        operations: GrantedOperation::ALL.into(),
        min_block: BlockNumber(100),
        max_block: BlockNumber(300),
        issued_at: 1_800_000_000,
        not_after: 1_800_003_600,
        nonce: [0x22; 16],
        identity: SerializedIdentity { msp_id: MspId::new("Org1MSP").unwrap(), id_bytes: "PEM".into() },
    };
    let parts = [
        "0801",
        "1203636831",
        &format!("1a20{}", "11".repeat(32)),
        "22020102",
        "2864",
        "30ac02",
        "3880a4a7da06",
        "4090c0a7da06",
        &format!("4a10{}", "22".repeat(16)),
        "520e",
        "0a074f7267314d5350",
        "120350454d",
    ];
    assert_eq!(hex::encode(body.encode()), parts.concat());
    assert_eq!(GrantBody::decode(&body.encode()).unwrap(), body);
}

#[test]
fn only_canonical_bytes_with_the_right_signature_are_read() {
    let grant = JoinGrant::sign(&body(&admin(3)), &admin(3)).unwrap();
    let bytes = grant.encode();
    assert_eq!(JoinGrant::decode(&bytes).unwrap().body(), grant.body());
    for at in (0..bytes.len()).step_by(7).chain(bytes.len() - 80..bytes.len()) {
        assert!(JoinGrant::decode(&bytes[..at]).is_err(), "cut at {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x40;
        assert!(JoinGrant::decode(&flipped).is_err(), "flipped at {at}");
    }
    let longer = [&bytes[..], &[0x18, 1]].concat();
    assert!(matches!(JoinGrant::decode(&longer), Err(GrantError::Wire(WireError::Field(3)))));
    let repeated = [&bytes[..], &bytes[..]].concat();
    assert!(matches!(JoinGrant::decode(&repeated), Err(GrantError::NotCanonical)));
    assert!(matches!(JoinGrant::decode(&vec![0; GRANT_BYTES_MAX + 1]), Err(GrantError::TooLong(_))));
    // Whoever signs must be the one named.
    let error = JoinGrant::sign(&body(&admin(3)), &peer(3)).unwrap_err();
    assert!(matches!(error, GrantError::Issuer(MspError::Signature { .. })), "{error}");
}

#[test]
fn bodies_out_of_bounds_are_refused() {
    let admin = admin(3);
    let sign = |body: GrantBody| JoinGrant::sign(&body, &admin).map(drop);
    let week = GrantBody { not_after: body(&admin).issued_at + GRANT_VALID_MAX.as_secs(), ..body(&admin) };
    sign(week.clone()).unwrap();
    let longer = GrantBody { not_after: week.not_after + 1, ..week };
    assert!(matches!(sign(longer), Err(GrantError::TooLongValid(604_801))));
    assert!(matches!(sign(body(&admin).with_operations([])), Err(GrantError::Field("ops"))));

    let bytes = body(&admin).encode();
    let edited = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        GrantBody::decode(&[&bytes[..at], to, &bytes[at + from.len()..]].concat()).unwrap_err()
    };
    let (ops, other_version) = ([0x22, 2, 1, 2], edited(&[8, 1], &[8, 2]));
    assert!(matches!(other_version, GrantError::Version(2)), "{other_version}");
    // An operation that isn't known, one that is repeated, and some out of order.
    for (to, canonical) in [([0x22, 2, 1, 3], false), ([0x22, 2, 1, 1], true), ([0x22, 2, 2, 1], true)] {
        let error = edited(&ops, &to);
        let found = matches!(error, GrantError::NotCanonical);
        assert!(found == canonical && (found || matches!(error, GrantError::Field("ops"))), "{error}");
    }
    // A nonce of another length, and a hash of another length.
    let nonce = bytes.windows(2).position(|window| window == [0x4a, 16]).unwrap();
    let short = [&bytes[..nonce], &[0x4a, 15], &bytes[nonce + 2..nonce + 17], &bytes[nonce + 18..]].concat();
    assert!(matches!(GrantBody::decode(&short), Err(GrantError::Field("nonce"))));
    let peer = bytes.windows(2).position(|window| window == [0x1a, 32]).unwrap();
    let short = [&bytes[..peer], &[0x1a, 31], &bytes[peer + 2..peer + 33], &bytes[peer + 34..]].concat();
    assert!(matches!(GrantBody::decode(&short), Err(GrantError::Field("peer_identity_id"))));
}

#[test]
fn a_grant_holds_for_its_peer_by_an_admin_of_its_own_organisation() {
    let grant = JoinGrant::sign(&body(&admin(3)), &admin(3)).unwrap();
    check(&grant, now()).unwrap();
    let other = grant.check(&config(), &peer(2).identity, None, None, now());
    assert!(matches!(other, Err(GrantError::OtherPeer { .. })), "{other:?}");
    // Another organisation's admin, for our peer; and a peer that plays the admin.
    let foreign = check(&JoinGrant::sign(&body(&admin(2)), &admin(2)).unwrap(), now());
    assert!(matches!(foreign, Err(GrantError::OtherOrganisation { .. })), "{foreign:?}");
    let own = check(&JoinGrant::sign(&body(&peer(3)), &peer(3)).unwrap(), now());
    assert!(matches!(own, Err(GrantError::NotAdmin(_))), "{own:?}");
    let elsewhere = GrantBody { channel: "other".parse().unwrap(), ..body(&admin(3)) };
    let elsewhere = check(&JoinGrant::sign(&elsewhere, &admin(3)).unwrap(), now());
    assert!(matches!(elsewhere, Err(GrantError::OtherChannel { .. })), "{elsewhere:?}");
}

#[test]
fn a_grant_holds_while_it_says_and_its_issuer_does() {
    let grant = JoinGrant::sign(&body(&admin(3)), &admin(3)).unwrap();
    let second = Duration::from_secs(1);
    check(&grant, now() - CLOCK_SKEW).unwrap();
    assert!(matches!(check(&grant, now() - CLOCK_SKEW - second), Err(GrantError::NotYet { ahead_s: 301 })));
    check(&grant, now() + DAY).unwrap();
    assert!(matches!(check(&grant, now() + DAY + second), Err(GrantError::Ended { ago_s: 1 })));
    // Written in time, but the admin's certificate ends before it.
    let end = admin(3).identity.not_after();
    let late = GrantBody::new(config().channel(), peer(3).identity.id(), end, DAY, &admin(3).identity);
    let late = JoinGrant::sign(&late, &admin(3)).unwrap();
    check(&late, end).unwrap();
    assert!(matches!(check(&late, end + second), Err(GrantError::Issuer(MspError::Invalid { .. }))));
}

#[test]
fn a_grant_reaches_as_far_as_it_says() {
    let bounded = body(&admin(3))
        .with_blocks(Some(BlockNumber(10)), Some(BlockNumber(20)))
        .with_operations([GrantedOperation::Sign]);
    let grant = JoinGrant::sign(&bounded, &admin(3)).unwrap();
    let check = |operation, block: Option<u64>| {
        grant.check(&config(), &peer(3).identity, operation, block.map(BlockNumber), now())
    };
    for block in [10, 20] {
        check(Some(GrantedOperation::Sign), Some(block)).unwrap();
    }
    for block in [9, 21] {
        assert!(matches!(check(Some(GrantedOperation::Sign), Some(block)), Err(GrantError::Block { .. })));
    }
    assert!(matches!(check(Some(GrantedOperation::List), None), Err(GrantError::Operation(GrantedOperation::List))));
}
