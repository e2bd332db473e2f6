#![forbid(unsafe_code)]
//! What crosses between a shard and the sequencer. Plain values: no channel, no callback.
//!
//! | direction | message | promises |
//! | --- | --- | --- |
//! | shard → sequencer | [`Submission`] | each with a [`Ticket`] or a connection gets exactly one outcome back |
//! | sequencer → shard | [`Outcome`] | in zxid order; everything up to a zxid is in the queue before `applied` reaches it |

use std::sync::Arc;

use crate::base::{ConnectionId, Epoch, Generation, Millis, ServerId, SessionId, WallMillis, Xid, Zxid};
use crate::pipeline::ReplyBody;
use crate::pipeline::acl::Identities;
use crate::runtime::metrics::{DiskMetrics, SequencerMetrics};
use crate::watches::ChangeEvent;
use crate::wire::OpCode;
use crate::zab::Figures;

/// Where the outcome of a submission belongs: a request of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The connection.
    pub connection: ConnectionId,
    /// The request's place among those of the connection.
    pub sequence: u64,
    /// Bytes of the request, which come back with the credit.
    pub bytes: u32,
}

/// From a shard.
#[derive(Debug)]
pub enum Submission {
    /// A write whose body was found decodable.
    Write(WriteRequest),
    /// Answer when everything submitted before it has been decided, here and by whoever leads.
    Sync {
        /// Whom to answer.
        ticket: Ticket,
        /// The session that asks.
        session: SessionId,
        /// The client's number.
        cxid: Xid,
        /// As asked.
        path: Box<[u8]>,
    },
    /// Answer with the session's ephemerals whose path begins so, as of everything submitted before it.
    Ephemerals {
        /// Whom to answer.
        ticket: Ticket,
        /// The session.
        session: SessionId,
        /// Characters, not components; empty for all.
        prefix: Box<[u8]>,
    },
    /// A client's handshake.
    Attach(AttachRequest),
    /// The connection is gone; the session lives on until its time is over.
    Detach {
        /// The session.
        session: SessionId,
        /// Which attachment.
        generation: Generation,
        /// When the client was last heard.
        last_heard: Millis,
        /// The timeout negotiated on that connection, ms.
        timeout_ms: u32,
    },
    /// The client was silent for its whole timeout.
    Expire {
        /// The session.
        session: SessionId,
        /// Which attachment.
        generation: Generation,
    },
    /// Clients that were heard of since the last such message, for the leader: sent by shards of a server that learns.
    Touched(Vec<Touched>),
    /// A word wants what the sequencer knows, then what every shard knows.
    Gather {
        /// Names the collection.
        id: u64,
        /// What the sequencer should add.
        what: Gather,
    },
    /// Every shard has added its part; tell the one that asked.
    Gathered {
        /// Names the collection.
        id: u64,
        /// The shard and connection that wait.
        shard: u8,
        /// The connection that asked.
        connection: ConnectionId,
    },
}

/// A session whose client was heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touched {
    /// The session.
    pub session: SessionId,
    /// The timeout negotiated on its connection, ms.
    pub timeout_ms: u32,
}

/// What a server is to its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Serving {
    /// A member without a leader: every client is closed, and none is let in.
    No,
    /// Without an ensemble.
    #[default]
    Alone,
    /// Leads, in this epoch.
    Leading(Epoch),
    /// Follows.
    Following,
    /// Observes.
    Observing,
    /// A member without a leader that lets clients read who ask for no more: what it has applied stays as it is, and
    /// no write is taken (stock `ReadOnlyZooKeeperServer`).
    ReadOnly,
}

impl Serving {
    /// Whether clients are served.
    pub fn is_serving(self) -> bool {
        self != Serving::No
    }

    /// Whether another server keeps the sessions' clocks, and is told who was heard of.
    pub fn learns(self) -> bool {
        matches!(self, Serving::Following | Serving::Observing)
    }
}

/// A write.
#[derive(Debug)]
pub struct WriteRequest {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The session.
    pub session: SessionId,
    /// Which attachment of it; an older one than the session's is refused (DESIGN §2 rule 7).
    pub generation: Generation,
    /// The client's number.
    pub cxid: Xid,
    /// What it asks.
    pub op: OpCode,
    /// The request's body, which decodes.
    pub body: Box<[u8]>,
    /// Identities of the connection when the request was received.
    pub identities: Identities,
    /// When it was received.
    pub received: Millis,
}

/// A handshake.
#[derive(Debug)]
pub struct AttachRequest {
    /// The connection.
    pub connection: ConnectionId,
    /// 0 for a new session.
    pub session: SessionId,
    /// As sent; compared on renewal only. Never logged.
    pub password: Box<[u8]>,
    /// Negotiated, ms.
    pub timeout_ms: u32,
}

/// Which part of the sequencer's state a word shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gather {
    /// Nothing of the sequencer's.
    Shards,
    /// Counts and latencies (`mntr`, `srvr`, `stat`).
    Metrics,
    /// Sessions by expiry, ephemerals by session (`dump`).
    Sessions,
    /// Digests kept (`hash`).
    Digests,
    /// Forget the counts (`srst`).
    Reset,
}

/// To a shard.
#[derive(Debug)]
pub enum Outcome {
    /// The answer to a write or a sync.
    Reply {
        /// The txn's place; for a sync, the last txn before it.
        zxid: Zxid,
        /// Whom it is for.
        ticket: Ticket,
        /// `err` of the reply header.
        err: i32,
        /// Empty when `err` is not 0.
        body: ReplyBody,
    },
    /// A change that a watch of this shard may wait for.
    Event(Arc<ChangeEvent>),
    /// The request came through an attachment that is no longer the session's: close, say nothing.
    Moved {
        /// Gate of this entry.
        zxid: Zxid,
        /// Whom it is for.
        ticket: Ticket,
    },
    /// The handshake succeeded.
    Attached {
        /// Gate of this entry: nothing of an older attachment lands after it.
        zxid: Zxid,
        /// The connection.
        connection: ConnectionId,
        /// The session.
        session: SessionId,
        /// This attachment.
        generation: Generation,
        /// Negotiated, ms.
        timeout_ms: u32,
    },
    /// The renewal is refused: unknown session or wrong password.
    Refused {
        /// Gate of this entry.
        zxid: Zxid,
        /// The connection.
        connection: ConnectionId,
    },
    /// The session went elsewhere or is closed: close the connection without a reply, unless its own closeSession
    /// reply is on its way.
    Close {
        /// Gate of this entry.
        zxid: Zxid,
        /// The connection.
        connection: ConnectionId,
        /// Which attachment of its session; another one is left alone.
        generation: Generation,
    },
    /// What this server is to its clients changed. With [`Serving::No`] every client connection is closed, those in a
    /// handshake included, and so is every one that begins a handshake later; words are answered as by a server that does
    /// not serve. Whatever was submitted is answered with [`Outcome::Moved`] or [`Outcome::Close`] besides.
    Serving {
        /// Gate of this entry.
        zxid: Zxid,
        /// From now on.
        serving: Serving,
    },
    /// Add this shard's part to a collection.
    Gather {
        /// Gate of this entry.
        zxid: Zxid,
        /// Names the collection.
        id: u64,
        /// What the sequencer added.
        part: Arc<SequencerPart>,
    },
    /// The collection is complete.
    Gathered {
        /// Gate of this entry.
        zxid: Zxid,
        /// Names the collection.
        id: u64,
        /// The connection that asked.
        connection: ConnectionId,
    },
}

impl Outcome {
    /// The shard may take this entry once it reads at this zxid or later.
    pub fn zxid(&self) -> Zxid {
        match self {
            Outcome::Event(event) => event.zxid,
            Outcome::Reply { zxid, .. }
            | Outcome::Moved { zxid, .. }
            | Outcome::Attached { zxid, .. }
            | Outcome::Refused { zxid, .. }
            | Outcome::Close { zxid, .. }
            | Outcome::Serving { zxid, .. }
            | Outcome::Gather { zxid, .. }
            | Outcome::Gathered { zxid, .. } => *zxid,
        }
    }
}

impl Outcome {
    /// The same, gated at `at`: an entry that waited takes the place in which it leaves. Events have theirs from their txn.
    #[must_use]
    pub fn at(mut self, at: Zxid) -> Outcome {
        match &mut self {
            Outcome::Event(_) => {}
            Outcome::Reply { zxid, .. }
            | Outcome::Moved { zxid, .. }
            | Outcome::Attached { zxid, .. }
            | Outcome::Refused { zxid, .. }
            | Outcome::Close { zxid, .. }
            | Outcome::Serving { zxid, .. }
            | Outcome::Gather { zxid, .. }
            | Outcome::Gathered { zxid, .. } => *zxid = at,
        }
        self
    }

    /// What goes out at `at` in the place of an answer that cannot be given any more: the connection ends without a word,
    /// and whoever waits for a credit has it.
    #[must_use]
    pub fn withdrawn(self, at: Zxid) -> Outcome {
        let generation = Generation(u64::MAX);
        match self {
            Outcome::Reply { ticket, .. } => Outcome::Moved { zxid: at, ticket },
            Outcome::Attached { connection, .. } | Outcome::Refused { connection, .. } => {
                Outcome::Close { zxid: at, connection, generation }
            }
            other => other.at(at),
        }
    }
}

/// What the sequencer adds to a collection.
#[derive(Debug, Default)]
pub struct SequencerPart {
    /// Its counts.
    pub metrics: SequencerMetrics,
    /// Counts of loading and snapshots.
    pub disk: DiskMetrics,
    /// Open sessions of all servers.
    pub sessions: u64,
    /// Open sessions of this server's own.
    pub local_sessions: u64,
    /// Which they are, by id, for [`Gather::Sessions`]; `None` where sessions are never local.
    pub locals: Option<Vec<SessionId>>,
    /// Sessions attached nowhere here, by the time they expire.
    pub buckets: Vec<(Millis, Vec<SessionId>)>,
    /// Ephemerals by session.
    pub ephemerals: Vec<(SessionId, Vec<Arc<[u8]>>)>,
    /// Digests kept for `hash`.
    pub digests: Vec<(Zxid, i64)>,
    /// When it was taken, wall clock.
    pub taken: WallMillis,
    /// What this server is to its clients.
    pub serving: Serving,
    /// What a member counts: followers and observers that serve, learners that do not yet, syncs that wait.
    pub figures: Figures,
    /// Whom a member learns from; itself when it leads.
    pub master: Option<ServerId>,
    /// While learning or read-only, for [`Gather::Sessions`]: every session with its timeout as created, ms, by id.
    pub timeouts: Vec<(SessionId, i32)>,
}
