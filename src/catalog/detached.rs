//! The signature of a plain-Fabric organisation over the raw bytes of both metadata files, made and sent out of band (trust.md 6.3).
//!
//! It says nothing of chunks and has no time. What it is about is known only with the metadata at hand.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::portable::{self, Base64, PortableError};
use crate::{
    msp::{Identity, LocalIdentity, MspError, MspId, SerializedIdentity},
    snapshot::{AdditionalMetadata, BlockHash, SignableMetadata, SnapshotMetadata},
};

/// Largest file that is read: an identity of 16 KiB, its escapes in JSON, and two signatures.
pub const DETACHED_BYTES_MAX: usize = 64 << 10;
/// Longest signature that is read, in bytes: P-384's have about 104.
const SIGNATURE_BYTES_MAX: usize = 512;

/// A file with two signatures of one identity: over the signable and over the additional metadata.
#[derive(Debug, Clone)]
pub struct DetachedSignature {
    identity: Identity,
    signable_signature: Bytes,
    additional_signature: Bytes,
}

/// A file that holds no detached signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetachedError {
    /// The file.
    #[error("no detached signature: {0}")]
    File(#[from] PortableError),
    /// The MSP ID can't be one.
    #[error("no detached signature: {0:?} is no MSP ID")]
    MspId(String),
    /// The certificate, or our own key.
    #[error("the detached signature's signer: {0}")]
    Signer(#[from] MspError),
    /// A signature is longer than any.
    #[error("the detached signature has {0} bytes, more than {SIGNATURE_BYTES_MAX}")]
    SignatureTooLong(usize),
    /// A signature has another form than Fabric's: openssl leaves half of them with a high S.
    #[error(
        "the detached signature isn't in Fabric's form (DER with a low S; every other one that openssl makes is not): sign again, or with \
         `snapferry snapshot sign --detached`"
    )]
    HighS,
}

/// The file as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetachedText {
    mspid: String,
    certificate: String,
    signable_signature: Base64,
    additional_signature: Base64,
}

impl DetachedSignature {
    /// Reads a file. Its signatures are checked when the metadata are there: [`Self::verify`].
    ///
    /// # Errors
    /// [`DetachedError`].
    pub fn decode(file: &[u8]) -> Result<Self, DetachedError> {
        let text: DetachedText = portable::from_json(file, DETACHED_BYTES_MAX)?;
        let msp_id =
            MspId::new(&text.mspid).ok_or_else(|| DetachedError::MspId(text.mspid.chars().take(100).collect()))?;
        let (signable_signature, additional_signature) = (text.signable_signature.0, text.additional_signature.0);
        if let Some(long) = [&signable_signature, &additional_signature].iter().find(|s| s.len() > SIGNATURE_BYTES_MAX)
        {
            return Err(DetachedError::SignatureTooLong(long.len()));
        }
        let identity = Identity::parse(SerializedIdentity { msp_id, id_bytes: text.certificate.into() })?;
        if [&signable_signature, &additional_signature].iter().any(|signature| !identity.signs_so(signature)) {
            return Err(DetachedError::HighS);
        }
        Ok(Self { identity, signable_signature, additional_signature })
    }

    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let serialized = self.identity.serialized();
        portable::to_json(&DetachedText {
            mspid: serialized.msp_id.to_string(),
            certificate: String::from_utf8_lossy(&serialized.id_bytes).into_owned(),
            signable_signature: Base64(self.signable_signature.clone()),
            additional_signature: Base64(self.additional_signature.clone()),
        })
    }

    /// Signs both files of a snapshot.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn sign(metadata: &SnapshotMetadata, by: &LocalIdentity) -> Result<Self, DetachedError> {
        Ok(Self {
            identity: by.identity.clone(),
            signable_signature: by.sign_message(metadata.signable.bytes())?.into(),
            additional_signature: by.sign_message(&metadata.additional().encode())?.into(),
        })
    }

    /// Whether the first signature is over these metadata. Whose it is and whether that counts is not asked.
    ///
    /// # Errors
    /// [`MspError::Signature`] if it isn't.
    pub fn verify(&self, signable: &SignableMetadata) -> Result<(), MspError> {
        self.identity.verify_message(signable.bytes(), &self.signable_signature)
    }

    /// The commit hash that the second signature votes for, among those that may be meant.
    #[must_use]
    pub fn commit_hash(
        &self,
        signable: &SignableMetadata,
        candidates: impl IntoIterator<Item = Option<BlockHash>>,
    ) -> Option<Option<BlockHash>> {
        let snapshot_hash = signable.hash();
        candidates.into_iter().find(|last_block_commit_hash| {
            let file = AdditionalMetadata { snapshot_hash, last_block_commit_hash: *last_block_commit_hash }.encode();
            self.identity.verify_message(&file, &self.additional_signature).is_ok()
        })
    }

    /// Who signed.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::fixture::{COMMIT, high_twin, manifest, peer},
        snapshot::BlockHash,
    };

    fn metadata(variant: u8) -> SnapshotMetadata {
        SnapshotMetadata { signable: manifest(83, variant).signable().clone(), commit_hash: COMMIT }
    }

    #[test]
    fn it_is_over_the_raw_bytes_of_both_files() {
        let signed = DetachedSignature::sign(&metadata(0), &peer(1)).unwrap();
        let read = DetachedSignature::decode(&signed.encode()).unwrap();
        assert_eq!(read.encode(), signed.encode());
        read.verify(&metadata(0).signable).unwrap();
        assert!(read.verify(&metadata(1).signable).is_err());
        let other = Some(BlockHash([7; 32]));
        assert_eq!(read.commit_hash(&metadata(0).signable, [None, other, COMMIT]), Some(COMMIT));
        assert_eq!(read.commit_hash(&metadata(0).signable, [None, other]), None);
        // Another tool of the same organisation signs just these bytes.
        let by_hand = peer(1).sign_message(metadata(0).signable.bytes()).unwrap();
        peer(1).identity.verify_message(metadata(0).signable.bytes(), &by_hand).unwrap();
    }

    /// What openssl writes every other time counts nowhere; who sent it is told so, rather than that nobody signed.
    #[test]
    fn a_high_s_is_refused_with_what_to_do() {
        let good = DetachedSignature::sign(&metadata(0), &peer(1)).unwrap();
        for part in 0..2 {
            let mut signed = good.clone();
            let signature = if part == 0 { &mut signed.signable_signature } else { &mut signed.additional_signature };
            *signature = high_twin(signature).into();
            let refused = DetachedSignature::decode(&signed.encode()).unwrap_err();
            assert!(refused.to_string().contains("low S") && refused.to_string().contains("sign again"), "{refused}");
        }
    }

    #[test]
    fn the_file_is_read_strictly() {
        let text = String::from_utf8(DetachedSignature::sign(&metadata(0), &peer(1)).unwrap().encode()).unwrap();
        let refused = |from: &str, to: &str| {
            let edited = text.replacen(from, to, 1);
            assert_ne!(edited, text);
            DetachedSignature::decode(edited.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused("\"mspid\"", "\"more\": 1, \"mspid\"").contains("unknown field"));
        assert!(refused("\"mspid\"", "\"mspid\": \"Org1MSP\", \"mspid\"").contains("duplicate field"));
        assert!(refused("\"mspid\": \"Org1MSP\",", "").contains("missing field"));
        assert!(refused("Org1MSP", "").contains("no MSP ID"));
        assert!(refused("-----BEGIN", "-----begin").contains("signer"));
        assert!(refused("\"signable_signature\": \"", "\"signable_signature\": \"=").contains("form"));
        let signature = |len: usize| format!("\"signable_signature\": \"{}", "AAAA".repeat(len / 3));
        let long = |len| text.replacen("\"signable_signature\": \"", &signature(len), 1);
        let refused = DetachedSignature::decode(long(600).as_bytes());
        assert!(matches!(refused, Err(DetachedError::SignatureTooLong(_))), "{refused:?}");
        let refused = DetachedSignature::decode(long(399).as_bytes());
        assert!(matches!(refused, Err(DetachedError::HighS)), "{refused:?}");
        let padded = |len: usize| [text.as_bytes(), &vec![b' '; len - text.len()]].concat();
        assert!(DetachedSignature::decode(&padded(DETACHED_BYTES_MAX)).is_ok());
        let refused = DetachedSignature::decode(&padded(DETACHED_BYTES_MAX + 1));
        assert!(matches!(refused, Err(DetachedError::File(PortableError::TooLong { .. }))));
    }
}
