//! How few organisations can satisfy a policy.
//!
//! An organisation that is in it can bring as many identities of every role as it likes, so a set of organisations is enough exactly if
//! the gates are met with each principal of theirs met; Fabric's greedy evaluation can't change that. The smallest such set is found by
//! branch and bound. The bound: each organisation's price of 1 is split among its occurrences, then each gate takes its cheapest
//! rules. Where every organisation occurs once (or only in gates of its own) that is exact at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    principals::msp_of,
    signature_policy::{Rule, SignaturePolicy},
    tree::{Group, Implicit, Policy},
};
use crate::msp::{ChannelConfig, MspId, Principal, PrincipalRole, Role};

/// Parts of gates that are looked at before it is given up: below a second, unoptimised.
const STEPS_MAX: usize = 1 << 20;
/// The price of an organisation: divides evenly enough by the number of its occurrences.
const PRICE: u64 = 1 << 32;

/// A policy, as far as it matters whose signatures satisfy it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Formula {
    /// Nobody of the channel's application organisations.
    Never,
    /// Anybody at all.
    Anybody,
    /// Somebody of that organisation, by its place among the channel's.
    Org(usize),
    /// So many of those.
    OutOf { needed: i64, of: Vec<Self> },
}

/// It would take too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooComplex;

/// The channel's application organisations by their place.
pub(super) struct Orgs<'a> {
    config: &'a ChannelConfig,
    places: BTreeMap<&'a MspId, usize>,
}

impl<'a> Orgs<'a> {
    pub(super) fn new(config: &'a ChannelConfig) -> Self {
        Self { config, places: config.orgs().keys().enumerate().map(|(place, msp_id)| (msp_id, place)).collect() }
    }

    pub(super) fn gate(&self, policy: &SignaturePolicy) -> Formula {
        self.rule(&policy.rule, &policy.identities)
    }

    pub(super) fn policy(&self, group: &Group, policy: &Policy) -> Formula {
        match policy {
            Policy::Signature(policy) => self.gate(policy),
            Policy::Implicit(implicit) => self.implicit(group, implicit),
            Policy::Unusable(_) => Formula::Never,
        }
    }

    pub(super) fn implicit(&self, group: &Group, implicit: &Implicit) -> Formula {
        if group.groups.is_empty() {
            return Formula::Never;
        }
        let below = |below: &Group| match below.find(&implicit.sub_policy) {
            Some((group, policy)) => self.policy(group, policy),
            None => Formula::Never,
        };
        let needed = i64::try_from(implicit.quantity.of(group.groups.len())).unwrap_or(i64::MAX);
        Formula::OutOf { needed, of: group.groups.values().map(below).collect() }
    }

    fn rule(&self, rule: &Rule, identities: &[Option<Principal>]) -> Formula {
        match rule {
            Rule::SignedBy(index) => {
                identities.get(*index).and_then(Option::as_ref).map_or(Formula::Never, |principal| self.leaf(principal))
            }
            Rule::OutOf { needed, rules } => {
                let of = rules.iter().map(|rule| self.rule(rule, identities)).collect();
                Formula::OutOf { needed: i64::from(*needed), of }
            }
        }
    }

    fn leaf(&self, principal: &Principal) -> Formula {
        let somebody = |msp_id: Option<&MspId>| msp_id.and_then(|msp_id| self.places.get(msp_id));
        let place = match principal {
            Principal::Role { msp_id, role } => somebody(Some(msp_id)).filter(|_| can_have(self.config, msp_id, *role)),
            Principal::OrganizationUnit { msp_id, .. } => somebody(Some(msp_id)),
            Principal::Identity(_) => somebody(msp_of(principal).as_ref()),
            Principal::Anonymity { nominal: true } => return Formula::Anybody,
            Principal::Anonymity { nominal: false } => None,
            Principal::Combined(parts) => {
                let all = |one, other| match (one, other) {
                    (Formula::Anybody, other) | (other, Formula::Anybody) => other,
                    (one, other) if one == other => one,
                    _ => Formula::Never,
                };
                return parts.iter().map(|part| self.leaf(part)).reduce(all).unwrap_or(Formula::Never);
            }
        };
        place.copied().map_or(Formula::Never, Formula::Org)
    }
}

/// Whether anybody of the organisation can have the role. Members and admins every MSP has; the others are told apart by NodeOUs.
pub(super) fn can_have(config: &ChannelConfig, msp_id: &MspId, role: PrincipalRole) -> bool {
    let Some(org) = config.orgs().get(msp_id) else { return false };
    let role = match role {
        PrincipalRole::Member | PrincipalRole::Admin => return true,
        PrincipalRole::Client => Role::Client,
        PrincipalRole::Peer => Role::Peer,
        PrincipalRole::Orderer => Role::Orderer,
    };
    org.msp().node_ous().is_some_and(|node_ous| node_ous.names(role))
}

/// Fewest organisations that satisfy it; `None` if not even all of them do.
pub(super) fn minimum(formula: &Formula) -> Result<Option<usize>, TooComplex> {
    let mut occurrences = BTreeMap::new();
    let size = count(formula, &mut occurrences);
    let mut search = Search { formula, size, steps: 0, states: BTreeMap::new(), best: None, least: 0 };
    search.states = occurrences.into_iter().map(|(org, occurrences)| (org, State::Free { occurrences })).collect();
    // With nobody at all: only a policy that asks for nothing. It also keeps the bound right where anybody will do.
    search.least = usize::from(!met_by_none(formula));
    search.branch(0)?;
    Ok(search.best)
}

fn count(formula: &Formula, occurrences: &mut BTreeMap<usize, u64>) -> usize {
    match formula {
        Formula::Never | Formula::Anybody => 1,
        Formula::Org(org) => {
            *occurrences.entry(*org).or_default() += 1;
            1
        }
        Formula::OutOf { of, .. } => 1 + of.iter().map(|inner| count(inner, occurrences)).sum::<usize>(),
    }
}

fn met_by_none(formula: &Formula) -> bool {
    match formula {
        Formula::Never | Formula::Anybody | Formula::Org(_) => false,
        Formula::OutOf { needed, of } => {
            i64::try_from(of.iter().filter(|inner| met_by_none(inner)).count()).is_ok_and(|met| met >= *needed)
        }
    }
}

/// What was decided of an organisation.
#[derive(Debug, Clone, Copy)]
enum State {
    Free { occurrences: u64 },
    In,
    Out,
}

struct Search<'a> {
    formula: &'a Formula,
    size: usize,
    steps: usize,
    states: BTreeMap<usize, State>,
    best: Option<usize>,
    least: usize,
}

impl Search<'_> {
    /// Looks for something better than the best, with `decided` organisations in it for certain.
    fn branch(&mut self, decided: usize) -> Result<(), TooComplex> {
        self.steps += self.size;
        // A single look is always allowed: it is no more than reading the policy was.
        if self.steps > STEPS_MAX && self.steps > self.size {
            return Err(TooComplex);
        }
        let Some((price, orgs)) = self.cheapest(self.formula) else { return Ok(()) };
        let orgs: BTreeSet<usize> = orgs.into_iter().collect();
        let found = (decided + orgs.len()).max(self.least);
        self.best = Some(self.best.map_or(found, |best| best.min(found)));
        let bound = decided + usize::try_from(price.div_ceil(PRICE)).unwrap_or(usize::MAX);
        if self.best.is_some_and(|best| bound.max(self.least) >= best) {
            return Ok(());
        }
        // The one whose price was split the most: deciding it tells the most.
        let occurrences = |org: &usize| match self.states.get(org) {
            Some(State::Free { occurrences }) => *occurrences,
            _ => 0,
        };
        let Some(org) = orgs.into_iter().max_by_key(occurrences) else { return Ok(()) };
        let before = self.states.insert(org, State::In);
        self.branch(decided + 1)?;
        self.states.insert(org, State::Out);
        self.branch(decided)?;
        if let Some(before) = before {
            self.states.insert(org, before);
        }
        Ok(())
    }

    /// The least price, and the undecided organisations that would be paid; `None` if it can't be met.
    fn cheapest(&self, formula: &Formula) -> Option<(u64, Vec<usize>)> {
        match formula {
            Formula::Never => None,
            Formula::Anybody => Some((0, Vec::new())),
            Formula::Org(org) => match self.states.get(org)? {
                State::Free { occurrences } => Some((PRICE / occurrences, vec![*org])),
                State::In => Some((0, Vec::new())),
                State::Out => None,
            },
            Formula::OutOf { needed, of } => {
                let needed = usize::try_from(*needed).unwrap_or(0);
                let mut priced: Vec<_> = of.iter().filter_map(|inner| self.cheapest(inner)).collect();
                if priced.len() < needed {
                    return None;
                }
                priced.sort_by_key(|(price, orgs)| (*price, orgs.len()));
                priced.truncate(needed);
                let price = priced.iter().map(|(price, _)| price).sum();
                Some((price, priced.into_iter().flat_map(|(_, orgs)| orgs).collect()))
            }
        }
    }
}
