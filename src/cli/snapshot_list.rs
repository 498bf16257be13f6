//! `snapshot list`: the RFC's ListSnapshots for our own peer.

use super::{
    catalog::{short, table},
    context::Context,
    exit::{Exit, Failure},
    output,
    snapshot::{Service, out_of_turn},
    transfer_view::plural,
};
use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    catalog::{
        CatalogEntry, CatalogError, FoundOnDisk, KnownSnapshot, OnDisk, REPAIRS_DIR, Repairs, RottenChunk,
        list_on_disk, rotten_chunks_on_disk, rotten_on_disk,
    },
    disk::{Dir, DiskError, OsDir},
    service::{
        control::{Listed, Request, Response},
        daemon::{COMPLETED_DIR, MANIFESTS_DIR},
        units::format_bytes,
    },
    snapshot::ChannelId,
    transport::fault::chain,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Lists our peer's snapshots, also those of which only the metadata are left
///
/// Asks the service that runs beside the peer: it lists what it has verified. Without one, looks at the folders: snapshots that no
/// service has read yet are listed by what their metadata say.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: Option<ChannelId>,
    /// The peer's ledger.snapshots.rootDir, for when no service runs
    #[arg(long, value_name = "DIR")]
    snapshots_root_dir: Option<PathBuf>,
}

/// One line.
struct Row {
    channel: String,
    block_number: u64,
    bytes: Option<u64>,
    files: Option<u32>,
    snapshot_hash: Option<String>,
    manifest_hash: Option<String>,
    only_metadata: bool,
    /// Chunks that are known to have rotted.
    rotten: usize,
    /// Who downloads it, as a number.
    downloads: u32,
    /// It is to be deleted, once they are through.
    deletion_pending: bool,
    /// What keeps it from being served.
    note: Option<String>,
}

impl List {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let flag = self.snapshots_root_dir.as_ref().map(|dir| ("snapshots.rootDir", dir.display().to_string()));
        let service = Service::find(context, flag.into_iter().collect())?;
        let (rows, asked) = match service.ask_if_running(&Request::List(self.channel_id.clone()))? {
            Some(Response::Listed(entries)) => {
                let manifests = manifests(&service.state)?;
                (entries.iter().map(|listed| Row::of_listed(listed, manifests.as_ref())).collect(), true)
            }
            Some(_) => return Err(out_of_turn()),
            None => (self.rows_on_disk(&service)?, false),
        };
        if context.json() {
            return output::print_json(&json!({
                "from": if asked { "service" } else { "disk" },
                "snapshots": rows.iter().map(Row::json).collect::<Vec<_>>(),
            }));
        }
        output::print(&text(&rows, asked))
    }

    fn rows_on_disk(&self, service: &Service) -> Result<Vec<Row>, Failure> {
        let completed = completed(service)?;
        let kept = manifests(&service.state)?;
        let listed = list_on_disk(completed.as_ref(), kept.as_ref())?.into_iter();
        let wanted = |one: &OnDisk| self.channel_id.as_ref().is_none_or(|channel| one.id.channel == *channel);
        Ok(listed.filter(wanted).map(|one| Row::on_disk(one, kept.as_ref())).collect())
    }
}

/// `ROOT/completed`.
pub(super) fn completed(service: &Service) -> Result<Arc<dyn Dir>, Failure> {
    let root = service.config.snapshots_root.as_ref().ok_or_else(|| {
        Failure::new(Exit::Unreachable, format!("no service runs with the state folder {}", service.state.display()))
            .next("start `snapferry serve`, or say where the peer's snapshots are: snapshots.rootDir, or --snapshots-root-dir DIR")
    })?;
    Ok(OsDir::open(root)?.open_dir(COMPLETED_DIR)?)
}

/// `STATE/manifests`, if there is one.
pub(super) fn manifests(state: &Path) -> Result<Option<Arc<dyn Dir>>, DiskError> {
    folder(state, MANIFESTS_DIR)
}

/// `STATE/repairs`, if there is one.
pub(super) fn repairs(state: &Path) -> Result<Option<Repairs>, DiskError> {
    Ok(folder(state, REPAIRS_DIR)?.map(Repairs::open))
}

/// A folder of the state folder, if there is one.
pub(super) fn folder(state: &Path, name: &str) -> Result<Option<Arc<dyn Dir>>, DiskError> {
    match OsDir::open(state).and_then(|dir| dir.open_dir(name)) {
        Err(error) if error.is_not_found() => Ok(None),
        opened => opened.map(Some),
    }
}

/// The chunks of a snapshot that the service has found to have rotted.
pub(super) fn rotten(state: &Path, known: &KnownSnapshot) -> Result<Vec<RottenChunk>, DiskError> {
    let Some(manifests) = manifests(state)? else { return Ok(Vec::new()) };
    Ok(rotten_on_disk(manifests.as_ref(), repairs(state)?.as_ref(), known))
}

impl Row {
    fn of_listed(listed: &Listed, manifests: Option<&Arc<dyn Dir>>) -> Self {
        let row = Self::of_entry(&listed.entry, manifests);
        let downloads = format!("{} download{}", listed.downloads, plural(listed.downloads as usize));
        let note = match (listed.deletion_pending, listed.downloads) {
            (true, _) => Some(format!("to be deleted after {downloads}")),
            (false, 0) => None,
            (false, _) => Some(downloads),
        };
        let note = row.note.into_iter().chain(note).reduce(|rot, note| format!("{note}; {rot}"));
        Self { downloads: listed.downloads, deletion_pending: listed.deletion_pending, note, ..row }
    }

    fn of_entry(entry: &CatalogEntry, manifests: Option<&Arc<dyn Dir>>) -> Self {
        let rotten = manifests.map_or(0, |dir| rotten_chunks_on_disk(dir.as_ref(), &entry.id, entry.manifest_hash));
        Self {
            channel: entry.id.channel.to_string(),
            block_number: entry.id.block_number.0,
            bytes: Some(entry.total_bytes),
            files: Some(entry.files),
            snapshot_hash: Some(entry.snapshot_hash.to_string()),
            manifest_hash: Some(entry.manifest_hash.to_string()),
            only_metadata: entry.only_metadata_available,
            rotten,
            downloads: 0,
            deletion_pending: false,
            note: (rotten > 0).then(|| format!("rotten chunks: {rotten}, `snapferry snapshot show` names them")),
        }
    }

    fn on_disk(one: OnDisk, manifests: Option<&Arc<dyn Dir>>) -> Self {
        let (channel, block_number) = (one.id.channel.to_string(), one.id.block_number.0);
        let empty = Self {
            channel,
            block_number,
            bytes: None,
            files: None,
            snapshot_hash: None,
            manifest_hash: None,
            only_metadata: false,
            rotten: 0,
            downloads: 0,
            deletion_pending: false,
            note: None,
        };
        match one.found {
            FoundOnDisk::Known(known) => Self::of_entry(&known.entry, manifests),
            FoundOnDisk::Unread { snapshot_hash, total_bytes, files } => Self {
                bytes: Some(total_bytes),
                files: Some(files),
                snapshot_hash: Some(snapshot_hash.to_string()),
                note: Some("not verified yet".to_owned()),
                ..empty
            },
            FoundOnDisk::Unusable(reason) => Self { note: Some(reason), ..empty },
        }
    }

    fn json(&self) -> Value {
        json!({
            "channel": self.channel,
            "block_number": self.block_number,
            "height": self.block_number.saturating_add(1),
            "snapshot_hash": self.snapshot_hash,
            "manifest_hash": self.manifest_hash,
            "total_bytes": self.bytes,
            "files": self.files,
            "only_metadata_available": self.only_metadata,
            "rotten_chunks": self.rotten,
            "downloads": self.downloads,
            "deletion_pending": self.deletion_pending,
            "note": self.note,
        })
    }

    fn cells(&self) -> Vec<String> {
        let note = if self.only_metadata { "only metadata left" } else { self.note.as_deref().unwrap_or_default() };
        vec![
            self.channel.clone(),
            self.block_number.to_string(),
            self.bytes.map(format_bytes).unwrap_or_default(),
            self.files.map(|files| files.to_string()).unwrap_or_default(),
            self.snapshot_hash.as_ref().map(short).unwrap_or_default(),
            note.to_owned(),
        ]
    }
}

fn text(rows: &[Row], asked: bool) -> String {
    let from = if asked {
        ""
    } else {
        "no service runs here: this is what lies in the folders, and nothing of it is served\n"
    };
    if rows.is_empty() {
        return format!("{from}no snapshots; `peer snapshot submitrequest -c CHANNEL -b N` asks the peer for one\n");
    }
    let head = ["CHANNEL", "BLOCK", "SIZE", "FILES", "SNAPSHOT HASH", ""].map(str::to_owned).to_vec();
    from.to_owned() + &table(&[vec![head], rows.iter().map(Row::cells).collect()].concat())
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::new(Exit::Failed, chain(&error))
    }
}
