//! `snapshot show`: all that is known of one of our peer's snapshots, and who vouches for it.

use super::{
    catalog::{short, table},
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
    snapshot::{OneSnapshot, Service, out_of_turn},
    snapshot_list::{completed, folder, manifests, rotten},
    snapshot_waiting::{deletion, deletion_json, download, lease_json},
};
use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    catalog::{
        Attestation, FoundOnDisk, HeldLease, KnownSnapshot, LANDED_DIR, Landed, OnDisk, PendingDeletion, RottenChunk,
        STATEMENTS_DIR, StatementStore, list_on_disk,
    },
    service::{
        clock::fabric_time,
        control::{Request, Response},
        units::format_bytes,
    },
    snapshot::{BlockHash, SnapshotId},
};
use std::{
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

/// Shows one snapshot: its metadata, its files with their hashes, and which organisations are known to vouch for it
///
/// The attestations are those that the service keeps: its own last one that it signed without a nonce, and others' that it came
/// by. Whether they are enough, and whose signers are still members, `verify` and `catalog show` judge.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    snapshot: OneSnapshot,
    /// The peer's ledger.snapshots.rootDir, for when no service runs
    #[arg(long, value_name = "DIR")]
    snapshots_root_dir: Option<PathBuf>,
}

/// What is shown.
struct View {
    known: KnownSnapshot,
    landed: bool,
    attestations: Vec<Attestation>,
    rotten: Vec<RottenChunk>,
    /// Who downloads it.
    leases: Vec<HeldLease>,
    /// Its deletion, if that waits for them.
    deletion: Option<PendingDeletion>,
    /// Whether a service serves it.
    running: bool,
}

impl Show {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let flag = self.snapshots_root_dir.as_ref().map(|dir| ("snapshots.rootDir", dir.display().to_string()));
        let service = Service::find(context, flag.into_iter().collect())?;
        let id = self.snapshot.id();
        let view = match service.ask_if_running(&Request::Show(id.clone()))? {
            Some(Response::Shown(shown)) => {
                let rotten = rotten(&service.state, &shown.known)?;
                let (known, landed, attestations) = (shown.known, shown.landed, shown.attestations);
                let (leases, deletion) = (shown.leases, shown.deletion);
                View { known, landed, attestations, rotten, leases, deletion, running: true }
            }
            Some(_) => return Err(out_of_turn()),
            None => View::on_disk(&service, &id)?,
        };
        if context.json() { output::print_json(&view.json()) } else { output::print(&view.text()) }
    }
}

impl View {
    fn on_disk(service: &Service, id: &SnapshotId) -> Result<Self, Failure> {
        let listed = list_on_disk(completed(service)?.as_ref(), manifests(&service.state)?.as_ref())?;
        let found = listed.into_iter().find(|one: &OnDisk| one.id == *id).map(|one| one.found);
        let known = match found {
            Some(FoundOnDisk::Known(known)) => *known,
            Some(FoundOnDisk::Unread { .. }) => {
                return Err(Failure::new(Exit::Failed, format!("no service has read snapshot {id} yet"))
                    .next("start `snapferry serve`, or `snapferry inspect DIR` shows what its folder says"));
            }
            Some(FoundOnDisk::Unusable(reason)) => {
                return Err(Failure::new(Exit::Failed, format!("snapshot {id} can't be used: {reason}")));
            }
            None => {
                return Err(Failure::new(Exit::Failed, format!("there is no snapshot {id}"))
                    .next("`snapferry snapshot list` shows what there is"));
            }
        };
        let mut attestations = Vec::new();
        if let Some(dir) = folder(&service.state, STATEMENTS_DIR)? {
            let store = StatementStore::open(dir);
            attestations.extend(store.own(id));
            attestations.extend(store.foreign(id, (channel::wall_clock())()));
        }
        let landed = match folder(&service.state, LANDED_DIR)? {
            Some(dir) => Landed::open(dir)
                .contains(id, known.entry.manifest_hash)
                .map_err(|error| Failure::new(Exit::Failed, error))?,
            None => false,
        };
        let rotten = rotten(&service.state, &known)?;
        Ok(Self { known, landed, attestations, rotten, leases: Vec::new(), deletion: None, running: false })
    }

    fn status(&self) -> &'static str {
        if self.deletion.is_some() {
            return "to be deleted: served to those who download it, nobody else";
        }
        match (self.known.entry.only_metadata_available, self.running) {
            (true, _) => "only metadata left: it can be signed, not fetched",
            (false, true) => "served",
            (false, false) => "verified; not served, as no service runs",
        }
    }

    fn text(&self) -> String {
        let (entry, signable) = (&self.known.entry, self.known.manifest.signable());
        let mut rows: Vec<[String; 2]> = vec![
            ["channel".to_owned(), entry.id.channel.to_string()],
            [
                "last block".to_owned(),
                format!("{} (height {})", entry.id.block_number, entry.id.block_number.0.saturating_add(1)),
            ],
            ["last block hash".to_owned(), signable.last_block_hash().to_string()],
            ["commit hash".to_owned(), optional(self.known.commit_hash).unwrap_or_else(|| "none".to_owned())],
            ["snapshot hash".to_owned(), entry.snapshot_hash.to_string()],
            ["manifest hash".to_owned(), entry.manifest_hash.to_string()],
            ["state database".to_owned(), signable.state_db_type().as_str().to_owned()],
            ["status".to_owned(), self.status().to_owned()],
        ];
        if self.landed {
            rows.push([
                "origin".to_owned(),
                "came from other organisations: this service doesn't attest it".to_owned(),
            ]);
        }
        rows.extend(self.rotten.iter().map(|one| {
            let state = if one.repaired {
                "repaired: given from our own state"
            } else {
                "not given to others: `snapferry snapshot repair` fetches it again"
            };
            ["rotten".to_owned(), format!("{}, chunk {} ({state})", one.file, one.chunk.0)]
        }));
        rows.extend(self.leases.iter().map(|lease| ["download".to_owned(), download(lease)]));
        rows.extend(self.deletion.map(|one| ["deletion".to_owned(), deletion(one, self.leases.len())]));
        let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
        let mut files = vec![["FILE", "SIZE", "SHA-256", "BLAKE3"].map(str::to_owned).to_vec()];
        files.extend(
            self.known.manifest.files().iter().map(|file| {
                vec![file.file.to_string(), format_bytes(file.size), short(&file.sha256), short(&file.root)]
            }),
        );
        format!("{}\n{}\n{}", table(&rows), table(&files), self.vouchers())
    }

    fn vouchers(&self) -> String {
        if self.attestations.is_empty() {
            let id = &self.known.entry.id;
            return format!(
                "nobody's attestation is kept; `snapferry snapshot sign -c {} -b {}` makes ours\n",
                id.channel, id.block_number
            );
        }
        let mut rows = vec![["ATTESTED BY", "ORGANISATION", "UNTIL", ""].map(str::to_owned).to_vec()];
        rows.extend(self.attestations.iter().map(|one| {
            let body = one.body();
            let note = if self.agrees(one) { "" } else { "says something else about this block" };
            let until = UNIX_EPOCH.checked_add(Duration::from_secs(body.expires_at)).map(fabric_time);
            vec![
                one.identity().subject().to_owned(),
                one.identity().msp_id().to_string(),
                until.unwrap_or_default(),
                note.to_owned(),
            ]
        }));
        table(&rows)
    }

    /// Whether it vouches for just what we have.
    fn agrees(&self, attestation: &Attestation) -> bool {
        let (body, entry) = (attestation.body(), &self.known.entry);
        (body.snapshot_hash, body.manifest_hash, body.commit_hash)
            == (entry.snapshot_hash, entry.manifest_hash, self.known.commit_hash)
    }

    fn json(&self) -> Value {
        let (entry, signable) = (&self.known.entry, self.known.manifest.signable());
        let file = |file: &snapferry::snapshot::ManifestFile| {
            json!({
                "name": file.file.name(),
                "size": file.size,
                "sha256": file.sha256.to_string(),
                "blake3": file.root.to_string(),
            })
        };
        let attestation = |one: &Attestation| {
            json!({
                "organisation": one.identity().msp_id().as_str(),
                "subject": one.identity().subject(),
                "identity_id": one.identity().id().to_string(),
                "issued_at": one.body().issued_at,
                "expires_at": one.body().expires_at,
                "agrees": self.agrees(one),
            })
        };
        let rotten =
            |one: &RottenChunk| json!({"file": one.file.name(), "chunk": one.chunk.0, "repaired": one.repaired});
        json!({
            "channel": entry.id.channel.as_str(),
            "block_number": entry.id.block_number.0,
            "height": entry.id.block_number.0.saturating_add(1),
            "last_block_hash": signable.last_block_hash().to_string(),
            "previous_block_hash": optional(signable.previous_block_hash()),
            "last_block_commit_hash": optional(self.known.commit_hash),
            "snapshot_hash": entry.snapshot_hash.to_string(),
            "manifest_hash": entry.manifest_hash.to_string(),
            "state_db_type": signable.state_db_type().as_str(),
            "only_metadata_available": entry.only_metadata_available,
            "served": self.running && !entry.only_metadata_available,
            "landed": self.landed,
            "downloads": self.leases.iter().map(lease_json).collect::<Vec<_>>(),
            "deletion": self.deletion.map(deletion_json),
            "rotten": self.rotten.iter().map(rotten).collect::<Vec<_>>(),
            "files": self.known.manifest.files().iter().map(file).collect::<Vec<_>>(),
            "attestations": self.attestations.iter().map(attestation).collect::<Vec<_>>(),
        })
    }
}

fn optional(hash: Option<BlockHash>) -> Option<String> {
    hash.map(|hash| hash.to_string())
}
