//! What ends a command from outside: Ctrl-C, SIGTERM, or its deadline.

use super::exit::Exit;
use std::{
    future::pending,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a command was told to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<OnceLock<Exit>>);

impl Stop {
    /// Completes at the first Ctrl-C, SIGTERM, or after `deadline`. The signals are caught from this call on, not from the first poll:
    /// one that comes in between must not end the process half way. To be called within a runtime.
    pub(crate) fn wait(&self, deadline: Option<Duration>) -> impl Future<Output = ()> + Send + use<> {
        let reason = Arc::clone(&self.0);
        let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        async move {
            let after = async {
                match deadline {
                    Some(time) => tokio::time::sleep(time).await,
                    None => pending().await,
                }
            };
            let exit = tokio::select! {
                () = until(interrupt) => Exit::Interrupted,
                () = until(terminate) => Exit::Terminated,
                () = after => Exit::Partial,
            };
            let _ = reason.set(exit); // only the first counts
        }
    }

    /// As if that had ended it.
    #[cfg(test)]
    pub(crate) fn because(&self, exit: Exit) {
        let _ = self.0.set(exit);
    }

    /// Whether it was.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.get().is_some()
    }

    /// The exit code for the reason.
    pub(crate) fn exit(&self) -> Exit {
        self.0.get().copied().unwrap_or(Exit::Interrupted)
    }
}

async fn until(signals: std::io::Result<Signal>) {
    match signals {
        Ok(mut signals) => {
            signals.recv().await;
        }
        Err(_) => pending().await, // no handler: the signal ends the process as usual
    }
}
