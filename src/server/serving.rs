#![forbid(unsafe_code)]
//! What a member's role is to its clients: closed and turned away while there is no leader (ensemble-protocol §2, §5; stock
//! `QuorumPeer.closeAllConnections`, `NIOServerCnxn.readLength`), and while another server leads, reported to it when they
//! are heard of (stock `LearnerSessionTracker`).
//!
//! Lives on: each shard. The sequencer says which role it is ([`Outcome::Serving`]). Whatever it had of this shard's
//! clients it answers besides, so that credits come back whether the connection is still there or not.
//!
//! Not here: what words say in which role (`gather.rs`).
//!
//! [`Outcome::Serving`]: crate::runtime::messages::Outcome::Serving

use super::connection::{Connection, Phase};
use super::shard::Shard;
use crate::base::{ConnectionId, Millis, Zxid};
use crate::runtime::messages::{Serving, Submission, Touched};

/// Sessions heard of since the last report, each once. Nothing is looked up to make or to end a report: a connection
/// knows the last one that it is in.
#[derive(Debug)]
pub(super) struct Touches {
    heard: Vec<Touched>,
    /// Number of the report in the making.
    report: u64,
    /// When the first of it was heard of.
    since: Millis,
}

impl Default for Touches {
    fn default() -> Self {
        // A connection that is in none says 0.
        Touches { heard: Vec::new(), report: 1, since: Millis::default() }
    }
}

impl Touches {
    /// The client of this connection was heard of.
    pub(super) fn heard(&mut self, connection: &mut Connection, now: Millis) {
        let Some(attachment) = connection.attachment() else { return };
        if std::mem::replace(&mut connection.touched_in, self.report) == self.report {
            return;
        }
        if self.heard.is_empty() {
            self.since = now;
        }
        self.heard.push(Touched { session: attachment.session, timeout_ms: attachment.timeout_ms });
    }

    /// The report, and the next one begins.
    fn take(&mut self) -> Vec<Touched> {
        self.report += 1;
        std::mem::take(&mut self.heard)
    }
}

impl Shard {
    /// The role changed.
    pub(super) fn serve(&mut self, serving: Serving, now: Millis) {
        if self.serving != serving {
            (self.serving, self.serving_since) = (serving, now);
        }
        if !serving.learns() {
            self.touches.take();
        }
        if !serving.is_serving() {
            self.dismiss_clients();
        }
    }

    /// Closes every connection with a session or in a handshake. What they asked is neither answered nor submitted any
    /// more, their watches go with them, and the sequencer is told of each session when its connection is gone.
    fn dismiss_clients(&mut self) {
        // All of those that wait have a session: given back at once, not by a search for each.
        for (id, holds) in std::mem::take(&mut self.waiting) {
            for hold in holds {
                self.watches.disarm(hold);
            }
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.waits_for = None;
            }
        }
        for connection in self.connections.values_mut() {
            if matches!(connection.phase, Phase::Open(_) | Phase::Attaching { .. }) {
                connection.finish();
                connection.abort = true;
                Self::touch_output(&mut self.dirty, connection);
            }
        }
    }

    /// Closes a connection that begins a handshake while nobody is served. As in stock the length of a frame is enough.
    pub(super) fn turn_away(&mut self, id: ConnectionId) {
        self.metrics.closed_while_not_serving();
        self.abort(id);
    }

    /// Tells the leader who was heard of, a quarter of a tick after the first of them at most: half of that is waited,
    /// and the driver's step is less than the rest unless a tick is shorter than 400 ms.
    pub(super) fn report_touches(&mut self, now: Millis) {
        let wait_ms = u64::from(self.settings.tick_ms) / 8;
        if !self.touches.heard.is_empty() && now.since(self.touches.since) >= wait_ms {
            let touched = self.touches.take();
            self.submit(Submission::Touched(touched));
        }
    }
}

/// The newest zxid that a client may have seen of a server in that role that has applied everything up to `applied`.
///
/// For a leader that is the beginning of its epoch at least: it has everything of earlier epochs, and serves once it has
/// applied that. A client may have seen the beginning of an epoch in which nothing was written, since stock's leaders
/// put it into replies (`Leader.startZkServer`); if no server took such a client back it would have nowhere to go.
pub(super) fn newest_of(serving: Serving, applied: Zxid) -> Zxid {
    match serving {
        Serving::Leading(epoch) => applied.max(Zxid::from_parts(epoch, 0)),
        _ => applied,
    }
}
