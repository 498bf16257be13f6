//! Flags that several commands share: kebab case, with Fabric's spelling as alias.

use super::exit::{Exit, Failure};
use clap::{ArgAction, Args, ValueEnum};
use snapferry::{
    msp::MspId,
    service::config::{ChannelSettings, Config},
    snapshot::{BlockNumber, ChannelId},
};
use std::path::PathBuf;

/// Flags of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file [default: snapferry.yaml in FABRIC_CFG_PATH, else here, else in /etc/hyperledger/fabric]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Folder for state that outlives the command
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Form of what is printed
    #[arg(short = 'O', long, value_enum, value_name = "FORM", default_value = "text", global = true)]
    pub(crate) output: OutputForm,
    /// Less: no progress, only errors are logged
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// More: -v logs what is done, -vv everything that may help to find a fault
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// For people
    Text,
    /// One JSON object per line, the result last
    Json,
}

/// Which snapshot is meant.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    pub(crate) channel_id: Option<ChannelId>,
    /// Last block in the snapshot
    #[arg(short, long, value_name = "N", alias = "blockNumber")]
    pub(crate) block_number: Option<BlockNumber>,
}

/// Flags that stand over keys of the configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigFlags {
    /// Our organisation's MSP ID
    #[arg(long, value_name = "ID", alias = "mspID", value_parser = msp_id)]
    pub(crate) msp_id: Option<MspId>,
    /// Our MSP folder (signcerts/, keystore/)
    #[arg(long, value_name = "DIR", alias = "mspConfigPath")]
    pub(crate) msp_config_path: Option<PathBuf>,
    /// Our TLS certificate, PEM
    #[arg(long, value_name = "FILE", alias = "tlsCertFile")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", alias = "tlsKeyFile")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How many organisations must vouch for the very same snapshot
    #[arg(long, value_name = "N")]
    pub(crate) min_orgs: Option<u32>,
}

impl ConfigFlags {
    /// The flags by the keys that they stand over.
    pub(crate) fn by_key(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("identity.mspId", self.msp_id.as_ref().map(MspId::to_string)),
            ("identity.mspConfigPath", path(&self.msp_config_path)),
            ("identity.tls.cert", path(&self.tls_cert)),
            ("identity.tls.key", path(&self.tls_key)),
            ("trust.minOrgs", self.min_orgs.map(|count| count.to_string())),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// The trust rule: who must vouch for a snapshot before it is used.
#[derive(Debug, Default, Args)]
pub(crate) struct TrustArgs {
    /// Who must vouch, in Fabric's policy language, e.g. "OutOf(2,'Org1MSP.peer','Org2MSP.peer')" or "MAJORITY Endorsement" [default:
    /// peers of more than half of the channel's organisations]
    #[arg(long, value_name = "RULE")]
    pub(crate) policy: Option<String>,
    /// For the snapshot's metadata alone, instead of --policy
    #[arg(long, value_name = "RULE")]
    pub(crate) metadata_policy: Option<String>,
    /// For the manifest alone, instead of --policy
    #[arg(long, value_name = "RULE")]
    pub(crate) manifest_policy: Option<String>,
    /// Our own organisation's attestation counts, too
    #[arg(long)]
    pub(crate) count_self: bool,
    /// Stored and relayed attestations count, too, as long as they hold; else only those that are signed for this very question
    #[arg(long)]
    pub(crate) accept_stored: bool,
    /// No snapshot below this block
    #[arg(long, value_name = "N")]
    pub(crate) min_block: Option<BlockNumber>,
    /// Takes a snapshot below the floor, too: older than the configuration block, than what this peer once had, or than --min-block
    #[arg(long)]
    pub(crate) allow_older: bool,
    /// Attestations and detached signatures that came another way: files, or folders of them
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub(crate) attestations: Vec<PathBuf>,
}

impl TrustArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        !self.by_key().is_empty() || self.allow_older || !self.attestations.is_empty()
    }

    /// The flags by the keys that they stand over.
    pub(crate) fn by_key(&self) -> Vec<(&'static str, String)> {
        let flags = [
            ("trust.policy", self.policy.clone()),
            ("trust.metadataPolicy", self.metadata_policy.clone()),
            ("trust.manifestPolicy", self.manifest_policy.clone()),
            ("trust.countSelf", self.count_self.then(|| true.to_string())),
            ("trust.requireLive", self.accept_stored.then(|| false.to_string())),
            ("trust.minBlock", self.min_block.map(|block| block.to_string())),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// Where the channel's configuration is believed from: exactly one.
#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// The channel's configuration block, which is believed because you give it; a folder: the newest in it [default:
    /// channels.CHANNEL.configBlock]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_block: Option<PathBuf>,
    /// The SHA-256 that the configuration block must have
    #[arg(long, value_name = "HEX", requires = "config_block")]
    pub(crate) config_block_sha256: Option<String>,
    /// The channel's genesis block: then the blocks of --config-block are believed because each is signed as the one before demands
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis_block: Option<PathBuf>,
    /// An organisation's MSP folder, instead of blocks; can be given for several organisations
    #[arg(long, value_name = "ID=DIR", conflicts_with_all = ["config_block", "genesis_block"])]
    pub(crate) pinned_msp: Vec<String>,
}

impl RootArgs {
    /// Whether a root was given at all.
    pub(crate) fn is_given(&self) -> bool {
        self.config_block.is_some() || self.genesis_block.is_some() || !self.pinned_msp.is_empty()
    }

    /// The root that the flags give, else the configured one.
    pub(crate) fn settings(&self, config: &Config, channel: &ChannelId) -> Result<ChannelSettings, Failure> {
        let configured = || config.channels.get(channel).cloned().unwrap_or_default();
        Ok(self.given()?.unwrap_or_else(configured))
    }

    /// The root that the flags give, if they do.
    pub(crate) fn given(&self) -> Result<Option<ChannelSettings>, Failure> {
        if !self.is_given() {
            return Ok(None);
        }
        let mut settings = ChannelSettings::default();
        settings.config_block.clone_from(&self.config_block);
        settings.genesis_block.clone_from(&self.genesis_block);
        if let Some(text) = &self.config_block_sha256 {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest).map_err(|_| {
                Failure::new(Exit::Usage, format!("--config-block-sha256 {text} is not 64 hexadecimal digits"))
            })?;
            settings.config_block_sha256 = Some(digest);
        }
        for text in &self.pinned_msp {
            let pinned = text.split_once('=').and_then(|(id, folder)| Some((MspId::new(id)?, PathBuf::from(folder))));
            let wrong = || Failure::new(Exit::Usage, format!("--pinned-msp {text} is not ID=DIR"));
            settings.pinned_msps.push(pinned.ok_or_else(wrong)?);
        }
        Ok(Some(settings))
    }
}

fn msp_id(text: &str) -> Result<MspId, &'static str> {
    MspId::new(text).ok_or("no MSP ID: 1 to 256 bytes without control characters")
}
