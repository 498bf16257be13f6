use super::*;
use crate::{
    ledger::stores::membership,
    snapshot::protobuf::{put_bytes, put_number},
};

const PEER: &str = "Org1MSP";

/// Collections with name, policy and blocks to live.
fn package(collections: &[(&str, &[u8], u64)]) -> Vec<u8> {
    let mut package = Vec::new();
    for (name, signature_policy, blocks) in collections {
        let (mut policy, mut static_config, mut config) = (Vec::new(), Vec::new(), Vec::new());
        put_bytes(&mut policy, 1, &membership::tests::policy(&[(str::from_utf8(signature_policy).unwrap(), 0)]));
        put_bytes(&mut static_config, 1, name.as_bytes());
        put_bytes(&mut static_config, 2, &policy);
        put_number(&mut static_config, 4, 3);
        put_number(&mut static_config, 5, *blocks);
        put_bytes(&mut config, 1, &static_config);
        put_bytes(&mut package, 1, &config);
    }
    package
}

fn added(history: &mut CollectionHistory, block: u64, package: &[u8]) -> Result<(), StoreError> {
    history.add(&ConfigHistoryEntry { chaincode: "cc", block_number: BlockNumber(block), package })
}

#[test]
fn each_collection_has_its_own_history_and_implicit_ones_need_none() {
    let mut history = CollectionHistory::new(PEER);
    added(&mut history, 20, &package(&[("one", b"Org1MSP", 5), ("two", b"Org2MSP", 0)])).unwrap();
    added(&mut history, 10, &package(&[("one", b"Org2MSP", 7), ("gone", b"Org1MSP", 3)])).unwrap();
    let eligible = |collection, written| history.is_eligible("cc", collection, BlockNumber(written)).ok();
    assert_eq!([eligible("one", 15), eligible("one", 21), eligible("one", 10)], [Some(true), Some(true), None]);
    assert_eq!([eligible("two", 21), eligible("two", 15), eligible("three", 21)], [Some(false), None, None]);
    assert_eq!(eligible("_implicit_org_Org1MSP", 0), Some(true));
    assert_eq!(eligible("_implicit_org_Org2MSP", 0), Some(false));

    let expiry = |collection| {
        let state = history.state_expiry("cc", collection, BlockNumber(15));
        (
            state.ok().map(|block| block.map(|block| block.0)),
            history.private_data_expiry("cc", collection, BlockNumber(15)),
        )
    };
    assert_eq!(expiry("one"), (Some(Some(21)), Some(BlockNumber(23))));
    assert_eq!(expiry("two"), (Some(None), None));
    assert_eq!(expiry("gone"), (None, Some(BlockNumber(19))));
    assert_eq!(expiry("_implicit_org_Org2MSP"), (Some(None), None));
    let error = history.state_expiry("cc", "gone", BlockNumber(15)).unwrap_err();
    assert!(matches!(error, StoreError::NoConfig { why: ConfigFault::NotInNewest, .. }), "{error}");
}

#[test]
fn what_is_no_package_is_refused() {
    let good = package(&[("one", b"Org1MSP", 5)]);
    for bad in [&good[..good.len() - 1], b"\x08\x01", b"\x12\x00", b"\x0a\x00"] {
        let error = added(&mut CollectionHistory::new(PEER), 1, bad).unwrap_err();
        assert!(matches!(error, StoreError::Package { block_number: BlockNumber(1), .. }), "{bad:?}");
    }
}

/// R1: the collections of a package.
#[test]
fn the_configurations_are_bounded_in_number() {
    let (mut history, one) = (CollectionHistory::new(PEER), package(&[("one", b"", 0)]));
    history.configs = COLLECTION_CONFIGS_MAX - 1;
    added(&mut history, 1, &one).unwrap();
    assert!(matches!(added(&mut history, 1, &one), Err(StoreError::TooManyConfigs { .. })));
}
