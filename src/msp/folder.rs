//! An organisation's MSP folder, as an operator pins it, read into Fabric's own message (fabric: msp/configbuilder.go). No key and no
//! signing certificate is looked at.
//!
//! Stricter than Fabric where it would go on with less than is there: a file that isn't PEM, a certificate of config.yaml that can't be
//! read and a key of config.yaml that doesn't exist are refused, since each could hide a revocation or a rule.

use std::{io, path::Path};

use bytes::Bytes;
use serde::Deserialize;

use super::{
    MspError, MspId,
    local::{FILE_BYTES_MAX, files, read},
    pb::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier},
};

/// Largest revocation list that is read: more than 100 000 certificates.
const CRL_BYTES_MAX: u64 = 8 << 20;
/// Most files in one folder: what an MSP may have of anything is less.
const FILES_MAX: usize = 256;

/// The MSP in the folder.
pub(super) fn read_msp(msp_id: &MspId, msp_dir: &Path) -> Result<FabricMspConfig, MspError> {
    let certificates = |name: &str| pems(&msp_dir.join(name), FILE_BYTES_MAX);
    let yaml = config_yaml(&msp_dir.join("config.yaml"))?;
    let tls_root_certs = certificates("tlscacerts")?;
    let tls_intermediate_certs =
        if tls_root_certs.is_empty() { Vec::new() } else { certificates("tlsintermediatecerts")? };
    let units = yaml.organizational_unit_identifiers.unwrap_or_default();
    Ok(FabricMspConfig {
        name: msp_id.as_str().to_owned(),
        root_certs: certificates("cacerts")?,
        intermediate_certs: certificates("intermediatecerts")?,
        admins: certificates("admincerts")?,
        revocation_list: pems(&msp_dir.join("crls"), CRL_BYTES_MAX)?,
        organizational_unit_identifiers: units.iter().map(|unit| unit.read(msp_dir)).collect::<Result<_, _>>()?,
        crypto_config: None,
        tls_root_certs,
        tls_intermediate_certs,
        fabric_node_ous: match yaml.node_ous {
            Some(node_ous) if node_ous.enable => Some(node_ous.read(msp_dir)?),
            _ => None,
        },
    })
}

/// The parts of config.yaml, by Fabric's names.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ConfigYaml {
    #[serde(rename = "OrganizationalUnitIdentifiers")]
    organizational_unit_identifiers: Option<Vec<UnitYaml>>,
    #[serde(rename = "NodeOUs")]
    node_ous: Option<NodeOusYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeOusYaml {
    #[serde(rename = "Enable", default)]
    enable: bool,
    #[serde(rename = "ClientOUIdentifier")]
    client: Option<UnitYaml>,
    #[serde(rename = "PeerOUIdentifier")]
    peer: Option<UnitYaml>,
    #[serde(rename = "AdminOUIdentifier")]
    admin: Option<UnitYaml>,
    #[serde(rename = "OrdererOUIdentifier")]
    orderer: Option<UnitYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitYaml {
    /// Relative to the MSP folder.
    #[serde(rename = "Certificate", default)]
    certificate: Option<String>,
    #[serde(rename = "OrganizationalUnitIdentifier", default)]
    unit: Option<String>,
}

impl NodeOusYaml {
    fn read(&self, msp_dir: &Path) -> Result<FabricNodeOUs, MspError> {
        let named = |unit: &Option<UnitYaml>| match unit {
            Some(unit) if unit.unit.as_deref().is_some_and(|name| !name.is_empty()) => unit.read(msp_dir).map(Some),
            _ => Ok(None),
        };
        Ok(FabricNodeOUs {
            enable: true,
            client_ou_identifier: named(&self.client)?,
            peer_ou_identifier: named(&self.peer)?,
            admin_ou_identifier: named(&self.admin)?,
            orderer_ou_identifier: named(&self.orderer)?,
        })
    }
}

impl UnitYaml {
    fn read(&self, msp_dir: &Path) -> Result<FabricOuIdentifier, MspError> {
        let certificate = match self.certificate.as_deref().map(|path| path.trim_start_matches('/')) {
            Some(path) if !path.is_empty() => read(&msp_dir.join(path), FILE_BYTES_MAX)?.into(),
            _ => Bytes::new(),
        };
        Ok(FabricOuIdentifier { certificate, organizational_unit_identifier: self.unit.clone().unwrap_or_default() })
    }
}

fn config_yaml(path: &Path) -> Result<ConfigYaml, MspError> {
    let bytes = match read(path, FILE_BYTES_MAX) {
        Err(MspError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(ConfigYaml::default());
        }
        read => read?,
    };
    let malformed = |reason: String| MspError::MspYaml { path: path.to_owned(), reason };
    let text = std::str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(ConfigYaml::default());
    }
    serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))
}

/// The PEM files of a folder, by name; none if there is no such folder. Files whose name begins with a dot aren't looked at unless they
/// are PEM (an empty folder is kept in a repository by one).
fn pems(folder: &Path, bytes_max: u64) -> Result<Vec<Bytes>, MspError> {
    let paths = match files(folder) {
        Err(MspError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    if paths.len() > FILES_MAX {
        return Err(MspError::TooManyFiles { path: folder.to_owned(), limit: FILES_MAX });
    }
    let mut pems = Vec::new();
    for path in paths {
        let bytes = read(&path, bytes_max)?;
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN) {
            true => pems.push(bytes.into()),
            false if hidden => {}
            false => return Err(MspError::NotPem { path }),
        }
    }
    Ok(pems)
}

const PEM_BEGIN: &[u8] = b"-----BEGIN ";
