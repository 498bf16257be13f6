//! A policy of any bytes in the recorded channel's configuration: unusable, or satisfied or not whoever signed in whatever order.

use std::sync::OnceLock;

use snapferry::{
    msp::{ChannelConfig, Identity, MspId, SerializedIdentity},
    snapshot::BlockNumber,
};

/// Takes the first byte for the policy's type, the rest for its value.
pub(crate) fn body(data: &[u8]) {
    let Some((kind, value)) = data.split_first() else { return };
    satisfied(*kind, value);
}

/// Whether Org1's and Org2's peers satisfy it.
pub(crate) fn satisfied(kind: u8, value: &[u8]) -> bool {
    // Concatenated messages are one: this adds a policy to the recorded configuration.
    let policy = [vec![1 << 3, kind & 0x7f], bytes(2, value)].concat();
    let entry = [bytes(1, b"Fuzz"), bytes(2, &bytes(2, &policy))].concat();
    let more = bytes(1, &bytes(2, &bytes(4, &entry)));
    let envelope = [recorded().config_envelope_bytes().to_vec(), more].concat();
    let channel = recorded().channel().clone();
    let config =
        ChannelConfig::from_config_envelope(channel, BlockNumber(1), &envelope).expect("it differs in a policy");
    assert!(config.has_policy("/Channel/Fuzz"));
    let [one, two] = peers();
    let evaluate = |signers: &[&Identity]| config.evaluate("/Channel/Fuzz", signers).is_ok();
    let both = evaluate(&[one, two]);
    assert_eq!(both, evaluate(&[two, one, two, one]));
    both
}

fn recorded() -> &'static ChannelConfig {
    static CONFIG: OnceLock<ChannelConfig> = OnceLock::new();
    let block = include_bytes!("../../tests/fixtures/network/config_block.pb");
    CONFIG.get_or_init(|| ChannelConfig::from_block(block).expect("it was recorded"))
}

fn peers() -> &'static [Identity; 2] {
    static PEERS: OnceLock<[Identity; 2]> = OnceLock::new();
    macro_rules! peer {
        ($org:literal) => {{
            let pem = include_bytes!(concat!(
                "../../tests/fixtures/network/crypto/peerOrganizations/org",
                $org,
                ".example.com/peers/peer0.org",
                $org,
                ".example.com/msp/signcerts/peer0.org",
                $org,
                ".example.com-cert.pem"
            ));
            let msp_id = MspId::new(concat!("Org", $org, "MSP")).expect("a legal name");
            Identity::parse(SerializedIdentity { msp_id, id_bytes: pem.to_vec().into() }).expect("it was recorded")
        }};
    }
    PEERS.get_or_init(|| [peer!("1"), peer!("2")])
}

/// A field of bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(content);
    field
}
