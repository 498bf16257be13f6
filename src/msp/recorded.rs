//! The recorded network, for tests: its configuration and its members' real cryptogen keys.
#![allow(clippy::disallowed_methods, reason = "test code")]

use std::{fs, path::PathBuf};

use super::{ChannelConfig, LocalIdentity, MspId};

pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

/// The recorded network's configuration: three organisations with NodeOUs.
pub(crate) fn network() -> ChannelConfig {
    ChannelConfig::from_block(&config_block()).unwrap()
}

pub(crate) fn config_block() -> Vec<u8> {
    fs::read(fixture("config_block.pb")).unwrap()
}

pub(crate) fn org(number: u8) -> MspId {
    MspId::new(&format!("Org{number}MSP")).unwrap()
}

/// The recorded peer of an organisation, 1 to 3.
pub(crate) fn peer(number: u8) -> LocalIdentity {
    load(number, &format!("peers/peer0.org{number}.example.com"))
}

/// Its recorded admin.
pub(crate) fn admin(number: u8) -> LocalIdentity {
    load(number, &format!("users/Admin@org{number}.example.com"))
}

fn load(number: u8, who: &str) -> LocalIdentity {
    let msp = fixture(&format!("crypto/peerOrganizations/org{number}.example.com/{who}/msp"));
    LocalIdentity::load(&org(number), &msp).unwrap()
}
