//! A write on the sequencer, without log and queues: *prep* (every check, then the txn's bytes) and *apply* (decode,
//! change, reply and events; publish and reclaim once a round), for each kind of write, in rounds of 32 as a busy
//! sequencer has them, over a tree of 100000 znodes with digests on. Relative: compare a state of the code with another
//! on one machine. The tree's own part of apply is `tree/set` and its neighbours.
//!
//! A round is set up and cleaned up by other rounds, which are not measured, so that the tree stays as it was; at the
//! end the tree must be the one of the beginning.
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{Millis, SessionId, WallMillis, Xid, Zxid};
use ringkeeper::pipeline::acl::{Identities, Policy};
use ringkeeper::pipeline::{Asker, Loaded, Pipeline, ReaperSettings, Settings, Strangers};
use ringkeeper::sessions::SessionTable;
use ringkeeper::wire::request::{Create, MultiOp, PathVersion, RawAcl, Request, SetAcl, SetData};
use ringkeeper::wire::{ErrorCode, OpCode, perms};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUND: usize = 32;
const SESSION: SessionId = SessionId(0x100);
const DATA: [u8; 100] = [7; 100];
const OPEN: RawAcl<'static> = RawAcl { perms: perms::ALL, scheme: Some(b"world"), id: Some(b"anyone") };

fn znodes() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { 100_000 } else { 1_000 }
}

fn settings() -> Settings {
    Settings {
        extended_types: true,
        reconfig_enabled: false,
        close_session_txn: true,
        enforce_quota: false,
        payload_bytes_max: 1 << 20,
        acl_lists_max: 1000,
        strangers: Strangers::Unknown,
        digest: true,
        acl: Policy::default(),
        reaper: ReaperSettings {
            check_interval_ms: 60_000,
            max_per_minute: 10_000,
            max_never_used_ms: 0,
            extended_types: true,
        },
    }
}

/// What is asked: the session and the request for one of the round's paths.
type Ask = for<'a> fn(&'a [u8], usize) -> (SessionId, Request<'a>);

struct Rig {
    pipeline: Pipeline,
    identities: Identities,
    last: Zxid,
}

impl Rig {
    fn new() -> Rig {
        let (mut tree, _) = ringkeeper::tree::new(7);
        tree.set_extended_types(true);
        let sessions = SessionTable::new(2000);
        let pipeline = Pipeline::new(tree, sessions, Loaded::default(), Zxid::ZERO, settings());
        let mut rig = Rig { pipeline, identities: Identities::of_peer("127.0.0.1"), last: Zxid::ZERO };
        rig.round(&[&b""[..]], |_, _| (SESSION, Request::CreateSession(10_000)), 0);
        rig.round(&[&b"/bench"[..]], create, 0);
        for n in 0..znodes() {
            rig.round(&[path(n).as_bytes()], create, 0);
        }
        rig
    }

    /// Prepares and applies one request for each path, all with that result; gives the time of either half.
    fn round(&mut self, paths: &[&[u8]], ask: Ask, err: i32) -> (Duration, Duration) {
        let asked: Vec<_> = paths.iter().enumerate().map(|(n, path)| ask(path, n)).collect();
        let mut payloads = Vec::with_capacity(asked.len());
        let begun = Instant::now();
        for (session, request) in &asked {
            self.last = self.last.next();
            let asker =
                Asker { session: *session, cxid: Xid(self.last.0 as i32), identities: &self.identities };
            payloads.push(self.pipeline.prepare(self.last, WallMillis(self.last.0), asker, request));
        }
        let prepared = Instant::now();
        self.pipeline.begin(self.last);
        for payload in &payloads {
            let decoded = Pipeline::decode(payload).unwrap();
            let applied = self.pipeline.apply(&decoded, Millis(0)).unwrap();
            assert_eq!(applied.err, err);
            black_box(&applied);
        }
        self.pipeline.publish();
        self.pipeline.reclaim();
        (prepared - begun, prepared.elapsed())
    }
}

fn path(n: usize) -> String {
    format!("/bench/znode-{n:012}")
}

fn record(path: &[u8], flags: i32) -> Create<'_> {
    Create { path: Some(path), data: Some(&DATA), acl: Some(vec![OPEN]), flags, ttl: None }
}

fn create(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    (SESSION, Request::Create(OpCode::Create, record(path, 0)))
}

fn create_ephemeral(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    (SESSION, Request::Create(OpCode::Create, record(path, 1)))
}

fn delete(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    (SESSION, Request::Delete(PathVersion { path: Some(path), version: -1 }))
}

fn set(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    (SESSION, Request::SetData(SetData { path: Some(path), data: Some(&DATA), version: -1 }))
}

fn set_acl(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    (SESSION, Request::SetAcl(SetAcl { path: Some(path), acl: Some(vec![OPEN]), version: -1 }))
}

/// A check and a set, as a lock's holder writes.
fn multi(path: &[u8], _: usize) -> (SessionId, Request<'_>) {
    let check = MultiOp::Check(PathVersion { path: Some(path), version: -1 });
    let set = MultiOp::SetData(SetData { path: Some(path), data: Some(&DATA), version: -1 });
    (SESSION, Request::Multi(vec![check, set]))
}

fn open_session(_: &[u8], n: usize) -> (SessionId, Request<'_>) {
    (SessionId(0x1000 + n as i64), Request::CreateSession(10_000))
}

fn close_session(_: &[u8], n: usize) -> (SessionId, Request<'_>) {
    (SessionId(0x1000 + n as i64), Request::CloseSession)
}

struct Kind {
    name: &'static str,
    /// Whether the paths are those of the tree, or new ones.
    existing: bool,
    before: Option<Ask>,
    measured: Ask,
    err: i32,
    after: Option<Ask>,
}

fn kinds() -> [Kind; 9] {
    let kind =
        |name, existing, measured: Ask| Kind { name, existing, before: None, measured, err: 0, after: None };
    [
        Kind { after: Some(delete), ..kind("create", false, create) },
        Kind { after: Some(delete), ..kind("create_ephemeral", false, create_ephemeral) },
        Kind { before: Some(create), ..kind("delete", false, delete) },
        kind("set", true, set),
        kind("set_acl", true, set_acl),
        kind("multi/parts=2", true, multi),
        Kind { after: Some(close_session), ..kind("create_session", true, open_session) },
        Kind { before: Some(open_session), ..kind("close_session", true, close_session) },
        Kind { err: ErrorCode::NodeExists.code(), ..kind("refused_create", true, create) },
    ]
}

fn pipeline(c: &mut Criterion) {
    let mut rig = Rig::new();
    let tree_znodes = rig.pipeline.tree().stats().znode_count;
    for prep in [true, false] {
        let mut group = c.benchmark_group(if prep { "pipeline/prep" } else { "pipeline/apply" });
        group.throughput(Throughput::Elements(1));
        for kind in kinds() {
            let first = if kind.existing { 0 } else { znodes() };
            // Spread over the tree: neighbours in one round would share its cache lines.
            let stride = znodes() / ROUND;
            let names: Vec<String> = (0..ROUND).map(|n| path(first + n * stride)).collect();
            let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            let others = |rig: &mut Rig, ask: Option<Ask>, paths: &[&[u8]]| {
                if let Some(ask) = ask {
                    rig.round(paths, ask, 0);
                }
            };
            group.bench_function(format!("op={}", kind.name), |b| {
                b.iter_custom(|iterations| {
                    let (mut left, mut took) = (iterations as usize, Duration::ZERO);
                    while left > 0 {
                        let paths = &names[..left.min(ROUND)];
                        left -= paths.len();
                        others(&mut rig, kind.before, paths);
                        let (prepared, applied) = rig.round(paths, kind.measured, kind.err);
                        took += if prep { prepared } else { applied };
                        others(&mut rig, kind.after, paths);
                    }
                    took
                });
            });
        }
        group.finish();
    }
    rig.pipeline.invariants_when_idle();
    assert_eq!(rig.pipeline.tree().stats().znode_count, tree_znodes);
    assert_eq!(rig.pipeline.sessions_ref().image().len(), 1);
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
