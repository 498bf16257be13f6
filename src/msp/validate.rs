//! Whether an identity is what it claims to be, by the MSP of its organisation in a channel (the rules are `membership`'s), and by our
//! own rule on dates.

use std::time::{Duration, SystemTime};

use super::{ChannelConfig, Identity, InvalidReason, MspError, MspVersion, OrgConfig, Role, signature::KeyKind};

/// How far another clock may be behind ours: a fresh certificate isn't refused for it.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

impl ChannelConfig {
    /// Judges an identity: a member of an application organisation of the channel by Fabric's rules ([`Self::validate_stored`]), and not
    /// expired at `now`.
    ///
    /// # Errors
    /// [`MspError::NotInChannel`], or [`MspError::Invalid`] with the rule that it breaks.
    pub fn validate(&self, identity: &Identity, now: SystemTime) -> Result<(), MspError> {
        self.validate_stored(identity)?;
        check_dates(identity, now).map_err(|reason| invalid(identity, reason))
    }

    /// Judges an identity by Fabric's rules alone: no CA, exactly one chain to the organisation's roots by a CA that has none below it,
    /// not revoked, one role where roles are on. Its expiry doesn't count: for what was signed in the past.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn validate_stored(&self, identity: &Identity) -> Result<(), MspError> {
        let msp_id = identity.msp_id();
        let org = self.orgs().get(msp_id).ok_or_else(|| MspError::NotInChannel { msp_id: msp_id.clone() })?;
        self.check_member(org, identity)
    }

    /// The role that the organisation's NodeOUs give the identity; `None` if it has none, or they are off. Meaningless
    /// unless the identity was validated.
    #[must_use]
    pub fn role(&self, identity: &Identity) -> Option<Role> {
        self.orgs().get(identity.msp_id())?.msp().node_ous()?.role(identity.organizational_units())
    }

    /// Checks a signature over exactly those bytes that one of Fabric's own tools made (a block's, a snapshot request's): ECDSA over
    /// the hash that the signer's MSP prescribes. Who isn't of the channel is asked for SHA-256; that it is a member is for
    /// [`Self::satisfies`].
    ///
    /// # Errors
    /// [`MspError::Signature`] if it is wrong, malformed, or its S is above n/2.
    pub fn verify_signature(&self, identity: &Identity, message: &[u8], signature: &[u8]) -> Result<(), MspError> {
        match self.any_org(identity) {
            Ok(org) => identity.verify_with(org.msp().hash_family(), message, signature),
            Err(_) => identity.verify_message(message, signature),
        }
    }

    /// The identity's organisation, application's or orderers'.
    pub(super) fn any_org(&self, identity: &Identity) -> Result<&OrgConfig, MspError> {
        let msp_id = identity.msp_id();
        let org = self.orgs().get(msp_id).or_else(|| self.orderer_orgs().get(msp_id));
        org.ok_or_else(|| MspError::NotInChannel { msp_id: msp_id.clone() })
    }

    /// Whether the identity is a member of that organisation by Fabric's rules.
    pub(super) fn check_member(&self, org: &OrgConfig, identity: &Identity) -> Result<(), MspError> {
        if identity.key_kind() == KeyKind::Ed25519 && self.msp_version() < MspVersion::V3_0 {
            return Err(invalid(identity, InvalidReason::KeyNeedsV3));
        }
        org.msp().check(identity.certificate()).map_err(|reason| invalid(identity, reason))
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
