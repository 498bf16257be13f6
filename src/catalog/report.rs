//! Who said what about one block, for people: camps, those who don't count and why, and where snapshots differ.

use std::{collections::BTreeSet, fmt};

use super::{Attestation, DetachedSignature, Divergence, Equivocation, How, Uncounted};
use crate::{
    msp::{Identity, IdentityId, MspId},
    snapshot::{BlockHash, BlockNumber, ManifestHash, SnapshotHash, StateDbType},
};

/// What a voucher signed.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one per voucher, and most are the large one")]
pub enum Statement {
    /// Ours: snapshot, manifest and commit hash, with a time.
    Attestation(Attestation),
    /// Over Fabric's two files.
    Detached(DetachedSignature),
}

/// One identity whose statement counts.
#[derive(Debug, Clone)]
pub struct Voucher {
    /// Its organisation.
    pub msp_id: MspId,
    /// Who it is, whatever the certificate's spelling.
    pub identity_id: IdentityId,
    /// Its subject.
    pub subject: String,
    /// How it was said.
    pub how: How,
    /// What was said.
    pub statement: Statement,
}

/// Everybody who says the same about one block.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Camp {
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Hash of the manifest; `None` if only detached signatures say this.
    pub manifest_hash: Option<ManifestHash>,
    /// Commit hash.
    pub commit_hash: Option<BlockHash>,
    /// State database, where the manifest is known.
    pub state_db_type: Option<StateDbType>,
    /// Organisations that vouch for it.
    pub orgs: BTreeSet<MspId>,
    /// By whom they do, by organisation and identity.
    pub vouchers: Vec<Voucher>,
    /// Organisations that offer it without vouching for it, partial sources apart.
    pub offering_orgs: BTreeSet<MspId>,
    /// Where it is offered.
    pub sources: BTreeSet<String>,
    /// Who has the data of just this manifest: those who didn't delete them, and partial sources.
    pub data_sources: BTreeSet<String>,
    /// Organisations whose statement could help to meet the metadata policy; none once it is met.
    pub lacking_orgs: Vec<MspId>,
    /// Whether our own organisation's could, if it counted.
    pub own_could_help: bool,
    /// Whether those who vouch meet the metadata policy.
    pub meets_metadata: bool,
    /// Whether those who attest meet the manifest policy.
    pub meets_manifest: bool,
}

/// A statement that doesn't count, for reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dismissed {
    /// Whose it is.
    pub msp_id: MspId,
    /// The signer's subject.
    pub subject: String,
    /// Who handed it over.
    pub source: String,
    /// The snapshot it names, where that is known.
    pub snapshot_hash: Option<SnapshotHash>,
    /// Why it doesn't count.
    pub why: Uncounted,
}

/// What is said about one block.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tally {
    /// The last block of the snapshots.
    pub block_number: BlockNumber,
    /// Who agrees with whom; the camp with most vouching organisations first, then with most that offer it.
    pub camps: Vec<Camp>,
    /// Statements that don't count.
    pub dismissed: BTreeSet<Dismissed>,
    /// Who contradicts itself about this block, with the proof: its organisation doesn't count here.
    pub equivocations: Vec<Equivocation>,
    /// Where the snapshots differ, if manifests of several are known.
    pub divergence: Option<Divergence>,
}

impl Statement {
    /// Who signed.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        match self {
            Self::Attestation(attestation) => attestation.identity(),
            Self::Detached(detached) => detached.identity(),
        }
    }
}

impl Voucher {
    /// Its attestation, if it made one.
    #[must_use]
    pub const fn attestation(&self) -> Option<&Attestation> {
        match &self.statement {
            Statement::Attestation(attestation) => Some(attestation),
            Statement::Detached(_) => None,
        }
    }

    /// Its detached signature, if it made that.
    #[must_use]
    pub const fn detached(&self) -> Option<&DetachedSignature> {
        match &self.statement {
            Statement::Attestation(_) => None,
            Statement::Detached(detached) => Some(detached),
        }
    }
}

impl Tally {
    /// Whether somebody vouches for anything here.
    #[must_use]
    pub fn has_vouchers(&self) -> bool {
        self.camps.iter().any(|camp| !camp.orgs.is_empty())
    }
}

impl fmt::Display for Tally {
    /// `block 83: Org1MSP (live) attests snapshot 1f2e.. (manifest .., commit hash ..), Org3MSP offers it | ..`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let camps: Vec<String> = self.camps.iter().map(Camp::to_string).collect();
        let nobody = if camps.is_empty() { "nobody says anything that counts" } else { "" };
        write!(f, "block {}: {nobody}{}", self.block_number, camps.join(" | "))?;
        if let Some(divergence) = &self.divergence {
            write!(f, " ({divergence})")?;
        }
        for dismissed in &self.dismissed {
            write!(f, "; {dismissed}")?;
        }
        for equivocation in &self.equivocations {
            write!(f, "; not counted here: {equivocation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Camp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = format!(
            "snapshot {} ({}, {})",
            short(&self.snapshot_hash),
            self.manifest_hash.map_or_else(|| "no manifest".to_owned(), |hash| format!("manifest {}", short(&hash))),
            self.commit_hash
                .map_or_else(|| "no commit hash".to_owned(), |hash| format!("commit hash {}", short(&hash)))
        );
        let offering: Vec<&str> = self.offering_orgs.iter().map(MspId::as_str).collect();
        let (attests, offers) = (verb(self.orgs.len(), "attest"), verb(offering.len(), "offer"));
        match (self.orgs.is_empty(), offering.is_empty()) {
            (false, true) => write!(f, "{} {attests} {what}", self.said())?,
            (false, false) => {
                write!(f, "{} {attests} {what}, {} {offers} it without attesting", self.said(), offering.join(", "))?;
            }
            (true, false) => write!(f, "{} {offers} {what} without attesting it", offering.join(", "))?,
            (true, true) => write!(f, "only sources that are joining themselves have {what}")?,
        }
        f.write_str(if self.data_sources.is_empty() { ", but nobody offers its data" } else { "" })
    }
}

impl Camp {
    /// `Org1MSP (live), Org2MSP (stored)`; each organisation with the best that it has.
    fn said(&self) -> String {
        let orgs = self.orgs.iter().map(|org| {
            let of_org = self.vouchers.iter().filter(|voucher| voucher.msp_id == *org);
            of_org.map(|voucher| voucher.how).max().map_or_else(|| org.to_string(), |how| format!("{org} ({how})"))
        });
        orgs.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Dismissed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the statement by {:?} of {} from {}", self.subject, self.msp_id, self.source)?;
        if let Some(hash) = &self.snapshot_hash {
            write!(f, " on snapshot {}", short(hash))?;
        }
        write!(f, " doesn't count: {}", self.why)
    }
}

/// A hash in a sentence: long enough to tell any two apart by eye.
fn short(hash: &impl ToString) -> String {
    hash.to_string().chars().take(12).collect()
}

fn verb(count: usize, plural: &str) -> String {
    if count == 1 { format!("{plural}s") } else { plural.to_owned() }
}
