//! `verify --receipt` and `verify --evidence`: what a file proves, without any network.

use super::{
    args::{RootArgs, SnapshotArgs},
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
    transfer_view::plural,
    verify::is_expected,
    verify_policy::line,
};
use serde_json::json;
use snapferry::{
    catalog::{
        EVIDENCE_BYTES_MAX, Equivocation, EvidenceError, JoinReceipt, Membership, Mode, RECEIPT_BYTES_MAX,
        ReceiptError, RootOfTrust,
    },
    msp::{ChannelConfig, MspId},
    service::{clock::fabric_time, load_channel_config, load_root, units::format_bytes},
    snapshot::SnapshotId,
    transport::fault::chain,
};
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A receipt of a join: its signature, every statement in it, and that they satisfied the rule.
pub(super) fn receipt(context: &Context, path: &Path, root: &RootArgs, expected: &SnapshotArgs) -> Result<(), Failure> {
    let bytes = read(path, RECEIPT_BYTES_MAX)?;
    let config = given(root, expected)?;
    let receipt = JoinReceipt::verify(&bytes, config.as_ref()).map_err(|error| {
        let next = match &error {
            ReceiptError::ConfigMissing { .. } => {
                "give what the join was judged by: --config-block FILE, or -c CHANNEL and each --pinned-msp ID=DIR"
            }
            ReceiptError::OtherConfig { .. } => "give the configuration that the join had",
            _ => "don't rely on it",
        };
        Failure::new(Exit::Verification, format!("{}: {}", path.display(), chain(&error))).next(next)
    })?;
    let agreed = receipt.agreed();
    check_expected(path, expected, agreed.id())?;
    let (sequence, block) = receipt.config();
    let (metadata, manifest) = receipt.policies();
    let [started, agreed_at, finished] = receipt.times().map(seconds);
    let mode = match agreed.mode() {
        Mode::Streaming => "streaming",
        Mode::Staged => "staged",
    };
    if context.json() {
        return output::print_json(&json!({
            "channel": agreed.id().channel.as_str(),
            "block_number": agreed.id().block_number.0,
            "snapshot_hash": agreed.manifest().signable().hash().to_string(),
            "manifest_hash": agreed.manifest_hash().to_string(),
            "last_block_commit_hash": agreed.commit_hash().map(|hash| hash.to_string()),
            "mode": mode,
            "organisations": agreed.vouching_orgs().iter().map(MspId::as_str).collect::<Vec<_>>(),
            "vouchers": agreed.vouchers().iter().map(line).collect::<Vec<_>>(),
            "metadata_policy": metadata,
            "manifest_policy": manifest,
            "root_of_trust": receipt.root_of_trust(),
            "config_sequence": sequence,
            "config_block_number": block.0,
            "config_block_sha256": receipt.config_block_sha256(),
            "config_given": config.is_some(),
            "joiner": {"msp_id": receipt.joiner().msp_id().as_str(), "subject": receipt.joiner().subject()},
            "shares": receipt.shares(),
            "started_at": started,
            "agreed_at": agreed_at,
            "finished_at": finished,
        }));
    }
    let who: String = agreed.vouchers().iter().map(|voucher| format!("  {}\n", line(voucher))).collect();
    let shares: String = receipt
        .shares()
        .iter()
        .map(|share| {
            let rejected = match share.chunks_rejected {
                0 => String::new(),
                count => format!(", dropped: {count} chunk{} failed the proof", plural(count as usize)),
            };
            format!("  {:>10} from {} ({}){rejected}\n", format_bytes(share.verified_bytes), share.source, share.msp_id)
        })
        .collect();
    let from = match receipt.root_of_trust() {
        RootOfTrust::ConfigBlock => "a configuration block that it was given",
        RootOfTrust::GenesisWalk => "the genesis block, by a verified walk",
        RootOfTrust::PinnedMsps => "pinned MSP folders",
    };
    let sha256 =
        receipt.config_block_sha256().map_or_else(String::new, |hash| format!("  its block's SHA-256: {hash}\n"));
    let judged = if config.is_some() {
        "the configuration block given here is the one that it was judged by"
    } else {
        "that block is the one in the receipt: compare its SHA-256 with yours, or give yours with --config-block"
    };
    output::print(&format!(
        "{} is a true receipt: {} of {} joined {} ({mode}), snapshot hash {}\n\
         vouched for, by {metadata}:\n{who}\
         judged by channel configuration {sequence} of block {block}, trusted from {from}\n{sha256}  {judged}\n\
         by the joiner's word, it began {}, was agreed on {} and ended {}; this came:\n{shares}",
        path.display(),
        receipt.joiner().subject(),
        receipt.joiner().msp_id(),
        agreed.id(),
        agreed.manifest().signable().hash(),
        when(started),
        when(agreed_at),
        when(finished),
    ))
}

/// A proof that an organisation said two things about one block.
pub(super) fn evidence(
    context: &Context,
    path: &Path,
    root: &RootArgs,
    expected: &SnapshotArgs,
) -> Result<(), Failure> {
    let bytes = read(path, EVIDENCE_BYTES_MAX)?;
    let config = given(root, expected)?;
    let unproved = |error: EvidenceError| {
        Failure::new(Exit::Verification, format!("{}: {}", path.display(), chain(&error)))
            .next("it says nothing about anybody")
    };
    let proof = Equivocation::decode(&bytes).map_err(unproved)?;
    let membership = proof.verify(config.as_ref()).map_err(unproved)?;
    check_expected(path, expected, proof.id())?;
    let (known, note) = match membership {
        Membership::Given => ("given", "its signers are members by the configuration block given here"),
        Membership::Embedded => (
            "embedded",
            "its signers are members by the configuration block in the file: to be sure of that, give yours with --config-block",
        ),
        Membership::NotChecked => (
            "not_checked",
            "whether its signers are members can't be told without a configuration block: give one with --config-block",
        ),
    };
    if context.json() {
        return output::print_json(&json!({
            "msp_id": proof.msp_id().as_str(),
            "channel": proof.id().channel.as_str(),
            "block_number": proof.id().block_number.0,
            "what": proof.to_string(),
            "membership": known,
        }));
    }
    output::print(&format!("{} proves it: {proof}\n{note}\n", path.display()))
}

/// The configuration that is given, if one is. A block names its channel; MSP folders and a genesis block's walk don't.
fn given(root: &RootArgs, expected: &SnapshotArgs) -> Result<Option<ChannelConfig>, Failure> {
    if let (Some(path), None, None) = (&root.config_block, &root.genesis_block, &root.config_block_sha256) {
        return Ok(Some(load_channel_config(path, expected.channel_id.as_ref())?));
    }
    let Some(settings) = root.given()? else { return Ok(None) };
    let rooted = load_root(&channel::channel_id(expected)?, &settings)?;
    Ok(Some(rooted.config))
}

fn check_expected(path: &Path, expected: &SnapshotArgs, id: &SnapshotId) -> Result<(), Failure> {
    if is_expected(expected, id) {
        return Ok(());
    }
    let what = format!("{} is true, but it is about snapshot {id}", path.display());
    Err(Failure::new(Exit::Verification, what).next("not the one that you asked for"))
}

fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    channel::read_at_most(path, bytes_max as u64)
        .map_err(|error| Failure::new(Exit::Usage, format!("can't read {}: {error}", path.display())))
}

fn when(unix_s: u64) -> String {
    UNIX_EPOCH.checked_add(Duration::from_secs(unix_s)).map(fabric_time).unwrap_or_default()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
