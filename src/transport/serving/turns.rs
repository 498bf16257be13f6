//! Turns at what many wait for: one at a time, and next is the organisation that had its last one longest ago, and of its members
//! likewise.
//!
//! Not first come, first served: whoever asks a hundred times would have a hundred turns before anybody else's first, and one that loses
//! patience and asks again would be the last each time. What a turn is good for, and how long it takes, is for others to say.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{catalog::Holder, transport::limits::SESSIONS_MAX};

/// Members whose last turn is remembered; one that is forgotten had it longest ago. Twice as many as have sessions by the default caps.
const REMEMBERED: usize = 2 * SESSIONS_MAX;

/// Where the members wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    taken: bool,
    /// Who had a turn, each once: the latest is the last.
    had: VecDeque<Holder>,
    waiting: VecDeque<(Holder, oneshot::Sender<Turn>)>,
}

/// The turn; dropped, the next one has it.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn(Turns);

impl Turns {
    /// Waits for a turn of that member; those of one member come in the order of asking. Can be given up: who asks again then has lost
    /// nothing, but whoever gives up the turn itself has had it.
    pub(super) async fn next(&self, member: &Holder) -> Turn {
        let (sender, turn) = oneshot::channel();
        self.line().waiting.push_back((member.clone(), sender));
        self.hand_on();
        turn.await.expect("who waits is answered, or has gone")
    }

    /// Gives the turn to the next, if nobody has it.
    fn hand_on(&self) {
        let next = self.line().next();
        if let Some(waiting) = next {
            // Who went away meanwhile hands it on at once, outside the lock.
            drop(waiting.send(Turn(self.clone())));
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A flag and queues: each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Who is next, if anybody is: from here on it has the turn.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.waiting.retain(|(_, waiting)| !waiting.is_closed());
        if self.taken {
            return None;
        }
        // `None`, never, is before all others.
        let last = |member: &Holder| {
            let of_org = self.had.iter().rposition(|had| had.msp_id == member.msp_id);
            (of_org, self.had.iter().position(|had| had == member))
        };
        let (first, _) = self.waiting.iter().enumerate().min_by_key(|(_, (member, _))| last(member))?;
        let (member, waiting) = self.waiting.remove(first)?;
        self.had.retain(|had| *had != member);
        self.had.push_back(member);
        if self.had.len() > REMEMBERED {
            self.had.pop_front();
        }
        self.taken = true;
        Some(waiting)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.line().taken = false;
        self.0.hand_on();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::msp::{IdentityId, MspId};

    type Waiting = Pin<Box<dyn Future<Output = Turn>>>;

    fn member(org: u32, number: u8) -> Holder {
        Holder { msp_id: MspId::new(&format!("Org{org}MSP")).unwrap(), identity_id: IdentityId([number; 32]) }
    }

    /// A turn asked for.
    fn asks(turns: &Turns, org: u32, number: u8) -> Waiting {
        let turns = turns.clone();
        let mut waiting: Waiting = Box::pin(async move { turns.next(&member(org, number)).await });
        assert!(ready(&mut waiting).is_none(), "somebody has it");
        waiting
    }

    /// The turn while nobody else wants it.
    fn taken(turns: &Turns, org: u32, number: u8) -> Turn {
        let turns = turns.clone();
        let mut waiting: Waiting = Box::pin(async move { turns.next(&member(org, number)).await });
        ready(&mut waiting).unwrap()
    }

    fn ready(waiting: &mut Waiting) -> Option<Turn> {
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    /// Who of them has the turn in each of the next rounds. Each asks again as soon as it has it.
    fn rounds(turns: &Turns, mut turn: Turn, mut asking: Vec<(u32, u8, Waiting)>, count: usize) -> Vec<(u32, u8)> {
        let mut order = Vec::new();
        for _ in 0..count {
            drop(turn);
            let next = asking.iter_mut().find_map(|(org, number, waiting)| {
                let turn = ready(waiting)?;
                *waiting = asks(turns, *org, *number);
                order.push((*org, *number));
                Some(turn)
            });
            turn = next.expect("somebody has it");
        }
        order
    }

    /// Defence: next is whoever had the last turn longest ago. Removed, one that asks on all its streams has them all before anybody else.
    /// R5: members that ask without end have a turn in turn with those that ask once at a time, and so have organisations, however many
    /// members of one ask.
    #[test]
    fn organisations_have_turns_in_turn_and_so_have_the_members_of_one() {
        let turns = Turns::default();
        let turn = taken(&turns, 1, 1);
        let flood = (0..64).map(|_| (1, 1, asks(&turns, 1, 1)));
        let mut asking: Vec<_> = flood.collect();
        asking.push((1, 2, asks(&turns, 1, 2)));
        asking.extend((1..=3).map(|number| (2, number, asks(&turns, 2, number))));
        let order = rounds(&turns, turn, asking, 12);
        let one = [(2, 1), (1, 2), (2, 2), (1, 1), (2, 3), (1, 2)];
        let two = [(2, 1), (1, 1), (2, 2), (1, 2), (2, 3), (1, 1)];
        assert_eq!(order, [one, two].concat());
    }

    /// Defence: a member's place doesn't hang on its request. Removed, whoever is less patient than the line is long is never served.
    #[test]
    fn who_gives_up_and_asks_again_keeps_its_place() {
        let turns = Turns::default();
        let mut turn = taken(&turns, 1, 1);
        let mut others: Vec<Waiting> = (2..=32).map(|org| asks(&turns, org, 1)).collect();
        let mut impatient = asks(&turns, 0, 1);
        for waiting in &mut others {
            // Behind all others in the order of asking, each time.
            impatient = asks(&turns, 0, 1);
            drop(turn);
            turn = ready(waiting).expect("it asked before");
        }
        let _others: Vec<Waiting> = (1..=32).map(|org| asks(&turns, org, 1)).collect();
        drop(impatient);
        let mut impatient = asks(&turns, 0, 1);
        drop(turn);
        assert!(ready(&mut impatient).is_some());
    }

    #[test]
    fn a_turn_that_is_given_up_is_handed_on_and_was_one() {
        let turns = Turns::default();
        let turn = taken(&turns, 1, 1);
        let (never, mut one) = (asks(&turns, 2, 1), asks(&turns, 1, 1));
        drop(turn);
        assert!(ready(&mut one).is_none());
        // It has the turn, and never looks.
        drop(never);
        let turn = ready(&mut one).expect("handed on");
        let (mut two, mut three) = (asks(&turns, 2, 1), asks(&turns, 3, 1));
        drop(turn);
        assert!(ready(&mut two).is_none());
        drop(ready(&mut three).expect("the second had one"));
        drop(ready(&mut two).unwrap());
        assert!(turns.line().waiting.is_empty() && !turns.line().taken);
    }

    #[test]
    fn no_more_are_remembered_than_the_limit_and_none_wait_who_have_gone() {
        let turns = Turns::default();
        for org in 0..1_000 {
            let turn = taken(&turns, org, 1);
            for _ in 0..4 {
                drop(asks(&turns, org, 2));
                assert!(turns.line().waiting.len() <= 1);
            }
            drop(turn);
            assert!(turns.line().had.len() <= REMEMBERED);
        }
    }
}
