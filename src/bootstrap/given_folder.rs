//! A join from a folder that is there already, however it came: nothing is fetched, but it is as good as one that was fetched, or refused.
//! The ledger checkpointing RFC's first form of JoinChannel.
//!
//! Who vouches is asked as ever; where there is nobody to ask, what they have signed before decides.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::Instant;

use super::{
    Arrived, JoinError, JoinRequest, Joined, Landed, Observer, Outcome,
    confirm::check_channel_config,
    finish,
    joined::Times,
    landing::{Landing, check_folder},
    on_disk,
    vouching::Vouched,
};
use crate::{
    catalog::{Judging, Offer, agree},
    disk::Dir,
    snapshot::verify_folder,
};

/// The folder, held to what was agreed on.
pub(super) async fn find(
    request: &JoinRequest,
    vouched: &Vouched,
    folder: &Arc<dyn Dir>,
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Landed, JoinError> {
    let (dir, agreed) = (Arc::clone(folder), vouched.agreed.clone());
    let looking = on_disk(&request.workers, move || {
        let path = || dir.path().to_owned();
        let content = check_folder(&*dir, &agreed);
        let content = content.map_err(|source| JoinError::GivenFolder { source: Box::new(source) })?;
        content.ok_or_else(|| JoinError::GivenOther { path: path(), id: agreed.id().clone() })
    });
    let content = unless_stopped(stop, looking).await?;
    check_channel_config(request, vouched, &content)?;
    let outcome = if request.dry_run { Outcome::DryRun } else { Outcome::AlreadyThere };
    Ok(Landed { outcome, feed: None, fetched: None })
}

/// It reads for minutes: who has stopped the join isn't kept waiting for a verdict that nobody wants.
async fn unless_stopped<T>(
    stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    work: impl Future<Output = Result<T, JoinError>>,
) -> Result<T, JoinError> {
    tokio::select! {
        biased;
        () = stop => Err(JoinError::Stopped),
        done = work => done,
    }
}

/// A join that asks nobody: statements that were given, or that an earlier join heard, must satisfy the rule.
pub(super) async fn join_unasked(
    request: &JoinRequest,
    folder: &Arc<dyn Dir>,
    observer: &Observer,
    mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
) -> Result<Joined, JoinError> {
    let clock = &request.dialling.clock;
    let times = Times { begun: Instant::now(), begun_at: clock() };
    let dir = Arc::clone(folder);
    let verifying = on_disk(&request.workers, move || {
        verify_folder(&*dir, &mut |_| ()).map_err(|source| JoinError::GivenFolder { source: Box::new(source) })
    });
    let verified = unless_stopped(stop.as_mut(), verifying).await?;
    let (config, own_msp) = (request.dialling.config()?, request.dialling.identity.identity.msp_id());
    let judging = Judging {
        config: &config,
        policy: &request.trust.policy,
        own_msp,
        now: clock(),
        nonce: None,
        floor: request.trust.floor(&config),
        allow_older: request.trust.allow_older,
    };
    let (id, statements) = (verified.manifest.id(), &request.trust.given);
    let offer = Offer::of_folder(folder.path().display().to_string(), own_msp.clone(), &verified);
    let agreed = agree(&judging, &id.channel, &[offer], statements, Some(id.block_number));
    let agreed = agreed.map_err(|source| JoinError::Agreement {
        source: Box::new(source),
        troubles: Vec::new(),
        evidence: Vec::new(),
    })?;
    let landing = Arc::new(Landing::new(Arc::clone(&request.land), agreed.id().clone()));
    let (statements, evidence, offered_by) = (statements.clone(), Vec::new(), Vec::new());
    let vouched = Vouched { agreed, config, nonce: None, statements, evidence, offered_by };
    let landed = find(request, &vouched, folder, stop.as_mut()).await?;
    finish(request, Arrived { vouched, landing, landed, times }, observer, stop).await
}
