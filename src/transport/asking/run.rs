//! A run of chunks on a stream of its own, held to the framing to the byte. Whether the bytes are true is for
//! [`crate::chunking`] to prove.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use quinn::ReadError;

use super::{
    connect::Session,
    control::{Control, Waiting},
    error::{AskError, AskProblem, Misbehaviour},
    pieces::Pieces,
};
use crate::{
    chunking::{Codec, PooledBuf},
    snapshot::ChunkIndex,
    transport::{
        fault::ErrorCode,
        frame,
        limits::{CHUNK_HEADER_BYTES_MAX, RUN_CHUNKS_MAX, STREAM_TIMEOUT},
        wire::{Body, ChunkHeader, ChunkRequest, Frame, WireCodec},
    },
};

/// One chunk as it came: right in index and length, nothing else is known of it.
#[derive(Debug)]
pub struct WireChunk {
    /// Which chunk of its file.
    pub index: ChunkIndex,
    /// How `wire` is written.
    pub codec: Codec,
    /// Bytes of the chunk, exactly what the file's size gives.
    pub raw_len: u32,
    /// Bytes as they came: `raw_len` of them, or fewer with zstd. Dropping it returns the buffer to the pool.
    pub wire: PooledBuf,
}

/// The answer to one [`ChunkRequest`]. Dropped before its end, the request is cancelled.
#[derive(Debug)]
pub struct ChunkStream {
    control: Arc<Control>,
    pieces: Pieces,
    waiting: Waiting,
    received: Arc<AtomicU64>,
    file_size: u64,
    accept_zstd: bool,
    due: ChunkIndex,
    end: ChunkIndex,
    step: Step,
}

/// What is being read: kept here, so that a read can be given up and taken up again.
#[derive(Debug)]
enum Step {
    Length {
        bytes: [u8; 4],
        filled: usize,
    },
    Header {
        bytes: [u8; CHUNK_HEADER_BYTES_MAX],
        len: usize,
        filled: usize,
    },
    Chunk {
        header: ChunkHeader,
        wire: PooledBuf,
        filled: usize,
    },
    /// Reading failed; words about it may be on their way.
    Broken(ReadError),
    Done,
}

impl Step {
    const START: Self = Self::Length { bytes: [0; 4], filled: 0 };
}

impl Session {
    /// Asks for a run of chunks of a file of `file_size` bytes (the manifest's). Waits while the source allows no further stream, but
    /// not for ever.
    ///
    /// # Errors
    /// [`AskError`]; refusals come from [`ChunkStream::next`].
    pub async fn chunks(&self, request: ChunkRequest, file_size: u64) -> Result<ChunkStream, AskError> {
        let chunks = ChunkIndex::count(file_size).unwrap_or(0);
        let end = request.first_chunk.0.checked_add(request.count).filter(|end| *end <= chunks);
        let Some(end) = end.filter(|_| (1..=RUN_CHUNKS_MAX).contains(&request.count)) else {
            let (first, count) = (request.first_chunk, request.count);
            return Err(self.control.error(AskProblem::BadRequest { first, count, chunks }));
        };
        let (due, accept_zstd) = (request.first_chunk, request.accept_zstd);
        let (waiting, recv) = self.open(Body::ChunkRequest(request), STREAM_TIMEOUT).await?;
        let received = Arc::new(AtomicU64::new(0));
        Ok(ChunkStream {
            control: Arc::clone(&self.control),
            pieces: Pieces::new(recv, Arc::clone(&received), self.buffers.clone()),
            waiting,
            received,
            file_size,
            accept_zstd,
            due,
            end: ChunkIndex(end),
            step: Step::START,
        })
    }

    /// Opens a stream, sends the one frame of the request, and ends our direction. A source that doesn't let us within `patience`
    /// is silent.
    pub(super) async fn open(&self, body: Body, patience: Duration) -> Result<(Waiting, quinn::RecvStream), AskError> {
        let silent = || self.control.error(AskProblem::Silent { what: "to a request on a stream of its own" });
        tokio::time::timeout(patience, self.open_at_last(body)).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn open_at_last(&self, body: Body) -> Result<(Waiting, quinn::RecvStream), AskError> {
        let control = &self.control;
        let (mut send, recv) = control.connection.open_bi().await.map_err(|_| control.lost())?;
        let waiting = control.expect();
        // A request that is refused at once may have its stream stopped while we write: the answer says why.
        match frame::write_frame(&mut send, Frame { request_id: waiting.id, body }).await {
            Ok(()) | Err(quinn::WriteError::Stopped(_)) => {}
            Err(_) => return Err(control.lost()),
        }
        let _ = send.finish();
        Ok((waiting, recv))
    }
}

impl ChunkStream {
    /// The next chunk; `None` once all came and the stream ended properly. Can be given up (in a `select!`) and called again.
    ///
    /// # Errors
    /// [`AskError`]: a refusal with its code, a lost connection, or a breach of the framing, which closes the connection.
    pub async fn next(&mut self) -> Result<Option<WireChunk>, AskError> {
        if matches!(self.step, Step::Done) {
            return Ok(None);
        }
        if let Step::Broken(error) = &self.step {
            let error = error.clone();
            return Err(self.fail(Broken::Read(error)).await);
        }
        if self.due == self.end {
            return self.finish().await;
        }
        match self.read().await {
            Ok(chunk) => {
                self.due = ChunkIndex(self.due.0 + 1);
                self.step = Step::START;
                Ok(Some(chunk))
            }
            Err(broken) => Err(self.fail(broken).await),
        }
    }

    /// Bytes that came so far, headers included: whether the source is still sending.
    #[must_use]
    pub fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// The next chunk that is due; the run's end once all came.
    #[must_use]
    pub const fn due(&self) -> ChunkIndex {
        self.due
    }

    /// Gives the request up: the source is told, what it still sends is dropped.
    pub fn cancel(self) {
        drop(self);
    }

    async fn finish(&mut self) -> Result<Option<WireChunk>, AskError> {
        match self.pieces.ended().await {
            Ok(true) => {
                self.step = Step::Done;
                Ok(None)
            }
            Ok(false) => Err(self.fail(Broken::Malice(Misbehaviour::TrailingBytes)).await),
            Err(error) => Err(self.fail(Broken::Read(error)).await),
        }
    }

    async fn read(&mut self) -> Result<WireChunk, Broken> {
        let early = Misbehaviour::EarlyEnd(self.due);
        loop {
            match &mut self.step {
                Step::Length { bytes, filled } => {
                    if !self.pieces.fill(bytes, filled).await? {
                        return Err(early.into());
                    }
                    let len = usize::try_from(u32::from_be_bytes(*bytes)).unwrap_or(usize::MAX);
                    if len > CHUNK_HEADER_BYTES_MAX {
                        let error = crate::transport::wire::WireError::Undecodable;
                        return Err(Misbehaviour::Header { chunk: self.due, error }.into());
                    }
                    self.step = Step::Header { bytes: [0; CHUNK_HEADER_BYTES_MAX], len, filled: 0 };
                }
                Step::Header { bytes, len, filled } => {
                    let bytes = bytes.get_mut(..*len).unwrap_or_default();
                    if !self.pieces.fill(bytes, filled).await? {
                        return Err(early.into());
                    }
                    let header =
                        ChunkHeader::decode(bytes).map_err(|error| Misbehaviour::Header { chunk: self.due, error })?;
                    self.check(header)?;
                    let wire = self.pieces.buffer(header.wire_len as usize);
                    self.step = Step::Chunk { header, wire, filled: 0 };
                }
                Step::Chunk { wire, filled, .. } => {
                    if !self.pieces.fill(wire, filled).await? {
                        return Err(early.into());
                    }
                    let Step::Chunk { header, wire, .. } = std::mem::replace(&mut self.step, Step::START) else {
                        return Err(early.into());
                    };
                    let codec = match header.codec {
                        WireCodec::None => Codec::None,
                        WireCodec::Zstd => Codec::Zstd,
                    };
                    return Ok(WireChunk { index: header.index, codec, raw_len: header.raw_len, wire });
                }
                Step::Broken(error) => return Err(error.clone().into()),
                Step::Done => return Err(early.into()),
            }
        }
    }

    /// What the header must say for the chunk that is due.
    fn check(&self, header: ChunkHeader) -> Result<(), Misbehaviour> {
        if header.index != self.due {
            return Err(Misbehaviour::WrongIndex { due: self.due, came: header.index });
        }
        let due = u32::try_from(self.due.range(self.file_size).len()).unwrap_or(u32::MAX);
        if header.raw_len != due {
            return Err(Misbehaviour::WrongLength { chunk: self.due, due, came: header.raw_len });
        }
        if header.codec == WireCodec::Zstd && !self.accept_zstd {
            return Err(Misbehaviour::UnaskedCodec(self.due));
        }
        Ok(())
    }

    async fn fail(&mut self, broken: Broken) -> AskError {
        match broken {
            Broken::Malice(misbehaviour) => {
                self.step = Step::Done;
                self.control.accuse(misbehaviour)
            }
            Broken::Read(error) => {
                // Given up here and called again, it must not look like a proper end.
                self.step = Step::Broken(error.clone());
                let error = refused(&self.control, &mut self.waiting, "chunks", error).await;
                self.step = Step::Done;
                error
            }
        }
    }
}

impl Drop for ChunkStream {
    fn drop(&mut self) {
        if !matches!(self.step, Step::Done) {
            self.pieces.stop(ErrorCode::Cancelled.varint());
        }
    }
}

/// Why a stream of an answer broke: a RESET is a refusal, the rest is the connection.
pub(super) async fn refused(
    control: &Arc<Control>,
    waiting: &mut Waiting,
    what: &'static str,
    error: ReadError,
) -> AskError {
    match error {
        ReadError::Reset(code) => {
            let code = ErrorCode::from_number(code.into_inner()).unwrap_or(ErrorCode::Internal);
            let refusal = waiting.refusal(code).await;
            control.error(AskProblem::Refused { what, refusal })
        }
        _ => control.lost(),
    }
}

/// Why reading stopped.
pub(super) enum Broken {
    Malice(Misbehaviour),
    Read(ReadError),
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Misbehaviour> for Broken {
    fn from(misbehaviour: Misbehaviour) -> Self {
        Self::Malice(misbehaviour)
    }
}
