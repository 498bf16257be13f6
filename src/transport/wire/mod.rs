//! Frames as our own types. Decides what a legal message is: every length and limit of `proto/snapferry/v1/wire.proto` is checked
//! once, here; prost's types stop in this module. Leaves to `super::frame` how frames travel, and to the two sides what they mean.

mod catalog;
mod have;
mod hello;
mod lease;
mod notice;
mod range;
mod shape;

use bytes::{Bytes, BytesMut};
use prost::Message;

pub use catalog::{Attestation, AttestationGet, CatalogClaim, CatalogGet, CatalogPage, ManifestGet};
pub use have::{Have, HaveGet};
pub use hello::{Hello, SessionLimits};
pub use lease::{Lease, LeaseOpen};
pub use notice::{Goodbye, Notice, Refusal};
pub use range::{ChunkHeader, ChunkRequest, ChunkTreeRequest, RequestClass, WireCodec};

use super::{
    fault::ErrorCode,
    limits::{ATTESTATIONS_MAX, FILE_INDEX_MAX, MANIFEST_BYTES_MAX},
    pb,
};
use crate::snapshot::{BlockNumber, ChannelId, SnapshotId};

/// One frame: a request, its answer, or something pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The request's id, repeated by its answer; 0 for what is pushed.
    pub request_id: u64,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// First frame of the asker.
    Hello(Hello),
    /// Answer to [`Body::Hello`].
    HelloAck(Hello),
    /// Asks for the catalog.
    CatalogGet(CatalogGet),
    /// One page of the catalog.
    CatalogPage(CatalogPage),
    /// Asks to be told of changes of the catalog.
    CatalogWatch,
    /// Pushed by the server.
    Notice(Notice),
    /// Asks for attestations of a snapshot.
    AttestationGet(AttestationGet),
    /// Attestations, at most 256.
    Attestations(Vec<Attestation>),
    /// Asks for a manifest.
    ManifestGet(ManifestGet),
    /// A manifest's bytes, at most 64 KiB, not yet hashed.
    Manifest(Bytes),
    /// Asks which chunks of a file are there.
    HaveGet(HaveGet),
    /// The same, and to be told whenever that has changed.
    HaveWatch(HaveGet),
    /// Which chunks of a file are there.
    Have(Have),
    /// Asks for [`Body::Pong`].
    Ping,
    /// Answer to [`Body::Ping`].
    Pong,
    /// The sender is about to close.
    Goodbye(Goodbye),
    /// The request of that id is refused.
    Error(Refusal),
    /// Asks for a run of chunks (on a stream of its own).
    ChunkRequest(ChunkRequest),
    /// Asks for values of a chunk tree (on a stream of its own).
    ChunkTreeRequest(ChunkTreeRequest),
    /// Asks that a snapshot stays.
    LeaseOpen(LeaseOpen),
    /// Asks for more time for the lease of that id, which isn't 0.
    LeaseRenew(u64),
    /// The lease of that id, which isn't 0, is no longer needed.
    LeaseClose(u64),
    /// Answer to each of the three.
    Lease(Lease),
}

/// Bytes that are no legal frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// No protocol buffer of the expected message.
    #[error("the frame can't be decoded")]
    Undecodable,
    /// More fields than any message of ours has.
    #[error("the frame has more fields than any message may have")]
    TooManyFields,
    /// A body that this version doesn't know.
    #[error("request {request_id}: unknown kind of message")]
    UnknownBody {
        /// The request.
        request_id: u64,
    },
    /// A field breaks its rule.
    #[error("request {request_id}: field {field} is not allowed so")]
    Field {
        /// The request.
        request_id: u64,
        /// The field's name in wire.proto.
        field: &'static str,
    },
    /// A run of no chunk, or of more than may be asked at once.
    #[error("request {request_id}: {count} chunks; 1 to 16 may be asked at once")]
    RunLength {
        /// The request.
        request_id: u64,
        /// What it asked for.
        count: u32,
    },
}

impl WireError {
    /// The one request that is spoilt; `None` if the whole connection is.
    #[must_use]
    pub const fn request_id(&self) -> Option<u64> {
        match self {
            Self::Undecodable | Self::TooManyFields => None,
            Self::UnknownBody { request_id } | Self::Field { request_id, .. } | Self::RunLength { request_id, .. } => {
                Some(*request_id)
            }
        }
    }

    /// The code by which it is answered.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::RunLength { .. } => ErrorCode::LimitExceeded,
            _ => ErrorCode::Protocol,
        }
    }
}

/// A rule that a field breaks; [`Frame::decode`] adds the request's id.
#[derive(Debug, Clone, Copy)]
pub enum Broken {
    /// The field of that name is not allowed so.
    Field(&'static str),
    /// So many chunks in one run.
    RunLength(u32),
}

impl Broken {
    const fn of(self, request_id: u64) -> WireError {
        match self {
            Self::Field(field) => WireError::Field { request_id, field },
            Self::RunLength(count) => WireError::RunLength { request_id, count },
        }
    }
}

impl Frame {
    /// Decodes one frame. Takes no memory beyond a small multiple of the frame's size, which the caller has bounded.
    ///
    /// # Errors
    /// [`WireError`]: with a request id if only that request is spoilt.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        shape::check(&bytes)?;
        let frame = pb::Frame::decode(bytes).map_err(|_| WireError::Undecodable)?;
        let request_id = frame.request_id;
        let body = frame.body.ok_or(WireError::UnknownBody { request_id })?;
        Ok(Self { request_id, body: Body::try_from(body).map_err(|broken| broken.of(request_id))? })
    }

    /// The frame's bytes, without the length before them.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let frame = pb::Frame { request_id: self.request_id, body: Some(self.body.into()) };
        let mut out = BytesMut::with_capacity(frame.encoded_len());
        // A BytesMut grows: there is no capacity to run out of.
        frame.encode(&mut out).map_or_else(|_| Bytes::new(), |()| out.freeze())
    }
}

impl TryFrom<pb::frame::Body> for Body {
    type Error = Broken;
    fn try_from(body: pb::frame::Body) -> Result<Self, Broken> {
        use pb::frame::Body as Pb;
        Ok(match body {
            Pb::Hello(hello) => Self::Hello(hello.try_into()?),
            Pb::HelloAck(hello) => Self::HelloAck(hello.try_into()?),
            Pb::CatalogGet(get) => Self::CatalogGet(get.into()),
            Pb::CatalogPage(page) => Self::CatalogPage(page.try_into()?),
            Pb::CatalogWatch(_) => Self::CatalogWatch,
            Pb::Notice(notice) => Self::Notice(notice.try_into()?),
            Pb::AttestationGet(get) => Self::AttestationGet(get.try_into()?),
            Pb::Attestations(list) => {
                if list.attestations.len() > ATTESTATIONS_MAX {
                    return Err(Broken::Field("attestations"));
                }
                Self::Attestations(list.attestations.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            Pb::ManifestGet(get) => Self::ManifestGet(get.try_into()?),
            Pb::Manifest(answer) => {
                if answer.manifest.is_empty() || answer.manifest.len() > MANIFEST_BYTES_MAX {
                    return Err(Broken::Field("manifest"));
                }
                Self::Manifest(answer.manifest)
            }
            Pb::HaveGet(get) => Self::HaveGet(get.try_into()?),
            Pb::HaveWatch(get) => Self::HaveWatch(get.try_into()?),
            Pb::Have(have) => Self::Have(have.try_into()?),
            Pb::Ping(_) => Self::Ping,
            Pb::Pong(_) => Self::Pong,
            Pb::Goodbye(goodbye) => Self::Goodbye(goodbye.try_into()?),
            Pb::Error(error) => Self::Error(error.try_into()?),
            Pb::ChunkRequest(request) => Self::ChunkRequest(request.try_into()?),
            Pb::ChunkTreeRequest(request) => Self::ChunkTreeRequest(request.try_into()?),
            Pb::LeaseOpen(open) => Self::LeaseOpen(open.try_into()?),
            Pb::LeaseRenew(renew) => Self::LeaseRenew(lease::lease_id(renew.lease_id)?),
            Pb::LeaseClose(close) => Self::LeaseClose(lease::lease_id(close.lease_id)?),
            Pb::Lease(lease) => Self::Lease(lease.try_into()?),
        })
    }
}

impl From<Body> for pb::frame::Body {
    fn from(body: Body) -> Self {
        match body {
            Body::Hello(hello) => Self::Hello(hello.into()),
            Body::HelloAck(hello) => Self::HelloAck(hello.into()),
            Body::CatalogGet(get) => Self::CatalogGet(get.into()),
            Body::CatalogPage(page) => Self::CatalogPage(page.into()),
            Body::CatalogWatch => Self::CatalogWatch(pb::CatalogWatch {}),
            Body::Notice(notice) => Self::Notice(notice.into()),
            Body::AttestationGet(get) => Self::AttestationGet(get.into()),
            Body::Attestations(list) => {
                Self::Attestations(pb::Attestations { attestations: list.into_iter().map(Into::into).collect() })
            }
            Body::ManifestGet(get) => Self::ManifestGet(get.into()),
            Body::Manifest(manifest) => Self::Manifest(pb::ManifestAnswer { manifest }),
            Body::HaveGet(get) => Self::HaveGet(get.into()),
            Body::HaveWatch(get) => Self::HaveWatch(get.into()),
            Body::Have(have) => Self::Have(have.into()),
            Body::Ping => Self::Ping(pb::Ping {}),
            Body::Pong => Self::Pong(pb::Pong {}),
            Body::Goodbye(goodbye) => Self::Goodbye(goodbye.into()),
            Body::Error(refusal) => Self::Error(refusal.into()),
            Body::ChunkRequest(request) => Self::ChunkRequest(request.into()),
            Body::ChunkTreeRequest(request) => Self::ChunkTreeRequest(request.into()),
            Body::LeaseOpen(open) => Self::LeaseOpen(open.into()),
            Body::LeaseRenew(lease_id) => Self::LeaseRenew(pb::LeaseRenew { lease_id }),
            Body::LeaseClose(lease_id) => Self::LeaseClose(pb::LeaseClose { lease_id }),
            Body::Lease(lease) => Self::Lease(lease.into()),
        }
    }
}

fn snapshot_id(id: Option<pb::SnapshotId>) -> Result<SnapshotId, Broken> {
    let id = id.ok_or(Broken::Field("snapshot"))?;
    let channel: ChannelId = id.channel_id.parse().map_err(|_| Broken::Field("channel_id"))?;
    Ok(SnapshotId { channel, block_number: BlockNumber(id.last_block_number) })
}

fn snapshot_id_pb(id: &SnapshotId) -> pb::SnapshotId {
    pb::SnapshotId { channel_id: id.channel.as_str().to_owned(), last_block_number: id.block_number.0 }
}

fn hash<T: for<'a> TryFrom<&'a [u8]>>(bytes: &[u8], field: &'static str) -> Result<T, Broken> {
    T::try_from(bytes).map_err(|_| Broken::Field(field))
}

fn file_index(index: u32) -> Result<u32, Broken> {
    if index > FILE_INDEX_MAX { Err(Broken::Field("file_index")) } else { Ok(index) }
}

#[cfg(test)]
mod tests;
