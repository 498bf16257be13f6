//! SHA-256 and chunk tree of a file that is being written, beside the thread that makes its bytes: hashing takes longer than
//! making or writing them.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread::{Builder, JoinHandle},
};

use sha2::{Digest, Sha256};

use super::{ChunkRoot, ChunkTreeBuilder, FileDigest};

/// Pieces that wait to be hashed: memory stays at a few MiB, and neither side waits for the other's every step.
const PIECES_WAITING_MAX: usize = 2;

/// The hashes of one file under way.
#[derive(Debug)]
pub(super) struct FileHashing {
    sums: Sums,
    thread: Option<Thread>,
}

#[derive(Debug, Default)]
struct Sums {
    sha256: Sha256,
    tree: ChunkTreeBuilder,
}

#[derive(Debug)]
struct Thread {
    pieces: SyncSender<Vec<u8>>,
    /// Hashed pieces, to be filled again: fresh pages would cost as much as the hash.
    hashed: Receiver<Vec<u8>>,
    handle: JoinHandle<Sums>,
}

impl FileHashing {
    pub(super) fn new() -> Self {
        Self { sums: Sums::default(), thread: None }
    }

    /// An empty buffer for the next piece. Asking for one means that more comes: from here on a thread hashes, if the
    /// system gives one.
    pub(super) fn buffer(&mut self, capacity: usize) -> Vec<u8> {
        if self.thread.is_none() {
            match start(std::mem::take(&mut self.sums)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::debug!(%error, "hashing without a thread"),
            }
        }
        let hashed = self.thread.as_ref().and_then(|thread| thread.hashed.try_recv().ok());
        let mut buffer = hashed.unwrap_or_else(|| Vec::with_capacity(capacity));
        buffer.clear();
        buffer
    }

    /// Takes the next bytes of the file.
    pub(super) fn update(&mut self, piece: Vec<u8>) {
        match &self.thread {
            Some(thread) => thread.pieces.send(piece).expect("the thread ends only when the sender is gone"),
            None => self.sums.update(&piece),
        }
    }

    /// Size, BLAKE3 and SHA-256 of all that came.
    pub(super) fn finish(self) -> (u64, ChunkRoot, FileDigest) {
        let sums = match self.thread {
            Some(Thread { pieces, hashed, handle }) => {
                drop((pieces, hashed));
                handle.join().expect("hashing doesn't panic")
            }
            None => self.sums,
        };
        let (size, root, _) = sums.tree.finish();
        (size, root, FileDigest(sums.sha256.finalize().into()))
    }
}

impl Sums {
    fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        self.tree.update(piece);
    }
}

/// Nothing was hashed before: the thread is asked for when the first piece is full.
fn start(mut sums: Sums) -> io::Result<Thread> {
    let (pieces, waiting) = sync_channel::<Vec<u8>>(PIECES_WAITING_MAX);
    let (returned, hashed): (Sender<Vec<u8>>, _) = channel();
    let work = move || {
        for piece in waiting {
            sums.update(&piece);
            // Nobody needs it at the end.
            let _ = returned.send(piece);
        }
        sums
    };
    let handle = Builder::new().name("file-hashing".to_owned()).spawn(work)?;
    Ok(Thread { pieces, hashed, handle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_a_thread_the_hashes_are_those_of_all_bytes() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let expected = (
            bytes.len() as u64,
            ChunkRoot(*blake3::hash(&bytes).as_bytes()),
            FileDigest(Sha256::digest(&bytes).into()),
        );
        let mut inline = FileHashing::new();
        inline.update(bytes.clone());
        assert_eq!(inline.finish(), expected);
        let mut threaded = FileHashing::new();
        for piece in bytes.chunks(700_001) {
            let mut buffer = threaded.buffer(700_001);
            assert!(buffer.is_empty());
            buffer.extend_from_slice(piece);
            threaded.update(buffer);
        }
        assert!(threaded.thread.is_some());
        assert_eq!(threaded.finish(), expected);
    }
}
