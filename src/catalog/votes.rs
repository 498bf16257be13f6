//! The statements about one block, counted: each identity once for what it says, the rest with the reason why not.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dismissed, How, Statement, Uncounted, Voucher};
use crate::{
    msp::{IdentityId, MspId},
    snapshot::{BlockHash, ManifestHash, SnapshotHash},
};

/// What one says of a block, apart from who says it; without manifest: a detached signature.
pub(super) type Claim = (SnapshotHash, Option<ManifestHash>, Option<BlockHash>);

/// How a detached signature's origin is named: the operator's files are the only one.
pub(super) const DETACHED_SOURCE: &str = "a detached signature's file";

/// Of several statements of one identity that say the same, the greatest is kept: how, when, and its bytes.
pub(super) type Rank = (u64, Vec<u8>, Vec<u8>);

/// The statements that count, one per identity and claim, and those that don't.
#[derive(Default)]
pub(super) struct Votes {
    pub(super) counted: BTreeMap<(MspId, IdentityId, Claim), (How, Rank, Statement)>,
    uncounted: BTreeSet<(IdentityId, Claim, Dismissed)>,
}

impl Votes {
    pub(super) fn add(
        &mut self,
        statement: Statement,
        claim: Claim,
        standing: Result<How, Uncounted>,
        rank: Rank,
        source: &str,
    ) {
        let identity = statement.identity();
        let (msp_id, id) = (identity.msp_id().clone(), identity.id());
        match standing {
            Ok(how) => {
                let place = self.counted.entry((msp_id, id, claim));
                let vote = (how, rank, statement);
                place
                    .and_modify(|kept| {
                        if (vote.0, &vote.1) > (kept.0, &kept.1) {
                            *kept = vote.clone();
                        }
                    })
                    .or_insert(vote);
            }
            Err(why) => {
                let subject = identity.subject().to_owned();
                let snapshot_hash = (why != Uncounted::FitsNothing).then_some(claim.0);
                let dismissed = Dismissed { msp_id, subject, source: source.to_owned(), snapshot_hash, why };
                self.uncounted.insert((id, claim, dismissed));
            }
        }
    }

    /// Who vouches for two snapshots or commit hashes of one block, in whatever way, vouches for none.
    pub(super) fn drop_torn(&mut self) {
        let mut claims: BTreeMap<(MspId, IdentityId), BTreeSet<_>> = BTreeMap::new();
        for (msp_id, id, claim) in self.counted.keys() {
            claims.entry((msp_id.clone(), *id)).or_default().insert((claim.0, claim.2));
        }
        for ((msp_id, id), _) in claims.into_iter().filter(|(_, claims)| claims.len() > 1) {
            let torn: Vec<_> = self.counted.keys().filter(|key| (&key.0, key.1) == (&msp_id, id)).cloned().collect();
            for key in torn {
                if let Some((_, _, statement)) = self.counted.remove(&key) {
                    let why = Uncounted::SignerContradicts;
                    let subject = statement.identity().subject().to_owned();
                    let source = match statement {
                        Statement::Attestation(_) => "a source",
                        Statement::Detached(_) => DETACHED_SOURCE,
                    };
                    let (msp_id, source, snapshot_hash) = (msp_id.clone(), source.to_owned(), Some(key.2.0));
                    self.uncounted.insert((id, key.2, Dismissed { msp_id, subject, source, snapshot_hash, why }));
                }
            }
        }
    }

    /// Who vouches for a claim: attested just so, or signed the metadata out of band. Each identity once.
    pub(super) fn of(&self, claim: Claim) -> Vec<Voucher> {
        let mut vouchers: BTreeMap<(&MspId, IdentityId), Voucher> = BTreeMap::new();
        // What has no manifest comes first, so that an attestation takes its place.
        for ((msp_id, id, said), (how, _, statement)) in &self.counted {
            if *said == claim || *said == (claim.0, None, claim.2) {
                let subject = statement.identity().subject().to_owned();
                let (how, statement) = (*how, statement.clone());
                let voucher = Voucher { msp_id: msp_id.clone(), identity_id: *id, subject, how, statement };
                vouchers.insert((msp_id, *id), voucher);
            }
        }
        vouchers.into_values().collect()
    }

    /// What doesn't count and isn't said by the same identity in a way that does.
    pub(super) fn dismissed(self) -> BTreeSet<Dismissed> {
        let counted: BTreeSet<(IdentityId, Claim)> =
            self.counted.into_keys().map(|(_, id, claim)| (id, claim)).collect();
        let alone = self.uncounted.into_iter().filter(|(id, claim, _)| !counted.contains(&(*id, *claim)));
        alone.map(|(_, _, dismissed)| dismissed).collect()
    }
}
