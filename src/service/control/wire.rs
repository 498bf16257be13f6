//! Requests and responses of the control socket, as our own types; what is malformed ends here.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{command::SignedCommand, pb};
use crate::{
    catalog::{
        Attestation, AttestationError, CatalogEntry, Deleted, HeldLease, Holder, KnownSnapshot, NONCE_BYTES_MAX,
        PendingDeletion,
    },
    msp::{IdentityId, MspId},
    snapshot::{
        BlockHash, BlockNumber, ChannelId, ChannelIdError, HexError, Manifest, ManifestError, ManifestHash,
        SnapshotHash, SnapshotId,
    },
};

/// Longest request: a command with an identity of 16 KiB is the largest.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest response: 10 000 entries of some 350 bytes, with the longest channel names, or all kept attestations.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Entries in one answer; a peer makes a snapshot every few hours at most.
pub const LISTED_MAX: usize = 10_000;

/// What a command asks of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// The snapshots of one channel, or of all.
    List(Option<ChannelId>),
    /// All about one snapshot.
    Show(SnapshotId),
    /// An attestation, echoing a nonce of at most 64 bytes.
    Sign(SnapshotId, Bytes),
    /// A signed command.
    Command(SignedCommand),
}

/// What the service answers.
#[derive(Debug)]
#[non_exhaustive]
pub enum Response {
    /// No.
    Refused(Refused),
    /// To [`Request::List`]: by channel and block.
    Listed(Vec<Listed>),
    /// To [`Request::Show`].
    Shown(Box<Shown>),
    /// To [`Request::Sign`]: the service's own one first.
    Signed(Vec<Attestation>),
    /// To a command that deletes.
    Deleted(Deleted),
}

/// One snapshot of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub entry: CatalogEntry,
    /// How many clients hold a lease of it.
    pub downloads: u32,
    /// It is to be deleted, once they are through.
    pub deletion_pending: bool,
}

/// All about one snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Manifest and commit hash.
    pub known: KnownSnapshot,
    /// It came from other organisations.
    pub landed: bool,
    /// Kept attestations, the service's own one first if there is one.
    pub attestations: Vec<Attestation>,
    /// The service's identity: the target of commands.
    pub identity_id: IdentityId,
    /// Who downloads it, by age.
    pub leases: Vec<HeldLease>,
    /// Its deletion, if that waits for them.
    pub deletion: Option<PendingDeletion>,
}

/// A refusal, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// Which kind.
    pub code: RefusedCode,
    /// In words.
    pub text: String,
}

/// Kinds of refusals: each has an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCode {
    /// Not a request, or a command of another version.
    Malformed,
    /// The service's configuration forbids it.
    NotAllowed,
    /// Not this identity, or not (any more) this command.
    Denied,
    /// No such snapshot.
    NotFound,
    /// It contradicts what was signed, or what was signed is unknown.
    Contradiction,
    /// Anything else.
    Failed,
}

/// Bytes that are no message of this protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlWireError {
    /// Not a protocol buffer.
    #[error("a message doesn't decode: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A field is missing, or its value isn't known.
    #[error("a message without a usable {0}: are the command and the service of one version?")]
    Missing(&'static str),
    /// A channel's name isn't legal.
    #[error(transparent)]
    Channel(#[from] ChannelIdError),
    /// A hash isn't one.
    #[error(transparent)]
    Hash(#[from] HexError),
    /// The nonce is over 64 bytes.
    #[error("a nonce of {0} bytes, more than {NONCE_BYTES_MAX}")]
    Nonce(usize),
    /// The manifest isn't one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An attestation isn't one.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
}

impl Request {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        use pb::request::Body;
        let body = match self {
            Self::List(channel) => Body::List(pb::List {
                channel_id: channel.as_ref().map_or_else(String::new, |channel| channel.as_str().to_owned()),
            }),
            Self::Show(id) => Body::Show(pb::Show { snapshot: Some(id_to_pb(id)) }),
            Self::Sign(id, nonce) => Body::Sign(pb::Sign { snapshot: Some(id_to_pb(id)), nonce: nonce.clone() }),
            Self::Command(command) => {
                Body::Command(pb::Command { body: command.body.clone(), signature: command.signature.clone() })
            }
        };
        pb::Request { body: Some(body) }.encode_to_vec()
    }

    /// From a message; what a command says is looked at later.
    ///
    /// # Errors
    /// [`ControlWireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, ControlWireError> {
        use pb::request::Body;
        Ok(match pb::Request::decode(bytes)?.body.ok_or(ControlWireError::Missing("request"))? {
            Body::List(list) if list.channel_id.is_empty() => Self::List(None),
            Body::List(list) => Self::List(Some(list.channel_id.parse()?)),
            Body::Show(show) => Self::Show(id_from_pb(show.snapshot)?),
            Body::Sign(sign) if sign.nonce.len() > NONCE_BYTES_MAX => {
                return Err(ControlWireError::Nonce(sign.nonce.len()));
            }
            Body::Sign(sign) => Self::Sign(id_from_pb(sign.snapshot)?, sign.nonce),
            Body::Command(command) => Self::Command(SignedCommand { body: command.body, signature: command.signature }),
        })
    }
}

impl Response {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        use pb::response::Body;
        let body = match self {
            Self::Refused(refused) => {
                Body::Refused(pb::Refused { code: refused.code.number(), text: refused.text.clone() })
            }
            Self::Listed(entries) => Body::Listed(pb::Listed { entries: entries.iter().map(listed_to_pb).collect() }),
            Self::Shown(shown) => Body::Shown(pb::Shown {
                manifest: shown.known.manifest_bytes.clone(),
                last_block_commit_hash: hash_bytes(shown.known.commit_hash),
                only_metadata_available: shown.known.entry.only_metadata_available,
                landed: shown.landed,
                attestations: shown.attestations.iter().map(attestation_to_pb).collect(),
                identity_id: Bytes::copy_from_slice(shown.identity_id.as_bytes()),
                leases: shown.leases.iter().map(lease_to_pb).collect(),
                deletion: shown.deletion.map(deletion_to_pb),
            }),
            Self::Signed(attestations) => {
                Body::Signed(pb::Signed { attestations: attestations.iter().map(attestation_to_pb).collect() })
            }
            Self::Deleted(deleted) => Body::Deleted(pb::Deleted {
                already: *deleted == Deleted::Already,
                pending: *deleted == Deleted::Pending,
            }),
        };
        pb::Response { body: Some(body) }.encode_to_vec()
    }

    /// From a message; the signatures of attestations are checked.
    ///
    /// # Errors
    /// [`ControlWireError`].
    pub fn decode(bytes: Bytes) -> Result<Self, ControlWireError> {
        use pb::response::Body;
        Ok(match pb::Response::decode(bytes)?.body.ok_or(ControlWireError::Missing("response"))? {
            Body::Refused(refused) => Self::Refused(Refused {
                code: RefusedCode::of(refused.code).ok_or(ControlWireError::Missing("code of a refusal"))?,
                text: refused.text,
            }),
            Body::Listed(listed) => {
                Self::Listed(listed.entries.into_iter().map(listed_from_pb).collect::<Result<_, _>>()?)
            }
            Body::Shown(shown) => Self::Shown(Box::new(shown_from_pb(shown)?)),
            Body::Signed(signed) => Self::Signed(attestations_from_pb(signed.attestations)?),
            Body::Deleted(deleted) => Self::Deleted(match (deleted.already, deleted.pending) {
                (false, false) => Deleted::Now,
                (true, false) => Deleted::Already,
                (false, true) => Deleted::Pending,
                (true, true) => return Err(ControlWireError::Missing("word on a deletion")),
            }),
        })
    }
}

impl RefusedCode {
    const ALL: [Self; 6] =
        [Self::Malformed, Self::NotAllowed, Self::Denied, Self::NotFound, Self::Contradiction, Self::Failed];

    const fn number(self) -> u32 {
        match self {
            Self::Malformed => 1,
            Self::NotAllowed => 2,
            Self::Denied => 3,
            Self::NotFound => 4,
            Self::Contradiction => 5,
            Self::Failed => 6,
        }
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

fn id_to_pb(id: &SnapshotId) -> pb::SnapshotId {
    pb::SnapshotId { channel_id: id.channel.as_str().to_owned(), last_block_number: id.block_number.0 }
}

fn id_from_pb(id: Option<pb::SnapshotId>) -> Result<SnapshotId, ControlWireError> {
    let id = id.ok_or(ControlWireError::Missing("snapshot"))?;
    Ok(SnapshotId { channel: id.channel_id.parse()?, block_number: BlockNumber(id.last_block_number) })
}

fn listed_to_pb(listed: &Listed) -> pb::Entry {
    let entry = &listed.entry;
    pb::Entry {
        snapshot: Some(id_to_pb(&entry.id)),
        snapshot_hash: Bytes::copy_from_slice(entry.snapshot_hash.as_bytes()),
        manifest_hash: Bytes::copy_from_slice(entry.manifest_hash.as_bytes()),
        total_bytes: entry.total_bytes,
        files: entry.files,
        only_metadata_available: entry.only_metadata_available,
        downloads: listed.downloads,
        deletion_pending: listed.deletion_pending,
    }
}

fn listed_from_pb(entry: pb::Entry) -> Result<Listed, ControlWireError> {
    let (downloads, deletion_pending) = (entry.downloads, entry.deletion_pending);
    let entry = CatalogEntry {
        id: id_from_pb(entry.snapshot)?,
        manifest_hash: ManifestHash::try_from(&*entry.manifest_hash)?,
        snapshot_hash: SnapshotHash::try_from(&*entry.snapshot_hash)?,
        total_bytes: entry.total_bytes,
        files: entry.files,
        only_metadata_available: entry.only_metadata_available,
        partial: false,
    };
    Ok(Listed { entry, downloads, deletion_pending })
}

fn lease_to_pb(lease: &HeldLease) -> pb::Lease {
    pb::Lease {
        msp_id: lease.holder.msp_id.as_str().to_owned(),
        identity_id: Bytes::copy_from_slice(lease.holder.identity_id.as_bytes()),
        held_ms: millis(lease.held),
        left_ms: millis(lease.left),
    }
}

fn lease_from_pb(lease: &pb::Lease) -> Result<HeldLease, ControlWireError> {
    let msp_id = MspId::new(&lease.msp_id).ok_or(ControlWireError::Missing("organisation of a download"))?;
    let identity_id = lease.identity_id.as_ref().try_into();
    let identity_id = IdentityId(identity_id.map_err(|_| ControlWireError::Missing("identity of a download"))?);
    let ms = Duration::from_millis;
    Ok(HeldLease { holder: Holder { msp_id, identity_id }, held: ms(lease.held_ms), left: ms(lease.left_ms) })
}

fn deletion_to_pb(deletion: PendingDeletion) -> pb::PendingDeletion {
    let PendingDeletion { waiting, forced_in } = deletion;
    pb::PendingDeletion { waiting_ms: millis(waiting), forced_in_ms: forced_in.map(millis) }
}

fn deletion_from_pb(deletion: pb::PendingDeletion) -> PendingDeletion {
    let ms = Duration::from_millis;
    PendingDeletion { waiting: ms(deletion.waiting_ms), forced_in: deletion.forced_in_ms.map(ms) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn shown_from_pb(shown: pb::Shown) -> Result<Shown, ControlWireError> {
    let commit_hash = (!shown.last_block_commit_hash.is_empty())
        .then(|| BlockHash::try_from(&*shown.last_block_commit_hash))
        .transpose()?;
    let known = KnownSnapshot::new(Manifest::decode(&shown.manifest)?, commit_hash);
    let identity_id = shown.identity_id.as_ref().try_into();
    Ok(Shown {
        known: if shown.only_metadata_available { known.without_data() } else { known },
        landed: shown.landed,
        attestations: attestations_from_pb(shown.attestations)?,
        identity_id: IdentityId(identity_id.map_err(|_| ControlWireError::Missing("identity of the service"))?),
        leases: shown.leases.iter().map(lease_from_pb).collect::<Result<_, _>>()?,
        deletion: shown.deletion.map(deletion_from_pb),
    })
}

fn attestation_to_pb(attestation: &Attestation) -> pb::Attestation {
    pb::Attestation { body: attestation.body_bytes().clone(), signature: attestation.signature().clone() }
}

fn attestations_from_pb(attestations: Vec<pb::Attestation>) -> Result<Vec<Attestation>, ControlWireError> {
    let read = |one: pb::Attestation| Attestation::from_wire(one.body, one.signature);
    Ok(attestations.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn hash_bytes(hash: Option<BlockHash>) -> Bytes {
    hash.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> SnapshotId {
        SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(300) }
    }

    /// As control.proto says, written out by hand.
    #[test]
    fn requests_have_the_documented_bytes() {
        let command = SignedCommand { body: "b".into(), signature: "s".into() };
        for (request, expected) in [
            (Request::List(None), "0a00"),
            (Request::List(Some(id().channel)), "0a050a03636831"),
            (Request::Show(id()), "120a0a080a0363683110ac02"),
            (Request::Sign(id(), "n".into()), "1a0d0a080a0363683110ac0212016e"),
            (Request::Command(command), "22060a0162120173"),
        ] {
            assert_eq!(hex::encode(request.encode()), expected);
            assert_eq!(Request::decode(hex::decode(expected).unwrap().into()).unwrap(), request);
        }
    }

    #[test]
    fn responses_come_back() {
        let entry = CatalogEntry {
            id: id(),
            manifest_hash: ManifestHash([1; 32]),
            snapshot_hash: SnapshotHash([2; 32]),
            total_bytes: 7,
            files: 8,
            only_metadata_available: true,
            partial: false,
        };
        let again = |response: Response| Response::decode(response.encode().into()).unwrap();
        let listed = Listed { entry, downloads: 3, deletion_pending: true };
        assert!(matches!(again(Response::Listed(vec![listed.clone()])), Response::Listed(found) if found == [listed]));
        for deleted in [Deleted::Now, Deleted::Already, Deleted::Pending] {
            assert!(matches!(again(Response::Deleted(deleted)), Response::Deleted(found) if found == deleted));
        }
        for code in RefusedCode::ALL {
            let refused = Refused { code, text: "no".to_owned() };
            assert!(matches!(again(Response::Refused(refused.clone())), Response::Refused(found) if found == refused));
        }
    }

    #[test]
    fn downloads_and_what_waits_for_them_come_back() {
        let holder = Holder { msp_id: MspId::new("Org2MSP").unwrap(), identity_id: IdentityId([7; 32]) };
        let lease = HeldLease { holder, held: Duration::from_secs(61), left: Duration::from_millis(1) };
        let pb = lease_to_pb(&lease);
        assert_eq!(lease_from_pb(&pb).unwrap(), lease);
        assert!(lease_from_pb(&pb::Lease { msp_id: String::new(), ..pb.clone() }).is_err());
        assert!(lease_from_pb(&pb::Lease { identity_id: Bytes::new(), ..pb }).is_err());
        for forced_in in [None, Some(Duration::ZERO), Some(Duration::from_secs(600))] {
            let deletion = PendingDeletion { waiting: Duration::from_secs(5), forced_in };
            assert_eq!(deletion_from_pb(deletion_to_pb(deletion)), deletion);
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bytes in ["", "ff", "0a050a03433131", "1200", "120a0a080a0363683110", "2a00"] {
            assert!(Request::decode(hex::decode(bytes).unwrap().into()).is_err(), "{bytes}");
        }
        let long = Request::Sign(id(), Bytes::from(vec![1; 65])).encode();
        assert!(matches!(Request::decode(long.into()), Err(ControlWireError::Nonce(65))));
        for bytes in ["", "0a00", "1204", "12020a00", "1a00", "22020a00"] {
            assert!(Response::decode(hex::decode(bytes).unwrap().into()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn the_largest_listing_fits_into_a_response() {
        let entry = CatalogEntry {
            id: SnapshotId { channel: "c".repeat(249).parse().unwrap(), block_number: BlockNumber(u64::MAX) },
            manifest_hash: ManifestHash([1; 32]),
            snapshot_hash: SnapshotHash([2; 32]),
            total_bytes: u64::MAX,
            files: 8,
            only_metadata_available: true,
            partial: false,
        };
        let listed = Listed { entry, downloads: u32::MAX, deletion_pending: true };
        assert!(Response::Listed(vec![listed; LISTED_MAX]).encode().len() < RESPONSE_BYTES_MAX);
    }
}
