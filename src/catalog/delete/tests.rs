use super::*;
use crate::{
    catalog::{
        fixture::network,
        test_site::{Site, copy, id, now},
    },
    disk::faulty::{Faults, FaultyDir},
};
use std::{fs, sync::Arc};

/// What others see of block 83.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Whole,
    OnlyMetadata,
    Nothing,
}

fn seen(catalog: &Catalog) -> Seen {
    let page = catalog.page(&id(83).channel).1;
    match (page.iter().find(|entry| entry.id == id(83)), catalog.snapshot(&id(83))) {
        (None, None) => Seen::Nothing,
        (Some(entry), None) if entry.only_metadata_available => Seen::OnlyMetadata,
        (Some(entry), Some(_)) if !entry.only_metadata_available => Seen::Whole,
        other => panic!("{other:?}"),
    }
}

fn trash(site: &Site) -> usize {
    let names = fs::read_dir(site.path("completed")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with(TRASH_PREFIX)).count()
}

/// A catalog whose changing operations are counted, after its first scan.
fn faulty(site: &Site) -> (Catalog, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let open = |name| FaultyDir::wrap(site.open(name), &faults);
    let catalog = Catalog::open(open("completed"), open("manifests"), now()).with_deletion(true);
    catalog.scan().unwrap();
    (catalog, faults)
}

#[test]
fn the_data_go_and_the_metadata_stay_also_after_a_restart() {
    let site = Site::new();
    let catalog = site.catalog();
    let before = catalog.known(&id(83)).unwrap();
    let mut version = catalog.subscribe(&id(83).channel);
    version.borrow_and_update();
    assert_eq!(catalog.delete(&id(83)).unwrap(), Deleted::Now);
    assert!(version.has_changed().unwrap(), "those who watch are told");
    assert!(!site.folder(83).exists());
    assert_eq!(trash(&site), 0);
    let again = site.catalog();
    for catalog in [&catalog, &again] {
        assert_eq!(seen(catalog), Seen::OnlyMetadata);
        let left = catalog.known(&id(83)).unwrap();
        assert_eq!((&left.manifest, left.commit_hash), (&before.manifest, before.commit_hash));
        assert_eq!(left.manifest_bytes, before.manifest_bytes);
        assert_eq!(catalog.delete(&id(83)).unwrap(), Deleted::Already);
        assert!(catalog.channels().contains(&id(83).channel));
        catalog.scan().unwrap();
        assert_eq!(seen(catalog), Seen::OnlyMetadata);
    }
    let attested = site.attestor().attest(&again, &id(83), b"", &network(), now()).unwrap();
    assert_eq!(attested[0].body().manifest_hash, before.entry.manifest_hash);
    assert!(matches!(catalog.delete(&id(9)), Err(DeleteError::Unknown(_))));
}

#[test]
fn without_leave_nothing_is_deleted() {
    let site = Site::new();
    let catalog = site.catalog().with_deletion(false);
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::NotAllowed)));
    assert_eq!((seen(&catalog), site.folder(83).exists()), (Seen::Whole, true));
}

#[test]
fn a_snapshot_that_the_peer_makes_again_is_served_again_and_can_be_deleted_again() {
    let site = Site::new();
    let catalog = site.catalog();
    for _ in 0..3 {
        assert_eq!(catalog.delete(&id(83)).unwrap(), Deleted::Now);
        site.add(83, 83);
        let report = catalog.scan().unwrap();
        assert_eq!((report.added, seen(&catalog)), (vec![id(83)], Seen::Whole));
        assert_eq!(seen(&site.catalog()), Seen::Whole, "after a restart, too");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test changes a folder")]
fn only_what_was_verified_is_deleted() {
    let site = Site::new();
    let catalog = site.catalog();
    fs::write(site.folder(83).join("a file of somebody"), "x").unwrap();
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::Changed(_))));
    fs::rename(site.folder(83), site.path("aside")).unwrap();
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::Changed(_))));
    copy(&site.path("aside"), &site.folder(83));
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::Changed(_))), "another folder in its place");
    assert_eq!(fs::read_dir(site.folder(83)).unwrap().count(), 11);
}

/// C1: files that are open stay readable.
#[test]
fn a_download_that_runs_goes_on() {
    let site = Site::new();
    let catalog = site.catalog();
    let held = catalog.snapshot(&id(83)).unwrap();
    catalog.delete(&id(83)).unwrap();
    held.read_chunk(0, crate::snapshot::ChunkIndex(0), &mut Vec::new()).unwrap();
}

/// The process dies at each operation: afterwards the snapshot is whole or only metadata are left, what can be signed never goes, and
/// nothing keeps taking space.
#[test]
fn a_crash_at_any_step_leaves_a_whole_snapshot_or_its_metadata() {
    let mut seen_after = Vec::new();
    for n in 1.. {
        let site = Site::new();
        let (catalog, faults) = faulty(&site);
        let before = catalog.known(&id(83)).unwrap();
        faults.crash_at(n);
        let deleted = catalog.delete(&id(83));
        let crashed = faults.left() == 0;
        drop(catalog);
        let restarted = site.catalog();
        let now_seen = seen(&restarted);
        if deleted.is_ok() {
            assert_eq!(now_seen, Seen::OnlyMetadata, "crash {n}");
        }
        match now_seen {
            Seen::Whole => assert_eq!(fs::read_dir(site.folder(83)).unwrap().count(), 10, "crash {n}"),
            Seen::OnlyMetadata => assert!(!site.folder(83).exists(), "crash {n}"),
            Seen::Nothing => panic!("crash {n}: forgotten"),
        }
        assert_eq!(trash(&site), 0, "crash {n}");
        assert_eq!(restarted.known(&id(83)).unwrap().manifest, before.manifest, "crash {n}");
        site.attestor().attest(&restarted, &id(83), b"", &network(), now()).unwrap();
        // Whatever the crash left, the peer's next snapshot of that block isn't touched.
        if now_seen == Seen::OnlyMetadata {
            site.add(83, 83);
            assert_eq!(seen(&site.catalog()), Seen::Whole, "crash {n}");
        }
        seen_after.push(now_seen);
        if !crashed {
            break;
        }
    }
    assert!(seen_after.len() > 12, "{seen_after:?}");
    assert!(seen_after.contains(&Seen::Whole), "{seen_after:?}");
}

/// One operation fails and the service goes on: it says so, and the next scan mends what can be mended.
#[test]
fn one_fault_at_any_step_is_told_and_mended() {
    for n in 1.. {
        let site = Site::new();
        let (catalog, faults) = faulty(&site);
        faults.fail_next(n, std::io::ErrorKind::Other);
        let deleted = catalog.delete(&id(83));
        let failed = faults.left() == 0;
        match deleted {
            Ok(Deleted::Now) | Err(DeleteError::Unfinished { .. }) => {
                assert_eq!(seen(&catalog), Seen::OnlyMetadata, "{n}")
            }
            Err(DeleteError::Kept { .. }) => {
                assert_eq!(seen(&catalog), Seen::Whole, "fault {n}");
                assert_eq!(seen(&site.catalog()), Seen::Whole, "fault {n}: taken back for good");
            }
            other => panic!("fault {n}: {other:?}"),
        }
        catalog.scan().unwrap();
        assert_eq!(trash(&site), 0, "fault {n}");
        if seen(&catalog) == Seen::Whole {
            assert_eq!(catalog.delete(&id(83)).unwrap(), Deleted::Now, "fault {n}: the next try works");
        }
        assert!(!site.folder(83).exists(), "fault {n}");
        assert_eq!(seen(&site.catalog()), Seen::OnlyMetadata, "fault {n}");
        if !failed {
            break;
        }
    }
}

/// A power cut may undo the rename although later steps were seen: the folder stands there again, with the marker.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test plays the power cut")]
fn a_deletion_whose_rename_was_lost_is_done_again_and_never_to_another_folder() {
    let site = Site::new();
    let (catalog, faults) = faulty(&site);
    faults.break_only(&["sync completed"]);
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::Unfinished { .. })));
    let trash_path = site.path("completed/.snapferry-deleted-mychannel-83");
    // Another one of that block came meanwhile: it stays.
    copy(&trash_path, &site.folder(83));
    catalog.scan().unwrap();
    assert_eq!(seen(&catalog), Seen::Whole);
    fs::remove_dir_all(site.folder(83)).unwrap();
    fs::rename(&trash_path, site.folder(83)).unwrap();
    let restarted = Catalog::open(site.open("completed"), site.open("manifests"), now());
    let report = restarted.scan().unwrap();
    assert!(report.refused[0].1.contains("snapshots.allowDelete"), "{report:?}");
    assert_eq!(seen(&restarted), Seen::OnlyMetadata, "no longer served, nor touched without leave");
    assert!(site.folder(83).exists());
    assert_eq!(seen(&site.catalog()), Seen::OnlyMetadata);
    assert!(!site.folder(83).exists());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages a file")]
fn a_damaged_marker_is_not_believed() {
    let site = Site::new();
    site.catalog().delete(&id(83)).unwrap();
    let marker = site.path("manifests/mychannel/83.deleted");
    let whole = fs::read(&marker).unwrap();
    for at in (0..whole.len()).step_by(23) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(Remains::decode(&damaged).is_none() && Remains::decode(&whole[..at]).is_none(), "{at}");
    }
    fs::write(&marker, &whole[1..]).unwrap();
    assert_eq!(seen(&site.catalog()), Seen::Nothing);
    fs::rename(&marker, site.path("manifests/mychannel/84.deleted")).unwrap();
    fs::write(site.path("manifests/mychannel/84.deleted"), &whole).unwrap();
    assert_eq!(seen(&site.catalog()), Seen::Nothing, "in the place of another block");
    assert!(site.path("manifests/mychannel/84.deleted").exists(), "kept for whoever repairs it");
}

/// Defence: only a folder is deleted, and leftovers of any kind are cleared; removed, a link in its place is moved to the trash name,
/// where it stays and blocks every later deletion of that block.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test puts links where folders belong")]
fn a_link_in_the_place_of_a_folder_is_not_deleted_and_blocks_nothing() {
    let site = Site::new();
    let catalog = site.catalog();
    fs::rename(site.folder(83), site.path("aside")).unwrap();
    std::os::unix::fs::symlink(site.path("aside"), site.folder(83)).unwrap();
    assert!(matches!(catalog.delete(&id(83)), Err(DeleteError::Changed(_))));
    assert!(fs::symlink_metadata(site.folder(83)).unwrap().is_symlink(), "it isn't ours to move");
    fs::remove_file(site.folder(83)).unwrap();
    fs::rename(site.path("aside"), site.folder(83)).unwrap();
    // Something else has the trash's name: a link, a file.
    let trash_path = site.path("completed/.snapferry-deleted-mychannel-83");
    std::os::unix::fs::symlink(site.path("statements"), &trash_path).unwrap();
    assert_eq!(catalog.delete(&id(83)).unwrap(), Deleted::Now);
    assert_eq!(trash(&site), 0);
    fs::write(&trash_path, "left").unwrap();
    catalog.scan().unwrap();
    assert_eq!(trash(&site), 0, "the next scan clears it");
    assert!(site.path("statements").exists(), "never what a link leads to");
}
