//! Whether an identity is what it claims to be, by the MSP of its organisation in a channel (fabric: msp/mspimpl*.go),
//! and by our own rule on dates.
//!
//! Not judged yet: revocation lists, OU identifiers and their certifiers, explicitly listed admins, the place of the issuer
//! in the tree of CAs.

use std::time::{Duration, SystemTime};

use super::{
    ChannelConfig, Identity, InvalidReason, MspError, MspVersion, OrgConfig, Role, chain::chains, signature::KeyKind,
};

/// How far another clock may be behind ours: a fresh certificate isn't refused for it.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Chains are judged just after the leaf began: its own expiry doesn't count there, and its CAs were valid then.
const AFTER_NOT_BEFORE: Duration = Duration::from_secs(1);

impl ChannelConfig {
    /// Judges an identity: an application organisation of the channel, exactly one chain to that organisation's roots, no
    /// CA, one role where roles are on, and not expired at `now`.
    ///
    /// # Errors
    /// [`MspError::NotInChannel`], or [`MspError::Invalid`] with the rule that it breaks.
    pub fn validate(&self, identity: &Identity, now: SystemTime) -> Result<(), MspError> {
        self.validate_stored(identity)?;
        check_dates(identity, now).map_err(|reason| invalid(identity, reason))
    }

    /// Judges an identity by Fabric's rules alone: its leaf's expiry doesn't count. For what was signed in the past.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn validate_stored(&self, identity: &Identity) -> Result<(), MspError> {
        let org = self.org_of(identity)?;
        self.check_msp(org, identity).map_err(|reason| invalid(identity, reason))
    }

    /// The role that the organisation's NodeOUs give the identity; `None` if it has none, or they are off. Meaningless
    /// unless the identity was validated.
    #[must_use]
    pub fn role(&self, identity: &Identity) -> Option<Role> {
        self.orgs().get(identity.msp_id())?.node_ous()?.role(identity.organizational_units())
    }

    fn org_of(&self, identity: &Identity) -> Result<&OrgConfig, MspError> {
        let msp_id = identity.msp_id();
        self.orgs().get(msp_id).ok_or_else(|| MspError::NotInChannel { msp_id: msp_id.clone() })
    }

    /// Fabric's rules; none of them asks what time it is.
    fn check_msp(&self, org: &OrgConfig, identity: &Identity) -> Result<(), InvalidReason> {
        let leaf = identity.certificate();
        if identity.key_kind() == KeyKind::Ed25519 && self.msp_version() < MspVersion::V3_0 {
            return Err(InvalidReason::KeyNeedsV3);
        }
        if leaf.is_ca {
            return Err(InvalidReason::LeafIsCa);
        }
        let chains = chains(leaf, org.roots(), org.intermediates(), leaf.not_before + AFTER_NOT_BEFORE);
        if chains.len() != 1 {
            return Err(InvalidReason::Chains(chains.len()));
        }
        match org.node_ous() {
            Some(node_ous) if node_ous.role(identity.organizational_units()).is_none() => Err(InvalidReason::Role),
            _ => Ok(()),
        }
    }
}

fn invalid(identity: &Identity, reason: InvalidReason) -> MspError {
    MspError::Invalid { msp_id: identity.msp_id().clone(), subject: identity.subject().to_owned(), reason }
}

/// Ours, for live sessions and fresh signatures: Fabric ignores a leaf's expiry.
fn check_dates(identity: &Identity, now: SystemTime) -> Result<(), InvalidReason> {
    if now > identity.not_after() {
        return Err(InvalidReason::Expired);
    }
    if identity.not_before().checked_sub(CLOCK_SKEW).is_some_and(|earliest| now < earliest) {
        return Err(InvalidReason::NotYetValid);
    }
    Ok(())
}
