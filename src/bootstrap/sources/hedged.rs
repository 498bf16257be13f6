//! Asks whoever offers something until one gives it: one after the other, but none is waited for long while another may be asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{task::JoinSet, time};

use super::{
    Sources,
    patience::{LOOK_AGAIN_AFTER, LOST_MAY_HAVE_IT, Patience, Target},
    vanished::no_longer,
};
use crate::{
    bootstrap::{
        dialer::again_after,
        error::{JoinError, SourceTrouble},
        event::JoinEvent,
        keeper::{News, SourceIndex},
        ready::{GiveError, Ready},
    },
    snapshot::SnapshotId,
    transport::sleep_until,
};

/// How many round trips a source may take before another one is asked beside it: the question, the answer, and twice that for what is
/// lost on the way or read from a disk.
const HEDGE_ROUND_TRIPS: u32 = 4;
/// But at least this: a list of 64 GiB has 2 MiB, and a busy machine isn't a silent one. A list that is sent twice costs less than this
/// time does.
const HEDGE_AFTER_MIN: Duration = Duration::from_millis(500);

/// When the next one is asked though the one before hasn't answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hedge {
    /// As soon as that one is late: what is asked for is small, and all else waits for it.
    Soon,
    /// Never: what is asked for is dear, and nobody is in a hurry.
    Never,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) id: &'a SnapshotId,
    /// In words.
    pub(super) what: &'a str,
    pub(super) hedge: Hedge,
    /// The join's target that it is a part of, if that is agreed on: then it is waited for as for a chunk.
    pub(super) target: Option<Target<'a>>,
}

impl Sources {
    /// Asks those who offer it until one gives it. One that is late is still waited for, but the next one may be asked beside it: the first
    /// right answer counts, the others are dropped. Who is busy, silent or lost is asked again, as far as this job has the patience; a lie
    /// or a refusal that won't change is the last word of a source.
    pub(super) async fn whoever_gives<T: Send + 'static, F: Future<Output = Result<T, GiveError>> + Send + 'static>(
        &mut self,
        wanted: Wanted<'_>,
        offers: impl Fn(&Ready) -> bool,
        ask: impl Fn(Ready) -> F,
    ) -> Result<T, JoinError> {
        let begun = time::Instant::now();
        let mut waiting_told = false;
        let mut answers: BTreeMap<SourceIndex, Answer> = BTreeMap::new();
        let mut asking = JoinSet::new();
        let mut asked = Asked::default();
        loop {
            let now = time::Instant::now();
            let alone = wanted.hedge == Hedge::Never && !asked.of.is_empty();
            if !alone && asked.next_at.is_none_or(|at| at <= now) {
                let due = self.ready.iter().filter(|(index, ready)| {
                    let again = answers.get(index).is_none_or(|answer| answer.again.is_some_and(|at| at <= now));
                    again && !asked.of.contains(index) && offers(ready)
                });
                // Who kept us waiting before comes last.
                let due = due.min_by_key(|(index, _)| (self.late.contains(index), **index));
                if let Some((index, ready)) = due.map(|(index, ready)| (*index, ready.clone())) {
                    asked.add(index, &ready, now);
                    let (peer, given) = (ready.peer(), ask(ready));
                    asking.spawn(async move { (index, peer, given.await) });
                    continue;
                }
            }
            let connected = self.ready.iter().filter(|(index, ready)| offers(ready) && !asked.of.contains(index));
            let connected: Vec<Option<&Answer>> = connected.map(|(index, _)| answers.get(index)).collect();
            // Once all who are connected have refused for good, only who was lost can still give it.
            let refused = connected.iter().all(|answer| answer.is_some_and(|answer| answer.again.is_none()));
            let last = connected.iter().flatten().map(|answer| answer.at).max();
            // Who wasn't asked yet is only waiting for its turn.
            let again = connected.iter().filter_map(|answer| answer.map_or(Some(now), |answer| answer.again)).min();
            let idle = asked.of.is_empty();
            let gone = wanted.target.and_then(|target| self.gone(target, idle && refused && !connected.is_empty()));
            if let Some(error) = gone {
                return Err(error);
            }
            let until = match wanted.target {
                _ if !idle || !refused => self.patience.ends(self.given_at),
                // Who was there and is lost may give it, or say what there is instead.
                Some(_) if self.patience == Patience::UntilStopped && self.somebody_comes_back() => None,
                // Nobody who is connected offers it: `gone` says when that is the end.
                Some(_) => last.map(|last| self.refused_until(last)),
                None if !self.somebody_comes_back() => Some(now),
                // Of those who were lost nobody knows when they come back: that is a join's own patience.
                None if self.patience == Patience::UntilStopped => last.map(|last| last + LOST_MAY_HAVE_IT),
                None => Some(last.unwrap_or(begun) + LOST_MAY_HAVE_IT),
            };
            if idle && (self.patience == Patience::Once || until.is_some_and(|until| until <= now)) {
                return Err(self.not_delivered(wanted, offers, &answers));
            }
            if wanted.target.is_some() && idle && connected.is_empty() && !std::mem::replace(&mut waiting_told, true) {
                let reason = self.not_delivered(wanted, &offers, &answers).to_string();
                (self.observer)(JoinEvent::WaitsForSources { reason });
            }
            let next = match asked.next_at {
                _ if alone => None,
                Some(at) => again.map(|again| again.max(at)),
                None => again,
            };
            let look = wanted.target.map(|_| now + LOOK_AGAIN_AFTER);
            let wake = [next, until.filter(|until| *until > now), look].into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(answer) = asking.join_next() => {
                    let Ok((index, peer, answer)) = answer else {
                        return Err(JoinError::Bug { part: "a request to a source" });
                    };
                    asked.answered(index);
                    match answer {
                        Ok(given) => {
                            self.given_at = time::Instant::now();
                            self.late.append(&mut asked.of);
                            self.late.remove(&index);
                            return Ok(given);
                        }
                        Err(GiveError::Ask(error)) => {
                            let again = again_after(&error).map(|pause| time::Instant::now() + pause);
                            let trouble = self.failed(index, &peer, &error);
                            let told = answers.get(&index).is_some_and(|before| before.trouble.reason == trouble.reason);
                            if again.is_some() && !told {
                                let (source, reason) = (trouble.source.clone(), trouble.reason.clone());
                                (self.observer)(JoinEvent::SourceFailed { source, reason });
                            }
                            answers.insert(index, Answer { trouble, again, at: time::Instant::now() });
                        }
                        Err(GiveError::Proof(error)) => drop(self.lied(&peer, &error.to_string())),
                    }
                }
                news = self.next() => if let News::Ready(index, _) = news {
                    answers.remove(&index);
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn not_delivered(
        &self,
        wanted: Wanted<'_>,
        offers: impl Fn(&Ready) -> bool,
        answers: &BTreeMap<SourceIndex, Answer>,
    ) -> JoinError {
        if self.all_dropped() {
            return self.nobody();
        }
        // What it did last: a source that lied or was lost said nothing after that.
        let said = |index: SourceIndex| {
            let trouble = self.troubles.get(&index).or_else(|| answers.get(&index).map(|answer| &answer.trouble));
            let lacks = || {
                let lacks = self.ready.get(&index).is_some_and(|ready| !offers(ready));
                lacks.then(|| no_longer(self.address(index), "it doesn't offer this snapshot"))
            };
            trouble.cloned().or_else(lacks)
        };
        let troubles = (0..).zip(&self.addresses).filter_map(|(index, _)| said(index)).collect();
        JoinError::NotDelivered { what: wanted.what.to_owned(), id: wanted.id.clone(), troubles }
    }
}

/// What a source said last to a request.
#[derive(Debug)]
struct Answer {
    trouble: SourceTrouble,
    /// When it is asked again; `None`: it won't say anything else.
    again: Option<time::Instant>,
    at: time::Instant,
}

/// Who was asked and hasn't answered.
#[derive(Debug, Default)]
struct Asked {
    of: BTreeSet<SourceIndex>,
    /// When somebody else may be asked, too; `None`: now.
    next_at: Option<time::Instant>,
}

impl Asked {
    fn add(&mut self, index: SourceIndex, ready: &Ready, now: time::Instant) {
        // Twice as long with each one: a link that is too slow for one list isn't given sixteen.
        let others = u32::try_from(self.of.len()).unwrap_or(u32::MAX);
        let patience = HEDGE_AFTER_MIN.max(ready.session.rtt() * HEDGE_ROUND_TRIPS) * 2_u32.saturating_pow(others);
        self.of.insert(index);
        self.next_at = Some(now + patience);
    }

    /// Somebody else may be asked at once in its place.
    fn answered(&mut self, index: SourceIndex) {
        self.of.remove(&index);
        self.next_at = None;
    }
}
