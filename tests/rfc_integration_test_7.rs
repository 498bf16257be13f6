//! Integration test 7 of Fabric's ledger checkpointing RFC, "Behavior of remaining basic APIs for snapshot management": the behaviour of
//! ListSnapshots, SignSnapshotMetadata and DeleteSnapshot, and that a snapshot's metadata can still be signed after it was deleted.
//! With real services of two organisations, by real keys. What needs a peer stands at the end, ignored.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use beside_peer::{Machine, Service, admin_msp, binary, fixture, org_folder, run};
use loopback::{Joiner, admin, identity, tls_pair};
use serde_json::Value;
use snapferry::{
    catalog::{Attestation, decode_attestation_file},
    msp::{GrantBody, JoinGrant},
    service::clock::wall_time,
    snapshot::{BlockNumber, ChunkIndex, SnapshotId},
    transport::{
        asking::Session,
        fault::ErrorCode,
        wire::{AttestationGet, ChunkRequest, RequestClass},
    },
};
use std::time::Duration;

/// ListSnapshots on the machine: block, and whether only metadata are available.
fn listed(machine: &Machine) -> Vec<(u64, bool)> {
    let listed = machine.json(&["snapshot", "list", "-c", "mychannel"]);
    assert_eq!(listed["from"], "service");
    blocks(&listed["snapshots"])
}

fn blocks(snapshots: &Value) -> Vec<(u64, bool)> {
    let row = |row: &Value| (row["block_number"].as_u64().unwrap(), row["only_metadata_available"].as_bool().unwrap());
    snapshots.as_array().unwrap().iter().map(row).collect()
}

/// ListSnapshots over QUIC, by an admin of Org3.
fn listed_from_afar(services: &[&Service]) -> Vec<Vec<(u64, bool)>> {
    let from: Vec<&str> = services.iter().map(|service| service.address.as_str()).collect();
    let tls = org_folder(3, "users/Admin@org3.example.com/tls");
    let mut command = binary();
    command.args(["catalog", "list", "-c", "mychannel", "-O", "json", "--msp-id", "Org3MSP"]);
    command.args(["--from", &from.join(","), "--msp-config-path", &admin_msp(3)]);
    command.arg("--config-block").arg(fixture("config_block.pb"));
    command.arg("--tls-cert").arg(tls.join("client.crt")).arg("--tls-key").arg(tls.join("client.key"));
    let listed = run(&mut command).expect(0).json();
    listed["sources"].as_array().unwrap().iter().map(|source| blocks(&source["snapshots"])).collect()
}

/// SignSnapshotMetadata on the machine; what the RFC returns, and the attestation.
fn signed(machine: &Machine, block: u64) -> (Value, Attestation) {
    let args = ["snapshot", "sign", "-c", "mychannel", "-b", &block.to_string(), "--out", "signed.attestation"];
    let signed = machine.json(&args);
    let file = std::fs::read(machine.path("signed.attestation")).unwrap();
    (signed, decode_attestation_file(&file).unwrap())
}

fn delete(machine: &Machine, block: u64) -> Value {
    let args = ["snapshot", "delete", "-c", "mychannel", "-b", &block.to_string(), "--yes", "--msp-config-path"];
    machine.json(&[&args[..], &[&admin_msp(machine.org)]].concat())
}

#[test]
fn snapshots_are_listed_signed_and_deleted_and_can_still_be_signed_after_deletion() {
    let (org1, org2) = (Machine::new(1, true), Machine::new(2, true));
    let (service1, service2) = (org1.serve(&[83, 132]), org2.serve(&[83, 132]));
    let all = vec![(83, false), (132, false)];
    assert_eq!((listed(&org1), listed(&org2)), (all.clone(), all.clone()));
    assert_eq!(listed_from_afar(&[&service1, &service2]), [all.clone(), all.clone()]);

    // Both organisations say the same, each with its own signature.
    let (first, by_org1) = signed(&org1, 83);
    let (second, by_org2) = signed(&org2, 83);
    let metadata = &first["snapshot_metadata"];
    assert_eq!(metadata, &second["snapshot_metadata"]);
    assert_eq!((&metadata["channel_name"], &metadata["height"]), (&"mychannel".into(), &84.into()));
    for hash in ["snapshot_hash", "last_block_hash", "last_block_commit_hash"] {
        assert_eq!(metadata[hash].as_str().unwrap().len(), 64, "{hash}");
    }
    for (attestation, org) in [(&by_org1, "Org1MSP"), (&by_org2, "Org2MSP")] {
        assert_eq!(attestation.identity().msp_id().as_str(), org);
        assert_eq!(attestation.body().snapshot_hash.to_string(), metadata["snapshot_hash"].as_str().unwrap());
    }

    let deleted = delete(&org1, 83);
    assert_eq!((&deleted["deleted"], &deleted["only_metadata_available"]), (&true.into(), &true.into()));
    assert!(!org1.folder(83).exists() && org1.folder(132).exists() && org2.folder(83).exists());
    let one_left = vec![(83, true), (132, false)];
    assert_eq!(listed(&org1), one_left);
    assert_eq!(listed_from_afar(&[&service1, &service2]), [one_left.clone(), all.clone()]);
    // An error if there is no such snapshot; nothing to do if it was done.
    assert_eq!(delete(&org1, 83)["deleted"], false);
    let args = ["snapshot", "delete", "-c", "mychannel", "-b", "84", "--yes", "--msp-config-path", &admin_msp(1)];
    assert!(org1.run(&args).expect(1).stderr.contains("no snapshot mychannel/84"));
    assert!(org1.run(&["snapshot", "sign", "-c", "mychannel", "-b", "84"]).expect(1).stderr.contains("mychannel/84"));

    // The heart of the test: SignSnapshotMetadata still works, and says the same.
    let after = |machine: &Machine| {
        let (again, attestation) = signed(machine, 83);
        assert_eq!(&again["snapshot_metadata"], metadata);
        assert_eq!(again["only_metadata_available"], true);
        assert_eq!(attestation.body().manifest_hash, by_org1.body().manifest_hash);
        assert_eq!(attestation.body().commit_hash, by_org1.body().commit_hash);
    };
    after(&org1);
    service1.kill();
    let again = org1.serve(&[132]);
    assert_eq!(listed(&org1), one_left);
    assert_eq!(listed_from_afar(&[&again]), [one_left]);
    after(&org1);
    again.stop();
    // Without a service the folders tell the same.
    let listed = org1.json(&["snapshot", "list"]);
    assert_eq!((&listed["from"], blocks(&listed["snapshots"])), (&"disk".into(), vec![(83, true), (132, false)]));
}

/// SignSnapshotMetadata over QUIC: the service's own attestation, live with our nonce.
async fn signed_from_afar(session: &Session, nonce: &'static str) -> Attestation {
    let id = SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(83) };
    let signed = session.attestations(AttestationGet { id, nonce: nonce.into() }).await.unwrap();
    let own = &signed[0];
    let own = Attestation::from_wire(own.body.clone(), own.signature.clone()).unwrap();
    assert_eq!(own.body().request_nonce, nonce.as_bytes());
    assert_eq!(own.identity().id(), identity(1).identity.id());
    own
}

/// By an admin of another organisation, and by that organisation's service with an admin's grant.
/// C1: what is asked after a deletion gets GONE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_of_other_organisations_list_and_have_signed_over_the_network_also_after_deletion() {
    let machine = Machine::new(1, true);
    let service = machine.serve(&[83, 132]);
    let by_admin = Joiner::with(admin(3), tls_pair(3));
    let session = by_admin.connect(service.address.parse().unwrap()).await.unwrap();
    let listed = session.catalog().await.unwrap().claims;
    let claim = listed.iter().find(|claim| claim.id.block_number.0 == 83).unwrap();
    assert!(!claim.only_metadata_available);
    let before = signed_from_afar(&session, "before").await;
    let manifest = session.manifest(&claim.id, claim.manifest_hash).await.unwrap();

    delete(&machine, 83);
    let listed = session.catalog().await.unwrap().claims;
    let left = listed.iter().find(|claim| claim.id.block_number.0 == 83).unwrap();
    assert!(left.only_metadata_available);
    assert_eq!((left.manifest_hash, left.snapshot_hash), (claim.manifest_hash, claim.snapshot_hash));
    assert_eq!(left.last_block_commit_hash, claim.last_block_commit_hash);
    let same = |after: &Attestation| {
        let said = |one: &Attestation| {
            let body = one.body();
            (body.snapshot_hash, body.manifest_hash, body.commit_hash)
        };
        assert_eq!(said(after), said(&before));
    };
    same(&signed_from_afar(&session, "after").await);
    // The manifest is still told, the data are gone: in just these words, so that joiners go on elsewhere.
    assert_eq!(session.manifest(&left.id, left.manifest_hash).await.unwrap(), manifest);
    let request = ChunkRequest {
        id: left.id.clone(),
        manifest_hash: left.manifest_hash,
        file_index: 0,
        first_chunk: ChunkIndex(0),
        count: 1,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id: 0,
    };
    let mut chunks = session.chunks(request, manifest.files()[0].size).await.unwrap();
    assert_eq!(chunks.next().await.unwrap_err().code(), Some(ErrorCode::Gone));

    service.kill();
    let again = machine.serve(&[132]);
    let by_service = Joiner::new(3);
    let ungranted = by_service.connect(again.address.parse().unwrap()).await.unwrap();
    let id = left.id.clone();
    let refused = ungranted.attestations(AttestationGet { id, nonce: "n".into() }).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
    let (admin, hour) = (admin(3), Duration::from_secs(3_600));
    let grant = GrantBody::new(&left.id.channel, identity(3).identity.id(), wall_time(), hour, &admin.identity);
    let mut params = by_service.params(again.address.parse().unwrap());
    params.grant = Some(JoinGrant::sign(&grant, &admin).unwrap().encode().into());
    let granted = by_service.connect_with(&params).await.unwrap();
    same(&signed_from_afar(&granted, "granted").await);
    let session = by_admin.connect(again.address.parse().unwrap()).await.unwrap();
    same(&signed_from_afar(&session, "restarted").await);
}

/// Defence: an admin of our own MSP; removed, any organisation's admin, or any member, deletes here.
#[test]
fn only_an_admin_of_the_organisation_that_owns_the_peer_deletes() {
    let machine = Machine::new(1, true);
    let _service = machine.serve(&[83, 132]);
    let args = |msp: &str, id: &str| {
        let fixed = ["snapshot", "delete", "-c", "mychannel", "-b", "83", "--yes"];
        machine.run(&[&fixed[..], &["--msp-config-path", msp, "--msp-id", id]].concat())
    };
    let by_peer = args(&beside_peer::peer_msp(1), "Org1MSP").expect(5);
    assert!(by_peer.stderr.contains("isn't an admin"), "{}", by_peer.stderr);
    let by_org2 = args(&admin_msp(2), "Org2MSP").expect(5);
    assert!(by_org2.stderr.contains("isn't of this service's organisation, Org1MSP"), "{}", by_org2.stderr);
    args(&admin_msp(2), "Org1MSP").expect(5);
    assert!(machine.folder(83).exists());
    assert_eq!(listed(&machine), [(83, false), (132, false)]);
    args(&admin_msp(1), "Org1MSP").expect(0);
}

#[test]
#[ignore = "needs a peer: SubmitSnapshotRequest, PendingSnapshotRequests and CancelSnapshotRequest are its own calls, which the commands \
            `snapshot submit | pending | cancel` will forward as the admin signed them"]
fn requests_are_submitted_listed_as_pending_and_cancelled() {}
