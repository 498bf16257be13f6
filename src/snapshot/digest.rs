//! 32-byte hashes that must not be mixed, each a type of its own.

use std::{fmt, str::FromStr};

/// Text that isn't 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct HexError;

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The raw 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            /// Strict: 64 digits, lower case only, as Fabric writes them.
            fn from_str(text: &str) -> Result<Self, HexError> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = HexError;
            fn try_from(bytes: &[u8]) -> Result<Self, HexError> {
                bytes.try_into().map(Self).map_err(|_| HexError)
            }
        }
    };
}

hash!(
    /// SHA-256 of one snapshot file: Fabric's authority (`snapshot_files_raw_hashes`).
    FileDigest
);
hash!(
    /// Plain BLAKE3 of one snapshot file, as `b3sum` prints it: the root of its chunk tree.
    ChunkRoot
);
hash!(
    /// BLAKE3 chaining value of one aligned group (or span) of a file that has more than one.
    GroupValue
);
hash!(
    /// SHA-256 of the bytes of `_snapshot_signable_metadata.json` (`snapshot_hash` in the additional metadata).
    SnapshotHash
);
hash!(
    /// SHA-256 of `"snapferry/1 manifest\0"` and the manifest's canonical bytes.
    ManifestHash
);
hash!(
    /// SHA-256 that stands at the end of a record of the audit log, over the one before it and the record.
    AuditChain
);
hash!(
    /// A hash of the ledger: block hash or commit hash.
    BlockHash
);

fn parse(text: &str) -> Result<[u8; 32], HexError> {
    if text.bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(HexError);
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lower_case_digits_parse() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<FileDigest>().unwrap().to_string(), text);
        for bad in ["", "00", &text.to_uppercase(), &format!("{text}00"), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(bad.parse::<FileDigest>(), Err(HexError), "{bad}");
        }
    }
}
