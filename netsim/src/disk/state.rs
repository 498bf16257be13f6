//! The state of a disk: what processes see, what is durable, and the changes between the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Component, Path},
    sync::Arc,
};

use super::{Failure, blocks::Blocks, gone, outcome::Outcome};

/// An inode's number.
pub(super) type Ino = u64;

/// The root folder's.
pub(super) const ROOT: Ino = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(Blocks),
    Dir(BTreeMap<String, Ino>),
}

/// Inodes by number. Names lead to them from [`ROOT`].
pub(super) type Nodes = BTreeMap<Ino, Arc<Node>>;

/// A change that isn't durable.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write {
        file: Ino,
        offset: u64,
        data: Arc<[u8]>,
    },
    SetLen {
        file: Ino,
        len: u64,
    },
    /// A new name in a folder.
    Link {
        dir: Ino,
        name: String,
        ino: Ino,
        is_dir: bool,
    },
    Unlink {
        dir: Ino,
        name: String,
    },
    Rename {
        from: (Ino, String),
        to: (Ino, String),
        ino: Ino,
        is_dir: bool,
    },
}

impl Change {
    pub(super) fn file(&self) -> Option<Ino> {
        match self {
            Self::Write { file, .. } | Self::SetLen { file, .. } => Some(*file),
            _ => None,
        }
    }

    fn touches_dir(&self, of: Ino) -> bool {
        match self {
            Self::Link { dir, .. } | Self::Unlink { dir, .. } => *dir == of,
            Self::Rename { from, to, .. } => from.0 == of || to.0 == of,
            _ => false,
        }
    }

    pub(super) fn apply(&self, nodes: &mut Nodes) {
        match self {
            Self::Write { file, offset, data } => change_file(nodes, *file, |blocks| blocks.write(data, *offset)),
            Self::SetLen { file, len } => change_file(nodes, *file, |blocks| blocks.set_len(*len)),
            Self::Link { dir, name, ino, is_dir } => {
                exist(nodes, *ino, *is_dir);
                change_dir(nodes, *dir, |names| {
                    names.insert(name.clone(), *ino);
                });
            }
            Self::Unlink { dir, name } => change_dir(nodes, *dir, |names| {
                names.remove(name);
            }),
            Self::Rename { from, to, ino, is_dir } => {
                exist(nodes, *ino, *is_dir);
                change_dir(nodes, from.0, |names| {
                    if names.get(&from.1) == Some(ino) {
                        names.remove(&from.1);
                    }
                });
                change_dir(nodes, to.0, |names| {
                    names.insert(to.1.clone(), *ino);
                });
            }
        }
    }
}

/// A name leads to an inode, though nothing of what is in it may have survived.
fn exist(nodes: &mut Nodes, ino: Ino, is_dir: bool) {
    let empty = || if is_dir { Node::Dir(BTreeMap::new()) } else { Node::File(Blocks::default()) };
    nodes.entry(ino).or_insert_with(|| Arc::new(empty()));
}

fn change_file(nodes: &mut Nodes, file: Ino, change: impl FnOnce(&mut Blocks)) {
    // A change may survive whose inode's name doesn't: the inode is there then, and nobody finds it.
    let node = nodes.entry(file).or_insert_with(|| Arc::new(Node::File(Blocks::default())));
    if let Node::File(blocks) = Arc::make_mut(node) {
        change(blocks);
    }
}

fn change_dir(nodes: &mut Nodes, dir: Ino, change: impl FnOnce(&mut BTreeMap<String, Ino>)) {
    let node = nodes.entry(dir).or_insert_with(|| Arc::new(Node::Dir(BTreeMap::new())));
    if let Node::Dir(names) = Arc::make_mut(node) {
        change(names);
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    /// What processes see.
    pub(super) live: Nodes,
    /// What a power cut leaves for certain.
    pub(super) durable: Nodes,
    /// Changes on the way from the one to the other, oldest first.
    pub(super) pending: Vec<Change>,
    /// Number of the processes that may use it: handles of others are dead.
    pub(super) epoch: u64,
    pub(super) locks: BTreeSet<Ino>,
    pub(super) operations: u64,
    pub(super) log: Option<Vec<String>>,
    pub(super) crash_at: Option<u64>,
    pub(super) down: bool,
    pub(super) fail_at: Option<(u64, Failure)>,
    pub(super) failed: bool,
    pub(super) capacity: Option<u64>,
    pub(super) read_only: bool,
    next_ino: Ino,
    /// Counts changes: the time of files.
    pub(super) changes: u64,
    pub(super) changed_at: BTreeMap<Ino, u64>,
}

impl Default for State {
    fn default() -> Self {
        let root = Nodes::from([(ROOT, Arc::new(Node::Dir(BTreeMap::new())))]);
        Self {
            live: root.clone(),
            durable: root,
            pending: Vec::new(),
            epoch: 0,
            locks: BTreeSet::new(),
            operations: 0,
            log: None,
            crash_at: None,
            down: false,
            fail_at: None,
            failed: false,
            capacity: None,
            read_only: false,
            next_ino: ROOT + 1,
            changes: 0,
            changed_at: BTreeMap::new(),
        }
    }
}

impl State {
    /// Begins an operation of a process: counts it, and fails it if it is to fail.
    pub(super) fn begin(&mut self, epoch: u64, what: &dyn Fn() -> String) -> io::Result<()> {
        if epoch != self.epoch || self.down {
            return Err(gone());
        }
        self.operations += 1;
        if let Some(log) = &mut self.log {
            log.push(what());
        }
        if self.crash_at == Some(self.operations) {
            self.down = true;
            return Err(gone());
        }
        match self.fail_at {
            Some((n, Failure::Eio)) if n == self.operations => {
                self.failed = true;
                Err(io::Error::other("input/output error (simulated)"))
            }
            Some((n, Failure::NoSpace)) if n == self.operations => {
                self.failed = true;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::begin`], for what changes something.
    pub(super) fn begin_change(&mut self, epoch: u64, what: &dyn Fn() -> String) -> io::Result<()> {
        self.begin(epoch, what)?;
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    /// Whether this operation, a write, is to stop half way; any other just fails.
    pub(super) fn is_cut_short(&mut self) -> bool {
        let short = self.fail_at == Some((self.operations, Failure::ShortWrite));
        self.failed |= short;
        short
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes += 1;
        if let Some(file) = change.file() {
            self.changed_at.insert(file, self.changes);
        }
        self.pending.push(change);
    }

    pub(super) fn new_ino(&mut self, node: Node) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.live.insert(ino, Arc::new(node));
        self.changes += 1;
        self.changed_at.insert(ino, self.changes);
        ino
    }

    pub(super) fn names(&self, dir: Ino) -> io::Result<&BTreeMap<String, Ino>> {
        match self.live.get(&dir).map(|node| &**node) {
            Some(Node::Dir(names)) => Ok(names),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn blocks(&self, file: Ino) -> io::Result<&Blocks> {
        match self.live.get(&file).map(|node| &**node) {
            Some(Node::File(blocks)) => Ok(blocks),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Bytes that don't fit any more if the file grows by `more` blocks' worth.
    pub(super) fn fits(&self, more: u64) -> bool {
        self.capacity.is_none_or(|capacity| self.used().saturating_add(more) <= capacity)
    }

    pub(super) fn used(&self) -> u64 {
        let of = |node: &Arc<Node>| if let Node::File(blocks) = &**node { blocks.allocated() } else { 0 };
        self.live.values().map(of).sum()
    }

    pub(super) fn sync_file(&mut self, file: Ino) {
        self.settle(|change| change.file() == Some(file));
    }

    pub(super) fn sync_dir(&mut self, dir: Ino) {
        self.settle(|change| change.touches_dir(dir));
    }

    fn settle(&mut self, now: impl Fn(&Change) -> bool) {
        let (settled, rest): (Vec<Change>, Vec<Change>) = std::mem::take(&mut self.pending).into_iter().partition(now);
        settled.iter().for_each(|change| change.apply(&mut self.durable));
        self.pending = rest;
    }

    /// A sync that failed: its bytes will never be durable.
    pub(super) fn forsake(&mut self, file: Ino) {
        self.pending.retain(|change| change.file() != Some(file));
    }

    /// What is read of a file from now on is what is durable, if nothing of it is under way.
    pub(super) fn forget_cached(&mut self, file: Ino) {
        if self.pending.iter().any(|change| change.file() == Some(file)) {
            return;
        }
        let durable = self.durable.get(&file).cloned();
        self.live.insert(file, durable.unwrap_or_else(|| Arc::new(Node::File(Blocks::default()))));
    }

    pub(super) fn kill(&mut self) {
        self.epoch += 1;
        self.locks.clear();
        self.down = false;
        self.crash_at = None;
        self.drop_unnamed();
    }

    pub(super) fn become_outcome(&mut self, outcome: &Outcome) {
        let nodes = outcome.nodes(self);
        self.live = nodes.clone();
        self.durable = nodes;
        self.pending.clear();
        self.kill();
    }

    /// Inodes that no name leads to, once nobody has them open.
    fn drop_unnamed(&mut self) {
        let named = reachable(&self.live).union(&reachable(&self.durable)).copied().collect::<BTreeSet<_>>();
        self.live.retain(|ino, _| named.contains(ino));
        self.durable.retain(|ino, _| named.contains(ino));
    }

    pub(super) fn durable_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hash_dir(&self.durable, ROOT, &mut hasher);
        hasher.finish()
    }

    pub(super) fn find(&self, path: &Path) -> Option<Ino> {
        path.components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .try_fold(ROOT, |dir, part| self.names(dir).ok()?.get(part.as_os_str().to_str()?).copied())
    }

    pub(super) fn rot(&mut self, path: &Path, bit: u64) -> bool {
        let Some(ino) = self.find(path) else { return false };
        let len = self.blocks(ino).map_or(0, |blocks| blocks.len);
        if len == 0 {
            return false;
        }
        let (offset, mask) = (bit / 8 % len, 1_u8 << (bit % 8));
        for nodes in [&mut self.live, &mut self.durable] {
            change_file(nodes, ino, |blocks| {
                let mut byte = [0];
                if blocks.read(&mut byte, offset) == 1 {
                    blocks.write(&byte.map(|byte| byte ^ mask), offset);
                }
            });
        }
        true
    }

    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) {
        let mut dir = ROOT;
        let parts: Vec<String> =
            path.components().filter_map(|part| Some(part.as_os_str().to_str()?.to_owned())).collect();
        let Some((name, folders)) = parts.split_last() else { return };
        for folder in folders {
            let known = self.names(dir).ok().and_then(|names| names.get(folder).copied());
            dir = known.unwrap_or_else(|| {
                let ino = self.new_ino(Node::Dir(BTreeMap::new()));
                self.change(Change::Link { dir, name: folder.clone(), ino, is_dir: true });
                ino
            });
        }
        let file = self.new_ino(Node::File(Blocks::default()));
        self.change(Change::Link { dir, name: name.clone(), ino: file, is_dir: false });
        self.change(Change::Write { file, offset: 0, data: bytes.into() });
        self.settle(|_| true);
    }

    pub(super) fn folder(&self, path: &Path) -> Option<BTreeMap<String, Vec<u8>>> {
        let names = self.names(self.find(path)?).ok()?;
        let bytes = |ino: &Ino| self.blocks(*ino).map(Blocks::to_vec).unwrap_or_default();
        Some(names.iter().map(|(name, ino)| (name.clone(), bytes(ino))).collect())
    }
}

/// Inodes that names lead to.
fn reachable(nodes: &Nodes) -> BTreeSet<Ino> {
    let (mut found, mut next) = (BTreeSet::from([ROOT]), vec![ROOT]);
    while let Some(ino) = next.pop() {
        if let Some(Node::Dir(names)) = nodes.get(&ino).map(|node| &**node) {
            next.extend(names.values().filter(|ino| found.insert(**ino)));
        }
    }
    found
}

fn hash_dir(nodes: &Nodes, dir: Ino, hasher: &mut DefaultHasher) {
    let Some(Node::Dir(names)) = nodes.get(&dir).map(|node| &**node) else { return };
    for (name, ino) in names {
        name.hash(hasher);
        match nodes.get(ino).map(|node| &**node) {
            Some(Node::Dir(_)) => {
                b'd'.hash(hasher);
                hash_dir(nodes, *ino, hasher);
                b'e'.hash(hasher);
            }
            Some(Node::File(blocks)) => blocks.to_vec().hash(hasher),
            None => b'0'.hash(hasher),
        }
    }
}
