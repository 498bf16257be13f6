//! `config check` as the real binary: what the configuration names must exist, be usable, and fit together.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

/// Exit code, and the lines of standard output.
fn check(dir: &Path, yaml: &str) -> (i32, Vec<String>) {
    fs::write(dir.join("snapferry.yaml"), yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    let output = command.env_clear().current_dir(dir).args(["config", "check"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
}

/// Everything right, as org1's peer would configure it.
fn sound(dir: &Path) -> String {
    fs::create_dir_all(dir.join("snapshots/completed/mychannel")).unwrap();
    let peer = format!("{NETWORK}/crypto/peerOrganizations/org1.example.com/peers/peer0.org1.example.com");
    format!(
        "identity: {{mspId: Org1MSP, mspConfigPath: {peer}/msp, tls: {{cert: {peer}/tls/server.crt, key: {peer}/tls/server.key}}}}\n\
         channels: {{mychannel: {{configBlock: {NETWORK}/config_block.pb}}}}\nsnapshots: {{rootDir: snapshots}}\n\
         peer: {{address: 'peer0.org1.example.com:7051', tls: {{rootCert: {peer}/tls/ca.crt}}}}\n"
    )
}

#[test]
fn a_sound_configuration_is_all_ok() {
    let dir = TempDir::new().unwrap();
    let (code, lines) = check(dir.path(), &sound(dir.path()));
    assert_eq!(code, 0, "{lines:#?}");
    assert!(lines.len() == 9 && lines.iter().all(|line| line.starts_with("ok ")), "{lines:#?}");
    let (code, lines) = check(dir.path(), "");
    assert_eq!((code, lines.iter().filter(|line| line.starts_with("not set ")).count()), (0, 4), "{lines:#?}");
}

#[test]
fn each_thing_that_is_wrong_is_named_and_exits_with_2() {
    for (from, to, line, says) in [
        ("/msp,", "/nowhere,", "identity.mspConfigPath", "No such file"),
        ("mspConfigPath: ", "x: ", "", ""),
        ("mspId: Org1MSP", "mspId: Org2MSP", "channels.mychannel, our identity", "chains lead to"),
        ("mspId: Org1MSP", "mspId: Org9MSP", "channels.mychannel, our identity", "no application organisation"),
        ("server.key", "ca.crt", "identity.tls", "no private key"),
        ("tls/server.crt", "msp/signcerts/peer0.org1.example.com-cert.pem", "identity.tls", "no key in"),
        ("config_block.pb", "crypto", "channels.mychannel.configBlock", "no usable configuration block"),
        ("config_block.pb", "nowhere", "channels.mychannel.configBlock", "No such file"),
        ("mychannel: {", "other: {", "channels.other.configBlock", "configures channel mychannel"),
        ("tls/ca.crt", "nowhere.crt", "peer", "can't read the peer's TLS roots"),
        ("tls/ca.crt", "tls/server.key", "peer", "no certificate (PEM)"),
        ("rootDir: snapshots", "rootDir: elsewhere", "snapshots.rootDir", "ledger.snapshots.rootDir"),
        ("snapshots: {", "trust: {minOrgs: 4}\nsnapshots: {", "channels.mychannel, trust rule", "OutOf(4,"),
    ] {
        let dir = TempDir::new().unwrap();
        let yaml = sound(dir.path());
        assert!(yaml.contains(from), "{from}");
        let (code, lines) = check(dir.path(), &yaml.replace(from, to));
        assert_eq!(code, 2, "{to}: {lines:#?}");
        let named = lines.iter().any(|found| found.starts_with(&format!("WRONG    {line}: ")) && found.contains(says));
        // A key that doesn't exist stops it before anything is looked at.
        assert!(named || (line.is_empty() && lines.is_empty()), "{to}: {lines:#?}");
    }
}
