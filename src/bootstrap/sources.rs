//! The sources of one job: each address is dialled, asked for its catalog, and dialled again whenever it is lost.
//!
//! Decides when to dial. Leaves to `catalog::agreement` what may be believed, to `fetch` what is asked of whom.

mod giving;
mod hedged;
mod lies;
mod mending;
mod news;
mod patience;
mod refusals;
mod vanished;

pub(super) use patience::{Patience, Target};
use refusals::Refusals;
pub(super) use vanished::Instead;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time};

use super::{
    dialer::{Dialer, SourceAddress, trouble},
    error::{JoinError, SourceTrouble},
    event::{JoinEvent, Observer},
    keeper::{News, Peer, SourceIndex, keep},
    ready::Ready,
    records::Records,
};
use crate::{
    catalog::{Ban, Offer},
    snapshot::{ChannelId, ManifestHash, SnapshotId},
    transport::{
        WallClock,
        asking::AskError,
        fault::{ErrorCode, Fault, chain},
        live::LiveChannels,
        sleep_until,
    },
};

/// News that wait to be heard: each may bring a catalog of 64 000 claims, and whoever has more to tell can wait.
const NEWS_QUEUE: usize = 1;

/// How long an answer is waited for once the others' are enough: who is silent for so long has most likely stalled, and is heard when it
/// comes. Of a transfer of ten seconds it takes a tenth.
const LATE_MIN: Duration = Duration::from_secs(1);
/// Or so many times what those others took: far from here all take longer.
const LATE_FACTOR: u32 = 4;

/// All sources of a job. Dropped, it closes every connection.
pub(super) struct Sources {
    addresses: Vec<String>,
    keepers: Vec<JoinHandle<()>>,
    news: mpsc::Receiver<News>,
    ready: BTreeMap<SourceIndex, Ready>,
    troubles: BTreeMap<SourceIndex, SourceTrouble>,
    dropped: BTreeSet<SourceIndex>,
    /// Not connected, since they take nobody now: they said so.
    busy: BTreeSet<SourceIndex>,
    /// Not dialled again: they refuse us, or speak another version.
    given_up: BTreeSet<SourceIndex>,
    /// Who was seen last at each address.
    known: BTreeMap<SourceIndex, Peer>,
    /// Identities that lied, in this job or not long before, and what they did.
    banned: BTreeMap<Peer, String>,
    /// Where bans are kept for later jobs; none: they aren't.
    keeps_bans: Option<Records>,
    /// Whether who can't give something now is asked again, and for how long.
    patience: Patience,
    /// When something was given last in this job, but for chunks of a transfer; at first, when it began.
    given_at: time::Instant,
    /// Of chunks, since the last one that each source gave.
    refusals: BTreeMap<SourceIndex, Refusals>,
    /// Who kept us waiting for a manifest or a chunk tree that somebody else then gave: they are asked last.
    late: BTreeSet<SourceIndex>,
    /// Who is connected, but didn't attest what it offers, and why.
    silent: BTreeMap<SourceIndex, SourceTrouble>,
    /// Since when nobody who is connected offers the snapshot that is fetched.
    missed_since: Option<time::Instant>,
    /// The channel and its configuration of the moment, by which all are judged.
    channel: ChannelId,
    live: LiveChannels,
    clock: WallClock,
    observer: Observer,
}

impl Sources {
    /// Starts to dial every source. `patience`: for how long they are asked for what they can't give now.
    /// Who is banned is not asked anything; who lies is banned, for later jobs too if `keeps_bans`.
    pub(super) fn dial(
        dialer: &Dialer,
        list: &[SourceAddress],
        patience: Patience,
        bans: Vec<Ban>,
        keeps_bans: Option<Records>,
        observer: &Observer,
    ) -> Self {
        let (sender, news) = mpsc::channel(NEWS_QUEUE);
        let keeper = |(index, source): (SourceIndex, &SourceAddress)| {
            tokio::spawn(keep(index, dialer.clone(), source.clone(), sender.clone()))
        };
        Self {
            addresses: list.iter().map(|source| source.address.clone()).collect(),
            keepers: (0..).zip(list).map(keeper).collect(),
            news,
            ready: BTreeMap::new(),
            troubles: BTreeMap::new(),
            dropped: BTreeSet::new(),
            busy: BTreeSet::new(),
            given_up: BTreeSet::new(),
            known: BTreeMap::new(),
            banned: bans.into_iter().map(of_before).collect(),
            keeps_bans,
            patience,
            given_at: time::Instant::now(),
            refusals: BTreeMap::new(),
            late: BTreeSet::new(),
            silent: BTreeMap::new(),
            missed_since: None,
            channel: dialer.channel.clone(),
            live: dialer.live.clone(),
            clock: Arc::clone(&dialer.context.clock),
            observer: Arc::clone(observer),
        }
    }

    /// Waits until each source has answered or failed once; who is patient, for one that is busy, too, while nobody else is there. Once
    /// what those who are connected offer is `enough`, one that is silent is waited for no longer than for a moment: it is
    /// taken in when it comes. Whether all have answered.
    ///
    /// # Errors
    /// [`JoinError::NoSource`] if none answered.
    pub(super) async fn settle(&mut self, enough: impl Fn(&[Offer]) -> bool) -> Result<bool, JoinError> {
        let begun = time::Instant::now();
        let mut until = None;
        let end = self.patience.ends(begun);
        let waits = |sources: &Self| {
            let lasts = sources.is_patient() && end.is_none_or(|end| time::Instant::now() < end);
            lasts && sources.ready.is_empty() && !sources.busy.is_empty()
        };
        while !self.all_have_answered() || waits(self) {
            // Who asks once, asks for what all of them say. Who was enough may be lost again.
            if !self.is_patient() || !enough(&self.offers()) {
                until = None;
            } else if until.is_none() {
                until = Some(time::Instant::now() + LATE_MIN.max(begun.elapsed() * LATE_FACTOR));
            }
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some(news) => drop(self.take(news)),
                    None => break,
                },
                () = sleep_until(until.or(end)) => break,
            }
        }
        if self.ready.is_empty() {
            return Err(self.nobody());
        }
        Ok(self.all_have_answered())
    }

    /// Each once, or failed.
    fn all_have_answered(&self) -> bool {
        self.ready.len() + self.troubles.len() >= self.addresses.len()
    }

    /// The next thing that happens to a source.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => self.take(news),
            None => std::future::pending().await, // every keeper was stopped: nothing happens any more
        }
    }

    /// Those that are connected.
    pub(super) const fn ready(&self) -> &BTreeMap<SourceIndex, Ready> {
        &self.ready
    }

    /// Those that aren't, and why; and those that don't attest what they offer.
    pub(super) fn troubles(&self) -> Vec<SourceTrouble> {
        let silent = self.silent.iter().filter(|(index, _)| !self.troubles.contains_key(index));
        self.troubles.values().chain(silent.map(|(_, trouble)| trouble)).cloned().collect()
    }

    /// The address as the operator wrote it.
    pub(super) fn address(&self, index: SourceIndex) -> &str {
        usize::try_from(index).ok().and_then(|index| self.addresses.get(index)).map_or("?", String::as_str)
    }

    /// Whether a source that isn't connected takes nobody now.
    pub(super) fn somebody_is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Waits until somebody comes, or fewer are busy.
    pub(super) async fn fewer_are_busy(&mut self) {
        loop {
            let busy = self.busy.len();
            if matches!(self.next().await, News::Ready(..)) || self.busy.len() < busy {
                return;
            }
        }
    }

    /// Waits until somebody comes who wasn't there; false if nobody is left who could.
    pub(super) async fn somebody_came(&mut self) -> bool {
        while self.somebody_comes() {
            if matches!(self.next().await, News::Ready(..)) {
                return true;
            }
        }
        false
    }

    /// Whether what can't be given now is waited for.
    pub(super) fn is_patient(&self) -> bool {
        self.patience != Patience::Once
    }

    /// How many identities lied until now.
    pub(super) fn liars(&self) -> usize {
        self.banned.len()
    }

    /// Whether every source was dropped for what it did.
    pub(super) fn all_dropped(&self) -> bool {
        self.dropped.len() == self.addresses.len()
    }

    /// Whether none is connected and none will be.
    pub(super) fn nobody_comes(&self) -> bool {
        self.ready.is_empty() && self.dropped.union(&self.given_up).count() == self.addresses.len()
    }

    /// Why a source isn't connected.
    pub(super) fn trouble(&self, index: SourceIndex) -> SourceTrouble {
        let unknown = || SourceTrouble {
            source: self.address(index).to_owned(),
            reason: "no answer yet".to_owned(),
            refused: false,
            dropped: false,
        };
        self.troubles.get(&index).cloned().unwrap_or_else(unknown)
    }

    /// What to say when nobody is left.
    pub(super) fn nobody(&self) -> JoinError {
        match self.troubles.values().next_back() {
            Some(last) if self.all_dropped() => JoinError::EverySourceDropped { reason: last.reason.clone() },
            _ => JoinError::NoSource { troubles: self.troubles() },
        }
    }

    /// What the connected sources offer.
    pub(super) fn offers(&self) -> Vec<Offer> {
        self.ready.iter().flat_map(|(index, ready)| ready.offers(self.address(*index))).collect()
    }

    /// Whether a source that isn't connected is still dialled. One whose connection has ended counts, though nobody has heard of it yet.
    pub(super) fn somebody_comes(&self) -> bool {
        let connected = self.ready.iter().filter(|(_, ready)| !ready.session.is_closed()).map(|(index, _)| index);
        let stays = connected.chain(&self.dropped).chain(&self.given_up);
        stays.collect::<BTreeSet<_>>().len() < self.addresses.len()
    }

    /// Whether somebody who is connected claims all of a snapshot of that block.
    pub(super) fn somebody_has_all(&self, id: &SnapshotId) -> bool {
        self.ready.values().any(|ready| ready.has_all_of_block(id))
    }

    /// Who offers that manifest with its data now. Who is joining itself only passes on what others offer.
    pub(super) fn who_offers(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Vec<Peer> {
        self.ready.values().filter(|ready| ready.has_all(id, manifest_hash)).map(Ready::peer).collect()
    }

    /// Judges every connected source by the channel configuration of the moment: who is no longer a member is dropped, without blame.
    pub(super) fn judge_again(&mut self) -> Vec<News> {
        let Some(config) = self.live.current(&self.channel) else { return Vec::new() };
        let now = (self.clock)();
        let gone = |(index, ready): (&SourceIndex, &Ready)| {
            let error = ready.session.judge_again(&config, now).err()?;
            Some((*index, format!("by the channel's newer configuration it is no longer accepted: {}", chain(&error))))
        };
        let gone: Vec<(SourceIndex, String)> = self.ready.iter().filter_map(gone).collect();
        for (index, reason) in &gone {
            self.leave(*index, reason);
        }
        gone.into_iter().map(|(index, reason)| News::Lost(index, reason)).collect()
    }

    /// Closes a connection that may not go on; its address is dialled again, and judged anew, as any other that was lost.
    fn leave(&mut self, index: SourceIndex, reason: &str) {
        if let Some(ready) = self.ready.remove(&index) {
            ready.session.close(ErrorCode::Unauthorized, "");
        }
        let source = self.address(index).to_owned();
        let trouble =
            SourceTrouble { source: source.clone(), reason: reason.to_owned(), refused: true, dropped: false };
        self.troubles.insert(index, trouble);
        (self.observer)(JoinEvent::SourceLost { source, reason: reason.to_owned() });
    }

    /// Never dials the source again, and closes its connection.
    fn drop_source(&mut self, index: SourceIndex, reason: &str) {
        if let Some(keeper) = usize::try_from(index).ok().and_then(|index| self.keepers.get(index)) {
            keeper.abort();
        }
        self.dropped.insert(index);
        self.busy.remove(&index);
        if let Some(ready) = self.ready.remove(&index) {
            ready.session.close(Fault::Peer.close_code(), reason);
        }
        let source = self.address(index).to_owned();
        let trouble = SourceTrouble { source, reason: reason.to_owned(), refused: false, dropped: true };
        self.troubles.insert(index, trouble);
    }

    fn failed(&mut self, index: SourceIndex, peer: &Peer, error: &AskError) -> SourceTrouble {
        let trouble = trouble(self.address(index), error);
        if error.fault() == Fault::Peer {
            self.lied(peer, &trouble.reason);
        }
        trouble
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
        for ready in self.ready.values() {
            ready.session.close(ErrorCode::Ok, "done");
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("ready", &self.ready).field("troubles", &self.troubles).finish_non_exhaustive()
    }
}

/// A ban of an earlier job, as its trouble is told.
fn of_before(ban: Ban) -> (Peer, String) {
    let left = "it is banned for a day; `snapferry catalog unban` lifts that";
    ((ban.msp_id, ban.identity_id), format!("{} ({left})", ban.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msp::{IdentityId, MspId};

    fn peer(org: u8) -> Peer {
        (MspId::new(&format!("Org{org}MSP")).unwrap(), IdentityId([org; 32]))
    }

    /// Sources that nobody dials, and who was seen last at each.
    fn sources(known: &[u8]) -> Sources {
        let (_, news) = mpsc::channel(1);
        Sources {
            addresses: known.iter().map(|org| format!("org{org}:7061")).collect(),
            keepers: Vec::new(),
            news,
            ready: BTreeMap::new(),
            troubles: BTreeMap::new(),
            dropped: BTreeSet::new(),
            busy: BTreeSet::new(),
            given_up: BTreeSet::new(),
            known: (0..).zip(known).map(|(index, org)| (index, peer(*org))).collect(),
            banned: BTreeMap::new(),
            keeps_bans: None,
            patience: Patience::UntilStopped,
            given_at: time::Instant::now(),
            refusals: BTreeMap::new(),
            late: BTreeSet::new(),
            silent: BTreeMap::new(),
            missed_since: None,
            channel: "ch1".parse().unwrap(),
            live: LiveChannels::new([]),
            clock: Arc::new(|| std::time::UNIX_EPOCH),
            observer: Arc::new(|_| ()),
        }
    }

    #[test]
    fn who_lied_is_dropped_wherever_it_answers_and_nobody_else() {
        let mut sources = sources(&[1, 2, 1]);
        assert_eq!(sources.lied(&peer(1), "a bit"), [0, 2]);
        assert!(sources.lied(&peer(1), "a bit").is_empty(), "dropped once");
        assert!(!sources.all_dropped());
    }

    #[test]
    fn who_answers_at_a_liars_address_by_now_is_not_blamed() {
        // Org1's machine sent the chunk; by the time it was found to be wrong, the name led to org2's.
        let mut sources = sources(&[2]);
        assert!(sources.lied(&peer(1), "a bit").is_empty());
        assert!(sources.dropped.is_empty() && sources.banned.contains_key(&peer(1)));
    }

    #[test]
    fn what_a_session_finds_out_by_itself_bans_the_identity() {
        let mut sources = sources(&[2, 1]);
        let lie = News::Lied(0, peer(1), "its catalog doesn't ascend".to_owned());
        let News::Dropped(dropped, reason) = sources.take(lie) else { panic!("not dropped") };
        assert_eq!((dropped.as_slice(), reason.as_str()), ([0, 1].as_slice(), "its catalog doesn't ascend"));
        assert!(sources.all_dropped() && sources.nobody_comes());
    }

    /// Defence: who offered a manifest is noted when it is agreed on. Removed, a liar hangs up before its last file is judged, and is
    /// asked again.
    #[test]
    fn who_misled_us_is_banned_though_it_hung_up() {
        let mut sources = sources(&[1, 2]);
        let agreed = crate::catalog::fixture::agreed(&crate::catalog::fixture::manifest(83, 0), None);
        sources.misled(&agreed, &[peer(1)], "wrong SHA-256");
        assert!(sources.banned.contains_key(&peer(1)) && !sources.banned.contains_key(&peer(2)));
        assert_eq!(sources.dropped, [0].into());
    }
}
