//! The Fabric peer beside us, over its gRPC: requests for snapshots, joining by one, and what it says of its channels.
//!
//! ```text
//! request, proposal  ->  client  ->  answer      what the peer says, as our own types
//! signed as Fabric        |          said        what it refuses, by its texts
//! wants it            connection
//!                     TLS only: a captured request could be sent again
//! ```
//!
//! Decides how a peer is called and what its answers mean. Who calls, when, and whether an answer is to be believed (a join that fails
//! is answered with success) is for the layers above.

mod answer;
mod client;
mod connection;
mod error;
mod last_words;
mod pb;
mod proposal;
mod raw;
mod request;
mod said;

#[doc(hidden)]
pub use answer::decode_response;
pub use answer::{
    ANSWER_BYTES_MAX, CHANNELS_MAX, ChainInfo, JoinStatus, MalformedAnswer, PENDINGS_MAX, decode_channels,
    decode_pendings,
};
pub use client::Peer;
pub use connection::{PeerConnection, read_tls_roots};
pub use error::{Call, PeerError};
pub use said::{Refusal, Refused};
