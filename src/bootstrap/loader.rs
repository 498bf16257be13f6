//! Where a snapshot goes once it is proved, beyond its folder: the seam between what landed and what a peer makes of it.
//!
//! A [`Loader`] is given only what was proved: chunks by the in-order pass, and a folder that [`super::join`] has landed or found whole.

use std::{
    fmt,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Observer, feed::Feed, loading::LoadingError};
use crate::{
    catalog::AgreedSnapshot,
    chunking::Workers,
    disk::{Dir, DiskError},
    snapshot::ChannelId,
};

/// What a loader is doing.
pub type Loading<'a, T> = Pin<Box<dyn Future<Output = Result<T, LoadingError>> + Send + 'a>>;

/// Makes a proved snapshot a channel of a peer.
pub trait Loader: fmt::Debug + Send + Sync {
    /// Whether the channel could be loaded now: asked before anything is fetched for it.
    ///
    /// # Errors
    /// [`LoadingError`]: what stands in the way. Nothing has changed.
    fn check<'a>(&'a self, channel: &'a ChannelId, watch: &'a Watch) -> Loading<'a, ()>;

    /// Looks at what was agreed on, before it is fetched: whether it can be loaded, and what there is to be said of that.
    ///
    /// # Errors
    /// [`LoadingError`]: no peer of this kind takes it. Nothing has changed.
    fn consider(&self, agreed: &ToLoad, observer: &Observer) -> Result<(), LoadingError> {
        let _ = (agreed, observer);
        Ok(())
    }

    /// Begins to load what will be proved, while it comes; `None` from a loader that needs the whole folder.
    ///
    /// # Errors
    /// [`LoadingError`]; the folder may still be loaded once it has landed.
    fn feed(&self, proved: &ToLoad) -> Result<Option<Feed>, LoadingError> {
        let _ = proved;
        Ok(None)
    }

    /// Loads the folder that has landed. Once it is through, the peer has the channel, or finds it when it starts.
    ///
    /// # Errors
    /// [`LoadingError`]; the folder is as it was. The peer doesn't have the channel then, unless the load was called off after a running one was
    /// told: then the next join finds out.
    fn load<'a>(&'a self, landed: &'a ToLoad, watch: &'a Watch) -> Loading<'a, ()>;

    /// Whoever wanted the channel was told that it is there: the next run needn't say so.
    fn settle(&self, channel: &ChannelId) {
        let _ = channel;
    }
}

/// A snapshot that was agreed on, and where it lies or will lie.
#[derive(Debug, Clone)]
pub struct ToLoad {
    /// What was agreed on: every byte is held to it.
    pub(super) agreed: Arc<AgreedSnapshot>,
    /// The landing folder; its folder of work under way is used in any case.
    pub(super) land: Arc<dyn Dir>,
    /// The snapshot's own folder, if it didn't land.
    pub(super) given: Option<Arc<dyn Dir>>,
}

impl ToLoad {
    /// The snapshot.
    #[must_use]
    pub const fn agreed(&self) -> &Arc<AgreedSnapshot> {
        &self.agreed
    }

    /// Of all its files.
    pub(super) fn bytes(&self) -> u64 {
        self.agreed.manifest().files().iter().map(|file| file.size).fold(0, u64::saturating_add)
    }

    /// The folder itself, once it has landed.
    ///
    /// # Errors
    /// The disk; not found before.
    pub fn folder(&self) -> Result<Arc<dyn Dir>, DiskError> {
        if let Some(given) = &self.given {
            return Ok(Arc::clone(given));
        }
        let id = self.agreed.id();
        self.land.open_dir(id.channel.as_str())?.open_dir(&id.block_number.to_string())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match &self.given {
            Some(given) => given.path().to_owned(),
            None => {
                let id = self.agreed.id();
                self.land.path().join(id.channel.as_str()).join(id.block_number.to_string())
            }
        }
    }
}

/// Who watches a load, and whether it is still wanted.
#[derive(Clone)]
pub struct Watch {
    /// Is told how far it is.
    pub observer: Observer,
    /// Set from outside: the load ends soon, and leaves nothing.
    pub stopped: Arc<AtomicBool>,
    /// Blocking work goes there.
    pub workers: Workers,
    /// Whether those who vouched still count at this moment: asked again before anything is made active.
    pub still_agreed: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Watch {
    /// Whether it is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}
