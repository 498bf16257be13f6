//! What can be wrong with a grant.

use super::GrantedOperation;
use crate::{
    msp::{IdentityId, MspError, MspId},
    snapshot::{BlockNumber, ChannelId, ChannelIdError, WireError},
};

/// Bytes that are no grant, or a grant that doesn't hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Longer than any grant.
    #[error("a grant of {0} bytes is too long")]
    TooLong(usize),
    /// Of another version.
    #[error("grant version {0} is unknown")]
    Version(u64),
    /// Not a protocol buffer as our encoder writes it.
    #[error("the grant {0}")]
    Wire(#[from] WireError),
    /// The channel's name isn't legal.
    #[error("the grant's channel: {0}")]
    Channel(#[from] ChannelIdError),
    /// A field that isn't as it has to be.
    #[error("the grant's {0} is not usable")]
    Field(&'static str),
    /// Readable, but not the canonical bytes.
    #[error("the grant isn't in its canonical form")]
    NotCanonical,
    /// The issuer's certificate, its signature, or that it is a valid member of its organisation.
    #[error("the grant's issuer: {0}")]
    Issuer(#[from] MspError),
    /// It is for another channel.
    #[error("the grant is for channel {found}, not {wanted}")]
    OtherChannel {
        /// The grant's.
        found: ChannelId,
        /// Ours.
        wanted: ChannelId,
    },
    /// It is for somebody else.
    #[error("the grant is for identity {found}, not {wanted}")]
    OtherPeer {
        /// The grant's.
        found: IdentityId,
        /// Who shows it.
        wanted: IdentityId,
    },
    /// Its issuer is of another organisation than who shows it.
    #[error("the grant is by {issuer}, but who shows it is of {holder}")]
    OtherOrganisation {
        /// The issuer's organisation.
        issuer: MspId,
        /// The holder's.
        holder: MspId,
    },
    /// Its issuer is no admin.
    #[error("the grant's issuer is no admin of its organisation: {0}")]
    NotAdmin(#[source] MspError),
    /// It would hold for longer than a grant may.
    #[error("the grant would hold for {0} s; at most 7 days are allowed")]
    TooLongValid(u64),
    /// It was issued in the future: one of the clocks is wrong.
    #[error("the grant was issued {ahead_s} s in the future: is a clock wrong?")]
    NotYet {
        /// How far ahead.
        ahead_s: u64,
    },
    /// It no longer holds.
    #[error("the grant ended {ago_s} s ago: have an admin write a new one")]
    Ended {
        /// How long ago.
        ago_s: u64,
    },
    /// It doesn't grant that.
    #[error("the grant doesn't let anybody {0}")]
    Operation(GrantedOperation),
    /// It doesn't reach to that block.
    #[error("the grant is for blocks {min_block} to {max_block}, not for {block}")]
    Block {
        /// The one asked about.
        block: BlockNumber,
        /// The first that it is for.
        min_block: BlockNumber,
        /// The last one.
        max_block: BlockNumber,
    },
}
