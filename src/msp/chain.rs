//! Chains from a leaf to an organisation's roots, over its own CAs only: no chain travels with an identity.
//!
//! Not webpki: Fabric asks for the chains at an instant of its own choosing, counts them, and allows what webpki doesn't.

use std::time::SystemTime;

use super::certificate::Certificate;

/// Most CAs between a leaf and nothing, root included.
const DEPTH_MAX: usize = 8;
/// Signatures checked for one leaf at most (Go's verifier stops there too): cross-signed CAs could make chains explode.
const CHECKS_MAX: usize = 100;

/// Every chain of a leaf at that instant, each from the issuer to a root. Empty too if there is too much to check.
pub(super) fn chains<'a>(
    leaf: &Certificate,
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    at: SystemTime,
) -> Vec<Vec<&'a Certificate>> {
    let mut search = Search { roots, intermediates, at, checks_left: CHECKS_MAX, found: Vec::new() };
    if !leaf.extended_usage_ok || leaf.unknown_critical || search.extend(leaf, &mut Vec::new()).is_none() {
        return Vec::new();
    }
    search.found
}

struct Search<'a> {
    roots: &'a [Certificate],
    intermediates: &'a [Certificate],
    at: SystemTime,
    checks_left: usize,
    found: Vec<Vec<&'a Certificate>>,
}

impl<'a> Search<'a> {
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
            && !path.iter().any(|on_path| on_path.der == ca.der);
        if !may {
            return Some(false);
        }
        self.checks_left = self.checks_left.checked_sub(1)?;
        Some(is_signed_by(child, ca))
    }
}

/// Whether the CA's key made the certificate's signature, by any algorithm that the crypto library has.
pub(super) fn is_signed_by(child: &Certificate, ca: &Certificate) -> bool {
    webpki::ALL_VERIFICATION_ALGS.iter().any(|known| {
        *known.public_key_alg_id() == *ca.key_algorithm
            && *known.signature_alg_id() == *child.signature_algorithm
            && known.verify_signature(&ca.key, &child.tbs, &child.signature).is_ok()
    })
}
