//! For tests: organisations of the recorded network that vouch for a snapshot with their real keys.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use super::{
    AgreedSnapshot, AttestBody, Attestation, CatalogEntry, Heard, Judging, Offer, Statements, TrustPolicy,
    TrustSettings, agree,
};
use crate::{
    msp::{ChannelConfig, LocalIdentity, MspId},
    snapshot::{BlockHash, BlockNumber, Manifest},
};

/// What all askers here want echoed.
pub(crate) const NONCE: &[u8] = b"asked just now";

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

/// The recorded network's configuration.
pub(crate) fn network() -> ChannelConfig {
    ChannelConfig::from_block(&std::fs::read(fixture("config_block.pb")).unwrap()).unwrap()
}

pub(crate) fn org(number: u8) -> MspId {
    MspId::new(&format!("Org{number}MSP")).unwrap()
}

/// The recorded peer of an organisation, 1 to 3.
pub(crate) fn peer(number: u8) -> LocalIdentity {
    let name = format!("org{number}.example.com");
    let msp = fixture(&format!("crypto/peerOrganizations/{name}/peers/peer0.{name}/msp"));
    LocalIdentity::load(&org(number), &msp).unwrap()
}

/// An instant at which the recorded certificates count.
pub(crate) fn now() -> SystemTime {
    peer(1).identity.not_before() + Duration::from_secs(24 * 3600)
}

/// What somebody says live about a manifest's snapshot.
pub(crate) fn body(by: &LocalIdentity, manifest: &Manifest, commit_hash: Option<BlockHash>) -> AttestBody {
    let issued_at = super::judging::seconds(now());
    AttestBody {
        id: manifest.id().clone(),
        snapshot_hash: manifest.signable().hash(),
        manifest_hash: manifest.hash(),
        commit_hash,
        config_sequence: 1,
        issued_at,
        expires_at: issued_at + 3600,
        request_nonce: NONCE.to_vec(),
        identity: by.identity.serialized().clone(),
    }
}

/// A peer of that organisation that offers the manifest's snapshot.
pub(crate) fn offer(number: u8, manifest: &Manifest, commit_hash: Option<BlockHash>) -> Offer {
    Offer {
        source: format!("peer0.org{number}:7061"),
        msp_id: org(number),
        identity_id: crate::msp::IdentityId([number; 32]),
        entry: CatalogEntry {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            files: u32::try_from(manifest.files().len()).unwrap(),
            only_metadata_available: false,
            partial: false,
        },
        manifest: Some(manifest.clone()),
        commit_hash,
    }
}

/// Two of three organisations vouch live for the snapshot, and offer it.
pub(crate) fn agreed(manifest: &Manifest, commit_hash: Option<BlockHash>) -> AgreedSnapshot {
    let config = network();
    let policy =
        TrustPolicy::new(&TrustSettings { min_orgs: 2, require_live: true, ..Default::default() }, &config).unwrap();
    let heard = [1, 2].map(|number| {
        let by = peer(number);
        let attestation = Attestation::sign(&body(&by, manifest, commit_hash), &by).unwrap();
        Heard { attestation, source: format!("peer0.org{number}:7061") }
    });
    let statements = Statements { heard: heard.to_vec(), detached: Vec::new() };
    let (own_msp, floor) = (org(3), BlockNumber(0));
    let judging = Judging {
        config: &config,
        policy: &policy,
        own_msp: &own_msp,
        now: now(),
        nonce: Some(NONCE),
        floor,
        allow_older: false,
    };
    let offers = [1, 2].map(|number| offer(number, manifest, commit_hash));
    agree(&judging, &manifest.id().channel, &offers, &statements, None).unwrap()
}
