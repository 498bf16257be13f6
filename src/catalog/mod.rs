//! WHAT exists and who vouches for it: the scan of our own peer's finished snapshots, and the agreement between what
//! several organisations offer (no quinn, no network).
//!
//! ```text
//! ROOT/completed/CH/N --scan--> verify every byte --manifest, trees--> ServedSnapshot --> CatalogEntry (a claim)
//! claims of other organisations (Offer) --agree--> AgreedSnapshot
//! ```
//!
//! Decides which folders are finished snapshots, when one must be read again, and which snapshot enough organisations
//! agree on. Leaves to others what a snapshot folder must hold (`snapshot`), how claims travel (`transport`), and who may
//! ask for them.

mod agreement;
mod attestation;
mod attestation_file;
mod attestor;
mod delete;
mod entry;
mod error;
mod known;
mod landed;
mod local;
mod manifest_cache;
mod on_disk;
mod remains;
mod scan;
mod served;
mod statements;
#[cfg(test)]
mod test_site;

pub use agreement::{AgreedSnapshot, AgreementError, Camp, Offer, Tally, TrustPolicy, agree};
pub use attestation::{
    ATTESTATION_BODY_BYTES_MAX, AttestBody, AttestBodyError, Attestation, AttestationError, NONCE_BYTES_MAX,
};
pub use attestation_file::{
    ATTESTATION_FILE_BYTES_MAX, AttestationFileError, decode_attestation_file, encode_attestation_file,
};
pub use attestor::{AttestRefusal, Attestor, LIVE_VALIDITY, STORED_VALIDITY};
pub use delete::{DeleteError, Deleted};
pub use entry::CatalogEntry;
pub use error::{CatalogError, ReadError, Refusal};
pub use known::KnownSnapshot;
pub use landed::{LANDED_PER_BLOCK_MAX, Landed, LandedError};
pub use local::{Catalog, ScanReport};
pub use on_disk::{Found as FoundOnDisk, OnDisk, list_on_disk};
pub use served::ServedSnapshot;
pub use statements::{FOREIGN_PER_BLOCK_MAX, FOREIGN_PER_ORG_MAX, OwnStatement, StatementError, StatementStore};
