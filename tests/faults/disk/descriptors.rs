//! The joiner's machine has no file descriptor left: nothing can be opened, on the disk or as a socket, and what is open works on.

use std::{future, time::Duration};

use netsim::disk::{Fault, Kind, Operation};
use tokio::time;

use super::{fetched, join_while, operations, total_bytes};
use crate::sim::{
    run::{Report, Sample},
    scenario::Expect,
};

/// When there are some again.
const FREED: Duration = Duration::from_secs(40);

/// It landed in one go, and nothing of it was fetched a second time.
fn assert_waited(report: &Report) {
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    assert_eq!(fetched(report), total_bytes());
}

/// R8: the joiner has no descriptor from some moment on, be it that it has no socket yet, no work folder, or everything but the last
/// steps: it says so, waits, and goes on once there are some.
#[test]
fn a_joiner_without_descriptors_waits_and_goes_on() {
    // Before its sockets; before its work folder; in mid-transfer.
    for from_ms in [0, 20, 1_500] {
        let report = join_while(Expect::Lands, move |disk| async move {
            if from_ms > 0 {
                time::sleep(Duration::from_millis(from_ms)).await;
            }
            disk.lack_descriptors(true);
            time::sleep(FREED - Duration::from_millis(from_ms)).await;
            disk.lack_descriptors(false);
        });
        assert_waited(&report);
        let told: Vec<_> = report.log.iter().filter(|line| line.text.starts_with("no descriptors")).collect();
        assert!(!told.is_empty(), "{}", report.account("it says what it waits for"));
        assert!(told.iter().all(|line| line.at < FREED && line.text.contains("Too many open files")), "{told:?}");
        assert!(report.took > FREED && report.took < FREED + Duration::from_secs(10), "{:?}", report.took);
    }
}

/// R8: a file's sync fails while there is no descriptor to begin it anew with: nothing of it is asked for until there is one, and the
/// transfer says what it waits for.
#[test]
fn a_file_that_has_to_begin_anew_waits_for_a_descriptor() {
    let is_sync = |done: &Operation| done.kind == Kind::Sync && done.path.ends_with("files/public_state.data");
    let (first_sync, _) = operations().into_iter().find(|(_, done)| is_sync(done)).unwrap();
    let report = join_while(Expect::Lands, |disk| async move {
        disk.fail(first_sync, Fault::Io);
        time::sleep(Duration::from_millis(1_000)).await;
        assert!(disk.operations() <= first_sync, "it is still to come");
        disk.lack_descriptors(true);
        time::sleep(FREED - Duration::from_millis(1_000)).await;
        disk.lack_descriptors(false);
    });
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    assert!(fetched(&report) > total_bytes() && fetched(&report) < 2 * total_bytes(), "{}", fetched(&report));
    let words = |sample: &Sample| sample.waiting_for.as_deref() == Some("file descriptors");
    assert!(report.samples.iter().any(words), "{}", report.account("progress says nothing"));
    assert!(report.took > FREED && report.took < FREED + Duration::from_secs(20), "{:?}", report.took);
}

/// R8: each single thing that a join opens can't be opened once, or nothing can for some steps from there on: it waits a moment, and lands.
#[test]
fn whatever_a_join_opens_may_lack_a_descriptor() {
    let opens: Vec<_> = operations().into_iter().filter(|(_, done)| done.kind.opens()).collect();
    assert!(opens.len() > 30, "{}", opens.len());
    for (at, done) in opens {
        for steps in [1, 4] {
            let report = join_while(Expect::Lands, |disk| {
                (at..at + steps).for_each(|step| disk.fail(step, Fault::NoDescriptor));
                future::ready(())
            });
            println!("{at}, {steps} steps: {done:?}");
            assert_waited(&report);
        }
    }
}
