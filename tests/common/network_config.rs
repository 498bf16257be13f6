//! What a real network's channel and collections are to be: the text of configtx.yaml, by the shape that Fabric's configtxgen reads.

use std::{fmt::Write as _, path::Path};

use serde_json::json;

use crate::real_peer::crypto_of;

/// Where a network's nodes listen, and its key material lies.
pub struct Configtx<'a> {
    pub dir: &'a Path,
    pub orderer: u16,
    pub peers: [u16; 3],
}

impl Configtx<'_> {
    /// configtx.yaml with a profile `Net` of the organisations `orgs`.
    pub fn yaml(&self, orgs: &[u8]) -> String {
        let mut yaml = String::from("Organizations:\n");
        let orderer = self.dir.join("crypto/ordererOrganizations/example.com");
        let member = |role: &str| format!("{{Type: Signature, Rule: \"OR('OrdererMSP.{role}')\"}}");
        writeln!(
            yaml,
            "  - &Orderer\n    Name: OrdererMSP\n    ID: OrdererMSP\n    MSPDir: {}\n    \
             Policies: {{Readers: {readers}, Writers: {readers}, Admins: {}}}\n    \
             OrdererEndpoints: [\"127.0.0.1:{}\"]",
            orderer.join("msp").display(),
            member("admin"),
            self.orderer,
            readers = member("member"),
        )
        .unwrap();
        for org in [1, 2, 3] {
            let rule = |roles: &[&str]| {
                let roles: Vec<String> = roles.iter().map(|role| format!("'Org{org}MSP.{role}'")).collect();
                format!("{{Type: Signature, Rule: \"OR({})\"}}", roles.join(", "))
            };
            writeln!(
                yaml,
                "  - &Org{org}\n    Name: Org{org}MSP\n    ID: Org{org}MSP\n    MSPDir: {}\n    \
                 Policies: {{Readers: {}, Writers: {}, Admins: {}, Endorsement: {}}}\n    \
                 AnchorPeers: [{{Host: 127.0.0.1, Port: {}}}]",
                crypto_of(org, "msp").display(),
                rule(&["admin", "peer", "client"]),
                rule(&["admin", "client"]),
                rule(&["admin"]),
                rule(&["peer"]),
                self.peers[usize::from(org) - 1],
            )
            .unwrap();
        }
        let tls = orderer.join("orderers/orderer.example.com/tls/server.crt");
        let members: Vec<String> = orgs.iter().map(|org| format!("*Org{org}")).collect();
        write!(
            yaml,
            "
Profiles:
  Net:
    Policies: &Usual
      Readers: {{Type: ImplicitMeta, Rule: \"ANY Readers\"}}
      Writers: {{Type: ImplicitMeta, Rule: \"ANY Writers\"}}
      Admins: {{Type: ImplicitMeta, Rule: \"MAJORITY Admins\"}}
    Capabilities: {{V2_0: true}}
    Orderer:
      OrdererType: etcdraft
      BatchTimeout: 100ms
      BatchSize: {{MaxMessageCount: 10, AbsoluteMaxBytes: 10 MB, PreferredMaxBytes: 2 MB}}
      EtcdRaft:
        Consenters: [{{Host: 127.0.0.1, Port: {port}, ClientTLSCert: {tls}, ServerTLSCert: {tls}}}]
        Options: {{TickInterval: 100ms, ElectionTick: 10, HeartbeatTick: 1, MaxInflightBlocks: 5, SnapshotIntervalSize: 16 MB}}
      Organizations: [*Orderer]
      Policies:
        <<: *Usual
        BlockValidation: {{Type: ImplicitMeta, Rule: \"ANY Writers\"}}
      Capabilities: {{V2_0: true}}
    Application:
      Organizations: [{members}]
      Policies:
        <<: *Usual
        LifecycleEndorsement: {{Type: ImplicitMeta, Rule: \"MAJORITY Endorsement\"}}
        Endorsement: {{Type: ImplicitMeta, Rule: \"MAJORITY Endorsement\"}}
      Capabilities: {{V2_5: true}}
",
            port = self.orderer,
            tls = tls.display(),
            members = members.join(", "),
        )
        .unwrap();
        yaml
    }
}

/// `collection-1` and `collection-2` of those organisations. Data of the second expire, in a time that no test sees.
pub fn collections(first: &[u8], second: &[u8]) -> String {
    let collection = |name: &str, orgs: &[u8], blocks: u64| {
        let members: Vec<String> = orgs.iter().map(|org| format!("'Org{org}MSP.member'")).collect();
        json!({
            "name": name, "policy": format!("OR({})", members.join(",")), "requiredPeerCount": 0, "maxPeerCount": 2,
            "blockToLive": blocks, "memberOnlyRead": false, "memberOnlyWrite": false,
        })
    };
    json!([collection("collection-1", first, 0), collection("collection-2", second, 1_000_000)]).to_string()
}
