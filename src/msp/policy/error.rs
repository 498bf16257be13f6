//! Why a policy isn't satisfied, and what is wrong with a trust rule.

use std::fmt;

use crate::msp::{MspId, PrincipalRole};

/// Most organisations that a message names.
const NAMED_MAX: usize = 10;

/// A policy of the channel's configuration that isn't satisfied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The configuration has no such policy: nobody satisfies it.
    #[error("the channel's configuration has no policy {path}")]
    Missing {
        /// Its path.
        path: String,
    },
    /// It can't be evaluated: nobody satisfies it.
    #[error("the channel's policy {path} is unusable: {defect}")]
    Unusable {
        /// Its path.
        path: String,
        /// Why.
        defect: PolicyDefect,
    },
    /// Those who signed are too few, or the wrong ones.
    #[error("the channel's policy {path} is not satisfied: {lacking}")]
    NotSatisfied {
        /// Its path.
        path: String,
        /// Who could help.
        lacking: Lacking,
    },
}

/// Why a policy can't be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyDefect {
    /// It doesn't decode, or lacks a part.
    #[error("it does not decode")]
    Decode,
    /// Neither SIGNATURE nor IMPLICIT_META.
    #[error("its type {0} is unknown")]
    Type(i32),
    /// A signature policy of a version that isn't known.
    #[error("its version {0} is unknown")]
    Version(i32),
    /// An implicit meta policy of a rule that isn't known.
    #[error("its rule {0} is unknown")]
    Rule(i32),
    /// A rule refers to somebody who isn't listed.
    #[error("it refers to identity {0}, which it does not list")]
    Index(i32),
    /// Nested too deep.
    #[error("its rules are nested more than {0} deep")]
    Depth(usize),
    /// Too many rules or identities.
    #[error("it has more than {0} rules or identities")]
    Size(usize),
    /// An implicit meta policy over no group at all: Fabric takes it for satisfied.
    #[error("it asks the groups below it, and there are none")]
    NoGroups,
}

/// Organisations whose further signatures could help; maybe none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking(pub Vec<MspId>);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no further signature could help");
        }
        let names: Vec<&str> = self.0.iter().take(NAMED_MAX).map(MspId::as_str).collect();
        write!(f, "still lacks one of {}", names.join(", "))?;
        if self.0.len() > NAMED_MAX { write!(f, " and {} more", self.0.len() - NAMED_MAX) } else { Ok(()) }
    }
}

/// A rule that can't be read, or that can't do what it should in this channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Not a rule.
    #[error(
        "{text:?} is no trust rule: at character {position}, {reason}; e.g. OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')"
    )]
    Syntax {
        /// As written (a long one's beginning).
        text: String,
        /// Where, counted in characters from 1.
        position: usize,
        /// What was expected there.
        reason: String,
    },
    /// It can be satisfied by fewer organisations than must agree.
    #[error(
        "{text} can be satisfied by {orgs} organisation(s), but trust.minOrgs is {min_orgs}: ask for more in the rule, or lower trust.minOrgs"
    )]
    TooFewOrganisations {
        /// As written.
        text: String,
        /// Fewest distinct MSP IDs that satisfy it.
        orgs: u32,
        /// What is asked for.
        min_orgs: u32,
    },
    /// It names an MSP ID that is no application organisation of the channel.
    #[error(
        "{text}: at character {position}, {msp_id} is no application organisation of the channel, which has {known}"
    )]
    NotInChannel {
        /// As written.
        text: String,
        /// Where, counted in characters from 1.
        position: usize,
        /// The MSP ID.
        msp_id: MspId,
        /// Those that the channel has.
        known: String,
    },
    /// It asks for a role that nobody of the organisation can have.
    #[error(
        "{text}: at character {position}, nobody of {msp_id} can have the role {role}: its MSP has no NodeOU for it; write {msp_id}.member, or have NodeOUs enabled in the channel"
    )]
    NoNodeOu {
        /// As written.
        text: String,
        /// Where, counted in characters from 1.
        position: usize,
        /// The organisation.
        msp_id: MspId,
        /// The role.
        role: PrincipalRole,
    },
    /// The channel has no policy at that path.
    #[error(
        "{text}: the channel's configuration has no such policy; write a gate such as OutOf(2, 'Org1MSP.peer', ...)"
    )]
    NoPolicy {
        /// As written.
        text: String,
    },
    /// No application organisation has a policy of that name.
    #[error("{text}: no application organisation of the channel has a policy {name}; it has {known}")]
    NoSubPolicy {
        /// As written.
        text: String,
        /// The name.
        name: String,
        /// Names that organisations have.
        known: String,
    },
    /// The channel is known by pinned MSP folders, which bring no policies.
    #[error(
        "{text}: the channel is known by pinned MSP folders, which bring no policies; write a gate such as OutOf(2, 'Org1MSP.peer', ...)"
    )]
    NoPolicies {
        /// As written.
        text: String,
    },
    /// Nobody can satisfy it.
    #[error("{text} can't be satisfied by the channel's organisations: write a rule that can be")]
    Unsatisfiable {
        /// As written.
        text: String,
    },
    /// How many organisations it takes can't be computed in reasonable time.
    #[error("{text} is too entangled to tell how many organisations it takes: name each organisation in fewer gates")]
    TooComplex {
        /// As written.
        text: String,
    },
}
