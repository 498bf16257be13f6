//! Those who signed, as a policy counts them.

use std::{cmp::Ordering, collections::BTreeSet};

use super::principals;
use crate::msp::{ChannelConfig, Identity, MspError, MspId, Principal, PrincipalRole};

/// Valid identities, each once, in the order that Fabric's evaluation depends on: by MSP ID, then identity id.
pub(super) struct Signers<'a> {
    config: &'a ChannelConfig,
    valid: Vec<&'a Identity>,
    refused: Option<MspError>,
}

impl<'a> Signers<'a> {
    pub(super) fn new(config: &'a ChannelConfig, signers: &[&'a Identity]) -> Self {
        let mut sorted = signers.to_vec();
        sorted.sort_by(|one, other| order(one, other));
        sorted.dedup_by(|one, other| order(one, other).is_eq());
        let mut refused = None;
        sorted.retain(|signer| {
            let member = Principal::Role { msp_id: signer.msp_id().clone(), role: PrincipalRole::Member };
            config.satisfies(signer, &member).map_err(|error| refused.get_or_insert(error)).is_ok()
        });
        Self { config, valid: sorted, refused }
    }

    pub(super) const fn len(&self) -> usize {
        self.valid.len()
    }

    /// Whether that signer is what the principal names. Validation costs signature checks, so whoever is of another
    /// organisation is told apart before.
    pub(super) fn satisfies(&self, signer: usize, principal: &Principal) -> bool {
        let Some(signer) = self.valid.get(signer) else { return false };
        concerns(principal, signer.msp_id()) && self.config.satisfies(signer, principal).is_ok()
    }

    /// The organisations of those who count.
    pub(super) fn msp_ids(&self) -> BTreeSet<&MspId> {
        self.valid.iter().map(|signer| signer.msp_id()).collect()
    }

    /// If nobody who signed is valid: why the first of them isn't.
    pub(super) fn all_refused(self) -> Option<MspError> {
        self.refused.filter(|_| self.valid.is_empty())
    }
}

fn order(one: &Identity, other: &Identity) -> Ordering {
    one.msp_id().cmp(other.msp_id()).then_with(|| one.id().cmp(&other.id()))
}

fn concerns(principal: &Principal, msp_id: &MspId) -> bool {
    match principal {
        Principal::Combined(parts) => parts.iter().all(|part| concerns(part, msp_id)),
        principal => principals::msp_of(principal).is_none_or(|named| named == *msp_id),
    }
}
