//! The rule of a join, and what counts beside the sources' own words.

use crate::{
    catalog::{Statements, TrustPolicy},
    msp::ChannelConfig,
    snapshot::BlockNumber,
};

/// The rule, and what counts beside the sources' own words.
#[derive(Debug, Clone)]
pub struct JoinTrust {
    /// Who must vouch.
    pub policy: TrustPolicy,
    /// The highest block that this peer ever had of the channel; with the configuration block and `policy.min_block` it makes the floor.
    pub highest_had: Option<BlockNumber>,
    /// Whether a snapshot below the floor may be taken.
    pub allow_older: bool,
    /// What came another way than from a source of this join: files of the operator, and what earlier joins heard.
    pub given: Statements,
}

impl JoinTrust {
    /// Below this no snapshot is taken (trust.md 6.5).
    #[must_use]
    pub fn floor(&self, config: &ChannelConfig) -> BlockNumber {
        [self.highest_had, self.policy.min_block].into_iter().flatten().fold(config.block_number(), BlockNumber::max)
    }

    /// Fewest organisations that the rule can be satisfied by.
    pub(in crate::bootstrap) fn orgs_needed(&self, config: &ChannelConfig) -> usize {
        let policy = &self.policy;
        let orgs = policy.metadata.minimum_orgs(config).unwrap_or(policy.min_orgs).max(policy.min_orgs);
        usize::try_from(orgs).unwrap_or(usize::MAX)
    }
}
