//! A channel configuration of any bytes, as a block and as the envelope in a peer's state: refused, or usable.

use snapferry::{msp::ChannelConfig, snapshot::BlockNumber};

/// Runs both parsers.
pub(crate) fn body(data: &[u8]) {
    if let Ok(config) = ChannelConfig::from_block(data) {
        let (channel, number) = (config.channel().clone(), config.block_number());
        let again = ChannelConfig::from_config_envelope(channel, number, config.config_envelope_bytes());
        check(&config, &again.expect("it was read from a block"));
    }
    let channel = "mychannel".parse().expect("a legal name");
    if let Ok(config) = ChannelConfig::from_config_envelope(channel, BlockNumber(1), data) {
        assert_eq!(config.config_envelope_bytes(), data);
        check(&config, &config);
    }
}

fn check(config: &ChannelConfig, again: &ChannelConfig) {
    assert_eq!(config.sequence(), again.sequence());
    assert!(!config.orgs().is_empty() && config.orgs().keys().eq(again.orgs().keys()));
    for (id, org) in config.orderer_orgs() {
        let other = config.orgs().get(id).unwrap_or(org);
        assert_eq!(other.fabric_msp_config(), org.fabric_msp_config());
    }
    for org in config.orgs().values() {
        assert!(org.anchor_peers().len() <= 64 && org.tls_roots().len() == org.tls_root_dates().len());
    }
}
