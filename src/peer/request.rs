//! Requests of the peer's `protos.Snapshot`, built and signed (fabric: core/ledger/snapshotgrpc/snapshot_service.go).
//!
//! The peer keeps no nonces and looks at no time: whoever captures such a request can send it again until its creator's certificate
//! expires. So it goes over TLS only.

use bytes::Bytes;
use prost::Message as _;

use super::{pb, proposal::NONCE_BYTES};
use crate::{
    msp::{LocalIdentity, MspError},
    snapshot::{BlockNumber, ChannelId},
};

/// Fabric's `SignedSnapshotRequest` for Generate and Cancel, serialized.
pub(super) fn snapshot_request(
    channel: &ChannelId,
    block_number: BlockNumber,
    by: &LocalIdentity,
    nonce: [u8; NONCE_BYTES],
) -> Result<Bytes, MspError> {
    let request = pb::SnapshotRequest {
        signature_header: Some(header(by, nonce)),
        channel_id: channel.as_str().to_owned(),
        block_number: block_number.0,
    };
    signed(request.encode_to_vec(), by)
}

/// Fabric's `SignedSnapshotRequest` for QueryPendings, serialized.
pub(super) fn pendings_query(
    channel: &ChannelId,
    by: &LocalIdentity,
    nonce: [u8; NONCE_BYTES],
) -> Result<Bytes, MspError> {
    let query =
        pb::SnapshotQuery { signature_header: Some(header(by, nonce)), channel_id: channel.as_str().to_owned() };
    signed(query.encode_to_vec(), by)
}

fn header(by: &LocalIdentity, nonce: [u8; NONCE_BYTES]) -> pb::SignatureHeader {
    pb::SignatureHeader { creator: by.identity.serialized().encode().into(), nonce: nonce.to_vec().into() }
}

fn signed(request: Vec<u8>, by: &LocalIdentity) -> Result<Bytes, MspError> {
    let signature = by.sign_message(&request)?;
    let signed = pb::SignedSnapshotRequest { request: request.into(), signature: signature.into() };
    Ok(signed.encode_to_vec().into())
}
