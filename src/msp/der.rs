//! Just enough strict DER to take a certificate and an ECDSA signature apart and put them together again.
//!
//! Lengths must be minimal, so that nobody can make a second spelling of the same certificate.

/// Tag of a SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// Tag of an INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// Tag of an OBJECT IDENTIFIER.
pub(super) const OID: u8 = 0x06;
/// Tag of an UTCTime.
pub(super) const UTC_TIME: u8 = 0x17;
/// Tag of a GeneralizedTime.
pub(super) const GENERALIZED_TIME: u8 = 0x18;
/// Tag of a BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;

/// One element: tag, whole bytes, bytes of the content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) raw: &'a [u8],
    pub(super) content: &'a [u8],
}

impl<'a> Element<'a> {
    /// The bytes of a BIT STRING of whole bytes.
    pub(super) fn bits(self) -> Option<&'a [u8]> {
        let (unused, bits) = self.content.split_first()?;
        (self.tag == BIT_STRING && *unused == 0).then_some(bits)
    }

    /// The magnitude of a positive INTEGER in its only spelling, without the sign byte.
    pub(super) fn positive(self) -> Option<&'a [u8]> {
        match self.content {
            _ if self.tag != INTEGER => None,
            [0, rest @ ..] => rest.first().filter(|first| **first >= 0x80).map(|_| rest),
            [first, ..] if *first < 0x80 => Some(self.content),
            _ => None,
        }
    }
}

/// The first element, and what is behind it. Tags above 30 and lengths above 16 MiB don't occur in certificates.
pub(super) fn read(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits.iter().fold(0usize, |length, digit| (length << 8) | usize::from(*digit));
            let minimal = digits.first() != Some(&0) && length >= 0x80;
            (minimal.then_some(length)?, rest)
        }
        _ => return None,
    };
    let (content, behind) = rest.split_at_checked(length)?;
    let raw = input.get(..input.len() - behind.len())?;
    Some((Element { tag, raw, content }, behind))
}

/// The element of that tag at the start, and what is behind it.
pub(super) fn expect(input: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    read(input).filter(|(element, _)| element.tag == tag)
}

/// The element of that tag, if there is nothing behind it.
pub(super) fn only(input: &[u8], tag: u8) -> Option<Element<'_>> {
    expect(input, tag).and_then(|(element, behind)| behind.is_empty().then_some(element))
}

/// The element of that tag at the start, if it is there, and what is behind it.
pub(super) fn optional(input: &[u8], tag: u8) -> (Option<Element<'_>>, &[u8]) {
    expect(input, tag).map_or((None, input), |(element, rest)| (Some(element), rest))
}

/// An element of that tag and content. The content is under 16 MiB: it comes from an element that was read.
pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|digit| *digit == 0).collect();
    let mut element = vec![tag];
    match digits.as_slice() {
        [] => element.push(0),
        [digit] if *digit < 0x80 => element.push(*digit),
        digits => {
            element.push(0x80 | digits.len() as u8);
            element.extend_from_slice(digits);
        }
    }
    element.extend_from_slice(content);
    element
}

/// A number's digits in their shortest form.
pub(super) fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.split_at_checked(zeros).map_or(&[], |(_, rest)| rest)
}

/// A positive INTEGER of that magnitude (leading zeros are dropped).
pub(super) fn write_positive(magnitude: &[u8]) -> Vec<u8> {
    let mut content = without_leading_zeros(magnitude).to_vec();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    write(INTEGER, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let element = write(SEQUENCE, &content);
            assert_eq!(only(&element, SEQUENCE).unwrap().content, content);
        }
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for bad in [&[0x30, 0x81, 1, 0][..], &[0x30, 0x82, 0, 0x80], &[0x30, 0x80, 0, 0], &[0x30, 2, 0], &[0x30], &[]] {
            assert!(read(bad).is_none(), "{bad:?}");
        }
        for bad in [&[2, 1, 0][..], &[2, 2, 0, 1], &[2, 1, 0x80], &[2, 0]] {
            assert!(read(bad).unwrap().0.positive().is_none(), "{bad:?}");
        }
        assert_eq!(read(&[2, 2, 0, 0x80]).unwrap().0.positive(), Some(&[0x80][..]));
    }
}
