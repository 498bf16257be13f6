//! After which block private data expire (`blockToLive`). Fabric has two rules, and a snapshot's records follow both: what the state
//! purges is decided by the newest configuration (fabric: core/ledger/kvledger/kv_ledger_provider.go, mostRecentCollectionConfigFetcher),
//! what the private data store purges by the oldest one that sets it (fabric: core/ledger/pvtdatastorage/snapshot_data_importer.go).

use crate::snapshot::BlockNumber;

/// Blocks that a collection's data live behind the one that wrote them; 0 = for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BlocksToLive {
    /// Of the chaincode's newest configuration; `None` if that doesn't name the collection.
    newest: Option<u64>,
    /// Of the oldest configuration where it isn't 0.
    oldest_set: u64,
}

impl BlocksToLive {
    /// Adds what a configuration says: they come from the newest to the oldest.
    pub(super) const fn add(&mut self, blocks: u64, is_newest: bool) {
        if is_newest {
            self.newest = Some(blocks);
        }
        if blocks > 0 {
            self.oldest_set = blocks;
        }
    }

    /// When the state's hashes expire; `Err` where Fabric finds no configuration.
    pub(super) fn of_state(self, written: BlockNumber) -> Result<Option<BlockNumber>, NotInNewest> {
        self.newest.map(|blocks| expiring_block(written, blocks)).ok_or(NotInNewest)
    }

    /// When entries of the private data store expire.
    pub(super) fn of_private_data(self, written: BlockNumber) -> Option<BlockNumber> {
        expiring_block(written, self.oldest_set)
    }
}

/// The newest configuration doesn't name the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotInNewest;

/// The block that purges; `None`: none will (fabric: core/ledger/pvtdatapolicy; the highest number stands for never).
fn expiring_block(written: BlockNumber, blocks: u64) -> Option<BlockNumber> {
    let expiring = written.0.checked_add(blocks)?.checked_add(1)?;
    (blocks > 0 && expiring < u64::MAX).then_some(BlockNumber(expiring))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_newest_and_private_data_the_oldest_that_says_something() {
        let written = BlockNumber(10);
        let of = |configs: &[(u64, bool)]| {
            let mut blocks = BlocksToLive::default();
            configs.iter().for_each(|&(btl, is_newest)| blocks.add(btl, is_newest));
            let number = |block: Option<BlockNumber>| block.map(|block| block.0);
            (blocks.of_state(written).map(number), number(blocks.of_private_data(written)))
        };
        assert_eq!(of(&[(40, true)]), (Ok(Some(51)), Some(51)));
        assert_eq!(of(&[(40, true), (7, false), (0, false)]), (Ok(Some(51)), Some(18)));
        assert_eq!(of(&[(0, true), (7, false)]), (Ok(None), Some(18)));
        assert_eq!(of(&[(0, true)]), (Ok(None), None));
        assert_eq!(of(&[(7, false)]), (Err(NotInNewest), Some(18)));
        assert_eq!(of(&[(u64::MAX - 12, true)]), (Ok(Some(u64::MAX - 1)), Some(u64::MAX - 1)));
        // The highest number, and what would be above it, is never.
        for blocks in [u64::MAX - 11, u64::MAX - 10, u64::MAX] {
            assert_eq!(of(&[(blocks, true)]), (Ok(None), None));
        }
    }
}
