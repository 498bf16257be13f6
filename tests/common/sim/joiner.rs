//! A joining peer on a simulated machine; its join may be killed, or lose power, and is then run again.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use netsim::{Host, Rng, disk::SimDisk};
use quinn::Endpoint;
use snapferry::{
    bootstrap::{
        Dialling, JoinError, JoinEvent, JoinRequest, JoinTrust, Joined, Observer, Records, ServeWhileJoining,
        SourceAddress, join,
    },
    catalog::{BANS_DIR, Ban, Bans, RootOfTrust, Statements, TrustPolicy, TrustSettings},
    chunking::{Executor, HandedJob, Workers, plan::PlanConfig},
    transport::{
        WallClock,
        endpoint::{Tuning, endpoint_config},
        live::LiveChannels,
        network::Network,
        serving::ServeLimits,
        tls::NameCheck,
    },
};
use tokio::{sync::mpsc, task::JoinHandle, time};

use super::{
    channel::SimPeer,
    disk::sim_dir,
    scenario::JoinerSpec,
    service::{folder, seed},
    world::v6,
};

/// The joiner's machine and its disk.
pub struct Joiner {
    pub host: Host,
    pub peer: Arc<SimPeer>,
    pub disk: SimDisk,
    pub live: LiveChannels,
    pub spec: JoinerSpec,
    pub min_orgs: u32,
    /// Addresses lead to both families, IPv6 first.
    pub dual_stack: bool,
    /// The port at which it serves what it has proved while it joins.
    pub serves_at: Option<u16>,
    /// The folder where snapshots land.
    pub lands_in: &'static str,
    clock: WallClock,
    seed: u64,
}

/// What a join told, and when.
pub type Told = Arc<Mutex<Vec<(time::Instant, JoinEvent)>>>;

/// One run of the join.
pub struct Attempt {
    pub task: JoinHandle<Result<Joined, JoinError>>,
    pub told: Told,
}

impl Joiner {
    pub fn new(
        host: Host,
        peer: Arc<SimPeer>,
        live: LiveChannels,
        clock: WallClock,
        spec: JoinerSpec,
        min_orgs: u32,
        seed: u64,
    ) -> Self {
        let disk = SimDisk::new();
        disk.set_capacity(spec.disk_bytes);
        Self {
            host,
            peer,
            disk,
            live,
            spec,
            min_orgs,
            dual_stack: false,
            serves_at: None,
            lands_in: "land",
            clock,
            seed,
        }
    }

    /// What it asks for.
    ///
    /// # Errors
    /// Its disk: also a join's first steps can fail there.
    pub fn request(&self, from: &[String]) -> Result<JoinRequest, JoinError> {
        let root = sim_dir(&self.disk);
        let open = |name: &str| {
            root.create_dir(name)?;
            root.sync_dir()?;
            root.open_dir(name)
        };
        let config = self.live.all().remove(0);
        let records = Records::open(&*open("state")?)?;
        let peers: Vec<String> = config.orgs().keys().map(|org| format!("'{org}.peer'")).collect();
        let policy = Some(format!("OutOf({}, {})", self.min_orgs, peers.join(", ")));
        let settings =
            TrustSettings { policy, min_orgs: self.min_orgs, require_live: true, ..TrustSettings::default() };
        let policy = TrustPolicy::new(&settings, &config).expect("a rule of this channel");
        let mut plan = PlanConfig::default();
        plan.budget_chunks = self.spec.budget_mib;
        let source = |address: &String| SourceAddress {
            address: address.clone(),
            server_name: None,
            name_check: NameCheck::OrgOnly,
        };
        Ok(JoinRequest {
            folder: None,
            loader: None,
            dialling: self.dialling(),
            sources: from.iter().map(source).collect(),
            block_number: None,
            trust: JoinTrust {
                policy,
                highest_had: records.highest_had(config.channel())?,
                allow_older: false,
                given: Statements::default(),
            },
            root: RootOfTrust::ConfigBlock,
            records,
            land: open(self.lands_in)?,
            plan,
            accept_zstd: true,
            serve: self.serves_at.map(|port| ServeWhileJoining {
                listen: SocketAddr::new(self.host.ips()[0], port),
                limits: ServeLimits::default(),
            }),
            workers: self.workers(),
            dry_run: false,
        })
    }

    fn dialling(&self) -> Dialling {
        let (host, seeds) = (self.host.clone(), Arc::new(Mutex::new(Rng::new(self.seed))));
        let disk = self.disk.clone();
        let open = move |address: SocketAddr, tuning: &Tuning| {
            if disk.lacks_descriptors() {
                return Err(rustix::io::Errno::MFILE.into()); // sockets are made of the same
            }
            let tuning = Tuning { rng_seed: Some(seed(seeds.lock().unwrap().bits())), ..tuning.clone() };
            let socket = host.bind_addr(address)?;
            Endpoint::new_with_abstract_socket(endpoint_config(&tuning), None, socket, host.runtime())
        };
        let dual_stack = self.dual_stack;
        let resolve = move |name: String| async move {
            let address: SocketAddr = name.parse().map_err(std::io::Error::other)?;
            let both = [SocketAddr::new(v6(address.ip()), address.port()), address];
            Ok(if dual_stack { both.to_vec() } else { vec![address] })
        };
        Dialling {
            channel: self.live.all().remove(0).channel().clone(),
            live: self.live.clone(),
            identity: Arc::clone(&self.peer.identity),
            tls: Arc::clone(&self.peer.tls),
            grant: Some(self.peer.grant.clone()),
            tuning: Tuning::default(),
            network: Network::new(open, resolve),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Chunks are proved at once, or take a slow disk's time each, one after the other.
    fn workers(&self) -> Workers {
        if self.spec.disk_ms_per_chunk == 0 {
            return Workers::Inline;
        }
        let pause = Duration::from_millis(self.spec.disk_ms_per_chunk);
        let (jobs, mut queue) = mpsc::unbounded_channel::<HandedJob>();
        tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                time::sleep(pause).await;
                job();
            }
        });
        Workers::By(Executor::new(move |job| drop(jobs.send(job))))
    }

    /// Runs the join.
    pub fn start(&self, from: &[String]) -> Attempt {
        let told: Told = Arc::default();
        let observer: Observer = {
            let told = Arc::clone(&told);
            Arc::new(move |event| told.lock().unwrap().push((time::Instant::now(), event)))
        };
        let request = self.request(from);
        let task = tokio::spawn(async move { join(&request?, &observer, std::future::pending()).await });
        Attempt { task, told }
    }

    /// The process dies: what it wrote stays.
    pub fn kill(&self, attempt: &Attempt) {
        self.host.crash();
        attempt.task.abort();
        self.disk.kill();
    }

    /// The machine loses power: of what wasn't synced, chance decides.
    pub fn power_cut(&self, attempt: &Attempt, rng: &mut Rng) {
        self.host.crash();
        attempt.task.abort();
        self.disk.crash(rng);
    }

    /// The published folder of that name, byte for byte; `None`: nothing is published.
    pub fn landed(&self, channel: &str, block: u64) -> Option<std::collections::BTreeMap<String, Vec<u8>>> {
        self.disk.folder(PathBuf::from(format!("{}/{channel}/{block}", self.lands_in)))
    }

    /// The folders that are published, as `CHANNEL/BLOCK`.
    pub fn published(&self) -> Vec<String> {
        let below = format!("{}/", self.lands_in);
        let names = self.disk.paths().into_iter().filter_map(|path| {
            let name = path.strip_prefix(&below)?.strip_suffix('/')?.to_owned();
            // Names with a dot in front are the work in progress.
            (name.matches('/').count() == 1 && !name.starts_with('.') && !name.contains("/.")).then_some(name)
        });
        names.collect()
    }

    /// Who is banned at this moment.
    pub fn bans(&self) -> Vec<Ban> {
        let bans = sim_dir(&self.disk).open_dir("state").and_then(|state| state.open_dir(BANS_DIR));
        bans.and_then(|dir| Bans::open(dir).in_force((self.clock)())).unwrap_or_default()
    }

    /// Makes what it needs on its disk, so that a run doesn't begin with it.
    pub fn prepare(&self) {
        let root = sim_dir(&self.disk);
        drop((folder(&*root, "state"), folder(&*root, self.lands_in)));
    }
}

/// Any port of any address of the host.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
