//! A join's last part: what is proved becomes a channel of the peer, if the join has a [`Loader`].
//!
//! Decides when the loader begins, and what happens if it fails beside the transfer.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    JoinError, JoinEvent, JoinRequest, Observer,
    confirm::still_agreed,
    feed::Feed,
    loader::{Loader, Loading, ToLoad, Watch},
    on_disk,
    vouching::Vouched,
};
use crate::catalog::{AgreedSnapshot, Mode};

/// Whether the channel could be loaded, before anything is fetched for it.
pub(super) async fn check(
    loader: &dyn Loader,
    request: &JoinRequest,
    observer: &Observer,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<(), JoinError> {
    let watch = watch(request, observer, Arc::new(|| true));
    watched(loader.check(&request.dialling.channel, &watch), &watch, stop).await?;
    // Whoever stopped it says so only once.
    if watch.is_stopped() { Err(JoinError::Stopped) } else { Ok(()) }
}

/// Looks at what was agreed on, and begins to load what will be proved of it, if the loader can. Only where the manifest is vouched for: else
/// a chunk's proof says only who sent it, and the loader gets no file before its SHA-256 is known (trust.md, 6.3).
pub(super) fn begin(
    request: &JoinRequest,
    agreed: &Arc<AgreedSnapshot>,
    observer: &Observer,
) -> Result<Option<Feed>, JoinError> {
    let Some(loader) = &request.loader else { return Ok(None) };
    let to_load = to_load(request, agreed);
    loader.consider(&to_load, observer)?;
    if agreed.mode() != Mode::Streaming {
        return Ok(None);
    }
    let feed = loader.feed(&to_load)?;
    if feed.is_some() {
        observer(JoinEvent::LoadsBeside);
    }
    Ok(feed)
}

/// Makes what has landed a channel of the peer: what was loaded beside the transfer counts now; else the folder is loaded. Gives the time
/// that it took; `None` if there is nothing to load it into.
pub(super) async fn load(
    request: &JoinRequest,
    vouched: &Vouched,
    beside: Option<Feed>,
    observer: &Observer,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Option<Duration>, JoinError> {
    let Some(loader) = request.loader.as_ref().filter(|_| !request.dry_run) else { return Ok(None) };
    let begun = Instant::now();
    let agreed = Arc::new(vouched.agreed.clone());
    let still = {
        let (request, agreed, nonce) = (request.clone(), Arc::clone(&agreed), vouched.nonce);
        move || still_agreed(&request, &agreed, nonce.as_ref(), None)
    };
    if let Some(feed) = beside {
        still()?;
        let is_agreed = {
            let still = still.clone();
            move || still().is_ok()
        };
        match on_disk(&request.workers, move || Ok(feed.activate(is_agreed))).await? {
            Ok(()) => return Ok(Some(begun.elapsed())),
            Err(error) => observer(JoinEvent::LoadFailed { reason: error.to_string() }),
        }
    }
    let is_agreed = {
        let still = still.clone();
        Arc::new(move || still().is_ok())
    };
    let (landed, watch) = (to_load(request, &agreed), watch(request, observer, is_agreed));
    let loaded = watched(loader.load(&landed, &watch), &watch, stop).await;
    // Why it was called off says more than that it was.
    if loaded.is_err() {
        still()?;
    }
    loaded.map(|()| Some(begun.elapsed()))
}

fn to_load(request: &JoinRequest, agreed: &Arc<AgreedSnapshot>) -> ToLoad {
    ToLoad { agreed: Arc::clone(agreed), land: Arc::clone(&request.land), given: request.folder.clone() }
}

fn watch(request: &JoinRequest, observer: &Observer, still_agreed: Arc<dyn Fn() -> bool + Send + Sync>) -> Watch {
    Watch { observer: Arc::clone(observer), stopped: Arc::default(), workers: request.workers.clone(), still_agreed }
}

/// What that loader's work gives. If the join is stopped, it is told, and waited for.
async fn watched<T>(
    mut work: Loading<'_, T>,
    watch: &Watch,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<T, JoinError> {
    tokio::select! {
        biased;
        () = stop => watch.stopped.store(true, Ordering::Relaxed),
        done = work.as_mut() => return Ok(done?),
    }
    // It may be through by now; what it says otherwise is that it was called off.
    work.await.map_err(|_| JoinError::Stopped)
}
