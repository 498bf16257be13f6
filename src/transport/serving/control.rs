//! The control stream on the serving side: requests about what there is, and what is pushed.

use quinn::{RecvStream, SendStream};
use tokio::{sync::mpsc, time::Instant};

use super::{attest, haves, leases, session::ServedSession};
use crate::{
    catalog::CatalogEntry,
    msp::Operation,
    snapshot::BlockHash,
    transport::{
        fault::ErrorCode,
        frame::{self, FrameError},
        limits::{CATALOG_ENTRIES_MAX, FRAME_BYTES_MAX},
        wire::{Body, CatalogClaim, CatalogGet, CatalogPage, Frame, ManifestGet, Notice, Refusal},
    },
};

/// Writes frames until the stream fails, or GOING_AWAY, the last word, has arrived.
pub(super) async fn write(mut send: SendStream, mut frames: mpsc::Receiver<Frame>) {
    // Before all range streams: a refusal or a catalog shouldn't wait behind megabytes.
    let _ = send.set_priority(i32::MAX);
    while let Some(frame) = frames.recv().await {
        let last = matches!(frame.body, Body::Notice(Notice::GoingAway { .. }));
        if frame::write_frame(&mut send, frame).await.is_err() {
            return;
        }
        if last {
            let _ = send.finish();
            let _ = send.stopped().await;
            return;
        }
    }
}

/// Answers requests until the client ends the stream or breaks the protocol; the code and reason to close with.
///
/// A client that doesn't read its answers isn't read either: answers wait for room.
pub(super) async fn read(session: &ServedSession, mut recv: RecvStream) -> (ErrorCode, String) {
    loop {
        let frame = match frame::read_frame(&mut recv, FRAME_BYTES_MAX).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return (ErrorCode::Ok, "the client is done".to_owned()),
            Err(FrameError::Read(error)) => return (ErrorCode::Ok, error.to_string()),
            Err(FrameError::Wire(error)) if error.request_id().is_some() => {
                let request_id = error.request_id().unwrap_or_default();
                session.refuse(request_id, Refusal::new(error.code(), &error.to_string()));
                continue;
            }
            Err(error) => return (ErrorCode::Protocol, error.to_string()),
        };
        let request_id = frame.request_id;
        let answer = match frame.body {
            Body::CatalogGet(get) => {
                session.allow(Operation::List, None).map(|()| Body::CatalogPage(page(session, get)))
            }
            Body::CatalogWatch => session.allow(Operation::List, None).map(|()| {
                session.watching.notify_one();
                let version = session.catalog().page(&session.channel).0;
                Body::Notice(Notice::CatalogChanged { version })
            }),
            Body::ManifestGet(get) => session.allow(Operation::Fetch, None).and_then(|()| manifest(session, &get)),
            Body::AttestationGet(get) => attest::answer(session, get).await,
            Body::LeaseOpen(open) => leases::open(session, &open),
            Body::LeaseRenew(lease_id) => leases::renew(session, lease_id),
            Body::LeaseClose(lease_id) => leases::close(session, lease_id),
            Body::HaveGet(get) => haves::get(session, &get),
            Body::HaveWatch(get) => haves::watch(session, request_id, &get),
            Body::Ping => Ok(Body::Pong),
            Body::Goodbye(goodbye) => return (ErrorCode::Ok, goodbye.reason),
            _ => Err(Refusal::new(ErrorCode::Protocol, "not a request for the control stream")),
        };
        let body = answer.unwrap_or_else(Body::Error);
        if session.out.send(Frame { request_id, body }).await.is_err() {
            return (ErrorCode::Ok, "the control stream ended".to_owned());
        }
    }
}

/// Pushes a notice for every change of the channel's catalog once the client has asked for that, as long as it may list. Ends with
/// the catalog or the stream.
pub(super) async fn push_changes(session: &ServedSession) {
    let mut versions = session.catalog().subscribe(&session.channel);
    session.watching.notified().await;
    loop {
        let version = *versions.borrow_and_update();
        let body = Body::Notice(Notice::CatalogChanged { version });
        let allowed = session.allow(Operation::List, None).is_ok();
        let ended = allowed && session.out.send(Frame { request_id: 0, body }).await.is_err();
        if ended || versions.changed().await.is_err() {
            // Nothing to push any more is no reason to end the session.
            return std::future::pending().await;
        }
    }
}

fn page(session: &ServedSession, get: CatalogGet) -> CatalogPage {
    let (version, mut entries) = session.catalog().page(&session.channel);
    let peer_begins_at = session.catalog().peer_begins_at(&session.channel);
    if get.after_version != 0 && get.after_version >= version {
        return CatalogPage { version, peer_begins_at, ..CatalogPage::default() };
    }
    // Whoever doesn't hold it already can't fetch it any more.
    let closed = session.catalog().closed_to(&session.holder, Instant::now().into_std());
    let of_closed = entries.iter_mut().filter(|entry| closed.contains(&entry.id));
    of_closed.for_each(|entry| entry.only_metadata_available = true);
    let start = usize::try_from(get.cursor).unwrap_or(usize::MAX).min(entries.len());
    let end = start.saturating_add(CATALOG_ENTRIES_MAX).min(entries.len());
    let next = if end < entries.len() { end as u64 } else { 0 };
    let claims = entries.into_iter().skip(start).take(end - start).map(|entry| {
        // Gone since the list was made: then without it, the client will find out.
        let commit_hash = session.catalog().known(&entry.id).and_then(|known| known.commit_hash);
        claim(entry, commit_hash)
    });
    CatalogPage { version, entries: claims.collect(), next, peer_begins_at }
}

fn claim(entry: CatalogEntry, last_block_commit_hash: Option<BlockHash>) -> CatalogClaim {
    CatalogClaim {
        id: entry.id,
        manifest_hash: entry.manifest_hash,
        snapshot_hash: entry.snapshot_hash,
        total_bytes: entry.total_bytes,
        files: entry.files,
        only_metadata_available: entry.only_metadata_available,
        partial: entry.partial,
        flags: 0,
        last_block_commit_hash,
    }
}

fn manifest(session: &ServedSession, get: &ManifestGet) -> Result<Body, Refusal> {
    session.known(&get.id, get.manifest_hash).map(|known| Body::Manifest(known.manifest_bytes))
}
