//! A receipt as it stands in its file, and how what it says is judged again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{ReceiptError, ReceiptShare, RootOfTrust, must_be};
use crate::{
    catalog::{
        AgreedSnapshot, Attestation, CatalogEntry, DetachedSignature, Heard, Judging, Mode, Offer, Statements,
        TrustPolicy, Voucher, agree,
        portable::{AttestationText, Base64},
    },
    msp::{ChannelConfig, Identity, MspId, RuleError, TrustRule},
    snapshot::{BlockHash, BlockNumber, ChannelId, Manifest, ManifestHash, SnapshotHash},
};

pub(super) const VERSION: u64 = 1;

/// What is signed: the compact JSON of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptBody {
    pub(super) channel: String,
    pub(super) block_number: u64,
    pub(super) snapshot_hash: String,
    pub(super) manifest_hash: String,
    /// Empty: the ledger has none.
    pub(super) last_block_commit_hash: String,
    pub(super) mode: ModeText,
    pub(super) policy: PolicyText,
    pub(super) root_of_trust: RootOfTrust,
    pub(super) config: ConfigText,
    pub(super) vouchers: Vec<VoucherText>,
    /// Empty: nobody was asked to echo one.
    pub(super) nonce: Base64,
    pub(super) floor: u64,
    pub(super) allow_older: bool,
    pub(super) joiner_msp_id: String,
    /// `msp.SerializedIdentity`.
    pub(super) joiner: Base64,
    pub(super) shares: Vec<ReceiptShare>,
    /// Seconds since 1970, as the two others.
    pub(super) started_at: u64,
    pub(super) agreed_at: u64,
    pub(super) finished_at: u64,
    pub(super) manifest: Base64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModeText {
    Streaming,
    Staged,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyText {
    pub(super) metadata: String,
    pub(super) manifest: String,
    pub(super) min_orgs: u32,
    pub(super) count_self: bool,
    pub(super) require_live: bool,
    pub(super) min_block: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigText {
    pub(super) block_number: u64,
    pub(super) sequence: u64,
    pub(super) block_sha256: Option<String>,
    /// MSP IDs of the application organisations.
    pub(super) organisations: Vec<String>,
    pub(super) block: Option<Base64>,
}

/// Exactly one of the two last is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoucherText {
    pub(super) msp_id: String,
    pub(super) identity_id: String,
    pub(super) subject: String,
    pub(super) how: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) attestation: Option<AttestationText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) detached: Option<Base64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptText {
    pub(super) snapferry_receipt: u64,
    pub(super) receipt: ReceiptBody,
    pub(super) signature: Base64,
}

impl ReceiptBody {
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers always serialize into memory")
    }

    pub(super) fn check_config(
        &self,
        config: &ChannelConfig,
        embedded: Option<&ChannelConfig>,
    ) -> Result<(), ReceiptError> {
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
    pub(super) fn judged_again(
        &self,
        config: &ChannelConfig,
        joiner: &Identity,
    ) -> Result<AgreedSnapshot, ReceiptError> {
        let channel: ChannelId = self.channel.parse()?;
        let manifest = Manifest::decode(&self.manifest.0)?;
        let entry = CatalogEntry::of(&manifest);
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
    pub(super) fn of(policy: &TrustPolicy) -> Self {
        Self {
            metadata: policy.metadata.as_str().to_owned(),
            manifest: policy.manifest.as_str().to_owned(),
            min_orgs: policy.min_orgs,
            count_self: policy.count_self,
            require_live: policy.require_live,
            min_block: policy.min_block.map(|block| block.0),
        }
    }

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

fn hash<H: std::str::FromStr>(text: &str, what: &'static str) -> Result<H, ReceiptError> {
    text.parse().map_err(|_| ReceiptError::Malformed { what })
}

pub(super) fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
