//! Follows the configuration blocks that the operator puts where `channels.CH.configBlock` says, while the service runs.
//!
//! Decides when a file is looked at and that a refusal is logged once. Whether a block is the successor of what is in force is
//! [`ChannelConfig::successor`]'s to say, what becomes of live sessions is the transport's.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use super::{
    Bundles, Rooted,
    block_file::{must_be_regular, read_block},
};
use crate::{
    msp::{ChannelConfig, LocalIdentity},
    snapshot::ChannelId,
    transport::{WallClock, fault::chain, live::LiveChannels},
};

/// How often files are looked at: a removed organisation is to be gone a second after the operator has said so.
pub const CONFIG_POLL: Duration = Duration::from_millis(400);
/// How long a service takes a configuration for the channel's newest one before it says that nobody has refreshed it (trust.md 2.4).
pub const CONFIG_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Files of a folder that are looked at: a channel is reconfigured a few times a year.
const FILES_MAX: usize = 4096;
/// Refused contents that are remembered; beyond, all are forgotten, and logged once more.
const REFUSED_MAX: usize = 1024;

/// What the watch needs; nothing is read from the environment.
#[derive(Clone)]
pub struct ConfigWatchSettings {
    /// Per channel a file, or a folder of which every file is looked at.
    pub paths: BTreeMap<ChannelId, PathBuf>,
    /// Where newer configurations are put in force.
    pub channels: LiveChannels,
    /// Where that is noted first.
    pub bundles: Bundles,
    /// Who we are: told if a configuration leaves us out.
    pub identity: Arc<LocalIdentity>,
    /// Wall time.
    pub clock: WallClock,
    /// How often to look.
    pub interval: Duration,
    /// How old the newest file may be before that is said, and each time as much later; `None`: a block that is pinned for one job.
    pub age_max: Option<Duration>,
}

/// Looks at the files when told to, or on a thread of its own.
pub struct ConfigWatch {
    settings: ConfigWatchSettings,
    /// As they were when they were last read, or why they couldn't be.
    seen: BTreeMap<ChannelId, Result<Vec<Stamp>, String>>,
    /// SHA-256 of what is refused, and logged.
    refused: BTreeSet<[u8; 32]>,
    /// When it was said last that nobody refreshes a channel's block.
    told_old: BTreeMap<ChannelId, SystemTime>,
}

/// The thread of a started [`ConfigWatch`]; dropped, it ends after the look that runs.
#[derive(Debug)]
pub struct ConfigWatcher {
    _stop: mpsc::Sender<()>,
}

/// What a changed file can be told by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    mtime: (i64, i64),
    len: u64,
    inode: u64,
}

impl ConfigWatch {
    /// Nothing is looked at yet.
    #[must_use]
    pub const fn new(settings: ConfigWatchSettings) -> Self {
        Self { settings, seen: BTreeMap::new(), refused: BTreeSet::new(), told_old: BTreeMap::new() }
    }

    /// Looks on a thread of its own, at once for the first time.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(mut self) -> io::Result<ConfigWatcher> {
        let (stop, stopped) = mpsc::channel();
        let interval = self.settings.interval;
        thread::Builder::new().name("config-watch".to_owned()).spawn(move || {
            loop {
                self.look();
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(ConfigWatcher { _stop: stop })
    }

    /// Reads what has changed since the last look, and puts in force what is newer and signed as it has to be. Blocking.
    pub fn look(&mut self) {
        for (channel, path) in self.settings.paths.clone() {
            // Before the content: what changes while it is read has another stamp the next time.
            let stamps = stamps(&path).map_err(|error| error.to_string());
            if let Ok(stamps) = &stamps {
                self.tell_if_old(&channel, &path, stamps);
            }
            if self.seen.get(&channel) == Some(&stamps) {
                continue;
            }
            let done = match &stamps {
                Ok(stamps) => self.take(&channel, stamps),
                Err(reason) => {
                    tracing::warn!(%channel, path = %path.display(), %reason, "the configuration block can't be read; the one in force stays");
                    true
                }
            };
            if done {
                self.seen.insert(channel, stamps);
            }
        }
    }

    /// Nobody may have told this service of a newer configuration: it would go on with who was removed or revoked since.
    fn tell_if_old(&mut self, channel: &ChannelId, path: &Path, stamps: &[Stamp]) {
        let (Some(age_max), now) = (self.settings.age_max, (self.settings.clock)()) else { return };
        let written = |stamp: &Stamp| UNIX_EPOCH + Duration::from_secs(u64::try_from(stamp.mtime.0).unwrap_or(0));
        let Some(newest) = stamps.iter().map(written).max() else { return };
        if is_old(newest, self.told_old.get(channel).copied(), now, age_max) {
            let days = now.duration_since(newest).map_or(0, |age| age.as_secs() / 86_400);
            tracing::warn!(
                %channel, path = %path.display(), days,
                "the configuration block was not refreshed for so long: who was removed or revoked since is still served; `peer channel fetch \
                 config` it anew, at least once a day"
            );
            self.told_old.insert(channel.clone(), now);
        }
    }

    /// Puts in force what is newer, oldest first: each is judged by the one before. False: to be tried again.
    fn take(&mut self, channel: &ChannelId, stamps: &[Stamp]) -> bool {
        let Some(mut current) = self.settings.channels.current(channel) else { return true };
        let mut newer = Vec::new();
        for Stamp { path, .. } in stamps {
            match read_block(path) {
                Ok(bytes) => {
                    newer.extend(self.newer(&current, path, bytes).map(|(sequence, bytes)| (sequence, path, bytes)))
                }
                // Renamed or removed in between: the next look finds out.
                Err(error) => tracing::debug!(path = %path.display(), %error, "can't be read"),
            }
        }
        newer.sort_by_key(|(sequence, ..)| *sequence);
        for (_, path, bytes) in newer {
            match current.successor(&bytes) {
                Ok(next) => {
                    match self.settings.bundles.admit(&next.into()) {
                        Ok(Rooted { config, .. }) => self.put_in_force(config, path),
                        // Another process of ours had a newer one in force.
                        Err(error) if error.is_refusal() => {
                            self.refuse(path, &bytes, &chain(&error));
                            continue;
                        }
                        Err(error) => {
                            tracing::error!(%channel, path = %path.display(), error = %chain(&error), "a newer configuration can't be put in force");
                            return false;
                        }
                    }
                    match self.settings.channels.current(channel) {
                        Some(config) => current = config,
                        None => return true,
                    }
                }
                Err(error) => self.refuse(path, &bytes, &chain(&error)),
            }
        }
        true
    }

    /// The block, if its own word is that it is newer. What can't be a block of the channel is refused here.
    fn newer(&mut self, current: &ChannelConfig, path: &Path, bytes: Vec<u8>) -> Option<(u64, Vec<u8>)> {
        let given = match ChannelConfig::from_block(&bytes) {
            Ok(given) => given,
            Err(error) => {
                self.refuse(path, &bytes, &chain(&error));
                return None;
            }
        };
        let alone = self.settings.paths.get(current.channel()).is_some_and(|watched| watched == path);
        match given.sequence().cmp(&current.sequence()) {
            // A folder may hold those of other channels, and all that there ever were.
            _ if given.channel() != current.channel() => {
                if alone {
                    self.refuse(path, &bytes, &format!("it configures channel {}", given.channel()));
                }
                None
            }
            std::cmp::Ordering::Greater => Some((given.sequence(), bytes)),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => {
                if alone {
                    let (found, current) = (given.sequence(), current.sequence());
                    self.refuse(
                        path,
                        &bytes,
                        &format!("its sequence {found} is older than {current}, which is in force"),
                    );
                }
                None
            }
        }
    }

    fn put_in_force(&self, config: ChannelConfig, path: &Path) {
        let (channel, sequence, block) = (config.channel().clone(), config.sequence(), config.block_number());
        let us = &self.settings.identity.identity;
        if let Err(error) = config.validate(us, (self.settings.clock)()) {
            tracing::error!(%channel, sequence, error = %chain(&error), "the new channel configuration leaves us out: others will refuse us");
        }
        match self.settings.channels.replace(config) {
            Ok(()) => {
                tracing::info!(%channel, sequence, %block, path = %path.display(), "channel configuration in force")
            }
            Err(error) => tracing::warn!(%channel, %error, "the channel configuration was changed by somebody else"),
        }
    }

    fn refuse(&mut self, path: &Path, bytes: &[u8], reason: &str) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.clear();
        }
        if self.refused.insert(Sha256::digest(bytes).into()) {
            tracing::warn!(path = %path.display(), reason, "a configuration block is refused; the one in force stays");
        }
    }
}

/// Whether it is time to say so: nothing was written for so long, and it wasn't said for so long either.
fn is_old(newest: SystemTime, told: Option<SystemTime>, now: SystemTime, age_max: Duration) -> bool {
    let since = told.map_or(newest, |told| newest.max(told));
    now.duration_since(since).is_ok_and(|age| age > age_max)
}

/// Of the file, or of every file of the folder, by name.
fn stamps(path: &Path) -> io::Result<Vec<Stamp>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        must_be_regular(&metadata)?;
        return Ok(vec![stamp(path.to_owned(), &metadata)]);
    }
    let mut stamps = Vec::new();
    for entry in fs::read_dir(path)?.take(FILES_MAX) {
        let file = entry?.path();
        // Gone again, or no file: the others count.
        if let Some(metadata) = fs::metadata(&file).ok().filter(fs::Metadata::is_file) {
            stamps.push(stamp(file, &metadata));
        }
    }
    stamps.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(stamps)
}

fn stamp(path: PathBuf, metadata: &fs::Metadata) -> Stamp {
    Stamp { path, mtime: (metadata.mtime(), metadata.mtime_nsec()), len: metadata.len(), inode: metadata.ino() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_nobody_refreshes_is_told_once_a_day() {
        let at = |hours: u64| UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let old = |newest, told: Option<u64>, now| is_old(at(newest), told.map(at), at(now), CONFIG_AGE_MAX);
        assert!(!old(0, None, 24) && old(0, None, 25));
        assert!(!old(0, Some(25), 40) && old(0, Some(25), 50), "said once a day");
        assert!(!old(45, Some(25), 60), "refreshed since");
        assert!(!old(30, None, 2), "a clock that was set back");
    }
}
