//! The configuration of each channel of the moment, and the TLS roots that follow from them: replaced while connections live.
//!
//! Decides that a configuration only ever gives way to a newer one. Who may be believed with a newer one is for the caller
//! (`ChannelConfig::successor`); what becomes of live sessions is for whoever watches [`LiveChannels::changes`].

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::watch;

use super::tls::{TlsBundle, TlsTrust};
use crate::{msp::ChannelConfig, snapshot::ChannelId};

/// The channels of a service or of a job. Clones are one and the same.
#[derive(Clone)]
pub struct LiveChannels(Arc<Live>);

struct Live {
    configs: RwLock<BTreeMap<ChannelId, Arc<ChannelConfig>>>,
    trust: TlsTrust,
    changes: watch::Sender<u64>,
}

/// A configuration that takes nobody's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// No configuration of that channel is in force.
    #[error("channel {0} isn't one of ours")]
    UnknownChannel(ChannelId),
    /// It isn't newer than the one in force.
    #[error("configuration {found} of channel {channel} is not newer than {current}, which is in force")]
    NotNewer {
        /// The channel.
        channel: ChannelId,
        /// Its sequence.
        found: u64,
        /// That of the one in force.
        current: u64,
    },
}

impl LiveChannels {
    /// Starts with these; of several of one channel the newest counts.
    #[must_use]
    pub fn new(configs: impl IntoIterator<Item = ChannelConfig>) -> Self {
        let mut newest: BTreeMap<ChannelId, Arc<ChannelConfig>> = BTreeMap::new();
        for config in configs {
            if newest.get(config.channel()).is_none_or(|other| other.sequence() < config.sequence()) {
                newest.insert(config.channel().clone(), Arc::new(config));
            }
        }
        let trust = TlsTrust::new(bundle(&newest));
        Self(Arc::new(Live { configs: RwLock::new(newest), trust, changes: watch::Sender::new(0) }))
    }

    /// The channel's configuration of the moment; `None`: not one of ours.
    #[must_use]
    pub fn current(&self, channel: &ChannelId) -> Option<Arc<ChannelConfig>> {
        self.configs().get(channel).cloned()
    }

    /// Every channel's configuration of the moment, by channel.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ChannelConfig>> {
        self.configs().values().cloned().collect()
    }

    /// Puts a newer configuration of a known channel in force, with the TLS roots that follow from it; then tells whoever watches.
    ///
    /// # Errors
    /// [`ReplaceError`]: nothing has changed then.
    pub fn replace(&self, config: ChannelConfig) -> Result<(), ReplaceError> {
        let mut configs = self.0.configs.write().unwrap_or_else(PoisonError::into_inner);
        let channel = config.channel().clone();
        let current = configs.get_mut(&channel).ok_or_else(|| ReplaceError::UnknownChannel(channel.clone()))?;
        if config.sequence() <= current.sequence() {
            let (found, current) = (config.sequence(), current.sequence());
            return Err(ReplaceError::NotNewer { channel, found, current });
        }
        *current = Arc::new(config);
        // Under the lock: whoever came in by the new roots finds the new configuration. Who came in by the old ones is judged whole
        // by what session auth finds, TLS chain included, and once more if that changes before the session is accepted.
        self.0.trust.swap(bundle(&configs));
        drop(configs);
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// What TLS handshakes are judged by: follows every [`Self::replace`].
    #[must_use]
    pub fn trust(&self) -> TlsTrust {
        self.0.trust.clone()
    }

    /// Counts the replacements: whoever subscribes before it looks at a configuration misses none.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn configs(&self) -> RwLockReadGuard<'_, BTreeMap<ChannelId, Arc<ChannelConfig>>> {
        // Nothing can panic between the first and the last change under the lock.
        self.0.configs.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LiveChannels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all().iter().map(|config| (config.channel(), config.sequence()))).finish()
    }
}

fn bundle(configs: &BTreeMap<ChannelId, Arc<ChannelConfig>>) -> TlsBundle {
    TlsBundle::new(configs.values().map(Arc::as_ref))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn block(name: &str) -> ChannelConfig {
        let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network");
        ChannelConfig::from_block(&std::fs::read(network.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn only_a_newer_configuration_of_a_known_channel_takes_its_place() {
        let (old, new) = (block("genesis.block"), block("config_block.pb"));
        let channel = old.channel().clone();
        let live = LiveChannels::new([old.clone()]);
        let mut changes = live.changes();
        let same = ReplaceError::NotNewer { channel: channel.clone(), found: old.sequence(), current: old.sequence() };
        assert_eq!(live.replace(old.clone()), Err(same));
        assert!(!changes.has_changed().unwrap());

        let roots = live.trust().current();
        live.replace(new.clone()).unwrap();
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 1);
        assert_eq!(live.current(&channel).unwrap().sequence(), new.sequence());
        assert!(!Arc::ptr_eq(&roots, &live.trust().current()), "the TLS roots follow");

        let back = ReplaceError::NotNewer { channel, found: old.sequence(), current: new.sequence() };
        assert_eq!(live.replace(old), Err(back));
        let other = LiveChannels::new([]);
        assert!(matches!(other.replace(new), Err(ReplaceError::UnknownChannel(_))));
    }

    #[test]
    fn of_two_of_one_channel_the_newest_counts() {
        let (old, new) = (block("genesis.block"), block("config_block.pb"));
        for configs in [[old.clone(), new.clone()], [new.clone(), old]] {
            let live = LiveChannels::new(configs);
            assert_eq!(live.all().len(), 1);
            assert_eq!(live.current(new.channel()).unwrap().sequence(), new.sequence());
        }
    }
}
