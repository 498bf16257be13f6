//! The yardstick: QUIC with the same settings, certificates and streams as a transfer, from memory to memory. Nothing is
//! read, hashed, compressed or written. Both ends are children of their own, as in a transfer.

use super::{
    child::{Program, Usage},
    stage::Stage,
};
use crate::cli::{
    channel,
    exit::{Exit, Failure},
    stop::Stop,
};
use bytes::Bytes;
use clap::Args;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use snapferry::{
    msp::TlsPair,
    service::load_channel_config,
    snapshot::CHUNK_BYTES,
    transport::{
        endpoint::{Tuning, accepted, bind},
        limits::{RUN_CHUNKS_MAX, STREAMS_MAX},
        tls::{NameCheck, TlsBundle, TlsTrust, client_config, server_config},
    },
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::task::JoinSet;

/// Streams at a time, as at one source.
const STREAMS: usize = 4;
/// Bytes of one stream, as of the longest range request.
const RUN_BYTES: u64 = RUN_CHUNKS_MAX as u64 * CHUNK_BYTES;

/// What both ends need.
#[derive(Debug, Args)]
pub(super) struct Ends {
    /// Whose certificates are accepted
    #[arg(long)]
    config_block: PathBuf,
    /// Our certificate
    #[arg(long)]
    tls_cert: PathBuf,
    /// Its key
    #[arg(long)]
    tls_key: PathBuf,
    /// Largest UDP payload that is tried
    #[arg(long)]
    mtu: Option<u16>,
}

/// Raw QUIC: sends what it is asked for, and prints where it listens
#[derive(Debug, Args)]
pub(super) struct Send {
    #[command(flatten)]
    ends: Ends,
}

/// Raw QUIC: takes bytes and drops them
#[derive(Debug, Args)]
pub(super) struct Receive {
    #[command(flatten)]
    ends: Ends,
    /// Where the sender listens
    #[arg(long)]
    from: SocketAddr,
    /// How many bytes
    #[arg(long)]
    bytes: u64,
}

/// What the yardstick cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    pub(super) sender: Usage,
    pub(super) receiver: Usage,
}

/// One run over so many bytes.
pub(super) async fn run(program: &Program, stage: &Stage, bytes: u64, mtu: Option<u16>) -> Result<Raw, Failure> {
    let args = |part: &str, peer: &super::stage::Peer| {
        let mut args = ["bench", part, "--config-block"].map(str::to_owned).to_vec();
        args.push(stage.config_block().display().to_string());
        args.extend(peer.tls_flags());
        args.extend(mtu.into_iter().flat_map(|mtu| ["--mtu".to_owned(), mtu.to_string()]));
        args
    };
    let mut sender = program.start("raw-send", &args("raw-send", stage.raw()))?;
    let address: SocketAddr = sender.line(|line| line.parse().ok()).await?;
    let mut take = args("raw-receive", stage.joiner());
    take.extend(["--from".to_owned(), address.to_string(), "--bytes".to_owned(), bytes.to_string()]);
    let (receiver, _) = program.start("raw-receive", &take)?.finish().await?;
    Ok(Raw { sender: sender.stop().await?, receiver })
}

impl Ends {
    fn tuning(&self) -> Tuning {
        let tuning = Tuning::default();
        Tuning { mtu_upper_bound: self.mtu.unwrap_or(tuning.mtu_upper_bound), ..tuning }
    }

    fn credentials(&self) -> Result<(TlsTrust, TlsPair), Failure> {
        let config = load_channel_config(&self.config_block, None)?;
        let pair = TlsPair::load(&self.tls_cert, &self.tls_key).map_err(failed)?;
        Ok((TlsTrust::new(TlsBundle::new([&config])), pair))
    }
}

impl Send {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (trust, pair) = self.ends.credentials()?;
        let tuning = self.ends.tuning();
        let tls = server_config(trust, &pair, channel::wall_clock()).map_err(failed)?;
        let quic = tuning.server(tls).map_err(failed)?;
        on_one_thread(async {
            let endpoint = bind((Ipv4Addr::LOCALHOST, 0).into(), Some(quic), &tuning)?;
            crate::cli::output::print(&format!("{}\n", endpoint.local_addr()?))?;
            tokio::select! {
                () = Stop::default().wait(None) => {}
                () = send_all(endpoint) => {}
            }
            Ok(())
        })
    }
}

async fn send_all(endpoint: Endpoint) {
    // One block that is sent again and again: it stays in the cache, as little as possible is memory's part.
    let block = Bytes::from(vec![0x5a; CHUNK_BYTES as usize]);
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        accepted(&connection, STREAMS_MAX);
        while let Ok((send, recv)) = connection.accept_bi().await {
            let block = block.clone();
            tokio::spawn(async move { drop(send_run(send, recv, &block).await) });
        }
    }
}

async fn send_run(mut send: SendStream, mut recv: RecvStream, block: &Bytes) -> Result<(), Failure> {
    let mut length = [0; 8];
    recv.read_exact(&mut length).await.map_err(failed)?;
    let mut rest = u64::from_be_bytes(length);
    while rest > 0 {
        let part = usize::try_from(rest).map_or(block.len(), |rest| rest.min(block.len()));
        send.write_chunk(block.slice(..part)).await.map_err(failed)?;
        rest -= part as u64;
    }
    send.finish().map_err(failed)
}

impl Receive {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let (trust, pair) = self.ends.credentials()?;
        let tuning = self.ends.tuning();
        let tls = client_config(trust, &pair, NameCheck::San, channel::wall_clock()).map_err(failed)?;
        let quic = tuning.client(tls).map_err(failed)?;
        on_one_thread(async {
            let endpoint = bind((Ipv4Addr::UNSPECIFIED, 0).into(), None, &tuning)?;
            let connecting = endpoint.connect_with(quic, self.from, "localhost").map_err(failed)?;
            let connection = connecting.await.map_err(failed)?;
            let asked = Arc::new(AtomicU64::new(0));
            let mut streams = JoinSet::new();
            for _ in 0..STREAMS {
                streams.spawn(take_runs(connection.clone(), Arc::clone(&asked), self.bytes));
            }
            let mut taken = 0;
            while let Some(run) = streams.join_next().await {
                taken += run.map_err(failed)??;
            }
            connection.close(0_u32.into(), b"");
            endpoint.wait_idle().await;
            if taken == self.bytes { Ok(()) } else { Err(failed(format!("{taken} bytes came of {}", self.bytes))) }
        })
    }
}

/// Asks for run after run until all bytes are asked for; how many came.
async fn take_runs(connection: Connection, asked: Arc<AtomicU64>, bytes: u64) -> Result<u64, Failure> {
    let mut taken = 0;
    loop {
        let start = asked.fetch_add(RUN_BYTES, Ordering::Relaxed);
        let run = bytes.saturating_sub(start).min(RUN_BYTES);
        if run == 0 {
            return Ok(taken);
        }
        let (mut send, mut recv) = connection.open_bi().await.map_err(failed)?;
        send.write_all(&run.to_be_bytes()).await.map_err(failed)?;
        send.finish().map_err(failed)?;
        let mut pieces: [Bytes; 32] = std::array::from_fn(|_| Bytes::new());
        while let Some(count) = recv.read_chunks(&mut pieces).await.map_err(failed)? {
            taken += pieces.iter().take(count).map(|piece| piece.len() as u64).sum::<u64>();
        }
    }
}

fn on_one_thread(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}
