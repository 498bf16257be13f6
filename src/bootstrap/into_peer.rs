//! A join's last part: what is proved becomes a channel of the peer, if the join has a [`Loader`].
//!
//! Decides when the loader begins, which configuration it judges memberships by, and what happens if it fails beside the transfer.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    JoinError, JoinEvent, JoinRequest, Observer,
    feed::{Feed, Feeder},
    loader::{Loader, Loading, ToLoad, Watch},
    on_disk,
    vouching::Vouched,
};
use crate::{catalog::AgreedSnapshot, msp::ChannelConfig};

/// A load beside the transfer, and the configuration by which it judges memberships.
pub(super) struct Beside {
    feed: Feed,
    config: Arc<ChannelConfig>,
}

impl Beside {
    /// The side of the in-order pass.
    pub(super) fn feeder(&self) -> Feeder {
        self.feed.feeder()
    }
}

/// Whether the channel could be loaded, before anything is fetched for it.
pub(super) async fn check(
    loader: &dyn Loader,
    request: &JoinRequest,
    observer: &Observer,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<(), JoinError> {
    let watch = watch(request, observer);
    watched(loader.check(&request.dialling.channel, &watch), &watch, stop).await
}

/// Begins to load what will be proved, if the loader can.
pub(super) fn begin(
    request: &JoinRequest,
    agreed: &Arc<AgreedSnapshot>,
    observer: &Observer,
) -> Result<Option<Beside>, JoinError> {
    let Some(loader) = &request.loader else { return Ok(None) };
    let proved = to_load(request, agreed)?;
    let Some(feed) = loader.feed(&proved)? else { return Ok(None) };
    observer(JoinEvent::LoadsBeside);
    Ok(Some(Beside { feed, config: proved.config }))
}

/// Makes what has landed a channel of the peer: what was loaded beside the transfer counts now; else the folder is loaded. Gives the time
/// that it took; `None` if there is nothing to load it into.
pub(super) async fn load(
    request: &JoinRequest,
    vouched: &Vouched,
    beside: Option<Beside>,
    observer: &Observer,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Option<Duration>, JoinError> {
    let Some(loader) = request.loader.as_ref().filter(|_| !request.dry_run) else { return Ok(None) };
    let begun = Instant::now();
    let landed = to_load(request, &Arc::new(vouched.agreed.clone()))?;
    // A configuration that came meanwhile may name other members.
    let beside = beside.filter(|beside| beside.config.sequence() == landed.config.sequence());
    if let Some(Beside { feed, .. }) = beside {
        match on_disk(&request.workers, move || Ok(feed.activate())).await? {
            Ok(()) => return Ok(Some(begun.elapsed())),
            Err(error) => observer(JoinEvent::LoadFailed { reason: error.to_string() }),
        }
    }
    let watch = watch(request, observer);
    watched(loader.load(&landed, &watch), &watch, stop).await?;
    Ok(Some(begun.elapsed()))
}

fn to_load(request: &JoinRequest, agreed: &Arc<AgreedSnapshot>) -> Result<ToLoad, JoinError> {
    Ok(ToLoad { agreed: Arc::clone(agreed), config: request.dialling.config()?, land: Arc::clone(&request.land) })
}

fn watch(request: &JoinRequest, observer: &Observer) -> Watch {
    Watch { observer: Arc::clone(observer), stopped: Arc::default(), workers: request.workers.clone() }
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
