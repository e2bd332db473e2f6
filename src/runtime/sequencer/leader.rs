#![forbid(unsafe_code)]
//! Where this server leads: what the clients of others ask, whose server holds which session, and who was heard of
//! (stock `LearnerHandler`, `Leader.revalidateSession`, `LeaderSessionTracker`).
//!
//! Lives on: the sequencer. Invariant: a session has one holder, this server or one link; a request that comes another
//! way is answered with SessionMoved, which takes its place in the order (ensemble-protocol §5.3).

use std::collections::VecDeque;

use super::{Sequencer, World};
use crate::base::{Millis, SessionId};
use crate::pipeline::Asker;
use crate::pipeline::acl::Identities;
use crate::wire::jute::Reader;
use crate::wire::peer::body::{self, ForwardedRequest};
use crate::wire::peer::packet::decode_identities;
use crate::wire::request::Request;
use crate::wire::{ErrorCode, OpCode};
use crate::zab::Event;
use crate::zab::message::{Forwarded, LinkId, Message};

/// Requests of learners that wait for a zxid may take so much, bytes; a learner that sends more is let go. A learner's
/// shards have credits, so that ours never come near.
const WAITING_BYTES_MAX: usize = 256 << 20;

/// Requests of learners, in the order in which they came.
#[derive(Default)]
pub(super) struct Requested {
    waiting: VecDeque<(LinkId, Forwarded)>,
    bytes: usize,
}

fn weight(forwarded: &Forwarded) -> usize {
    64 + forwarded.body.len() + forwarded.identities.as_ref().map_or(0, |ids| ids.len())
}

impl<W: World> Sequencer<W> {
    /// A learner's client asks.
    pub(super) fn requested(&mut self, link: LinkId, forwarded: Forwarded) {
        self.requests.bytes += weight(&forwarded);
        if self.requests.bytes > WAITING_BYTES_MAX {
            tracing::warn!(?link, "a server forwards more than can be taken: its link is closed");
            return self.lose_link(link);
        }
        self.requests.waiting.push_back((link, forwarded));
    }

    /// Takes up what learners asked for, as far as there are zxids.
    pub(super) fn take_requests(&mut self, now: Millis) -> bool {
        let mut busy = false;
        while self.may_order(now)
            && let Some((link, forwarded)) = self.requests.waiting.pop_front()
        {
            busy = true;
            self.requests.bytes -= weight(&forwarded);
            if self.take_request(link, &forwarded, now).is_none() {
                tracing::warn!(?link, "a server forwards what does not decode: its link is closed");
                self.lose_link(link);
            }
        }
        busy
    }

    /// `None`: it makes no sense.
    fn take_request(&mut self, link: LinkId, forwarded: &Forwarded, now: Millis) -> Option<()> {
        let ForwardedRequest { session, cxid, op, record } =
            ForwardedRequest::decode(Some(&forwarded.body)).ok()?;
        let identities = match &forwarded.identities {
            Some(encoded) => decode_identities(&mut Reader::new(encoded)).ok()?.unwrap_or_default(),
            None => Vec::new(),
        };
        let identities = Identities::of_list(identities);
        let asker = Asker { session, cxid, identities: &identities };
        let op = OpCode::from_i32(op)?;
        match op {
            OpCode::Sync => self.later(Event::LearnerSync { link, request: forwarded.clone() }),
            OpCode::CreateSession => {
                let timeout = Reader::new(record).int().ok()?;
                // Every session has a number; one without would be in the log for good, and nobody could apply it.
                if session == SessionId::NONE {
                    return None;
                }
                self.owners.insert(session, link);
                self.propose(asker, op, &Request::CreateSession(timeout), None, now);
            }
            OpCode::CloseSession => self.propose(asker, op, &Request::CloseSession, None, now),
            _ => {
                let request = if self.is_held_by(session, link) {
                    // What was refused to decode at the learner takes its place all the same (stock
                    // `PrepRequestProcessor.pRequest`).
                    Request::decode(op, record).map_err(|_| ErrorCode::MarshallingError)
                } else {
                    Err(ErrorCode::SessionMoved)
                };
                self.propose_checked(asker, op, request, None, now);
            }
        }
        Some(())
    }

    /// Whether requests for the session may come through this link; a session that nobody holds is taken by who asks
    /// first (`SessionTrackerImpl.checkSession`). Prep answers for sessions that are not.
    fn is_held_by(&mut self, session: SessionId, link: LinkId) -> bool {
        if !self.pipeline.is_open(session) {
            return true;
        }
        let sessions = self.pipeline.sessions_ref();
        match self.owners.get(&session) {
            Some(holder) => *holder == link,
            None if sessions.attachment(session).is_some() => false,
            None => {
                self.owners.insert(session, link);
                true
            }
        }
    }

    /// The session is attached to a connection of this server now.
    pub(super) fn held_here(&mut self, session: SessionId) {
        self.owners.remove(&session);
    }

    /// A client came to a learner with this session.
    pub(super) fn revalidation_asked(&mut self, link: LinkId, question: &[u8], now: Millis) {
        let Ok(body::Revalidate { session, timeout }) = body::Revalidate::decode(Some(question)) else {
            tracing::warn!(
                ?link,
                "a server asks about a session in a way that does not decode: its link is closed"
            );
            return self.lose_link(link);
        };
        self.metrics.member.revalidated();
        // A learner, and its clients, may be ahead of what is applied here, which waits for the own disk.
        // One of this server's own cannot move.
        let valid = self.pipeline.is_open_for_all(session);
        if valid {
            self.owners.insert(session, link);
            if let Some(held) = self.pipeline.sessions().take_away(session, now) {
                self.hang_up(held.shard, held.connection);
            }
            self.pipeline.sessions().touch_for(session, now, u64::try_from(timeout).unwrap_or(0));
        }
        let mut answer = Vec::new();
        body::Revalidated { session, valid }.encode(&mut answer);
        self.later(Event::Send { link, message: Message::Revalidate { body: answer.into() } });
    }

    /// A learner heard of these.
    pub(super) fn heard_of(&mut self, link: LinkId, sessions: &[u8], now: Millis) {
        let Ok(touched) = body::decode_touched(Some(sessions)) else {
            tracing::warn!(?link, "a server's answer to a ping does not decode: its link is closed");
            return self.lose_link(link);
        };
        if self.serving.learns() {
            // The leader keeps the clocks: it hears of them with the next answer to its ping.
            let touched: Vec<_> = touched.collect();
            return self.pass_on_touched(touched);
        }
        for (session, timeout) in touched {
            self.pipeline.sessions().touch_for(session, now, u64::try_from(timeout).unwrap_or(0));
        }
    }

    /// A learner has left: what it asked for and was not proposed is nobody's.
    pub(super) fn learner_lost(&mut self, link: LinkId) {
        let requests = std::mem::take(&mut self.requests.waiting);
        self.requests.waiting = requests.into_iter().filter(|(of, _)| *of != link).collect();
        self.requests.bytes = self.requests.waiting.iter().map(|(_, forwarded)| weight(forwarded)).sum();
    }

    /// The role is over.
    pub(super) fn forget_led(&mut self) {
        self.requests = Requested::default();
        self.owners.clear();
        self.internal.clear();
    }
}
