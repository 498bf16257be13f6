use snapferry::disk::{Dir, OsDir};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<tempfile::TempDir>);
impl SimDisk {
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }
    pub fn set_capacity(&self, _: Option<u64>) {}
    pub fn kill(&self) {}
    pub fn crash(&self, _: &mut netsim::Rng) {}
    pub fn rot(&self, _: &Path, _: u64) {}
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    pub fn folder(&self, path: &PathBuf) -> Option<BTreeMap<String, Vec<u8>>> {
        let dir = std::fs::read_dir(self.0.path().join(path)).ok()?;
        Some(
            dir.map(|e| {
                let e = e.unwrap();
                (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())
            })
            .collect(),
        )
    }
}
pub fn sim_dir(disk: &SimDisk) -> Arc<dyn Dir> {
    OsDir::open(disk.0.path()).unwrap()
}
