//! Chains from a leaf to an organisation's roots, over its own CAs only: no chain travels with an identity.
//!
//! Not webpki: Fabric asks for the chains at an instant of its own choosing, counts them, and allows what webpki doesn't.

use std::time::SystemTime;

use super::certificate::Certificate;

/// Most CAs between a leaf and nothing, root included.
const DEPTH_MAX: usize = 8;
/// Signatures checked for one leaf at most (Go's verifier stops there too): cross-signed CAs could make chains explode.
const CHECKS_MAX: usize = 100;

/// Every chain of a certificate at that instant, each from the issuer to a root. Empty too if there is too much to check.
pub(super) fn chains<'a>(
    child: &Certificate,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    at: SystemTime,
) -> Vec<Vec<&'a Certificate>> {
    let mut search = Search { first: child, roots, intermediates, at, checks_left: CHECKS_MAX, found: Vec::new() };
    match search.extend(child, &mut Vec::new()) {
        Some(()) => search.found,
        None => Vec::new(),
    }
}

struct Search<'a, 'c> {
    first: &'c Certificate,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    at: SystemTime,
    checks_left: usize,
    found: Vec<Vec<&'a Certificate>>,
}

impl<'a> Search<'a, '_> {
    /// `None` when the checks are used up.
    fn extend(&mut self, child: &Certificate, path: &mut Vec<&'a Certificate>) -> Option<()> {
        if path.len() == DEPTH_MAX {
            return Some(());
        }
        for root in self.roots {
            if self.issued(root, child, path)? {
                self.found.push(path.iter().copied().chain([root]).collect());
            }
        }
        for ca in self.intermediates {
            if !self.roots.iter().any(|root| root.der == ca.der) && self.issued(ca, child, path)? {
                path.push(ca);
                self.extend(ca, path)?;
                path.pop();
            }
        }
        Some(())
    }

    fn issued(&mut self, ca: &Certificate, child: &Certificate, path: &[&Certificate]) -> Option<bool> {
        let may = ca.subject_raw == child.issuer_raw
            && ca.is_ca
            && ca.may_sign_certificates
            && ca.extended_usage_ok
            && !ca.unknown_critical
            && ca.is_valid_at(self.at)
            && ca.path_len.is_none_or(|below| path.len() <= below as usize)
            && !is_same(self.first, ca)
            && !path.iter().any(|on_path| is_same(on_path, ca));
        if !may {
            return Some(false);
        }
        self.checks_left = self.checks_left.checked_sub(1)?;
        Some(is_signed_by(child, ca))
    }
}

/// Whether both certify one key of one name, as after a renewal or a cross-signature: a chain goes through it once (Go's rule).
fn is_same(one: &Certificate, other: &Certificate) -> bool {
    one.subject_raw == other.subject_raw
        && (&one.key_algorithm, &one.key) == (&other.key_algorithm, &other.key)
        && one.alternative_names == other.alternative_names
}

/// Whether the CA's key made the certificate's signature, by any algorithm that the crypto library has.
pub(super) fn is_signed_by(child: &Certificate, ca: &Certificate) -> bool {
    is_signed(&child.tbs, &child.signature_algorithm, &child.signature, ca)
}

/// Whether the CA's key made that signature over those bytes, by that algorithm (content of its AlgorithmIdentifier).
pub(super) fn is_signed(message: &[u8], algorithm: &[u8], signature: &[u8], ca: &Certificate) -> bool {
    webpki::ALL_VERIFICATION_ALGS.iter().any(|known| {
        *known.public_key_alg_id() == *ca.key_algorithm
            && *known.signature_alg_id() == *algorithm
            && known.verify_signature(&ca.key, message, signature).is_ok()
    })
}

/// Whether the crypto library has that signature algorithm for any kind of key.
pub(super) fn is_known_algorithm(algorithm: &[u8]) -> bool {
    webpki::ALL_VERIFICATION_ALGS.iter().any(|known| *known.signature_alg_id() == *algorithm)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

    use super::*;

    /// A certificate of `name` that `issuer` signs; the key is everybody's.
    fn issued(key: &KeyPair, name: &str, issuer: &str, serial: u64, ca: bool) -> Certificate {
        named(key, name, issuer, serial, ca, false)
    }

    /// The same; a CA with alternative names of its own is another CA, whatever its name and key.
    fn named(key: &KeyPair, name: &str, issuer: &str, serial: u64, ca: bool, other_names: bool) -> Certificate {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            if ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params
        };
        let mut own = params(name);
        own.serial_number = Some(serial.into());
        if ca && other_names {
            own.subject_alt_names.push(SanType::DnsName(format!("ca{serial}").try_into().unwrap()));
        }
        let issuer = params(issuer);
        let certificate = own.signed_by(key, &Issuer::from_params(&issuer, key)).unwrap();
        Certificate::from_der(certificate.der().clone()).unwrap()
    }

    fn count(leaf: &Certificate, root: &Certificate, intermediates: &[Certificate]) -> usize {
        let at = leaf.not_before + Duration::from_secs(1);
        chains(leaf, std::slice::from_ref(root), intermediates, at).len()
    }

    #[test]
    fn a_chain_of_eight_cas_is_followed_and_no_longer_one() {
        let key = KeyPair::generate().unwrap();
        let root = issued(&key, "ca0", "ca0", 1, true);
        for (intermediates, found) in [(0, 1), (DEPTH_MAX - 1, 1), (DEPTH_MAX, 0)] {
            let cas = (1..=intermediates).map(|n| issued(&key, &format!("ca{n}"), &format!("ca{}", n - 1), 1, true));
            let leaf = issued(&key, "leaf", &format!("ca{intermediates}"), 1, false);
            assert_eq!(count(&leaf, &root, &cas.collect::<Vec<_>>()), found, "{intermediates} between leaf and root");
        }
    }

    #[test]
    fn cas_that_sign_each_other_are_given_up_on() {
        let key = KeyPair::generate().unwrap();
        let root = issued(&key, "root", "root", 1, true);
        let leaf = issued(&key, "leaf", "ca", 1, false);
        // One that the root signed, and others of its name, each of which could have signed any other.
        let cas = |others: u64, other_names: bool| {
            let others = (2..2 + others).map(|serial| named(&key, "ca", "ca", serial, true, other_names));
            std::iter::once(issued(&key, "ca", "root", 1, true)).chain(others).collect::<Vec<_>>()
        };
        assert_eq!(count(&leaf, &root, &cas(0, true)), 1);
        assert_eq!(count(&leaf, &root, &cas(2, true)), 5, "in every order");
        assert_eq!(count(&leaf, &root, &cas(2, false)), 1, "renewed ones of one name and key are passed through once");
        // Six in every order are nearly two thousand chains, far more than the checks that there are for them.
        assert_eq!(count(&leaf, &root, &cas(6, true)), 0);
    }
}
