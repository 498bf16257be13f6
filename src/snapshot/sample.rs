//! A valid synthetic snapshot of any size: streamed, and the same bytes for the same [`SampleSpec`].
//!
//! It looks like the state of a chaincode `asset` with one private collection, so that a real peer would accept it: the channel's
//! configuration first, then the chaincode's definition in `_lifecycle`, then its keys. Block hashes are invented from the seed.

use super::{
    BlockHash, BlockNumber, ChannelId, ConfigHistoryEntry, Height, Manifest, SnapshotFacts, SnapshotId,
    SnapshotMetadata, SnapshotWriter, StateDbType, StateRecord, WriteError,
    protobuf::{put_bytes, put_number},
    records::CHANNEL_CONFIG_KEY,
};
use crate::disk::Dir;

const CHAINCODE: &str = "asset";
/// Private keys that a block of a sample with expiring data wrote, about.
const EXPIRING_PER_BLOCK: u64 = 1_250;
/// How many blocks they live.
const BLOCKS_TO_LIVE: u64 = 1_000_000;
const COLLECTION: &str = "collection-1";
const PRIVATE_NAMESPACE: &str = "asset$$hcollection-1";

/// The block that defined the chaincode; what it wrote came later.
const DEFINITION_BLOCK: BlockNumber = BlockNumber(2);
/// Bytes of a record of the public state without its value, about: key, version, lengths.
const KEY_BYTES_BESIDE_VALUE: u64 = 36;
/// Bytes of a private hash's record, about.
const PRIVATE_HASH_BYTES: u64 = 79;
/// Bytes of a transaction id: 64 digits and their length.
const TX_ID_BYTES: u64 = 65;

/// What a sample shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSpec {
    /// The block that the configuration came from: the snapshot ends later.
    pub config_block: BlockNumber,
    /// The channel.
    pub channel: ChannelId,
    /// Serialized common.ConfigEnvelope: value of the channel-configuration record.
    pub channel_config: Vec<u8>,
    /// MSP IDs of the private collection's members, one at least if there are private hashes.
    pub collection_members: Vec<String>,
    /// How much of everything.
    pub numbers: SampleNumbers,
    /// Another seed gives other bytes.
    pub seed: u64,
    /// Whether private data expire: then some 1250 of them were written by each of the last blocks that wrote any.
    pub expiring: bool,
    /// Whether values are JSON (zstd level 1 shrinks the state about 3.9 times, as it does real state) or random bytes.
    pub compressible: bool,
}

/// How much of everything a sample holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleNumbers {
    /// Keys of the chaincode.
    pub keys: u64,
    /// Bytes of each value; at least one is written.
    pub value_bytes: u32,
    /// Hashes of private keys.
    pub private_hashes: u64,
    /// Transaction ids; at least one is written. Every channel has its genesis block's, and a peer that was given none leaves
    /// the files out of its own snapshots, from which no peer can join (fabric: common/ledger/blkstorage/blockindex.go).
    pub tx_ids: u64,
}

impl SampleNumbers {
    /// Numbers for about `total_bytes` (some 5 %; not below the channel's configuration): a private hash for every fourth key and a
    /// transaction id for every fifth, as in the snapshots that were measured. Random values are long, so that their keys,
    /// which do compress, weigh nothing.
    #[must_use]
    pub const fn for_size(total_bytes: u64, compressible: bool) -> Self {
        let rest = KEY_BYTES_BESIDE_VALUE + PRIVATE_HASH_BYTES / 4 + TX_ID_BYTES / 5;
        if compressible {
            let keys = total_bytes / (200 + rest);
            Self { keys, value_bytes: 200, private_hashes: keys / 4, tx_ids: keys / 5 }
        } else {
            let keys = total_bytes / (16_384 + rest);
            Self { keys, value_bytes: 16_384, private_hashes: keys / 4, tx_ids: keys / 5 }
        }
    }

    /// About how many bytes the records take, which is nearly all of a sample.
    #[must_use]
    pub const fn record_bytes(&self) -> u64 {
        let keys = self.keys.saturating_mul(self.key_bytes());
        let private = self.private_hashes.saturating_mul(PRIVATE_HASH_BYTES);
        let tx_ids = if self.tx_ids == 0 { 1 } else { self.tx_ids };
        keys.saturating_add(private).saturating_add(tx_ids.saturating_mul(TX_ID_BYTES))
    }

    const fn key_bytes(&self) -> u64 {
        self.value_bytes as u64 + KEY_BYTES_BESIDE_VALUE
    }
}

/// Writes a sample into an empty folder, in a few MiB of memory.
///
/// # Errors
/// The disk's.
pub fn write_sample(dir: &dyn Dir, spec: &SampleSpec) -> Result<(SnapshotMetadata, Manifest), WriteError> {
    write_sample_with(dir, spec, &mut |_| ())
}

/// As [`write_sample`]; `progress` is told the bytes of each step (about 1 MiB), together [`SampleNumbers::record_bytes`].
///
/// # Errors
/// The disk's.
pub fn write_sample_with(
    dir: &dyn Dir,
    spec: &SampleSpec,
    progress: &mut dyn FnMut(u64),
) -> Result<(SnapshotMetadata, Manifest), WriteError> {
    let mut told = Told { progress, bytes: 0 };
    let private_hashes = spec.numbers.private_hashes;
    let tx_ids = spec.numbers.tx_ids.max(1);
    let mut writer = SnapshotWriter::create(dir)?;
    let mut noise = Noise::new(spec.seed, "blocks");
    // The state holds a configuration: the snapshot isn't older.
    let last =
        BlockNumber(DEFINITION_BLOCK.0 + 10 + tx_ids / 50).max(BlockNumber(spec.config_block.0.saturating_add(1)));
    let hash = |noise: &mut Noise| BlockHash(noise.bytes());
    let facts = SnapshotFacts {
        id: SnapshotId { channel: spec.channel.clone(), block_number: last },
        last_block_hash: hash(&mut noise),
        previous_block_hash: Some(hash(&mut noise)),
        commit_hash: Some(hash(&mut noise)),
        state_db_type: StateDbType::SimpleKeyValueDb,
    };
    let collections = if private_hashes > 0 {
        collection_package(&spec.collection_members, if spec.expiring { BLOCKS_TO_LIVE } else { 0 })
    } else {
        Vec::new()
    };
    // Blocks that wrote private data.
    let written_by = if spec.expiring { private_hashes.div_ceil(EXPIRING_PER_BLOCK) } else { u64::MAX };

    let genesis = Height { block_number: BlockNumber(0), tx_number: 0 };
    let config = StateRecord { key: CHANNEL_CONFIG_KEY, value: &spec.channel_config, metadata: &[], version: genesis };
    writer.public("", &config)?;
    write_definition(&mut writer, &collections)?;
    write_keys(&mut writer, spec, last, &mut told)?;

    let mut noise = Noise::new(spec.seed, "private");
    for index in 0..private_hashes {
        let key = ascending(&mut noise, index, private_hashes);
        let value: [u8; 32] = noise.bytes();
        let mut version = version(&mut noise, last);
        let first = last.0.saturating_sub(written_by).max(DEFINITION_BLOCK.0);
        if version.block_number.0 <= first {
            version.block_number.0 = first + 1 + version.block_number.0 % (last.0 - first);
        }
        let record = StateRecord { key: &key, value: &value, metadata: &[], version };
        writer.private(PRIVATE_NAMESPACE, &record)?;
        told.add(PRIVATE_HASH_BYTES);
    }
    if private_hashes > 0 {
        let (chaincode, block_number) = (CHAINCODE, DEFINITION_BLOCK);
        writer.config_history(&ConfigHistoryEntry { chaincode, block_number, package: &collections })?;
    }
    let mut noise = Noise::new(spec.seed, "transactions");
    for index in 0..tx_ids {
        let mut id = [0; 64];
        hex::encode_to_slice(ascending(&mut noise, index, tx_ids), &mut id).expect("64 digits for 32 bytes");
        writer.tx_id(&id)?;
        told.add(TX_ID_BYTES);
    }
    told.flush();
    writer.finish(facts)
}

/// Counts records, and tells of them now and then.
struct Told<'a> {
    progress: &'a mut dyn FnMut(u64),
    bytes: u64,
}

impl Told<'_> {
    /// A call per record would cost more than small records do.
    const STEP_BYTES: u64 = 1 << 20;

    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= Self::STEP_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        (self.progress)(std::mem::take(&mut self.bytes));
    }
}

fn write_keys(
    writer: &mut SnapshotWriter<'_>,
    spec: &SampleSpec,
    last: BlockNumber,
    told: &mut Told<'_>,
) -> Result<(), WriteError> {
    let len = spec.numbers.value_bytes.max(1) as usize;
    let mut noise = Noise::new(spec.seed, "keys");
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for index in 0..spec.numbers.keys {
        key.clear();
        key.extend_from_slice(b"asset");
        put_decimal(&mut key, index, 12);
        value.clear();
        if spec.compressible {
            put_json(&mut value, &key, len, &mut noise);
        } else {
            value.resize(len, 0);
            noise.fill(&mut value);
        }
        let record = StateRecord { key: &key, value: &value, metadata: &[], version: version(&mut noise, last) };
        writer.public(CHAINCODE, &record)?;
        told.add(spec.numbers.key_bytes());
    }
    Ok(())
}

const COLOURS: [&str; 8] = ["red", "green", "blue", "black", "white", "grey", "silver", "yellow"];
const WORDS: [&str; 16] = [
    "inspected",
    "container",
    "customs",
    "approved",
    "warehouse",
    "pending",
    "insured",
    "fragile",
    "carrier",
    "harbour",
    "signed",
    "certificate",
    "invoice",
    "temperature",
    "sealed",
    "released",
];

/// A value of exactly `len` bytes: an object as chaincodes store them; a shorter one is cut.
fn put_json(out: &mut Vec<u8>, key: &[u8], len: usize, noise: &mut Noise) {
    let [colour, org, user_low, user_high, size, price_low, price_high, digest @ ..] = noise.bytes::<39>();
    let text = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(text.as_bytes());
    text(out, "{\"docType\":\"asset\",\"id\":\"");
    out.extend_from_slice(key);
    text(out, "\",\"color\":\"");
    text(out, pick(&COLOURS, colour));
    text(out, "\",\"size\":");
    put_decimal(out, u64::from(size % 90 + 10), 2);
    text(out, ",\"owner\":\"user");
    put_decimal(out, u64::from(u16::from_le_bytes([user_low, user_high]) % 1_000), 4);
    text(out, "@org");
    put_decimal(out, u64::from(org % 3 + 1), 1);
    text(out, "\",\"price\":");
    put_decimal(out, u64::from(u16::from_le_bytes([price_low, price_high])) + 10_000, 5);
    text(out, ",\"hash\":\"");
    let mut digits = [0; 64];
    hex::encode_to_slice(digest, &mut digits).expect("64 digits for 32 bytes");
    out.extend_from_slice(&digits);
    text(out, "\",\"note\":\"");
    let end = "\"}";
    let whole = out.len() + end.len() <= len;
    while out.len() < len {
        let [word] = noise.bytes();
        text(out, pick(&WORDS, word));
        out.push(b' ');
    }
    if whole {
        out.truncate(len - end.len());
        text(out, end);
    } else {
        out.truncate(len);
    }
}

fn pick<'a>(words: &[&'a str], noise: u8) -> &'a str {
    words.get(usize::from(noise) % words.len()).copied().unwrap_or_default()
}

/// At least `digits` decimal digits, zeros in front.
fn put_decimal(out: &mut Vec<u8>, mut number: u64, digits: usize) {
    let mut text = [b'0'; 20];
    let mut used = 0;
    for digit in text.iter_mut().rev() {
        if number == 0 && used >= digits {
            break;
        }
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
    }
    out.extend(text.iter().skip(20 - used));
}

/// Some block after the definition.
fn version(noise: &mut Noise, last: BlockNumber) -> Height {
    let [low, high, tx, _] = noise.bytes();
    let spread = last.0 - DEFINITION_BLOCK.0;
    // 16 bits choose among all the blocks; the last bits stay even for a long chain, which is realistic enough.
    let offset = u64::from(u16::from_le_bytes([low, high])) * spread / (1 << 16);
    Height { block_number: BlockNumber(DEFINITION_BLOCK.0 + 1 + offset), tx_number: u64::from(tx % 10) }
}

/// Random, but the `index`-th of `count` ascending ones.
fn ascending(noise: &mut Noise, index: u64, count: u64) -> [u8; 32] {
    let mut hash: [u8; 32] = noise.bytes();
    let step = u64::MAX / count.max(1);
    let jitter = u64::from_le_bytes(noise.bytes()) % step.max(1);
    let rank = index * step + jitter;
    if let Some(front) = hash.first_chunk_mut::<8>() {
        *front = rank.to_be_bytes();
    }
    hash
}

/// The records that approve and commit a chaincode definition leave (fabric: core/chaincode/lifecycle).
fn write_definition(writer: &mut SnapshotWriter<'_>, collections: &[u8]) -> Result<(), WriteError> {
    // StateData is a oneof: {1 int64, 2 bytes, 3 string}; an empty one is written too.
    let state_bytes = |message: &[u8]| match message {
        [] => vec![2 << 3 | 2, 0],
        _ => message_of(&[(2, message)]),
    };
    let policy = message_of(&[(2, b"/Channel/Application/Endorsement")]);
    let mut sequence = Vec::new();
    put_number(&mut sequence, 1, 1);
    let fields: [&[u8]; 4] = [b"Sequence", b"EndorsementInfo", b"ValidationInfo", b"Collections"];
    let mut metadata = message_of(&[(1, b"ChaincodeDefinition")]);
    fields.iter().for_each(|field| put_bytes(&mut metadata, 2, field));
    let version = Height { block_number: DEFINITION_BLOCK, tx_number: 0 };
    for (key, value) in [
        ("fields/asset/Collections", state_bytes(collections)),
        ("fields/asset/EndorsementInfo", state_bytes(&message_of(&[(1, b"1.0"), (3, b"escc")]))),
        ("fields/asset/Sequence", sequence),
        ("fields/asset/ValidationInfo", state_bytes(&message_of(&[(1, b"vscc"), (2, &policy)]))),
        ("metadata/asset", metadata),
    ] {
        let key = format!("namespaces/{key}");
        writer.public("_lifecycle", &StateRecord { key: key.as_bytes(), value: &value, metadata: &[], version })?;
    }
    Ok(())
}

/// peer.CollectionConfigPackage with one collection: any member may sign; 0 blocks to live: data never expire.
fn collection_package(members: &[String], blocks_to_live: u64) -> Vec<u8> {
    // SignaturePolicy is a oneof: {1 signed_by, 2 n_out_of {1 n, 2 rules}}; signed_by 0 is written.
    let mut any_of = Vec::new();
    put_number(&mut any_of, 1, 1);
    let mut identities = Vec::new();
    for (index, member) in members.iter().enumerate().take(100) {
        put_bytes(&mut any_of, 2, &[1 << 3, index as u8]);
        // MSPPrincipal {1 classification ROLE=0, 2 MSPRole {1 msp_identifier, 2 role MEMBER=0}}
        put_bytes(&mut identities, 3, &message_of(&[(2, &message_of(&[(1, member.as_bytes())]))]));
    }
    let mut envelope = message_of(&[(2, &message_of(&[(2, &any_of)]))]);
    envelope.extend(identities);
    let mut collection = message_of(&[(1, COLLECTION.as_bytes()), (2, &message_of(&[(1, &envelope)]))]);
    put_number(&mut collection, 4, 3);
    if blocks_to_live > 0 {
        put_number(&mut collection, 5, blocks_to_live);
    }
    put_number(&mut collection, 6, 1);
    message_of(&[(1, &message_of(&[(1, &collection)]))])
}

fn message_of(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(field, bytes)| put_bytes(&mut out, *field, bytes));
    out
}

/// Random bytes that a seed determines: BLAKE3's extended output.
struct Noise {
    output: blake3::OutputReader,
    buffer: Box<[u8; NOISE_BYTES]>,
    used: usize,
}

/// Large enough that BLAKE3 works at full width.
const NOISE_BYTES: usize = 16 << 10;

impl Noise {
    fn new(seed: u64, part: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("snapferry 2026 sample");
        hasher.update(&seed.to_le_bytes()).update(part.as_bytes());
        Self { output: hasher.finalize_xof(), buffer: Box::new([0; NOISE_BYTES]), used: NOISE_BYTES }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= NOISE_BYTES) }
        if self.used + N > NOISE_BYTES {
            self.output.fill(self.buffer.as_mut_slice());
            self.used = 0;
        }
        let bytes = self.buffer.get(self.used..).and_then(<[u8]>::first_chunk).expect("refilled if too few are left");
        self.used += N;
        *bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.output.fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::{Access, OsDir},
        snapshot::{SnapshotFile, inspect_folder, verify_folder},
    };
    use std::path::Path;

    const CONFIG: &[u8] = b"\x0a\x06\x08\x01\x12\x02\x10\x01";

    fn spec(numbers: SampleNumbers, compressible: bool) -> SampleSpec {
        SampleSpec {
            config_block: BlockNumber(0),
            channel: "mychannel".parse().unwrap(),
            channel_config: CONFIG.to_vec(),
            collection_members: vec!["Org1MSP".to_owned(), "Org2MSP".to_owned()],
            numbers,
            seed: 7,
            expiring: false,
            compressible,
        }
    }

    fn write(path: &Path, spec: &SampleSpec) -> (std::sync::Arc<dyn Dir>, Manifest) {
        let dir = OsDir::open(path).unwrap();
        let mut told = 0;
        let (_, manifest) = write_sample_with(&*dir, spec, &mut |bytes| told += bytes).unwrap();
        assert_eq!(told, spec.numbers.record_bytes(), "progress ends at the end");
        (dir, manifest)
    }

    #[test]
    fn a_sample_is_a_valid_snapshot_and_the_same_for_the_same_seed() {
        let [one, two, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let numbers = SampleNumbers { keys: 9_000, value_bytes: 300, private_hashes: 700, tx_ids: 500 };
        let (dir, manifest) = write(one.path(), &spec(numbers, true));
        let verified = verify_folder(&*dir, &mut |_| ()).unwrap();
        assert_eq!(verified.manifest, manifest);
        assert_eq!(verified.content.channel_config, CONFIG);
        let inspection = inspect_folder(&*dir).unwrap();
        assert_eq!(inspection.transaction_ids, 500);
        assert_eq!(inspection.public_state.last().unwrap().keys, 9_000);
        assert_eq!(inspection.private_state_hashes[0].collection, "collection-1");
        assert_eq!(inspection.collection_config_history[0].collections[0].members, ["Org1MSP", "Org2MSP"]);

        assert_eq!(write(two.path(), &spec(numbers, true)).1.hash(), manifest.hash());
        let other_seed = SampleSpec { seed: 8, ..spec(numbers, true) };
        assert_ne!(write(other.path(), &other_seed).1.hash(), manifest.hash());
    }

    #[test]
    fn values_are_json_of_the_length_asked_for() {
        let mut noise = Noise::new(1, "test");
        for len in [200, 250, 1_000] {
            let mut value = Vec::new();
            put_json(&mut value, b"asset000000000001", len, &mut noise);
            assert_eq!(value.len(), len);
            let object: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(object["id"], "asset000000000001", "{object}");
        }
        let mut short = Vec::new();
        put_json(&mut short, b"asset000000000001", 3, &mut noise);
        assert_eq!(short, b"{\"d");
    }

    #[test]
    fn the_state_compresses_as_real_state_does_or_not_at_all() {
        for (compressible, from, to) in [(true, 3.5, 4.3), (false, 0.99, 1.02)] {
            let folder = tempfile::tempdir().unwrap();
            let numbers = SampleNumbers::for_size(4 << 20, compressible);
            let (dir, manifest) = write(folder.path(), &spec(numbers, compressible));
            let total = manifest.total_bytes() as f64 / f64::from(4 << 20);
            assert!((0.95..1.05).contains(&total), "{total} of the size asked for");
            let file = dir.open_file(SnapshotFile::PublicStateData.name(), Access::Read).unwrap();
            let mut chunk = vec![0; 1 << 20];
            file.read_exact_at(&mut chunk, 1 << 20).unwrap();
            let ratio = chunk.len() as f64 / zstd::bulk::compress(&chunk, 1).unwrap().len() as f64;
            assert!((from..to).contains(&ratio), "ratio {ratio}");
        }
    }

    #[test]
    fn the_smallest_sample_has_no_private_data_and_the_id_that_every_channel_has() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = SampleNumbers { keys: 0, value_bytes: 0, private_hashes: 0, tx_ids: 0 };
        let (dir, manifest) = write(folder.path(), &spec(numbers, true));
        assert_eq!(verify_folder(&*dir, &mut |_| ()).unwrap().manifest, manifest);
        assert_eq!(manifest.files().len(), 4);
        assert_eq!(inspect_folder(&*dir).unwrap().transaction_ids, 1);
    }
}
