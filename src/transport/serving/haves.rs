//! HaveGet and HaveWatch: which chunks of a file are there, for clients of a source that is joining itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::{sync::Notify, time::sleep};

use super::session::ServedSession;
use crate::{
    catalog::ServedSnapshot,
    msp::Operation,
    transport::{
        fault::ErrorCode,
        limits::{HAVE_EVERY, HAVE_WATCHES_MAX},
        wire::{Body, Frame, Have, HaveGet, Refusal},
    },
};

/// What one session's client wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Watches {
    list: Mutex<Vec<Watch>>,
    added: Notify,
}

/// One file of a snapshot that is under way.
#[derive(Debug)]
struct Watch {
    request_id: u64,
    snapshot: Weak<ServedSnapshot>,
    file_index: u32,
    /// Version that was told last.
    told: u64,
}

impl Watches {
    fn list(&self) -> MutexGuard<'_, Vec<Watch>> {
        // Versions and numbers can't be left half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is there now.
pub(super) fn get(session: &ServedSession, get: &HaveGet) -> Result<Body, Refusal> {
    find(session, get).map(|snapshot| Body::Have(have(&snapshot, get.file_index)))
}

/// The same, and from now on whenever it has changed.
pub(super) fn watch(session: &ServedSession, request_id: u64, get: &HaveGet) -> Result<Body, Refusal> {
    let snapshot = find(session, get)?;
    let have = have(&snapshot, get.file_index);
    if have.ranges.is_some() {
        let mut list = session.watches.list();
        list.retain(|watch| watch.snapshot.strong_count() > 0);
        if list.len() >= HAVE_WATCHES_MAX {
            return Err(Refusal::new(ErrorCode::LimitExceeded, "no more files may be watched on one connection"));
        }
        let snapshot = Arc::downgrade(&snapshot);
        list.push(Watch { request_id, snapshot, file_index: get.file_index, told: have.version });
        session.watches.added.notify_one();
    }
    Ok(Body::Have(have))
}

/// Tells what has changed; ends with the stream.
pub(super) async fn push(session: &ServedSession) {
    loop {
        let news = changed(&mut session.watches.list());
        let allowed = session.allow(Operation::Fetch, None).is_ok();
        for frame in news.into_iter().filter(|_| allowed) {
            if session.out.send(frame).await.is_err() {
                return std::future::pending().await; // the stream's end is told elsewhere
            }
        }
        if session.watches.list().is_empty() {
            session.watches.added.notified().await;
        }
        sleep(HAVE_EVERY).await;
    }
}

/// What is to be told; what is no longer offered is watched no longer.
fn changed(list: &mut Vec<Watch>) -> Vec<Frame> {
    let mut news = Vec::new();
    list.retain_mut(|watch| {
        let Some(snapshot) = watch.snapshot.upgrade() else { return false };
        if snapshot.have_version() == watch.told {
            return true;
        }
        let have = have(&snapshot, watch.file_index);
        watch.told = have.version;
        news.push(Frame { request_id: watch.request_id, body: Body::Have(have) });
        true
    });
    news
}

fn find(session: &ServedSession, get: &HaveGet) -> Result<Arc<ServedSnapshot>, Refusal> {
    session.allow(Operation::Fetch, None)?;
    let snapshot = session.find(&get.id, get.manifest_hash)?;
    match snapshot.tree(get.file_index) {
        Some(_) => Ok(snapshot),
        None => Err(Refusal::new(ErrorCode::Protocol, "no such file in the manifest")),
    }
}

fn have(snapshot: &ServedSnapshot, file_index: u32) -> Have {
    // The version first: what comes in between is told again.
    let version = snapshot.have_version();
    Have::new(version, snapshot.have(file_index))
}
