//! Whose certificate its organisation's CA has revoked is cut off within a second of the configuration that says so, in the middle of
//! a transfer; others of its organisation are not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;

#[path = "common/followed.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod followed;

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use config_blocks::{Change, newer, peer_certificate};
use followed::{Followed, is_cut_off, is_left_alone};
use loopback::{Joiner, admin, tls_pair};
use snapferry::transport::fault::Fault;

/// Defence: CRLs of the configuration count for open sessions; removed, the revoked key reads on.
/// C5: a client, revoked.
#[tokio::test]
async fn a_revoked_certificate_is_cut_off_and_its_organisation_is_not() {
    let service = Followed::start().await;
    let revoked = Joiner::new(3);
    // The same organisation, even the same TLS certificate: another identity.
    let staying = Joiner::with(admin(3), tls_pair(3));
    let session = revoked.connect(service.address).await.unwrap();
    let other = staying.connect(service.address).await.unwrap();
    let (cut, whole) = (service.begun(&session).await, service.begun(&other).await);

    service.follow(&newer(1, &Change::Revoke(3, peer_certificate(3)))).await;
    is_cut_off(&session, cut).await;
    is_left_alone(&other, whole).await;

    let refused = revoked.connect(service.address).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Operator, "{refused}");
    assert!(refused.to_string().contains("it refuses us without saying why: "), "{refused}");
    staying.connect(service.address).await.unwrap().ping().await.unwrap();
    service.stop().await;
}

/// Defence: a grant's admin is validated at every request; removed, its grants outlive it by a week.
#[tokio::test]
async fn a_revoked_admin_takes_its_grants_along() {
    let service = Followed::start().await;
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    session.catalog().await.unwrap();
    let certificate = admin(3).identity.serialized().id_bytes.to_vec();
    service.follow(&newer(1, &Change::Revoke(3, certificate))).await;
    // The peer itself is still a member, so its session lives; who vouched for it isn't.
    session.ping().await.unwrap();
    let forbidden = session.catalog().await.unwrap_err();
    assert!(forbidden.to_string().contains("snapferry grant"), "{forbidden}");
    service.begun(&session).await;
    service.stop().await;
}
