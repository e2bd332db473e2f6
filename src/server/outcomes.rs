#![forbid(unsafe_code)]
//! What the sequencer sends back: replies, events, sessions that came and went.
//!
//! Lives on: each shard. Everything up to the zxid of the turn is queued on its connections here, before a read of
//! the turn is answered (DESIGN §2 rule 3); later entries wait for their turn.

use super::connection::{Done, Pending};
use super::passing::Turn;
use super::shard::Shard;
use crate::base::{ConnectionId, Generation, Millis, limits};
use crate::pipeline::acl;
use crate::runtime::messages::{Outcome, Ticket};
use crate::watches::ChangeEvent;
use crate::wire::reply::{self, EventType};
use crate::wire::{jute, perms};

impl Shard {
    /// Takes every outcome up to the turn's zxid.
    pub(super) fn take_outcomes(&mut self, turn: &Turn<'_>, now: Millis) {
        while self.outcomes.peek().is_some_and(|outcome| outcome.zxid() <= turn.view.at()) {
            let Some(outcome) = self.outcomes.pop() else { return };
            match outcome {
                Outcome::Reply { zxid, ticket, err, body } => {
                    self.decided(ticket, Done { zxid, err, body }, turn, now)
                }
                Outcome::Event(event) => self.event(&event),
                Outcome::Moved { ticket, .. } => {
                    self.credit(ticket);
                    self.abort(ticket.connection);
                }
                Outcome::Attached { connection, session, generation, timeout_ms, .. } => {
                    self.attached(connection, session, generation, timeout_ms, now);
                }
                Outcome::Refused { connection, .. } => self.refused(connection),
                Outcome::Close { connection, generation, .. } => self.close(connection, generation),
                Outcome::Serving { serving, .. } => self.serve(serving, now),
                Outcome::Gather { id, part, .. } => self.contribute(id, part, now),
                Outcome::Gathered { id, connection, .. } => self.answer_word(id, connection, now),
            }
        }
    }

    /// A write's fate. Its reply leaves at once if nothing stands before it, and the answers of reads that were passed
    /// behind it.
    fn decided(&mut self, ticket: Ticket, done: Done, turn: &Turn<'_>, now: Millis) {
        self.credit(ticket);
        let (id, zxid) = (ticket.connection, done.zxid);
        let Some(connection) = self.connections.get_mut(&id) else {
            self.metrics.stale_reply();
            return;
        };
        // Outcomes come in the order of submission, as a rule for the first that waits.
        let submitted = connection.pending.iter_mut().find_map(|pending| match pending {
            Pending::Submitted(submitted) if submitted.sequence == ticket.sequence => Some(submitted),
            _ => None,
        });
        let Some(submitted) = submitted else { return };
        submitted.done = Some(done);
        while let Some(connection) = self.connections.get(&id) {
            if matches!(connection.pending.front(), Some(Pending::Submitted(head)) if head.done.is_some()) {
                self.reply_submitted(id, now);
            } else if connection.has_passed_head() {
                // Other sessions made the answers much longer than they were when these reads were passed.
                if connection.output.unsent().len() > limits::OUTPUT_EVENTS_HARD_BYTES {
                    tracing::warn!(peer = %connection.peer, "closing a connection whose answers grew while they waited");
                    return self.abort(id);
                }
                match turn.view.earlier(turn.anchor, zxid) {
                    Some(view) => self.answer_passed(id, &view, now),
                    // A leader's state took the place of ours: the client comes back and finds it.
                    None => return self.abort(id),
                }
            } else {
                break;
            }
        }
        if let Some(connection) = self.connections.get(&id)
            && (connection.choked || matches!(connection.pending.front(), Some(Pending::Held(_))))
        {
            self.may_move(id);
        }
    }

    /// A change: one event for each connection that waits for it and may read the znode (client-protocol §6.3).
    fn event(&mut self, event: &ChangeEvent) {
        let mut reached: Vec<(ConnectionId, EventType)> = Vec::new();
        self.watches.fire(event, &mut |connection, kind| reached.push((connection, kind)));
        let mut frames: [Option<Vec<u8>>; 4] = [None, None, None, None];
        let mut fired = [0usize; 4];
        for (id, kind) in reached {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if !acl::check_or_open(
                event.acl_of(kind),
                perms::READ,
                &connection.identities,
                &self.settings.policy,
            ) {
                continue;
            }
            // The event is written once, however many wait for it.
            let slot = kind as usize - 1;
            let frame = frames[slot].get_or_insert_with(|| {
                let mut frame = Vec::new();
                reply::notification(&mut frame, event.zxid.0, kind, &jute::echo_bytes(event.path_of(kind)));
                frame
            });
            fired[slot] += 1;
            // Of what was counted as unread, no more can be unread than is unsent.
            connection.event_bytes =
                connection.event_bytes.min(connection.output.unsent().len()) + frame.len();
            connection.output.buffer().extend_from_slice(frame);
            connection.stats.packet_sent();
            self.metrics.event_sent(frame.len());
            if connection.event_bytes > limits::OUTPUT_EVENTS_HARD_BYTES && !connection.abort {
                tracing::warn!(
                    peer = %connection.peer,
                    unread_bytes = connection.event_bytes,
                    "closing a connection that does not read its watch events"
                );
                connection.abort = true;
            }
            self.mark(id);
        }
        const KINDS: [EventType; 4] = [
            EventType::NodeCreated,
            EventType::NodeDeleted,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
        ];
        for (kind, watchers) in KINDS.into_iter().zip(fired) {
            if watchers > 0 {
                self.metrics.watches_fired(kind, watchers);
            }
        }
    }

    /// The session went to another connection or ended. A connection whose own closeSession was answered closes by
    /// itself.
    fn close(&mut self, id: ConnectionId, generation: Generation) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let older = connection.attachment().is_none_or(|attachment| attachment.generation < generation);
        if older && !connection.close {
            self.abort(id);
        }
    }
}
