//! How busy others keep this host: so that serving snapshots steps back for the peer beside us.
//!
//! Decides what busy is: the share of all CPU time that went to other processes than this one, over two seconds at least. What we use
//! ourselves doesn't count, so that a fast transfer never slows itself down. Disks are left to the kernel: no figure of it tells our own
//! waiting from that of others, but it favours others where our threads that read are background ones ([`crate::chunking::Workers::background`]).
//! What follows when the host is busy is decided in [`crate::transport::serving`].

use std::{io, thread, time::Duration};

use tokio::sync::watch;

/// How often it is looked at: long enough that a burst of work isn't taken for a busy host, short enough for the peer's next block.
const EVERY: Duration = Duration::from_secs(2);
/// CPU time since the system and this process began, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    /// Of all CPUs, whatever they did.
    all: u64,
    /// Of all CPUs, at work.
    worked: u64,
    /// Of this process.
    own: u64,
}

/// Looks again and again, until nobody listens: true while others use more than `above` percent of the CPUs. Where the system doesn't
/// tell (anything but Linux), it is never busy.
///
/// # Errors
/// The system refuses a thread.
pub fn watch_host(above: u8) -> io::Result<watch::Receiver<bool>> {
    let (told, busy) = watch::channel(false);
    let Some(mut last) = ticks() else { return Ok(busy) };
    thread::Builder::new().name("host-load".to_owned()).spawn(move || {
        while !told.is_closed() {
            thread::sleep(EVERY);
            let Some(now) = ticks() else { continue };
            let was = *told.borrow();
            if let Some(load) = others(last, now)
                && is_busy(was, load, above) != was
            {
                let words = if was {
                    "this host is free again: serving at full rate"
                } else {
                    "this host is busy: serving steps back"
                };
                tracing::info!(others_percent = load, above, "{words}");
                told.send_replace(!was);
            }
            last = now;
        }
    })?;
    Ok(busy)
}

/// Whether it counts as busy now. It stays busy until the load has fallen an eighth below the threshold: else a load right at it would
/// have us step back and forth.
const fn is_busy(was: bool, load: u64, above: u8) -> bool {
    let above = above as u64;
    load > if was { above - above / 8 } else { above }
}

/// What others used between two looks, in percent of all CPUs; `None` if no time has passed.
fn others(before: Ticks, now: Ticks) -> Option<u64> {
    let grown = |now: u64, before: u64| now.saturating_sub(before);
    let others = grown(now.worked, before.worked).saturating_sub(grown(now.own, before.own));
    others.saturating_mul(100).checked_div(grown(now.all, before.all))
}

fn ticks() -> Option<Ticks> {
    let (all, worked) = of_all(&std::fs::read_to_string("/proc/stat").ok()?)?;
    let own = of_process(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(Ticks { all, worked, own })
}

/// The first line of `/proc/stat`: all, and all but idle and waiting for a disk.
fn of_all(text: &str) -> Option<(u64, u64)> {
    // user, nice, system, idle, iowait, irq, softirq, steal; guests count as user already.
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
    let fields: Vec<u64> = fields.map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal] = fields.try_into().ok()?;
    let worked = [nice, system, irq, softirq, steal].into_iter().fold(user, u64::saturating_add);
    Some((worked.saturating_add(idle).saturating_add(iowait), worked))
}

/// utime and stime of `/proc/self/stat`. The name before them is in brackets, and may hold anything.
fn of_process(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    fields.next()??.checked_add(fields.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read_and_anything_else_is_nothing() {
        let stat = "cpu  100 20 30 1000 50 4 5 6 70 80\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n";
        assert_eq!(of_all(stat), Some((1_215, 165)));
        let own = "42 (a) S name)) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 9 0";
        assert_eq!(of_process(own), Some(300));
        for text in ["", "cpu", "cpu  1 2 3", "cpu  1 2 3 4 5 6 7 x", "intr 5"] {
            assert_eq!(of_all(text), None, "{text}");
        }
        for text in ["", "42 (name", "42 (name) S 1 2", "42 (n) S 1 1 1 1 1 1 1 1 1 1 x 5"] {
            assert_eq!(of_process(text), None, "{text}");
        }
    }

    #[test]
    fn our_own_work_makes_no_host_busy_and_that_of_others_does() {
        let before = Ticks { all: 1_000, worked: 500, own: 100 };
        let after = |worked: u64, own: u64| Ticks { all: 1_400, worked: 500 + worked, own: 100 + own };
        assert_eq!(others(before, after(400, 400)), Some(0));
        assert_eq!(others(before, after(400, 40)), Some(90));
        assert_eq!(others(before, after(100, 400)), Some(0), "two clocks that aren't read at the same moment");
        assert_eq!(others(before, before), None);
        assert!(is_busy(false, 81, 80) && !is_busy(false, 80, 80));
        assert!(is_busy(true, 71, 80) && !is_busy(true, 70, 80));
        assert!(!is_busy(true, 1, 1), "there is a way out");
    }

    #[test]
    fn this_host_tells_where_there_is_proc() {
        assert_eq!(ticks().is_some(), cfg!(target_os = "linux"));
    }
}
