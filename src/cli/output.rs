//! Results on standard output, and in the files that commands write.

use super::exit::{Exit, Failure};
use serde::Serialize;
use snapferry::disk::{OsDir, write_durably};
use std::{
    borrow::Cow,
    io::{self, Write as _},
    path::Path,
};

/// Prints one JSON object on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
    line.push(b'\n');
    print_bytes(&line)
}

/// Prints text; the caller ends its lines. Names in it may be a stranger's: none of them moves the cursor or turns the line round.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(printable(text).as_bytes())
}

/// The text, with everything escaped that a terminal would obey rather than show.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if obeyed(c) { c.escape_default().collect() } else { vec![c] };
    Cow::Owned(text.chars().flat_map(shown).collect())
}

/// Prints bytes.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Writes a file durably, in the place of an older one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let path = std::path::absolute(path)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Failure::new(Exit::Usage, format!("{} is no name for a file", path.display())));
    };
    Ok(write_durably(&*OsDir::open(folder)?, name, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_steer_the_terminal_is_shown() {
        assert_eq!(printable("a\tb\n\u{1b}]0;owned\u{7}\u{202e}c"), "a\tb\n\\u{1b}]0;owned\\u{7}\\u{202e}c");
        assert!(matches!(printable("Größe ✓\n"), Cow::Borrowed(_)));
    }
}
