//! Whether the orderers signed a block (fabric: protoutil/blockutils.go), and the walk from a genesis block to a later configuration.
//!
//! A signature is over `metadata.value || header || ASN.1 of the block's header`. The header says who signed: a signature header holds
//! the identity; under BFT an identifier header may stand in its place, with the number of a consenter of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    ChannelConfig, ConfigError, Identity, MspError, MspId, MspVersion, SerializedIdentity,
    config::decode,
    der,
    pb::common::{self, MetadataSignature},
};
use crate::snapshot::BlockNumber;

/// Most signatures of a block, and most consenters of a configuration: an ordering service has some dozens of nodes.
const SIGNATURES_MAX: usize = 1024;
/// Who may sign blocks.
const BLOCK_VALIDATION: &str = "/Channel/Orderer/BlockValidation";

/// Who orders under BFT, by number. Empty where there is no BFT: blocks then name their signers in full.
#[derive(Debug, Clone, Default)]
pub(super) struct Consenters(BTreeMap<u32, SerializedIdentity>);

impl Consenters {
    pub(super) fn from_group(channel: &common::ConfigGroup, version: MspVersion) -> Result<Self, ConfigError> {
        let value = channel.groups.get("Orderer").and_then(|orderer| orderer.values.get("Orderers"));
        // The capability that brings Ed25519 brings BFT.
        let Some(value) = value.filter(|_| version >= MspVersion::V3_0) else { return Ok(Self::default()) };
        let orderers: common::Orderers = decode(&value.value, "the list of consenters")?;
        if orderers.consenter_mapping.len() > SIGNATURES_MAX {
            return Err(ConfigError::TooManySigners(SIGNATURES_MAX));
        }
        let mut consenters = BTreeMap::new();
        for consenter in orderers.consenter_mapping {
            let Some(msp_id) = MspId::new(&consenter.msp_id) else { continue };
            let identity = SerializedIdentity { msp_id, id_bytes: consenter.identity };
            // Of two with one number Fabric finds the first.
            consenters.entry(consenter.id).or_insert(identity);
        }
        Ok(Self(consenters))
    }
}

impl ChannelConfig {
    /// Follows a channel's configuration from its genesis block, which is believed, over all its configuration blocks in order: each must
    /// be signed as the one before it demands, and none may be left out.
    ///
    /// # Errors
    /// A block that [`Self::from_block`] or [`Self::successor`] refuses; a first block that isn't number 0; a gap.
    pub fn walk<'a>(genesis: &[u8], blocks: impl Iterator<Item = &'a [u8]>) -> Result<Self, ConfigError> {
        let first = Self::from_block(genesis)?;
        if first.block_number() != BlockNumber(0) {
            return Err(ConfigError::NotGenesis(first.block_number()));
        }
        blocks.enumerate().try_fold(first, |config, (index, block)| {
            let next = config.successor(block).and_then(|next| match config.sequence().checked_add(1) {
                Some(sequence) if sequence == next.sequence() => Ok(next),
                _ => Err(ConfigError::Gap { found: next.sequence(), current: config.sequence() }),
            });
            next.map_err(|source| ConfigError::InWalk { position: index + 1, source: Box::new(source) })
        })
    }

    /// The configuration of a newer block of the same channel, signed by orderers as this configuration's
    /// `/Channel/Orderer/BlockValidation` demands. Configurations in between may be left out if the same orderers sign.
    ///
    /// # Errors
    /// As [`Self::from_block`]; another channel; a sequence or number that isn't greater; signatures that don't satisfy the policy.
    pub fn successor(&self, block: &[u8]) -> Result<Self, ConfigError> {
        let next = Self::from_block(block)?;
        if next.channel() != self.channel() {
            return Err(ConfigError::OtherChannel { found: next.channel().clone(), wanted: self.channel().clone() });
        }
        if next.sequence() <= self.sequence() {
            return Err(ConfigError::NotNewer { found: next.sequence(), current: self.sequence() });
        }
        if next.block_number() <= self.block_number() {
            return Err(ConfigError::NotLater { found: next.block_number(), current: self.block_number() });
        }
        self.check_block_signatures(block)?;
        Ok(next)
    }

    /// Whether a block, of any kind, is signed as `/Channel/Orderer/BlockValidation` demands. That its data are what the header says,
    /// and of which channel it is, isn't looked at. A signature that is wrong doesn't count, and each signer counts once.
    ///
    /// # Errors
    /// It doesn't decode, has no metadata, or its signatures don't satisfy the policy.
    pub fn check_block_signatures(&self, block: &[u8]) -> Result<(), ConfigError> {
        let block: common::Block = decode(block, "the block")?;
        let header = block.header.ok_or(ConfigError::Missing("the block's header"))?;
        let metadata = block.metadata.and_then(|metadata| metadata.metadata.into_iter().next());
        let metadata = metadata.ok_or(ConfigError::Missing("the block's metadata with the orderers' signatures"))?;
        let metadata: common::Metadata = decode(&metadata, "the block's metadata")?;
        if metadata.signatures.len() > SIGNATURES_MAX {
            return Err(ConfigError::TooManySigners(SIGNATURES_MAX));
        }
        let signers = self.block_signers(&header, &metadata)?;
        let signers: Vec<&Identity> = signers.iter().collect();
        self.evaluate(BLOCK_VALIDATION, &signers).map_err(|source| ConfigError::NotSigned {
            block: BlockNumber(header.number),
            sequence: self.sequence(),
            source: Box::new(source),
        })
    }

    /// Whoever signed the block rightly.
    fn block_signers(
        &self,
        header: &common::BlockHeader,
        metadata: &common::Metadata,
    ) -> Result<Vec<Identity>, ConfigError> {
        let header = header_der(header);
        let mut signers: Vec<Identity> = Vec::new();
        let mut seen = BTreeSet::new();
        for signature in &metadata.signatures {
            let (serialized, named_by) = self.named_signer(signature)?;
            let Some(Ok(identity)) = serialized.map(Identity::parse) else { continue };
            let who = (identity.msp_id().clone(), identity.id());
            // Before the signature is checked: nobody makes us check one signer's thousand times.
            if seen.contains(&who) {
                continue;
            }
            let message = [&metadata.value[..], named_by, &header].concat();
            if self.verify_signature(&identity, &message, &signature.signature).is_ok() {
                seen.insert(who);
                signers.push(identity);
            }
        }
        Ok(signers)
    }

    /// Who is said to have signed, if it can be told, and the bytes that say so.
    fn named_signer<'a>(
        &self,
        signature: &'a MetadataSignature,
    ) -> Result<(Option<SerializedIdentity>, &'a Bytes), ConfigError> {
        // Without BFT there are no consenters, so numbers name nobody.
        if signature.signature_header.is_empty() && !signature.identifier_header.is_empty() {
            let header: common::IdentifierHeader = decode(&signature.identifier_header, "an identifier header")?;
            return Ok((self.consenters().0.get(&header.identifier).cloned(), &signature.identifier_header));
        }
        let header: common::SignatureHeader = decode(&signature.signature_header, "a signature header")?;
        let identity: Result<_, MspError> = SerializedIdentity::decode(&header.creator);
        Ok((identity.ok(), &signature.signature_header))
    }
}

/// `SEQUENCE { number INTEGER, previous_hash OCTET STRING, data_hash OCTET STRING }`.
fn header_der(header: &common::BlockHeader) -> Vec<u8> {
    let number = der::write_positive(&header.number.to_be_bytes());
    let hash = |hash: &[u8]| der::write(der::OCTET_STRING, hash);
    der::write(der::SEQUENCE, &[number, hash(&header.previous_hash), hash(&header.data_hash)].concat())
}

#[cfg(test)]
mod tests;
