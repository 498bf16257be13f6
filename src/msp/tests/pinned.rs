//! A channel known by MSP folders alone.
#![allow(clippy::disallowed_methods, reason = "test code")]

use tempfile::TempDir;

use super::{forge::*, *};

fn org_dir(org: u8) -> PathBuf {
    fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/msp"))
}

fn pinned(version: MspVersion, msps: &[(&str, &Path)]) -> Result<ChannelConfig, ConfigError> {
    let msps: Vec<_> = msps.iter().map(|(id, path)| (msp_id(id), *path)).collect();
    ChannelConfig::from_pinned_msps("mychannel".parse().unwrap(), version, &msps)
}

#[test]
fn cryptogens_folders_say_what_the_channel_says() {
    let dirs = [org_dir(1), org_dir(2), org_dir(3)];
    let ids = ["Org1MSP", "Org2MSP", "Org3MSP"];
    let msps: Vec<_> = ids.into_iter().zip(dirs.iter().map(PathBuf::as_path)).collect();
    let (config, channel) = (pinned(MspVersion::V1_4_3, &msps).unwrap(), network());
    assert_eq!(config.channel(), channel.channel());
    assert!(config.orgs().keys().eq(channel.orgs().keys()) && config.orderer_orgs().is_empty());
    assert_eq!((config.sequence(), config.block_sha256(), config.config_envelope_bytes().len()), (0, None, 0));
    for (id, org) in config.orgs() {
        assert_eq!(org.tls_roots(), channel.orgs()[id].tls_roots());
    }
    let peer = peer(1).identity;
    config.validate(&peer, valid_at(&peer)).unwrap();
    assert_eq!(config.role(&peer), Some(Role::Peer));
    let is = |role| config.satisfies(&peer, &Principal::Role { msp_id: msp_id("Org1MSP"), role }).is_ok();
    assert!(is(PrincipalRole::Peer) && is(PrincipalRole::Member) && !is(PrincipalRole::Admin));
    // Only those whose folder is pinned.
    let without = pinned(MspVersion::V1_4_3, &msps[1..]).unwrap();
    assert!(matches!(without.validate_stored(&peer), Err(MspError::NotInChannel { .. })));
    // The same folder twice is once; two folders for one MSP ID, or none at all, are a mistake.
    assert_eq!(pinned(MspVersion::V1_4_3, &[msps[0], msps[0]]).unwrap().orgs().len(), 1);
    let differ = pinned(MspVersion::V1_4_3, &[msps[0], (ids[0], msps[1].1)]);
    assert!(matches!(differ, Err(ConfigError::PinnedMsp { reason: OrganisationError::Twice(_), .. })));
    assert!(matches!(pinned(MspVersion::V1_4_3, &[]), Err(ConfigError::NoOrganisation)));
    let missing = pinned(MspVersion::V1_4_3, &[("Org1MSP", &org_dir(1).join("nowhere"))]).unwrap_err();
    assert!(matches!(missing, ConfigError::PinnedMsp { reason: OrganisationError::NoRoot, .. }), "{missing}");
}

/// A folder of a forged MSP, and what makes it up.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, bytes)| folder.put(path, bytes));
        folder
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn load(&self) -> Result<ChannelConfig, ConfigError> {
        pinned(MspVersion::V1_4_3, &[(MSP, self.0.path())])
    }
}

const ADMIN_OU: &[u8] =
    b"NodeOUs:\n  Enable: true\n  AdminOUIdentifier:\n    OrganizationalUnitIdentifier: admin\n  PeerOUIdentifier: {OrganizationalUnitIdentifier: peer, Certificate: ''}\n";

#[test]
fn every_part_of_a_folder_counts() {
    let root = Ca::root("root");
    let below = root.below("below");
    let (peer, revoked) = (below.member(&["peer"], 1), below.member(&["peer"], 2));
    let listed = below.member(&["admin"], 3);
    let folder = Folder::new(&[
        ("cacerts/ca.pem", &root.pem),
        ("intermediatecerts/below.pem", &below.pem),
        ("crls/below.pem", &crl_pem(&below.crl_der(&[2]))),
        ("config.yaml", ADMIN_OU),
        // What Fabric doesn't look at either: another folder, and what keeps an empty one in a repository.
        ("cacerts/old/x.pem", b"x"),
        ("admincerts/.gitkeep", b""),
    ]);
    let config = folder.load().unwrap();
    config.satisfies(&peer.identity, &role(PrincipalRole::Peer)).unwrap();
    assert_eq!(reason(&config, &revoked), InvalidReason::Revoked);
    assert_eq!(reason(&config, &root.member(&["peer"], 4)), InvalidReason::IssuerIsInner);
    assert!(config.orgs()[&msp_id(MSP)].tls_roots().is_empty());
    assert!(matches!(config.satisfies(&peer.identity, &role(PrincipalRole::Client)), Err(MspError::NoNodeOu { .. })));

    // NodeOUs off, admins listed.
    folder.put("config.yaml", b"# nothing\n");
    assert!(matches!(folder.load(), Err(ConfigError::PinnedMsp { reason: OrganisationError::NoAdmin, .. })));
    folder.put("admincerts/admin.pem", &listed.pem);
    for yaml in [&b""[..], b"NodeOUs:\n", b"NodeOUs:\n  Enable: false\n  PeerOUIdentifier:\n", b"---\n{}\n"] {
        folder.put("config.yaml", yaml);
        let config = folder.load().unwrap();
        config.satisfies(&listed.identity, &role(PrincipalRole::Admin)).unwrap();
        assert_eq!(config.role(&listed.identity), None);
    }
    // Units that are asked for, and a certifier by its path in the folder, with or without a slash in front.
    for path in ["intermediatecerts/below.pem", "/intermediatecerts/below.pem"] {
        let yaml = format!(
            "OrganizationalUnitIdentifiers:\n  - Certificate: {path}\n    OrganizationalUnitIdentifier: dev\nNodeOUs:\n"
        );
        folder.put("config.yaml", yaml.as_bytes());
        folder.put("admincerts/admin.pem", &below.member(&["dev"], 6).pem);
        let config = folder.load().unwrap();
        assert_eq!(reason(&config, &peer), InvalidReason::Unit);
        config.validate_stored(&below.member(&["dev"], 5).identity).unwrap();
    }
    // TLS intermediates without TLS roots mean nothing.
    folder.put("tlsintermediatecerts/x.pem", &below.pem);
    assert!(folder.load().unwrap().orgs()[&msp_id(MSP)].tls_intermediates().is_empty());
    folder.put("tlscacerts/x.pem", &root.pem);
    assert_eq!(folder.load().unwrap().orgs()[&msp_id(MSP)].tls_intermediates().len(), 1);
}

#[test]
fn what_could_hide_a_rule_is_refused() {
    let root = Ca::root("root");
    let good: &[(&str, &[u8])] = &[("cacerts/ca.pem", &root.pem), ("config.yaml", ADMIN_OU)];
    let with = |path: &str, bytes: &[u8]| {
        let folder = Folder::new(good);
        folder.put(path, bytes);
        folder.load()
    };
    with("crls/ok.pem", &crl_pem(&root.crl_der(&[]))).unwrap();
    // A list in DER: Fabric passes over it with a warning.
    let der = with("crls/list.crl", &root.crl_der(&[7]));
    assert!(
        matches!(&der, Err(ConfigError::MspFolder(MspError::NotPem { path })) if path.ends_with("list.crl")),
        "{der:?}"
    );
    assert!(matches!(with("cacerts/README", b"text"), Err(ConfigError::MspFolder(MspError::NotPem { .. }))));
    for yaml in [
        &b"NodeOUs:\n  Enabled: true\n"[..],
        b"NodeOus:\n  Enable: true\n",
        b"NodeOUs:\n  Enable: true\n  AdminOUIdentifier:\n    OrganisationalUnitIdentifier: admin\n",
        b"- a list\n",
        b"{",
        b"\xff",
    ] {
        let refused = with("config.yaml", yaml);
        assert!(matches!(refused, Err(ConfigError::MspFolder(MspError::MspYaml { .. }))), "{yaml:?}: {refused:?}");
    }
    // A certifier that isn't there: Fabric warns, and lets anybody certify.
    let nobody = b"NodeOUs:\n  Enable: true\n  AdminOUIdentifier:\n    Certificate: cacerts/gone.pem\n    OrganizationalUnitIdentifier: admin\n";
    assert!(matches!(with("config.yaml", nobody), Err(ConfigError::MspFolder(MspError::Read { .. }))));
    // Ed25519 only if the operator says that the channel has it.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let member = root.member_of_key(&["peer"], key, |_| ());
    let folder = Folder::new(good);
    assert_eq!(reason(&folder.load().unwrap(), &member), InvalidReason::KeyNeedsV3);
    pinned(MspVersion::V3_0, &[(MSP, folder.0.path())]).unwrap().validate_stored(&member.identity).unwrap();
}

#[test]
fn folders_have_limits() {
    let root = Ca::root("root");
    let folder = Folder::new(&[("cacerts/ca.pem", &root.pem), ("config.yaml", ADMIN_OU)]);
    for number in 0..256 {
        folder.put(&format!("admincerts/.{number}"), b"");
    }
    folder.load().unwrap();
    folder.put("admincerts/.256", b"");
    let refused = folder.load();
    assert!(matches!(refused, Err(ConfigError::MspFolder(MspError::TooManyFiles { limit: 256, .. }))), "{refused:?}");

    let folder = Folder::new(&[("cacerts/ca.pem", &root.pem), ("config.yaml", ADMIN_OU)]);
    let crl = crl_pem(&root.crl_der(&[7]));
    let padded = |len: usize| [&crl[..], &vec![b'\n'; len - crl.len()]].concat();
    folder.put("crls/crl.pem", &padded(8 << 20));
    assert_eq!(reason(&folder.load().unwrap(), &root.member(&["peer"], 7)), InvalidReason::Revoked);
    folder.put("crls/crl.pem", &padded((8 << 20) + 1));
    let refused = folder.load();
    assert!(
        matches!(&refused, Err(ConfigError::MspFolder(MspError::FileTooLarge { limit: 8_388_608, .. }))),
        "{refused:?}"
    );
    // Certificates are smaller.
    let padded = [&root.pem[..], &vec![b'\n'; 64 << 10]].concat();
    let folder = Folder::new(&[("cacerts/ca.pem", &padded), ("config.yaml", ADMIN_OU)]);
    assert!(matches!(folder.load(), Err(ConfigError::MspFolder(MspError::FileTooLarge { limit: 65_536, .. }))));
}
