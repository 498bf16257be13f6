//! What a join waits for when the machine has run out of it: space on the disk, file descriptors. Somebody can free some, and nothing
//! is lost meanwhile.

use std::{future::Future, io, pin::Pin, time::Duration};

use tokio::time;

use super::{
    error::JoinError,
    event::{JoinEvent, Observer},
};
use crate::disk::{DiskError, lacks_descriptors};

/// How long a join rests before it tries again: short beside the time that somebody takes to free some.
pub(super) const SHORTAGE_PAUSE: Duration = Duration::from_secs(3);

/// What there is none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    Space,
    Descriptors,
}

impl Shortage {
    /// What the disk lacks, if waiting helps.
    pub(super) fn of(error: &DiskError) -> Option<Self> {
        match error {
            error if error.is_full() => Some(Self::Space),
            error if error.lacks_descriptors() => Some(Self::Descriptors),
            _ => None,
        }
    }

    /// What the system lacks by its own words.
    pub(super) fn told_by(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Space),
            _ => lacks_descriptors(error).then_some(Self::Descriptors),
        }
    }

    /// What a transfer waits for, in words.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Space => "room on the disk",
            Self::Descriptors => "file descriptors",
        }
    }

    /// What whoever watches is told.
    pub(super) const fn event(self, reason: String) -> JoinEvent {
        match self {
            Self::Space => JoinEvent::DiskFull { reason },
            Self::Descriptors => JoinEvent::NoDescriptors { reason },
        }
    }
}

/// Tries again until the machine has what it takes. `stop` ends only the rests in between: what has begun is finished.
///
/// # Errors
/// [`JoinError::Stopped`], or whatever else the attempt says.
pub(super) async fn outlast<T, F: Future<Output = Result<T, JoinError>>>(
    observer: &Observer,
    mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    attempt: impl Fn() -> F,
) -> Result<T, JoinError> {
    let mut told = None;
    loop {
        match attempt().await {
            Err(error) if let Some(shortage) = error.shortage() => {
                if told.replace(shortage) != Some(shortage) {
                    observer(shortage.event(error.to_string()));
                }
            }
            ended => return ended,
        }
        tokio::select! {
            biased;
            () = stop.as_mut() => return Err(JoinError::Stopped),
            () = time::sleep(SHORTAGE_PAUSE) => {}
        }
    }
}
