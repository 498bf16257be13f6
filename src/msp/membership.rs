//! Who is a member of one MSP, and who is its admin: Fabric's rules (fabric: msp/mspimpl*.go), none of which asks what time it is.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    CertificateError, IdentityId, InvalidReason, OrganisationError, Role,
    ca_tree::{CaTree, certifiers_identifier},
    certificate::Certificate,
    crl::{self, Crl},
    pb,
    signature::{HashFamily, identifier_hash},
    units::{NodeOus, UnitIdentifier, check_required},
};

/// Most revocation lists in an MSP: one per CA, and some that are being replaced.
const CRLS_MAX: usize = 64;
/// Most explicitly listed admins: each is validated at load.
const ADMINS_MAX: usize = 256;
/// Most units of which a member must have one.
const UNITS_MAX: usize = 256;

/// The rules of one MSP.
#[derive(Clone)]
pub(super) struct Msp {
    cas: CaTree,
    crls: Vec<Crl>,
    /// One of them is asked for, if there is any.
    units: Vec<UnitIdentifier>,
    node_ous: Option<NodeOus>,
    admins: BTreeSet<IdentityId>,
    hash_family: HashFamily,
    identifier_hash: &'static digest::Algorithm,
}

impl Msp {
    /// What Fabric refuses to load is refused, in its order.
    pub(super) fn load(config: &pb::msp::FabricMspConfig) -> Result<Self, OrganisationError> {
        let crypto = config.crypto_config.clone().unwrap_or_default();
        let unknown = |name: &str| OrganisationError::Hash(name.chars().take(256).collect());
        let (family, identifier) = (&crypto.signature_hash_family, &crypto.identity_identifier_hash_function);
        let hash_family = HashFamily::from_name(family).ok_or_else(|| unknown(family))?;
        let identifier_hash = identifier_hash(identifier).ok_or_else(|| unknown(identifier))?;
        let crls = revocation_lists(&config.revocation_list)?;
        let cas = CaTree::load(&config.root_certs, &config.intermediate_certs, &crls)?;
        let certifiers = |unit: &pb::msp::FabricOuIdentifier| {
            let unit_name = || unit.organizational_unit_identifier.chars().take(256).collect();
            cas.certifiers_of_ca(&unit.certificate, identifier_hash)
                .ok_or_else(|| OrganisationError::UnitCertifier { unit: unit_name() })
        };
        let named = &config.organizational_unit_identifiers;
        at_most(UNITS_MAX, named.len(), "organizational unit identifiers")?;
        let unit = |unit: &pb::msp::FabricOuIdentifier| {
            Ok(UnitIdentifier {
                name: unit.organizational_unit_identifier.clone(),
                certifiers: Some(certifiers(unit)?),
            })
        };
        let units = named.iter().map(unit).collect::<Result<_, _>>()?;
        let node_ous = match &config.fabric_node_ous {
            Some(node_ous) if node_ous.enable => node_ous_of(node_ous, certifiers)?,
            _ => None,
        };
        let mut msp = Self { cas, crls, units, node_ous, admins: BTreeSet::new(), hash_family, identifier_hash };
        msp.admins = msp.load_admins(&config.admins)?;
        let has_admin_ou = msp.node_ous.as_ref().is_some_and(|node_ous| node_ous.names(Role::Admin));
        if msp.admins.is_empty() && !has_admin_ou { Err(OrganisationError::NoAdmin) } else { Ok(msp) }
    }

    /// Whether the certificate is a member's. What its key may be is for the caller.
    pub(super) fn check(&self, leaf: &Certificate) -> Result<(), InvalidReason> {
        let chain = self.cas.chain_of_leaf(leaf)?;
        if let Some(issuer) = chain.first() {
            crl::check(&self.crls, leaf, issuer)?;
        }
        let certifiers = certifiers_identifier(&chain, self.identifier_hash);
        check_required(&self.units, &leaf.organizational_units, &certifiers)?;
        self.node_ous.as_ref().map_or(Ok(()), |node_ous| node_ous.check(&leaf.organizational_units, &certifiers))
    }

    /// Whether a member has that unit, certified by that chain.
    pub(super) fn has_unit(&self, leaf: &Certificate, unit: &str, certifiers: &[u8]) -> bool {
        let certified = |chain: Vec<&Certificate>| certifiers_identifier(&chain, self.identifier_hash) == certifiers;
        leaf.organizational_units.iter().any(|own| own == unit) && self.cas.chain_of_leaf(leaf).is_ok_and(certified)
    }

    /// Whether it is one of the certificates that the MSP lists as its admins.
    pub(super) fn lists_admin(&self, id: IdentityId) -> bool {
        self.admins.contains(&id)
    }

    /// How its members sign.
    pub(super) const fn hash_family(&self) -> HashFamily {
        self.hash_family
    }

    /// The role units, where they are on.
    pub(super) const fn node_ous(&self) -> Option<&NodeOus> {
        self.node_ous.as_ref()
    }

    /// Listed admins are members, or at least clients or admins where NodeOUs are on (fabric: postSetupV142).
    fn load_admins(&self, pems: &[Bytes]) -> Result<BTreeSet<IdentityId>, OrganisationError> {
        at_most(ADMINS_MAX, pems.len(), "admins")?;
        let id = |(index, pem): (usize, &Bytes)| {
            let unusable = |source| OrganisationError::AdminCertificate { index, source };
            let admin = Certificate::from_first_pem(pem).map_err(unusable)?;
            self.check_admin(&admin).map_err(|reason| OrganisationError::Admin { index, reason })?;
            admin.identity_id().ok_or_else(|| unusable(CertificateError::Der))
        };
        pems.iter().enumerate().map(id).collect()
    }

    fn check_admin(&self, admin: &Certificate) -> Result<(), InvalidReason> {
        let Some(node_ous) = &self.node_ous else { return self.check(admin) };
        self.cas.chain_of_leaf(admin)?;
        let has = |role| node_ous.has(role, &admin.organizational_units);
        if has(Role::Client) || has(Role::Admin) { Ok(()) } else { Err(InvalidReason::Role) }
    }
}

impl Certificate {
    /// SHA-256 of its canonical DER; `None` if it has none.
    pub(super) fn identity_id(&self) -> Option<IdentityId> {
        self.sanitized().map(|der| IdentityId(Sha256::digest(der).into()))
    }
}

fn revocation_lists(lists: &[Bytes]) -> Result<Vec<Crl>, OrganisationError> {
    at_most(CRLS_MAX, lists.len(), "revocation lists")?;
    let parse = |(index, bytes): (usize, &Bytes)| {
        Crl::parse(bytes).map_err(|source| OrganisationError::RevocationList { index, source })
    };
    lists.iter().enumerate().map(parse).collect()
}

/// None at all: as if they were off.
fn node_ous_of(
    config: &pb::msp::FabricNodeOUs,
    certifiers: impl Fn(&pb::msp::FabricOuIdentifier) -> Result<Vec<u8>, OrganisationError>,
) -> Result<Option<NodeOus>, OrganisationError> {
    let named = [
        (Role::Client, &config.client_ou_identifier),
        (Role::Peer, &config.peer_ou_identifier),
        (Role::Admin, &config.admin_ou_identifier),
        (Role::Orderer, &config.orderer_ou_identifier),
    ];
    let mut units = Vec::new();
    for (role, identifier) in named.into_iter().filter_map(|(role, identifier)| Some((role, identifier.as_ref()?))) {
        let certifiers = if identifier.certificate.is_empty() { None } else { Some(certifiers(identifier)?) };
        units.push((role, UnitIdentifier { name: identifier.organizational_unit_identifier.clone(), certifiers }));
    }
    Ok((!units.is_empty()).then_some(NodeOus(units)))
}

fn at_most(limit: usize, count: usize, what: &'static str) -> Result<(), OrganisationError> {
    if count > limit { Err(OrganisationError::TooMany { what, limit }) } else { Ok(()) }
}
