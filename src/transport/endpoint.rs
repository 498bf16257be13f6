//! The UDP socket and QUIC's settings, each with its reason (protocol.md section 9, performance.md sections 2, 4 and 6).
//!
//! Decides nothing about who may connect ([`super::tls`]) or what is said.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TokioRuntime, TransportConfig, ValidationTokenConfig, VarInt,
    congestion::{BbrConfig, CubicConfig},
    crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::limits::{FRAME_BYTES_BEFORE_HELLO_MAX, SERVE_RECEIVE_WINDOW_BYTES};

/// The congestion controller of what we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Best on a LAN; collapses at a loss of 0.1 % on a WAN.
    #[default]
    Cubic,
    /// 40 times as fast on a lossy WAN; its authors call it experimental.
    Bbr,
}

/// Settings of an endpoint's connections. The defaults are measured ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// Largest UDP payload that path MTU discovery tries, in bytes. Larger packets cost less CPU a byte; 6400 is best where the
    /// path allows it (loopback, jumbo frames). At most [`Tuning::MTU_MAX`].
    pub mtu_upper_bound: u16,
    /// Congestion controller.
    pub congestion: Congestion,
    /// Round trip that is assumed until one was measured; `None`: quinn's 333 ms.
    pub initial_rtt: Option<Duration>,
    /// What one stream may send us unread, in bytes. Wider ones can make quinn-proto close for too many gaps in a stream.
    pub stream_receive_window_bytes: u32,
    /// What a server may send a dialler unread on one connection, in bytes: the budget / sources, within 8-32 MiB (quinn's default caps
    /// a stream at about 200 Mbit/s at 50 ms).
    pub receive_window_bytes: u32,
    /// What we send that isn't acknowledged yet, in bytes a connection: it stays in memory.
    pub send_window_bytes: u64,
    /// Packets that the other side may leave unacknowledged: fewer acknowledgements, less CPU.
    pub ack_threshold: u32,
    /// Round robin among streams of one priority: the run that was asked first should not wait for the last.
    pub send_fairness: bool,
    /// Kernel's socket buffers, each way, in bytes: what arrives while the driver is busy must fit.
    pub socket_buffer_bytes: usize,
    /// A packet at least this often, so that NAT entries and the other side's idle timer live.
    pub keep_alive: Duration,
    /// A connection that hears nothing for this long is lost.
    pub idle_timeout: Duration,
    /// Fixed seed of connection ids: for the simulator only.
    pub rng_seed: Option<[u8; 32]>,
}

impl Tuning {
    /// Ten packets of this size still fit one UDP send of 65 507 bytes (quinn's segmentation offload batches ten).
    pub const MTU_MAX: u16 = 6_550;

    /// The dialling side's QUIC settings.
    ///
    /// # Errors
    /// Never with [`super::tls::client_config`]'s result, which has the suite that QUIC starts with.
    pub fn client(&self, tls: rustls::ClientConfig) -> Result<ClientConfig, NoInitialCipherSuite> {
        let mut transport = self.transport();
        // Servers open no streams.
        transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
        transport.receive_window(VarInt::from_u32(self.receive_window_bytes));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }

    /// The accepting side's QUIC settings: until accepted ([`accepted`]) one stream and 64 KiB.
    ///
    /// # Errors
    /// Never with [`super::tls::server_config`]'s result, which has the suite that QUIC starts with.
    pub fn server(&self, tls: rustls::ServerConfig) -> Result<ServerConfig, NoInitialCipherSuite> {
        let mut transport = self.transport();
        transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
        transport.receive_window(VarInt::from_u32(FRAME_BYTES_BEFORE_HELLO_MAX as u32 + 4));
        let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        // Every connection proves its address anew, as it proves everything else.
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0);
        config.validation_token_config(tokens);
        Ok(config)
    }

    fn transport(&self) -> TransportConfig {
        let mut transport = TransportConfig::default();
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.mtu());
        let mut acks = AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(VarInt::from_u32(self.ack_threshold));
        let idle = IdleTimeout::try_from(self.idle_timeout).ok();
        transport
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .datagram_send_buffer_size(0)
            .stream_receive_window(VarInt::from_u32(self.stream_receive_window_bytes))
            .send_window(self.send_window_bytes)
            .send_fairness(self.send_fairness)
            .mtu_discovery_config(Some(mtu))
            .ack_frequency_config(Some(acks))
            .keep_alive_interval(Some(self.keep_alive))
            .max_idle_timeout(idle);
        if let Some(initial_rtt) = self.initial_rtt {
            transport.initial_rtt(initial_rtt);
        }
        match self.congestion {
            Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
            Congestion::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
        };
        transport
    }

    fn mtu(&self) -> u16 {
        self.mtu_upper_bound.clamp(Self::MTU_MIN, Self::MTU_MAX)
    }

    /// What every QUIC path carries (RFC 9000, 14).
    const MTU_MIN: u16 = 1_200;
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            // An Ethernet frame of 1500 bytes less IPv6 and UDP headers.
            mtu_upper_bound: 1_452,
            congestion: Congestion::default(),
            initial_rtt: None,
            stream_receive_window_bytes: 2 << 20,
            receive_window_bytes: 16 << 20,
            send_window_bytes: 8 << 20,
            ack_threshold: 40,
            send_fairness: true,
            socket_buffer_bytes: 4 << 20,
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            rng_seed: None,
        }
    }
}

/// Binds the socket and starts the endpoint's driver on the current tokio runtime. Without a server configuration it only
/// dials.
///
/// # Errors
/// If the address can't be bound.
pub fn bind(address: SocketAddr, server: Option<ServerConfig>, tuning: &Tuning) -> io::Result<Endpoint> {
    Endpoint::new(endpoint_config(tuning), server, udp_socket(address, tuning)?, Arc::new(TokioRuntime))
}

/// The endpoint's own settings, for [`bind`] and for endpoints on other sockets.
#[must_use]
pub fn endpoint_config(tuning: &Tuning) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.rng_seed(tuning.rng_seed);
    // What we accept must be what the other side may discover; quinn's own default stands where it is larger.
    let payload = tuning.mtu().max(u16::try_from(config.get_max_udp_payload_size()).unwrap_or(u16::MAX));
    config.max_udp_payload_size(payload).expect("a payload of 1200 bytes or more is legal");
    config
}

/// Raises a connection's limits once its client was accepted: `streams` requests at a time, beside the control stream, which stays
/// open.
pub fn accepted(connection: &Connection, streams: u32) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(streams.saturating_add(1)));
    connection.set_receive_window(VarInt::from_u32(SERVE_RECEIVE_WINDOW_BYTES));
}

fn udp_socket(address: SocketAddr, tuning: &Tuning) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` serves IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    // The kernel may grant less (net.core.rmem_max): slower, not wrong, so no error.
    let asked = tuning.socket_buffer_bytes;
    if socket.set_recv_buffer_size(asked).and_then(|()| socket.set_send_buffer_size(asked)).is_err() {
        tracing::debug!(asked, "the kernel refused the socket buffers");
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
