//! The real binary as services and joiners of the recorded network, on ports that the system chooses. Whatever is started ends with
//! its handle; every wait is for something that is said, and gives up after [`PATIENCE`] with all that was said until then.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything takes on a busy machine: who waits so long has found a fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const CHANNEL: &str = "mychannel";

/// A file of the recorded network that is built into the binary.
pub fn recorded(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/recorded").join(path)
}

/// A file of the tests' recorded network.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

/// Who a process is: MSP ID, MSP folder, TLS certificate and key.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub msp_id: String,
    pub msp_dir: PathBuf,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
}

impl Credentials {
    /// A peer of the recorded network: folder `crypto/<name>`.
    pub fn of(name: &str, msp_id: &str) -> Self {
        let folder = recorded("crypto").join(name);
        Self {
            msp_id: msp_id.to_owned(),
            msp_dir: folder.join("msp"),
            tls_cert: folder.join("tls/server.crt"),
            tls_key: folder.join("tls/server.key"),
        }
    }

    /// The first peer of `Org<org>MSP`.
    pub fn org(org: u8) -> Self {
        Self::of(&format!("org{org}"), &format!("Org{org}MSP"))
    }

    /// The admin of `Org<org>MSP`, on the machine of its first peer: who may list and have signed without a grant.
    pub fn admin(org: u8) -> Self {
        let users = format!("crypto/peerOrganizations/org{org}.example.com/users");
        Self { msp_dir: fixture(&users).join(format!("Admin@org{org}.example.com/msp")), ..Self::org(org) }
    }

    pub fn flags(&self, command: &mut Command) {
        command.arg("--msp-id").arg(&self.msp_id).arg("--msp-config-path").arg(&self.msp_dir);
        command.arg("--tls-cert").arg(&self.tls_cert).arg("--tls-key").arg(&self.tls_key);
    }
}

/// The binary with nothing in its environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A peer's snapshots folder.
pub struct Root(TempDir);

impl Root {
    pub fn new() -> Self {
        let root = TempDir::new().unwrap();
        std::fs::create_dir_all(root.path().join("completed").join(CHANNEL)).unwrap();
        Self(root)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `ROOT/completed/CHANNEL/N`.
    pub fn snapshot(&self, block: u64) -> PathBuf {
        self.path().join("completed").join(CHANNEL).join(block.to_string())
    }

    /// Copies a snapshot folder in.
    pub fn put(&self, block: u64, from: &Path) {
        copy_folder(from, &self.snapshot(block));
    }

    /// The snapshots that real peers made, as they lie on Org1's.
    pub fn with_recorded() -> Self {
        let root = Self::new();
        for block in [83, 132] {
            root.put(block, &fixture(&format!("snapshots/org1/{block}")));
        }
        root
    }

    /// Writes a sample of about `bytes` (random values, so that its size is that on the wire); tells its block.
    pub fn add_sample(&self, bytes: u64, seed: u64) -> u64 {
        self.add_sample_with(bytes, seed, &[])
    }

    /// With more arguments: another number of transaction ids makes another block.
    pub fn add_sample_with(&self, bytes: u64, seed: u64, args: &[&str]) -> u64 {
        let making = self.path().join("making");
        let mut command = binary();
        command.arg("sample").arg(&making).args(["--incompressible", "-O", "json"]);
        command.args(["--size", &bytes.to_string(), "--seed", &seed.to_string()]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let block = told["block_number"].as_u64().unwrap();
        std::fs::rename(making, self.snapshot(block)).unwrap();
        block
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Panics, naming the file, unless both folders hold the same files with the same bytes. Reads in pieces: files may be large.
pub fn assert_identical(found: &Path, expected: &Path) {
    assert_eq!(names(found), names(expected));
    for name in names(expected) {
        let count = std::fs::metadata(expected.join(&name)).unwrap().len().div_ceil(CHUNK);
        assert_eq!(
            found.join(&name).metadata().unwrap().len(),
            expected.join(&name).metadata().unwrap().len(),
            "{name}"
        );
        assert_eq!(whole_chunks(found, expected, &name).len() as u64, count, "{name} differs");
    }
}

/// Bytes of a chunk, but for the last one of a file.
pub const CHUNK: u64 = 1 << 20;

/// The chunks of a file that are the same in both folders.
pub fn whole_chunks(found: &Path, expected: &Path, name: &str) -> BTreeSet<u32> {
    let open = |folder: &Path| std::fs::File::open(folder.join(name)).unwrap();
    let (found, expected) = (open(found), open(expected));
    let size = expected.metadata().unwrap().len();
    let (mut left, mut right) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut same = |index: &u32| {
        let at = u64::from(*index) * CHUNK;
        let len = (size - at).min(CHUNK) as usize;
        expected.read_exact_at(&mut right[..len], at).unwrap();
        // Shorter, if it isn't whole yet.
        found.read_exact_at(&mut left[..len], at).is_ok() && left[..len] == right[..len]
    };
    (0..u32::try_from(size.div_ceil(CHUNK)).unwrap()).filter(|index| same(index)).collect()
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Lines that a process says, kept; whoever waits for one is woken.
#[derive(Clone)]
struct Lines(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    /// Nothing more can come.
    over: bool,
}

impl Lines {
    fn collect(from: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let lines = Self(Arc::default());
        let collecting = lines.clone();
        let thread = thread::spawn(move || {
            let (state, changed) = &*collecting.0;
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                state.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
                changed.notify_all();
            }
            state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
            changed.notify_all();
        });
        (lines, thread)
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// The first result of `pick` among all lines, also those said before; `None` once nothing more can come.
    fn wait<T>(&self, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let (state, changed) = &*self.0;
        let end = Instant::now() + PATIENCE;
        let (mut seen, mut said) = (0, state.lock().unwrap());
        loop {
            if let Some(found) = said.lines[seen..].iter().find_map(|line| pick(line)) {
                return Some(found);
            }
            seen = said.lines.len();
            if said.over {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain; it said:\n{}", said.lines.join("\n"));
            said = changed.wait_timeout(said, left).unwrap().0;
        }
    }
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// What it has open stays so; `exhausted`: it can open nothing more.
fn descriptors(child: &Child, exhausted: bool) {
    let usual = getrlimit(Resource::Nofile);
    let current = if exhausted { Some(0) } else { usual.current };
    prlimit(Some(Pid::from_child(child)), Resource::Nofile, Rlimit { current, ..usual }).unwrap();
}

/// `serve` beside a peer.
pub struct Service {
    child: Child,
    log: Lines,
    pub address: SocketAddr,
    state: TempDir,
}

impl Service {
    /// The service of `Org<org>MSP` over `root`; returns once all of `blocks` are advertised.
    pub fn start(org: u8, root: &Root, blocks: &[u64]) -> Self {
        Self::start_as(&Credentials::org(org), root, blocks)
    }

    pub fn start_as(who: &Credentials, root: &Root, blocks: &[u64]) -> Self {
        Self::start_at(who, root.path(), blocks)
    }

    /// Beside a peer with that snapshots folder.
    pub fn start_at(who: &Credentials, root: &Path, blocks: &[u64]) -> Self {
        Self::launch(&recorded("config_block.pb"), who, root, blocks, &[])
    }

    /// In a channel with that configuration block.
    pub fn start_in(config_block: &Path, who: &Credentials, root: &Path, blocks: &[u64]) -> Self {
        Self::launch(config_block, who, root, blocks, &[])
    }

    /// With that in its environment, too.
    pub fn start_with(who: &Credentials, root: &Path, blocks: &[u64], variables: &[(&str, String)]) -> Self {
        Self::launch(&recorded("config_block.pb"), who, root, blocks, variables)
    }

    fn launch(
        config_block: &Path,
        who: &Credentials,
        root: &Path,
        blocks: &[u64],
        variables: &[(&str, String)],
    ) -> Self {
        let state = TempDir::new().unwrap();
        let mut command = binary();
        command.args(["serve", "--listen-address", "127.0.0.1:0", "--config-block"]).arg(config_block);
        command.arg("--snapshots-root-dir").arg(root).arg("--state-dir").arg(state.path());
        who.flags(&mut command);
        command.env("SNAPFERRY_LOGGING_SPEC", "transport=debug:info");
        // Other tests beside it aren't the peer that it steps back for.
        command.env("SNAPFERRY_LIMITS_YIELDABOVE", "100");
        // A killed joiner's sessions stay until they idle out.
        command.env("SNAPFERRY_LIMITS_SESSIONSPERORG", "64").env("SNAPFERRY_LIMITS_SESSIONSPERADDRESS", "64");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, _) = Lines::collect(child.stderr.take().unwrap());
        let said = |what: &str| format!("the service of {} ended: no {what}: {:?}", who.msp_id, log.all());
        let address = log.wait(|line| field(line, "address").filter(|_| line.contains("-> serving ")));
        let address = address.unwrap_or_else(|| panic!("{}", said("address"))).parse().unwrap();
        let service = Self { child, log: log.clone(), address, state };
        for block in blocks {
            let name = format!("{CHANNEL}/{block}");
            let advertised =
                |line: &str| (line.contains("-> advertised ") && field(line, "snapshot")? == name).then_some(());
            service.log.wait(advertised).unwrap_or_else(|| panic!("{}", said("snapshot")));
        }
        service
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// All log lines until now.
    pub fn log(&self) -> Vec<String> {
        self.log.all()
    }

    /// Waits for a log line.
    pub fn wait_log<T>(&self, pick: impl Fn(&str) -> Option<T>) -> T {
        self.log.wait(pick).unwrap_or_else(|| panic!("the service ended: {:?}", self.log.all()))
    }

    /// SIGKILL, as a crash of the machine's; gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its descriptors run out, or are enough again.
    pub fn descriptors(&self, exhausted: bool) {
        descriptors(&self.child, exhausted);
    }

    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        send(&self.child, Signal::TERM);
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Gone already, if the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of `name=` in a log line.
pub fn field(line: &str, name: &str) -> Option<String> {
    let start = line.find(&format!(" {name}="))? + name.len() + 2;
    let value = &line[start..];
    Some(value[..value.find(' ').unwrap_or(value.len())].trim_matches('"').to_owned())
}

/// A `join` to be started: by Org3's admin, with the recorded configuration block and a state folder of its own.
pub struct Join {
    command: Command,
    state: TempDir,
    kept: Option<PathBuf>,
}

impl Join {
    pub fn new(from: &[SocketAddr], land: &Path) -> Self {
        Self::new_as(&Credentials::admin(3), from, land)
    }

    pub fn new_as(who: &Credentials, from: &[SocketAddr], land: &Path) -> Self {
        Self::built(who, &recorded("config_block.pb"), from, land)
    }

    /// With another configuration block.
    pub fn new_with(config_block: &Path, from: &[SocketAddr], land: &Path) -> Self {
        Self::built(&Credentials::admin(3), config_block, from, land)
    }

    pub fn new_as_with(who: &Credentials, config_block: &Path, from: &[SocketAddr], land: &Path) -> Self {
        Self::built(who, config_block, from, land)
    }

    /// From a folder that is there.
    pub fn from_folder(from: &[SocketAddr], folder: &Path) -> Self {
        Self::built_to(&Credentials::admin(3), &recorded("config_block.pb"), from, ("--snapshot-path", folder))
    }

    fn built(who: &Credentials, config_block: &Path, from: &[SocketAddr], land: &Path) -> Self {
        Self::built_to(who, config_block, from, ("--land", land))
    }

    fn built_to(who: &Credentials, config_block: &Path, from: &[SocketAddr], (flag, folder): (&str, &Path)) -> Self {
        let mut command = binary();
        command.args(["join", "-c", CHANNEL, flag]).arg(folder);
        if !from.is_empty() {
            let from: Vec<String> = from.iter().map(ToString::to_string).collect();
            command.args(["--from", &from.join(",")]);
        }
        command.arg("--config-block").arg(config_block);
        who.flags(&mut command);
        Self { command, state: TempDir::new().unwrap(), kept: None }
    }

    /// With a state folder that others have used, or will.
    pub fn state(self, state: &Path) -> Self {
        Self { kept: Some(state.to_owned()), ..self }
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(args);
        self
    }

    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.command.envs(variables);
        self
    }

    pub fn block(self, block: u64) -> Self {
        self.args(["-b", &block.to_string()])
    }

    fn name_state(&mut self) {
        self.command.arg("--state-dir").arg(self.kept.as_deref().unwrap_or_else(|| self.state.path()));
    }

    /// Runs it to its end, output as text.
    pub fn run_text(mut self) -> Ended {
        self.name_state();
        let output = self.command.output().unwrap();
        Ended {
            code: output.status.code(),
            events: Vec::new(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            state: Some(self.state),
        }
    }

    /// Runs it to its end, output as events.
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Starts it, output as events.
    pub fn start(mut self) -> Joining {
        self.name_state();
        self.command.args(["-O", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let (events, events_end) = Lines::collect(child.stdout.take().unwrap());
        let (errors, errors_end) = Lines::collect(child.stderr.take().unwrap());
        Joining { child, events, errors, ends: vec![events_end, errors_end], state: Some(self.state) }
    }
}

/// A `join` that runs.
pub struct Joining {
    child: Child,
    events: Lines,
    errors: Lines,
    ends: Vec<JoinHandle<()>>,
    state: Option<TempDir>,
}

impl Joining {
    /// Waits for an event of which `pick` makes something, also one told before.
    pub fn wait_for<T>(&self, mut pick: impl FnMut(&Value) -> Option<T>) -> T {
        let found = self.events.wait(|line| pick(&serde_json::from_str(line).unwrap()));
        found.unwrap_or_else(|| panic!("it ended: {:?} {:?}", self.events.all(), self.errors.all()))
    }

    /// Waits for an event of that name and source.
    pub fn wait_source(&self, event: &str, source: SocketAddr) -> Value {
        self.wait_for(|told| (is(told, event) && told["source"] == source.to_string()).then(|| told.clone()))
    }

    /// Waits until so many bytes are proved.
    pub fn wait_verified(&self, bytes: u64) {
        self.wait_for(|told| (verified(told)? >= bytes).then_some(()));
    }

    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// SIGKILL; gone when this returns.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended()
    }

    /// The most memory that it had, in bytes, as long as it could be looked at: it returns when the process has ended.
    pub fn peak_until_end(&self) -> u64 {
        let mut peak = 0;
        let status = || std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok();
        while let Some(kib) = status().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        }) {
            peak = kib * 1024;
            thread::sleep(Duration::from_millis(20)); // it is watched, not waited for
        }
        peak
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        // Its output ends with it.
        self.events.wait(|_| None::<()>);
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        self.ends.drain(..).for_each(|thread| thread.join().unwrap());
        let stdout = self.events.all();
        let events = stdout.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let state = self.state.take();
        Ended { code, events, stdout: stdout.join("\n"), stderr: self.errors.all().join("\n"), state }
    }
}

impl Drop for Joining {
    fn drop(&mut self) {
        // Gone already, if it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a `join` ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    pub events: Vec<Value>,
    pub stdout: String,
    pub stderr: String,
    /// Its state folder, with receipts and evidence.
    pub state: Option<TempDir>,
}

impl Ended {
    pub fn of(&self, event: &str) -> Vec<&Value> {
        self.events.iter().filter(|told| is(told, event)).collect()
    }

    /// The result, of a join that must have ended well.
    pub fn result(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.of("result")[0]
    }

    /// Panics unless it ended with that code, one line that says `words`, and no result.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        assert!(self.of("result").is_empty(), "{}", self.stdout);
        let last = self.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("snapferry: "), "{}", self.stderr);
        for word in words {
            assert!(last.contains(word), "no {word:?} in: {last}");
        }
    }

    /// Proved bytes that came from `source`.
    pub fn share(&self, source: SocketAddr) -> u64 {
        share(self.result(), source)
    }
}

pub fn is(told: &Value, event: &str) -> bool {
    told["event"] == event
}

/// Proved bytes of a progress event.
pub fn verified(told: &Value) -> Option<u64> {
    told["verified_bytes"].as_u64().filter(|_| is(told, "progress"))
}

/// Proved bytes that came from `source`, in a progress event or a result.
pub fn share(told: &Value, source: SocketAddr) -> u64 {
    let shares = told["shares"].as_array().map_or(&[][..], Vec::as_slice);
    let of_source = shares.iter().filter(|share| share["source"] == source.to_string());
    of_source.map(|share| share["verified_bytes"].as_u64().unwrap()).sum()
}
