//! Whether an organisation belongs to a collection: Fabric asks no more than whether one of the policy's principals names it, whatever role
//! or unit it asks for, and whatever the rule makes of it (fabric: core/common/privdata/util.go, getMemberOrgs). A peer whose organisation
//! is named by its admin role alone gets the data, too.

use crate::snapshot::protobuf::{Fields, Value, bytes_field};

/// Whether the policy (a serialized common.SignaturePolicyEnvelope; empty if the configuration has none) names the organisation.
pub(super) fn names_org(policy: &[u8], msp_id: &str) -> bool {
    // msp.MSPPrincipal: MSPRole, OrganizationUnit and SerializedIdentity all begin with the MSP id.
    const PRINCIPALS: u32 = 3;
    const PRINCIPAL: u32 = 2;
    const MSP_ID: u32 = 1;
    Fields::of(policy).map_while(Result::ok).any(|field| match field {
        (PRINCIPALS, Value::Bytes(principal)) => {
            bytes_field(principal, PRINCIPAL).and_then(|named| bytes_field(named, MSP_ID)) == Some(msp_id.as_bytes())
        }
        _ => false,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::snapshot::protobuf::{put_bytes, put_number};

    /// A policy that names these, each by a principal of that classification; its rule asks for nothing that could be satisfied.
    pub(in super::super) fn policy(named: &[(&str, u64)]) -> Vec<u8> {
        let mut policy = Vec::new();
        for (msp_id, classification) in named {
            let (mut role, mut principal) = (Vec::new(), Vec::new());
            put_bytes(&mut role, 1, msp_id.as_bytes());
            put_number(&mut role, 2, 1);
            put_number(&mut principal, 1, *classification);
            put_bytes(&mut principal, 2, &role);
            put_bytes(&mut policy, 3, &principal);
        }
        policy
    }

    #[test]
    fn whoever_a_principal_names_in_any_way_is_a_member() {
        for classification in 0..3 {
            let policy = policy(&[("Org2MSP", classification), ("Org1MSP", classification)]);
            assert!(names_org(&policy, "Org1MSP") && names_org(&policy, "Org2MSP"), "{classification}");
            assert!(!names_org(&policy, "Org3MSP") && !names_org(&policy, "Org1"), "{classification}");
        }
        assert!(!names_org(b"", "Org1MSP") && !names_org(b"\x1a\xff", "Org1MSP"));
    }
}
