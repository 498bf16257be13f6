//! A member of the channel that asks for more than it may have: other channels, other organisations' private data.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};
use snapferry::{
    chunking::CodecContext,
    msp::ChannelConfig,
    snapshot::{BlockNumber, ChunkIndex, SnapshotFile, SnapshotId},
    transport::{
        asking::{ConnectParams, Session},
        fault::Fault,
        live::LiveChannels,
        serving::ServeLimits,
        wire::{ChunkRequest, RequestClass},
    },
};

use crate::{
    config_blocks::{Change, newer},
    loopback::{self, Joiner, Service, recorded},
};

/// The recorded channel's configuration as that of another channel, or without an organisation.
fn named(name: &str, change: &Change) -> ChannelConfig {
    let config = ChannelConfig::from_block(&newer(1, change)).unwrap();
    let bytes = config.config_envelope_bytes();
    ChannelConfig::from_config_envelope(name.parse().unwrap(), config.block_number(), bytes).unwrap()
}

/// Defence: every failure of session auth is one answer. Removed (a code for each), who is in one channel of a service finds out by trying
/// which others it has, and who is in them.
#[tokio::test]
async fn who_is_in_one_channel_learns_of_no_other() {
    let completed = recorded();
    let channels = LiveChannels::new([(*loopback::config()).clone(), named("secret", &Change::Without(3))]);
    let service = Service::start_live(1, completed.path(), channels);
    let joiner = Joiner::new(3);
    joiner.connect(service.address).await.unwrap().ping().await.unwrap();
    let mut said = Vec::new();
    for name in ["secret", "nowhere"] {
        let channel = Arc::new(named(name, &Change::Nothing));
        let params = ConnectParams { channel, ..joiner.params(service.address) };
        let error = joiner.connect_with(&params).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Operator, "{error}");
        said.push((error.code(), error.to_string()));
    }
    assert_eq!(said[0], said[1]);
    // Who is in it gets in.
    let member = Joiner::new(2);
    let channel = Arc::new(named("secret", &Change::Without(3)));
    let params = ConnectParams { channel, ..member.params(service.address) };
    member.connect_with(&params).await.unwrap().ping().await.unwrap();
    service.stop().await;
}

/// The bytes of all files of a snapshot, as a member gets them.
async fn fetched(session: &Session, id: &SnapshotId) -> BTreeMap<SnapshotFile, Vec<u8>> {
    let claims = session.catalog().await.unwrap().claims;
    let claim = claims.into_iter().find(|claim| claim.id == *id).unwrap();
    let manifest = session.manifest(id, claim.manifest_hash).await.unwrap();
    let mut files = BTreeMap::new();
    for (file_index, file) in (0..).zip(manifest.files()) {
        let request = ChunkRequest {
            id: id.clone(),
            manifest_hash: claim.manifest_hash,
            file_index,
            first_chunk: ChunkIndex(0),
            count: ChunkIndex::count(file.size).unwrap(),
            accept_zstd: false,
            class: RequestClass::Bulk,
            lease_id: 0,
        };
        let mut stream = loopback::chunks(session, request, file.size).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await.unwrap() {
            let mut raw = vec![0; chunk.raw_len as usize];
            CodecContext::new().decompress(chunk.codec, &chunk.wire, &mut raw).unwrap();
            bytes.extend(raw);
        }
        files.insert(file.file, bytes);
    }
    files
}

/// Defence: a snapshot has no private data, only their hashes, and nothing else of a peer is served. Removed (plain keys or values in it),
/// every member reads what collections keep from it.
#[tokio::test]
async fn of_private_data_a_member_gets_hashes_only() {
    /// Keys of collection 2, of which Org3 is no member, when the recorded network stood still.
    const KEYS: usize = 44;
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let id = SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(132) };
    let files = fetched(&session, &id).await;
    assert_eq!(files.len(), SnapshotFile::ALL.len());
    let within = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    for number in 0..KEYS {
        let key = format!("p2-{number:06}");
        let hash = Sha256::digest(&key);
        assert!(within(&files[&SnapshotFile::PrivateStateHashesData], &hash), "{key} was one");
        for (file, bytes) in &files {
            assert!(!within(bytes, key.as_bytes()), "{file} has {key}");
        }
    }
    service.stop().await;
}
