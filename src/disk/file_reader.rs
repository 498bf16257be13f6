//! A [`File`] as a stream.

use std::{io, sync::Arc};

use super::File;

/// Reads a file from the start to its end, for parsers that want [`io::Read`]. Unbuffered.
#[derive(Debug)]
pub struct FileReader {
    file: Arc<dyn File>,
    offset: u64,
}

impl FileReader {
    /// A reader that stands at the file's first byte.
    #[must_use]
    pub fn new(file: Arc<dyn File>) -> Self {
        Self { file, offset: 0 }
    }
}

impl io::Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.offset)?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}
