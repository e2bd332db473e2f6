#![forbid(unsafe_code)]
//! A member of an ensemble: what it has in every role, and the one role it has.

use std::collections::VecDeque;

use super::core::{Core, Leave};
use super::event::{self, Action, Event, Observation};
use super::leading::Leading;
use super::learning::Learning;
use super::looking::{Looking, failed_wait_ms};
use super::membership::Membership;
use super::settings::{Durable, Settings};
use super::{Figures, election::Elected};
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// So many contradictions within so long are no accident: each costs a synchronization, and the next will end as this one
/// (reliability M58). Times kept of them, for the log line.
const CONTRADICTIONS_MAX: usize = 3;
const CONTRADICTIONS_WITHIN_MS: u64 = 60_000;
const CONTRADICTIONS_KEPT: usize = 100;

/// ```text
///                elected, itself                    a quorum lost, too slow, stopping, ..
///   Looking ──┬──────────────────► Leading ──────────────────────────────┬──► Looking
///             └──────────────────► Learning ─────────────────────────────┘
///                elected, another                   the leader lost, not its history, ..
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
enum Role {
    Looking(Looking),
    Leading(Box<Leading>),
    Learning(Box<Learning>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    core: Core,
    role: Role,
    /// Roles in a row that ended before they served.
    failures: u32,
    /// When leaders contradicted themselves, or us, newest first.
    contradictions: VecDeque<Millis>,
}

impl Member {
    pub(super) fn new(settings: Settings, membership: Membership, durable: Durable) -> Member {
        let role = Role::Looking(Looking::Settling { until: Millis(0) });
        Member {
            core: Core::new(settings, membership, durable),
            role,
            failures: 0,
            contradictions: VecDeque::new(),
        }
    }

    pub(super) fn step(&mut self, now: Millis, event: Event, actions: &mut Vec<Action>) {
        self.on_disk(&event);
        self.core.resigning |= event == Event::Resign;
        if self.core.is_doubtful(&event) {
            self.doubt(now, actions);
        }
        let core = &mut self.core;
        let left = match &mut self.role {
            Role::Looking(looking) => {
                assert!(
                    !matches!(event, Event::Submitted { .. }),
                    "a proposal of a server that does not lead"
                );
                looking.settle(core, now, actions);
                if let Some(elected) = looking.step(core, now, event, actions) {
                    self.begin(now, elected, actions);
                }
                Ok(())
            }
            Role::Leading(leading) => leading.step(core, now, event, actions),
            Role::Learning(learning) => {
                assert!(
                    !matches!(event, Event::Submitted { .. }),
                    "a proposal of a server that does not lead"
                );
                learning.step(core, now, event, actions)
            }
        };
        if let Err(leave) = left {
            self.leave(now, leave, actions);
        }
        self.invariants();
    }

    /// What the disk reports concerns every role, and those that ended.
    fn on_disk(&mut self, event: &Event) {
        match event {
            Event::Flushed(zxid) => self.core.log.on_flushed(*zxid),
            Event::Truncated(to) => self.core.log.on_truncated(*to),
            Event::EpochSaved { accepted, current } => self.core.epochs.on_saved(*accepted, *current),
            Event::SnapInstalled { link, zxid } => {
                self.core.log.on_installed(*link, *zxid);
                self.core.needs_image = false;
            }
            Event::Admitted => self.core.on_admitted(),
            Event::Disowned => self.core.on_disowned(),
            _ => {}
        }
    }

    /// Whatever this server was about to do, it was with a vote that it may not have.
    fn doubt(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if planted(Bug::EmptiedVotes) {
            return;
        }
        let reason = "the ensemble is not new and this server's folders are: no vote before a leader has sent it everything";
        self.core.disown(actions);
        match self.role {
            Role::Looking(_) => {
                actions.push(Action::Observed(Observation::SteppedDown { reason }));
                self.role = Role::Looking(Looking::Settling { until: now });
                self.core.election.give_up();
            }
            _ => self.leave(now, Leave::over(reason), actions),
        }
    }

    fn begin(&mut self, now: Millis, elected: Elected, actions: &mut Vec<Action>) {
        self.role = if elected.leader == self.core.me() {
            Role::Leading(Box::new(Leading::begin(&mut self.core, now, elected, actions)))
        } else {
            Role::Learning(Box::new(Learning::begin(&mut self.core, now, elected, actions)))
        };
    }

    fn leave(&mut self, now: Millis, leave: Leave, actions: &mut Vec<Action>) {
        let Leave { reason, contradicted } = leave;
        self.failures = if self.role() == event::Role::Looking { self.failures + 1 } else { 0 };
        let mut wait_ms = failed_wait_ms(self.failures);
        if contradicted && self.is_alarming(now) {
            wait_ms = wait_ms.max(self.core.sync_ms());
            if let Some(leader) = self.leader() {
                let times = self.contradictions.len();
                actions.push(Action::Observed(Observation::LeaderContradicts { leader, times, reason }));
            }
        }
        // Voters are spared that all observers ask them at once (stock `waitForObserverElectionDelay`).
        if self.core.is_observer() && matches!(self.role, Role::Learning(_)) {
            let delay_ms = self.core.settings.observer_election_delay_ms;
            wait_ms = wait_ms.max(self.core.masters.wait_ms(delay_ms));
        }
        let mut looking = Looking::Settling { until: now.plus(wait_ms) };
        actions.push(Action::Observed(Observation::SteppedDown { reason }));
        match std::mem::replace(&mut self.role, Role::Looking(looking)) {
            Role::Looking(_) => {}
            Role::Leading(leading) => leading.end(actions),
            Role::Learning(learning) => learning.end(actions),
        }
        looking.settle(&mut self.core, now, actions);
        self.role = Role::Looking(looking);
    }

    /// A leader contradicted itself, or us. Whether that is once too often (reliability M58).
    fn is_alarming(&mut self, now: Millis) -> bool {
        self.contradictions.retain(|at| now.since(*at) < CONTRADICTIONS_WITHIN_MS);
        self.contradictions.truncate(CONTRADICTIONS_KEPT - 1);
        self.contradictions.push_front(now);
        self.contradictions.len() >= CONTRADICTIONS_MAX
    }

    pub(super) fn next_zxid(&self) -> Option<Zxid> {
        if let Role::Leading(leading) = &self.role { leading.next_zxid(&self.core) } else { None }
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        match &self.role {
            Role::Looking(looking) => looking.next_tick(&self.core),
            Role::Leading(leading) => Some(leading.next_tick()),
            Role::Learning(learning) => Some(learning.next_tick(&self.core)),
        }
    }

    pub(super) fn role(&self) -> event::Role {
        match &self.role {
            Role::Looking(_) => event::Role::Looking,
            Role::Leading(leading) => leading.role(),
            Role::Learning(learning) => learning.role(),
        }
    }

    pub(super) fn leader(&self) -> Option<ServerId> {
        match &self.role {
            Role::Looking(_) => None,
            Role::Leading(_) => Some(self.core.me()),
            Role::Learning(learning) => Some(learning.leader()),
        }
    }

    pub(super) fn master(&self) -> Option<ServerId> {
        match &self.role {
            Role::Learning(learning) => Some(learning.master()),
            Role::Looking(_) | Role::Leading(_) => self.leader(),
        }
    }

    pub(super) fn serves_observers(&self) -> bool {
        matches!(&self.role, Role::Learning(learning) if learning.serves_observers())
    }

    /// The epoch that is served in, or else the newest one whose history is here.
    pub(super) fn epoch(&self) -> Epoch {
        self.core.epochs.current()
    }

    pub(super) fn last_logged(&self) -> Zxid {
        self.core.log.last()
    }

    pub(super) fn committed(&self) -> Zxid {
        self.core.log.committed()
    }

    pub(super) fn figures(&self) -> Figures {
        let history = self.core.log.history().len();
        match &self.role {
            Role::Looking(_) => Figures { history, ..Figures::default() },
            Role::Leading(leading) => {
                let mut figures = Figures { history, ..Figures::default() };
                leading.count(&mut figures);
                figures
            }
            Role::Learning(learning) => {
                let mut figures = Figures { history, ..Figures::default() };
                learning.count(&mut figures);
                figures
            }
        }
    }

    fn invariants(&self) {
        self.core.invariants();
        match &self.role {
            Role::Looking(looking) => {
                let electing = *looking == Looking::Electing;
                assert!(!electing || self.core.is_idle(), "votes while the disk is at work");
            }
            Role::Leading(leading) => leading.invariants(&self.core),
            Role::Learning(learning) => learning.invariants(&self.core),
        }
    }
}
