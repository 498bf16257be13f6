//! WHAT exists and who vouches for it: the scan of our own peer's finished snapshots, and the agreement between what
//! several organisations offer (no quinn, no network).
//!
//! ```text
//! ROOT/completed/CH/N --scan--> verify every byte --manifest, trees--> ServedSnapshot --> CatalogEntry (a claim)
//! what organisations signed (Attestation, DetachedSignature), who has data (Offer) --agree--> AgreedSnapshot
//! ```
//!
//! Decides which folders are finished snapshots, when one must be read again, who may hold one while it is downloaded, and which
//! snapshot enough organisations agree on. Leaves to others what a snapshot folder must hold (`snapshot`), how claims travel (`transport`), and who may
//! ask for them.

mod agreement;
mod agreement_error;
mod attestation;
mod attestation_file;
mod attestor;
mod audit;
mod bans;
mod begins;
mod conflicts;
mod delete;
mod deletions;
mod detached;
mod divergence;
mod entry;
mod error;
mod evidence;
#[cfg(test)]
pub(crate) mod fixture;
mod judging;
mod known;
mod landed;
mod leases;
mod local;
mod manifest_cache;
mod offer;
mod on_disk;
mod policy;
mod portable;
mod promised;
mod receipt;
mod remains;
mod repairs;
mod report;
mod reread;
mod rot;
mod said;
mod scan;
mod screening;
mod scrub;
mod served;
mod statements;
#[cfg(test)]
mod test_site;
mod under_way;
mod votes;

pub use agreement::{AgreedSnapshot, Mode, agree, candidates};
pub use agreement_error::AgreementError;
pub use attestation::{
    ATTESTATION_BODY_BYTES_MAX, AttestBody, AttestBodyError, Attestation, AttestationError, NONCE_BYTES_MAX,
};
pub use attestation_file::{
    ATTESTATION_FILE_BYTES_MAX, AttestationFileError, decode_attestation_file, encode_attestation_file,
};
pub use attestor::{AttestRefusal, Attestor, LIVE_VALIDITY, STORED_VALIDITY};
pub use audit::{
    AUDIT_FILE, AUDIT_LINE_BYTES_MAX, AUDIT_LOG_BYTES_MAX, AuditBy, AuditError, AuditFault, AuditLog, AuditRecord,
    AuditSummary, AuditWhat, check_audit,
};
pub use bans::{BAN_TIME, BANS_DIR, BANS_MAX, Ban, Bans};
pub use conflicts::equivocations;
pub use delete::{DeleteError, Deleted};
pub use deletions::Looked;
pub use detached::{DETACHED_BYTES_MAX, DetachedError, DetachedSignature};
pub use divergence::Divergence;
pub use entry::CatalogEntry;
pub use error::{CatalogError, ReadError, Refusal};
pub use evidence::{EVIDENCE_BYTES_MAX, Equivocation, EvidenceError, Membership};
pub use judging::{Heard, How, Judging, LIVE_WITHIN, STORED_LIFE_MAX, Statements, Uncounted};
pub use known::KnownSnapshot;
pub use landed::{LANDED_DIR, LANDED_PER_BLOCK_MAX, Landed, LandedError};
pub use leases::{
    DRAIN_TIME, GrantedLease, HeldLease, Holder, IDLE_RENEWALS_MAX, LEASE_TIME, LeaseLimits, LeaseRefusal,
    PendingDeletion,
};
pub use local::{Catalog, ScanReport};
pub use offer::Offer;
pub use on_disk::{Found as FoundOnDisk, OnDisk, list_on_disk, open_on_disk, rotten_chunks_on_disk, rotten_on_disk};
pub use policy::{TrustPolicy, TrustSettings};
pub use portable::PortableError;
pub use receipt::{JoinReceipt, RECEIPT_BYTES_MAX, ReceiptError, ReceiptFacts, ReceiptShare, RootOfTrust};
pub use repairs::{REPAIRS_DIR, Repairs};
pub use report::{Camp, Dismissed, Statement, Tally, Voucher};
pub use screening::Screening;
pub use scrub::{SCRUB_PERIOD, SCRUB_RATE_MAX, Scrubber};
pub use served::{RottenChunk, ServedSnapshot};
pub use statements::{
    FOREIGN_PER_BLOCK_MAX, FOREIGN_PER_ORG_MAX, OwnStatement, STATEMENTS_DIR, StatementError, StatementStore,
};
pub use under_way::{FindChunk, ListChunks, UnderWay, Version};
