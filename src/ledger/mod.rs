//! The peer's own stores: how their databases lie on the disk, and what Fabric keeps in them (no tokio).

pub mod leveldb;
