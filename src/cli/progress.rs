//! Progress on standard error: a bar with rate and ETA on a terminal, else a line each 10 s.

use super::context::Context;
use indicatif::{ProgressBar, ProgressStyle};
use snapferry::service::units::format_bytes;
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far a run of known length is.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// Elapsed time at which the next line is due; `None`: a bar, or nothing, is shown.
    next_line: Option<Duration>,
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
        Self { bar, what, next_line: (!terminal && !context.global.quiet).then_some(LINE_EVERY) }
    }

    /// Counts bytes that are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bar.inc(bytes);
        let Some(due) = self.next_line else { return };
        let elapsed = self.bar.elapsed();
        if elapsed >= due {
            self.next_line = Some(elapsed + LINE_EVERY);
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            let rate = u128::from(done) * 1000 / elapsed.as_millis().max(1);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX);
            let left = total.saturating_sub(done) / rate.max(1);
            let (done, total, rate) = (format_bytes(done), format_bytes(total), format_bytes(rate));
            // A lost progress line is no failure.
            let _ = writeln!(io::stderr(), "{}: {done} of {total}, {rate}/s, {left} s left", self.what);
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
