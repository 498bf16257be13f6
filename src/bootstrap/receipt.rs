//! The receipt of a join that landed: signed by who joined, so that it can be shown to others later.

use std::{path::PathBuf, time::SystemTime};

use super::{JoinRequest, Joined, Times, error::JoinError, vouching::Vouched};
use crate::{
    catalog::{JoinReceipt, ReceiptFacts, ReceiptShare},
    transport::fault::chain,
};

/// The newest receipt of that snapshot, if it is of just this rule, configuration and root.
pub(super) fn of_before(
    request: &JoinRequest,
    vouched: &Vouched,
    joined: &Joined,
) -> Result<Option<PathBuf>, JoinError> {
    let Some(path) = request.records.newest_receipt(&joined.id, joined.snapshot_hash)? else { return Ok(None) };
    let file = match request.records.read_receipt(&path) {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "an earlier receipt can't be read");
            return Ok(None);
        }
    };
    let is_this = JoinReceipt::verify(&file, Some(&vouched.config)).is_ok_and(|receipt| {
        receipt.is_by(&request.trust.policy)
            && receipt.joiner().msp_id() == request.dialling.identity.identity.msp_id()
            && receipt.root_of_trust() == request.root
            && receipt.agreed().manifest_hash() == joined.manifest_hash
    });
    Ok(is_this.then_some(path))
}

/// Writes it into the state folder; its path. Called again with the same times, it takes the same place.
pub(super) fn write(
    request: &JoinRequest,
    vouched: &Vouched,
    joined: &Joined,
    times: &Times,
    finished_at: SystemTime,
) -> Result<PathBuf, JoinError> {
    let failed = |reason, source| JoinError::Receipt { id: joined.id.clone(), reason, source };
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
        .map_err(|error| failed(chain(&error), None))?;
    request
        .records
        .receipt(&joined.id, joined.snapshot_hash, finished_at, &file)
        .map_err(|error| failed(error.to_string(), Some(error)))
}
