//! WHO somebody is: MSP identities, channel configuration, signatures (no tokio, no network).
//!
//! Decides whether a certificate is a member of a channel's organisation, and whose a signature is. Which of them may do what,
//! and how many it takes, is for the layers above. Fabric's messages stop here.

mod access;
mod block_signatures;
mod ca_tree;
mod certificate;
mod chain;
mod config;
mod crl;
mod der;
mod error;
mod folder;
mod grant;
mod identity;
mod local;
mod low_s;
mod membership;
mod org;
mod pb;
mod policy;
mod principal;
#[cfg(test)]
pub(crate) mod recorded;
mod signature;
mod signer;
#[cfg(test)]
mod test_channel;
#[cfg(test)]
mod tests;
mod units;
mod validate;

pub use access::{AccessError, Operation};
pub use config::{CONFIG_BYTES_MAX, ChannelConfig, MspVersion};
#[doc(hidden)]
pub use crl::is_revocation_list;
pub use error::{CertificateError, ConfigError, InvalidReason, MspError, OrganisationError, RevocationListError};
pub use grant::{GRANT_BYTES_MAX, GRANT_VALID_MAX, GrantBody, GrantError, GrantedOperation, JoinGrant};
pub use identity::{Identity, IdentityId, Role, SerializedIdentity};
pub use local::{LocalIdentity, TlsPair};
pub use org::OrgConfig;
pub use policy::{Lacking, PolicyDefect, PolicyError, RuleError, TrustRule};
pub use principal::{Principal, PrincipalRole};
pub use signature::Purpose;
pub use signer::Signer;

use std::fmt;

/// An organisation's MSP ID, e.g. `Org1MSP`. Bounded where it is parsed (256 bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MspId(String);

impl MspId {
    const BYTES_MAX: usize = 256;

    /// The name, unless it is empty, longer than 256 bytes, or holds control characters (it is printed and logged).
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = !name.is_empty() && name.len() <= Self::BYTES_MAX && !name.chars().any(char::is_control);
        legal.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MspId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
