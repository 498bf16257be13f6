//! `quickstart`: the main job on one machine, on a recorded real snapshot, a larger sample, and against a liar.

mod liar;
mod stage;

use super::{
    channel,
    context::Context,
    exit::{Exit, Failure},
    join::{shares, style},
    output::print,
    stop::Stop,
    transfer_view::{self, Style},
};
use clap::Args;
use snapferry::{
    bootstrap::{JoinError, JoinRequest, JoinTrust, Joined, Records, SourceAddress, join, join_workers},
    catalog::{JoinReceipt, RECEIPT_BYTES_MAX, RootOfTrust, Statements, TrustPolicy, TrustSettings},
    chunking::plan::PlanConfig,
    disk::{Dir, OsDir},
    msp::{ChannelConfig, LocalIdentity, MspId},
    service::{
        LogLevel, builtin,
        units::{format_bytes, parse_bytes},
    },
    snapshot::{BlockNumber, SampleNumbers, SampleSpec, SnapshotId, inspect_folder, verify_folder, write_sample},
    transport::tls::NameCheck,
};
use stage::{Member, Service, admin, copy_folder, subfolder, unpack};
use std::{net::SocketAddr, path::Path, sync::Arc};

const INDENT: &str = "   ";
/// Longest line of what is said in a sentence.
const LINE_CHARS: usize = 120;

/// Shows the main job on this machine: three throwaway organisations that vouch, a real snapshot, a larger sample, a liar, a refusal
///
/// Needs nothing and leaves nothing: keys and snapshot are built in, everything happens on loopback and in a temporary folder.
#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// Size of the larger sample; four times as much space is needed for a moment
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes)]
    size: u64,
}

impl Quickstart {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Error);
        let folder = tempfile::Builder::new().prefix("snapferry-quickstart-").tempdir()?;
        let stage = OsDir::open(folder.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Stop::default();
        let story = Story::prepare(context, &*stage)?;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = stop.wait(None) => Err(Failure::new(stop.exit(), "stopped; nothing is left behind")),
                told = story.tell(self.size) => told,
            }
        })
    }
}

/// Everybody who takes part.
struct Story {
    style: Style,
    channel: Arc<ChannelConfig>,
    org1: Member,
    org2: Member,
    org3: Member,
    admin3: LocalIdentity,
    liar: Member,
}

impl Story {
    fn prepare(context: &Context, stage: &dyn Dir) -> Result<Self, Failure> {
        let channel = ChannelConfig::from_block(builtin::CONFIG_BLOCK)
            .map_err(|error| Failure::new(Exit::Failed, format!("the built-in configuration: {error}")))?;
        let [org1, org2, org3] = builtin::PEERS;
        Ok(Self {
            style: style(context),
            channel: Arc::new(channel),
            org1: Member::new(stage, "org1", org1)?,
            org2: Member::new(stage, "org2", org2)?,
            org3: Member::new(stage, "org3", org3)?,
            admin3: admin(stage, builtin::ADMIN_OF_ORG3)?,
            liar: Member::new(stage, "liar", builtin::PEER1_OF_ORG1)?,
        })
    }

    async fn tell(&self, size: u64) -> Result<(), Failure> {
        print(
            "snapferry quickstart: three throwaway organisations on loopback; nothing outside a temporary folder is touched\n\n",
        )?;
        for member in [&self.org1, &self.org2] {
            let folder = subfolder(&*member.completed()?, &builtin::BLOCK_NUMBER.to_string())?;
            builtin::SNAPSHOT.iter().try_for_each(|(name, bytes)| unpack(&*folder, name, bytes))?;
        }
        let services = [self.org1.serve(&self.channel)?, self.org2.serve(&self.channel)?];
        self.recorded(&services).await?;
        let sample = self.sample(&services, size).await?;
        self.lie(&services, &sample).await?;
        self.refuse(&services, &sample).await?;
        print(NEXT)
    }

    /// A real snapshot from two organisations.
    async fn recorded(&self, services: &[Service; 2]) -> Result<(), Failure> {
        let id = self.id(BlockNumber(builtin::BLOCK_NUMBER));
        print(&format!(
            "1. A real snapshot, recorded from a Fabric network: {id}\n\
             {INDENT}{} and {} serve it; {} joins from both\n",
            self.org1.msp_id, self.org2.msp_id, self.org3.msp_id
        ))?;
        self.advertised(services, &id).await?;
        let joined = self.join(&id, &addresses(services), "landing").await?;
        print(&proved(&joined))?;
        print(&state(self.org3.msp_id, &joined.path)?)?;
        print(&receipt(&joined, &self.channel)?)?;
        print("\n")
    }

    /// A larger one, to see progress and shares.
    async fn sample(&self, services: &[Service; 2], size: u64) -> Result<SnapshotId, Failure> {
        print(&format!(
            "2. A synthetic snapshot of the same channel, {}, for a look at progress and shares\n",
            format_bytes(size)
        ))?;
        let spec = SampleSpec {
            config_block: self.channel.block_number(),
            channel: self.channel.channel().clone(),
            channel_config: self.channel.config_envelope_bytes().to_vec(),
            collection_members: self.channel.orgs().keys().map(MspId::to_string).collect(),
            numbers: SampleNumbers::for_size(size, true),
            seed: 1,
            compressible: true,
        };
        // As a peer does: written aside, then renamed, so that no half-made snapshot is ever seen.
        let (first, second) = (self.org1.completed()?, self.org2.completed()?);
        let made = self.org1.folder("made")?;
        let copied = self.org2.folder("made")?;
        let (made_path, made_dir) = (made.path().to_owned(), Arc::clone(&made));
        let written = blocking(move || {
            let (_, manifest) = write_sample(&*made_dir, &spec)
                .map_err(|error| Failure::new(Exit::Failed, format!("the sample can't be written: {error}")))?;
            copy_folder(&made_path, &*copied)?;
            Ok(manifest.id().clone())
        });
        let id = written.await?;
        let block = id.block_number.to_string();
        self.org1.dir.rename("made", &*first, &block)?;
        self.org2.dir.rename("made", &*second, &block)?;
        self.advertised(services, &id).await?;
        let joined = self.join(&id, &addresses(services), "landing").await?;
        print(&proved(&joined))?;
        print("\n")?;
        Ok(id)
    }

    /// A third source, with an identity of its own, that flips a bit of every chunk.
    async fn lie(&self, services: &[Service; 2], id: &SnapshotId) -> Result<(), Failure> {
        print(&format!(
            "3. The same again, with a third source that lies: another peer of {}, which flips one bit of every chunk it sends\n",
            self.liar.msp_id
        ))?;
        let snapshot = services.first().ok_or_else(|| Failure::new(Exit::Failed, "no service"))?.advertised(id).await?;
        let mut from = addresses(services);
        from.push(self.liar.lie(&self.channel, snapshot)?);
        let joined = self.join(id, &from, "landing-again").await?;
        print(&proved(&joined))?;
        if !joined.shares.iter().any(|share| share.dropped) {
            return Err(Failure::new(Exit::Verification, "the liar was not caught").next("report this as a bug"));
        }
        let path = joined.path.clone();
        let expected = joined.manifest_hash;
        let found = blocking(move || Ok(verify_folder(&*OsDir::open(&path)?, &mut |_| ())?.manifest.hash())).await?;
        if found != expected {
            return Err(Failure::new(Exit::Verification, "the landed folder is wrong").next("report this as a bug"));
        }
        print(&format!("{INDENT}read again from the disk, as `snapferry verify` does: every file is right\n\n"))
    }

    /// One organisation's word, where the rule wants two.
    async fn refuse(&self, services: &[Service; 2], id: &SnapshotId) -> Result<(), Failure> {
        print(&format!(
            "4. A refusal: only {} is asked, and its word alone doesn't satisfy the rule\n",
            self.org1.msp_id
        ))?;
        let only = addresses(services).into_iter().take(1).collect::<Vec<_>>();
        match self.join(id, &only, "landing-refused").await {
            Err(failure) if failure.exit == Exit::Verification => {
                let text: String = textwrap(&failure.to_string());
                print(&format!("{text}{INDENT}(`snapferry join` would end with exit code 3: never retry blindly)\n\n"))
            }
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new(Exit::Verification, "the join wasn't refused").next("report this as a bug")),
        }
    }

    async fn advertised(&self, services: &[Service; 2], id: &SnapshotId) -> Result<(), Failure> {
        for service in services {
            service.advertised(id).await?;
        }
        Ok(())
    }

    async fn join(&self, id: &SnapshotId, from: &[SocketAddr], landing: &str) -> Result<Joined, Failure> {
        let source = |address: &SocketAddr| SourceAddress {
            address: address.to_string(),
            server_name: None,
            name_check: NameCheck::San,
        };
        let config = &self.channel;
        let settings = TrustSettings { min_orgs: 2, require_live: true, ..TrustSettings::default() };
        let records = Records::open(&*self.org3.folder("state")?)?;
        let request = JoinRequest {
            folder: None,
            loader: None,
            dialling: self.org3.dialling(config, &self.admin3)?,
            sources: from.iter().map(source).collect(),
            block_number: Some(id.block_number),
            trust: JoinTrust {
                policy: TrustPolicy::new(&settings, config)?,
                highest_had: records.highest_had(config.channel()).map_err(JoinError::from)?,
                allow_older: false,
                given: Statements::default(),
            },
            root: RootOfTrust::ConfigBlock,
            records,
            land: self.org3.folder(landing)?,
            workers: join_workers(&PlanConfig::default())?,
            plan: PlanConfig::default(),
            accept_zstd: true,
            serve: None,
            dry_run: false,
        };
        let observer = transfer_view::observer(self.style, INDENT);
        join(&request, &observer, std::future::pending()).await.map_err(|error: JoinError| error.into())
    }

    fn id(&self, block_number: BlockNumber) -> SnapshotId {
        SnapshotId { channel: self.channel.channel().clone(), block_number }
    }
}

const NEXT: &str = "Next: `snapferry serve --help` beside a peer, `snapferry join --help` on the new one. Whatever lands, \
                    `peer channel joinbysnapshot --snapshotpath` takes as it is.\n";

/// What was proved, and what came from whom.
fn proved(joined: &Joined) -> String {
    let orgs: Vec<&str> = joined.organisations.iter().map(String::as_str).collect();
    let shares: String = shares(joined).lines().map(|line| format!("{INDENT}{line}\n")).collect();
    format!(
        "{INDENT}in place after {:.1} s: {} vouched for by {}, each of whom signed for this join what it read and\n\
         {INDENT}hashed itself, as the rule asks; every chunk proved before it was written, every file's SHA-256, its content and the\n\
         {INDENT}exact set of files checked before the folder got its name\n{shares}",
        joined.elapsed.as_secs_f64(),
        format_bytes(joined.total_bytes),
        orgs.join(" and "),
    )
}

/// What the receipt proves, read from its file.
fn receipt(joined: &Joined, config: &ChannelConfig) -> Result<String, Failure> {
    let missing = || Failure::new(Exit::Failed, "there is no receipt").next("report this as a bug");
    let path = joined.receipt.as_ref().ok_or_else(missing)?;
    let file = channel::read_at_most(path, RECEIPT_BYTES_MAX as u64)?;
    let receipt = JoinReceipt::verify(&file, Some(config)).map_err(|error| Failure::new(Exit::Verification, error))?;
    let (rule, _) = receipt.policies();
    let mut text = format!("{INDENT}the receipt, checked as `snapferry verify --receipt` does, without any network:\n");
    text.push_str(&format!("{INDENT}  rule      {rule}\n"));
    for voucher in receipt.agreed().vouchers() {
        text.push_str(&format!("{INDENT}  signed    {}: {} ({})\n", voucher.msp_id, voucher.subject, voucher.how));
    }
    let (sequence, block) = receipt.config();
    text.push_str(&format!("{INDENT}  judged by channel configuration {sequence} of block {block}\n"));
    text.push_str(&format!("{INDENT}  joiner    {} of {}\n", receipt.joiner().subject(), receipt.joiner().msp_id()));
    Ok(text)
}

/// Text in lines of at most [`LINE_CHARS`], indented.
fn textwrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("one is always there");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("{INDENT}{line}\n")).collect()
}

/// A summary of the state that landed.
fn state(who: &str, path: &Path) -> Result<String, Failure> {
    let inspection = inspect_folder(&*OsDir::open(path)?)?;
    let mut text = format!("{INDENT}what {who} holds now, before it has seen a single block:\n");
    for row in &inspection.public_state {
        let name = if row.namespace.is_empty() { "(channel configuration)" } else { &row.namespace };
        text.push_str(&format!("{INDENT}  {:<38}{:>6} keys {:>10}\n", name, row.keys, format_bytes(row.bytes)));
    }
    for row in &inspection.private_state_hashes {
        let name = format!("{} / {}", row.namespace, row.collection);
        text.push_str(&format!("{INDENT}  {name:<38}{:>6} private hashes\n", row.keys));
    }
    text.push_str(&format!("{INDENT}  {:<38}{:>6}\n", "transaction ids", inspection.transaction_ids));
    for entry in &inspection.collection_config_history {
        let names: Vec<&str> = entry.collections.iter().map(|collection| collection.name.as_str()).collect();
        text.push_str(&format!(
            "{INDENT}  collections of {} since block {}: {}\n",
            entry.chaincode,
            entry.block_number,
            names.join(", ")
        ));
    }
    Ok(text)
}

fn addresses(services: &[Service; 2]) -> Vec<SocketAddr> {
    services.iter().map(|service| service.address).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    }
}
