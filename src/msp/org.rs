//! One organisation of a channel: its MSP, its TLS CAs, its anchor peers.

use std::{fmt, ops::RangeInclusive, time::SystemTime};

use bytes::Bytes;
use prost::Message;
use rustls::pki_types::CertificateDer;

use super::{
    MspId, OrganisationError,
    ca_tree::parsed_cas,
    certificate::Certificate,
    membership::Msp,
    pb::{self, common},
};

/// Most anchor peers that are kept: they are hints.
const ANCHOR_PEERS_MAX: usize = 64;
/// `msp.MSPConfig.type` of an X.509 MSP.
const TYPE_FABRIC: i32 = 0;

/// An organisation. Its MSP was loaded by Fabric's rules; its TLS CAs were parsed and are CAs, nothing else is promised of them.
#[derive(Clone)]
pub struct OrgConfig {
    msp_id: MspId,
    msp: Msp,
    tls_roots: Vec<CertificateDer<'static>>,
    /// From when to when each TLS root counts, in their order.
    tls_root_dates: Vec<RangeInclusive<SystemTime>>,
    tls_intermediates: Vec<CertificateDer<'static>>,
    anchor_peers: Vec<(String, u16)>,
    fabric_msp_config: Bytes,
}

impl OrgConfig {
    /// `None` for an organisation whose MSP isn't X.509 (IDEMIX): nobody of it can be known to us.
    pub(super) fn from_group(group: &common::ConfigGroup) -> Result<Option<Self>, OrganisationError> {
        let value = group.values.get("MSP").ok_or(OrganisationError::NoMsp)?;
        let config = pb::msp::MspConfig::decode(value.value.clone()).map_err(|_| OrganisationError::Decode)?;
        if config.r#type != TYPE_FABRIC {
            return Ok(None);
        }
        Ok(Some(Self { anchor_peers: anchor_peers(group), ..Self::from_msp(config.config)? }))
    }

    /// From a serialized `FabricMSPConfig`, by Fabric's rules for loading one (fabric: msp/mspimplsetup.go, setupV142).
    pub(super) fn from_msp(fabric_msp_config: Bytes) -> Result<Self, OrganisationError> {
        let msp = pb::msp::FabricMspConfig::decode(fabric_msp_config.clone()).map_err(|_| OrganisationError::Decode)?;
        let msp_id =
            MspId::new(&msp.name).ok_or_else(|| OrganisationError::MspId(msp.name.chars().take(256).collect()))?;
        let tls_roots = parsed_cas("TLS root CA", &msp.tls_root_certs)?;
        let ders = |cas: Vec<Certificate>| cas.into_iter().map(|ca| ca.der).collect();
        Ok(Self {
            msp_id,
            msp: Msp::load(&msp)?,
            tls_root_dates: tls_roots.iter().map(|root| root.not_before..=root.not_after).collect(),
            tls_roots: ders(tls_roots),
            tls_intermediates: ders(parsed_cas("TLS intermediate CA", &msp.tls_intermediate_certs)?),
            anchor_peers: Vec::new(),
            fabric_msp_config,
        })
    }

    /// The MSP ID.
    #[must_use]
    pub const fn msp_id(&self) -> &MspId {
        &self.msp_id
    }

    /// The CAs that anchor its TLS certificates; maybe none.
    #[must_use]
    pub fn tls_roots(&self) -> &[CertificateDer<'static>] {
        &self.tls_roots
    }

    /// From when to when each of [`Self::tls_roots`] counts, in their order. Fabric refuses a TLS root past its dates when it loads
    /// an MSP; here it is left out for as long as it is (trust.md 1.3).
    #[must_use]
    pub fn tls_root_dates(&self) -> &[RangeInclusive<SystemTime>] {
        &self.tls_root_dates
    }

    /// CAs between its TLS roots and its TLS certificates.
    #[must_use]
    pub fn tls_intermediates(&self) -> &[CertificateDer<'static>] {
        &self.tls_intermediates
    }

    /// Gossip host and TCP port of its anchor peers: an untrusted hint.
    #[must_use]
    pub fn anchor_peers(&self) -> &[(String, u16)] {
        &self.anchor_peers
    }

    /// The bytes of its `FabricMSPConfig`.
    #[must_use]
    pub const fn fabric_msp_config(&self) -> &Bytes {
        &self.fabric_msp_config
    }

    /// What judges its members.
    pub(super) const fn msp(&self) -> &Msp {
        &self.msp
    }
}

impl fmt::Debug for OrgConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgConfig")
            .field("msp_id", &self.msp_id)
            .field("tls_roots", &self.tls_roots.len())
            .finish_non_exhaustive()
    }
}

/// Hints: one that doesn't decode or has no usable port is left out.
fn anchor_peers(group: &common::ConfigGroup) -> Vec<(String, u16)> {
    let value = group.values.get("AnchorPeers").map(|value| value.value.clone()).unwrap_or_default();
    let peers = common::AnchorPeers::decode(value).map(|peers| peers.anchor_peers).unwrap_or_default();
    let usable = |peer: common::AnchorPeer| {
        let port = u16::try_from(peer.port).ok().filter(|port| *port != 0)?;
        let legal = !peer.host.is_empty() && peer.host.len() <= 253 && !peer.host.chars().any(char::is_control);
        legal.then_some((peer.host, port))
    };
    peers.into_iter().filter_map(usable).take(ANCHOR_PEERS_MAX).collect()
}
