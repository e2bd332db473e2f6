//! The tree by itself: what a lookup, a create, a set and a listing cost, and how many bytes a znode takes. Relative:
//! for comparing one state of the code with another on one machine, not for claims about the server.
//!
//! `cargo bench --bench tree` runs with a million znodes; under `cargo test --benches` everything runs once, with few.

#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringkeeper::base::Zxid;
use ringkeeper::tree::{NewZnode, NodeImage, Progress, StoredStat, TreeReader, TreeWriter, acl_open};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DATA: [u8; 100] = [7; 100];

fn is_tiny() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

fn znodes() -> u64 {
    if is_tiny() { 2_000 } else { 1_000_000 }
}

/// 25 bytes: `/bench/znode-000000000123`.
fn path(n: u64) -> String {
    format!("/bench/znode-{n:012}")
}

fn new_znode(path: &str) -> NewZnode<'_> {
    NewZnode {
        path: path.as_bytes(),
        data: Some(&DATA),
        acl: acl_open(),
        stored_owner: 0,
        time: 1,
        parent_cversion: -1,
        raise_parent_if_exists: true,
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Time on a core, so that neighbours on the machine do not count.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn round<R>(writer: &mut TreeWriter, change: impl FnOnce(&mut TreeWriter, Zxid) -> R) -> R {
    let zxid = writer.applied().next();
    writer.begin(zxid);
    let result = change(writer, zxid);
    writer.publish(zxid);
    writer.reclaim();
    result
}

/// Filled by txns, as a living server is, in the order of the names.
fn filled() -> (TreeWriter, TreeReader) {
    let (before, start) = (resident_bytes(), cpu_time());
    let (mut writer, reader) = ringkeeper::tree::new(1);
    round(&mut writer, |writer, z| writer.create(z, &new_znode("/bench"))).unwrap();
    let (mut slowest, mut over) = (Duration::ZERO, 0);
    for n in 0..znodes() {
        let path = path(n);
        let start = cpu_time();
        round(&mut writer, |writer, z| writer.create(z, &new_znode(&path))).unwrap();
        let took = cpu_time() - start;
        slowest = slowest.max(took);
        over += u32::from(took > Duration::from_micros(50));
    }
    while writer.reclaim() {}
    let took = cpu_time() - start;
    let bytes = (resident_bytes() - before) / znodes();
    println!(
        "filled: {bytes} bytes a znode, {:?} a create, slowest {slowest:?}, {over} over 50 µs",
        took / znodes() as u32
    );
    (writer, reader)
}

/// The same tree through an image.
fn loaded(writer: &mut TreeWriter) {
    let mut walker = writer.begin_snapshot();
    let mut images: Vec<(Vec<u8>, StoredStat)> = Vec::new();
    while walker.next_slice(1000, &mut |image| images.push((image.path.to_vec(), image.stat)))
        == Progress::More
    {}
    let before = resident_bytes();
    let (mut fresh, _reader) = ringkeeper::tree::new(2);
    let start = cpu_time();
    let mut loader = fresh.load(walker.at());
    for (path, stat) in &images {
        loader.load_node(&NodeImage { path, data: Some(&DATA), acl: acl_open(), stat: *stat }).unwrap();
    }
    loader.finish().unwrap();
    let took = cpu_time() - start;
    println!("loaded: {} bytes a znode, {took:?} in all", (resident_bytes() - before) / znodes());
}

fn tree(c: &mut Criterion) {
    let (mut writer, reader) = filled();
    loaded(&mut writer);
    let mut group = c.benchmark_group(format!("tree/znodes={}", znodes()));

    let hot: Vec<String> = (0..64).map(|n| path(n * 13 % znodes())).collect();
    let mut at = 0;
    group.bench_function("lookup/hot", |b| {
        b.iter(|| {
            at = (at + 1) % hot.len();
            let view = reader.pin();
            black_box(view.find(hot[at].as_bytes()).unwrap().stat())
        });
    });
    // Far more paths than caches hold, in an order that no prefetcher follows.
    let cold: Vec<String> = (0..znodes()).step_by(3).map(|n| path(n * 514_229 % znodes())).collect();
    group.bench_function("lookup/cold", |b| {
        b.iter(|| {
            at = (at + 1) % cold.len();
            let view = reader.pin();
            black_box(view.find(cold[at].as_bytes()).unwrap().data().map(<[u8]>::len))
        });
    });
    group.bench_function("lookup/absent", |b| {
        b.iter(|| {
            at = (at + 1) % cold.len();
            let view = reader.pin();
            black_box(view.find(&cold[at].as_bytes()[..24]).is_none())
        });
    });
    group.bench_function("set", |b| {
        b.iter(|| {
            at = (at + 1) % cold.len();
            round(&mut writer, |writer, z| writer.set_data(z, cold[at].as_bytes(), Some(&DATA), 1, 1))
                .unwrap()
        });
    });
    let mut next = znodes();
    group.bench_function("create/in=large", |b| {
        b.iter(|| {
            next += 1;
            let path = path(next);
            round(&mut writer, |writer, z| writer.create(z, &new_znode(&path))).unwrap()
        });
    });
    round(&mut writer, |writer, z| writer.create(z, &new_znode("/small"))).unwrap();
    group.bench_function("create+delete/in=small", |b| {
        b.iter(|| {
            round(&mut writer, |writer, z| writer.create(z, &new_znode("/small/znode"))).unwrap();
            round(&mut writer, |writer, z| writer.delete(z, b"/small/znode")).unwrap()
        });
    });
    for n in 0..100 {
        let path = format!("/small/child-{n:03}");
        round(&mut writer, |writer, z| writer.create(z, &new_znode(&path))).unwrap();
    }
    group.bench_function("children/of=100", |b| {
        b.iter(|| {
            let view = reader.pin();
            let names = view.find(b"/small").unwrap().children();
            black_box(names.map(<[u8]>::len).sum::<usize>())
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = tree
}
criterion_main!(benches);
