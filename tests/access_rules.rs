//! Who may ask what (trust.md 2.3): admins and whom they granted it list and have signed, peers fetch, and whoever may not is told the
//! same, whatever the reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;

#[path = "common/issued.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod issued;

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use config_blocks::{Change, newer};
use issued::issued;
use loopback::{Joiner, Service, admin, bind_server_trusting, context, grant, identity, now, recorded, tls_pair};
use snapferry::{
    msp::{ChannelConfig, GrantBody, JoinGrant, LocalIdentity, MspId, Operation},
    snapshot::{BlockNumber, ChunkIndex, Manifest, SnapshotId},
    transport::{
        asking::{AskError, AskProblem, ConnectParams, Session},
        fault::{ErrorCode, Fault},
        limits::{ATTESTATION_BURST, ATTESTATION_EVERY},
        live::LiveChannels,
        serving::{Attest, ServeLimits},
        wire::{
            Attestation, AttestationGet, ChunkRequest, ChunkTreeRequest, HaveGet, LeaseOpen, Refusal, RequestClass,
        },
    },
};

fn id(block_number: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block_number) }
}

fn get(block_number: u64) -> AttestationGet {
    AttestationGet { id: id(block_number), nonce: Bytes::from_static(b"nonce") }
}

/// What the answer of the service's own attestor looks like.
fn attestation() -> Attestation {
    Attestation { body: Bytes::from_static(b"body"), signature: Bytes::from_static(b"signature") }
}

/// A service of org1 that attests everything.
fn service(completed: &std::path::Path, attest: Attest) -> Service {
    let channels = loopback::live();
    let endpoint = bind_server_trusting(&tls_pair(1), channels.trust());
    Service::start_attesting(context(1), endpoint, completed, ServeLimits::default(), channels, attest)
}

fn attesting() -> Attest {
    Arc::new(|_, _| Ok(vec![attestation()]))
}

/// The detail of a FORBIDDEN, which is all that the other side said.
fn forbidden(error: AskError) -> String {
    assert_eq!((error.code(), error.fault()), (Some(ErrorCode::Forbidden), Fault::Operator), "{error}");
    refused(error).1
}

/// The code and words of a refusal, which are all that the other side said.
fn refused(error: AskError) -> (ErrorCode, String) {
    match error.problem {
        AskProblem::Refused { refusal, .. } => (refusal.code, refusal.detail),
        other => panic!("{other}"),
    }
}

/// Everything that only admins and whom they granted it may.
async fn admin_operations(session: &Session) -> [Result<(), AskError>; 3] {
    [
        session.catalog().await.map(drop),
        session.watch_catalog().await.map(drop),
        session.attestations(get(83)).await.map(|list| assert_eq!(list, [attestation()])),
    ]
}

/// Everything that fetches; `manifest` is that of a snapshot that is there.
async fn fetches(session: &Session, manifest: &Manifest) -> [Result<(), AskError>; 5] {
    fetches_of(session, manifest.id(), manifest).await
}

/// The same of the snapshot of another id, as if that were its manifest.
async fn fetches_of(session: &Session, id: &SnapshotId, manifest: &Manifest) -> [Result<(), AskError>; 5] {
    let size = manifest.files()[0].size;
    let manifest_hash = manifest.hash();
    let (first_chunk, class) = (ChunkIndex(0), RequestClass::Bulk);
    let lease = session.open_lease(LeaseOpen { id: id.clone(), manifest_hash }).await;
    let lease_id = lease.as_ref().map_or(0, |lease| lease.lease_id);
    let request = ChunkRequest {
        id: id.clone(),
        manifest_hash,
        file_index: 0,
        first_chunk,
        count: 1,
        accept_zstd: true,
        class,
        lease_id,
    };
    let chunk = async { session.chunks(request, size).await?.next().await.map(drop) };
    let tree = ChunkTreeRequest { id: id.clone(), manifest_hash, file_index: 0, span: None };
    let have = session.have(HaveGet { id: id.clone(), manifest_hash, file_index: 0 }).await.map(drop);
    let manifest = session.manifest(id, manifest_hash).await.map(drop);
    [manifest, lease.map(drop), chunk.await, session.tree(tree, size).await.map(drop), have]
}

/// Somebody of org3 with that OU.
fn somebody(unit: &str) -> Arc<LocalIdentity> {
    let (certificate, key) = issued("ca", 2090, Some(unit));
    let msp = tempfile::tempdir().unwrap();
    for (folder, pem) in [("signcerts", certificate), ("keystore", key)] {
        std::fs::create_dir(msp.path().join(folder)).unwrap();
        std::fs::write(msp.path().join(folder).join("it.pem"), pem).unwrap();
    }
    Arc::new(LocalIdentity::load(&MspId::new("Org3MSP").unwrap(), msp.path()).unwrap())
}

/// A grant for org3's peer that is another's in one respect.
fn granted(body: impl FnOnce(GrantBody) -> GrantBody) -> Option<Bytes> {
    let (channel, admin) = ("mychannel".parse().unwrap(), admin(3));
    let plain = GrantBody::new(&channel, identity(3).identity.id(), now(), Duration::from_secs(60), &admin.identity);
    Some(JoinGrant::sign(&body(plain), &admin).unwrap().encode().into())
}

#[tokio::test]
async fn admins_and_whom_they_granted_it_list_and_have_signed() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let manifest = service.catalog.snapshot(&id(83)).unwrap().manifest.clone();
    for joiner in [Joiner::new(3), Joiner::with(admin(3), tls_pair(3)).granted(None)] {
        let session = joiner.connect(service.address).await.unwrap();
        for done in admin_operations(&session).await.into_iter().chain(fetches(&session, &manifest).await) {
            done.unwrap();
        }
    }
    service.stop().await;
}

/// Defence: a peer lists and has signed by the grant of its own admin only. Removed, any key of a member has our service sign.
/// A1: grants, expired ones too.
#[tokio::test]
async fn without_a_grant_that_holds_a_peer_is_told_the_same_whatever_is_wrong() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let manifest = service.catalog.snapshot(&id(83)).unwrap().manifest.clone();
    let hour = Duration::from_secs(3_600);
    let (channel, peer, own) = ("other".parse().unwrap(), identity(3).identity.id(), admin(3));
    let elsewhere = JoinGrant::sign(&GrantBody::new(&channel, peer, now(), hour, &own.identity), &own).unwrap();
    let (channel, past) = ("mychannel".parse().unwrap(), now() - 2 * hour);
    let ended = JoinGrant::sign(&GrantBody::new(&channel, peer, past, hour, &own.identity), &own).unwrap();
    let bad = [
        ("none", None),
        ("garbage", Some(Bytes::from_static(b"garbage"))),
        ("another's", Some(grant(3, &identity(2).identity))),
        ("another organisation's", Some(grant(2, &identity(3).identity))),
        ("another channel's", Some(elsewhere.encode().into())),
        ("ended", Some(ended.encode().into())),
    ];
    let mut said = Vec::new();
    for (what, grant) in bad {
        let session = Joiner::new(3).granted(grant).connect(service.address).await.expect(what);
        for done in admin_operations(&session).await {
            said.push(forbidden(done.expect_err(what)));
        }
        for done in fetches(&session, &manifest).await {
            done.expect(what);
        }
        // A snapshot that isn't there is no other case.
        said.push(forbidden(session.attestations(get(7)).await.expect_err(what)));
        session.ping().await.unwrap();
    }
    said.dedup();
    assert_eq!(said, ["a JoinGrant of an admin of your organisation is needed"]);
    service.stop().await;
}

/// Defence: operations and blocks of a grant; removed, a grant to list is one to have signed.
#[tokio::test]
async fn a_grant_reaches_no_further_than_it_says() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let to_83 = granted(|body| body.with_blocks(None, Some(BlockNumber(83))));
    let session = Joiner::new(3).granted(to_83).connect(service.address).await.unwrap();
    session.catalog().await.unwrap();
    session.attestations(get(83)).await.unwrap();
    forbidden(session.attestations(get(84)).await.unwrap_err());
    let sign_only = granted(|body| body.with_operations([snapferry::msp::GrantedOperation::Sign]));
    let session = Joiner::new(3).granted(sign_only).connect(service.address).await.unwrap();
    forbidden(session.catalog().await.unwrap_err());
    session.attestations(get(84)).await.unwrap();
    service.stop().await;
}

/// Defence: to be a reader is not enough to fetch, nor to learn what there is. Removed, an application's key takes whole ledgers.
/// A1: wrong unit.
#[tokio::test]
async fn a_client_of_an_application_fetches_nothing() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let manifest = service.catalog.snapshot(&id(83)).unwrap().manifest.clone();
    let session = Joiner::with(somebody("client"), tls_pair(3)).connect(service.address).await.unwrap();
    let mut said = Vec::new();
    for done in fetches(&session, &manifest).await {
        said.push(forbidden(done.unwrap_err()));
    }
    said.dedup();
    assert_eq!(said, ["only readers of the channel that are peers or admins may fetch"]);
    let unknown = session.manifest(&id(7), manifest.hash()).await.unwrap_err();
    assert_eq!(forbidden(unknown), said[0], "nor does it learn what there is");
    // Another peer of the organisation does.
    let session = Joiner::with(somebody("peer"), tls_pair(3)).connect(service.address).await.unwrap();
    for done in fetches(&session, &manifest).await {
        done.unwrap();
    }
    service.stop().await;
}

#[tokio::test]
async fn the_channels_acl_governs_from_the_next_request_on() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let manifest = service.catalog.snapshot(&id(83)).unwrap().manifest.clone();
    let session = Joiner::new(3).granted(None).connect(service.address).await.unwrap();
    forbidden(session.catalog().await.unwrap_err());
    let acl = |ahead, operation, policy| {
        let config = ChannelConfig::from_block(&newer(ahead, &Change::Acl(operation, policy))).unwrap();
        service.channels.replace(config).unwrap();
    };
    acl(1, "snapferry/List", "Readers");
    session.catalog().await.unwrap();
    forbidden(session.attestations(get(83)).await.unwrap_err());
    acl(2, "snapferry/Sign", "/Channel/Application/Readers");
    session.attestations(get(83)).await.unwrap();
    // A majority of the organisations' admins: nobody alone, not even by a grant of one of them.
    acl(3, "snapferry/List", "/Channel/Application/Admins");
    forbidden(session.catalog().await.unwrap_err());
    let with_grant = Joiner::new(3).connect(service.address).await.unwrap();
    forbidden(with_grant.catalog().await.unwrap_err());
    acl(4, "snapferry/Fetch", "/Channel/Application/Admins");
    for done in fetches(&session, &manifest).await {
        forbidden(done.unwrap_err());
    }
    service.stop().await;
}

/// Defence: a session is one channel's, and whatever is asked on it is looked for in that channel. Removed, who is in one channel of a
/// service reads all of them.
/// A3: on a session of one channel all there is of another one on the same service is asked for, even by the right hashes.
#[tokio::test]
async fn a_session_of_one_channel_gets_nothing_of_another() {
    let completed = recorded();
    let elsewhere = loopback::sample_of("other", completed.path(), 1 << 20, false);
    let config = loopback::config();
    let bytes = config.config_envelope_bytes();
    let other = ChannelConfig::from_config_envelope(elsewhere.channel.clone(), config.block_number(), bytes).unwrap();
    let channels = LiveChannels::new([(*config).clone(), other.clone()]);
    let (endpoint, limits) = (bind_server_trusting(&tls_pair(1), channels.trust()), ServeLimits::default());
    let service = Service::start_attesting(context(1), endpoint, completed.path(), limits, channels, attesting());
    let manifest = service.catalog.snapshot(&elsewhere).unwrap().manifest.clone();

    // An admin, who may do everything where it is.
    let joiner = Joiner::with(admin(3), tls_pair(3)).granted(None);
    let params = ConnectParams { channel: Arc::new(other), ..joiner.params(service.address) };
    let there = joiner.connect_with(&params).await.unwrap();
    for answer in fetches(&there, &manifest).await {
        answer.unwrap();
    }
    let session = joiner.connect(service.address).await.unwrap();
    let listed = session.catalog().await.unwrap().claims;
    assert_eq!(listed.iter().map(|claim| &claim.id).collect::<Vec<_>>(), [&id(83), &id(132)]);
    let nowhere = SnapshotId { channel: "nowhere".parse().unwrap(), ..elsewhere.clone() };
    let mut said = Vec::new();
    for id in [&elsewhere, &nowhere] {
        let get = AttestationGet { id: id.clone(), ..get(0) };
        let fetched = fetches_of(&session, id, &manifest).await;
        let answers = fetched.into_iter().chain([session.attestations(get).await.map(drop)]);
        said.push(answers.map(|answer| refused(answer.unwrap_err())).collect::<Vec<_>>());
    }
    // Word for word what is said of a channel that isn't there.
    assert_eq!(said[0], said[1]);
    assert!(said[0].iter().all(|(code, _)| *code == ErrorCode::NotFound), "{said:?}");
    // What is here by another's name is refused just so.
    for answer in fetches_of(&session, &id(elsewhere.block_number.0), &manifest).await {
        assert_eq!(refused(answer.unwrap_err()), said[0][0]);
    }
    // News of the other channel are none here.
    let news = session.news();
    session.watch_catalog().await.unwrap();
    let before = news.borrow().catalog_version;
    std::fs::remove_dir_all(completed.path().join("other")).unwrap();
    service.catalog.scan().unwrap();
    session.ping().await.unwrap();
    assert_eq!(news.borrow().catalog_version, before);
    for answer in fetches(&session, &service.catalog.snapshot(&id(83)).unwrap().manifest).await {
        answer.unwrap();
    }
    service.stop().await;
}

#[tokio::test]
async fn who_is_no_reader_any_more_is_cut_off() {
    let completed = recorded();
    let service = service(completed.path(), attesting());
    let joiner = Joiner::new(3);
    let session = joiner.connect(service.address).await.unwrap();
    session.ping().await.unwrap();
    let config = ChannelConfig::from_block(&newer(1, &Change::NoReaders)).unwrap();
    assert!(config.check_access(&admin(3).identity, Operation::Fetch, None, None, now()).is_err());
    service.channels.replace(config).unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(1), session.closed()).await.unwrap();
    assert_eq!(closed.code(), Some(ErrorCode::Unauthorized), "{closed}");
    let refused = joiner.connect(service.address).await.unwrap_err();
    assert!(refused.to_string().contains("it refuses us"), "{refused}");
    service.stop().await;
}

#[tokio::test]
async fn the_attestor_is_asked_by_the_configuration_of_the_moment_and_its_refusals_are_told() {
    let completed = recorded();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let attest: Attest = Arc::new(move |config, get| {
        seen.lock().unwrap().push((config.sequence(), get.clone()));
        match get.id.block_number.0 {
            83 => Ok(vec![attestation(); 2]),
            7 => panic!("the attestor fails"),
            _ => Err(Refusal::new(ErrorCode::NotFound, "no such snapshot")),
        }
    });
    let service = service(completed.path(), attest);
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    assert_eq!(session.attestations(get(83)).await.unwrap().len(), 2);
    let config = ChannelConfig::from_block(&newer(1, &Change::Nothing)).unwrap();
    service.channels.replace(config.clone()).unwrap();
    assert_eq!(session.attestations(get(9)).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    let sequence = config.sequence();
    assert_eq!(*asked.lock().unwrap(), [(sequence - 1, get(83)), (sequence, get(9))]);
    assert_eq!(session.attestations(get(7)).await.unwrap_err().code(), Some(ErrorCode::Internal));
    let other = AttestationGet { id: SnapshotId { channel: "other".parse().unwrap(), ..id(83) }, ..get(83) };
    assert_eq!(session.attestations(other).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    session.ping().await.unwrap();
    service.stop().await;
}

#[tokio::test]
async fn attestations_are_not_asked_for_without_a_pause() {
    let completed = recorded();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let attest: Attest = Arc::new(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(vec![attestation()])
    });
    let service = service(completed.path(), attest);
    let session = Arc::new(Joiner::new(3).connect(service.address).await.unwrap());
    let mut refusals = Vec::new();
    // All at once: faster than one a second, however slow the machine is.
    let all = (0..3 * ATTESTATION_BURST).map(|_| {
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.attestations(get(83)).await })
    });
    for asking in all.collect::<Vec<_>>() {
        match asking.await.unwrap() {
            Ok(list) => assert_eq!(list, [attestation()]),
            Err(error) => refusals.push(error),
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst) + refusals.len(), 3 * ATTESTATION_BURST as usize);
    assert!(asked.load(Ordering::SeqCst) >= ATTESTATION_BURST as usize);
    let last = refusals.pop().expect("not all within one burst");
    assert_eq!(last.code(), Some(ErrorCode::RateLimited), "{last}");
    let AskProblem::Refused { refusal, .. } = last.problem else { panic!("{}", last.problem) };
    let pause = refusal.retry_after.unwrap();
    assert!(pause <= ATTESTATION_EVERY + Duration::from_millis(1), "{pause:?}");
    tokio::time::sleep(pause).await;
    session.attestations(get(83)).await.unwrap();
    // Another session has its own pace.
    Joiner::new(2).connect(service.address).await.unwrap().attestations(get(83)).await.unwrap();
    service.stop().await;
}
