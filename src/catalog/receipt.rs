//! The receipt of a join: who vouched for what, by which rule and configuration, and who sent how much. A file that anybody can check
//! without a network, signed by who joined (trust.md 6.6).
//!
//! Checking it judges the same statements again: the receipt's word counts only for what nobody can prove later, the time and the
//! shares.

mod error;
mod text;

pub use error::ReceiptError;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    AgreedSnapshot, TrustPolicy,
    judging::seconds,
    portable::{self, Base64, PortableError},
};
use crate::{
    msp::{ChannelConfig, Identity, LocalIdentity, Purpose, SerializedIdentity},
    snapshot::BlockNumber,
};
use text::{ConfigText, PolicyText, ReceiptBody, ReceiptText, VERSION, VoucherText, time};

/// Largest receipt that is read: a configuration block of 16 MiB in base64, and statements of a thousand organisations.
pub const RECEIPT_BYTES_MAX: usize = 64 << 20;

/// Where the joiner's trust came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootOfTrust {
    /// A configuration block that the operator got out of band.
    ConfigBlock,
    /// A walk from the genesis block, each configuration verified by the one before.
    GenesisWalk,
    /// MSP folders in the local configuration.
    PinnedMsps,
}

/// What one source sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptShare {
    /// Its address.
    pub source: String,
    /// Its MSP ID.
    pub msp_id: String,
    /// Bytes of its chunks that were proved.
    pub verified_bytes: u64,
    /// Its chunks that failed their proof.
    pub chunks_rejected: u64,
}

/// What only who joined knows.
#[derive(Debug, Clone)]
pub struct ReceiptFacts {
    /// Where the configuration came from.
    pub root: RootOfTrust,
    /// The block of the configuration that was judged by, so that the receipt needs no other file; none for pinned MSPs.
    pub config_block: Option<Bytes>,
    /// Who sent how much.
    pub shares: Vec<ReceiptShare>,
    /// When the join began.
    pub started_at: SystemTime,
    /// When it ended.
    pub finished_at: SystemTime,
}

/// A receipt whose every statement was checked.
#[derive(Debug, Clone)]
pub struct JoinReceipt {
    text: ReceiptBody,
    joiner: Identity,
    agreed: AgreedSnapshot,
}

impl JoinReceipt {
    /// Writes and signs the receipt of a join; `config` is the configuration that it was agreed by.
    ///
    /// # Errors
    /// The block of the facts isn't that configuration's, or the crypto library fails.
    pub fn sign(
        agreed: &AgreedSnapshot,
        config: &ChannelConfig,
        facts: ReceiptFacts,
        by: &LocalIdentity,
    ) -> Result<Vec<u8>, ReceiptError> {
        if let Some(block) = &facts.config_block {
            must_be(config, &ChannelConfig::from_block(block)?)?;
        }
        let basis = agreed.basis();
        if config.sequence() != basis.config_sequence {
            return Err(ReceiptError::OtherConfig { receipt: basis.config_sequence, given: config.sequence() });
        }
        if *by.identity.msp_id() != basis.own_msp {
            return Err(ReceiptError::Inconsistent("the signer is of another organisation than the joiner"));
        }
        let policy = &basis.policy;
        let agreed_at = seconds(basis.agreed_at);
        let receipt = ReceiptBody {
            channel: agreed.id().channel.to_string(),
            block_number: agreed.id().block_number.0,
            snapshot_hash: agreed.manifest().signable().hash().to_string(),
            manifest_hash: agreed.manifest_hash().to_string(),
            last_block_commit_hash: agreed.commit_hash().map(|hash| hash.to_string()).unwrap_or_default(),
            mode: agreed.mode().into(),
            policy: PolicyText::of(policy),
            root_of_trust: facts.root,
            config: ConfigText {
                block_number: config.block_number().0,
                sequence: config.sequence(),
                block_sha256: config.block_sha256().map(hex::encode),
                organisations: config.orgs().keys().map(ToString::to_string).collect(),
                block: facts.config_block.map(Base64),
            },
            vouchers: agreed.vouchers().iter().map(VoucherText::from).collect(),
            nonce: Base64(Bytes::from(basis.nonce.clone().unwrap_or_default())),
            floor: basis.floor.0,
            allow_older: basis.allow_older,
            joiner_msp_id: basis.own_msp.to_string(),
            joiner: Base64(by.identity.serialized().encode().into()),
            shares: facts.shares,
            // A clock that was set back meanwhile mustn't make a receipt that contradicts itself.
            started_at: seconds(facts.started_at).min(agreed_at),
            agreed_at,
            finished_at: seconds(facts.finished_at).max(agreed_at),
            manifest: Base64(agreed.manifest().encode().into()),
        };
        let signature = by.sign(Purpose::Receipt, &[&receipt.signed_bytes()])?;
        let signature = Base64(signature.into());
        Ok(portable::to_json(&ReceiptText { snapferry_receipt: VERSION, receipt, signature }))
    }

    /// Checks a receipt: its signature, every statement in it, and that these met its policy then, by that configuration; without one,
    /// by the block in the file, which is as good as where the file came from.
    ///
    /// # Errors
    /// [`ReceiptError`]; any edited byte is found.
    pub fn verify(file: &[u8], config: Option<&ChannelConfig>) -> Result<Self, ReceiptError> {
        let text: ReceiptText = portable::from_json(file, RECEIPT_BYTES_MAX)?;
        if text.snapferry_receipt != VERSION {
            return Err(PortableError::Version(text.snapferry_receipt).into());
        }
        if portable::to_json(&text) != file {
            return Err(ReceiptError::NotCanonical);
        }
        let receipt = text.receipt;
        let joiner = Identity::parse(SerializedIdentity::decode(&receipt.joiner.0)?)?;
        joiner.verify(Purpose::Receipt, &[&receipt.signed_bytes()], &text.signature.0)?;
        if joiner.msp_id().as_str() != receipt.joiner_msp_id {
            return Err(ReceiptError::Inconsistent("the joiner is of another organisation than it says"));
        }
        let embedded = receipt.config.block.as_ref().map(|block| ChannelConfig::from_block(&block.0)).transpose()?;
        let sequence = receipt.config.sequence;
        let config = config.or(embedded.as_ref()).ok_or(ReceiptError::ConfigMissing { sequence })?;
        receipt.check_config(config, embedded.as_ref())?;
        config.validate_stored(&joiner)?;
        let agreed = receipt.judged_again(config, &joiner)?;
        Ok(Self { text: receipt, joiner, agreed })
    }

    /// What was agreed on, by the statements in the receipt.
    #[must_use]
    pub const fn agreed(&self) -> &AgreedSnapshot {
        &self.agreed
    }

    /// Who joined.
    #[must_use]
    pub const fn joiner(&self) -> &Identity {
        &self.joiner
    }

    /// Who sent how much, by the joiner's word.
    #[must_use]
    pub fn shares(&self) -> &[ReceiptShare] {
        &self.text.shares
    }

    /// Where the joiner's trust came from, by its word.
    #[must_use]
    pub const fn root_of_trust(&self) -> RootOfTrust {
        self.text.root_of_trust
    }

    /// Sequence and block of the configuration that was judged by.
    #[must_use]
    pub const fn config(&self) -> (u64, BlockNumber) {
        (self.text.config.sequence, BlockNumber(self.text.config.block_number))
    }

    /// SHA-256 of that configuration's block, in hexadecimal; none with pinned MSPs. Of the block itself if it is in the receipt.
    #[must_use]
    pub fn config_block_sha256(&self) -> Option<&str> {
        self.text.config.block_sha256.as_deref()
    }

    /// The policies' texts: over metadata, over the manifest.
    #[must_use]
    pub fn policies(&self) -> (&str, &str) {
        (&self.text.policy.metadata, &self.text.policy.manifest)
    }

    /// Whether just this rule was applied.
    #[must_use]
    pub fn is_by(&self, policy: &TrustPolicy) -> bool {
        self.text.policy == PolicyText::of(policy)
    }

    /// Start, agreement and end, by the joiner's word.
    #[must_use]
    pub fn times(&self) -> [SystemTime; 3] {
        [self.text.started_at, self.text.agreed_at, self.text.finished_at].map(|at| time(at).unwrap_or(UNIX_EPOCH))
    }
}

/// Two files of one configuration may differ in their blocks' metadata; what they say may not.
fn must_be(receipt: &ChannelConfig, given: &ChannelConfig) -> Result<(), ReceiptError> {
    if receipt.channel() == given.channel() && receipt.config_envelope_bytes() == given.config_envelope_bytes() {
        return Ok(());
    }
    Err(ReceiptError::OtherConfig { receipt: receipt.sequence(), given: given.sequence() })
}

#[cfg(test)]
mod tests;
