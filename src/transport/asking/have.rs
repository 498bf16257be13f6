//! Which chunks a source has that is joining itself, and hearing of more.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    connect::Session,
    control::Control,
    error::{AskError, Misbehaviour},
};
use crate::transport::wire::{Body, Have, HaveGet};

/// What a source has of one file, as it changes. Dropped, nobody listens any more.
#[derive(Debug)]
pub struct HaveWatch {
    control: Arc<Control>,
    id: u64,
    changes: watch::Receiver<Have>,
}

impl Session {
    /// Which chunks of a file the source claims to have now.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn have(&self, get: HaveGet) -> Result<Have, AskError> {
        match self.control.ask("chunks it has", Body::HaveGet(get)).await? {
            Body::Have(have) => Ok(have),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("chunks it has"))),
        }
    }

    /// The same, and what comes later.
    ///
    /// # Errors
    /// [`AskError`]; LIMIT_EXCEEDED with more than 32 files.
    pub async fn watch_have(&self, get: HaveGet) -> Result<(Have, HaveWatch), AskError> {
        let waiting = self.control.expect();
        let id = waiting.id;
        let watch = HaveWatch { control: Arc::clone(&self.control), id, changes: self.control.watch_haves(id) };
        match self.control.ask_as(waiting, "chunks it has", Body::HaveWatch(get)).await? {
            Body::Have(have) => Ok((have, watch)),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("chunks it has"))),
        }
    }
}

impl HaveWatch {
    /// What the source has, once that is news. Pends for ever once nothing comes any more; can be given up.
    pub async fn next(&mut self) -> Have {
        match self.changes.changed().await {
            Ok(()) => self.changes.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for HaveWatch {
    fn drop(&mut self) {
        self.control.forget_haves(self.id);
    }
}
