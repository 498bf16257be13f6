//! Flags that several commands share: kebab case, with Fabric's spelling as alias.

use clap::{ArgAction, Args, ValueEnum};
use snapferry::{
    msp::MspId,
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
    /// How many organisations must offer the very same snapshot
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

fn msp_id(text: &str) -> Result<MspId, &'static str> {
    MspId::new(text).ok_or("no MSP ID: 1 to 256 bytes without control characters")
}
