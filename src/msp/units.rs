//! Organizational units that carry meaning in an MSP: those that make somebody a role (NodeOUs), and those of which a member must
//! have one.

use super::{InvalidReason, Role};

/// A unit, and who must have certified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnitIdentifier {
    pub(super) name: String,
    /// Hash of the chain that must certify it, issuer first; `None`: any.
    pub(super) certifiers: Option<Vec<u8>>,
}

impl UnitIdentifier {
    fn is_certified_by(&self, certifiers: &[u8]) -> bool {
        self.certifiers.as_deref().is_none_or(|wanted| wanted == certifiers)
    }
}

/// The unit that makes somebody each role, where NodeOUs are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeOus(pub(super) Vec<(Role, UnitIdentifier)>);

impl NodeOus {
    /// The role by exactly one role unit that occurs once; other units don't matter, case does.
    pub(super) fn role(&self, units: &[String]) -> Option<Role> {
        let mut roles = units
            .iter()
            .flat_map(|unit| self.0.iter().filter(move |(_, identifier)| identifier.name == *unit))
            .map(|(role, _)| *role);
        roles.next().filter(|_| roles.next().is_none())
    }

    /// Whether there is a unit for that role.
    pub(super) fn names(&self, role: Role) -> bool {
        self.0.iter().any(|(of, _)| *of == role)
    }

    /// Whether the units hold that role's.
    pub(super) fn has(&self, role: Role, units: &[String]) -> bool {
        self.0.iter().any(|(of, identifier)| *of == role && units.contains(&identifier.name))
    }

    /// Exactly one unit is a role's, and is certified as that one asks (fabric: msp/mspimplvalidate.go, validateIdentityOUsV142).
    pub(super) fn check(&self, units: &[String], certifiers: &[u8]) -> Result<(), InvalidReason> {
        let mut found = 0;
        for unit in units {
            // Two roles of one name: the later one's certifiers count.
            let Some((_, identifier)) = self.0.iter().rev().find(|(_, identifier)| identifier.name == *unit) else {
                continue;
            };
            if !identifier.is_certified_by(certifiers) {
                return Err(InvalidReason::UnitCertifiers);
            }
            found += 1;
        }
        if found == 1 { Ok(()) } else { Err(InvalidReason::Role) }
    }
}

/// Where an MSP asks for units, one must match (fabric: validateIdentityOUsV1).
pub(super) fn check_required(
    required: &[UnitIdentifier],
    units: &[String],
    certifiers: &[u8],
) -> Result<(), InvalidReason> {
    let matches = |wanted: &UnitIdentifier| units.contains(&wanted.name) && wanted.is_certified_by(certifiers);
    if required.is_empty() || required.iter().any(matches) { Ok(()) } else { Err(InvalidReason::Unit) }
}
