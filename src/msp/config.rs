//! A channel's configuration: which organisations are in it, and by which CAs they are known.
//!
//! Decides what a configuration block means. Who may be believed with one (where it came from) is for the caller.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{
    ConfigError, MspId, OrganisationError,
    block_signatures::Consenters,
    folder,
    org::OrgConfig,
    pb::{
        common,
        msp::{FabricMspConfig, MspConfig},
    },
    policy::ChannelPolicies,
};
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
    block: Option<Bytes>,
    sequence: u64,
    msp_version: MspVersion,
    orgs: BTreeMap<MspId, OrgConfig>,
    orderer_orgs: BTreeMap<MspId, OrgConfig>,
    policies: ChannelPolicies,
    /// The name of each organisation's group, which may be another than its MSP ID.
    groups: BTreeMap<MspId, String>,
    consenters: Consenters,
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
        Ok(Self { block: Some(Bytes::copy_from_slice(bytes)), ..config })
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
        let orgs = organisations(&application.groups)?;
        if orgs.is_empty() {
            return Err(ConfigError::NoOrganisation);
        }
        let msp_version = msp_version(&group)?;
        Ok(Self {
            channel,
            block_number,
            block: None,
            sequence: config.sequence,
            msp_version,
            orderer_orgs: orderer_organisations(&group, &orgs)?,
            orgs,
            policies: ChannelPolicies::from_group(&group)?,
            groups: group_names(&application.groups),
            consenters: Consenters::from_group(&group, msp_version)?,
            envelope: Bytes::copy_from_slice(bytes),
        })
    }

    /// From MSP folders that the operator pinned (trust.md 2.5 c): whose members are whose, and nothing else. There is no block, no
    /// policy and no orderer organisation in it. Folders bring no capabilities either, so `msp_version` says whether Ed25519 counts:
    /// [`MspVersion::V1_4_3`] unless the operator knows that the channel has V3_0.
    ///
    /// # Errors
    /// A folder that can't be read or used, an MSP ID with two different folders, or no folder at all.
    pub fn from_pinned_msps(
        channel: ChannelId,
        msp_version: MspVersion,
        msps: &[(MspId, &Path)],
    ) -> Result<Self, ConfigError> {
        let mut orgs = BTreeMap::new();
        for (msp_id, msp_dir) in msps {
            let unusable = |reason| ConfigError::PinnedMsp { msp_dir: msp_dir.to_path_buf(), reason };
            let org =
                OrgConfig::from_msp(folder::read_msp(msp_id, msp_dir)?.encode_to_vec().into()).map_err(unusable)?;
            insert(&mut orgs, org).map_err(unusable)?;
        }
        if orgs.is_empty() {
            return Err(ConfigError::NoOrganisation);
        }
        Ok(Self {
            channel,
            block_number: BlockNumber(0),
            block: None,
            sequence: 0,
            msp_version,
            orgs,
            orderer_orgs: BTreeMap::new(),
            policies: ChannelPolicies::default(),
            groups: BTreeMap::new(),
            consenters: Consenters::default(),
            envelope: Bytes::new(),
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
    pub fn block_sha256(&self) -> Option<[u8; 32]> {
        self.block.as_ref().map(|block| Sha256::digest(block).into())
    }

    /// The block's bytes, if it came from a block.
    #[must_use]
    pub const fn block_bytes(&self) -> Option<&Bytes> {
        self.block.as_ref()
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

    /// The orderers' organisations by MSP ID: their members sign blocks, and are nobody otherwise. Maybe none.
    #[must_use]
    pub const fn orderer_orgs(&self) -> &BTreeMap<MspId, OrgConfig> {
        &self.orderer_orgs
    }

    pub(super) const fn policies(&self) -> &ChannelPolicies {
        &self.policies
    }

    /// The group of an organisation in the configuration, by which its policies are found.
    pub(super) fn group_of(&self, msp_id: &MspId) -> Option<&str> {
        self.groups.get(msp_id).map(String::as_str)
    }

    pub(super) const fn consenters(&self) -> &Consenters {
        &self.consenters
    }

    /// The serialized ConfigEnvelope; empty for pinned MSPs.
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

pub(super) fn decode<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, ConfigError> {
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
        insert(&mut orgs, org).map_err(unusable)?;
    }
    Ok(orgs)
}

/// The same MSP ID twice: byte for byte the same MSP.
fn insert(orgs: &mut BTreeMap<MspId, OrgConfig>, org: OrgConfig) -> Result<(), OrganisationError> {
    let other = orgs.insert(org.msp_id().clone(), org.clone());
    match other {
        Some(other) if other.fabric_msp_config() != org.fabric_msp_config() => {
            Err(OrganisationError::Twice(org.msp_id().clone()))
        }
        _ => Ok(()),
    }
}

/// One MSP for one MSP ID in the whole channel, as Fabric has it.
fn orderer_organisations(
    group: &common::ConfigGroup,
    orgs: &BTreeMap<MspId, OrgConfig>,
) -> Result<BTreeMap<MspId, OrgConfig>, ConfigError> {
    let Some(orderer) = group.groups.get("Orderer") else { return Ok(BTreeMap::new()) };
    let orderers = organisations(&orderer.groups)?;
    let differs = |(id, org): &(&MspId, &OrgConfig)| {
        orgs.get(*id).is_some_and(|other| other.fabric_msp_config() != org.fabric_msp_config())
    };
    match orderers.iter().find(differs) {
        Some((id, _)) => {
            let reason = OrganisationError::Twice(id.clone());
            Err(ConfigError::Organisation { group: "Orderer".to_owned(), reason })
        }
        None => Ok(orderers),
    }
}

#[cfg(test)]
impl ChannelConfig {
    /// The same without that organisation.
    pub(crate) fn without(mut self, org: &MspId) -> Self {
        self.orgs.remove(org);
        self
    }
}

/// By MSP ID. One that two groups have has the first one's policies, by name.
fn group_names(groups: &HashMap<String, common::ConfigGroup>) -> BTreeMap<MspId, String> {
    let groups: BTreeMap<_, _> = groups.iter().collect();
    let named = groups.into_iter().rev().filter_map(|(name, group)| {
        let msp = MspConfig::decode(group.values.get("MSP")?.value.clone()).ok()?;
        let msp = FabricMspConfig::decode(msp.config).ok()?;
        Some((MspId::new(&msp.name)?, name.clone()))
    });
    named.collect()
}
