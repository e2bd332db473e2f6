//! What the log costs a batch: encoding alone (append, checksum, chain hash), and with a durable write on the file system
//! of the temporary directory. Relative numbers: compare batch sizes and methods on one machine. And what recovery
//! costs, against the half second that a restart may take (DESIGN §7): 64 MiB of log, and a snapshot of a million
//! znodes of 100 bytes. With `BENCH_LARGE` unset the last two are tiny, so that `cargo test` can run them.
#![allow(clippy::unwrap_used)] // A bench says what it expects by unwrapping, as tests do.
#![allow(missing_docs)]

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{ServerId, WallMillis, Zxid};
use ringkeeper::runtime::files::{DataDirs, RecoverSettings, recover, self_test};
use ringkeeper::storage::recovery::Mode;
use ringkeeper::storage::snapshot::{NodeView, Publication, SnapshotEncoder, SnapshotMeta};
use ringkeeper::storage::wal::{PreparedSegment, WalLimits, WalPosition, WalWriter};
use ringkeeper::storage::{ClusterId, Identity};

const IDENTITY: Identity = Identity { cluster: ClusterId([1; 16]), server: ServerId(1) };
const PAYLOAD: [u8; 180] = [7; 180];

fn prepare(wal: &mut WalWriter) -> Option<PreparedSegment> {
    let segment = wal.wants_segment()?;
    let prepared = PreparedSegment { segment, generation: segment.0, bytes: wal.segment_bytes() };
    wal.add_segment(prepared);
    Some(prepared)
}

fn append(wal: &mut WalWriter, records: u64) {
    for _ in 0..records {
        wal.append(wal.last().next(), &PAYLOAD);
    }
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append");
    for batch in [1_u64, 32, 1024] {
        let mut wal = WalWriter::new(IDENTITY, WalLimits::default(), WalPosition::empty());
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("batch={batch}/flush=false"), |b| {
            b.iter(|| {
                prepare(&mut wal);
                append(&mut wal, batch);
                let write = wal.next_write(Zxid::ZERO).unwrap();
                let bytes = write.bytes().len();
                wal.completed(write, bytes).unwrap();
                wal.retire_before(wal.last());
            });
        });
    }
    group.finish();
}

fn settings(limits: WalLimits) -> RecoverSettings<'static> {
    RecoverSettings {
        server: IDENTITY.server,
        mode: Mode::Alone,
        new_cluster: IDENTITY.cluster,
        new_generation: 1,
        limits,
        distrusted: &[],
    }
}

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("wal/append");
    group.sample_size(20);
    let temporary = tempfile::tempdir().unwrap();
    let dirs = DataDirs::open(temporary.path(), temporary.path()).unwrap();
    let method = self_test(dirs.log()).unwrap().method;
    let limits = WalLimits::for_segments_of(8 << 20, PAYLOAD.len());
    let mut wal = recover(&dirs, &settings(limits), &mut |_| {}).unwrap().wal;
    for batch in [1_u64, 32, 1024] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("batch={batch}/flush=true/method={method:?}"), |b| {
            b.iter(|| {
                append(&mut wal, batch);
                let write = wal.next_write(Zxid::ZERO).unwrap_or_else(|| {
                    let prepared = prepare(&mut wal).unwrap();
                    dirs.log().perform(&prepared.create(IDENTITY)).unwrap();
                    wal.next_write(Zxid::ZERO).unwrap()
                });
                let file = dirs.log().open_segment(write.segment, method).unwrap();
                let written = method.write_wal(&file, &write).unwrap();
                wal.completed(write, written).unwrap();
            });
        });
    }
    group.finish();
}

fn recovery(c: &mut Criterion) {
    let large = std::env::var_os("BENCH_LARGE").is_some();
    let (nodes, log_bytes) = if large { (1_000_000_u32, 60 << 20) } else { (1000, 60 << 10) };
    let temporary = tempfile::tempdir().unwrap();
    let limits = WalLimits::for_segments_of(if large { 64 << 20 } else { 1 << 20 }, PAYLOAD.len());
    let dirs = DataDirs::open(temporary.path(), temporary.path()).unwrap();
    let mut wal = recover(&dirs, &settings(limits), &mut |_| {}).unwrap().wal;
    let method = self_test(dirs.log()).unwrap().method;
    write_snapshot(&dirs, nodes);
    let mut logged = 0;
    while logged < log_bytes {
        append(&mut wal, 1000);
        let write = wal.next_write(Zxid::ZERO).unwrap();
        let file = dirs.log().open_segment(write.segment, method).unwrap();
        logged += write.bytes().len();
        let written = method.write_wal(&file, &write).unwrap();
        wal.completed(write, written).unwrap();
    }
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    group.bench_function(format!("nodes={nodes}/log_bytes={log_bytes}"), |b| {
        b.iter_custom(|iterations| {
            let begun = Instant::now();
            for _ in 0..iterations {
                let recovered = recover(&dirs, &settings(limits), &mut |_| {}).unwrap();
                let parts = &recovered.snapshot.as_ref().unwrap().parts;
                let read: usize =
                    parts.iter().flat_map(|part| part.nodes()).map(|node| node.path.len()).sum();
                assert!(read > nodes as usize);
                let mut records = 0_u64;
                recovered.replay.run(dirs.log(), &mut |_, _| records += 1, &mut |_| {}).unwrap();
                assert_eq!(Zxid(records as i64), wal.last());
            }
            begun.elapsed()
        });
    });
    group.finish();
}

fn write_snapshot(dirs: &DataDirs, nodes: u32) {
    let meta = SnapshotMeta {
        identity: IDENTITY,
        zxid: Zxid::ZERO,
        digest: 0,
        digest_version: 2,
        taken: WallMillis(0),
        received: None,
    };
    let publication = Publication::new(meta.zxid);
    let mut encoder = SnapshotEncoder::new(meta);
    let mut performer = dirs.data().performer();
    performer.perform(&publication.create()).unwrap();
    for node in 0..nodes {
        encoder.node(&NodeView {
            path: format!("/bench/parent-{:03}/node-{node:07}", node % 1000).as_bytes(),
            data: Some(&[b'd'; 100]),
            acl: 1,
            czxid: 1,
            mzxid: 1,
            pzxid: 1,
            ctime: 1,
            mtime: 1,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
        });
        while let Some(chunk) = encoder.take_chunk() {
            performer.perform(&publication.write(chunk)).unwrap();
        }
    }
    encoder.finish().into_iter().for_each(|chunk| performer.perform(&publication.write(chunk)).unwrap());
    publication.publish().iter().for_each(|action| performer.perform(action).unwrap());
}

criterion_group!(benches, encode, flush, recovery);
criterion_main!(benches);
