//! `config check`: what the configuration names must exist and fit together, so that `serve` and `join` don't find out later.

use super::{
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
};
use serde_json::json;
use snapferry::{
    catalog::TrustPolicy,
    disk::{DiskError, OsDir},
    msp::{ChannelConfig, GRANT_BYTES_MAX, JoinGrant, LocalIdentity, MspId, TlsPair},
    peer::read_tls_roots,
    service::{
        Bundles,
        config::{ChannelSettings, Config, FILE_NAME, Loaded},
        daemon::COMPLETED_DIR,
        load_given, load_root,
    },
    snapshot::ChannelId,
    transport::{
        fault::chain,
        tls::{Usage, orgs_accepting},
    },
};
use std::{path::Path, time::SystemTime};

/// One thing that was looked at.
struct Check {
    what: String,
    found: Found,
}

enum Found {
    /// Fine; what it is.
    Fine(String),
    /// Nothing is configured; who will miss it.
    Unset(&'static str),
    /// What is wrong.
    Wrong(String),
}

/// Checks everything, prints a line for each, and fails if anything is wrong.
pub(super) fn run(context: &Context, loaded: &Loaded) -> Result<(), Failure> {
    let file = loaded.file.as_deref().map_or_else(|| format!("no {FILE_NAME}"), Context::shown);
    let mut checks = vec![Check { what: file, found: Found::Fine("every key and value is well formed".to_owned()) }];
    let now = (channel::wall_clock())();
    let (identity, tls) = identity(&loaded.config, now, &mut checks);
    let bundles = bundles(context, &loaded.config);
    for (channel, settings) in &loaded.config.channels {
        let block = judged(channel, settings, bundles.as_ref());
        check_channel(channel, block, &loaded.config, identity.as_ref(), tls.as_ref(), now, &mut checks);
    }
    if loaded.config.channels.is_empty() {
        let found = Found::Unset("`serve`, `join` and `catalog` then need --config-block");
        checks.push(Check { what: "channels".to_owned(), found });
    }
    checks.push(Check { what: "snapshots.rootDir".to_owned(), found: snapshots(&loaded.config) });
    checks.push(Check { what: "peer".to_owned(), found: peer(loaded) });
    report(context, &checks)
}

/// Whether our peer can be called, as far as files tell. What its own configuration says of it may be meant for others on the network.
fn peer(loaded: &Loaded) -> Found {
    const UNSET: Found =
        Found::Unset("`snapshot submit`, `pending` and `cancel` then need --peer-address and --tls-root-cert-file");
    let settings = &loaded.config.peer;
    let ours = |key: &str| loaded.settings.get(key).is_some_and(|setting| !setting.origin.is_of_peer());
    let (Some(address), Some(roots)) = (&settings.address, &settings.tls_root_cert) else { return UNSET };
    let client = match (&settings.tls_client_cert, &settings.tls_client_key) {
        (Some(certificate), Some(key)) => TlsPair::load(certificate, key).map(drop).map_err(|error| chain(&error)),
        (None, None) => Ok(()),
        _ => Err("of tls.clientCert and tls.clientKey only one is set".to_owned()),
    };
    match read_tls_roots(roots).map_err(|error| chain(&error)).and(client) {
        Ok(()) => Found::Fine(format!("{address}, known by {}", roots.display())),
        Err(_) if !ours("peer.tls.rootCert") && !ours("peer.tls.clientCert") => UNSET,
        Err(wrong) => Found::Wrong(wrong),
    }
}

fn identity(config: &Config, now: SystemTime, checks: &mut Vec<Check>) -> (Option<LocalIdentity>, Option<TlsPair>) {
    let mut add = |what: &str, found| checks.push(Check { what: what.to_owned(), found });
    if config.identity == Default::default() {
        add("identity", Found::Unset("`serve`, `join` and `catalog` need one"));
        return (None, None);
    }
    let settings = match config.identity() {
        Ok(settings) => settings,
        Err(error) => {
            add("identity", Found::Wrong(error.to_string()));
            return (None, None);
        }
    };
    let identity = LocalIdentity::load(&settings.msp_id, &settings.msp_config_path);
    add(
        "identity.mspConfigPath",
        match &identity {
            Ok(identity) if identity.identity.not_after() < now => {
                Found::Wrong(format!("the certificate of {} has expired", identity.identity.subject()))
            }
            Ok(identity) => Found::Fine(format!("{} of {}", identity.identity.subject(), settings.msp_id)),
            Err(error) => Found::Wrong(chain(error)),
        },
    );
    let tls = TlsPair::load(&settings.tls_cert, &settings.tls_key);
    add(
        "identity.tls",
        match &tls {
            Ok(_) => Found::Fine(format!("{} and its key", settings.tls_cert.display())),
            Err(error) => Found::Wrong(chain(error)),
        },
    );
    (identity.ok(), tls.ok())
}

/// What was in force here, if that can be known: the state folder may be another user's.
fn bundles(context: &Context, config: &Config) -> Option<Bundles> {
    let state = channel::state_dir(context, config).ok()?;
    Bundles::open_existing(&*OsDir::open(&state).ok()?).ok()
}

/// What would be in force, or why nothing would.
fn judged(channel: &ChannelId, settings: &ChannelSettings, bundles: Option<&Bundles>) -> Result<ChannelConfig, String> {
    let Some(bundles) = bundles else {
        return load_root(channel, settings).map(|rooted| rooted.config).map_err(|error| chain(&error));
    };
    let given = load_given(channel, settings).map_err(|error| chain(&error))?;
    bundles.judge(&given).map(|judged| judged.rooted.config).map_err(|error| chain(&error))
}

fn check_channel(
    id: &ChannelId,
    block: Result<ChannelConfig, String>,
    config: &Config,
    identity: Option<&LocalIdentity>,
    tls: Option<&TlsPair>,
    now: SystemTime,
    checks: &mut Vec<Check>,
) {
    let mut add = |what: &str, found| checks.push(Check { what: format!("channels.{id}{what}"), found });
    let block = match block {
        Ok(block) => block,
        Err(reason) => return add(".configBlock", Found::Wrong(reason)),
    };
    let orgs: Vec<&str> = block.orgs().keys().map(MspId::as_str).collect();
    let number = block.block_number();
    add(".configBlock", Found::Fine(format!("block {number} with {}", orgs.join(", "))));
    add(
        ", trust rule",
        match TrustPolicy::new(&config.trust, &block) {
            Ok(policy) => Found::Fine(format!("{}, by at least {} of them", policy.metadata.as_str(), policy.min_orgs)),
            Err(error) => Found::Wrong(error.to_string()),
        },
    );
    let Some(identity) = identity else { return };
    let msp_id = identity.identity.msp_id();
    add(
        ", our identity",
        match block.validate(&identity.identity, now) {
            Ok(()) => Found::Fine(format!("a member, of {msp_id}")),
            Err(error) => Found::Wrong(chain(&error)),
        },
    );
    if let Some(path) = config.identity.grant.as_ref().filter(|path| !is_for_another(path, id, config)) {
        let found = match channel::checked_grant(path, &block, &identity.identity) {
            Ok(_) => Found::Fine(format!("{} holds for us", path.display())),
            Err(failure) => Found::Wrong(failure.to_string()),
        };
        add(", our grant", found);
    }
    if let Some(tls) = tls {
        add(", our TLS certificate", judge_tls(&block, tls, msp_id, now));
    }
}

/// Whether it is the grant of another channel that is configured: one file is for one channel.
fn is_for_another(path: &Path, id: &ChannelId, config: &Config) -> bool {
    let bytes = channel::read_at_most(path, GRANT_BYTES_MAX as u64);
    let grant = bytes.ok().and_then(|bytes| JoinGrant::decode(&bytes).ok());
    grant.is_some_and(|grant| grant.body().channel() != id && config.channels.contains_key(grant.body().channel()))
}

/// Whether others will take our TLS certificate for our organisation's, in both directions.
fn judge_tls(block: &ChannelConfig, tls: &TlsPair, msp_id: &MspId, now: SystemTime) -> Found {
    let good_for = |usage| orgs_accepting(block, &tls.chain, now, usage).contains(msp_id);
    match (good_for(Usage::Server), good_for(Usage::Client)) {
        (true, true) => Found::Fine(format!("from a TLS CA of {msp_id}, good to dial and to serve")),
        (true, false) => {
            Found::Wrong("good to serve, but not to dial: it lacks the extended key usage clientAuth".to_owned())
        }
        (false, true) => {
            Found::Wrong("good to dial, but not to serve: it lacks the extended key usage serverAuth".to_owned())
        }
        (false, false) => {
            Found::Wrong(format!("it isn't from a TLS CA that {msp_id} has in this block, or not valid now"))
        }
    }
}

fn snapshots(config: &Config) -> Found {
    let Some(root) = &config.snapshots_root else { return Found::Unset("`serve` needs it") };
    let completed = root.join(COMPLETED_DIR);
    match OsDir::open(&completed).and_then(|dir| dir.list()) {
        Ok(channels) => Found::Fine(format!("{}, snapshots of {} channels", completed.display(), channels.len())),
        Err(error) if error.is_not_found() => Found::Wrong(format!(
            "{} isn't there: is rootDir the peer's ledger.snapshots.rootDir, and has the peer started once?",
            completed.display()
        )),
        Err(error) => Found::Wrong(unreadable(&error)),
    }
}

fn unreadable(error: &DiskError) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!("{error}; run snapferry under the peer's uid"),
        _ => error.to_string(),
    }
}

fn report(context: &Context, checks: &[Check]) -> Result<(), Failure> {
    let wrong = checks.iter().filter(|check| matches!(check.found, Found::Wrong(_))).count();
    if context.json() {
        let entry = |check: &Check| {
            let (result, detail) = match &check.found {
                Found::Fine(detail) => ("ok", detail.as_str()),
                Found::Unset(detail) => ("not_set", *detail),
                Found::Wrong(detail) => ("wrong", detail.as_str()),
            };
            json!({"what": check.what, "result": result, "detail": detail})
        };
        output::print_json(&json!({"checks": checks.iter().map(entry).collect::<Vec<_>>(), "wrong": wrong}))?;
    } else {
        let line = |check: &Check| match &check.found {
            Found::Fine(detail) => format!("ok       {}: {detail}\n", check.what),
            Found::Unset(detail) => format!("not set  {}: {detail}\n", check.what),
            Found::Wrong(detail) => format!("WRONG    {}: {detail}\n", check.what),
        };
        output::print(&checks.iter().map(line).collect::<String>())?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Usage, "the configuration can't be used: 1 check failed")),
        wrong => Err(Failure::new(Exit::Usage, format!("the configuration can't be used: {wrong} checks failed"))),
    }
}
