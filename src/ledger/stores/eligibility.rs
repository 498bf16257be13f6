//! Whether a peer may have private data: then its reconciler asks others for what is missing
//! (fabric: core/ledger/pvtdatastorage/snapshot_data_importer.go).

use crate::snapshot::BlockNumber;

/// What a configuration of a collection says of the joining peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    /// The block that committed the configuration.
    pub(super) committed: BlockNumber,
    /// Whether it makes the peer a member.
    pub(super) is_member: bool,
}

/// Judges data that a block wrote by the collection's configurations, newest first: one that was committed later (or in the same block) makes
/// the peer eligible if it is a member, else the last one before the data decides. `None` if there is no configuration before the data.
pub(super) fn is_eligible(configs: &[Membership], written: BlockNumber) -> Option<bool> {
    let before = configs.iter().position(|config| config.committed < written)?;
    let (since, before) = configs.split_at_checked(before)?;
    Some(since.iter().any(|config| config.is_member) || before.first()?.is_member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_membership_makes_eligible_and_else_that_at_the_time_decides() {
        let configs = [(30, false), (20, true), (10, false)]
            .map(|(block, is_member)| Membership { committed: BlockNumber(block), is_member });
        let [newest, middle, oldest] = configs;
        for (configs, written, expected) in [
            (&configs[..], 31, Some(false)), // the newest decides
            (&configs, 30, Some(true)),      // that of the same block is later, the one before it decides
            (&configs, 21, Some(true)),
            (&configs, 20, Some(true)), // a later one of the same block
            (&configs, 15, Some(true)), // a later one
            (&configs, 10, None),
            (&configs, 0, None),
            (&[newest, oldest], 15, Some(false)),
            (&[middle], 21, Some(true)),
            (&[middle], 20, None),
            (&[], 20, None),
        ] {
            assert_eq!(is_eligible(configs, BlockNumber(written)), expected, "{configs:?} {written}");
        }
    }
}
