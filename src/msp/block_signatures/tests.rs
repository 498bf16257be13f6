//! Blocks of the recorded network, and of channels made for the purpose.

use std::{collections::HashMap, fs, path::Path};

use prost::Message;

use crate::msp::{
    ChannelConfig, ConfigError, MspError, MspVersion, PolicyError, PrincipalRole,
    pb::common::{self, MetadataSignature},
    test_channel::{
        Somebody, TestOrg, block, channel, numbered_signature, out_of, role, signature, signature_policy, signed,
        signed_by, value,
    },
};

fn recorded(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(name)).unwrap()
}

/// A channel of one application organisation and one of orderers.
struct Net {
    application: TestOrg,
    orderers: TestOrg,
    group: common::ConfigGroup,
}

fn net() -> Net {
    let (application, orderers) = (TestOrg::new("Org1MSP"), TestOrg::new("OrdererMSP"));
    let group = channel(std::slice::from_ref(&application), std::slice::from_ref(&orderers));
    Net { application, orderers, group }
}

impl Net {
    fn genesis(&self) -> Vec<u8> {
        block(0, 0, self.group.clone()).encode_to_vec()
    }

    fn config(&self) -> ChannelConfig {
        ChannelConfig::from_block(&self.genesis()).unwrap()
    }

    /// A block with the same configuration once more, signed by those.
    fn block(&self, number: u64, sequence: u64, signers: &[&Somebody]) -> Vec<u8> {
        self.with(number, sequence, |block| signers.iter().map(|signer| signature(block, signer)).collect())
    }

    fn with(
        &self,
        number: u64,
        sequence: u64,
        signatures: impl FnOnce(&common::Block) -> Vec<MetadataSignature>,
    ) -> Vec<u8> {
        let block = block(number, sequence, self.group.clone());
        let signatures = signatures(&block);
        signed(block, signatures)
    }

    fn orderer_group(&mut self) -> &mut common::ConfigGroup {
        self.group.groups.get_mut("Orderer").unwrap()
    }
}

fn walk(genesis: &[u8], blocks: &[&[u8]]) -> Result<ChannelConfig, ConfigError> {
    ChannelConfig::walk(genesis, blocks.iter().copied())
}

#[track_caller]
fn not_signed(result: Result<ChannelConfig, ConfigError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, ConfigError::NotSigned { .. }), "{error}");
    error.to_string()
}

#[test]
fn the_recorded_configuration_follows_from_its_genesis_block() {
    let genesis = recorded("genesis.block");
    let first = ChannelConfig::from_block(&genesis).unwrap();
    // As the orderer and as a peer give it: the peer's has more metadata.
    for name in ["config_block.pb", "config_block_from_peer.pb"] {
        let block = recorded(name);
        let config = walk(&genesis, &[&block]).unwrap();
        assert_eq!((config.sequence(), config.block_number().0), (1, 82));
        assert_eq!(first.successor(&block).unwrap().block_sha256(), config.block_sha256());
        // It isn't newer than itself.
        assert!(matches!(config.successor(&block), Err(ConfigError::NotNewer { found: 1, current: 1 })));
    }
    assert_eq!(walk(&genesis, &[]).unwrap().sequence(), 0);
}

#[test]
fn a_bit_flipped_in_what_is_signed_is_noticed() {
    let first = ChannelConfig::from_block(&recorded("genesis.block")).unwrap();
    let block = common::Block::decode(&*recorded("config_block.pb")).unwrap();
    let flipped = |change: &dyn Fn(&mut common::Block)| {
        let mut block = block.clone();
        change(&mut block);
        first.successor(&block.encode_to_vec())
    };
    flipped(&|_| ()).unwrap();
    let flip = |bytes: &mut bytes::Bytes, at: usize, bit: usize| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << bit;
        *bytes = changed.into();
    };
    for bit in 0..8 {
        not_signed(flipped(&|block| flip(&mut block.header.as_mut().unwrap().previous_hash, 3 * bit, bit)));
        not_signed(flipped(&|block| block.header.as_mut().unwrap().number ^= 0x100 << bit));
        let damaged = flipped(&|block| flip(&mut block.data.as_mut().unwrap().data[0], 5000 + bit, bit));
        assert!(matches!(damaged, Err(ConfigError::DataHash)));
        let damaged = flipped(&|block| flip(&mut block.header.as_mut().unwrap().data_hash, 3 * bit, bit));
        assert!(matches!(damaged, Err(ConfigError::DataHash)));
    }
    // Every byte of the metadata with the signatures: value, headers, signature. None may be another and still count.
    let metadata = block.metadata.as_ref().unwrap().metadata[0].clone();
    for at in 0..metadata.len() {
        let refused = flipped(&|block| flip(&mut block.metadata.as_mut().unwrap().metadata[0], at, at % 8));
        assert!(refused.is_err(), "byte {at} of {}", metadata.len());
    }
    let without = flipped(&|block| block.metadata = None);
    assert!(matches!(without, Err(ConfigError::Missing(_))));
    let none = flipped(&|block| block.metadata.as_mut().unwrap().metadata.clear());
    assert!(matches!(none, Err(ConfigError::Missing(_))));
    not_signed(flipped(&|block| block.metadata.as_mut().unwrap().metadata[0].clear()));
}

#[test]
fn only_orderers_of_the_channel_sign_blocks() {
    let net = net();
    let config = net.config();
    let orderer = net.orderers.issue("orderer");
    config.successor(&net.block(5, 1, &[&orderer])).unwrap();
    // BlockValidation is ANY Writers, and those are all members.
    config.successor(&net.block(5, 1, &[&net.orderers.issue("admin")])).unwrap();
    for stranger in [
        net.application.issue("orderer"),
        net.application.issue("admin"),
        TestOrg::new("OrdererMSP").issue("orderer"),
        TestOrg::new("OtherMSP").issue("orderer"),
    ] {
        let said = not_signed(config.successor(&net.block(5, 1, &[&stranger])));
        assert!(said.contains("give the config blocks in between too"), "{said}");
        config.successor(&net.block(5, 1, &[&stranger, &orderer])).unwrap();
    }
    not_signed(config.successor(&net.block(5, 1, &[])));
    // A signature of another block, or of the same one by somebody else's name.
    let other = block(6, 1, net.group.clone());
    not_signed(config.successor(&net.with(5, 1, |_| vec![signature(&other, &orderer)])));
    let second = net.orderers.issue("orderer");
    not_signed(config.successor(&net.with(5, 1, |block| {
        let named = signature(block, &second);
        vec![MetadataSignature { signature: signature(block, &orderer).signature, ..named }]
    })));
}

#[test]
fn an_orderer_who_signs_twice_is_one() {
    let mut net = net();
    let two = signature_policy(
        out_of(2, vec![signed_by(0), signed_by(1)]),
        vec![role("OrdererMSP", PrincipalRole::Orderer); 2],
    );
    net.orderer_group().policies.insert("BlockValidation".to_owned(), two);
    let config = net.config();
    let (one, other) = (net.orderers.issue("orderer"), net.orderers.issue("orderer"));
    config.successor(&net.block(5, 1, &[&one, &other])).unwrap();
    not_signed(config.successor(&net.block(5, 1, &[&one, &one, &one])));
    // A wrong signature in somebody's name doesn't keep the right one behind it from counting.
    let elsewhere = block(9, 1, net.group.clone());
    let with_wrong_first = |block: &common::Block| {
        let wrong = MetadataSignature { signature: signature(&elsewhere, &one).signature, ..signature(block, &one) };
        vec![wrong, signature(block, &one), signature(block, &other)]
    };
    config.successor(&net.with(5, 1, with_wrong_first)).unwrap();
}

#[test]
fn bft_orderers_sign_by_their_number() {
    let mut net = net();
    let orderers: Vec<Somebody> = (0..4).map(|_| net.orderers.issue("orderer")).collect();
    let consenter = |(id, orderer): (u32, &Somebody)| common::Consenter {
        id,
        msp_id: "OrdererMSP".to_owned(),
        identity: orderer.identity.serialized().id_bytes.clone(),
    };
    let consenters = common::Orderers { consenter_mapping: (1..).zip(&orderers).map(consenter).collect() };
    net.orderer_group().values.insert("Orderers".to_owned(), value(&consenters));
    let member = vec![role("OrdererMSP", PrincipalRole::Member); 4];
    let three_of_four = signature_policy(out_of(3, (0..4).map(signed_by).collect()), member);
    net.orderer_group().policies.insert("BlockValidation".to_owned(), three_of_four);

    let config = net.config();
    let numbered = |ids: &[(u32, usize)]| {
        net.with(5, 1, |block| ids.iter().map(|(id, by)| numbered_signature(block, *id, &orderers[*by])).collect())
    };
    config.successor(&numbered(&[(1, 0), (4, 3), (2, 1)])).unwrap();
    not_signed(config.successor(&numbered(&[(1, 0), (4, 3)])));
    not_signed(config.successor(&numbered(&[(1, 0), (1, 0), (4, 3), (4, 3)])));
    // One signs under another's number, or a number that nobody has.
    not_signed(config.successor(&numbered(&[(1, 0), (4, 3), (2, 2)])));
    not_signed(config.successor(&numbered(&[(1, 0), (4, 3), (9, 2)])));
    // Named in full it counts too, and only once with its number.
    let mixed = |ids: &'static [u32]| {
        net.with(5, 1, |block| {
            let mut signatures = vec![signature(block, &orderers[0]), signature(block, &orderers[1])];
            signatures.extend(ids.iter().map(|id| numbered_signature(block, *id, &orderers[*id as usize - 1])));
            signatures
        })
    };
    config.successor(&mixed(&[3])).unwrap();
    not_signed(config.successor(&mixed(&[1, 2])));

    // Without the capability numbers mean nothing.
    let old = common::Capabilities { capabilities: HashMap::from([("V2_0".to_owned(), common::Capability {})]) };
    let block_of_v3 = numbered(&[(1, 0), (4, 3), (2, 1)]);
    net.group.values.insert("Capabilities".to_owned(), value(&old));
    let config = net.config();
    assert_eq!(config.msp_version(), MspVersion::V1_4_3);
    not_signed(config.successor(&block_of_v3));
}

#[test]
fn a_walk_leaves_no_configuration_out() {
    let mut net = net();
    let genesis = net.genesis();
    let orderer = net.orderers.issue("orderer");
    let one = net.block(10, 1, &[&orderer]);
    // Configuration 2 hands the channel to other orderers, who sign from then on.
    let others = TestOrg::new("NewOrdererMSP");
    let new_group = channel(std::slice::from_ref(&net.application), std::slice::from_ref(&others));
    let old_group = std::mem::replace(&mut net.group, new_group);
    let two = net.block(20, 2, &[&orderer]);
    let new_orderer = others.issue("orderer");
    let three = net.block(30, 3, &[&new_orderer]);

    let config = walk(&genesis, &[&one, &two, &three]).unwrap();
    assert_eq!((config.sequence(), config.block_number().0), (3, 30));
    let refused = |blocks: &[&[u8]], position: usize| match walk(&genesis, blocks).unwrap_err() {
        ConfigError::InWalk { position: found, source } => {
            assert_eq!(found, position);
            *source
        }
        other => panic!("{other}"),
    };
    assert!(matches!(refused(&[&two, &three], 1), ConfigError::Gap { found: 2, current: 0 }));
    assert!(matches!(refused(&[&one, &three], 2), ConfigError::NotSigned { sequence: 1, .. }));
    assert!(matches!(refused(&[&one, &one], 2), ConfigError::NotNewer { .. }));
    assert!(matches!(refused(&[&one, &two, &one], 3), ConfigError::NotNewer { .. }));
    // The old orderers can't go on, even with a configuration that would be theirs.
    net.group = old_group;
    let forged = net.block(30, 3, &[&orderer]);
    assert!(matches!(refused(&[&one, &two, &forged], 3), ConfigError::NotSigned { sequence: 2, .. }));
    // Greater in sequence, but earlier in the chain.
    let early = net.block(10, 2, &[&orderer]);
    assert!(matches!(refused(&[&one, &early], 2), ConfigError::NotLater { .. }));
    assert!(matches!(walk(&one, &[]), Err(ConfigError::NotGenesis(number)) if number.0 == 10));
    let said = walk(&genesis, &[&two]).unwrap_err().to_string();
    assert!(
        said.contains("config block 1 of those given") && said.contains("give the config blocks in between"),
        "{said}"
    );
}

#[test]
fn another_channel_and_a_channel_without_the_policy_have_no_successor() {
    let mut net = net();
    let orderer = net.orderers.issue("orderer");
    let block = net.block(5, 1, &[&orderer]);
    let recorded = ChannelConfig::from_block(&recorded("genesis.block")).unwrap();
    assert!(matches!(recorded.successor(&block), Err(ConfigError::OtherChannel { .. })));
    net.orderer_group().policies.remove("BlockValidation");
    let refused = net.config().successor(&block).unwrap_err();
    let ConfigError::NotSigned { source, .. } = refused else { panic!("{refused}") };
    assert!(matches!(*source, MspError::Policy(PolicyError::Missing { .. })), "{source}");
}

#[test]
fn signatures_and_consenters_are_read_up_to_a_limit() {
    let mut net = net();
    let config = net.config();
    let orderer = net.orderers.issue("orderer");
    let many = |count: usize| net.with(5, 1, |block| vec![signature(block, &orderer); count]);
    config.successor(&many(1024)).unwrap();
    assert!(matches!(config.successor(&many(1025)), Err(ConfigError::TooManySigners(1024))));
    let mut with_consenters = |count: usize| {
        let consenters = common::Orderers { consenter_mapping: vec![common::Consenter::default(); count] };
        net.orderer_group().values.insert("Orderers".to_owned(), value(&consenters));
        ChannelConfig::from_block(&net.genesis())
    };
    with_consenters(1024).unwrap();
    assert!(matches!(with_consenters(1025), Err(ConfigError::TooManySigners(1024))));
}
