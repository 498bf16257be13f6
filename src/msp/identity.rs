//! Somebody's MSP identity: the claimed MSP ID and a certificate. Parsed here, judged in `validate`.

use std::{fmt, time::SystemTime};

use bytes::Bytes;
use prost::Message;

use super::{
    CertificateError, MspError, MspId,
    certificate::Certificate,
    low_s, pb,
    signature::{HashFamily, KeyKind, Purpose},
};

/// The wire form of an identity: a claim until it was validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerializedIdentity {
    /// The MSP ID that is claimed.
    pub msp_id: MspId,
    /// PEM of the leaf certificate; no chain travels.
    pub id_bytes: Bytes,
}

impl SerializedIdentity {
    /// Longest encoding that is read: a PEM certificate is 1 to 2 KiB.
    pub const BYTES_MAX: usize = 16 << 10;

    /// Fabric's `msp.SerializedIdentity`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let message =
            pb::msp::SerializedIdentity { mspid: self.msp_id.as_str().to_owned(), id_bytes: self.id_bytes.clone() };
        message.encode_to_vec()
    }

    /// From Fabric's `msp.SerializedIdentity`.
    ///
    /// # Errors
    /// If it is over 16 KiB, doesn't decode, or its MSP ID isn't usable.
    pub fn decode(bytes: &[u8]) -> Result<Self, MspError> {
        let malformed = || MspError::SerializedIdentity { limit: Self::BYTES_MAX };
        if bytes.len() > Self::BYTES_MAX {
            return Err(malformed());
        }
        let message = pb::msp::SerializedIdentity::decode(bytes).map_err(|_| malformed())?;
        Ok(Self { msp_id: MspId::new(&message.mspid).ok_or_else(malformed)?, id_bytes: message.id_bytes })
    }
}

/// SHA-256 of the certificate's DER with its issuer's ECDSA signature rewritten to low S: who signs counts once, however
/// the certificate is spelled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(pub [u8; 32]);

impl IdentityId {
    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityId({self})")
    }
}

/// What a NodeOU makes somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An application's user.
    Client,
    /// A peer.
    Peer,
    /// An administrator.
    Admin,
    /// An orderer.
    Orderer,
}

impl Role {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Client, Self::Peer, Self::Admin, Self::Orderer];

    /// Fabric's name, which is also the usual OU.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Peer => "peer",
            Self::Admin => "admin",
            Self::Orderer => "orderer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A parsed identity. That its certificate belongs to its MSP is for `ChannelConfig::validate` to say.
#[derive(Clone)]
pub struct Identity {
    serialized: SerializedIdentity,
    certificate: Certificate,
    key_kind: KeyKind,
    id: IdentityId,
}

impl Identity {
    /// Takes the certificate apart.
    ///
    /// # Errors
    /// If it isn't exactly one PEM certificate with an ECDSA P-256, P-384 or Ed25519 key, canonically encoded.
    pub fn parse(serialized: SerializedIdentity) -> Result<Self, MspError> {
        let unusable = |source| MspError::Certificate { msp_id: serialized.msp_id.clone(), source };
        if serialized.id_bytes.len() > SerializedIdentity::BYTES_MAX {
            return Err(MspError::SerializedIdentity { limit: SerializedIdentity::BYTES_MAX });
        }
        let certificate = Certificate::from_only_pem(&serialized.id_bytes).map_err(unusable)?;
        let key_kind = KeyKind::of(&certificate).map_err(unusable)?;
        let id = certificate.identity_id().ok_or_else(|| unusable(CertificateError::Der))?;
        Ok(Self { serialized, certificate, key_kind, id })
    }

    /// The wire form.
    #[must_use]
    pub const fn serialized(&self) -> &SerializedIdentity {
        &self.serialized
    }

    /// The MSP ID that it claims.
    #[must_use]
    pub const fn msp_id(&self) -> &MspId {
        &self.serialized.msp_id
    }

    /// Who it is, whatever the spelling.
    #[must_use]
    pub const fn id(&self) -> IdentityId {
        self.id
    }

    /// The certificate's subject in text, for messages: at most 256 characters, none of control.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.certificate.subject
    }

    /// The certificate's organizational units, in order.
    #[must_use]
    pub fn organizational_units(&self) -> &[String] {
        &self.certificate.organizational_units
    }

    /// The role by Fabric's usual OU names, if exactly one of them occurs, once. What counts in a channel is
    /// `ChannelConfig::role`: an organisation may name its units otherwise.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        let mut roles = self
            .organizational_units()
            .iter()
            .filter_map(|unit| Role::ALL.into_iter().find(|role| role.name() == unit));
        roles.next().filter(|_| roles.next().is_none())
    }

    /// When the certificate begins to be valid.
    #[must_use]
    pub const fn not_before(&self) -> SystemTime {
        self.certificate.not_before
    }

    /// When the certificate ceases to be valid.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.certificate.not_after
    }

    /// Checks the identity's signature over the purpose's prefix and the parts. ECDSA over SHA-256 whatever the MSP's hash family:
    /// one key signs for several channels, and these signatures are ours, not Fabric's.
    ///
    /// # Errors
    /// [`MspError::Signature`] if it is wrong, malformed, or its S is above n/2.
    pub fn verify(&self, purpose: Purpose, parts: &[&[u8]], signature: &[u8]) -> Result<(), MspError> {
        self.verify_message(&purpose.message(parts), signature)
    }

    /// Checks the identity's signature over exactly those bytes.
    pub(crate) fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), MspError> {
        self.verify_with(HashFamily::Sha2, message, signature)
    }

    /// Whether a signature of this identity may look so: an ECDSA one is canonical DER with a low S.
    pub(crate) fn signs_so(&self, signature: &[u8]) -> bool {
        self.key_kind.curve().is_none_or(|curve| low_s::is_low(signature, curve))
    }

    /// Checks the identity's signature over exactly those bytes, in an MSP of that hash family.
    pub(super) fn verify_with(&self, family: HashFamily, message: &[u8], signature: &[u8]) -> Result<(), MspError> {
        if self.key_kind.verify_with(family, &self.certificate.key, message, signature) {
            return Ok(());
        }
        Err(MspError::Signature { msp_id: self.msp_id().clone(), subject: self.subject().to_owned() })
    }

    pub(super) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(super) const fn key_kind(&self) -> KeyKind {
        self.key_kind
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("msp_id", self.msp_id())
            .field("subject", &self.subject())
            .field("id", &self.id)
            .finish()
    }
}
