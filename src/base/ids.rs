#![forbid(unsafe_code)]
//! A newtype for every number that travels. All are plain 32- or 64-bit integers on the wire; the types keep
//! a zxid from being passed where a session id belongs.

use std::fmt;

/// The position of a txn in the order of all changes: the epoch in the high 32 bits, a counter in the low 32.
/// Compared as a signed 64-bit number (stock `ZxidUtils`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before the first txn of an empty database.
    pub const ZERO: Zxid = Zxid(0);
    /// Later than any txn: a reader that wants the newest version whatever it is.
    pub const MAX: Zxid = Zxid(i64::MAX);

    /// The epoch half.
    pub fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// The counter half.
    pub fn counter(self) -> u32 {
        self.0 as u32
    }

    /// Builds a zxid from its halves.
    pub fn from_parts(epoch: Epoch, counter: u32) -> Zxid {
        Zxid((i64::from(epoch.0) << 32) | i64::from(counter))
    }

    /// The zxid one later. On a single server the counter carries over into the high half, as stock's does.
    #[must_use]
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }

    /// Whether `self` comes directly after `earlier`: one counter step, or the first txn of a later epoch.
    pub fn follows(self, earlier: Zxid) -> bool {
        self.0 == earlier.0 + 1 || (self.epoch() > earlier.epoch() && self.counter() == 1)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Zab's era: raised with each leader. Only that; memory reclamation says pin and guard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Epoch(pub u32);

/// A server of the ensemble (`myid`); 1 on a single server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ServerId(pub i64);

/// A client's session. 0 asks for a new one and never names one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: persistent znodes' owner, internal requests' session.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A client's number for its request, echoed in the reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Xid(pub i32);

/// Milliseconds of a monotonic clock; its origin is the start of the process (or of the simulation). Timers use
/// nothing else (reliability P15).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Millis(pub u64);

impl Millis {
    /// `self` + `ms`, saturating.
    #[must_use]
    pub fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970 by the wall clock: data (ctime, mtime), never a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallMillis(pub i64);

/// Which shard (a core serving clients). At most 63: one bit each in the interest table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ShardId(pub u8);

/// One TCP connection of one shard; never reused while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct ConnectionId(pub u64);

/// Which attachment of a session a request came through. The sequencer raises it each time a connection takes the
/// session over, and prep refuses writes of an older one (DESIGN §2, rule 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Generation(pub u64);
