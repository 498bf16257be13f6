//! The language, against what Fabric's own parser makes of the same texts.

use std::fs;

use prost::Message;

use crate::msp::{
    Principal, RuleError, TrustRule,
    pb::policies as pb,
    policy::{
        dsl::{DEPTH_MAX, ENTRIES_MAX, Meaning, TEXT_BYTES_MAX, parse},
        signature_policy::{Rule, SignaturePolicy},
    },
    test_channel::{out_of, role, signed_by},
};

/// What Fabric takes and we refuse, on purpose: never or always met, a fraction, a sum.
const OURS_ALONE: [&str; 4] =
    ["OutOf(0,'A.peer')", "OutOf(2,'A.peer')", "OutOf(1.9,'A.peer','B.peer')", "OutOf(1+1,'A.peer','B.peer')"];
/// What Fabric takes for no gate, and we for an implicit meta policy.
const IMPLICIT: &str = "MAJORITY Endorsement";

fn encoded(policy: &SignaturePolicy) -> Vec<u8> {
    fn rule(from: &Rule) -> pb::SignaturePolicy {
        match from {
            Rule::SignedBy(index) => signed_by(*index as i32),
            Rule::OutOf { needed, rules } => out_of(*needed, rules.iter().map(rule).collect()),
        }
    }
    let identities = policy.identities.iter().map(|principal| match principal {
        Some(Principal::Role { msp_id, role: principal }) => role(msp_id.as_str(), *principal),
        other => panic!("{other:?}"),
    });
    let rule = rule(&policy.rule);
    pb::SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities: identities.collect() }.encode_to_vec()
}

#[test]
fn texts_mean_what_they_mean_to_fabric() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/msp/policy_dsl.tsv");
    let rows = fs::read_to_string(path).unwrap();
    let mut stricter = Vec::new();
    let mut equal = 0;
    for row in rows.lines() {
        let [text, verdict, envelope] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        match (parse(text), verdict) {
            (Ok(Meaning::Gate { policy, .. }), "accepted") => {
                assert_eq!(hex::encode(encoded(&policy)), envelope, "{text}");
                // What is written is read back the same.
                assert_eq!(SignaturePolicy::decode(&hex::decode(envelope).unwrap()), Ok(policy), "{text}");
                equal += 1;
            }
            (Err(_), "accepted") => stricter.push(text),
            (Err(_), "refused") => {}
            (Ok(Meaning::Implicit(_)), "refused") => assert_eq!(text, IMPLICIT),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(stricter, OURS_ALONE);
    assert_eq!((rows.lines().count(), equal), (59, 33 - OURS_ALONE.len()));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, position, reason) in [
        ("", 1, "it is empty"),
        ("  ", 3, "it is empty"),
        ("'A.peer'", 1, "a principal alone is no rule"),
        ("and('A.peer')", 1, "\"and\" must be written AND"),
        (" OR('A.peer', outOf(1,'A.peer'))", 15, "\"outOf\" must be written OutOf"),
        ("NOT('A.peer')", 1, "AND(...), OR(...) or OutOf(2, ...) was expected, not \"NOT\""),
        ("(", 1, "AND(...), OR(...) or OutOf(2, ...) was expected"),
        ("OR 'A.peer'", 4, "'(' was expected behind OR"),
        ("OR(A.peer)", 4, "a principal must be in quotes"),
        ("OR()", 4, "a principal such as 'Org1MSP.peer', or a gate, was expected"),
        ("OR('A.peer',,)", 13, "a principal such as"),
        ("OR('A.peer' 'B.peer')", 13, "',' or ')' was expected"),
        ("OR('A.peer'", 12, "',' or ')' was expected"),
        ("OR('A.peer)", 4, "the quote ' is not closed"),
        ("OR(\"A.peer')", 4, "the quote \" is not closed"),
        ("OR('A')", 4, "a principal is an MSP ID, a dot and a role"),
        ("OR('.peer')", 4, "a principal is an MSP ID, a dot and a role"),
        ("OR('A.owner')", 4, "the role must be admin, member, client, peer or orderer"),
        ("OR('A.peer ')", 4, "the role must be"),
        ("OR('A.peer', 'A_B.peer')", 14, "an MSP ID in a rule has at most 256 letters, digits, '.' and '-'"),
        ("OR('é.peer')", 4, "an MSP ID in a rule"),
        ("OR('A.peer')ü", 13, "the rule should end here"),
        ("OR('ö.A.peer', x)", 4, "an MSP ID in a rule"),
        ("OutOf('A.peer')", 7, "OutOf begins with a whole number"),
        ("OutOf(, 'A.peer')", 7, "OutOf begins with a whole number"),
        ("OutOf(-1, 'A.peer')", 7, "OutOf begins with a whole number"),
        ("OutOf(01, 'A.peer')", 7, "OutOf begins with a whole number"),
        ("OutOf(1)", 8, "',' was expected behind the number"),
        ("OutOf( 3, 'A.peer', 'B.peer')", 8, "a number from 1 to 2 was expected"),
        ("OutOf(99999999999999999999999, 'A.peer')", 7, "a number from 1 to 1 was expected"),
        ("OutOf(0, 'A.peer')", 7, "a number from 1 to 1 was expected"),
        ("MAJORITY", 9, "the name of a policy was expected"),
        ("MAJORITY Endorsement, please", 21, "the rule should end here"),
        ("majority Endorsement", 1, "AND(...), OR(...) or OutOf(2, ...) was expected, not \"majority\""),
        ("/Channel/Orderer/Readers", 1, "a path of the form /Channel/Application/Endorsement was expected"),
        ("/Channel/Application/", 1, "a path of the form"),
        ("/Channel/Application//x", 1, "a path of the form"),
        ("/Channel/Application/x/", 1, "a path of the form"),
    ] {
        let error = TrustRule::parse(text).unwrap_err();
        let RuleError::Syntax { text: shown, position: found, reason: said } = &error else { panic!("{error:?}") };
        assert_eq!((shown.as_str(), *found), (text, position), "{error}");
        assert!(said.starts_with(reason), "{text}: {said}");
    }
}

#[test]
fn spaces_quotes_and_a_last_comma_change_nothing() {
    let plain = parse("OutOf(2,'A.peer','B.admin',OR('C.member'))").unwrap();
    let policy = |meaning| match meaning {
        Meaning::Gate { policy, .. } => policy,
        other => panic!("{other:?}"),
    };
    let plain = policy(plain);
    for text in [
        "\tOUTOF ( \"2\" , \"A.peer\" , 'B.admin',\n OR ( 'C.member' , ) , )\r\n",
        "outof('2', 'A.peer', 'B.admin', Or('C.member'))",
    ] {
        assert_eq!(policy(parse(text).unwrap()), plain, "{text:?}");
        assert_eq!(TrustRule::parse(text).unwrap().as_str(), text);
        assert_eq!(TrustRule::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(parse(" ALL\n Endorsement "), parse("ALL Endorsement"));
    assert_eq!(
        parse(" /Channel/Application/Org1/Admins "),
        Ok(Meaning::Path("/Channel/Application/Org1/Admins".to_owned()))
    );
}

#[test]
fn rules_are_read_up_to_their_limits() {
    let reason = |text: &str| match TrustRule::parse(text) {
        Ok(_) => None,
        Err(RuleError::Syntax { reason, text, .. }) => {
            assert!(text.len() <= 203, "a message shows the beginning only");
            Some(reason)
        }
        Err(other) => panic!("{other}"),
    };
    let deep = |depth: usize| format!("{}'A.peer'{}", "OR(".repeat(depth), ")".repeat(depth));
    assert_eq!(reason(&deep(DEPTH_MAX)), None);
    assert!(reason(&deep(DEPTH_MAX + 1)).unwrap().contains("nested more than 16 deep"));
    let wide = |principals: usize| format!("OR({})", vec!["'A.peer'"; principals].join(","));
    assert_eq!(reason(&wide(ENTRIES_MAX - 1)), None);
    assert!(reason(&wide(ENTRIES_MAX)).unwrap().contains("more than 2048 gates and principals"));
    let long = |bytes: usize| format!("OR('A.peer'{})", " ".repeat(bytes - "OR('A.peer')".len()));
    assert_eq!(reason(&long(TEXT_BYTES_MAX)), None);
    assert!(reason(&long(TEXT_BYTES_MAX + 1)).unwrap().contains("over 65536 bytes"));
    let name = |bytes: usize| format!("OR('{}.peer')", "A".repeat(bytes));
    assert_eq!(reason(&name(256)), None);
    assert!(reason(&name(257)).unwrap().contains("at most 256"));
}
