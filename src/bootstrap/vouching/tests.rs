//! Which blocks are asked about, and what is kept of the answers.

use super::{
    blocks::{HOPELESS_BLOCKS_ASKED, LESSER_BLOCKS_PER_ORG},
    *,
};
use crate::{
    catalog::{
        Screening, TrustPolicy, TrustSettings,
        fixture::{COMMIT, manifest, manifest_of, member, network, now, offer, org, peer, says, says_so},
    },
    disk::OsDir,
    snapshot::{BlockHash, StateDbType},
};

/// What a join goes by.
struct Setting {
    config: ChannelConfig,
    trust: JoinTrust,
    own: MspId,
    clock: WallClock,
    ruled_out: RuledOut,
}

impl Setting {
    fn new(settings: &TrustSettings) -> Self {
        let config = network();
        let policy = TrustPolicy::new(settings, &config).unwrap();
        let trust = JoinTrust { policy, highest_had: None, allow_older: false, given: Statements::default() };
        Self { config, trust, own: org(9), clock: Arc::new(now), ruled_out: RuledOut::default() }
    }

    fn vouching<'a>(&'a self, records: Option<(&'a Records, &'a Workers)>) -> Vouching<'a> {
        Vouching::new(&self.trust, records, &self.own, &self.clock, &self.ruled_out).unwrap()
    }
}

/// The blocks that are asked about, in order, where `liars` invent 2000 newer ones and Org1 and Org2 have block 83.
fn asked(settings: &TrustSettings, liars: &[u8]) -> Vec<u64> {
    let setting = Setting::new(settings);
    let mut vouching = setting.vouching(None);
    let mut offers: Vec<Offer> = [1, 2].map(|org| offer(org, &manifest(83, 0), COMMIT)).into();
    for block in 1_000..3_000 {
        for liar in liars {
            offers.push(Offer { manifest: None, ..offer(*liar, &manifest(block, 9), COMMIT) });
        }
    }
    let mut asked = Vec::new();
    while let Some(block) = vouching.next_block(&setting.config, &offers, None) {
        vouching.asked.insert(block);
        for org in vouching.offering(&offers).get(&block).unwrap().values().flatten() {
            *vouching.lesser.entry((*org).clone()).or_default() += 1;
        }
        asked.push(block.0);
    }
    asked
}

/// Defence: only blocks that the rule could be satisfied for are asked about first, and few others. Removed, one organisation that
/// invents newer blocks holds every join up for days.
#[test]
fn invented_blocks_hide_no_block_that_enough_offer() {
    let all = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned();
    let two = TrustSettings { min_orgs: 2, require_live: true, ..TrustSettings::default() };
    let asked_first = asked(&two, &[3]);
    assert_eq!(asked_first[0], 83);
    assert_eq!(asked_first.len(), 1 + HOPELESS_BLOCKS_ASKED);
    // Two who collude where it takes three.
    let three = TrustSettings { policy: Some(all), ..two.clone() };
    assert_eq!(asked(&three, &[2, 3]).len(), HOPELESS_BLOCKS_ASKED);
    // Where others' stored words count, each organisation has its share.
    let stored = TrustSettings { require_live: false, ..two };
    let asked_on_a_chance = asked(&stored, &[3]);
    assert_eq!(asked_on_a_chance[0], 83);
    assert_eq!(asked_on_a_chance.len(), 1 + LESSER_BLOCKS_PER_ORG);
}

/// Defence: what an earlier join heard proves, but raises no doubt. Removed, an organisation whose peers have different state databases
/// counts for nobody who once heard one of them and now hears the other.
#[test]
fn an_earlier_word_matters_only_where_it_proves_something() {
    let (truth, lie, couch) = (manifest(83, 0), manifest(83, 9), manifest_of(83, 0, StateDbType::CouchDb));
    let matters = |require_live: bool, now_said: Option<Heard>, before: Heard| {
        let settings = TrustSettings { min_orgs: 2, require_live, ..TrustSettings::default() };
        let setting = Setting::new(&settings);
        let mut vouching = setting.vouching(None);
        vouching.statements.heard.extend(now_said);
        vouching.matters(&before.attestation)
    };
    let another_peer = member(1, "peer", 2030);
    for live in [true, false] {
        let heard = |manifest| Some(says(&peer(1), manifest));
        assert!(matters(live, heard(&truth), says(&peer(1), &lie)), "its own contradiction");
        assert!(!matters(live, heard(&truth), says(&peer(1), &truth)), "nothing new");
        assert!(!matters(live, heard(&truth), says(&another_peer, &couch)), "a doubt");
        assert_eq!(matters(live, None, says(&peer(1), &truth)), !live, "an organisation that is silent now");
    }
}

/// What a source relays, of so many different signers' words, each for another join.
fn relayed(words: u8) -> Vec<Heard> {
    let manifest = manifest(83, 0);
    let heard = |word| says_so(&peer(1), &manifest, |body| body.commit_hash = Some(BlockHash([word; 32])));
    (0..words).map(heard).collect()
}

/// Defence: what a source says again counts once. Removed, a join that waits for long, and asks again each time somebody comes, keeps
/// nothing of what is relayed from some time on.
#[test]
fn however_often_a_source_is_asked_what_it_relays_is_kept_once() {
    let (setting, relayed) = (Setting::new(&TrustSettings::default()), relayed(64));
    let all_bytes = heard_bytes(&relayed);
    assert!(all_bytes * 1_000 > HEARD_BYTES_MAX && all_bytes < HEARD_BYTES_MAX, "{all_bytes}");
    let mut vouching = setting.vouching(None);
    for _ in 0..1_000 {
        vouching.hear(manifest(83, 0).id(), relayed.clone());
        assert_eq!(vouching.statements.heard.len(), relayed.len());
    }
    assert_eq!(heard_bytes(&vouching.statements.heard), all_bytes);
}

/// R4: beyond the bound nothing that is relayed is kept, but what a source signs itself is.
#[test]
fn what_is_relayed_beyond_the_bound_is_passed_over() {
    let (mut setting, mut said) = (Setting::new(&TrustSettings::default()), relayed(4));
    setting.trust.given.heard = vec![says(&peer(2), &manifest(83, 0))];
    let given = &setting.trust.given.heard;
    let mut vouching = setting.vouching(None);
    assert_eq!(vouching.heard_bytes_max, heard_bytes(given) + HEARD_BYTES_MAX);
    let nonce = vouching.nonce.to_vec();
    said.push(says_so(&peer(1), &manifest(83, 0), |body| body.request_nonce = nonce));
    vouching.heard_bytes_max = heard_bytes(given) + heard_bytes(&said[..2]);
    vouching.hear(manifest(83, 0).id(), said.clone());
    let kept: Vec<_> = vouching.statements.heard.iter().map(|heard| heard.attestation.body_bytes()).collect();
    let right = [&given[0], &said[0], &said[1], &said[4]].map(|heard| heard.attestation.body_bytes());
    assert!(kept == right, "{} are kept", kept.len());
}

/// Defence: what earlier joins heard and proved counts once, too. Removed, it is there once more each time somebody comes.
#[tokio::test]
async fn however_often_a_block_is_asked_about_an_earlier_join_has_said_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
    let setting = Setting::new(&TrustSettings::default());
    let [truth, lie, other] = [0, 1, 2].map(|variant| says(&peer(2), &manifest(83, variant)));
    let screening = Screening { config: &setting.config, own_msp: &setting.own, now: now() };
    records.keep(&screening, &Statements { heard: vec![lie.clone()], ..Statements::default() });
    records.evidence(&Equivocation::new(lie.attestation, other.attestation, None).unwrap()).unwrap();
    let mut vouching = setting.vouching(Some((&records, &Workers::Inline)));
    for _ in 0..3 {
        vouching.hear(manifest(83, 0).id(), vec![truth.clone()]);
        vouching.remember(manifest(83, 0).id()).await;
        let Statements { heard, proofs, .. } = &vouching.statements;
        assert_eq!((heard.len(), proofs.len()), (2, 1));
    }
}
