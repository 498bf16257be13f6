//! The timeline in a terminal: one line per source, what it gave over time, and what happened.

use std::{fmt::Write as _, time::Duration};

use crate::{
    buckets::Buckets,
    sim::run::{Line, Report, Who},
};

const COLUMNS: usize = 72;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(crate) fn timeline(report: &Report, wall: Duration, verbose: bool) -> String {
    let buckets = Buckets::new(report, COLUMNS);
    let mut text = String::new();
    let scenario = &report.scenario;
    let _ = writeln!(text, "{}  (seed {})\n", scenario.name, report.seed);
    let happenings: Vec<&Line> = report.log.iter().filter(|line| line.who == Who::Scenario).collect();
    let _ = writeln!(text, "{:<22}{}", "what happens", marks(&buckets, &happenings));
    for (number, source) in (1..).zip(&scenario.sources) {
        let name = format!(
            "{number} org{}{}",
            source.org,
            source.lies.as_ref().map_or(String::new(), |lie| format!(" {lie:?}"))
        );
        let name: String = name.chars().take(20).collect();
        let mut line: Vec<char> = buckets.bytes[&number].iter().map(|bytes| bar(*bytes, buckets.most())).collect();
        for event in report.log.iter().filter(|line| line.who == Who::Source(number)) {
            let mark = if event.text.starts_with("dropped") {
                '✗'
            } else if event.text.starts_with("lost") {
                '┆'
            } else {
                continue;
            };
            line[buckets.place(event.at)] = mark;
        }
        let _ = writeln!(text, "{name:<22}{}", line.into_iter().collect::<String>());
    }
    let done: String = buckets.done.iter().map(|part| BARS[(part * 8.0).round() as usize]).collect();
    let _ = writeln!(text, "{:<22}{done}", "done");
    let _ = writeln!(text, "{:<22}{:<66}{:>6}", "", "0 s", format!("{:.0} s", report.took.as_secs_f64()));
    text.push('\n');
    for (mark, line) in (1..).zip(&happenings) {
        let _ = writeln!(text, "  {mark:>2}  {:>8.2} s  {}", line.at.as_secs_f64(), line.text);
    }
    text.push('\n');
    for line in report.log.iter().filter(|line| line.who != Who::Scenario && (verbose || told(line))) {
        let _ = writeln!(text, "      {:>8.2} s  {:<9} {}", line.at.as_secs_f64(), line.who.to_string(), line.text);
    }
    let (faults, received) = (report.faults, report.attempts.iter().map(|attempt| attempt.received_bytes).sum::<u64>());
    let _ = writeln!(
        text,
        "\nvirtual {:.2} s, real {:.0} ms, {} datagrams met a fault: {faults:?}",
        report.took.as_secs_f64(),
        wall.as_secs_f64() * 1e3,
        faults.total()
    );
    let _ = writeln!(
        text,
        "runs of the join {}, bytes of chunks that came {received}, trace {:016x}",
        report.attempts.len(),
        report.shape
    );
    text
}

fn bar(bytes: u64, most: u64) -> char {
    if bytes == 0 { '·' } else { BARS[((bytes as f64 / most as f64 * 8.0).ceil() as usize).clamp(1, 8)] }
}

/// The numbers of what happens, above the time when it does.
fn marks(buckets: &Buckets, happenings: &[&Line]) -> String {
    let mut line = vec![' '; COLUMNS];
    for (number, happening) in (1..).zip(happenings) {
        let place = &mut line[buckets.place(happening.at)];
        *place = if *place == ' ' { char::from_digit(number % 36, 36).unwrap_or('*') } else { '+' };
    }
    line.into_iter().collect()
}

/// What is worth a line without `--verbose`.
fn told(line: &Line) -> bool {
    !line.text.ends_with("is whole") && !line.text.starts_with("can't be used")
}
