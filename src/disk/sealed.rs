//! Small files of our own state that must be whole or refused: a magic, the content, BLAKE3 of both.

const MAGIC_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 32;

/// Says what a file is, and of which version.
pub(crate) type Magic = [u8; MAGIC_BYTES];

/// The file's bytes.
pub(crate) fn seal(magic: &Magic, content: &[u8]) -> Vec<u8> {
    let mut out = [magic, content].concat();
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

/// The content, if the file is whole and of that kind.
pub(crate) fn unseal<'a>(magic: &Magic, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    (blake3::hash(body).as_bytes() == checksum).then(|| body.strip_prefix(magic)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_comes_back_and_nothing_else_does() {
        let sealed = seal(b"snapferry a test", b"content");
        assert_eq!(unseal(b"snapferry a test", &sealed), Some(&b"content"[..]));
        assert_eq!(unseal(b"snapferry b test", &sealed), None);
        for at in 0..sealed.len() {
            assert_eq!(unseal(b"snapferry a test", &sealed[..at]), None, "cut at {at}");
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(unseal(b"snapferry a test", &flipped), None, "flipped at {at}");
        }
    }
}
