//! An organisation that a newer channel configuration leaves out is cut off within a second, in the middle of a transfer, and can't
//! come back; the others don't notice.
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

use config_blocks::{Change, newer};
use std::time::Duration;

use followed::{Followed, is_cut_off, is_left_alone};
use loopback::{Joiner, Service, context, now, read, recorded, write};
use quinn::ConnectionError;
use snapferry::{
    msp::{ChannelConfig, MspError},
    transport::{
        fault::{ErrorCode, Fault},
        session::{SessionError, authenticate_client},
        wire::{Body, Hello},
    },
};

/// Defence: a new configuration judges open sessions at once; removed, the transfer runs to its end.
/// C4: the serving side.
#[tokio::test]
async fn a_removed_organisation_is_cut_off_and_the_others_are_not() {
    let service = Followed::start().await;
    let (removed, staying) = (Joiner::new(3), Joiner::new(2));
    let session = removed.connect(service.address).await.unwrap();
    let other = staying.connect(service.address).await.unwrap();
    let (cut, whole) = (service.begun(&session).await, service.begun(&other).await);

    service.follow(&newer(1, &Change::Without(3))).await;
    is_cut_off(&session, cut).await;
    is_left_alone(&other, whole).await;

    let refused = removed.connect(service.address).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Operator, "{refused}");
    assert!(refused.problem.to_string().starts_with("it refuses us without saying why: "), "{refused}");
    staying.connect(service.address).await.unwrap().ping().await.unwrap();
    // It may come back with a newer configuration.
    service.follow(&newer(2, &Change::Nothing)).await;
    removed.connect(service.address).await.unwrap().ping().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn who_asks_can_judge_its_source_by_a_newer_configuration() {
    let service = Followed::start().await;
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let judge = |change| session.judge_again(&ChannelConfig::from_block(&newer(1, &change)).unwrap(), now());
    judge(Change::Nothing).unwrap();
    judge(Change::Without(2)).unwrap();
    let removed = judge(Change::Without(1));
    assert!(matches!(removed, Err(SessionError::Identity(MspError::NotInChannel { .. }))), "{removed:?}");
    let revoked = judge(Change::Revoke(1, config_blocks::peer_certificate(1)));
    assert!(matches!(revoked, Err(SessionError::Identity(MspError::Invalid { .. }))), "{revoked:?}");
    service.stop().await;
}

/// Defence: changes are watched from before a session is judged; removed, who is in between two configurations stays.
/// C4: who connects at that moment.
#[tokio::test]
async fn nobody_slips_in_while_the_configuration_changes() {
    let completed = recorded();
    let service = Service::start_live(1, completed.path(), loopback::live());
    let joiner = Joiner::new(3);
    // It is judged by the old configuration, and says Hello when the new one is in force.
    let connection = joiner.dial(service.address).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let config = loopback::config();
    authenticate_client(&connection, &mut send, &mut recv, &context(3), &config).await.unwrap();
    service.channels.replace(ChannelConfig::from_block(&newer(1, &Change::Without(3))).unwrap()).unwrap();
    write(&mut send, 1, Body::Hello(Hello::default())).await;
    let answer = tokio::time::timeout(Duration::from_secs(1), async {
        while read(&mut recv).await.is_some() {}
        connection.closed().await
    });
    let ConnectionError::ApplicationClosed(closed) = answer.await.unwrap() else { panic!("not closed by the service") };
    assert_eq!(closed.error_code, ErrorCode::Unauthorized.varint());
    service.stop().await;
}
