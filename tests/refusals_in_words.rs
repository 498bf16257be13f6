//! Who is refused, or refuses, reads what happened, whose fault it is and what to do: with real handshakes, since the words hang on what
//! TLS and QUIC report.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

#[path = "common/issued.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod issued;

use std::sync::Arc;

use issued::{Usage, tls_for, tls_of_a_stranger, tls_until};
use loopback::{Joiner, Service};
use snapferry::{
    msp::{ChannelConfig, TlsPair},
    transport::{
        asking::{AskError, AskProblem, TlsRefusal},
        fault::Fault,
        serving::ServeLimits,
        session::{SessionContext, SessionError},
    },
};

/// What org3's peer says of a service of org3 with that TLS pair.
async fn said_of(pair: &TlsPair) -> AskError {
    dialled(pair).await.unwrap_err()
}

/// How org3's peer gets on with a service of org3 with that TLS pair.
async fn dialled(pair: &TlsPair) -> Result<(), AskError> {
    let completed = loopback::recorded();
    let session = SessionContext { tls_leaf: pair.leaf().clone(), ..loopback::context(3) };
    let endpoint = loopback::bind_server_with(pair);
    let service = Service::start_with(session, endpoint, completed.path(), ServeLimits::default());
    let connected = Joiner::new(3).connect(service.address).await.map(drop);
    service.stop().await;
    connected
}

/// What org3's peer, with that TLS pair, says of a service of org1.
async fn said_with(pair: TlsPair) -> AskError {
    dialling(pair).await.unwrap_err()
}

/// How org3's peer, with that TLS pair, gets on with a service of org1.
async fn dialling(pair: TlsPair) -> Result<(), AskError> {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let connected = Joiner::with(loopback::identity(3), pair).connect(service.address).await.map(drop);
    service.stop().await;
    connected
}

fn refusal(error: &AskError) -> &TlsRefusal {
    match &error.problem {
        AskProblem::Tls { refusal } => refusal,
        other => panic!("{other:?}"),
    }
}

/// Nobody is accused of malice, and the words are the operator's.
fn is_the_operators(error: &AskError) {
    assert_eq!(error.fault(), Fault::Operator, "{error}");
    for jargon in ["UnknownIssuer", "alert", "auth", "crypto", "{", "Err("] {
        assert!(!error.to_string().contains(jargon), "{jargon}: {error}");
    }
}

#[tokio::test]
async fn a_service_with_a_wrong_certificate_is_described() {
    for (pair, expected) in [(tls_of_a_stranger(), TlsRefusal::Stranger), (tls_until(2025), TlsRefusal::Dates)] {
        let error = said_of(&pair).await;
        assert_eq!(refusal(&error), &expected, "{error}");
        is_the_operators(&error);
    }
}

#[tokio::test]
async fn another_name_than_the_certificates_leads_to_server_name() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let mut params = joiner.params(service.address);
    params.server_name = "peer9.org1.example.com".to_owned();
    let error = joiner.connect_with(&params).await.unwrap_err();
    assert_eq!(refusal(&error), &TlsRefusal::Name, "{error}");
    is_the_operators(&error);
    service.stop().await;
}

#[tokio::test]
async fn whoever_is_refused_hears_what_it_may_be() {
    for pair in [tls_of_a_stranger(), tls_until(2025)] {
        let error = said_with(pair).await;
        assert!(error.problem.to_string().starts_with("it refuses us without saying why: "), "{error}");
        is_the_operators(&error);
    }
}

/// Defence: a chain is verified for the side that shows it. Removed, the key of any of a member's web servers dials as one of its peers.
/// A2: the TLS certificate of a server as a client's, and of a client as a server's.
#[tokio::test]
async fn a_certificate_for_the_other_side_is_refused() {
    let error = said_with(tls_for(Usage::ServerAuth)).await;
    assert!(error.problem.to_string().starts_with("it refuses us without saying why: "), "{error}");
    is_the_operators(&error);
    let error = said_of(&tls_for(Usage::ClientAuth)).await;
    assert_eq!(refusal(&error), &TlsRefusal::Purpose, "{error}");
    is_the_operators(&error);
    // Each is good where it belongs.
    dialling(tls_for(Usage::ClientAuth)).await.unwrap();
    dialled(&tls_for(Usage::ServerAuth)).await.unwrap();
}

/// A3: a service that has only another channel.
#[tokio::test]
async fn a_service_of_another_channel_refuses() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let mut params = joiner.params(service.address);
    let config = loopback::config();
    let bytes = config.config_envelope_bytes();
    let other = ChannelConfig::from_config_envelope("other".parse().unwrap(), config.block_number(), bytes);
    params.channel = Arc::new(other.unwrap());
    let error = joiner.connect_with(&params).await.unwrap_err();
    assert!(
        matches!(&error.problem, AskProblem::SessionAuth(why) if matches!(**why, SessionError::Refused)),
        "{error}"
    );
    assert!(error.to_string().contains("it doesn't serve this channel"), "{error}");
    is_the_operators(&error);
    service.stop().await;
}
