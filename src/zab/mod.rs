#![forbid(unsafe_code)]
//! Zab: who orders, and when a proposal is committed. A pure state machine, events in, actions out; payloads are
//! opaque bytes. Lives on: the sequencer.
//!
//! Today it has one role, [`Role::Alone`]: a server without a membership is an ensemble of one (DESIGN §4). It holds
//! no election and knows no epoch of its own; a quorum of one has decided when the own flush has ended.
//!
//! Watermarks: `committed ≤ flushed ≤ last_logged`. (In larger ensembles a follower may learn of a commit before its
//! own flush returns; alone there is nobody to learn it from.)
//!
//! | message | from | to | phase | promises |
//! | --- | --- | --- | --- | --- |
//! | none | | | alone | |

pub mod election;
pub mod event;
pub mod membership;
pub mod message;
pub mod settings;

use std::rc::Rc;

use crate::base::Zxid;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Prep made this txn; its zxid is the one [`Peer::next_zxid`] gave.
    Submitted {
        /// Its place in the order.
        zxid: Zxid,
        /// Opaque here.
        payload: Rc<[u8]>,
    },
    /// Our disk has everything up to here.
    Flushed(Zxid),
}

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Append to the WAL.
    Append {
        /// Its place in the order.
        zxid: Zxid,
        /// What to write.
        payload: Rc<[u8]>,
    },
    /// The quorum has decided everything up to here: apply it.
    Commit(Zxid),
}

/// A server's part in the ensemble. What only one role has, exists only in that role.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    /// The only server: a quorum of one.
    Alone { flushed: Zxid, committed: Zxid },
}

/// One server's Zab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    last_logged: Zxid,
    role: Role,
}

impl Peer {
    /// A single server whose log ends at `last_logged`, all of which is durable and, there being nobody else,
    /// committed.
    pub fn alone(last_logged: Zxid) -> Peer {
        Peer { last_logged, role: Role::Alone { flushed: last_logged, committed: last_logged } }
    }

    /// The zxid that the next proposal must carry. Alone, the counter carries over into the high half as stock's does.
    pub fn next_zxid(&self) -> Zxid {
        self.last_logged.next()
    }

    /// The newest proposal handed out for logging.
    pub fn last_logged(&self) -> Zxid {
        self.last_logged
    }

    /// The newest txn the quorum has decided.
    pub fn committed(&self) -> Zxid {
        match &self.role {
            Role::Alone { committed, .. } => *committed,
        }
    }

    /// One event in, any number of actions out. Never blocks, never reads a clock.
    pub fn step(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Submitted { zxid, payload } => {
                assert!(zxid == self.next_zxid(), "proposal {zxid} leaves a gap after {}", self.last_logged);
                self.last_logged = zxid;
                actions.push(Action::Append { zxid, payload });
            }
            Event::Flushed(zxid) => {
                assert!(zxid <= self.last_logged, "flushed {zxid} beyond last logged {}", self.last_logged);
                let Role::Alone { flushed, committed } = &mut self.role;
                assert!(zxid >= *flushed, "flushed {zxid} goes back from {flushed}");
                *flushed = zxid;
                if zxid > *committed {
                    *committed = zxid;
                    actions.push(Action::Commit(zxid));
                }
            }
        }
        self.invariants();
    }

    fn invariants(&self) {
        let Role::Alone { flushed, committed } = &self.role;
        assert!(committed <= flushed, "committed {committed} beyond flushed {flushed}");
        assert!(*flushed <= self.last_logged, "flushed {flushed} beyond last logged {}", self.last_logged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted(z: i64) -> Event {
        Event::Submitted { zxid: Zxid(z), payload: Rc::from(z.to_be_bytes()) }
    }

    fn check(peer: &mut Peer, event: Event, expected: &[Action]) {
        let mut actions = Vec::new();
        peer.step(event, &mut actions);
        assert_eq!(actions, expected);
    }

    #[test]
    fn a_proposal_commits_when_its_own_flush_has_ended_and_not_before() {
        let mut peer = Peer::alone(Zxid::ZERO);
        check(
            &mut peer,
            submitted(1),
            &[Action::Append { zxid: Zxid(1), payload: Rc::from(1i64.to_be_bytes()) }],
        );
        check(
            &mut peer,
            submitted(2),
            &[Action::Append { zxid: Zxid(2), payload: Rc::from(2i64.to_be_bytes()) }],
        );
        assert_eq!(peer.committed(), Zxid::ZERO);
        check(&mut peer, Event::Flushed(Zxid(1)), &[Action::Commit(Zxid(1))]);
        check(&mut peer, Event::Flushed(Zxid(1)), &[]);
        check(&mut peer, Event::Flushed(Zxid(2)), &[Action::Commit(Zxid(2))]);
    }

    #[test]
    fn the_counter_carries_over_into_the_high_half() {
        let peer = Peer::alone(Zxid(0xffff_ffff));
        assert_eq!(peer.next_zxid(), Zxid(0x1_0000_0000));
    }

    #[test]
    #[should_panic(expected = "leaves a gap")]
    fn a_gap_is_a_contradiction() {
        Peer::alone(Zxid(5)).step(submitted(7), &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "beyond last logged")]
    fn a_flush_of_what_was_never_logged_is_a_contradiction() {
        Peer::alone(Zxid(5)).step(Event::Flushed(Zxid(6)), &mut Vec::new());
    }
}
