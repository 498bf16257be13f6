//! What can be wrong with a receipt.

use crate::{
    catalog::{AgreementError, AttestationError, DetachedError, PortableError},
    msp::{ConfigError, MspError, RuleError},
    snapshot::{ChannelIdError, ManifestError},
};

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
