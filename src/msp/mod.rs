//! WHO somebody is: MSP identities, channel configuration, signatures (no tokio, no network).

use std::fmt;

/// An organisation's MSP ID, e.g. `Org1MSP`. Bounded where it is parsed (256 bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MspId(String);

impl MspId {
    const BYTES_MAX: usize = 256;

    /// The name, unless it is empty, longer than 256 bytes, or holds control characters (it is printed and logged).
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = !name.is_empty() && name.len() <= Self::BYTES_MAX && !name.chars().any(char::is_control);
        legal.then(|| Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MspId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
