//! Signature policies: gates over principals (fabric: common/cauthdsl/cauthdsl.go).

use std::collections::{BTreeSet, HashMap};

use prost::Message;

use super::{PolicyDefect, principals, signers::Signers};
use crate::msp::{MspId, Principal, pb::policies as pb};

/// How deep gates may nest: people write two or three.
pub(super) const RULE_DEPTH_MAX: usize = 16;
/// Most rules, and most identities, of one policy: a thousand organisations, each with a few roles.
pub(super) const ENTRIES_MAX: usize = 4096;

/// A gate, or one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// Somebody who is that identity of the policy, by index.
    SignedBy(usize),
    /// So many of the rules. Fabric takes any number: with 0 or less it is always satisfied.
    OutOf { needed: i32, rules: Vec<Self> },
}

/// A rule and whom it names. `None` is a principal that nobody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignaturePolicy {
    pub(super) rule: Rule,
    pub(super) identities: Vec<Option<Principal>>,
}

impl SignaturePolicy {
    /// From a serialized `SignaturePolicyEnvelope`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, PolicyDefect> {
        let envelope = pb::SignaturePolicyEnvelope::decode(bytes).map_err(|_| PolicyDefect::Decode)?;
        if envelope.version != 0 {
            return Err(PolicyDefect::Version(envelope.version));
        }
        if envelope.identities.len() > ENTRIES_MAX {
            return Err(PolicyDefect::Size(ENTRIES_MAX));
        }
        let mut room = ENTRIES_MAX;
        let rule = rule(envelope.rule, envelope.identities.len(), 0, &mut room)?;
        Ok(Self { rule, identities: envelope.identities.iter().map(principals::decode).collect() })
    }

    /// Whether those who signed satisfy it. If not, whose signatures could help is added to `lacking`.
    pub(super) fn is_satisfied(&self, signers: &Signers<'_>, lacking: &mut BTreeSet<MspId>) -> bool {
        let mut evaluation = Evaluation { policy: self, signers, known: HashMap::new(), unmet: Vec::new() };
        let satisfied = evaluation.rule(&self.rule, &mut vec![false; signers.len()]);
        let unmet = evaluation.unmet.into_iter().filter_map(|index| self.identities.get(index)?.as_ref());
        lacking.extend(unmet.filter_map(principals::msp_of));
        satisfied
    }
}

fn rule(
    rule: Option<pb::SignaturePolicy>,
    identities: usize,
    depth: usize,
    room: &mut usize,
) -> Result<Rule, PolicyDefect> {
    if depth > RULE_DEPTH_MAX {
        return Err(PolicyDefect::Depth(RULE_DEPTH_MAX));
    }
    *room = room.checked_sub(1).ok_or(PolicyDefect::Size(ENTRIES_MAX))?;
    match rule.and_then(|rule| rule.r#type).ok_or(PolicyDefect::Decode)? {
        pb::signature_policy::Type::SignedBy(index) => {
            let known = usize::try_from(index).ok().filter(|index| *index < identities);
            known.map(Rule::SignedBy).ok_or(PolicyDefect::Index(index))
        }
        pb::signature_policy::Type::NOutOf(gate) => {
            let rules = gate.rules.into_iter().map(|inner| self::rule(Some(inner), identities, depth + 1, room));
            Ok(Rule::OutOf { needed: gate.n, rules: rules.collect::<Result<_, _>>()? })
        }
    }
}

struct Evaluation<'a> {
    policy: &'a SignaturePolicy,
    signers: &'a Signers<'a>,
    /// Who is what, as far as it was asked: by signer and identity of the policy.
    known: HashMap<(usize, usize), bool>,
    /// Identities of the policy that nobody was found for, in gates that aren't satisfied.
    unmet: Vec<usize>,
}

impl Evaluation<'_> {
    /// Greedy, without a way back, as Fabric does it: each signer is used once, the first that fits; what a failed rule used is free
    /// again; every rule of a gate is tried, even if enough are satisfied.
    fn rule(&mut self, rule: &Rule, used: &mut Vec<bool>) -> bool {
        let unmet_before = self.unmet.len();
        let satisfied = match rule {
            Rule::SignedBy(index) => {
                let free = used.iter().enumerate().filter(|(_, used)| !**used).map(|(signer, _)| signer);
                let found = free.collect::<Vec<_>>().into_iter().find(|signer| self.is(*signer, *index));
                match found.and_then(|signer| used.get_mut(signer)) {
                    Some(used) => *used = true,
                    None => self.unmet.push(*index),
                }
                found.is_some()
            }
            Rule::OutOf { needed, rules } => {
                let mut satisfied = 0;
                for inner in rules {
                    let mut tried = used.clone();
                    if self.rule(inner, &mut tried) {
                        *used = tried;
                        satisfied += 1;
                    }
                }
                satisfied >= i64::from(*needed)
            }
        };
        if satisfied {
            self.unmet.truncate(unmet_before);
        }
        satisfied
    }

    fn is(&mut self, signer: usize, index: usize) -> bool {
        let Self { policy, signers, known, .. } = self;
        let principal = policy.identities.get(index).and_then(Option::as_ref);
        *known
            .entry((signer, index))
            .or_insert_with(|| principal.is_some_and(|principal| signers.satisfies(signer, principal)))
    }
}
