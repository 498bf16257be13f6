use super::*;
use crate::peer::Refusal;

fn blocks(numbers: &[u64]) -> Vec<BlockNumber> {
    numbers.iter().copied().map(BlockNumber).collect()
}

#[test]
fn pending_requests_are_read_packed_and_one_by_one() {
    assert_eq!(decode_pendings(b"").unwrap(), []);
    // 100000 and 100200 as Fabric packs them; then singly, out of order.
    let packed = [0x0a, 6, 0xa0, 0x8d, 0x06, 0xe8, 0x8e, 0x06];
    assert_eq!(decode_pendings(&packed).unwrap(), blocks(&[100_000, 100_200]));
    assert_eq!(decode_pendings(&[8, 9, 8, 3]).unwrap(), blocks(&[3, 9]));
    assert_eq!(decode_pendings(&packed[..7]), Err(MalformedAnswer::Encoding));
}

#[test]
fn more_pending_requests_than_an_admin_makes_are_refused() {
    let packed = |count: usize| pb::QueryPendingSnapshotsResponse { block_numbers: vec![7; count] }.encode_to_vec();
    assert_eq!(decode_pendings(&packed(PENDINGS_MAX)).unwrap().len(), PENDINGS_MAX);
    assert_eq!(decode_pendings(&packed(PENDINGS_MAX + 1)), Err(MalformedAnswer::TooMany { limit: PENDINGS_MAX }));
}

#[test]
fn channels_are_read_in_order_and_must_be_names() {
    let bytes = b"\x0a\x05\x0a\x03ch2\x0a\x0b\x0a\x09mychannel\x0a\x05\x0a\x03ch1";
    let names: Vec<String> = decode_channels(bytes).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ch1", "ch2", "mychannel"]);
    assert_eq!(decode_channels(b"").unwrap(), []);
    assert_eq!(decode_channels(b"\x0a\x06\x0a\x04../x"), Err(MalformedAnswer::ChannelName));
    assert_eq!(decode_channels(b"\x0a\x05\x0a\x03ch"), Err(MalformedAnswer::Encoding));
    let many =
        pb::ChannelQueryResponse { channels: vec![pb::ChannelInfo { channel_id: "a".to_owned() }; CHANNELS_MAX + 1] };
    assert_eq!(decode_channels(&many.encode_to_vec()), Err(MalformedAnswer::TooMany { limit: CHANNELS_MAX }));
}

#[test]
fn the_end_of_a_ledger_is_read() {
    let golden = [&[0x08, 0x85, 0x01, 0x12, 32][..], &[1; 32], &[0x1a, 32], &[2; 32], &[0x22, 2, 8, 83]].concat();
    let info = ChainInfo {
        last_block: BlockNumber(132),
        last_block_hash: BlockHash([1; 32]),
        previous_block_hash: Some(BlockHash([2; 32])),
        last_block_in_snapshot: Some(BlockNumber(83)),
    };
    assert_eq!(ChainInfo::decode(&golden).unwrap(), info);
    // Block 0 alone, made from a genesis block.
    let first = ChainInfo::decode(&[&[0x08, 1, 0x12, 32][..], &[3; 32]].concat()).unwrap();
    assert_eq!(
        (first.last_block, first.previous_block_hash, first.last_block_in_snapshot),
        (BlockNumber(0), None, None)
    );
    for bad in [&golden[5..], &golden[..36], &[&[0x08, 1, 0x12, 31][..], &[3; 31]].concat(), b""] {
        assert!(ChainInfo::decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn whether_a_join_runs_is_read() {
    assert_eq!(JoinStatus::decode(b"").unwrap(), JoinStatus::Idle);
    assert_eq!(
        JoinStatus::decode(b"\x08\x01\x12\x04/a/b").unwrap(),
        JoinStatus::InProgress { folder: "/a/b".to_owned() }
    );
    assert_eq!(JoinStatus::decode(b"\x08\x01\x12\x02/\n"), Err(MalformedAnswer::Path));
    let long =
        pb::JoinBySnapshotStatus { in_progress: true, bootstrapping_snapshot_dir: "a".repeat(PATH_BYTES_MAX + 1) };
    assert_eq!(JoinStatus::decode(&long.encode_to_vec()), Err(MalformedAnswer::Path));
}

#[test]
fn a_response_is_a_payload_or_a_refusal() {
    let response = |status: i32, text: &str| {
        let response = pb::Response { status, message: text.to_owned(), payload: Bytes::from_static(b"p") };
        decode_response(pb::ProposalResponse { response: Some(response) }.encode_to_vec().into())
    };
    assert_eq!(response(200, "").unwrap().unwrap(), "p");
    let refused = response(500, "access denied for [GetChannels]").unwrap().unwrap_err();
    assert_eq!((refused.refusal, refused.text()), (Refusal::Denied, "access denied for [GetChannels]"));
    assert_eq!(response(0, "").unwrap_err(), MalformedAnswer::NoResponse);
    assert_eq!(decode_response(Bytes::new()).unwrap_err(), MalformedAnswer::NoResponse);
    assert_eq!(decode_response(Bytes::from_static(&[0x22])).unwrap_err(), MalformedAnswer::Encoding);
}
