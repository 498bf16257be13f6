//! The asking side of the control socket: one request, one answer. Blocking: for commands.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    socket::{SocketAddress, control_socket_path},
    wire::{ControlWireError, RESPONSE_BYTES_MAX, Request, Response},
};

/// For an answer to come: a deletion removes terabytes in seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// No answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskControlError {
    /// Nobody listens there.
    #[error("no service runs with the state folder {}", state.display())]
    NotRunning {
        /// The folder.
        state: PathBuf,
    },
    /// The system, or the service hung up (it has too many connections, or we are another user).
    #[error("the service's control socket {} doesn't answer: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer isn't one.
    #[error("the service's answer can't be read: {0}")]
    Wire(#[from] ControlWireError),
}

/// Asks the service that runs over a state folder.
///
/// # Errors
/// [`AskControlError`]. A refusal is an answer.
pub fn ask_control(state: &Path, request: &Request) -> Result<Response, AskControlError> {
    let failed = |source| AskControlError::Io { path: control_socket_path(state), source };
    let connected = SocketAddress::of(state).and_then(|address| UnixStream::connect(address.path()));
    let mut stream = connected.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            AskControlError::NotRunning { state: state.to_owned() }
        }
        _ => failed(source),
    })?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    let answer = exchange(&mut stream, &request.encode()).map_err(failed)?;
    Ok(Response::decode(answer.into())?)
}

fn exchange(stream: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= RESPONSE_BYTES_MAX);
    let mut answer = vec![0; length.ok_or(io::ErrorKind::FileTooLarge)?];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
