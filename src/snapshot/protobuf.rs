//! The part of protocol buffers that canonical bytes need: ascending fields, minimal varints, defaults left out.
//!
//! prost writes such bytes today but doesn't promise to; a hash or a peer's signature over them needs the promise.

/// Most bytes of a LEB128 number of 64 bits.
pub(crate) const UVARINT_BYTES_MAX: usize = 10;

/// Bytes that are no canonical number, or no canonical message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a number or a field.
    #[error("ends in the middle of a field")]
    Truncated,
    /// A number of more than 64 bits, or one with needless bytes.
    #[error("holds a number that isn't minimal or has more than 64 bits")]
    Varint,
    /// A wire type other than number and bytes, or field 0.
    #[error("holds a field of a wrong type")]
    WireType,
    /// Unknown, repeated, out of order or default-valued: not as the canonical encoder writes it.
    #[error("field {0} is unknown, repeated, out of order, or holds a default")]
    Field(u32),
}

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Splits a minimal LEB128 number off the front; `Ok(None)` if the bytes end before the number does.
#[inline]
pub(crate) fn split_uvarint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, WireError> {
    // Lengths below 128 are the common case.
    match bytes.split_first() {
        None => return Ok(None),
        Some((&first, rest)) if first < 0x80 => return Ok(Some((u64::from(first), rest))),
        Some(_) => {}
    }
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(UVARINT_BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let overflows = index + 1 == UVARINT_BYTES_MAX && byte > 1;
            if overflows || byte == 0 {
                return Err(WireError::Varint);
            }
            let (_, rest) = bytes.split_at_checked(index + 1).ok_or(WireError::Truncated)?;
            return Ok(Some((value, rest)));
        }
    }
    if bytes.len() < UVARINT_BYTES_MAX { Ok(None) } else { Err(WireError::Varint) }
}

/// Appends a LEB128 number.
#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_uvarint`] writes.
#[inline]
pub(crate) const fn uvarint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends a number field, unless it is 0.
pub(crate) fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        put_uvarint(out, u64::from(field) << 3);
        put_uvarint(out, value);
    }
}

/// Appends a bytes, string or message field, unless it is empty.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        put_uvarint(out, u64::from(field) << 3 | 2);
        put_uvarint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// The fields of a message in the order in which they come. Ends after the first error.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let (tag, rest) = split_uvarint(self.rest)?.ok_or(WireError::Truncated)?;
        let (value, rest) = split_uvarint(rest)?.ok_or(WireError::Truncated)?;
        let field = u32::try_from(tag >> 3).ok().filter(|&field| field != 0).ok_or(WireError::WireType)?;
        let (value, rest) = match tag & 7 {
            0 => (Value::Number(value), rest),
            2 => {
                let len = usize::try_from(value).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = rest.split_at_checked(len).ok_or(WireError::Truncated)?;
                (Value::Bytes(bytes), rest)
            }
            _ => return Err(WireError::WireType),
        };
        self.rest = rest;
        Ok((field, value))
    }
}

/// The last bytes field `wanted` of a message that is sound as a whole.
pub(crate) fn bytes_field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut found = None;
    for field in Fields::of(message) {
        match field.ok()? {
            (number, Value::Bytes(bytes)) if number == wanted => found = Some(bytes),
            _ => {}
        }
    }
    found
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_needless_bytes_are_refused() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            assert_eq!(bytes.len(), uvarint_len(value));
            assert_eq!(split_uvarint(&bytes), Ok(Some((value, &[][..]))));
            assert_eq!(split_uvarint(&bytes[..bytes.len() - 1]), Ok(None), "{value}");
        }
        assert_eq!(split_uvarint(&[0x80, 0]), Err(WireError::Varint));
        assert_eq!(split_uvarint(&[0xff; 10]), Err(WireError::Varint));
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert_eq!(split_uvarint(&too_large), Err(WireError::Varint));
    }

    #[test]
    fn fields_come_back_and_the_rest_ends_at_an_error() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, 300);
        put_bytes(&mut bytes, 16, b"ab");
        put_bytes(&mut bytes, 17, b"");
        let fields: Result<Vec<_>, _> = Fields::of(&bytes).collect();
        assert_eq!(fields, Ok(vec![(1, Value::Number(300)), (16, Value::Bytes(b"ab"))]));
        let torn: Vec<_> = Fields::of(&bytes[..bytes.len() - 1]).collect();
        assert_eq!(torn, [Ok((1, Value::Number(300))), Err(WireError::Truncated)]);
        assert_eq!(Fields::of(&[0x0d, 0, 0, 0, 0]).next(), Some(Err(WireError::WireType)));
    }
}
