#![forbid(unsafe_code)]
//! Which containers and TTL nodes are due for removal (stock `ContainerManager`; client-protocol §7.7).
//!
//! Lives on: the sequencer. Age is counted by the wall clock, as in stock, but a step of that clock against the
//! monotonic one between two looks does not count as age (DESIGN §8): each step is kept with the txns it fell between,
//! and is taken off the age of the znodes last written before it. Those written after it carry the new time already.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::base::{Millis, WallMillis, Zxid};
use crate::tree::{OwnerKind as Kind, TreeWriter};

/// A wall-clock lead over the monotonic clock below this is ordinary slewing, ms.
const STEP_MS: i64 = 1_000;

/// Steps kept apart; of more, the oldest are added up. A clock that steps oftener has nothing to say about age.
const STEPS_MAX: usize = 64;

/// When to look and what counts as due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReaperSettings {
    /// `znode.container.checkIntervalMs`.
    pub check_interval_ms: u64,
    /// `znode.container.maxPerMinute`.
    pub max_per_minute: u64,
    /// `znode.container.maxNeverUsedIntervalMs`; 0 = a container that never had a child stays.
    pub max_never_used_ms: i64,
    /// Whether TTL nodes exist.
    pub extended_types: bool,
}

/// Every container and TTL node, and when they were last looked at.
#[derive(Debug)]
pub(super) struct Reaper {
    candidates: BTreeSet<Arc<[u8]>>,
    next_look: Option<Millis>,
    /// (monotonic, wall) at the last look.
    last: Option<(Millis, WallMillis)>,
    /// Oldest first.
    steps: VecDeque<Step>,
}

/// The wall clock stepped against the monotonic one.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Ahead, or back if negative.
    ms: i64,
    /// The newest txn applied when it was noticed: written before it.
    applied: Zxid,
    /// The newest txn prepared then: those in between are told apart by their time.
    prepared: Zxid,
    /// What the wall clock showed at most before a step ahead, and at least after it.
    until: i64,
}

impl Step {
    /// Whether a znode last written by `mzxid` at `mtime` was written before the step. In doubt it is the younger for it.
    fn is_after(&self, mzxid: Zxid, mtime: i64) -> bool {
        mzxid <= self.applied || (self.ms > 0 && mzxid <= self.prepared && mtime < self.until)
    }
}

/// How far txns have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watermarks {
    pub(super) applied: Zxid,
    pub(super) prepared: Zxid,
}

impl Reaper {
    pub(super) fn new() -> Self {
        Reaper { candidates: BTreeSet::new(), next_look: None, last: None, steps: VecDeque::new() }
    }

    /// Goes on with the candidates of another state; gives those of before. Clocks are the server's and stay.
    pub(super) fn adopt(&mut self, other: Reaper) -> BTreeSet<Arc<[u8]>> {
        std::mem::replace(&mut self.candidates, other.candidates)
    }

    pub(super) fn remember(&mut self, path: &[u8]) {
        self.candidates.insert(Arc::from(path));
    }

    pub(super) fn forget(&mut self, path: &[u8]) {
        self.candidates.remove(path);
    }

    /// What to remove now, in path order; empty until the next look is due.
    pub(super) fn due(
        &mut self,
        now: Millis,
        wall: WallMillis,
        marks: Watermarks,
        settings: &ReaperSettings,
        tree: &TreeWriter,
    ) -> Vec<Arc<[u8]>> {
        self.follow_clocks(now, wall, marks);
        let next = *self.next_look.get_or_insert(now.plus(settings.check_interval_ms));
        if now < next {
            return Vec::new();
        }
        self.next_look = Some(now.plus(settings.check_interval_ms));
        let per_look = (settings.max_per_minute * settings.check_interval_ms / 60_000).max(1);
        let due = self.candidates.iter().filter(|path| {
            let Some(node) = tree.get(path) else { return false };
            let age = self.age(wall, node.mzxid(), node.stored_stat().mtime);
            node.child_count() == 0
                && match Kind::of(node.stored_owner(), settings.extended_types) {
                    Kind::Container if node.raw_cversion() > 0 => true,
                    Kind::Container => settings.max_never_used_ms > 0 && age > settings.max_never_used_ms,
                    Kind::Ttl(ttl) => age > ttl,
                    _ => false,
                }
        });
        due.take(usize::try_from(per_look).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// ms since a znode was last written.
    fn age(&self, wall: WallMillis, mzxid: Zxid, mtime: i64) -> i64 {
        let stepped = self.steps.iter().filter(|step| step.is_after(mzxid, mtime)).map(|step| step.ms);
        wall.0.saturating_sub(mtime).saturating_sub(stepped.sum())
    }

    fn follow_clocks(&mut self, now: Millis, wall: WallMillis, marks: Watermarks) {
        if let Some((then, wall_then)) = self.last {
            let lead = (wall.0 - wall_then.0) - i64::try_from(now.since(then)).unwrap_or(i64::MAX);
            if lead.abs() > STEP_MS {
                let Watermarks { applied, prepared } = marks;
                self.steps.push_back(Step { ms: lead, applied, prepared, until: wall_then.0 + lead });
            }
            if self.steps.len() > STEPS_MAX {
                let oldest = self.steps.pop_front().map_or(0, |step| step.ms);
                self.steps[0].ms = self.steps[0].ms.saturating_add(oldest);
            }
        }
        self.last = Some((now, wall));
    }
}
