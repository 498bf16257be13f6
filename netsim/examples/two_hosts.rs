//! Two hosts, a bad link, a NAT that forgets: 1 MiB arrives, and the same seed always tells the same story.
//!
//! `cargo run -p netsim --example two_hosts -- 7`

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use netsim::{Link, Net, What};
use quinn::{ClientConfig, EndpointConfig, ServerConfig};
use rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer};

const BYTES: usize = 1 << 20;

// One thread and a paused clock: time jumps to the next timer whenever nothing else is left to do.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(1), |seed| seed.parse())?;
    let net = Net::new(seed);
    net.keep_log(100_000);

    // Two hosts; what the link doesn't say is perfect.
    let (here, there): (IpAddr, IpAddr) = ("10.0.0.1".parse()?, "10.0.0.2".parse()?);
    let (server, client) = (net.host([here])?, net.host([there])?);
    let bad = Link {
        latency: Duration::from_millis(20),
        bandwidth_bytes_per_s: Some(2_000_000),
        queue_bytes: 100_000,
        loss_ppm: 10_000,
        corrupt_ppm: 2_000,
        ..Link::default()
    };
    net.set_default_link(bad);
    net.nat(&client, "203.0.113.7".parse()?)?;

    // quinn as it is, but for a socket, a runtime and a seed of ours. What runs on a host is spawned on it, so that it dies in a crash.
    let (server_config, client_config) = tls()?;
    let seeded = |side: u8| {
        let mut config = EndpointConfig::default();
        config.rng_seed(Some([side; 32]));
        config
    };
    let listening = server.endpoint(4433, seeded(1), Some(server_config))?;
    server.spawn(async move {
        while let Some(incoming) = listening.accept().await {
            let Ok(connection) = incoming.await else { continue };
            let Ok(mut stream) = connection.open_uni().await else { continue };
            if stream.write_all(&vec![7; BYTES]).await.is_ok() && stream.finish().is_ok() {
                connection.closed().await;
            }
        }
    });

    let dialling = client.endpoint(0, seeded(2), None)?;
    let connection = dialling.connect_with(client_config, (here, 4433).into(), "server")?.await?;
    net.rebind(&client); // QUIC finds its way: the server sees a new port and goes on
    let received = connection.accept_uni().await?.read_to_end(BYTES).await?;

    for event in net.log() {
        if let What::Mark(text) = event.what {
            println!("{:>9.3} s  {text}", event.at.as_secs_f64());
        }
    }
    println!("{:>9.3} s  {} bytes, {} datagrams", net.now().as_secs_f64(), received.len(), net.datagrams());
    println!("{:?}", net.faults());
    println!("seed {seed}: shape {:016x}", net.shape_hash());
    Ok(())
}

/// An Ed25519 identity: ECDSA's signatures vary in length, and with them the trace.
fn tls() -> Result<(ServerConfig, ClientConfig), Box<dyn Error>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let mut params = rcgen::CertificateParams::new(["server".to_owned()])?;
    params.serial_number = Some(1.into());
    let certificate = params.self_signed(&key)?.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok((
        ServerConfig::with_single_cert(vec![certificate], private)?,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}
