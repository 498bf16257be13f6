//! The scenarios that come with `cargo run --example netsim` do what they say.

use std::{collections::BTreeSet, fs, path::Path};

use crate::sim::{run::run, scenario::Scenario};

#[test]
fn every_example_is_a_scenario_that_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario: Scenario = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let report = run(&scenario, 1);
        report.check();
        names.insert(path.file_name().unwrap().to_owned().into_string().unwrap());
        if path.ends_with("slow-stalled-lying.yaml") {
            let dropped: Vec<_> = report.attempts.iter().flat_map(|attempt| attempt.dropped.keys()).collect();
            assert_eq!(dropped, [&4], "{}", report.account("it has a liar"));
        }
    }
    assert!(names.contains("slow-stalled-lying.yaml"), "{names:?}");
}
