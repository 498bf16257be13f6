//! What every command on the network needs: who we are, which channel, whom to ask.

use super::{
    args::SnapshotArgs,
    context::Context,
    exit::{Exit, Failure},
};
use clap::Args;
use snapferry::{
    bootstrap::{Dialling, SourceAddress},
    catalog::{TrustPolicy, TrustSettings},
    msp::{ChannelConfig, LocalIdentity, TlsPair},
    service::{
        ChannelConfigError, clock,
        config::{Config, NameCheck},
        load_channel_config,
    },
    snapshot::ChannelId,
    transport::{WallClock, endpoint::Tuning, fault::chain, tls},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Sources and root of trust.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Whom to ask, separated by commas [default: the configuration's sources]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = host_and_port)]
    pub(crate) from: Vec<String>,
    /// The channel's configuration block: the root of trust [default: channels.CHANNEL.configBlock]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_block: Option<PathBuf>,
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    // Without brackets the end of an IPv6 address would be taken for its port.
    let host_ok = !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    if host_ok && port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Ok(text.to_owned());
    }
    Err("it should be HOST:PORT, e.g. peer0.org1.example.com:7061 or [::1]:7061")
}

/// Whom it takes to believe a snapshot.
pub(crate) fn policy(min_orgs: u32, config: &ChannelConfig) -> Result<TrustPolicy, Failure> {
    let settings = TrustSettings { min_orgs, require_live: true, ..TrustSettings::default() };
    TrustPolicy::new(&settings, config).map_err(|error| Failure::new(Exit::Usage, error))
}

/// The wall clock of the process.
pub(crate) fn wall_clock() -> WallClock {
    Arc::new(clock::wall_time)
}

/// The channel, which must be named.
pub(crate) fn channel_id(snapshot: &SnapshotArgs) -> Result<ChannelId, Failure> {
    let missing = || Failure::new(Exit::Usage, "which channel?").next("give -c CHANNEL");
    snapshot.channel_id.clone().ok_or_else(missing)
}

/// Our MSP identity and TLS pair.
pub(crate) fn identity(config: &Config) -> Result<(LocalIdentity, TlsPair), Failure> {
    let settings = config.identity()?;
    let unusable = |error: snapferry::msp::MspError| Failure::new(Exit::Usage, chain(&error));
    let identity = LocalIdentity::load(&settings.msp_id, &settings.msp_config_path).map_err(unusable)?;
    let tls = TlsPair::load(&settings.tls_cert, &settings.tls_key).map_err(unusable)?;
    Ok((identity, tls))
}

/// Settings of connections, as configured.
pub(crate) fn tuning(config: &Config) -> Tuning {
    Tuning { mtu_upper_bound: config.limits.mtu_bytes, ..Tuning::default() }
}

/// Credentials, channel configuration and tuning of a command that dials.
pub(crate) fn dialling(config: &Config, args: &NetworkArgs, channel: &ChannelId) -> Result<Dialling, Failure> {
    let given = args.config_block.as_deref();
    let path = given.or_else(|| config.channels.get(channel).map(|settings| settings.config_block.as_path()));
    let path = path.ok_or_else(|| {
        Failure::new(Exit::Usage, format!("nothing says who is in channel {channel}"))
            .next("give --config-block FILE (`peer channel fetch config`), or set channels.CHANNEL.configBlock")
    })?;
    let block = load_channel_config(path, Some(channel))?;
    let (identity, tls) = identity(config)?;
    warn_if_unwelcome(&block, &identity, &tls);
    Ok(Dialling {
        channel: Arc::new(block),
        identity: Arc::new(identity),
        tls: Arc::new(tls),
        tuning: tuning(config),
        clock: wall_clock(),
    })
}

/// The sources don't say why they refuse somebody: what can be known here is said here.
fn warn_if_unwelcome(block: &ChannelConfig, identity: &LocalIdentity, tls: &TlsPair) {
    let (now, identity) = ((wall_clock())(), &identity.identity);
    if let Err(error) = block.validate(identity, now) {
        tracing::warn!(reason = %chain(&error), "our own identity isn't valid in this channel: sources will refuse us");
    } else if !tls::orgs_accepting(block, &tls.chain, now, tls::Usage::Client).contains(identity.msp_id()) {
        tracing::warn!(
            msp_id = %identity.msp_id(),
            "our own TLS certificate isn't from a TLS CA of our organisation in this channel, isn't valid now, or is no client's: \
             sources will refuse us"
        );
    }
}

/// The sources that were named, or else the configured ones; settings of a configured source count for its address either way.
pub(crate) fn sources(config: &Config, args: &NetworkArgs) -> Result<Vec<SourceAddress>, Failure> {
    let configured = |source: &snapferry::service::config::SourceSettings| SourceAddress {
        address: source.address.clone(),
        server_name: source.server_name.clone(),
        name_check: match source.name_check {
            NameCheck::San => tls::NameCheck::San,
            NameCheck::OrgOnly => tls::NameCheck::OrgOnly,
        },
    };
    let named = |address: &String| {
        let known = config.sources.iter().find(|source| source.address == *address);
        known.map(configured).unwrap_or_else(|| SourceAddress {
            address: address.clone(),
            server_name: None,
            name_check: tls::NameCheck::San,
        })
    };
    let list: Vec<SourceAddress> = if args.from.is_empty() {
        config.sources.iter().map(configured).collect()
    } else {
        args.from.iter().map(named).collect()
    };
    if list.is_empty() {
        return Err(Failure::new(Exit::Usage, "nobody to ask").next("give --from HOST:PORT,... or set sources"));
    }
    Ok(list)
}

/// The landing or state folder, made if it is missing.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<Arc<dyn snapferry::disk::Dir>, Failure> {
    Ok(snapferry::disk::OsDir::create(path, mode)?)
}

/// The configured state folder; else the user's.
pub(crate) fn state_dir(context: &Context, config: &Config) -> Result<PathBuf, Failure> {
    let configured = config.state_dir.clone();
    configured
        .or_else(|| snapferry::service::config::user_state_dir(&context.environment))
        .ok_or_else(|| Failure::new(Exit::Usage, "no folder for state").next("set stateDir, or give --state-dir DIR"))
}

impl From<ChannelConfigError> for Failure {
    fn from(error: ChannelConfigError) -> Self {
        Self::new(Exit::Usage, chain(&error))
            .next("`peer channel fetch config FILE -c CHANNEL` writes a channel's newest one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_host_and_port() {
        for good in ["peer0.org1.example.com:7061", "127.0.0.1:1", "[::1]:7061"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in ["", "127.0.0.1", "host:", "host:0", "host:70000", ":7061", "::1:7061", "host:port"] {
            host_and_port(bad).unwrap_err();
        }
    }
}
