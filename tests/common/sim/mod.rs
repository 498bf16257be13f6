//! snapferry on a simulated machine: services, a joiner, the network between them and their disks, in virtual time and from one seed.
//!
//! ```text
//!   Scenario (data: a file, a seed, or a test)  ->  World (Net, Service.., Joiner)  ->  run  ->  Report  ->  oracles
//! ```
//!
//! `channel` and `disk` join netsim to snapferry's traits and formats; everything else here only uses public interfaces.

pub mod channel;
pub mod disk;
pub mod draw;
pub mod joiner;
pub mod lands;
pub mod liar;
pub mod oracles;
pub mod org;
pub mod proto;
pub mod run;
pub mod scenario;
pub mod service;
pub mod world;
