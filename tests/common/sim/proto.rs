//! Protocol buffers by hand: what Fabric's configuration is made of, in fixed bytes.

/// A message, field by field.
#[derive(Debug, Clone, Default)]
pub struct Proto(Vec<u8>);

impl Proto {
    pub fn new() -> Self {
        Self::default()
    }

    /// A number, also if it is 0.
    pub fn number(mut self, field: u32, number: u64) -> Self {
        self.uvarint(u64::from(field) << 3);
        self.uvarint(number);
        self
    }

    pub fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.uvarint(u64::from(field) << 3 | 2);
        self.uvarint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// An entry of a map with names as keys.
    pub fn entry(self, field: u32, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.bytes(field, Self::new().bytes(1, key).bytes(2, value))
    }

    pub fn end(self) -> Vec<u8> {
        self.0
    }

    fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Proto {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
