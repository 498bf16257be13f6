//! A proved chunk on its way to the disk and to the in-order pass; also once more, when the disk was full.

use std::time::Duration;

use super::{
    fetch::{Answer, Message},
    in_order::Inbox,
};
use crate::chunking::{Store, VerifiedChunk, plan::SourceId};

/// A proved chunk, and whose it was.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) linear: u64,
    pub(super) source: SourceId,
    pub(super) wire_bytes: u64,
    pub(super) chunk: VerifiedChunk,
}

impl Writing {
    /// Writes it, and tells how that went; what couldn't be written comes back. For a worker.
    pub(super) fn write(self, store: &Store, inbox: &Inbox, now: Duration, answer: Answer) {
        if let Err(error) = store.write(&self.chunk, now) {
            return answer.give(Message::NotWritten { writing: Box::new(self), error });
        }
        let Self { linear, source, wire_bytes, chunk } = self;
        let raw_bytes = chunk.bytes().len() as u64;
        let kept = inbox.offer(linear, chunk);
        answer.give(Message::Written { linear, source, wire_bytes, raw_bytes, kept });
    }
}
