#![forbid(unsafe_code)]
//! Writes that go ahead of reads: in a pipeline of both, a write is handed to the sequencer while reads before it wait
//! for an earlier write, if each of those reads can still be answered from the state at which it stands.
//!
//! Such a read is *passed*: it stands in `pending` between two requests at the sequencer. It is answered the moment the
//! outcome of the one before it is taken, from that outcome's zxid. Outcomes come in the order of zxids, so everything up
//! to there has been announced and nothing later has; and the shard's anchor, set before the outcome could come, keeps
//! the versions that were replaced since (`tree/reader.rs`). What the client sees is what it would see had the write
//! waited: none of its own later writes, no change before the event of it, zxids that never go back.
//!
//! A sync is answered when a quorum has been heard, in no order with the commits of writes that come after it. So nothing
//! but another sync is handed over behind one: what a client reads behind its sync would show its own later writes, and
//! zxids would go back.
//!
//! Lives on: each shard. Not passed is what sets or looks for watches (interest must be armed before the zxid at which a
//! watch begins), what a job may have to answer, and what is long: an answer cannot wait for room in the output here, so
//! the bytes that answers of one connection may take beyond its bound are counted before it is passed.

use super::connection::{Connection, Held, Pending};
use super::shard::Shard;
use crate::base::{ConnectionId, Millis, limits};
use crate::tree::{Anchor, TreeReader, View};
use crate::wire::OpCode;
use crate::wire::request::Request;

/// What a turn may read of the tree.
pub(super) struct Turn<'a> {
    /// At the zxid of the turn.
    pub view: &'a View<'a>,
    /// From the zxid of an earlier turn on.
    pub anchor: &'a Anchor,
}

/// The anchor that a shard holds while the sequencer has something of its own, and the one that takes its place in the
/// next turn.
///
/// Each is set before the view of its turn is pinned, or before the first submission: the outcomes that later turns take
/// are of that zxid or later, since earlier ones were in the queue by then and were taken.
#[derive(Default)]
pub(super) struct Anchors {
    pub held: Anchor,
    pub next: Anchor,
}

impl Anchors {
    /// The outcomes of this turn are taken: lets go of what only they needed.
    pub(super) fn turn(&mut self) {
        std::mem::swap(&mut self.held, &mut self.next);
        self.next.lift();
    }

    /// Something is about to be submitted.
    pub(super) fn hold(&mut self, tree: &TreeReader) {
        if !self.held.is_set() {
            self.held.set(tree);
        }
    }
}

/// Whether a read may be passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Passing {
    /// Nobody asked.
    #[default]
    Unknown,
    /// No.
    Never,
    /// Yes; its answer takes about so many bytes.
    Bytes(usize),
}

/// Longest list of children that is passed, names.
const NAMES_MAX: u32 = 256;

/// Requests up to this length need not be told apart.
const SMALL_BYTES: usize = 1024;

/// A reply's header and a Stat, about.
const REPLY_BYTES: usize = 100;

/// What a connection's own requests at the sequencer may add to an answer, bytes.
#[derive(Clone, Copy)]
struct Own {
    /// To data or an access list, which one of them replaces.
    largest: usize,
    /// To a list of names, to which each may add.
    sum: usize,
}

impl Held {
    fn passing(&mut self, view: &View<'_>, own: Own) -> Passing {
        if self.passing == Passing::Unknown {
            self.passing =
                self.judge(view, own).map_or(Passing::Never, |bytes| Passing::Bytes(REPLY_BYTES + bytes));
        }
        self.passing
    }

    /// Bytes of the answer beyond a header and a Stat, at most, unless other sessions write meanwhile: what they do is
    /// bounded when it is answered.
    fn judge(&self, view: &View<'_>, own: Own) -> Option<usize> {
        if self.pass.refusal.is_some() {
            return None;
        }
        match Request::decode(OpCode::from_i32(self.op)?, &self.body).ok()? {
            Request::Ping | Request::WhoAmI => Some(0),
            Request::Exists(read) if !read.watch => Some(0),
            Request::GetData(read) if !read.watch => {
                let now = view.find(read.path?).and_then(|znode| znode.data()).map_or(0, <[u8]>::len);
                Some(now.max(own.largest))
            }
            Request::GetAcl(path) => {
                let acl_bytes = |acl: &[crate::wire::Acl]| {
                    acl.iter().map(|entry| 12 + entry.id.scheme.len() + entry.id.id.len()).sum()
                };
                let now: usize = view.find(path?).map_or(0, |znode| acl_bytes(znode.acl()));
                Some(now.max(own.largest))
            }
            Request::GetChildren(read) | Request::GetChildren2(read) if !read.watch => {
                let Some(znode) = view.find(read.path?) else { return Some(own.sum) };
                let is_short = znode.child_count() <= NAMES_MAX;
                is_short.then(|| own.sum + znode.children().map(|name| 4 + name.len()).sum::<usize>())
            }
            _ => None,
        }
    }
}

impl Connection {
    /// Whether this request, which stands at `to`, may be submitted now: no sync before it waits for its answer, and
    /// nothing before it waits here, or all that does can be passed.
    pub(super) fn may_submit_at(&mut self, to: usize, op: Option<OpCode>, view: &View<'_>) -> bool {
        let from = self.awaiting;
        if self.own_syncs > 0 && op != Some(OpCode::Sync) {
            return false;
        }
        if from == to {
            return true;
        }
        // A read at the very front waits for something else than an outcome.
        if from == 0 {
            return false;
        }
        let own = self.own_unanswered();
        let mut bytes = self.passed_bytes;
        (from..to).all(|at| match self.pending.get_mut(at) {
            Some(Pending::Held(held)) => match held.passing(view, own) {
                Passing::Bytes(more) => {
                    bytes += more;
                    bytes <= limits::OUTPUT_SOFT_BYTES
                }
                Passing::Unknown | Passing::Never => false,
            },
            _ => false,
        })
    }

    /// What the requests at the sequencer may add to an answer.
    fn own_unanswered(&self) -> Own {
        let largest = if self.own_large > 0 { self.own_bytes } else { SMALL_BYTES };
        Own { largest, sum: self.own_bytes }
    }

    /// The write at the front was replied to.
    pub(super) fn own_answered(&mut self, op: OpCode, bytes: usize) {
        self.own_bytes -= bytes;
        self.own_large -= usize::from(bytes > SMALL_BYTES);
        self.own_syncs -= usize::from(op == OpCode::Sync);
    }

    /// The request at `to` was submitted: what stands before it is passed.
    pub(super) fn submitted_at(&mut self, to: usize) {
        for at in self.awaiting..to {
            if let Some(Pending::Held(Held { passing: Passing::Bytes(bytes), .. })) = self.pending.get(at) {
                self.passed_bytes += bytes;
            }
        }
        if let Some(Pending::Submitted(submitted)) = self.pending.get(to) {
            self.own_bytes += submitted.bytes;
            self.own_large += usize::from(submitted.bytes > SMALL_BYTES);
            self.own_syncs += usize::from(submitted.op == OpCode::Sync);
        }
        self.awaiting = to + 1;
    }

    /// Where the next request stands that only the sequencer can answer, behind reads that may be passed; the first that
    /// waits here, if none is; the end of the queue, where everything waits for a sync.
    pub(super) fn next_to_submit(&mut self, view: &View<'_>) -> usize {
        let from = self.awaiting;
        if from == 0 {
            return from;
        }
        let own = self.own_unanswered();
        let passable = |pending: &mut Pending| match pending {
            Pending::Held(held) => matches!(held.passing(view, own), Passing::Bytes(_)),
            Pending::Submitted(_) => false,
        };
        let mut at = from;
        while self.pending.get_mut(at).is_some_and(passable) {
            at += 1;
        }
        let op = match self.pending.get_mut(at) {
            Some(Pending::Held(held)) => OpCode::from_i32(held.op),
            _ => None,
        };
        match at < self.pending.len() && self.may_submit_at(at, op, view) {
            true => at,
            false if self.own_syncs > 0 => self.pending.len(),
            false => from,
        }
    }

    /// Whether a read that was passed is at the front.
    pub(super) fn has_passed_head(&self) -> bool {
        self.awaiting > 0 && matches!(self.pending.front(), Some(Pending::Held(_)))
    }
}

impl Shard {
    /// Answers the passed read at the front, from `view`.
    pub(super) fn answer_passed(&mut self, id: ConnectionId, view: &View<'_>, now: Millis) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(Pending::Held(held)) = connection.pending.pop_front() else { return };
        connection.awaiting -= 1;
        connection.held_bytes -= held.body.len();
        connection.asked_as.clone_from(&held.identities);
        if let Passing::Bytes(bytes) = held.passing {
            connection.passed_bytes -= bytes;
        }
        let request = OpCode::from_i32(held.op).and_then(|op| Request::decode(op, &held.body).ok());
        let mut out = std::mem::take(&mut self.scratch);
        let result = match request {
            Some(Request::Ping) | None => Ok(()),
            // There is no later to this zxid: a list is answered whole.
            Some(request) => match self.reader(id, view, u32::MAX) {
                Some(mut reader) => reader.answer(&request, &mut out),
                None => Ok(()),
            },
        };
        self.replied(id, &held, view.at(), result, &out, now);
        self.keep_scratch(out);
    }
}
