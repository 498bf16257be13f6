//! Folders and files, each as a running system sees them and as they are on the platter, with what lies between.
//!
//! Every change happens to the live state at once and waits in one list, in order. A sync takes the file's or folder's
//! changes out of the list and does them to the durable state too. What a crash makes of the rest is `outcomes`'.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Component, Path},
    sync::Arc,
};

use super::content::{Change, Content};

pub(super) type Inode = u64;

/// The disk's root folder.
pub(super) const ROOT: Inode = 1;

/// Everything on one disk. Cheap to clone: bytes are shared.
#[derive(Debug, Clone)]
pub(super) struct Files {
    nodes: BTreeMap<Inode, Node>,
    pending: Vec<Pending>,
    next: Inode,
    /// Changes so far: the clock that stamps what changed.
    changes: u64,
}

#[derive(Debug, Clone)]
enum Node {
    Folder { live: Names, durable: Names },
    File(Stored),
}

type Names = BTreeMap<String, Inode>;

#[derive(Debug, Clone, Default)]
struct Stored {
    live: Arc<Content>,
    durable: Arc<Content>,
    modified: u64,
}

/// A change that isn't durable.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Data { file: Inode, change: Arc<Change> },
    Names(NameChange),
}

/// One step of a folder, or of two: a rename.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    removes: Option<(Inode, String)>,
    adds: Option<(Inode, String, Inode)>,
}

impl Pending {
    fn is_write(&self) -> bool {
        matches!(self, Self::Data { change, .. } if matches!(**change, Change::Write(_)))
    }

    /// The change, if it is one of this file.
    fn of(&self, inode: Inode) -> Option<&Arc<Change>> {
        match self {
            Self::Data { file, change } if *file == inode => Some(change),
            _ => None,
        }
    }
}

impl NameChange {
    /// The folders that it changes.
    pub(super) fn folders(&self) -> impl Iterator<Item = Inode> {
        let removes = self.removes.as_ref().map(|(folder, _)| *folder);
        removes.into_iter().chain(self.adds.as_ref().map(|(folder, ..)| *folder))
    }
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// A folder; a file otherwise.
    pub is_dir: bool,
    /// Bytes of the file.
    pub len: u64,
    /// Goes up whenever the file's bytes change.
    pub modified: u64,
    /// Number of the file or folder: stays when it is renamed.
    pub inode: u64,
}

impl Files {
    pub(super) fn new() -> Self {
        let root = Node::Folder { live: Names::new(), durable: Names::new() };
        Self { nodes: BTreeMap::from([(ROOT, root)]), pending: Vec::new(), next: ROOT + 1, changes: 0 }
    }

    pub(super) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    // Names.

    fn names(&self, folder: Inode) -> io::Result<&Names> {
        match self.nodes.get(&folder) {
            Some(Node::Folder { live, .. }) => Ok(live),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn lookup(&self, folder: Inode, name: &str) -> io::Result<Inode> {
        self.names(folder)?.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn is_dir(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(&inode), Some(Node::Folder { .. }))
    }

    /// The folder or file at a path from the root.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<Inode> {
        path.components().try_fold(ROOT, |folder, component| match component {
            Component::Normal(name) => self.lookup(folder, name.to_str().unwrap_or_default()),
            _ => Ok(folder),
        })
    }

    pub(super) fn list(&self, folder: Inode) -> io::Result<Vec<Entry>> {
        let entry = |(name, inode): (&String, &Inode)| {
            let (is_dir, len, modified) = match self.nodes.get(inode) {
                Some(Node::File(stored)) => (false, stored.live.len(), stored.modified),
                _ => (true, 0, 0),
            };
            Entry { name: name.clone(), is_dir, len, modified, inode: *inode }
        };
        Ok(self.names(folder)?.iter().map(entry).collect())
    }

    /// Makes an empty file or folder under a free name.
    pub(super) fn make(&mut self, folder: Inode, name: &str, is_dir: bool) -> io::Result<Inode> {
        if self.names(folder)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.next;
        self.next += 1;
        let node = if is_dir {
            Node::Folder { live: Names::new(), durable: Names::new() }
        } else {
            Node::File(Stored::default())
        };
        self.nodes.insert(inode, node);
        self.rename_live(NameChange { removes: None, adds: Some((folder, name.to_owned(), inode)) });
        Ok(inode)
    }

    /// Takes a name away: of a file, or of a folder with nothing in it.
    pub(super) fn unlink(&mut self, folder: Inode, name: &str) -> io::Result<()> {
        let inode = self.lookup(folder, name)?;
        if self.is_dir(inode) && !self.names(inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.rename_live(NameChange { removes: Some((folder, name.to_owned())), adds: None });
        Ok(())
    }

    /// A file replaces a file; the new name of a folder must be free.
    pub(super) fn rename(&mut self, from: (Inode, &str), to: (Inode, &str)) -> io::Result<()> {
        let inode = self.lookup(from.0, from.1)?;
        if let Some(there) = self.names(to.0)?.get(to.1) {
            if self.is_dir(inode) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if self.is_dir(*there) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
        }
        let (removes, adds) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned(), inode));
        self.rename_live(NameChange { removes: Some(removes), adds: Some(adds) });
        Ok(())
    }

    fn rename_live(&mut self, change: NameChange) {
        self.do_names(&change, |node| match node {
            Node::Folder { live, .. } => Some(live),
            Node::File(_) => None,
        });
        self.pending.push(Pending::Names(change));
        self.changes += 1;
    }

    fn do_names(&mut self, change: &NameChange, side: impl Fn(&mut Node) -> Option<&mut Names>) {
        if let Some((folder, name)) = &change.removes
            && let Some(names) = self.nodes.get_mut(folder).and_then(&side)
        {
            names.remove(name);
        }
        if let Some((folder, name, inode)) = &change.adds
            && let Some(names) = self.nodes.get_mut(folder).and_then(&side)
        {
            names.insert(name.clone(), *inode);
        }
    }

    /// Makes the names in a folder durable, and what they build on: a rename from another folder takes that one's earlier
    /// changes along.
    pub(super) fn sync_names(&mut self, folder: Inode) {
        let mut folders = BTreeSet::from([folder]);
        let mut kept = Vec::new();
        let mut done = Vec::new();
        for pending in std::mem::take(&mut self.pending).into_iter().rev() {
            match pending {
                Pending::Names(change) if change.folders().any(|touched| folders.contains(&touched)) => {
                    folders.extend(change.folders());
                    done.push(change);
                }
                other => kept.push(other),
            }
        }
        done.iter().rev().for_each(|change| self.keep_names(change));
        self.pending = kept.into_iter().rev().collect();
    }

    fn keep_names(&mut self, change: &NameChange) {
        self.do_names(change, |node| match node {
            Node::Folder { durable, .. } => Some(durable),
            Node::File(_) => None,
        });
    }

    // Bytes.

    fn stored(&self, file: Inode) -> io::Result<&Stored> {
        match self.nodes.get(&file) {
            Some(Node::File(stored)) => Ok(stored),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn stored_mut(&mut self, file: Inode) -> Option<&mut Stored> {
        match self.nodes.get_mut(&file) {
            Some(Node::File(stored)) => Some(stored),
            _ => None,
        }
    }

    pub(super) fn content(&self, file: Inode) -> io::Result<&Content> {
        self.stored(file).map(|stored| &*stored.live)
    }

    pub(super) fn change(&mut self, file: Inode, change: Change) {
        self.changes += 1;
        let stamp = self.changes;
        if let Some(stored) = self.stored_mut(file) {
            Arc::make_mut(&mut stored.live).apply(&change);
            stored.modified = stamp;
            self.pending.push(Pending::Data { file, change: Arc::new(change) });
        }
    }

    /// Makes a file's bytes durable; or, if `fails`, drops what wasn't: it stays in the cache, and is called clean.
    pub(super) fn sync(&mut self, file: Inode, fails: bool) {
        let of_file = |pending: &mut Pending| matches!(pending, Pending::Data { file: of, .. } if *of == file);
        let taken: Vec<_> = self.pending.extract_if(.., of_file).collect();
        if fails {
            return;
        }
        for pending in taken {
            self.keep(&pending);
        }
    }

    /// Reads show what is on the disk again, and what waits to get there.
    pub(super) fn forget_cached(&mut self, file: Inode) {
        let waiting: Vec<_> = self.pending.iter().filter_map(|pending| pending.of(file)).cloned().collect();
        if let Some(stored) = self.stored_mut(file) {
            stored.live = Arc::clone(&stored.durable);
            waiting.iter().for_each(|change| Arc::make_mut(&mut stored.live).apply(change));
        }
    }

    /// Flips a durable bit, which the next read sees; false if the file has no byte.
    pub(super) fn flip(&mut self, file: Inode, bit: u64) -> bool {
        self.stored_mut(file).is_some_and(|stored| {
            Arc::make_mut(&mut stored.live).flip(bit) && Arc::make_mut(&mut stored.durable).flip(bit)
        })
    }

    /// Bytes that all files take.
    pub(super) fn allocated(&self) -> u64 {
        let mut sum = 0;
        self.walk(&mut |_, node| {
            if let Node::File(stored) = node {
                sum += stored.live.allocated();
            }
        });
        sum
    }

    // Crashes.

    /// Does one change to the durable state.
    fn keep(&mut self, pending: &Pending) {
        match pending {
            Pending::Names(change) => self.keep_names(change),
            Pending::Data { file, change } => {
                if let Some(stored) = self.stored_mut(*file) {
                    Arc::make_mut(&mut stored.durable).apply(change);
                }
            }
        }
    }

    /// What the next process finds if of the pending changes those reached the disk for which `kept` is true, in order, the
    /// last write among them perhaps torn.
    pub(super) fn after_crash(&self, kept: &[bool], torn: bool) -> Self {
        let mut files = self.clone();
        let pending = std::mem::take(&mut files.pending);
        let kept = || pending.iter().zip(kept).filter_map(|(pending, kept)| kept.then_some(pending));
        let last_write = kept().filter(|pending| pending.is_write()).count();
        let mut writes = 0;
        for pending in kept() {
            writes += usize::from(pending.is_write());
            match pending {
                Pending::Data { file, change } if torn && pending.is_write() && writes == last_write => {
                    let torn = change.torn().map(|half| Pending::Data { file: *file, change: Arc::new(half) });
                    files.keep(torn.as_ref().unwrap_or(pending));
                }
                whole => files.keep(whole),
            }
        }
        files.settle();
        files
    }

    /// The durable state is all there is.
    fn settle(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::Folder { live, durable } => live.clone_from(durable),
                Node::File(stored) => stored.live = Arc::clone(&stored.durable),
            }
        }
        let mut reached = BTreeSet::from([ROOT]);
        let mut waiting = vec![ROOT];
        while let Some(inode) = waiting.pop() {
            if let Some(Node::Folder { live, .. }) = self.nodes.get(&inode) {
                waiting.extend(live.values().filter(|inode| reached.insert(**inode)));
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }

    /// Makes everything durable, as if there had been all the time in the world.
    pub(super) fn sync_all(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.keep(&pending);
        }
    }

    /// Names and bytes as a process sees them, as one number.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.walk(&mut |path, node| {
            path.hash(&mut hasher);
            if let Node::File(stored) = node {
                stored.live.hash(&mut hasher);
            }
        });
        hasher.finish()
    }

    fn walk(&self, visit: &mut impl FnMut(&str, &Node)) {
        let mut waiting = vec![(ROOT, String::new())];
        while let Some((inode, path)) = waiting.pop() {
            let Some(node) = self.nodes.get(&inode) else { continue };
            visit(&path, node);
            if let Node::Folder { live, .. } = node {
                waiting.extend(live.iter().map(|(name, inode)| (*inode, format!("{path}/{name}"))));
            }
        }
    }
}
