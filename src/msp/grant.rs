//! JoinGrant: an admin's word that a peer's service of its organisation may list snapshots and have them signed (trust.md 2.3).
//!
//! Keeps the RFC's "admin" where peers join unattended. The bytes are the file that an admin hands over, and what Hello carries.

mod body;
mod error;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

pub use body::{GrantBody, GrantedOperation};
pub use error::GrantError;

use super::{ChannelConfig, Identity, LocalIdentity, Principal, PrincipalRole, Purpose};
use crate::snapshot::{
    BlockNumber, WireError,
    protobuf::{Fields, Value, put_bytes},
};

/// Longest grant that is read: an identity of 16 KiB, the other fields and the signature.
pub const GRANT_BYTES_MAX: usize = 24 << 10;
/// Longest time for which one holds: it can't be taken back before, but by revoking somebody.
pub const GRANT_VALID_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How far the admin's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Longest signature that is read: P-384's have about 104.
const SIGNATURE_BYTES_MAX: usize = 512;

/// A grant whose signature is right. That its issuer is an admin is for a configuration to say, each time anew.
#[derive(Debug, Clone)]
pub struct JoinGrant {
    body: GrantBody,
    bytes: Bytes,
    signature: Bytes,
    issuer: Identity,
}

impl JoinGrant {
    /// Signs. The body must name that identity.
    ///
    /// # Errors
    /// If the crypto library fails, the body names somebody else, or grants for more than 7 days.
    pub fn sign(body: &GrantBody, by: &LocalIdentity) -> Result<Self, GrantError> {
        let bytes = body.encode();
        let signature = by.sign(Purpose::JoinGrant, &[&bytes])?;
        Self::from_parts(&bytes, &signature)
    }

    /// Takes a file or Hello's field apart and checks the signature, over the bytes as they came.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > GRANT_BYTES_MAX {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let (mut body, mut signature) = (&[][..], &[][..]);
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(value)) => body = value,
                (2, Value::Bytes(value)) => signature = value,
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        let grant = Self::from_parts(body, signature)?;
        if grant.encode() == bytes { Ok(grant) } else { Err(GrantError::NotCanonical) }
    }

    fn from_parts(body: &[u8], signature: &[u8]) -> Result<Self, GrantError> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(GrantError::Field("signature"));
        }
        let (bytes, signature) = (Bytes::copy_from_slice(body), Bytes::copy_from_slice(signature));
        let body = GrantBody::decode(&bytes)?;
        let issuer = Identity::parse(body.identity.clone())?;
        issuer.verify(Purpose::JoinGrant, &[&bytes], &signature)?;
        Ok(Self { body, bytes, signature, issuer })
    }

    /// The bytes of the file, and of Hello's field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.signature.len() + 16);
        put_bytes(&mut out, 1, &self.bytes);
        put_bytes(&mut out, 2, &self.signature);
        out
    }

    /// What is granted.
    #[must_use]
    pub const fn body(&self) -> &GrantBody {
        &self.body
    }

    /// Who signed.
    #[must_use]
    pub const fn issuer(&self) -> &Identity {
        &self.issuer
    }

    /// Whether it holds now, by that configuration, for `holder`: of the channel, to that identity, by an admin of its own
    /// organisation; and, where they are given, for that operation and block.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        config: &ChannelConfig,
        holder: &Identity,
        operation: Option<GrantedOperation>,
        block: Option<BlockNumber>,
        now: SystemTime,
    ) -> Result<(), GrantError> {
        let body = &self.body;
        if body.channel != *config.channel() {
            return Err(GrantError::OtherChannel { found: body.channel.clone(), wanted: config.channel().clone() });
        }
        if body.peer != holder.id() {
            return Err(GrantError::OtherPeer { found: body.peer, wanted: holder.id() });
        }
        let msp_id = self.issuer.msp_id().clone();
        if msp_id != *holder.msp_id() {
            return Err(GrantError::OtherOrganisation { issuer: msp_id, holder: holder.msp_id().clone() });
        }
        let now_s = unix_s(now);
        let ahead_s = body.issued_at.saturating_sub(now_s);
        if ahead_s > CLOCK_SKEW.as_secs() {
            return Err(GrantError::NotYet { ahead_s });
        }
        if now_s > body.not_after {
            return Err(GrantError::Ended { ago_s: now_s - body.not_after });
        }
        if let Some(operation) = operation.filter(|operation| !body.operations.contains(operation)) {
            return Err(GrantError::Operation(operation));
        }
        if let Some(block) = block.filter(|block| !(body.min_block..=body.max_block).contains(block)) {
            return Err(GrantError::Block { block, min_block: body.min_block, max_block: body.max_block });
        }
        config.validate(&self.issuer, now)?;
        let admin = Principal::Role { msp_id, role: PrincipalRole::Admin };
        config.satisfies(&self.issuer, &admin).map_err(GrantError::NotAdmin)
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
