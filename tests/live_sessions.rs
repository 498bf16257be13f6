//! A session lives no longer than what it was accepted for: its TLS certificate, its identity, and the TLS roots of its organisation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

#[path = "common/issued.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod issued;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use issued::{issued, tls_until};
use loopback::{Joiner, Service};
use snapferry::{
    msp::{LocalIdentity, MspId},
    transport::{
        asking::Session,
        fault::ErrorCode,
        serving::ServeLimits,
        session::SessionContext,
        tls::{Usage, orgs_accepting},
    },
};

const DAY: Duration = Duration::from_secs(86_400);

fn identity_until(year: i32) -> Arc<LocalIdentity> {
    let (certificate, key) = issued("ca", year, Some("peer"));
    let msp = tempfile::tempdir().unwrap();
    for (folder, pem) in [("signcerts", certificate), ("keystore", key)] {
        std::fs::create_dir(msp.path().join(folder)).unwrap();
        std::fs::write(msp.path().join(folder).join("it.pem"), pem).unwrap();
    }
    Arc::new(LocalIdentity::load(&MspId::new("Org3MSP").unwrap(), msp.path()).unwrap())
}

/// A service of org1 that judges its sessions every 20 ms by a clock that can be moved on, by days.
fn service(completed: &Path) -> (Service, Arc<AtomicU64>) {
    let days = Arc::new(AtomicU64::new(0));
    let (start, passed) = (loopback::now(), Arc::clone(&days));
    let clock = Arc::new(move || start + DAY * u32::try_from(passed.load(Ordering::SeqCst)).unwrap());
    let session = SessionContext { clock, ..loopback::context(1) };
    let limits = ServeLimits { revalidate_every: Duration::from_millis(20), ..ServeLimits::default() };
    (Service::start_with(session, loopback::bind_server(1), completed, limits), days)
}

/// The session is closed with UNAUTHORIZED, and one whose certificates still count isn't.
async fn ends_alone(ending: Session, staying: Session) {
    let error = tokio::time::timeout(Duration::from_secs(60), ending.closed()).await.unwrap();
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized), "{error}");
    staying.ping().await.unwrap();
}

/// Defence: the TLS chain of open sessions is judged by the clock; removed, a session outlives its certificate.
/// C5: a TLS certificate, expired.
#[tokio::test]
async fn a_session_ends_with_its_tls_certificate() {
    let completed = loopback::recorded();
    let (service, days) = service(completed.path());
    let ending = Joiner::with(loopback::identity(3), tls_until(2027)).connect(service.address).await.unwrap();
    let staying = Joiner::with(loopback::identity(3), tls_until(2029)).connect(service.address).await.unwrap();
    ending.ping().await.unwrap();
    days.store(500, Ordering::SeqCst);
    ends_alone(ending, staying).await;
    service.stop().await;
}

/// Defence: our rule on dates, which Fabric hasn't; removed, an expired identity stays a member.
/// C5: an identity, expired.
#[tokio::test]
async fn a_session_ends_with_its_identity() {
    let completed = loopback::recorded();
    let (service, days) = service(completed.path());
    let ending = Joiner::with(identity_until(2027), loopback::tls_pair(3)).connect(service.address).await.unwrap();
    let staying = Joiner::with(identity_until(2029), loopback::tls_pair(3)).connect(service.address).await.unwrap();
    ending.ping().await.unwrap();
    days.store(500, Ordering::SeqCst);
    ends_alone(ending, staying).await;
    service.stop().await;
}

/// Defence: roots have dates, at which webpki doesn't look; removed, an expired root accepts for ever.
#[test]
fn a_tls_root_past_its_dates_counts_for_nothing() {
    let (config, org3) = (loopback::config(), MspId::new("Org3MSP").unwrap());
    let dates = config.orgs()[&org3].tls_root_dates()[0].clone();
    // The leaf outlives its root: only the root's own dates can end it.
    let chain = tls_until(2090).chain;
    let second = Duration::from_secs(1);
    for usage in [Usage::Client, Usage::Server] {
        let accepting = |now| orgs_accepting(&config, &chain, now, usage);
        assert!(accepting(*dates.end()).contains(&org3));
        assert!(accepting(*dates.end() + second).is_empty());
    }
}
