#![forbid(unsafe_code)]
//! Who is closed for being slow or for holding too much, apart from sessions: connections that never begin one, frames
//! that begin and do not end, output that is not taken, words (reliability M3–M5, M34, M42).
//!
//! Lives on: each shard. A connection costs nothing here until it owes something: it is filed then, and looked at when
//! its deadline comes; what it did meanwhile is told from its own fields.
//!
//! Not here: the time-out of a session (`shard.rs`, `expire`), and who is owed events (`outcomes.rs`).

use super::connection::{Connection, Phase};
use super::shard::Shard;
use crate::base::{ConnectionId, Millis, limits};

/// Width of a bucket of deadlines, ms.
pub(super) const DEADLINE_TICK_MS: u64 = 500;

impl Shard {
    /// A connection came. Past its share of those without a session the oldest of them makes room, not the newest:
    /// whoever is about to shake hands is among the new ones (DESIGN §8).
    pub(super) fn arrived(&mut self, id: ConnectionId, now: Millis) {
        let is_fresh =
            |connection: Option<&Connection>| connection.is_some_and(|c| c.phase == Phase::Fresh && !c.abort);
        while let Some(&oldest) = self.arrivals.front() {
            let waits = is_fresh(self.connections.get(&oldest));
            let share = limits::SESSIONLESS_CONNECTIONS_MAX.div_ceil(self.settings.shards);
            if waits && self.fresh.len() < share {
                break;
            }
            self.arrivals.pop_front();
            if waits {
                self.fresh.remove(oldest);
                self.metrics.sessionless_expired();
                self.abort(oldest);
            }
        }
        self.arrivals.push_back(id);
        self.fresh.touch(id, now, u64::from(self.settings.sessionless_timeout_ms));
    }

    /// The input ends within a frame.
    pub(super) fn frame_begun(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // Before the handshake the whole connection has a deadline.
        if connection.phase == Phase::Fresh || connection.partial_since.is_some() {
            return;
        }
        connection.partial_since = Some(now);
        let limit = frame_ms(connection);
        self.look_at(id, now.plus(limit));
    }

    /// The connection's input grew or shrank. Whoever takes it past the limit of all is closed.
    pub(super) fn count_input(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let occupied = connection.input.capacity();
        let grew = occupied > connection.input_counted;
        self.input_bytes = self.input_bytes - connection.input_counted + occupied;
        connection.input_counted = occupied;
        if grew && self.input_bytes > limits::INPUT_BYTES_MAX / self.settings.shards {
            tracing::warn!(
                peer = %connection.peer,
                bytes = self.input_bytes,
                "closing a connection: unfinished requests of all connections take too much memory"
            );
            self.metrics.connection_dropped();
            self.abort(id);
        }
    }

    /// The socket has taken what it could, and something may be left.
    pub(super) fn output_left(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.output.unsent().is_empty() {
            connection.stalled = None;
        } else if connection.stalled.is_none() {
            connection.stalled = Some((now, connection.output.sent_in_all()));
            self.look_at(id, now.plus(limits::OUTPUT_STALL_MS_MAX));
        }
    }

    /// Closes those whose deadline has come.
    pub(super) fn close_the_late(&mut self, now: Millis) {
        for id in self.fresh.poll(now) {
            if self.connections.get(&id).is_some_and(|connection| connection.phase == Phase::Fresh) {
                self.metrics.sessionless_expired();
                self.abort(id);
            }
        }
        for id in self.words.poll(now) {
            self.abort(id);
        }
        for id in self.deadlines.poll(now) {
            self.judge(id, now);
        }
    }

    /// Closes a connection whose frame or output has had its time, or looks again when the next of the two has.
    fn judge(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sent = connection.output.sent_in_all();
        if connection.output.unsent().is_empty() {
            connection.stalled = None;
        } else if let Some((_, before)) = connection.stalled
            && before != sent
        {
            // Slow, but it reads.
            connection.stalled = Some((now, sent));
        }
        // While we do not read, for want of room, the frame cannot come.
        if connection.partial_since.is_some() && !connection.wants_input() {
            connection.partial_since = Some(now);
        }
        let frame_due = connection.partial_since.map(|since| since.plus(frame_ms(connection)));
        let output_due = connection.stalled.map(|(since, _)| since.plus(limits::OUTPUT_STALL_MS_MAX));
        let Some(due) = frame_due.into_iter().chain(output_due).min() else { return };
        if due > now {
            return self.look_at(id, due);
        }
        tracing::debug!(
            peer = %connection.peer,
            late_with = if frame_due == Some(due) { "the rest of a frame" } else { "reading" },
            "closing a connection that is too slow"
        );
        self.metrics.connection_dropped();
        self.abort(id);
    }

    /// Looks at the connection at `due`, unless it does so earlier.
    fn look_at(&mut self, id: ConnectionId, due: Millis) {
        // Deadlines of the queue are rounded up, by a tick at most.
        if self.deadlines.deadline(id).is_none_or(|at| at > due.plus(DEADLINE_TICK_MS)) {
            self.deadlines.touch(id, due, 0);
        }
    }
}

/// How long a frame may take: a client that sends one byte now and then is no better than a silent one.
fn frame_ms(connection: &Connection) -> u64 {
    let timeout = connection.attachment().map_or(u64::MAX, |attachment| u64::from(attachment.timeout_ms));
    limits::FRAME_MS_MAX.min(timeout)
}
