//! A block of any bytes behind the recorded genesis block: refused, or the configuration that the channel's orderers signed.

use std::sync::OnceLock;

use snapferry::msp::ChannelConfig;

/// Takes `data` for the next configuration block.
pub(crate) fn body(data: &[u8]) {
    if let Ok(next) = genesis().successor(data) {
        let block = include_bytes!("../../tests/fixtures/network/config_block.pb");
        let signed = ChannelConfig::from_block(block).expect("it was recorded");
        assert_eq!(next.config_envelope_bytes(), signed.config_envelope_bytes());
        assert_eq!((next.sequence(), next.block_number()), (signed.sequence(), signed.block_number()));
    }
    let _ = genesis().check_block_signatures(data);
}

/// Whether it is the next configuration block.
pub(crate) fn follows(data: &[u8]) -> bool {
    genesis().successor(data).is_ok()
}

fn genesis() -> &'static ChannelConfig {
    static CONFIG: OnceLock<ChannelConfig> = OnceLock::new();
    let block = include_bytes!("../../tests/fixtures/network/genesis.block");
    CONFIG.get_or_init(|| ChannelConfig::from_block(block).expect("it was recorded"))
}
