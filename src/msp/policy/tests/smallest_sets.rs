//! Properties, over rules made at random: the fewest organisations against trying every set of them, and that neither the order of
//! signers nor repetitions matter.

use std::{collections::BTreeSet, sync::OnceLock};

use proptest::prelude::*;

use crate::msp::{
    ChannelConfig, Identity, RuleError, TrustRule,
    policy::minimum::{Formula, minimum},
    test_channel::{TestOrg, channel, config},
};

const ORGS: [&str; 3] = ["Org1MSP", "Org2MSP", "Org3MSP"];
const UNITS: [&str; 2] = ["peer", "admin"];
/// More of each than a rule below has principals.
const EACH: usize = 6;

/// A channel, and many identities of each organisation and role.
struct Crowd {
    config: ChannelConfig,
    /// By organisation.
    members: Vec<Vec<Identity>>,
    twins: Vec<Identity>,
}

fn crowd() -> &'static Crowd {
    static CROWD: OnceLock<Crowd> = OnceLock::new();
    CROWD.get_or_init(|| {
        let orgs = ORGS.map(TestOrg::new);
        let config = config(channel(&orgs, &[])).unwrap();
        let somebody = |org: &TestOrg| UNITS.map(|unit| (0..EACH).map(|_| org.issue(unit)).collect::<Vec<_>>());
        let all: Vec<_> = orgs.iter().map(|org| somebody(org).into_iter().flatten().collect::<Vec<_>>()).collect();
        let twins = all.iter().flatten().map(|somebody| somebody.twin()).collect();
        let members = all.into_iter().map(|org| org.into_iter().map(|somebody| somebody.identity).collect()).collect();
        Crowd { config, members, twins }
    })
}

fn formula(orgs: usize) -> impl Strategy<Value = Formula> {
    let leaf = prop_oneof![
        8 => (0..orgs).prop_map(Formula::Org),
        1 => Just(Formula::Never),
        1 => Just(Formula::Anybody),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop::collection::vec(inner, 1..5)
            .prop_flat_map(|of| (0..=of.len() as i64 + 1, Just(of)))
            .prop_map(|(needed, of)| Formula::OutOf { needed, of })
    })
}

fn met(formula: &Formula, orgs: &BTreeSet<usize>) -> bool {
    match formula {
        Formula::Never => false,
        Formula::Anybody => !orgs.is_empty(),
        Formula::Org(org) => orgs.contains(org),
        Formula::OutOf { needed, of } => of.iter().filter(|inner| met(inner, orgs)).count() as i64 >= *needed,
    }
}

fn by_trying_all(formula: &Formula, orgs: usize) -> Option<usize> {
    let sets = (0..1u32 << orgs).map(|set| (0..orgs).filter(|org| set >> org & 1 == 1).collect::<BTreeSet<_>>());
    sets.filter(|set| met(formula, set)).map(|set| set.len()).min()
}

/// A rule of at most `EACH` principals.
fn rule_text() -> impl Strategy<Value = String> {
    let principal = (0..ORGS.len(), prop_oneof![Just("peer"), Just("admin"), Just("member")]);
    let principal = principal.prop_map(|(org, role)| format!("'{}.{role}'", ORGS[org])).boxed();
    let gate = |arg: BoxedStrategy<String>| {
        prop::collection::vec(arg, 1..3)
            .prop_flat_map(|args| (1..=args.len(), Just(args)))
            .prop_map(|(needed, args)| format!("OutOf({needed}, {})", args.join(", ")))
    };
    let inner = prop_oneof![principal.clone(), gate(principal.clone()).boxed()].boxed();
    prop_oneof![gate(principal), gate(inner)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_fewest_organisations_are_those_of_the_smallest_set(formula in formula(6)) {
        prop_assert_eq!(minimum(&formula), Ok(by_trying_all(&formula, 6)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What is computed of organisations holds for signatures: with enough identities of a set of organisations a rule is satisfied,
    /// whatever the greedy evaluation does, if and only if the set is large enough somewhere.
    #[test]
    fn identities_of_the_smallest_set_satisfy_the_rule(text in rule_text()) {
        let Crowd { config, members, .. } = crowd();
        let rule = TrustRule::parse(&text).unwrap();
        let satisfying = (0..1usize << ORGS.len()).filter(|set| {
            let signers: Vec<&Identity> =
                members.iter().enumerate().filter(|(org, _)| set >> org & 1 == 1).flat_map(|(_, org)| org).collect();
            rule.is_satisfied(config, &signers)
        });
        let fewest = satisfying.map(|set| set.count_ones()).min();
        prop_assert_eq!(Some(rule.minimum_orgs(config).unwrap()), fewest);
    }

    #[test]
    fn order_and_repetition_of_signers_do_not_matter(
        text in rule_text(),
        picked in prop::collection::vec(0..3 * 2 * EACH, 0..6),
        again in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..6),
        shuffled in any::<u64>(),
    ) {
        let Crowd { config, members, twins } = crowd();
        let all: Vec<&Identity> = members.iter().flatten().collect();
        let rule = TrustRule::parse(&text).unwrap();
        let once: Vec<&Identity> = picked.iter().collect::<BTreeSet<_>>().into_iter().map(|at| all[*at]).collect();
        let mut signers: Vec<&Identity> = picked.iter().map(|at| all[*at]).collect();
        if !picked.is_empty() {
            signers.extend(again.iter().map(|(index, twin)| {
                let at = *index.get(&picked);
                if *twin { &twins[at] } else { all[at] }
            }));
            let middle = shuffled as usize % signers.len();
            signers.rotate_left(middle);
            signers.swap(0, (shuffled >> 32) as usize % picked.len());
        }
        prop_assert_eq!(rule.is_satisfied(config, &signers), rule.is_satisfied(config, &once));
        prop_assert_eq!(rule.lacking(config, &signers), rule.lacking(config, &once));
    }
}

#[test]
fn large_channels_are_counted_at_once_and_tangles_given_up() {
    let org = |org| Formula::Org(org);
    let majority = Formula::OutOf { needed: 501, of: (0..1000).map(org).collect() };
    assert_eq!(minimum(&majority), Ok(Some(501)));
    let roles = |n| Formula::OutOf { needed: 1, of: vec![org(n), org(n), org(n)] };
    let majority = Formula::OutOf { needed: 501, of: (0..1000).map(roles).collect() };
    assert_eq!(minimum(&majority), Ok(Some(501)));
    let pair = |n| Formula::OutOf { needed: 2, of: vec![org(n), org(n + 1)] };
    let twice = |n: usize| Formula::OutOf { needed: 1, of: vec![pair(2 * n), pair(2 * n)] };
    let pairs = Formula::OutOf { needed: 250, of: (0..500).map(twice).collect() };
    assert_eq!(minimum(&pairs), Ok(Some(500)));
    // Each of 60 gates takes one of three organisations, chosen as if at random: a set cover.
    let pick = |gate: usize, n: usize| (gate * gate * 7 + n * n * 31 + gate * n * 17 + n * 5) % 47;
    let gate = |gate| Formula::OutOf { needed: 1, of: (0..3).map(|n| org(pick(gate, n))).collect() };
    let cover = |gates| Formula::OutOf { needed: gates, of: (0..gates as usize).map(gate).collect() };
    assert!(matches!(minimum(&cover(8)), Ok(Some(2..=8))));
    assert!(minimum(&Formula::OutOf { needed: 400, of: (0..600).map(|n| cover(n % 50 + 2)).collect() }).is_err());

    let gate = |n: usize| {
        format!(
            "OutOf(2, {})",
            (0..5).map(|m| format!("'Org{}MSP.peer'", pick(n, m) % 3 + 1)).collect::<Vec<_>>().join(", ")
        )
    };
    let text = format!("OutOf(150, {})", (0..300).map(gate).collect::<Vec<_>>().join(", "));
    let rule = TrustRule::parse(&text).unwrap();
    assert!(matches!(rule.minimum_orgs(&crowd().config), Ok(1..=3) | Err(RuleError::TooComplex { .. })));
}
