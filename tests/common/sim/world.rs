//! Everything that a scenario names, set up on one simulated network: services, their snapshots, the joiner.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use netsim::{Net, Rng, disk::SimDisk};
use snapferry::{
    msp::ChannelConfig,
    snapshot::SnapshotId,
    transport::{WallClock, live::LiveChannels},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    channel::{Golden, SimChannel},
    joiner::Joiner,
    scenario::{LinkSpec, Scenario},
    service::Service,
};

/// The joiner's machine.
pub const JOINER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));

/// What the NAT in front of it shows.
pub const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One simulated network with all that is on it.
pub struct World {
    pub net: Net,
    pub channel: Arc<SimChannel>,
    /// What every honest source has, byte for byte.
    pub golden: Arc<Golden>,
    pub services: Vec<Service>,
    pub joiner: Joiner,
    pub rng: Rng,
    /// What else goes on: its panics are the run's.
    beside: Vec<JoinHandle<()>>,
    began: Instant,
    scenario: Scenario,
}

/// The machine of the source with that number.
pub fn source_ip(number: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, u8::try_from(number).unwrap(), 1))
}

/// The IPv6 address of the machine with that IPv4 address.
pub fn v6(ip: IpAddr) -> IpAddr {
    let IpAddr::V4(ip) = ip else { return ip };
    let [_, a, b, c] = ip.octets();
    IpAddr::from([0xfd00, 0, 0, 0, 0, u16::from(a), u16::from(b), u16::from(c)])
}

fn ips(ip: IpAddr, dual_stack: bool) -> Vec<IpAddr> {
    if dual_stack { vec![ip, v6(ip)] } else { vec![ip] }
}

impl World {
    /// What the honest sources have of that block: the one that they all began with, or the newer one.
    pub fn golden_of(&self, id: Option<&SnapshotId>) -> Arc<Golden> {
        match id {
            Some(id) if *id != self.golden.id => {
                let newer = self.channel.golden(self.golden.bytes, 3);
                assert_eq!(newer.id, *id, "nobody has that block");
                newer
            }
            _ => Arc::clone(&self.golden),
        }
    }

    /// Sets everything up, and starts every source that isn't down. On a runtime whose clock is paused.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let net = Net::new(rng.bits());
        net.set_default_link(scenario.links.link());
        let channel = SimChannel::shared(scenario.organisations);
        let golden = channel.golden(scenario.snapshot_bytes, 1);
        let began = Instant::now();
        let clock = |ahead_s: i64| -> WallClock {
            let base = channel.now();
            Arc::new(move || shifted(base + began.elapsed(), ahead_s))
        };
        let mut peers = BTreeMap::new();
        let mut services = Vec::new();
        for (number, source) in (1..).zip(&scenario.sources) {
            let place = peers.entry(source.org).and_modify(|count| *count += 1).or_insert(0_usize);
            let host = net.host(ips(source_ip(number), scenario.dual_stack)).unwrap();
            let link = source.link.unwrap_or(scenario.links);
            net.set_link(source_ip(number), JOINER, source.sends.unwrap_or(link).link());
            net.set_link(JOINER, source_ip(number), link.link());
            let held = if source.forked { channel.golden(scenario.snapshot_bytes, 2) } else { Arc::clone(&golden) };
            let disk = SimDisk::new();
            held.put(&disk, "snapshots/completed");
            let live = LiveChannels::new([channel.config().clone()]);
            let peer = channel.peer(source.org, *place);
            let mut service = Service::new(host, peer, disk, live, clock(source.clock_ahead_s), rng.bits());
            service = service.lying(source.lies);
            if !source.down {
                service.start();
            }
            services.push(service);
        }
        let host = net.host(ips(JOINER, scenario.dual_stack)).unwrap();
        if scenario.joiner.nat {
            net.nat(&host, OUTSIDE).unwrap();
        }
        let org = scenario.organisations;
        let place = peers.get(&org).map_or(0, |count| count + 1);
        let mut joiner = Joiner::new(
            host,
            channel.peer(org, place),
            LiveChannels::new([channel.config().clone()]),
            clock(scenario.joiner.clock_ahead_s),
            scenario.joiner.clone(),
            scenario.min_orgs,
            rng.bits(),
        );
        joiner.dual_stack = scenario.dual_stack;
        joiner.prepare();
        Self { net, channel, golden, services, joiner, rng, beside: Vec::new(), began, scenario: scenario.clone() }
    }

    /// Something that goes on while a scenario runs. If it panics, so does the run.
    pub fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.beside.push(tokio::spawn(task));
    }

    /// Another joining peer of the joiner's organisation, on a machine of its own.
    pub fn another_joiner(&mut self, ip: IpAddr) -> Joiner {
        self.joiner_of(self.scenario.organisations, ip)
    }

    /// Another joining peer, on a machine of its own: the first one of that organisation that is neither a source nor the joiner.
    pub fn joiner_of(&mut self, org: usize, ip: IpAddr) -> Joiner {
        let host = self.net.host([ip]).unwrap();
        let sources = self.scenario.sources.iter().filter(|source| source.org == org).count();
        let taken = sources + usize::from(org == self.scenario.organisations);
        let (base, began) = (self.channel.now(), self.began);
        let joiner = Joiner::new(
            host,
            self.channel.peer(org, taken),
            LiveChannels::new([self.channel.config().clone()]),
            Arc::new(move || base + began.elapsed()),
            self.scenario.joiner.clone(),
            self.scenario.min_orgs,
            self.rng.bits(),
        );
        joiner.prepare();
        joiner
    }

    /// Hears what went on beside; what still does ends.
    ///
    /// # Panics
    /// If one of those did.
    pub async fn hear(&mut self) {
        for task in self.beside.drain(..) {
            task.abort();
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Everybody's watcher of configuration blocks puts a newer one in force.
    pub fn reconfigure(&self, config: &ChannelConfig) {
        for live in self.services.iter().map(|service| &service.live).chain([&self.joiner.live]) {
            let _ = live.replace(config.clone());
        }
    }

    /// Whom the joiner won't ask from now on, by their numbers, and why.
    pub fn banned(&self) -> BTreeMap<usize, String> {
        let bans = self.joiner.bans();
        let of_peer = |service: &Service| {
            let identity = service.peer.identity.identity.id();
            bans.iter().find(|ban| ban.identity_id == identity).map(|ban| ban.reason.clone())
        };
        let numbered = (1..).zip(&self.services);
        numbered.filter_map(|(number, service)| Some((number, of_peer(service)?))).collect()
    }

    /// Virtual time since it was set up.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whom the joiner is told to ask.
    pub fn addresses(&self) -> Vec<String> {
        self.services.iter().map(|service| service.address().to_string()).collect()
    }

    /// The source with that number, from 1.
    pub fn source(&mut self, number: usize) -> &mut Service {
        self.services.get_mut(number.wrapping_sub(1)).unwrap_or_else(|| panic!("there is no source {number}"))
    }

    /// The links of a source are as the scenario says again, but for those that it names now.
    pub fn relink(&self, number: usize, link: Option<LinkSpec>) {
        let Some(source) = self.scenario.sources.get(number - 1) else { return };
        let both = link.or(source.link).unwrap_or(self.scenario.links);
        let sends = if link.is_some() { both } else { source.sends.unwrap_or(both) };
        self.net.set_link(source_ip(number), JOINER, sends.link());
        self.net.set_link(JOINER, source_ip(number), both.link());
    }
}

fn shifted(time: SystemTime, ahead_s: i64) -> SystemTime {
    let by = Duration::from_secs(ahead_s.unsigned_abs());
    if ahead_s < 0 { time - by } else { time + by }
}
