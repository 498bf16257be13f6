//! Which databases a peer has, where they lie, and which of their keys are a channel's own. All channels of a peer share them.

use std::ops::Range;

use super::LevelKey;
use crate::snapshot::ChannelId;

/// Keys from the first one to the one behind the last.
pub type KeyRange = Range<Vec<u8>>;

/// A database of a peer with the state database LevelDB (fabric: core/ledger/kvledger/kv_ledger_provider.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// Which channels there are, and whether they are whole.
    LedgerProvider,
    /// Where blocks and transactions are.
    Index,
    /// Configurations of private collections.
    ConfigHistory,
    /// Which transactions wrote a key.
    History,
    /// The state, public and hashed.
    State,
    /// What expires when, and where metadata are.
    Bookkeeper,
    /// Private data, and which are missing.
    PrivateData,
}

/// Key and value of the record that names a database's format.
pub type FormatRecord = (&'static [u8], &'static [u8]);

impl Store {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::LedgerProvider,
        Self::Index,
        Self::ConfigHistory,
        Self::History,
        Self::State,
        Self::Bookkeeper,
        Self::PrivateData,
    ];

    /// The folder under the peer's `ledgersData`, component by component.
    #[must_use]
    pub const fn folder(self) -> &'static [&'static str] {
        match self {
            Self::LedgerProvider => &["ledgerProvider"],
            Self::Index => &["chains", "index"],
            Self::ConfigHistory => &["configHistory"],
            Self::History => &["historyLeveldb"],
            Self::State => &["stateLeveldb"],
            Self::Bookkeeper => &["bookkeeper"],
            Self::PrivateData => &["pvtdataStore"],
        }
    }

    /// The record that names the format of the whole database: a peer refuses another one, and a database with records but
    /// without this one. `None` where Fabric keeps none.
    #[must_use]
    pub const fn format(self) -> Option<FormatRecord> {
        match self {
            Self::LedgerProvider => Some((b"f", b"2.0")),
            Self::Index | Self::History | Self::State => Some((b"_\0f", b"2.0")),
            Self::PrivateData => Some((b"_\0f", b"2.5")),
            Self::ConfigHistory | Self::Bookkeeper => None,
        }
    }

    /// The channel's own keys, ascending. What Fabric's bookkeeper remembers of requested snapshots is among them.
    #[must_use]
    pub fn key_ranges(self, channel: &ChannelId) -> Vec<KeyRange> {
        let name = channel.as_str();
        match self {
            Self::LedgerProvider => {
                let key = super::id_store::key(channel);
                let behind = [key.as_slice(), b"\0"].concat();
                vec![key..behind]
            }
            Self::Bookkeeper => (0..=2).map(|number| LevelKey::new(&format!("{name}/{number}")).range()).collect(),
            _ => vec![LevelKey::new(name).range()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_its_own_keys_and_no_others() {
        let channel: ChannelId = "ch".parse().unwrap();
        let has =
            |store: Store, key: &[u8]| store.key_ranges(&channel).iter().any(|range| range.contains(&key.to_vec()));
        assert!(has(Store::LedgerProvider, b"sch"));
        for (store, name) in [(Store::State, "ch"), (Store::Bookkeeper, "ch/0"), (Store::Bookkeeper, "ch/2")] {
            assert!(has(store, format!("{name}\0").as_bytes()));
            assert!(has(store, &[name.as_bytes(), b"\0\xff\xff"].concat()));
            assert!(!has(store, format!("{name}1\0x").as_bytes()));
            assert!(!has(store, format!("{name}\x01").as_bytes()));
        }
        for key in [&b"sc"[..], b"sch1", b"sch.a", b"f"] {
            assert!(!has(Store::LedgerProvider, key));
        }
        for store in Store::ALL {
            assert!(store.format().is_none_or(|(key, _)| !has(store, key)), "{store:?}");
        }
    }
}
