//! What `catalog show` prints: the versions of one snapshot that sources offer, file by file, and where they differ.

use super::{catalog::table, catalog_list::flags, context::Context, exit::Failure, output, transfer_view::plural};
use serde_json::{Value, json};
use snapferry::{
    bootstrap::{CatalogRequest, Manifests, SourceCatalog},
    snapshot::{BlockHash, BlockNumber, Manifest, ManifestHash, SnapshotHash},
    transport::wire::CatalogClaim,
};
use std::collections::{BTreeMap, BTreeSet};

/// All who say the same of a block.
pub(super) struct Version<'a> {
    snapshot_hash: SnapshotHash,
    manifest_hash: ManifestHash,
    commit_hash: Option<BlockHash>,
    /// Organisation, address and claim of each.
    offers: Vec<(&'a str, &'a str, &'a CatalogClaim)>,
    /// The manifest, or why nobody gave it.
    manifest: Result<&'a Manifest, String>,
}

/// What is said of the block; who says the same stands together, the version with most organisations first.
pub(super) fn versions<'a>(
    block: BlockNumber,
    answers: &'a [SourceCatalog],
    manifests: &'a Manifests,
) -> Vec<Version<'a>> {
    let mut versions: BTreeMap<_, Version<'a>> = BTreeMap::new();
    for SourceCatalog { source, answer } in answers {
        let Ok(answer) = answer else { continue };
        for claim in answer.listing.claims.iter().filter(|claim| claim.id.block_number == block) {
            let said = (claim.snapshot_hash, claim.manifest_hash, claim.last_block_commit_hash);
            let version = versions.entry(said).or_insert_with(|| Version {
                snapshot_hash: said.0,
                manifest_hash: said.1,
                commit_hash: said.2,
                offers: Vec::new(),
                manifest: match manifests.get(&claim.manifest_hash) {
                    Some(Ok(manifest)) => Ok(manifest),
                    Some(Err(error)) => Err(error.to_string()),
                    None => Err("it wasn't asked for".to_owned()),
                },
            });
            version.offers.push((answer.msp_id.as_str(), source, claim));
        }
    }
    let mut versions: Vec<Version<'a>> = versions.into_values().collect();
    let orgs = |version: &Version<'_>| version.offers.iter().map(|(org, ..)| *org).collect::<BTreeSet<_>>().len();
    versions.sort_by_key(|version| std::cmp::Reverse(orgs(version)));
    versions
}

/// One property in which the versions differ: its name, and its value in each of them.
type Difference = (String, Vec<Option<String>>);

/// Where versions whose manifests are known differ. Files go by name.
fn differences(versions: &[Version<'_>]) -> Vec<Difference> {
    let mut properties: Vec<Difference> = Vec::new();
    let mut property = |name: &str, of: &dyn Fn(&Version<'_>) -> Option<String>| {
        properties.push((name.to_owned(), versions.iter().map(of).collect()));
    };
    property("commit hash", &|version| Some(text(version.commit_hash)));
    let known = |version: &Version<'_>, of: fn(&Manifest) -> String| {
        version.manifest.as_ref().ok().map(|manifest| of(manifest))
    };
    property("state database", &|version| {
        known(version, |manifest| manifest.signable().state_db_type().as_str().to_owned())
    });
    property("last block hash", &|version| {
        known(version, |manifest| manifest.signable().last_block_hash().to_string())
    });
    property("previous block hash", &|version| {
        known(version, |manifest| text(manifest.signable().previous_block_hash()))
    });
    let manifests = || versions.iter().filter_map(|version| version.manifest.as_ref().ok());
    let names: BTreeSet<&str> =
        manifests().flat_map(|manifest| manifest.files()).map(|file| file.file.name()).collect();
    for name in names {
        property(name, &|version| {
            let manifest = version.manifest.as_ref().ok()?;
            let file = manifest.files().iter().find(|file| file.file.name() == name);
            Some(file.map_or_else(|| "not in it".to_owned(), |file| format!("{} bytes, {}", file.size, file.sha256)))
        });
    }
    let differ = |values: &[Option<String>]| values.iter().flatten().collect::<BTreeSet<_>>().len() > 1;
    properties.retain(|(_, values)| differ(values));
    properties
}

fn text(hash: Option<BlockHash>) -> String {
    hash.map_or_else(|| "(none)".to_owned(), |hash| hash.to_string())
}

pub(super) fn print(
    context: &Context,
    request: &CatalogRequest,
    block: BlockNumber,
    versions: &[Version<'_>],
    answers: &[SourceCatalog],
) -> Result<(), Failure> {
    if context.json() {
        return output::print_json(&as_json(request, block, versions, answers));
    }
    let channel = &request.dialling.channel;
    let count = versions.len();
    let mut out = match count {
        1 => format!("{channel}/{block}: all who offer it offer the same\n"),
        _ => format!("{channel}/{block}: {count} different snapshots are offered\n"),
    };
    for (number, version) in (1..).zip(versions) {
        out.push('\n');
        if count > 1 {
            out.push_str(&format!("version {number}\n"));
        }
        out.push_str(&version_text(version));
    }
    let differences = differences(versions);
    if !differences.is_empty() {
        out.push_str("\ndifferences\n");
    }
    for (name, values) in &differences {
        out.push_str(&format!("  {name}\n"));
        for (number, value) in (1..).zip(values) {
            out.push_str(&format!("    version {number}: {}\n", value.as_deref().unwrap_or("not known")));
        }
    }
    for source in answers {
        match &source.answer {
            Err(trouble) => out.push_str(&format!("\n{} can't be asked: {}\n", source.source, trouble.reason)),
            Ok(answer) if answer.listing.claims.iter().all(|claim| claim.id.block_number != block) => {
                out.push_str(&format!("\n{} of {} doesn't offer block {block}\n", source.source, answer.msp_id));
            }
            Ok(_) => {}
        }
    }
    output::print(&out)
}

fn version_text(version: &Version<'_>) -> String {
    let mut rows = Vec::new();
    for (org, source, claim) in &version.offers {
        let flags = match flags(claim) {
            "" => String::new(),
            flags => format!(" ({flags})"),
        };
        rows.push(vec!["offered by".to_owned(), format!("{org} at {source}{flags}")]);
    }
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("snapshot hash", version.snapshot_hash.to_string());
    row("manifest hash", version.manifest_hash.to_string());
    row("commit hash", text(version.commit_hash));
    let files = match &version.manifest {
        Err(reason) => {
            row("files", format!("not known: {reason}"));
            String::new()
        }
        Ok(manifest) => {
            row("state database", manifest.signable().state_db_type().as_str().to_owned());
            row("last block hash", manifest.signable().last_block_hash().to_string());
            let count = manifest.files().len();
            row("files", format!("{count} file{}, {} bytes", plural(count), manifest.total_bytes()));
            let files = manifest
                .files()
                .iter()
                .map(|file| vec![format!("  {}", file.file.name()), file.size.to_string(), file.sha256.to_string()]);
            table(&files.collect::<Vec<_>>())
        }
    };
    table(&rows) + &files
}

fn as_json(request: &CatalogRequest, block: BlockNumber, versions: &[Version<'_>], answers: &[SourceCatalog]) -> Value {
    let differences = differences(versions);
    let differences = differences.iter().map(|(what, values)| json!({"what": what, "values": values}));
    let troubles = answers.iter().filter_map(|source| source.answer.as_ref().err());
    json!({
        "channel": request.dialling.channel.as_str(),
        "block_number": block.0,
        "versions": versions.iter().map(version_json).collect::<Vec<_>>(),
        "differences": differences.collect::<Vec<_>>(),
        "not_asked": troubles
            .map(|trouble| json!({"source": trouble.source, "error": trouble.reason, "refused": trouble.refused}))
            .collect::<Vec<_>>(),
    })
}

fn version_json(version: &Version<'_>) -> Value {
    let offers = version.offers.iter().map(|(org, source, claim)| {
        json!({
            "source": source,
            "organisation": org,
            "only_metadata_available": claim.only_metadata_available,
            "partial": claim.partial,
        })
    });
    let file = |file: &snapferry::snapshot::ManifestFile| json!({"name": file.file.name(), "bytes": file.size, "sha256": file.sha256.to_string()});
    let manifest = version.manifest.as_ref().ok();
    json!({
        "snapshot_hash": version.snapshot_hash.to_string(),
        "manifest_hash": version.manifest_hash.to_string(),
        "last_block_commit_hash": version.commit_hash.map(|hash| hash.to_string()),
        "offered_by": offers.collect::<Vec<_>>(),
        "state_db_type": manifest.map(|manifest| manifest.signable().state_db_type().as_str()),
        "last_block_hash": manifest.map(|manifest| manifest.signable().last_block_hash().to_string()),
        "total_bytes": manifest.map(|manifest| manifest.total_bytes()),
        "files": manifest.map(|manifest| manifest.files().iter().map(file).collect::<Vec<_>>()),
        "error": version.manifest.as_ref().err(),
    })
}
