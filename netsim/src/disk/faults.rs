//! What was done to the disk, and which of it goes wrong.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Something that was asked of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub kind: Kind,
    /// Of which file or folder, from the disk's root; by the name under which it was opened.
    pub path: PathBuf,
}

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the system calls that they are named after")]
pub enum Kind {
    CreateDir,
    OpenDir,
    /// Of an existing file.
    Open,
    /// Of a file that is made by it.
    Create,
    Read,
    Write,
    Len,
    SetLen,
    Sync,
    SyncDir,
    Rename,
    Remove,
    List,
    Lock,
    FreeSpace,
    Allocated,
}

impl Kind {
    /// Whether it can leave something else for the next process than was there before.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(
            self,
            Self::CreateDir
                | Self::Create
                | Self::Write
                | Self::SetLen
                | Self::Sync
                | Self::SyncDir
                | Self::Rename
                | Self::Remove
        )
    }

    /// Whether it can run out of space: also a sync, where space is given late.
    #[must_use]
    pub const fn takes_space(self) -> bool {
        matches!(
            self,
            Self::CreateDir | Self::Create | Self::Write | Self::SetLen | Self::Sync | Self::SyncDir | Self::Rename
        )
    }

    /// Whether it takes a file descriptor, if only for a moment.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::OpenDir | Self::Open | Self::Create | Self::List | Self::Lock)
    }
}

/// How a disk lies about syncs: what a broken order of syncs in a program amounts to, without changing the program.
#[derive(Debug, Clone, Copy)]
pub enum SyncLie {
    /// A sync of such a file or folder says that it is done, and does nothing.
    Never(fn(&Path) -> bool),
    /// A sync of such a file is done behind the next sync of another one, when a crash could have come in between.
    Late(fn(&Path) -> bool),
}

/// How one operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// EIO: nothing was done. A file's sync: what waited is dropped, and called clean; a later sync says nothing of it.
    Io,
    /// ENOSPC: nothing was done; a sync as above.
    NoSpace,
    /// A write: half of it was done, then ENOSPC. Anything else: as [`Self::NoSpace`].
    Short,
    /// EMFILE: nothing was done. Of what takes no descriptor: nothing goes wrong.
    NoDescriptor,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Io, Self::NoSpace, Self::Short, Self::NoDescriptor];

    /// Whether it means something for such an operation that none before it in [`Self::ALL`] means.
    #[must_use]
    pub const fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Io => true,
            Self::NoSpace => kind.takes_space(),
            Self::Short => matches!(kind, Kind::Write),
            Self::NoDescriptor => kind.opens(),
        }
    }

    /// What the operation says.
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("input/output error"),
            Self::NoSpace | Self::Short => full(),
            Self::NoDescriptor => no_descriptor(),
        }
    }
}

pub(super) fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

/// As the system says it: only its number tells this error from others.
pub(super) fn no_descriptor() -> io::Error {
    /// Linux's, and that of every other Unix.
    const EMFILE: i32 = 24;
    io::Error::from_raw_os_error(EMFILE)
}

/// Which operations go wrong. They count from 0, over all processes.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) crash_before: Option<u64>,
    pub(super) fail: BTreeMap<u64, Fault>,
}
