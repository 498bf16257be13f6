//! Trust rules: who must vouch for a snapshot, as an operator writes it.

use std::{collections::BTreeSet, fmt};

use super::{
    RuleError,
    dsl::{self, Meaning, Node, in_chars, shown},
    minimum::{Formula, Orgs, can_have, minimum},
    signers::Signers,
    tree::{Group, Implicit},
};
use crate::msp::{ChannelConfig, Identity, MspId, Principal, PrincipalRole};

/// Most names that a message lists.
const NAMED_MAX: usize = 10;

/// A rule as an operator writes it (trust.md 6.4): a gate over principals, `MAJORITY Endorsement` and the like, or the path of a
/// policy in the channel's configuration. Prints as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRule {
    text: String,
    meaning: Meaning,
}

impl TrustRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`RuleError::Syntax`], also for a rule over a limit: 64 KiB, 16 gates deep, 2048 gates and principals.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        Ok(Self { meaning: dsl::parse(text)?, text: text.to_owned() })
    }

    /// The default: more than half of the channel's application organisations, each by a peer; and no fewer than `min_orgs`.
    #[must_use]
    pub fn majority_of_peers(config: &ChannelConfig, min_orgs: u32) -> Self {
        // Not by way of the text: an MSP ID may hold what the language has no way to write.
        let needed = (config.orgs().len() / 2 + 1).max(usize::try_from(min_orgs).unwrap_or(usize::MAX));
        let mut text = format!("OutOf({needed}");
        let mut args = Vec::new();
        for msp_id in config.orgs().keys() {
            text.push_str(", ");
            args.push(Node::Principal { msp_id: msp_id.clone(), role: PrincipalRole::Peer, position: text.len() });
            text.push_str(&format!("'{msp_id}.peer'"));
        }
        text.push(')');
        Self { text, meaning: dsl::gate(Node::Gate { needed, args }) }
    }

    /// A peer of that organisation, and nobody else.
    #[must_use]
    pub fn peer_of(msp_id: &MspId) -> Self {
        // Not by way of the text, either.
        let mut text = "OR(".to_owned();
        let principal = Node::Principal { msp_id: msp_id.clone(), role: PrincipalRole::Peer, position: text.len() };
        text.push_str(&format!("'{msp_id}.peer')"));
        Self { text, meaning: dsl::gate(Node::Gate { needed: 1, args: vec![principal] }) }
    }

    /// Checks it against the channel: it can be satisfied, by no fewer than `min_orgs` distinct organisations, and names only what the
    /// channel has.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, config: &ChannelConfig, min_orgs: u32) -> Result<(), RuleError> {
        let orgs = self.minimum_orgs(config)?;
        if orgs < min_orgs {
            return Err(RuleError::TooFewOrganisations { text: self.shown(), orgs, min_orgs });
        }
        Ok(())
    }

    /// Fewest distinct organisations (MSP IDs) that can satisfy it. Exact for roles and units; where a policy of the channel names single
    /// identities, it may take more.
    ///
    /// # Errors
    /// It names what the channel hasn't, nobody can satisfy it, or it is too entangled to tell.
    pub fn minimum_orgs(&self, config: &ChannelConfig) -> Result<u32, RuleError> {
        let formula = self.formula(config)?;
        let orgs = minimum(&formula).map_err(|_| RuleError::TooComplex { text: self.shown() })?;
        let orgs = orgs.ok_or_else(|| RuleError::Unsatisfiable { text: self.shown() })?;
        Ok(u32::try_from(orgs).unwrap_or(u32::MAX))
    }

    /// Whether those who signed satisfy it. Their signatures were checked; they are validated here (dates are not asked), only members of
    /// application organisations count, and each identity counts once, in whatever order they come.
    #[must_use]
    pub fn is_satisfied(&self, config: &ChannelConfig, signers: &[&Identity]) -> bool {
        self.judge(config, signers).is_none()
    }

    /// Organisations whose further signatures could help, in order; none if it is satisfied.
    #[must_use]
    pub fn lacking(&self, config: &ChannelConfig, signers: &[&Identity]) -> Vec<MspId> {
        let lacking = self.judge(config, signers).unwrap_or_default();
        lacking.into_iter().filter(|msp_id| config.orgs().contains_key(msp_id)).collect()
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whom it lacks; `None` if it is satisfied.
    fn judge(&self, config: &ChannelConfig, signers: &[&Identity]) -> Option<BTreeSet<MspId>> {
        let members: Vec<&Identity> =
            signers.iter().copied().filter(|signer| config.orgs().contains_key(signer.msp_id())).collect();
        let signers = Signers::new(config, &members);
        let mut lacking = BTreeSet::new();
        let satisfied = match &self.meaning {
            Meaning::Gate { policy, .. } => policy.is_satisfied(&signers, &mut lacking),
            Meaning::Implicit(implicit) => config
                .policies()
                .application()
                .is_some_and(|group| group.is_implicit_satisfied(implicit, &signers, &mut lacking)),
            Meaning::Path(path) => config
                .policies()
                .find(path)
                .is_some_and(|(group, policy)| group.is_satisfied(policy, &signers, &mut lacking)),
        };
        (!satisfied).then_some(lacking)
    }

    fn formula(&self, config: &ChannelConfig) -> Result<Formula, RuleError> {
        let orgs = Orgs::new(config);
        let policies = config.policies();
        match &self.meaning {
            Meaning::Gate { policy, positions } => {
                let mut named = policy.identities.iter().flatten().zip(positions);
                named.try_for_each(|(principal, at)| self.check_principal(config, principal, *at))?;
                Ok(orgs.gate(policy))
            }
            _ if policies.is_none() => Err(RuleError::NoPolicies { text: self.shown() }),
            Meaning::Implicit(implicit) => {
                let group = policies.application().ok_or_else(|| RuleError::NoPolicy { text: self.shown() })?;
                self.check_implicit(group, implicit)?;
                Ok(orgs.implicit(group, implicit))
            }
            Meaning::Path(path) => {
                let found = policies.find(path);
                let (group, policy) = found.ok_or_else(|| RuleError::NoPolicy { text: self.shown() })?;
                Ok(orgs.policy(group, policy))
            }
        }
    }

    fn check_principal(&self, config: &ChannelConfig, principal: &Principal, at: usize) -> Result<(), RuleError> {
        let Principal::Role { msp_id, role } = principal else { return Ok(()) };
        let position = || in_chars(&self.text, at);
        if !config.orgs().contains_key(msp_id) {
            let known = named(config.orgs().keys().map(MspId::as_str));
            return Err(RuleError::NotInChannel {
                text: self.shown(),
                position: position(),
                msp_id: msp_id.clone(),
                known,
            });
        }
        if !can_have(config, msp_id, *role) {
            return Err(RuleError::NoNodeOu {
                text: self.shown(),
                position: position(),
                msp_id: msp_id.clone(),
                role: *role,
            });
        }
        Ok(())
    }

    fn check_implicit(&self, application: &Group, implicit: &Implicit) -> Result<(), RuleError> {
        let has = |group: &Group| group.policies.contains_key(&implicit.sub_policy);
        if application.groups.values().any(has) {
            return Ok(());
        }
        let known: BTreeSet<&str> =
            application.groups.values().flat_map(|group| group.policies.keys()).map(String::as_str).collect();
        let known = named(known.into_iter());
        Err(RuleError::NoSubPolicy { text: self.shown(), name: implicit.sub_policy.clone(), known })
    }

    fn shown(&self) -> String {
        shown(&self.text)
    }
}

impl fmt::Display for TrustRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// For a message: the first few of the names.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<String> = names.take(NAMED_MAX + 1).map(shown).collect();
    if names.len() > NAMED_MAX {
        names.truncate(NAMED_MAX);
        names.push("others".to_owned());
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
