//! A trust rule of any text: refused with a place in the text, or read the same again, and judged without a panic.

use std::sync::OnceLock;

use snapferry::msp::{ChannelConfig, RuleError, TrustRule};

/// Reads `data` as a rule, and holds it against the recorded channel.
pub(crate) fn body(data: &[u8]) {
    static CONFIG: OnceLock<ChannelConfig> = OnceLock::new();
    let block = include_bytes!("../../tests/fixtures/network/config_block.pb");
    let config = CONFIG.get_or_init(|| ChannelConfig::from_block(block).expect("it was recorded"));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rule = match TrustRule::parse(text) {
        Ok(rule) => rule,
        Err(RuleError::Syntax { position, .. }) => {
            return assert!((1..=text.chars().count() + 1).contains(&position), "{text:?}: {position}");
        }
        Err(other) => panic!("{other}"),
    };
    assert_eq!((rule.as_str(), TrustRule::parse(rule.as_str())), (text, Ok(rule.clone())));
    assert!(!rule.is_satisfied(config, &[]), "a rule asks for somebody");
    if let Ok(orgs) = rule.minimum_orgs(config) {
        assert!((1..=3).contains(&orgs));
        assert!(rule.check(config, orgs).is_ok() && rule.check(config, orgs + 1).is_err());
        assert!(!rule.lacking(config, &[]).is_empty());
    }
}
