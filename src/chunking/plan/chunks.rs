//! Where every chunk stands (missing, asked, held, verified) and how many permits of the budget that takes.

use std::{collections::BTreeMap, ops::Range};

use super::{
    event::{RequestId, SourceId},
    ranges::RangeSet,
};

/// States of all chunks. A chunk is in exactly one of: missing; asked or held, or both (asked twice); verified. A
/// verified one may still be held (not written yet) or asked (the copy that lost).
#[derive(Debug)]
pub(super) struct Chunks {
    missing: RangeSet,
    verified: RangeSet,
    asked: BTreeMap<u64, Asked>,
    held: BTreeMap<u64, Held>,
    permits_used: u32,
    total: u64,
}

#[derive(Debug, Default)]
struct Asked {
    first: Option<RequestId>,
    second: Option<RequestId>,
}

/// An arrived chunk whose permit isn't back yet.
#[derive(Debug)]
struct Held {
    copies: u32,
    /// `None`: its request was given up as it came.
    source: Option<SourceId>,
    verified: bool,
}

impl Chunks {
    pub(super) fn new(total: u64) -> Self {
        let mut missing = RangeSet::default();
        missing.insert(0..total);
        Self {
            missing,
            verified: RangeSet::default(),
            asked: BTreeMap::new(),
            held: BTreeMap::new(),
            permits_used: 0,
            total,
        }
    }

    pub(super) fn missing(&self) -> &RangeSet {
        &self.missing
    }
    pub(super) fn verified(&self) -> &RangeSet {
        &self.verified
    }
    pub(super) fn asked_len(&self) -> u64 {
        self.asked.len() as u64
    }
    pub(super) fn permits_used(&self) -> u32 {
        self.permits_used
    }

    /// Copies that arrived and aren't proved yet.
    pub(super) fn unproved_copies(&self) -> u64 {
        self.held.values().filter(|held| !held.verified).map(|held| u64::from(held.copies)).sum()
    }

    /// Verified and its permit given back.
    pub(super) fn written_len(&self) -> u64 {
        self.verified.len() - self.held.values().filter(|held| held.verified).count() as u64
    }

    pub(super) fn is_complete(&self) -> bool {
        self.written_len() == self.total
    }

    /// Whether somebody still needs the bytes of a chunk that a request owes.
    pub(super) fn is_wanted(&self, linear: u64) -> bool {
        !self.verified.contains(linear)
    }

    /// Whether a chunk is in flight once, and no copy of it arrived: one that the end-game may ask a second time.
    pub(super) fn is_asked_once(&self, linear: u64) -> bool {
        self.is_wanted(linear)
            && !self.held.contains_key(&linear)
            && self.asked.get(&linear).is_some_and(|asked| asked.first.is_some() != asked.second.is_some())
    }

    /// Takes a permit for each chunk of a request.
    pub(super) fn ask(&mut self, run: Range<u64>, request: RequestId) {
        self.missing.remove(run.clone());
        for linear in run {
            let asked = self.asked.entry(linear).or_default();
            let slot = if asked.first.is_none() { &mut asked.first } else { &mut asked.second };
            *slot = Some(request);
            self.permits_used += 1;
        }
    }

    pub(super) fn arrive(&mut self, linear: u64, request: RequestId, source: SourceId) {
        self.forget_request(linear, request);
        if self.verified.contains(linear) {
            self.permits_used -= 1; // the copy that lost: dropped by the driver
        } else {
            self.held.entry(linear).or_insert(Held { copies: 0, source: Some(source), verified: false }).copies += 1;
        }
    }

    /// A chunk came as its request was given up: until it is proved or dropped it takes memory as any other.
    pub(super) fn arrive_late(&mut self, linear: u64) {
        if linear < self.total && self.is_wanted(linear) {
            self.missing.remove(linear..linear + 1);
            self.held.entry(linear).or_insert(Held { copies: 0, source: None, verified: false }).copies += 1;
            self.permits_used += 1;
        }
    }

    /// Returns whose chunk was proved, if that is known; `None` if none was waiting for it.
    pub(super) fn verify(&mut self, linear: u64) -> Option<Option<SourceId>> {
        let held = self.held.get_mut(&linear).filter(|held| !held.verified)?;
        held.verified = true;
        self.permits_used -= held.copies - 1;
        held.copies = 1;
        self.verified.insert(linear..linear + 1);
        Some(held.source)
    }

    pub(super) fn release(&mut self, linear: u64) {
        if self.held.get(&linear).is_some_and(|held| held.verified) {
            self.drop_held(linear);
        }
    }

    pub(super) fn reject(&mut self, linear: u64) {
        let Some(held) = self.held.get_mut(&linear).filter(|held| !held.verified) else { return };
        held.copies -= 1;
        self.permits_used -= 1;
        if held.copies == 0 {
            self.held.remove(&linear);
            self.miss(linear);
        }
    }

    /// A request will not bring these any more.
    pub(super) fn give_up(&mut self, run: Range<u64>, request: RequestId) {
        for linear in run {
            if self.forget_request(linear, request) {
                self.permits_used -= 1;
                self.miss(linear);
            }
        }
    }

    pub(super) fn present(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.total);
        let unproved: Vec<u64> =
            self.held_in(range.clone()).filter(|(_, held)| !held.verified).map(|(linear, _)| linear).collect();
        unproved.into_iter().for_each(|linear| self.drop_held(linear));
        self.missing.remove(range.clone());
        self.verified.insert(range);
    }

    pub(super) fn lose(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.total);
        if range.is_empty() {
            return;
        }
        let proved: Vec<u64> =
            self.held_in(range.clone()).filter(|(_, held)| held.verified).map(|(linear, _)| linear).collect();
        proved.into_iter().for_each(|linear| self.drop_held(linear));
        self.verified.remove(range.clone());
        self.missing.insert(range.clone());
        let busy: Vec<u64> = self
            .asked
            .range(range.clone())
            .map(|(linear, _)| *linear)
            .chain(self.held.range(range).map(|h| *h.0))
            .collect();
        busy.into_iter().for_each(|linear| self.missing.remove(linear..linear + 1));
    }

    fn held_in(&self, range: Range<u64>) -> impl Iterator<Item = (u64, &Held)> {
        // A BTreeMap panics on a range that ends before it starts.
        let end = range.end.max(range.start);
        self.held.range(range.start..end).map(|(linear, held)| (*linear, held))
    }

    fn drop_held(&mut self, linear: u64) {
        if let Some(held) = self.held.remove(&linear) {
            self.permits_used -= held.copies;
        }
    }

    fn forget_request(&mut self, linear: u64, request: RequestId) -> bool {
        let Some(asked) = self.asked.get_mut(&linear) else { return false };
        let slots = [&mut asked.first, &mut asked.second];
        let Some(slot) = slots.into_iter().find(|slot| **slot == Some(request)) else { return false };
        *slot = None;
        if asked.first.is_none() && asked.second.is_none() {
            self.asked.remove(&linear);
        }
        true
    }

    /// Missing again, unless somebody else brings it or already has.
    fn miss(&mut self, linear: u64) {
        if !self.asked.contains_key(&linear) && !self.held.contains_key(&linear) && !self.verified.contains(linear) {
            self.missing.insert(linear..linear + 1);
        }
    }
}
