//! `verify DIR`: is this copied folder a sound snapshot?

use super::{
    args::SnapshotArgs,
    context::Context,
    exit::{Exit, Failure},
    output,
    progress::Progress,
};
use clap::Args;
use serde_json::json;
use snapferry::{
    disk::{Dir, OsDir},
    service::{LogLevel, units::format_bytes},
    snapshot::{VerifiedFolder, verify_folder},
};
use std::path::PathBuf;

/// Checks a snapshot folder offline: exact set of files, names, format, counts and SHA-256
///
/// Reads every byte. Exits with 0 if the folder is sound, and with 3 and the reason if anything is wrong. Whether it is the
/// snapshot that the channel's organisations agree on can't be told from the folder alone.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder, e.g. completed/mychannel/83
    dir: PathBuf,
    #[command(flatten)]
    pub(super) expected: SnapshotArgs,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Warn);
        let dir = OsDir::open(&self.dir)?;
        let mut progress = Progress::start(context, "verifying", folder_bytes(dir.as_ref())?);
        let verified = verify_folder(dir.as_ref(), &mut |bytes| progress.add(bytes));
        progress.finish();
        let verified = verified?;
        self.check_expected(&verified)?;
        report(context, &verified)
    }

    fn check_expected(&self, verified: &VerifiedFolder) -> Result<(), Failure> {
        let id = verified.manifest.id();
        let SnapshotArgs { channel_id, block_number } = &self.expected;
        let other = channel_id.as_ref().is_some_and(|channel| *channel != id.channel)
            || block_number.is_some_and(|block| block != id.block_number);
        if other {
            let what = format!("{} is sound, but it is snapshot {id}", Context::shown(&self.dir));
            return Err(Failure::new(Exit::Verification, what).next("not the one that you asked for"));
        }
        Ok(())
    }
}

/// Bytes of all files in a folder, for the progress.
pub(super) fn folder_bytes(dir: &dyn Dir) -> Result<u64, Failure> {
    Ok(dir.list()?.iter().map(|entry| entry.len).fold(0, u64::saturating_add))
}

fn report(context: &Context, verified: &VerifiedFolder) -> Result<(), Failure> {
    let VerifiedFolder { manifest, metadata, content, .. } = verified;
    let id = manifest.id();
    let sum = |rows: &[snapferry::snapshot::NamespaceRow]| rows.iter().map(|row| row.records).sum::<u64>();
    let (public_keys, private_hashes) = (sum(&content.public_namespaces), sum(&content.private_namespaces));
    let commit_hash = metadata.commit_hash.map(|hash| hash.to_string()).unwrap_or_default();
    if context.json() {
        return output::print_json(&json!({
            "channel": id.channel.as_str(),
            "block_number": id.block_number.0,
            "snapshot_hash": manifest.signable().hash().to_string(),
            "manifest_hash": manifest.hash().to_string(),
            "last_block_commit_hash": commit_hash,
            "files": manifest.files().len(),
            "bytes": manifest.total_bytes(),
            "public_keys": public_keys,
            "private_hashes": private_hashes,
            "transaction_ids": content.transaction_ids,
        }));
    }
    let (files, bytes) = (manifest.files().len(), format_bytes(manifest.total_bytes()));
    output::print(&format!(
        "{id} is a sound snapshot: {files} files, {bytes}, {public_keys} public keys, {private_hashes} private hashes, \
         {} transaction ids\nsnapshot hash  {}\nmanifest hash  {}\ncommit hash    {}\n\
         Whether it is the channel's true one, its organisations tell: compare the snapshot hash with theirs.\n",
        content.transaction_ids,
        manifest.signable().hash(),
        manifest.hash(),
        if commit_hash.is_empty() { "(none)" } else { &commit_hash },
    ))
}
