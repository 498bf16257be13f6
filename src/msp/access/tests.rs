//! Who may do what where the channel's admins have said nothing about it.

use std::time::Duration;

use super::*;
use crate::msp::{
    GrantBody, LocalIdentity,
    recorded::{admin, network as config, peer},
};

fn now() -> SystemTime {
    peer(3).identity.not_before() + Duration::from_secs(86_400)
}

fn grant(by: &LocalIdentity) -> JoinGrant {
    let hour = Duration::from_secs(3_600);
    JoinGrant::sign(&GrantBody::new(config().channel(), peer(3).identity.id(), now(), hour, &by.identity), by).unwrap()
}

#[test]
fn admins_do_everything_and_peers_fetch() {
    let config = config();
    for org in 1..=3 {
        for operation in [Operation::List, Operation::Sign, Operation::Fetch] {
            config.check_access(&admin(org).identity, operation, None, None, now()).unwrap();
            let peers = config.check_access(&peer(org).identity, operation, None, None, now());
            assert_eq!(peers.is_ok(), operation == Operation::Fetch, "{operation} {peers:?}");
        }
    }
}

#[test]
fn a_grant_lets_a_peer_list_and_have_signed_and_no_more() {
    let (config, peer) = (config(), peer(3).identity);
    let (good, foreign) = (grant(&admin(3)), grant(&admin(2)));
    for operation in [Operation::List, Operation::Sign] {
        config.check_access(&peer, operation, Some(&good), Some(BlockNumber(7)), now()).unwrap();
        let by_other = config.check_access(&peer, operation, Some(&foreign), None, now());
        assert!(matches!(by_other, Err(AccessError::Grant { .. })), "{by_other:?}");
        let later = now() + Duration::from_secs(3_601);
        assert!(config.check_access(&peer, operation, Some(&good), None, later).is_err());
    }
}

#[test]
fn nobody_does_anything_after_its_certificate_has_ended() {
    let (config, admin) = (config(), admin(3).identity);
    let later = admin.not_after() + Duration::from_secs(1);
    for operation in [Operation::List, Operation::Sign, Operation::Fetch] {
        let late = config.check_access(&admin, operation, None, None, later);
        assert!(matches!(late, Err(AccessError::Identity(_))), "{late:?}");
    }
}
