#![forbid(unsafe_code)]
//! Replies into a connection's output, and their counts.
//!
//! Lives on: each shard. Not here: when a reply may leave (`shard.rs`), what is in it (`reads.rs`, pipeline).

use super::connection::{Connection, Done, Held, Pending, Submitted};
use super::reads::{self, Refused};
use super::shard::Shard;
use crate::base::{ConnectionId, Millis, Zxid, limits};
use crate::runtime::metrics::ShardMetrics;
use crate::wire::reply::{self, XID_PING};
use crate::wire::{DecodeError, ErrorCode, OpCode};

/// Header of a reply, and what it is counted as.
pub(super) struct Answer {
    pub xid: i32,
    pub zxid: Zxid,
    pub op: OpCode,
    pub received: Millis,
    pub err: i32,
}

impl Shard {
    /// Writes the reply of the decided write at the head of the queue.
    pub(super) fn reply_submitted(&mut self, id: ConnectionId, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(Pending::Submitted(submitted)) = connection.pending.pop_front() else { return };
        connection.awaiting -= 1;
        connection.own_answered(submitted.op, submitted.bytes);
        let Submitted { xid, op, received, echo, done: Some(done), .. } = submitted else { return };
        let Done { zxid, err, body } = done;
        let out = connection.output.buffer();
        let before = out.len();
        let end = reply::begin(out, xid, zxid.0, err);
        if err == 0 {
            out.extend_from_slice(&body);
            if let Some(path) = echo {
                reads::echo(&path, out);
            }
        }
        end.finish(out);
        let bytes = out.len() - before;
        count(connection, &mut self.metrics, &Answer { xid, zxid, op, received, err }, bytes, now);
        if op == OpCode::CloseSession {
            connection.finish();
        }
        Self::touch_output(&mut self.dirty, connection);
    }

    /// Writes the reply of a request that was answered here.
    pub(super) fn replied(
        &mut self,
        id: ConnectionId,
        held: &Held,
        at: Zxid,
        result: Result<(), Refused>,
        out: &[u8],
        now: Millis,
    ) {
        let Some(op) = OpCode::from_i32(held.op) else { return };
        let xid = if op == OpCode::Ping { XID_PING } else { held.xid };
        match result {
            Ok(()) => self.reply(id, Answer { xid, zxid: at, op, received: held.received, err: 0 }, out, now),
            Err(Refused::Halfway) => {
                let err = ErrorCode::MarshallingError.code();
                self.reply(id, Answer { xid, zxid: at, op, received: held.received, err }, out, now);
            }
            Err(Refused::Code(code)) => {
                self.reply_error_as(id, xid, held.op, at.0, code);
            }
            Err(Refused::TooManyWatches) => {
                tracing::warn!("closing a connection with more than {} watches", limits::SESSION_WATCHES_MAX);
                self.abort(id);
            }
            // The connection is gone, and its job with it.
            Err(Refused::Later) => {}
        }
    }

    fn reply(&mut self, id: ConnectionId, answer: Answer, body: &[u8], now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let out = connection.output.buffer();
        let end = reply::begin(out, answer.xid, answer.zxid.0, answer.err);
        out.extend_from_slice(body);
        end.finish(out);
        count(connection, &mut self.metrics, &answer, body.len() + 20, now);
        Self::touch_output(&mut self.dirty, connection);
    }

    /// As [`Shard::reply`], for a frame that is too long to be copied in one go.
    pub(super) fn reply_framed(&mut self, id: ConnectionId, answer: Answer, frame: Vec<u8>, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let bytes = frame.len();
        let out = connection.output.buffer();
        if out.is_empty() {
            *out = frame;
        } else {
            out.extend_from_slice(&frame);
        }
        count(connection, &mut self.metrics, &answer, bytes, now);
        Self::touch_output(&mut self.dirty, connection);
    }

    pub(super) fn reply_error(&mut self, id: ConnectionId, held: &Held, zxid: i64, code: ErrorCode) {
        self.reply_error_as(id, held.xid, held.op, zxid, code);
    }

    fn reply_error_as(&mut self, id: ConnectionId, xid: i32, op: i32, zxid: i64, code: ErrorCode) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        reply::header_only(connection.output.buffer(), xid, zxid, Some(code));
        connection.stats.packet_sent();
        self.metrics.reply_sent(20);
        if let Some(op) = OpCode::from_i32(op) {
            self.metrics.request_done(op, 0);
        }
        Self::touch_output(&mut self.dirty, connection);
    }

    pub(super) fn note_undecodable(&self, id: ConnectionId, op: OpCode, error: DecodeError) {
        if let Some(connection) = self.connections.get(&id) {
            tracing::debug!(peer = %connection.peer, ?op, %error, "request body does not decode");
        }
    }
}

/// A reply of so many bytes is in the output.
fn count(
    connection: &mut Connection,
    metrics: &mut ShardMetrics,
    answer: &Answer,
    bytes: usize,
    now: Millis,
) {
    let us = now.since(answer.received) * 1000;
    connection.stats.packet_sent();
    connection.stats.answered(answer.op, answer.xid, answer.zxid, now, us);
    metrics.reply_sent(bytes);
    metrics.request_done(answer.op, us);
}
