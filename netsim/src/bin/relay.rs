//! `relay`: a bad link between real processes. Arguments are parsed here; the rest is `netsim::Relay`.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    net::{SocketAddr, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

use netsim::{Link, Passed, Relay, RelaySettings};

const HELP: &str = "\
A UDP relay with a bad link: datagrams are late, lost, doubled, overtaken, damaged. Each client has its own port on the far side.

usage: relay --to HOST:PORT [--listen IP:PORT] [--seed N] [LINK ...]

LINK, for both directions; --up-NAME and --down-NAME set one (up: towards HOST:PORT):
  --latency-ms N             time on the way
  --jitter-ms N              up to this much more
  --bandwidth-bytes-per-s N  with a queue in front
  --queue-bytes N            what waits there at most
  --mtu-bytes N              larger payloads vanish
  --loss-ppm N               lost, of a million
  --duplicate-ppm N          delivered twice
  --reorder-ppm N            held back by --reorder-delay-ms (10)
  --corrupt-ppm N            one bit flipped

Prints its address first. Ends with its input or SIGINT, and prints what happened.
";

/// Hold-back of reordered datagrams unless another is given.
const REORDER_DELAY: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        return say(HELP);
    }
    let settings = match settings(&arguments) {
        Ok(settings) => settings,
        Err(wrong) => {
            let _ = write!(io::stderr(), "relay: {wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(settings) {
        Ok(told) => say(&told),
        Err(failed) => {
            let _ = writeln!(io::stderr(), "relay: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: RelaySettings) -> io::Result<String> {
    let relay = Relay::start(settings)?;
    writeln!(io::stdout(), "{}", relay.address())?;
    io::stdout().flush()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, input) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    runtime.block_on(async {
        tokio::select! {
            biased;
            _ = input => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        }
    })?;
    let (up, down) = relay.passed();
    let mut told = String::new();
    for (direction, Passed { datagrams, faults }) in [("up", up), ("down", down)] {
        writeln!(told, "{direction}: {datagrams} datagrams, {faults:?}").map_err(io::Error::other)?;
    }
    Ok(told)
}

fn settings(arguments: &[String]) -> Result<RelaySettings, Box<dyn Error>> {
    let both = Link { reorder_delay: REORDER_DELAY, ..Link::default() };
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut to = None;
    let mut settings = RelaySettings { listen, to: listen, up: both.clone(), down: both, seed: 1 };
    for pair in arguments.chunks(2) {
        let [name, value] = pair else { return Err(format!("{} has no value", pair.concat()).into()) };
        let bad = |wrong: &dyn Error| format!("{name} {value}: {wrong}");
        let number = || value.parse::<u64>().map_err(|wrong| bad(&wrong));
        match name.as_str() {
            "--listen" => settings.listen = value.parse().map_err(|wrong| bad(&wrong))?,
            "--to" => to = value.to_socket_addrs().map_err(|wrong| bad(&wrong))?.next(),
            "--seed" => settings.seed = number()?,
            name => {
                let (up, down, rest) = match (name.strip_prefix("--up-"), name.strip_prefix("--down-")) {
                    (Some(rest), _) => (true, false, rest),
                    (_, Some(rest)) => (false, true, rest),
                    _ => (true, true, name.strip_prefix("--").unwrap_or(name)),
                };
                let number = number()?;
                let directions = [(up, &mut settings.up), (down, &mut settings.down)];
                for (_, link) in directions.into_iter().filter(|(chosen, _)| *chosen) {
                    set(link, rest, number).map_err(|wrong| format!("{name} {value}: {wrong}"))?;
                }
            }
        }
    }
    settings.to = to.ok_or("--to HOST:PORT is missing")?;
    Ok(settings)
}

fn set(link: &mut Link, name: &str, value: u64) -> Result<(), &'static str> {
    let ms = Duration::from_millis(value);
    let ppm = || u32::try_from(value).ok().filter(|ppm| *ppm <= 1_000_000).ok_or("at most 1000000 of a million");
    match name {
        "latency-ms" => link.latency = ms,
        "jitter-ms" => link.jitter = ms,
        "reorder-delay-ms" => link.reorder_delay = ms,
        "bandwidth-bytes-per-s" => link.bandwidth_bytes_per_s = Some(value),
        "queue-bytes" => link.queue_bytes = value,
        "mtu-bytes" => link.mtu = Some(usize::try_from(value).map_err(|_| "too large")?),
        "loss-ppm" => link.loss_ppm = ppm()?,
        "duplicate-ppm" => link.duplicate_ppm = ppm()?,
        "reorder-ppm" => link.reorder_ppm = ppm()?,
        "corrupt-ppm" => link.corrupt_ppm = ppm()?,
        _ => return Err("no such option"),
    }
    Ok(())
}

/// Prints to standard output; a reader that is gone is no failure.
fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
