//! The stream of an answer: only one that is whole ends; whatever else happens, it is reset.

use std::ops::{Deref, DerefMut};

use quinn::SendStream;
use tokio::sync::watch;

use crate::transport::fault::ErrorCode;

/// Writes like its stream. quinn finishes a stream that is dropped: a task that is aborted or panics in the middle of a chunk would
/// look as if the answer were meant to be that short, which an asker holds against us for good.
pub(super) struct Answer {
    stream: SendStream,
    shutdown: watch::Receiver<bool>,
}

impl Answer {
    pub(super) const fn new(stream: SendStream, shutdown: watch::Receiver<bool>) -> Self {
        Self { stream, shutdown }
    }

    /// It is whole; returns when all of it has arrived, or the other side has stopped it.
    pub(super) async fn finish(mut self) {
        let _ = self.stream.finish();
        let _ = self.stream.stopped().await;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let code = if *self.shutdown.borrow() { ErrorCode::ShuttingDown } else { ErrorCode::Internal };
        // A stream that was reset before keeps its code.
        let _ = self.stream.reset(code.varint());
    }
}

impl Deref for Answer {
    type Target = SendStream;

    fn deref(&self) -> &SendStream {
        &self.stream
    }
}

impl DerefMut for Answer {
    fn deref_mut(&mut self) -> &mut SendStream {
        &mut self.stream
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        path::Path,
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use quinn::{Connection, Endpoint, ReadError, ReadToEndError};

    use super::*;
    use crate::{
        msp::{ChannelConfig, LocalIdentity, MspId, TlsPair},
        transport::{
            WallClock,
            endpoint::{Tuning, accepted, bind},
            tls::{NameCheck, TlsBundle, TlsTrust, client_config, server_config},
        },
    };

    /// A connection within one endpoint that serves and dials: the dialler's side, the server's side.
    async fn connected() -> (Endpoint, Connection, Connection) {
        let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network");
        let peer = network.join("crypto/peerOrganizations/org1.example.com/peers/peer0.org1.example.com");
        let block = std::fs::read(network.join("config_block.pb")).unwrap();
        let trust = TlsTrust::new(TlsBundle::new([&ChannelConfig::from_block(&block).unwrap()]));
        let pair = TlsPair::load(&peer.join("tls/server.crt"), &peer.join("tls/server.key")).unwrap();
        let identity = LocalIdentity::load(&MspId::new("Org1MSP").unwrap(), &peer.join("msp")).unwrap();
        let now: SystemTime = identity.identity.not_before() + Duration::from_secs(86_400);
        let clock: WallClock = Arc::new(move || now);
        let tuning = Tuning::default();
        let server = tuning.server(server_config(trust.clone(), &pair, Arc::clone(&clock)).unwrap()).unwrap();
        let client = tuning.client(client_config(trust, &pair, NameCheck::San, clock).unwrap()).unwrap();
        let endpoint = bind((Ipv4Addr::LOCALHOST, 0).into(), Some(server), &tuning).unwrap();
        let dialling = endpoint.connect_with(client, endpoint.local_addr().unwrap(), "localhost").unwrap();
        let (theirs, ours) =
            tokio::join!(async { dialling.await.unwrap() }, async { endpoint.accept().await.unwrap().await.unwrap() });
        accepted(&ours, 4);
        (endpoint, theirs, ours)
    }

    #[tokio::test]
    async fn an_answer_whose_task_dies_is_reset_and_only_a_whole_one_ends() {
        let (_endpoint, theirs, ours) = connected().await;
        for (whole, stopping, code) in [
            (true, false, None),
            (false, false, Some(ErrorCode::Internal)),
            (false, true, Some(ErrorCode::ShuttingDown)),
        ] {
            let (mut question, mut heard) = theirs.open_bi().await.unwrap();
            question.write_all(b"?").await.unwrap();
            let (send, _recv) = ours.accept_bi().await.unwrap();
            let (_stop, shutdown) = watch::channel(stopping);
            let mut answer = Answer::new(send, shutdown);
            answer.write_all(b"half").await.unwrap();
            let task = tokio::spawn(async move {
                if whole {
                    answer.finish().await;
                } else {
                    let _answer = answer;
                    panic!("in the middle of a chunk");
                }
            });
            let found = heard.read_to_end(16).await;
            assert_eq!(task.await.is_ok(), whole);
            match code {
                None => assert_eq!(found.unwrap(), b"half"),
                Some(code) => assert!(
                    matches!(found, Err(ReadToEndError::Read(ReadError::Reset(reset))) if reset == code.varint()),
                    "{found:?}"
                ),
            }
        }
    }
}
