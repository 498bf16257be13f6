//! Lying sources on simulated machines, and their names in scenarios.

use std::sync::Arc;

use quinn::Endpoint;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::task::JoinSet;

#[path = "../lies.rs"]
mod lies;

pub use lies::LyingService;

/// What a source lies about; in files it has the name that it has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie(pub lies::Lie);

pub use lies::Lie as Of;

impl Lie {
    /// All that a seed may draw.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        Of::ALL.into_iter().map(Self)
    }
}

impl From<Of> for Lie {
    fn from(lie: Of) -> Self {
        Self(lie)
    }
}

impl Serialize for Lie {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:?}", self.0))
    }
}

impl<'de> Deserialize<'de> for Lie {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let named = Of::ALL.into_iter().find(|lie| format!("{lie:?}") == name);
        let names = || Of::ALL.map(|lie| format!("{lie:?}")).join(", ");
        named.map(Self).ok_or_else(|| D::Error::custom(format!("no lie is called {name:?}; there are {}", names())))
    }
}

/// Serves with that lie, until dropped.
pub async fn serve(endpoint: Endpoint, service: Arc<LyingService>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        connections.spawn(Arc::clone(&service).serve(incoming));
    }
}
