//! What an organisation's service signs about a snapshot: the body, its canonical bytes, and the signature over them. Who may
//! sign, and the policies that count signatures, are decided elsewhere.

use bytes::Bytes;

use crate::{
    msp::{Identity, LocalIdentity, MspError, Purpose, SerializedIdentity},
    snapshot::{
        BlockHash, BlockNumber, ChannelId, ChannelIdError, HexError, ManifestHash, SnapshotHash, SnapshotId, WireError,
        protobuf::{Fields, Value, put_bytes, put_number},
    },
};

const VERSION: u64 = 1;

/// Longest nonce that is echoed in an attestation, in bytes.
pub const NONCE_BYTES_MAX: usize = 64;

/// Longest attestation body that is read, in bytes: an identity of 16 KiB and about 600 bytes.
pub const ATTESTATION_BODY_BYTES_MAX: usize = 20 << 10;

/// `AttestBody`: identity, snapshot and manifest, with the time for which it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestBody {
    /// Channel and last block.
    pub id: SnapshotId,
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Hash of the manifest.
    pub manifest_hash: ManifestHash,
    /// Commit hash of the last block; `None`: the ledger has none.
    pub commit_hash: Option<BlockHash>,
    /// Sequence of the channel configuration that the signer knows.
    pub config_sequence: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_at: u64,
    /// Until when it holds, in seconds since 1970.
    pub expires_at: u64,
    /// The asker's nonce, which proves that it was signed for that asker; empty for one that is stored. At most 64 bytes.
    pub request_nonce: Vec<u8>,
    /// Who signs.
    pub identity: SerializedIdentity,
}

/// Bytes that are no attestation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestBodyError {
    /// Longer than any attestation.
    #[error("an attestation of {0} bytes is too long")]
    TooLong(usize),
    /// Of another version.
    #[error("attestation version {0} is unknown")]
    Version(u64),
    /// Not a protocol buffer as our encoder writes it.
    #[error("the attestation {0}")]
    Wire(#[from] WireError),
    /// A hash has another length than 32 bytes.
    #[error("the attestation's hash is none: {0}")]
    Hash(#[from] HexError),
    /// The channel's name isn't legal.
    #[error("the attestation's channel: {0}")]
    Channel(#[from] ChannelIdError),
    /// The nonce is over 64 bytes.
    #[error("the attestation's nonce has {0} bytes, more than {NONCE_BYTES_MAX}")]
    Nonce(usize),
    /// The identity can't be read.
    #[error("the attestation's identity: {0}")]
    Identity(#[from] MspError),
    /// Readable, but not the canonical bytes.
    #[error("the attestation isn't in its canonical form")]
    NotCanonical,
}

impl AttestBody {
    /// The canonical bytes: what is signed, after the prefix of [`crate::msp::Purpose::Attest`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 << 10);
        put_number(&mut out, 1, VERSION);
        put_bytes(&mut out, 2, self.id.channel.as_str().as_bytes());
        put_number(&mut out, 3, self.id.block_number.0);
        put_bytes(&mut out, 4, self.snapshot_hash.as_bytes());
        put_bytes(&mut out, 5, self.manifest_hash.as_bytes());
        if let Some(hash) = self.commit_hash {
            put_bytes(&mut out, 6, hash.as_bytes());
        }
        put_number(&mut out, 7, self.config_sequence);
        put_number(&mut out, 8, self.issued_at);
        put_number(&mut out, 9, self.expires_at);
        put_bytes(&mut out, 10, &self.request_nonce);
        put_bytes(&mut out, 11, &self.identity.encode());
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] wouldn't have written, a nonce over 64 bytes, another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, AttestBodyError> {
        if bytes.len() > ATTESTATION_BODY_BYTES_MAX {
            return Err(AttestBodyError::TooLong(bytes.len()));
        }
        let (mut version, mut numbers, mut texts) = (0, [0_u64; 4], [&[][..]; 6]);
        let [block_number, config_sequence, issued_at, expires_at] = &mut numbers;
        let [channel, snapshot_hash, manifest_hash, commit_hash, nonce, identity] = &mut texts;
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(value)) => version = value,
                (2, Value::Bytes(value)) => *channel = value,
                (3, Value::Number(value)) => *block_number = value,
                (4, Value::Bytes(value)) => *snapshot_hash = value,
                (5, Value::Bytes(value)) => *manifest_hash = value,
                (6, Value::Bytes(value)) => *commit_hash = value,
                (7, Value::Number(value)) => *config_sequence = value,
                (8, Value::Number(value)) => *issued_at = value,
                (9, Value::Number(value)) => *expires_at = value,
                (10, Value::Bytes(value)) => *nonce = value,
                (11, Value::Bytes(value)) => *identity = value,
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        if version != VERSION {
            return Err(AttestBodyError::Version(version));
        }
        if nonce.len() > NONCE_BYTES_MAX {
            return Err(AttestBodyError::Nonce(nonce.len()));
        }
        // Bytes that aren't UTF-8 become a sign that no channel's name may hold.
        let channel: ChannelId = String::from_utf8_lossy(channel).parse()?;
        let body = Self {
            id: SnapshotId { channel, block_number: BlockNumber(*block_number) },
            snapshot_hash: SnapshotHash::try_from(*snapshot_hash)?,
            manifest_hash: ManifestHash::try_from(*manifest_hash)?,
            commit_hash: (!commit_hash.is_empty()).then(|| BlockHash::try_from(*commit_hash)).transpose()?,
            config_sequence: *config_sequence,
            issued_at: *issued_at,
            expires_at: *expires_at,
            request_nonce: nonce.to_vec(),
            identity: SerializedIdentity::decode(identity)?,
        };
        if body.encode() == bytes { Ok(body) } else { Err(AttestBodyError::NotCanonical) }
    }
}

/// An attestation whose signature is right. That its signer belongs to the channel is for a configuration to say, each time anew.
#[derive(Debug, Clone)]
pub struct Attestation {
    body: AttestBody,
    bytes: Bytes,
    signature: Bytes,
    identity: Identity,
}

/// Longest signature that is read, in bytes: P-384's have about 104.
pub(super) const SIGNATURE_BYTES_MAX: usize = 512;

impl Attestation {
    /// Takes a received one apart and checks its signature, over the bytes as sent.
    ///
    /// # Errors
    /// [`AttestationError`].
    pub fn from_wire(body: Bytes, signature: Bytes) -> Result<Self, AttestationError> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(AttestationError::SignatureTooLong(signature.len()));
        }
        let bytes = body;
        let body = AttestBody::decode(&bytes)?;
        let identity = Identity::parse(body.identity.clone())?;
        identity.verify(Purpose::Attest, &[&bytes], &signature)?;
        Ok(Self { body, bytes, signature, identity })
    }

    /// Signs. The body must name that identity.
    ///
    /// # Errors
    /// If the crypto library fails, or the body names somebody else.
    pub fn sign(body: &AttestBody, by: &LocalIdentity) -> Result<Self, AttestationError> {
        let bytes = Bytes::from(body.encode());
        let signature = by.sign(Purpose::Attest, &[&bytes])?;
        Self::from_wire(bytes, signature.into())
    }

    /// What is said.
    #[must_use]
    pub const fn body(&self) -> &AttestBody {
        &self.body
    }

    /// The signed bytes.
    #[must_use]
    pub const fn body_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// Who signed.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Bytes that are no attestation of anybody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The body.
    #[error(transparent)]
    Body(#[from] AttestBodyError),
    /// The signature is longer than any.
    #[error("the attestation's signature has {0} bytes, more than {SIGNATURE_BYTES_MAX}")]
    SignatureTooLong(usize),
    /// The certificate, or the signature.
    #[error("the attestation's signer: {0}")]
    Signer(#[from] MspError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msp::MspId;

    fn body() -> AttestBody {
        AttestBody {
            id: SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(300) },
            snapshot_hash: SnapshotHash([0x11; 32]),
            manifest_hash: ManifestHash([0x22; 32]),
            commit_hash: Some(BlockHash([0x33; 32])),
            config_sequence: 5,
            issued_at: 1_800_000_000,
            expires_at: 1_800_003_600,
            request_nonce: vec![9; 3],
            identity: SerializedIdentity { msp_id: MspId::new("Org1MSP").unwrap(), id_bytes: "PEM".into() },
        }
    }

    /// The bytes as trust.md 6.1 defines them, written out by hand.
    #[test]
    fn the_bytes_are_the_documented_ones() {
        let parts = [
            "0801",
            "1203636831",
            "18ac02",
            &format!("2220{}", "11".repeat(32)),
            &format!("2a20{}", "22".repeat(32)),
            &format!("3220{}", "33".repeat(32)),
            "3805",
            "4080a4a7da06",
            "4890c0a7da06",
            "5203090909",
            "5a0e",
            "0a074f7267314d5350",
            "120350454d",
        ];
        assert_eq!(hex::encode(body().encode()), parts.concat());
    }

    #[test]
    fn bodies_come_back_and_only_canonical_bytes_are_read() {
        let mut stored = body();
        (stored.commit_hash, stored.request_nonce, stored.id.block_number) = (None, Vec::new(), BlockNumber(0));
        for body in [body(), stored] {
            let bytes = body.encode();
            assert_eq!(AttestBody::decode(&bytes).unwrap(), body);
            for at in 0..bytes.len() {
                assert!(AttestBody::decode(&bytes[..at]).is_err(), "cut at {at}");
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x80;
                // A flipped bit is refused, or makes another body that encodes to just these bytes.
                if let Ok(other) = AttestBody::decode(&flipped) {
                    assert!(other != body && other.encode() == flipped, "flipped at {at}");
                }
            }
            let mut longer = bytes.clone();
            longer.extend([0x60, 1]);
            assert!(matches!(AttestBody::decode(&longer), Err(AttestBodyError::Wire(WireError::Field(12)))));
            let repeated = [&bytes[..2], &bytes].concat();
            assert!(matches!(AttestBody::decode(&repeated), Err(AttestBodyError::NotCanonical)));
        }
    }

    /// C10: an attestation of an unknown version.
    #[test]
    fn limits_and_versions_are_held() {
        let mut long_nonce = body();
        long_nonce.request_nonce = vec![1; 65];
        assert!(matches!(AttestBody::decode(&long_nonce.encode()), Err(AttestBodyError::Nonce(65))));
        let mut other = body().encode();
        other[1] = 2;
        assert!(matches!(AttestBody::decode(&other), Err(AttestBodyError::Version(2))));
        let too_long = vec![0; ATTESTATION_BODY_BYTES_MAX + 1];
        assert!(matches!(AttestBody::decode(&too_long), Err(AttestBodyError::TooLong(_))));
    }
}
