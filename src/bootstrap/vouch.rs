//! Asks the sources until a snapshot is vouched for, and keeps what was said about it.
//!
//! Leaves to [`super::vouching`] whom to ask for what, and to [`crate::catalog`] what may be believed.

use super::{
    JoinError, JoinEvent, JoinRequest, JoinTrust, Observer,
    late_peers::late_peers,
    on_disk,
    ruled_out::RuledOut,
    sources::Sources,
    vouching::{Vouched, Vouching},
};
use crate::catalog::{AgreedSnapshot, Equivocation, Mode, Screening};

/// [`vouch`]; once a snapshot was given up for another one that isn't vouched for after all, it is looked at again if it is offered again,
/// and whoever is lost may bring it back, and is waited for.
pub(super) async fn vouch_again(
    request: &JoinRequest,
    sources: &mut Sources,
    ruled_out: &mut RuledOut,
    observer: &Observer,
) -> Result<Vouched, JoinError> {
    let mut waits = ruled_out.has_begun();
    loop {
        let error = match vouch(request, sources, ruled_out, observer).await {
            Err(
                error @ (JoinError::Agreement { .. } | JoinError::NotDelivered { .. } | JoinError::NoSource { .. }),
            ) => error,
            vouched => return vouched,
        };
        if ruled_out.take_back(sources) {
            continue;
        }
        if !waits || !sources.somebody_comes() {
            return Err(error);
        }
        observer(JoinEvent::WaitsForSources { reason: error.to_string() });
        ruled_out.take_all_back();
        waits = sources.somebody_came().await;
    }
}

/// Agrees on a snapshot, and keeps what was said about it.
async fn vouch(
    request: &JoinRequest,
    sources: &mut Sources,
    ruled_out: &RuledOut,
    observer: &Observer,
) -> Result<Vouched, JoinError> {
    let dialling = &request.dialling;
    let vouching = Vouching::new(
        &request.trust,
        Some((&request.records, &request.workers)),
        dialling.identity.identity.msp_id(),
        &dialling.clock,
        ruled_out,
    )?;
    let config = dialling.config()?;
    let vouched = vouching.agree(&config, request.block_number, sources).await;
    let proofs: &[Equivocation] = match &vouched {
        Ok(Vouched { evidence, .. }) | Err(JoinError::Agreement { evidence, .. }) => evidence,
        Err(_) => &[],
    };
    for proof in proofs {
        let proof = match config.block_bytes() {
            Some(block) => proof.clone().with_config_block(block.clone()),
            None => proof.clone(),
        };
        let kept = (!request.dry_run).then(|| request.records.evidence(&proof));
        let file = match kept.transpose() {
            Ok(None) => "nowhere: a dry run writes nothing".to_owned(),
            Ok(Some(path)) => path.display().to_string(),
            Err(error) => format!("nowhere: {error}"),
        };
        tracing::error!(org = %proof.msp_id(), %file, "an organisation contradicts itself: it doesn't count");
        observer(JoinEvent::Equivocation { msp_id: proof.msp_id().to_string(), what: proof.to_string(), file });
    }
    let vouched = vouched?;
    let keep = {
        let (records, statements) = (request.records.clone(), vouched.statements.clone());
        let (own_msp, now) = (dialling.identity.identity.msp_id().clone(), (dialling.clock)());
        move || {
            records.keep(&Screening { config: &config, own_msp: &own_msp, now }, &statements);
            Ok(())
        }
    };
    if !request.dry_run {
        on_disk(&request.workers, keep).await?;
    }
    observer(told(&vouched.agreed, &request.trust));
    let block_number = vouched.agreed.id().block_number;
    let late = late_peers(block_number, sources);
    if !late.is_empty() {
        observer(JoinEvent::PeersBeganLater { block_number: block_number.0, sources: late });
    }
    Ok(vouched)
}

fn told(agreed: &AgreedSnapshot, trust: &JoinTrust) -> JoinEvent {
    let manifest = agreed.manifest();
    JoinEvent::Agreed {
        channel: agreed.id().channel.to_string(),
        block_number: agreed.id().block_number.0,
        snapshot_hash: manifest.signable().hash().to_string(),
        manifest_hash: agreed.manifest_hash().to_string(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        policy: trust.policy.metadata.as_str().to_owned(),
        staged: agreed.mode() == Mode::Staged,
        total_bytes: manifest.files().iter().map(|file| file.size).sum(),
        files: manifest.files().len(),
    }
}
