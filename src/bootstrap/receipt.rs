//! The receipt of a join that landed: signed by who joined, so that it can be shown to others later.

use std::path::PathBuf;

use super::{JoinRequest, Joined, Times, error::JoinError, vouching::Vouched};
use crate::{
    catalog::{JoinReceipt, ReceiptFacts, ReceiptShare},
    transport::fault::chain,
};

/// Writes it into the state folder; its path.
pub(super) fn write(
    request: &JoinRequest,
    vouched: &Vouched,
    joined: &Joined,
    times: &Times,
) -> Result<PathBuf, JoinError> {
    let failed = |reason: String| JoinError::Receipt { id: joined.id.clone(), reason };
    let finished_at = (request.dialling.clock)();
    let share = |share: &super::Share| ReceiptShare {
        source: share.source.clone(),
        msp_id: share.msp_id.clone(),
        verified_bytes: share.verified_bytes,
        chunks_rejected: share.chunks_rejected,
    };
    let facts = ReceiptFacts {
        root: request.root,
        config_block: vouched.config.block_bytes().cloned(),
        shares: joined.shares.iter().map(share).collect(),
        started_at: times.begun_at,
        finished_at,
    };
    let file = JoinReceipt::sign(&vouched.agreed, &vouched.config, facts, &request.dialling.identity)
        .map_err(|error| failed(chain(&error)))?;
    request
        .records
        .receipt(&joined.id, joined.snapshot_hash, finished_at, &file)
        .map_err(|error| failed(error.to_string()))
}
