//! Reads an audit log from its first line to its last, and says where its chain breaks.
//!
//! What a chain shows: who changes, drops, adds or moves a line breaks it there, unless he writes all that follows anew. Whole lines cut
//! off at the end, and a log written anew as a whole, are told only by a chain value that was noted elsewhere.

use std::io::{self, BufRead, BufReader, Read};

use super::record::{AUDIT_LINE_BYTES_MAX, AuditWhat, Line};
use crate::snapshot::AuditChain;

/// The chain before the first record.
pub(super) const NO_CHAIN: AuditChain = AuditChain([0; 32]);

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditFault {
    /// Not what the service writes.
    #[error("it is no record")]
    NotARecord,
    /// The same record could be written otherwise.
    #[error("it isn't spelled as the service spells it")]
    Spelling,
    /// Over [`AUDIT_LINE_BYTES_MAX`].
    #[error("it is longer than {AUDIT_LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Lines are missing, doubled, or not in their order.
    #[error("it is record {found} where record {expected} should be: lines were taken out, put in or moved")]
    Sequence {
        /// The number that follows.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// The hash isn't that of this line after the line before.
    #[error("its hash doesn't follow from it and the line before: one of the two was changed")]
    Chain,
    /// The first line is neither record 1 nor names the file before.
    #[error("it is neither the first record nor says which file it goes on from: lines before it were taken out")]
    Start,
}

/// Why an audit log doesn't hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A line is wrong.
    #[error("line {line}: {fault}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        fault: AuditFault,
    },
    /// A chain value that was noted doesn't occur.
    #[error("chain {0} isn't in it: records up to it were changed, or cut off, or it belongs to another file")]
    NoSuchChain(AuditChain),
    /// The file can't be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// What a sound log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditSummary {
    /// Whole records.
    pub records: u64,
    /// Numbers of the first and the last record; `None` if there is no record.
    pub numbers: Option<(u64, u64)>,
    /// Times of the first and the last record, as they stand there.
    pub times: Option<(String, String)>,
    /// The chain of the file that this one goes on from.
    pub before: Option<AuditChain>,
    /// The chain of the last record: whoever has noted it can tell later that nothing up to it was changed.
    pub head: AuditChain,
    /// Bytes of whole records.
    pub whole_bytes: u64,
    /// Bytes behind them: the record that a crash tore.
    pub torn_bytes: u64,
}

/// Checks every line of a log. With `noted`, that chain value must occur in it (or before its first record). Memory: one line.
///
/// A last line that a crash tore (it has no line feed, or holes that read as zeros) is no fault: each record is durable before the
/// next one is written, so there is one at most.
///
/// # Errors
/// [`AuditError`], at the first line that is wrong.
pub fn check_audit(log: impl Read, noted: Option<AuditChain>) -> Result<AuditSummary, AuditError> {
    let mut lines = BufReader::new(log);
    let mut summary = AuditSummary::default();
    let mut is_there = noted.is_none();
    loop {
        let line = summary.records + 1;
        let failed = |fault| AuditError::Line { line, fault };
        let mut bytes = Vec::new();
        lines.by_ref().take(AUDIT_LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
        let is_last = lines.fill_buf()?.is_empty();
        match bytes.strip_suffix(b"\n") {
            _ if bytes.is_empty() => break,
            Some(whole) if !whole.contains(&0) => {
                summary.take(whole).map_err(failed)?;
                is_there |= noted == Some(summary.head) || noted == summary.before;
            }
            // No record holds a NUL, however its text is: JSON escapes them.
            _ if is_last => {
                summary.torn_bytes = bytes.len() as u64;
                break;
            }
            None => return Err(failed(AuditFault::TooLong)),
            Some(_) => return Err(failed(AuditFault::NotARecord)),
        }
    }
    match noted {
        Some(noted) if !is_there => Err(AuditError::NoSuchChain(noted)),
        _ => Ok(summary),
    }
}

impl Default for AuditSummary {
    fn default() -> Self {
        let (records, whole_bytes, torn_bytes) = (0, 0, 0);
        Self { records, numbers: None, times: None, before: None, head: NO_CHAIN, whole_bytes, torn_bytes }
    }
}

impl AuditSummary {
    /// Adds the next line, if it follows.
    fn take(&mut self, bytes: &[u8]) -> Result<(), AuditFault> {
        let (line, chain) = Line::decode(bytes)?;
        let (first, last, begun) = match (self.numbers, &self.times) {
            (Some((first, last)), Some((begun, _))) => {
                let expected = last.saturating_add(1);
                if line.seq != expected {
                    return Err(AuditFault::Sequence { expected, found: line.seq });
                }
                (first, line.seq, begun.clone())
            }
            _ => {
                self.before = line
                    .before
                    .as_ref()
                    .map(|before| before.parse().map_err(|_| AuditFault::NotARecord))
                    .transpose()?;
                self.head = match self.before {
                    Some(before) if line.what == AuditWhat::Continued && line.seq > 1 => before,
                    None if line.seq == 1 => NO_CHAIN,
                    _ => return Err(AuditFault::Start),
                };
                (line.seq, line.seq, line.time.clone())
            }
        };
        if line.chain_after(self.head) != chain {
            return Err(AuditFault::Chain);
        }
        self.numbers = Some((first, last));
        self.times = Some((begun, line.time));
        self.head = chain;
        self.records += 1;
        self.whole_bytes += bytes.len() as u64 + 1;
        Ok(())
    }
}
