//! The bytes of session auth are fixed: a peer of another version relies on them, and signatures are over them as sent.

use super::*;

/// `client` and `server`, each with the hexadecimal bytes of its SignedAuth.
const GOLDEN: &str = include_str!("../../../tests/fixtures/wire/session_auth.txt");

fn signed_auth(role: Role) -> Vec<u8> {
    let body = pb::AuthBody {
        version: VERSION,
        role: role as u32,
        channel_id: "mychannel".to_owned(),
        identity: Bytes::from_static(b"identity"),
        own_tls_cert_sha256: Bytes::from_static(&[0x11; 32]),
        peer_tls_cert_sha256: Bytes::from_static(&[0x22; 32]),
        config_sequence: 300,
        client_auth_sha256: if role == Role::Server { Bytes::from_static(&[0x33; 32]) } else { Bytes::new() },
    };
    pb::SignedAuth { body: body.encode_to_vec().into(), signature: Bytes::from_static(b"signature") }.encode_to_vec()
}

/// The bytes as session.proto defines them, written out by hand.
fn by_hand(role: Role) -> String {
    let (length, role, transcript) = match role {
        Role::Client => ("60", "01", String::new()),
        Role::Server => ("8201", "02", format!("4220{}", "33".repeat(32))),
    };
    let (own, peer) = (format!("2a20{}", "11".repeat(32)), format!("3220{}", "22".repeat(32)));
    let (channel, identity) = ("1a096d796368616e6e656c", "22086964656e74697479");
    format!("0a{length}080110{role}{channel}{identity}{own}{peer}38ac02{transcript}12097369676e6174757265")
}

#[test]
fn session_auth_has_its_golden_bytes() {
    let mut written = String::new();
    for (name, role) in [("client", Role::Client), ("server", Role::Server)] {
        let bytes = signed_auth(role);
        assert_eq!(hex::encode(&bytes), by_hand(role), "{name}");
        written.push_str(&format!("{name} {}\n", hex::encode(&bytes)));
        for by_server in [false, true] {
            assert_eq!(is_signed_auth(&bytes, by_server), by_server == (role == Role::Server), "{name}");
        }
    }
    assert_eq!(written, GOLDEN, "session auth changed");
}
