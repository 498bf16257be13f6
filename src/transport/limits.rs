//! Every limit of the wire in one place, each with its reason. A peer that crosses one is refused, never believed.

use std::time::Duration;

/// Frame bytes until HelloAck: a stranger can't make us hold more (a SignedAuth with a 16 KiB identity fits four times).
pub const FRAME_BYTES_BEFORE_HELLO_MAX: usize = 64 << 10;

/// Frame bytes after HelloAck: a page of 1 000 entries with the longest channel name takes less than half.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Fields in the body of a frame, unknown ones included, counted before anything is decoded: a frame of two-byte entries would
/// otherwise decode to a hundred times its size.
pub const BODY_FIELDS_MAX: usize = 1_100;

/// Bytes of the one frame on a range or tree stream: the longest request takes about 360.
pub const RANGE_REQUEST_BYTES_MAX: usize = 1 << 10;

/// Bytes of a [`super::wire::ChunkHeader`]; ours take at most 18.
pub const CHUNK_HEADER_BYTES_MAX: usize = 64;

/// Chunks in one range request: 16 MiB is half of the joiner's whole memory budget.
pub const RUN_CHUNKS_MAX: u32 = 16;

/// Files that a request may name: a snapshot has at most eight.
pub const FILE_INDEX_MAX: u32 = 7;

/// Entries in one catalog page.
pub const CATALOG_ENTRIES_MAX: usize = 1_000;

/// Pages of one listing: 64 000 snapshots of a channel; a source that offers more, or never ends, is cut off.
pub const CATALOG_PAGES_MAX: usize = 64;

/// Attestations in one answer: one per organisation and identity, for channels far larger than any known.
pub const ATTESTATIONS_MAX: usize = 256;

/// Bytes of an attestation's body, and of the nonce that it echoes (trust.md 6.1).
pub use crate::catalog::{ATTESTATION_BODY_BYTES_MAX, NONCE_BYTES_MAX};

/// Bytes of a signature: DER of P-384 takes 104.
pub const SIGNATURE_BYTES_MAX: usize = 512;

/// Bytes of a manifest (trust.md 5.2).
pub use crate::snapshot::MANIFEST_BYTES_MAX;

/// Ranges of chunks in one `Have`: 40 KiB at most. A joiner writes runs, so it has far fewer; the rest is told later.
pub const HAVE_RANGES_MAX: usize = 4_096;

/// Files that a session may watch: eight of a snapshot, for a joiner that changes its target thrice.
pub const HAVE_WATCHES_MAX: usize = 32;

/// What is watched is told again so often at most: a chunk more or less is worth no frame of its own.
pub const HAVE_EVERY: Duration = Duration::from_millis(500);

/// Bytes of a JoinGrant: an identity of 16 KiB, its fields and the signature.
pub use crate::msp::GRANT_BYTES_MAX;

/// AttestationGets that a session may ask in a row: a join asks for a few blocks at its start, and once more before it publishes.
pub const ATTESTATION_BURST: u32 = 4;

/// After that one AttestationGet each so often: each may cost the service a signature and a synced write.
pub const ATTESTATION_EVERY: Duration = Duration::from_secs(1);

/// Bytes of the text in an `Error` or `Goodbye` frame: it ends in a log line.
pub const DETAIL_BYTES_MAX: usize = 256;

/// Longest wait that an answer can ask for; more is cut to this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// Longest time of a lease that an answer can name; more is cut to this.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Values in the answer to one tree request: 2 MiB, a file of 64 GiB.
pub const TREE_VALUES_MAX: u32 = 65_536;

/// Bytes of one tree value.
pub const TREE_VALUE_BYTES: usize = 32;

/// Bidirectional streams that an accepted session may have open: 16 range streams each of four frontier, bulk, prefetch and spare.
pub const STREAMS_MAX: u32 = 64;

/// Time for session auth and Hello together: longer than three round trips on any path, short enough against slow strangers.
pub const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that the asker gives a control request and its answer: without a measurement nothing finer is fair.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that the asker gives each step (1 024 values, 32 KiB) of a chunk tree: the stall timer of chunks. Another source is asked then.
pub const TREE_STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that the asker gives a source to grant a stream for chunks and to take the request: as much as for any other request.
pub const STREAM_TIMEOUT: Duration = CONTROL_TIMEOUT;

/// A range or tree stream that takes no byte for this long is given up, so that its buffers serve others.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a live session is judged again: certificates expire, configurations change.
pub const REVALIDATE_EVERY: Duration = Duration::from_secs(60);

/// Time for the one frame of a range or tree stream to arrive.
pub const RANGE_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Sessions of one organisation at a time.
pub const SESSIONS_PER_ORG_MAX: usize = 8;

/// Connections from one address at a time.
pub const SESSIONS_PER_ADDRESS_MAX: usize = 8;

/// Sessions in all: with 1 MiB of control frames each they stay at half of the server's 64 MiB.
pub const SESSIONS_MAX: usize = 32;

/// Handshakes under way above which an address has to prove itself by a retry token.
pub const HANDSHAKES_BEFORE_RETRY: usize = 16;

/// What an organisation may be sent at once after a pause, where its rate is bounded, as time at that rate; a whole run at least.
pub const RATE_BURST: Duration = Duration::from_secs(1);

/// Bytes a second that all joiners together are sent while the host is busy: some hundredth of a CPU and a twentieth of a spinning disk.
/// With every session taken each still gets twice what a joiner takes for stalled, so that a network whose peers are all busy moves on.
/// They have a chunk in turn, a quarter of a second each: with up to 19 organisations that have one member each (nine with two) that is
/// within a joiner's stall timer of 5 s. With more, one that asks again has kept its turn (`serving::turns`).
pub const YIELDING_RATE: u64 = 4 << 20;

/// Chunk buffers of the whole serving side: 16 MiB, whatever happens.
pub const SERVE_BUFFERS: usize = 16;

/// Chunk buffers that one session can hold, sent and not yet acknowledged included: half, so that one that doesn't read can't
/// stop the others. What the sessions of one organisation hold together, `serving::buffers` decides.
pub const SERVE_BUFFERS_PER_SESSION: usize = 8;

/// What the server lets a client send unread on one connection: requests are small.
pub const SERVE_RECEIVE_WINDOW_BYTES: u32 = 256 << 10;

/// Frames that wait for the control stream's writer; an asker that doesn't read its answers isn't answered further. Few, since each
/// may be a page of the catalog.
pub const CONTROL_QUEUE_FRAMES: usize = 2;

/// Requests that one asker has open on the control stream and on range streams together.
pub const REQUESTS_OPEN_MAX: usize = 256;

/// Clock difference from which the two sides are told (certificates and attestations are judged within it).
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

/// A connection that says nothing for this long while it is dialled is given up.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused request waits for its `Error` frame: it left with the RESET, on another stream.
pub const REFUSAL_DETAIL_WAIT: Duration = Duration::from_millis(500);
