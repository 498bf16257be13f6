//! Who a policy asks for (fabric: msp.MSPPrincipal), and whether an identity is one of them.

use std::fmt;

use bytes::Bytes;

use super::{ChannelConfig, Identity, MspError, MspId, OrgConfig, Role, SerializedIdentity, certificate::Certificate};

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
        /// Hash of the concatenated DER of the chain without the leaf, issuer first (SHA-256, unless the MSP says otherwise). Compared as
        /// it is: an empty one is nobody's.
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
    Combined(Vec<Self>),
}

impl ChannelConfig {
    /// Whether the identity, validated by its MSP first (dates are not asked), is what the principal names. Organisations of the
    /// application and of the orderers count alike.
    ///
    /// Stricter than Fabric, which doesn't validate a listed admin again: one that was revoked is no admin.
    ///
    /// # Errors
    /// Why it isn't: [`MspError::NotInChannel`], [`MspError::Invalid`], [`MspError::NoNodeOu`] or [`MspError::NotPrincipal`].
    pub fn satisfies(&self, identity: &Identity, principal: &Principal) -> Result<(), MspError> {
        let org = self.any_org(identity)?;
        self.check_member(org, identity)?;
        is_principal(org, identity, principal)
    }
}

/// For a member of the organisation (fabric: msp/mspimpl.go, satisfiesPrincipalInternalV142).
fn is_principal(org: &OrgConfig, identity: &Identity, principal: &Principal) -> Result<(), MspError> {
    let is = match principal {
        Principal::Role { msp_id, role } => msp_id == org.msp_id() && has_role(org, identity, *role)?,
        Principal::OrganizationUnit { msp_id, unit, certifiers_identifier } => {
            msp_id == org.msp_id() && org.msp().has_unit(identity.certificate(), unit, certifiers_identifier)
        }
        Principal::Identity(serialized) => is_identity(identity, serialized),
        Principal::Anonymity { nominal } => *nominal,
        Principal::Combined(parts) => {
            parts.iter().try_for_each(|part| is_principal(org, identity, part))?;
            !parts.is_empty()
        }
    };
    if is {
        return Ok(());
    }
    Err(MspError::NotPrincipal {
        msp_id: identity.msp_id().clone(),
        subject: identity.subject().to_owned(),
        wanted: principal.to_string(),
    })
}

/// Roles are told apart by NodeOUs alone; members, and admins that the MSP lists, need none.
fn has_role(org: &OrgConfig, identity: &Identity, wanted: PrincipalRole) -> Result<bool, MspError> {
    let role = match wanted {
        PrincipalRole::Member => return Ok(true),
        PrincipalRole::Admin if org.msp().lists_admin(identity.id()) => return Ok(true),
        PrincipalRole::Admin => Role::Admin,
        PrincipalRole::Client => Role::Client,
        PrincipalRole::Peer => Role::Peer,
        PrincipalRole::Orderer => Role::Orderer,
    };
    match org.msp().node_ous() {
        Some(node_ous) if node_ous.names(role) => Ok(node_ous.has(role, identity.organizational_units())),
        _ => Err(MspError::NoNodeOu { msp_id: org.msp_id().clone(), role }),
    }
}

/// Fabric compares the certificates, in canonical form, not how they are spelled.
fn is_identity(identity: &Identity, serialized: &Bytes) -> bool {
    let Ok(wanted) = SerializedIdentity::decode(serialized) else { return false };
    let id = Certificate::from_first_pem(&wanted.id_bytes).ok().and_then(|certificate| certificate.identity_id());
    wanted.msp_id == *identity.msp_id() && id == Some(identity.id())
}

impl fmt::Display for PrincipalRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Orderer => "orderer",
        })
    }
}

/// For messages; at most a few hundred characters, none of control.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { msp_id, role } => write!(f, "{msp_id}.{role}"),
            Self::OrganizationUnit { msp_id, unit, .. } => {
                let unit: String = unit.chars().take(UNIT_CHARS_MAX).collect();
                write!(f, "of the unit {unit:?} of {msp_id}, certified by the CA that is asked for")
            }
            Self::Identity(_) => f.write_str("the one identity that is asked for"),
            Self::Anonymity { nominal: true } => f.write_str("anybody by name"),
            Self::Anonymity { nominal: false } => f.write_str("anonymous"),
            Self::Combined(parts) => write!(f, "all of {} principals", parts.len()),
        }
    }
}

/// Longest unit that is printed.
const UNIT_CHARS_MAX: usize = 64;
