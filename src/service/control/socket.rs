//! The control socket's place in the file system: STATE/control/control.sock, for our own user and root only.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{self as unix, AtFlags, Mode, OFlags},
};

/// Folder of the socket, in the state folder.
pub(super) const CONTROL_DIR: &str = "control";
/// The socket in it.
pub(super) const SOCKET: &str = "control.sock";
/// What the system takes as a socket's path (`sun_path` has 108 bytes with the closing NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The socket of the service over a state folder, for messages.
#[must_use]
pub fn control_socket_path(state: &Path) -> PathBuf {
    state.join(CONTROL_DIR).join(SOCKET)
}

/// An address for `bind` and `connect`; it holds as long as the value.
#[derive(Debug)]
pub(super) struct SocketAddress {
    path: PathBuf,
    folder: OwnedFd,
}

impl SocketAddress {
    /// Of the service over that state folder. A long path is reached through the folder's descriptor.
    pub(super) fn of(state: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = unix::open(state.join(CONTROL_DIR), flags, Mode::empty())?;
        let mut path = control_socket_path(state);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        }
        Ok(Self { path, folder })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nobody else may even look into the folder; to be done before the socket is made.
    pub(super) fn close_folder(&self) -> io::Result<()> {
        Ok(unix::fchmod(&self.folder, Mode::RWXU)?)
    }

    /// Nobody else may connect; to be done after the socket is made.
    pub(super) fn close_socket(&self) -> io::Result<()> {
        Ok(unix::chmodat(&self.folder, SOCKET, Mode::RUSR | Mode::WUSR, AtFlags::empty())?)
    }
}

/// Whether somebody with this user id may talk to us.
pub(super) fn is_welcome(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_user_and_root_are_welcome_and_nobody_else() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_welcome(0) && is_welcome(own));
        assert!(!is_welcome(own + 1) && !is_welcome(65_534));
    }
}
