//! What the service answers on its control socket: a request in, a response out.

use std::{sync::Arc, time::Instant};

use super::{
    admission::{Admitted, NotAdmitted, admit},
    command::{Method, SignedCommand},
    seen::{SeenCommands, SeenError},
    wire::{LISTED_MAX, Listed, Refused, RefusedCode, Request, Response, Shown},
};
use crate::{
    catalog::{
        AttestRefusal, Attestor, AuditBy, AuditLog, AuditRecord, Catalog, DeleteError, Deleted, Landed, StatementError,
        StatementStore,
    },
    msp::LocalIdentity,
    snapshot::{ChannelId, SnapshotId},
    transport::{WallClock, live::LiveChannels},
};

/// What answering needs.
#[derive(Clone)]
pub struct ControlContext {
    /// What there is.
    pub catalog: Arc<Catalog>,
    /// Who signs, and under which rules.
    pub attestor: Arc<Attestor>,
    /// What was said.
    pub statements: Arc<StatementStore>,
    /// What came from others.
    pub landed: Arc<Landed>,
    /// Where deletions are recorded.
    pub audit: Arc<AuditLog>,
    /// The configurations of the moment: who is an admin.
    pub channels: LiveChannels,
    /// Who we are.
    pub identity: Arc<LocalIdentity>,
    /// Wall time.
    pub clock: WallClock,
}

/// Answers one request. Blocking.
pub(super) fn answer(context: &ControlContext, seen: &SeenCommands, request: Request) -> Response {
    let answered = match request {
        Request::List(channel) => Ok(Response::Listed(list(&context.catalog, channel.as_ref()))),
        Request::Show(id) => show(context, &id),
        Request::Sign(id, nonce) => sign(context, &id, &nonce),
        Request::Command(command) => obey(context, seen, &command),
    };
    answered.unwrap_or_else(Response::Refused)
}

fn list(catalog: &Catalog, channel: Option<&ChannelId>) -> Vec<Listed> {
    let now = monotonic();
    let channels = channel.map_or_else(|| catalog.channels(), |channel| [channel.clone()].into());
    let mut left = LISTED_MAX;
    let mut listed = Vec::new();
    for channel in channels {
        let entries = catalog.page(&channel).1;
        let skipped = entries.len().saturating_sub(left); // the oldest
        left = left.saturating_sub(entries.len());
        listed.extend(entries.into_iter().skip(skipped).map(|entry| {
            let downloads = u32::try_from(catalog.leases_of(&entry.id, now).len()).unwrap_or(u32::MAX);
            let deletion_pending = catalog.pending_deletion(&entry.id, now).is_some();
            Listed { entry, downloads, deletion_pending }
        }));
    }
    listed
}

fn show(context: &ControlContext, id: &SnapshotId) -> Result<Response, Refused> {
    let known = context.catalog.known(id).ok_or_else(|| AttestRefusal::Unknown(id.clone()))?;
    let landed = context.landed.contains(id, known.entry.manifest_hash).map_err(AttestRefusal::from)?;
    let mut attestations: Vec<_> = context.statements.own(id).into_iter().collect();
    attestations.extend(context.statements.foreign(id, (context.clock)()));
    let identity_id = context.identity.identity.id();
    let now = monotonic();
    let (leases, deletion) = (context.catalog.leases_of(id, now), context.catalog.pending_deletion(id, now));
    Ok(Response::Shown(Box::new(Shown { known, landed, attestations, identity_id, leases, deletion })))
}

fn sign(context: &ControlContext, id: &SnapshotId, nonce: &[u8]) -> Result<Response, Refused> {
    let config = context.channels.current(&id.channel).ok_or_else(|| Refused {
        code: RefusedCode::NotFound,
        text: format!("channel {0} isn't configured here: set channels.{0}.configBlock", id.channel),
    })?;
    let now = (context.clock)();
    let signed = context.attestor.attest(&context.catalog, id, nonce, &config, now)?;
    Ok(Response::Signed(signed))
}

fn obey(context: &ControlContext, seen: &SeenCommands, command: &SignedCommand) -> Result<Response, Refused> {
    let admitted =
        admit(command, &context.identity, |channel| context.channels.current(channel), seen, (context.clock)());
    let Admitted { method, by } = admitted.map_err(|error| {
        tracing::warn!(reason = %error, "a command wasn't obeyed");
        error
    })?;
    let (id, forced) = (method.snapshot().clone(), matches!(method, Method::DeleteForced(_)));
    let deleted = context.catalog.request_deletion(&id, forced, monotonic())?;
    tracing::info!(snapshot = %id, by = by.subject(), identity = %by.id(), forced, ?deleted, "delete commanded");
    let by = AuditBy { msp_id: by.msp_id().clone(), identity_id: by.id(), address: None };
    let record = match deleted {
        Deleted::Now => Some(AuditRecord::deleted(by, id)),
        Deleted::Pending => Some(AuditRecord::deletion_commanded(by, id)),
        Deleted::Already => None,
    };
    if let Some(record) = record {
        // It is done, or promised; that it isn't recorded is in the service's log.
        let _ = context.audit.append(&record, (context.clock)());
    }
    Ok(Response::Deleted(deleted))
}

/// Of the clock that leases go by.
fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl From<AttestRefusal> for Refused {
    fn from(error: AttestRefusal) -> Self {
        let code = match &error {
            AttestRefusal::Unknown(_) => RefusedCode::NotFound,
            AttestRefusal::Nonce(_) => RefusedCode::Malformed,
            AttestRefusal::Statement(StatementError::SignedAnother { .. } | StatementError::Damaged { .. }) => {
                RefusedCode::Contradiction
            }
            _ => RefusedCode::Failed,
        };
        Self { code, text: error.to_string() }
    }
}

impl From<DeleteError> for Refused {
    fn from(error: DeleteError) -> Self {
        let code = match &error {
            DeleteError::NotAllowed => RefusedCode::NotAllowed,
            DeleteError::Unknown(_) => RefusedCode::NotFound,
            _ => RefusedCode::Failed,
        };
        Self { code, text: error.to_string() }
    }
}

impl From<NotAdmitted> for Refused {
    fn from(error: NotAdmitted) -> Self {
        let code = match &error {
            NotAdmitted::Body(_) => RefusedCode::Malformed,
            NotAdmitted::Seen(SeenError::Disk(_) | SeenError::TooMany) => RefusedCode::Failed,
            _ => RefusedCode::Denied,
        };
        Self { code, text: error.to_string() }
    }
}
