#![forbid(unsafe_code)]
//! The sequencer's table of sessions.
//!
//! Two layers. What is replicated, the [`SessionImage`] (timeouts, ephemerals by owner), lives in persistent maps: a
//! snapshot takes a copy in O(1) and writes go on. What is this server's own (attachment, generation, closing, clock)
//! stands beside it and dies with the process; a new leader, or a restart, starts every clock afresh
//! ([`SessionTable::reload`]).
//!
//! ```text
//!            open                attach                         (another attach: new generation,
//!   (none) ───────► unattached ───────────► attached ──┐         the old shard is told to close)
//!                   clock runs ◄─────────── shard's    ├─► closing ──close──► (none)
//!                        │        detach    clock      │      ▲
//!                        └──────────── poll, mark_closing ────┘
//! ```
//!
//! A session that is closing stays in the image until its closeSession txn is applied, so that prep still knows it and
//! answers SessionExpired. Its generation ends when closing begins: `is_current` is false from then on, and nothing
//! prepared later can carry it.

mod local;

use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use self::local::Local;
use super::ExpiryQueue;
use crate::base::limits::SESSION_MOVES_MAX;
use crate::base::{ConnectionId, Generation, Millis, SessionId, ShardId, StripedMap};

/// The second in which takeovers are counted, and for which a session that is fought over stays unattached, ms.
const MOVES_WINDOW_MS: u64 = 1000;

/// A znode that goes with its session. Ordered by owner, then path.
pub type Ephemeral = (SessionId, Arc<[u8]>);

/// The replicated part. `clone` is O(1): it shares all memory until one side changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionImage {
    timeouts: OrdMap<SessionId, i32>,
    ephemerals: OrdSet<Ephemeral>,
}

impl SessionImage {
    /// Adds a session read from a snapshot.
    pub fn insert(&mut self, session: SessionId, timeout_ms: i32) {
        self.timeouts.insert(session, timeout_ms);
    }

    /// Notes that `path` goes with `owner`; whether that is new. The owner need not be known: stock's logs hold
    /// ephemerals of sessions that are gone.
    pub fn add_ephemeral(&mut self, owner: SessionId, path: Arc<[u8]>) -> bool {
        self.ephemerals.insert((owner, path)).is_none()
    }

    /// Sessions with their timeouts in ms, by id.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, i32)> + '_ {
        self.timeouts.iter().map(|(&session, &timeout)| (session, timeout))
    }

    /// How many sessions.
    pub fn len(&self) -> usize {
        self.timeouts.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.timeouts.is_empty()
    }

    /// Timeout of a session, ms.
    pub fn timeout_ms(&self, session: SessionId) -> Option<i32> {
        self.timeouts.get(&session).copied()
    }

    /// Every ephemeral, by owner and path: the second half of `dump`.
    pub fn ephemerals(&self) -> impl Iterator<Item = &Ephemeral> + '_ {
        self.ephemerals.iter()
    }

    /// Paths that go with `owner`, in byte order. O(log n) to the first.
    pub fn ephemerals_of(&self, owner: SessionId) -> impl Iterator<Item = &Arc<[u8]>> + '_ {
        // The empty path sorts before every other, so that this is the owner's first place.
        let from = Bound::Included((owner, Arc::default()));
        self.ephemerals
            .range::<_, Ephemeral>((from, Bound::Unbounded))
            .take_while(move |(of, _)| *of == owner)
            .map(|(_, path)| path)
    }

    /// How many znodes are ephemeral (`zk_ephemerals_count`).
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.len()
    }
}

/// Where a session is attached on this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The shard that holds the connection.
    pub shard: ShardId,
    /// The connection.
    pub connection: ConnectionId,
}

/// What an attach gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attached {
    /// What requests through the new attachment carry.
    pub generation: Generation,
    /// The connection that lost the session and must be closed without a reply.
    pub previous: Option<Attachment>,
}

/// Why an attach was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No such session, or it is closing: the client is told that it expired (reliability M9, M11).
    #[error("session is unknown or closing")]
    Expired,
    /// Two clients fight over it (reliability M12): close the newcomer and, if there is one, the holder; the session
    /// is free again after a second.
    #[error("session moved too often")]
    Fought {
        /// The connection that held it.
        holder: Option<Attachment>,
    },
}

/// One session as an inspector sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionView {
    /// The id.
    pub session: SessionId,
    /// Timeout of createSession, ms.
    pub timeout_ms: i32,
    /// Where it is attached here.
    pub attachment: Option<Attachment>,
    /// Whether its closeSession is under way.
    pub closing: bool,
}

/// State of a session that only this server has.
#[derive(Clone, Debug)]
struct Live {
    generation: Generation,
    attachment: Option<Attachment>,
    /// As negotiated by the connection attached last, ms.
    timeout_ms: u64,
    closing: bool,
    moves: Moves,
}

/// Counts takeovers in windows of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Moves {
    since: Millis,
    count: u32,
}

/// All sessions, as the sequencer knows them. Those that only this server knows are in `local.rs`.
#[derive(Clone, Debug)]
pub struct SessionTable {
    image: SessionImage,
    live: StripedMap<SessionId, Live>,
    unattached: ExpiryQueue<SessionId>,
    /// Sessions of this server's own, and the clock of those that are attached nowhere.
    locals: OrdMap<SessionId, Local>,
    local_clock: ExpiryQueue<SessionId>,
    last_generation: Generation,
}

impl SessionTable {
    /// An empty table whose clocks run in buckets of `tick_ms`.
    pub fn new(tick_ms: u64) -> Self {
        Self::from_image(SessionImage::default(), tick_ms, Millis::default())
    }

    /// A table over what a snapshot or a leader gave, every clock started at `now`.
    pub fn from_image(image: SessionImage, tick_ms: u64, now: Millis) -> Self {
        let (live, unattached) = (StripedMap::new(2), ExpiryQueue::new(tick_ms));
        let (locals, local_clock) = (OrdMap::new(), ExpiryQueue::new(tick_ms));
        let last_generation = Generation(0);
        let mut table = SessionTable { image, live, unattached, locals, local_clock, last_generation };
        for (session, timeout_ms) in table.image.clone().sessions() {
            table.track(session, timeout_ms, now);
        }
        table
    }

    /// The replicated part; clone it for a snapshot.
    pub fn image(&self) -> &SessionImage {
        &self.image
    }

    /// Whether the session exists, closing or not.
    pub fn contains(&self, session: SessionId) -> bool {
        self.live.contains_key(&session)
    }

    /// Whether the session exists and is not closing: what a session check in prep asks.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.live.get(&session).is_some_and(|live| !live.closing)
    }

    /// Whether a request that carries `generation` comes through the newest attachment of an open session (DESIGN §2,
    /// rule 7). False once the session is closing.
    pub fn is_current(&self, session: SessionId, generation: Generation) -> bool {
        self.live.get(&session).is_some_and(|live| !live.closing && live.generation == generation)
    }

    /// Applies createSession: the session exists, attached nowhere, and its clock starts. One that exists already
    /// takes the timeout and keeps the rest, as in stock (`SessionTrackerImpl.trackSession`, `commitSession`).
    pub fn open(&mut self, session: SessionId, timeout_ms: i32, now: Millis) {
        assert!(session != SessionId::NONE, "0 never names a session");
        self.image.insert(session, timeout_ms);
        self.upgraded(session);
        match self.live.get_mut(&session) {
            Some(live) => {
                live.timeout_ms = as_duration(timeout_ms);
                self.touch(session, now);
            }
            None => self.track(session, timeout_ms, now),
        }
    }

    /// Gives the session to a connection that proved its password. `timeout_ms` is what that connection negotiated.
    /// While attached the session has no clock here: its shard keeps it.
    pub fn attach(
        &mut self,
        session: SessionId,
        to: Attachment,
        timeout_ms: u64,
        now: Millis,
    ) -> Result<Attached, Refused> {
        let live = self.live.get_mut(&session).filter(|live| !live.closing).ok_or(Refused::Expired)?;
        if now.since(live.moves.since) >= MOVES_WINDOW_MS {
            live.moves = Moves { since: now, count: 0 };
        }
        live.moves.count += u32::from(live.attachment.is_some());
        let previous = live.attachment.take();
        self.last_generation.0 += 1;
        live.generation = self.last_generation;
        if live.moves.count >= SESSION_MOVES_MAX {
            // The window stays full: nobody gets in until a second after it filled.
            if previous.is_some() {
                live.moves.since = now;
                let timeout_ms = live.timeout_ms;
                self.start_clock(session, now, timeout_ms);
            }
            return Err(Refused::Fought { holder: previous });
        }
        live.attachment = Some(to);
        live.timeout_ms = timeout_ms;
        self.stop_clock(session);
        Ok(Attached { generation: self.last_generation, previous })
    }

    /// The connection is gone; the clock runs from when it was `last_heard`. Nothing happens, and `false` comes back,
    /// when `generation` is not the newest: somebody else has the session, or it is gone.
    pub fn detach(&mut self, session: SessionId, generation: Generation, last_heard: Millis) -> bool {
        let Some(live) = self.live.get_mut(&session) else { return false };
        if live.generation != generation || live.attachment.take().is_none() {
            return false;
        }
        let (closing, timeout_ms) = (live.closing, live.timeout_ms);
        if !closing {
            self.start_clock(session, last_heard, timeout_ms);
        }
        true
    }

    /// The session was heard of at `heard` through a server that is not this one. `false` when it is unknown or
    /// closing; nothing to do when it is attached here.
    pub fn touch(&mut self, session: SessionId, heard: Millis) -> bool {
        let Some(live) = self.live.get(&session).filter(|live| !live.closing) else { return false };
        if live.attachment.is_none() {
            let timeout_ms = live.timeout_ms;
            self.start_clock(session, heard, timeout_ms);
        }
        true
    }

    /// [`touch`](Self::touch) with the timeout, ms, that its connection to the other server has; 0 leaves the one known.
    pub fn touch_for(&mut self, session: SessionId, heard: Millis, timeout_ms: u64) -> bool {
        if let Some(live) = self.live.get_mut(&session)
            && live.attachment.is_none()
            && timeout_ms > 0
        {
            live.timeout_ms = timeout_ms;
        }
        self.touch(session, heard)
    }

    /// A client came with the session to another server at `heard`: gives the connection here that loses it. Nothing that
    /// it still sends may land, and the clock is ours again.
    pub fn take_away(&mut self, session: SessionId, heard: Millis) -> Option<Attachment> {
        let live = self.live.get_mut(&session).filter(|live| !live.closing)?;
        let held = live.attachment.take()?;
        self.last_generation.0 += 1;
        live.generation = self.last_generation;
        let timeout_ms = live.timeout_ms;
        self.start_clock(session, heard, timeout_ms);
        Some(held)
    }

    /// The session is about to be closed: from now on it is refused everywhere. Whether it was open.
    pub fn mark_closing(&mut self, session: SessionId) -> bool {
        let Some(live) = self.live.get_mut(&session).filter(|live| !live.closing) else { return false };
        live.closing = true;
        self.stop_clock(session);
        true
    }

    /// A shard found its session silent. Marks it closing if the shard still holds it; `false` when it was taken over,
    /// or closed, meanwhile.
    pub fn expire_attached(&mut self, session: SessionId, generation: Generation) -> bool {
        self.is_current(session, generation) && self.mark_closing(session)
    }

    /// Sessions attached nowhere here whose time is over, now marked closing: each needs a closeSession.
    pub fn poll(&mut self, now: Millis) -> Vec<SessionId> {
        self.poll_some(now, usize::MAX)
    }

    /// [`poll`](Self::poll) in slices, as [`ExpiryQueue::poll_some`]: after a restart every session may be due at once.
    pub fn poll_some(&mut self, now: Millis, sessions_max: usize) -> Vec<SessionId> {
        let expired = self.unattached.poll_some(now, sessions_max);
        for &session in &expired {
            let live = self.live.get_mut(&session).expect("what has a clock is tracked");
            assert!(!live.closing, "{session} expires a second time");
            assert!(live.attachment.is_none(), "{session} is attached: its shard keeps the clock");
            live.closing = true;
        }
        expired
    }

    /// When [`poll`](Self::poll) is next worth calling.
    pub fn next_poll(&self) -> Option<Millis> {
        self.unattached.next_poll()
    }

    /// Applies closeSession: the session is gone. Gives the attachment to close, `None` as well when it was unknown.
    /// Its ephemerals are the tree's to delete, each through [`remove_ephemeral`](Self::remove_ephemeral).
    pub fn close(&mut self, session: SessionId) -> Option<Attachment> {
        self.image.timeouts.remove(&session);
        self.stop_clock(session);
        self.locals.remove(&session);
        self.live.remove(&session)?.attachment
    }

    /// Starts every clock afresh at `now` and forgets closings that never became txns: a new leader, or state from a
    /// snapshot just loaded. Attachments stay.
    pub fn reload(&mut self, now: Millis) {
        for (session, _) in self.image.clone().sessions() {
            let live = self.live.get_mut(&session).expect("the image holds what is tracked");
            live.closing = false;
            if live.attachment.is_none() {
                self.unattached.touch(session, now, live.timeout_ms);
            }
        }
        self.invariants();
    }

    /// Takes the place of `before`: no generation that it gave out is given out again. For a table that attached nobody.
    pub fn follow(&mut self, before: &SessionTable) {
        debug_assert_eq!(self.last_generation, Generation(0), "nobody was attached");
        self.last_generation = before.last_generation;
    }

    /// Notes that `path` goes with `owner`; whether that is new.
    pub fn add_ephemeral(&mut self, owner: SessionId, path: Arc<[u8]>) -> bool {
        self.image.add_ephemeral(owner, path)
    }

    /// The znode is gone; whether it was noted.
    pub fn remove_ephemeral(&mut self, owner: SessionId, path: &Arc<[u8]>) -> bool {
        self.image.ephemerals.remove(&(owner, path.clone())).is_some()
    }

    /// Where the session is attached here.
    pub fn attachment(&self, session: SessionId) -> Option<Attachment> {
        self.live.get(&session)?.attachment
    }

    /// Sessions from id `from` on, by id; starting costs O(log n), so that a long listing can go in slices.
    pub fn views_from(&self, from: SessionId) -> impl Iterator<Item = SessionView> + '_ {
        self.image.timeouts.range(from..).filter_map(|(&session, &timeout_ms)| {
            let live = self.live.get(&session)?;
            Some(SessionView { session, timeout_ms, attachment: live.attachment, closing: live.closing })
        })
    }

    /// Sessions attached nowhere here with the tick at which they expire, local ones behind the others, each by tick, then
    /// id.
    pub fn by_deadline(&self) -> Vec<(Millis, SessionId)> {
        let mut all = self.unattached.by_deadline();
        all.extend(self.local_clock.by_deadline());
        all
    }

    fn track(&mut self, session: SessionId, timeout_ms: i32, now: Millis) {
        let live = Live {
            // Nobody's: the first that is given out is 1.
            generation: Generation(0),
            attachment: None,
            timeout_ms: as_duration(timeout_ms),
            closing: false,
            moves: Moves::default(),
        };
        self.start_clock(session, now, live.timeout_ms);
        self.live.insert(session, live);
    }

    fn invariants(&self) {
        let known = self.image.len() + self.locals.len();
        assert!(self.live.len() == known, "image, local sessions and live state name the same sessions");
        assert!(self.unattached.len() <= self.image.len(), "only sessions have clocks");
        assert!(self.local_clock.len() <= self.locals.len(), "only sessions have clocks");
        debug_assert!(self.image.sessions().all(|(session, _)| {
            let live = self.live.get(&session).expect("the image holds what is tracked");
            let has_clock = self.unattached.deadline(session).is_some();
            has_clock == (live.attachment.is_none() && !live.closing)
        }));
    }
}

/// Negotiated timeouts are positive; what an old log holds may be anything.
fn as_duration(timeout_ms: i32) -> u64 {
    u64::try_from(timeout_ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TICK: u64 = 2000;
    const A: SessionId = SessionId(0x100_0000_0000_0001);
    const B: SessionId = SessionId(0x100_0000_0000_0002);

    fn at(connection: u64) -> Attachment {
        Attachment { shard: ShardId(connection as u8 % 3), connection: ConnectionId(connection) }
    }

    fn path(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    fn table_with(sessions: &[SessionId]) -> SessionTable {
        let mut table = SessionTable::new(TICK);
        for &session in sessions {
            table.open(session, 4000, Millis(0));
        }
        table.invariants();
        table
    }

    #[test]
    fn a_session_nobody_holds_expires_within_a_tick_after_its_timeout() {
        let mut table = table_with(&[A]);
        assert!(table.poll(Millis(5999)).is_empty());
        assert!(table.is_open(A));
        assert_eq!(table.poll(Millis(6000)), vec![A]);
        assert!(!table.is_open(A));
        assert!(table.contains(A), "it stays until its closeSession is applied");
        assert!(table.poll(Millis(100_000)).is_empty(), "and expires once");
        assert_eq!(table.close(A), None);
        assert!(!table.contains(A));
    }

    #[test]
    fn an_attached_session_is_its_shards_to_expire() {
        let mut table = table_with(&[A]);
        let held = table.attach(A, at(1), 4000, Millis(10)).expect("open");
        assert!(table.poll(Millis(1_000_000)).is_empty());
        assert!(!table.expire_attached(A, Generation(held.generation.0 + 1)));
        assert!(table.expire_attached(A, held.generation));
        assert!(!table.expire_attached(A, held.generation), "only once");
        assert_eq!(table.close(A), Some(at(1)));
    }

    #[test]
    fn a_takeover_ends_the_old_generation_and_names_the_old_connection() {
        let mut table = table_with(&[A]);
        let first = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        assert_eq!(first.previous, None);
        let second = table.attach(A, at(2), 4000, Millis(1)).expect("open");
        assert_eq!(second.previous, Some(at(1)));
        assert!(!table.is_current(A, first.generation));
        assert!(table.is_current(A, second.generation));
        // The old connection's farewell does not touch the new one.
        assert!(!table.detach(A, first.generation, Millis(1)));
        assert_eq!(table.attachment(A), Some(at(2)));
        assert!(table.poll(Millis(1_000_000)).is_empty());
    }

    #[test]
    fn after_a_detach_the_clock_runs_from_the_last_word_with_the_connections_timeout() {
        let mut table = table_with(&[A]);
        let held = table.attach(A, at(1), 9000, Millis(0)).expect("open");
        assert!(table.detach(A, held.generation, Millis(1500)));
        assert!(!table.detach(A, held.generation, Millis(1500)), "only once");
        assert!(table.is_current(A, held.generation), "what it sent before still counts");
        assert!(table.poll(Millis(11_999)).is_empty());
        assert_eq!(table.poll(Millis(12_000)), vec![A]);
    }

    #[test]
    fn a_session_survives_a_connection_loss_shorter_than_its_timeout() {
        let mut table = table_with(&[A]);
        table.add_ephemeral(A, path("/e"));
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.detach(A, held.generation, Millis(1000));
        assert!(table.poll(Millis(4999)).is_empty());
        let again = table.attach(A, at(2), 4000, Millis(5000)).expect("still there");
        assert_eq!(again.previous, None);
        assert!(table.poll(Millis(60_000)).is_empty());
        assert_eq!(table.image().ephemerals_of(A).count(), 1);
    }

    #[test]
    fn another_server_takes_a_session_away_and_reports_for_it() {
        let mut table = table_with(&[A]);
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        assert_eq!(table.take_away(B, Millis(1)), None, "unknown");
        assert_eq!(table.take_away(A, Millis(1000)), Some(at(1)));
        assert_eq!(table.take_away(A, Millis(1000)), None, "nobody has it here");
        assert!(!table.is_current(A, held.generation), "what the old connection sends does not land");
        assert!(!table.detach(A, held.generation, Millis(50_000)));
        assert!(table.touch_for(A, Millis(2000), 9000));
        assert_eq!(table.by_deadline(), vec![(Millis(12_000), A)]);
        assert!(table.touch_for(A, Millis(2500), 0), "with the timeout it has");
        assert_eq!(table.by_deadline(), vec![(Millis(12_000), A)]);
        assert_eq!(table.poll(Millis(12_000)), vec![A]);
        assert!(!table.touch_for(A, Millis(12_000), 9000), "closing");
        assert_eq!(table.take_away(A, Millis(12_000)), None);
        table.invariants();
    }

    #[test]
    fn closing_refuses_everything_and_ends_the_generation() {
        let mut table = table_with(&[A, B]);
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        assert!(table.mark_closing(A));
        assert!(!table.mark_closing(A));
        assert!(!table.is_current(A, held.generation));
        assert!(!table.touch(A, Millis(1)));
        assert_eq!(table.attach(A, at(2), 4000, Millis(1)), Err(Refused::Expired));
        assert!(table.detach(A, held.generation, Millis(1)), "the connection may go first");
        assert_eq!(
            table.poll(Millis(1_000_000)),
            vec![B],
            "a closing session has no clock; its neighbour has"
        );
        assert_eq!(table.close(A), None);
        assert_eq!(table.attach(A, at(2), 4000, Millis(1)), Err(Refused::Expired));
        assert_eq!(table.close(A), None, "closing twice is nothing");
    }

    #[test]
    fn opening_what_is_open_changes_the_timeout_alone() {
        let mut table = table_with(&[A]);
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.open(A, 9000, Millis(100));
        assert!(table.is_current(A, held.generation));
        assert_eq!(table.image().timeout_ms(A), Some(9000));
        table.detach(A, held.generation, Millis(200));
        assert_eq!(table.by_deadline(), vec![(Millis(10_000), A)]);
        table.open(A, 20_000, Millis(200));
        assert_eq!(table.by_deadline(), vec![(Millis(22_000), A)]);
        table.invariants();
    }

    #[test]
    fn a_generation_is_never_used_again_even_by_the_same_id() {
        let mut table = table_with(&[A]);
        let held = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        table.close(A);
        table.open(A, 4000, Millis(0));
        assert!(!table.is_current(A, held.generation));
        let again = table.attach(A, at(1), 4000, Millis(0)).expect("open");
        assert!(again.generation > held.generation);
    }

    #[test]
    fn touches_from_elsewhere_keep_a_session_alive() {
        let mut table = table_with(&[A]);
        for now in (0..100_000).step_by(1300) {
            assert!(table.poll(Millis(now)).is_empty());
            assert!(table.touch(A, Millis(now)));
        }
        assert!(!table.touch(B, Millis(0)), "unknown");
    }

    #[test]
    fn two_clients_that_fight_are_both_closed_for_a_second() {
        let mut table = table_with(&[A]);
        table.attach(A, at(0), 4000, Millis(500)).expect("open");
        for n in 1..SESSION_MOVES_MAX {
            table.attach(A, at(u64::from(n)), 4000, Millis(500)).expect("not yet");
        }
        let last = Some(at(u64::from(SESSION_MOVES_MAX) - 1));
        assert_eq!(table.attach(A, at(77), 4000, Millis(600)), Err(Refused::Fought { holder: last }));
        assert_eq!(table.attach(A, at(78), 4000, Millis(1599)), Err(Refused::Fought { holder: None }));
        assert_eq!(
            table.by_deadline(),
            vec![(Millis(6000), A)],
            "its clock runs from the last word of its holder"
        );
        assert!(table.attach(A, at(79), 4000, Millis(1600)).is_ok());
        // A client that moves now and then is no fighter.
        for n in 0..100 {
            table.attach(A, at(n), 4000, Millis(2000 + n * 150)).expect("six moves a second");
        }
    }

    #[test]
    fn a_new_leader_starts_every_clock_afresh() {
        let mut table = table_with(&[A, B]);
        table.poll(Millis(6000));
        assert!(!table.is_open(A));
        table.reload(Millis(7000));
        assert!(table.is_open(A) && table.is_open(B));
        assert!(table.poll(Millis(11_999)).is_empty());
        assert_eq!(table.poll(Millis(12_000)), vec![A, B]);

        let loaded = SessionTable::from_image(table.image().clone(), TICK, Millis(50_000));
        assert_eq!(loaded.by_deadline(), vec![(Millis(56_000), A), (Millis(56_000), B)]);
    }

    #[test]
    fn a_copy_of_the_image_does_not_see_later_changes() {
        let mut table = table_with(&[A]);
        table.add_ephemeral(A, path("/a"));
        let image = table.image().clone();
        table.open(B, 4000, Millis(0));
        table.add_ephemeral(B, path("/b"));
        table.remove_ephemeral(A, &path("/a"));
        table.close(A);
        assert_eq!(image.sessions().collect::<Vec<_>>(), vec![(A, 4000)]);
        assert_eq!(image.ephemerals().cloned().collect::<Vec<_>>(), vec![(A, path("/a"))]);
        assert_eq!(table.image().sessions().collect::<Vec<_>>(), vec![(B, 4000)]);
        assert_eq!(table.image().ephemeral_count(), 1);
    }

    #[test]
    fn ephemerals_of_one_owner_are_its_own_in_order() {
        let mut table = table_with(&[A, B]);
        for (owner, p) in [(A, "/z"), (B, "/b"), (A, "/a"), (A, "/a/b"), (SessionId(-5), "/old")] {
            assert!(table.add_ephemeral(owner, path(p)));
            assert!(!table.add_ephemeral(owner, path(p)));
        }
        let of = |owner| table.image().ephemerals_of(owner).cloned().collect::<Vec<_>>();
        assert_eq!(of(A), vec![path("/a"), path("/a/b"), path("/z")]);
        assert_eq!(of(B), vec![path("/b")]);
        assert_eq!(of(SessionId(-5)), vec![path("/old")]);
        assert_eq!(of(SessionId(1)), Vec::<Arc<[u8]>>::new());
    }

    #[test]
    fn views_resume_at_any_id() {
        let mut table = table_with(&[A, B]);
        table.attach(B, at(3), 4000, Millis(0)).expect("open");
        table.mark_closing(A);
        let all: Vec<_> = table.views_from(SessionId(i64::MIN)).collect();
        assert_eq!(all.len(), 2);
        assert!(all[0].closing && !all[1].closing);
        assert_eq!(table.views_from(B).next().expect("B").attachment, Some(at(3)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open(u8),
        Attach(u8),
        Detach(u8, u64),
        Touch(u8),
        Close(u8),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 1..4u8;
        prop_oneof![
            id.clone().prop_map(Step::Open),
            id.clone().prop_map(Step::Attach),
            (id.clone(), 0..3000u64).prop_map(|(id, ago)| Step::Detach(id, ago)),
            id.clone().prop_map(Step::Touch),
            id.prop_map(Step::Close),
            (0..5000u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn only_silent_sessions_without_a_connection_expire(steps in prop::collection::vec(step(), 1..150)) {
            let mut table = SessionTable::new(TICK);
            // Id to when it is due; `None` while attached.
            let mut model: BTreeMap<u8, Option<u64>> = BTreeMap::new();
            let mut held: BTreeMap<u8, Generation> = BTreeMap::new();
            let mut now = 10_000;
            for step in steps {
                match step {
                    Step::Open(id) if !model.contains_key(&id) => {
                        table.open(SessionId(id.into()), 4000, Millis(now));
                        model.insert(id, Some(now + 4000));
                    }
                    Step::Open(_) => {}
                    Step::Attach(id) => match table.attach(SessionId(id.into()), at(1), 4000, Millis(now)) {
                        Ok(attached) => {
                            let due = model.insert(id, None).expect("attached what exists");
                            prop_assert_eq!(due.is_none(), attached.previous.is_some());
                            held.insert(id, attached.generation);
                        }
                        Err(Refused::Expired) => prop_assert!(!model.contains_key(&id)),
                        Err(Refused::Fought { holder: Some(_) }) => { model.insert(id, Some(now + 4000)); }
                        Err(Refused::Fought { holder: None }) => prop_assert!(model[&id].is_some()),
                    },
                    Step::Detach(id, ago) => if let Some(&generation) = held.get(&id) {
                        let was_held = model.get(&id) == Some(&None);
                        prop_assert_eq!(table.detach(SessionId(id.into()), generation, Millis(now - ago)), was_held);
                        if was_held { model.insert(id, Some(now - ago + 4000)); }
                    },
                    Step::Touch(id) => {
                        prop_assert_eq!(table.touch(SessionId(id.into()), Millis(now)), model.contains_key(&id));
                        if let Some(Some(due)) = model.get_mut(&id) { *due = now + 4000; }
                    }
                    Step::Close(id) => {
                        table.close(SessionId(id.into()));
                        model.remove(&id);
                    }
                    Step::Advance(ms) => now += ms,
                }
                for session in table.poll(Millis(now)) {
                    let due = model.remove(&(session.0 as u8)).flatten();
                    prop_assert!(due.is_some_and(|due| due < now), "{} is early", session);
                    table.close(session);
                }
                for due in model.values().flatten() {
                    prop_assert!(due + TICK > now, "late");
                }
                table.invariants();
            }
        }
    }
}
