//! Every key that exists: its type, its default, and what it takes its value from beside a peer.

/// What a value must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A path; a relative one counts from the folder of the file that names it.
    Path,
    /// `IP:PORT`.
    Address,
    /// Bytes, within limits.
    Bytes(u64, u64),
    /// A duration, 0 or within limits, in seconds.
    Duration(u64, u64),
    /// A whole number, within limits.
    Count(u64, u64),
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Folders by MSP ID: a mapping in a file, `ID=DIR,...` elsewhere.
    MspFolders,
    /// A list of sources: mappings in a file, `HOST:PORT,...` elsewhere.
    Sources,
    /// Belongs to a feature that this version doesn't have.
    NotSupported,
}

/// One key. `*` in the path stands for a channel's name.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
    /// The key of `core.yaml` that stands in for it.
    pub(super) core: Option<&'static str>,
}

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, default: None, core: None }
}

const fn with_default(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { path, kind, default: Some(default), core: None }
}

const fn from_core(path: &'static str, kind: Kind, core: &'static str) -> Key {
    Key { path, kind, default: None, core: Some(core) }
}

const MIB: u64 = 1 << 20;

/// All keys. A sub-key of a `NotSupported` one is not supported either.
pub(super) const KEYS: &[Key] = &[
    with_default("listenAddress", Kind::Address, "0.0.0.0:7061"),
    key("stateDir", Kind::Path),
    from_core("identity.mspId", Kind::Text, "peer.localMspId"),
    from_core("identity.mspConfigPath", Kind::Path, "peer.mspConfigPath"),
    from_core("identity.tls.cert", Kind::Path, "peer.tls.cert.file"),
    from_core("identity.tls.key", Kind::Path, "peer.tls.key.file"),
    key("identity.grant", Kind::Path),
    from_core("snapshots.rootDir", Kind::Path, "ledger.snapshots.rootDir"),
    with_default("snapshots.allowDelete", Kind::Flag, "false"),
    // Shorter than a second would read without pause; 0: never.
    with_default("snapshots.scrubPeriod", Kind::Duration(1, 366 * 86_400), "7d"),
    key("channels.*.configBlock", Kind::Path),
    key("channels.*.configBlockSha256", Kind::Text),
    key("channels.*.genesisBlock", Kind::Path),
    key("channels.*.pinnedMsps", Kind::MspFolders),
    key("sources", Kind::Sources),
    with_default("trust.minOrgs", Kind::Count(1, 1000), "2"),
    key("trust.policy", Kind::Text),
    key("trust.metadataPolicy", Kind::Text),
    key("trust.manifestPolicy", Kind::Text),
    key("trust.countSelf", Kind::Flag),
    with_default("trust.requireLive", Kind::Flag, "true"),
    key("trust.minBlock", Kind::Count(0, u64::MAX)),
    // The orderer's word on a block needs its Deliver service, which this version doesn't call.
    key("trust.anchor", Kind::NotSupported),
    // protocol.md 9: a permit per chunk in flight; below 8 MiB one source alone can't fill its window.
    with_default("limits.memory", Kind::Bytes(8 * MIB, 1024 * MIB), "32MiB"),
    // Bytes a second. With less, a client's chunks would come so late that it takes the source for stalled.
    key("limits.ratePerOrg", Kind::Bytes(MIB, 1 << 40)),
    // Percent of all CPUs, of what other processes use; 100 never comes.
    with_default("limits.yieldAbove", Kind::Count(1, 100), "80"),
    with_default("limits.sessionsPerOrg", Kind::Count(1, 1024), "8"),
    with_default("limits.sessionsPerAddress", Kind::Count(1, 1024), "8"),
    // Requests at a time; the control stream comes on top.
    with_default("limits.streams", Kind::Count(1, 256), "64"),
    // performance.md 6: upper bound of MTU discovery; 1452 is what Ethernet carries, 6400 pays where the path allows it.
    with_default("limits.mtu", Kind::Count(1200, 6400), "1452"),
    key("logging.spec", Kind::Text),
    with_default("logging.format", Kind::Choice(&["console", "json"]), "console"),
    from_core("peer.address", Kind::Text, "peer.address"),
    from_core("peer.tls.rootCert", Kind::Path, "peer.tls.rootcert.file"),
    from_core("peer.tls.serverName", Kind::Text, "peer.tls.serverhostoverride"),
    from_core("peer.tls.clientCert", Kind::Path, "peer.tls.clientCert.file"),
    from_core("peer.tls.clientKey", Kind::Path, "peer.tls.clientKey.file"),
    from_core("peer.stateDatabase", Kind::Text, "ledger.state.stateDatabase"),
    key("peer.landing.dir", Kind::Path),
    // A path on the peer's own disk: it means nothing here.
    key("peer.landing.asSeenByPeer", Kind::Text),
    key("operations", Kind::NotSupported),
    key("metrics", Kind::NotSupported),
    key("backup", Kind::NotSupported),
];

/// Where a written path leads.
pub(super) enum Found {
    /// A key that takes a value.
    Key(&'static Key),
    /// A section: more must follow.
    Section,
    /// Nothing; the nearest known path.
    Unknown(Option<String>),
}

/// The form in which names are compared: without case and `_`.
pub(super) fn folded(name: &str) -> String {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

/// Finds the key of a written path.
pub(super) fn find(written: &[String]) -> Found {
    for key in KEYS {
        let common = written.iter().zip(key.path.split('.')).take_while(|(name, known)| same(name, known)).count();
        let whole = common == key.path.split('.').count();
        if whole && (common == written.len() || key.kind == Kind::NotSupported) {
            return Found::Key(key);
        }
    }
    if is_section(written) { Found::Section } else { Found::Unknown(hint(written)) }
}

/// The key that a variable's name without its prefix means, with the channel's name where the path has a `*`.
pub(super) fn find_variable(name: &str) -> Option<(&'static Key, String)> {
    let name = folded(name);
    for key in KEYS {
        match key.path.split_once('*') {
            Some((head, tail)) => {
                let channel = name.strip_prefix(&plain(head)).and_then(|rest| rest.strip_suffix(&plain(tail)));
                if let Some(channel) = channel.filter(|channel| !channel.is_empty()) {
                    return Some((key, key.path.replace('*', channel)));
                }
            }
            None if plain(key.path) == name => return Some((key, key.path.to_owned())),
            None if key.kind == Kind::NotSupported && name.starts_with(&plain(key.path)) => {
                return Some((key, key.path.to_owned()));
            }
            None => {}
        }
    }
    None
}

fn plain(path: &str) -> String {
    folded(path).replace('.', "")
}

fn same(written: &str, known: &str) -> bool {
    known == "*" || folded(written) == folded(known)
}

/// The path with its first wrong segment replaced by the nearest known one.
fn hint(written: &[String]) -> Option<String> {
    let good = (0..written.len()).rev().find(|good| written.get(..*good).is_some_and(is_section))?;
    let (head, rest) = written.split_at_checked(good)?;
    let known = KEYS.iter().filter(|key| head.iter().zip(key.path.split('.')).all(|(name, known)| same(name, known)));
    let known = known.filter_map(|key| key.path.split('.').nth(good)).filter(|known| *known != "*");
    let near = crate::service::nearest(rest.first()?, known)?;
    Some(head.iter().map(String::as_str).chain([near]).collect::<Vec<_>>().join("."))
}

/// Whether keys lie below the path; the root is a section.
fn is_section(written: &[String]) -> bool {
    KEYS.iter().any(|key| {
        let longer = key.path.split('.').count() > written.len();
        longer && written.iter().zip(key.path.split('.')).all(|(name, known)| same(name, known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_keys_share_a_variable() {
        let names: BTreeSet<String> = KEYS.iter().map(|key| plain(key.path)).collect();
        assert_eq!(names.len(), KEYS.len());
    }

    #[test]
    fn variables_find_their_keys() {
        let found = |name| find_variable(name).map(|(_, path)| path);
        assert_eq!(found("TRUST_MINORGS").as_deref(), Some("trust.minOrgs"));
        assert_eq!(found("IDENTITY_TLS_CERT").as_deref(), Some("identity.tls.cert"));
        assert_eq!(found("CHANNELS_MYCHANNEL_CONFIGBLOCK").as_deref(), Some("channels.mychannel.configBlock"));
        assert_eq!(found("TRUST_MINORG"), None);
    }
}
