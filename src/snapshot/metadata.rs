//! Fabric's two metadata files, parsed strictly (fabric: core/ledger/kvledger/snapshot.go).
//!
//! Decides: what a legal metadata file is. Go's own reader is lenient (unknown, duplicate and missing keys pass), so two readers
//! could see two different snapshots in the same bytes. Here whatever doesn't encode to the very same bytes again is refused.
//! Whether the listed hashes are those of the files is [`super::verify_folder`]'s part.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize, Serialize,
    de::{MapAccess, Visitor},
};
use sha2::{Digest, Sha256};

use super::{BlockHash, BlockNumber, ChannelIdError, FileDigest, SnapshotFile, SnapshotHash, SnapshotId};

/// Largest metadata file that is parsed. The longest legal one (channel name of 249 bytes, eight files) is under 1.5 KiB.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

/// Why a metadata file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Larger than [`METADATA_BYTES_MAX`].
    #[error("{file} has {len} bytes, at most {METADATA_BYTES_MAX} are allowed")]
    TooLong {
        /// The file's name.
        file: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// No JSON of the right shape: unknown, duplicate, missing or ill-typed key.
    #[error("{file}: {source}")]
    Json {
        /// The file's name.
        file: &'static str,
        /// What and where.
        source: serde_json::Error,
    },
    /// The right content in other bytes than Fabric writes (spaces, order, escapes).
    #[error("{file} isn't written as Fabric writes it: encoding its content again gives other bytes")]
    NotCanonical {
        /// The file's name.
        file: &'static str,
    },
    /// A hash that is none, or is empty where it must not be.
    #[error("{file}: {field} is {text:?}, not 64 lower-case hexadecimal digits")]
    Hash {
        /// The metadata file's name.
        file: &'static str,
        /// The key, or the name of the listed file.
        field: String,
        /// What stands there, cut to 100 characters.
        text: String,
    },
    /// The channel's name is illegal.
    #[error("{file}: channel_name: {source}", file = SnapshotFile::SIGNABLE_METADATA)]
    Channel {
        /// Why.
        #[from]
        source: ChannelIdError,
    },
    /// A listed file is not one of Fabric's eight.
    #[error("{file} lists {name:?}, which is no file of a snapshot", file = SnapshotFile::SIGNABLE_METADATA)]
    ForeignFile {
        /// The listed name, cut to 100 characters.
        name: String,
    },
    /// A file that must be there isn't listed: state and transaction ids always, the others as pairs.
    #[error("{file} doesn't list {missing}", file = SnapshotFile::SIGNABLE_METADATA)]
    FileMissing {
        /// The file.
        missing: SnapshotFile,
    },
    /// Neither of the two state databases.
    #[error("{file}: state_db_type is {text:?}, not \"SimpleKeyValueDB\" or \"CouchDB\"", file = SnapshotFile::SIGNABLE_METADATA)]
    StateDbType {
        /// What stands there, cut to 100 characters.
        text: String,
    },
    /// The additional metadata belong to another signable file.
    #[error("snapshot_hash is {stated}, but {file} has {actual}", file = SnapshotFile::SIGNABLE_METADATA)]
    SnapshotHash {
        /// As the additional metadata say.
        stated: SnapshotHash,
        /// SHA-256 of the signable metadata.
        actual: SnapshotHash,
    },
}

/// The state database of the peer that made the snapshot. It decides the order of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum StateDbType {
    /// LevelDB: records in byte order of `namespace 00 key`.
    #[serde(rename = "SimpleKeyValueDB")]
    SimpleKeyValueDb,
    /// CouchDB: namespace by namespace, each in CouchDB's order.
    #[serde(rename = "CouchDB")]
    CouchDb,
}

impl StateDbType {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SimpleKeyValueDb, Self::CouchDb];

    /// As it stands in the metadata.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SimpleKeyValueDb => "SimpleKeyValueDB",
            Self::CouchDb => "CouchDB",
        }
    }
}

impl fmt::Display for StateDbType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `_snapshot_signable_metadata.json`: which snapshot, and the SHA-256 of each of its files. A legal one, and its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignableMetadata {
    id: SnapshotId,
    last_block_hash: BlockHash,
    previous_block_hash: Option<BlockHash>,
    files: BTreeMap<SnapshotFile, FileDigest>,
    state_db_type: StateDbType,
    bytes: Vec<u8>,
}

impl SignableMetadata {
    /// Parses the file's bytes.
    ///
    /// # Errors
    /// Anything that Fabric wouldn't have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        const FILE: &str = SnapshotFile::SIGNABLE_METADATA;
        let text: SignableText = from_json(FILE, bytes)?;
        let mut files = BTreeMap::new();
        for (name, hash) in &text.snapshot_files_raw_hashes.0 {
            let file = SnapshotFile::from_name(name).ok_or_else(|| MetadataError::ForeignFile { name: cut(name) })?;
            files.insert(file, hash_of(FILE, name, hash)?);
        }
        let state_db_type = StateDbType::ALL
            .into_iter()
            .find(|db_type| db_type.as_str() == text.state_db_type)
            .ok_or_else(|| MetadataError::StateDbType { text: cut(&text.state_db_type) })?;
        let id = SnapshotId { channel: text.channel_name.parse()?, block_number: BlockNumber(text.last_block_number) };
        let previous = optional_hash_of(FILE, "previous_block_hash", &text.previous_block_hash)?;
        let last = hash_of(FILE, "last_block_hash", &text.last_block_hash)?;
        let metadata = Self::new(id, last, previous, files, state_db_type)?;
        if metadata.bytes == bytes { Ok(metadata) } else { Err(MetadataError::NotCanonical { file: FILE }) }
    }

    /// Puts the metadata together and encodes them as Fabric does.
    ///
    /// # Errors
    /// A mandatory file or half of a pair is missing, or the previous block's hash is absent behind block 0.
    pub fn new(
        id: SnapshotId,
        last_block_hash: BlockHash,
        previous_block_hash: Option<BlockHash>,
        files: BTreeMap<SnapshotFile, FileDigest>,
        state_db_type: StateDbType,
    ) -> Result<Self, MetadataError> {
        if previous_block_hash.is_none() && id.block_number.0 != 0 {
            let (file, field) = (SnapshotFile::SIGNABLE_METADATA, "previous_block_hash".to_owned());
            return Err(MetadataError::Hash { file, field, text: String::new() });
        }
        if let Some(missing) = missing_file(&files) {
            return Err(MetadataError::FileMissing { missing });
        }
        let text = SignableText {
            channel_name: id.channel.to_string(),
            last_block_number: id.block_number.0,
            last_block_hash: last_block_hash.to_string(),
            previous_block_hash: optional_text(previous_block_hash),
            snapshot_files_raw_hashes: Hashes(
                files.iter().map(|(file, digest)| (file.name().to_owned(), digest.to_string())).collect(),
            ),
            state_db_type: state_db_type.as_str().to_owned(),
        };
        let bytes = to_json(&text);
        Ok(Self { id, last_block_hash, previous_block_hash, files, state_db_type, bytes })
    }

    /// The exact bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes: the snapshot's hash.
    #[must_use]
    pub fn hash(&self) -> SnapshotHash {
        SnapshotHash(Sha256::digest(&self.bytes).into())
    }

    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Hash of the last block.
    #[must_use]
    pub fn last_block_hash(&self) -> BlockHash {
        self.last_block_hash
    }

    /// Hash of the block before the last one; absent only if the last block is block 0.
    #[must_use]
    pub fn previous_block_hash(&self) -> Option<BlockHash> {
        self.previous_block_hash
    }

    /// The listed files and their SHA-256: four, six or eight of the closed set.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<SnapshotFile, FileDigest> {
        &self.files
    }

    /// The state database of the peer that made the snapshot.
    #[must_use]
    pub fn state_db_type(&self) -> StateDbType {
        self.state_db_type
    }
}

/// `_snapshot_additional_metadata.json`. No hash and no signature covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdditionalMetadata {
    /// SHA-256 of the signable file.
    pub snapshot_hash: SnapshotHash,
    /// Commit hash of the last block, from which the joined ledger continues; absent if the ledger has no commit hashes.
    pub last_block_commit_hash: Option<BlockHash>,
}

impl AdditionalMetadata {
    /// Parses the file's bytes.
    ///
    /// # Errors
    /// Anything that Fabric wouldn't have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetadataError> {
        const FILE: &str = SnapshotFile::ADDITIONAL_METADATA;
        let text: AdditionalText = from_json(FILE, bytes)?;
        let metadata = Self {
            snapshot_hash: hash_of(FILE, "snapshot_hash", &text.snapshot_hash)?,
            last_block_commit_hash: optional_hash_of(FILE, "last_block_commit_hash", &text.last_block_commit_hash)?,
        };
        if metadata.encode() == bytes { Ok(metadata) } else { Err(MetadataError::NotCanonical { file: FILE }) }
    }

    /// The file's bytes, as Fabric writes them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        to_json(&AdditionalText {
            snapshot_hash: self.snapshot_hash.to_string(),
            last_block_commit_hash: optional_text(self.last_block_commit_hash),
        })
    }
}

/// Both metadata files of a folder, which belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMetadata {
    /// What the snapshot hash covers.
    pub signable: SignableMetadata,
    /// Commit hash of the last block, covered by nothing: to be agreed on between sources.
    pub commit_hash: Option<BlockHash>,
}

impl SnapshotMetadata {
    /// Parses both files' bytes.
    ///
    /// # Errors
    /// Either is refused, or `snapshot_hash` is not the SHA-256 of the signable file.
    pub fn parse(signable: &[u8], additional: &[u8]) -> Result<Self, MetadataError> {
        Self::new(SignableMetadata::parse(signable)?, AdditionalMetadata::parse(additional)?)
    }

    /// Joins both parsed files.
    ///
    /// # Errors
    /// `snapshot_hash` is not the SHA-256 of the signable file.
    pub fn new(signable: SignableMetadata, additional: AdditionalMetadata) -> Result<Self, MetadataError> {
        let actual = signable.hash();
        if additional.snapshot_hash != actual {
            return Err(MetadataError::SnapshotHash { stated: additional.snapshot_hash, actual });
        }
        Ok(Self { signable, commit_hash: additional.last_block_commit_hash })
    }

    /// The additional file, to be encoded again.
    #[must_use]
    pub fn additional(&self) -> AdditionalMetadata {
        AdditionalMetadata { snapshot_hash: self.signable.hash(), last_block_commit_hash: self.commit_hash }
    }
}

/// The first file that the rule of completeness misses.
fn missing_file(files: &BTreeMap<SnapshotFile, FileDigest>) -> Option<SnapshotFile> {
    use SnapshotFile as F;
    let pairs = [
        (F::PublicStateData, F::PublicStateMetadata, true),
        (F::TxIdsData, F::TxIdsMetadata, true),
        (F::PrivateStateHashesData, F::PrivateStateHashesMetadata, false),
        (F::ConfigHistoryData, F::ConfigHistoryMetadata, false),
    ];
    for (data, metadata, mandatory) in pairs {
        let wanted = mandatory || files.contains_key(&data) || files.contains_key(&metadata);
        if let Some(missing) = [data, metadata].into_iter().find(|file| wanted && !files.contains_key(file)) {
            return Some(missing);
        }
    }
    None
}

/// The signable file as text, keys in Fabric's order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignableText {
    channel_name: String,
    last_block_number: u64,
    last_block_hash: String,
    previous_block_hash: String,
    snapshot_files_raw_hashes: Hashes,
    state_db_type: String,
}

/// The additional file as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdditionalText {
    snapshot_hash: String,
    last_block_commit_hash: String,
}

/// Name to hash; a name that comes twice is refused (serde's maps would keep the last one).
#[derive(Serialize)]
struct Hashes(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueKeys;
        impl<'de> Visitor<'de> for UniqueKeys {
            type Value = Hashes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of file names and hashes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Hashes, A::Error> {
                let mut hashes = BTreeMap::new();
                while let Some((name, hash)) = map.next_entry::<String, String>()? {
                    if hashes.contains_key(&name) {
                        return Err(serde::de::Error::custom(format_args!("duplicate key {:?}", cut(&name))));
                    }
                    hashes.insert(name, hash);
                }
                Ok(Hashes(hashes))
            }
        }
        deserializer.deserialize_map(UniqueKeys)
    }
}

fn from_json<'a, T: Deserialize<'a>>(file: &'static str, bytes: &'a [u8]) -> Result<T, MetadataError> {
    if bytes.len() > METADATA_BYTES_MAX {
        return Err(MetadataError::TooLong { file, len: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| MetadataError::Json { file, source })
}

/// As Go's `json.MarshalIndent(m, "", "    ")`. Go also escapes `<`, `>` and `&`: no legal value holds one.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value.serialize(&mut serializer).expect("strings and numbers always serialize into memory");
    bytes
}

fn hash_of<H: FromStr>(file: &'static str, field: &str, text: &str) -> Result<H, MetadataError> {
    text.parse().map_err(|_| MetadataError::Hash { file, field: field.to_owned(), text: cut(text) })
}

fn optional_hash_of(file: &'static str, field: &str, text: &str) -> Result<Option<BlockHash>, MetadataError> {
    if text.is_empty() { Ok(None) } else { hash_of(file, field, text).map(Some) }
}

fn optional_text(hash: Option<BlockHash>) -> String {
    hash.map(|hash| hash.to_string()).unwrap_or_default()
}

/// Foreign text for a message, bounded.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNABLE: &str =
        include_str!("../../tests/fixtures/network/snapshots/org1/132/_snapshot_signable_metadata.json");
    const ADDITIONAL: &str =
        include_str!("../../tests/fixtures/network/snapshots/org1/132/_snapshot_additional_metadata.json");

    #[test]
    fn recorded_metadata_encode_to_the_same_bytes() {
        let metadata = SnapshotMetadata::parse(SIGNABLE.as_bytes(), ADDITIONAL.as_bytes()).unwrap();
        assert_eq!(metadata.signable.id().to_string(), "mychannel/132");
        assert_eq!(metadata.signable.files().len(), 8);
        assert_eq!(metadata.signable.state_db_type(), StateDbType::SimpleKeyValueDb);
        assert_eq!(metadata.signable.bytes(), SIGNABLE.as_bytes());
        assert_eq!(metadata.additional().encode(), ADDITIONAL.as_bytes());
    }

    #[test]
    fn whatever_fabric_would_not_write_is_refused() {
        let hash = "036d6e7130394d4580665f971db07d530404051db45d35274f59e6291cded3ba";
        let twice = format!("\"confighistory.data\": \"{hash}\",");
        let cases = [
            ("unknown field", SIGNABLE.replacen("{\n", "{\n    \"more\": 1,\n", 1)),
            ("duplicate field", SIGNABLE.replacen("{\n", "{\n    \"channel_name\": \"mychannel\",\n", 1)),
            ("duplicate key", SIGNABLE.replacen(&twice, &format!("{twice}\n        {twice}"), 1)),
            ("invalid type", SIGNABLE.replace(": 132", ": \"132\"")),
            ("invalid type", SIGNABLE.replace(&format!("\"{hash}\""), "7")),
            ("missing field", SIGNABLE.replace(",\n    \"state_db_type\": \"SimpleKeyValueDB\"", "")),
            ("invalid value", SIGNABLE.replace(": 132", ": -132")),
            ("no file of a snapshot", SIGNABLE.replace("confighistory.data", "../confighistory.data")),
            ("no file of a snapshot", SIGNABLE.replace("confighistory.data", "extra.data")),
            ("doesn't list confighistory.data", SIGNABLE.replace(&format!("        {twice}\n"), "")),
            ("not 64 lower-case", SIGNABLE.replace(hash, &hash.to_uppercase())),
            ("not 64 lower-case", SIGNABLE.replace(hash, "")),
            ("not 64 lower-case", SIGNABLE.replace(hash, &hash.replacen("03", "", 1))),
            ("no channel name", SIGNABLE.replace("mychannel", "../x")),
            ("state_db_type is \"LevelDB\"", SIGNABLE.replace("SimpleKeyValueDB", "LevelDB")),
            ("isn't written as Fabric", SIGNABLE.replace("    ", "  ")),
            ("isn't written as Fabric", format!("{SIGNABLE}\n")),
            ("isn't written as Fabric", SIGNABLE.replace("mychannel", "mych\\u0061nnel")),
            ("trailing characters", format!("{SIGNABLE}{{}}")),
            ("at most 65536", format!("{SIGNABLE}{}", " ".repeat(METADATA_BYTES_MAX))),
        ];
        for (reason, text) in cases {
            assert_ne!(text, SIGNABLE, "{reason}: the case changes nothing");
            let error = SignableMetadata::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "expected {reason:?} in {error:?}");
        }
    }

    #[test]
    fn only_two_hashes_may_be_empty() {
        let previous = "37c15acb369ef6d5a457e9c891a3bfc31aeddad8215c4a8e9615688fb3e5999e";
        let last = "35faf461cedd944485e7cc6a99dd463ec1ba42c2f62301b47d514a331d3fd51d";
        let without = SIGNABLE.replace(previous, "");
        assert!(matches!(SignableMetadata::parse(without.as_bytes()), Err(MetadataError::Hash { .. })));
        let genesis = without.replace(": 132", ": 0");
        assert_eq!(SignableMetadata::parse(genesis.as_bytes()).unwrap().previous_block_hash(), None);
        let no_last = genesis.replace(last, "");
        assert!(matches!(SignableMetadata::parse(no_last.as_bytes()), Err(MetadataError::Hash { .. })));

        let commit = "20a8cf12501c77f4f98384580df2b485a5f42a25ae4b3ae291dc3d61cb78344d";
        let no_commit = ADDITIONAL.replace(commit, "");
        let parsed = SnapshotMetadata::parse(SIGNABLE.as_bytes(), no_commit.as_bytes()).unwrap();
        assert_eq!(parsed.commit_hash, None);
        assert_eq!(parsed.additional().encode(), no_commit.as_bytes());
        let other = ADDITIONAL.replace("ba315237", "00000000");
        let error = SnapshotMetadata::parse(SIGNABLE.as_bytes(), other.as_bytes()).unwrap_err();
        assert!(matches!(error, MetadataError::SnapshotHash { .. }));
    }
}
