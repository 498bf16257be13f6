//! What an admin signs: one command for one service, once. Whether the signer may command is decided in `admission`.

use bytes::Bytes;

use crate::{
    msp::{IdentityId, LocalIdentity, MspError, Purpose, SerializedIdentity},
    snapshot::{
        BlockNumber, ChannelIdError, SnapshotId, WireError,
        protobuf::{Fields, Value, put_bytes, put_number},
    },
};

/// Length of a command's nonce, in bytes: Fabric's.
pub const CONTROL_NONCE_BYTES: usize = 24;

/// Longest command body that is read, in bytes: an identity of 16 KiB and about 400 bytes.
pub const CONTROL_BODY_BYTES_MAX: usize = 20 << 10;

const VERSION: u64 = 1;
const METHOD_DELETE: u64 = 1;
const METHOD_DELETE_FORCED: u64 = 2;

/// What is commanded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// The RFC's DeleteSnapshot: once nobody downloads it any more.
    Delete(SnapshotId),
    /// The same; who downloads it has ten minutes.
    DeleteForced(SnapshotId),
}

impl Method {
    /// What it is about.
    #[must_use]
    pub const fn snapshot(&self) -> &SnapshotId {
        let (Self::Delete(id) | Self::DeleteForced(id)) = self;
        id
    }

    const fn number(&self) -> u64 {
        match self {
            Self::Delete(_) => METHOD_DELETE,
            Self::DeleteForced(_) => METHOD_DELETE_FORCED,
        }
    }
}

/// `ControlBody`: a command, who gives it, when, and to which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlBody {
    /// What to do.
    pub method: Method,
    /// The admin.
    pub creator: SerializedIdentity,
    /// Makes the command one of a kind.
    pub nonce: [u8; CONTROL_NONCE_BYTES],
    /// When it was signed, in seconds since 1970.
    pub issued_at: u64,
    /// The service that is to do it.
    pub target: IdentityId,
}

/// A command as it travels: the signed bytes, and the signature over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCommand {
    /// Canonical bytes of a [`ControlBody`].
    pub body: Bytes,
    /// The creator's signature.
    pub signature: Bytes,
}

/// Bytes that are no command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlBodyError {
    /// Longer than any command.
    #[error("a command of {0} bytes is too long")]
    TooLong(usize),
    /// Of another version.
    #[error("command version {0} is unknown: the command and the service are of different versions of snapferry")]
    Version(u64),
    /// Not a method.
    #[error("command method {0} is unknown: the command and the service are of different versions of snapferry")]
    Method(u64),
    /// Not a protocol buffer as our encoder writes it.
    #[error("the command {0}")]
    Wire(#[from] WireError),
    /// The channel's name isn't legal.
    #[error("the command's channel: {0}")]
    Channel(#[from] ChannelIdError),
    /// The nonce hasn't 24 bytes, or the target not 32.
    #[error("the command's nonce or target has a wrong length")]
    Length,
    /// The identity can't be read.
    #[error("the command's identity: {0}")]
    Identity(#[from] MspError),
    /// Readable, but not the canonical bytes.
    #[error("the command isn't in its canonical form")]
    NotCanonical,
}

impl ControlBody {
    /// Signs it. The body must name that identity.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn sign(&self, by: &LocalIdentity) -> Result<SignedCommand, MspError> {
        let body = Bytes::from(self.encode());
        let signature = by.sign(Purpose::Control, &[&body])?;
        Ok(SignedCommand { body, signature: signature.into() })
    }

    /// The canonical bytes: what is signed, after the prefix of [`Purpose::Control`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let id = self.method.snapshot();
        let (mut args, mut header, mut out) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut args, 1, id.channel.as_str().as_bytes());
        put_number(&mut args, 2, id.block_number.0);
        put_bytes(&mut header, 1, &self.creator.encode());
        put_bytes(&mut header, 2, &self.nonce);
        put_number(&mut out, 1, VERSION);
        put_number(&mut out, 2, self.method.number());
        put_bytes(&mut out, 3, &args);
        put_bytes(&mut out, 4, &header);
        put_number(&mut out, 5, self.issued_at);
        put_bytes(&mut out, 6, self.target.as_bytes());
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] wouldn't have written; another version or method.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlBodyError> {
        if bytes.len() > CONTROL_BODY_BYTES_MAX {
            return Err(ControlBodyError::TooLong(bytes.len()));
        }
        let (mut version, mut method, mut issued_at) = (0, 0, 0);
        let (mut args, mut header, mut target) = (&[][..], &[][..], &[][..]);
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(value)) => version = value,
                (2, Value::Number(value)) => method = value,
                (3, Value::Bytes(value)) => args = value,
                (4, Value::Bytes(value)) => header = value,
                (5, Value::Number(value)) => issued_at = value,
                (6, Value::Bytes(value)) => target = value,
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        let method = match (version, method) {
            (VERSION, METHOD_DELETE) => Method::Delete,
            (VERSION, METHOD_DELETE_FORCED) => Method::DeleteForced,
            (VERSION, method) => return Err(ControlBodyError::Method(method)),
            (version, _) => return Err(ControlBodyError::Version(version)),
        };
        let (creator, nonce) = decode_header(header)?;
        let body = Self {
            method: method(decode_snapshot(args)?),
            creator: SerializedIdentity::decode(creator)?,
            nonce: nonce.try_into().map_err(|_| ControlBodyError::Length)?,
            issued_at,
            target: IdentityId(target.try_into().map_err(|_| ControlBodyError::Length)?),
        };
        if body.encode() == bytes { Ok(body) } else { Err(ControlBodyError::NotCanonical) }
    }
}

fn decode_header(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut creator, mut nonce) = (&[][..], &[][..]);
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Bytes(value)) => creator = value,
            (2, Value::Bytes(value)) => nonce = value,
            (field, _) => return Err(WireError::Field(field)),
        }
    }
    Ok((creator, nonce))
}

fn decode_snapshot(bytes: &[u8]) -> Result<SnapshotId, ControlBodyError> {
    let (mut channel, mut block_number) = (&[][..], 0);
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Bytes(value)) => channel = value,
            (2, Value::Number(value)) => block_number = value,
            (field, _) => return Err(WireError::Field(field).into()),
        }
    }
    // Bytes that aren't UTF-8 become a sign that no channel's name may hold.
    let channel = String::from_utf8_lossy(channel).parse()?;
    Ok(SnapshotId { channel, block_number: BlockNumber(block_number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msp::MspId;

    fn body() -> ControlBody {
        ControlBody {
            method: Method::Delete(SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(300) }),
            creator: SerializedIdentity { msp_id: MspId::new("Org1MSP").unwrap(), id_bytes: "PEM".into() },
            nonce: [9; 24],
            issued_at: 1_800_000_000,
            target: IdentityId([0x22; 32]),
        }
    }

    /// The bytes as trust.md 8 defines them, written out by hand.
    #[test]
    fn the_bytes_are_the_documented_ones() {
        let parts = [
            "0801",
            "1001",
            "1a08",
            "0a03636831",
            "10ac02",
            "222a",
            "0a0e0a074f7267314d5350120350454d",
            &format!("1218{}", "09".repeat(24)),
            "2880a4a7da06",
            &format!("3220{}", "22".repeat(32)),
        ];
        assert_eq!(hex::encode(body().encode()), parts.concat());
        let forced = ControlBody { method: Method::DeleteForced(body().method.snapshot().clone()), ..body() };
        assert_eq!(hex::encode(forced.encode()), parts.concat().replacen("1001", "1002", 1));
        assert_eq!(ControlBody::decode(&forced.encode()).unwrap(), forced);
    }

    #[test]
    fn bodies_come_back_and_only_canonical_bytes_are_read() {
        let bytes = body().encode();
        assert_eq!(ControlBody::decode(&bytes).unwrap(), body());
        for at in 0..bytes.len() {
            assert!(ControlBody::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x80;
            if let Ok(other) = ControlBody::decode(&flipped) {
                assert!(other != body() && other.encode() == flipped, "flipped at {at}");
            }
        }
        let repeated = [&bytes[..2], &bytes].concat();
        assert!(matches!(ControlBody::decode(&repeated), Err(ControlBodyError::NotCanonical)));
        let unknown = [&bytes[..], &[0x38, 1]].concat();
        assert!(matches!(ControlBody::decode(&unknown), Err(ControlBodyError::Wire(WireError::Field(7)))));
    }

    #[test]
    fn limits_versions_and_methods_are_held() {
        let changed = |at: usize| {
            let mut bytes = body().encode();
            bytes[at] = 3;
            ControlBody::decode(&bytes)
        };
        assert!(matches!(changed(1), Err(ControlBodyError::Version(3))));
        assert!(matches!(changed(3), Err(ControlBodyError::Method(3))));
        let too_long = ControlBody::decode(&[0; CONTROL_BODY_BYTES_MAX + 1]);
        assert!(matches!(too_long, Err(ControlBodyError::TooLong(_))));
    }
}
