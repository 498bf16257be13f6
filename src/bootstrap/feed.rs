//! A load that runs beside a transfer: the in-order pass hands it each proved chunk, it becomes records at once, and nothing of it counts
//! until the whole snapshot is proved and has landed.
//!
//! ```text
//!   in-order pass --- VerifiedChunk ---> queue per file ---> ledger::load::load, on threads of its own
//!        |          VerifiedFile ----> the file's stream ends well          |
//!        join: folder published, agreement confirmed ----> activate() ----> databases commit, channel ACTIVE
//! ```
//!
//! Leaves what is loaded to the loader that makes it. A load that fails doesn't end the transfer: the folder lands, and is loaded then.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::loading::LoadingError;
use crate::{
    chunking::{VerifiedChunk, VerifiedFile},
    snapshot::SnapshotFile,
};

/// Chunks of one file that may wait for the load: it works on one while the next ones come, and they take memory beside the budget.
pub(super) const QUEUED_CHUNKS_MAX: usize = 4;

/// A load under way. Dropped before it is told to activate, it leaves nothing.
#[derive(Debug)]
pub struct Feed {
    queues: Arc<Queues>,
    thread: Option<thread::JoinHandle<Result<(), LoadingError>>>,
}

/// The side of the in-order pass. Clones feed the same load.
#[derive(Debug, Clone)]
pub(super) struct Feeder(Arc<Queues>);

/// What the load reads, and asks before it lets anything count.
#[derive(Debug, Clone)]
pub(super) struct Fed(Arc<Queues>);

#[derive(Debug, Default)]
struct Queues {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<SnapshotFile, Queue>,
    /// The load is over: nobody takes anything any more.
    ended: bool,
    called_off: bool,
    /// What is loaded may count, if this still says so at the last moment.
    activate: Option<Still>,
}

/// Whether those who vouched still count.
struct Still(Box<dyn Fn() -> bool + Send>);

impl fmt::Debug for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Still")
    }
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<VerifiedChunk>,
    verified: bool,
    /// Whoever read it reads no more of it.
    abandoned: bool,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, while_holds: impl FnMut(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.lock(), while_holds).unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Feed {
    /// Starts `load` on a thread of its own.
    pub(super) fn start(load: impl FnOnce(Fed) -> Result<(), LoadingError> + Send + 'static) -> io::Result<Self> {
        let queues = Arc::<Queues>::default();
        let fed = Fed(Arc::clone(&queues));
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            let _ended = Ended(Arc::clone(&fed.0));
            load(fed)
        })?;
        Ok(Self { queues, thread: Some(thread) })
    }

    pub(super) fn feeder(&self) -> Feeder {
        Feeder(Arc::clone(&self.queues))
    }

    /// Lets what was loaded count, if `still` says so once all of it is loaded, and waits for it. Everything was proved and has landed.
    /// Blocking.
    pub(super) fn activate(mut self, still: impl Fn() -> bool + Send + 'static) -> Result<(), LoadingError> {
        self.queues.change(|state| state.activate = Some(Still(Box::new(still))));
        self.join()
    }

    fn join(&mut self) -> Result<(), LoadingError> {
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(LoadingError::Panicked),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.queues.change(|state| state.called_off = true);
        if self.thread.is_some()
            && let Err(error) = self.join()
        {
            tracing::debug!(%error, "a load beside the transfer has ended");
        }
    }
}

/// Tells the pass that nobody reads any more, however the load has ended.
struct Ended(Arc<Queues>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.ended = true;
            state.files.clear();
        });
    }
}

impl Feeder {
    /// Whether the load reads the file: what only counts items of a file is proved with it.
    pub(super) const fn wants(file: SnapshotFile) -> bool {
        !matches!(file, SnapshotFile::ConfigHistoryMetadata | SnapshotFile::TxIdsMetadata)
    }

    /// Hands over the next chunk of the file; waits while the load is busy with those before it.
    pub(super) fn chunk(&self, file: SnapshotFile, chunk: VerifiedChunk) {
        let takes_none = |state: &State| {
            state.ended || state.called_off || state.files.get(&file).is_some_and(|queue| queue.abandoned)
        };
        let is_full = |state: &mut State| {
            !takes_none(state) && state.files.get(&file).is_some_and(|queue| queue.chunks.len() >= QUEUED_CHUNKS_MAX)
        };
        let mut state = self.0.wait(is_full);
        if takes_none(&state) {
            return;
        }
        state.files.entry(file).or_default().chunks.push_back(chunk);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Says that the file is whole and proved: its stream ends.
    pub(super) fn verified(&self, verified: &VerifiedFile) {
        self.0.change(|state| state.files.entry(verified.file().file).or_default().verified = true);
    }

    /// The transfer is over: whoever waits for more waits in vain.
    pub(super) fn call_off(&self) {
        self.0.change(|state| state.called_off = true);
    }
}

impl Fed {
    /// The bytes of a file, which end well only once the file is proved as a whole.
    pub(super) fn stream(&self, file: SnapshotFile) -> impl Read + Send + 'static + use<> {
        Stream { queues: Arc::clone(&self.0), file, chunk: None, read: 0 }
    }

    /// Waits until what was loaded may count; false if it mustn't.
    pub(super) fn may_activate(&self) -> bool {
        let still = self.0.wait(|state| state.activate.is_none() && !state.called_off).activate.take();
        still.is_some_and(|still| (still.0)())
    }
}

struct Stream {
    queues: Arc<Queues>,
    file: SnapshotFile,
    chunk: Option<VerifiedChunk>,
    /// Of that chunk.
    read: usize,
}

impl Stream {
    /// The next chunk; `None` at the proved end.
    fn next(&self) -> io::Result<Option<VerifiedChunk>> {
        let absent = |state: &mut State| {
            let queue = state.files.get(&self.file);
            !state.called_off && queue.is_none_or(|queue| queue.chunks.is_empty() && !queue.verified)
        };
        let mut state = self.queues.wait(absent);
        if state.called_off {
            return Err(io::Error::other("the transfer has ended before the file was whole"));
        }
        let chunk = state.files.get_mut(&self.file).and_then(|queue| queue.chunks.pop_front());
        drop(state);
        self.queues.changed.notify_all();
        Ok(chunk)
    }
}

impl Drop for Stream {
    /// The load of one file may fail while the others wait for chunks that come behind this one's.
    fn drop(&mut self) {
        self.queues.change(|state| {
            let queue = state.files.entry(self.file).or_default();
            queue.abandoned = true;
            queue.chunks.clear();
        });
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.chunk.as_ref().and_then(|chunk| chunk.bytes().get(self.read..)).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buf.len());
                let (from, to) = (rest.get(..count), buf.get_mut(..count));
                if let (Some(from), Some(to)) = (from, to) {
                    to.copy_from_slice(from);
                }
                self.read += count;
                return Ok(count);
            }
            self.chunk = None; // its buffer is free before the next one is waited for
            let Some(chunk) = self.next()? else { return Ok(0) };
            (self.chunk, self.read) = (Some(chunk), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::chunking::fixture::Sample;

    /// A load that gives what it reads of that file.
    fn reading(file: SnapshotFile) -> (Feed, mpsc::Receiver<io::Result<Vec<u8>>>) {
        let (sender, read) = mpsc::channel();
        let feed = Feed::start(move |fed| {
            let mut bytes = Vec::new();
            let ended = fed.stream(file).read_to_end(&mut bytes).map(|_| bytes);
            sender.send(ended).unwrap();
            if fed.may_activate() { Ok(()) } else { Err(LoadingError::CouchDb) }
        });
        (feed.unwrap(), read)
    }

    #[test]
    fn a_stream_ends_well_only_once_its_file_is_proved() {
        let sample = Sample::recorded();
        let verified = sample.verified().into_iter().next().unwrap();
        let (file, file_index) = (verified.file().file, verified.file_index());
        let chunks =
            || sample.all().into_iter().filter(|(of, _)| *of == file_index).map(|(of, chunk)| sample.chunk(of, chunk));
        let whole: Vec<u8> = chunks().flat_map(|chunk| chunk.bytes().to_vec()).collect();

        let (feed, read) = reading(file);
        chunks().for_each(|chunk| feed.feeder().chunk(file, chunk));
        feed.feeder().verified(&verified);
        assert_eq!(read.recv().unwrap().unwrap(), whole);
        feed.activate(|| true).unwrap();

        let (feed, read) = reading(file);
        chunks().for_each(|chunk| feed.feeder().chunk(file, chunk));
        drop(feed); // the transfer ended before the file's hash was known
        read.recv().unwrap().unwrap_err();
    }

    #[test]
    fn nothing_counts_unless_it_is_activated() {
        let sample = Sample::recorded();
        let verified = sample.verified().into_iter().next().unwrap();
        let (sender, may) = mpsc::channel();
        let feed = Feed::start(move |fed| {
            sender.send(fed.may_activate()).unwrap();
            Ok(())
        });
        feed.as_ref().unwrap().feeder().verified(&verified);
        drop(feed.unwrap());
        assert!(!may.recv().unwrap());
        // Nor if those who vouched don't count any more at the last moment.
        for still in [true, false] {
            let (sender, may) = mpsc::channel();
            let feed = Feed::start(move |fed| {
                sender.send(fed.may_activate()).unwrap();
                Ok(())
            });
            feed.unwrap().activate(move || still).unwrap();
            assert_eq!(may.recv().unwrap(), still);
        }
    }

    #[test]
    fn a_file_that_nobody_reads_any_more_holds_nobody_up() {
        let sample = Sample::recorded();
        let mut verified = sample.verified().into_iter();
        let (first, second) = (verified.next().unwrap(), verified.next().unwrap());
        let (file, then) = (first.file().file, second.file().file);
        let (file_index, chunk) = sample.all().into_iter().next().unwrap();
        let feed = Feed::start(move |fed| {
            drop(fed.stream(file)); // it has failed
            let rest = fed.stream(then).read_to_end(&mut Vec::new());
            rest.map(drop).map_err(LoadingError::Threads)
        });
        let feed = feed.unwrap();
        for _ in 0..=2 * QUEUED_CHUNKS_MAX {
            feed.feeder().chunk(file, sample.chunk(file_index, chunk));
        }
        feed.feeder().verified(&second);
        feed.activate(|| true).unwrap();
    }

    #[test]
    fn a_load_that_has_ended_holds_nobody_up() {
        let sample = Sample::recorded();
        let (file_index, chunk) = sample.all().into_iter().next().unwrap();
        let file = sample.verified().into_iter().next().unwrap().file().file;
        let feed = Feed::start(|_| Err(LoadingError::CouchDb)).unwrap();
        for _ in 0..=2 * QUEUED_CHUNKS_MAX {
            feed.feeder().chunk(file, sample.chunk(file_index, chunk));
        }
        assert!(matches!(feed.activate(|| true), Err(LoadingError::CouchDb)));
    }
}
