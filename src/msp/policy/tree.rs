//! The policies of a channel's configuration: a tree of groups, each with policies by name, and the access control lists
//! (fabric: common/policies/manager.go, implicitmeta.go).

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::{PolicyDefect, signature_policy::SignaturePolicy, signers::Signers};
use crate::msp::{
    ConfigError, MspId,
    pb::{common, policies as pb},
};

/// How deep the groups of a configuration nest: Fabric knows channel, application and organisation (consortiums: one more).
const GROUP_DEPTH_MAX: usize = 8;
/// Most policies in a configuration: a thousand organisations have some five each.
const POLICIES_MAX: usize = 16_384;
/// Most entries of the access control lists: Fabric knows some forty resources.
const ACLS_MAX: usize = 1024;

/// The root's name in paths.
const ROOT: &str = "Channel";
/// Where references without a leading `/` begin.
const APPLICATION: &str = "/Channel/Application/";

/// `Policy.type`.
const TYPE_SIGNATURE: i32 = 1;
const TYPE_IMPLICIT_META: i32 = 3;

/// All policies of a configuration, and its access control lists. By default none: a channel known by pinned MSP folders.
#[derive(Debug, Clone, Default)]
pub(in crate::msp) struct ChannelPolicies {
    root: Option<Group>,
    acls: BTreeMap<String, String>,
}

/// A group: its policies and the groups below it, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) groups: BTreeMap<String, Self>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Policy {
    Signature(SignaturePolicy),
    Implicit(Implicit),
    /// Nobody satisfies it.
    Unusable(PolicyDefect),
}

/// So many of the groups below, each by its policy of that name. A group without one counts, and rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Implicit {
    pub(super) quantity: Quantity,
    /// A name, or the path of one seen from each group below.
    pub(super) sub_policy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Any,
    All,
    Majority,
}

impl Quantity {
    pub(super) const fn of(self, groups: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::All => groups,
            Self::Majority => groups / 2 + 1,
        }
    }
}

impl ChannelPolicies {
    pub(in crate::msp) fn from_group(channel: &common::ConfigGroup) -> Result<Self, ConfigError> {
        let mut room = POLICIES_MAX;
        let root = group(channel, 0, &mut room)?;
        let acls = channel.groups.get("Application").and_then(|application| application.values.get("ACLs"));
        let acls = acls.map(|value| pb::AcLs::decode(value.value.clone())).transpose();
        let acls = acls.map_err(|source| ConfigError::Decode { what: "the access control lists", source })?;
        let acls = acls.map(|acls| acls.acls).unwrap_or_default();
        if acls.len() > ACLS_MAX {
            return Err(ConfigError::TooManyPolicies(ACLS_MAX));
        }
        let resolve = |reference: String| match reference.strip_prefix('/') {
            Some(_) => reference,
            None => format!("{APPLICATION}{reference}"),
        };
        let acls = acls.into_iter().filter(|(_, resource)| !resource.policy_ref.is_empty());
        let acls = acls.map(|(name, resource)| (name, resolve(resource.policy_ref))).collect();
        Ok(Self { root: Some(root), acls })
    }

    /// Whether there are any: pinned MSP folders bring none.
    pub(super) const fn is_none(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn acl(&self, name: &str) -> Option<&str> {
        self.acls.get(name).map(String::as_str)
    }

    /// The policy at an absolute path, and the group that it is of.
    pub(super) fn find(&self, path: &str) -> Option<(&Group, &Policy)> {
        let path = path.strip_prefix('/')?.strip_prefix(ROOT)?.strip_prefix('/')?;
        self.root.as_ref()?.find(path)
    }

    /// The group of the application organisations.
    pub(super) fn application(&self) -> Option<&Group> {
        self.root.as_ref()?.groups.get("Application")
    }
}

impl Group {
    /// The policy at a path seen from here, and the group that it is of.
    pub(super) fn find(&self, path: &str) -> Option<(&Self, &Policy)> {
        let (groups, name) = path.rsplit_once('/').map_or((None, path), |(groups, name)| (Some(groups), name));
        let group =
            groups.into_iter().flat_map(|groups| groups.split('/')).try_fold(self, |at, name| at.groups.get(name))?;
        Some((group, group.policies.get(name)?))
    }

    /// Whether those who signed satisfy a policy of this group. If not, whose signatures could help is added to `lacking`.
    pub(super) fn is_satisfied(&self, policy: &Policy, signers: &Signers<'_>, lacking: &mut BTreeSet<MspId>) -> bool {
        match policy {
            Policy::Signature(policy) => policy.is_satisfied(signers, lacking),
            Policy::Implicit(implicit) => self.is_implicit_satisfied(implicit, signers, lacking),
            Policy::Unusable(_) => false,
        }
    }

    /// As [`Self::is_satisfied`]. Each group judges the whole set anew; with no group below, nothing is satisfied (Fabric: everything).
    pub(super) fn is_implicit_satisfied(
        &self,
        implicit: &Implicit,
        signers: &Signers<'_>,
        lacking: &mut BTreeSet<MspId>,
    ) -> bool {
        let mut unmet = BTreeSet::new();
        let satisfied = self.groups.values().filter_map(|below| below.find(&implicit.sub_policy));
        let satisfied = satisfied.filter(|(group, policy)| group.is_satisfied(policy, signers, &mut unmet)).count();
        let enough = !self.groups.is_empty() && satisfied >= implicit.quantity.of(self.groups.len());
        if !enough {
            lacking.append(&mut unmet);
        }
        enough
    }

    /// What makes a policy of this group unusable, if anything.
    pub(super) fn defect(&self, policy: &Policy) -> Option<PolicyDefect> {
        match policy {
            Policy::Unusable(defect) => Some(*defect),
            Policy::Implicit(_) if self.groups.is_empty() => Some(PolicyDefect::NoGroups),
            _ => None,
        }
    }
}

fn group(message: &common::ConfigGroup, depth: usize, room: &mut usize) -> Result<Group, ConfigError> {
    if depth > GROUP_DEPTH_MAX {
        return Err(ConfigError::TooDeep(GROUP_DEPTH_MAX));
    }
    *room = room.checked_sub(message.policies.len()).ok_or(ConfigError::TooManyPolicies(POLICIES_MAX))?;
    let policies = message.policies.iter().map(|(name, config)| (name.clone(), policy(config.policy.as_ref())));
    let policies = policies.collect();
    let groups = message.groups.iter().map(|(name, below)| Ok((name.clone(), group(below, depth + 1, room)?)));
    Ok(Group { policies, groups: groups.collect::<Result<_, ConfigError>>()? })
}

/// One that can't be used doesn't make the configuration unusable: nobody satisfies it.
fn policy(message: Option<&common::Policy>) -> Policy {
    let decoded = match message.map(|message| (message.r#type, &message.value)) {
        None => Err(PolicyDefect::Decode),
        Some((TYPE_SIGNATURE, value)) => SignaturePolicy::decode(value).map(Policy::Signature),
        Some((TYPE_IMPLICIT_META, value)) => implicit(value).map(Policy::Implicit),
        Some((other, _)) => Err(PolicyDefect::Type(other)),
    };
    decoded.unwrap_or_else(Policy::Unusable)
}

fn implicit(bytes: &[u8]) -> Result<Implicit, PolicyDefect> {
    let message = pb::ImplicitMetaPolicy::decode(bytes).map_err(|_| PolicyDefect::Decode)?;
    let quantity = match message.rule {
        0 => Quantity::Any,
        1 => Quantity::All,
        2 => Quantity::Majority,
        other => return Err(PolicyDefect::Rule(other)),
    };
    Ok(Implicit { quantity, sub_policy: message.sub_policy })
}
