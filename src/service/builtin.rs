//! Data recorded from a real Fabric network that is built into the binary, so that `quickstart` and `sample` need no
//! network, no files and no set-up. All keys are throwaway test keys made by `cryptogen`: they guard nothing.

macro_rules! snapshot {
    () => {
        snapshot!(
            "_snapshot_additional_metadata.json",
            "_snapshot_signable_metadata.json",
            "confighistory.data",
            "confighistory.metadata",
            "private_state_hashes.data",
            "private_state_hashes.metadata",
            "public_state.data",
            "public_state.metadata",
            "txids.data",
            "txids.metadata"
        )
    };
    ($($name:literal),+) => {
        [$(($name, include_bytes!(concat!("../../assets/recorded/snapshots/83/", $name)).as_slice())),+]
    };
}

macro_rules! peer {
    ($org:literal) => {
        [
            peer!($org, "msp/config.yaml"),
            peer!($org, "msp/cacerts/ca.", ".example.com-cert.pem"),
            peer!($org, "msp/keystore/priv_sk"),
            peer!($org, "msp/signcerts/peer0.", ".example.com-cert.pem"),
            peer!($org, "msp/tlscacerts/tlsca.", ".example.com-cert.pem"),
            peer!($org, "tls/ca.crt"),
            peer!($org, "tls/server.crt"),
            peer!($org, "tls/server.key"),
        ]
    };
    ($org:literal, $path:literal) => {
        ($path, include_bytes!(concat!("../../assets/recorded/crypto/", $org, "/", $path)).as_slice())
    };
    ($org:literal, $head:literal, $tail:literal) => {
        (
            concat!($head, $org, $tail),
            include_bytes!(concat!("../../assets/recorded/crypto/", $org, "/", $head, $org, $tail)).as_slice(),
        )
    };
}

/// A file of a built-in folder: its path below the folder, with `/`, and its bytes.
pub type BuiltinFile = (&'static str, &'static [u8]);

/// The recorded channel: its name.
pub const CHANNEL: &str = "mychannel";

/// Last block in the recorded snapshot.
pub const BLOCK_NUMBER: u64 = 83;

/// Configuration block of [`CHANNEL`], with the application organisations `Org1MSP`, `Org2MSP` and `Org3MSP`.
pub const CONFIG_BLOCK: &[u8] = include_bytes!("../../assets/recorded/config_block.pb");

/// Contents of `completed/mychannel/83/` as a peer of Org1 wrote it (Org2's had the same bytes).
pub const SNAPSHOT: &[BuiltinFile] = &snapshot!();

/// `msp/` and `tls/` of peer0 of Org1, Org2 and Org3, as (MSP ID, files).
pub const PEERS: [(&str, &[BuiltinFile]); 3] =
    [("Org1MSP", &peer!("org1")), ("Org2MSP", &peer!("org2")), ("Org3MSP", &peer!("org3"))];

/// A second peer of Org1, with an identity of its own, as (MSP ID, files).
pub const PEER1_OF_ORG1: (&str, &[BuiltinFile]) = (
    "Org1MSP",
    &[
        peer!("org1-peer1", "msp/config.yaml"),
        peer!("org1-peer1", "msp/cacerts/ca.org1.example.com-cert.pem"),
        peer!("org1-peer1", "msp/keystore/priv_sk"),
        peer!("org1-peer1", "msp/signcerts/peer1.org1.example.com-cert.pem"),
        peer!("org1-peer1", "msp/tlscacerts/tlsca.org1.example.com-cert.pem"),
        peer!("org1-peer1", "tls/ca.crt"),
        peer!("org1-peer1", "tls/server.crt"),
        peer!("org1-peer1", "tls/server.key"),
    ],
);

/// The admin of Org3: `msp/` alone, as (MSP ID, files). Grants its peer what only admins may.
pub const ADMIN_OF_ORG3: (&str, &[BuiltinFile]) = (
    "Org3MSP",
    &[
        peer!("org3-admin", "msp/config.yaml"),
        peer!("org3-admin", "msp/cacerts/ca.org3.example.com-cert.pem"),
        peer!("org3-admin", "msp/keystore/priv_sk"),
        peer!("org3-admin", "msp/signcerts/Admin@org3.example.com-cert.pem"),
        peer!("org3-admin", "msp/tlscacerts/tlsca.org3.example.com-cert.pem"),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_snapshot_is_the_recorded_one() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network/snapshots/org1/83/");
        for (name, bytes) in SNAPSHOT {
            assert_eq!(std::fs::read(format!("{folder}{name}")).unwrap(), *bytes, "{name}");
        }
    }

    #[test]
    fn every_peer_has_a_key_and_a_certificate_of_its_own() {
        for (msp_id, files) in PEERS.into_iter().chain([PEER1_OF_ORG1]) {
            let file = |path: &str| files.iter().find(|(name, _)| name.starts_with(path)).unwrap().1;
            assert!(file("msp/signcerts/").starts_with(b"-----BEGIN CERTIFICATE"), "{msp_id}");
            assert!(file("msp/keystore/").starts_with(b"-----BEGIN PRIVATE KEY"), "{msp_id}");
            assert!(file("tls/server.key").starts_with(b"-----BEGIN PRIVATE KEY"), "{msp_id}");
        }
        assert_ne!(PEERS[0].1[3].1, PEERS[1].1[3].1);
        assert_ne!(PEERS[0].1[3].1, PEER1_OF_ORG1.1[3].1);
    }
}
