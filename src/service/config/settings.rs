//! The typed configuration.

use super::{
    ConfigError, Setting,
    keys::{self, Found, Kind},
};
use crate::{
    catalog::TrustSettings,
    msp::MspId,
    service::{LogLevel, LogSpec, nearest, units},
    snapshot::{BlockNumber, ChannelId},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Everything that is configured, checked for form.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Where the service listens, QUIC over UDP.
    pub listen_address: SocketAddr,
    /// State that outlives a process; `None`: nobody configured it.
    pub state_dir: Option<PathBuf>,
    /// Who we are.
    pub identity: IdentitySettings,
    /// Our peer, and how it is called.
    pub peer: PeerSettings,
    /// The peer's `ledger.snapshots.rootDir`; finished snapshots lie in `completed/CHANNEL/N` below it.
    pub snapshots_root: Option<PathBuf>,
    /// Channels that are served or joined.
    pub channels: BTreeMap<ChannelId, ChannelSettings>,
    /// Whom to ask.
    pub sources: Vec<SourceSettings>,
    /// Which snapshot may be used.
    pub trust: TrustSettings,
    /// Whether `snapshot delete` may remove the peer's folders.
    pub allow_delete: bool,
    /// How often each byte that is served is read again; `None`: never.
    pub scrub_period: Option<Duration>,
    /// Bounds on what others may use.
    pub limits: Limits,
    /// Which log lines; `None`: the command's own default.
    pub log_spec: Option<LogSpec>,
    /// Form of the log lines.
    pub log_format: LogFormat,
}

/// MSP identity and TLS pair, as far as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentitySettings {
    /// Our organisation.
    pub msp_id: Option<MspId>,
    /// The MSP folder (`signcerts/`, `keystore/`).
    pub msp_config_path: Option<PathBuf>,
    /// TLS certificate, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// An admin's grant for this identity (`snapferry grant`).
    pub grant: Option<PathBuf>,
}

/// Where the peer's gRPC is, as far as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSettings {
    /// `HOST:PORT`.
    pub address: Option<String>,
    /// The peer's TLS roots, PEM.
    pub tls_root_cert: Option<PathBuf>,
    /// The name in the peer's TLS certificate, instead of the host.
    pub server_name: Option<String>,
    /// Our TLS certificate, PEM, for a peer that asks for one.
    pub tls_client_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_client_key: Option<PathBuf>,
    /// Where its state is: `goleveldb`, or `CouchDB`.
    pub state_database: Option<String>,
    /// Where snapshots land that the peer joins from.
    pub landing_dir: Option<PathBuf>,
    /// That folder's path on the peer's own disk, if it is another one.
    pub landing_as_seen: Option<PathBuf>,
}

/// A complete [`IdentitySettings`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Our organisation.
    pub msp_id: MspId,
    /// The MSP folder.
    pub msp_config_path: PathBuf,
    /// TLS certificate, PEM.
    pub tls_cert: PathBuf,
    /// Its key, PEM.
    pub tls_key: PathBuf,
}

/// What is configured for one channel: its root of trust (trust.md 2.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSettings {
    /// A configuration block, or a folder of them of which the one with the greatest sequence counts.
    pub config_block: Option<PathBuf>,
    /// The SHA-256 that the block must have: pins it.
    pub config_block_sha256: Option<[u8; 32]>,
    /// The channel's genesis block: then the blocks of `config_block` are verified from there, each by the one before.
    pub genesis_block: Option<PathBuf>,
    /// The organisations' MSP folders, instead of a block.
    pub pinned_msps: Vec<(MspId, PathBuf)>,
}

/// Where a source is, and how its TLS certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceSettings {
    /// `HOST:PORT`.
    pub address: String,
    /// Name to check the certificate against, instead of the host.
    pub server_name: Option<String>,
    /// Whether a name is checked at all.
    pub name_check: NameCheck,
}

/// How a source's TLS certificate is tied to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCheck {
    /// Its subject alternative names hold the host.
    San,
    /// The organisation's TLS roots are enough (certificates without SAN).
    OrgOnly,
}

/// Bounds, each with its default in the key table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Chunks in flight and not yet written, in bytes.
    pub memory_bytes: u64,
    /// Bytes a second that one organisation is sent, by all its sessions together; `None`: not bounded.
    pub rate_per_org: Option<u64>,
    /// Percent of this host's CPUs above which what other processes use makes serving step back; 100: never.
    pub yield_above: u8,
    /// Sessions of one organisation.
    pub sessions_per_org: u32,
    /// Sessions from one address.
    pub sessions_per_address: u32,
    /// Streams of one session.
    pub streams: u32,
    /// Upper bound of MTU discovery, in bytes.
    pub mtu_bytes: u16,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Fabric's console form.
    Console,
    /// Fabric's JSON form.
    Json,
}

impl Config {
    pub(super) fn from_settings(settings: &BTreeMap<String, Setting>) -> Result<Self, ConfigError> {
        let values = Values(settings);
        let mut channels = BTreeMap::new();
        for (key, setting) in settings {
            // Channel names may hold dots, the names of our keys don't.
            let Some((name, property)) = key.strip_prefix("channels.").and_then(|rest| rest.rsplit_once('.')) else {
                continue;
            };
            let channel = name.parse().map_err(|error| wrong(key, setting, format!("{error}")))?;
            let channel: &mut ChannelSettings = channels.entry(channel).or_default();
            channel.set(property, key, setting)?;
        }
        let sources = settings.get("sources").map(|setting| (setting, setting.sources.clone()));
        if let Some((setting, sources)) = &sources {
            for source in sources {
                check_address(&source.address).map_err(|reason| wrong("sources", setting, reason))?;
            }
        }
        Ok(Self {
            listen_address: values.parsed("listenAddress", "it should be IP:PORT, e.g. 0.0.0.0:7061")?,
            state_dir: values.path("stateDir"),
            identity: IdentitySettings {
                msp_id: values.msp_id()?,
                msp_config_path: values.path("identity.mspConfigPath"),
                tls_cert: values.path("identity.tls.cert"),
                tls_key: values.path("identity.tls.key"),
                grant: values.path("identity.grant"),
            },
            peer: PeerSettings {
                address: values.peer_address()?,
                tls_root_cert: values.path("peer.tls.rootCert"),
                server_name: values.text("peer.tls.serverName"),
                tls_client_cert: values.path("peer.tls.clientCert"),
                tls_client_key: values.path("peer.tls.clientKey"),
                state_database: values.text("peer.stateDatabase"),
                landing_dir: values.path("peer.landing.dir"),
                landing_as_seen: values.text("peer.landing.asSeenByPeer").map(PathBuf::from),
            },
            snapshots_root: values.path("snapshots.rootDir"),
            channels,
            sources: sources.map(|(_, sources)| sources).unwrap_or_default(),
            trust: TrustSettings {
                policy: values.text("trust.policy"),
                metadata_policy: values.text("trust.metadataPolicy"),
                manifest_policy: values.text("trust.manifestPolicy"),
                min_orgs: values.number("trust.minOrgs")?,
                count_self: values.flag("trust.countSelf")?,
                require_live: values.flag("trust.requireLive")?.unwrap_or(true),
                min_block: values.optional_number("trust.minBlock")?.map(BlockNumber),
            },
            allow_delete: values.flag("snapshots.allowDelete")?.unwrap_or_default(),
            scrub_period: values.duration("snapshots.scrubPeriod")?,
            limits: Limits {
                memory_bytes: values.number("limits.memory")?,
                rate_per_org: values.optional_number("limits.ratePerOrg")?,
                yield_above: values.number("limits.yieldAbove")?,
                sessions_per_org: values.number("limits.sessionsPerOrg")?,
                sessions_per_address: values.number("limits.sessionsPerAddress")?,
                streams: values.number("limits.streams")?,
                mtu_bytes: values.number("limits.mtu")?,
            },
            log_spec: values.log_spec()?,
            log_format: values.log_format()?,
        })
    }

    /// The identity, complete.
    ///
    /// # Errors
    /// Names the first key that is missing.
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        fn need<T: Clone>(value: Option<&T>, key: &'static str, hint: &'static str) -> Result<T, ConfigError> {
            value.cloned().ok_or(ConfigError::Missing { key, hint })
        }
        let identity = &self.identity;
        Ok(Identity {
            msp_id: need(identity.msp_id.as_ref(), "identity.mspId", "set it, --msp-id or CORE_PEER_LOCALMSPID")?,
            msp_config_path: need(
                identity.msp_config_path.as_ref(),
                "identity.mspConfigPath",
                "set it, --msp-config-path or CORE_PEER_MSPCONFIGPATH to the MSP folder",
            )?,
            tls_cert: need(identity.tls_cert.as_ref(), "identity.tls.cert", "set it or --tls-cert to the PEM file")?,
            tls_key: need(identity.tls_key.as_ref(), "identity.tls.key", "set it or --tls-key to the PEM file")?,
        })
    }
}

impl ChannelSettings {
    fn set(&mut self, property: &str, key: &str, setting: &Setting) -> Result<(), ConfigError> {
        match property {
            "configBlock" => self.config_block = Some(PathBuf::from(&setting.value)),
            "genesisBlock" => self.genesis_block = Some(PathBuf::from(&setting.value)),
            "configBlockSha256" => {
                let bad = |_| wrong(key, setting, "it should be 64 hexadecimal digits".to_owned());
                let mut digest = [0; 32];
                hex::decode_to_slice(&setting.value, &mut digest).map_err(bad)?;
                self.config_block_sha256 = Some(digest);
            }
            "pinnedMsps" => {
                let bad = || wrong(key, setting, "it should be ID=DIR,..., one MSP folder per organisation".to_owned());
                let pinned = setting.value.split(',').map(|entry| {
                    let (id, folder) = entry.split_once('=')?;
                    Some((MspId::new(id)?, PathBuf::from(folder)))
                });
                self.pinned_msps = pinned.collect::<Option<_>>().ok_or_else(bad)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl SourceSettings {
    /// A source at `HOST:PORT` whose certificate must hold that host.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), server_name: None, name_check: NameCheck::San }
    }

    /// The host part of the address, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match keys::folded(name).as_str() {
            "address" => value.clone_into(&mut self.address),
            "servername" => self.server_name = Some(value.to_owned()),
            "namecheck" => {
                self.name_check = match keys::folded(value).as_str() {
                    "san" => NameCheck::San,
                    "orgonly" => NameCheck::OrgOnly,
                    _ => return Err("it should be san or org_only".to_owned()),
                }
            }
            _ => {
                let near = nearest(name, ["address", "serverName", "nameCheck"]).unwrap_or("address");
                return Err(format!("there is no such key; did you mean {near:?}?"));
            }
        }
        Ok(())
    }
}

/// Reads typed values out of the text form; each reader knows its key.
struct Values<'a>(&'a BTreeMap<String, Setting>);

impl Values<'_> {
    fn path(&self, key: &str) -> Option<PathBuf> {
        self.0.get(key).map(|setting| Path::new(&setting.value).to_path_buf())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|setting| setting.value.clone())
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(setting) = self.0.get(key) else { return Ok(None) };
        let bad = |_| wrong(key, setting, "it should be true or false".to_owned());
        setting.value.to_ascii_lowercase().parse().map(Some).map_err(bad)
    }

    fn optional_number(&self, key: &'static str) -> Result<Option<u64>, ConfigError> {
        if self.0.contains_key(key) { self.number(key).map(Some) } else { Ok(None) }
    }

    fn parsed<T: std::str::FromStr>(&self, key: &'static str, reason: &str) -> Result<T, ConfigError> {
        let setting = self.required(key)?;
        setting.value.parse().map_err(|_| wrong(key, setting, reason.to_owned()))
    }

    fn number<T: TryFrom<u64>>(&self, key: &'static str) -> Result<T, ConfigError> {
        let setting = self.required(key)?;
        let bad = |reason: String| wrong(key, setting, reason);
        let (number, low, high) = match keys::find(&key.split('.').map(str::to_owned).collect::<Vec<_>>()) {
            Found::Key(known) => match known.kind {
                Kind::Bytes(low, high) => {
                    (units::parse_bytes(&setting.value).map_err(|error| bad(error.to_string()))?, low, high)
                }
                Kind::Count(low, high) => {
                    let number = setting.value.parse().map_err(|_| bad("it should be a whole number".to_owned()))?;
                    (number, low, high)
                }
                _ => return Err(bad("it is no number".to_owned())),
            },
            Found::Section | Found::Unknown(_) => return Err(ConfigError::Missing { key, hint: "it has no default" }),
        };
        if number < low || number > high {
            return Err(bad(format!("it should be between {low} and {high}")));
        }
        T::try_from(number).map_err(|_| bad(format!("it should be between {low} and {high}")))
    }

    /// `None`: 0.
    fn duration(&self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        let setting = self.required(key)?;
        let duration = units::parse_duration(&setting.value).map_err(|error| wrong(key, setting, error.to_string()))?;
        let Found::Key(keys::Key { kind: Kind::Duration(low, high), .. }) =
            keys::find(&key.split('.').map(str::to_owned).collect::<Vec<_>>())
        else {
            return Err(wrong(key, setting, "it is no duration".to_owned()));
        };
        if !duration.is_zero() && (duration < Duration::from_secs(*low) || duration > Duration::from_secs(*high)) {
            return Err(wrong(key, setting, format!("it should be 0, or between {low} s and {high} s")));
        }
        Ok((!duration.is_zero()).then_some(duration))
    }

    fn msp_id(&self) -> Result<Option<MspId>, ConfigError> {
        let Some(setting) = self.0.get("identity.mspId") else { return Ok(None) };
        let bad = || wrong("identity.mspId", setting, "it is no MSP ID".to_owned());
        MspId::new(&setting.value).ok_or_else(bad).map(Some)
    }

    fn peer_address(&self) -> Result<Option<String>, ConfigError> {
        let Some(setting) = self.0.get("peer.address") else { return Ok(None) };
        match check_address(&setting.value) {
            Ok(()) => Ok(Some(setting.value.clone())),
            // The peer makes something of it; we need no peer, most of the time.
            Err(_) if setting.origin.is_of_peer() => Ok(None),
            Err(reason) => Err(wrong("peer.address", setting, reason)),
        }
    }

    fn log_spec(&self) -> Result<Option<LogSpec>, ConfigError> {
        let Some(setting) = self.0.get("logging.spec") else { return Ok(None) };
        let spec = LogSpec::parse(&setting.value, LogLevel::Info);
        spec.map(Some).map_err(|error| wrong("logging.spec", setting, error.to_string()))
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        let setting = self.required("logging.format")?;
        match setting.value.to_ascii_lowercase().as_str() {
            "console" => Ok(LogFormat::Console),
            "json" => Ok(LogFormat::Json),
            _ => Err(wrong("logging.format", setting, "it should be console or json".to_owned())),
        }
    }

    fn required(&self, key: &'static str) -> Result<&Setting, ConfigError> {
        self.0.get(key).ok_or(ConfigError::Missing { key, hint: "it has no default" })
    }
}

fn check_address(address: &str) -> Result<(), String> {
    let legal = address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if legal { Ok(()) } else { Err(format!("{address:?} should be HOST:PORT")) }
}

fn wrong(key: &str, setting: &Setting, reason: String) -> ConfigError {
    let value = setting.value.chars().take(200).collect();
    ConfigError::Value { key: key.to_owned(), value, origin: setting.origin.to_string(), reason }
}
