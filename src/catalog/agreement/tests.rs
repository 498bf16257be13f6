use super::*;
use crate::snapshot::{ChunkRoot, FileDigest, ManifestFile, SignableMetadata, SnapshotFile};
use proptest::prelude::*;

const FILES: [SnapshotFile; 4] = [
    SnapshotFile::PublicStateData,
    SnapshotFile::PublicStateMetadata,
    SnapshotFile::TxIdsData,
    SnapshotFile::TxIdsMetadata,
];

/// A manifest of a made-up snapshot; another `variant` has other bytes.
fn manifest(block: u64, variant: u8, db_type: StateDbType) -> Manifest {
    let id = SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(block) };
    let digests = FILES.into_iter().map(|file| (file, FileDigest([variant; 32]))).collect();
    let hash = BlockHash([1; 32]);
    let signable = SignableMetadata::new(id, hash, Some(hash), digests, db_type).unwrap();
    let sha256 = FileDigest([variant; 32]);
    let files = FILES.into_iter().map(|file| ManifestFile { file, size: 9, sha256, root: ChunkRoot([variant; 32]) });
    Manifest::new(signable, files.collect()).unwrap()
}

/// What peer `peer` of Org`org` offers.
fn offer(org: u8, peer: u8, block: u64, variant: u8) -> Offer {
    let manifest = manifest(block, variant, StateDbType::SimpleKeyValueDb);
    Offer {
        source: format!("peer{peer}.org{org}:7061"),
        msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(),
        identity_id: IdentityId([org * 16 + peer; 32]),
        entry: CatalogEntry {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            files: 4,
            only_metadata_available: false,
            partial: false,
        },
        manifest: Some(manifest),
        commit_hash: Some(BlockHash([2; 32])),
    }
}

fn decide(offers: &[Offer]) -> Result<AgreedSnapshot, AgreementError> {
    agree(&"ch1".parse().unwrap(), offers, &TrustPolicy { min_orgs: 2 }, None)
}

#[test]
fn the_newest_block_that_two_organisations_offer_alike_wins() {
    let offers =
        [offer(1, 0, 83, 0), offer(2, 0, 83, 0), offer(1, 0, 132, 0), offer(2, 0, 132, 0), offer(1, 0, 200, 0)];
    let agreed = decide(&offers).unwrap();
    assert_eq!(agreed.id().block_number, BlockNumber(132));
    assert_eq!(agreed.vouching_orgs().iter().map(MspId::as_str).collect::<Vec<_>>(), ["Org1MSP", "Org2MSP"]);
    assert_eq!(agreed.sources().len(), 2);
    assert_eq!(agreed.commit_hash(), Some(BlockHash([2; 32])));
    let older = agree(&"ch1".parse().unwrap(), &offers, &TrustPolicy { min_orgs: 2 }, Some(BlockNumber(83)));
    assert_eq!(older.unwrap().id().block_number, BlockNumber(83));
}

#[test]
fn two_peers_of_one_organisation_count_once() {
    let offers = [offer(1, 0, 83, 0), offer(1, 1, 83, 0)];
    let error = decide(&offers).unwrap_err();
    let AgreementError::NotReached { tallies, .. } = &error else { panic!("{error}") };
    assert_eq!(tallies[0].camps[0].sources.len(), 2);
    assert!(error.to_string().contains("block 83: Org1MSP offers snapshot"), "{error}");
}

#[test]
fn a_lying_minority_is_outvoted_and_no_source() {
    let offers = [offer(1, 0, 83, 0), offer(2, 0, 83, 9), offer(3, 0, 83, 0)];
    let agreed = decide(&offers).unwrap();
    assert_eq!(agreed.manifest().files()[0].root, ChunkRoot([0; 32]));
    assert!(!agreed.sources().contains("peer0.org2:7061"));
}

#[test]
fn one_organisations_commit_hash_cannot_stop_the_others() {
    let mut liar = offer(1, 0, 83, 0);
    liar.commit_hash = None;
    let agreed = decide(&[liar.clone(), offer(2, 0, 83, 0), offer(3, 0, 83, 0)]).unwrap();
    assert_eq!(agreed.commit_hash(), Some(BlockHash([2; 32])));
    let error = decide(&[liar, offer(2, 0, 83, 0)]).unwrap_err();
    assert!(error.to_string().contains("no commit hash"), "{error}");
}

#[test]
fn two_answers_that_both_have_enough_stop_the_join() {
    let offers = [offer(1, 0, 83, 0), offer(2, 0, 83, 0), offer(3, 0, 83, 9), offer(4, 0, 83, 9)];
    assert!(matches!(decide(&offers), Err(AgreementError::Split { .. })));
}

#[test]
fn who_contradicts_itself_counts_for_nothing() {
    let mut other_place = offer(2, 0, 83, 9);
    other_place.source = "elsewhere:7061".to_owned();
    let error = decide(&[offer(1, 0, 83, 0), offer(2, 0, 83, 0), other_place]).unwrap_err();
    assert!(
        error.to_string().contains("contradicting themselves: Org2MSP at elsewhere:7061, Org2MSP at peer0"),
        "{error}"
    );
    let mut same_place = offer(2, 1, 83, 9);
    same_place.source = "peer0.org2:7061".to_owned();
    assert!(decide(&[offer(1, 0, 83, 0), offer(2, 0, 83, 0), same_place]).is_err());
}

#[test]
fn a_mere_difference_of_state_database_is_named() {
    let mut couch = offer(2, 0, 83, 0);
    let manifest = manifest(83, 0, StateDbType::CouchDb);
    couch.entry.manifest_hash = manifest.hash();
    couch.entry.snapshot_hash = manifest.signable().hash();
    couch.manifest = Some(manifest);
    let text = decide(&[offer(1, 0, 83, 0), couch]).unwrap_err().to_string();
    assert!(text.contains("different state databases, CouchDB and SimpleKeyValueDB"), "{text}");
}

#[test]
fn a_partial_source_serves_but_does_not_vouch_and_a_deleted_one_vouches_but_does_not_serve() {
    let mut partial = offer(2, 0, 83, 0);
    partial.entry.partial = true;
    assert!(decide(&[offer(1, 0, 83, 0), partial.clone()]).is_err());
    let mut deleted = offer(3, 0, 83, 0);
    deleted.entry.only_metadata_available = true;
    let agreed = decide(&[offer(1, 0, 83, 0), partial, deleted]).unwrap();
    assert_eq!(agreed.vouching_orgs().len(), 2);
    assert_eq!(agreed.sources().iter().map(String::as_str).collect::<Vec<_>>(), ["peer0.org1:7061", "peer0.org2:7061"]);
}

#[test]
fn a_snapshot_whose_data_nobody_has_any_more_gives_way_to_an_older_one() {
    let metadata_only = |org, variant| {
        let mut offer = offer(org, 0, 132, variant);
        offer.entry.only_metadata_available = true;
        offer
    };
    let deleted = [metadata_only(1, 0), metadata_only(2, 0)];
    let error = decide(&deleted).unwrap_err();
    assert!(matches!(error, AgreementError::NotReached { .. }), "{error}");
    assert!(error.to_string().contains("block 132: Org1MSP, Org2MSP offer snapshot"), "{error}");
    assert!(error.to_string().contains("only its metadata: nobody has the data any more"), "{error}");

    let older = [offer(1, 0, 83, 0), offer(2, 0, 83, 0)];
    let offers = [&deleted[..], &older].concat();
    assert_eq!(decide(&offers).unwrap().id().block_number, BlockNumber(83));
    let mut partial = offer(3, 0, 132, 0);
    partial.entry.partial = true;
    assert_eq!(decide(&[&offers[..], &[partial]].concat()).unwrap().id().block_number, BlockNumber(132));
    // Which of two is true can't be told by who still has data.
    let split = [&offers[..], &[offer(3, 0, 132, 9), offer(4, 0, 132, 9)]].concat();
    assert!(matches!(decide(&split), Err(AgreementError::Split { .. })));
}

#[test]
fn a_manifest_that_is_not_the_named_one_is_not_used() {
    let (mut one, mut two) = (offer(1, 0, 83, 0), offer(2, 0, 83, 0));
    one.manifest = Some(manifest(83, 5, StateDbType::SimpleKeyValueDb));
    two.manifest = None;
    let error = decide(&[one.clone(), two]).unwrap_err();
    assert!(matches!(error, AgreementError::ManifestMissing { .. }), "{error}");
    assert_eq!(decide(&[one, offer(2, 0, 83, 0)]).unwrap().manifest().files()[0].root, ChunkRoot([0; 32]));
}

#[test]
fn other_channels_do_not_count_and_nothing_offered_is_said_so() {
    let agreed = agree(&"ch2".parse().unwrap(), &[offer(1, 0, 83, 0)], &TrustPolicy { min_orgs: 1 }, None);
    assert!(matches!(agreed, Err(AgreementError::NothingOffered { .. })));
    let none =
        agree(&"ch1".parse().unwrap(), &[offer(1, 0, 83, 0)], &TrustPolicy { min_orgs: 1 }, Some(BlockNumber(7)));
    assert!(none.unwrap_err().to_string().contains("at block 7"));
}

proptest! {
    /// Order and repetition of offers never change the verdict, and an agreed snapshot really has enough organisations.
    #[test]
    fn arrival_changes_nothing(
        claims in prop::collection::vec((1_u8..5, 0_u8..3, 80_u64..83, 0_u8..2), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        min_orgs in 1_u32..4,
    ) {
        let offers: Vec<Offer> = claims.iter().map(|(org, peer, block, variant)| offer(*org, *peer, *block, *variant)).collect();
        let mut shuffled: Vec<Offer> = order.iter().map(|index| offers[index.index(offers.len())].clone()).collect();
        shuffled.extend(offers.iter().rev().cloned());
        let policy = TrustPolicy { min_orgs };
        let channel = "ch1".parse().unwrap();
        let (first, second) = (agree(&channel, &offers, &policy, None), agree(&channel, &shuffled, &policy, None));
        if let Ok(agreed) = &first {
            let same = |offer: &&Offer| offer.entry.manifest_hash == agreed.manifest_hash();
            let orgs: BTreeSet<&MspId> = offers.iter().filter(same).map(|offer| &offer.msp_id).collect();
            prop_assert!(agreed.vouching_orgs().len() >= min_orgs as usize);
            prop_assert!(agreed.vouching_orgs().iter().all(|org| orgs.contains(org)));
        }
        match (first, second) {
            (Ok(first), Ok(second)) => prop_assert_eq!(first, second),
            (Err(first), Err(second)) => prop_assert_eq!(first.to_string(), second.to_string()),
            (first, second) => prop_assert!(false, "{:?} but {:?}", first, second),
        }
    }
}
