//! A TLS stream that says why the other side closed it.
//!
//! In TLS 1.3 a client is through with the handshake before the server has judged its certificate. The alert about it comes while the first
//! request is written, and the write then fails with no more than "broken pipe": the reason waits to be read.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often is read on behind a failed write: the server may have said a little else before.
const READS_MAX: usize = 16;

/// Why a stream ended, once it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended(Arc<OnceLock<String>>);

impl Ended {
    /// The first error of the stream.
    pub(super) fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn by(&self, error: io::Error) -> io::Error {
        // Only the first counts.
        let _ = self.0.set(error.to_string());
        error
    }
}

/// The stream.
pub(super) struct LastWords<S> {
    stream: S,
    ended: Ended,
    /// The error of a write, while what was said before it is read.
    failed: Option<io::Error>,
}

impl<S: AsyncRead + Unpin> LastWords<S> {
    pub(super) const fn new(stream: S, ended: Ended) -> Self {
        Self { stream, ended, failed: None }
    }

    /// The result of a write; where it failed, the reason that was sent for it. A stream that can't be written any more can be read to its
    /// end, so this comes to one.
    fn explained<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) => self.failed = Some(error),
            written => return written,
        }
        self.read_out(context)
    }

    fn read_out<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut bytes = [0; 4096];
        for _ in 0..READS_MAX {
            let mut unread = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut unread) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {}
                Poll::Ready(Err(reason)) if reason.kind() == io::ErrorKind::InvalidData => {
                    return Poll::Ready(Err(self.ended.by(reason)));
                }
                Poll::Ready(_) => break,
            }
        }
        let error = self.failed.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(Err(self.ended.by(error)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        read.map_err(|error| self.ended.by(error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return self.read_out(context);
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.explained(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return self.read_out(context);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.explained(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, Join, join};

    /// Every write fails.
    struct Broken;
    /// Some bytes, then why it ended; the last first.
    struct Said(Vec<io::Result<Vec<u8>>>);

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Said {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match self.0.pop() {
                Some(said) => into.put_slice(&said?),
                None => return Poll::Pending,
            }
            Poll::Ready(Ok(()))
        }
    }

    fn stream(said: Vec<io::Result<Vec<u8>>>) -> (LastWords<Join<Said, Broken>>, Ended) {
        let ended = Ended::default();
        (LastWords::new(join(Said(said), Broken), ended.clone()), ended)
    }

    fn alert() -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::InvalidData, "alert"))
    }

    #[tokio::test]
    async fn a_failed_write_tells_the_alert_behind_it() {
        let (mut closed, ended) = stream(vec![alert(), Ok(vec![1, 2, 3])]);
        assert_eq!(closed.write(b"x").await.unwrap_err().to_string(), "alert");
        assert_eq!(ended.reason(), Some("alert"));
        assert_eq!(stream(vec![alert()]).0.flush().await.unwrap_err().to_string(), "alert");
    }

    #[tokio::test]
    async fn a_failed_write_waits_for_what_is_still_on_its_way() {
        let (mut closed, ended) = stream(Vec::new());
        let write = closed.write(b"x");
        assert!(at_once(write).await.is_none());
        assert_eq!(ended.reason(), None);
        closed.stream.reader_mut().0.push(alert());
        assert_eq!(closed.write(b"x").await.unwrap_err().to_string(), "alert");
    }

    /// The result, if it is there at the first look.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn without_a_reason_the_write_failed() {
        for said in [vec![Ok(vec![])], vec![Err(io::ErrorKind::ConnectionReset.into())]] {
            let (mut closed, ended) = stream(said);
            assert_eq!(closed.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(ended.reason(), Some("broken pipe"));
        }
    }
}
