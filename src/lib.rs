//! snapferry moves Hyperledger Fabric ledger snapshots between peers: found, agreed on, pulled from several
//! organisations at once, proved chunk by chunk, and put into place.
//!
//! ```text
//! catalog            plan                 fetch                verify                load
//! who has what,  ->  which bytes,     ->  range streams    ->  chunk proof,      ->  folder (stock peer, ledger)
//! who vouches        from whom, when      from many peers      file hash, quorum     published only when all is proved
//!
//! CatalogEntry       AgreedSnapshot       WireChunk            VerifiedChunk         VerifiedFile
//! ```
//!
//! Layers, arrows point down only: `cli` > [`service`] > [`bootstrap`] > [`peer`] > [`transport`] > [`chunking`] > [`catalog`] >
//! [`msp`] > [`ledger`] > [`snapshot`] > [`disk`]. `ARCHITECTURE.md` has the rules that hold the house up.

pub mod bootstrap;
mod calendar;
pub mod catalog;
pub mod chunking;
pub mod disk;
pub mod ledger;
pub mod msp;
pub mod peer;
pub mod service;
pub mod snapshot;
pub mod transport;
