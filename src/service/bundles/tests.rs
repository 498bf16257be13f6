//! Which configurations are taken after which; signed newer ones are tried in tests/config_at_start.rs.

use std::path::Path;

use super::*;
use crate::disk::OsDir;

fn block(name: &str) -> Given {
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network");
    ChannelConfig::from_block(&std::fs::read(network.join(name)).unwrap()).unwrap().into()
}

#[test]
fn an_older_configuration_is_refused_by_name_also_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let open = || Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
    let (old, new) = (block("genesis.block"), block("config_block.pb"));
    open().admit(&old).unwrap();
    // As its orderers signed it.
    open().admit(&new).unwrap();
    // The same one by a peer, with other signatures around it.
    open().admit(&block("config_block_from_peer.pb")).unwrap();
    let error = open().admit(&old).unwrap_err();
    assert!(matches!(error, BundleError::Rollback { .. }));
    let text = error.to_string();
    for part in [&old, &new].map(|given| format!("sequence {} of", given.newest().sequence())) {
        assert!(text.contains(&part), "{text}");
    }
    assert!(text.contains("bundles/mychannel"), "{text}");
    open().admit(&new).unwrap();
}

/// Defence: what is noted is compared again under the lock. Removed, of two processes that judged by the same record the slower one brings
/// the older configuration back.
#[test]
fn who_judged_earlier_does_not_write_over_what_is_newer() {
    let state = tempfile::tempdir().unwrap();
    let [slow, fast] = [(), ()].map(|()| Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap());
    let judged = slow.judge(&block("genesis.block")).unwrap();
    let newest = block("config_block.pb");
    fast.admit(&newest).unwrap();
    let error = slow.note(&judged).unwrap_err();
    assert!(matches!(error, BundleError::Rollback { .. }), "{error}");
    let recorded = fast.recorded(newest.channel()).unwrap();
    assert_eq!(recorded, Some(BundleRecord::of(newest.newest())));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages its file")]
fn a_damaged_record_stops_everything() {
    let state = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
    let config = block("config_block.pb");
    bundles.admit(&config).unwrap();
    let path = state.path().join("bundles/mychannel");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(state.path().join("bundles/other"), &whole).unwrap();
    let error = bundles.recorded(&"other".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("it is one of channel mychannel"), "{error}");
    for damaged in [&b"{\"sequence\":0}"[..], &whole[1..], &seal(MAGIC, &[0; ROOT_BYTES - 1]), &seal(MAGIC, &[0; 99])] {
        std::fs::write(&path, damaged).unwrap();
        let error = bundles.admit(&config).unwrap_err();
        assert!(matches!(error, BundleError::Unreadable { .. }), "{error}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test lays out its file")]
fn a_record_is_no_longer_than_a_block_may_be() {
    let state = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
    let file = std::fs::File::create(state.path().join("bundles/mychannel")).unwrap();
    let longest = seal(MAGIC, &[0; ROOT_BYTES]).len() as u64 + CONFIG_BYTES_MAX as u64;
    assert_eq!(longest, RECORD_BYTES_MAX);
    for (len, too_long) in [(longest, false), (longest + 1, true)] {
        file.set_len(len).unwrap();
        let error = bundles.recorded(&"mychannel".parse().unwrap()).unwrap_err();
        assert_eq!(matches!(error, BundleError::Disk(DiskError::TooLarge { .. })), too_long, "{error}");
    }
}
