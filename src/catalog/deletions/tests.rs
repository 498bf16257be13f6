use std::{fs, sync::Arc};

use super::*;
use crate::{
    catalog::{
        leases::LEASE_TIME,
        remains::{Remains, Stage},
        test_site::{Site, id, now as wall_time},
    },
    disk::faulty::{Faults, FaultyDir},
    msp::{IdentityId, MspId},
};

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn holder(org: u8) -> Holder {
    Holder { msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(), identity_id: IdentityId([org; 32]) }
}

fn is_there(catalog: &Catalog) -> bool {
    catalog.snapshot(&id(83)).is_some()
}

#[test]
fn what_nobody_downloads_is_deleted_at_once() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    let lease = catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.close_lease(lease.lease_id, &holder(2), now).unwrap();
    assert_eq!(catalog.request_deletion(&id(83), false, now).unwrap(), Deleted::Now);
    assert_eq!(catalog.request_deletion(&id(83), true, now).unwrap(), Deleted::Already);
    assert_eq!(catalog.pending_deletion(&id(83), now), None);
    assert_eq!(catalog.open_lease(&id(83), &holder(2), now), Err(LeaseRefusal::Gone));
    assert!(matches!(catalog.request_deletion(&id(9), false, now), Err(DeleteError::Unknown(_))));
    let forbidding = Site::new().catalog().with_deletion(false);
    assert!(matches!(forbidding.request_deletion(&id(83), false, now), Err(DeleteError::NotAllowed)));
}

#[test]
fn a_deletion_waits_for_the_last_lease_and_those_who_watch_are_told() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    let (mut versions, mut changes) = (catalog.subscribe(&id(83).channel), catalog.lease_changes());
    let lease = catalog.open_lease(&id(83), &holder(2), now).unwrap();
    assert_eq!(catalog.request_deletion(&id(83), false, now).unwrap(), Deleted::Pending);
    assert!(versions.has_changed().unwrap() && changes.has_changed().unwrap());
    versions.borrow_and_update();
    changes.borrow_and_update();
    assert_eq!(catalog.request_deletion(&id(83), false, now).unwrap(), Deleted::Pending, "commanded again");
    assert_eq!(catalog.closed_to(&holder(3), now), [id(83)].into());
    assert_eq!(catalog.open_lease(&id(83), &holder(3), now), Err(LeaseRefusal::Ending));
    assert_eq!(catalog.finish_pending(now).again, Some(now + LEASE_TIME));
    assert!(is_there(&catalog));
    catalog.use_lease(lease.lease_id, &id(83), &holder(2), now).unwrap();
    catalog.close_lease(lease.lease_id, &holder(2), now).unwrap();
    assert!(changes.has_changed().unwrap(), "somebody looks again");
    assert_eq!(catalog.finish_pending(now).again, None);
    assert!(!is_there(&catalog) && versions.has_changed().unwrap());
    assert_eq!(catalog.pending_deletion(&id(83), now), None);
    assert!(!site.path("manifests/mychannel/83.deletion").exists());
}

#[test]
fn a_forced_deletion_waits_for_ten_minutes() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    let lease = catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.request_deletion(&id(83), false, now).unwrap();
    assert!(catalog.leases_ending(&holder(2), now).is_empty());
    let later = now + LEASE_TIME / 2;
    catalog.renew_lease(lease.lease_id, &holder(2), later).unwrap();
    assert_eq!(catalog.request_deletion(&id(83), true, later).unwrap(), Deleted::Pending);
    assert_eq!(catalog.leases_ending(&holder(2), later), [(lease.lease_id, DRAIN_TIME)]);
    assert_eq!(catalog.pending_deletion(&id(83), later).unwrap().forced_in, Some(DRAIN_TIME));
    let last = later + DRAIN_TIME;
    catalog.use_lease(lease.lease_id, &id(83), &holder(2), later).unwrap();
    catalog.renew_lease(lease.lease_id, &holder(2), later + DRAIN_TIME / 2).unwrap();
    assert_eq!(catalog.request_deletion(&id(83), true, later + DRAIN_TIME / 2).unwrap(), Deleted::Pending);
    assert_eq!(catalog.finish_pending(later).again, Some(last), "its time doesn't begin anew");
    assert!(is_there(&catalog));
    catalog.finish_pending(last);
    assert!(!is_there(&catalog));
}

#[test]
fn a_restart_forgets_neither_the_promise_nor_who_it_waits_for() {
    let (site, now) = (Site::new(), start());
    let before = site.catalog();
    before.open_lease(&id(83), &holder(2), now).unwrap();
    before.request_deletion(&id(83), false, now).unwrap();
    drop(before);
    let after = site.catalog();
    assert_eq!(after.finish_pending(now).again, Some(now + LEASE_TIME));
    assert!(is_there(&after));
    assert_eq!(after.open_lease(&id(83), &holder(3), now), Err(LeaseRefusal::Ending));
    let lease = after.open_lease(&id(83), &holder(2), now).unwrap();
    after.use_lease(lease.lease_id, &id(83), &holder(2), now).unwrap();
    after.close_lease(lease.lease_id, &holder(2), now).unwrap();
    after.finish_pending(now);
    assert!(!is_there(&after));
    assert_eq!(site.catalog().pending_deletion(&id(83), now), None);
}

#[test]
fn a_promise_rests_while_nothing_may_be_deleted() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.request_deletion(&id(83), false, now).unwrap();
    drop(catalog);
    let forbidding = site.catalog().with_deletion(false);
    assert_eq!(forbidding.finish_pending(now + LEASE_TIME), Looked::default());
    assert!(forbidding.open_lease(&id(83), &holder(3), now).is_ok(), "it is served as before");
    assert!(site.catalog().pending_deletion(&id(83), now).is_some());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test moves a folder")]
fn a_promise_isnt_kept_against_another_folder_and_waits_for_the_first_scan() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.request_deletion(&id(83), false, now).unwrap();
    drop(catalog);
    let unscanned = Catalog::open(site.open("completed"), site.open("manifests"), wall_time()).with_deletion(true);
    let later = now + LEASE_TIME;
    assert_eq!(unscanned.pending_deletion(&id(83), now).unwrap().waiting, Duration::ZERO);
    assert_eq!(unscanned.finish_pending(later).again, Some(later + LOOK_AGAIN_AFTER));
    assert!(site.folder(83).exists());
    fs::rename(site.folder(83), site.path("aside")).unwrap();
    site.add(83, 83);
    unscanned.scan().unwrap();
    assert_eq!(unscanned.finish_pending(later + LOOK_AGAIN_AFTER).again, None);
    assert!(is_there(&unscanned) && site.folder(83).exists(), "the peer made it anew");
}

#[test]
fn a_promise_that_cant_be_written_is_none() {
    let (site, now) = (Site::new(), start());
    let faults = Arc::new(Faults::default());
    let open = |name| FaultyDir::wrap(site.open(name), &faults);
    let catalog = Catalog::open(open("completed"), open("manifests"), wall_time()).with_deletion(true);
    catalog.scan().unwrap();
    catalog.open_lease(&id(83), &holder(2), now).unwrap();
    faults.crash_at(1);
    assert!(matches!(catalog.request_deletion(&id(83), false, now), Err(DeleteError::Kept { .. })));
    assert_eq!(catalog.pending_deletion(&id(83), now), None);
    assert!(catalog.open_lease(&id(83), &holder(3), now).is_ok(), "others come as before");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test changes a file")]
fn a_promise_that_cant_be_kept_yet_is_tried_again() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    let lease = catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.request_deletion(&id(83), false, now).unwrap();
    // It changes while it waits: nobody may delete what wasn't verified.
    let state = site.folder(83).join("public_state.data");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, [&bytes[..], b"more"].concat()).unwrap();
    catalog.close_lease(lease.lease_id, &holder(2), now).unwrap();
    assert_eq!(catalog.finish_pending(now).again, Some(now + TRY_AGAIN_AFTER));
    assert!(site.folder(83).exists() && catalog.pending_deletion(&id(83), now).is_some());
    assert_eq!(catalog.finish_pending(now + TRY_AGAIN_AFTER / 2).again, Some(now + TRY_AGAIN_AFTER), "not at once");
}

/// A crash between renaming the folder away and noting so: what was promised is done, and not taken for somebody else's doing.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test moves a folder")]
fn a_crash_in_the_middle_of_a_promised_deletion_is_no_other_folder() {
    let (site, now) = (Site::new(), start());
    let catalog = site.catalog();
    catalog.open_lease(&id(83), &holder(2), now).unwrap();
    catalog.request_deletion(&id(83), false, now).unwrap();
    let inode = catalog.folder_inode(&id(83)).unwrap().unwrap();
    let known = catalog.snapshot(&id(83)).unwrap().known().without_data();
    Remains { known, stage: Stage::Deleting, inode }.store(&*site.open("manifests")).unwrap();
    fs::rename(site.folder(83), site.path("completed/.snapferry-deleted-mychannel-83")).unwrap();
    drop(catalog);
    let after = Catalog::open(site.open("completed"), site.open("manifests"), wall_time()).with_deletion(true);
    let later = now + LEASE_TIME;
    assert!(after.pending_deletion(&id(83), now).is_some());
    assert_eq!(after.finish_pending(later), Looked { deleted: Vec::new(), again: Some(later + LOOK_AGAIN_AFTER) });
    after.scan().unwrap();
    assert_eq!(after.finish_pending(later + LOOK_AGAIN_AFTER).deleted, [id(83)], "it is told and recorded");
}
