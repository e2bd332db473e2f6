#![forbid(unsafe_code)]
//! Which containers and TTL nodes are due for removal (stock `ContainerManager`; client-protocol §7.7).
//!
//! Lives on: the sequencer. Age is counted by the wall clock, as in stock, but a step of that clock against the
//! monotonic one between two looks does not count as age (DESIGN §8): the reaper keeps a clock of its own that
//! advances by whichever of the two advanced less.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::owner::Kind;
use crate::base::{Millis, WallMillis};
use crate::tree::TreeWriter;

/// A wall-clock lead over the monotonic clock below this is ordinary slewing, ms.
const STEP_MS: i64 = 1_000;

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
    /// (monotonic, wall) at the last look, and how far the wall clock has stepped ahead since the start.
    last: Option<(Millis, WallMillis)>,
    stepped_ms: i64,
}

impl Reaper {
    pub(super) fn new() -> Self {
        Reaper { candidates: BTreeSet::new(), next_look: None, last: None, stepped_ms: 0 }
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
        settings: &ReaperSettings,
        tree: &TreeWriter,
    ) -> Vec<Arc<[u8]>> {
        self.follow_clocks(now, wall);
        let next = *self.next_look.get_or_insert(now.plus(settings.check_interval_ms));
        if now < next {
            return Vec::new();
        }
        self.next_look = Some(now.plus(settings.check_interval_ms));
        let wall_without_steps = wall.0 - self.stepped_ms;
        let per_look = (settings.max_per_minute * settings.check_interval_ms / 60_000).max(1);
        let due = self.candidates.iter().filter(|path| {
            let Some(node) = tree.get(path) else { return false };
            let age = wall_without_steps - node.mtime();
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

    fn follow_clocks(&mut self, now: Millis, wall: WallMillis) {
        if let Some((then, wall_then)) = self.last {
            let lead = (wall.0 - wall_then.0) - i64::try_from(now.since(then)).unwrap_or(i64::MAX);
            if lead > STEP_MS {
                self.stepped_ms += lead;
            } else if lead < -STEP_MS {
                // A step back makes nodes younger; those written after it carry the new time, so only what was
                // counted as ahead is given back.
                self.stepped_ms = (self.stepped_ms + lead).max(0);
            }
        }
        self.last = Some((now, wall));
    }
}
