//! The chunk buffers of the serving side: a fixed number, so that its memory is bounded whatever the other sides do.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::transport::limits::{SERVE_BUFFERS, SERVE_BUFFERS_PER_SESSION};

/// All buffers of the service.
#[derive(Debug, Clone)]
pub(super) struct ServeBuffers {
    permits: Arc<Semaphore>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// One session's share: it waits for its own permits first, so it can't queue for more than its share of the common ones.
#[derive(Debug, Clone)]
pub(super) struct SessionBuffers {
    all: ServeBuffers,
    own: Arc<Semaphore>,
}

/// One buffer; as the owner of `Bytes` it returns when the last of them is dropped, which quinn does once they are acknowledged.
#[derive(Debug)]
pub(super) struct ServeBuffer {
    pub(super) bytes: Vec<u8>,
    shelf: Arc<Mutex<Vec<Vec<u8>>>>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl ServeBuffers {
    pub(super) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(SERVE_BUFFERS)), shelf: Arc::default() }
    }

    pub(super) fn for_session(&self) -> SessionBuffers {
        SessionBuffers { all: self.clone(), own: Arc::new(Semaphore::new(SERVE_BUFFERS_PER_SESSION)) }
    }
}

impl SessionBuffers {
    /// Waits for a buffer, in the order of asking. Can be given up.
    pub(super) async fn take(&self) -> ServeBuffer {
        const OPEN: &str = "these semaphores are never closed";
        let own = Arc::clone(&self.own).acquire_owned().await.expect(OPEN);
        let all = Arc::clone(&self.all.permits).acquire_owned().await.expect(OPEN);
        let shelf = Arc::clone(&self.all.shelf);
        let bytes = shelf.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        ServeBuffer { bytes, shelf, _permits: [own, all] }
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

    #[test]
    fn one_session_gets_its_share_and_all_together_get_sixteen() {
        let all = ServeBuffers::new();
        let sessions = [all.for_session(), all.for_session(), all.for_session()];
        let held: Vec<ServeBuffer> = (0..SERVE_BUFFERS_PER_SESSION).filter_map(|_| now(sessions[0].take())).collect();
        assert_eq!(held.len(), SERVE_BUFFERS_PER_SESSION);
        assert!(now(sessions[0].take()).is_none(), "its share is used up");
        let more: Vec<ServeBuffer> = (0..SERVE_BUFFERS).filter_map(|_| now(sessions[1].take())).collect();
        assert_eq!(held.len() + more.len(), SERVE_BUFFERS);
        assert!(now(sessions[2].take()).is_none(), "all are out");
    }

    #[test]
    fn a_buffer_returns_only_when_the_last_of_its_bytes_is_gone() {
        let all = ServeBuffers::new();
        let session = all.for_session();
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
