#![forbid(unsafe_code)]
//! Without a leader: the time until the disk has settled, then [`super::election`].
//!
//! A role that ends may leave appends, cuts or epochs on their way to the disk. They all take effect, in order, and no
//! vote is cast before they have: a vote names durable things only, and nothing of the old role reaches the disk after
//! something of the next (ZOOKEEPER-4712, -2845). Until then this server is silent.

use super::core::Core;
use super::election::Elected;
use super::event::{Action, Event};
use crate::base::Millis;

/// First wait after roles that came to nothing, ms; it doubles with each, so that a server that cannot come to terms with
/// a leader does not ask as fast as the network allows. The first time costs nothing: that may be chance.
const FAILED_WAIT_MS: u64 = 50;
/// Times that it doubles.
const FAILED_DOUBLINGS: u32 = 5;

/// How long to wait after so many roles that came to nothing.
pub(super) fn failed_wait_ms(failures: u32) -> u64 {
    if failures < 2 { 0 } else { FAILED_WAIT_MS << (failures - 2).min(FAILED_DOUBLINGS) }
}

/// ```text
///   Settling ── the disk has reported everything ──► Electing ──► leading or learning
///      │                                                │
///      └────────────────── resigned ────────────────────┴──────► Stopped
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Looking {
    /// Not before this, because the last attempts came to nothing.
    Settling {
        until: Millis,
    },
    Electing,
    Stopped,
}

impl Looking {
    /// Takes part in the election as soon as the disk has settled.
    pub(super) fn settle(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        if core.resigning {
            *self = Looking::Stopped;
            core.election.give_up();
        }
        let settled = matches!(self, Looking::Settling { until } if *until <= now) && core.is_idle();
        if !settled {
            return;
        }
        let last_epoch = core.log.last().epoch();
        if last_epoch > core.epochs.current() {
            // A synchronization broke off, or a crash came, behind some txns of a later epoch. Whoever has one of these
            // has all that its leader began with (hazard R-2; stock refuses to start).
            return core.epochs.save(core.epochs.accepted().max(last_epoch), last_epoch, actions);
        }
        *self = Looking::Electing;
        core.election.begin(now, core.own_vote(), &core.membership, actions);
    }

    pub(super) fn step(
        &mut self,
        core: &mut Core,
        now: Millis,
        event: Event,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        let Core { election, membership, .. } = core;
        let electing = *self == Looking::Electing;
        match event {
            // A link that others opened while the port was being closed.
            Event::Accepted { link } => {
                actions.push(Action::Close { link });
                None
            }
            Event::PeerUp(server) => election.peer_up(now, server, membership, actions),
            Event::PeerLost(server) => election.peer_lost(now, server, membership, actions),
            Event::Notified { from, notification } if electing => {
                election.notified(now, from, &notification, membership, actions)
            }
            Event::Tick if electing => election.tick(now, membership, actions),
            _ => None,
        }
    }

    /// A peer that has not begun wants to at once.
    pub(super) fn next_tick(self, core: &Core) -> Option<Millis> {
        match self {
            Looking::Settling { until } if core.is_idle() => Some(until),
            Looking::Electing => core.election.next_tick(),
            Looking::Settling { .. } | Looking::Stopped => None,
        }
    }
}
