#![forbid(unsafe_code)]
//! What is decided becomes state, a round at a time (DESIGN §2 rule 2): begun, records, replies and events, applied,
//! bells, retire. Nobody else writes the tree.
//!
//! Lives on: the sequencer. A txn is applied when a quorum has decided it and this server's own disk has it: what was
//! answered here is never missing here after a crash.

use std::sync::Arc;

use super::{Entry, Origin, Sequencer, World};
use crate::base::limits::LOG_TEXT_BYTES_MAX;
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, ShardId, Zxid};
use crate::pipeline::{Pipeline, ReplyBody, SessionChange};
use crate::runtime::fatal::{Fatal, fatal};
use crate::runtime::messages::Outcome;
use crate::watches::ChangeEvent;
use crate::wire::ErrorCode;

/// Txns applied in one round: bounds the time between two looks at the ring and the shards.
const ROUND_MAX: usize = 1024;

impl<W: World> Sequencer<W> {
    /// Applies what may be, one round of it. Whether there is more.
    pub(super) fn apply_committed(&mut self, now: Millis) -> bool {
        self.images_due();
        let round_end = self.round_end();
        if let Some(last) = round_end {
            self.pipeline.begin(last);
        }
        let mut applied = 0;
        loop {
            match self.entries.front() {
                Some(Entry::Txn { zxid, .. }) if Some(*zxid) <= round_end => {}
                Some(Entry::Barrier(..) | Entry::Ephemerals { .. }) => {}
                _ => break,
            }
            match self.entries.pop_front() {
                Some(Entry::Txn { zxid, payload, origin, submitted }) => {
                    self.apply_one(zxid, &payload, origin, now);
                    self.metrics.applied(now.since(submitted) * 1000);
                    applied += 1;
                }
                Some(entry) => self.answer_entry(entry),
                None => break,
            }
        }
        if round_end.is_some() {
            assert!(round_end == Some(self.pipeline.applied()), "a round ends where it said");
            self.pipeline.publish();
        }
        self.ring_doorbells();
        if applied > 0 {
            self.images_due();
            self.snapshot_if_due();
            self.say_misread();
        }
        let end = self.applicable();
        matches!(self.entries.front(), Some(Entry::Txn { zxid, .. }) if *zxid <= end)
    }

    /// Once: that the servers differ in a setting in which they must not.
    fn say_misread(&mut self) {
        if self.misread_said {
            return;
        }
        let Some(path) = self.pipeline.take_misread() else { return };
        self.misread_said = true;
        let shown = &path[..path.len().min(LOG_TEXT_BYTES_MAX)];
        tracing::warn!(
            path = %String::from_utf8_lossy(shown),
            "a znode that another server made with a time to live is an ephemeral here: extendedTypesEnabled must be the same on all servers"
        );
    }

    /// Answers what waited for the txns before it.
    pub(super) fn answer_entry(&mut self, entry: Entry) {
        match entry {
            Entry::Barrier(shard, outcome) => {
                let applied = self.pipeline.applied();
                self.push(shard, outcome.at(applied));
            }
            Entry::Ephemerals { shard, ticket, session, prefix } => {
                let mut body = ReplyBody::new();
                self.pipeline.ephemerals_below(session, &prefix, &mut body);
                let zxid = self.pipeline.applied();
                self.push(shard, Outcome::Reply { zxid, ticket, err: 0, body });
            }
            Entry::Txn { zxid, .. } => unreachable!("txn {zxid} is applied, not answered"),
        }
    }

    /// How far may be applied: what is decided and durable here. An image that is due is exact at its zxid: no round goes
    /// past it.
    fn applicable(&self) -> Zxid {
        let committed = if planted(Bug::AppliesUncommitted) { self.flushed } else { self.committed };
        committed.min(self.flushed).min(self.image_bound())
    }

    /// The last txn of the coming round.
    fn round_end(&self) -> Option<Zxid> {
        let end = self.applicable();
        let txns = self.entries.iter().filter_map(|entry| match entry {
            Entry::Txn { zxid, .. } => Some(*zxid),
            Entry::Barrier(..) | Entry::Ephemerals { .. } => None,
        });
        txns.take_while(|zxid| *zxid <= end).take(ROUND_MAX).last()
    }

    fn apply_one(&mut self, zxid: Zxid, payload: &[u8], origin: Option<Origin>, now: Millis) {
        let decoded = match Pipeline::decode(payload) {
            Ok(decoded) => decoded,
            Err(error) => fatal(
                Fatal::Invariant,
                &format!(
                    "committed txn {zxid} does not decode: {error}; a newer server's, or damaged on its way"
                ),
            ),
        };
        let applied = match self.pipeline.apply(&decoded, now) {
            Ok(applied) => applied,
            Err(error) => fatal(Fatal::Invariant, &format!("{error}; stopping rather than guessing")),
        };
        self.snapshots.applied(payload.len());
        let origin = origin.or_else(|| self.claim(&applied));
        for event in applied.events {
            self.push_event(event);
        }
        match origin {
            // The session has gone to another server: this one's connection ends (`FinalRequestProcessor`).
            Some(Origin::Request(shard, ticket) | Origin::Ephemeral(shard, ticket))
                if applied.err == ErrorCode::SessionMoved.code() =>
            {
                self.push(shard, Outcome::Moved { zxid, ticket });
            }
            Some(Origin::Request(shard, ticket)) => {
                self.push(shard, Outcome::Reply { zxid, ticket, err: applied.err, body: applied.body });
            }
            // What the leader refuses for want of a session of all servers is refused for its being local (stock
            // `FinalRequestProcessor.processRequest`); a multi says itself what failed.
            Some(Origin::Ephemeral(shard, ticket)) => {
                let err = match applied.err {
                    0 => 0,
                    _ => ErrorCode::EphemeralOnLocalSession.code(),
                };
                self.push(shard, Outcome::Reply { zxid, ticket, err, body: applied.body });
            }
            Some(Origin::NewSession(to, timeout_ms)) => {
                let (session, sessions) = (applied.session, self.pipeline.sessions());
                match sessions.attach(session, to, u64::from(timeout_ms), now) {
                    Ok(attached) => {
                        let (connection, generation) = (to.connection, attached.generation);
                        self.held_here(session);
                        self.push(
                            to.shard,
                            Outcome::Attached { zxid, connection, session, generation, timeout_ms },
                        );
                    }
                    // Whoever guessed its id came through another server, and its end is prepared already.
                    Err(_) => self.hang_up(to.shard, to.connection),
                }
            }
            None => {}
        }
        match applied.session_change {
            Some(SessionChange::Closed(session)) => {
                if let Some(held) = applied.attachment {
                    self.hang_up(held.shard, held.connection);
                }
                self.session_gone(session);
            }
            Some(SessionChange::Opened(session, _)) => self.session_came(session, now),
            None => {}
        }
    }

    /// To every shard with a watch that may match.
    fn push_event(&mut self, event: ChangeEvent) {
        let mut shards = self.interest.interested(&event.path, event.kind);
        if shards == 0 {
            return;
        }
        let event = Arc::new(event);
        while shards != 0 {
            let at = shards.trailing_zeros();
            shards &= shards - 1;
            self.push(ShardId(at as u8), Outcome::Event(event.clone()));
        }
    }

    pub(super) fn push(&mut self, shard: ShardId, outcome: Outcome) {
        self.shards[usize::from(shard.0)].outcomes.push(outcome);
        self.rung |= 1 << shard.0;
    }

    pub(super) fn ring_doorbells(&mut self) {
        let mut shards = std::mem::take(&mut self.rung);
        while shards != 0 {
            let shard = &self.shards[shards.trailing_zeros() as usize];
            shards &= shards - 1;
            if shard.parked.must_wake() {
                shard.doorbell.ring();
            }
        }
    }
}
