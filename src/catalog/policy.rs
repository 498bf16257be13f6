//! The operator's rule on whom to believe: two policies and what counts for them (trust.md 6.3, 6.4).

use std::collections::BTreeSet;

use crate::{
    msp::{ChannelConfig, Identity, MspId, RuleError, TrustRule},
    snapshot::BlockNumber,
};

/// Organisations of the smallest channel that can agree at all: there the joiner's own one is half of it.
const ORGS_OF_A_PAIR: usize = 2;

/// The keys of `trust:`, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustSettings {
    /// Both policies, unless one of the next two is set.
    pub policy: Option<String>,
    /// Who must vouch for a snapshot's metadata.
    pub metadata_policy: Option<String>,
    /// Who must vouch for its manifest, so that chunks may be used before their file is complete.
    pub manifest_policy: Option<String>,
    /// Fewest distinct organisations; 0 counts as 1.
    pub min_orgs: u32,
    /// Whether the own organisation's statements count.
    pub count_self: Option<bool>,
    /// Whether only statements made for this very join count.
    pub require_live: bool,
    /// No older snapshot than this.
    pub min_block: Option<BlockNumber>,
}

/// Whom it takes to believe a snapshot of one channel. Its rules were checked against that channel's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Over attestations and detached signatures: the snapshot may be used.
    pub metadata: TrustRule,
    /// Over attestations alone: its chunks may be used as they come.
    pub manifest: TrustRule,
    /// Fewest distinct organisations, whatever the rules let pass; 0 counts as 1.
    pub min_orgs: u32,
    /// Whether the own organisation's statements count.
    pub count_self: bool,
    /// Whether only statements made for this very join count.
    pub require_live: bool,
    /// No older snapshot than this.
    pub min_block: Option<BlockNumber>,
}

impl TrustPolicy {
    /// From the settings, with trust.md's defaults: more than half of the channel's organisations, each by a peer; where there are two
    /// organisations that is both, and the own one counts unless the settings say otherwise.
    ///
    /// # Errors
    /// A rule that can't be read, can't be met in this channel, or can be met by fewer organisations than `min_orgs`.
    pub fn new(settings: &TrustSettings, config: &ChannelConfig) -> Result<Self, RuleError> {
        let min_orgs = settings.min_orgs.max(1);
        let rule = |own: &Option<String>| {
            let rule = match own.as_ref().or(settings.policy.as_ref()) {
                Some(text) => TrustRule::parse(text)?,
                None => TrustRule::majority_of_peers(config, min_orgs),
            };
            rule.check(config, min_orgs)?;
            Ok(rule)
        };
        let is_default = settings.policy.is_none() && settings.metadata_policy.is_none();
        Ok(Self {
            metadata: rule(&settings.metadata_policy)?,
            manifest: rule(&settings.manifest_policy)?,
            min_orgs,
            // An explicit rule says itself whom it wants: counting ourselves on top must be as explicit.
            count_self: settings.count_self.unwrap_or_else(|| is_default && config.orgs().len() == ORGS_OF_A_PAIR),
            require_live: settings.require_live,
            min_block: settings.min_block,
        })
    }

    /// Of a clone (trust.md 6.4): a peer of our own organisation is enough. Of the settings, what has to do with time still counts.
    ///
    /// # Errors
    /// Our organisation can't be told from others in this channel, or its peers not from its other members.
    pub fn own_organisation(own: &MspId, settings: &TrustSettings, config: &ChannelConfig) -> Result<Self, RuleError> {
        let rule = TrustRule::peer_of(own);
        rule.check(config, 1)?;
        Ok(Self {
            metadata: rule.clone(),
            manifest: rule,
            min_orgs: 1,
            count_self: true,
            require_live: settings.require_live,
            min_block: settings.min_block,
        })
    }

    /// Whether those who signed meet the rule, and are of enough distinct organisations: asked anew each time, whatever was checked
    /// when the rule was loaded.
    pub(super) fn is_met(&self, rule: &TrustRule, config: &ChannelConfig, signers: &[&Identity]) -> bool {
        let orgs: BTreeSet<&MspId> = signers.iter().map(|signer| signer.msp_id()).collect();
        orgs.len() >= self.orgs_needed() && rule.is_satisfied(config, signers)
    }

    /// Fewest distinct organisations, at least one.
    pub(super) fn orgs_needed(&self) -> usize {
        usize::try_from(self.min_orgs.max(1)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::fixture::{network, org, peer};

    fn settings(min_orgs: u32) -> TrustSettings {
        TrustSettings { min_orgs, ..TrustSettings::default() }
    }

    #[test]
    fn the_defaults_are_a_majority_and_in_a_channel_of_two_both_with_ourselves() {
        let three = TrustPolicy::new(&settings(2), &network()).unwrap();
        assert_eq!(three.metadata, three.manifest);
        let text = three.metadata.as_str();
        assert_eq!(text, "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')");
        assert!(!three.count_self);
        let two = TrustPolicy::new(&settings(2), &network().without(&org(3))).unwrap();
        assert!(two.count_self && two.metadata.as_str().starts_with("OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer'"));
        let told = TrustSettings { count_self: Some(false), ..settings(2) };
        assert!(!TrustPolicy::new(&told, &network().without(&org(3))).unwrap().count_self);
    }

    #[test]
    fn one_key_sets_both_policies_and_each_has_its_own() {
        let both = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned();
        let own = "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer')".to_owned();
        let set = TrustSettings { policy: Some(both.clone()), metadata_policy: Some(own.clone()), ..settings(2) };
        let policy = TrustPolicy::new(&set, &network()).unwrap();
        assert_eq!((policy.metadata.as_str(), policy.manifest.as_str()), (own.as_str(), both.as_str()));
        let set = TrustSettings { policy: Some(both.clone()), manifest_policy: Some(own.clone()), ..settings(2) };
        let policy = TrustPolicy::new(&set, &network()).unwrap();
        assert_eq!((policy.metadata.as_str(), policy.manifest.as_str()), (both.as_str(), own.as_str()));
    }

    #[test]
    fn a_clone_trusts_a_peer_of_its_own_organisation_and_nobody_else() {
        let (set, config) = (TrustSettings { require_live: true, ..settings(2) }, network());
        let policy = TrustPolicy::own_organisation(&org(1), &set, &config).unwrap();
        assert_eq!(policy.metadata.as_str(), "OR('Org1MSP.peer')");
        assert!(policy.count_self && policy.require_live);
        assert!(policy.is_met(&policy.metadata, &config, &[&peer(1).identity]));
        assert!(!policy.is_met(&policy.manifest, &config, &[&peer(2).identity, &peer(3).identity]));
        let same = TrustRule::parse(policy.metadata.as_str()).unwrap();
        assert_eq!(same, policy.metadata, "as if it had been written");
        assert!(TrustPolicy::own_organisation(&org(1), &set, &config.without(&org(1))).is_err());
    }

    #[test]
    fn too_few_organisations_are_refused_at_load_and_again_when_asked() {
        let one = TrustSettings { policy: Some("OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')".to_owned()), ..settings(2) };
        assert!(matches!(TrustPolicy::new(&one, &network()), Err(RuleError::TooFewOrganisations { .. })));
        assert!(matches!(
            TrustPolicy::new(&TrustSettings { policy: Some("yes".to_owned()), ..settings(2) }, &network()),
            Err(RuleError::Syntax { .. })
        ));
        let (org1, config) = (peer(1), network());
        let with = |min_orgs| TrustPolicy::new(&TrustSettings { min_orgs, ..one.clone() }, &config).unwrap();
        // 0 counts as 1: nobody is never enough.
        for policy in [with(0), with(1)] {
            assert!(policy.is_met(&policy.metadata, &config, &[&org1.identity]));
            assert!(!policy.is_met(&policy.metadata, &config, &[]));
        }
        let policy = TrustPolicy { min_orgs: 2, ..with(1) };
        assert!(!policy.is_met(&policy.metadata, &config, &[&org1.identity]));
    }
}
