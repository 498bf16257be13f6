//! The fuzz bodies of the files that carry trust, on stable: over files signed with the recorded network's keys, over what
//! `fuzz/corpus` holds (if somebody ran the fuzzer), and over deterministic mutations of both, of their text and of what is in it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use snapferry::{
    catalog::{
        AUDIT_FILE, AttestBody, Attestation, AuditBy, AuditLog, AuditRecord, CatalogEntry, DetachedSignature,
        Equivocation, Heard, JoinReceipt, Judging, Offer, ReceiptFacts, RootOfTrust, Statements, TrustPolicy,
        TrustSettings, agree, check_audit,
    },
    disk::OsDir,
    msp::{ChannelConfig, LocalIdentity, MspId},
    snapshot::{BlockNumber, ChunkRoot, Manifest, ManifestFile, ManifestHash, SnapshotMetadata},
};

#[path = "../fuzz/bodies/audit.rs"]
mod audit;
#[path = "../fuzz/bodies/detached.rs"]
mod detached;
#[path = "../fuzz/bodies/evidence.rs"]
mod evidence;
#[path = "common/numbers.rs"]
#[allow(unreachable_pub, reason = "shared by several tests")]
mod numbers;
#[path = "../fuzz/bodies/receipt.rs"]
mod receipt;

use numbers::Numbers;

const NONCE: &[u8] = b"nonce";

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

fn msp_id(org: u8) -> MspId {
    MspId::new(&format!("Org{org}MSP")).unwrap()
}

fn peer(org: u8) -> LocalIdentity {
    let name = format!("org{org}.example.com");
    let msp = fixture(&format!("crypto/peerOrganizations/{name}/peers/peer0.{name}/msp"));
    LocalIdentity::load(&msp_id(org), &msp).unwrap()
}

fn now() -> SystemTime {
    peer(1).identity.not_before() + Duration::from_secs(24 * 3600)
}

fn metadata() -> SnapshotMetadata {
    let file = |name: &str| fs::read(fixture("snapshots/org1/132").join(name)).unwrap();
    SnapshotMetadata::parse(&file("_snapshot_signable_metadata.json"), &file("_snapshot_additional_metadata.json"))
        .unwrap()
}

fn manifest() -> Manifest {
    let signable = metadata().signable;
    let file = |(&file, &sha256): (_, _)| ManifestFile { file, size: 9, sha256, root: ChunkRoot([1; 32]) };
    let files = signable.files().iter().map(file).collect();
    Manifest::new(signable, files).unwrap()
}

fn attestation(org: u8, manifest_hash: ManifestHash) -> Attestation {
    let (by, metadata) = (peer(org), metadata());
    let issued_at = now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let body = AttestBody {
        id: metadata.signable.id().clone(),
        snapshot_hash: metadata.signable.hash(),
        manifest_hash,
        commit_hash: metadata.commit_hash,
        config_sequence: 1,
        issued_at,
        expires_at: issued_at + 600,
        request_nonce: NONCE.to_vec(),
        identity: by.identity.serialized().clone(),
    };
    Attestation::sign(&body, &by).unwrap()
}

fn signed_receipt() -> Vec<u8> {
    let block = fs::read(fixture("config_block.pb")).unwrap();
    let config = ChannelConfig::from_block(&block).unwrap();
    let settings = TrustSettings { min_orgs: 2, require_live: true, ..TrustSettings::default() };
    let (policy, own_msp, manifest) = (TrustPolicy::new(&settings, &config).unwrap(), msp_id(3), manifest());
    let (nonce, floor) = (Some(NONCE), BlockNumber(0));
    let judging =
        Judging { config: &config, policy: &policy, own_msp: &own_msp, now: now(), nonce, floor, allow_older: false };
    let offer = Offer {
        source: "peer0.org1:7061".to_owned(),
        msp_id: msp_id(1),
        identity_id: peer(1).identity.id(),
        entry: CatalogEntry {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            files: 8,
            only_metadata_available: false,
            partial: false,
        },
        manifest: Some(manifest.clone()),
        commit_hash: None,
    };
    let heard = [1, 2].map(|org| Heard { attestation: attestation(org, manifest.hash()), source: "file".to_owned() });
    let statements = Statements { heard: heard.to_vec(), ..Statements::default() };
    let agreed = agree(&judging, config.channel(), &[offer], &statements, None).unwrap();
    let facts = ReceiptFacts {
        root: RootOfTrust::ConfigBlock,
        config_block: Some(block.into()),
        shares: Vec::new(),
        started_at: now(),
        finished_at: now(),
    };
    JoinReceipt::sign(&agreed, &config, facts, &peer(3)).unwrap()
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    let at = numbers.below(bytes.len());
    match numbers.below(5) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
        2 => bytes.truncate(at),
        3 => bytes.insert(at, numbers.next() as u8),
        _ => {
            let copy = bytes[at..at + numbers.below(bytes.len() - at).min(64)].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// Changes the bytes within one base64 text, so that what lies below JSON and base64 is reached.
fn mutate_within(file: &[u8], numbers: &mut Numbers) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(file).ok()?;
    let parts: Vec<&str> = text.split('"').collect();
    let values: Vec<usize> =
        (0..parts.len()).filter(|&at| parts[at].len() > 40 && STANDARD.decode(parts[at]).is_ok()).collect();
    let at = *values.get(numbers.below(values.len()))?;
    let mut bytes = STANDARD.decode(parts[at]).ok()?;
    mutate(&mut bytes, numbers);
    let changed = STANDARD.encode(bytes);
    let mut parts: Vec<&str> = parts;
    parts[at] = &changed;
    Some(parts.join("\"").into_bytes())
}

fn run(target: &str, mut seeds: Vec<Vec<u8>>, mutations: u64, body: fn(&[u8])) {
    seeds.extend(corpus(target));
    for (number, seed) in seeds.iter().enumerate() {
        body(seed);
        let mut numbers = Numbers(number as u64);
        for _ in 0..mutations {
            let mut bytes = seed.clone();
            mutate(&mut bytes, &mut numbers);
            body(&bytes);
            if let Some(bytes) = mutate_within(seed, &mut numbers) {
                body(&bytes);
            }
        }
    }
}

/// A4: the check of an audit log ends in an answer, whatever the file holds.
#[test]
fn audit_bodies_hold() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::new(OsDir::open(folder.path()).unwrap());
    let by = AuditBy { msp_id: msp_id(3), identity_id: peer(3).identity.id(), address: Some("192.0.2.7:7061".into()) };
    let id = manifest().id().clone();
    for record in [
        AuditRecord::started(),
        AuditRecord::fetch_begun(by.clone(), id.clone()),
        AuditRecord::fetch_ended(by.clone(), id.clone(), 4096),
        AuditRecord::deleted(by, id),
    ] {
        log.append(&record, now()).unwrap();
    }
    let file = fs::read(folder.path().join(AUDIT_FILE)).unwrap();
    assert_eq!(check_audit(&file[..], None).unwrap().records, 4);
    run("audit", vec![file], 5_000, audit::body);
}

#[test]
fn detached_bodies_hold() {
    let file = DetachedSignature::sign(&metadata(), &peer(1)).unwrap().encode();
    DetachedSignature::decode(&file).unwrap();
    run("detached", vec![file], 5_000, detached::body);
}

#[test]
fn evidence_bodies_hold() {
    let [one, other] = [1, 2].map(|hash| attestation(2, ManifestHash([hash; 32])));
    let proof = Equivocation::new(one, other, None).unwrap();
    let both = Some((metadata().signable, metadata().signable));
    let [one, other] = [1, 2].map(|hash| attestation(2, ManifestHash([hash; 32])));
    let with_metadata = Equivocation::new(one, other, both).unwrap();
    let block = fs::read(fixture("config_block.pb")).unwrap();
    let seeds = [proof.encode(), with_metadata.encode(), proof.with_config_block(block.into()).encode()];
    seeds.iter().for_each(|seed| assert!(Equivocation::decode(seed).unwrap().verify(None).is_ok()));
    run("evidence", seeds.to_vec(), 1_000, evidence::body);
}

#[test]
fn receipt_bodies_hold() {
    let file = signed_receipt();
    JoinReceipt::verify(&file, None).unwrap();
    run("receipt", vec![file], 500, receipt::body);
}
