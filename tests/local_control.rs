//! The control socket obeys admins' signatures, each once, and nobody but the service's own user and root gets a word in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

use beside_peer::{Machine, admin_msp, fixture, peer_msp};
use snapferry::{
    catalog::{Attestor, AuditLog, Catalog, Deleted, Landed, StatementStore},
    disk::{Dir, OsDir},
    msp::{ChannelConfig, LocalIdentity, MspId},
    service::{
        clock::{unix_seconds, wall_time},
        control::{
            AskControlError, CONTROL_CONNECTIONS_MAX, ControlBody, ControlContext, ControlError, ControlServer, Method,
            REQUEST_BYTES_MAX, RefusedCode, Request, Response, SignedCommand, ask_control, control_socket_path,
        },
    },
    snapshot::{BlockNumber, SnapshotId},
    transport::live::LiveChannels,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

fn id(block: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) }
}

fn load(msp: &str, org: u8) -> LocalIdentity {
    LocalIdentity::load(&MspId::new(&format!("Org{org}MSP")).unwrap(), Path::new(msp)).unwrap()
}

/// A command of Org1's admin for its service.
fn command(block: u64, nonce: u8) -> SignedCommand {
    let admin = load(&admin_msp(1), 1);
    let body = ControlBody {
        method: Method::Delete(id(block)),
        creator: admin.identity.serialized().clone(),
        nonce: [nonce; 24],
        issued_at: unix_seconds(wall_time()),
        target: load(&peer_msp(1), 1).identity.id(),
    };
    body.sign(&admin).unwrap()
}

fn refused(answer: Result<Response, AskControlError>) -> (RefusedCode, String) {
    match answer.unwrap() {
        Response::Refused(refused) => (refused.code, refused.text),
        other => panic!("{other:?}"),
    }
}

/// Defence: the durable seen-set; removed, whoever recorded a command deletes again and again.
#[test]
fn a_recorded_command_is_never_obeyed_again_not_even_after_a_restart() {
    let machine = Machine::new(1, true);
    let service = machine.serve(&[83, 132]);
    let ask = |command: &SignedCommand| ask_control(&machine.path("state"), &Request::Command(command.clone()));
    let recorded = command(83, 1);
    assert!(matches!(ask(&recorded).unwrap(), Response::Deleted(Deleted::Now)));
    let again = refused(ask(&recorded));
    assert!(again.0 == RefusedCode::Denied && again.1.contains("given before"), "{again:?}");
    // The peer makes that snapshot again: the old command must not delete it.
    machine.make_snapshot(83);
    service.kill();
    let service = machine.serve(&[83, 132]);
    let again = refused(ask(&recorded));
    assert!(again.0 == RefusedCode::Denied, "{again:?}");
    assert!(machine.folder(83).exists());
    assert!(matches!(ask(&command(83, 2)).unwrap(), Response::Deleted(Deleted::Now)));
    service.stop();
}

/// Defence: the machine's own configuration allows deletion; removed, an admin's key alone deletes.
#[test]
fn without_leave_to_delete_even_an_admin_is_refused_and_told_why() {
    let machine = Machine::new(1, false);
    let _service = machine.serve(&[83, 132]);
    let refused = refused(ask_control(&machine.path("state"), &Request::Command(command(83, 1))));
    assert!(refused.0 == RefusedCode::NotAllowed && refused.1.contains("snapshots.allowDelete: true"), "{refused:?}");
    assert!(machine.folder(83).exists());
}

#[test]
fn the_socket_is_for_our_own_user_only_and_one_service_has_it() {
    let machine = Machine::new(1, false);
    let service = machine.serve(&[]);
    let mode = |path: &str| fs::symlink_metadata(machine.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/control")), (0o700, 0o700));
    assert_eq!(mode("state/control/control.sock"), 0o600);
    let second = machine.run(&["serve"]).expect(1);
    assert!(second.stderr.contains("another service runs with the state folder"), "{}", second.stderr);
    // What a killed service leaves is no hindrance.
    service.kill();
    assert!(control_socket_path(&machine.path("state")).exists());
    let gone = machine.run(&["snapshot", "sign", "-c", "mychannel", "-b", "83"]).expect(4);
    assert!(gone.stderr.contains("start `snapferry serve`"), "{}", gone.stderr);
    let service = machine.serve(&[]);
    // Who answers has its handler of signals, too.
    assert_eq!(machine.json(&["snapshot", "list"])["from"], "service");
    service.stop();
    assert!(!control_socket_path(&machine.path("state")).exists());
}

/// Only root can play another user, and open the folders' modes so that nothing but the kernel's word on the user is left to keep him out.
#[test]
fn another_user_is_hung_up_on() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can connect as another user");
        return;
    }
    let machine = Machine::new(1, false);
    let mut service = machine.serve(&[]);
    let socket = control_socket_path(&machine.path("state"));
    for (path, mode) in [("", 0o755), ("state", 0o755), ("state/control", 0o755), ("state/control/control.sock", 0o666)]
    {
        fs::set_permissions(machine.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Connected to by a shell's tool would need one: the binary itself, copied to where everybody may run it.
    let copy = machine.path("snapferry");
    fs::copy(env!("CARGO_BIN_EXE_snapferry"), &copy).unwrap();
    let mut stranger = std::process::Command::new(&copy);
    stranger.env_clear().args(["snapshot", "sign", "-c", "mychannel", "-b", "83", "--state-dir"]);
    stranger.arg(machine.path("state")).current_dir("/").uid(65_534).gid(65_534);
    let ended = beside_peer::run(&mut stranger);
    service.wait_log(|line| line.contains("another user was hung up on") && line.contains("uid=65534"));
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(socket.exists());
}

/// A service's control socket alone, in this process.
struct InProcess {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl InProcess {
    fn new() -> Self {
        Self::below("control")
    }

    fn below(prefix: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        for folder in ["completed", "state/manifests", "state/statements", "state/landed"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { dir, runtime }
    }

    fn open(&self, name: &str) -> Arc<dyn Dir> {
        OsDir::open(&self.dir.path().join(name)).unwrap()
    }

    fn start(&self) -> Result<ControlServer, ControlError> {
        let identity = Arc::new(load(&peer_msp(1), 1));
        let statements = Arc::new(StatementStore::open(self.open("state/statements")));
        let landed = Arc::new(Landed::open(self.open("state/landed")));
        let block = fs::read(fixture("config_block.pb")).unwrap();
        let config = ChannelConfig::from_block(&block).unwrap();
        let context = ControlContext {
            catalog: Arc::new(Catalog::open(self.open("completed"), self.open("state/manifests"), wall_time())),
            attestor: Arc::new(Attestor::new(Arc::clone(&identity), Arc::clone(&statements), Arc::clone(&landed))),
            statements,
            landed,
            audit: Arc::new(AuditLog::new(self.open("state"))),
            channels: LiveChannels::new([config]),
            identity,
            clock: Arc::new(wall_time),
        };
        let _runtime = self.runtime.enter();
        ControlServer::start(&self.open("state"), context)
    }

    fn run(&self, server: ControlServer) {
        self.runtime.spawn(async move { server.run().await });
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(control_socket_path(&self.dir.path().join("state"))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

/// What comes until the service hangs up.
fn read_to_end(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        // Hung up on with unread bytes of ours.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn who_says_nothing_or_too_much_is_hung_up_on() {
    let site = InProcess::new();
    site.run(site.start().unwrap().with_io_timeout(Duration::from_millis(200)));
    assert_eq!(read_to_end(site.connect()), [0; 0], "silent");
    let mut half = site.connect();
    half.write_all(&[0, 0, 0, 9, 1]).unwrap();
    assert_eq!(read_to_end(half), [0; 0], "half a request");
    let mut long = site.connect();
    long.write_all(&u32::try_from(REQUEST_BYTES_MAX + 1).unwrap().to_be_bytes()).unwrap();
    // All of it is there, and still it isn't answered. (The service may have hung up already.)
    let _ = long.write_all(&vec![0xff; REQUEST_BYTES_MAX + 1]);
    assert_eq!(read_to_end(long), [0; 0], "over the limit");
    let mut noise = site.connect();
    noise.write_all(&u32::try_from(REQUEST_BYTES_MAX).unwrap().to_be_bytes()).unwrap();
    noise.write_all(&vec![0xff; REQUEST_BYTES_MAX]).unwrap();
    let answer = read_to_end(noise);
    let answer = Response::decode(answer[4..].to_vec().into()).unwrap();
    assert!(matches!(answer, Response::Refused(refused) if refused.code == RefusedCode::Malformed));
}

#[test]
fn the_connections_at_a_time_are_bounded() {
    let site = InProcess::new();
    let server = site.start().unwrap();
    // Longer than anybody waits here: only the limit hangs up.
    site.run(server.with_io_timeout(Duration::from_secs(3_600)));
    let held: Vec<UnixStream> = (0..CONTROL_CONNECTIONS_MAX).map(|_| site.connect()).collect();
    assert_eq!(read_to_end(site.connect()), [0; 0]);
    drop(held);
    // Their seats become free as the service notices.
    let state = site.dir.path().join("state");
    while ask_control(&state, &Request::List(None)).is_err() {
        thread::yield_now();
    }
}

#[test]
fn a_long_path_is_no_hindrance() {
    let site = InProcess::below(&"d".repeat(110));
    let state = site.dir.path().join("state");
    assert!(control_socket_path(&state).as_os_str().len() > 108);
    let server = site.start().unwrap();
    assert!(matches!(site.start(), Err(ControlError::InUse { .. })));
    site.run(server);
    let listed = ask_control(&state, &Request::List(None)).unwrap();
    assert!(matches!(listed, Response::Listed(entries) if entries.is_empty()));
}

#[test]
fn a_link_in_the_place_of_the_folder_is_refused() {
    let site = InProcess::new();
    fs::create_dir(site.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(site.dir.path().join("elsewhere"), site.dir.path().join("state/control")).unwrap();
    assert!(matches!(site.start(), Err(ControlError::Disk(_))));
    ask_control(&site.dir.path().join("state"), &Request::List(None)).unwrap_err();
}
