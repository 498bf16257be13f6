//! The network that a dialler is on: how it looks names up and opens endpoints. The system's by default; a simulated machine hands
//! in its own, so that the same code runs there.

use std::{fmt, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc};

use quinn::Endpoint;

use super::endpoint::{Tuning, bind};

type Opening = dyn Fn(SocketAddr, &Tuning) -> io::Result<Endpoint> + Send + Sync;
type Resolving = dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync;

/// One machine's way to others. Clones share it.
#[derive(Clone)]
pub struct Network {
    open: Arc<Opening>,
    resolve: Arc<Resolving>,
}

impl Network {
    /// The system's UDP sockets and resolver.
    #[must_use]
    pub fn system() -> Self {
        Self::new(
            |address, tuning| bind(address, None, tuning),
            |name| async move { Ok(tokio::net::lookup_host(name).await?.collect()) },
        )
    }

    /// Endpoints that `open` binds to an address (port 0: any), and addresses that `resolve` finds for `HOST:PORT`.
    pub fn new<F>(
        open: impl Fn(SocketAddr, &Tuning) -> io::Result<Endpoint> + Send + Sync + 'static,
        resolve: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self { open: Arc::new(open), resolve: Arc::new(move |name| Box::pin(resolve(name))) }
    }

    /// An endpoint that only dials.
    ///
    /// # Errors
    /// If the address can't be bound.
    pub fn open(&self, address: SocketAddr, tuning: &Tuning) -> io::Result<Endpoint> {
        (self.open)(address, tuning)
    }

    /// All addresses of `HOST:PORT`, in the resolver's order.
    ///
    /// # Errors
    /// If there are none, or the resolver fails.
    pub async fn resolve(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        (self.resolve)(name.to_owned()).await
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
