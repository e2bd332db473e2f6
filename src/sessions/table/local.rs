#![forbid(unsafe_code)]
//! Local sessions: they live on the one server that made them, and no txn says so (stock `UpgradeableSessionTracker`,
//! `LocalSessionTracker`; client-protocol §7.8).
//!
//! ```text
//!           open_local                  begin_upgrade                createSession applied
//!   (none) ────────────► local ─────────────────────────► upgrading ──────────────────────► global
//!                          │  close, expiry: end_local
//!                          └────────────────────────────► (none)
//! ```
//!
//! A local session is in no image: a snapshot, a leader and another server know nothing of it. It is attached, taken over
//! and detached like any other, and its clock runs here whoever leads. While it is upgrading it has no clock: its
//! server reports it to the leader, who keeps one. All of them end with the role in which they were made.

use super::SessionTable;
use crate::base::{Millis, SessionId};
use crate::sessions::Attachment;

/// What is known of a session that is not global.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Local {
    /// As created, ms.
    timeout_ms: i32,
    /// Its createSession is on its way.
    pub(super) upgrading: bool,
}

impl SessionTable {
    /// Makes a session of this server's own, attached nowhere; its clock starts. `session` is no session yet.
    pub fn open_local(&mut self, session: SessionId, timeout_ms: i32, now: Millis) {
        assert!(session != SessionId::NONE, "0 never names a session");
        assert!(!self.contains(session), "{session} exists");
        self.locals.insert(session, Local { timeout_ms, upgrading: false });
        self.track(session, timeout_ms, now);
    }

    /// Whether the session is this server's own, and not about to be everybody's.
    pub fn is_local(&self, session: SessionId) -> bool {
        self.locals.get(&session).is_some_and(|local| !local.upgrading)
    }

    /// Whether the session exists for all servers and is not closing (stock `checkGlobalSession`).
    pub fn is_open_for_all(&self, session: SessionId) -> bool {
        self.is_open(session) && !self.locals.contains_key(&session)
    }

    /// How many sessions are this server's own (`zk_local_sessions`), those included that are about to be everybody's.
    pub fn local_count(&self) -> usize {
        self.locals.len()
    }

    /// Sessions of this server's own, by id.
    pub fn locals(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.locals.keys().copied()
    }

    /// The session is to exist for all servers: gives the timeout, ms, for its createSession, once.
    pub fn begin_upgrade(&mut self, session: SessionId) -> Option<i32> {
        if !self.is_open(session) {
            return None;
        }
        let local = self.locals.get_mut(&session).filter(|local| !local.upgrading)?;
        local.upgrading = true;
        self.local_clock.remove(session);
        Some(local.timeout_ms)
    }

    /// Ends a session of this server's own; gives the connection that had it. Nothing happens to any other.
    pub fn end_local(&mut self, session: SessionId) -> Option<Attachment> {
        if !self.is_local(session) {
            return None;
        }
        self.locals.remove(&session);
        self.local_clock.remove(session);
        self.live.remove(&session)?.attachment
    }

    /// Local sessions attached nowhere whose time was over at `now`. They have ended.
    pub fn poll_local(&mut self, now: Millis) -> Vec<SessionId> {
        let expired = self.local_clock.poll(now);
        for &session in &expired {
            let held = self.end_local(session);
            assert!(held.is_none(), "{session} is attached: its shard keeps the clock");
        }
        expired
    }

    /// When [`poll_local`](Self::poll_local) is next worth calling.
    pub fn next_local_poll(&self) -> Option<Millis> {
        self.local_clock.next_poll()
    }

    /// The role in which they were made is over, and every local session with it (stock makes a new tracker for each role).
    pub fn end_locals(&mut self) {
        for (session, _) in std::mem::take(&mut self.locals) {
            self.local_clock.remove(session);
            self.live.remove(&session);
        }
    }

    /// The createSession of a session that was local here is applied. Its clock, if it has none, is `open`'s to start.
    pub(super) fn upgraded(&mut self, session: SessionId) {
        if self.locals.remove(&session).is_some() {
            self.local_clock.remove(session);
        }
    }

    /// Starts the clock of a session attached nowhere here.
    pub(super) fn start_clock(&mut self, session: SessionId, heard: Millis, timeout_ms: u64) {
        match self.locals.get(&session) {
            None => self.unattached.touch(session, heard, timeout_ms),
            Some(local) if !local.upgrading => self.local_clock.touch(session, heard, timeout_ms),
            Some(_) => {}
        }
    }

    /// Somebody else keeps the time, or it is over.
    pub(super) fn stop_clock(&mut self, session: SessionId) {
        self.unattached.remove(session);
        if !self.locals.is_empty() {
            self.local_clock.remove(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ConnectionId, Generation, ShardId};

    const TICK: u64 = 2000;
    const A: SessionId = SessionId(0x100_0000_0000_0001);
    const B: SessionId = SessionId(0x100_0000_0000_0002);

    fn at(connection: u64) -> Attachment {
        Attachment { shard: ShardId(0), connection: ConnectionId(connection) }
    }

    fn table_with_local(session: SessionId) -> SessionTable {
        let mut table = SessionTable::new(TICK);
        table.open_local(session, 4000, Millis(0));
        table.invariants();
        table
    }

    #[test]
    fn no_image_knows_a_local_session() {
        let mut table = table_with_local(A);
        table.open(B, 4000, Millis(0));
        assert!(table.image().timeout_ms(A).is_none() && table.image().len() == 1);
        assert!(table.contains(A) && table.is_open(A) && table.is_local(A));
        assert!(!table.is_open_for_all(A) && table.is_open_for_all(B) && !table.is_local(B));
        assert_eq!((table.local_count(), table.locals().collect::<Vec<_>>()), (1, vec![A]));
        table.invariants();
    }

    #[test]
    fn a_local_session_that_nobody_holds_ends_by_its_own_clock_and_needs_no_txn() {
        let mut table = table_with_local(A);
        table.open(B, 4000, Millis(0));
        let held = table.attach(A, at(1), 4000, Millis(10)).expect("open");
        assert!(table.poll_local(Millis(1_000_000)).is_empty(), "attached: its shard keeps the clock");
        assert!(table.detach(A, held.generation, Millis(1_000_100)));
        assert!(table.poll_local(Millis(1_005_999)).is_empty());
        assert_eq!(table.poll_local(Millis(1_006_000)), [A]);
        assert!(!table.contains(A));
        assert_eq!(table.poll(Millis(1_006_000)), [B], "the other clock is another one's");
        table.invariants();
    }

    #[test]
    fn a_closed_local_session_gives_its_connection_and_a_global_one_stays() {
        let mut table = table_with_local(A);
        table.open(B, 4000, Millis(0));
        table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.attach(B, at(2), 4000, Millis(0)).expect("open");
        assert_eq!(table.end_local(B), None);
        assert_eq!(table.end_local(A), Some(at(1)));
        assert!(!table.contains(A) && table.is_open(B));
        assert!(!table.detach(A, Generation(1), Millis(1)));
        table.invariants();
    }

    #[test]
    fn an_upgrade_happens_once_and_keeps_the_attachment() {
        let mut table = table_with_local(A);
        let held = table.attach(A, at(1), 6000, Millis(0)).expect("open");
        assert_eq!(table.begin_upgrade(A), Some(4000), "as created");
        assert_eq!(table.begin_upgrade(A), None);
        assert!(!table.is_local(A) && !table.is_open_for_all(A));
        assert_eq!(table.end_local(A), None, "its end is a txn from now on");
        assert!(table.is_current(A, held.generation));
        table.open(A, 4000, Millis(10));
        assert!(table.is_open_for_all(A) && table.is_current(A, held.generation));
        assert_eq!((table.local_count(), table.image().timeout_ms(A)), (0, Some(4000)));
        assert!(table.poll(Millis(1_000_000)).is_empty(), "attached");
        table.invariants();
    }

    #[test]
    fn a_session_that_loses_its_connection_while_it_is_upgraded_has_a_clock_once_it_is_global() {
        let mut table = table_with_local(A);
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.begin_upgrade(A);
        assert!(table.detach(A, held.generation, Millis(10)));
        assert!(table.poll_local(Millis(100_000)).is_empty() && table.poll(Millis(100_000)).is_empty());
        table.open(A, 4000, Millis(100_000));
        table.invariants();
        assert_eq!(table.poll(Millis(106_000)), [A]);
    }

    #[test]
    fn with_the_role_all_local_sessions_end_and_no_other() {
        let mut table = table_with_local(A);
        table.open(B, 4000, Millis(0));
        table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.end_locals();
        assert!(!table.contains(A) && table.is_open(B));
        assert!(table.poll_local(Millis(1_000_000)).is_empty());
        table.reload(Millis(50));
    }
}
