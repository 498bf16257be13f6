//! The key of a service in other hands: a revocation ends what it opens, and what it signed counts no more.

use std::{path::Path, sync::Arc};

use snapferry::{
    msp::{ChannelConfig, LocalIdentity, MspId},
    transport::{fault::Fault, serving::ServeLimits, session::SessionContext},
};
use tempfile::TempDir;

use crate::{
    config_blocks::{Change, newer, peer_certificate},
    followed::{Followed, is_cut_off},
    issued::issued,
    loopback::{self, Joiner, recorded, tls_pair},
    processes::{self, Credentials, Root, binary, fixture},
};

/// An MSP folder of Org3 with a new certificate of a peer, as after a rotation.
fn rotated() -> TempDir {
    let (certificate, key) = issued("ca", 2030, Some("peer"));
    let msp = TempDir::new().unwrap();
    for (folder, pem) in [("signcerts", certificate), ("keystore", key)] {
        std::fs::create_dir(msp.path().join(folder)).unwrap();
        std::fs::write(msp.path().join(folder).join("it.pem"), pem).unwrap();
    }
    msp
}

/// Defence: the service has an identity of its own, and a CRL counts from the moment of the configuration that brings it, for who dials
/// and for who is dialled. Removed, the thief reads on and serves on; with the peer's own identity, the peer would be locked out, too.
#[tokio::test]
async fn a_stolen_key_opens_nothing_once_it_is_revoked_and_its_successor_does() {
    let service = Followed::start().await;
    let org3 = MspId::new("Org3MSP").unwrap();
    let successor = Arc::new(LocalIdentity::load(&org3, rotated().path()).unwrap());
    let (stolen, rotated) = (Joiner::new(3), Joiner::with(Arc::clone(&successor), tls_pair(3)));
    let session = stolen.connect(service.address).await.unwrap();
    let transfer = service.begun(&session).await;

    let revoked = newer(1, &Change::Revoke(3, peer_certificate(3)));
    service.follow(&revoked).await;
    is_cut_off(&session, transfer).await;
    let refused = stolen.connect(service.address).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Operator, "{refused}");
    let session = rotated.connect(service.address).await.unwrap();
    service.begun(&session).await;
    service.stop().await;

    // As a source: whoever has the newer configuration isn't served by the thief.
    let completed = recorded();
    let config = Arc::new(ChannelConfig::from_block(&revoked).unwrap());
    for (identity, good) in [(loopback::identity(3), false), (successor, true)] {
        let context = SessionContext { identity, ..loopback::context(3) };
        let source =
            loopback::Service::start_with(context, loopback::bind_server(3), completed.path(), ServeLimits::default());
        let joiner = Joiner::new(2);
        let mut params = joiner.params(source.address);
        params.channel = Arc::clone(&config);
        match joiner.connect_with(&params).await {
            Ok(session) => {
                assert!(good, "the thief is a source");
                session.ping().await.unwrap();
            }
            Err(error) => assert!(!good && error.to_string().contains("revoked"), "{error}"),
        }
        source.stop().await;
    }
}

/// Defence: those who vouch are validated by the configuration of the moment, CRLs included, stored statements too. Removed, what a
/// thief signed, or signs and dates back, would count for ever.
#[test]
fn what_a_stolen_key_signed_does_not_count_once_it_is_revoked() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let (files, msp) = (TempDir::new().unwrap(), rotated());
    let configs = [newer(1, &Change::Nothing), newer(1, &Change::Revoke(3, peer_certificate(3)))];
    let [before, after] = [0, 1].map(|number| {
        let path = files.path().join(format!("{number}.pb"));
        std::fs::write(&path, &configs[number]).unwrap();
        path
    });
    let org3 = Credentials::org(3);
    let successor = Credentials { msp_dir: msp.path().to_owned(), ..org3.clone() };
    let [first, stolen, rotated] = [Credentials::org(1), org3, successor].map(|who| attested(&who, &root));
    let check = |config: &Path, statements: [&TempDir; 2]| {
        let all = TempDir::new().unwrap();
        for (number, folder) in statements.into_iter().enumerate() {
            std::fs::copy(folder.path().join("it"), all.path().join(format!("{number}.attestation"))).unwrap();
        }
        let mut command = binary();
        command.arg("verify").arg(root.snapshot(83)).arg("--config-block").arg(config);
        command.args(["--policy", "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')"]);
        let output = command.arg("--attestations").arg(all.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&before, [&first, &stolen]), (Some(0), String::new()));
    let (code, error) = check(&after, [&first, &stolen]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("revoked") && error.contains("one more organisation"), "{error}");
    assert_eq!(check(&after, [&first, &rotated]), (Some(0), String::new()));
}

/// The attestation of a service with those credentials, as `it` in a folder.
fn attested(who: &Credentials, root: &Root) -> TempDir {
    let service = processes::Service::start_as(who, root, &[83]);
    let out = TempDir::new().unwrap();
    let mut command = binary();
    command.args(["snapshot", "sign", "-c", "mychannel", "-b", "83", "--out"]).arg(out.path().join("it"));
    let output = command.arg("--state-dir").arg(service.state()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    out
}
