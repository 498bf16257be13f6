//! Trust rules in a channel: what is refused when they are loaded, and who satisfies them.

use crate::msp::{
    ChannelConfig, Identity, MspId, PrincipalRole, RuleError, TrustRule,
    pb::common,
    test_channel::{Somebody, TestOrg, channel, config, implicit, out_of, role, signature_policy, signed_by},
};

fn orgs() -> [TestOrg; 3] {
    ["Org1MSP", "Org2MSP", "Org3MSP"].map(TestOrg::new)
}

fn group(orgs: &[TestOrg]) -> common::ConfigGroup {
    channel(orgs, &[TestOrg::new("OrdererMSP")])
}

fn rule(text: &str) -> TrustRule {
    TrustRule::parse(text).unwrap()
}

fn names(orgs: &[MspId]) -> Vec<&str> {
    orgs.iter().map(MspId::as_str).collect()
}

fn of<'a>(signers: &[&'a Somebody]) -> Vec<&'a Identity> {
    signers.iter().map(|signer| &signer.identity).collect()
}

#[test]
fn rules_are_checked_against_the_channel() {
    let orgs = orgs();
    let config = config(group(&orgs)).unwrap();
    for (text, orgs) in [
        ("OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')", 2),
        ("AND('Org1MSP.peer', 'Org1MSP.admin')", 1),
        ("AND('Org1MSP.peer', OR('Org2MSP.peer', 'Org1MSP.member'))", 1),
        ("AND(OR('Org1MSP.peer', 'Org2MSP.peer'), OR('Org2MSP.client', 'Org3MSP.peer'))", 1),
        ("AND(OR('Org1MSP.peer', 'Org2MSP.peer'), 'Org3MSP.orderer')", 2),
        ("MAJORITY Endorsement", 2),
        ("ANY Endorsement", 1),
        ("ALL Admins", 3),
        ("/Channel/Application/Endorsement", 2),
        ("/Channel/Application/Readers", 1),
        ("/Channel/Application/Org2MSP/Admins", 1),
    ] {
        let rule = rule(text);
        assert_eq!(rule.minimum_orgs(&config), Ok(orgs), "{text}");
        rule.check(&config, orgs).unwrap();
        let few = RuleError::TooFewOrganisations { text: text.to_owned(), orgs, min_orgs: orgs + 1 };
        assert_eq!(rule.check(&config, orgs + 1), Err(few));
    }
    let says = |text: &str| rule(text).check(&config, 0).unwrap_err().to_string();
    for (text, said) in [
        (
            "AND('Org1MSP.peer', 'Org9MSP.peer')",
            "at character 21, Org9MSP is no application organisation of the channel, which has Org1MSP, Org2MSP, Org3MSP",
        ),
        ("OR('OrdererMSP.orderer')", "at character 4, OrdererMSP is no application organisation"),
        (
            "MAJORITY Endorsements",
            "no application organisation of the channel has a policy Endorsements; it has Admins, Endorsement, Readers, Writers",
        ),
        ("/Channel/Application/Endorsements", "the channel's configuration has no such policy"),
        ("/Channel/Application/Org9MSP/Admins", "the channel's configuration has no such policy"),
    ] {
        assert!(says(text).contains(said), "{}", says(text));
    }
}

#[test]
fn roles_need_node_ous_but_for_members_and_admins() {
    let [mut one, two, three] = orgs();
    one.node_ous = false;
    let config = config(group(&[one, two, three])).unwrap();
    for (role, legal) in [("member", true), ("admin", true), ("peer", false), ("client", false), ("orderer", false)] {
        let text = format!("OR('Org2MSP.peer', 'Org1MSP.{role}')");
        let checked = rule(&text).check(&config, 1);
        assert_eq!(checked.is_ok(), legal, "{role}");
        let Err(error) = checked else { continue };
        assert!(matches!(error, RuleError::NoNodeOu { position: 20, .. }), "{error}");
        assert!(error.to_string().contains("write Org1MSP.member"), "{error}");
    }
    // A policy of the channel that asks for such a role is out of that organisation's reach.
    assert_eq!(rule("MAJORITY Endorsement").minimum_orgs(&config), Ok(2));
    assert!(matches!(rule("ALL Endorsement").check(&config, 1), Err(RuleError::Unsatisfiable { .. })));
    assert!(matches!(TrustRule::majority_of_peers(&config, 1).check(&config, 1), Err(RuleError::NoNodeOu { .. })));
}

#[test]
fn what_nobody_can_satisfy_or_nobody_can_count_is_refused() {
    let mut group = group(&orgs());
    let application = group.groups.get_mut("Application").unwrap();
    let orderer = vec![role("OrdererMSP", PrincipalRole::Member)];
    application.policies.insert("ByOrderers".to_owned(), signature_policy(signed_by(0), orderer));
    let member = vec![role("Org1MSP", PrincipalRole::Member)];
    application.policies.insert("Never".to_owned(), signature_policy(out_of(2, vec![signed_by(0)]), member.clone()));
    application.policies.insert("Always".to_owned(), signature_policy(out_of(0, vec![signed_by(0)]), member));
    application.policies.insert("Broken".to_owned(), implicit(7, "Readers"));
    let config = config(group).unwrap();
    for name in ["ByOrderers", "Never", "Broken"] {
        let checked = rule(&format!("/Channel/Application/{name}")).check(&config, 0);
        assert!(matches!(checked, Err(RuleError::Unsatisfiable { .. })), "{name}");
    }
    let always = rule("/Channel/Application/Always");
    assert_eq!(always.minimum_orgs(&config), Ok(0));
    assert!(always.check(&config, 1).is_err());
    assert!(always.is_satisfied(&config, &[]));
}

#[test]
fn the_default_is_the_majority_of_peers() {
    for (count, needed) in [(1, 1), (2, 2), (3, 2), (4, 3)] {
        let orgs: Vec<TestOrg> = (1..=count).map(|n| TestOrg::new(&format!("Org_{n}"))).collect();
        let config = config(group(&orgs)).unwrap();
        let rule = TrustRule::majority_of_peers(&config, 1);
        assert_eq!(rule.minimum_orgs(&config), Ok(needed));
        let peers: Vec<Somebody> = orgs.iter().map(|org| org.issue("peer")).collect();
        let signers: Vec<&Identity> = peers.iter().map(|peer| &peer.identity).collect();
        assert!(rule.is_satisfied(&config, &signers[..needed as usize]));
        assert!(!rule.is_satisfied(&config, &signers[1..needed as usize]));
    }
    let rule = TrustRule::majority_of_peers(&config(group(&orgs())).unwrap(), 1);
    assert_eq!(rule.as_str(), "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')");
    assert_eq!(TrustRule::parse(rule.as_str()), Ok(rule));
}

#[test]
fn rules_say_whom_they_lack() {
    let orgs = orgs();
    let config = config(group(&orgs)).unwrap();
    let [one, two, three] = [0, 1, 2].map(|org| orgs[org].issue("peer"));
    let admin = orgs[0].issue("admin");
    let orderer = TestOrg::new("OrdererMSP").issue("orderer");
    let k_of_n = "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')";
    for (text, signers, lacking) in [
        (k_of_n, &[][..], &["Org1MSP", "Org2MSP", "Org3MSP"][..]),
        (k_of_n, &[&two], &["Org1MSP", "Org3MSP"]),
        (k_of_n, &[&two, &two, &orderer], &["Org1MSP", "Org3MSP"]),
        (k_of_n, &[&admin], &["Org1MSP", "Org2MSP", "Org3MSP"]),
        (k_of_n, &[&three, &two], &[]),
        ("MAJORITY Endorsement", &[&three], &["Org1MSP", "Org2MSP"]),
        ("/Channel/Application/Endorsement", &[&three], &["Org1MSP", "Org2MSP"]),
        ("/Channel/Application/Org1MSP/Admins", &[&three, &one], &["Org1MSP"]),
        ("AND('Org1MSP.admin', OR('Org2MSP.peer', 'Org3MSP.peer'))", &[&two], &["Org1MSP"]),
        ("AND('Org1MSP.admin', OR('Org2MSP.peer', 'Org3MSP.peer'))", &[&admin], &["Org2MSP", "Org3MSP"]),
        ("AND('Org1MSP.admin', OR('Org2MSP.peer', 'Org3MSP.peer'))", &[&admin, &three], &[]),
    ] {
        let found = rule(text).lacking(&config, &of(signers));
        assert_eq!(names(&found), lacking, "{text}");
        assert_eq!(rule(text).is_satisfied(&config, &of(signers)), lacking.is_empty(), "{text}");
    }
}

#[test]
fn only_application_organisations_count() {
    let orgs = orgs();
    let orderers = TestOrg::new("OrdererMSP");
    let mut group = channel(&orgs, std::slice::from_ref(&orderers));
    let application = group.groups.get_mut("Application").unwrap();
    let identities = vec![role("OrdererMSP", PrincipalRole::Member)];
    application.policies.insert("ByOrderers".to_owned(), signature_policy(signed_by(0), identities));
    let config: ChannelConfig = config(group).unwrap();
    let orderer = orderers.issue("orderer");
    config.evaluate("/Channel/Application/ByOrderers", &[&orderer.identity]).unwrap();
    assert!(!rule("/Channel/Application/ByOrderers").is_satisfied(&config, &[&orderer.identity]));
}
