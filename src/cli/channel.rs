//! What every command on the network needs: who we are, which channel, whom to ask.

use super::{
    args::{RootArgs, SnapshotArgs, TrustArgs},
    context::Context,
    exit::{Exit, Failure},
};
use bytes::Bytes;
use clap::Args;
use snapferry::{
    bootstrap::{Dialling, JoinError, JoinTrust, Records, SourceAddress},
    catalog::TrustPolicy,
    disk::{EntryKind, OsDir},
    msp::{
        ChannelConfig, GRANT_BYTES_MAX, GrantBody, Identity, JoinGrant, LocalIdentity, Principal, PrincipalRole,
        RuleError, TlsPair,
    },
    service::{
        BundleError, ChannelConfigError, RootError, Rooted, clock,
        config::{Config, NameCheck},
        daemon::COMPLETED_DIR,
        load_root, load_statements,
    },
    snapshot::{BlockNumber, ChannelId},
    transport::{WallClock, endpoint::Tuning, fault::chain, live::LiveChannels, network::Network, tls},
};
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Sources and root of trust.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Whom to ask, separated by commas [default: the configuration's sources]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', value_parser = host_and_port)]
    pub(crate) from: Vec<String>,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// An admin's grant for our identity, as `snapferry grant` writes it [default: identity.grant; an admin needs none]
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
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

/// Our MSP identity alone, for what is signed without a connection.
pub(crate) fn signer(config: &Config) -> Result<LocalIdentity, Failure> {
    let missing = |key: &str, next: &'static str| Failure::new(Exit::Usage, format!("{key} is not set")).next(next);
    let msp_id = config.identity.msp_id.as_ref();
    let msp_id = msp_id.ok_or_else(|| missing("identity.mspId", "give --msp-id or CORE_PEER_LOCALMSPID"))?;
    let folder = config.identity.msp_config_path.as_ref().ok_or_else(|| {
        missing(
            "identity.mspConfigPath",
            "give --msp-config-path or CORE_PEER_MSPCONFIGPATH: the MSP folder of who signs",
        )
    })?;
    LocalIdentity::load(msp_id, folder).map_err(|error| Failure::new(Exit::Usage, chain(&error)))
}

/// Settings of connections, as configured.
pub(crate) fn tuning(config: &Config) -> Tuning {
    Tuning { mtu_upper_bound: config.limits.mtu_bytes, ..Tuning::default() }
}

/// The channel's configuration, by the root of trust that flags or configuration give.
pub(crate) fn rooted(config: &Config, args: &RootArgs, channel: &ChannelId) -> Result<Rooted, Failure> {
    Ok(load_root(channel, &args.settings(config, channel)?)?)
}

/// Credentials and tuning of a command that dials about that channel.
pub(crate) fn dialling(config: &Config, args: &NetworkArgs, rooted: &Rooted) -> Result<Dialling, Failure> {
    let (identity, tls) = identity(config)?;
    let channel = &rooted.config;
    warn_if_unwelcome(channel, &identity, &tls);
    let grant = grant(config, args, channel, &identity)?;
    Ok(Dialling {
        channel: channel.channel().clone(),
        live: LiveChannels::new([channel.clone()]),
        identity: Arc::new(identity),
        tls: Arc::new(tls),
        grant,
        tuning: tuning(config),
        network: Network::system(),
        clock: wall_clock(),
    })
}

/// The grant that is given or configured; an admin makes its own.
fn grant(
    config: &Config,
    args: &NetworkArgs,
    channel: &ChannelConfig,
    identity: &LocalIdentity,
) -> Result<Option<Bytes>, Failure> {
    if let Some(path) = args.grant.as_ref().or(config.identity.grant.as_ref()) {
        return Ok(Some(checked_grant(path, channel, &identity.identity)?));
    }
    let msp_id = identity.identity.msp_id().clone();
    let admin = Principal::Role { msp_id, role: PrincipalRole::Admin };
    if channel.satisfies(&identity.identity, &admin).is_err() {
        return Ok(None);
    }
    let body = GrantBody::for_one_command(channel.channel(), &identity.identity, (wall_clock())());
    let grant = JoinGrant::sign(&body, identity).map_err(|error| Failure::new(Exit::Failed, chain(&error)))?;
    Ok(Some(grant.encode().into()))
}

/// A grant's file, if it is good for us in that channel now.
pub(super) fn checked_grant(path: &Path, channel: &ChannelConfig, identity: &Identity) -> Result<Bytes, Failure> {
    let wrong = |reason: String| {
        Failure::new(Exit::Usage, format!("{} is no usable grant: {reason}", path.display()))
            .next("an admin of our organisation writes one: snapferry grant -c CHANNEL --for CERT --out FILE")
    };
    let bytes = read_at_most(path, GRANT_BYTES_MAX as u64).map_err(|error| wrong(error.to_string()))?;
    let grant = JoinGrant::decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    let judged = grant.check(channel, identity, None, None, (wall_clock())());
    judged.map_err(|error| wrong(chain(&error)))?;
    Ok(bytes.into())
}

/// The trust rule in this channel, and what was said to us another way or before.
pub(crate) fn trust(
    config: &Config,
    args: &TrustArgs,
    rooted: &Rooted,
    records: Option<&Records>,
) -> Result<JoinTrust, Failure> {
    trust_by(TrustPolicy::new(&config.trust, &rooted.config)?, config, args, rooted.config.channel(), records)
}

/// [`trust`] by a rule that isn't the operator's.
pub(crate) fn trust_by(
    policy: TrustPolicy,
    config: &Config,
    args: &TrustArgs,
    channel: &ChannelId,
    records: Option<&Records>,
) -> Result<JoinTrust, Failure> {
    let landed = records.map(|records| records.highest_had(channel)).transpose().map_err(JoinError::from)?.flatten();
    Ok(JoinTrust {
        policy,
        highest_had: landed.max(highest_made(config, channel)?),
        allow_older: args.allow_older,
        given: load_statements(&args.attestations)?,
    })
}

/// The highest block that this peer ever had of the channel, as far as its state folder (if there is one) and its own snapshots tell.
pub(crate) fn highest_had(
    context: &Context,
    config: &Config,
    channel: &ChannelId,
) -> Result<Option<BlockNumber>, Failure> {
    let landed = match state_dir(context, config).map(|state| OsDir::open(&state)) {
        Ok(Ok(state)) => Records::landed_in(&*state, channel).map_err(JoinError::from)?,
        Ok(Err(error)) if !error.is_not_found() => {
            let next = "its floor can't be known: run it as who may read it, or give --state-dir DIR";
            return Err(Failure::from(error).next(next));
        }
        _ => None,
    };
    Ok(landed.max(highest_made(config, channel)?))
}

/// The highest block of which our own peer made a snapshot.
fn highest_made(config: &Config, channel: &ChannelId) -> Result<Option<BlockNumber>, Failure> {
    let Some(root) = &config.snapshots_root else { return Ok(None) };
    let folder = root.join(COMPLETED_DIR).join(channel.as_str());
    let entries = match OsDir::open(&folder).and_then(|dir| dir.list()) {
        Err(error) if error.is_not_found() => return Ok(None),
        entries => entries?,
    };
    let number = |name: &str| name.parse().ok().filter(|number: &u64| number.to_string() == name).map(BlockNumber);
    let made = entries.into_iter().filter(|entry| entry.kind == EntryKind::Dir).filter_map(|entry| number(&entry.name));
    Ok(made.max())
}

/// A small file, unless it is longer than what is meant can be.
pub(crate) fn read_at_most(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
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

impl From<RuleError> for Failure {
    fn from(error: RuleError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Root(error) => error.into(),
            error if error.is_refusal() => Self::new(Exit::Verification, error),
            error => Self::new(Exit::Failed, error),
        }
    }
}

impl From<RootError> for Failure {
    fn from(error: RootError) -> Self {
        let next = match &error {
            RootError::None(_) => {
                "give --config-block FILE (`peer channel fetch config`), or set channels.CHANNEL.configBlock"
            }
            RootError::Several { .. } => "give one of them",
            RootError::Pin { .. } => "ask who gave you the hash; don't use this block",
            RootError::Walk { .. } => {
                "put every configuration block of the channel into one folder, or pin the newest one"
            }
            RootError::Msps(_) => {
                "each folder should be an organisation's msp/ with cacerts/, tlscacerts/ and config.yaml"
            }
            _ => "`peer channel fetch config FILE -c CHANNEL` writes a channel's newest one",
        };
        // A walk that fails is a chain of signatures that fails.
        let exit = if matches!(error, RootError::Walk { .. } | RootError::Pin { .. }) {
            Exit::Verification
        } else {
            Exit::Usage
        };
        Self::new(exit, chain(&error)).next(next)
    }
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
