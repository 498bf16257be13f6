//! Hears from a source that is joining itself which chunks it has, file by file, and tells the plan.

use std::{collections::BTreeMap, iter, ops::Range, sync::Arc};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time,
};

use super::{dialer::again_after, fetch::Message};
use crate::{
    chunking::plan::{Event, Have as Known, Layout, SourceId},
    snapshot::{ManifestHash, SnapshotId},
    transport::{
        asking::Session,
        wire::{Have, HaveGet},
    },
};

/// Listens to one source; dropped, it stops.
#[derive(Debug)]
pub(super) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whom to ask about what, and whom to tell.
pub(super) struct Listen {
    pub(super) source: SourceId,
    pub(super) session: Arc<Session>,
    pub(super) snapshot: SnapshotId,
    pub(super) manifest_hash: ManifestHash,
    pub(super) files: u32,
    pub(super) layout: Layout,
    pub(super) sender: mpsc::UnboundedSender<Message>,
}

impl Listen {
    pub(super) fn start(self) -> Listening {
        Listening(tokio::spawn(self.run()))
    }

    /// Each file by itself; what is known of all is told as one.
    async fn run(self) {
        let (told, mut news) = mpsc::channel(1);
        let mut files = JoinSet::new();
        for file_index in 0..self.files {
            let get = HaveGet { id: self.snapshot.clone(), manifest_hash: self.manifest_hash, file_index };
            files.spawn(follow(Arc::clone(&self.session), get, told.clone()));
        }
        drop(told);
        let mut known: BTreeMap<u32, Have> = BTreeMap::new();
        while let Some((file_index, have)) = news.recv().await {
            known.insert(file_index, have);
            let ranges = known.iter().flat_map(|(file_index, have)| linear(&self.layout, *file_index, have)).collect();
            let event = Event::Has { source: self.source, have: Known::Ranges(ranges) };
            drop(self.sender.send(Message::Plan(event))); // nobody listens once the transfer is over
        }
    }
}

/// Tells what there is of one file, until the source's answer would be the same for ever.
async fn follow(session: Arc<Session>, get: HaveGet, told: mpsc::Sender<(u32, Have)>) {
    loop {
        match session.watch_have(get.clone()).await {
            Ok((mut have, mut watch)) => {
                while told.send((get.file_index, have)).await.is_ok() {
                    have = watch.next().await;
                }
                return;
            }
            Err(error) => match again_after(&error) {
                Some(pause) => time::sleep(pause).await,
                None => return,
            },
        }
    }
}

/// A file's chunks as positions; what lies behind its end is no claim at all.
fn linear(layout: &Layout, file_index: u32, have: &Have) -> Vec<Range<u64>> {
    let Some(file) = layout.file(file_index) else { return Vec::new() };
    let position = |chunk: u32| file.start.saturating_add(u64::from(chunk)).min(file.end);
    match &have.ranges {
        None => iter::once(file).collect(),
        Some(ranges) => ranges.iter().map(|range| position(range.start)..position(range.end)).collect(),
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of chunks is what is meant")]
mod tests {
    use super::*;

    #[test]
    fn what_a_source_has_of_a_file_lies_within_it() {
        let chunk = crate::snapshot::CHUNK_BYTES;
        let layout = Layout::new([2 * chunk, 0, 3 * chunk]).unwrap();
        let of = |file_index, ranges| linear(&layout, file_index, &Have::new(1, ranges));
        assert_eq!(of(2, None), [2..5]);
        assert_eq!(of(2, Some(vec![0..1, 2..3])), [2..3, 4..5]);
        assert_eq!(of(0, Some(vec![1..u32::MAX])), [1..2], "no claim on the next file");
        assert!(of(3, None).is_empty());
        assert!(of(1, Some(vec![0..9])).iter().all(Range::is_empty));
    }
}
