//! One chunk on its own, waited for as long as for any other answer: for who needs few, and isn't in a hurry.

use tokio::time::timeout;

use super::{
    connect::Session,
    error::{AskError, AskProblem, Misbehaviour},
};
use crate::{
    chunking::PooledBuf,
    transport::{limits::CONTROL_TIMEOUT, wire::ChunkRequest},
};

impl Session {
    /// The bytes of the first chunk of a request, as they are in the file of `file_size` bytes, unproved. One chunk is asked for,
    /// whatever the request's count.
    ///
    /// # Errors
    /// [`AskError`]; a source from which it hasn't come within [`CONTROL_TIMEOUT`] is silent.
    pub async fn one_chunk(&self, request: ChunkRequest, file_size: u64) -> Result<PooledBuf, AskError> {
        let first = request.first_chunk;
        let whole = async {
            let mut stream = self.chunks(ChunkRequest { count: 1, accept_zstd: false, ..request }, file_size).await?;
            let chunk = stream.next().await?;
            let chunk = chunk.ok_or_else(|| self.control.accuse(Misbehaviour::EarlyEnd(first)))?;
            stream.next().await?;
            Ok(chunk.wire)
        };
        let silent = || self.control.error(AskProblem::Silent { what: "to a request for a chunk" });
        timeout(CONTROL_TIMEOUT, whole).await.unwrap_or_else(|_| Err(silent()))
    }
}
