//! A snapshot on its way out and in, a znode of 100 bytes at a time: the walk through the tree while nobody writes, the
//! encoding into chunks, the verification of a chunk, and the loading of a tree. No disk: `benches/wal.rs` measures a
//! whole recovery from files. Relative; encoding and verification touch every byte, so `limits/memcpy` of a chunk is
//! their bound, and loading misses the caches some times a znode (`limits/memory`).
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{ServerId, WallMillis, Zxid};
use ringkeeper::storage::aligned::AlignedBuf;
use ringkeeper::storage::snapshot::{self, Chunk, NodeView, SnapshotEncoder, SnapshotIndex, SnapshotMeta};
use ringkeeper::storage::{ClusterId, Identity};
use ringkeeper::tree::{NewZnode, NodeImage, Progress, StoredStat, TreeReader, TreeWriter, acl_open};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IDENTITY: Identity = Identity { cluster: ClusterId([1; 16]), server: ServerId(1) };
const AT: Zxid = Zxid(9);
const DATA: [u8; 100] = [7; 100];
const PARENTS: u64 = 100;

fn znodes() -> u64 {
    if std::env::args().any(|argument| argument == "--bench") { 200_000 } else { 2_000 }
}

/// Parents first, then their children.
fn paths() -> Vec<Vec<u8>> {
    let parents = (0..PARENTS).map(|n| format!("/parent-{n:03}").into_bytes());
    let children =
        (0..znodes() - PARENTS).map(|n| format!("/parent-{:03}/node-{n:08}", n % PARENTS).into_bytes());
    parents.chain(children).collect()
}

fn encoded(paths: &[Vec<u8>]) -> Vec<Chunk> {
    let mut encoder = SnapshotEncoder::new(SnapshotMeta {
        identity: IDENTITY,
        zxid: AT,
        digest: 0,
        digest_version: 2,
        taken: WallMillis(0),
        received: None,
    });
    let mut chunks = Vec::new();
    for path in paths {
        encoder.node(&NodeView {
            path,
            data: Some(&DATA),
            acl: 1,
            czxid: 1,
            mzxid: 2,
            pzxid: 3,
            ctime: 4,
            mtime: 5,
            version: 6,
            cversion: 7,
            aversion: 8,
            owner: 0,
        });
        while let Some(chunk) = encoder.take_chunk() {
            chunks.push(chunk);
        }
    }
    chunks.extend(encoder.finish());
    chunks
}

fn index(file: &[u8]) -> SnapshotIndex {
    let mut read =
        |offset: u64, bytes: usize| Ok(AlignedBuf::copy_of(&file[offset as usize..offset as usize + bytes]));
    snapshot::index(IDENTITY.cluster, file.len() as u64, &mut read).unwrap()
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    group.sample_size(10);
    let paths = paths();
    group.throughput(Throughput::Elements(znodes()));
    group.bench_function(format!("encode/nodes={}/bytes=100", znodes()), |b| {
        b.iter(|| black_box(encoded(&paths)).len());
    });
    let file: Vec<u8> = encoded(&paths).iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
    let index = index(&file);
    assert_eq!((index.meta.zxid, index.totals.nodes), (AT, znodes()));
    group.bench_function(format!("verify/nodes={}/bytes=100", znodes()), |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                // What a disk would read is copied before the clock starts.
                let spans = index.chunks.iter().map(|span| {
                    let at = span.offset as usize;
                    (span, AlignedBuf::copy_of(&file[at..at + span.bytes as usize]))
                });
                let spans: Vec<_> = spans.collect();
                let begun = Instant::now();
                let mut nodes = 0;
                for (span, bytes) in spans {
                    let part = index.part(span, bytes).unwrap();
                    nodes += part.nodes().filter(|node| black_box(node).data.is_some()).count() as u64;
                }
                took += begun.elapsed();
                assert_eq!(nodes, znodes());
            }
            took
        });
    });
    group.finish();
}

fn filled(paths: &[Vec<u8>]) -> (TreeWriter, TreeReader) {
    let (mut writer, reader) = ringkeeper::tree::new(1);
    for path in paths {
        let zxid = writer.applied().next();
        writer.begin(zxid);
        let znode = NewZnode {
            path,
            data: Some(&DATA),
            acl: acl_open(),
            stored_owner: 0,
            time: 1,
            parent_cversion: -1,
            raise_parent_if_exists: true,
        };
        writer.create(zxid, &znode).unwrap();
        writer.publish(zxid);
        writer.reclaim();
    }
    while writer.reclaim() {}
    (writer, reader)
}

fn tree(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    group.sample_size(10);
    group.throughput(Throughput::Elements(znodes()));
    let paths = paths();
    let (mut writer, _reader) = filled(&paths);
    group.bench_function(format!("walk/nodes={}/bytes=100", znodes()), |b| {
        b.iter(|| {
            let mut walker = writer.begin_snapshot();
            let mut given = 0_u64;
            while walker.next_slice(1000, &mut |image| given += u64::from(!image.path.is_empty()))
                == Progress::More
            {}
            assert_eq!(given, walker.znodes());
            assert!(given >= znodes());
        });
    });
    drop(writer);
    let stat = StoredStat {
        czxid: 1,
        mzxid: 2,
        pzxid: 3,
        ctime: 4,
        mtime: 5,
        version: 6,
        cversion: 7,
        aversion: 8,
        owner: 0,
    };
    group.bench_function(format!("load/nodes={}/bytes=100", znodes()), |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                let (mut fresh, reader) = ringkeeper::tree::new(2);
                let begun = Instant::now();
                let mut loader = fresh.load(AT);
                for path in &paths {
                    loader.load_node(&NodeImage { path, data: Some(&DATA), acl: acl_open(), stat }).unwrap();
                }
                loader.finish().unwrap();
                took += begun.elapsed();
                assert!(reader.pin().find(paths.last().unwrap()).is_some());
            }
            took
        });
    });
    group.finish();
}

criterion_group!(benches, codec, tree);
criterion_main!(benches);
