//! Hears from a source that is joining itself which chunks it has, file by file, and tells the plan.

use std::{collections::BTreeMap, iter, ops::Range, sync::Arc, time::Duration};

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

/// How often the plan hears of one source at most.
const HEARD_EVERY: Duration = Duration::from_millis(100);
/// Answers that may wait: one of each file.
const FILES_QUEUE: usize = 8;

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
        let (told, mut news) = mpsc::channel(FILES_QUEUE);
        let mut files = JoinSet::new();
        for file_index in 0..self.files {
            let get = HaveGet { id: self.snapshot.clone(), manifest_hash: self.manifest_hash, file_index };
            files.spawn(follow(Arc::clone(&self.session), get, told.clone()));
        }
        drop(told);
        tell(&mut news, &self.layout, self.source, &self.sender).await;
    }
}

/// Tells the plan what there is of all files, as often as it changes, but not more often than [`HEARD_EVERY`]: all is reckoned anew each
/// time, and no source decides how often.
async fn tell(
    news: &mut mpsc::Receiver<(u32, Have)>,
    layout: &Layout,
    source: SourceId,
    sender: &mpsc::UnboundedSender<Message>,
) {
    let mut known: BTreeMap<u32, Have> = BTreeMap::new();
    while let Some((file_index, have)) = news.recv().await {
        known.insert(file_index, have);
        while let Ok((file_index, have)) = news.try_recv() {
            known.insert(file_index, have);
        }
        let ranges = known.iter().flat_map(|(file_index, have)| linear(layout, *file_index, have)).collect();
        let event = Event::Has { source, have: Known::Ranges(ranges) };
        drop(sender.send(Message::Plan(event))); // nobody listens once the transfer is over
        time::sleep(HEARD_EVERY).await;
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

    /// R5: a source tells of itself as often as it likes, and the plan hears it ten times a second.
    #[tokio::test(start_paused = true)]
    async fn however_often_a_source_tells_the_plan_hears_it_ten_times_a_second() {
        let layout = Layout::new([4 * crate::snapshot::CHUNK_BYTES]).unwrap();
        let (told, mut news) = mpsc::channel(FILES_QUEUE);
        let (sender, mut heard) = mpsc::unbounded_channel();
        let flood = async move {
            let begun = time::Instant::now();
            for nth in 0.. {
                if begun.elapsed() >= 10 * HEARD_EVERY
                    || told.send((0, Have::new(nth, Some(vec![0..3])))).await.is_err()
                {
                    return;
                }
            }
        };
        tokio::join!(flood, tell(&mut news, &layout, SourceId(1), &sender));
        let mut events = 0;
        while let Ok(Message::Plan(Event::Has { have: Known::Ranges(ranges), .. })) = heard.try_recv() {
            assert_eq!(ranges, [0..3]);
            events += 1;
        }
        assert!((10..=13).contains(&events), "{events}");
    }
}
