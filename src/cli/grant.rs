//! `grant`: an admin lets a peer's service list snapshots and have them signed.

use super::{
    args::{ConfigFlags, RootArgs},
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use snapferry::{
    msp::{GrantBody, Identity, JoinGrant, MspId, Principal, PrincipalRole, SerializedIdentity},
    service::{LogLevel, clock::fabric_time, config::Loaded, units::parse_duration},
    snapshot::{BlockNumber, ChannelId},
    transport::fault::chain,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Largest certificate file that is read.
const CERTIFICATE_BYTES_MAX: u64 = 64 << 10;
/// As long as a grant may hold (trust.md 2.3).
const VALID_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Writes a grant: an admin's word that our peer's service may list snapshots and ask for signatures in a channel
///
/// The checkpointing RFC lets only admins list snapshots and have their metadata signed. Run by an admin of the organisation
/// (--msp-config-path, or CORE_PEER_MSPCONFIGPATH as for `peer`); the service that joins unattended then shows the file (`join
/// --grant FILE`, or identity.grant). An admin who runs `join` needs none. It can't be taken back before its time, only by
/// revoking the admin or the service: keep it short.
#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: ChannelId,
    /// For whom: the certificate (PEM) of the service's MSP identity, e.g. msp/signcerts/peer0-cert.pem
    #[arg(long = "for", value_name = "CERT")]
    certificate: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long it holds: at most 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "24h")]
    valid_for: Duration,
    /// From this block on
    #[arg(long, value_name = "N")]
    min_block: Option<BlockNumber>,
    /// Up to this block
    #[arg(long, value_name = "N")]
    max_block: Option<BlockNumber>,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Grant {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let Loaded { config, .. } = context.configure(self.flags.by_key(), LogLevel::Warn)?;
        if self.valid_for > VALID_FOR_MAX || self.valid_for.is_zero() {
            return Err(Failure::new(Exit::Usage, "a grant holds for at most 7d, and for more than nothing")
                .next("give another --valid-for"));
        }
        if let (Some(min), Some(max)) = (self.min_block, self.max_block)
            && min > max
        {
            let what = format!("--min-block {min} is above --max-block {max}: the grant would be for nothing");
            return Err(Failure::new(Exit::Usage, what));
        }
        let admin = channel::signer(&config)?;
        let msp_id = admin.identity.msp_id().clone();
        let now = (channel::wall_clock())();
        let grantee = grantee(&self.certificate, &msp_id)?;
        // Said here rather than by every source later; without a configuration it can't be known.
        let settings = self.root.settings(&config, &self.channel_id)?;
        let checked = settings != Default::default();
        if checked {
            let rooted = channel::rooted(&config, &self.root, &self.channel_id)?;
            let principal = Principal::Role { msp_id: msp_id.clone(), role: PrincipalRole::Admin };
            rooted.config.satisfies(&admin.identity, &principal).map_err(|error| {
                Failure::new(Exit::Refused, format!("{} can't grant: {}", admin.identity.subject(), chain(&error)))
                    .next("run it with an admin's MSP folder: --msp-config-path DIR")
            })?;
            rooted.config.validate(&grantee, now).map_err(|error| {
                Failure::new(Exit::Usage, format!("{}: {}", self.certificate.display(), chain(&error)))
                    .next("give the certificate of the service's MSP identity, from its msp/signcerts")
            })?;
        }
        let body = GrantBody::new(&self.channel_id, grantee.id(), now, self.valid_for, &admin.identity)
            .with_blocks(self.min_block, self.max_block);
        let grant = JoinGrant::sign(&body, &admin).map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        if !context.global.dry_run {
            output::write_file(&self.out, &grant.encode())?;
        }
        self.report(context, &admin.identity, &grantee, body.not_after(), checked)
    }

    fn report(
        &self,
        context: &Context,
        admin: &Identity,
        grantee: &Identity,
        not_after: u64,
        checked: bool,
    ) -> Result<(), Failure> {
        if context.json() {
            return output::print_json(&json!({
                "channel": self.channel_id.as_str(),
                "admin": admin.subject(),
                "for": grantee.subject(),
                "identity_id": grantee.id().to_string(),
                "not_after": not_after,
                "file": self.out,
                "checked": checked,
                "dry_run": context.global.dry_run,
            }));
        }
        let unchecked = if checked {
            ""
        } else {
            "whether both are members, and the signer an admin, wasn't checked: give --config-block for that\n"
        };
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(not_after)).map(fabric_time).unwrap_or_default();
        let done = if context.global.dry_run { "would be written" } else { "is written" };
        output::print(&format!(
            "{} {done}: until {until} it grants {} of {} to list snapshots of {} and to have them signed\nnext: snapferry join --grant {} ..., or \
             set identity.grant\n{unchecked}",
            self.out.display(),
            grantee.subject(),
            grantee.msp_id(),
            self.channel_id,
            self.out.display(),
        ))
    }
}

fn grantee(path: &Path, msp_id: &MspId) -> Result<Identity, Failure> {
    let wrong = |reason: String| {
        Failure::new(Exit::Usage, format!("{}: {reason}", path.display()))
            .next("give the certificate of the service's MSP identity, from its msp/signcerts")
    };
    let bytes = channel::read_at_most(path, CERTIFICATE_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let serialized = SerializedIdentity { msp_id: msp_id.clone(), id_bytes: Bytes::from(bytes) };
    Identity::parse(serialized).map_err(|error| wrong(chain(&error)))
}
