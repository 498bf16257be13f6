//! A source that proves who it is, lists, describes and attests a snapshot honestly, and flips one bit of every chunk it sends.
//!
//! The real serving side can't be made to lie: it checks each chunk when it reads it. So this is a small server of its own,
//! on the library's wire messages.

use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use snapferry::{
    catalog::{AttestBody, Attestation, LEASE_TIME, LIVE_VALIDITY, ServedSnapshot},
    snapshot::ChunkIndex,
    transport::{
        endpoint,
        limits::{FRAME_BYTES_MAX, STREAMS_MAX},
        live::LiveChannels,
        session::{SessionContext, authenticate_server},
        wire::{
            self, AttestationGet, Body, CatalogClaim, CatalogPage, ChunkHeader, ChunkRequest, Frame, Hello, Lease,
            Notice, WireCodec,
        },
    },
};
use std::{sync::Arc, time::UNIX_EPOCH};

/// What the liar has.
#[derive(Clone)]
pub(super) struct Liar {
    pub(super) snapshot: Arc<ServedSnapshot>,
    pub(super) live: LiveChannels,
    pub(super) session: SessionContext,
}

impl Liar {
    /// Answers everybody until the endpoint is closed.
    pub(super) async fn serve(self, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let liar = self.clone();
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    // Whatever ends the session, the joiner has noticed.
                    let _ = liar.session(&connection).await;
                }
            });
        }
    }

    async fn session(&self, connection: &Connection) -> Option<()> {
        let (mut send, mut recv) = connection.accept_bi().await.ok()?;
        authenticate_server(connection, &mut send, &mut recv, &self.session, &self.live).await.ok()?;
        let hello = read(&mut recv).await?;
        write(&mut send, hello.request_id, Body::HelloAck(Hello::default())).await?;
        endpoint::accepted(connection, STREAMS_MAX);
        let control = self.clone();
        tokio::spawn(async move {
            while let Some(frame) = read(&mut recv).await {
                let answer = control.answer(&frame.body)?;
                write(&mut send, frame.request_id, answer).await?;
            }
            Some(())
        });
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let liar = self.clone();
            tokio::spawn(async move {
                match read(&mut recv).await?.body {
                    Body::ChunkRequest(request) => liar.chunks(&mut send, &request).await?,
                    Body::ChunkTreeRequest(request) => {
                        for value in liar.snapshot.tree(request.file_index)?.values() {
                            send.write_all(value.as_bytes()).await.ok()?;
                        }
                    }
                    _ => return None,
                }
                send.finish().ok()
            });
        }
        Some(())
    }

    /// Honest.
    fn answer(&self, question: &Body) -> Option<Body> {
        let entry = self.snapshot.entry();
        Some(match question {
            Body::CatalogGet(_) => Body::CatalogPage(CatalogPage {
                version: 1,
                next: 0,
                peer_begins_at: None,
                entries: vec![CatalogClaim {
                    id: entry.id.clone(),
                    manifest_hash: entry.manifest_hash,
                    snapshot_hash: entry.snapshot_hash,
                    total_bytes: entry.total_bytes,
                    files: entry.files,
                    only_metadata_available: false,
                    partial: false,
                    flags: 0,
                    last_block_commit_hash: self.snapshot.commit_hash(),
                }],
            }),
            Body::ManifestGet(_) => Body::Manifest(self.snapshot.manifest_bytes.clone()),
            Body::AttestationGet(get) => Body::Attestations(vec![self.attest(get)?]),
            Body::LeaseOpen(_) | Body::LeaseRenew(_) | Body::LeaseClose(_) => {
                Body::Lease(Lease { lease_id: 1, expires: LEASE_TIME, quota: 1 })
            }
            // Its catalog never changes: it says so once, and goes on answering.
            Body::CatalogWatch => Body::Notice(Notice::CatalogChanged { version: 1 }),
            Body::Ping => Body::Pong,
            _ => return None,
        })
    }

    /// True, too: it lies about bytes alone.
    fn attest(&self, get: &AttestationGet) -> Option<wire::Attestation> {
        let now = (self.session.clock)().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let entry = self.snapshot.entry();
        let body = AttestBody {
            id: entry.id.clone(),
            snapshot_hash: entry.snapshot_hash,
            manifest_hash: entry.manifest_hash,
            commit_hash: self.snapshot.commit_hash(),
            config_sequence: self.live.current(&entry.id.channel)?.sequence(),
            issued_at: now,
            expires_at: now + LIVE_VALIDITY.as_secs(),
            request_nonce: get.nonce.to_vec(),
            identity: self.session.identity.identity.serialized().clone(),
        };
        let attestation = Attestation::sign(&body, &self.session.identity).ok()?;
        let (body, signature) = (attestation.body_bytes().clone(), attestation.signature().clone());
        Some(wire::Attestation { body, signature })
    }

    /// Right in index and length, wrong in one bit.
    async fn chunks(&self, send: &mut SendStream, request: &ChunkRequest) -> Option<()> {
        for offset in 0..request.count {
            let index = ChunkIndex(request.first_chunk.0.checked_add(offset)?);
            let mut bytes = Vec::new();
            self.snapshot.read_chunk(request.file_index, index, &mut bytes).ok()?;
            let middle = bytes.len() / 2;
            *bytes.get_mut(middle)? ^= 1;
            let len = u32::try_from(bytes.len()).ok()?;
            let header = ChunkHeader { index, codec: WireCodec::None, raw_len: len, wire_len: len };
            send.write_chunk(header.encode()).await.ok()?;
            send.write_chunk(Bytes::from(bytes)).await.ok()?;
        }
        Some(())
    }
}

async fn read(recv: &mut RecvStream) -> Option<Frame> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= FRAME_BYTES_MAX)?;
    let mut bytes = vec![0; length];
    recv.read_exact(&mut bytes).await.ok()?;
    Frame::decode(bytes.into()).ok()
}

async fn write(send: &mut SendStream, request_id: u64, body: Body) -> Option<()> {
    let bytes = Frame { request_id, body }.encode();
    send.write_all(&u32::try_from(bytes.len()).ok()?.to_be_bytes()).await.ok()?;
    send.write_chunk(bytes).await.ok()
}
