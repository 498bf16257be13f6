//! `verify`: is this copied folder a sound snapshot, and do enough organisations vouch for it? Is this receipt, this proof true, this audit log
//! whole?

use super::{
    args::{ConfigFlags, RootArgs, SnapshotArgs, TrustArgs},
    context::Context,
    exit::{Exit, Failure},
    output,
    progress::Progress,
    verify_audit, verify_files, verify_policy,
};
use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    disk::{Dir, OsDir},
    service::{LogLevel, units::format_bytes},
    snapshot::{AuditChain, NamespaceRow, SnapshotId, VerifiedFolder, read_metadata, verify_folder},
};
use std::path::PathBuf;

/// Checks a snapshot folder offline: exact set of files, names, format, counts and SHA-256; with a policy, who vouches for it
///
/// Reads every byte. Exits with 0 if the folder is sound, and with 3 and the reason if anything is wrong. With any flag of the trust
/// rule (or --config-block) it must also be vouched for by those whose statements --attestations gives: attestations as
/// `snapferry snapshot sign` writes them, or detached signatures over Fabric's own JSON files. So a folder that came by mail or on a
/// disk can be used as safely as one that `join` fetched.
///
/// --receipt and --evidence check a receipt of a join, or the proof that an organisation contradicted itself, instead of a folder;
/// --audit checks the audit log of a service (audit.log in its state folder): every line, and the chain of hashes through them.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The folder, e.g. completed/mychannel/83
    #[arg(required_unless_present_any = ["receipt", "evidence", "audit"], conflicts_with_all = ["receipt", "evidence", "audit"])]
    dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) expected: SnapshotArgs,
    /// A receipt that `join` wrote: its signature, who vouched, and that they satisfied the rule
    #[arg(long, value_name = "FILE", conflicts_with = "evidence")]
    receipt: Option<PathBuf>,
    /// A proof that an organisation contradicted itself
    #[arg(long, value_name = "FILE", conflicts_with = "audit")]
    evidence: Option<PathBuf>,
    /// An audit log of a service
    #[arg(long, value_name = "FILE", conflicts_with = "receipt")]
    audit: Option<PathBuf>,
    /// A chain head that was noted earlier, or that of the file before: it must be in the audit log
    #[arg(long, value_name = "HEX", requires = "audit")]
    from_chain: Option<AuditChain>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Verify {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let ruled = self.trust.is_given() || self.flags.min_orgs.is_some();
        if (self.receipt.is_some() || self.evidence.is_some() || self.audit.is_some()) && ruled {
            return Err(Failure::new(
                Exit::Usage,
                "a receipt or a proof holds its own statements, an audit log none: the trust rule is for a folder",
            )
            .next("leave out --policy, --min-orgs, --attestations and the like"));
        }
        if let Some(file) = &self.receipt {
            context.start_logging(None, LogLevel::Warn);
            return verify_files::receipt(context, file, &self.root, &self.expected);
        }
        if let Some(file) = &self.evidence {
            context.start_logging(None, LogLevel::Warn);
            return verify_files::evidence(context, file, &self.root, &self.expected);
        }
        if let Some(file) = &self.audit {
            context.start_logging(None, LogLevel::Warn);
            return verify_audit::audit(context, file, self.from_chain);
        }
        let Some(path) = &self.dir else { return Err(Failure::new(Exit::Usage, "which folder?").next("give DIR")) };
        // Before minutes of reading: what is wrong with the rule is said at once.
        let dir = OsDir::open(path)?;
        let rule = if ruled || self.root.is_given() {
            let channel = match &self.expected.channel_id {
                Some(channel) => channel.clone(),
                None => read_metadata(dir.as_ref())?.signable.id().channel.clone(),
            };
            Some(verify_policy::Rule::load(context, &channel, &self.trust, &self.root, &self.flags)?)
        } else {
            context.start_logging(None, LogLevel::Warn);
            None
        };
        let mut progress = Progress::start(context, "verifying", folder_bytes(dir.as_ref())?);
        let verified = verify_folder(dir.as_ref(), &mut |bytes| progress.add(bytes));
        progress.finish();
        let verified = verified?;
        self.check_expected(path, &verified)?;
        match rule {
            None => report(context, &verified, &UNJUDGED),
            Some(rule) => report(context, &verified, &rule.judge(path, &verified)?),
        }
    }

    fn check_expected(&self, path: &std::path::Path, verified: &VerifiedFolder) -> Result<(), Failure> {
        let id = verified.manifest.id();
        if !is_expected(&self.expected, id) {
            let what = format!("{} is sound, but it is snapshot {id}", Context::shown(path));
            return Err(Failure::new(Exit::Verification, what).next("not the one that you asked for"));
        }
        Ok(())
    }
}

/// Whether it is the snapshot that was asked for.
pub(super) fn is_expected(expected: &SnapshotArgs, id: &SnapshotId) -> bool {
    let SnapshotArgs { channel_id, block_number } = expected;
    channel_id.as_ref().is_none_or(|channel| *channel == id.channel)
        && block_number.is_none_or(|block| block == id.block_number)
}

/// What is known of who vouches.
pub(super) struct Verdict {
    pub(super) text: String,
    pub(super) json: Value,
}

static UNJUDGED: std::sync::LazyLock<Verdict> = std::sync::LazyLock::new(|| {
    Verdict {
    text: "Whether it is the channel's true one, its organisations tell: give --policy, --config-block and --attestations, or compare \
           the snapshot hash with theirs.\n"
        .to_owned(),
    json: Value::Null,
}
});

/// Bytes of all files in a folder, for the progress.
pub(super) fn folder_bytes(dir: &dyn Dir) -> Result<u64, Failure> {
    Ok(dir.list()?.iter().map(|entry| entry.len).fold(0, u64::saturating_add))
}

fn report(context: &Context, verified: &VerifiedFolder, verdict: &Verdict) -> Result<(), Failure> {
    let VerifiedFolder { manifest, metadata, content, .. } = verified;
    let id = manifest.id();
    let sum = |rows: &[NamespaceRow]| rows.iter().map(|row| row.records).sum::<u64>();
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
            "vouched": verdict.json,
        }));
    }
    let (files, bytes) = (manifest.files().len(), format_bytes(manifest.total_bytes()));
    output::print(&format!(
        "{id} is a sound snapshot: {files} files, {bytes}, {public_keys} public keys, {private_hashes} private hashes, \
         {} transaction ids\nsnapshot hash  {}\nmanifest hash  {}\ncommit hash    {}\n{}",
        content.transaction_ids,
        manifest.signable().hash(),
        manifest.hash(),
        if commit_hash.is_empty() { "(none)" } else { &commit_hash },
        verdict.text,
    ))
}
