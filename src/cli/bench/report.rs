//! The figures of a run: medians of the rounds for times, the worst for memory; as a table and as JSON.

use super::{
    child::Usage,
    one_core::OneCore,
    raw_quinn::Raw,
    stage::Sample,
    transfer::{Load, Transfer},
};
use serde_json::{Value, json};
use std::{fmt::Write as _, time::Duration};

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) data: &'static str,
    pub(super) mtu: u16,
    pub(super) sample: Sample,
    /// Per source: hashing and publishing the sample.
    pub(super) publish: Vec<Usage>,
    pub(super) rounds: Vec<Round>,
}

/// One round.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) raw: Raw,
    pub(super) transfer: Transfer,
    pub(super) one_core: OneCore,
}

/// What loading cost, in figures.
struct Loaded {
    mb_per_s: f64,
    direct_s: f64,
    beside_s: f64,
    sequential_s: f64,
    ratio: f64,
    ratios: Vec<f64>,
    two_commands_s: f64,
    folder: Side,
    beside: Side,
}

/// One side in figures.
#[derive(Clone)]
struct Side {
    cpu_s_per_gb: f64,
    user_s_per_gb: f64,
    peak_mb: f64,
}

impl Report {
    /// One result object.
    pub(super) fn json(&self) -> Value {
        let raw = self.rate(|round| round.raw.receiver.wall);
        let ours = self.rate(|round| round.transfer.joiner.wall);
        let side = |side: Side| {
            json!({
                "cpu_s_per_gb": round3(side.cpu_s_per_gb), "user_s_per_gb": round3(side.user_s_per_gb), "peak_mb": round3(side.peak_mb),
            })
        };
        json!({
            "event": "result",
            "bytes": self.sample.bytes,
            "data": self.data,
            "sources": self.publish.len(),
            "rounds": self.rounds.len(),
            "mtu": self.mtu,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "transfer": {
                "mb_per_s": round3(ours),
                "seconds": round3(self.median(|round| round.transfer.joiner.wall.as_secs_f64())),
                "wire_bytes": self.wire_bytes(),
                "joiner": side(self.joiner()),
                "sources": (0..self.publish.len()).map(|index| side(self.source(index))).collect::<Vec<_>>(),
                "cpu_s_per_gb": round3(self.both_ends()),
                "shares": self.rounds.last().map(|round| round.transfer.shares.clone()),
                "ratio_to_raw_quinn": round3(ours / raw),
                "ratios": self.rounds.iter().map(|round| round3(round.ratio())).collect::<Vec<_>>(),
            },
            "raw_quinn": {
                "mb_per_s": round3(raw),
                "receiver": side(self.side(|round| round.raw.receiver, None)),
                "sender": side(self.side(|round| round.raw.sender, None)),
            },
            "load": self.load().map(|load| json!({
                "mb_per_s": round3(load.mb_per_s),
                "seconds": round3(load.direct_s),
                "folder": side(load.folder),
                "address_to_ledger_seconds": round3(load.beside_s),
                "land_then_load_seconds": round3(load.sequential_s),
                "ratio": round3(load.ratio),
                "ratios": load.ratios.iter().copied().map(round3).collect::<Vec<_>>(),
                "two_commands_seconds": round3(load.two_commands_s),
                "beside": side(load.beside),
            })),
            "one_core": {
                "sha256_mb_per_s": round3(self.core(|core| (core.bytes, core.sha256))),
                "blake3_mb_per_s": round3(self.core(|core| (core.bytes, core.blake3))),
                "zstd_compress_mb_per_s": round3(self.core(|core| (core.bytes, core.compress))),
                "zstd_decompress_mb_per_s": self.decompressed().map(round3),
                "zstd_ratio": round3(self.zstd_ratio()),
            },
            "sample": {
                "mb_per_s": round3(mb_per_s(self.sample.bytes, self.sample.usage.wall)),
                "peak_mb": round3(mb(self.sample.usage.peak_bytes)),
            },
            "publish": {
                "mb_per_s": round3(self.published()),
                "peak_mb": round3(self.publish.iter().map(|usage| mb(usage.peak_bytes)).fold(0.0, f64::max)),
            },
        })
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let mut line = |line: String| {
            let _ = writeln!(text, "{}", line.trim_end());
        };
        let raw = self.rate(|round| round.raw.receiver.wall);
        let ours = self.rate(|round| round.transfer.joiner.wall);
        let (rounds, sources) = (self.rounds.len(), self.publish.len());
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        line(format!(
            "{:.2} GB of {} data from {sources} source{} on loopback, {rounds} round{}, MTU {}; MB = 10^6 bytes, medians, worst memory",
            self.gb(),
            self.data,
            plural(sources),
            plural(rounds),
            self.mtu
        ));
        line(format!("{:<34}{:>9}{:>12}{:>10}", "", "MB/s", "CPU-s/GB", "peak MB"));
        let mut row = |name: &str, rate: Option<f64>, side: Option<Side>| {
            let rate = rate.map_or(String::new(), |rate| format!("{rate:.0}"));
            let (cpu, peak) = side.map_or((String::new(), String::new()), |side| {
                (format!("{:.2}", side.cpu_s_per_gb), format!("{:.1}", side.peak_mb))
            });
            line(format!("{name:<34}{rate:>9}{cpu:>12}{peak:>10}"));
        };
        row("transfer, disk to disk, proved", Some(ours), None);
        row("  joiner", None, Some(self.joiner()));
        for index in 0..sources {
            row(&format!("  source {}", index + 1), None, Some(self.source(index)));
        }
        let load = self.load();
        if let Some(load) = &load {
            row("direct load of the folder", Some(load.mb_per_s), None);
            row("  proving it, then loading", None, Some(load.folder.clone()));
            row(
                "address to loaded ledger",
                Some(mb(self.sample.bytes) / load.beside_s.max(1e-9)),
                Some(load.beside.clone()),
            );
        }
        row("raw quinn, memory to memory", Some(raw), None);
        row("  receiver", None, Some(self.side(|round| round.raw.receiver, None)));
        row("  sender", None, Some(self.side(|round| round.raw.sender, None)));
        row("one core: SHA-256", Some(self.core(|core| (core.bytes, core.sha256))), None);
        row("one core: BLAKE3", Some(self.core(|core| (core.bytes, core.blake3))), None);
        row("one core: zstd level 1", Some(self.core(|core| (core.bytes, core.compress))), None);
        if let Some(rate) = self.decompressed() {
            row("one core: zstd decompression", Some(rate), None);
        }
        row("writing the sample", Some(mb_per_s(self.sample.bytes, self.sample.usage.wall)), None);
        row("a source's first look (hashing)", Some(self.published()), None);
        let ratios: Vec<String> = self.rounds.iter().map(|round| format!("{:.2}", round.ratio())).collect();
        line(format!(
            "ratio to raw quinn {:.2} ({}), CPU of all ends {:.2} s/GB, {:.3} bytes on the wire per byte",
            ours / raw,
            ratios.join(" "),
            self.both_ends(),
            self.wire_bytes() as f64 / self.sample.bytes as f64
        ));
        if let Some(load) = load {
            let ratios: Vec<String> = load.ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
            line(format!(
                "address to loaded ledger {:.1} s, landing and direct load one after the other {:.1} s: {:.2} of it ({}); \
                 as two commands, of which the second proves the folder again, {:.1} s",
                load.beside_s,
                load.sequential_s,
                load.ratio,
                ratios.join(" "),
                load.two_commands_s
            ));
        }
        text
    }

    /// What loading cost, if every round measured it.
    fn load(&self) -> Option<Loaded> {
        let all: Option<Vec<(Load, Duration)>> =
            self.rounds.iter().map(|round| Some((round.transfer.load?, round.transfer.joiner.wall))).collect();
        let all = all.filter(|all| !all.is_empty())?;
        let of = |figure: &dyn Fn(&(Load, Duration)) -> f64| median(all.iter().map(figure).collect());
        let sequential = |(load, landing): &(Load, Duration)| (*landing + load.direct).as_secs_f64();
        let ratio = |both: &(Load, Duration)| both.0.beside.wall.as_secs_f64() / sequential(both).max(1e-9);
        let usage = |pick: fn(&Load) -> Usage| {
            self.side(|round| round.transfer.load.as_ref().map(pick).unwrap_or_default(), None)
        };
        Some(Loaded {
            mb_per_s: of(&|(load, _)| mb_per_s(self.sample.bytes, load.direct)),
            direct_s: of(&|(load, _)| load.direct.as_secs_f64()),
            beside_s: of(&|(load, _)| load.beside.wall.as_secs_f64()),
            sequential_s: of(&sequential),
            ratio: of(&ratio),
            ratios: all.iter().map(ratio).collect(),
            two_commands_s: of(&|(load, landing)| (*landing + load.landed.wall).as_secs_f64()),
            folder: usage(|load| load.landed),
            beside: usage(|load| load.beside),
        })
    }

    fn gb(&self) -> f64 {
        self.sample.bytes as f64 / 1e9
    }

    fn rate(&self, wall: impl Fn(&Round) -> Duration) -> f64 {
        self.median(|round| mb_per_s(self.sample.bytes, wall(round)))
    }

    fn joiner(&self) -> Side {
        self.side(|round| round.transfer.joiner, None)
    }

    /// Memory includes its first look at the sample.
    fn source(&self, index: usize) -> Side {
        let of = |round: &Round| round.transfer.sources.get(index).copied().unwrap_or_default();
        self.side(of, self.publish.get(index))
    }

    fn side(&self, usage: impl Fn(&Round) -> Usage, also: Option<&Usage>) -> Side {
        let peak = self.rounds.iter().map(|round| usage(round).peak_bytes).chain(also.map(|usage| usage.peak_bytes));
        Side {
            cpu_s_per_gb: self.median(|round| usage(round).cpu().as_secs_f64()) / self.gb(),
            user_s_per_gb: self.median(|round| usage(round).user.as_secs_f64()) / self.gb(),
            peak_mb: peak.max().map_or(0.0, mb),
        }
    }

    fn both_ends(&self) -> f64 {
        let all = |round: &Round| {
            let sources: Duration = round.transfer.sources.iter().map(Usage::cpu).sum();
            (round.transfer.joiner.cpu() + sources).as_secs_f64()
        };
        self.median(all) / self.gb()
    }

    fn wire_bytes(&self) -> u64 {
        self.rounds.iter().map(|round| round.transfer.wire_bytes).max().unwrap_or(0)
    }

    fn core(&self, step: impl Fn(&OneCore) -> (u64, Duration)) -> f64 {
        self.median(|round| {
            let (bytes, time) = step(&round.one_core);
            mb_per_s(bytes, time)
        })
    }

    fn decompressed(&self) -> Option<f64> {
        let any = self.rounds.iter().any(|round| round.one_core.decompressed_bytes > 0);
        any.then(|| self.core(|core| (core.decompressed_bytes, core.decompress)))
    }

    fn zstd_ratio(&self) -> f64 {
        self.median(|round| round.one_core.bytes as f64 / round.one_core.compressed_bytes.max(1) as f64)
    }

    fn published(&self) -> f64 {
        median(self.publish.iter().map(|usage| mb_per_s(self.sample.bytes, usage.wall)).collect())
    }

    fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

impl Round {
    /// Both moved the same bytes.
    fn ratio(&self) -> f64 {
        self.raw.receiver.wall.as_secs_f64() / self.transfer.joiner.wall.as_secs_f64().max(1e-9)
    }
}

/// The middle one, or the mean of the two in the middle; 0 of none.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let (upper, lower) = (figures.len() / 2, figures.len().saturating_sub(1) / 2);
    match (figures.get(lower), figures.get(upper)) {
        (Some(lower), Some(upper)) => (lower + upper) / 2.0,
        _ => 0.0,
    }
}

fn mb_per_s(bytes: u64, time: Duration) -> f64 {
    mb(bytes) / time.as_secs_f64().max(1e-9)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Three digits behind the point: more would be noise.
fn round3(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
