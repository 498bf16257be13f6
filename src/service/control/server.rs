//! The serving side of the control socket: who may connect, how many, how much, how long.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::{
    ControlContext,
    answer::answer,
    seen::SeenCommands,
    socket::{CONTROL_DIR, SOCKET, SocketAddress, control_socket_path, is_welcome},
    wire::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, Refused, RefusedCode, Request, Response},
};
use crate::disk::{Dir, DiskError, Lock};

/// Connections at a time: operators are few. Each may have one blocking job.
pub const CONTROL_CONNECTIONS_MAX: usize = 8;
/// For a request to come, and again for its answer to be taken.
pub const CONTROL_IO_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket, listening; [`Self::run`] answers.
pub struct ControlServer {
    listener: UnixListener,
    context: ControlContext,
    seen: Arc<SeenCommands>,
    folder: Arc<dyn Dir>,
    io_timeout: Duration,
    /// One service per state folder.
    _lock: Lock,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another service has it.
    #[error("another service runs with the state folder {}: stop it, or give this one its own (stateDir)", state.display())]
    InUse {
        /// The folder.
        state: PathBuf,
    },
    /// The state folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The socket.
    #[error("the control socket {} can't be opened: {source}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ControlServer {
    /// Opens the socket in the state folder, which must be one of the operating system. Needs a tokio runtime.
    ///
    /// # Errors
    /// Another service works there, or the system refuses.
    pub fn start(state: &Arc<dyn Dir>, context: ControlContext) -> Result<Self, ControlError> {
        state.create_dir(CONTROL_DIR)?;
        let folder = state.open_dir(CONTROL_DIR)?;
        let lock = folder.lock("lock").map_err(|error| match error {
            DiskError::Locked { .. } => ControlError::InUse { state: state.path().to_owned() },
            error => error.into(),
        })?;
        let failed = |source| ControlError::Socket { path: control_socket_path(state.path()), source };
        let address = SocketAddress::of(state.path()).map_err(failed)?;
        address.close_folder().map_err(failed)?;
        // Left by a service that was killed: whoever has the lock is alone.
        remove_socket(folder.as_ref())?;
        let listener = UnixListener::bind(address.path()).map_err(failed)?;
        address.close_socket().map_err(failed)?;
        let seen = Arc::new(SeenCommands::open(Arc::clone(state), (context.clock)())?);
        Ok(Self { listener, context, seen, folder, io_timeout: CONTROL_IO_TIMEOUT, _lock: lock })
    }

    /// Another patience than [`CONTROL_IO_TIMEOUT`].
    #[must_use]
    pub const fn with_io_timeout(mut self, io_timeout: Duration) -> Self {
        self.io_timeout = io_timeout;
        self
    }

    /// Answers until it is dropped.
    pub async fn run(&self) {
        let seats = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
        let mut running = JoinSet::new();
        loop {
            let stream = tokio::select! {
                biased;
                Some(_) = running.join_next() => continue,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Descriptors ran out, most likely: not to be asked again at once.
                        tracing::warn!(%error, "a control connection can't be accepted");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                },
            };
            match stream.peer_cred() {
                Ok(peer) if is_welcome(peer.uid()) => {}
                Ok(peer) => {
                    tracing::warn!(uid = peer.uid(), "a control connection of another user was hung up on");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "a control connection of nobody was hung up on");
                    continue;
                }
            }
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                tracing::warn!("a control connection was hung up on: {CONTROL_CONNECTIONS_MAX} are open");
                continue;
            };
            let (context, seen, patience) = (self.context.clone(), Arc::clone(&self.seen), self.io_timeout);
            running.spawn(async move {
                if let Err(error) = serve(stream, context, seen, patience).await {
                    tracing::debug!(%error, "a control connection ended early");
                }
                drop(seat);
            });
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // Before the lock goes with the value: so it is ours. What stays is removed by the next service.
        let _ = remove_socket(self.folder.as_ref());
    }
}

async fn serve(
    mut stream: UnixStream,
    context: ControlContext,
    seen: Arc<SeenCommands>,
    patience: Duration,
) -> io::Result<()> {
    let request = timeout(patience, read_frame(&mut stream, REQUEST_BYTES_MAX)).await??;
    let response = match Request::decode(request) {
        // On a thread of its own: signing waits for the disk, deleting may take seconds.
        Ok(request) => spawn_blocking(move || answer(&context, &seen, request)).await?,
        Err(error) => Response::Refused(Refused { code: RefusedCode::Malformed, text: error.to_string() }),
    };
    let bytes = response.encode();
    debug_assert!(bytes.len() <= RESPONSE_BYTES_MAX, "its parts are bounded");
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes();
    timeout(patience, async {
        stream.write_all(&length).await?;
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    })
    .await?
}

async fn read_frame(stream: &mut UnixStream, bytes_max: usize) -> io::Result<Bytes> {
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max);
    let mut bytes = vec![0; length.ok_or(io::ErrorKind::FileTooLarge)?];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes.into())
}

fn remove_socket(folder: &dyn Dir) -> Result<(), DiskError> {
    match folder.remove_file(SOCKET) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
