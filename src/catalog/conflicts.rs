//! Who contradicts itself about a block, found among all that was said of it (trust.md 6.6).
//!
//! Two peers of one organisation may differ if their state databases are of different kinds; while a manifest that would tell isn't at
//! hand, the organisation is in doubt, if both statements count themselves: what anybody can relay again raises no doubt.

use std::collections::{BTreeMap, BTreeSet};

use super::{Attestation, Equivocation, Offer, Statements, evidence::version, said::manifests_of};
use crate::{
    msp::{ChannelConfig, Identity, IdentityId, MspId, Role},
    snapshot::{Manifest, ManifestHash, SignableMetadata, SnapshotId, StateDbType},
};

/// Every organisation that contradicts itself, with its proof: at most one per identity that speaks for it, else one per organisation
/// and block. The manifests of the offers tell the kind of state database. Order and repetition of the statements change nothing.
#[must_use]
pub fn equivocations(config: &ChannelConfig, offers: &[Offer], statements: &Statements) -> Vec<Equivocation> {
    let manifests = manifests_of(offers);
    let mut by_block: BTreeMap<&SnapshotId, Vec<&Attestation>> = BTreeMap::new();
    for heard in &statements.heard {
        by_block.entry(&heard.attestation.body().id).or_default().push(&heard.attestation);
    }
    let conflicts = |(id, said): (&SnapshotId, _)| {
        let before = statements.proofs.iter().filter(|proof| proof.id() == id);
        Conflicts::among(config, &manifests, said, |_| false).with_proofs(config, before).proven
    };
    by_block.into_iter().flat_map(conflicts).collect()
}

/// Who contradicts itself about one block.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// Proofs that organisations do: their own service, or two of their peers.
    pub(super) proven: Vec<Equivocation>,
    /// Those organisations.
    pub(super) orgs: BTreeSet<MspId>,
    /// Identities that do, whether they speak for their organisation or not.
    pub(super) identities: BTreeSet<IdentityId>,
    /// Organisations whose peers differ without it being known whether they may; and the manifests that would tell.
    pub(super) doubtful: BTreeMap<MspId, BTreeSet<ManifestHash>>,
}

impl Conflicts {
    /// Of statements about one block. Only members are heard, or any stranger could discredit an organisation by statements that he
    /// makes up in its name. Old, stored and foreign ones prove as well as live ones; a doubt is raised only by what `counts`.
    pub(super) fn among(
        config: &ChannelConfig,
        manifests: &BTreeMap<ManifestHash, &Manifest>,
        mut said: Vec<&Attestation>,
        counts: impl Fn(&Attestation) -> bool,
    ) -> Self {
        said.retain(|statement| config.validate_stored(statement.identity()).is_ok());
        said.sort_by_key(|statement| (statement.body_bytes(), statement.signature()));
        said.dedup_by_key(|statement| statement.body_bytes());
        let mut conflicts = Self::default();
        let mut by_identity: BTreeMap<(&MspId, IdentityId), Vec<&Attestation>> = BTreeMap::new();
        let mut by_org: BTreeMap<&MspId, Vec<&Attestation>> = BTreeMap::new();
        for statement in said {
            let identity = statement.identity();
            by_identity.entry((identity.msp_id(), identity.id())).or_default().push(statement);
            if speaks(config, identity) {
                by_org.entry(identity.msp_id()).or_default().push(statement);
            }
        }
        by_identity.into_values().for_each(|said| conflicts.of_identity(config, &said));
        by_org.into_iter().for_each(|(org, said)| conflicts.of_org(manifests, org, &said, &counts));
        conflicts
    }

    /// With what was proved before about that block, about members.
    pub(super) fn with_proofs<'a>(
        mut self,
        config: &ChannelConfig,
        proofs: impl IntoIterator<Item = &'a Equivocation>,
    ) -> Self {
        for proof in proofs {
            let [first, second] = proof.statements();
            if proof.verify(Some(config)).is_err() {
                continue;
            }
            if first.identity().id() == second.identity().id() {
                self.identities.insert(first.identity().id());
            }
            if proof.is_of_organisation(config) && self.orgs.insert(proof.msp_id().clone()) {
                self.proven.push(proof.clone());
            }
        }
        self
    }

    fn of_identity(&mut self, config: &ChannelConfig, said: &[&Attestation]) {
        let Some((one, other)) = differing(said, |statement| (version(statement), statement.body().commit_hash)) else {
            return;
        };
        let Ok(proof) = Equivocation::new(one.clone(), other.clone(), None) else { return };
        self.identities.insert(one.identity().id());
        if proof.is_of_organisation(config) {
            self.orgs.insert(one.identity().msp_id().clone());
            self.proven.push(proof);
        }
    }

    fn of_org(
        &mut self,
        manifests: &BTreeMap<ManifestHash, &Manifest>,
        org: &MspId,
        said: &[&Attestation],
        counts: impl Fn(&Attestation) -> bool,
    ) {
        if self.orgs.contains(org) || differing(said, version).is_none() {
            return;
        }
        let metadata = |statement: &Attestation| metadata_of(manifests, statement);
        for kind in StateDbType::ALL {
            let of_kind = |statement: &&&Attestation| metadata(statement).is_some_and(|of| of.state_db_type() == kind);
            let same_kind: Vec<&Attestation> = said.iter().filter(of_kind).copied().collect();
            if let Some((one, other)) = differing(&same_kind, version)
                && let (Some(of_one), Some(of_other)) = (metadata(one), metadata(other))
                && let Ok(proof) =
                    Equivocation::new(one.clone(), other.clone(), Some((of_one.clone(), of_other.clone())))
            {
                self.proven.push(proof);
                self.orgs.insert(org.clone());
                return;
            }
        }
        let counting: Vec<&Attestation> = said.iter().filter(|statement| counts(statement)).copied().collect();
        if differing(&counting, version).is_none() {
            return;
        }
        let unknown: BTreeSet<ManifestHash> = counting
            .iter()
            .filter(|statement| metadata(statement).is_none())
            .map(|statement| statement.body().manifest_hash)
            .collect();
        if !unknown.is_empty() {
            self.doubtful.insert(org.clone(), unknown);
        }
    }
}

/// The first statement, and the first that differs from it.
fn differing<'a, K: PartialEq>(
    said: &[&'a Attestation],
    key: impl Fn(&Attestation) -> K,
) -> Option<(&'a Attestation, &'a Attestation)> {
    let (first, others) = said.split_first()?;
    others.iter().find(|other| key(other) != key(first)).map(|other| (*first, *other))
}

/// Whether a member speaks for its organisation: its services have the role peer. A client's certificate mustn't be enough to silence
/// an organisation.
pub(super) fn speaks(config: &ChannelConfig, identity: &Identity) -> bool {
    config.role(identity).is_none_or(|role| role == Role::Peer)
}

/// The metadata that a statement is about, if a manifest that it names is at hand and of that snapshot.
fn metadata_of<'a>(
    manifests: &BTreeMap<ManifestHash, &'a Manifest>,
    statement: &Attestation,
) -> Option<&'a SignableMetadata> {
    let body = statement.body();
    let signable = manifests.get(&body.manifest_hash)?.signable();
    (signable.id() == &body.id && signable.hash() == body.snapshot_hash).then_some(signable)
}
