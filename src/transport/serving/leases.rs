//! Leases on the serving side: opened, renewed and closed by the client that holds them; who holds one that must end is told.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::session::ServedSession;
use crate::{
    catalog::{GrantedLease, LeaseRefusal},
    msp::Operation,
    snapshot::SnapshotId,
    transport::{
        fault::ErrorCode,
        wire::{Body, Frame, Lease, LeaseOpen, Notice, Refusal},
    },
};

/// A lease for who may fetch.
pub(super) fn open(session: &ServedSession, open: &LeaseOpen) -> Result<Body, Refusal> {
    session.allow(Operation::Fetch, None)?;
    session.find(&open.id, open.manifest_hash)?;
    let granted = session.catalog().open_lease(&open.id, &session.holder, now());
    granted.map(lease).map_err(refusal)
}

/// More time.
pub(super) fn renew(session: &ServedSession, lease_id: u64) -> Result<Body, Refusal> {
    session.allow(Operation::Fetch, None)?;
    let granted = session.catalog().renew_lease(lease_id, &session.holder, now());
    granted.map(lease).map_err(refusal)
}

/// The client is done.
pub(super) fn close(session: &ServedSession, lease_id: u64) -> Result<Body, Refusal> {
    let quota = session.catalog().close_lease(lease_id, &session.holder, now()).map_err(refusal)?;
    Ok(lease(GrantedLease { lease_id, expires: std::time::Duration::ZERO, quota }))
}

/// Whether chunks may be fetched by that lease.
pub(super) fn check(session: &ServedSession, lease_id: u64, id: &SnapshotId) -> Result<(), Refusal> {
    session.catalog().use_lease(lease_id, id, &session.holder, now()).map_err(refusal)
}

/// Tells the client, once, of each lease of its own that ends whatever it does. Ends with the catalog or the stream.
pub(super) async fn push_endings(session: &ServedSession) {
    let mut changes = session.catalog().lease_changes();
    let mut told = BTreeSet::new();
    loop {
        changes.borrow_and_update();
        for (lease_id, drain) in session.catalog().leases_ending(&session.holder, now()) {
            let body = Body::Notice(Notice::LeaseEnding { lease_id, drain });
            if told.insert(lease_id) && session.out.send(Frame { request_id: 0, body }).await.is_err() {
                return std::future::pending().await; // the stream's end is told elsewhere
            }
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn lease(granted: GrantedLease) -> Body {
    let quota = u32::try_from(granted.quota).unwrap_or(u32::MAX);
    Body::Lease(Lease { lease_id: granted.lease_id, expires: granted.expires, quota })
}

fn refusal(refused: LeaseRefusal) -> Refusal {
    let (code, retry_after) = match refused {
        LeaseRefusal::Full { retry_after } => (ErrorCode::Busy, Some(retry_after)),
        LeaseRefusal::Ending | LeaseRefusal::Gone => (ErrorCode::Gone, None),
        LeaseRefusal::Required => (ErrorCode::LeaseRequired, None),
        LeaseRefusal::Expired => (ErrorCode::LeaseExpired, None),
    };
    Refusal { retry_after, ..Refusal::new(code, &refused.to_string()) }
}
