#![forbid(unsafe_code)]
//! A server without a membership: a quorum of one, which has decided when the own flush has ended (DESIGN §4). It holds
//! no election and knows no epoch of its own; the counter carries over into the high half as stock's does.

use super::event::{Action, Event};
use crate::base::Zxid;

/// `committed ≤ flushed ≤ last_logged`: there is nobody to learn of a commit from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alone {
    pub(super) last_logged: Zxid,
    pub(super) flushed: Zxid,
    pub(super) committed: Zxid,
}

impl Alone {
    pub(super) fn step(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Submitted { zxid, payload } => {
                assert!(
                    zxid == self.last_logged.next(),
                    "proposal {zxid} leaves a gap after {}",
                    self.last_logged
                );
                self.last_logged = zxid;
                actions.push(Action::Append { zxid, payload });
            }
            Event::Flushed(zxid) => {
                assert!(zxid <= self.last_logged, "flushed {zxid} beyond last logged {}", self.last_logged);
                assert!(zxid >= self.flushed, "flushed {zxid} goes back from {}", self.flushed);
                self.flushed = zxid;
                if zxid > self.committed {
                    self.committed = zxid;
                    actions.push(Action::Commit(zxid));
                }
            }
            // Nobody else is there, and nothing is undecided when the server stops but what the flush decides.
            _ => {}
        }
        self.invariants();
    }

    fn invariants(&self) {
        let Alone { last_logged, flushed, committed } = self;
        assert!(committed <= flushed, "committed {committed} beyond flushed {flushed}");
        assert!(flushed <= last_logged, "flushed {flushed} beyond last logged {last_logged}");
    }
}
