//! Faults of the joiner's disk that have a name of their own: full, rotten, damaged, used by another, refusing, edited.

use std::{
    io::{Error, ErrorKind},
    time::Duration,
};

use netsim::disk::SimDisk;
use snapferry::{
    chunking::{FILES_DIR, LOCK_FILE},
    snapshot::CHUNK_BYTES,
};
use tokio::time;

use super::{LAND, SEED, WORK, fetched, golden, half_done, join_on, scenario, total_bytes};
use crate::sim::{
    disk::sim_dir,
    run::{Report, run_with},
    scenario::Expect,
};

/// A join of these 3 MiB is in the middle of it then.
const MID_TRANSFER: Duration = Duration::from_millis(1_500);
/// When somebody has seen to the disk.
const REPAIRED: Duration = Duration::from_secs(40);

/// A join on a disk with which something happens in mid-transfer, and something else later.
fn join_while(
    disk: &SimDisk,
    expect: Expect,
    happens: impl FnOnce(&SimDisk) + Send + 'static,
    later: impl FnOnce(&SimDisk) + Send + 'static,
) -> Report {
    let its = disk.clone();
    run_with(&scenario(expect), SEED, |world| {
        world.joiner.disk = its.clone();
        world.beside(async move {
            time::sleep(MID_TRANSFER).await;
            happens(&its);
            time::sleep(REPAIRED - MID_TRANSFER).await;
            later(&its);
        });
    })
}

fn refusal(report: Report) -> String {
    report.check();
    report.ended.unwrap().unwrap_err().to_string()
}

fn in_work(name: &str) -> String {
    format!("{}/{name}", WORK.join("/"))
}

/// D2: the disk is full in mid-transfer, or the user's quota is used up: the join says so and waits; once there is space it goes on, with
/// what it has.
#[test]
fn a_join_waits_for_space_and_goes_on_with_what_it_has() {
    let full = |disk: &SimDisk| disk.set_capacity(Some(disk.used()));
    let quota = |disk: &SimDisk| disk.refuse_changes(Some(ErrorKind::QuotaExceeded));
    for (happens, kind) in [(full as fn(&SimDisk), ErrorKind::StorageFull), (quota, ErrorKind::QuotaExceeded)] {
        let disk = SimDisk::new();
        let report = join_while(&disk, Expect::Lands, happens, |disk| {
            disk.set_capacity(None);
            disk.refuse_changes(None);
        });
        report.check();
        assert_eq!(report.attempts.len(), 1, "in one go");
        let told: Vec<_> = report.log.iter().filter(|line| line.text.starts_with("disk full")).collect();
        assert!(!told.is_empty(), "{}", report.account("it says what it waits for"));
        assert!(told.iter().all(|line| line.at >= MID_TRANSFER && line.at <= REPAIRED), "{kind}");
        assert!(report.took > REPAIRED && report.took < REPAIRED + Duration::from_secs(10), "{:?}", report.took);
        // What came and couldn't be written: the budget holds more than this snapshot has left then.
        let had = report.samples.iter().rfind(|sample| sample.at < REPAIRED).unwrap().verified_bytes;
        assert!(had >= CHUNK_BYTES, "{had}");
        assert!(fetched(&report) <= total_bytes() + (total_bytes() - had), "{}", fetched(&report));
    }
}

/// D4: a bit of a durable chunk rots between two runs: it is found when the chunk is hashed again, and only that chunk is fetched again.
#[test]
fn a_durable_chunk_that_rots_is_fetched_again_and_no_other() {
    let clean = join_on(&half_done(), Expect::Lands);
    for bit in [0, 1 << 20, 7_000_000] {
        let disk = half_done();
        assert!(disk.rot(WORK.join("/") + "/files/public_state.data", bit));
        let report = join_on(&disk, Expect::Lands);
        report.check();
        assert_eq!(fetched(&report), fetched(&clean) + CHUNK_BYTES, "bit {bit}");
    }
}

/// D5: a journal that is cut anywhere, damaged anywhere, or another transfer's never makes a join believe in what isn't there.
#[test]
fn a_damaged_journal_is_believed_up_to_the_damage() {
    let journal = WORK.join("/") + "/journal";
    let whole = half_done().read(&journal).unwrap();
    let damaged = |at: usize| [&whole[..at], &[whole[at] ^ 0x40], &whole[at + 1..]].concat();
    let places = (0..whole.len()).step_by(23);
    let mut journals: Vec<Vec<u8>> = places.flat_map(|at| [whole[..at].to_vec(), damaged(at)]).collect();
    journals.push([&whole[..], &[0xff; 40]].concat());
    for bytes in journals {
        let disk = half_done();
        disk.put(&journal, &bytes).unwrap();
        let report = join_on(&disk, Expect::Lands);
        report.check();
        assert!(fetched(&report) <= total_bytes(), "{} journal bytes", bytes.len());
    }
}

/// D6: another process works in the folder: the join is refused, says so, and changes nothing; once that one is gone it goes on.
#[test]
fn a_join_in_a_folder_that_another_works_in_is_refused() {
    let disk = half_done();
    let job = WORK.iter().try_fold(sim_dir(&disk), |dir, name| dir.open_dir(name)).unwrap();
    let other = job.lock(LOCK_FILE).unwrap();
    let work = |disk: &SimDisk| (disk.folder(WORK.join("/")), disk.folder(in_work(FILES_DIR)));
    let before = work(&disk);
    let text = refusal(join_on(&disk, Expect::Refused));
    assert!(text.contains("/land/.snapferry/simchannel-21") && text.contains("another process"), "{text}");
    assert_eq!(work(&disk), before);
    drop(other);
    let report = join_on(&disk, Expect::Lands);
    report.check();
    assert!(fetched(&report) < total_bytes(), "it goes on");
}

/// D7: a disk that can't be written any more, from the start or in mid-transfer, ends a join with the path and the reason; afterwards it goes on.
#[test]
fn a_disk_that_refuses_changes_is_told_with_path_and_reason() {
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        let from_start = half_done();
        from_start.refuse_changes(Some(kind));
        let at_once = join_on(&from_start, Expect::Refused);
        let in_between = SimDisk::new();
        let later = join_while(&in_between, Expect::Refused, move |disk| disk.refuse_changes(Some(kind)), |_| ());
        for (disk, report) in [(from_start, at_once), (in_between, later)] {
            let text = refusal(report);
            assert!(text.contains("/land") || text.contains("/state"), "{kind}: {text}");
            assert!(text.contains(&Error::from(kind).to_string()), "{kind}: {text}");
            disk.refuse_changes(None);
            let report = join_on(&disk, Expect::Lands);
            report.check();
            assert!(fetched(&report) < total_bytes(), "{kind}: what was proved stays");
        }
    }
}

/// D8: a file is put beside the proved ones before they are published: nothing is, and its name is told; the next join takes what proves
/// itself.
#[test]
fn a_folder_that_somebody_edits_is_not_published() {
    let put = |name: &'static str| {
        let path = in_work(FILES_DIR) + "/" + name;
        move |disk: &SimDisk| disk.put(&path, b"x").unwrap()
    };
    for name in ["unknown", "_snapshot_signable_metadata.json.bak"] {
        let disk = SimDisk::new();
        let text = refusal(join_while(&disk, Expect::Refused, put(name), |_| ()));
        assert!(text.contains(name) && text.contains("nothing was published"), "{text}");
        assert_eq!(disk.folder(LAND), None);
        let report = join_on(&disk, Expect::Lands);
        report.check();
        assert_eq!(fetched(&report), 0, "all of it was there");
    }
}

/// D8, B5: a landed folder that somebody edits, even by one bit and at the same length, isn't taken for the snapshot by the next join.
#[test]
fn a_landed_folder_that_was_edited_is_not_taken_for_the_snapshot() {
    let disk = SimDisk::new();
    join_on(&disk, Expect::Lands).check();
    let edits: [fn(&SimDisk); 3] = [
        |disk| assert!(disk.rot(LAND.to_owned() + "/public_state.data", 9_000_001)),
        |disk| disk.put(LAND.to_owned() + "/unknown", b"x").unwrap(),
        |disk| disk.put(LAND.to_owned() + "/txids.data", b"").unwrap(),
    ];
    for edit in edits {
        let disk = disk.image().killed();
        edit(&disk);
        let ended = join_on(&disk, Expect::Refused).ended.unwrap();
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("/land/simchannel/21 exists and is not this snapshot"), "{text}");
        assert_ne!(disk.folder(LAND), Some(golden().files.clone()), "and left as it is");
    }
}
