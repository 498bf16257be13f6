//! The receipt of a join: who vouched for what, by which rule and configuration, and who sent how much. A file that anybody can check
//! without a network, signed by who joined (trust.md 6.6).
//!
//! Checking it judges the same statements again: the receipt's word counts only for what nobody can prove later, the time and the
//! shares.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    AgreedSnapshot, AgreementError, Attestation, AttestationError, CatalogEntry, DetachedError, DetachedSignature,
    Heard, Judging, Mode, Offer, Statements, TrustPolicy, Voucher, agree,
    judging::seconds,
    portable::{self, AttestationText, Base64, PortableError},
};
use crate::{
    msp::{
        ChannelConfig, ConfigError, Identity, LocalIdentity, MspError, MspId, Purpose, RuleError, SerializedIdentity,
        TrustRule,
    },
    snapshot::{
        BlockHash, BlockNumber, ChannelId, ChannelIdError, Manifest, ManifestError, ManifestHash, SnapshotHash,
    },
};

/// Largest receipt that is read: a configuration block of 16 MiB in base64, and statements of a thousand organisations.
pub const RECEIPT_BYTES_MAX: usize = 64 << 20;

const VERSION: u64 = 1;

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

/// Something that isn't a receipt, or proves less than it claims.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The file.
    #[error("no receipt: {0}")]
    File(#[from] PortableError),
    /// The same content in other bytes than ours.
    #[error("the receipt was edited: its bytes aren't as they were written")]
    NotCanonical,
    /// A value within is none of its kind.
    #[error("no receipt: {what} is malformed")]
    Malformed {
        /// The key.
        what: &'static str,
    },
    /// The channel's name.
    #[error("no receipt: {0}")]
    Channel(#[from] ChannelIdError),
    /// The manifest.
    #[error("the receipt's manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// A value doesn't fit another.
    #[error("the receipt contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// The joiner's identity or signature, or our own key.
    #[error("the receipt's signer: {0}")]
    Signer(#[from] MspError),
    /// An attestation.
    #[error("an attestation in the receipt: {0}")]
    Attestation(#[from] AttestationError),
    /// A detached signature.
    #[error("a detached signature in the receipt: {0}")]
    Detached(#[from] DetachedError),
    /// The configuration block within.
    #[error("the receipt's configuration block: {0}")]
    Config(#[from] ConfigError),
    /// No configuration to judge by.
    #[error("the receipt holds no configuration block: give the one that it names, sequence {sequence}")]
    ConfigMissing {
        /// The configuration's sequence.
        sequence: u64,
    },
    /// It was judged by another configuration than the one given.
    #[error(
        "the receipt was made with another configuration (sequence {receipt}) than the one given (sequence {given})"
    )]
    OtherConfig {
        /// As the receipt names.
        receipt: u64,
        /// As given.
        given: u64,
    },
    /// A policy can't be read.
    #[error("the receipt's policy: {0}")]
    Rule(#[from] RuleError),
    /// The statements don't meet the policy.
    #[error("the statements in the receipt don't meet its policy: {0}")]
    NotMet(#[source] Box<AgreementError>),
}

/// What is signed: the compact JSON of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptBody {
    channel: String,
    block_number: u64,
    snapshot_hash: String,
    manifest_hash: String,
    /// Empty: the ledger has none.
    last_block_commit_hash: String,
    mode: ModeText,
    policy: PolicyText,
    root_of_trust: RootOfTrust,
    config: ConfigText,
    vouchers: Vec<VoucherText>,
    /// Empty: nobody was asked to echo one.
    nonce: Base64,
    floor: u64,
    allow_older: bool,
    joiner_msp_id: String,
    /// `msp.SerializedIdentity`.
    joiner: Base64,
    shares: Vec<ReceiptShare>,
    /// Seconds since 1970, as the two others.
    started_at: u64,
    agreed_at: u64,
    finished_at: u64,
    manifest: Base64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeText {
    Streaming,
    Staged,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    metadata: String,
    manifest: String,
    min_orgs: u32,
    count_self: bool,
    require_live: bool,
    min_block: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigText {
    block_number: u64,
    sequence: u64,
    block_sha256: Option<String>,
    /// MSP IDs of the application organisations.
    organisations: Vec<String>,
    block: Option<Base64>,
}

/// Exactly one of the two last is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VoucherText {
    msp_id: String,
    identity_id: String,
    subject: String,
    how: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attestation: Option<AttestationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detached: Option<Base64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptText {
    snapferry_receipt: u64,
    receipt: ReceiptBody,
    signature: Base64,
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
            policy: PolicyText {
                metadata: policy.metadata.as_str().to_owned(),
                manifest: policy.manifest.as_str().to_owned(),
                min_orgs: policy.min_orgs,
                count_self: policy.count_self,
                require_live: policy.require_live,
                min_block: policy.min_block.map(|block| block.0),
            },
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

    /// The policies' texts: over metadata, over the manifest.
    #[must_use]
    pub fn policies(&self) -> (&str, &str) {
        (&self.text.policy.metadata, &self.text.policy.manifest)
    }

    /// Start, agreement and end, by the joiner's word.
    #[must_use]
    pub fn times(&self) -> [SystemTime; 3] {
        [self.text.started_at, self.text.agreed_at, self.text.finished_at].map(|at| time(at).unwrap_or(UNIX_EPOCH))
    }
}

impl ReceiptBody {
    fn signed_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always serialize into memory")
    }

    fn check_config(&self, config: &ChannelConfig, embedded: Option<&ChannelConfig>) -> Result<(), ReceiptError> {
        if let Some(embedded) = embedded {
            must_be(embedded, config)?;
            if embedded.block_sha256().map(hex::encode) != self.config.block_sha256 {
                return Err(ReceiptError::Inconsistent("the configuration block hasn't the SHA-256 that is named"));
            }
            if embedded.block_number().0 != self.config.block_number {
                return Err(ReceiptError::Inconsistent("the configuration block has another number than is named"));
            }
        }
        if config.sequence() != self.config.sequence {
            return Err(ReceiptError::OtherConfig { receipt: self.config.sequence, given: config.sequence() });
        }
        if config.channel().as_str() != self.channel {
            return Err(ReceiptError::Inconsistent("the configuration is of another channel"));
        }
        if !config.orgs().keys().map(MspId::as_str).eq(self.config.organisations.iter().map(String::as_str)) {
            return Err(ReceiptError::Inconsistent("the configuration has other organisations than are named"));
        }
        Ok(())
    }

    /// Runs the agreement over the statements within, at the time of then, and compares what comes out.
    fn judged_again(&self, config: &ChannelConfig, joiner: &Identity) -> Result<AgreedSnapshot, ReceiptError> {
        let channel: ChannelId = self.channel.parse()?;
        let manifest = Manifest::decode(&self.manifest.0)?;
        let entry = CatalogEntry {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            files: u32::try_from(manifest.files().len()).unwrap_or(u32::MAX),
            only_metadata_available: false,
            partial: false,
        };
        let commit_hash: Option<BlockHash> = match self.last_block_commit_hash.as_str() {
            "" => None,
            text => Some(hash(text, "last_block_commit_hash")?),
        };
        if entry.id.channel != channel
            || entry.id.block_number.0 != self.block_number
            || entry.snapshot_hash != hash::<SnapshotHash>(&self.snapshot_hash, "snapshot_hash")?
            || entry.manifest_hash != hash::<ManifestHash>(&self.manifest_hash, "manifest_hash")?
        {
            return Err(ReceiptError::Inconsistent("the manifest is of another snapshot than is named"));
        }
        let [started_at, agreed_at, finished_at] = [self.started_at, self.agreed_at, self.finished_at].map(time);
        let (Some(started_at), Some(now), Some(finished_at)) = (started_at, agreed_at, finished_at) else {
            return Err(ReceiptError::Malformed { what: "a time" });
        };
        if started_at > now || now > finished_at {
            return Err(ReceiptError::Inconsistent(
                "it ended before it was agreed on, or was agreed on before it began",
            ));
        }
        if self.policy.require_live && self.nonce.0.is_empty() {
            return Err(ReceiptError::Inconsistent(
                "its policy asks for live statements, but nobody was asked for one",
            ));
        }
        let policy = self.policy.parse()?;
        let statements = self.statements()?;
        let judging = Judging {
            config,
            policy: &policy,
            own_msp: joiner.msp_id(),
            now,
            nonce: (!self.nonce.0.is_empty()).then_some(&*self.nonce.0),
            floor: BlockNumber(self.floor),
            allow_older: self.allow_older,
        };
        let offer = Offer {
            source: "the receipt".to_owned(),
            msp_id: joiner.msp_id().clone(),
            identity_id: joiner.id(),
            entry,
            manifest: Some(manifest),
            commit_hash,
        };
        let agreed = agree(&judging, &channel, &[offer], &statements, None)
            .map_err(|error| ReceiptError::NotMet(Box::new(error)))?;
        let vouchers: Vec<VoucherText> = agreed.vouchers().iter().map(VoucherText::from).collect();
        if agreed.commit_hash() != commit_hash
            || ModeText::from(agreed.mode()) != self.mode
            || vouchers != self.vouchers
        {
            return Err(ReceiptError::Inconsistent("its statements lead to another result than it says"));
        }
        Ok(agreed)
    }

    fn statements(&self) -> Result<Statements, ReceiptError> {
        let mut statements = Statements::default();
        for voucher in &self.vouchers {
            match (&voucher.attestation, &voucher.detached) {
                (Some(text), None) => statements.heard.push(Heard {
                    attestation: Attestation::try_from(text.clone())?,
                    source: "the receipt".to_owned(),
                }),
                (None, Some(file)) => statements.detached.push(DetachedSignature::decode(&file.0)?),
                _ => return Err(ReceiptError::Malformed { what: "a voucher's statement" }),
            }
        }
        Ok(statements)
    }
}

impl PolicyText {
    fn parse(&self) -> Result<TrustPolicy, RuleError> {
        Ok(TrustPolicy {
            metadata: TrustRule::parse(&self.metadata)?,
            manifest: TrustRule::parse(&self.manifest)?,
            min_orgs: self.min_orgs,
            count_self: self.count_self,
            require_live: self.require_live,
            min_block: self.min_block.map(BlockNumber),
        })
    }
}

impl From<&Voucher> for VoucherText {
    fn from(voucher: &Voucher) -> Self {
        Self {
            msp_id: voucher.msp_id.to_string(),
            identity_id: voucher.identity_id.to_string(),
            subject: voucher.subject.clone(),
            how: voucher.how.to_string(),
            attestation: voucher.attestation().map(AttestationText::from),
            detached: voucher.detached().map(|detached| Base64(detached.encode().into())),
        }
    }
}

impl From<Mode> for ModeText {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Streaming => Self::Streaming,
            Mode::Staged => Self::Staged,
        }
    }
}

/// Two files of one configuration may differ in their blocks' metadata; what they say may not.
fn must_be(receipt: &ChannelConfig, given: &ChannelConfig) -> Result<(), ReceiptError> {
    if receipt.channel() == given.channel() && receipt.config_envelope_bytes() == given.config_envelope_bytes() {
        return Ok(());
    }
    Err(ReceiptError::OtherConfig { receipt: receipt.sequence(), given: given.sequence() })
}

fn hash<H: std::str::FromStr>(text: &str, what: &'static str) -> Result<H, ReceiptError> {
    text.parse().map_err(|_| ReceiptError::Malformed { what })
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
