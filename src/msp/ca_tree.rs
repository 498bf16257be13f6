//! The CAs of one MSP: loaded by Fabric's rules (fabric: msp/mspimplsetup.go), and asked for the chain of a certificate.

use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use super::{
    InvalidReason, OrganisationError,
    certificate::Certificate,
    chain::{chains, is_signed_by},
    crl::{self, Crl},
};

/// Most CAs of one kind in an MSP.
pub(super) const CAS_MAX: usize = 16;
/// Certificates are judged just after they began: their own expiry doesn't count, and their CAs were valid then.
const AFTER_NOT_BEFORE: Duration = Duration::from_secs(1);
const ROOT: &str = "root CA";
const INTERMEDIATE: &str = "intermediate CA";

/// Roots, intermediates, and which of them have a CA below them.
#[derive(Clone)]
pub(super) struct CaTree {
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    /// Those above an intermediate: they issue no identities.
    inner: Vec<CertificateDer<'static>>,
}

impl CaTree {
    /// From PEM texts. Every CA must be one that can be used and that nobody revoked.
    pub(super) fn load(roots: &[Bytes], intermediates: &[Bytes], crls: &[Crl]) -> Result<Self, OrganisationError> {
        if roots.is_empty() {
            return Err(OrganisationError::NoRoot);
        }
        let roots = usable_cas(ROOT, roots)?;
        let not_self_signed = |root: &Certificate| {
            // Fabric looks for the issuer of every ECDSA signature, to lower it, and finds none but the root itself.
            root.has_ecdsa_signature() && !(root.may_sign_certificates && is_signed_by(root, root))
        };
        if let Some(index) = roots.iter().position(not_self_signed) {
            return Err(OrganisationError::NotSelfSigned { index });
        }
        let intermediates = usable_cas(INTERMEDIATE, intermediates)?;
        let mut tree = Self { roots: distinct(roots), intermediates: Vec::new(), inner: Vec::new() };
        tree.intermediates = distinct(intermediates.clone());
        let mut inner = Vec::new();
        for (index, ca) in intermediates.iter().enumerate().filter(|(_, ca)| !tree.is_root(ca)) {
            let invalid = |reason| OrganisationError::InvalidCa { kind: INTERMEDIATE, index, reason };
            let chain = tree.chain(ca).map_err(invalid)?;
            let issuer = chain.first().ok_or_else(|| invalid(InvalidReason::Chains(0)))?;
            crl::check(crls, ca, issuer).map_err(invalid)?;
            inner.extend(chain.iter().map(|ca| ca.der.clone()));
        }
        tree.inner = inner;
        Ok(tree)
    }

    /// The only chain of a certificate, from its issuer to a root, at the time when the certificate began.
    pub(super) fn chain(&self, child: &Certificate) -> Result<Vec<&Certificate>, InvalidReason> {
        check_alone(child)?;
        let mut found = chains(child, &self.roots, &self.intermediates, child.not_before + AFTER_NOT_BEFORE);
        match (found.pop(), found.len()) {
            (Some(chain), 0) => Ok(chain),
            (last, others) => Err(InvalidReason::Chains(others + usize::from(last.is_some()))),
        }
    }

    /// The only chain of somebody who isn't a CA, by an issuer that has no CA below it.
    pub(super) fn chain_of_leaf(&self, leaf: &Certificate) -> Result<Vec<&Certificate>, InvalidReason> {
        if leaf.is_ca {
            return Err(InvalidReason::LeafIsCa);
        }
        let chain = self.chain(leaf)?;
        let inner = chain.first().is_some_and(|issuer| self.is_inner(issuer));
        if inner { Err(InvalidReason::IssuerIsInner) } else { Ok(chain) }
    }

    /// The identifier of what the CA of that PEM text certifies: `None` unless it is a root, or an intermediate without CAs below it
    /// (fabric: getCertifiersIdentifier).
    pub(super) fn certifiers_of_ca(&self, pem: &[u8], hash: &'static digest::Algorithm) -> Option<Vec<u8>> {
        let ca = Certificate::from_first_pem(pem).and_then(Certificate::canonical).ok()?;
        if self.is_root(&ca) {
            return Some(certifiers_identifier(&[&ca], hash));
        }
        if self.is_inner(&ca) || !self.intermediates.iter().any(|known| known.der == ca.der) {
            return None;
        }
        let chain = self.chain(&ca).ok()?;
        Some(certifiers_identifier(&[&[&ca][..], &chain].concat(), hash))
    }

    fn is_root(&self, ca: &Certificate) -> bool {
        self.roots.iter().any(|root| root.der == ca.der)
    }

    fn is_inner(&self, ca: &Certificate) -> bool {
        self.inner.contains(&ca.der)
    }
}

/// What units are certified by: the hash of the chain's DER, issuer first.
pub(super) fn certifiers_identifier(chain: &[&Certificate], hash: &'static digest::Algorithm) -> Vec<u8> {
    let mut context = digest::Context::new(hash);
    chain.iter().for_each(|ca| context.update(&ca.der));
    context.finish().as_ref().to_vec()
}

/// CA certificates of one kind that were parsed and are CAs; nothing else is promised of them.
pub(super) fn parsed_cas(kind: &'static str, pems: &[Bytes]) -> Result<Vec<Certificate>, OrganisationError> {
    if pems.len() > CAS_MAX {
        return Err(OrganisationError::TooManyCas(CAS_MAX));
    }
    let parse = |(index, pem): (usize, &Bytes)| {
        let ca = Certificate::from_first_pem(pem).map_err(|source| OrganisationError::Ca { kind, index, source })?;
        if ca.is_ca { Ok(ca) } else { Err(OrganisationError::NotACa { kind, index }) }
    };
    pems.iter().enumerate().map(parse).collect()
}

/// The same, in Fabric's canonical form, fit to issue by what they say themselves.
fn usable_cas(kind: &'static str, pems: &[Bytes]) -> Result<Vec<Certificate>, OrganisationError> {
    let usable = |(index, ca): (usize, Certificate)| {
        let ca = ca.canonical().map_err(|source| OrganisationError::Ca { kind, index, source })?;
        if ca.subject_key_id.is_none() {
            return Err(OrganisationError::CaWithoutKeyId { kind, index });
        }
        if ca.name_constraints {
            return Err(OrganisationError::NameConstraints { kind, index });
        }
        check_alone(&ca).map_err(|reason| OrganisationError::InvalidCa { kind, index, reason })?;
        Ok(ca)
    };
    parsed_cas(kind, pems)?.into_iter().enumerate().map(usable).collect()
}

/// What Go's verifier asks of a certificate before it looks for chains.
fn check_alone(certificate: &Certificate) -> Result<(), InvalidReason> {
    if certificate.unknown_critical {
        return Err(InvalidReason::CriticalExtension);
    }
    if !certificate.extended_usage_ok {
        return Err(InvalidReason::ExtendedKeyUsage);
    }
    let begins = certificate.not_before + AFTER_NOT_BEFORE;
    if certificate.is_valid_at(begins) { Ok(()) } else { Err(InvalidReason::Dates) }
}

/// Each once: a CA that is configured twice makes no second chain.
fn distinct(cas: Vec<Certificate>) -> Vec<Certificate> {
    let mut distinct: Vec<Certificate> = Vec::new();
    for ca in cas {
        if !distinct.iter().any(|known| known.der == ca.der) {
            distinct.push(ca);
        }
    }
    distinct
}
