//! What a change costs those who watch. On the sequencer: which shards to tell (`interested`), for every txn, watched or
//! not. On a shard: arming a watch, and a change that fires for 1 up to 10000 connections. Relative: compare a state of
//! the code with another; `limits/memory` says what a miss of all caches costs, of which a watch that fires is a few.
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{ConnectionId, ShardId, Zxid};
use ringkeeper::watches::{
    ChangeEvent, ChangeKind, InterestCounts, InterestTable, PathHasher, Watch, WatchTable,
};
use ringkeeper::wire::reply::{self, EventType};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Paths that are watched beside the one that changes.
const OTHERS: u64 = 10_000;
const SLOTS: usize = 1 << 16;
const PATH: &[u8] = b"/bench/parent/znode-000000000123";

fn others(n: u64) -> String {
    format!("/others/parent-{:03}/znode-{n:09}", n % 1000)
}

fn watch(table: &mut WatchTable, path: &[u8], connection: u64, watch: Watch, armed: Zxid) {
    let hold = table.arm(path, watch, || armed);
    table.add(path, ConnectionId(connection), watch, armed).unwrap();
    table.disarm(hold);
}

/// A table in which one connection watches [`OTHERS`] paths.
fn table() -> (Arc<InterestTable>, WatchTable) {
    let interest = Arc::new(InterestTable::new(SLOTS, PathHasher::new(3)));
    let mut table = WatchTable::new(InterestCounts::new(interest.clone(), ShardId(0)));
    (0..OTHERS).for_each(|n| watch(&mut table, others(n).as_bytes(), 0, Watch::Data, Zxid(0)));
    (interest, table)
}

fn change(zxid: Zxid) -> ChangeEvent {
    ChangeEvent { zxid, kind: ChangeKind::DataChanged, path: PATH.into(), acl: None, parent_acl: None }
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("watches/interested");
    let (interest, mut table) = table();
    for recursive in [false, true] {
        if recursive {
            watch(&mut table, b"/elsewhere", 1, Watch::PersistentRecursive, Zxid(0));
        }
        assert_eq!(interest.interested(others(5).as_bytes(), ChangeKind::DataChanged), 1);
        for (name, kind) in [("set", ChangeKind::DataChanged), ("create", ChangeKind::Created)] {
            group.bench_function(format!("change={name}/recursive={recursive}"), |b| {
                b.iter(|| interest.interested(black_box(PATH), kind));
            });
        }
    }
    group.finish();
}

fn arming(c: &mut Criterion) {
    let mut group = c.benchmark_group("watches/arm+remove");
    let (_, mut table) = table();
    let paths: Vec<String> = (0..1024).map(|n| format!("/fresh/znode-{n:09}")).collect();
    for kind in [Watch::Data, Watch::Child, Watch::Persistent, Watch::PersistentRecursive] {
        let mut at = 0;
        group.bench_function(format!("watch={kind:?}"), |b| {
            b.iter(|| {
                at = (at + 1) % paths.len();
                watch(&mut table, paths[at].as_bytes(), 1, kind, Zxid(0));
                assert_eq!(table.remove_connection(ConnectionId(1)), records_of(kind));
            });
        });
    }
    group.finish();
}

/// A persistent watch stands in both registries.
fn records_of(watch: Watch) -> usize {
    if watch == Watch::Persistent { 2 } else { 1 }
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("watches/fire");
    for connections in [0_u64, 1, 100, 10_000] {
        let (_, mut table) = table();
        for connection in 1..=connections {
            watch(&mut table, PATH, connection, Watch::Persistent, Zxid(0));
        }
        let mut zxid = Zxid(0);
        group.throughput(Throughput::Elements(connections.max(1)));
        // As a shard does it: the frame is written for the first, and the same bytes go to everyone.
        let mut frame = Vec::new();
        group.bench_function(format!("watch=Persistent/connections={connections}"), |b| {
            b.iter(|| {
                zxid = zxid.next();
                let (event, mut fired) = (change(zxid), 0);
                frame.clear();
                table.fire(&event, &mut |connection, kind| {
                    if fired == 0 {
                        reply::notification(&mut frame, zxid.0, kind, event.path_of(kind));
                    }
                    fired += 1;
                    black_box((connection, &frame));
                });
                assert_eq!(fired, connections);
            });
        });
    }
    for connections in [1_u64, 100, 10_000] {
        let (_, mut table) = table();
        let before = table.len();
        let mut zxid = Zxid(0);
        group.throughput(Throughput::Elements(connections));
        group.bench_function(format!("watch=Data/armed_each_time=true/connections={connections}"), |b| {
            b.iter(|| {
                (1..=connections).for_each(|n| watch(&mut table, PATH, n, Watch::Data, zxid));
                zxid = zxid.next();
                let mut fired = 0;
                table.fire(&change(zxid), &mut |connection, kind| {
                    assert_eq!(kind, EventType::NodeDataChanged);
                    fired += 1;
                    black_box(connection);
                });
                assert_eq!((fired, table.len()), (connections, before));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, matching, arming, fan_out);
criterion_main!(benches);
