//! The bytes of every message are fixed: a peer of another version relies on them.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    snapshot::{BlockHash, ChunkIndex, ManifestHash, SnapshotHash},
    transport::limits::{
        ATTESTATION_BODY_BYTES_MAX, ATTESTATIONS_MAX, BODY_FIELDS_MAX, CATALOG_ENTRIES_MAX, FRAME_BYTES_MAX,
        GRANT_BYTES_MAX, HAVE_RANGES_MAX, LEASE_TIME_MAX, NONCE_BYTES_MAX, SIGNATURE_BYTES_MAX,
    },
};

/// One line per message: name, space, hexadecimal.
const GOLDEN: &str = include_str!("../../../tests/fixtures/wire/golden.txt");

fn id() -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(132) }
}

fn claim(block_number: u64) -> CatalogClaim {
    CatalogClaim {
        id: SnapshotId { block_number: BlockNumber(block_number), ..id() },
        manifest_hash: ManifestHash([0x11; 32]),
        snapshot_hash: SnapshotHash([0x22; 32]),
        total_bytes: 123_456_789,
        files: 8,
        only_metadata_available: true,
        partial: true,
        flags: 5,
        last_block_commit_hash: Some(BlockHash([0x33; 32])),
    }
}

fn hello() -> Hello {
    Hello {
        minor: 1,
        features: 2,
        limits: SessionLimits { streams: 64, chunks_in_flight: 32, rate_bytes_per_s: 1 << 30 },
        time_unix_s: 1_700_000_000,
        join_grant: Bytes::from_static(b"grant"),
    }
}

fn have_get() -> HaveGet {
    HaveGet { id: id(), manifest_hash: ManifestHash([0x11; 32]), file_index: 4 }
}

fn every_message() -> Vec<(&'static str, Frame)> {
    let chunk_request = ChunkRequest {
        id: id(),
        manifest_hash: ManifestHash([0x11; 32]),
        file_index: 4,
        first_chunk: ChunkIndex(300),
        count: 16,
        accept_zstd: true,
        class: RequestClass::Frontier,
        lease_id: 7,
    };
    let tree_request =
        ChunkTreeRequest { id: id(), manifest_hash: ManifestHash([0x11; 32]), file_index: 4, span: Some(0) };
    let page = CatalogPage { version: 9, entries: vec![claim(83), claim(132)], next: 2, peer_begins_at: None };
    let attestations =
        vec![Attestation { body: Bytes::from_static(b"body"), signature: Bytes::from_static(b"signature") }];
    let goodbye =
        Goodbye { code: ErrorCode::ShuttingDown, retry_after: Duration::from_secs(5), reason: "restarting".to_owned() };
    let refusal = Refusal {
        code: ErrorCode::Busy,
        retry_after: Some(Duration::from_millis(1_500)),
        detail: "8 sessions of Org2MSP".to_owned(),
    };
    [
        ("hello", 1, Body::Hello(hello())),
        ("hello_ack", 1, Body::HelloAck(hello())),
        ("catalog_get", 2, Body::CatalogGet(CatalogGet { after_version: 8, cursor: 1_000 })),
        ("catalog_page", 2, Body::CatalogPage(page)),
        ("catalog_watch", 3, Body::CatalogWatch),
        ("notice_catalog_changed", 0, Body::Notice(Notice::CatalogChanged { version: 10 })),
        ("notice_lease_ending", 0, Body::Notice(Notice::LeaseEnding { lease_id: 7, drain: Duration::from_secs(600) })),
        ("notice_going_away", 0, Body::Notice(Notice::GoingAway { retry_after: Duration::from_secs(5) })),
        ("attestation_get", 4, Body::AttestationGet(AttestationGet { id: id(), nonce: Bytes::from_static(b"nonce") })),
        ("attestations", 4, Body::Attestations(attestations)),
        ("manifest_get", 5, Body::ManifestGet(ManifestGet { id: id(), manifest_hash: ManifestHash([0x11; 32]) })),
        ("manifest", 5, Body::Manifest(Bytes::from_static(b"manifest"))),
        ("have_get", 7, Body::HaveGet(have_get())),
        ("have_watch", 8, Body::HaveWatch(have_get())),
        ("have", 8, Body::Have(Have::new(12, Some(vec![0..3, 300..301])))),
        ("have_complete", 8, Body::Have(Have::new(13, None))),
        ("ping", 6, Body::Ping),
        ("pong", 6, Body::Pong),
        ("goodbye", 0, Body::Goodbye(goodbye)),
        ("error", 300, Body::Error(refusal)),
        ("chunk_request", 301, Body::ChunkRequest(chunk_request)),
        ("chunk_tree_request", 302, Body::ChunkTreeRequest(tree_request)),
        ("lease_open", 303, Body::LeaseOpen(LeaseOpen { id: id(), manifest_hash: ManifestHash([0x11; 32]) })),
        ("lease_renew", 304, Body::LeaseRenew(7)),
        ("lease_close", 305, Body::LeaseClose(7)),
        ("lease", 303, Body::Lease(Lease { lease_id: 7, expires: Duration::from_secs(600), quota: 3 })),
    ]
    .into_iter()
    .map(|(name, request_id, body)| (name, Frame { request_id, body }))
    .collect()
}

fn header() -> ChunkHeader {
    ChunkHeader { index: ChunkIndex(301), codec: WireCodec::Zstd, raw_len: 1 << 20, wire_len: 265_000 }
}

/// C9: the bytes of every message.
#[test]
fn every_message_has_its_golden_bytes() {
    let golden: BTreeMap<&str, &str> = GOLDEN.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut written = String::new();
    for (name, frame) in every_message() {
        let bytes = frame.clone().encode();
        written.push_str(&format!("{name} {}\n", hex::encode(&bytes)));
        assert_eq!(Frame::decode(bytes), Ok(frame), "{name}");
    }
    written.push_str(&format!("chunk_header {}\n", hex::encode(header().encode())));
    assert_eq!(written, GOLDEN, "the wire changed");
    assert_eq!(golden.len(), every_message().len() + 1);
}

#[test]
fn a_chunk_header_is_short_and_strict() {
    let bytes = header().encode();
    assert_eq!(usize::try_from(u32::from_be_bytes(bytes[..4].try_into().unwrap())).unwrap(), bytes.len() - 4);
    assert_eq!(ChunkHeader::decode(&bytes[4..]), Ok(header()));
    let decode = |index, codec, raw_len, wire_len| {
        ChunkHeader::decode(&pb::ChunkHeader { index, codec, raw_len, wire_len }.encode_to_vec())
    };
    assert!(decode(0, 0, 5, 5).is_ok());
    for (codec, raw_len, wire_len) in
        [(0, 5, 4), (0, 5, 6), (0, 0, 0), (1, 5, 5), (1, 5, 0), (1, 5, 6), (2, 5, 4), (0, (1 << 20) + 1, (1 << 20) + 1)]
    {
        assert!(decode(0, codec, raw_len, wire_len).is_err(), "codec {codec}, raw {raw_len}, wire {wire_len}");
    }
    assert_eq!(ChunkHeader::decode(&[0x32; 65]), Err(WireError::Undecodable));
}

/// C9, R4: requests that a newer version adds.
#[test]
fn an_unknown_body_spoils_only_its_request() {
    // Field 1 = 77, field 19 (channels, not known yet) = an empty message.
    let bytes = Bytes::from_static(&[0x08, 77, 0x9a, 0x01, 0x00]);
    let error = Frame::decode(bytes).unwrap_err();
    assert_eq!((error.request_id(), error.code()), (Some(77), ErrorCode::Protocol));
}

/// C9, R4: what a newer version adds.
#[test]
fn unknown_fields_are_ignored() {
    let mut bytes = Frame { request_id: 6, body: Body::Ping }.encode().to_vec();
    bytes.extend_from_slice(&[0xa0, 0x06, 0x01]); // field 100 = 1
    assert_eq!(Frame::decode(bytes.into()), Ok(Frame { request_id: 6, body: Body::Ping }));
}

#[test]
fn undecodable_frames_spoil_the_connection() {
    for bytes in [&b"\xff"[..], b"\x08", b"\x2a\x05\x00", b"hello"] {
        let error = Frame::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!((error.request_id(), error.code()), (None, ErrorCode::Protocol), "{bytes:x?}");
    }
}

/// R1: runs of 2^32 chunks, and runs that end behind the last one that can be counted.
#[test]
fn fields_that_break_their_rule_are_named() {
    let request = |change: fn(&mut pb::ChunkRequest)| {
        let Some((_, Frame { body: Body::ChunkRequest(good), .. })) =
            every_message().into_iter().find(|(name, _)| *name == "chunk_request")
        else {
            panic!("no chunk request");
        };
        let mut message = pb::ChunkRequest::from(good);
        change(&mut message);
        let frame = pb::Frame { request_id: 9, body: Some(pb::frame::Body::ChunkRequest(message)) };
        Frame::decode(frame.encode_to_vec().into())
    };
    assert!(request(|_| ()).is_ok());
    for count in [0, 17, u32::MAX] {
        let set = match count {
            0 => request(|message| message.count = 0),
            17 => request(|message| message.count = 17),
            _ => request(|message| message.count = u32::MAX),
        };
        assert_eq!(set, Err(WireError::RunLength { request_id: 9, count }));
        assert_eq!(set.unwrap_err().code(), ErrorCode::LimitExceeded);
    }
    let field = |field| Err(WireError::Field { request_id: 9, field });
    assert_eq!(request(|message| message.snapshot = None), field("snapshot"));
    assert_eq!(request(|message| message.snapshot.as_mut().unwrap().channel_id = "../x".into()), field("channel_id"));
    assert_eq!(request(|message| message.manifest_hash = Bytes::from_static(&[1; 31])), field("manifest_hash"));
    assert_eq!(request(|message| message.file_index = 8), field("file_index"));
    assert_eq!(request(|message| message.first_chunk = u32::MAX), field("first_chunk"));
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "one range of chunks is what is meant")]
fn what_is_had_is_written_in_one_way_only() {
    let have = |complete, runs: &[u32]| {
        let have = pb::Have { version: 3, complete, runs: runs.to_vec() };
        let frame = pb::Frame { request_id: 9, body: Some(pb::frame::Body::Have(have)) };
        match Frame::decode(frame.encode_to_vec().into()) {
            Ok(Frame { body: Body::Have(have), .. }) => Ok(have.ranges),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(have(true, &[]), Ok(None));
    assert_eq!(have(false, &[]), Ok(Some(vec![])));
    assert_eq!(have(false, &[0, 2, 5, 1]), Ok(Some(vec![0..2, 7..8])));
    assert_eq!(have(false, &[u32::MAX - 1, 1]), Ok(Some(vec![u32::MAX - 1..u32::MAX])));
    let most = [1, 1].repeat(HAVE_RANGES_MAX);
    assert!(have(false, &most).is_ok());
    for runs in [&[3][..], &[3, 0], &[3, 1, 0, 1], &[u32::MAX, 1], &[1, u32::MAX], &[1, 1].repeat(HAVE_RANGES_MAX + 1)]
    {
        assert_eq!(have(false, runs), Err(WireError::Field { request_id: 9, field: "runs" }), "{:?}", runs.len());
    }
    assert!(have(true, &[0, 1]).is_err());
    let many: Vec<_> = (0..HAVE_RANGES_MAX as u32 + 1).map(|at| 2 * at..2 * at + 1).collect();
    let cut = Have::new(1, Some(many.clone())).ranges.unwrap();
    assert_eq!(cut[..], many[..HAVE_RANGES_MAX], "the rest is told later");
    let bytes = Frame { request_id: u64::MAX, body: Body::Have(Have::new(u64::MAX, Some(cut))) }.encode();
    assert!(bytes.len() < 64 << 10, "{}", bytes.len());
}

#[test]
fn a_lease_has_a_number_and_ends_within_the_hour() {
    use pb::frame::Body as Pb;
    let lease = |lease_id, expires_ms| Pb::Lease(pb::Lease { lease_id, expires_ms, quota: 0 });
    let decode = |body| Frame::decode(pb::Frame { request_id: 9, body: Some(body) }.encode_to_vec().into());
    let nameless = Err(WireError::Field { request_id: 9, field: "lease_id" });
    for body in
        [Pb::LeaseRenew(pb::LeaseRenew { lease_id: 0 }), Pb::LeaseClose(pb::LeaseClose { lease_id: 0 }), lease(0, 1)]
    {
        assert_eq!(decode(body), nameless);
    }
    for (expires_ms, expires) in [(0, Duration::ZERO), (3_600_000, LEASE_TIME_MAX), (u64::MAX, LEASE_TIME_MAX)] {
        let body = Body::Lease(Lease { lease_id: 1, expires, quota: 0 });
        assert_eq!(decode(lease(1, expires_ms)), Ok(Frame { request_id: 9, body }));
    }
}

/// R1, R4: each repeated field.
#[test]
fn every_cap_is_reached_and_not_crossed() {
    let bytes = |len: usize| Bytes::from(vec![7; len]);
    let attested =
        |body, signature| Body::Attestations(vec![Attestation { body: bytes(body), signature: bytes(signature) }]);
    let (body_max, signature_max) = (ATTESTATION_BODY_BYTES_MAX, SIGNATURE_BYTES_MAX);
    let attestations = |count| Body::Attestations(vec![Attestation { body: bytes(1), signature: bytes(1) }; count]);
    let grant = |len| Hello { join_grant: bytes(len), ..hello() };
    let nonce = |len| Body::AttestationGet(AttestationGet { id: id(), nonce: bytes(len) });
    for (field, reached, crossed) in [
        ("attestations", attestations(ATTESTATIONS_MAX), attestations(ATTESTATIONS_MAX + 1)),
        ("body", attested(body_max, 1), attested(body_max + 1, 1)),
        ("signature", attested(1, signature_max), attested(1, signature_max + 1)),
        ("nonce", nonce(NONCE_BYTES_MAX), nonce(NONCE_BYTES_MAX + 1)),
        ("join_grant", Body::Hello(grant(GRANT_BYTES_MAX)), Body::Hello(grant(GRANT_BYTES_MAX + 1))),
        ("join_grant", Body::HelloAck(grant(GRANT_BYTES_MAX)), Body::HelloAck(grant(GRANT_BYTES_MAX + 1))),
        ("manifest", Body::Manifest(bytes(MANIFEST_BYTES_MAX)), Body::Manifest(bytes(MANIFEST_BYTES_MAX + 1))),
    ] {
        let reached = Frame { request_id: 9, body: reached };
        assert_eq!(Frame::decode(reached.clone().encode()), Ok(reached), "{field}");
        let crossed = Frame { request_id: 9, body: crossed }.encode();
        assert_eq!(Frame::decode(crossed), Err(WireError::Field { request_id: 9, field }), "{field}");
    }
}

/// R7: text that comes by the wire.
#[test]
fn text_of_the_other_side_is_bounded_and_clean() {
    let error = |detail: String| {
        let error = pb::Error { code: 99, retry_after_ms: u64::MAX, detail };
        let frame = pb::Frame { request_id: 9, body: Some(pb::frame::Body::Error(error)) };
        Frame::decode(frame.encode_to_vec().into())
    };
    assert!(error("x".repeat(257)).is_err());
    let Ok(Frame { body: Body::Error(refusal), .. }) = error("a\u{1b}[2Jb".to_owned()) else { panic!("not decoded") };
    assert_eq!(refusal.detail, "a?[2Jb");
    assert_eq!(refusal.code, ErrorCode::Internal, "an unknown code");
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(600)));
    assert_eq!(Refusal::new(ErrorCode::Busy, &"ä".repeat(200)).detail.len(), 256);
}

/// Defence: what repeats is counted before memory is taken for it, and a length is held against the bytes that are there. Removed, a
/// megabyte of empty entries becomes hundreds, and ten bytes ask for all there is.
/// R1: a page of a million entries, a million ranges of chunks, a field of 2^63 bytes.
#[test]
fn a_million_entries_are_refused_before_they_are_decoded() {
    const MILLION: usize = 1_000_000;
    /// A frame whose body is field `number`.
    fn frame(number: u32, body: &[u8]) -> Bytes {
        let mut frame = vec![0x08, 9];
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut frame);
        prost::encoding::encode_varint(body.len() as u64, &mut frame);
        frame.extend_from_slice(body);
        frame.into()
    }
    const PAGE: u32 = 5;
    const HAVE: u32 = 22;
    let entries = |count: usize| frame(PAGE, &[0x12, 0x00].repeat(count));
    // One is read as far as its fields go, so this is a page.
    assert_eq!(Frame::decode(entries(1)), Err(WireError::Field { request_id: 9, field: "files" }));
    assert_eq!(Frame::decode(entries(MILLION)), Err(WireError::TooManyFields));
    let ranges = |count: usize| frame(HAVE, &[0x18, 0x01].repeat(2 * count));
    let ranged = Frame::decode(ranges(2)).unwrap().body;
    assert!(
        matches!(&ranged, Body::Have(Have { ranges: Some(ranges), .. }) if ranges[..] == [1..2, 3..4]),
        "{ranged:?}"
    );
    assert_eq!(Frame::decode(ranges(MILLION)), Err(WireError::TooManyFields));
    // Packed they are one field, of which a frame holds half a million: four bytes for each, and then no range is made of them.
    let packed = |count: usize| {
        let have = pb::Have { version: 3, complete: false, runs: vec![1; 2 * count] };
        pb::Frame { request_id: 9, body: Some(pb::frame::Body::Have(have)) }.encode_to_vec()
    };
    let most = packed(FRAME_BYTES_MAX / 2 - 16);
    assert!(most.len() <= FRAME_BYTES_MAX);
    assert_eq!(Frame::decode(most.into()), Err(WireError::Field { request_id: 9, field: "runs" }));
    for number in [PAGE, HAVE] {
        let mut huge = vec![0x08, 9];
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut huge);
        prost::encoding::encode_varint(1 << 63, &mut huge);
        assert_eq!(Frame::decode(huge.into()), Err(WireError::Undecodable), "{number}");
    }
}

/// Whoever doesn't say where its peer begins sends what it always sent, and a peer that begins with block 0 is no secret.
#[test]
fn where_a_peer_begins_is_told_or_not() {
    let begins = |peer_begins_at| {
        let page = CatalogPage { version: 1, peer_begins_at, ..CatalogPage::default() };
        let frame = Frame { request_id: 1, body: Body::CatalogPage(page) };
        let bytes = frame.clone().encode();
        assert_eq!(Frame::decode(bytes.clone()), Ok(frame));
        hex::encode(bytes)
    };
    assert_eq!(begins(None), "08012a020801");
    assert_eq!(begins(Some(BlockNumber(0))), "08012a0408012000");
    assert_eq!(begins(Some(BlockNumber(300))), "08012a05080120ac02");
}

#[test]
fn a_full_page_of_the_longest_entries_fits_a_frame() {
    let longest = SnapshotId { channel: "a".repeat(249).parse().unwrap(), block_number: BlockNumber(u64::MAX) };
    let entry = CatalogClaim { id: longest, total_bytes: u64::MAX, flags: u64::MAX, ..claim(0) };
    let page = CatalogPage {
        version: u64::MAX,
        entries: vec![entry; CATALOG_ENTRIES_MAX],
        next: u64::MAX,
        peer_begins_at: Some(BlockNumber(u64::MAX)),
    };
    let frame = Frame { request_id: u64::MAX, body: Body::CatalogPage(page) };
    let bytes = frame.clone().encode();
    assert!(bytes.len() <= FRAME_BYTES_MAX / 2, "{}", bytes.len());
    assert_eq!(Frame::decode(bytes), Ok(frame));
    let page = CatalogPage { version: 1, entries: vec![claim(1); CATALOG_ENTRIES_MAX + 1], ..CatalogPage::default() };
    assert!(Frame::decode(Frame { request_id: 1, body: Body::CatalogPage(page) }.encode()).is_err());
    const { assert!(CATALOG_ENTRIES_MAX < BODY_FIELDS_MAX) };
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        request_id: u64,
        channel in "[a-z][a-z0-9.-]{0,40}",
        block: u64,
        manifest_hash: [u8; 32],
        file_index in 0_u32..8,
        first in 0_u32..u32::MAX - 16,
        count in 1_u32..=16,
        accept_zstd: bool,
        span: Option<u32>,
        nonce in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let id = SnapshotId { channel: channel.parse().unwrap(), block_number: BlockNumber(block) };
        let manifest_hash = ManifestHash(manifest_hash);
        for body in [
            Body::ChunkRequest(ChunkRequest {
                id: id.clone(), manifest_hash, file_index, first_chunk: ChunkIndex(first), count, accept_zstd,
                class: RequestClass::Prefetch, lease_id: request_id,
            }),
            Body::ChunkTreeRequest(ChunkTreeRequest { id: id.clone(), manifest_hash, file_index, span }),
            Body::ManifestGet(ManifestGet { id: id.clone(), manifest_hash }),
            Body::AttestationGet(AttestationGet { id: id.clone(), nonce: nonce.into() }),
            Body::LeaseOpen(LeaseOpen { id, manifest_hash }),
        ] {
            let frame = Frame { request_id, body };
            prop_assert_eq!(Frame::decode(frame.clone().encode()), Ok(frame));
        }
    }
}
