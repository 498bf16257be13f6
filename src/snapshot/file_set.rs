//! The closed set of data files that a snapshot may consist of (fabric: core/ledger/kvledger/snapshot.go).

use std::fmt;

/// One of the eight binary files of a snapshot. The order is that of the names' bytes, as in the metadata and the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotFile {
    /// Collection-configuration history: (key, value) pairs.
    ConfigHistoryData,
    /// Number of pairs in [`Self::ConfigHistoryData`].
    ConfigHistoryMetadata,
    /// Hashes of private state, as records.
    PrivateStateHashesData,
    /// Records per namespace in [`Self::PrivateStateHashesData`].
    PrivateStateHashesMetadata,
    /// Public state, as records.
    PublicStateData,
    /// Records per namespace in [`Self::PublicStateData`].
    PublicStateMetadata,
    /// Transaction ids.
    TxIdsData,
    /// Number of ids in [`Self::TxIdsData`].
    TxIdsMetadata,
}

impl SnapshotFile {
    /// All eight, ascending.
    pub const ALL: [Self; 8] = [
        Self::ConfigHistoryData,
        Self::ConfigHistoryMetadata,
        Self::PrivateStateHashesData,
        Self::PrivateStateHashesMetadata,
        Self::PublicStateData,
        Self::PublicStateMetadata,
        Self::TxIdsData,
        Self::TxIdsMetadata,
    ];

    /// `_snapshot_signable_metadata.json`: what the snapshot hash covers.
    pub const SIGNABLE_METADATA: &'static str = "_snapshot_signable_metadata.json";
    /// `_snapshot_additional_metadata.json`: snapshot hash and commit hash, covered by nothing.
    pub const ADDITIONAL_METADATA: &'static str = "_snapshot_additional_metadata.json";

    /// The file's name in the folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConfigHistoryData => "confighistory.data",
            Self::ConfigHistoryMetadata => "confighistory.metadata",
            Self::PrivateStateHashesData => "private_state_hashes.data",
            Self::PrivateStateHashesMetadata => "private_state_hashes.metadata",
            Self::PublicStateData => "public_state.data",
            Self::PublicStateMetadata => "public_state.metadata",
            Self::TxIdsData => "txids.data",
            Self::TxIdsMetadata => "txids.metadata",
        }
    }

    /// The file of that exact name, if it is one of the eight.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }
}

impl fmt::Display for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
