//! Policies of a channel's configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use prost::Message;

use crate::msp::{
    ChannelConfig, ConfigError, Identity, LocalIdentity, MspError, MspId, MspVersion, PolicyDefect, PolicyError,
    PrincipalRole, RuleError, TrustRule,
    pb::{common, policies as pb},
    policy::signature_policy::{ENTRIES_MAX, RULE_DEPTH_MAX, SignaturePolicy},
    test_channel::{
        Somebody, TestOrg, channel, config, implicit, out_of, policy, role, signature_policy, signed_by, value,
    },
};

struct Net {
    orgs: Vec<TestOrg>,
    group: common::ConfigGroup,
}

/// Three application organisations and one of orderers.
fn net() -> Net {
    let orgs = ["Org1MSP", "Org2MSP", "Org3MSP"].map(TestOrg::new);
    let group = channel(&orgs, &[TestOrg::new("OrdererMSP")]);
    Net { orgs: orgs.into(), group }
}

impl Net {
    fn application(&mut self) -> &mut common::ConfigGroup {
        self.group.groups.get_mut("Application").unwrap()
    }

    fn put(&mut self, name: &str, policy: common::ConfigPolicy) {
        self.application().policies.insert(name.to_owned(), policy);
    }

    fn config(&self) -> ChannelConfig {
        config(self.group.clone()).unwrap()
    }
}

fn path(name: &str) -> String {
    format!("/Channel/Application/{name}")
}

fn satisfied(config: &ChannelConfig, name: &str, signers: &[&Somebody]) -> bool {
    let signers: Vec<&Identity> = signers.iter().map(|signer| &signer.identity).collect();
    config.evaluate(&path(name), &signers).is_ok()
}

fn unusable(config: &ChannelConfig, name: &str) -> Option<PolicyDefect> {
    match config.evaluate(&path(name), &[]).unwrap_err() {
        MspError::Policy(PolicyError::Unusable { defect, .. }) => Some(defect),
        _ => None,
    }
}

#[test]
fn implicit_policies_ask_the_groups_below() {
    let mut net = net();
    for (name, rule) in [("Any", 0), ("All", 1), ("Most", 2)] {
        net.put(name, implicit(rule, "Endorsement"));
    }
    net.put("Unknown", implicit(3, "Endorsement"));
    net.put("OfNothing", implicit(0, "Nothing"));
    let peers: Vec<Somebody> = net.orgs.iter().map(|org| org.issue("peer")).collect();
    let [one, two, three] = &peers[..] else { panic!() };
    let config = net.config();
    for (signers, any, most, all) in [
        (&[][..], false, false, false),
        (&[one], true, false, false),
        (&[one, one], true, false, false),
        (&[three, one], true, true, false),
        (&[three, two, one], true, true, true),
    ] {
        let found = ["Any", "Most", "All"].map(|name| satisfied(&config, name, signers));
        assert_eq!(found, [any, most, all]);
    }
    assert_eq!(unusable(&config, "Unknown"), Some(PolicyDefect::Rule(3)));
    assert!(!satisfied(&config, "OfNothing", &[one, two, three]));
    assert!(!satisfied(&config, "Admins", &[one, two, three]), "peers are no admins");

    // An organisation without the policy counts, and rejects: two of three are still the majority, all are out of reach.
    net.application().groups.get_mut("Org3MSP").unwrap().policies.clear();
    let config = net.config();
    assert!(satisfied(&config, "Most", &[one, two]));
    assert!(!satisfied(&config, "Most", &[one, three]));
    assert!(!satisfied(&config, "All", &[one, two, three]));

    // Over no group at all Fabric is satisfied by nobody; we are not.
    let org = net.application().groups.get_mut("Org1MSP").unwrap();
    let rules = [("EmptyAny", 0), ("EmptyAll", 1), ("EmptyMost", 2)];
    org.policies.extend(rules.map(|(name, rule)| (name.to_owned(), implicit(rule, "Endorsement"))));
    for (name, _) in rules {
        assert_eq!(unusable(&net.config(), &format!("Org1MSP/{name}")), Some(PolicyDefect::NoGroups));
    }
    // The channel's own go down two levels.
    let signers = [&one.identity];
    net.config().evaluate("/Channel/Readers", &signers).unwrap();
    net.config().evaluate("/Channel/Admins", &signers).unwrap_err();
}

#[test]
fn gates_are_greedy_in_the_order_of_identities() {
    let mut net = net();
    let identities = || vec![role("Org1MSP", PrincipalRole::Member), role("Org1MSP", PrincipalRole::Admin)];
    net.put("MemberThenAdmin", signature_policy(out_of(2, vec![signed_by(0), signed_by(1)]), identities()));
    net.put("AdminThenMember", signature_policy(out_of(2, vec![signed_by(1), signed_by(0)]), identities()));
    // The first gate fails after it used the admin, who is free again for the second rule.
    let failing = out_of(2, vec![signed_by(1), signed_by(1)]);
    net.put("UsedByAFailure", signature_policy(out_of(1, vec![failing, signed_by(1)]), identities()));
    // No early exit: the first rule is enough, yet the second uses the other signer too, and the third finds none.
    let greedy = out_of(1, vec![signed_by(0), signed_by(0)]);
    net.put("NoEarlyExit", signature_policy(out_of(2, vec![greedy, signed_by(0)]), identities()));
    let config = net.config();
    let admin = net.orgs[0].issue("admin");
    let (mut before, mut after) = (None, None);
    while before.is_none() || after.is_none() {
        let peer = net.orgs[0].issue("peer");
        let place = if peer.identity.id() < admin.identity.id() { &mut before } else { &mut after };
        place.get_or_insert(peer);
    }
    let (before, after) = (before.unwrap(), after.unwrap());
    assert!(satisfied(&config, "MemberThenAdmin", &[&admin, &before]), "the peer comes first and is the member");
    assert!(!satisfied(&config, "MemberThenAdmin", &[&admin, &after]), "the admin was used as the member");
    for peer in [&before, &after] {
        assert!(satisfied(&config, "AdminThenMember", &[peer, &admin]));
        assert!(!satisfied(&config, "NoEarlyExit", &[peer, &admin]));
        assert!(satisfied(&config, "NoEarlyExit", &[&before, &after, &admin]));
        assert!(!satisfied(&config, "AdminThenMember", &[peer, peer]));
    }
    assert!(satisfied(&config, "UsedByAFailure", &[&admin]));
}

/// Defence: signers are de-duplicated by identity id; removed, a twin meets a gate of two.
#[test]
fn an_identity_counts_once_however_it_is_spelled() {
    let mut net = net();
    let peers = vec![role("Org1MSP", PrincipalRole::Peer); 2];
    net.put("TwoPeers", signature_policy(out_of(2, vec![signed_by(0), signed_by(1)]), peers));
    let config = net.config();
    let (one, other) = (net.orgs[0].issue("peer"), net.orgs[0].issue("peer"));
    let twin = one.twin();
    assert_ne!(twin.serialized(), one.identity.serialized());
    config.validate_stored(&twin).unwrap();
    let evaluate = |signers: &[&Identity]| config.evaluate(&path("TwoPeers"), signers).is_ok();
    assert!(!evaluate(&[&one.identity, &one.identity, &twin, &one.identity]));
    assert!(evaluate(&[&one.identity, &other.identity, &twin]));
}

#[test]
fn who_is_not_valid_does_not_count_and_is_told_why() {
    let net = net();
    let config = net.config();
    let stranger = TestOrg::new("Org1MSP").issue("peer");
    let refused = config.evaluate(&path("Readers"), &[&stranger.identity]).unwrap_err();
    assert!(matches!(refused, MspError::Invalid { .. }), "{refused}");
    let foreign = TestOrg::new("Org9MSP").issue("peer");
    let refused = config.evaluate(&path("Readers"), &[&foreign.identity]).unwrap_err();
    assert!(matches!(refused, MspError::NotInChannel { .. }), "{refused}");
    // Together with somebody valid they don't matter.
    let peer = net.orgs[1].issue("peer");
    config.evaluate(&path("Readers"), &[&stranger.identity, &peer.identity, &foreign.identity]).unwrap();
    let refused = config.evaluate(&path("Admins"), &[&stranger.identity, &peer.identity]).unwrap_err().to_string();
    assert!(refused.contains("still lacks one of Org1MSP, Org2MSP, Org3MSP"), "{refused}");
}

#[test]
fn a_path_without_a_policy_is_refused() {
    let net = net();
    let config = net.config();
    let peer = net.orgs[0].issue("peer");
    for known in ["/Channel/Readers", "/Channel/Application/Endorsement", "/Channel/Application/Org1MSP/Admins"] {
        assert!(config.has_policy(known), "{known}");
    }
    for path in [
        "",
        "/",
        "Readers",
        "/Channel",
        "/Channel/",
        "/Channel/Nothing",
        "/channel/Readers",
        "//Channel/Readers",
        "/Channel//Readers",
        "/Channel/Application/Readers/",
        "/Channel/Application/Org1MSP",
        "/Channelx/Readers",
    ] {
        assert!(!config.has_policy(path), "{path}");
        let refused = config.evaluate(path, &[&peer.identity]).unwrap_err();
        assert!(matches!(refused, MspError::Policy(PolicyError::Missing { .. })), "{path}: {refused}");
    }
}

#[test]
fn access_control_lists_name_policies() {
    let mut net = net();
    let acls = [
        ("snapferry/List", "/Channel/Application/Readers"),
        ("snapferry/Sign", "Endorsement"),
        ("snapferry/Fetch", ""),
        ("peer/Propose", "Org1MSP/Admins"),
    ];
    let acls = acls.map(|(name, reference)| (name.to_owned(), pb::ApiResource { policy_ref: reference.to_owned() }));
    let acls = value(&pb::AcLs { acls: acls.into() });
    net.application().values.insert("ACLs".to_owned(), acls);
    let config = net.config();
    assert_eq!(config.acl("snapferry/List").as_deref(), Some("/Channel/Application/Readers"));
    assert_eq!(config.acl("snapferry/Sign").as_deref(), Some("/Channel/Application/Endorsement"));
    assert_eq!(config.acl("peer/Propose").as_deref(), Some("/Channel/Application/Org1MSP/Admins"));
    assert_eq!(config.acl("snapferry/Fetch"), None, "empty means the default");
    assert_eq!(config.acl("snapferry/list"), None);

    let many = |count: usize| {
        let mut net = super::channel_policies::net();
        let acls = (0..count).map(|n| (format!("r{n}"), pb::ApiResource { policy_ref: "x".to_owned() })).collect();
        net.application().values.insert("ACLs".to_owned(), value(&pb::AcLs { acls }));
        config_of(&net)
    };
    many(1024).unwrap();
    assert!(matches!(many(1025), Err(ConfigError::TooManyPolicies(1024))));
}

fn config_of(net: &Net) -> Result<ChannelConfig, ConfigError> {
    config(net.group.clone())
}

#[test]
fn a_policy_that_cannot_be_used_is_satisfied_by_nobody_and_harms_no_other() {
    let member = || vec![role("Org1MSP", PrincipalRole::Member)];
    let envelope = |version, rule, identities| policy(1, &pb::SignaturePolicyEnvelope { version, rule, identities });
    let garbage = common::Policy { r#type: 1, value: vec![0xff; 3].into() };
    let cases = [
        ("NoPolicy", common::ConfigPolicy::default(), PolicyDefect::Decode),
        ("Garbage", common::ConfigPolicy { policy: Some(garbage), ..Default::default() }, PolicyDefect::Decode),
        ("Type", policy(2, &pb::ImplicitMetaPolicy::default()), PolicyDefect::Type(2)),
        ("Version", envelope(1, Some(signed_by(0)), member()), PolicyDefect::Version(1)),
        ("NoRule", envelope(0, None, member()), PolicyDefect::Decode),
        (
            "EmptyRule",
            envelope(0, Some(out_of(1, vec![pb::SignaturePolicy::default()])), member()),
            PolicyDefect::Decode,
        ),
        ("Index", envelope(0, Some(out_of(1, vec![signed_by(0), signed_by(1)])), member()), PolicyDefect::Index(1)),
        ("Negative", envelope(0, Some(signed_by(-1)), member()), PolicyDefect::Index(-1)),
    ];
    let mut net = net();
    cases.iter().for_each(|(name, policy, _)| net.put(name, policy.clone()));
    let config = net.config();
    for (name, _, defect) in &cases {
        assert_eq!(unusable(&config, name), Some(*defect), "{name}");
    }
    assert!(satisfied(&config, "Readers", &[&net.orgs[0].issue("client")]));
}

#[test]
fn unknown_principals_are_nobody() {
    let mut net = net();
    let of_class = |principal_classification, principal: Vec<u8>| pb::MspPrincipal {
        principal_classification,
        principal: principal.into(),
    };
    let unit = pb::OrganizationUnit { msp_identifier: "Org1MSP".to_owned(), ..Default::default() };
    let anonymity = |anonymity_type| pb::MspIdentityAnonymity { anonymity_type }.encode_to_vec();
    let combined = |principals| pb::CombinedPrincipal { principals }.encode_to_vec();
    let peer = role("Org1MSP", PrincipalRole::Peer);
    let role_5 = pb::MspRole { msp_identifier: "Org1MSP".to_owned(), role: 5 }.encode_to_vec();
    let no_msp = pb::MspRole { msp_identifier: String::new(), role: 0 }.encode_to_vec();
    let nested = (0..5).fold(peer.clone(), |inner, _| of_class(4, combined(vec![inner])));
    let signer = net.orgs[0].issue("peer");
    let serialized = signer.identity.serialized().encode();
    for (name, principal, is) in [
        ("role 5", of_class(0, role_5), false),
        ("no MSP", of_class(0, no_msp), false),
        ("another unit", of_class(1, unit.encode_to_vec()), false),
        ("the identity", of_class(2, serialized), true),
        ("no identity", of_class(2, vec![]), false),
        ("nominal", of_class(3, anonymity(0)), true),
        ("anonymous", of_class(3, anonymity(1)), false),
        ("anonymity 2", of_class(3, anonymity(2)), false),
        ("peer and member", of_class(4, combined(vec![peer.clone(), role("Org1MSP", PrincipalRole::Member)])), true),
        ("peer and admin", of_class(4, combined(vec![peer.clone(), role("Org1MSP", PrincipalRole::Admin)])), false),
        ("peer of two", of_class(4, combined(vec![peer.clone(), role("Org2MSP", PrincipalRole::Peer)])), false),
        ("nothing combined", of_class(4, combined(vec![])), false),
        ("32 combined", of_class(4, combined(vec![peer.clone(); 32])), true),
        ("33 combined", of_class(4, combined(vec![peer.clone(); 33])), false),
        ("nested too deep", nested, false),
        ("class 5", of_class(5, vec![]), false),
        ("garbage", of_class(0, vec![0xff]), false),
    ] {
        net.put("One", signature_policy(signed_by(0), vec![principal]));
        assert_eq!(satisfied(&net.config(), "One", &[&signer]), is, "{name}");
    }
}

#[test]
fn policies_are_read_up_to_their_limits() {
    let decode = |rule, identities: usize| {
        let identities = vec![role("A", PrincipalRole::Member); identities];
        SignaturePolicy::decode(
            &pb::SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities }.encode_to_vec(),
        )
    };
    let deep = |depth: usize| (0..depth).fold(signed_by(0), |inner, _| out_of(1, vec![inner]));
    decode(deep(RULE_DEPTH_MAX), 1).unwrap();
    assert_eq!(decode(deep(RULE_DEPTH_MAX + 1), 1), Err(PolicyDefect::Depth(RULE_DEPTH_MAX)));
    let wide = |rules: usize| out_of(1, vec![signed_by(0); rules]);
    decode(wide(ENTRIES_MAX - 1), 1).unwrap();
    assert_eq!(decode(wide(ENTRIES_MAX), 1), Err(PolicyDefect::Size(ENTRIES_MAX)));
    decode(signed_by(0), ENTRIES_MAX).unwrap();
    assert_eq!(decode(signed_by(0), ENTRIES_MAX + 1), Err(PolicyDefect::Size(ENTRIES_MAX)));

    let with_policies = |count: usize| {
        let mut net = net();
        let before: usize = 3 + 4 + 4 + 4 * 4;
        (before..count).for_each(|n| net.put(&format!("p{n}"), common::ConfigPolicy::default()));
        config_of(&net)
    };
    with_policies(16_384).unwrap();
    assert!(matches!(with_policies(16_385), Err(ConfigError::TooManyPolicies(16_384))));
    let nested = |depth: usize| {
        let mut net = net();
        let inner = (1..depth).fold(common::ConfigGroup::default(), |inner, _| common::ConfigGroup {
            groups: [("inner".to_owned(), inner)].into(),
            ..Default::default()
        });
        net.group.groups.insert("Consortiums".to_owned(), inner);
        config_of(&net)
    };
    nested(8).unwrap();
    assert!(matches!(nested(9), Err(ConfigError::TooDeep(8))));
}

#[test]
fn a_threshold_of_nothing_is_always_met_as_in_fabric() {
    let mut net = net();
    net.put("Zero", signature_policy(out_of(0, vec![signed_by(0)]), vec![role("Org1MSP", PrincipalRole::Member)]));
    net.put("TooMany", signature_policy(out_of(2, vec![signed_by(0)]), vec![role("Org1MSP", PrincipalRole::Member)]));
    let config = net.config();
    assert!(satisfied(&config, "Zero", &[]));
    assert!(!satisfied(&config, "TooMany", &[&net.orgs[0].issue("peer"), &net.orgs[0].issue("peer")]));
}

fn recorded(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

fn recorded_peer(org: u8) -> Identity {
    let name = format!("org{org}.example.com");
    let dir = recorded(&format!("crypto/peerOrganizations/{name}/peers/peer0.{name}/msp"));
    LocalIdentity::load(&MspId::new(&format!("Org{org}MSP")).unwrap(), &dir).unwrap().identity
}

#[test]
fn the_recorded_channels_policies_hold_for_its_peers() {
    let config = ChannelConfig::from_block(&fs::read(recorded("config_block.pb")).unwrap()).unwrap();
    let [one, two] = [1, 2].map(recorded_peer);
    config.evaluate("/Channel/Application/Readers", &[&one]).unwrap();
    config.evaluate("/Channel/Application/Endorsement", &[&one, &two]).unwrap();
    let refused = config.evaluate("/Channel/Application/Endorsement", &[&two]).unwrap_err().to_string();
    assert!(refused.contains("/Channel/Application/Endorsement is not satisfied: still lacks one of Org1MSP, Org3MSP"));
    config.evaluate("/Channel/Application/Admins", &[&one, &two]).unwrap_err();
    config.evaluate("/Channel/Orderer/BlockValidation", &[&one, &two]).unwrap_err();
    let default = TrustRule::majority_of_peers(&config, 1);
    default.check(&config, 2).unwrap();
    assert!(default.is_satisfied(&config, &[&two, &one]) && !default.is_satisfied(&config, &[&two]));
}

#[test]
fn pinned_msp_folders_bring_readers_and_nothing_else() {
    let folders = [1, 2].map(|org| recorded(&format!("crypto/peerOrganizations/org{org}.example.com/msp")));
    let ids = ["Org1MSP", "Org2MSP"].map(|id| MspId::new(id).unwrap());
    let pinned: Vec<_> = ids.into_iter().zip(folders.iter().map(PathBuf::as_path)).collect();
    let config = ChannelConfig::from_pinned_msps("mychannel".parse().unwrap(), MspVersion::V3_0, &pinned).unwrap();
    let [one, two, three] = [1, 2, 3].map(recorded_peer);
    config.evaluate("/Channel/Application/Readers", &[&two]).unwrap();
    let refused = config.evaluate("/Channel/Application/Readers", &[&three]).unwrap_err();
    assert!(matches!(refused, MspError::NotInChannel { .. }), "{refused}");
    let refused = config.evaluate("/Channel/Application/Readers", &[]).unwrap_err().to_string();
    assert!(refused.contains("still lacks one of Org1MSP, Org2MSP"), "{refused}");
    for path in ["/Channel/Application/Admins", "/Channel/Readers", "/Channel/Application/Org1MSP/Readers", ""] {
        assert!(!config.has_policy(path));
        let refused = config.evaluate(path, &[&one, &two]).unwrap_err();
        assert!(matches!(refused, MspError::Policy(PolicyError::Missing { .. })), "{refused}");
    }
    assert!(config.has_policy("/Channel/Application/Readers"));
    assert_eq!(config.acl("snapferry/List"), None);
    // Trust rules are gates.
    let both = TrustRule::parse("AND('Org1MSP.peer', 'Org2MSP.peer')").unwrap();
    both.check(&config, 2).unwrap();
    assert!(both.is_satisfied(&config, &[&two, &one]));
    for text in ["ANY Readers", "/Channel/Application/Readers"] {
        let rule = TrustRule::parse(text).unwrap();
        assert!(matches!(rule.check(&config, 1), Err(RuleError::NoPolicies { .. })));
        assert!(!rule.is_satisfied(&config, &[&one, &two]));
    }
    // Nobody can give it another configuration.
    let block = fs::read(recorded("config_block.pb")).unwrap();
    assert!(matches!(config.successor(&block), Err(ConfigError::NotSigned { .. })));
}
