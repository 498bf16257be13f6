//! Who is asked a second time for a chunk that is already in flight: the end-game. (Hedging of late frontier chunks is the same
//! question with another condition: its pick belongs here too.)

use std::time::Duration;

use super::{
    Plan, Request,
    choose::{Member, Pick, Team},
};

impl Plan {
    /// At the end, nothing is missing and a source idles: it takes over the tail of a request that it can beat. The
    /// first copy that proves itself wins. Without that condition two equal sources would both fetch all of the last chunks.
    pub(super) fn second(&self, team: &Team) -> Option<Pick> {
        if !self.is_end_game(team.chunks_per_s) {
            return None;
        }
        let mut helpers: Vec<&Member> = team.members.iter().filter(|member| self.has_room(member)).collect();
        helpers.sort_by(|a, b| self.eta_s(a).total_cmp(&self.eta_s(b)));
        let mut owing: Vec<&Request> = self.requests.values().collect();
        // Those of which nothing is known first, then the latest.
        owing
            .sort_by_key(|request| std::cmp::Reverse(request.expected_at.map_or(Duration::MAX, |at| at.max(self.now))));
        helpers.into_iter().find_map(|helper| {
            owing.iter().filter(|request| self.can_beat(helper, request)).find_map(|request| self.tail(helper, request))
        })
    }

    /// Whether so little is left that it may be asked twice: nothing missing, and no more asked than 16 chunks or a second's work.
    pub(super) fn is_end_game(&self, chunks_per_s: f64) -> bool {
        let left = self.chunks.asked_len();
        let few = u64::from(self.config.end_game_chunks).max(chunks_per_s as u64);
        self.chunks.missing().is_empty() && (1..=few).contains(&left)
    }

    fn can_beat(&self, helper: &Member, request: &Request) -> bool {
        let measured = self.sources.get(&helper.id).is_some_and(|source| source.rate.chunks_per_s().is_some());
        let overdue = request.expected_at.is_none_or(|at| at <= self.now);
        let left_s = request.expected_at.map_or(0.0, |at| at.saturating_sub(self.now).as_secs_f64());
        request.source != helper.id && measured && (overdue || self.eta_s(helper) < left_s)
    }

    /// The last chunks that a request owes and nobody else brings: the two meet in the middle.
    fn tail(&self, helper: &Member, request: &Request) -> Option<Pick> {
        let free = |linear: u64| self.chunks.is_asked_once(linear) && !self.lacks(helper.id, linear);
        let last = request.owes.clone().rev().find(|linear| free(*linear))?;
        let room = self.permits_free().min(helper.target - self.in_flight(helper.id)).min(self.least(helper));
        let start = (request.owes.start..=last).rev().take_while(|linear| free(*linear)).take(room as usize).last()?;
        Some(Pick { source: helper.id, run: start..last + 1, class: self.class(start) })
    }
}
