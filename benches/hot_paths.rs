//! Throughput of the pure parts that every byte passes: `cargo bench`. For whole transfers see `snapferry bench`.
//!
//! Each part runs for about a second on one core; the best of several batches counts, as anything else on the machine only
//! makes it slower.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark"
)]

use snapferry::{
    chunking::{
        BufferPool, Codec, CodecContext, FileProof, FileTree, ZSTD_LEVEL,
        plan::{Action, Event, Layout, Outcome, Plan, PlanConfig, SourceId},
    },
    disk::OsDir,
    ledger::leveldb::{TableReader, TableWriter},
    snapshot::{
        CHUNK_BYTES, ChunkIndex, ContentCheck, Manifest, SampleNumbers, SampleSpec, SnapshotFile, StateDbType,
        VerifiedFolder, verify_folder, write_sample,
    },
};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

const SAMPLE_BYTES: u64 = 32 << 20;
const TIME: Duration = Duration::from_secs(1);

/// A name and what measures it.
type Part<'a> = (&'static str, &'a dyn Fn(&str));

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let sample = Sample::new();
    let parts: [Part<'_>; 6] = [
        ("content_check", &|name| content_check(name, &sample)),
        ("chunk_proof", &|name| chunk_proof(name, &sample)),
        ("file_proof", &|name| file_proof(name, &sample)),
        ("codec", &|name| codec(name, &sample)),
        ("plan", &plan),
        ("table", &table),
    ];
    for (name, run) in parts {
        if filter.is_empty() || filter.iter().any(|wanted| name.contains(wanted.as_str())) {
            run(name);
        }
    }
}

/// The state of a compressible sample, in memory.
struct Sample {
    manifest: Manifest,
    tree: FileTree,
    file_index: u32,
    state: Vec<u8>,
    buffers: BufferPool,
}

impl Sample {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = OsDir::open(folder.path()).unwrap();
        let spec = SampleSpec {
            config_block: snapferry::snapshot::BlockNumber(0),
            channel: "mychannel".parse().unwrap(),
            channel_config: b"\x0a\x06\x08\x01\x12\x02\x10\x01".to_vec(),
            collection_members: vec!["Org1MSP".to_owned()],
            numbers: SampleNumbers::for_size(SAMPLE_BYTES, true),
            seed: 1,
            expiring: false,
            compressible: true,
        };
        write_sample(&*dir, &spec).unwrap();
        let VerifiedFolder { manifest, trees, .. } = verify_folder(&*dir, &mut |_| ()).unwrap();
        let place = manifest.files().iter().position(|file| file.file == SnapshotFile::PublicStateData).unwrap();
        let file_index = u32::try_from(place).unwrap();
        let tree = FileTree::prove(&manifest, file_index, trees[place].values().to_vec()).unwrap();
        let state = std::fs::read(folder.path().join(SnapshotFile::PublicStateData.name())).unwrap();
        Self { manifest, tree, file_index, state, buffers: BufferPool::new(2) }
    }

    fn chunks(&self) -> impl Iterator<Item = (ChunkIndex, &[u8])> {
        (0..).map(ChunkIndex).zip(self.state.chunks(CHUNK_BYTES as usize))
    }
}

fn content_check(name: &str, sample: &Sample) {
    bytes(name, sample.state.len(), || {
        let mut check = ContentCheck::new(SnapshotFile::PublicStateData, StateDbType::SimpleKeyValueDb);
        sample.chunks().for_each(|(_, chunk)| check.update(chunk).unwrap());
        black_box(check.finish().unwrap());
    });
}

/// With the copy that stands for what the network writes.
fn chunk_proof(name: &str, sample: &Sample) {
    bytes(name, sample.state.len(), || {
        for (index, chunk) in sample.chunks() {
            let mut buffer = sample.buffers.take(chunk.len());
            buffer.copy_from_slice(chunk);
            black_box(sample.tree.prove_chunk(index, buffer).unwrap());
        }
    });
}

/// Chunk proof, then SHA-256 and content in order: all that a joiner does to a byte but move it.
fn file_proof(name: &str, sample: &Sample) {
    bytes(name, sample.state.len(), || {
        let mut proof = FileProof::new(&sample.manifest, sample.file_index).unwrap();
        for (index, chunk) in sample.chunks() {
            let mut buffer = sample.buffers.take(chunk.len());
            buffer.copy_from_slice(chunk);
            proof.update(&sample.tree.prove_chunk(index, buffer).unwrap()).unwrap();
        }
        black_box(proof.finish().unwrap());
    });
}

fn codec(name: &str, sample: &Sample) {
    let mut context = CodecContext::new();
    let mut wires = Vec::new();
    for (_, chunk) in sample.chunks() {
        let mut wire = Vec::new();
        assert_eq!(context.compress(chunk, ZSTD_LEVEL, &mut wire), Codec::Zstd);
        wires.push(wire);
    }
    let mut out = Vec::with_capacity(CHUNK_BYTES as usize);
    bytes(&format!("{name}/compress"), sample.state.len(), || {
        for (_, chunk) in sample.chunks() {
            black_box(context.compress(chunk, ZSTD_LEVEL, &mut out));
        }
    });
    let mut raw = vec![0; CHUNK_BYTES as usize];
    bytes(&format!("{name}/decompress"), sample.state.len(), || {
        for ((_, chunk), wire) in sample.chunks().zip(&wires) {
            context.decompress(Codec::Zstd, wire, &mut raw[..chunk.len()]).unwrap();
        }
    });
}

/// A whole transfer of 16 GiB from four sources as the driver sees it, without a byte: how many chunks a second the plan could schedule.
fn plan(name: &str) {
    let chunks = 16 << 10;
    let done = best(|| {
        let layout = Layout::new([chunks * CHUNK_BYTES]).unwrap();
        let mut plan = Plan::new(layout, PlanConfig::default());
        let mut now = Duration::ZERO;
        for source in 0..4_u8 {
            let (source, identity) = (SourceId(u32::from(source)), [source; 32]);
            plan.handle(now, Event::SourceJoined { source, identity, rtt: Duration::from_millis(1) });
        }
        let mut loader = 0;
        let mut here = vec![false; usize::try_from(chunks).unwrap()];
        while !plan.is_complete() {
            now += Duration::from_millis(1);
            let mut requests = Vec::new();
            while let Some(action) = plan.poll(now) {
                if let Action::Request { id, first, count, .. } = action {
                    requests.push((id, u64::from(first.0), u64::from(count)));
                }
            }
            for (id, first, count) in requests {
                for linear in first..first + count {
                    plan.handle(now, Event::ChunkArrived { request: id, linear, wire_bytes: CHUNK_BYTES });
                    plan.handle(now, Event::ChunkVerified { linear });
                    plan.handle(now, Event::ChunkReleased { linear });
                    here[usize::try_from(linear).unwrap()] = true;
                }
                plan.handle(now, Event::RequestEnded { request: id, outcome: Outcome::Completed });
            }
            while here.get(loader).copied() == Some(true) {
                loader += 1;
            }
            plan.handle(now, Event::LoaderAt { linear: loader as u64 });
        }
    });
    println!("{name:<20} {:>9.0} chunks/s", chunks as f64 / done.as_secs_f64());
}

/// One table of records of 100 bytes as a load writes it, with its sync: in memory if `TMPDIR` says so.
fn table(name: &str) {
    let record = |n: u32| {
        let id = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let value = format!(
            "{{\"docType\":\"asset\",\"owner\":\"org{}\",\"size\":{:03},\"id\":\"{id:016x}\"}}",
            id % 3,
            id % 1000
        );
        (format!("mychannel\0dlabcc\0asset {n:09}").into_bytes(), value.into_bytes())
    };
    let records: Vec<_> = (0..200_000).map(record).collect();
    let total = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    let folder = tempfile::tempdir().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    let mut last = None;
    bytes(&format!("{name}/write"), total, || {
        let number = last.as_ref().map_or(1, |(_, number)| number + 1);
        let mut table = TableWriter::create(&*dir, number).unwrap();
        records.iter().for_each(|(key, value)| table.add(key, 1, value).unwrap());
        last = Some((table.finish().unwrap().bytes, number));
    });
    let (len, number) = last.unwrap();
    bytes(&format!("{name}/read"), total, || {
        let table = TableReader::open(&*dir, number, len).unwrap();
        table.iter().for_each(|record| drop(black_box(record.unwrap())));
    });
}

fn bytes(name: &str, bytes: usize, run: impl FnMut()) {
    println!("{name:<20} {:>9.0} MB/s", bytes as f64 / 1e6 / best(run).as_secs_f64());
}

fn best(mut run: impl FnMut()) -> Duration {
    let started = Instant::now();
    let mut best = Duration::MAX;
    while best == Duration::MAX || started.elapsed() < TIME {
        let begun = Instant::now();
        run();
        best = best.min(begun.elapsed());
    }
    best
}
