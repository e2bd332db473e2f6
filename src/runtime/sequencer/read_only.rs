#![forbid(unsafe_code)]
//! A member that has looked for a leader for a while, and is asked to, lets clients read what it has (stock
//! `QuorumPeer.run`, `ReadOnlyZooKeeperServer`, `ReadOnlyRequestProcessor`; client-protocol §2.5, ensemble-protocol §11.1).
//!
//! ```text
//!   a round begins ──► looking ── max(2 s, tickTime) ──► read-only ── the round ends ──► every client is closed
//! ```
//!
//! Lives on: the sequencer. Nothing is proposed, logged or applied here: what is logged and not decided stays so, and the
//! tree stands still. Whatever is asked is answered at once, since what is not decided may stay so for ever.

use super::{Sequencer, World};
use crate::base::{Millis, SessionId, ShardId};
use crate::pipeline::ReplyBody;
use crate::runtime::messages::{AttachRequest, Outcome, Serving, Ticket, WriteRequest};
use crate::wire::{ErrorCode, OpCode};
use crate::zab::event::Observation;

/// A server does not call itself cut off before it has looked so long, ms (stock `QuorumPeer.run`).
const PATIENCE_MS_MIN: u64 = 2000;

/// When a member turns read-only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Patience {
    /// `None`: never.
    wait_ms: Option<u64>,
    /// Since when it has looked, while it looks.
    since: Option<Millis>,
}

impl Patience {
    pub(super) fn new(enabled: bool, tick_ms: u64) -> Patience {
        Patience { wait_ms: enabled.then_some(tick_ms.max(PATIENCE_MS_MIN)), since: None }
    }

    /// When its patience ends.
    pub(super) fn due(&self) -> Option<Millis> {
        Some(self.since?.plus(self.wait_ms?))
    }

    fn observe(&mut self, observation: &Observation, now: Millis) {
        match observation {
            Observation::ElectionStarted { .. } => {
                self.since.get_or_insert(now);
            }
            Observation::Elected { .. } => self.since = None,
            _ => {}
        }
    }
}

impl<W: World> Sequencer<W> {
    /// A round of election began or ended, perhaps.
    pub(super) fn look(&mut self, observation: &Observation, now: Millis) {
        let Some(member) = &mut self.member else { return };
        member.patience.observe(observation, now);
        if member.patience.due().is_none() {
            self.end_read_only();
        }
    }

    /// When there is reason to turn read-only. A state that is being installed, though its leader is lost, takes the place
    /// of this one first.
    pub(super) fn read_only_due(&self) -> Option<Millis> {
        let member = self.member.as_ref().filter(|_| self.serving == Serving::No)?;
        member.patience.due().filter(|_| member.installing.is_none())
    }

    /// Serves reads from now on, if it is time to.
    pub(super) fn read_only_if_due(&mut self, now: Millis) {
        if self.read_only_due().is_none_or(|due| now < due) {
            return;
        }
        tracing::warn!(zxid = %self.pipeline.applied(), "no leader was found: serving clients that only read");
        self.write_config_node();
        self.serving = Serving::ReadOnly;
        self.tell_serving();
    }

    /// There is a leader again, or there is to be one: clients come back to a server that takes writes.
    pub(super) fn end_read_only(&mut self) {
        if self.serving == Serving::ReadOnly {
            tracing::info!("read-only no more");
            self.serving = Serving::No;
            self.pipeline.sessions().end_locals();
            self.tell_serving();
        }
    }

    /// A write or a sync; the end of a local session is none.
    pub(super) fn refuse_write(&mut self, shard: ShardId, ticket: Ticket) {
        let (zxid, err) = (self.pipeline.applied(), ErrorCode::NotReadOnly.code());
        self.push(shard, Outcome::Reply { zxid, ticket, err, body: ReplyBody::new() });
        self.ring_doorbells();
    }

    /// A write reached a server that takes none.
    pub(super) fn write_to_read_only(&mut self, shard: ShardId, write: &WriteRequest) {
        let ends_local = write.op == OpCode::CloseSession
            && self.local_sessions.is_some()
            && self.pipeline.sessions_ref().is_local(write.session);
        if ends_local {
            return self.close_local(shard, write);
        }
        self.refuse_write(shard, write.ticket);
    }

    /// A client that only reads comes.
    ///
    /// A new session is local or none: stock, where it cannot be, sends a reply in the place of a ConnectResponse
    /// (client-protocol §A); here the connection is closed. One that is global is not for this server to continue. Any
    /// other with its password is taken where sessions are never local, since stock's learners take every touch; where they
    /// may be it must be one of this server's own.
    pub(super) fn attach_reader(&mut self, shard: ShardId, attach: AttachRequest, now: Millis) {
        if attach.session == SessionId::NONE {
            return match self.local_sessions {
                Some(_) => self.new_local(shard, attach, now),
                None => self.hang_up(shard, attach.connection),
            };
        }
        if self.pipeline.sessions_ref().image().timeout_ms(attach.session).is_some() {
            tracing::debug!(session = %attach.session, "closing a client whose session is the ensemble's to continue");
            return self.hang_up(shard, attach.connection);
        }
        if !self.proves(&attach) {
            return self.refuse_renewal(shard, &attach);
        }
        if self.local_sessions.is_none() && !self.pipeline.sessions_ref().contains(attach.session) {
            let timeout_ms = i32::try_from(attach.timeout_ms).unwrap_or(i32::MAX);
            self.pipeline.sessions().open_local(attach.session, timeout_ms, now);
        }
        self.attach_here(shard, attach, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ServerId;

    const STARTED: Observation = Observation::ElectionStarted { round: 1 };
    const ELECTED: Observation = Observation::Elected { leader: ServerId(1), round: 1, took_ms: 1 };

    fn due_after(patience: Patience, observed: &[(u64, Observation)]) -> Option<u64> {
        let mut patience = patience;
        observed.iter().for_each(|(at, observation)| patience.observe(observation, Millis(*at)));
        patience.due().map(|due| due.0)
    }

    #[test]
    fn patience_is_a_tick_and_never_less_than_two_seconds() {
        let check = |enabled, tick_ms, expected| {
            assert_eq!(due_after(Patience::new(enabled, tick_ms), &[(1000, STARTED)]), expected, "{tick_ms}");
        };
        check(true, 200, Some(3000));
        check(true, 2000, Some(3000));
        check(true, 3000, Some(4000));
        check(false, 3000, None);
    }

    #[test]
    fn patience_runs_from_the_first_round_without_a_leader() {
        let on = Patience::new(true, 2000);
        assert_eq!(due_after(on, &[]), None, "before the first round");
        assert_eq!(due_after(on, &[(100, STARTED), (1900, STARTED)]), Some(2100));
        assert_eq!(due_after(on, &[(100, STARTED), (1900, ELECTED)]), None);
        assert_eq!(due_after(on, &[(100, STARTED), (1900, ELECTED), (5000, STARTED)]), Some(7000));
    }
}
