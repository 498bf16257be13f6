//! A channel's configuration: which organisations are in it, and by which CAs they are known.
//!
//! Decides what a configuration block means. Who may be believed with one (where it came from) is for the caller.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{ConfigError, MspId, OrganisationError, org::OrgConfig, pb::common};
use crate::snapshot::{BlockNumber, ChannelId};

/// Largest configuration that is read: the block of a channel with hundreds of organisations is about 1 MiB.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;
/// Most application organisations in a channel.
const ORGANISATIONS_MAX: usize = 1000;
/// `common.HeaderType_CONFIG`.
const HEADER_TYPE_CONFIG: i32 = 1;

/// Which of Fabric's MSP rules hold in a channel, by its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MspVersion {
    /// Capability V1_4_3 or V2_0.
    V1_4_3,
    /// Capability V3_0: Ed25519 too.
    V3_0,
}

/// A parsed channel configuration. Immutable: a new one replaces it.
#[derive(Clone)]
pub struct ChannelConfig {
    channel: ChannelId,
    block_number: BlockNumber,
    block_sha256: Option<[u8; 32]>,
    sequence: u64,
    msp_version: MspVersion,
    orgs: BTreeMap<MspId, OrgConfig>,
    envelope: Bytes,
}

impl ChannelConfig {
    /// From a configuration block as `peer channel fetch config` writes it.
    ///
    /// # Errors
    /// If it is over 16 MiB, isn't a configuration block, doesn't match its own data hash, or an organisation in it is
    /// unusable.
    pub fn from_block(bytes: &[u8]) -> Result<Self, ConfigError> {
        let block: common::Block = decode(bytes, "the block")?;
        let header = block.header.ok_or(ConfigError::Missing("the block's header"))?;
        let data = block.data.ok_or(ConfigError::Missing("the block's data"))?.data;
        let data_hash: [u8; 32] =
            data.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into();
        if *header.data_hash != data_hash {
            return Err(ConfigError::DataHash);
        }
        let envelope = data.first().ok_or(ConfigError::Missing("the block's transaction"))?;
        let envelope: common::Envelope = decode(envelope, "the transaction's envelope")?;
        let payload: common::Payload = decode(&envelope.payload, "the transaction's payload")?;
        let channel_header = payload.header.ok_or(ConfigError::Missing("the transaction's header"))?.channel_header;
        let channel_header: common::ChannelHeader = decode(&channel_header, "the channel header")?;
        if channel_header.r#type != HEADER_TYPE_CONFIG {
            return Err(ConfigError::NotConfig(channel_header.r#type));
        }
        let channel = channel_header.channel_id.parse()?;
        let config = Self::from_config_envelope(channel, BlockNumber(header.number), &payload.data)?;
        Ok(Self { block_sha256: Some(Sha256::digest(bytes).into()), ..config })
    }

    /// The configuration of a newer block of the same channel.
    ///
    /// # Errors
    /// As [`Self::from_block`]; another channel; a sequence that isn't greater.
    pub fn successor(&self, block: &[u8]) -> Result<Self, ConfigError> {
        let next = Self::from_block(block)?;
        if next.channel != self.channel {
            return Err(ConfigError::OtherChannel { found: next.channel, wanted: self.channel.clone() });
        }
        if next.sequence <= self.sequence {
            return Err(ConfigError::NotNewer { found: next.sequence, current: self.sequence });
        }
        Ok(next)
    }

    /// From a serialized ConfigEnvelope, as the state keeps it under `CHANNEL_CONFIG_ENV_BYTES`; it doesn't say itself
    /// which channel it is of, nor at which block.
    ///
    /// # Errors
    /// As [`Self::from_block`].
    pub fn from_config_envelope(
        channel: ChannelId,
        block_number: BlockNumber,
        bytes: &[u8],
    ) -> Result<Self, ConfigError> {
        let envelope: common::ConfigEnvelope = decode(bytes, "the configuration envelope")?;
        let config = envelope.config.ok_or(ConfigError::Missing("the configuration"))?;
        let group = config.channel_group.ok_or(ConfigError::Missing("the channel group"))?;
        let application = group.groups.get("Application").ok_or(ConfigError::Missing("the group Application"))?;
        Ok(Self {
            channel,
            block_number,
            block_sha256: None,
            sequence: config.sequence,
            msp_version: msp_version(&group)?,
            orgs: organisations(&application.groups)?,
            envelope: Bytes::copy_from_slice(bytes),
        })
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The block that it came from.
    #[must_use]
    pub const fn block_number(&self) -> BlockNumber {
        self.block_number
    }

    /// SHA-256 of the block's bytes, if it came from a block: what an operator pins.
    #[must_use]
    pub const fn block_sha256(&self) -> Option<[u8; 32]> {
        self.block_sha256
    }

    /// How many times the configuration was changed: a greater one is newer.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Which MSP rules hold.
    #[must_use]
    pub const fn msp_version(&self) -> MspVersion {
        self.msp_version
    }

    /// The application organisations by MSP ID; at least one.
    #[must_use]
    pub const fn orgs(&self) -> &BTreeMap<MspId, OrgConfig> {
        &self.orgs
    }

    /// The serialized ConfigEnvelope.
    #[must_use]
    pub const fn config_envelope_bytes(&self) -> &Bytes {
        &self.envelope
    }
}

impl fmt::Debug for ChannelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelConfig")
            .field("channel", &self.channel)
            .field("block_number", &self.block_number)
            .field("sequence", &self.sequence)
            .field("orgs", &self.orgs.keys())
            .finish_non_exhaustive()
    }
}

fn decode<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, ConfigError> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { limit: CONFIG_BYTES_MAX });
    }
    M::decode(bytes).map_err(|source| ConfigError::Decode { what, source })
}

fn msp_version(group: &common::ConfigGroup) -> Result<MspVersion, ConfigError> {
    let value = group.values.get("Capabilities").ok_or(ConfigError::Capabilities)?;
    let names: common::Capabilities = decode(&value.value, "the channel's capabilities")?;
    let has = |name| names.capabilities.contains_key(name);
    match () {
        () if has("V3_0") => Ok(MspVersion::V3_0),
        () if has("V2_0") || has("V1_4_3") => Ok(MspVersion::V1_4_3),
        () => Err(ConfigError::Capabilities),
    }
}

fn organisations(groups: &HashMap<String, common::ConfigGroup>) -> Result<BTreeMap<MspId, OrgConfig>, ConfigError> {
    if groups.len() > ORGANISATIONS_MAX {
        return Err(ConfigError::TooManyOrganisations(ORGANISATIONS_MAX));
    }
    // By name, so that a configuration with two faults always names the same one.
    let groups: BTreeMap<_, _> = groups.iter().collect();
    let mut orgs = BTreeMap::new();
    for (name, group) in groups {
        let unusable = |reason| ConfigError::Organisation { group: name.chars().take(256).collect(), reason };
        let Some(org) = OrgConfig::from_group(group).map_err(unusable)? else { continue };
        if let Some(other) = orgs.insert(org.msp_id().clone(), org.clone())
            && other.fabric_msp_config() != org.fabric_msp_config()
        {
            return Err(unusable(OrganisationError::Twice(org.msp_id().clone())));
        }
    }
    if orgs.is_empty() { Err(ConfigError::NoOrganisation) } else { Ok(orgs) }
}

#[cfg(test)]
impl ChannelConfig {
    /// The same without that organisation.
    pub(crate) fn without(mut self, org: &MspId) -> Self {
        self.orgs.remove(org);
        self
    }
}
