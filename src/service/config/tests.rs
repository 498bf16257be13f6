use super::*;
use tempfile::TempDir;

/// A working folder with the given files, and inputs that look only there.
#[expect(clippy::disallowed_methods, reason = "a test lays out its files")]
fn inputs(files: &[(&str, &str)]) -> (TempDir, Inputs) {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let working_dir = dir.path().join("work");
    std::fs::create_dir_all(&working_dir).unwrap();
    let inputs = Inputs { working_dir, fallback_dir: dir.path().join("etc"), ..Inputs::default() };
    (dir, inputs)
}

fn with_own(text: &str) -> (TempDir, Inputs) {
    inputs(&[("work/snapferry.yaml", text)])
}

fn variable(inputs: &mut Inputs, name: &str, value: &str) {
    inputs.environment.insert(name.to_owned(), value.to_owned());
}

const CORE: &str = "peer:\n  localMspId: CoreMSP\n  mspConfigPath: msp\n  address: a:1\n  tls:\n    cert:\n      file: tls/server.crt\n    rootcert: {file: tls/ca.crt}\n    key:\n      file: /k\nledger:\n  snapshots:\n    rootDir: /core/snapshots\nunknown: [1, {a: b}]\n";

#[test]
fn nothing_configured_gives_the_defaults() {
    let (_dir, inputs) = inputs(&[]);
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.listen_address.to_string(), "0.0.0.0:7061");
    assert_eq!(loaded.config.trust.min_orgs, 2);
    assert_eq!(loaded.config.limits.memory_bytes, 32 << 20);
    assert!(loaded.config.state_dir.is_none() && loaded.warnings.is_empty());
    assert!(matches!(loaded.config.identity(), Err(ConfigError::Missing { key: "identity.mspId", .. })));
}

#[test]
fn a_file_of_configuration_has_at_most_4_mib() {
    for name in ["work/snapferry.yaml", "work/core.yaml"] {
        let (_dir, longest) = inputs(&[(name, &"#".repeat(4 << 20))]);
        assert!(load(&longest).is_ok(), "{name}");
        let (_dir, longer) = inputs(&[(name, &"#".repeat((4 << 20) + 1))]);
        let refused = load(&longer);
        assert!(
            matches!(&refused, Err(ConfigError::Syntax { reason, .. }) if reason.contains("longer")),
            "{refused:?}"
        );
    }
}

#[test]
fn each_source_of_configuration_beats_the_one_below_it() {
    let (_dir, mut inputs) = inputs(&[("work/core.yaml", CORE)]);
    let msp_id = |inputs: &Inputs| load(inputs).unwrap().config.identity.msp_id.unwrap().to_string();
    assert_eq!(msp_id(&inputs), "CoreMSP");
    variable(&mut inputs, "CORE_PEER_LOCALMSPID", "CoreVariableMSP");
    assert_eq!(msp_id(&inputs), "CoreVariableMSP");
    let own = inputs.working_dir.join("snapferry.yaml");
    #[expect(clippy::disallowed_methods, reason = "a test lays out its files")]
    std::fs::write(&own, "identity: {mspId: OwnMSP}").unwrap();
    assert_eq!(msp_id(&inputs), "OwnMSP");
    variable(&mut inputs, "SNAPFERRY_IDENTITY_MSPID", "OwnVariableMSP");
    assert_eq!(msp_id(&inputs), "OwnVariableMSP");
    inputs.flags.push(("identity.mspId", "FlagMSP".to_owned()));
    assert_eq!(msp_id(&inputs), "FlagMSP");
}

#[test]
fn an_empty_file_beside_a_peer_is_enough() {
    let (dir, inputs) = inputs(&[("etc/core.yaml", CORE), ("etc/snapferry.yaml", "# nothing\n")]);
    let loaded = load(&inputs).unwrap();
    let identity = loaded.config.identity().unwrap();
    assert_eq!(identity.msp_config_path, dir.path().join("etc/msp"), "counts from core.yaml's folder");
    assert_eq!(identity.tls_cert, dir.path().join("etc/tls/server.crt"));
    assert_eq!(identity.tls_key, PathBuf::from("/k"));
    assert_eq!(loaded.config.snapshots_root.unwrap(), PathBuf::from("/core/snapshots"));
    assert_eq!(loaded.config.peer.address.as_deref(), Some("a:1"));
    assert_eq!(loaded.config.peer.tls_root_cert, Some(dir.path().join("etc/tls/ca.crt")));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("enrolment of its own")), "{:?}", loaded.warnings);
}

#[test]
fn fabric_cfg_path_is_the_only_place_if_set() {
    let files = [("work/snapferry.yaml", "trust: {minOrgs: 3}"), ("there/snapferry.yaml", "trust: {minOrgs: 4}")];
    let (dir, mut inputs) = inputs(&files);
    assert_eq!(load(&inputs).unwrap().config.trust.min_orgs, 3);
    let there = dir.path().join("there").display().to_string();
    variable(&mut inputs, "FABRIC_CFG_PATH", &there);
    assert_eq!(load(&inputs).unwrap().config.trust.min_orgs, 4);
    inputs.file = Some("snapferry.yaml".into());
    assert_eq!(load(&inputs).unwrap().config.trust.min_orgs, 3, "--config goes first");
    inputs.file = Some("none.yaml".into());
    assert!(matches!(load(&inputs), Err(ConfigError::Read { .. })));
}

#[test]
fn keys_match_without_case_and_underscores() {
    let (_dir, inputs) = with_own("trust:\n  MIN_ORGS: 5\nLimits:\n  memory_: 64MB\n");
    let config = load(&inputs).unwrap().config;
    assert_eq!((config.trust.min_orgs, config.limits.memory_bytes), (5, 64_000_000));
}

#[test]
fn an_unknown_key_names_the_nearest() {
    for (text, nearest) in [
        ("trust: {minOrg: 2}", "trust.minOrgs"),
        ("listenAdress: 1.2.3.4:5", "listenAddress"),
        ("identity: {tls: {crt: a}}", "identity.tls.cert"),
        ("channels: {c: {configBlok: a}}", "channels.c.configBlock"),
    ] {
        let (_dir, inputs) = with_own(text);
        let error = load(&inputs).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownKey { .. }), "{error}");
        assert!(error.to_string().contains(&format!("did you mean {nearest:?}")), "{error}");
    }
}

#[test]
fn serving_steps_back_above_a_share_of_the_host() {
    let above = |text: &str| {
        let (_dir, inputs) = with_own(text);
        load(&inputs).map(|loaded| loaded.config.limits.yield_above)
    };
    assert_eq!((above("limits: {}").unwrap(), above("limits: {yieldAbove: 100}").unwrap()), (80, 100));
    assert!(above("limits: {yieldAbove: 0}").is_err() && above("limits: {yieldAbove: 101}").is_err());
}

#[test]
fn a_rate_per_organisation_is_optional_and_bounded() {
    let rate = |text: &str| {
        let (_dir, inputs) = with_own(text);
        load(&inputs).map(|loaded| loaded.config.limits.rate_per_org)
    };
    assert_eq!(rate("limits: {}").unwrap(), None);
    assert_eq!(rate("limits: {ratePerOrg: 50MiB}").unwrap(), Some(50 << 20));
    let error = rate("limits: {ratePerOrg: 1000KiB}").unwrap_err();
    assert!(error.to_string().contains("limits.ratePerOrg"), "{error}");
}

#[test]
fn keys_of_features_that_are_not_there_are_refused() {
    for text in ["trust: {anchor: orderer}", "backup:", "operations: {}"] {
        let (_dir, inputs) = with_own(text);
        let error = load(&inputs).unwrap_err();
        assert!(matches!(error, ConfigError::NotSupported { .. }), "{text}: {error}");
    }
    let (_dir, mut inputs) = inputs(&[]);
    variable(&mut inputs, "SNAPFERRY_OPERATIONS_LISTENADDRESS", "1.2.3.4:5");
    assert!(matches!(load(&inputs), Err(ConfigError::NotSupported { .. })));
}

#[test]
fn an_unknown_variable_is_a_warning_and_kubernetes_own_are_skipped() {
    let (_dir, mut inputs) = inputs(&[]);
    variable(&mut inputs, "SNAPFERRY_SERVICE_HOST", "10.0.0.1");
    variable(&mut inputs, "SNAPFERRY_PORT_7061_UDP", "udp://10.0.0.1:7061");
    assert!(load(&inputs).unwrap().warnings.is_empty());
    variable(&mut inputs, "SNAPFERRY_TRUST_MINORG", "1");
    let loaded = load(&inputs).unwrap();
    assert!(loaded.warnings[0].contains("SNAPFERRY_TRUST_MINORG"), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.trust.min_orgs, 2);
}

#[test]
fn wrong_values_are_refused_with_key_and_origin() {
    for text in [
        "listenAddress: here",
        "trust: {minOrgs: 0}",
        "trust: {minOrgs: two}",
        "trust: 2",
        "limits: {memory: 1MiB}",
        "limits: {mtu: 9000}",
        "limits: {memory: [1]}",
        "logging: {format: xml}",
        "logging: {spec: loud}",
        "channels: {Bad_Name: {configBlock: a}}",
        "sources: [{address: nowhere}]",
        "sources: [{address: a:1, nameCheck: maybe}]",
        "sources: [{adress: a:1}]",
        "sources: [[a]]",
        "sources: 'a:0'",
    ] {
        let (_dir, inputs) = with_own(text);
        let error = load(&inputs).unwrap_err();
        assert!(matches!(error, ConfigError::Value { .. }), "{text}: {error}");
        assert!(error.to_string().contains("snapferry.yaml"), "{error}");
    }
}

#[test]
fn broken_files_are_refused() {
    for text in ["a: b: c", "[1, 2]", "just text", "trust: {minOrgs: 1", "trust: {minOrgs: 1}\ntrust: {minOrgs: 2}"] {
        let (_dir, inputs) = with_own(text);
        assert!(matches!(load(&inputs), Err(ConfigError::Syntax { .. })), "{text}");
    }
    let (_dir, inputs) = with_own("trust: {minOrgs: 1, min_orgs: 2}");
    assert!(matches!(load(&inputs), Err(ConfigError::DuplicateKey { .. })));
}

#[test]
fn sources_come_as_a_list_or_by_commas() {
    let text = "sources:\n  - a:1\n  - {address: '[::1]:2', serverName: b, nameCheck: org_only}\n";
    let (_dir, mut inputs) = with_own(text);
    let sources = load(&inputs).unwrap().config.sources;
    assert_eq!(sources[0], SourceSettings::new("a:1"));
    assert_eq!((sources[1].host(), sources[1].name_check), ("::1", NameCheck::OrgOnly));
    assert_eq!(sources[1].server_name.as_deref(), Some("b"));
    variable(&mut inputs, "SNAPFERRY_SOURCES", "c:3, d:4");
    let sources = load(&inputs).unwrap().config.sources;
    assert_eq!(sources, [SourceSettings::new("c:3"), SourceSettings::new("d:4")]);
}

#[test]
fn paths_count_from_the_folder_that_names_them() {
    let (dir, mut inputs) = with_own("stateDir: state\nchannels: {ch1: {configBlock: ../ch1.block}}\n");
    let config = load(&inputs).unwrap().config;
    assert_eq!(config.state_dir.unwrap(), dir.path().join("work/state"));
    let channel = &config.channels[&"ch1".parse().unwrap()];
    assert_eq!(channel.config_block, Some(dir.path().join("work/../ch1.block")));
    inputs.flags.push(("stateDir", "other".to_owned()));
    assert_eq!(load(&inputs).unwrap().config.state_dir.unwrap(), dir.path().join("work/other"));
}

#[test]
fn fabrics_logging_variables_count_where_ours_are_not_set() {
    let (_dir, mut inputs) = with_own("logging: {spec: debug}");
    variable(&mut inputs, "FABRIC_LOGGING_SPEC", "gossip=error:warn");
    variable(&mut inputs, "FABRIC_LOGGING_FORMAT", "json");
    let config = load(&inputs).unwrap().config;
    assert_eq!(config.log_spec.unwrap(), crate::service::LogSpec::all(crate::service::LogLevel::Debug));
    assert_eq!(config.log_format, LogFormat::Json);
    variable(&mut inputs, "FABRIC_LOGGING_FORMAT", "%{message}");
    assert_eq!(load(&inputs).unwrap().config.log_format, LogFormat::Console);
}

#[test]
fn the_sample_is_valid_with_and_without_its_comments() {
    let (_dir, inputs) = with_own(SAMPLE);
    load(&inputs).unwrap();
    let keys = SAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') || rest.starts_with("  ")));
    let text = keys.collect::<Vec<_>>().join("\n");
    let (_dir, inputs) = with_own(&text);
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.config.sources.len(), 2);
    assert_eq!(
        loaded.settings.values().filter(|setting| setting.origin == Origin::Default).count(),
        0,
        "all keys shown"
    );
}

#[test]
fn the_user_state_folder_follows_xdg() {
    let environment = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(user_state_dir(&environment(&[])), None);
    let home = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "")]);
    assert_eq!(user_state_dir(&home).unwrap(), PathBuf::from("/h/.local/state/snapferry"));
    let xdg = environment(&[("HOME", "/h"), ("XDG_STATE_HOME", "/x")]);
    assert_eq!(user_state_dir(&xdg).unwrap(), PathBuf::from("/x/snapferry"));
}

#[test]
fn the_trust_rule_and_the_roots_of_trust_are_read_in_every_form() {
    let hash = "ab".repeat(32);
    let file = format!(
        "trust: {{policy: \"OutOf(1, 'A.peer')\", count_self: true, requireLive: false, minBlock: 7}}\n\
         identity: {{grant: join.grant}}\nsnapshots: {{allowDelete: true, scrubPeriod: 1d12h}}\n\
         channels:\n  ch1: {{configBlock: ch1.block, configBlockSha256: {hash}}}\n  ch.2: {{genesisBlock: genesis.block}}\n  \
         ch3: {{pinnedMsps: {{Org1MSP: msp/org1, Org2MSP: msp/org2}}}}\n"
    );
    let (dir, inputs) = with_own(&file);
    let config = load(&inputs).unwrap().config;
    let trust = &config.trust;
    assert_eq!((trust.policy.as_deref(), trust.count_self), (Some("OutOf(1, 'A.peer')"), Some(true)));
    assert_eq!((trust.require_live, trust.min_block.map(|block| block.0)), (false, Some(7)));
    assert!(config.allow_delete && config.identity.grant.as_ref().unwrap().starts_with(dir.path()));
    assert_eq!(config.scrub_period, Some(std::time::Duration::from_secs(36 * 3600)));
    let scrub = |value: &str| {
        load(&with_own(&format!("snapshots: {{scrubPeriod: {value}}}")).1).map(|loaded| loaded.config.scrub_period)
    };
    assert_eq!((scrub("0").unwrap(), scrub("1s").unwrap()), (None, Some(std::time::Duration::from_secs(1))));
    let channel = |name: &str| config.channels.get(&name.parse().unwrap()).unwrap();
    assert_eq!(channel("ch1").config_block_sha256, Some([0xab; 32]));
    assert!(channel("ch.2").genesis_block.is_some() && channel("ch.2").config_block.is_none());
    let pinned: Vec<_> = channel("ch3").pinned_msps.iter().map(|(id, folder)| (id.as_str(), folder.clone())).collect();
    assert_eq!(pinned.len(), 2);
    assert!(pinned[0].0 == "Org1MSP" && pinned[0].1.ends_with("msp/org1") && pinned[0].1.is_absolute());

    for (wrong, words) in [
        ("trust: {countSelf: perhaps}", "true or false"),
        ("channels: {ch1: {configBlockSha256: 12}}", "64 hexadecimal digits"),
        ("channels: {ch1: {pinnedMsps: Org1MSP}}", "ID=DIR"),
        ("channels: {ch1: {pinnedMsps: {Org1MSP: [a]}}}", "MSP folder"),
        ("trust: {minBlock: -1}", "whole number"),
        ("snapshots: {scrubPeriod: 999ms}", "between 1 s"),
        ("snapshots: {scrubPeriod: 367d}", "between 1 s"),
        ("snapshots: {scrubPeriod: often}", "duration"),
    ] {
        let (_dir, inputs) = with_own(wrong);
        let error = load(&inputs).unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
}

#[test]
fn where_our_peer_is_must_be_an_address_unless_the_peer_itself_says_it() {
    let (_dir, mut inputs) =
        inputs(&[("etc/core.yaml", "peer: {address: nowhere}"), ("etc/snapferry.yaml", "# nothing\n")]);
    assert_eq!(load(&inputs).unwrap().config.peer, PeerSettings::default());
    variable(&mut inputs, "SNAPFERRY_PEER_ADDRESS", "peer:7051");
    assert_eq!(load(&inputs).unwrap().config.peer.address.as_deref(), Some("peer:7051"));
    variable(&mut inputs, "SNAPFERRY_PEER_ADDRESS", "nowhere");
    assert!(matches!(load(&inputs), Err(ConfigError::Value { .. })));
}
