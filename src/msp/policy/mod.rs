//! Policies: how many of whom it takes.

use super::{ChannelConfig, Identity, MspError, MspId, Principal, PrincipalRole};

impl ChannelConfig {
    /// Evaluates the policy at a path of the configuration (`/Channel/Application/Readers`), as Fabric does, over those who signed.
    ///
    /// # Errors
    /// Why it isn't satisfied, or that there is no such policy.
    pub fn evaluate(&self, path: &str, signers: &[&Identity]) -> Result<(), MspError> {
        let role = if path.ends_with("/Admins") { PrincipalRole::Admin } else { PrincipalRole::Member };
        signers
            .iter()
            .try_for_each(|signer| self.satisfies(signer, &Principal::Role { msp_id: signer.msp_id().clone(), role }))
    }

    /// The path of the policy that the channel's access control lists name for a resource.
    #[must_use]
    pub const fn acl(&self, _resource: &str) -> Option<String> {
        None
    }
}

/// A rule as an operator writes it (trust.md 6.4): a gate over principals, `MAJORITY Endorsement` and the like, or the path of a
/// policy in the channel's configuration. Prints as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRule {
    text: String,
    needed: usize,
    principals: Vec<Principal>,
}

/// A rule that can't be read, or that can't do what it should in this channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Not a rule.
    #[error("{text:?} is no trust rule: {reason}; e.g. OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')")]
    Syntax {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It can be satisfied by fewer organisations than must agree.
    #[error("{text} can be satisfied by {orgs} organisation(s), but trust.minOrgs is {min_orgs}")]
    TooFewOrganisations {
        /// As written.
        text: String,
        /// Fewest distinct MSP IDs that satisfy it.
        orgs: u32,
        /// What is asked for.
        min_orgs: u32,
    },
}

impl TrustRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`RuleError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let syntax = |reason: &str| RuleError::Syntax { text: text.to_owned(), reason: reason.to_owned() };
        let inner = text.strip_prefix("OutOf(").and_then(|rest| rest.strip_suffix(')'));
        let mut parts = inner.ok_or_else(|| syntax("only OutOf"))?.split(',').map(str::trim);
        let needed = parts.next().and_then(|n| n.parse().ok()).ok_or_else(|| syntax("no number"))?;
        let principals = parts.map(|part| {
            let (org, role) = part.trim_matches('\'').rsplit_once('.')?;
            let role = if role == "peer" { PrincipalRole::Peer } else { PrincipalRole::Member };
            Some(Principal::Role { msp_id: MspId::new(org)?, role })
        });
        let principals = principals.collect::<Option<Vec<_>>>().ok_or_else(|| syntax("no principal"))?;
        Ok(Self { text: text.to_owned(), needed, principals })
    }

    /// The default: more than half of the channel's application organisations, each by a peer.
    #[must_use]
    pub fn majority_of_peers(config: &ChannelConfig) -> Self {
        let orgs: Vec<String> = config.orgs().keys().map(|org| format!("'{org}.peer'")).collect();
        let text = format!("OutOf({}, {})", orgs.len() / 2 + 1, orgs.join(", "));
        Self::parse(&text).expect("made of MSP IDs")
    }

    /// Checks it against the channel: it can be satisfied, by no fewer than `min_orgs` distinct organisations, and names only what the
    /// channel has.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, _config: &ChannelConfig, min_orgs: u32) -> Result<(), RuleError> {
        let orgs = u32::try_from(self.needed).unwrap_or(u32::MAX);
        if orgs < min_orgs {
            return Err(RuleError::TooFewOrganisations { text: self.text.clone(), orgs, min_orgs });
        }
        Ok(())
    }

    /// Whether those who signed satisfy it. Their signatures were checked; they are validated here (dates are not asked), and each
    /// identity counts once, in whatever order they come.
    #[must_use]
    pub fn is_satisfied(&self, config: &ChannelConfig, signers: &[&Identity]) -> bool {
        let met = |principal: &&Principal| signers.iter().any(|signer| config.satisfies(signer, principal).is_ok());
        self.principals.iter().filter(met).count() >= self.needed
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
