//! Leases on the asking side: what keeps a snapshot there while it is downloaded.

use super::{
    connect::Session,
    error::{AskError, Misbehaviour},
};
use crate::transport::wire::{Body, Lease, LeaseOpen};

impl Session {
    /// Asks that a snapshot stays; who has a lease of it already, gets that one.
    ///
    /// # Errors
    /// [`AskError`]; BUSY with a time if there are too many, GONE if the data are about to go.
    pub async fn open_lease(&self, open: LeaseOpen) -> Result<Lease, AskError> {
        self.lease(Body::LeaseOpen(open)).await
    }

    /// Asks for more time.
    ///
    /// # Errors
    /// [`AskError`]; LEASE_EXPIRED if it has ended.
    pub async fn renew_lease(&self, lease_id: u64) -> Result<Lease, AskError> {
        self.lease(Body::LeaseRenew(lease_id)).await
    }

    /// Says that it is no longer needed.
    ///
    /// # Errors
    /// [`AskError`]; LEASE_EXPIRED if it has ended.
    pub async fn close_lease(&self, lease_id: u64) -> Result<(), AskError> {
        self.lease(Body::LeaseClose(lease_id)).await.map(drop)
    }

    async fn lease(&self, body: Body) -> Result<Lease, AskError> {
        match self.control.ask("lease", body).await? {
            Body::Lease(lease) => Ok(lease),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("lease"))),
        }
    }
}
