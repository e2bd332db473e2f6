#![forbid(unsafe_code)]
//! What a shard counts: its connections, their requests, the events it sends. Lives on: each shard.

use super::{Distribution, Namespaces, Sizes, Summary, Timing};
use crate::wire::reply::EventType;
use crate::wire::{OpCode, STAT_BYTES};

/// Counts of one shard, or of all once merged. Public for reading; events come in by the verbs.
#[derive(Clone, Debug, Default)]
pub struct ShardMetrics {
    /// Frames and words that came in.
    pub packets_received: u64,
    /// Replies and events that went out.
    pub packets_sent: u64,
    /// Bytes that came in.
    pub bytes_received: u64,
    /// Bytes of replies.
    pub response_bytes: u64,
    /// Bytes of events.
    pub watch_bytes: u64,
    /// Sizes of replies.
    pub response_sizes: Sizes,
    /// Latency of all requests.
    pub latency: Timing,
    /// Latency of reads.
    pub read_latency: Distribution,
    /// Latency of writes.
    pub update_latency: Distribution,
    /// Handshakes that asked for a session.
    pub connect_requests: u64,
    /// Handshakes that came back for a session.
    pub revalidations: u64,
    /// Connections refused at accept or for want of tokens.
    pub connections_rejected: u64,
    /// Tokens that the bucket of connect requests lacked after each that it admitted.
    pub token_deficits: Summary,
    /// Connections closed by us for cause.
    pub connections_dropped: u64,
    /// Connections that never sent a handshake.
    pub sessionless_expired: u64,
    /// Connections closed because the server was not serving.
    pub closed_while_not_serving: u64,
    /// Time to close a socket.
    pub socket_closing: Timing,
    /// Frames refused for their length.
    pub large_requests_rejected: u64,
    /// Requests that waited for admission.
    pub throttle_waits: u64,
    /// Requests refused for having waited too long.
    pub throttled: u64,
    /// Requests found stale at admission.
    pub stale_requests: u64,
    /// Stale requests that were dropped.
    pub stale_requests_dropped: u64,
    /// Replies for connections that were gone.
    pub stale_replies: u64,
    /// Identities refused.
    pub auth_failed: u64,
    /// Watches fired by a creation, one sample an event.
    pub created_watches: Summary,
    /// Watches fired by a deletion.
    pub deleted_watches: Summary,
    /// Watches fired by new data.
    pub changed_watches: Summary,
    /// Watches fired by a child.
    pub children_watches: Summary,
    /// How long the core's loop stood still, past the threshold.
    pub stalls: Distribution,
    /// Bytes read, by namespace.
    pub reads: Namespaces,
    /// Requests by operation, in the order of [`OpCode::ALL`].
    operations: [u64; OpCode::ALL.len()],
}

impl ShardMetrics {
    /// A frame or a word of so many bytes came in.
    pub fn packet_received(&mut self, bytes: usize) {
        self.packets_received += 1;
        self.bytes_received += bytes as u64;
    }

    /// A reply of so many bytes went out.
    pub fn reply_sent(&mut self, bytes: usize) {
        self.packets_sent += 1;
        self.response_bytes += bytes as u64;
        self.response_sizes.record(bytes as u64);
    }

    /// A watch event of so many bytes went out.
    pub fn event_sent(&mut self, bytes: usize) {
        self.packets_sent += 1;
        self.watch_bytes += bytes as u64;
    }

    /// A request was answered, `us` after it came in.
    pub fn request_done(&mut self, op: OpCode, us: u64) {
        self.latency.record_us(us);
        let latency = if op.is_write() { &mut self.update_latency } else { &mut self.read_latency };
        latency.record_us(us);
        if let Some(at) = OpCode::ALL.iter().position(|&other| other == op) {
            self.operations[at] += 1;
        }
    }

    /// How many requests of this kind were answered.
    pub fn operations(&self, op: OpCode) -> u64 {
        OpCode::ALL
            .iter()
            .zip(&self.operations)
            .filter(|(other, _)| **other == op)
            .map(|(_, count)| count)
            .sum()
    }

    /// `path` was read, with so many bytes of data or names (stock `DataTree.updateReadStat`).
    pub fn read(&mut self, path: &[u8], bytes: usize) {
        self.reads.record(path, (path.len() + bytes + STAT_BYTES) as u64);
    }

    /// A handshake came; `renewal` when it named a session.
    pub fn connect_request(&mut self, renewal: bool) {
        self.connect_requests += 1;
        self.revalidations += u64::from(renewal);
    }

    /// A connection was refused at accept or for want of tokens.
    pub fn connection_rejected(&mut self) {
        self.connections_rejected += 1;
    }

    /// A connect request was admitted, and left the bucket so many tokens short.
    pub fn token_deficit(&mut self, tokens: u64) {
        self.token_deficits.record(tokens);
    }

    /// A connection was closed by us for cause.
    pub fn connection_dropped(&mut self) {
        self.connections_dropped += 1;
    }

    /// A connection was closed for want of a handshake.
    pub fn sessionless_expired(&mut self) {
        self.sessionless_expired += 1;
    }

    /// A connection was closed because the server was not serving.
    pub fn closed_while_not_serving(&mut self) {
        self.closed_while_not_serving += 1;
    }

    /// Closing a socket took `us`.
    pub fn socket_closed(&mut self, us: u64) {
        self.socket_closing.record_us(us);
    }

    /// A frame was refused for its length.
    pub fn large_request_rejected(&mut self) {
        self.large_requests_rejected += 1;
    }

    /// A request had to wait for admission.
    pub fn throttle_wait(&mut self) {
        self.throttle_waits += 1;
    }

    /// A request was refused for having waited too long.
    pub fn throttled(&mut self) {
        self.throttled += 1;
    }

    /// A request was stale when its turn came.
    pub fn stale_request(&mut self, dropped: bool) {
        self.stale_requests += 1;
        self.stale_requests_dropped += u64::from(dropped);
    }

    /// A reply found its connection gone.
    pub fn stale_reply(&mut self) {
        self.stale_replies += 1;
    }

    /// An identity was refused.
    pub fn auth_failed(&mut self) {
        self.auth_failed += 1;
    }

    /// An event fired `watchers` watches of this shard.
    pub fn watches_fired(&mut self, event: EventType, watchers: usize) {
        let summary = match event {
            EventType::NodeCreated => &mut self.created_watches,
            EventType::NodeDeleted => &mut self.deleted_watches,
            EventType::NodeDataChanged => &mut self.changed_watches,
            EventType::NodeChildrenChanged => &mut self.children_watches,
        };
        summary.record(watchers as u64);
    }

    /// The loop of this core stood still for `us`.
    pub fn stalled(&mut self, us: u64) {
        self.stalls.record_us(us);
    }

    /// `srst`.
    pub fn reset(&mut self) {
        *self = ShardMetrics::default();
    }

    /// Adds another shard's counts.
    pub fn merge(&mut self, other: &ShardMetrics) {
        // Taken apart in full, so that a field forgotten here does not compile.
        let ShardMetrics {
            packets_received,
            packets_sent,
            bytes_received,
            response_bytes,
            watch_bytes,
            response_sizes,
            latency,
            read_latency,
            update_latency,
            connect_requests,
            revalidations,
            connections_rejected,
            token_deficits,
            connections_dropped,
            sessionless_expired,
            closed_while_not_serving,
            socket_closing,
            large_requests_rejected,
            throttle_waits,
            throttled,
            stale_requests,
            stale_requests_dropped,
            stale_replies,
            auth_failed,
            created_watches,
            deleted_watches,
            changed_watches,
            children_watches,
            stalls,
            reads,
            operations,
        } = other;
        self.packets_received += packets_received;
        self.packets_sent += packets_sent;
        self.bytes_received += bytes_received;
        self.response_bytes += response_bytes;
        self.watch_bytes += watch_bytes;
        self.response_sizes.merge(response_sizes);
        self.latency.merge(latency);
        self.read_latency.merge(read_latency);
        self.update_latency.merge(update_latency);
        self.connect_requests += connect_requests;
        self.revalidations += revalidations;
        self.connections_rejected += connections_rejected;
        self.token_deficits.merge(token_deficits);
        self.connections_dropped += connections_dropped;
        self.sessionless_expired += sessionless_expired;
        self.closed_while_not_serving += closed_while_not_serving;
        self.socket_closing.merge(socket_closing);
        self.large_requests_rejected += large_requests_rejected;
        self.throttle_waits += throttle_waits;
        self.throttled += throttled;
        self.stale_requests += stale_requests;
        self.stale_requests_dropped += stale_requests_dropped;
        self.stale_replies += stale_replies;
        self.auth_failed += auth_failed;
        self.created_watches.merge(created_watches);
        self.deleted_watches.merge(deleted_watches);
        self.changed_watches.merge(changed_watches);
        self.children_watches.merge(children_watches);
        self.stalls.merge(stalls);
        self.reads.merge(reads);
        for (ours, theirs) in self.operations.iter_mut().zip(operations) {
            *ours += theirs;
        }
    }
}
