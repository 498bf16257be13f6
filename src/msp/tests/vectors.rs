//! Verdicts of Fabric's own Go code, recorded: its `msp` package loaded the two configuration blocks of `tests/fixtures/msp`, and was
//! asked about each identity of the tables beside them.
//!
//! `cryptogen.*`: what the tool of that name makes, asked of its own organisation and of another. `hard.*`: what it doesn't make
//! (intermediate CAs, an inner one, an RSA root, CRLs, P-384 and Ed25519 keys, extended key usages, units, expiry, high S, odd PEM).
//! A row is the serialized identity, a message and a signature (all in hexadecimal), the verdict that is wanted of us, and a label. The
//! verdict is Fabric's but for [`STRICTER`].

use super::*;

struct Row {
    label: String,
    identity: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
    verdict: String,
}

fn rows(name: &str) -> (ChannelConfig, Vec<Row>) {
    let config = ChannelConfig::from_block(&bytes(&format!("msp/{name}.block"))).unwrap();
    let row = |(number, line): (usize, &str)| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [identity, message, signature] = [0, 1, 2].map(|at| hex::decode(columns[at]).unwrap());
        let label = columns.get(4).map_or_else(|| format!("{name}:{number}"), |label| (*label).to_owned());
        Row { label, identity, message, signature, verdict: columns[3].to_owned() }
    };
    (config, String::from_utf8(bytes(&format!("msp/{name}.tsv"))).unwrap().lines().enumerate().map(row).collect())
}

fn parse(row: &Row) -> Result<Identity, MspError> {
    SerializedIdentity::decode(&row.identity).and_then(Identity::parse)
}

fn verdict(config: &ChannelConfig, row: &Row) -> Result<String, MspError> {
    let identity = parse(row)?;
    config.validate_stored(&identity)?;
    // Our own rule on dates is not Fabric's: asked when it holds, it changes nothing.
    config.validate(&identity, identity.not_before())?;
    let signature = config.verify_signature(&identity, &row.message, &row.signature).is_ok();
    let roles = [
        (PrincipalRole::Member, "MEMBER"),
        (PrincipalRole::Admin, "ADMIN"),
        (PrincipalRole::Client, "CLIENT"),
        (PrincipalRole::Peer, "PEER"),
        (PrincipalRole::Orderer, "ORDERER"),
    ];
    let is = |role| config.satisfies(&identity, &Principal::Role { msp_id: identity.msp_id().clone(), role }).is_ok();
    let roles: Vec<_> = roles.into_iter().filter(|(role, _)| is(*role)).map(|(_, name)| name).collect();
    Ok(format!("valid sig={signature} roles={}", roles.join("+")))
}

#[test]
fn every_recorded_verdict_is_ours() {
    let mut seen = 0;
    for name in ["cryptogen", "hard"] {
        let (config, rows) = rows(name);
        for row in rows {
            let ours = verdict(&config, &row);
            let text = ours.as_deref().unwrap_or("invalid");
            assert_eq!(text, row.verdict, "{}: {ours:?}", row.label);
            seen += 1;
        }
    }
    assert_eq!(seen, 59);
}

/// Where we refuse on purpose what Fabric accepts: the first three it calls valid members and peers; of the last it says that it is
/// no valid identity, but an admin all the same.
const STRICTER: [(&str, &str); 4] = [
    ("p521-key", "its key is not ECDSA P-256, ECDSA P-384 or Ed25519"),
    ("two-pems", "it is not exactly one PEM block of type CERTIFICATE"),
    ("pem-type", "it is not exactly one PEM block of type CERTIFICATE"),
    ("explicit-admin-revoked", "its issuer revoked it"),
];

#[test]
fn fabric_is_laxer_in_four_cases() {
    let (config, rows) = rows("hard");
    for (label, why) in STRICTER {
        let row = rows.iter().find(|row| row.label == label).unwrap();
        let refused = parse(row).and_then(|identity| {
            let role = PrincipalRole::Admin;
            config.satisfies(&identity, &Principal::Role { msp_id: identity.msp_id().clone(), role })
        });
        assert!(refused.as_ref().unwrap_err().to_string().contains(why), "{label}: {refused:?}");
    }
}

#[test]
fn refusals_name_the_rule() {
    let (config, rows) = rows("hard");
    let reasons = [
        ("no-ou", InvalidReason::Role),
        ("dup-role", InvalidReason::Role),
        ("expired", InvalidReason::Chains(0)),
        ("from-root", InvalidReason::IssuerIsInner),
        ("from-inner", InvalidReason::IssuerIsInner),
        ("ca-leaf", InvalidReason::LeafIsCa),
        ("foreign", InvalidReason::Chains(0)),
        ("eku-client", InvalidReason::ExtendedKeyUsage),
        ("crit-ext", InvalidReason::CriticalExtension),
        ("revoked", InvalidReason::Revoked),
        ("revoked-future-date", InvalidReason::Revoked),
    ];
    for (label, wanted) in reasons {
        let row = rows.iter().find(|row| row.label == label).unwrap();
        match config.validate_stored(&parse(row).unwrap()) {
            Err(MspError::Invalid { reason, .. }) => assert_eq!(reason, wanted, "{label}"),
            other => panic!("{label}: {other:?}"),
        }
    }
}
