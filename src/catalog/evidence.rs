//! Two statements of one organisation that can't both be true: found, and made a file that proves it to anybody (trust.md 6.6).
//!
//! One identity that names two versions of a block contradicts itself, and its organisation if it speaks for it. So does an organisation whose peers name two, if both are from
//! the same kind of state database: snapshots are a function of block and kind. Two organisations that differ only disagree.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Attestation, AttestationError,
    conflicts::speaks,
    portable::{self, AttestationText, Base64, PortableError},
};
use crate::{
    msp::{ChannelConfig, ConfigError, MspError, MspId},
    snapshot::{BlockHash, ChannelId, ManifestHash, MetadataError, SignableMetadata, SnapshotHash, SnapshotId},
};

/// Largest evidence that is read: a configuration block of 16 MiB in base64, and two statements.
pub const EVIDENCE_BYTES_MAX: usize = 24 << 20;

const VERSION: u64 = 1;

/// Two statements of one organisation about one block that contradict each other. It can't be made of anything else.
#[derive(Debug, Clone)]
pub struct Equivocation {
    first: Attestation,
    second: Attestation,
    /// Of both, where they are by two identities: it shows that the kind of state database is the same.
    metadata: Option<(SignableMetadata, SignableMetadata)>,
    config_block: Option<Bytes>,
}

/// Something that isn't evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The file.
    #[error("no evidence: {0}")]
    File(#[from] PortableError),
    /// A statement, or its signature.
    #[error("no evidence: {0}")]
    Statement(#[from] AttestationError),
    /// The metadata within.
    #[error("no evidence: {0}")]
    Metadata(#[from] MetadataError),
    /// The statements don't contradict each other.
    #[error("it proves nothing: {0}")]
    NoContradiction(&'static str),
    /// The configuration block within.
    #[error("the evidence's configuration block: {0}")]
    Config(#[from] ConfigError),
    /// The configuration is of another channel.
    #[error("the evidence is about channel {about}, the configuration is of {config}")]
    OtherChannel {
        /// Of the statements.
        about: ChannelId,
        /// Of the configuration.
        config: ChannelId,
    },
    /// Two identities differ, and one of them doesn't speak for the organisation: any of its clients can make up such a statement.
    #[error(
        "the evidence is not {org}'s: {subject:?} isn't one of its peers, so what it says isn't the organisation's word"
    )]
    NotItsVoice {
        /// Whose word it should be.
        org: MspId,
        /// Who isn't a peer.
        subject: String,
    },
    /// A signer is no member by the configuration: anybody can make up such statements.
    #[error("the evidence is not the organisation's: {0}")]
    Stranger(#[from] MspError),
}

/// By which configuration the signers of evidence are members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// By the one that the verifier gave.
    Given,
    /// By the one in the file: as good as where that file came from.
    Embedded,
    /// None was at hand: the signatures are right, whose they are wasn't looked at.
    NotChecked,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceText {
    snapferry_evidence: u64,
    first: AttestationText,
    second: AttestationText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_metadata: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second_metadata: Option<Base64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_block: Option<Base64>,
}

impl Equivocation {
    /// Of two statements in any order; the metadata, in the same order, where two identities made them.
    ///
    /// # Errors
    /// [`EvidenceError::NoContradiction`].
    pub fn new(
        one: Attestation,
        other: Attestation,
        metadata: Option<(SignableMetadata, SignableMetadata)>,
    ) -> Result<Self, EvidenceError> {
        contradict(&one, &other, metadata.as_ref())?;
        let swap = one.body_bytes() > other.body_bytes();
        let (first, second) = if swap { (other, one) } else { (one, other) };
        let metadata = metadata.map(|(one, other)| if swap { (other, one) } else { (one, other) });
        Ok(Self { first, second, metadata, config_block: None })
    }

    /// With the configuration block by which the signers are members.
    #[must_use]
    pub fn with_config_block(self, block: Bytes) -> Self {
        Self { config_block: Some(block), ..self }
    }

    /// Without it.
    #[must_use]
    pub fn without_config_block(self) -> Self {
        Self { config_block: None, ..self }
    }

    /// Reads a file and checks both signatures, and that the statements contradict each other.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn decode(file: &[u8]) -> Result<Self, EvidenceError> {
        let text: EvidenceText = portable::from_json(file, EVIDENCE_BYTES_MAX)?;
        if text.snapferry_evidence != VERSION {
            return Err(PortableError::Version(text.snapferry_evidence).into());
        }
        let metadata = match (text.first_metadata, text.second_metadata) {
            (Some(first), Some(second)) => {
                Some((SignableMetadata::parse(&first.0)?, SignableMetadata::parse(&second.0)?))
            }
            (None, None) => None,
            _ => return Err(EvidenceError::NoContradiction("it holds the metadata of one statement only")),
        };
        let evidence = Self::new(text.first.try_into()?, text.second.try_into()?, metadata)?;
        Ok(Self { config_block: text.config_block.map(|block| block.0), ..evidence })
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let json = |metadata: &SignableMetadata| Base64(Bytes::copy_from_slice(metadata.bytes()));
        portable::to_json(&EvidenceText {
            snapferry_evidence: VERSION,
            first: (&self.first).into(),
            second: (&self.second).into(),
            first_metadata: self.metadata.as_ref().map(|(first, _)| json(first)),
            second_metadata: self.metadata.as_ref().map(|(_, second)| json(second)),
            config_block: self.config_block.clone().map(Base64),
        })
    }

    /// Whether its signers really said both: they are members by that configuration, else by the one in the file, and where they are
    /// two, both speak for their organisation. What one identity says is its own, if it doesn't ([`Self::is_of_organisation`]).
    ///
    /// # Errors
    /// The configuration can't be used, a signer is no member, or one of two doesn't speak for the organisation.
    pub fn verify(&self, config: Option<&ChannelConfig>) -> Result<Membership, EvidenceError> {
        let embedded = match (&self.config_block, config) {
            (Some(block), None) => Some(ChannelConfig::from_block(block)?),
            _ => None,
        };
        let (config, membership) = match (config, &embedded) {
            (Some(given), _) => (given, Membership::Given),
            (None, Some(embedded)) => (embedded, Membership::Embedded),
            (None, None) => return Ok(Membership::NotChecked),
        };
        let about = &self.id().channel;
        if about != config.channel() {
            let (about, config) = (about.clone(), config.channel().clone());
            return Err(EvidenceError::OtherChannel { about, config });
        }
        for statement in [&self.first, &self.second] {
            let signer = statement.identity();
            config.validate_stored(signer)?;
            if !self.is_by_one() && !speaks(config, signer) {
                let (org, subject) = (signer.msp_id().clone(), signer.subject().to_owned());
                return Err(EvidenceError::NotItsVoice { org, subject });
            }
        }
        Ok(membership)
    }

    /// Whether it says anything about the organisation: every signer is a member by that configuration and speaks for it. Else it
    /// accuses nobody but the one identity that contradicts itself.
    #[must_use]
    pub fn is_of_organisation(&self, config: &ChannelConfig) -> bool {
        let voice = |identity| config.validate_stored(identity).is_ok() && speaks(config, identity);
        self.statements().into_iter().all(|statement| voice(statement.identity()))
    }

    /// Whether one identity said both.
    fn is_by_one(&self) -> bool {
        self.first.identity().id() == self.second.identity().id()
    }

    /// The organisation.
    #[must_use]
    pub const fn msp_id(&self) -> &MspId {
        self.first.identity().msp_id()
    }

    /// The block that it said two things about.
    #[must_use]
    pub const fn id(&self) -> &SnapshotId {
        &self.first.body().id
    }

    /// The two statements.
    #[must_use]
    pub const fn statements(&self) -> [&Attestation; 2] {
        [&self.first, &self.second]
    }
}

impl fmt::Display for Equivocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_by_one() {
            // Whether it speaks for its organisation is for a configuration to say.
            write!(f, "{:?} of ", self.first.identity().subject())?;
        }
        write!(f, "{} said two things about {}:", self.msp_id(), self.id())?;
        for (statement, end) in [(&self.first, ";"), (&self.second, "")] {
            let body = statement.body();
            write!(
                f,
                " {:?} signed snapshot {} with manifest {} and {}{end}",
                statement.identity().subject(),
                body.snapshot_hash,
                body.manifest_hash,
                body.commit_hash.map_or_else(|| "no commit hash".to_owned(), |hash| format!("commit hash {hash}"))
            )?;
        }
        Ok(())
    }
}

/// What a statement says, but for the commit hash.
pub(super) const fn version(statement: &Attestation) -> (SnapshotHash, ManifestHash) {
    (statement.body().snapshot_hash, statement.body().manifest_hash)
}

fn contradict(
    one: &Attestation,
    other: &Attestation,
    metadata: Option<&(SignableMetadata, SignableMetadata)>,
) -> Result<(), EvidenceError> {
    let no = |why| Err(EvidenceError::NoContradiction(why));
    let commit_hash = |statement: &Attestation| -> Option<BlockHash> { statement.body().commit_hash };
    if one.body().id != other.body().id {
        return no("the statements are about different channels or blocks");
    }
    if one.identity().msp_id() != other.identity().msp_id() {
        return no("the statements are of different organisations, and those may disagree");
    }
    if let Some((of_one, of_other)) = metadata {
        for (metadata, statement) in [(of_one, one), (of_other, other)] {
            if metadata.hash() != statement.body().snapshot_hash || metadata.id() != &statement.body().id {
                return no("the metadata within are not those of the statements");
            }
        }
    }
    if one.identity().id() == other.identity().id() {
        let same = version(one) == version(other) && commit_hash(one) == commit_hash(other);
        return if same { no("both statements say the same") } else { Ok(()) };
    }
    match metadata {
        _ if version(one) == version(other) => no("both statements say the same"),
        None => no(
            "the statements are by two identities, and the metadata that tell the kinds of state database are missing",
        ),
        Some((of_one, of_other)) if of_one.state_db_type() != of_other.state_db_type() => {
            no("the statements are of peers with different state databases, and those never have one hash")
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
