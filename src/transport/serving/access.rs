//! What a session's client may ask: judged at every request, by the configuration and the clock of the moment.
//!
//! Whatever the reason, the client is told the same; the reason is for our log, once per operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    msp::{ChannelConfig, JoinGrant, Operation},
    snapshot::BlockNumber,
    transport::{
        fault::{ErrorCode, chain},
        session::PeerIdentity,
        wire::Refusal,
    },
};

/// What helps somebody who may not list or have signed.
const GRANT_NEEDED: &str = "a JoinGrant of an admin of your organisation is needed";
/// What helps somebody who may not fetch.
const PEER_NEEDED: &str = "only readers of the channel that are peers or admins may fetch";

/// The grant that the client brought, and what was decided so far.
#[derive(Debug)]
pub(super) struct Access {
    grant: Option<JoinGrant>,
    decided: Mutex<Decided>,
}

#[derive(Debug, Default)]
struct Decided {
    /// The last verdict on each operation.
    last: BTreeMap<Operation, (Question, bool)>,
    logged: BTreeSet<Operation>,
}

/// All that a verdict depends on: dates of certificates and grants are whole seconds. Chains of certificates are thus verified once a
/// second at most, however often is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    config_sequence: u64,
    second: u64,
    block: Option<BlockNumber>,
}

impl Access {
    /// Takes what Hello carried. A grant that is none is as good as none; the reason is logged.
    pub(super) fn new(join_grant: &[u8], peer: &PeerIdentity) -> Self {
        let decode = || {
            JoinGrant::decode(join_grant).inspect_err(|error| {
                tracing::info!(org = %peer.msp_id, identity = %peer.identity_id, error = %chain(error), "its grant is unusable");
            })
        };
        let grant = if join_grant.is_empty() { None } else { decode().ok() };
        Self { grant, decided: Mutex::default() }
    }

    /// Whether the client may do that now.
    pub(super) fn check(
        &self,
        config: &ChannelConfig,
        peer: &PeerIdentity,
        operation: Operation,
        block: Option<BlockNumber>,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let question = Question { config_sequence: config.sequence(), second, block };
        let last = self.decided().last.get(&operation).filter(|(asked, _)| *asked == question).map(|(_, yes)| *yes);
        let yes = last.unwrap_or_else(|| {
            let verdict = config.check_access(&peer.identity, operation, self.grant.as_ref(), block, now);
            let mut decided = self.decided();
            decided.last.insert(operation, (question, verdict.is_ok()));
            if let Err(error) = &verdict
                && decided.logged.insert(operation)
            {
                tracing::info!(
                    org = %peer.msp_id, identity = %peer.identity_id, channel = %config.channel(), %operation,
                    reason = %chain(error), "forbidden"
                );
            }
            verdict.is_ok()
        });
        if yes { Ok(()) } else { Err(forbidden(operation)) }
    }

    fn decided(&self) -> MutexGuard<'_, Decided> {
        // Verdicts can't be left half changed.
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forbidden(operation: Operation) -> Refusal {
    let detail = match operation {
        Operation::List | Operation::Sign => GRANT_NEEDED,
        Operation::Fetch => PEER_NEEDED,
    };
    Refusal::new(ErrorCode::Forbidden, detail)
}
