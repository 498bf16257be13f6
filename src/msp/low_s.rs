//! ECDSA signatures have a twin: (r, n - s). Fabric takes only the one with s <= n/2 (fabric: bccsp/utils/ecdsa.go).

use super::der;

/// A curve whose signatures occur, by the order n of its group (big-endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// The curve of a certificate's signature, by the width of its integers: the certificate alone doesn't name its issuer's
    /// curve. A signature of a wider curve that fits the narrower has a chance of 2^-128.
    fn of_width(bytes: usize) -> Option<Self> {
        match bytes {
            0..=32 => Some(Self::P256),
            33..=48 => Some(Self::P384),
            49..=66 => Some(Self::P521),
            _ => None,
        }
    }

    fn order(self) -> &'static [u8] {
        match self {
            Self::P256 => &P256_ORDER,
            Self::P384 => &P384_ORDER,
            Self::P521 => &P521_ORDER,
        }
    }
}

/// Whether the ASN.1 signature is canonical DER and its s is at most n/2.
pub(super) fn is_low(signature: &[u8], curve: Curve) -> bool {
    let Some((_, s)) = split(signature) else { return false };
    negated(s, curve).is_some_and(|twin| padded(s, twin.len()).is_some_and(|s| s <= twin))
}

/// The signature's low twin (itself if it is low). `None` if it is no canonical ASN.1 signature of that curve.
pub(super) fn lowered(signature: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let (r, s) = split(signature)?;
    if is_low(signature, curve) {
        return Some(signature.to_vec());
    }
    let twin = negated(s, curve)?;
    Some(der::write(der::SEQUENCE, &[der::write_positive(r), der::write_positive(&twin)].concat()))
}

/// The signature's twin, high or low.
#[cfg(test)]
pub(super) fn twin(signature: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let (r, s) = split(signature)?;
    Some(der::write(der::SEQUENCE, &[der::write_positive(r), der::write_positive(&negated(s, curve)?)].concat()))
}

/// [`lowered`] for a certificate's signature, whose curve is told by its width.
pub(super) fn lowered_by_width(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = split(signature)?;
    lowered(signature, Curve::of_width(r.len().max(s.len()))?)
}

/// r and s without sign bytes.
fn split(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = der::only(signature, der::SEQUENCE)?;
    let (r, rest) = der::expect(pair.content, der::INTEGER)?;
    let s = der::only(rest, der::INTEGER)?;
    Some((r.positive()?, s.positive()?))
}

/// n - s in as many bytes as n; `None` unless s < n.
fn negated(s: &[u8], curve: Curve) -> Option<Vec<u8>> {
    let order = curve.order();
    let s = padded(s, order.len())?;
    let mut borrow = 0i16;
    let mut difference: Vec<u8> = Vec::with_capacity(order.len());
    for (n, s) in order.iter().zip(&s).rev() {
        let digit = i16::from(*n) - i16::from(*s) - borrow;
        borrow = i16::from(digit < 0);
        difference.push(digit.rem_euclid(256) as u8);
    }
    difference.reverse();
    (borrow == 0 && difference.iter().any(|digit| *digit != 0)).then_some(difference)
}

fn padded(digits: &[u8], width: usize) -> Option<Vec<u8>> {
    let zeros = width.checked_sub(digits.len())?;
    Some([vec![0; zeros], digits.to_vec()].concat())
}

/// SEC 2, secp256r1.
const P256_ORDER: [u8; 32] = hex(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
/// SEC 2, secp384r1.
const P384_ORDER: [u8; 48] =
    hex(b"ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973");
/// SEC 2, secp521r1.
const P521_ORDER: [u8; 66] = hex(
    b"01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
);

/// Hexadecimal digits as bytes, at compile time.
#[allow(clippy::indexing_slicing, reason = "evaluated at compile time: an index out of bounds doesn't compile")]
const fn hex<const N: usize>(digits: &[u8]) -> [u8; N] {
    const fn digit(c: u8) -> u8 {
        if c <= b'9' { c - b'0' } else { c - b'a' + 10 }
    }
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    assert!(digits.len() == 2 * N);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(s: &[u8]) -> Vec<u8> {
        der::write(der::SEQUENCE, &[der::write_positive(&[5; 32]), der::write_positive(s)].concat())
    }

    #[test]
    fn half_the_order_is_the_limit() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            // (n - 1) / 2 and (n + 1) / 2: n is odd.
            let mut carry = 0;
            let half: Vec<u8> = curve
                .order()
                .iter()
                .map(|digit| {
                    let out = (digit >> 1) | (carry << 7);
                    carry = digit & 1;
                    out
                })
                .collect();
            let mut above = half.clone();
            *above.last_mut().unwrap() += 1;
            assert!(is_low(&signature(&half), curve));
            assert!(!is_low(&signature(&above), curve));
            assert_eq!(lowered(&signature(&above), curve).unwrap(), signature(&half));
            assert_eq!(lowered(&signature(&half), curve).unwrap(), signature(&half));
        }
    }

    #[test]
    fn zero_the_order_and_garbage_are_refused() {
        for curve in [Curve::P256, Curve::P384, Curve::P521] {
            assert!(!is_low(&signature(curve.order()), curve));
            assert!(lowered(&signature(curve.order()), curve).is_none());
        }
        assert!(!is_low(&signature(&[0]), Curve::P256));
        assert!(lowered(&[signature(&[1]), vec![0]].concat(), Curve::P256).is_none());
        assert!(lowered(b"", Curve::P256).is_none());
    }
}
