use std::io::ErrorKind;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::disk::{
    OsDir,
    faulty::{Faults, FaultyDir},
};

type Owned = (Vec<u8>, Vec<u8>);

fn sorted(scratch: &Arc<dyn Dir>, budget_bytes: usize, records: &[Owned]) -> Result<Vec<Owned>, SortError> {
    let mut sorter = Sorter::new(Arc::clone(scratch), "test", budget_bytes);
    for (key, value) in records {
        sorter.add(key, value)?;
    }
    let mut sorted = sorter.finish()?;
    let mut out = Vec::new();
    while let Some((key, value)) = sorted.next_record()? {
        out.push((key.to_vec(), value.to_vec()));
    }
    Ok(out)
}

fn scratch() -> (tempfile::TempDir, Arc<dyn Dir>) {
    let temp = tempfile::tempdir().unwrap();
    let dir = OsDir::open(temp.path()).unwrap();
    (temp, dir)
}

/// So many records, each key twice, in an order that is neither.
fn shuffled(count: u32) -> Vec<Owned> {
    let record = |n: u32| (((n * 7919) % (count / 2)).to_be_bytes().to_vec(), n.to_string().into_bytes());
    (0..count).map(record).collect()
}

#[test]
fn many_runs_on_several_levels_are_merged_in_order_and_leave_nothing() {
    let (_temp, dir) = scratch();
    let records = shuffled(10_000);
    let mut expected = records.clone();
    expected.sort_by(|a, b| a.0.cmp(&b.0)); // stable
    // Two records a run: 5000 runs, of which 64 * 64 are merged twice.
    assert_eq!(sorted(&dir, 60, &records).unwrap(), expected);
    assert_eq!(dir.list().unwrap(), []);
}

#[test]
fn a_record_may_be_longer_than_the_budget_and_the_pieces_that_are_read() {
    let (_temp, dir) = scratch();
    let long = |n: u8| (vec![n; 3 * READ_BYTES_MIN], vec![!n; 70 * READ_BYTES_MIN]);
    let records = [long(3), (vec![2], vec![]), long(1), (vec![], vec![9])];
    let expected = [(vec![], vec![9]), long(1), (vec![2], vec![]), long(3)];
    assert_eq!(sorted(&dir, 1, &records).unwrap(), expected);
}

#[test]
fn a_run_that_changed_on_the_disk_is_noticed_by_its_end() {
    let records = shuffled(400);
    for (at, byte) in [(0, 0x7f), (0, 0xff), (3, 0xee), (1_000, 0xee)] {
        let (_temp, dir) = scratch();
        let mut sorter = Sorter::new(Arc::clone(&dir), "test", 12_000);
        records.iter().for_each(|(key, value)| sorter.add(key, value).unwrap());
        let name = dir.list().unwrap().remove(0).name;
        dir.open_file(&name, crate::disk::Access::ReadWrite).unwrap().write_all_at(&[byte], at).unwrap();
        let read = || {
            let mut sorted = sorter.finish()?;
            while sorted.next_record()?.is_some() {}
            Ok(())
        };
        assert!(matches!(read(), Err(SortError::Changed { .. })), "byte {at}");
    }
}

#[test]
fn a_run_that_was_cut_is_noticed() {
    let (_temp, dir) = scratch();
    let mut sorter = Sorter::new(Arc::clone(&dir), "test", 1);
    sorter.add(b"key", b"value").unwrap();
    dir.open_file("test.1", crate::disk::Access::ReadWrite).unwrap().set_len(4).unwrap();
    assert!(matches!(sorter.finish(), Err(SortError::Changed { .. })));
}

#[test]
fn every_failure_of_the_disk_is_told() {
    let records = shuffled(300);
    for n in 1.. {
        let (_temp, dir) = scratch();
        let faults = Arc::new(Faults::default());
        faults.fail_next(n, ErrorKind::StorageFull);
        let result = sorted(&FaultyDir::wrap(dir, &faults), 300, &records);
        if faults.left() > 0 {
            assert!(n > 100, "only {n} operations");
            return assert_eq!(result.unwrap().len(), 300);
        }
        // A file that can't be removed hurts nobody.
        let removal = faults.taken_log().last().is_some_and(|last| last.starts_with("remove"));
        assert!(removal || matches!(result, Err(SortError::Disk(_))), "operation {n}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn tiny_budgets_give_what_memory_gives(records in vec((vec(any::<u8>(), 0..4), vec(any::<u8>(), 0..40)), 0..300), budget in 0_usize..2_000) {
        let (_temp, dir) = scratch();
        let mut expected = records.clone();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(sorted(&dir, budget, &records).unwrap(), expected);
        prop_assert_eq!(dir.list().unwrap(), []);
    }
}
