//! What a peer's refusals mean. It has no codes, only texts: all of them are matched here.
//!
//! The texts are those of Fabric 2.3 to 3.1 (fabric: core/ledger/kvledger/snapshot_mgmt.go, core/ledger/snapshotgrpc,
//! core/scc/cscc, core/scc/qscc, core/endorser). One that isn't known is shown as it is.

use std::fmt;

use crate::snapshot::BlockNumber;

/// Longest text that is kept of a peer's answer, in characters: its policies' explanations have some hundreds.
const TEXT_CHARS_MAX: usize = 4096;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The peer isn't in that channel.
    NotJoined,
    /// A snapshot can't be made of a block that lies behind the last one.
    BehindLastBlock(BlockNumber),
    /// The same request is pending already.
    AlreadyRequested,
    /// The snapshot is there already; of this block, if the peer says it.
    AlreadyGenerated(Option<BlockNumber>),
    /// There is no such request to be cancelled.
    NoSuchRequest,
    /// The snapshot is being made: too late to cancel.
    UnderProcessing,
    /// Identity or access rule.
    Denied,
    /// The peer is joining by a snapshot: one at a time.
    JoinUnderWay,
    /// Something else: the text says it.
    Other,
}

impl Refusal {
    /// By the text.
    fn of(text: &str) -> Self {
        let has = |part: &str| text.contains(part);
        // Denials first: they may quote what was asked for.
        if ["access denied", "check policy", "client identity expired"].into_iter().any(has) {
            return Self::Denied;
        }
        if has("cannot be less than the last committed block number") {
            let last = number_behind(text, "last committed block number ");
            return last.map_or(Self::Other, Self::BehindLastBlock);
        }
        if has("snapshot already generated") {
            return Self::AlreadyGenerated(number_behind(text, "for block number "));
        }
        let known = [
            ("cannot find ledger for channel", Self::NotJoined),
            ("Invalid chain ID", Self::NotJoined),
            ("duplicate snapshot request", Self::AlreadyRequested),
            ("no snapshot request exists", Self::NoSuchRequest),
            ("because it is under processing", Self::UnderProcessing),
            ("a ledger is being created from a snapshot", Self::JoinUnderWay),
        ];
        // `channel 'x' not found`: the endorser's word where the header names the channel.
        let no_channel = text.starts_with("channel '") && text.ends_with("' not found");
        let found = known.into_iter().find(|(part, _)| has(part)).map(|(_, refusal)| refusal);
        found.unwrap_or(if no_channel { Self::NotJoined } else { Self::Other })
    }
}

/// A refusal: what it means, and the peer's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it means.
    pub refusal: Refusal,
    text: String,
}

impl Refused {
    /// From the peer's text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let refusal = Refusal::of(text);
        // It is printed and logged.
        let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { refusal, text: printable.take(TEXT_CHARS_MAX).collect() }
    }

    /// The peer's words, at most 4096 characters, none of control.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number that stands right behind those words.
fn number_behind(text: &str, words: &str) -> Option<BlockNumber> {
    let (_, behind) = text.rsplit_once(words)?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(BlockNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_texts_are_understood() {
        for (text, refusal) in [
            ("cannot find ledger for channel nosuch", Refusal::NotJoined),
            ("Invalid chain ID, nosuch", Refusal::NotJoined),
            ("channel 'nosuch' not found", Refusal::NotJoined),
            (
                "requested snapshot for block number 2 cannot be less than the last committed block number 83",
                Refusal::BehindLastBlock(BlockNumber(83)),
            ),
            ("duplicate snapshot request for block number 100000", Refusal::AlreadyRequested),
            ("snapshot already generated for block number 83", Refusal::AlreadyGenerated(Some(BlockNumber(83)))),
            ("no snapshot request exists for block number 100000", Refusal::NoSuchRequest),
            ("cannot cancel the snapshot request because it is under processing", Refusal::UnderProcessing),
            ("client identity expired 5h0m0s before", Refusal::Denied),
            (
                "failed verifying that the signed data identity satisfies local MSP principal during channelless check policy with policy \
                 [Admins]: [The identity is not an admin under this MSP [Org1MSP]: The identity does not contain OU [ADMIN], MSP: [Org1MSP]]",
                Refusal::Denied,
            ),
            (
                "failed deserializing signed data identity during channelless check policy with policy [Admins]: [expected MSP ID \
                 Org1MSP, received Org2MSP]",
                Refusal::Denied,
            ),
            ("access denied for [JoinChainBySnapshot]: [Failed verifying that]", Refusal::Denied),
            (
                "cannot create ledger from snapshot /a: a ledger is being created from a snapshot at /b. Call ledger creation again after \
                 it is done.",
                Refusal::JoinUnderWay,
            ),
            ("cannot create ledger from snapshot /a: snapshot dir /a is empty", Refusal::Other),
            ("", Refusal::Other),
        ] {
            assert_eq!(Refused::new(text).refusal, refusal, "{text}");
        }
    }

    #[test]
    fn a_text_is_cut_and_holds_nothing_that_moves_a_terminal() {
        let refused = Refused::new(&format!("a\u{1b}[2Jb\nc{}", "é".repeat(2 * TEXT_CHARS_MAX)));
        assert!(refused.text().starts_with("a [2Jb c"), "{refused}");
        assert_eq!(refused.text().chars().count(), TEXT_CHARS_MAX);
    }
}
