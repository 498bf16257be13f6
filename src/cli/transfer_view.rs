//! Draws a join while it runs: a bar on a terminal, a line per 10 s or 5 % elsewhere, NDJSON with `-O json`.

use std::{
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use snapferry::{
    bootstrap::{JoinEvent, LatePeer, Observer, TransferProgress},
    service::units::format_bytes,
};
use tokio::time::Instant;

/// A line without a terminal: at least this often ...
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// ... or after this many percent.
const LINE_PERCENT: u64 = 5;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A bar on stderr, redrawn.
    Bar,
    /// Lines on stderr.
    Lines,
    /// NDJSON on stdout.
    Json,
    /// Only what the operator must know.
    Quiet,
}

/// The observer that shows events in `style`, indented by `indent` (the quickstart nests several joins).
pub(crate) fn observer(style: Style, indent: &'static str) -> Observer {
    let screen = Mutex::new(Screen::new(style, indent));
    Arc::new(move |event| screen.lock().unwrap_or_else(PoisonError::into_inner).show(&event))
}

struct Screen {
    style: Style,
    indent: &'static str,
    bar: Option<ProgressBar>,
    last_line: Option<(Instant, u64)>,
    last_joining: Option<Instant>,
}

impl Screen {
    const fn new(style: Style, indent: &'static str) -> Self {
        Self { style, indent, bar: None, last_line: None, last_joining: None }
    }

    fn show(&mut self, event: &JoinEvent) {
        match self.style {
            Style::Json => json(event),
            Style::Quiet => match event {
                JoinEvent::SourceDropped { .. }
                | JoinEvent::DiskFull { .. }
                | JoinEvent::NoDescriptors { .. }
                | JoinEvent::PeersBeganLater { .. }
                | JoinEvent::OtherSnapshot { .. } => self.say(event),
                _ => {}
            },
            Style::Bar | Style::Lines => match event {
                JoinEvent::Progress(progress) if self.style == Style::Bar => self.draw(progress),
                JoinEvent::Progress(progress) => self.line(percent(progress), &summary(progress)),
                JoinEvent::Loading { bytes, total_bytes } => self.loading(*bytes, *total_bytes),
                JoinEvent::PeerJoins { elapsed } => self.joining(*elapsed),
                _ => self.say(event),
            },
        }
    }

    fn say(&mut self, event: &JoinEvent) {
        let Some(text) = words(event) else { return };
        let text = format!("{}{text}", self.indent);
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ => print(&text),
        }
    }

    fn draw(&mut self, progress: &TransferProgress) {
        let indent = self.indent;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(progress.total_bytes), ProgressDrawTarget::stderr_with_hz(10));
            let template = format!("{indent}{{bar:32}} {{percent:>3}}% {{msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            }
            bar
        });
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.verified_bytes);
        bar.set_message(summary(progress));
        if progress.verified_bytes >= progress.total_bytes {
            bar.finish();
        }
    }

    /// The load of what has landed, after the transfer.
    fn loading(&mut self, bytes: u64, total_bytes: u64) {
        let percent = bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(100);
        let text = format!("loading: {} of {}", format_bytes(bytes), format_bytes(total_bytes));
        match &self.bar {
            Some(bar) if self.style == Style::Bar => {
                bar.reset_eta();
                bar.set_length(total_bytes);
                bar.set_position(bytes);
                bar.set_message(text);
                bar.tick();
            }
            _ => {
                if self.last_line.is_some_and(|(_, before)| before > percent) {
                    self.last_line = Some((Instant::now(), 0)); // the transfer had come to its end
                }
                self.line(percent, &text);
            }
        }
    }

    /// The peer says no more than that it still works.
    fn joining(&mut self, elapsed: Duration) {
        let now = Instant::now();
        if elapsed.as_secs() < 2 || self.last_joining.is_some_and(|at| now.duration_since(at) < LINE_PERIOD) {
            return;
        }
        self.last_joining = Some(now);
        print(&format!("{}the peer is joining, since {}", self.indent, duration(elapsed)));
    }

    fn line(&mut self, percent: u64, text: &str) {
        let now = Instant::now();
        let due = self.last_line.is_none_or(|(at, before)| {
            now.duration_since(at) >= LINE_PERIOD
                || percent >= before + LINE_PERCENT
                || (percent == 100 && before < 100)
        });
        if due {
            self.last_line = Some((now, percent));
            print(&format!("{}{percent:>3}% {text}", self.indent));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// One event as a sentence; `None` for those that are drawn.
fn words(event: &JoinEvent) -> Option<String> {
    Some(match event {
        JoinEvent::SourceReady { source, msp_id, snapshots, .. } => {
            format!("{source} is {msp_id}: offers {snapshots} snapshot{}", plural(*snapshots))
        }
        JoinEvent::SourceFailed { source, reason } => format!("{source} can't be used now: {reason}"),
        JoinEvent::Agreed {
            channel, block_number, snapshot_hash, organisations, total_bytes, files, staged, ..
        } => {
            format!(
                "{} vouch{} for {channel} at block {block_number}: {files} files, {}, snapshot hash {}{}",
                organisations.join(" and "),
                if organisations.len() == 1 { "es" } else { "" },
                format_bytes(*total_bytes),
                snapshot_hash.get(..16).unwrap_or(snapshot_hash),
                if *staged { "; nobody vouches for its manifest, so only whole files will count" } else { "" }
            )
        }
        JoinEvent::Equivocation { msp_id, what, file } => {
            format!("ALARM: {msp_id} contradicts itself and doesn't count: {what}; the proof: {file}")
        }
        JoinEvent::Resuming { bytes: resumed } => {
            format!("resuming: {} of an earlier run are here and are proved again", format_bytes(*resumed))
        }
        JoinEvent::PeersBeganLater { block_number, sources } => {
            let late = |peer: &LatePeer| format!("{} of {} (block {})", peer.source, peer.msp_id, peer.peer_begins_at);
            let late: Vec<String> = sources.iter().map(late).collect();
            format!(
                "WARNING: private data up to block {block_number} may never come: the sources' own peers joined by later snapshots and begin after it: {}",
                late.join(", ")
            )
        }
        JoinEvent::Serving { address } => {
            format!("serving what is proved to joiners of our own organisation at {address}, as long as this runs")
        }
        JoinEvent::SourceDropped { source, msp_id, identity_id, reason } => format!(
            "DROPPED {source} of {msp_id} (identity {}): {reason}",
            identity_id.get(..16).unwrap_or(identity_id)
        ),
        JoinEvent::SourceLost { source, reason } => format!("lost {source}: {reason}; dialling again"),
        JoinEvent::OtherSnapshot { block_number, reason } => {
            format!("block {block_number} can't be fetched any more, another snapshot is looked for: {reason}")
        }
        JoinEvent::WaitsForSources { reason } => format!("waiting for sources that were lost: {reason}"),
        JoinEvent::SourceEnds { source, drain } => {
            format!("{source} deletes the snapshot: it gives chunks for {} more", duration(*drain))
        }
        JoinEvent::ChunkRepaired { file, chunk, nth, of } => format!("repaired {nth} of {of}: chunk {chunk} of {file}"),
        JoinEvent::PeerBusy { folder } => {
            format!("waiting for the peer: it joins another channel, from {folder} on its disk")
        }
        JoinEvent::PeerGone { reason } => {
            format!("the peer doesn't answer in the middle of its join: {reason}; asking again")
        }
        JoinEvent::LedgerRoom { path, expected, free } => format!(
            "the disk of {path} has {} free, and the channel's databases take up to {}: make room meanwhile, unless the data compress well",
            format_bytes(*free),
            format_bytes(*expected)
        ),
        JoinEvent::LoadsBeside => "what is proved goes into the peer's databases while it comes".to_owned(),
        JoinEvent::LoadFailed { reason } => {
            format!("the load beside the transfer has failed, the folder is loaded instead: {reason}")
        }
        JoinEvent::DiskFull { reason } => format!("the disk is full, waiting until there is room: {reason}"),
        JoinEvent::NoDescriptors { reason } => {
            format!("no file descriptor is left, waiting until there are some: {reason}")
        }
        _ => return None,
    })
}

/// Rate, ETA, shares, and what it waits for.
pub(crate) fn summary(progress: &TransferProgress) -> String {
    let mut text = format!("{} of {}", format_bytes(progress.verified_bytes), format_bytes(progress.total_bytes));
    if progress.bytes_per_second > 0 {
        text.push_str(&format!("  {}/s", format_bytes(progress.bytes_per_second)));
    }
    if let Some(eta) = progress.eta.filter(|_| progress.verified_bytes < progress.total_bytes) {
        text.push_str(&format!("  ETA {}", duration(eta)));
    }
    let delivered: u64 = progress.shares.iter().map(|share| share.verified_bytes).sum();
    for share in progress.shares.iter().filter(|share| delivered > 0 && !share.dropped) {
        let part = share.verified_bytes.saturating_mul(100) / delivered.max(1);
        text.push_str(&format!("  {} {part}%", share.msp_id));
    }
    if let Some(reason) = &progress.waiting_for {
        text.push_str(&format!("  (waiting for {reason})"));
    }
    text
}

/// `1m05s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `s` for any count but one.
pub(crate) const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn percent(progress: &TransferProgress) -> u64 {
    progress.verified_bytes.saturating_mul(100).checked_div(progress.total_bytes).unwrap_or(100)
}

fn json(event: &JoinEvent) {
    if let Ok(line) = serde_json::to_string(event) {
        // A closed pipe ends the command where the result is written, not here.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

fn print(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_an_operators() {
        assert_eq!(duration(Duration::from_secs(65)), "1m05s");
        assert_eq!(duration(Duration::from_secs(3700)), "1h01m");
    }
}
