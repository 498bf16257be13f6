//! Chunks that rotted in our peer's folder are fetched again from others, proved against our own manifest, and kept in our own state.
//!
//! Needs nobody's word: the service read and hashed the snapshot when it was whole, so that its own tree says which bytes are right. The
//! peer's folder is never written.

use std::{future::Future, pin::pin, sync::Arc};

use super::{
    WORKERS_MAX,
    dialer::{Dialer, Dialling, SourceAddress},
    error::{JoinError, SourceTrouble},
    event::{JoinEvent, Observer},
    on_disk,
    records::Records,
    sources::{Patience, Sources},
};
use crate::{
    catalog::{Repairs, RottenChunk, ServedSnapshot},
    chunking::{BufferPool, FileTree, Workers},
    snapshot::CHUNK_BYTES,
};

/// What is to be repaired, and whom to ask.
#[derive(Clone)]
pub struct RepairRequest {
    /// Our credentials and the channel's configuration.
    pub dialling: Dialling,
    /// Whom to ask.
    pub sources: Vec<SourceAddress>,
    /// Where bans are kept.
    pub records: Records,
    /// The snapshot, with its manifest and trees as they were when it was whole.
    pub snapshot: Arc<ServedSnapshot>,
    /// Its rotten chunks.
    pub rotten: Vec<RottenChunk>,
    /// Where they are kept.
    pub repairs: Repairs,
    /// Where disk work runs.
    pub workers: Workers,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Chunks that lie in our own state now.
    pub repaired: Vec<RottenChunk>,
    /// Chunks that nobody gave, and what each source said.
    pub missing: Vec<(RottenChunk, Vec<SourceTrouble>)>,
}

/// Fetches every rotten chunk from whoever gives it. What was repaired stays so, however it ends; and it ends by itself, whoever is busy
/// or away.
///
/// # Errors
/// [`JoinError`]: nobody can be asked, or our disk fails; [`JoinError::Stopped`] when `stop` completes.
pub async fn repair(
    request: &RepairRequest,
    observer: &Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<Repaired, JoinError> {
    let buffers = BufferPool::new(WORKERS_MAX);
    let dialer = Dialer::new(&request.dialling, buffers, request.sources.len(), CHUNK_BYTES * WORKERS_MAX as u64)?;
    let (records, now) = (request.records.clone(), (request.dialling.clock)());
    let bans = on_disk(&request.workers, move || Ok(records.bans(now)?)).await?;
    let keeps_bans = Some(request.records.clone());
    let mut sources = Sources::dial(&dialer, &request.sources, Patience::Limited, bans, keeps_bans, observer);
    let mut stop = pin!(stop);
    let repaired = tokio::select! {
        biased;
        repaired = all(request, &mut sources, observer) => repaired,
        () = &mut stop => Err(JoinError::Stopped),
    };
    drop(sources);
    let _ = tokio::time::timeout(super::GOODBYE_TIMEOUT, dialer.wait_idle()).await;
    repaired
}

async fn all(request: &RepairRequest, sources: &mut Sources, observer: &Observer) -> Result<Repaired, JoinError> {
    sources.settle(|_| false).await?;
    let (snapshot, manifest) = (&request.snapshot, &request.snapshot.manifest);
    let mut done = Repaired::default();
    for (nth, rotten) in (1..).zip(&request.rotten) {
        let values = snapshot.tree(rotten.file_index).map(|tree| tree.values().to_vec()).unwrap_or_default();
        let tree = Arc::new(FileTree::prove(manifest, rotten.file_index, values).map_err(JoinError::Proof)?);
        let manifest_hash = snapshot.entry().manifest_hash;
        match sources.good_chunk(snapshot.id(), manifest_hash, &tree, rotten.chunk).await {
            Ok(chunk) => {
                let (repairs, id, rotten) = (request.repairs.clone(), snapshot.id().clone(), *rotten);
                let keep = move || Ok(repairs.keep(&id, rotten.file, rotten.chunk, chunk.bytes())?);
                on_disk(&request.workers, keep).await?;
                done.repaired.push(rotten);
                let file = rotten.file.to_string();
                observer(JoinEvent::ChunkRepaired { file, chunk: rotten.chunk.0, nth, of: request.rotten.len() });
            }
            Err(JoinError::NotDelivered { troubles, .. }) => done.missing.push((*rotten, troubles)),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
