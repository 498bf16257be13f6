//! Swarms: many seeds, each with its own subset of faults; all oracles on every run.
//!
//! A seed that fails prints the line that runs it alone, and the commit. `NETSIM_SEED=n` runs that one, `NETSIM_SEEDS=n` so many.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use crate::sim::{
    draw::draw,
    oracles::code,
    run::{Report, run},
    scenario::Scenario,
};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 500;
/// One simulation is one thread; more threads are more seeds.
const THREADS: usize = 2;

#[test]
fn a_join_without_faults_lands() {
    run(&Scenario::default(), 1).check();
}

/// What a seed draws of: lying, slow, forked and rotten sources, clocks that are off; loss, duplicates, reordering, damage, small MTUs, cuts in
/// one or both directions, moves behind a NAT; crashes, restarts, deletions with and without leases, newer snapshots; kills, power cuts and full
/// disks of the joiner. Changes of the configuration, disks that fail in other ways and `join --serve` have tests of their own only.
#[test]
fn whatever_a_seed_draws_the_join_lands_and_no_oracle_is_broken() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("NETSIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NETSIM_SEEDS").unwrap_or(SEEDS),
    };
    let (count, began) = (seeds.end - seeds.start, Instant::now());
    let faults = campaign(seeds);
    let took = began.elapsed().as_secs_f64();
    println!("{count} seeds, {faults} faults in {took:.1} s: {:.0} faults a minute", faults as f64 * 60.0 / took);
}

/// Runs every seed; tells how many datagrams met a fault.
fn campaign(seeds: std::ops::Range<u64>) -> u64 {
    let (next, faults) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let broken: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut broken = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return broken;
                }
                match one(seed) {
                    Ok(report) => drop(faults.fetch_add(report.faults.total(), Ordering::Relaxed)),
                    Err(account) => broken.push(account),
                }
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught")).collect()
    });
    let lines: Vec<String> =
        broken.iter().map(|account| account.lines().take(2).collect::<Vec<_>>().join(": ")).collect();
    assert!(
        broken.is_empty(),
        "{}\n\n{} seeds broke an oracle; above is the first of\n{}",
        broken[0],
        lines.len(),
        lines.join("\n")
    );
    faults.into_inner()
}

/// The run of one seed, or what is broken in it and how to see it again.
fn one(seed: u64) -> Result<Report, String> {
    let scenario = draw(seed);
    let again = || format!("NETSIM_SEED={seed} cargo test --test faults swarm # {}", code());
    let report = catch_unwind(AssertUnwindSafe(|| run(&scenario, seed)))
        .map_err(|_| format!("{}\nit panicked: {scenario:#?}", again()))?;
    match report.broken() {
        Ok(()) => Ok(report),
        Err(broken) => Err(format!("{}\n{}", again(), report.account(&broken))),
    }
}
