//! Where hashing, compression and disk work runs: on threads of its own, or inline in the simulator, where a second
//! thread would break the virtual clock.

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::codec::CodecContext;

/// A tenth of the CPU that a program of common priority gets beside it: not nothing, so that a joiner is still served.
const BACKGROUND_NICE: i32 = 10;

type Job = Box<dyn FnOnce(&mut WorkerState) + Send>;

/// What each worker owns and reuses from job to job.
#[derive(Debug, Default)]
pub struct WorkerState {
    /// zstd contexts.
    pub codec: CodecContext,
}

/// Runs jobs; clones share the same workers.
#[derive(Debug, Clone)]
pub enum Workers {
    /// On a fixed number of threads.
    Threads(Arc<WorkerThreads>),
    /// At once, on the caller's thread.
    Inline,
    /// When and where the executor runs them: a simulated machine with slow ones.
    By(Executor),
}

/// A job as an [`Executor`] gets it.
pub type HandedJob = Box<dyn FnOnce() + Send>;

/// Runs a worker's jobs, in the order in which it gets them.
#[derive(Clone)]
pub struct Executor(Arc<dyn Fn(HandedJob) + Send + Sync>);

impl Executor {
    /// Each job goes to `execute`.
    pub fn new(execute: impl Fn(HandedJob) + Send + Sync + 'static) -> Self {
        Self(Arc::new(execute))
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Executor")
    }
}

impl Workers {
    /// `count` threads (at least 1) and a queue of `queued_max` jobs. Give the queue as many places as there can be
    /// permits: then [`Self::run`] never waits.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn threads(count: usize, queued_max: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Job>(queued_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut pool = WorkerThreads { sender: Some(sender), threads: Vec::new() };
        for index in 0..count.max(1) {
            let receiver = Arc::clone(&receiver);
            pool.threads.push(thread::Builder::new().name(format!("worker-{index}")).spawn(move || work(&receiver))?);
        }
        Ok(Self::Threads(Arc::new(pool)))
    }

    /// As [`Self::threads`], on threads that step back for other programs on the same machine: they get the CPU when others leave it (nice
    /// 10), and on Linux their reads wait for those of others, where the disk's scheduler knows priorities.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn background(count: usize, queued_max: usize) -> io::Result<Self> {
        let workers = Self::threads(count, queued_max)?;
        let all_there = Arc::new(Barrier::new(count.max(1)));
        for _ in 0..count.max(1) {
            let all_there = Arc::clone(&all_there);
            // Each thread gets one: none takes a second before every other has its own.
            workers.run(move |_| {
                step_back();
                all_there.wait();
            });
        }
        Ok(workers)
    }

    /// Runs `job` soon (or, inline, before it returns). Waits while the queue is full. A job that panics ends alone:
    /// what it should have answered is dropped.
    ///
    /// A job must not call this itself: with a full queue it would wait for itself.
    pub fn run(&self, job: impl FnOnce(&mut WorkerState) + Send + 'static) {
        match self {
            Self::Threads(pool) => {
                let sender = pool.sender.as_ref().expect("the sender is only taken by drop");
                sender.send(Box::new(job)).expect("workers end only when the sender is gone");
            }
            Self::Inline => job(&mut WorkerState::default()),
            Self::By(executor) => (executor.0)(Box::new(move || job(&mut WorkerState::default()))),
        }
    }
}

/// The threads behind [`Workers::Threads`]; dropping the last clone finishes the queued jobs and joins them.
pub struct WorkerThreads {
    sender: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for WorkerThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} worker threads", self.threads.len())
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        drop(self.sender.take());
        for thread in self.threads.drain(..) {
            // The last clone may be dropped by a job: a thread can't join itself, and ends by itself.
            if thread.thread().id() != thread::current().id() {
                let _: Result<(), Box<dyn Any + Send>> = thread.join(); // jobs' panics are caught
            }
        }
    }
}

/// Makes the calling thread a background one. No system refuses that; if one does, it stays as it was.
pub fn step_back() {
    // Elsewhere than on Linux it would be the whole process.
    if cfg!(target_os = "linux") {
        let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    let mut state = WorkerState::default();
    loop {
        // The lock is held while waiting: the others wait for the lock instead of the queue.
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(|| job(&mut state))).is_err() {
            state = WorkerState::default(); // may be half changed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn all() -> [Workers; 4] {
        let by = Workers::By(Executor::new(|job| job()));
        [Workers::Inline, by, Workers::threads(1, 2).unwrap(), Workers::threads(3, 0).unwrap()]
    }

    #[test]
    fn every_job_runs_once_and_reuses_the_state() {
        for workers in all() {
            let (sender, receiver) = mpsc::channel();
            for n in 0..50_u32 {
                let sender = sender.clone();
                workers.run(move |state| {
                    let mut out = Vec::new();
                    let _ = state.codec.compress(&[0; 1000], 1, &mut out);
                    sender.send(n).unwrap();
                });
            }
            drop(sender);
            let mut seen: Vec<_> = receiver.into_iter().collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..50).collect::<Vec<_>>(), "{workers:?}");
        }
    }

    #[test]
    fn dropping_finishes_what_is_queued() {
        let (sender, receiver) = mpsc::channel();
        let workers = Workers::threads(1, 8).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        workers.run(move |_| wait.recv().unwrap());
        (0..5).for_each(|n| {
            let sender = sender.clone();
            workers.run(move |_| sender.send(n).unwrap());
        });
        go.send(()).unwrap();
        drop((workers, sender));
        assert_eq!(receiver.try_iter().count(), 5, "all done when drop returns");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn background_threads_have_a_lower_priority_and_nobody_else() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let workers = Workers::background(3, 8).unwrap();
        let (sender, receiver) = mpsc::channel();
        for _ in 0..30 {
            let sender = sender.clone();
            workers.run(move |_| sender.send(nice()).unwrap());
        }
        drop(sender);
        assert!(receiver.into_iter().all(|nice| nice == BACKGROUND_NICE));
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_panic_ends_one_job_only() {
        let workers = Workers::threads(1, 8).unwrap();
        let (sender, receiver) = mpsc::channel();
        let lost = sender.clone();
        workers.run(move |_| {
            let _lost = lost;
            panic!("for the test");
        });
        workers.run(move |_| sender.send(1).unwrap());
        assert_eq!(receiver.into_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn the_last_clone_may_be_dropped_by_a_job() {
        let workers = Workers::threads(2, 8).unwrap();
        let (sender, receiver) = mpsc::channel();
        let clone = workers.clone();
        let (go, wait) = mpsc::channel::<()>();
        workers.run(move |_| {
            wait.recv().unwrap();
            drop(clone);
            sender.send(()).unwrap();
        });
        drop(workers);
        go.send(()).unwrap();
        receiver.recv().unwrap();
    }
}
