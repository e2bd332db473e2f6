#![forbid(unsafe_code)]
//! Requests that decode, and mean nothing.

use ringkeeper::wire::jute::Writer;
use ringkeeper::wire::request::Request;
use ringkeeper::wire::{Acl, ErrorCode, OpCode, encode_acls};

use super::sessions::LONG_MS;
use crate::cluster::Cluster;
use crate::disk::Rng;
use crate::workload::multi_header;

/// What a client may ask for, and what may be in a multi.
const ASKED: [OpCode; 8] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::SetAcl,
    OpCode::Multi,
];
const PARTS: [OpCode; 7] = [
    OpCode::Create,
    OpCode::Create2,
    OpCode::CreateContainer,
    OpCode::CreateTtl,
    OpCode::Delete,
    OpCode::SetData,
    OpCode::Check,
];

/// Requests that decode and mean nothing, on servers of all roles (CH-104663, ZOOKEEPER-3496): each is answered, most with
/// an error that takes its place in the log, and everybody starts again from that log.
pub(super) fn s59_poison_entries(is_told: bool) {
    // Of each kind those that were done, and those that were refused.
    let mut answers = [[0; 2]; ASKED.len()];
    for seed in 0..6 {
        let mut cluster = Cluster::calm(59_000 + seed, 3, 1, is_told);
        if seed % 2 == 0 {
            // Nobody starts from a snapshot.
            cluster.plan.snap_count = u32::MAX;
        }
        cluster.until_serving();
        let mut rng = Rng::new(seed);
        let guests: Vec<usize> = (0..4).map(|at| cluster.guest(at, LONG_MS)).collect();
        let mut asked = Vec::new();
        for round in 0..300 {
            let (kind, mut body) = (rng.below(ASKED.len() as u64) as usize, Vec::new());
            let op = ASKED[kind];
            let mut is_void = poison(op, &mut rng, &mut body);
            if rng.below(3) == 0 {
                is_void = false;
                for _ in 0..=rng.below(2) {
                    let at = rng.below(body.len() as u64) as usize;
                    body[at] = rng.next() as u8;
                }
            }
            // The shard answers what does not decode.
            if Request::decode(op, &body).is_err() {
                continue;
            }
            let guest = one_of(&mut rng, &guests);
            asked.push((guest, cluster.ask(guest, op, body), kind, is_void));
            if round % 20 == 0 {
                cluster.until("an answer", |cluster| cluster.guests[guest].is_answered());
            }
        }
        for guest in &guests {
            cluster.until("every answer", |cluster| cluster.guests[*guest].is_answered());
        }
        for (guest, number, kind, is_void) in asked {
            let err = cluster.guests[guest].err(number).expect("an answer");
            assert_ne!(err, ErrorCode::SessionExpired.code(), "its session is there");
            assert!(err != 0 || !is_void, "{:?} is done, and cannot be", ASKED[kind]);
            answers[kind][usize::from(err != 0)] += 1;
        }
        for at in 0..4 {
            cluster.crash(at, true);
            cluster.starts_after(at, 0);
        }
        cluster.until_writes(3);
        cluster.finish();
    }
    for (op, counts) in ASKED.iter().zip(answers) {
        assert!(counts.iter().all(|count| *count > 0), "{op:?}: {counts:?} of them were done and refused");
    }
}

/// The body of a request that is well formed, and whether it has to be refused, whatever the tree is like.
fn poison(op: OpCode, rng: &mut Rng, body: &mut Vec<u8>) -> bool {
    if op == OpCode::Multi {
        for _ in 0..rng.below(4) {
            let part = one_of(rng, &PARTS);
            multi_header(part as i32, false, body);
            poison(part, rng, body);
        }
        multi_header(-1, true, body);
        // Its answer is a list.
        return false;
    }
    let usual = if op == OpCode::CreateTtl { 5 } else { 0 };
    let flags = if rng.below(4) == 0 { rng.below(10) as i32 - 1 } else { usual };
    let root = if rng.below(20) == 0 { "" } else { "/" };
    let end = one_of(rng, &["", "", "", "", "", "", "/child", "/child", "/", "//child", "/..", "/\0"]);
    body.string(format!("{root}poison-{}{end}", rng.below(7)).as_bytes());
    let is_path = match end {
        "//child" | "/\0" => false,
        // A sequential one gets digits behind these.
        "/" | "/.." => !root.is_empty() && [2, 3, 6].contains(&flags),
        _ => !root.is_empty(),
    };
    let bytes = vec![b'p'; one_of(rng, &[0, 1, 10, 100, 1_000, 10_000, 30_000])];
    let data = Some(bytes.as_slice()).filter(|_| rng.below(10) > 0);
    // As a txn it is longer than a segment of the log.
    let fits = data.is_none_or(|data| data.len() < 30_000);
    let version = one_of(rng, &[-1, -1, -1, 0, 1, i32::MIN, i32::MAX]);
    let may_be = match op {
        OpCode::Delete | OpCode::Check => {
            body.int(version);
            true
        }
        OpCode::SetAcl => {
            encode_acls(&[Acl::open()], body);
            body.int(version);
            true
        }
        OpCode::SetData => {
            body.buffer(data);
            body.int(version);
            fits
        }
        _ => {
            body.buffer(data);
            encode_acls(&[Acl::open()], body);
            body.int(flags);
            fits && (0..=4).contains(&flags)
        }
    };
    if op != OpCode::CreateTtl {
        return !(is_path && may_be);
    }
    let ttl = one_of(rng, &[1, 1_000, 100_000, -1, 0, 1 << 40, i64::MIN]);
    body.long(ttl);
    !(is_path && fits && [5, 6].contains(&flags) && (1..1 << 40).contains(&ttl))
}

fn one_of<T: Copy>(rng: &mut Rng, these: &[T]) -> T {
    these[rng.below(these.len() as u64) as usize]
}
