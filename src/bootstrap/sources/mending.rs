//! One chunk of a snapshot that we know ourselves, from whoever still has it as it should be.

use std::sync::Arc;

use super::{
    Sources,
    hedged::{Hedge, Wanted},
};
use crate::{
    bootstrap::{
        error::JoinError,
        ready::{GiveError, Ready},
    },
    chunking::{FileTree, PooledBuf, VerifiedChunk},
    snapshot::{ChunkIndex, ManifestHash, SnapshotId},
    transport::{
        asking::AskError,
        wire::{ChunkRequest, LeaseOpen, RequestClass},
    },
};

impl Sources {
    /// The chunk, proved against our own tree. Who sends other bytes is dropped; who is busy is waited for, but not for ever.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody gives it, [`JoinError::EverySourceDropped`] if that's because all lie.
    pub(in crate::bootstrap) async fn good_chunk(
        &mut self,
        id: &SnapshotId,
        manifest_hash: ManifestHash,
        tree: &Arc<FileTree>,
        chunk: ChunkIndex,
    ) -> Result<VerifiedChunk, JoinError> {
        let has = |ready: &Ready| ready.has(id, manifest_hash);
        let ask = |ready: Ready| {
            let (id, tree) = (id.clone(), Arc::clone(tree));
            async move {
                let bytes = leased(&ready, &id, manifest_hash, &tree, chunk).await?;
                Ok::<_, GiveError>(tree.prove_chunk(chunk, bytes)?)
            }
        };
        // Whoever is given up keeps a lease for us until it expires.
        let what = format!("chunk {} of {}", chunk.0, tree.file().file);
        self.whoever_gives(Wanted { id, what: &what, hedge: Hedge::Never, target: None }, has, ask).await
    }
}

/// The chunk's bytes, under a lease that ends with the request: the next one may be far off.
async fn leased(
    ready: &Ready,
    id: &SnapshotId,
    manifest_hash: ManifestHash,
    tree: &FileTree,
    chunk: ChunkIndex,
) -> Result<PooledBuf, AskError> {
    let lease = ready.session.open_lease(LeaseOpen { id: id.clone(), manifest_hash }).await?;
    let request = ChunkRequest {
        id: id.clone(),
        manifest_hash,
        file_index: tree.file_index(),
        first_chunk: chunk,
        count: 1,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id: lease.lease_id,
    };
    let bytes = ready.session.one_chunk(request, tree.tree().size()).await;
    // A source that doesn't hear it lets the lease expire.
    let _ = ready.session.close_lease(lease.lease_id).await;
    bytes
}
