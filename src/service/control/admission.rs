//! Whether a signed command is obeyed: for this service, just now, by an admin of its own organisation, once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    command::{ControlBody, ControlBodyError, Method, SignedCommand},
    seen::{SeenCommands, SeenError},
};
use crate::{
    msp::{ChannelConfig, Identity, IdentityId, LocalIdentity, MspError, MspId, Principal, PrincipalRole, Purpose},
    service::clock::unix_seconds,
    snapshot::ChannelId,
};

/// How far a command's time may be from ours.
pub const COMMAND_AGE_MAX: Duration = Duration::from_secs(300);

/// A command that may be obeyed; [`admit`] alone makes one.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) method: Method,
    /// Who commands.
    pub(super) by: Identity,
}

/// Why a command isn't obeyed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// Not a command.
    #[error(transparent)]
    Body(#[from] ControlBodyError),
    /// For another service.
    #[error("the command is for another service, of identity {0}")]
    OtherTarget(IdentityId),
    /// Too old, or from the future.
    #[error("the command was signed {age_s} s {} our clock says, more than 5 minutes: set the clocks right and give it again", if *early { "later than" } else { "before what" })]
    Time {
        /// By how much.
        age_s: u64,
        /// Whether it is from the future.
        early: bool,
    },
    /// Of another organisation.
    #[error("{subject} of {found} isn't of this service's organisation, {ours}")]
    OtherOrganisation {
        /// The signer's subject.
        subject: String,
        /// Its organisation.
        found: MspId,
        /// The service's.
        ours: MspId,
    },
    /// Nobody is known to be an admin in a channel without a configuration.
    #[error("channel {0} isn't configured here, so nobody is known as its admin: set channels.{0}.configBlock")]
    UnknownChannel(ChannelId),
    /// The certificate.
    #[error("the command's signer: {0}")]
    Certificate(MspError),
    /// Valid, but no admin; or the signature is wrong.
    #[error(
        "{subject} of {msp_id} isn't an admin: {source}; give the command with an admin's MSP folder (--msp-config-path)"
    )]
    NotAdmin {
        /// The signer's subject.
        subject: String,
        /// Its organisation.
        msp_id: MspId,
        /// Why not.
        source: MspError,
    },
    /// Given before.
    #[error(transparent)]
    Seen(#[from] SeenError),
}

/// Judges a command; what is admitted is remembered durably, so do it then.
pub(super) fn admit(
    command: &SignedCommand,
    ours: &LocalIdentity,
    config: impl Fn(&ChannelId) -> Option<Arc<ChannelConfig>>,
    seen: &SeenCommands,
    now: SystemTime,
) -> Result<Admitted, NotAdmitted> {
    let body = ControlBody::decode(&command.body)?;
    if body.target != ours.identity.id() {
        return Err(NotAdmitted::OtherTarget(body.target));
    }
    let age_s = unix_seconds(now).abs_diff(body.issued_at);
    if age_s > COMMAND_AGE_MAX.as_secs() {
        return Err(NotAdmitted::Time { age_s, early: body.issued_at > unix_seconds(now) });
    }
    let by = Identity::parse(body.creator).map_err(NotAdmitted::Certificate)?;
    if by.msp_id() != ours.identity.msp_id() {
        let (subject, found) = (by.subject().to_owned(), by.msp_id().clone());
        return Err(NotAdmitted::OtherOrganisation { subject, found, ours: ours.identity.msp_id().clone() });
    }
    let id = body.method.snapshot();
    let config = config(&id.channel).ok_or_else(|| NotAdmitted::UnknownChannel(id.channel.clone()))?;
    config.validate(&by, now).map_err(NotAdmitted::Certificate)?;
    let not_admin =
        |source| NotAdmitted::NotAdmin { subject: by.subject().to_owned(), msp_id: by.msp_id().clone(), source };
    let admin = Principal::Role { msp_id: by.msp_id().clone(), role: PrincipalRole::Admin };
    config.satisfies(&by, &admin).map_err(not_admin)?;
    by.verify(Purpose::Control, &[&command.body], &command.signature).map_err(NotAdmitted::Certificate)?;
    // Last: only a good command may take one of the places.
    seen.admit(body.nonce, body.issued_at, now)?;
    Ok(Admitted { method: body.method, by })
}

#[cfg(test)]
mod tests;
