//! One application organisation of a channel: its MSP, its TLS CAs, its anchor peers.

use std::{fmt, ops::RangeInclusive, time::SystemTime};

use bytes::Bytes;
use prost::Message;
use rustls::pki_types::CertificateDer;

use super::{
    MspId, OrganisationError, Role,
    certificate::Certificate,
    pb::{self, common},
};

/// Most CAs of one kind in an MSP.
const CAS_MAX: usize = 16;
/// Most anchor peers that are kept: they are hints.
const ANCHOR_PEERS_MAX: usize = 64;
/// `msp.MSPConfig.type` of an X.509 MSP.
const TYPE_FABRIC: i32 = 0;

/// An application organisation. Its CAs were parsed and are CAs; nothing else is promised of them.
#[derive(Clone)]
pub struct OrgConfig {
    msp_id: MspId,
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    tls_roots: Vec<CertificateDer<'static>>,
    /// From when to when each TLS root counts, in their order.
    tls_root_dates: Vec<RangeInclusive<SystemTime>>,
    tls_intermediates: Vec<CertificateDer<'static>>,
    node_ous: Option<NodeOus>,
    anchor_peers: Vec<(String, u16)>,
    fabric_msp_config: Bytes,
}

/// The OU that makes somebody each role, where NodeOUs are on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeOus(Vec<(Role, String)>);

impl NodeOus {
    /// The role by exactly one role OU that occurs once; other units don't matter, case does.
    pub(super) fn role(&self, units: &[String]) -> Option<Role> {
        let mut roles =
            units.iter().flat_map(|unit| self.0.iter().filter(move |(_, name)| name == unit)).map(|(role, _)| *role);
        roles.next().filter(|_| roles.next().is_none())
    }
}

impl OrgConfig {
    /// `None` for an organisation whose MSP isn't X.509 (IDEMIX): nobody of it can be known to us.
    pub(super) fn from_group(group: &common::ConfigGroup) -> Result<Option<Self>, OrganisationError> {
        let value = group.values.get("MSP").ok_or(OrganisationError::NoMsp)?;
        let config = pb::msp::MspConfig::decode(value.value.clone()).map_err(|_| OrganisationError::Decode)?;
        if config.r#type != TYPE_FABRIC {
            return Ok(None);
        }
        let msp = pb::msp::FabricMspConfig::decode(config.config.clone()).map_err(|_| OrganisationError::Decode)?;
        let msp_id =
            MspId::new(&msp.name).ok_or_else(|| OrganisationError::MspId(msp.name.chars().take(256).collect()))?;
        if msp.root_certs.is_empty() {
            return Err(OrganisationError::NoRoot);
        }
        let tls_roots = cas("TLS root CA", &msp.tls_root_certs)?;
        let ders = |cas: Vec<Certificate>| cas.into_iter().map(|ca| ca.der).collect();
        Ok(Some(Self {
            msp_id,
            roots: cas("root CA", &msp.root_certs)?,
            intermediates: cas("intermediate CA", &msp.intermediate_certs)?,
            tls_root_dates: tls_roots.iter().map(|root| root.not_before..=root.not_after).collect(),
            tls_roots: ders(tls_roots),
            tls_intermediates: ders(cas("TLS intermediate CA", &msp.tls_intermediate_certs)?),
            node_ous: msp.fabric_node_ous.filter(|node_ous| node_ous.enable).map(node_ous),
            anchor_peers: anchor_peers(group),
            fabric_msp_config: config.config,
        }))
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

    pub(super) fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    pub(super) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    pub(super) const fn node_ous(&self) -> Option<&NodeOus> {
        self.node_ous.as_ref()
    }
}

impl fmt::Debug for OrgConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrgConfig")
            .field("msp_id", &self.msp_id)
            .field("roots", &self.roots.len())
            .field("tls_roots", &self.tls_roots.len())
            .finish_non_exhaustive()
    }
}

fn cas(kind: &'static str, pems: &[Bytes]) -> Result<Vec<Certificate>, OrganisationError> {
    if pems.len() > CAS_MAX {
        return Err(OrganisationError::TooManyCas(CAS_MAX));
    }
    let parse = |(index, pem): (usize, &Bytes)| {
        let ca = Certificate::from_first_pem(pem).map_err(|source| OrganisationError::Ca { kind, index, source })?;
        if ca.is_ca { Ok(ca) } else { Err(OrganisationError::NotACa { kind, index }) }
    };
    pems.iter().enumerate().map(parse).collect()
}

fn node_ous(config: pb::msp::FabricNodeOUs) -> NodeOus {
    let named = [
        (Role::Client, config.client_ou_identifier),
        (Role::Peer, config.peer_ou_identifier),
        (Role::Admin, config.admin_ou_identifier),
        (Role::Orderer, config.orderer_ou_identifier),
    ];
    let names = named
        .into_iter()
        .filter_map(|(role, identifier)| Some((role, identifier?.organizational_unit_identifier)))
        .filter(|(_, name)| !name.is_empty());
    NodeOus(names.collect())
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
