//! `snapshot sign`: the RFC's SignSnapshotMetadata, by the service beside the peer.

use super::{
    context::Context,
    exit::{Exit, Failure},
    output,
    snapshot::{OneSnapshot, Service, out_of_turn},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use snapferry::{
    catalog::{Attestation, encode_attestation_file},
    disk::{OsDir, write_durably},
    service::{
        clock::fabric_time,
        control::{Request, Response, Shown},
    },
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// Has the service sign what it knows of a snapshot, for other organisations to count on
///
/// The service signs only what its own peer made and it has read and hashed completely, or the metadata that are left of it; and
/// never two different snapshots of one block. The attestation holds for 7 days. Others check it with
/// `verify DIR --attestations FILE` or `join --attestations FILE`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    snapshot: OneSnapshot,
    /// Write the attestation to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Sign {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let service = Service::find(context, Vec::new())?;
        let id = self.snapshot.id();
        let shown = service.show(&id)?;
        if context.global.dry_run {
            return self.would_sign(context, &shown);
        }
        let Response::Signed(attestations) = service.ask(&Request::Sign(id, Bytes::new()))? else {
            return Err(out_of_turn());
        };
        let own = attestations.into_iter().next().ok_or_else(out_of_turn)?;
        if let Some(path) = &self.out {
            write(path, &encode_attestation_file(&own))?;
        }
        if context.json() { self.print_json(&shown, &own) } else { output::print(&self.text(&shown, &own)) }
    }

    fn would_sign(&self, context: &Context, shown: &Shown) -> Result<(), Failure> {
        let entry = &shown.known.entry;
        if context.json() {
            return output::print_json(&json!({
                "dry_run": true,
                "channel": entry.id.channel.as_str(),
                "block_number": entry.id.block_number.0,
                "snapshot_hash": entry.snapshot_hash.to_string(),
                "manifest_hash": entry.manifest_hash.to_string(),
                "landed": shown.landed,
            }));
        }
        let refused = if shown.landed { "nothing would be signed: it came from other organisations\n" } else { "" };
        let would = format!("snapshot {} with hash {} would be signed\n", entry.id, entry.snapshot_hash);
        output::print(if shown.landed { refused } else { &would })
    }

    /// The RFC's `SnapshotMetadata` in words.
    fn text(&self, shown: &Shown, own: &Attestation) -> String {
        let (body, signable) = (own.body(), shown.known.manifest.signable());
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(body.expires_at)).map(fabric_time).unwrap_or_default();
        let commit_hash = body.commit_hash.map_or_else(|| "none".to_owned(), |hash| hash.to_string());
        let next = match &self.out {
            Some(path) => format!(
                "{} holds the attestation: give it to the organisations that want to check this snapshot (`verify DIR --attestations`)\n",
                path.display()
            ),
            None => "--out FILE writes the attestation to a file, for other organisations to check\n".to_owned(),
        };
        format!(
            "{} of {} has signed snapshot {}\n  height            {}\n  snapshot hash     {}\n  last block hash   {}\n  commit hash       {}\n  \
             manifest hash     {}\n  holds until       {}\n  signature         {}\n{next}",
            own.identity().subject(),
            own.identity().msp_id(),
            body.id,
            body.id.block_number.0.saturating_add(1),
            body.snapshot_hash,
            signable.last_block_hash(),
            commit_hash,
            body.manifest_hash,
            until,
            BASE64.encode(own.signature()),
        )
    }

    fn print_json(&self, shown: &Shown, own: &Attestation) -> Result<(), Failure> {
        let (body, signable) = (own.body(), shown.known.manifest.signable());
        output::print_json(&json!({
            "snapshot_metadata": {
                "channel_name": body.id.channel.as_str(),
                "height": body.id.block_number.0.saturating_add(1),
                "snapshot_hash": body.snapshot_hash.to_string(),
                "last_block_hash": signable.last_block_hash().to_string(),
                "last_block_commit_hash": body.commit_hash.map(|hash| hash.to_string()),
            },
            "only_metadata_available": shown.known.entry.only_metadata_available,
            "manifest_hash": body.manifest_hash.to_string(),
            "organisation": own.identity().msp_id().as_str(),
            "subject": own.identity().subject(),
            "identity_id": own.identity().id().to_string(),
            "config_sequence": body.config_sequence,
            "issued_at": body.issued_at,
            "expires_at": body.expires_at,
            "snapshot_metadata_bytes": BASE64.encode(own.body_bytes()),
            "signature": BASE64.encode(own.signature()),
            "file": self.out.as_ref().map(|path| path.display().to_string()),
        }))
    }
}

/// Writes a file durably, in the place of an older one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let path = std::path::absolute(path)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Failure::new(Exit::Usage, format!("{} is no name for a file", path.display())));
    };
    Ok(write_durably(&*OsDir::open(folder)?, name, bytes)?)
}
