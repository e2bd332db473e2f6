#![forbid(unsafe_code)]
//! What a peer is told when it starts: bounds, and what its disk says.

use super::message::Payload;
use crate::base::{Epoch, ServerId, Zxid};

/// Times and bounds. All in ms where they are times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// This server.
    pub me: ServerId,
    /// `tickTime`.
    pub tick_ms: u64,
    /// `initLimit`, ticks: connecting, discovery and synchronization may take this.
    pub init_limit: u64,
    /// `syncLimit`, ticks: silence, or an unacknowledged proposal, may last this.
    pub sync_limit: u64,
    /// `connectToLearnerMasterLimit`, ticks: replaces `init_limit` for the connect alone; 0 does not.
    pub connect_limit: u64,
    /// First wait for notifications of a round; it doubles up to `notification_max_ms`
    /// (stock `fastleader.minNotificationInterval`, 200, and max, 60,000).
    pub notification_min_ms: u64,
    /// See `notification_min_ms`.
    pub notification_max_ms: u64,
    /// How long a won round waits for a better vote, while a linked voter has not been heard in it (stock 200).
    pub finalize_wait_ms: u64,
    /// Committed txns kept in memory for learners that are a little behind (stock `commitLogCount`).
    pub history_txns_max: usize,
    /// The same in bytes.
    pub history_bytes_max: usize,
    /// Proposals outstanding at once; past it [`super::Peer::next_zxid`] gives none.
    pub outstanding_max: usize,
    /// Learners that are brought up to date with a whole state at once, before more observers are refused; followers never
    /// are (stock `leader.maxConcurrentSnapSyncs`).
    pub snaps_max: usize,
    /// The same with txns (stock `leader.maxConcurrentDiffSyncs`).
    pub diffs_max: usize,
    /// Whether followers serve observers, and an observer learns from one of them (`observerMasterPort`).
    pub observer_masters: bool,
    /// An observer that loses its master waits for less than this before it looks for a leader, ms (stock
    /// `observer.election.DelayMs`).
    pub observer_election_delay_ms: u64,
    /// An observer waits for less than this before it connects to its leader, or once every other master was tried in vain,
    /// ms (stock `observer.reconnectDelayMs`).
    pub observer_reconnect_delay_ms: u64,
    /// For the order in which masters are tried, and these waits.
    pub seed: u64,
    /// Proposals of an epoch; past it the leader gives up, so that another epoch begins (ZOOKEEPER-1277). Below 2^32 with
    /// room for what is outstanding.
    pub counter_max: u32,
}

/// What the disk says at start, and again after nothing else: a peer knows its own disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Durable {
    /// Highest epoch accepted.
    pub accepted: Epoch,
    /// Epoch of the last history taken over. Below that of `last_logged` where a crash came between the two: the peer
    /// raises it, durably, before it votes.
    pub current: Epoch,
    /// End of the log.
    pub last_logged: Zxid,
    /// What is known to be committed, and was applied: the log records it. At most `last_logged`.
    pub committed: Zxid,
    /// What an established leader is known to have called committed: the same as `committed`, unless the last thing that
    /// happened was [`super::Action::InstallSnap`] and no [`super::Action::Commit`] followed. A leader that turned out
    /// not to be one may have sent a state that nobody else has.
    pub confirmed: Zxid,
    /// The newest txns of the log, oldest first, without a gap, up to `last_logged`: at least all above `committed`.
    pub history: Vec<(Zxid, Payload)>,
    /// Whether this server may vote (reliability R11): its disk proves what it promised.
    pub admitted: bool,
    /// Whether it does so only until it hears of an ensemble that has had a leader: its disk was found empty, and nobody
    /// says that it is a new server's.
    pub provisional: bool,
}
