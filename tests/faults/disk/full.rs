//! The joiner's disk has no space at some step of a join, whichever that is: the join waits, and goes on with what it has.

use std::{ffi::OsStr, future, time::Duration};

use netsim::disk::{Fault, Kind, Operation};

use super::{fetched, join_while, operations, total_bytes};
use crate::sim::{run::Report, scenario::Expect};

/// The disk says that it's full to so many operations from that one on.
fn join_without_space(at: u64, steps: u64) -> Report {
    join_while(Expect::Lands, |disk| {
        (at..at + steps).for_each(|step| disk.fail(step, Fault::NoSpace));
        future::ready(())
    })
}

/// Of a file of the snapshot.
fn is_file_sync(done: &Operation) -> bool {
    let is_file = |name: &OsStr| !name.as_encoded_bytes().starts_with(b".");
    done.kind == Kind::Sync
        && done.path.parent().is_some_and(|dir| dir.ends_with("files"))
        && done.path.file_name().is_some_and(is_file)
}

/// D2: each single thing that takes space finds none, once or for some steps: the join lands in one go, without fetching anything again
/// but a file whose sync failed.
#[test]
fn a_join_waits_for_space_at_every_step() {
    let taking: Vec<_> = operations().into_iter().filter(|(_, done)| done.kind.takes_space()).collect();
    assert!(taking.len() > 60, "{}", taking.len());
    for (at, done) in taking {
        for steps in [1, 4] {
            let report = join_without_space(at, steps);
            println!("{at}, {steps} steps: {done:?}");
            report.check();
            assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
            let again = fetched(&report) - total_bytes();
            if is_file_sync(&done) {
                let says_so = report.log.iter().any(|line| line.text.starts_with("disk full"));
                assert!(says_so, "{}", report.account("it waits before it fetches the file again"));
            } else if steps == 1 {
                assert_eq!(again, 0, "{}", report.account("what for?"));
            }
        }
    }
}

/// D2, D3: a file's sync fails as there is no space, and neither is there any to begin it anew with: nothing is asked for meanwhile that
/// couldn't be kept.
#[test]
fn a_file_that_has_to_begin_anew_on_a_full_disk_is_fetched_once_more() {
    let syncs: Vec<_> = operations().into_iter().filter(|(_, done)| is_file_sync(done)).collect();
    assert!(!syncs.is_empty());
    for (at, done) in syncs {
        let report = join_without_space(at, 20);
        report.check();
        assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
        assert!(fetched(&report) <= 2 * total_bytes(), "{done:?}: {} bytes", fetched(&report));
        assert!(report.took > Duration::from_secs(3 * 3), "it waited, and again: {:?}", report.took);
    }
}
