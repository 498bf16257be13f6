//! The audit log over a real folder, over one that fails, and every way to change it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    disk::{
        OsDir,
        faulty::{Faults, FaultyDir},
        read_small,
    },
    msp::{IdentityId, MspId},
    snapshot::SnapshotId,
};

fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_740_840_694 + second)
}

fn id() -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: crate::snapshot::BlockNumber(83) }
}

fn by() -> AuditBy {
    let msp_id = MspId::new("Org\"3\"MSP").unwrap();
    AuditBy { msp_id, identity_id: IdentityId([0xab; 32]), address: Some("192.0.2.7:7061".to_owned()) }
}

/// Some records of every kind that others make.
fn records() -> Vec<AuditRecord> {
    let admin = AuditBy { address: None, ..by() };
    vec![
        AuditRecord::started(),
        AuditRecord::fetch_begun(by(), id()),
        AuditRecord::fetch_ended(by(), id(), 4096),
        AuditRecord::deleted(admin, id()),
        AuditRecord::started(),
    ]
}

struct Site {
    folder: TempDir,
    dir: Arc<dyn Dir>,
}

impl Site {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let dir = OsDir::open(folder.path()).unwrap();
        Self { folder, dir }
    }

    /// With all of [`records`].
    fn filled() -> Self {
        let site = Self::new();
        let log = site.log();
        for (second, record) in (0..).zip(records()) {
            log.append(&record, at(second)).unwrap();
        }
        site
    }

    fn log(&self) -> AuditLog {
        AuditLog::new(Arc::clone(&self.dir))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        read_small(&*self.dir, name, AUDIT_LOG_BYTES_MAX).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        crate::disk::write_durably(&*self.dir, AUDIT_FILE, bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.dir.list().unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

fn check(bytes: &[u8]) -> Result<AuditSummary, AuditError> {
    check_audit(bytes, None)
}

/// The line and the fault at which the check stops.
fn fault(bytes: &[u8]) -> (u64, AuditFault) {
    match check(bytes) {
        Err(AuditError::Line { line, fault }) => (line, fault),
        other => panic!("{other:?}"),
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// These bytes stay for ever: the chain of every log hangs on them.
#[test]
fn a_log_reads_as_it_always_did() {
    let text = String::from_utf8(Site::filled().read(AUDIT_FILE)).unwrap();
    let identity = "ab".repeat(32);
    let who = format!(r#""org":"Org\"3\"MSP","identity":"{identity}""#);
    let expected = [
        r#"{"seq":1,"time":"2025-03-01T14:51:34.000Z","what":"started""#.to_owned(),
        format!(
            r#"{{"seq":2,"time":"2025-03-01T14:51:35.000Z","what":"fetch-begun",{who},"address":"192.0.2.7:7061","snapshot":"mychannel/83""#
        ),
        format!(
            r#"{{"seq":3,"time":"2025-03-01T14:51:36.000Z","what":"fetch-ended",{who},"address":"192.0.2.7:7061","snapshot":"mychannel/83","bytes":4096"#
        ),
        format!(r#"{{"seq":4,"time":"2025-03-01T14:51:37.000Z","what":"deleted",{who},"snapshot":"mychannel/83""#),
        r#"{"seq":5,"time":"2025-03-01T14:51:38.000Z","what":"started""#.to_owned(),
    ];
    let chains = GOLDEN_CHAINS;
    let expected: String =
        expected.iter().zip(chains).map(|(body, chain)| format!("{body},\"chain\":\"{chain}\"}}\n")).collect();
    assert_eq!(text, expected);
}

/// Computed by another program, from the chain before, as raw bytes, and the line without its member `chain`.
const GOLDEN_CHAINS: [&str; 5] = [
    "72e672d1631b29c929343fd78348400bc708e98cdf2c073737bddbe8387a93bd",
    "d22b9121149b154e49c631c8062b014ea7954c54efa19fd9385078fba220dbb6",
    "83eac9b7548b17f6442d63f37c487a68f99379d2f73cea23b0bf53100ea3941d",
    "06254d6d1274aee8ae52e0f10156ced5096cc64290edf5c52b3101794aa357b8",
    "d427d354394f13f6b93eee83223cfb59f68bdf4b7f21e5dabca5daf9b2e6d776",
];

/// A4: whoever changes a line without all that follow is found there, whatever he changes.
#[test]
fn every_edited_byte_is_found_at_its_line() {
    let bytes = Site::filled().read(AUDIT_FILE);
    let mut line = 1;
    for at in 0..bytes.len() {
        for bit in [0, 5, 7] {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            // A line feed that goes joins two lines; at the end, it tears the last one.
            match check(&changed) {
                Err(AuditError::Line { line: found, .. }) => assert_eq!(found, line, "byte {at}, bit {bit}"),
                Ok(summary) => {
                    assert!(line == 5 && summary.torn_bytes > 0 && summary.records == 4, "byte {at}, bit {bit}")
                }
                other => panic!("{other:?}"),
            }
        }
        line += u64::from(bytes[at] == b'\n');
    }
}

/// A4: taken out, put in twice, moved, or cut off before: the place is named.
#[test]
fn deleted_inserted_swapped_and_missing_lines_are_found() {
    let all = lines(&Site::filled().read(AUDIT_FILE));
    let mut deleted = all.clone();
    deleted.remove(2);
    assert_eq!(fault(&deleted.concat()), (3, AuditFault::Sequence { expected: 3, found: 4 }));
    let mut inserted = all.clone();
    inserted.insert(3, all[1].clone());
    assert_eq!(fault(&inserted.concat()), (4, AuditFault::Sequence { expected: 4, found: 2 }));
    let mut swapped = all.clone();
    swapped.swap(1, 2);
    assert_eq!(fault(&swapped.concat()), (2, AuditFault::Sequence { expected: 2, found: 3 }));
    assert_eq!(fault(&all[1..].concat()), (1, AuditFault::Start));
    // Another record of the same number, hashed as it should be: the next one doesn't follow from it.
    let other = Site::new();
    let log = other.log();
    for (second, record) in (0..).zip(&records()[..2]) {
        log.append(record, at(second)).unwrap();
    }
    log.append(&AuditRecord::fetch_ended(by(), id(), 1), at(2)).unwrap();
    let forged = [&lines(&other.read(AUDIT_FILE))[..], &all[3..]].concat();
    assert_eq!(fault(&forged.concat()), (4, AuditFault::Chain));
    assert_eq!(fault(&[all[0].clone(), b"\n".to_vec()].concat()), (2, AuditFault::NotARecord));
}

/// A4: what the chain alone can't tell, a noted value does.
#[test]
fn a_noted_chain_value_tells_whether_lines_were_cut_off_or_all_was_written_anew() {
    let bytes = Site::filled().read(AUDIT_FILE);
    let head = check(&bytes).unwrap().head;
    let cut = lines(&bytes)[..4].concat();
    assert_eq!(check(&cut).unwrap().records, 4);
    assert!(matches!(check_audit(&cut[..], Some(head)), Err(AuditError::NoSuchChain(chain)) if chain == head));
    let earlier = check(&cut).unwrap().head;
    assert_eq!(check_audit(&bytes[..], Some(earlier)).unwrap().head, head);
    assert_eq!(check_audit(&bytes[..], Some(head)).unwrap().head, head);
}

#[test]
fn a_torn_last_record_is_no_fault_and_is_cut_off_by_the_next_start() {
    let bytes = Site::filled().read(AUDIT_FILE);
    let before = lines(&bytes)[..4].concat();
    for end in before.len() + 1..bytes.len() {
        let summary = check(&bytes[..end]).unwrap();
        assert_eq!((summary.records, summary.torn_bytes), (4, (end - before.len()) as u64));
        // A block of it that never reached the disk reads as zeros.
        let mut holed = bytes.clone();
        holed[before.len()..end].fill(0);
        assert_eq!(check(&holed).unwrap().records, 4);
    }
    let site = Site::new();
    site.put(&bytes[..bytes.len() - 9]);
    site.log().append(&AuditRecord::started(), at(9)).unwrap();
    let healed = site.read(AUDIT_FILE);
    assert_eq!(healed[..before.len()], before);
    assert_eq!(check(&healed).unwrap().numbers, Some((1, 5)));
    assert_eq!(site.names(), [AUDIT_FILE]);
    // Holes before the last line are damage.
    let mut holed = bytes.clone();
    holed[3] = 0;
    assert_eq!(fault(&holed).0, 1);
}

/// A4: a log that doesn't hold is never written on, nor thrown away.
#[test]
fn a_damaged_log_is_kept_aside_and_a_new_chain_says_so() {
    let site = Site::filled();
    let mut damaged = site.read(AUDIT_FILE);
    damaged[20] ^= 1;
    for number in 1..=2 {
        site.put(&damaged);
        site.log().append(&AuditRecord::started(), at(9)).unwrap();
        assert_eq!(site.read(&format!("audit-damaged-{number}.log")), damaged);
        let anew = String::from_utf8(site.read(AUDIT_FILE)).unwrap();
        assert!(anew.contains(&format!("the log before is kept as audit-damaged-{number}.log: line 1: ")), "{anew}");
        assert!(anew.starts_with("{\"seq\":1,") && anew.contains("\"what\":\"begun-anew\""), "{anew}");
        assert_eq!(check(anew.as_bytes()).unwrap().records, 2);
    }
}

#[test]
fn a_full_file_gets_a_name_and_the_next_one_goes_on_from_its_chain() {
    let site = Site::new();
    let room = 2_000;
    let small = || site.log().with_bytes_max(room + AUDIT_LINE_BYTES_MAX as u64);
    let log = small();
    for second in 0..40 {
        log.append(&AuditRecord::fetch_begun(by(), id()), at(second)).unwrap();
    }
    drop(log);
    // A crash right after the renaming, and the file that was just made lost: the next start goes on all the same.
    let current = site.read(AUDIT_FILE);
    let last = check(&current).unwrap().numbers.unwrap().1;
    let folder = OsDir::open(site.folder.path()).unwrap();
    folder.rename(AUDIT_FILE, &*folder, &format!("audit-{last:012}.log")).unwrap();
    small().append(&AuditRecord::started(), at(50)).unwrap();
    let mut before = None;
    let mut next = 1;
    let mut names = site.names();
    names.sort();
    assert!(names.len() > 4, "{names:?}");
    for name in &names {
        let bytes = site.read(name);
        assert!(bytes.len() as u64 <= room + AUDIT_LINE_BYTES_MAX as u64);
        let summary = check(&bytes).unwrap();
        assert_eq!(summary.before, before, "{name}");
        assert_eq!(summary.numbers.unwrap().0, next, "{name}");
        assert!(before.is_none() || check_audit(&bytes[..], before).is_ok());
        before = Some(summary.head);
        next = summary.numbers.unwrap().1 + 1;
    }
    assert_eq!(names.last().unwrap(), AUDIT_FILE);
}

/// A record that fails is missing, and the log says so; whatever fails, the file holds.
#[test]
fn after_any_failing_operation_the_log_holds_and_says_what_is_missing() {
    for n in 1.. {
        let (site, faults) = (Site::filled(), Arc::new(Faults::default()));
        let log = AuditLog::new(FaultyDir::wrap(Arc::clone(&site.dir), &faults));
        faults.fail_next(n, std::io::ErrorKind::StorageFull);
        let first = log.append(&AuditRecord::started(), at(10));
        let second = log.append(&AuditRecord::fetch_begun(by(), id()), at(11));
        if first.is_ok() && second.is_ok() {
            assert!(n > 4 && faults.left() > 0, "operation {n} was passed over");
            return;
        }
        log.append(&AuditRecord::started(), at(12)).unwrap();
        let text = String::from_utf8(site.read(AUDIT_FILE)).unwrap();
        check(text.as_bytes()).unwrap();
        assert!(text.contains("1 records before this one couldn't be written"), "operation {n}: {text}");
    }
}

#[test]
fn the_longest_names_fit_into_a_line_and_longer_lines_are_refused() {
    let long = AuditBy { msp_id: MspId::new(&"\"".repeat(256)).unwrap(), ..by() };
    let id = SnapshotId {
        channel: format!("a{}", "b".repeat(248)).parse().unwrap(),
        block_number: crate::snapshot::BlockNumber(u64::MAX),
    };
    let site = Site::new();
    let record = AuditRecord { note: Some("\u{1}".repeat(300)), ..AuditRecord::fetch_ended(long, id, u64::MAX) };
    site.log().append(&record, at(0)).unwrap();
    let bytes = site.read(AUDIT_FILE);
    assert!(bytes.len() > 2_000 && bytes.len() < AUDIT_LINE_BYTES_MAX);
    assert_eq!(check(&bytes).unwrap().records, 1);
    let too_long = [&b" ".repeat(AUDIT_LINE_BYTES_MAX)[..], &bytes].concat();
    assert_eq!(fault(&too_long), (1, AuditFault::TooLong));
}

#[test]
fn another_spelling_of_a_record_is_refused() {
    let text = String::from_utf8(Site::filled().read(AUDIT_FILE)).unwrap();
    for (from, to) in [
        ("\"seq\":1", "\"seq\": 1"),
        ("\"what\":\"started\"", "\"what\":\"started\",\"what\":\"started\""),
        ("\"seq\":1", "\"seq\":1,\"seq2\":1"),
        ("started", "st\\u0061rted"),
    ] {
        let (line, fault) = fault(text.replacen(from, to, 1).as_bytes());
        assert!(line == 1 && matches!(fault, AuditFault::Spelling | AuditFault::NotARecord), "{to}: {fault:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_in_any_order_holds(picks in proptest::collection::vec(0usize..5, 1..30), reopen in any::<u32>()) {
        let (site, all) = (Site::new(), records());
        let mut log = site.log();
        for (step, pick) in picks.iter().enumerate() {
            log.append(&all[*pick], at(step as u64)).unwrap();
            if reopen >> step & 1 == 1 {
                log = site.log();
            }
        }
        let summary = check(&site.read(AUDIT_FILE)).unwrap();
        prop_assert_eq!((summary.records, summary.torn_bytes), (picks.len() as u64, 0));
    }
}
