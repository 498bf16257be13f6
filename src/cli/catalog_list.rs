//! What `catalog list` prints: a row per source and snapshot, then what `join` would do with them.

use super::{
    catalog::{short, table},
    context::Context,
    exit::Failure,
    output,
    transfer_view::plural,
};
use serde_json::{Value, json};
use snapferry::{
    bootstrap::{CatalogRequest, JoinError, SourceCatalog},
    catalog::{AgreedSnapshot, AgreementError, Camp, Tally},
    msp::MspId,
    service::units::format_bytes,
    transport::wire::CatalogClaim,
};

/// Blocks of which it is said who is missing, newest first.
const BLOCKS_EXPLAINED: usize = 5;

pub(super) fn print(
    context: &Context,
    request: &CatalogRequest,
    answers: &[SourceCatalog],
    chosen: &Result<AgreedSnapshot, JoinError>,
) -> Result<(), Failure> {
    if context.json() {
        return output::print_json(&as_json(request, answers, chosen));
    }
    // If nobody answered, the failure's own line says all of it.
    if answers.iter().all(|source| source.answer.is_err()) {
        return Ok(());
    }
    output::print(&format!("{}\n{}", rows(answers), choice(request, answers, chosen)))
}

fn rows(answers: &[SourceCatalog]) -> String {
    let head = ["SOURCE", "ORGANISATION", "BLOCK", "SIZE", "FILES", "SNAPSHOT HASH", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut unasked = String::new();
    for SourceCatalog { source, answer } in answers {
        match answer {
            Err(trouble) => unasked.push_str(&format!("{source} can't be asked: {}\n", trouble.reason)),
            Ok(answer) if answer.listing.claims.is_empty() => {
                rows.push(vec![source.clone(), answer.msp_id.to_string(), "offers no snapshot".to_owned()]);
            }
            Ok(answer) => rows.extend(answer.listing.claims.iter().rev().map(|claim| {
                vec![
                    source.clone(),
                    answer.msp_id.to_string(),
                    claim.id.block_number.to_string(),
                    format_bytes(claim.total_bytes),
                    claim.files.to_string(),
                    short(&claim.snapshot_hash),
                    flags(claim).to_owned(),
                ]
            })),
        }
    }
    table(&rows) + &unasked
}

/// What keeps a source from giving all of it.
pub(super) const fn flags(claim: &CatalogClaim) -> &'static str {
    match (claim.only_metadata_available, claim.partial) {
        (true, _) => "only metadata left",
        (_, true) => "partial: still joining itself",
        _ => "",
    }
}

/// What `join` would do.
fn choice(request: &CatalogRequest, answers: &[SourceCatalog], chosen: &Result<AgreedSnapshot, JoinError>) -> String {
    let agreement = match chosen {
        Ok(agreed) => {
            let orgs: Vec<&str> = agreed.vouching_orgs().iter().map(MspId::as_str).collect();
            let (files, bytes) = (agreed.manifest().files().len(), format_bytes(agreed.manifest().total_bytes()));
            return format!(
                "join would take {}: {files} files, {bytes}, vouched for by {}\nthey satisfy {}\n",
                agreed.id(),
                orgs.join(" and "),
                request.trust.policy.metadata.as_str()
            );
        }
        Err(JoinError::Agreement { source, .. }) => &**source,
        Err(error) => return format!("join would fail: {error}\n"),
    };
    let AgreementError::NotReached { min_orgs, rule, tallies, .. } = agreement else {
        return format!("join would take none: {agreement}\n");
    };
    let mut text = format!("join would take none: {rule}, by at least {min_orgs} organisations, is not satisfied\n");
    for tally in tallies.iter().take(BLOCKS_EXPLAINED) {
        let lacking = Lacking::of(tally, *min_orgs, request, answers);
        let has = match tally.camps.first().filter(|camp| !camp.orgs.is_empty()) {
            Some(camp) => format!("{} for snapshot {}", names(camp), short(&camp.snapshot_hash)),
            None => "nobody that counts".to_owned(),
        };
        text.push_str(&format!("block {}: {has}; {} more needed\n", tally.block_number, lacking.missing));
        for (org, why) in &lacking.others {
            text.push_str(&format!("  {org}: {why}\n"));
        }
    }
    if let Some(older) = tallies.len().checked_sub(BLOCKS_EXPLAINED).filter(|older| *older > 0) {
        text.push_str(&format!("and {older} older block{}\n", plural(older)));
    }
    text
}

fn names(camp: &Camp) -> String {
    camp.orgs.iter().map(MspId::as_str).collect::<Vec<_>>().join(" and ")
}

/// What a block still lacks to be chosen.
struct Lacking {
    /// How many organisations more, at least.
    missing: usize,
    /// Every other organisation of the channel, and why it doesn't count.
    others: Vec<(MspId, String)>,
}

impl Lacking {
    fn of(tally: &Tally, min_orgs: u32, request: &CatalogRequest, answers: &[SourceCatalog]) -> Self {
        let largest = tally.camps.first();
        let has = largest.map_or(0, |camp| camp.orgs.len());
        // Enough of them, but not those whom the rule asks for: then at least one more.
        let short_of = usize::try_from(min_orgs).unwrap_or(usize::MAX).saturating_sub(has);
        let missing = short_of.max(usize::from(largest.is_none_or(|camp| !camp.meets_metadata)));
        let others = request.orgs().into_iter().filter(|org| largest.is_none_or(|camp| !camp.orgs.contains(org)));
        let others = others.map(|org| {
            let why = standing(&org, tally, answers);
            (org, why)
        });
        Self { missing, others: others.collect() }
    }
}

/// Why an organisation doesn't vouch with the largest camp.
fn standing(org: &MspId, tally: &Tally, answers: &[SourceCatalog]) -> String {
    if tally.equivocations.iter().any(|proof| proof.msp_id() == org) {
        return "contradicts itself about this block".to_owned();
    }
    if let Some(camp) = tally.camps.iter().find(|camp| camp.orgs.contains(org)) {
        return match tally.camps.first() {
            Some(first) if first.snapshot_hash == camp.snapshot_hash => {
                format!(
                    "vouches for the same snapshot with another manifest or commit hash: `catalog show -b {}`",
                    tally.block_number
                )
            }
            _ => format!(
                "vouches for another snapshot, {}: `catalog show -b {}`",
                short(&camp.snapshot_hash),
                tally.block_number
            ),
        };
    }
    if let Some(dismissed) = tally.dismissed.iter().find(|dismissed| dismissed.msp_id == *org) {
        return format!("its statement doesn't count: {}", dismissed.why);
    }
    let of_org =
        || answers.iter().filter_map(|source| source.answer.as_ref().ok()).filter(|answer| answer.msp_id == *org);
    let claims = || of_org().flat_map(|answer| &answer.listing.claims);
    let here = || claims().filter(|claim| claim.id.block_number == tally.block_number);
    match (of_org().next(), here().next(), here().all(|claim| claim.partial)) {
        (None, ..) => "none of its sources was asked or answered".to_owned(),
        (_, None, _) => "doesn't offer this block".to_owned(),
        (.., true) => "is still joining itself, and so doesn't vouch".to_owned(),
        _ if here().all(|claim| claim.only_metadata_available) => {
            "has only the metadata of this block left, and doesn't attest it".to_owned()
        }
        _ => "offers this block, but doesn't attest it: its service's log says why".to_owned(),
    }
}

fn as_json(request: &CatalogRequest, answers: &[SourceCatalog], chosen: &Result<AgreedSnapshot, JoinError>) -> Value {
    let sources: Vec<Value> = answers.iter().map(source_json).collect();
    let (reason, lacking) = match chosen {
        Ok(_) => (None, Vec::new()),
        Err(error) => (Some(error.to_string()), lacking_json(error, request, answers)),
    };
    let would_take = chosen.as_ref().ok().map(|agreed| {
        json!({
            "block_number": agreed.id().block_number.0,
            "snapshot_hash": agreed.manifest().signable().hash().to_string(),
            "manifest_hash": agreed.manifest_hash().to_string(),
            "last_block_commit_hash": agreed.commit_hash().map(|hash| hash.to_string()),
            "organisations": agreed.vouching_orgs().iter().map(MspId::as_str).collect::<Vec<_>>(),
            "sources": agreed.sources(),
            "total_bytes": agreed.manifest().total_bytes(),
            "files": agreed.manifest().files().len(),
        })
    });
    json!({
        "channel": request.dialling.channel.as_str(),
        "sources": sources,
        "policy": request.trust.policy.metadata.as_str(),
        "min_orgs": request.trust.policy.min_orgs,
        "join_would_take": would_take,
        "reason": reason,
        "lacking": lacking,
    })
}

fn source_json(source: &SourceCatalog) -> Value {
    let claim = |claim: &CatalogClaim| {
        json!({
            "block_number": claim.id.block_number.0,
            "total_bytes": claim.total_bytes,
            "files": claim.files,
            "snapshot_hash": claim.snapshot_hash.to_string(),
            "manifest_hash": claim.manifest_hash.to_string(),
            "last_block_commit_hash": claim.last_block_commit_hash.map(|hash| hash.to_string()),
            "only_metadata_available": claim.only_metadata_available,
            "partial": claim.partial,
        })
    };
    match &source.answer {
        Ok(answer) => json!({
            "source": source.source,
            "organisation": answer.msp_id.as_str(),
            "identity_id": answer.identity_id.to_string(),
            "snapshots": answer.listing.claims.iter().map(claim).collect::<Vec<_>>(),
        }),
        Err(trouble) => json!({"source": source.source, "error": trouble.reason, "refused": trouble.refused}),
    }
}

fn lacking_json(error: &JoinError, request: &CatalogRequest, answers: &[SourceCatalog]) -> Vec<Value> {
    let JoinError::Agreement { source, .. } = error else { return Vec::new() };
    let AgreementError::NotReached { min_orgs, tallies, .. } = &**source else { return Vec::new() };
    let block = |tally: &Tally| {
        let lacking = Lacking::of(tally, *min_orgs, request, answers);
        let others = lacking.others.iter().map(|(org, why)| json!({"organisation": org.as_str(), "why": why}));
        json!({
            "block_number": tally.block_number.0,
            "organisations": tally.camps.first().map(|camp| camp.orgs.iter().map(MspId::as_str).collect::<Vec<_>>()),
            "missing": lacking.missing,
            "others": others.collect::<Vec<_>>(),
        })
    };
    tallies.iter().map(block).collect()
}
