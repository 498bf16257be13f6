//! Policies: how many of whom it takes.
//!
//! Those of the channel's configuration, evaluated as Fabric does, and the operator's trust rules. What a policy is asked for, and that
//! signatures are right, is for the callers.

mod dsl;
mod error;
mod minimum;
mod principals;
mod signature_policy;
mod signers;
#[cfg(test)]
mod tests;
mod tree;
mod trust_rule;

pub use error::{Lacking, PolicyDefect, PolicyError, RuleError};
pub(super) use tree::ChannelPolicies;
pub use trust_rule::TrustRule;

use std::collections::BTreeSet;

use self::signers::Signers;
use super::{ChannelConfig, Identity, MspError};

/// The one policy of a channel that is known by pinned MSP folders: any member of an application organisation.
const READERS: &str = "/Channel/Application/Readers";

impl ChannelConfig {
    /// Evaluates the policy at a path of the configuration (`/Channel/Application/Readers`), as Fabric does, over those who signed.
    /// Their signatures were checked; they are validated here (dates are not asked), and each identity counts once, in whatever order
    /// they come. Whoever isn't valid doesn't count.
    ///
    /// With pinned MSP folders there is only `/Channel/Application/Readers`: any member of one of them.
    ///
    /// # Errors
    /// [`MspError::Policy`]; if nobody who signed is valid, why the first of them isn't.
    pub fn evaluate(&self, path: &str, signers: &[&Identity]) -> Result<(), MspError> {
        let missing = || PolicyError::Missing { path: path.chars().take(PATH_CHARS_MAX).collect() };
        let signers = Signers::new(self, signers);
        if self.policies().is_none() {
            let member = signers.msp_ids().into_iter().any(|msp_id| self.orgs().contains_key(msp_id));
            return match path {
                READERS if member => Ok(()),
                READERS => Err(signers.all_refused().unwrap_or_else(|| {
                    let lacking = Lacking(self.orgs().keys().cloned().collect());
                    PolicyError::NotSatisfied { path: path.to_owned(), lacking }.into()
                })),
                _ => Err(missing().into()),
            };
        }
        let (group, policy) = self.policies().find(path).ok_or_else(missing)?;
        let mut lacking = BTreeSet::new();
        if group.is_satisfied(policy, &signers, &mut lacking) {
            return Ok(());
        }
        if let Some(defect) = group.defect(policy) {
            return Err(PolicyError::Unusable { path: path.to_owned(), defect }.into());
        }
        let lacking = Lacking(lacking.into_iter().collect());
        Err(signers
            .all_refused()
            .unwrap_or_else(|| PolicyError::NotSatisfied { path: path.to_owned(), lacking }.into()))
    }

    /// Whether the configuration has a policy at that path. With pinned MSP folders there is only `/Channel/Application/Readers`.
    #[must_use]
    pub fn has_policy(&self, path: &str) -> bool {
        if self.policies().is_none() { path == READERS } else { self.policies().find(path).is_some() }
    }

    /// The path of the policy that the channel's access control lists name for a resource (`snapferry/List`); `None` if they say
    /// nothing about it. That there is such a policy is for [`Self::evaluate`] to say.
    #[must_use]
    pub fn acl(&self, resource: &str) -> Option<String> {
        self.policies().acl(resource).map(str::to_owned)
    }
}

/// Longest path that a message shows.
const PATH_CHARS_MAX: usize = 256;
