//! The fuzz bodies of everything that says who somebody is, on stable: over the recorded network's identities and configuration, over
//! what `fuzz/corpus` holds (if somebody ran the fuzzer), and over deterministic mutations of both.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use snapferry::{
    catalog::AttestBody,
    msp::{
        ChannelConfig, GrantBody, Identity, JoinGrant, LocalIdentity, MspId, SerializedIdentity, is_revocation_list,
    },
    snapshot::{BlockHash, BlockNumber, ManifestHash, SnapshotHash, SnapshotId},
    transport::session::is_signed_auth,
};

#[path = "../fuzz/bodies/attestation.rs"]
mod attestation;
#[path = "../fuzz/bodies/block_signatures.rs"]
mod block_signatures;
#[path = "../fuzz/bodies/config_block.rs"]
mod config_block;
#[path = "../fuzz/bodies/grant.rs"]
mod grant;
#[path = "../fuzz/bodies/identity.rs"]
mod identity;
#[path = "../fuzz/bodies/policy.rs"]
mod policy;
#[path = "../fuzz/bodies/revocation_list.rs"]
mod revocation_list;
#[path = "../fuzz/bodies/session.rs"]
mod session;
#[path = "../fuzz/bodies/trust_rule.rs"]
mod trust_rule;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(path: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures").join(path)).unwrap()
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("fuzz/corpus").join(target)) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Numbers that a seed determines (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn mutated(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(2) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            // Flips are the likeliest to be read far into.
            0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, numbers.next() as u8),
            _ => {
                let end = at + numbers.below(bytes.len() - at).min(64);
                let copy = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

fn run(target: &str, mut seeds: Vec<Vec<u8>>, mutations: u64, body: fn(&[u8])) {
    seeds.extend(corpus(target));
    for (number, seed) in seeds.iter().enumerate() {
        body(seed);
        let mut numbers = Numbers(number as u64);
        for _ in 0..mutations {
            body(&mutated(seed, &mut numbers));
        }
    }
}

fn recorded_peers() -> [SerializedIdentity; 3] {
    [1, 2, 3].map(|org| {
        let name = format!("org{org}.example.com");
        let path = format!("peerOrganizations/{name}/peers/peer0.{name}/msp/signcerts/peer0.{name}-cert.pem");
        let id_bytes = Bytes::from(fixture(&format!("network/crypto/{path}")));
        SerializedIdentity { msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(), id_bytes }
    })
}

#[test]
fn session_bodies_hold() {
    let golden = String::from_utf8(fixture("wire/session_auth.txt")).unwrap();
    let seeds: Vec<_> = golden.lines().map(|line| hex::decode(line.split_once(' ').unwrap().1).unwrap()).collect();
    assert!(is_signed_auth(&seeds[0], false) && is_signed_auth(&seeds[1], true));
    run("session", seeds, 40_000, session::body);
}

#[test]
fn config_block_bodies_hold() {
    let block = fixture("network/config_block.pb");
    let envelope = ChannelConfig::from_block(&block).unwrap().config_envelope_bytes().to_vec();
    let channel = "mychannel".parse().unwrap();
    ChannelConfig::from_config_envelope(channel, BlockNumber(1), &envelope).unwrap();
    run("config_block", vec![block, envelope], 8_000, config_block::body);
    // One with intermediate CAs, revocation lists and listed admins; its envelope, whose hash nobody asks for.
    let hard = ChannelConfig::from_block(&fixture("msp/hard.block")).unwrap().config_envelope_bytes().to_vec();
    run("config_block_hard", vec![hard], 2_000, config_block::body);
}

#[test]
fn identity_bodies_hold() {
    let mut seeds: Vec<_> = recorded_peers().iter().map(SerializedIdentity::encode).collect();
    seeds.iter().for_each(|seed| drop(SerializedIdentity::decode(seed).and_then(Identity::parse).unwrap()));
    // Certificates of every kind that Fabric itself was asked about.
    let rows = String::from_utf8(fixture("msp/hard.tsv")).unwrap();
    seeds.extend(rows.lines().map(|row| hex::decode(row.split_once('\t').unwrap().0).unwrap()));
    run("identity", seeds, 2_000, identity::body);
}

#[test]
fn revocation_list_bodies_hold() {
    let ca = rcgen::CertificateParams::default();
    let key = rcgen::KeyPair::generate().unwrap();
    let list = |serials: &[u64]| {
        let revoked = |serial: &u64| rcgen::RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: Some(rcgen::RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2050, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&rcgen::Issuer::from_params(&ca, &key)).unwrap()
    };
    let seeds = [list(&[]).der().to_vec(), list(&[1, u64::MAX]).der().to_vec(), list(&[7]).pem().unwrap().into_bytes()];
    assert!(seeds.iter().all(|seed| is_revocation_list(seed)));
    run("revocation_list", seeds.to_vec(), 40_000, revocation_list::body);
}

#[test]
fn attestation_bodies_hold() {
    let [identity, ..] = recorded_peers();
    let live = AttestBody {
        id: SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(132) },
        snapshot_hash: SnapshotHash([0x11; 32]),
        manifest_hash: ManifestHash([0x22; 32]),
        commit_hash: Some(BlockHash([0x33; 32])),
        config_sequence: 5,
        issued_at: 1_800_000_000,
        expires_at: 1_800_003_600,
        request_nonce: vec![9; 64],
        identity,
    };
    let stored = AttestBody { commit_hash: None, request_nonce: Vec::new(), ..live.clone() };
    let seeds = [live, stored].map(|body| {
        let bytes = body.encode();
        assert_eq!(AttestBody::decode(&bytes).unwrap(), body);
        bytes
    });
    run("attestation", seeds.to_vec(), 10_000, attestation::body);
}

#[test]
fn grant_bodies_hold() {
    let folder = root().join("tests/fixtures/network/crypto/peerOrganizations/org1.example.com");
    let msp = folder.join("users/Admin@org1.example.com/msp");
    let admin = LocalIdentity::load(&MspId::new("Org1MSP").unwrap(), &msp).unwrap();
    let channel = "mychannel".parse().unwrap();
    let now = admin.identity.not_before() + Duration::from_secs(86_400);
    let body = GrantBody::for_one_command(&channel, &admin.identity, now)
        .with_blocks(Some(BlockNumber(1)), Some(BlockNumber(300)));
    let grant = JoinGrant::sign(&body, &admin).unwrap();
    assert_eq!(JoinGrant::decode(&grant.encode()).unwrap().body(), &body);
    run("grant", vec![body.encode(), grant.encode()], 4_000, grant::body);
}

#[test]
fn trust_rule_bodies_hold() {
    // Every text that Fabric's own parser was asked about, and our own kinds of rule.
    let rows = String::from_utf8(fixture("msp/policy_dsl.tsv")).unwrap();
    let mut seeds: Vec<_> = rows.lines().map(|row| row.split('\t').next().unwrap().to_owned()).collect();
    seeds.push("OutOf(2, 'Org1MSP.peer', AND('Org2MSP.admin', 'Org1MSP.member'), 'Org3MSP.client')".to_owned());
    seeds.push("/Channel/Application/Org1MSP/Endorsement".to_owned());
    seeds.push("ALL Admins".to_owned());
    run("trust_rule", seeds.into_iter().map(String::into_bytes).collect(), 2_000, trust_rule::body);
}

#[test]
fn policy_bodies_hold() {
    // The policies that Fabric's own parser made, one that our network's peers satisfy, and an implicit one.
    let rows = String::from_utf8(fixture("msp/policy_dsl.tsv")).unwrap();
    let envelopes = rows.lines().map(|row| row.rsplit('\t').next().unwrap());
    let mut seeds: Vec<_> =
        envelopes.filter(|envelope| !envelope.is_empty()).map(|envelope| hex::decode(envelope).unwrap()).collect();
    seeds.iter_mut().for_each(|seed| seed.insert(0, 1));
    let peer = "120812060801120208001a0d120b0a074f7267314d53501003";
    seeds.push([&[1][..], &hex::decode(peer).unwrap()].concat());
    assert!(policy::satisfied(1, &hex::decode(peer).unwrap()));
    let any_readers = [&[3][..], &[0x0a, 7], b"Readers"].concat();
    assert!(policy::satisfied(3, &any_readers[1..]));
    seeds.push(any_readers);
    run("policy", seeds, 100, policy::body);
}

#[test]
fn block_signature_bodies_hold() {
    let seeds = ["network/config_block.pb", "network/config_block_from_peer.pb", "network/genesis.block"].map(fixture);
    assert!(seeds[..2].iter().all(|seed| block_signatures::follows(seed)) && !block_signatures::follows(&seeds[2]));
    run("block_signatures", seeds.to_vec(), 3_000, block_signatures::body);
}
