//! The chunk buffers of the serving side: a fixed number, so that its memory is bounded whatever the other sides do.
//!
//! Who gets one: a session holds half of them at most, and an organisation takes another only while more are left than it has. So one that
//! asks alone has half, a second one half of the rest, and even after several that flood there is one for the next
//! (tests/faults/floods.rs; with as many as it liked, one organisation that read nothing made another's join take a minute for each second).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    msp::MspId,
    transport::limits::{SERVE_BUFFERS, SERVE_BUFFERS_PER_SESSION},
};

/// All buffers of the service.
#[derive(Debug, Clone, Default)]
pub(super) struct ServeBuffers {
    shares: Arc<Mutex<Shares>>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Who holds how many, and who waits.
#[derive(Debug, Default)]
struct Shares {
    held: BTreeMap<MspId, usize>,
    waiting: VecDeque<(MspId, oneshot::Sender<Share>)>,
}

/// One session's share: it waits for its own permits first, so that it can't queue for more than those.
#[derive(Debug, Clone)]
pub(super) struct SessionBuffers {
    all: ServeBuffers,
    org: MspId,
    own: Arc<Semaphore>,
}

/// One buffer; as the owner of `Bytes` it returns when the last of them is dropped, which quinn does once they are acknowledged.
#[derive(Debug)]
pub(super) struct ServeBuffer {
    pub(super) bytes: Vec<u8>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
    _share: Share,
    _own: OwnedSemaphorePermit,
}

/// One of the buffers, counted for an organisation; dropped, somebody else may have it.
#[derive(Debug)]
struct Share {
    shares: Arc<Mutex<Shares>>,
    org: MspId,
}

impl ServeBuffers {
    /// For a session of that organisation.
    pub(super) fn for_session(&self, org: &MspId) -> SessionBuffers {
        SessionBuffers { all: self.clone(), org: org.clone(), own: Arc::new(Semaphore::new(SERVE_BUFFERS_PER_SESSION)) }
    }
}

impl SessionBuffers {
    /// Waits for a buffer, in the order of asking among those who may have one. Can be given up.
    pub(super) async fn take(&self) -> ServeBuffer {
        let own = Arc::clone(&self.own).acquire_owned().await.expect("this semaphore is never closed");
        let (sender, share) = oneshot::channel();
        lock(&self.all.shares).waiting.push_back((self.org.clone(), sender));
        hand_out(&self.all.shares);
        let share = share.await.expect("who waits is answered, or has gone");
        let shelf = Arc::clone(&self.all.shelf);
        let bytes = shelf.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        ServeBuffer { bytes, shelf, _share: share, _own: own }
    }
}

/// Gives buffers to those who wait and may have one.
fn hand_out(shares: &Arc<Mutex<Shares>>) {
    loop {
        let next = lock(shares).next();
        let Some((org, waiting)) = next else { return };
        // Who went away meanwhile hands it back at once, outside the lock.
        drop(waiting.send(Share { shares: Arc::clone(shares), org }));
    }
}

impl Shares {
    /// The first who waits and may have one, which counts as his from here on.
    fn next(&mut self) -> Option<(MspId, oneshot::Sender<Share>)> {
        self.waiting.retain(|(_, waiting)| !waiting.is_closed());
        let left = SERVE_BUFFERS.saturating_sub(self.held.values().sum());
        let held = |org: &MspId| self.held.get(org).copied().unwrap_or(0);
        let first = self.waiting.iter().position(|(org, _)| held(org) < left)?;
        let (org, waiting) = self.waiting.remove(first)?;
        *self.held.entry(org.clone()).or_default() += 1;
        Some((org, waiting))
    }

    fn give_back(&mut self, org: &MspId) {
        if let Some(held) = self.held.get_mut(org) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(org);
            }
        }
    }
}

fn lock(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    // Counts and a queue: each change is one step.
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&self.shares).give_back(&self.org);
        hand_out(&self.shares);
    }
}

impl AsRef<[u8]> for ServeBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ServeBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use bytes::Bytes;

    use super::*;

    fn now(future: impl Future<Output = ServeBuffer>) -> Option<ServeBuffer> {
        ready(pin!(future))
    }

    fn ready(future: Pin<&mut impl Future<Output = ServeBuffer>>) -> Option<ServeBuffer> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        }
    }

    fn org(number: u8) -> MspId {
        MspId::new(&format!("Org{number}MSP")).unwrap()
    }

    /// As many as that organisation gets with as many sessions as it likes.
    fn flood(all: &ServeBuffers, number: u8) -> Vec<ServeBuffer> {
        let sessions = [(); 4].map(|()| all.for_session(&org(number)));
        sessions.iter().flat_map(|session| (0..SERVE_BUFFERS).filter_map(|_| now(session.take()))).collect()
    }

    #[test]
    fn a_session_and_an_organisation_get_their_shares() {
        let all = ServeBuffers::default();
        let session = all.for_session(&org(1));
        let held: Vec<ServeBuffer> = (0..SERVE_BUFFERS).filter_map(|_| now(session.take())).collect();
        assert_eq!(held.len(), SERVE_BUFFERS_PER_SESSION);
        drop(held);
        assert_eq!(flood(&all, 1).len(), SERVE_BUFFERS / 2, "however many sessions");
    }

    /// R5: organisations that flood together leave something for the next one, and never more than there is.
    #[test]
    fn whoever_floods_leaves_some_for_the_next_organisation() {
        let all = ServeBuffers::default();
        let mut held = Vec::new();
        for number in 1..=5 {
            let more = flood(&all, number);
            assert!(!more.is_empty(), "organisation {number} gets nothing");
            held.push(more);
        }
        assert!(held.iter().map(Vec::len).sum::<usize>() <= SERVE_BUFFERS);
        drop(held);
        assert!(lock(&all.shares).held.is_empty(), "nobody holds anything");
    }

    #[test]
    fn who_waits_gets_the_next_in_turn_and_who_gives_up_is_passed_over() {
        let all = ServeBuffers::default();
        let mut held = flood(&all, 1);
        let session = all.for_session(&org(1));
        let mut second = Box::pin(session.take());
        {
            let mut first = Box::pin(session.take());
            assert!(ready(first.as_mut()).is_none() && ready(second.as_mut()).is_none());
        }
        held.pop();
        let _second = ready(second.as_mut()).expect("the first one has given up");
        assert!(lock(&all.shares).waiting.is_empty());
        // Given to somebody who never looked: it isn't lost.
        let mut never = Box::pin(session.take());
        assert!(ready(never.as_mut()).is_none());
        held.clear();
        drop(never);
        assert_eq!(flood(&all, 2).len(), SERVE_BUFFERS / 2);
    }

    #[test]
    fn a_buffer_returns_only_when_the_last_of_its_bytes_is_gone() {
        let all = ServeBuffers::default();
        let session = all.for_session(&org(1));
        let mut buffer = now(session.take()).unwrap();
        buffer.bytes.extend_from_slice(b"hello");
        let bytes = Bytes::from_owner(buffer);
        let sent = bytes.slice(3..);
        drop(bytes);
        assert_eq!(lock(&all.shares).held.get(&org(1)), Some(&1));
        assert_eq!(&sent[..], b"lo");
        drop(sent);
        assert!(lock(&all.shares).held.is_empty());
        assert!(now(session.take()).unwrap().bytes.capacity() >= 5, "the same memory again");
    }
}
