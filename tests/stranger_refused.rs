//! Nobody who isn't of the channel's organisations gets or gives anything: neither by a TLS certificate nor by an identity that only
//! looks like a member's (faults.md A1).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/lying.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod lying;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use std::net::SocketAddr;

use lying::{Lie, Source};
use processes::{Credentials, Join, Root, Service, assert_identical, binary, names, recorded};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// A certificate for loopback and its key, by a CA that nobody in the channel knows but that has a member's name.
fn certificate() -> (String, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "ca.org3.example.com");
    let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::OrganizationalUnitName, "peer");
    (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// MSP folder and TLS pair of a stranger, in `folder`, who says that he is of `claimed`.
fn stranger(folder: &TempDir, claimed: &str) -> Credentials {
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("msp/signcerts")).unwrap();
    std::fs::create_dir_all(path("msp/keystore")).unwrap();
    let (msp, tls) = (certificate(), certificate());
    for (name, text) in
        [("msp/signcerts/cert.pem", msp.0), ("msp/keystore/priv_sk", msp.1), ("tls.crt", tls.0), ("tls.key", tls.1)]
    {
        std::fs::write(path(name), text).unwrap();
    }
    Credentials {
        msp_id: claimed.to_owned(),
        msp_dir: path("msp"),
        tls_cert: path("tls.crt"),
        tls_key: path("tls.key"),
    }
}

/// A stranger in all, a member's TLS pair with a strange identity, and the other way round.
fn strangers(folder: &TempDir, member: &Credentials) -> [(&'static str, Credentials); 4] {
    let strange = stranger(folder, &member.msp_id);
    let tls = Credentials { msp_dir: member.msp_dir.clone(), ..strange.clone() };
    let identity = Credentials { msp_dir: strange.msp_dir.clone(), ..member.clone() };
    let unknown = Credentials { msp_id: "Org9MSP".to_owned(), ..identity.clone() };
    [("all", strange), ("TLS", tls), ("identity", identity), ("unknown organisation", unknown)]
}

/// A rule that one organisation satisfies.
const ONE_IS_ENOUGH: [&str; 4] = ["--min-orgs", "1", "--policy", "OR('Org1MSP.peer', 'Org2MSP.peer')"];

fn sessions(service: &Service) -> usize {
    service.log().iter().filter(|line| line.contains("session opened")).count()
}

/// Defence: session auth validates the identity by the MSP that it claims; removed, a stranger under a member's TLS certificate
/// reads.
/// A1: a joiner.
#[test]
fn a_joiner_outside_the_channel_gets_nothing() {
    let root = Root::with_recorded();
    let service = Service::start(1, &root, &[83, 132]);
    let folder = TempDir::new().unwrap();
    for (what, who) in strangers(&folder, &Credentials::org(3)) {
        let land = TempDir::new().unwrap();
        let ended = Join::new_as(&who, &[service.address], land.path()).args(ONE_IS_ENOUGH).run();
        ended.assert_failed(5, &["no source could be reached", &service.address.to_string(), "refuse"]);
        assert!(ended.of("source_ready").is_empty() && ended.of("agreed").is_empty(), "{what}: {}", ended.stdout);
        assert_eq!(names(land.path()), [""; 0], "{what}");
        assert_eq!(sessions(&service), 0, "{what}");
    }
    // The very same call as a member's.
    let land = TempDir::new().unwrap();
    Join::new(&[service.address], land.path()).args(ONE_IS_ENOUGH).run().result();
    assert_eq!(sessions(&service), 1);
}

/// Defence: the dialling side judges as strictly as the accepting one; removed, a stranger is a source.
/// A1: a source.
#[test]
fn a_source_outside_the_channel_is_refused_by_the_joiner() {
    let root = Root::with_recorded();
    let honest = Service::start(1, &root, &[132]);
    let folder = TempDir::new().unwrap();
    for (what, who) in strangers(&folder, &Credentials::org(2)) {
        let source = Source::start(&who, &root.path().join("completed"), Lie::Nothing);
        let join = |from: &[SocketAddr], orgs: &str| {
            let land = TempDir::new().unwrap();
            let one = if orgs == "1" { &ONE_IS_ENOUGH[..] } else { &[] };
            (Join::new(from, land.path()).args(one.iter().copied()).run(), land)
        };
        let address = source.address.to_string();
        // Alone: whoever runs it must change something. With others: one organisation is missing.
        let (alone, land) = join(&[source.address], "1");
        alone.assert_failed(5, &["no source could be reached", &address]);
        assert_eq!(names(land.path()), [""; 0], "{what}");
        let (beside, land) = join(&[source.address, honest.address], "2");
        beside.assert_failed(4, &["lacking: one more organisation", "Org1MSP (live) attests", "not asked", &address]);
        assert_eq!(names(land.path()), [""; 0], "{what}");
        // It does no harm where it isn't needed.
        let (landed, land) = join(&[source.address, honest.address], "1");
        assert_eq!(landed.result()["organisations"], serde_json::json!(["Org1MSP"]), "{what}");
        assert_eq!(landed.share(honest.address), landed.result()["total_bytes"].as_u64().unwrap());
        let failed = landed.of("source_failed");
        assert!(failed.iter().any(|told| told["source"] == address), "{what}: {failed:?}");
        assert_identical(&land.path().join("mychannel/132"), &root.snapshot(132));
        assert_eq!(source.chunk_requests(), 0, "{what}");
    }
}

#[test]
fn a_service_outside_the_channel_does_not_start() {
    let root = Root::with_recorded();
    let folder = TempDir::new().unwrap();
    for (what, who) in strangers(&folder, &Credentials::org(2)) {
        let mut command = binary();
        command.args(["serve", "--listen-address", "127.0.0.1:0", "--config-block"]).arg(recorded("config_block.pb"));
        command.arg("--snapshots-root-dir").arg(root.path()).arg("--state-dir").arg(folder.path());
        command.arg("--msp-id").arg(&who.msp_id).arg("--msp-config-path").arg(&who.msp_dir);
        command.arg("--tls-cert").arg(&who.tls_cert).arg("--tls-key").arg(&who.tls_key);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {error}");
        assert!(error.contains("in channel mychannel"), "{what}: {error}");
    }
}
