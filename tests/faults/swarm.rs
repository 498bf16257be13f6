//! Swarms: many seeds, each with its own subset of faults; all oracles on every run.

use crate::sim::{run::run, scenario::Scenario};

#[test]
fn a_join_without_faults_lands() {
    run(&Scenario::default(), 1).check();
}
