#![forbid(unsafe_code)]
//! What the sequencer counts: a write's way from the ring to the tree. Lives on: the sequencer.

use super::{BroadcastMetrics, Distribution, LinkQueues, MemberMetrics, Namespaces, Summary, Timing};
use crate::wire::OpCode;
use crate::wire::txn::Lifetime;

/// Counts of the sequencer. Public for reading; events come in by the verbs.
#[derive(Clone, Debug, Default)]
pub struct SequencerMetrics {
    /// Requests that came from the shards, and our own.
    pub requests_queued: u64,
    /// Requests waiting when another came.
    pub prep_queue: Summary,
    /// From the shard to prep.
    pub prep_wait: Distribution,
    /// Prep itself.
    pub prep: Timing,
    /// Prep of a closing session.
    pub close_session_prep: Distribution,
    /// Outstanding changes made by prep.
    pub changes_queued: u64,
    /// Outstanding changes that became state, or were undone.
    pub changes_removed: u64,
    /// Txns handed to the log.
    pub txns_logged: u64,
    /// Txns waiting for the log when a batch was cut.
    pub log_queue: Summary,
    /// Txns of a batch.
    pub batch: Summary,
    /// From prep to the cut of its batch, for each txn.
    pub log_wait: Distribution,
    /// From prep to durable, for each txn.
    pub log_wait_and_flush: Distribution,
    /// A batch's write until it is durable.
    pub flush: Distribution,
    /// Bytes made durable.
    pub log_bytes: u64,
    /// Flushes that took longer than `fsync.warningthresholdms`.
    pub slow_flushes: u64,
    /// From prep to visible in the tree.
    pub propagation: Distribution,
    /// Bytes written, by namespace.
    pub writes: Namespaces,
    /// Requests refused by a quota, by namespace.
    pub quota_exceeded: Namespaces,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// TTL nodes created.
    pub ttl_created: u64,
    /// TTL nodes that ran out.
    pub ttl_deleted: u64,
    /// Of a member of an ensemble.
    pub member: MemberMetrics,
    /// A txn's way through the ensemble.
    pub broadcast: BroadcastMetrics,
    /// Packets that wait for learners; the links count them, and they are here where metrics are handed out.
    pub links: LinkQueues,
}

impl SequencerMetrics {
    /// A request arrived, with `waiting` before it.
    pub fn request_queued(&mut self, waiting: usize) {
        self.requests_queued += 1;
        self.prep_queue.record(waiting as u64);
    }

    /// Prep decided a request: `waited_us` in the queue, `took_us` at work.
    pub fn prepared(&mut self, op: OpCode, waited_us: u64, took_us: u64) {
        self.prep_wait.record_us(waited_us);
        self.prep.record_us(took_us);
        if op == OpCode::CloseSession {
            self.close_session_prep.record_us(took_us);
        }
    }

    /// Prep noted so many outstanding changes.
    pub fn changes_queued(&mut self, changes: usize) {
        self.changes_queued += changes as u64;
    }

    /// So many outstanding changes were applied or undone.
    pub fn changes_removed(&mut self, changes: usize) {
        self.changes_removed += changes as u64;
    }

    /// A batch of `txns` was cut, with `waiting` left behind it.
    pub fn batch_cut(&mut self, txns: usize, waiting: usize) {
        self.txns_logged += txns as u64;
        self.batch.record(txns as u64);
        self.log_queue.record(waiting as u64);
    }

    /// A txn became durable: `waited_us` before its batch was cut, `flushed_us` from prep until durable.
    pub fn txn_durable(&mut self, waited_us: u64, flushed_us: u64) {
        self.log_wait.record_us(waited_us);
        self.log_wait_and_flush.record_us(flushed_us);
    }

    /// A batch's write returned after `took_us`; `slow` past the warning threshold.
    pub fn flushed(&mut self, bytes: usize, took_us: u64, slow: bool) {
        self.log_bytes += bytes as u64;
        self.flush.record_us(took_us);
        self.slow_flushes += u64::from(slow);
    }

    /// A txn is visible, `us` after prep gave it its time.
    pub fn applied(&mut self, us: u64) {
        self.propagation.record_us(us);
    }

    /// `path` was written with so many bytes of data.
    pub fn wrote(&mut self, path: &[u8], bytes: usize) {
        self.writes.record(path, (path.len() + bytes) as u64);
    }

    /// A node was created.
    pub fn created(&mut self, lifetime: Lifetime) {
        self.ttl_created += u64::from(matches!(lifetime, Lifetime::Ttl(_)));
    }

    /// A TTL node ran out.
    pub fn ttl_deleted(&mut self) {
        self.ttl_deleted += 1;
    }

    /// A quota refused a write below `path`.
    pub fn quota_exceeded(&mut self, path: &[u8]) {
        self.quota_exceeded.record(path, 1);
    }

    /// A session expired.
    pub fn session_expired(&mut self) {
        self.sessions_expired += 1;
    }

    /// `srst`.
    pub fn reset(&mut self) {
        *self = SequencerMetrics::default();
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &SequencerMetrics) {
        // Taken apart in full, so that a field forgotten here does not compile.
        let SequencerMetrics {
            requests_queued,
            prep_queue,
            prep_wait,
            prep,
            close_session_prep,
            changes_queued,
            changes_removed,
            txns_logged,
            log_queue,
            batch,
            log_wait,
            log_wait_and_flush,
            flush,
            log_bytes,
            slow_flushes,
            propagation,
            writes,
            quota_exceeded,
            sessions_expired,
            ttl_created,
            ttl_deleted,
            member,
            broadcast,
            links,
        } = other;
        self.requests_queued += requests_queued;
        self.prep_queue.merge(prep_queue);
        self.prep_wait.merge(prep_wait);
        self.prep.merge(prep);
        self.close_session_prep.merge(close_session_prep);
        self.changes_queued += changes_queued;
        self.changes_removed += changes_removed;
        self.txns_logged += txns_logged;
        self.log_queue.merge(log_queue);
        self.batch.merge(batch);
        self.log_wait.merge(log_wait);
        self.log_wait_and_flush.merge(log_wait_and_flush);
        self.flush.merge(flush);
        self.log_bytes += log_bytes;
        self.slow_flushes += slow_flushes;
        self.propagation.merge(propagation);
        self.writes.merge(writes);
        self.quota_exceeded.merge(quota_exceeded);
        self.sessions_expired += sessions_expired;
        self.ttl_created += ttl_created;
        self.ttl_deleted += ttl_deleted;
        self.member.merge(member);
        self.broadcast.merge(broadcast);
        self.links.merge(links);
    }
}
