//! Access rules (trust.md 2.3): who may do what in a channel.

use std::{fmt, time::SystemTime};

use super::{
    ChannelConfig, GrantError, Identity, JoinGrant, MspError, Principal, PrincipalRole, grant::GrantedOperation,
};
use crate::snapshot::BlockNumber;

/// The policy whose members may open a session.
const READERS: &str = "/Channel/Application/Readers";

/// What somebody asks of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// The RFC's ListSnapshots.
    List,
    /// The RFC's SignSnapshotMetadata.
    Sign,
    /// Manifests, chunk trees and chunks.
    Fetch,
}

impl Operation {
    /// Its name in the channel's ACLs, by which the channel's admins may govern it.
    #[must_use]
    pub const fn acl(self) -> &'static str {
        match self {
            Self::List => "snapferry/List",
            Self::Sign => "snapferry/Sign",
            Self::Fetch => "snapferry/Fetch",
        }
    }

    /// What a grant calls it; fetching can't be granted.
    const fn granted(self) -> Option<GrantedOperation> {
        match self {
            Self::List => Some(GrantedOperation::List),
            Self::Sign => Some(GrantedOperation::Sign),
            Self::Fetch => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.acl())
    }
}

/// Why somebody may not do what it asks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It is no valid member of the channel.
    #[error("it is no valid member of the channel")]
    Identity(#[source] MspError),
    /// A policy of the channel says no.
    #[error("{operation} isn't allowed to it")]
    Policy {
        /// What it asks.
        operation: Operation,
        /// The policy's word.
        source: MspError,
    },
    /// It isn't among the admins, and its grant doesn't help.
    #[error("{operation} isn't allowed to it, and its grant doesn't hold")]
    Grant {
        /// What it asks.
        operation: Operation,
        /// What is wrong with the grant.
        source: GrantError,
    },
    /// The grant is in order, but its issuer may not do that either.
    #[error("{operation} isn't allowed to the grant's issuer either")]
    Issuer {
        /// What it asks.
        operation: Operation,
        /// The policy's word.
        source: MspError,
    },
    /// Only peers and admins fetch.
    #[error("it is neither a peer nor an admin")]
    Role(#[source] MspError),
}

impl ChannelConfig {
    /// Whether the identity may do that now: by the channel's ACL of the operation's name, if there is one; else lists and signatures
    /// are for its organisation's admins, and fetching is for the channel's readers that are peers or admins. A grant passes on what
    /// its issuer may do, and no more.
    ///
    /// # Errors
    /// [`AccessError`] with the rule that says no.
    pub fn check_access(
        &self,
        identity: &Identity,
        operation: Operation,
        grant: Option<&JoinGrant>,
        block: Option<BlockNumber>,
        now: SystemTime,
    ) -> Result<(), AccessError> {
        self.validate(identity, now).map_err(AccessError::Identity)?;
        let Some(granted) = operation.granted() else { return self.check_fetch(identity) };
        let Err(source) = self.check_admin_operation(identity, operation) else { return Ok(()) };
        let Some(grant) = grant else { return Err(AccessError::Policy { operation, source }) };
        let held = grant.check(self, identity, Some(granted), block, now);
        held.map_err(|source| AccessError::Grant { operation, source })?;
        let issuer = self.check_admin_operation(grant.issuer(), operation);
        issuer.map_err(|source| AccessError::Issuer { operation, source })
    }

    /// Whether the identity is among those who may open a session: the channel's readers.
    ///
    /// # Errors
    /// The policy's word.
    pub fn check_reader(&self, identity: &Identity) -> Result<(), MspError> {
        self.evaluate(READERS, &[identity])
    }

    fn check_admin_operation(&self, identity: &Identity, operation: Operation) -> Result<(), MspError> {
        if let Some(path) = self.acl(operation.acl()) {
            return self.evaluate(&path, &[identity]);
        }
        match self.group_of(identity.msp_id()) {
            // `/Channel/Application/Admins` often takes a majority of the organisations: that of its own is meant.
            Some(group) => self.evaluate(&format!("/Channel/Application/{group}/Admins"), &[identity]),
            // Pinned MSP folders bring no groups and no policies.
            None => self.satisfies(identity, &role(identity, PrincipalRole::Admin)),
        }
    }

    fn check_fetch(&self, identity: &Identity) -> Result<(), AccessError> {
        let said_no = |source| AccessError::Policy { operation: Operation::Fetch, source };
        if let Some(path) = self.acl(Operation::Fetch.acl()) {
            return self.evaluate(&path, &[identity]).map_err(said_no);
        }
        self.check_reader(identity).map_err(said_no)?;
        let peer = self.satisfies(identity, &role(identity, PrincipalRole::Peer));
        let admin = || self.satisfies(identity, &role(identity, PrincipalRole::Admin));
        peer.or_else(|_| admin()).map_err(AccessError::Role)
    }
}

/// That role in the identity's own organisation.
fn role(identity: &Identity, role: PrincipalRole) -> Principal {
    Principal::Role { msp_id: identity.msp_id().clone(), role }
}

#[cfg(test)]
mod tests;
