//! For tests: organisations of the recorded network that vouch for a snapshot with their real keys.
#![allow(clippy::disallowed_methods, reason = "test code")]

use std::{
    fs,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, Issuer, KeyPair, date_time_ymd};

use super::{
    AgreedSnapshot, AgreementError, AttestBody, Attestation, CatalogEntry, Heard, Judging, Offer, Statements,
    TrustPolicy, TrustSettings, agree,
};
pub(crate) use crate::msp::recorded::{config_block, fixture, network, org, peer};
use crate::{
    msp::{ChannelConfig, IdentityId, LocalIdentity, MspId},
    snapshot::{
        BlockHash, BlockNumber, ChunkRoot, FileDigest, Manifest, ManifestFile, SignableMetadata, SnapshotFile,
        SnapshotId, StateDbType,
    },
};

/// What all askers here want echoed.
pub(crate) const NONCE: &[u8] = b"asked just now";

/// The commit hash that honest organisations name.
pub(crate) const COMMIT: Option<BlockHash> = Some(BlockHash([2; 32]));

/// Another identity of an organisation, made by its recorded CA, with that role, until the end of that year.
pub(crate) fn member(number: u8, role: &str, until_year: i32) -> LocalIdentity {
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    let mut name = DistinguishedName::new();
    let domain = format!("org{number}.example.com");
    for (kind, text) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "California"),
        (DnType::LocalityName, "San Francisco"),
        (DnType::OrganizationName, &domain),
        (DnType::CommonName, &format!("ca.{domain}")),
    ] {
        name.push(kind, printable(text));
    }
    let key = fixture(&format!("crypto/peerOrganizations/{domain}/ca/priv_sk"));
    let key = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = name;
    let issuer = Issuer::new(issuer, key);
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    // Not before the CA itself.
    leaf.not_before = date_time_ymd(2026, 11, 23);
    leaf.not_after = date_time_ymd(until_year, 12, 31);
    leaf.distinguished_name.push(DnType::OrganizationalUnitName, role);
    let key = KeyPair::generate().unwrap();
    load(number, &leaf.signed_by(&key, &issuer).unwrap().pem(), &key.serialize_pem())
}

/// An identity with a right-looking certificate that nobody in the channel issued.
pub(crate) fn stranger(number: u8) -> LocalIdentity {
    let mut leaf = CertificateParams::new(Vec::new()).unwrap();
    leaf.distinguished_name.push(DnType::OrganizationalUnitName, "peer");
    let key = KeyPair::generate().unwrap();
    load(number, &leaf.self_signed(&key).unwrap().pem(), &key.serialize_pem())
}

/// The recorded peer of an organisation, its certificate spelled as the other twin: the CA's signature with the other S.
pub(crate) fn twin(number: u8) -> LocalIdentity {
    let name = format!("org{number}.example.com");
    let msp = fixture(&format!("crypto/peerOrganizations/{name}/peers/peer0.{name}/msp"));
    let key = fs::read_to_string(msp.join("keystore/priv_sk")).unwrap();
    let certificate = fs::read(msp.join(format!("signcerts/peer0.{name}-cert.pem"))).unwrap();
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(&certificate).unwrap().to_vec();
    // The end is BIT STRING { 0, SEQUENCE { r, s } }, each of less than 128 bytes; the start is SEQUENCE with a length of two bytes.
    let at = (0..der.len()).rev().find(|&at| {
        let len = usize::from(*der.get(at + 1).unwrap_or(&0));
        der[at] == 0x03 && at + 2 + len == der.len() && der[at + 2..].starts_with(&[0, 0x30])
    });
    let at = at.unwrap();
    let pair = high_twin(&der[at + 3..]);
    let field = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let content = [&der[4..at], &field(0x03, &[&[0], &pair[..]].concat())].concat();
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    let der = [&[0x30, 0x82, len[0], len[1]], &content[..]].concat();
    load(number, &pem(&der), &key)
}

/// The other signature over P-256 that verifies as well: (r, n - s), by arithmetic of its own.
pub(crate) fn high_twin(signature: &[u8]) -> Vec<u8> {
    let r_len = usize::from(signature[3]);
    let (r, s) = (&signature[2..4 + r_len], &signature[6 + r_len..]);
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let s: Vec<u8> = s.iter().copied().skip_while(|byte| *byte == 0).collect();
    let s = [vec![0; 32 - s.len()], s].concat();
    let (mut difference, mut borrow) = (Vec::new(), 0_i32);
    for (n, s) in order.iter().zip(&s).rev() {
        let digit = i32::from(*n) - i32::from(*s) - borrow;
        borrow = i32::from(digit < 0);
        difference.push(u8::try_from(digit.rem_euclid(256)).unwrap());
    }
    let mut s: Vec<u8> = difference.into_iter().rev().skip_while(|byte| *byte == 0).collect();
    if s[0] >= 0x80 {
        s.insert(0, 0);
    }
    let field = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    field(0x30, &[r, &field(0x02, &s)].concat())
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn load(number: u8, certificate: &str, key: &str) -> LocalIdentity {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("signcerts", certificate), ("keystore", key)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("pem"), text).unwrap();
    }
    LocalIdentity::load(&org(number), folder.path()).unwrap()
}

/// An instant at which the recorded certificates count.
pub(crate) fn now() -> SystemTime {
    peer(1).identity.not_before() + Duration::from_secs(24 * 3600)
}

/// A manifest of a made-up snapshot; another `variant` has other bytes.
pub(crate) fn manifest_of(block: u64, variant: u8, kind: StateDbType) -> Manifest {
    let files = [
        SnapshotFile::PublicStateData,
        SnapshotFile::PublicStateMetadata,
        SnapshotFile::TxIdsData,
        SnapshotFile::TxIdsMetadata,
    ];
    let id = SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) };
    let sha256 = FileDigest([variant; 32]);
    let hash = BlockHash([1; 32]);
    let signable =
        SignableMetadata::new(id, hash, Some(hash), files.into_iter().map(|file| (file, sha256)).collect(), kind);
    let root = ChunkRoot([variant; 32]);
    let files = files.into_iter().map(|file| ManifestFile { file, size: 9, sha256, root });
    Manifest::new(signable.unwrap(), files.collect()).unwrap()
}

/// [`manifest_of`] a peer with LevelDB.
pub(crate) fn manifest(block: u64, variant: u8) -> Manifest {
    manifest_of(block, variant, StateDbType::SimpleKeyValueDb)
}

/// The snapshot of [`manifest`], with a lie about the chunk roots.
pub(crate) fn other_roots(block: u64, variant: u8) -> Manifest {
    let right = manifest(block, variant);
    let files = right.files().iter().map(|file| ManifestFile { root: ChunkRoot([99; 32]), ..file.clone() });
    Manifest::new(right.signable().clone(), files.collect()).unwrap()
}

/// What somebody says live about a manifest's snapshot.
pub(crate) fn body(by: &LocalIdentity, manifest: &Manifest, commit_hash: Option<BlockHash>) -> AttestBody {
    let issued_at = super::judging::seconds(now());
    AttestBody {
        id: manifest.id().clone(),
        snapshot_hash: manifest.signable().hash(),
        manifest_hash: manifest.hash(),
        commit_hash,
        config_sequence: 1,
        issued_at,
        expires_at: issued_at + 3600,
        request_nonce: NONCE.to_vec(),
        identity: by.identity.serialized().clone(),
    }
}

/// A signed statement, changed before it was signed.
pub(crate) fn says_so(by: &LocalIdentity, manifest: &Manifest, change: impl FnOnce(&mut AttestBody)) -> Heard {
    let mut body = body(by, manifest, COMMIT);
    change(&mut body);
    let source = format!("a source of {}", by.identity.msp_id());
    Heard { attestation: Attestation::sign(&body, by).unwrap(), source }
}

/// A live statement.
pub(crate) fn says(by: &LocalIdentity, manifest: &Manifest) -> Heard {
    says_so(by, manifest, |_| ())
}

/// A peer of that organisation that offers the manifest's snapshot.
pub(crate) fn offer(number: u8, manifest: &Manifest, commit_hash: Option<BlockHash>) -> Offer {
    Offer {
        source: format!("peer0.org{number}:7061"),
        msp_id: org(number),
        identity_id: IdentityId([number; 32]),
        entry: CatalogEntry {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            files: u32::try_from(manifest.files().len()).unwrap(),
            only_metadata_available: false,
            partial: false,
        },
        manifest: Some(manifest.clone()),
        commit_hash,
    }
}

/// One agreement to be reached or not: by default any two of three organisations, live, asked by nobody of them.
pub(crate) struct Case {
    pub(crate) config: ChannelConfig,
    pub(crate) settings: TrustSettings,
    pub(crate) own_msp: MspId,
    pub(crate) now: SystemTime,
    pub(crate) nonce: Option<&'static [u8]>,
    pub(crate) floor: BlockNumber,
    pub(crate) allow_older: bool,
    pub(crate) offers: Vec<Offer>,
    pub(crate) statements: Statements,
    pub(crate) block_number: Option<BlockNumber>,
}

impl Case {
    pub(crate) fn new(offers: Vec<Offer>, heard: Vec<Heard>) -> Self {
        Self {
            config: network(),
            settings: TrustSettings { min_orgs: 2, require_live: true, ..TrustSettings::default() },
            own_msp: org(9),
            now: now(),
            nonce: Some(NONCE),
            floor: BlockNumber(0),
            allow_older: false,
            offers,
            statements: Statements { heard, ..Statements::default() },
            block_number: None,
        }
    }

    pub(crate) fn judged<T>(&self, with: impl FnOnce(&Judging<'_>) -> T) -> T {
        // Where a member has left since, the rule was checked when all were in the channel.
        let policy = TrustPolicy::new(&self.settings, &self.config);
        let policy = policy.or_else(|_| TrustPolicy::new(&self.settings, &network())).unwrap();
        with(&Judging {
            config: &self.config,
            policy: &policy,
            own_msp: &self.own_msp,
            now: self.now,
            nonce: self.nonce,
            floor: self.floor,
            allow_older: self.allow_older,
        })
    }

    pub(crate) fn decide(&self) -> Result<AgreedSnapshot, AgreementError> {
        let channel = self.config.channel();
        self.judged(|judging| agree(judging, channel, &self.offers, &self.statements, self.block_number))
    }

    /// The error's text; the case must fail.
    pub(crate) fn refusal(&self) -> String {
        self.decide().unwrap_err().to_string()
    }
}

/// Two of three organisations vouch live for the snapshot, and offer it.
pub(crate) fn agreed(manifest: &Manifest, commit_hash: Option<BlockHash>) -> AgreedSnapshot {
    let said = |number| says_so(&peer(number), manifest, |body| body.commit_hash = commit_hash);
    let offers = [1, 2].map(|number| offer(number, manifest, commit_hash));
    Case::new(offers.to_vec(), [1, 2].map(said).to_vec()).decide().unwrap()
}
