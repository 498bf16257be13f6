//! Counts the fields of a frame's body before anything is decoded: a frame's size bounds its bytes, this bounds what they become.
//!
//! A frame of 1 MiB can hold half a million two-byte entries; decoded, each is a struct of some hundred bytes.

use super::WireError;
use crate::transport::limits::BODY_FIELDS_MAX;

/// Refuses a frame whose fields, one level down, are more than any message of ours has.
pub(super) fn check(frame: &[u8]) -> Result<(), WireError> {
    let mut fields = 0;
    walk(frame, &mut |content| {
        fields += 1;
        if let Some(body) = content {
            // What isn't a message (a string, packed numbers) may fail to walk: it is one field either way.
            let mut inner = 0;
            let _ = walk(body, &mut |_| {
                inner += 1;
                inner <= BODY_FIELDS_MAX
            });
            fields += inner;
        }
        fields <= BODY_FIELDS_MAX
    })
    .ok_or(WireError::Undecodable)?;
    if fields > BODY_FIELDS_MAX { Err(WireError::TooManyFields) } else { Ok(()) }
}

/// Calls `each` with the content of every length-delimited field, and `None` for a number, until it returns false.
/// `None` if the bytes are no sequence of fields (groups included: nobody sends them).
fn walk<'a>(mut bytes: &'a [u8], each: &mut dyn FnMut(Option<&'a [u8]>) -> bool) -> Option<()> {
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let content = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                None
            }
            1 => {
                bytes = bytes.get(8..)?;
                None
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Some(content)
            }
            5 => {
                bytes = bytes.get(4..)?;
                None
            }
            _ => return None,
        };
        if !each(content) {
            return Some(());
        }
    }
    Some(())
}

/// Takes one varint of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Defence: fields are counted before prost takes memory for them; removed, 1 MiB becomes hundreds.
    /// R1, R4: huge repeated fields.
    #[test]
    fn a_frame_of_tiny_entries_is_refused_before_it_is_decoded() {
        let entries = |count: usize| {
            let body = [0x12, 0x00].repeat(count);
            let mut frame = vec![0x2a];
            prost::encoding::encode_varint(body.len() as u64, &mut frame);
            frame.extend_from_slice(&body);
            frame
        };
        assert!(check(&entries(1_000)).is_ok());
        assert!(matches!(check(&entries(1_200)), Err(WireError::TooManyFields)));
        assert!(matches!(check(&entries(400_000)), Err(WireError::TooManyFields)));
    }

    /// R4: fields that are given again and again.
    #[test]
    fn the_same_field_repeated_counts_each_time() {
        // prost merges repeated occurrences of a message: three bodies of 500 entries are one of 1 500.
        let body = [0x12, 0x00].repeat(500);
        let mut one = vec![0x2a];
        prost::encoding::encode_varint(body.len() as u64, &mut one);
        one.extend_from_slice(&body);
        assert!(check(&one).is_ok());
        assert!(matches!(check(&one.repeat(3)), Err(WireError::TooManyFields)));
    }

    #[test]
    fn torn_bytes_are_undecodable() {
        for torn in [
            &[0x80][..],
            &[0x2a, 0x05, 0x00],
            &[0x0b],
            &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(matches!(check(torn), Err(WireError::Undecodable)), "{torn:x?}");
        }
    }
}
