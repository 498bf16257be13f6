//! One task per source: dials it, and again whenever it is lost, until that makes no sense any more.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time};

use super::{
    dialer::{Dialer, Pauses, Redial, SourceAddress, trouble, within_start},
    error::SourceTrouble,
    ready::Ready,
};
use crate::{
    msp::{IdentityId, MspId},
    transport::{
        asking::{AskError, Listing, Session, SourceNews},
        fault::Fault,
    },
};

/// A source by its place in the operator's list.
pub(super) type SourceIndex = u32;

/// Catalogs change every few hours; one that changes all the time is looked at so often.
const LIST_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Who a source is: what bans go by.
pub(super) type Peer = (MspId, IdentityId);

/// What happened to a source.
#[derive(Debug)]
pub(super) enum News {
    Ready(SourceIndex, Ready),
    /// A connected source offers something else than before.
    Listed(SourceIndex, Ready),
    Failed(SourceIndex, SourceTrouble, Redial),
    Lost(SourceIndex, String),
    /// It won't be dialled again in this job.
    GivenUp(SourceIndex),
    /// Who answered there broke the protocol, and how.
    Lied(SourceIndex, Peer, String),
    /// These addresses were dropped for that: what [`super::sources::Sources::next`] makes of a lie.
    Dropped(Vec<SourceIndex>, String),
}

/// Dials a source, and again whenever it is lost, until it makes no sense any more.
pub(super) async fn keep(index: SourceIndex, dialer: Dialer, source: SourceAddress, news: mpsc::Sender<News>) {
    let mut pauses = Pauses::default();
    let mut refused_before = false;
    loop {
        let dialled = within_start(&source.address, dial(&dialer, &source)).await;
        let begun = time::Instant::now();
        let (told, redial) = match dialled {
            Ok(Dialled::Lied(peer, reason)) => (News::Lied(index, peer, reason), Redial::Never),
            Ok(Dialled::Ready(session, listing)) => {
                refused_before = false;
                let ready = Ready { session: Arc::clone(&session), listing: Arc::new(listing) };
                if news.send(News::Ready(index, ready.clone())).await.is_err() {
                    return;
                }
                let error = follow(index, ready, &news).await;
                let reason = error.problem.to_string();
                match error.fault() {
                    // Whatever was asked: also what nobody waited for, as on the control stream.
                    Fault::Peer => (News::Lied(index, peer_of(&session), reason), Redial::Never),
                    _ => (News::Lost(index, reason), Redial::after(&error)),
                }
            }
            Err((trouble, redial)) => (News::Failed(index, trouble, redial), redial),
        };
        let lasted = begun.elapsed();
        let over = redial == Redial::Never || (redial == Redial::Once && refused_before);
        refused_before = redial == Redial::Once;
        if news.send(told).await.is_err() || (over && news.send(News::GivenUp(index)).await.is_ok()) {
            return;
        }
        time::sleep(pauses.after(lasted)).await;
    }
}

/// Tells whenever the source offers something else, until its connection is gone; why it is.
async fn follow(index: SourceIndex, mut ready: Ready, news: &mpsc::Sender<News>) -> AskError {
    let session = Arc::clone(&ready.session);
    let mut told = session.news();
    // A source that doesn't say what changes is as good, until its snapshots do.
    let watched = async {
        let _ = session.watch_catalog().await;
        loop {
            let newer = |news: &SourceNews| news.catalog_version > ready.listing.version;
            if told.wait_for(newer).await.is_err() {
                return std::future::pending::<()>().await; // the connection is gone: its end is told elsewhere
            }
            if let Ok(listing) = session.catalog().await
                && listing.version > ready.listing.version
            {
                ready.listing = Arc::new(listing);
                drop(news.send(News::Listed(index, ready.clone())).await); // nobody listens once the job is over
            }
            time::sleep(LIST_AGAIN_AFTER).await;
        }
    };
    tokio::select! {
        biased;
        error = session.closed() => error,
        () = watched => session.closed().await,
    }
}

/// What came of dialling a source that proved who it is.
enum Dialled {
    Ready(Arc<Session>, Listing),
    /// Its catalog breaks the protocol: how.
    Lied(Peer, String),
}

async fn dial(dialer: &Dialer, source: &SourceAddress) -> Result<Dialled, (SourceTrouble, Redial)> {
    let session = Arc::new(dialer.connect(source).await?);
    match session.catalog().await {
        Ok(listing) => Ok(Dialled::Ready(session, listing)),
        Err(error) if error.fault() == Fault::Peer => Ok(Dialled::Lied(peer_of(&session), error.problem.to_string())),
        Err(error) => Err((trouble(&source.address, &error), Redial::after(&error))),
    }
}

/// Who a session is with.
pub(super) fn peer_of(session: &Session) -> Peer {
    (session.peer().msp_id.clone(), session.peer().identity_id)
}
