//! Progress on standard error: a bar with rate and ETA on a terminal, else a line per 10 s or 5 %.

use super::{context::Context, transfer_view::duration};
use indicatif::{ProgressBar, ProgressStyle};
use snapferry::service::units::format_bytes;
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

/// A line without a terminal: at least this often ...
const LINE_EVERY: Duration = Duration::from_secs(10);
/// ... or after this many percent, ...
const LINE_PERCENT: u64 = 5;
/// ... but none in the first second: what is done by then needs no progress.
const QUIET_FIRST: Duration = Duration::from_secs(1);

/// How far a run of known length is.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// When the last line was printed, and how many percent it said; `None`: a bar, or nothing, is shown.
    last_line: Option<(Duration, u64)>,
}

impl Progress {
    /// Starts a run over `total_bytes`.
    pub(crate) fn start(context: &Context, what: &'static str, total_bytes: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal && !context.global.quiet { ProgressBar::new(total_bytes) } else { ProgressBar::hidden() };
        bar.set_length(total_bytes);
        let template = "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Self { bar, what, last_line: (!terminal && !context.global.quiet).then_some((Duration::ZERO, 0)) }
    }

    /// Counts bytes that are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bar.inc(bytes);
        let Some(last) = self.last_line else { return };
        let elapsed = self.bar.elapsed();
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if is_due(last, elapsed, percent) {
            self.last_line = Some((elapsed, percent));
            let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            let left = Duration::from_secs(total.saturating_sub(done) / rate.max(1));
            let (done, total, rate) = (format_bytes(done), format_bytes(total), format_bytes(rate));
            // A lost progress line is no failure.
            let _ = writeln!(
                io::stderr(),
                "{}: {percent:>3}% {done} of {total}  {rate}/s  ETA {}",
                self.what,
                duration(left)
            );
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn is_due((at, before): (Duration, u64), now: Duration, percent: u64) -> bool {
    now >= QUIET_FIRST && (now >= at + LINE_EVERY || percent >= before + LINE_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_after_ten_seconds_or_five_percent_but_not_at_once() {
        let seconds = Duration::from_secs;
        let start = (Duration::ZERO, 0);
        assert!(!is_due(start, Duration::from_millis(999), 100));
        assert!(is_due(start, seconds(1), 5));
        assert!(!is_due(start, seconds(9), 4));
        assert!(is_due(start, seconds(10), 0));
        assert!(!is_due((seconds(10), 40), seconds(19), 44));
        assert!(is_due((seconds(10), 40), seconds(11), 45));
        assert!(is_due((seconds(10), 40), seconds(20), 40));
    }
}
