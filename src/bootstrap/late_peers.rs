//! Warns where private data may never come: if every source's own peer joined by a snapshot after the one that was agreed on, none of them
//! may ever have had what came before (a drawback that the ledger checkpointing RFC names).
//!
//! Decides only whether to warn: sources say where their peers begin, or don't, and nothing else depends on it.

use super::{event::LatePeer, sources::Sources};
use crate::snapshot::BlockNumber;

/// The sources whose peers begin too late, if none that says where its peer begins could have what that snapshot leaves to be fetched.
pub(super) fn late_peers(block_number: BlockNumber, sources: &Sources) -> Vec<LatePeer> {
    let told = sources.ready().iter().filter_map(|(index, ready)| {
        let peer_begins_at = ready.listing.peer_begins_at?.0;
        let msp_id = ready.session.peer().msp_id.to_string();
        Some(LatePeer { source: sources.address(*index).to_owned(), msp_id, peer_begins_at })
    });
    if_all_late(block_number, told.collect())
}

fn if_all_late(block_number: BlockNumber, told: Vec<LatePeer>) -> Vec<LatePeer> {
    // One that joined by this very snapshot began with the next block, and has fetched what it could.
    let is_late = |peer: &LatePeer| peer.peer_begins_at > block_number.0.saturating_add(1);
    if told.iter().all(is_late) { told } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_could_have_it_is_enough() {
        let told = |begins: &[u64]| {
            let peer = |peer_begins_at: &u64| LatePeer {
                source: "a:1".to_owned(),
                msp_id: "Org1MSP".to_owned(),
                peer_begins_at: *peer_begins_at,
            };
            if_all_late(BlockNumber(83), begins.iter().map(peer).collect()).len()
        };
        assert_eq!(told(&[]), 0, "who says nothing isn't late");
        assert_eq!(told(&[85]), 1);
        assert_eq!(told(&[85, 200]), 2);
        assert_eq!(told(&[84, 200]), 0, "joined by this very snapshot");
        assert_eq!(told(&[200, 0]), 0);
    }
}
