//! Bans outlive the join that found the lie: by identity, for a day, and only for a lie.

use snapferry::{
    bootstrap::JoinEvent,
    catalog::{BAN_TIME, BANS_DIR, Bans},
    snapshot::CHUNK_BYTES,
};
use tokio::time;

use crate::sim::{
    disk::sim_dir,
    liar::Of as Lie,
    scenario::{Scenario, SourceSpec},
    world::World,
};

/// The liar's number.
const LIAR: usize = 1;

/// What the next join makes of its sources: who wasn't asked, and who was dropped, by address.
async fn joins(world: &mut World, lands_in: &'static str) -> (Vec<String>, Vec<String>) {
    world.joiner.lands_in = lands_in;
    let liar = world.addresses().into_iter().take(LIAR).collect::<Vec<_>>();
    let mut attempt = world.joiner.start(&world.addresses());
    attempt.lands(&world.joiner, &world.golden, &liar).await;
    let (mut banned, mut dropped) = (Vec::new(), Vec::new());
    for (_, event) in &*attempt.told.lock().unwrap() {
        match event {
            JoinEvent::SourceFailed { source, reason } if reason.contains("lied before") => banned.push(source.clone()),
            JoinEvent::SourceDropped { source, .. } => dropped.push(source.clone()),
            _ => {}
        }
    }
    (banned, dropped)
}

/// Defence: bans end by themselves, and by command. Removed, a source that was mended is shut out for good.
/// L1: who lied isn't asked by later joins, until its ban ends or is lifted; nobody else is banned.
#[test]
fn who_lied_is_not_asked_by_later_joins_until_its_ban_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let sources = [SourceSpec::of(1).lying(Lie::Tree)].into_iter().chain([1, 2, 3].map(SourceSpec::of)).collect();
        let scenario = Scenario { snapshot_bytes: 4 * CHUNK_BYTES, sources, ..Scenario::default() };
        let mut world = World::new(&scenario, 1_101);
        let (nobody, only) = (Vec::<String>::new(), vec![world.addresses().remove(LIAR - 1)]);

        assert_eq!(joins(&mut world, "first").await, (nobody.clone(), only.clone()));
        assert_eq!(world.banned().into_keys().collect::<Vec<_>>(), [LIAR]);

        assert_eq!(joins(&mut world, "second").await, (only.clone(), nobody.clone()));
        assert_eq!(world.banned().into_keys().collect::<Vec<_>>(), [LIAR], "and nobody else");

        time::sleep(BAN_TIME).await;
        assert!(world.banned().is_empty());
        assert_eq!(joins(&mut world, "third").await, (nobody.clone(), only.clone()), "asked again, and banned anew");
        assert_eq!(joins(&mut world, "fourth").await, (only.clone(), nobody.clone()));

        let bans = sim_dir(&world.joiner.disk).open_dir("state").and_then(|state| state.open_dir(BANS_DIR)).unwrap();
        let identity = world.source(LIAR).peer.identity.identity.id();
        assert!(Bans::open(bans).lift(&identity).unwrap());
        assert_eq!(joins(&mut world, "fifth").await, (nobody, only));
    });
}
