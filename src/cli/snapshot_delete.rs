//! `snapshot delete`: the RFC's DeleteSnapshot, commanded by an admin and done by the service.

use super::{
    admin::AdminArgs,
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
    snapshot::{OneSnapshot, Service, out_of_turn},
    snapshot_waiting::wait,
};
use clap::Args;
use serde_json::json;
use snapferry::{
    catalog::Deleted,
    service::{
        clock::unix_seconds,
        control::{CONTROL_NONCE_BYTES, ControlBody, Method, Request, Response, Shown},
        units::format_bytes,
    },
    snapshot::SnapshotId,
    transport::fault::chain,
};
use std::io::{self, IsTerminal as _, Write as _};

/// Deletes a snapshot's data; its metadata stay, so that it can still be signed
///
/// For an admin of the peer's organisation, whose key signs the command (--msp-config-path, or CORE_PEER_MSPCONFIGPATH as for
/// `peer`): the service checks that and holds no admin's key itself. It must be allowed to delete at all (snapshots.allowDelete:
/// true) and to write in the peer's snapshots folder.
///
/// Waits for those who download it, and says who they are; nobody new may. (A service that was just started knows of a download once
/// that has come back to it: within half a minute.) Interrupted, it leaves the deletion to the service, which
/// remembers it, also when it is started again: `snapshot show` says how far it is. With --force who downloads has ten minutes, then goes on
/// from other sources.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    snapshot: OneSnapshot,
    #[command(flatten)]
    admin: AdminArgs,
    /// Give those who download it ten minutes, then delete it
    #[arg(long)]
    force: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Delete {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let service = Service::find(context, Vec::new())?;
        let id = self.snapshot.id();
        let shown = service.show(&id)?;
        let entry = &shown.known.entry;
        if entry.only_metadata_available {
            return report(context, &id, 0, true);
        }
        if context.global.dry_run {
            return would_delete(context, &shown);
        }
        let admin = self.admin.load(context, &service.config)?;
        if !self.yes && !confirmed(&shown)? {
            return Err(Failure::new(Exit::Failed, "nothing was deleted"));
        }
        let mut nonce = [0; CONTROL_NONCE_BYTES];
        let no_numbers = |_| Failure::new(Exit::Failed, "the system gives no random numbers");
        aws_lc_rs::rand::fill(&mut nonce).map_err(no_numbers)?;
        let body = ControlBody {
            method: if self.force { Method::DeleteForced(id.clone()) } else { Method::Delete(id.clone()) },
            creator: admin.identity.serialized().clone(),
            nonce,
            issued_at: unix_seconds((channel::wall_clock())()),
            target: shown.identity_id,
        };
        let command = body.sign(&admin).map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
        match service.ask(&Request::Command(command))? {
            Response::Deleted(Deleted::Pending) => {
                wait(context, &service, &id)?;
                report(context, &id, entry.total_bytes, false)
            }
            Response::Deleted(deleted) => report(context, &id, entry.total_bytes, deleted == Deleted::Already),
            _ => Err(out_of_turn()),
        }
    }
}

/// Asks on a terminal; without one there is nobody to ask.
fn confirmed(shown: &Shown) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "there is no terminal to ask on").next("give --yes if it is meant so"));
    }
    let entry = &shown.known.entry;
    let mut err = io::stderr();
    write!(
        err,
        "Delete the data of snapshot {} ({})? It can't be fetched from here any more. [y/N] ",
        entry.id,
        format_bytes(entry.total_bytes)
    )?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn would_delete(context: &Context, shown: &Shown) -> Result<(), Failure> {
    let entry = &shown.known.entry;
    if context.json() {
        return output::print_json(&json!({
            "dry_run": true,
            "channel": entry.id.channel.as_str(),
            "block_number": entry.id.block_number.0,
            "bytes": entry.total_bytes,
        }));
    }
    let (files, bytes) = (entry.files, format_bytes(entry.total_bytes));
    output::print(&format!("snapshot {} would be deleted: {files} files, {bytes}; its metadata would stay\n", entry.id))
}

fn report(context: &Context, id: &SnapshotId, bytes: u64, already: bool) -> Result<(), Failure> {
    if context.json() {
        return output::print_json(&json!({
            "channel": id.channel.as_str(),
            "block_number": id.block_number.0,
            "deleted": !already,
            "bytes": bytes,
            "only_metadata_available": true,
        }));
    }
    if already {
        return output::print(&format!("only the metadata of snapshot {id} are left already: nothing to do\n"));
    }
    output::print(&format!(
        "snapshot {id} is deleted, {} are freed; its metadata are kept, and `snapferry snapshot sign` still signs them\n",
        format_bytes(bytes)
    ))
}
