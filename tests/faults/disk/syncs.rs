//! Syncs of the snapshot's files that fail: what such a file holds is unknown then, so it is fetched again; but not for ever.

use netsim::disk::{Fault, Kind, Operation, SimDisk};

use super::{fetched, golden, join_on, total_bytes};
use crate::sim::{run::Report, scenario::Expect};

/// How often a file may begin anew.
const START_OVER_MAX: usize = 3;

/// A join of which these operations fail, and all that it asked of its disk.
fn join_failing(operations: &[u64], expect: Expect) -> (Report, SimDisk) {
    let disk = SimDisk::new();
    operations.iter().for_each(|&operation| disk.fail(operation, Fault::Io));
    (join_on(&disk, expect), disk)
}

/// Whether it is a sync of that file in the work folder.
fn is_sync(done: &Operation, file: &str) -> bool {
    done.kind == Kind::Sync && done.path.ends_with(format!("files/{file}"))
}

/// D3: whichever sync of a file fails, also the last one of all: that file is fetched once more, no other, and the join lands in one go.
#[test]
fn a_file_that_fails_any_sync_is_fetched_again_in_the_same_join() {
    let (_, disk) = join_failing(&[], Expect::Lands);
    let log = disk.log();
    let mut tried = 0;
    for listed in golden().manifest.files() {
        let syncs = (0..).zip(&log).filter(|(_, done)| is_sync(done, listed.file.name()));
        for (operation, _) in syncs {
            tried += 1;
            let (report, _) = join_failing(&[operation], Expect::Lands);
            report.check();
            assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
            let again = fetched(&report) - total_bytes();
            assert!((1..=listed.size).contains(&again), "{}: {again} bytes", listed.file);
        }
    }
    assert!(tried > golden().manifest.files().len(), "one of them has several: {tried}");
}

/// D3: a file whose every sync fails begins anew three times; then the disk is called broken, and the join ends. What it has of others stays.
#[test]
fn a_disk_that_loses_a_file_again_and_again_ends_the_join() {
    const FILE: &str = "public_state.data";
    let (mut failing, mut disk) = (Vec::new(), join_failing(&[], Expect::Lands).1);
    for times in 1..=START_OVER_MAX + 1 {
        let behind = failing.last().map_or(0, |last| last + 1);
        let (next, _) = (0..).zip(disk.log()).find(|(at, done)| *at >= behind && is_sync(done, FILE)).unwrap();
        failing.push(next);
        let expect = if times <= START_OVER_MAX { Expect::Lands } else { Expect::Refused };
        let (report, its) = join_failing(&failing, expect);
        report.check_but_for_waste();
        // The last file's chunks each time anew, and twice at most.
        assert!(fetched(&report) <= 2 * (times as u64 + 1) * total_bytes(), "{}", report.account("fetched in vain"));
        assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
        if let Some(Err(error)) = &report.ended {
            let text = error.to_string();
            assert!(text.contains(&format!("the disk failed {times} times to keep {FILE}")), "{text}");
        }
        disk = its;
    }
    let report = join_on(&disk, Expect::Lands);
    report.check();
    assert!(fetched(&report) < total_bytes(), "{}", fetched(&report));
}
