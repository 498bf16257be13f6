//! How frames travel: u32 big-endian length, then the frame. Decides when memory is taken: never for bytes that were only
//! announced. Leaves the meaning to [`super::wire`].

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

use super::wire::{Frame, WireError};

/// Memory taken at once while a frame arrives: the rest is taken only when these bytes are there.
const STEP_BYTES: usize = 16 << 10;

/// A frame that didn't come, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Announced longer than allowed here.
    #[error("a frame of {len} bytes was announced; at most {max} are allowed here")]
    TooLong {
        /// As announced.
        len: u32,
        /// The cap.
        max: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Torn,
    /// Not a legal frame.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream or the connection failed.
    #[error("the stream failed: {0}")]
    Read(#[from] ReadError),
}

/// Reads the bytes of one frame of at most `max` bytes; `None` if the stream ended before it. Not cancel-safe.
pub(super) async fn read_bytes(recv: &mut RecvStream, max: usize) -> Result<Option<Bytes>, FrameError> {
    let mut length = [0; 4];
    match recv.read_exact(&mut length).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(torn(error)),
    }
    let len = u32::from_be_bytes(length);
    let length = usize::try_from(len).unwrap_or(usize::MAX);
    if length > max {
        return Err(FrameError::TooLong { len, max });
    }
    let mut bytes = BytesMut::with_capacity(length.min(STEP_BYTES));
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(length.min(start + STEP_BYTES), 0);
        let Some(step) = bytes.get_mut(start..) else { break };
        recv.read_exact(step).await.map_err(torn)?;
    }
    Ok(Some(bytes.freeze()))
}

/// Reads one frame; `None` if the stream ended before it. Not cancel-safe.
pub(super) async fn read_frame(recv: &mut RecvStream, max: usize) -> Result<Option<Frame>, FrameError> {
    match read_bytes(recv, max).await? {
        Some(bytes) => Ok(Some(Frame::decode(bytes)?)),
        None => Ok(None),
    }
}

/// The frame with the length before it.
pub(super) fn with_length(frame: Frame) -> Bytes {
    let body = frame.encode();
    let mut out = BytesMut::with_capacity(4 + body.len());
    // What we send is far below 4 GiB; were it not, the other side would refuse the length.
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&body);
    out.freeze()
}

/// Writes one frame.
pub(super) async fn write_frame(send: &mut SendStream, frame: Frame) -> Result<(), WriteError> {
    send.write_chunk(with_length(frame)).await
}

fn torn(error: ReadExactError) -> FrameError {
    match error {
        ReadExactError::FinishedEarly(_) => FrameError::Torn,
        ReadExactError::ReadError(error) => FrameError::Read(error),
    }
}
