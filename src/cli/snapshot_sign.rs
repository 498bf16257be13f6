//! `snapshot sign`: the RFC's SignSnapshotMetadata, by the service beside the peer.

use super::{
    args::ConfigFlags,
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
    progress::Progress,
    snapshot::{OneSnapshot, Service, out_of_turn},
    verify::folder_bytes,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use snapferry::{
    catalog::{Attestation, DetachedSignature, encode_attestation_file},
    disk::OsDir,
    service::{
        LogLevel,
        clock::fabric_time,
        config::Loaded,
        control::{Request, Response, Shown},
    },
    snapshot::verify_folder,
    transport::fault::chain,
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
///
/// --detached DIR needs no service: reads the folder, and signs Fabric's two JSON files as they are, with the MSP identity of the
/// configuration. That vouches for the metadata alone, and has no date.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    snapshot: OneSnapshot,
    /// Write the attestation to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign the metadata files of this folder instead; the file holds a detached signature then
    #[arg(long, value_name = "DIR", requires = "out")]
    detached: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Sign {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        if let (Some(folder), Some(out)) = (&self.detached, &self.out) {
            return self.sign_detached(context, folder, out);
        }
        let service = Service::find(context, self.flags.by_key())?;
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
            output::write_file(path, &encode_attestation_file(&own))?;
        }
        if context.json() { self.print_json(&shown, &own) } else { output::print(&self.text(&shown, &own)) }
    }

    /// As an organisation without a service does: every byte is read before its metadata are signed.
    fn sign_detached(&self, context: &Context, folder: &Path, out: &Path) -> Result<(), Failure> {
        let Loaded { config, .. } = context.configure(self.flags.by_key(), LogLevel::Warn)?;
        let signer = channel::signer(&config)?;
        let dir = OsDir::open(folder)?;
        let mut progress = Progress::start(context, "verifying", folder_bytes(dir.as_ref())?);
        let verified = verify_folder(dir.as_ref(), &mut |bytes| progress.add(bytes));
        progress.finish();
        let verified = verified?;
        let (id, asked) = (verified.manifest.id(), self.snapshot.id());
        if *id != asked {
            let what = format!("{} is snapshot {id}, not {asked}: nothing is signed", folder.display());
            return Err(Failure::new(Exit::Verification, what));
        }
        let signature = DetachedSignature::sign(&verified.metadata, &signer)
            .map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        if !context.global.dry_run {
            output::write_file(out, &signature.encode())?;
        }
        let done = if context.global.dry_run { "would hold" } else { "holds" };
        if context.json() {
            return output::print_json(&json!({
                "channel": id.channel.as_str(),
                "block_number": id.block_number.0,
                "snapshot_hash": verified.manifest.signable().hash().to_string(),
                "organisation": signer.identity.msp_id().as_str(),
                "subject": signer.identity.subject(),
                "file": out.display().to_string(),
                "dry_run": context.global.dry_run,
            }));
        }
        output::print(&format!(
            "{} {done} the detached signature of {} of {} over the metadata of {id}, snapshot hash {}\nnext: give it to the organisations \
             that want to check this snapshot (`verify DIR --attestations`, `join --attestations`)\n",
            out.display(),
            signer.identity.subject(),
            signer.identity.msp_id(),
            verified.manifest.signable().hash(),
        ))
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
