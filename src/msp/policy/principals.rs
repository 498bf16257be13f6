//! Principals as Fabric's policies spell them (fabric: msp/msp_principal.proto).

use prost::Message;

use crate::msp::{MspId, Principal, PrincipalRole, SerializedIdentity, pb::policies as pb};

/// How deep combined principals may nest: none is known that nests at all.
const COMBINED_DEPTH_MAX: usize = 4;
/// Most parts of a combined principal.
const COMBINED_PARTS_MAX: usize = 32;

/// The principal; `None` for one that nobody is: unknown, malformed, over a limit, or a combination of nothing.
pub(super) fn decode(principal: &pb::MspPrincipal) -> Option<Principal> {
    decode_at(principal, 0)
}

fn decode_at(principal: &pb::MspPrincipal, depth: usize) -> Option<Principal> {
    let bytes = principal.principal.clone();
    match principal.principal_classification {
        0 => {
            let role = pb::MspRole::decode(bytes).ok()?;
            Some(Principal::Role { msp_id: MspId::new(&role.msp_identifier)?, role: role_of(role.role)? })
        }
        1 => {
            let unit = pb::OrganizationUnit::decode(bytes).ok()?;
            Some(Principal::OrganizationUnit {
                msp_id: MspId::new(&unit.msp_identifier)?,
                unit: unit.organizational_unit_identifier,
                certifiers_identifier: unit.certifiers_identifier,
            })
        }
        2 => Some(Principal::Identity(bytes)),
        3 => {
            let anonymity = pb::MspIdentityAnonymity::decode(bytes).ok()?.anonymity_type;
            matches!(anonymity, 0 | 1).then_some(Principal::Anonymity { nominal: anonymity == 0 })
        }
        4 if depth < COMBINED_DEPTH_MAX => {
            let parts = pb::CombinedPrincipal::decode(bytes).ok()?.principals;
            let legal = (1..=COMBINED_PARTS_MAX).contains(&parts.len());
            let parts =
                parts.iter().filter(|_| legal).map(|part| decode_at(part, depth + 1)).collect::<Option<Vec<_>>>();
            parts.filter(|_| legal).map(Principal::Combined)
        }
        _ => None,
    }
}

const fn role_of(number: i32) -> Option<PrincipalRole> {
    match number {
        0 => Some(PrincipalRole::Member),
        1 => Some(PrincipalRole::Admin),
        2 => Some(PrincipalRole::Client),
        3 => Some(PrincipalRole::Peer),
        4 => Some(PrincipalRole::Orderer),
        _ => None,
    }
}

/// Whose identities the principal asks for; `None` if that is anybody's, or nobody's.
pub(super) fn msp_of(principal: &Principal) -> Option<MspId> {
    match principal {
        Principal::Role { msp_id, .. } | Principal::OrganizationUnit { msp_id, .. } => Some(msp_id.clone()),
        Principal::Identity(bytes) => SerializedIdentity::decode(bytes).ok().map(|identity| identity.msp_id),
        Principal::Combined(parts) => parts.iter().find_map(msp_of),
        Principal::Anonymity { .. } => None,
    }
}
