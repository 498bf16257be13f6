//! Child processes of this same program, and what each cost: wall time, CPU, peak memory.
//!
//! A child's peak is never below that of this process (`exec` folds the old memory's peak in), so nothing here may hold
//! much: samples are written by a child, too.

use crate::cli::exit::{Exit, Failure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::VecDeque,
    io::{self, BufRead as _, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep, timeout},
};
use wait4::Wait4 as _;

/// How often a child that should end is looked at: 0.1 % of the shortest transfer that says anything.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Lines of a child that are kept for the message if it fails.
const LAST_LINES: usize = 5;
/// No child is waited for longer: something hangs.
const PATIENCE: Duration = Duration::from_secs(1800);

/// This program, started with an environment of its own so that no configuration of the machine counts.
#[derive(Debug)]
pub(super) struct Program {
    exe: PathBuf,
    dir: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// A running child; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    process: Option<std::process::Child>,
    pid: Option<Pid>,
    started: Instant,
    lines: UnboundedReceiver<Line>,
    last: VecDeque<String>,
}

/// What a child cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) wall: Duration,
    pub(super) user: Duration,
    pub(super) system: Duration,
    pub(super) peak_bytes: u64,
}

#[derive(Debug)]
enum Line {
    Out(String),
    Err(String),
}

impl Program {
    /// `dir` is the children's working folder, and the only one in which configuration is looked for.
    pub(super) fn new(dir: PathBuf, mtu: Option<u16>) -> Result<Self, Failure> {
        let mut environment = vec![("FABRIC_CFG_PATH", dir.display().to_string())];
        // The joiner and whatever else runs here would have the sources step back.
        environment.push(("SNAPFERRY_LIMITS_YIELDABOVE", "100".to_owned()));
        environment.extend(mtu.map(|mtu| ("SNAPFERRY_LIMITS_MTU", mtu.to_string())));
        Ok(Self { exe: std::env::current_exe()?, dir, environment })
    }

    /// Starts a child; `name` is for messages.
    pub(super) fn start(&self, name: &str, args: &[String]) -> Result<Child, Failure> {
        let mut command = Command::new(&self.exe);
        command.env_clear().envs(self.environment.iter().cloned()).current_dir(&self.dir).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut process = command.spawn().map_err(|error| failed(name, &error))?;
        let (sender, lines) = unbounded_channel();
        let (out, err) = (process.stdout.take(), process.stderr.take());
        let pid = Some(Pid::from_child(&process));
        let child = Child { name: name.to_owned(), process: Some(process), pid, started, lines, last: VecDeque::new() };
        read_lines(out, sender.clone(), Line::Out).map_err(|error| failed(name, &error))?;
        read_lines(err, sender, Line::Err).map_err(|error| failed(name, &error))?;
        Ok(child)
    }
}

impl Child {
    /// Waits for the line that `find` knows.
    pub(super) async fn line<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        loop {
            let line = match timeout(PATIENCE, self.lines.recv()).await {
                Ok(Some(Line::Out(line) | Line::Err(line))) => line,
                Ok(None) => return Err(self.broken("ended too soon")),
                Err(_) => return Err(self.broken("hangs")),
            };
            if let Some(found) = find(&line) {
                return Ok(found);
            }
            self.remember(line);
        }
    }

    /// Waits until it ends by itself, and well; its output, line by line.
    pub(super) async fn finish(mut self) -> Result<(Usage, Vec<String>), Failure> {
        let (ended, usage) = self.wait().await?;
        let mut output = Vec::new();
        while let Some(line) = self.lines.recv().await {
            match line {
                Line::Out(line) => output.push(line),
                Line::Err(line) => self.remember(line),
            }
        }
        if !ended.success() {
            return Err(self.broken(&format!("failed with {ended}")));
        }
        Ok((usage, output))
    }

    /// Tells it to stop and waits until it has.
    pub(super) async fn stop(mut self) -> Result<Usage, Failure> {
        if let Some(pid) = self.pid {
            kill_process(pid, Signal::TERM).map_err(|error| failed(&self.name, &error))?;
        }
        Ok(self.wait().await?.1)
    }

    async fn wait(&mut self) -> Result<(std::process::ExitStatus, Usage), Failure> {
        while let Some(process) = &mut self.process {
            let looked = process.try_wait4().map_err(|error| failed(&self.name, &error))?;
            if let Some(used) = looked {
                (self.process, self.pid) = (None, None);
                let (user, system) = (used.rusage.utime, used.rusage.stime);
                let wall = self.started.elapsed();
                return Ok((used.status, Usage { wall, user, system, peak_bytes: used.rusage.maxrss }));
            }
            if self.started.elapsed() > PATIENCE {
                return Err(self.broken("hangs"));
            }
            sleep(LOOK_EVERY).await;
        }
        Err(self.broken("was waited for twice"))
    }

    fn remember(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn broken(&self, how: &str) -> Failure {
        let last: Vec<&str> = self.last.iter().map(String::as_str).collect();
        Failure::new(Exit::Failed, format!("{} {how}: {}", self.name, last.join(" | ")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself meanwhile.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Usage {
    /// User and system.
    pub(super) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

fn read_lines(
    pipe: Option<impl Read + Send + 'static>,
    sender: UnboundedSender<Line>,
    line: fn(String) -> Line,
) -> io::Result<()> {
    let Some(pipe) = pipe else { return Ok(()) };
    let read = move || {
        for text in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line(text)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("bench-output".to_owned()).spawn(read).map(drop)
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, format!("{name}: {error}"))
}
