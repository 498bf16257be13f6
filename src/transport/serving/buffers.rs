//! The chunk buffers of the serving side: a fixed number, so that its memory is bounded whatever the other sides do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    msp::MspId,
    transport::limits::{SERVE_BUFFERS, SERVE_BUFFERS_PER_ORG, SERVE_BUFFERS_PER_SESSION},
};

/// All buffers of the service.
#[derive(Debug, Clone)]
pub(super) struct ServeBuffers {
    permits: Arc<Semaphore>,
    /// Each organisation's share, as long as a session or a buffer of it is left.
    by_org: Arc<Mutex<BTreeMap<MspId, Weak<Semaphore>>>>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One session's share: it waits for its own permits first, then for its organisation's, so it can't queue for more than its share of
/// the common ones.
#[derive(Debug, Clone)]
pub(super) struct SessionBuffers {
    all: ServeBuffers,
    of_org: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// One buffer; as the owner of `Bytes` it returns when the last of them is dropped, which quinn does once they are acknowledged.
#[derive(Debug)]
pub(super) struct ServeBuffer {
    pub(super) bytes: Vec<u8>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
    _permits: [OwnedSemaphorePermit; 3],
}

impl ServeBuffers {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(SERVE_BUFFERS)), by_org: Arc::default(), shelf: Arc::default() }
    }

    /// For a session of that organisation.
    pub(super) fn for_session(&self, org: &MspId) -> SessionBuffers {
        let mut by_org = self.by_org.lock().unwrap_or_else(PoisonError::into_inner);
        by_org.retain(|_, share| share.strong_count() > 0);
        let of_org = by_org.get(org).and_then(Weak::upgrade).unwrap_or_else(|| {
            let share = Arc::new(Semaphore::new(SERVE_BUFFERS_PER_ORG));
            by_org.insert(org.clone(), Arc::downgrade(&share));
            share
        });
        SessionBuffers { all: self.clone(), of_org, own: Arc::new(Semaphore::new(SERVE_BUFFERS_PER_SESSION)) }
    }
}

impl SessionBuffers {
    /// Waits for a buffer, in the order of asking. Can be given up.
    pub(super) async fn take(&self) -> ServeBuffer {
        const OPEN: &str = "these semaphores are never closed";
        let own = Arc::clone(&self.own).acquire_owned().await.expect(OPEN);
        let of_org = Arc::clone(&self.of_org).acquire_owned().await.expect(OPEN);
        let all = Arc::clone(&self.all.permits).acquire_owned().await.expect(OPEN);
        let shelf = Arc::clone(&self.all.shelf);
        let bytes = shelf.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        ServeBuffer { bytes, shelf, _permits: [own, of_org, all] }
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
    use std::{future::Future, pin::pin, task::Context, task::Waker};

    use bytes::Bytes;

    use super::*;

    fn now(future: impl Future<Output = ServeBuffer>) -> Option<ServeBuffer> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(buffer) => Some(buffer),
            std::task::Poll::Pending => None,
        }
    }

    fn org(number: u8) -> MspId {
        MspId::new(&format!("Org{number}MSP")).unwrap()
    }

    #[test]
    fn a_session_and_an_organisation_get_their_shares_and_all_together_get_sixteen() {
        let all = ServeBuffers::new();
        let sessions = [1, 1, 2, 3].map(|number| all.for_session(&org(number)));
        let take = |session: usize| -> Vec<ServeBuffer> {
            (0..SERVE_BUFFERS).filter_map(|_| now(sessions[session].take())).collect()
        };
        let held = take(0);
        assert_eq!(held.len(), SERVE_BUFFERS_PER_SESSION);
        assert!(now(sessions[0].take()).is_none(), "its share is used up");
        let more = take(1);
        assert_eq!(held.len() + more.len(), SERVE_BUFFERS_PER_ORG, "so is its organisation's");
        let others = take(2);
        assert_eq!(held.len() + more.len() + others.len(), SERVE_BUFFERS);
        assert!(now(sessions[3].take()).is_none(), "all are out");
    }

    #[test]
    fn an_organisations_share_stays_its_own_until_its_last_buffer_is_back() {
        let all = ServeBuffers::new();
        let held = now(all.for_session(&org(1)).take()).unwrap();
        let session = all.for_session(&org(1));
        assert_eq!(session.of_org.available_permits(), SERVE_BUFFERS_PER_ORG - 1, "its sessions come and go");
        drop((held, session));
        all.for_session(&org(2));
        assert_eq!(all.by_org.lock().unwrap().keys().collect::<Vec<_>>(), [&org(2)], "and then it is forgotten");
    }

    #[test]
    fn a_buffer_returns_only_when_the_last_of_its_bytes_is_gone() {
        let all = ServeBuffers::new();
        let session = all.for_session(&org(1));
        let mut buffer = now(session.take()).unwrap();
        buffer.bytes.extend_from_slice(b"hello");
        let bytes = Bytes::from_owner(buffer);
        let sent = bytes.slice(3..);
        drop(bytes);
        assert_eq!(all.permits.available_permits(), SERVE_BUFFERS - 1);
        assert_eq!(&sent[..], b"lo");
        drop(sent);
        assert_eq!(all.permits.available_permits(), SERVE_BUFFERS);
        assert!(now(session.take()).unwrap().bytes.capacity() >= 5, "the same memory again");
    }
}
