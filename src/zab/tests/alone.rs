#![forbid(unsafe_code)]
//! A server without a membership.

use std::rc::Rc;

use crate::base::{Millis, Zxid};
use crate::zab::{Action, Event, Peer};

fn submitted(z: i64) -> Event {
    Event::Submitted { zxid: Zxid(z), payload: Rc::from(z.to_be_bytes()) }
}

fn check(peer: &mut Peer, event: Event, expected: &[Action]) {
    let mut actions = Vec::new();
    peer.step(Millis(0), event, &mut actions);
    assert_eq!(actions, expected);
}

#[test]
fn a_proposal_commits_when_its_own_flush_has_ended_and_not_before() {
    let mut peer = Peer::alone(Zxid::ZERO);
    let append = |z: i64| Action::Append { zxid: Zxid(z), payload: Rc::from(z.to_be_bytes()) };
    check(&mut peer, submitted(1), &[append(1)]);
    check(&mut peer, submitted(2), &[append(2)]);
    assert_eq!(peer.committed(), Zxid::ZERO);
    check(&mut peer, Event::Flushed(Zxid(1)), &[Action::Commit(Zxid(1))]);
    check(&mut peer, Event::Flushed(Zxid(1)), &[]);
    check(&mut peer, Event::Flushed(Zxid(2)), &[Action::Commit(Zxid(2))]);
}

#[test]
fn the_counter_carries_over_into_the_high_half() {
    let peer = Peer::alone(Zxid(0xffff_ffff));
    assert_eq!(peer.next_zxid(), Some(Zxid(0x1_0000_0000)));
}

#[test]
#[should_panic(expected = "leaves a gap")]
fn a_gap_is_a_contradiction() {
    Peer::alone(Zxid(5)).step(Millis(0), submitted(7), &mut Vec::new());
}

#[test]
#[should_panic(expected = "beyond last logged")]
fn a_flush_of_what_was_never_logged_is_a_contradiction() {
    Peer::alone(Zxid(5)).step(Millis(0), Event::Flushed(Zxid(6)), &mut Vec::new());
}
