//! Who a policy asks for (fabric: msp.MSPPrincipal), and whether an identity is one of them.

use bytes::Bytes;

use super::{ChannelConfig, Identity, InvalidReason, MspError, MspId, Role};

/// A role that a principal names: MEMBER is everybody of the organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalRole {
    /// Anybody of the organisation.
    Member,
    /// By the admin OU, or listed as an admin.
    Admin,
    /// By the client OU.
    Client,
    /// By the peer OU.
    Peer,
    /// By the orderer OU.
    Orderer,
}

/// Somebody whom a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever has that role in that organisation.
    Role {
        /// The organisation.
        msp_id: MspId,
        /// The role.
        role: PrincipalRole,
    },
    /// Whoever has that unit, certified by that chain.
    OrganizationUnit {
        /// The organisation.
        msp_id: MspId,
        /// The unit.
        unit: String,
        /// SHA-256 of the concatenated DER of the chain without the leaf; empty: any.
        certifiers_identifier: Bytes,
    },
    /// Exactly that `msp.SerializedIdentity`.
    Identity(Bytes),
    /// Anonymity: true if nominal (every X.509 identity), false if anonymity is asked for.
    Anonymity {
        /// Nominal.
        nominal: bool,
    },
    /// All of them.
    Combined(Vec<Principal>),
}

impl ChannelConfig {
    /// Whether the identity, validated by its MSP first (dates are not asked), is what the principal names.
    ///
    /// # Errors
    /// Why it isn't.
    pub fn satisfies(&self, identity: &Identity, principal: &Principal) -> Result<(), MspError> {
        self.validate_stored(identity)?;
        let wanted = match principal {
            Principal::Role { msp_id, role } if msp_id == identity.msp_id() => match role {
                PrincipalRole::Member => return Ok(()),
                PrincipalRole::Admin => Role::Admin,
                PrincipalRole::Client => Role::Client,
                PrincipalRole::Peer => Role::Peer,
                PrincipalRole::Orderer => Role::Orderer,
            },
            _ => return Err(self.not_principal(identity)),
        };
        if self.role(identity) == Some(wanted) { Ok(()) } else { Err(self.not_principal(identity)) }
    }

    fn not_principal(&self, identity: &Identity) -> MspError {
        MspError::Invalid {
            msp_id: identity.msp_id().clone(),
            subject: identity.subject().to_owned(),
            reason: InvalidReason::Role,
        }
    }
}
