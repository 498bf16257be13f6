//! `catalog list | show | bans | unban`: what others offer, who agrees with whom, what `join` would choose, and whom it doesn't ask.

use super::{
    args::{ConfigFlags, SnapshotArgs, TrustArgs},
    catalog_bans::{BansCommand, UnbanCommand},
    catalog_list, catalog_show,
    channel::{self, NetworkArgs},
    context::Context,
    exit::Failure,
};
use clap::{Args, Subcommand};
use snapferry::{
    bootstrap::{CatalogRequest, JoinError, Records, SourceCatalog, catalogs, manifests},
    catalog::AgreementError,
    service::{LogLevel, config::Loaded},
};

/// Shows what sources offer: which snapshots, who agrees, what `join` would choose
#[derive(Debug, Args)]
pub(crate) struct CatalogCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Lists every source's snapshots, then the one that `join` would choose, or which organisations are still missing
    ///
    /// Fetches nothing. A source that can't be asked is listed with the reason; exits with 4 if none could be reached, with 5 if all
    /// of them refused.
    List(Asked),
    /// Shows one snapshot file by file, and where sources differ about it
    ///
    /// Without -b, the newest that any source offers. Sizes and hashes are those of the sources' manifests: claims, until a
    /// join has proved them.
    Show(Asked),
    /// Lists who isn't asked any more, as it lied: what it did, and until when
    ///
    /// Whoever sends what its own word doesn't fit (a wrong chunk, a forged attestation) is banned for a day, by its identity. Slowness,
    /// silence and a full house are no lies.
    Bans(BansCommand),
    /// Lifts a ban: the next join asks that identity again
    Unban(UnbanCommand),
}

/// What both ask with.
#[derive(Debug, Args)]
struct Asked {
    #[command(flatten)]
    snapshot: SnapshotArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl CatalogCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let asked = match &self.command {
            Which::Bans(command) => return command.run(context),
            Which::Unban(command) => return command.run(context),
            Which::List(asked) | Which::Show(asked) => asked,
        };
        let request = asked.request(context)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self.command {
            Which::List(_) => {
                let (answers, chosen) = runtime.block_on(catalogs(&request))?;
                catalog_list::print(context, &request, &answers, &chosen)?;
                // Too few who agree is an answer; nobody who answers is a failure.
                match chosen {
                    Err(error @ JoinError::NoSource { .. }) => Err(error.into()),
                    _ => Ok(()),
                }
            }
            Which::Show(_) | Which::Bans(_) | Which::Unban(_) => {
                let (answers, block_number, manifests) = runtime.block_on(manifests(&request))?;
                let versions = block_number.map(|block| catalog_show::versions(block, &answers, &manifests));
                match (block_number, versions.filter(|versions| !versions.is_empty())) {
                    (Some(block), Some(versions)) => catalog_show::print(context, &request, block, &versions, &answers),
                    _ => Err(nothing_offered(&request, &answers)),
                }
            }
        }
    }
}

impl Asked {
    fn request(&self, context: &Context) -> Result<CatalogRequest, Failure> {
        let mut flags = self.flags.by_key();
        flags.extend(self.trust.by_key());
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let channel = channel::channel_id(&self.snapshot)?;
        let rooted = channel::rooted(&config, &self.network.root, &channel)?;
        // What this peer had makes the floor, if it keeps state: nothing is made here just to look.
        let state = channel::state_dir(context, &config).ok().filter(|state| state.is_dir());
        let records = state.map(|state| Records::open(&*channel::folder(&state, 0o700)?).map_err(Failure::from));
        Ok(CatalogRequest {
            dialling: channel::dialling(&config, &self.network, &rooted)?,
            sources: channel::sources(&config, &self.network)?,
            block_number: self.snapshot.block_number,
            trust: channel::trust(&config, &self.trust, &rooted, records.transpose()?.as_ref())?,
        })
    }
}

/// As `join` would say it.
fn nothing_offered(request: &CatalogRequest, answers: &[SourceCatalog]) -> Failure {
    let (channel, block_number) = (request.dialling.channel.clone(), request.block_number);
    let source = Box::new(AgreementError::NothingOffered { channel, block_number });
    let troubles = answers.iter().filter_map(|source| source.answer.as_ref().err().cloned()).collect();
    JoinError::Agreement { source, troubles, evidence: Vec::new() }.into()
}

/// A hash as it stands in tables: long enough to tell any two apart by eye.
pub(super) fn short(hash: &impl ToString) -> String {
    hash.to_string().chars().take(16).collect()
}

/// Rows in columns, each as wide as its longest cell; the last one isn't padded.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
