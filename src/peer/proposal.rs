//! Proposals to the peer's system chaincodes, built and signed as Fabric checks them (fabric: core/endorser/msgvalidation.go).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use prost::Message as _;

use super::pb;
use crate::{
    msp::{LocalIdentity, MspError},
    snapshot::ChannelId,
};

/// Bytes of a nonce, as Fabric makes it; with the creator it makes the transaction ID.
pub(super) const NONCE_BYTES: usize = 24;

/// `CONFIG`: the type of proposals that make a peer join.
const TYPE_CONFIG: i32 = 1;
/// `ENDORSER_TRANSACTION`: that of all others.
const TYPE_ENDORSER_TRANSACTION: i32 = 3;
/// `GOLANG`: what system chaincodes are written in.
const SPEC_GOLANG: i32 = 1;

/// What a system chaincode is asked.
pub(super) struct Proposal<'a> {
    /// `cscc` or `qscc`.
    pub(super) chaincode: &'static str,
    /// Named in the header, the members of its organisations are heard; else only those of the peer's own.
    pub(super) channel: Option<&'a ChannelId>,
    /// Whether it makes the peer join.
    pub(super) joins: bool,
    /// The function and its arguments.
    pub(super) args: Vec<Bytes>,
}

impl Proposal<'_> {
    /// Fabric's `SignedProposal`, serialized.
    pub(super) fn sign(self, by: &LocalIdentity, nonce: [u8; NONCE_BYTES], now: SystemTime) -> Result<Bytes, MspError> {
        let creator = by.identity.serialized().encode();
        let chaincode_id = Some(pb::ChaincodeId { name: self.chaincode.to_owned() });
        let extension = pb::ChaincodeHeaderExtension { chaincode_id: chaincode_id.clone() };
        // A clock before 1970 reads 1970: peers don't judge a proposal by it.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let channel_header = pb::ChannelHeader {
            r#type: if self.joins { TYPE_CONFIG } else { TYPE_ENDORSER_TRANSACTION },
            timestamp: Some(pb::Timestamp {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
            }),
            channel_id: self.channel.map(|channel| channel.as_str().to_owned()).unwrap_or_default(),
            tx_id: tx_id(&nonce, &creator),
            extension: extension.encode_to_vec().into(),
        };
        let header = pb::Header {
            channel_header: channel_header.encode_to_vec().into(),
            signature_header: pb::SignatureHeader { creator: creator.into(), nonce: nonce.to_vec().into() }
                .encode_to_vec()
                .into(),
        };
        let spec = pb::ChaincodeSpec {
            r#type: SPEC_GOLANG,
            chaincode_id,
            input: Some(pb::ChaincodeInput { args: self.args }),
        };
        let input = pb::ChaincodeInvocationSpec { chaincode_spec: Some(spec) };
        let payload = pb::ChaincodeProposalPayload { input: input.encode_to_vec().into() };
        let proposal = pb::Proposal { header: header.encode_to_vec().into(), payload: payload.encode_to_vec().into() };
        let proposal_bytes = proposal.encode_to_vec();
        let signature = by.sign_message(&proposal_bytes)?;
        let signed = pb::SignedProposal { proposal_bytes: proposal_bytes.into(), signature: signature.into() };
        Ok(signed.encode_to_vec().into())
    }
}

/// The transaction ID that belongs to nonce and creator (fabric: protoutil/proputils.go, ComputeTxID).
fn tx_id(nonce: &[u8], creator: &[u8]) -> String {
    hex::encode(digest(&SHA256, &[nonce, creator].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transaction_id_is_the_hash_of_nonce_and_creator() {
        // SHA-256 of "abc".
        assert_eq!(tx_id(b"a", b"bc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
