//! Why no snapshot can be used: one sentence that names who said what.

use super::Tally;
use crate::{
    msp::MspId,
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotId},
};

/// Blocks that an error lists, newest first: enough to see why, short enough to read.
const TALLIES_SHOWN: usize = 5;
/// Organisations that are named as missing.
const ORGS_SHOWN: usize = 5;

/// No snapshot can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgreementError {
    /// Nobody offers anything.
    #[error("no source offers a snapshot of channel {channel}{}", at_block(.block_number))]
    NothingOffered {
        /// The channel.
        channel: ChannelId,
        /// The block asked for.
        block_number: Option<BlockNumber>,
    },
    /// All that is offered is older than what this peer had.
    #[error(
        "{}, below the floor {floor} (the greatest of \
         the configuration's block, the highest block that this peer ever had, and trust.minBlock): that would be a rollback; if you want \
         it, say --allow-older",
        offered_below(.channel, *.block_number, *.asked)
    )]
    BelowFloor {
        /// The channel.
        channel: ChannelId,
        /// The newest block that is offered, or the one asked for.
        block_number: BlockNumber,
        /// Whether just that block was asked for.
        asked: bool,
        /// The lowest block that isn't a rollback.
        floor: BlockNumber,
    },
    /// Too few organisations vouch for the same, or enough, but nobody has the data any more.
    #[error(
        "no snapshot of channel {channel}{} is vouched for, with its data, as the trust rule {rule} and trust.minOrgs {min_orgs} ask: {}",
        at_block(.block_number), listed(.tallies, *.min_orgs)
    )]
    NotReached {
        /// The channel.
        channel: ChannelId,
        /// The block asked for.
        block_number: Option<BlockNumber>,
        /// How many organisations it takes at least.
        min_orgs: u32,
        /// The metadata policy.
        rule: String,
        /// Who says what, newest block first.
        tallies: Vec<Tally>,
    },
    /// Two different snapshots of one block each meet the policy: which one is true can't be told.
    #[error("channel {channel} is split, ask its organisations: {}", .tally)]
    Split {
        /// The channel.
        channel: ChannelId,
        /// Who says what.
        tally: Box<Tally>,
    },
    /// It is vouched for or has to be looked at, but nobody gave a manifest with the hash that is named.
    #[error(
        "the manifest {manifest_hash} of {id} is needed to tell whether it is vouched for or to fetch it, but no source gave it"
    )]
    ManifestMissing {
        /// The snapshot.
        id: SnapshotId,
        /// The manifest to fetch.
        manifest_hash: ManifestHash,
    },
    /// Those who vouched for it no longer suffice.
    #[error(
        "{id} is no longer vouched for as the trust rule {rule} and trust.minOrgs {min_orgs} ask: {}",
        if .fallen.is_empty() { "the rule changed since".to_owned() } else { .fallen.join("; ") }
    )]
    NoLongerMet {
        /// The snapshot.
        id: SnapshotId,
        /// The rule that isn't met.
        rule: String,
        /// How many organisations it takes at least.
        min_orgs: u32,
        /// Whose statement counts no more, and why.
        fallen: Vec<String>,
    },
}

fn offered_below(channel: &ChannelId, block_number: BlockNumber, asked: bool) -> String {
    if asked {
        return format!("the snapshot of channel {channel} that was asked for ends at block {block_number}");
    }
    format!("the newest snapshot of channel {channel} that is offered ends at block {block_number}")
}

fn at_block(block_number: &Option<BlockNumber>) -> String {
    block_number.map_or_else(String::new, |block_number| format!(" at block {block_number}"))
}

fn listed(tallies: &[Tally], min_orgs: u32) -> String {
    let told = tallies.iter().take(TALLIES_SHOWN).map(|tally| format!("{tally}; {}", lacking(tally, min_orgs)));
    let mut text = told.collect::<Vec<_>>().join("; ");
    if tallies.len() > TALLIES_SHOWN {
        text.push_str(&format!("; and {} older blocks", tallies.len() - TALLIES_SHOWN));
    }
    text
}

/// What the largest camp of a block lacks.
fn lacking(tally: &Tally, min_orgs: u32) -> String {
    if let Some(met) = tally.camps.iter().find(|camp| camp.meets_metadata) {
        let data = "lacking: a source with the data";
        return if met.data_sources.is_empty() { data.to_owned() } else { "lacking: a usable manifest".to_owned() };
    }
    let has = tally.camps.first().map_or(0, |camp| camp.orgs.len());
    let what = match usize::try_from(min_orgs).unwrap_or(usize::MAX).saturating_sub(has) {
        0 => "lacking: signers whom the rule asks for".to_owned(),
        1 => "lacking: one more organisation that attests it".to_owned(),
        more => format!("lacking: {more} more organisations that attest it"),
    };
    let whose = tally.camps.first().map(|camp| camp.lacking_orgs.as_slice()).unwrap_or_default();
    let shown: Vec<&str> = whose.iter().take(ORGS_SHOWN).map(MspId::as_str).collect();
    if shown.is_empty() && tally.camps.first().is_some_and(|camp| camp.own_could_help) {
        return format!("{what} (only our own is left, which doesn't count: trust.countSelf, --count-self)");
    }
    match (shown.is_empty(), whose.len().saturating_sub(ORGS_SHOWN)) {
        (true, _) => what,
        (false, 0) => format!("{what} ({})", shown.join(" or ")),
        (false, more) => format!("{what} ({} or one of {more} others)", shown.join(" or ")),
    }
}
