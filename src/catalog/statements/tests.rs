use super::*;
use crate::{
    catalog::{
        AttestBody,
        fixture::{network, org},
        test_site::{Site, id, identity, now},
    },
    disk::faulty::{Faults, FaultyDir},
    msp::SerializedIdentity,
};
use std::time::Duration;

fn statement(byte: u8) -> OwnStatement {
    OwnStatement {
        snapshot_hash: SnapshotHash([byte; 32]),
        manifest_hash: ManifestHash([byte; 32]),
        commit_hash: Some(BlockHash([byte; 32])),
    }
}

/// Whether the store of Org1 keeps it.
fn keep(store: &StatementStore, attestation: &Attestation, now: SystemTime) -> bool {
    let (config, own_msp) = (network(), org(1));
    store.keep_all(&Screening { config: &config, own_msp: &own_msp, now }, &[attestation]).unwrap() == 1
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// What Org`org` says, if it says `byte`.
fn attestation(org: u8, byte: u8, valid_s: u64) -> Attestation {
    let by = identity(org);
    let body = AttestBody {
        id: id(83),
        snapshot_hash: SnapshotHash([byte; 32]),
        manifest_hash: ManifestHash([byte; 32]),
        commit_hash: None,
        config_sequence: 1,
        issued_at: seconds(now()),
        expires_at: seconds(now()) + valid_s,
        request_nonce: Vec::new(),
        identity: SerializedIdentity::clone(by.identity.serialized()),
    };
    Attestation::sign(&body, &by).unwrap()
}

/// Defence: what was signed is on disk before the signature; removed, a restart forgets it.
#[test]
fn the_first_statement_stays_for_ever() {
    let site = Site::new();
    site.statements().allow(&id(83), statement(1)).unwrap();
    // Restarted each time.
    site.statements().allow(&id(83), statement(1)).unwrap();
    let refused = site.statements().allow(&id(83), statement(2)).unwrap_err();
    let text = refused.to_string();
    for part in ["mychannel/83", &"01".repeat(32), &"02".repeat(32), "statements/mychannel/83/guard"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for mixed in [
        OwnStatement { manifest_hash: ManifestHash([2; 32]), ..statement(1) },
        OwnStatement { commit_hash: Some(BlockHash([2; 32])), ..statement(1) },
        OwnStatement { commit_hash: None, ..statement(1) },
    ] {
        assert!(matches!(site.statements().allow(&id(83), mixed), Err(StatementError::SignedAnother { .. })));
    }
    assert_eq!(site.statements().signed(&id(83)).unwrap(), Some(statement(1)));
    site.statements().allow(&id(84), statement(2)).unwrap();
    let none = OwnStatement { commit_hash: None, ..statement(2) };
    site.statements().allow(&id(85), none).unwrap();
    assert_eq!(site.statements().signed(&id(85)).unwrap(), Some(none));
    assert!(site.statements().allow(&id(85), statement(2)).is_err());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages a file")]
fn a_damaged_guard_refuses_and_is_never_written_over() {
    let site = Site::new();
    site.statements().allow(&id(83), statement(1)).unwrap();
    let guard = site.path("statements/mychannel/83/guard");
    let whole = std::fs::read(&guard).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    let sealed = |content: &[u8]| seal(GUARD_MAGIC, content);
    // The last one: a commit hash that is there and isn't.
    let odd = [sealed(&[1; 64]), sealed(&[1; 96]), sealed(&[0; 98]), sealed(&[&[1; 64][..], &[0], &[1; 32]].concat())];
    for damaged in [Vec::new(), whole[..40].to_vec(), flipped, vec![0; 10_000]].into_iter().chain(odd) {
        std::fs::write(&guard, &damaged).unwrap();
        let refused = site.statements().allow(&id(83), statement(1)).unwrap_err();
        assert!(
            refused.to_string().contains("statements/mychannel/83/guard in the state folder is damaged"),
            "{refused}"
        );
        assert_eq!(std::fs::read(&guard).unwrap(), damaged);
    }
}

#[test]
fn whatever_fails_while_the_guard_is_written_nothing_is_allowed_and_no_other_statement_slips_in() {
    let mut failed = 0;
    for n in 1.. {
        let site = Site::new();
        let faults = Arc::new(Faults::default());
        let store = StatementStore::open(FaultyDir::wrap(site.open("statements"), &faults));
        faults.fail_next(n, std::io::ErrorKind::Other);
        let allowed = store.allow(&id(83), statement(1));
        if faults.left() > 0 {
            allowed.unwrap();
            break;
        }
        failed += 1;
        // What a power cut leaves is the old name or the whole new file: so does this.
        let signed = site.statements().signed(&id(83)).unwrap();
        if allowed.is_ok() {
            assert_eq!(signed, Some(statement(1)), "fault {n}");
        }
        let other = site.statements().allow(&id(83), statement(2));
        assert_eq!(other.is_ok(), signed.is_none(), "fault {n}");
    }
    assert!(failed >= 6, "{failed}");
}

#[test]
fn attestations_of_others_are_kept_once_each_and_dropped_when_they_expire() {
    let site = Site::new();
    let store = site.statements();
    let (short, long, another) = (attestation(2, 1, 60), attestation(2, 1, 600), attestation(3, 1, 60));
    assert!(keep(&store, &short, now()));
    assert!(!keep(&store, &short, now()), "a repetition");
    assert!(keep(&store, &long, now()), "the same, for longer");
    assert!(!keep(&store, &short, now()), "never the shorter one for the longer one");
    assert!(keep(&store, &another, now()));
    let said = |store: &StatementStore, later: u64| -> Vec<(String, u64)> {
        let kept = store.foreign(&id(83), now() + Duration::from_secs(later));
        kept.iter().map(|kept| (kept.identity().msp_id().to_string(), kept.body().expires_at)).collect()
    };
    let expected = [("Org2MSP".to_owned(), seconds(now()) + 600), ("Org3MSP".to_owned(), seconds(now()) + 60)];
    assert_eq!(said(&site.statements(), 0), expected);
    assert_eq!(said(&store, 60), expected[..1]);
    assert!(!keep(&store, &long, now() + Duration::from_secs(600)), "expired");
    assert_eq!(store.foreign(&id(84), now()).len(), 0);
    assert_eq!(store.foreign(&id(83), now())[0].body_bytes(), long.body_bytes());
}

#[test]
fn an_organisation_has_its_share_and_no_more() {
    let store = Site::new();
    let store = store.statements();
    for byte in 0..u8::try_from(FOREIGN_PER_ORG_MAX).unwrap() {
        assert!(keep(&store, &attestation(2, byte, 60), now()));
    }
    assert!(!keep(&store, &attestation(2, 99, 60), now()));
    assert!(keep(&store, &attestation(3, 1, 60), now()), "others still have theirs");
    // Most of one size as large as they come, in one file, must still be read.
    let longest = SEAL_BYTES + (FOREIGN_PER_BLOCK_MAX * (ATTESTATION_FILE_BYTES_MAX + 4)) as u64;
    assert!(longest < 1 << 20, "an answer with all of them fits into a frame");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages files")]
fn damaged_copies_are_dropped_and_kept_anew() {
    let site = Site::new();
    let store = site.statements();
    assert!(keep(&store, &attestation(2, 1, 60), now()));
    store.keep_own(&attestation(1, 1, 60)).unwrap();
    assert_eq!(store.own(&id(83)).unwrap().identity().msp_id().as_str(), "Org1MSP");
    for name in ["own", "others"] {
        std::fs::write(site.path(&format!("statements/mychannel/83/{name}")), "torn").unwrap();
    }
    assert!(store.own(&id(83)).is_none());
    assert_eq!(store.foreign(&id(83), now()).len(), 0);
    assert!(keep(&store, &attestation(2, 1, 60), now()));
}
