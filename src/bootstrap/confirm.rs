//! Whether what was agreed on still holds: asked whenever the channel's configuration changes, and before anything gets its name.

use super::{
    JoinError, JoinRequest,
    vouching::{NONCE_BYTES, Vouched},
};
use crate::{
    catalog::{AgreedSnapshot, Judging},
    msp::ChannelConfig,
    snapshot::ContentSummary,
};

/// Whether those who vouched still count, by the configuration and the clock of the moment; and by the snapshot's own, if it is known.
pub(super) fn still_agreed(
    request: &JoinRequest,
    agreed: &AgreedSnapshot,
    nonce: Option<&[u8; NONCE_BYTES]>,
    state: Option<&ChannelConfig>,
) -> Result<(), JoinError> {
    let dialling = &request.dialling;
    let config = dialling.config()?;
    let judging = Judging {
        config: &config,
        policy: &request.trust.policy,
        own_msp: dialling.identity.identity.msp_id(),
        now: (dialling.clock)(),
        nonce: nonce.map(<[u8; NONCE_BYTES]>::as_slice),
        floor: request.trust.floor(&config),
        allow_older: request.trust.allow_older,
    };
    let confirmed = agreed.confirm(&judging, state);
    confirmed.map_err(|error| JoinError::NoLongerAgreed { id: agreed.id().clone(), source: Box::new(error) })
}

/// The state's own channel configuration must be readable, and not older than the one that we were given; and those who vouch must
/// suffice though only members by both count (trust.md 2.4).
pub(super) fn check_channel_config(
    request: &JoinRequest,
    vouched: &Vouched,
    content: &ContentSummary,
) -> Result<(), JoinError> {
    let (given, id) = (request.dialling.config()?, vouched.agreed.id());
    let found = ChannelConfig::from_config_envelope(id.channel.clone(), id.block_number, &content.channel_config)
        .map_err(|error| JoinError::ChannelConfig(Box::new(error)))?;
    // An older snapshot, asked for on purpose, holds an older configuration.
    let newer = id.block_number >= given.block_number();
    if newer && found.sequence() < given.sequence() {
        let (found, given) = (found.sequence(), given.sequence());
        return Err(JoinError::ConfigRollback { id: id.clone(), found, given });
    }
    still_agreed(request, &vouched.agreed, vouched.nonce.as_ref(), newer.then_some(&found))
}
