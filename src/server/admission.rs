#![forbid(unsafe_code)]
//! Admission of requests: how many may be in process, how long one may have waited, how many bytes large ones may take
//! together (operations §11.2, client-protocol §3.4 items 3 and 4; stock `RequestThrottler`,
//! `ZooKeeperServer.checkRequestSize...`, `shouldThrottle`); and how many syncs are under way (`ringkeeper.maxSyncs`).
//!
//! Lives on: each shard; three counts are the server's. A request is in process from its frame until its reply, when it
//! has to wait for one; what is answered on the spot never is, nor what waits for its own client to take earlier
//! answers, so that nobody fills the server by not reading. The intake of a connection is its input: frames that came
//! and were not taken. Unless one of the keys is set, a frame costs one branch here.
//!
//! Invariant: what is counted is given back by the drop of what it was counted for ([`Queue`], [`Pass`]).
//!
//! Not here: tokens of connect requests (`throttle.rs`), bounds of one connection (`connection.rs`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Deref, IndexMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::connection::{Connection, Pending, Phase};
use super::shard::Shard;
use crate::base::{ConnectionId, Millis};
use crate::config::Requests;
use crate::tree::View;
use crate::wire::{ErrorCode, OpCode};

/// What all shards together have in hand. Alone on its cache lines: all shards look at it each turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerLoad {
    /// Requests in process, as the shards last said.
    in_process: AtomicUsize,
    /// Bytes of large requests in process.
    large_bytes: Arc<AtomicUsize>,
    /// Syncs in process, while they have a limit.
    syncs: Arc<AtomicUsize>,
}

/// One shard's side of it.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Whether any key below is set at all.
    pub is_on: bool,
    own: Rc<Cell<usize>>,
    /// What the others know of `own`, which may be this much off: shards far from a limit write nothing they share.
    published: usize,
    grain: usize,
    others: usize,
    outstanding_max: usize,
    /// Connections whose intake stalls.
    stalled: VecDeque<ConnectionId>,
    /// When they are looked at again, whatever happened meanwhile.
    next_step: Millis,
}

impl Intake {
    /// For one of `shards`.
    pub(super) fn new(requests: &Requests, syncs_max: Option<u32>, shards: usize) -> Intake {
        let outstanding_max = requests.outstanding_max as usize;
        let lowest =
            requests.throttle_requests_max.map_or(outstanding_max, |max| outstanding_max.min(max as usize));
        Intake {
            is_on: requests.throttle_requests_max.is_some()
                || requests.throttled_op_wait_ms.is_some()
                || requests.stale_latency_check
                || requests.large_threshold_bytes.is_some()
                || syncs_max.is_some(),
            // All shards together are off by a quarter of a limit at most: never so much that an idle server seems full.
            grain: lowest / (4 * shards.max(1)),
            outstanding_max,
            ..Intake::default()
        }
    }

    /// A queue for a new connection, counted here.
    pub(super) fn queue(&self) -> Queue {
        Queue { items: VecDeque::new(), counted: 0, count: self.own.clone(), unread: false }
    }

    /// Requests in process on this shard.
    #[cfg(test)]
    pub(super) fn own(&self) -> usize {
        self.own.get()
    }

    /// Requests in process on this server.
    fn in_process(&self) -> usize {
        self.own.get() + self.others
    }

    /// Whether connections that have a request in process are read no further (`globalOutstandingLimit`).
    pub(super) fn is_crowded(&self) -> bool {
        self.in_process() > self.outstanding_max
    }

    /// Tells the others, and learns from them; at both ends of a turn.
    pub(super) fn exchange(&mut self, load: &ServerLoad) {
        let own = self.own.get();
        let known = self.published;
        // Relaxed: a count, which orders nothing.
        let before = if own.abs_diff(known) > self.grain {
            self.published = own;
            load.in_process.fetch_add(own.wrapping_sub(known), Ordering::Relaxed)
        } else {
            load.in_process.load(Ordering::Relaxed)
        };
        self.others = before.wrapping_sub(known);
    }

    pub(super) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }
}

/// Requests of one connection that are not answered yet, counted for the whole shard.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Pending>,
    /// Its share of the shard's count.
    counted: usize,
    count: Rc<Cell<usize>>,
    /// The first of them waits for the client to read: none is in process.
    unread: bool,
}

impl Queue {
    pub(super) fn push_back(&mut self, pending: Pending) {
        self.items.push_back(pending);
        self.recount();
    }

    pub(super) fn push_front(&mut self, pending: Pending) {
        self.items.push_front(pending);
        self.recount();
    }

    pub(super) fn pop_front(&mut self) -> Option<Pending> {
        let popped = self.items.pop_front();
        self.recount();
        popped
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Pending> {
        self.items.get_mut(at)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.items.iter_mut()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.recount();
    }

    /// Whether they wait for nothing but their own client.
    pub(super) fn waits_for_reader(&mut self, unread: bool) {
        self.unread = unread;
        self.recount();
    }

    fn recount(&mut self) {
        let counted = if self.unread { 0 } else { self.items.len() };
        self.count.set(self.count.get() - self.counted + counted);
        self.counted = counted;
    }
}

impl Deref for Queue {
    type Target = VecDeque<Pending>;

    fn deref(&self) -> &VecDeque<Pending> {
        &self.items
    }
}

impl std::ops::Index<usize> for Queue {
    type Output = Pending;

    fn index(&self, at: usize) -> &Pending {
        &self.items[at]
    }
}

impl IndexMut<usize> for Queue {
    fn index_mut(&mut self, at: usize) -> &mut Pending {
        &mut self.items[at]
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What admission said of a request.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// It is not executed: it waited too long, or is beyond a bound. This is its answer.
    pub refusal: Option<ErrorCode>,
    /// Its share of the bytes of large requests, until it is answered.
    large: Option<Share>,
    /// Its place among the syncs under way.
    sync: Option<Share>,
}

/// A part of what requests of all shards may have together, given back when it is dropped.
#[derive(Debug)]
struct Share {
    units: usize,
    of: Arc<AtomicUsize>,
}

impl Share {
    fn take(of: &Arc<AtomicUsize>, units: usize, max: usize) -> Option<Share> {
        // Relaxed: a count, which orders nothing.
        let before = of.fetch_add(units, Ordering::Relaxed);
        let share = Share { units, of: of.clone() };
        (before + units <= max).then_some(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Relaxed: see `take`.
        self.of.fetch_sub(self.units, Ordering::Relaxed);
    }
}

/// A server's share of `globalOutstandingLimit`: what its followers take on ends in the leader's pipeline (stock
/// `LeaderZooKeeperServer.getGlobalOutstandingLimit`).
pub(super) fn outstanding_max(configured: u32, voters: Option<usize>) -> u32 {
    match voters.and_then(|voters| u32::try_from(voters).ok()) {
        Some(voters @ 3..) => configured / (voters - 1),
        _ => configured,
    }
}

/// What becomes of the frame at the front of an intake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Admit { late: bool, stale: bool },
    Stall,
    Drop,
}

/// Stock's order: staleness, then room, then the wait (`RequestThrottler.run`). `waited_ms` in the intake; the session's
/// time-out in ms.
fn verdict(requests: &Requests, op: i32, waited_ms: u64, timeout_ms: u32, in_process: usize) -> Verdict {
    let op = OpCode::from_i32(op);
    // A request of a connection that is gone went with it.
    let stale =
        requests.stale_latency_check && op != Some(OpCode::CloseSession) && waited_ms > u64::from(timeout_ms);
    if let Some(max) = requests.throttle_requests_max {
        if stale && requests.throttle_drop_stale {
            return Verdict::Drop;
        }
        if in_process >= max as usize {
            return Verdict::Stall;
        }
    }
    let exempt = matches!(op, Some(OpCode::Ping | OpCode::CloseSession | OpCode::CreateSession));
    let late = !exempt && requests.throttled_op_wait_ms.is_some_and(|most| waited_ms > u64::from(most));
    Verdict::Admit { late, stale }
}

/// Whether the connection goes on with the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    Open,
    /// Not now.
    Stalled,
    /// The connection is being closed.
    Closed,
}

impl Shard {
    /// Judges what `rest`, the unparsed input of the connection, begins with. Asked only while [`Intake::is_on`].
    pub(super) fn admit(&mut self, id: ConnectionId, rest: &[u8], now: Millis) -> Gate {
        let Some(connection) = self.connections.get_mut(&id) else { return Gate::Closed };
        let Some((length, rest)) = rest.split_first_chunk::<4>() else {
            connection.waits_since = None;
            return Gate::Open;
        };
        // A negative length is refused by whoever takes the frame.
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let requests = &self.settings.requests;
        let large_bytes = &self.registry.load.large_bytes;
        let (threshold, max) = match requests.large_threshold_bytes {
            Some(threshold) => (threshold as usize, requests.large_bytes_max as usize),
            None => (usize::MAX, usize::MAX),
        };
        if length > threshold && !connection.announced && connection.pass.large.is_none() {
            // Relaxed: a count, which orders nothing.
            if large_bytes.load(Ordering::Relaxed) + length > max {
                return self.refuse_large(id);
            }
            connection.announced = true;
        }
        let (Some(frame), Phase::Open(attachment)) = (rest.get(..length), connection.phase) else {
            connection.waits_since = None;
            connection.announced &= rest.len() < length;
            return Gate::Open;
        };
        let (Some(op), Some(body)) = (frame.get(4..8), frame.get(8..)) else { return Gate::Open };
        let op = op.try_into().map_or(0, i32::from_be_bytes);
        if matches!(OpCode::from_i32(op), Some(OpCode::Auth | OpCode::Sasl)) {
            connection.announced = false;
            return Gate::Open;
        }
        // It keeps its bytes while it waits at the front of the intake.
        if body.len() > threshold && connection.pass.large.is_none() {
            connection.pass.large = Share::take(large_bytes, body.len(), max);
            if connection.pass.large.is_none() {
                return self.refuse_large(id);
            }
        }
        connection.announced = false;
        let waited_ms = connection.waits_since.map_or(0, |since| now.since(since));
        match verdict(requests, op, waited_ms, attachment.timeout_ms, self.intake.in_process()) {
            Verdict::Admit { late, stale } => {
                connection.pass.refusal = late.then_some(ErrorCode::ThrottledOp);
                if let (Some(max), true) = (self.settings.own.syncs_max, op == OpCode::Sync as i32)
                    && connection.pass.sync.is_none()
                {
                    connection.pass.sync = Share::take(&self.registry.load.syncs, 1, max as usize);
                    if connection.pass.sync.is_none() {
                        return self.stall(id, now);
                    }
                }
                if stale {
                    self.metrics.stale_request(false);
                }
                Gate::Open
            }
            Verdict::Stall => self.stall(id, now),
            Verdict::Drop => {
                self.metrics.stale_request(true);
                self.finish(id);
                Gate::Closed
            }
        }
    }

    fn stall(&mut self, id: ConnectionId, now: Millis) -> Gate {
        let Some(connection) = self.connections.get_mut(&id) else { return Gate::Closed };
        connection.choked = true;
        connection.waits_since.get_or_insert(now);
        if !std::mem::replace(&mut connection.stalls, true) {
            self.intake.stalled.push_back(id);
            self.metrics.throttle_wait();
        }
        Gate::Stalled
    }

    /// Whether a stalled request may go on.
    fn has_room(&self) -> bool {
        let below = |count, max: Option<u32>| max.is_none_or(|max| count < max as usize);
        // Relaxed: a count, which orders nothing.
        below(self.intake.in_process(), self.settings.requests.throttle_requests_max)
            && below(self.registry.load.syncs.load(Ordering::Relaxed), self.settings.own.syncs_max)
    }

    fn refuse_large(&mut self, id: ConnectionId) -> Gate {
        self.metrics.large_request_rejected();
        self.abort(id);
        Gate::Closed
    }

    /// Goes on with stalled connections while there is room, and in any case once a stall's time is over: a request may
    /// have become stale meanwhile.
    pub(super) fn resume_stalled(&mut self, view: &View<'_>, now: Millis) {
        let step_is_over = now >= self.intake.next_step;
        if step_is_over {
            self.intake.next_step = now.plus(u64::from(self.settings.requests.throttle_stall_ms));
        }
        for _ in 0..self.intake.stalled.len() {
            // The others keep their places.
            if !self.has_room() && !step_is_over {
                return;
            }
            let Some(id) = self.intake.stalled.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.stalls = false;
                self.take_frames(id, view, now);
            }
        }
    }

    /// The connection is gone, and with it the requests it had waiting.
    pub(super) fn count_dropped(&mut self, connection: &Connection) {
        let requests = &self.settings.requests;
        let counts = connection.stalls && requests.throttle_drop_stale && requests.stale_connection_check;
        let mut rest = &connection.input[..];
        while counts
            && let Some((length, behind)) = rest.split_first_chunk::<4>()
            && let Some(behind) =
                behind.get(usize::try_from(i32::from_be_bytes(*length)).unwrap_or(usize::MAX)..)
        {
            self.metrics.stale_request(true);
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::Held;

    const OFF: Requests = Requests {
        frame_bytes_max: 1_048_575,
        record_extra_bytes: 1024,
        outstanding_max: 1000,
        throttle_requests_max: None,
        throttle_stall_ms: 100,
        throttle_drop_stale: true,
        stale_latency_check: false,
        stale_connection_check: true,
        throttled_op_wait_ms: None,
        large_bytes_max: 100,
        large_threshold_bytes: None,
    };
    const ADMIT: Verdict = Verdict::Admit { late: false, stale: false };
    const LATE: Verdict = Verdict::Admit { late: true, stale: false };
    const STALE: Verdict = Verdict::Admit { late: false, stale: true };

    #[test]
    fn staleness_comes_before_room_and_room_before_the_wait() {
        let max = Requests { throttle_requests_max: Some(2), ..OFF };
        let stale = Requests { stale_latency_check: true, ..max };
        let kept = Requests { throttle_drop_stale: false, ..stale };
        let wait = Requests { throttled_op_wait_ms: Some(10), ..OFF };
        let both = Requests { throttled_op_wait_ms: Some(10), ..max };
        let table = [
            // limits, operation, waited, in process, verdict; the session's time-out is 100
            (OFF, OpCode::Create, 1000, 1000, ADMIT),
            (max, OpCode::Create, 1000, 1, ADMIT),
            (max, OpCode::Create, 0, 2, Verdict::Stall),
            (max, OpCode::Ping, 0, 2, Verdict::Stall),
            (stale, OpCode::Create, 100, 1, ADMIT),
            (stale, OpCode::Create, 101, 1, Verdict::Drop),
            (stale, OpCode::Create, 101, 2, Verdict::Drop),
            (stale, OpCode::CloseSession, 101, 1, ADMIT),
            (stale, OpCode::CloseSession, 101, 2, Verdict::Stall),
            (kept, OpCode::Create, 101, 2, Verdict::Stall),
            (kept, OpCode::Create, 101, 1, STALE),
            (Requests { stale_latency_check: true, ..OFF }, OpCode::Create, 101, 9, STALE),
            (wait, OpCode::Create, 10, 9, ADMIT),
            (wait, OpCode::Create, 11, 9, LATE),
            (wait, OpCode::Ping, 11, 9, ADMIT),
            (wait, OpCode::CloseSession, 11, 9, ADMIT),
            (wait, OpCode::CreateSession, 11, 9, ADMIT),
            (both, OpCode::Create, 11, 2, Verdict::Stall),
            (both, OpCode::Create, 11, 1, LATE),
        ];
        for (row, (requests, op, waited, in_process, expected)) in table.into_iter().enumerate() {
            assert_eq!(verdict(&requests, op as i32, waited, 100, in_process), expected, "row {row}");
        }
    }

    #[test]
    fn large_requests_share_their_bytes_until_they_are_dropped() {
        let pool = Arc::new(AtomicUsize::new(0));
        let first = Share::take(&pool, 60, 100);
        assert!(first.is_some());
        assert!(Share::take(&pool, 41, 100).is_none());
        let second = Share::take(&pool, 40, 100);
        assert!(second.is_some());
        drop(first);
        assert_eq!(pool.load(Ordering::Relaxed), 40);
        drop(second);
        assert_eq!(pool.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn shards_learn_of_each_others_requests() {
        let load = ServerLoad::default();
        let requests = Requests { outstanding_max: 2, ..OFF };
        let (mut a, mut b) = (Intake::new(&requests, None, 2), Intake::new(&requests, None, 2));
        a.own.set(2);
        a.exchange(&load);
        b.own.set(1);
        assert!(!a.is_crowded() && !b.is_crowded());
        b.exchange(&load);
        assert_eq!((a.in_process(), b.in_process()), (2, 3));
        assert!(b.is_crowded());
        a.own.set(0);
        a.exchange(&load);
        b.exchange(&load);
        assert_eq!((a.in_process(), b.in_process()), (1, 1));
    }
    #[test]
    fn a_shard_far_from_the_limit_writes_nothing_that_others_read() {
        let load = ServerLoad::default();
        let (mut a, mut b) = (Intake::new(&OFF, None, 2), Intake::new(&OFF, None, 2));
        for own in [1, 0, 125, 0] {
            a.own.set(own);
            a.exchange(&load);
            assert_eq!(load.in_process.load(Ordering::Relaxed), 0, "{own}");
        }
        a.own.set(126);
        a.exchange(&load);
        b.exchange(&load);
        assert_eq!((a.in_process(), b.in_process()), (126, 126));
        // Idle again, it is forgotten but for what cannot fill the server.
        a.own.set(1);
        a.exchange(&load);
        b.exchange(&load);
        assert_eq!(b.in_process(), 126);
        a.own.set(0);
        a.exchange(&load);
        b.exchange(&load);
        assert_eq!((a.in_process(), b.in_process()), (0, 0));
    }

    #[test]
    fn members_share_the_limit_of_what_is_outstanding() {
        let shares = [(None, 1000), (Some(1), 1000), (Some(2), 1000), (Some(3), 500), (Some(5), 250)];
        for (voters, share) in shares {
            assert_eq!(outstanding_max(1000, voters), share, "{voters:?}");
        }
    }

    #[test]
    fn a_queue_gives_back_what_it_counted() {
        let held = || {
            let pass = Pass::default();
            let passing = crate::server::passing::Passing::Unknown;
            Pending::Held(Held {
                xid: 1,
                op: 4,
                body: Box::default(),
                received: Millis(0),
                pass,
                passing,
                identities: None,
            })
        };
        let intake = Intake::new(&OFF, None, 1);
        let (mut one, mut other) = (intake.queue(), intake.queue());
        one.push_back(held());
        one.push_back(held());
        other.push_front(held());
        assert_eq!(intake.in_process(), 3);
        // Its client does not read: it waits for nobody else.
        one.waits_for_reader(true);
        assert_eq!(intake.in_process(), 1);
        one.push_back(held());
        drop(one.pop_front());
        assert_eq!((intake.in_process(), one.len()), (1, 2));
        one.waits_for_reader(false);
        assert_eq!(intake.in_process(), 3);
        assert!(other.pop_front().is_some() && other.pop_front().is_none());
        one.clear();
        assert_eq!(intake.in_process(), 0);
        other.push_back(held());
        drop(other);
        assert_eq!(intake.in_process(), 0);
    }
}
