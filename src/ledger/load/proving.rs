//! Hashes and checks a file on a thread of its own, while who made it a stream works on what went by: the two take about as long.

use std::{
    io::{self, Read},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use sha2::{Digest, Sha256};

use super::LoadError;
use crate::snapshot::{ContentCheck, ContentError, FileDigest, FileSummary, SnapshotFile};

/// Read at once: hashing and checking take it while it is in the processor's cache.
const READ_BYTES: usize = 256 << 10;
/// Such pieces that may wait for who works on them.
const WAITING_MAX: usize = 4;

/// A file to its last byte.
pub(super) struct Proved {
    sha256: Sha256,
    /// The first thing that is wrong.
    check: Result<ContentCheck, ContentError>,
}

impl Proved {
    /// Holds it to the hash, then to its content.
    pub(super) fn finish(self, file: SnapshotFile, listed: FileDigest) -> Result<FileSummary, LoadError> {
        let actual = FileDigest(self.sha256.finalize().into());
        if actual != listed {
            return Err(LoadError::HashMismatch { file, actual, listed });
        }
        Ok(self.check?.finish()?)
    }
}

/// Lets `work` read the stream. What it leaves is read to the end all the same, unless it has failed for a reason that isn't the content's.
pub(super) fn proving<T>(
    inner: Box<dyn Read + Send + '_>,
    check: ContentCheck,
    work: impl FnOnce(&mut dyn Read) -> Result<T, LoadError>,
) -> (Result<T, LoadError>, io::Result<Proved>) {
    let (pieces, received) = sync_channel(WAITING_MAX);
    let (used, reuse) = channel();
    let abandoned = &AtomicBool::new(false);
    thread::scope(|scope| {
        let proved = scope.spawn(move || prove(inner, check, &pieces, &reuse, abandoned));
        let mut stream = Pieces { received, used, piece: Vec::new(), read: 0 };
        let result = work(&mut stream);
        if result.as_ref().is_err_and(|error| !error.is_of_content()) {
            abandoned.store(true, Ordering::Relaxed);
        }
        drop(stream);
        (result, proved.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn prove(
    mut inner: Box<dyn Read + Send + '_>,
    check: ContentCheck,
    pieces: &SyncSender<io::Result<Vec<u8>>>,
    reuse: &Receiver<Vec<u8>>,
    abandoned: &AtomicBool,
) -> io::Result<Proved> {
    let mut proved = Proved { sha256: Sha256::new(), check: Ok(check) };
    while !abandoned.load(Ordering::Relaxed) {
        let mut piece = reuse.try_recv().unwrap_or_default();
        piece.resize(READ_BYTES, 0);
        let count = match inner.read(&mut piece) {
            Err(error) => {
                // Who works on it must not take this for the end.
                let _ = pieces.send(Err(io::Error::new(error.kind(), error.to_string())));
                return Err(error);
            }
            Ok(count) => count,
        };
        piece.truncate(count);
        if count == 0 {
            break;
        }
        proved.sha256.update(&piece);
        if let Ok(check) = &mut proved.check
            && let Err(error) = check.update(&piece)
        {
            proved.check = Err(error);
        }
        let _ = pieces.send(Ok(piece)); // who has read enough takes no more
    }
    Ok(proved)
}

/// The stream that the work reads.
struct Pieces {
    received: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    piece: Vec<u8>,
    /// Of that piece.
    read: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            let Ok(next) = self.received.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.piece, next?);
            let _ = self.used.send(used);
            self.read = 0;
        }
        let rest = self.piece.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(from), Some(to)) = (rest.get(..count), buf.get_mut(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        Ok(count)
    }
}
