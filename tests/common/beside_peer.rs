//! Services of the recorded network beside peers whose folders the tests hold, and commands run on the same machine: for tests of local
//! control. Whatever is started ends with its handle.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

/// A file of the recorded network.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(NETWORK).join(path)
}

pub fn org_folder(org: u8, below: &str) -> PathBuf {
    fixture(&format!("crypto/peerOrganizations/org{org}.example.com/{below}"))
}

/// The MSP folder of an organisation's admin.
pub fn admin_msp(org: u8) -> String {
    org_folder(org, &format!("users/Admin@org{org}.example.com/msp")).display().to_string()
}

/// The MSP folder of an organisation's first peer, which is the service's identity, too.
pub fn peer_msp(org: u8) -> String {
    org_folder(org, &format!("peers/peer0.org{org}.example.com/msp")).display().to_string()
}

/// What a command said.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// Panics with all that was said unless it ended so.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

pub fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The binary with nothing in its environment.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A peer's machine: its snapshots folder, the service's state folder, and their configuration.
pub struct Machine {
    pub org: u8,
    dir: TempDir,
}

impl Machine {
    /// With the recorded snapshots 83 and 132, deletion allowed or not.
    pub fn new(org: u8, allow_delete: bool) -> Self {
        let dir = TempDir::new().unwrap();
        let machine = Self { org, dir };
        for block in [83, 132] {
            machine.make_snapshot(block);
        }
        let peer = org_folder(org, &format!("peers/peer0.org{org}.example.com"));
        let configuration = format!(
            "listenAddress: 127.0.0.1:0\nstateDir: state\n\
             identity: {{mspId: Org{org}MSP, mspConfigPath: {peer}/msp, tls: {{cert: {peer}/tls/server.crt, key: {peer}/tls/server.key}}}}\n\
             snapshots: {{rootDir: root, allowDelete: {allow_delete}}}\n\
             channels: {{mychannel: {{configBlock: {NETWORK}/config_block.pb}}}}\n",
            peer = peer.display()
        );
        fs::write(machine.path("snapferry.yaml"), configuration).unwrap();
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn folder(&self, block: u64) -> PathBuf {
        self.path(&format!("root/completed/mychannel/{block}"))
    }

    /// Puts a recorded snapshot into place.
    pub fn make_snapshot(&self, block: u64) {
        fs::create_dir_all(self.folder(block)).unwrap();
        for entry in fs::read_dir(fixture(&format!("snapshots/org1/{block}"))).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), self.folder(block).join(entry.file_name())).unwrap();
        }
    }

    /// The binary on this machine.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.current_dir(self.dir.path()).args(args);
        command
    }

    /// Runs a command there.
    pub fn run(&self, args: &[&str]) -> Ended {
        run(&mut self.command(args))
    }

    /// Runs a command there that succeeds, and reads its result.
    pub fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["-O", "json"]].concat()).expect(0).json()
    }

    /// Starts the service; returns once every snapshot folder is advertised or `blocks` are.
    pub fn serve(&self, blocks: &[u64]) -> Service {
        let mut child = self.command(&["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let mut service = Service { child, lines, log: Vec::new(), address: String::new() };
        let line = service.wait_log(|line| line.contains("-> serving "));
        service.address = line.split_once(" address=").unwrap().1.split_whitespace().next().unwrap().to_owned();
        for block in blocks {
            let name = format!("snapshot=mychannel/{block} ");
            service.wait_log(|line| line.contains("-> advertised ") && line.contains(&name));
        }
        service
    }
}

/// A running `serve`; killed when dropped.
pub struct Service {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    pub address: String,
}

impl Service {
    /// The first log line of which `pick` says so, also one said before.
    pub fn wait_log(&mut self, pick: impl Fn(&str) -> bool) -> String {
        if let Some(line) = self.log.iter().find(|line| pick(line)) {
            return line.clone();
        }
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it was not said: {}", self.log.join("\n")));
            self.log.push(line.clone());
            if pick(&line) {
                return line;
            }
        }
    }

    /// SIGKILL; gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Gone already, if the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
