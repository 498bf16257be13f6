//! What goes wrong, and what must happen then: whole joins on a simulated machine, each id of the fault catalogue (docs/faults.md) by itself,
//! then swarms in which a seed draws a random subset.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "../common/sim/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the example")]
mod sim;

mod bans;
mod company;
mod disk;
mod ends;
mod examples;
mod fair;
mod floods;
mod foreign;
mod full;
mod ledger_load;
mod life_cycle;
mod load_crashes;
mod loads;
mod lying;
mod network;
mod new_database;
mod oracles;
mod partial;
mod repair;
mod seeds;
mod slow;
mod slow_accept;
mod swarm;
mod vanished;
