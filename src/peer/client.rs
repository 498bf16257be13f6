//! The calls to a peer, each signed with one MSP identity.

use std::{fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::time::timeout;
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use super::{
    ANSWER_BYTES_MAX, Call, ChainInfo, JoinStatus, MalformedAnswer, PeerConnection, PeerError, Refused,
    answer::{decode_channels, decode_pendings, decode_previous_hash, decode_response},
    last_words::Ended,
    proposal::{NONCE_BYTES, Proposal},
    raw::RawCodec,
    request::{pendings_query, snapshot_request},
};
use crate::{
    msp::LocalIdentity,
    snapshot::{BlockHash, BlockNumber, ChannelId},
    transport::{WallClock, fault::chain},
};

/// The system chaincode of channels and configuration.
const CSCC: &str = "cscc";
/// The system chaincode of queries to the ledger.
const QSCC: &str = "qscc";

/// A connected peer, and who calls it.
#[derive(Clone)]
pub struct Peer {
    connection: PeerConnection,
    identity: Arc<LocalIdentity>,
    clock: WallClock,
    channel: Channel,
    ended: Ended,
}

impl Peer {
    /// Connects. All calls are signed by `identity`: an admin of the peer's organisation for snapshots and joins, a member else.
    ///
    /// # Errors
    /// If no TLS connection comes about in time.
    pub async fn connect(
        connection: PeerConnection,
        identity: Arc<LocalIdentity>,
        clock: WallClock,
    ) -> Result<Self, PeerError> {
        let (channel, ended) = connection.connect(clock.clone()).await?;
        Ok(Self { connection, identity, clock, channel, ended })
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.connection.address
    }

    /// Requests a snapshot of the moment when that block is the last one; `None`: now. For admins. While the peer writes it, it
    /// commits no block of that channel.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses: also where the snapshot is requested or made already.
    pub async fn generate(&self, channel: &ChannelId, block_number: Option<BlockNumber>) -> Result<(), PeerError> {
        self.snapshot_call(Call::Generate, channel, block_number.unwrap_or(BlockNumber(0))).await
    }

    /// Takes a request back. For admins.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn cancel(&self, channel: &ChannelId, block_number: BlockNumber) -> Result<(), PeerError> {
        self.snapshot_call(Call::Cancel, channel, block_number).await
    }

    /// The blocks for which snapshots are requested and not yet finished, ascending. For admins.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn pendings(&self, channel: &ChannelId) -> Result<Vec<BlockNumber>, PeerError> {
        let message = pendings_query(channel, &self.identity, nonce()?)?;
        let answer = self.unary(Call::QueryPendings, "/protos.Snapshot/QueryPendings", message).await?;
        self.decoded(Call::QueryPendings, decode_pendings(&answer))
    }

    /// The channels that the peer has joined, in order. For members of its organisation.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn channels(&self) -> Result<Vec<ChannelId>, PeerError> {
        let payload = self.chaincode(Call::GetChannels, CSCC, None, Vec::new()).await?;
        self.decoded(Call::GetChannels, decode_channels(&payload))
    }

    /// The channel's configuration block that is in force, Fabric's `Block`: bytes of the peer's, to be parsed and checked as such. For
    /// readers of the channel, of any organisation. A peer that joined by a snapshot has none up to that block, and refuses.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn config_block(&self, channel: &ChannelId) -> Result<Bytes, PeerError> {
        let args = vec![channel.as_str().to_owned().into()];
        self.chaincode(Call::GetConfigBlock, CSCC, Some(channel), args).await
    }

    /// Where the channel's ledger ends. For readers of the channel, of any organisation.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn chain_info(&self, channel: &ChannelId) -> Result<ChainInfo, PeerError> {
        let args = vec![channel.as_str().to_owned().into()];
        let payload = self.chaincode(Call::GetChainInfo, QSCC, Some(channel), args).await?;
        self.decoded(Call::GetChainInfo, ChainInfo::decode(&payload))
    }

    /// The hash of the block before that one, as its header names it. For readers of the channel, of any organisation.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn previous_block_hash(
        &self,
        channel: &ChannelId,
        block_number: BlockNumber,
    ) -> Result<BlockHash, PeerError> {
        let args = vec![channel.as_str().to_owned().into(), block_number.to_string().into()];
        let payload = self.chaincode(Call::GetBlockByNumber, QSCC, Some(channel), args).await?;
        self.decoded(Call::GetBlockByNumber, decode_previous_hash(&payload, block_number))
    }

    /// Begins a join by the snapshot in a folder of the *peer's* disk. For admins. That it was begun is all that the answer says: a join
    /// that fails later, for a channel that exists even, is answered with success, and only the peer's log has the reason.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses: a missing or empty folder, another join under way.
    pub async fn join_by_snapshot(&self, folder: &Path) -> Result<(), PeerError> {
        let args = vec![Bytes::copy_from_slice(folder.as_os_str().as_encoded_bytes())];
        self.chaincode(Call::JoinChainBySnapshot, CSCC, None, args).await.map(drop)
    }

    /// Whether a join by snapshot runs. For admins.
    ///
    /// # Errors
    /// If there is no answer, or the peer refuses.
    pub async fn join_status(&self) -> Result<JoinStatus, PeerError> {
        let payload = self.chaincode(Call::JoinBySnapshotStatus, CSCC, None, Vec::new()).await?;
        self.decoded(Call::JoinBySnapshotStatus, JoinStatus::decode(&payload))
    }

    async fn snapshot_call(&self, call: Call, channel: &ChannelId, block_number: BlockNumber) -> Result<(), PeerError> {
        let message = snapshot_request(channel, block_number, &self.identity, nonce()?)?;
        let path = if call == Call::Cancel { "/protos.Snapshot/Cancel" } else { "/protos.Snapshot/Generate" };
        self.unary(call, path, message).await.map(drop)
    }

    async fn chaincode(
        &self,
        call: Call,
        chaincode: &'static str,
        channel: Option<&ChannelId>,
        args: Vec<Bytes>,
    ) -> Result<Bytes, PeerError> {
        let args = std::iter::once(Bytes::from_static(call.name().as_bytes())).chain(args).collect();
        let proposal = Proposal { chaincode, channel, joins: call == Call::JoinChainBySnapshot, args };
        let message = proposal.sign(&self.identity, nonce()?, (self.clock)())?;
        let answer = self.unary(call, "/protos.Endorser/ProcessProposal", message).await?;
        let response = self.decoded(call, decode_response(answer))?;
        response.map_err(|refused| PeerError::Refused { call, refused })
    }

    async fn unary(&self, call: Call, path: &'static str, message: Bytes) -> Result<Bytes, PeerError> {
        let after = self.connection.timeout;
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let asked = async {
            grpc.ready().await.map_err(|error| self.lost(call, &error))?;
            let answer = grpc.unary(Request::new(message), PathAndQuery::from_static(path), RawCodec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| self.failed(call, &status))
        };
        let waited = timeout(after, asked).await;
        waited.unwrap_or_else(|_| {
            Err(PeerError::Timeout { address: self.address().to_owned(), what: call.to_string(), after })
        })
    }

    fn decoded<T>(&self, call: Call, decoded: Result<T, MalformedAnswer>) -> Result<T, PeerError> {
        decoded.map_err(|source| PeerError::Malformed { address: self.address().to_owned(), call, source })
    }

    /// What a status means: what the peer sent has no cause on this side.
    fn failed(&self, call: Call, status: &Status) -> PeerError {
        if let Some(cause) = std::error::Error::source(status) {
            return self.lost(call, cause);
        }
        let address = self.address().to_owned();
        match status.code() {
            Code::Unimplemented => PeerError::Unknown { address, call },
            Code::OutOfRange => PeerError::TooLarge { address, call, limit: ANSWER_BYTES_MAX },
            Code::Unavailable | Code::Cancelled | Code::Internal => {
                let reason = Refused::new(status.message()).text().to_owned();
                PeerError::Lost { address, call, reason }
            }
            _ => PeerError::Refused { call, refused: Refused::new(status.message()) },
        }
    }

    fn lost(&self, call: Call, cause: &dyn std::error::Error) -> PeerError {
        self.connection.refused_certificate(&self.ended).unwrap_or_else(|| {
            let reason = self.ended.reason().map_or_else(|| chain(cause), str::to_owned);
            PeerError::Lost { address: self.address().to_owned(), call, reason }
        })
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({} as {})", self.address(), self.identity.identity.subject())
    }
}

/// Makes each request another one.
fn nonce() -> Result<[u8; NONCE_BYTES], PeerError> {
    let mut nonce = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| PeerError::Random)?;
    Ok(nonce)
}
