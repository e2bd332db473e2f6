#![forbid(unsafe_code)]
//! Requests that are answered on the shard: reads and what concerns watches. Arming comes first, so that no change falls
//! between what a client reads and what it waits for (DESIGN §2 rule 4). Lives on: each shard.
//!
//! Not here: what a read says (`reads.rs`), answers too long for one turn (`jobs.rs`), how a reply is framed
//! (`replies.rs`).

use super::connection::Held;
use super::jobs;
use super::reads::{self, Reader, Refused};
use super::shard::{Shard, is_request};
use crate::base::{ConnectionId, Millis, Zxid, limits};
use crate::runtime::messages::Serving;
use crate::tree::View;
use crate::watches::{Hold, Watch, WatchType};
use crate::wire::jute::Writer;
use crate::wire::request::Request;
use crate::wire::{ErrorCode, OpCode};

/// What came of a request that is answered here.
pub(super) enum Answered {
    /// The reply is in the output.
    Yes,
    /// Not before `applied` has come so far.
    NotBefore(Zxid, Vec<Hold>),
    /// A job of the connection makes it.
    Later,
}

impl Shard {
    /// The connection's head read is not answered any more.
    pub(super) fn forget_waiting(&mut self, id: ConnectionId) {
        while let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            for hold in self.waiting.swap_remove(at).1 {
                self.watches.disarm(hold);
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.waits_for = None;
        }
    }

    pub(super) fn wait_for(&mut self, id: ConnectionId, zxid: Zxid, holds: Vec<Hold>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.waits_for = Some(zxid);
        }
        self.waiting.push((id, holds));
    }

    /// Answers a request that needs no sequencer, if this turn's zxid is late enough for the watches it sets.
    pub(super) fn answer(
        &mut self,
        id: ConnectionId,
        held: &Held,
        body: &[u8],
        view: &View<'_>,
        now: Millis,
    ) -> Answered {
        let at = view.at();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.asked_as.clone_from(&held.identities);
        }
        let Some(op) = OpCode::from_i32(held.op).filter(|op| is_request(*op)) else {
            self.reply_error(id, held, -1, ErrorCode::Unimplemented);
            self.finish(id);
            return Answered::Yes;
        };
        if let Some(refusal) = held.pass.refusal {
            if refusal == ErrorCode::ThrottledOp {
                self.metrics.throttled();
            }
            self.reply_error(id, held, at.0, refusal);
            return Answered::Yes;
        }
        let request = match Request::decode(op, body) {
            Ok(request) => request,
            Err(error) => {
                self.note_undecodable(id, op, error);
                // A read-only server looks no further than at what is asked (`ReadOnlyRequestProcessor`).
                let refused = self.serving == Serving::ReadOnly && (op.is_write() || op == OpCode::Sync);
                let code = if refused { ErrorCode::NotReadOnly } else { ErrorCode::MarshallingError };
                self.reply_error(id, held, at.0, code);
                return Answered::Yes;
            }
        };
        let holds = match self.arm(id, &request, view) {
            Ok(holds) => holds,
            Err((zxid, holds)) => return Answered::NotBefore(zxid, holds),
        };
        let mut out = std::mem::take(&mut self.scratch);
        let result = self.answer_into(id, held.xid, &request, view, &mut out);
        if result == Err(Refused::Later)
            && let Some(job) = self.connections.get_mut(&id).and_then(|connection| connection.job.as_mut())
        {
            job.holds = holds;
            self.scratch = out;
            return Answered::Later;
        }
        for hold in holds {
            self.watches.disarm(hold);
        }
        self.replied(id, held, at, result, &out, now);
        self.keep_scratch(out);
        Answered::Yes
    }

    /// Takes the buffer of an answer back.
    pub(super) fn keep_scratch(&mut self, mut out: Vec<u8>) {
        out.clear();
        // A long listing's is not kept.
        self.scratch = if out.capacity() > 1 << 20 { Vec::new() } else { out };
    }

    /// Arms the interest that the request's watches need, or takes what an earlier try armed.
    fn arm(
        &mut self,
        id: ConnectionId,
        request: &Request<'_>,
        view: &View<'_>,
    ) -> Result<Vec<Hold>, (Zxid, Vec<Hold>)> {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let (_, holds) = self.waiting.swap_remove(at);
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.waits_for = None;
            }
            return Ok(holds);
        }
        let mut holds = Vec::new();
        let tree = &self.tree;
        let watches = &mut self.watches;
        match request {
            // A long one arms slice by slice.
            Request::SetWatches(set) if jobs::is_long(set) => {}
            Request::SetWatches(set) => {
                let lists = set.lists.iter().zip(crate::watches::SetWatchesList::ALL);
                for (paths, list) in lists {
                    for path in paths.iter().flatten().flatten() {
                        holds.push(watches.arm(path, list.watch(), || tree.begun()));
                    }
                }
            }
            Request::AddWatch(add) => {
                if let (Some(path), Some(watch)) = (add.path, Watch::of_mode(add.kind)) {
                    holds.push(watches.arm(path, watch, || tree.begun()));
                }
            }
            request => {
                if let Some((path, watch)) = reads::watch_of(request) {
                    holds.push(watches.arm(path, watch, || tree.begun()));
                }
            }
        }
        match holds.iter().map(|hold| hold.ready_at).max() {
            Some(ready_at) if ready_at > view.at() => Err((ready_at, holds)),
            _ => Ok(holds),
        }
    }

    fn answer_into(
        &mut self,
        id: ConnectionId,
        xid: i32,
        request: &Request<'_>,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        match request {
            Request::Ping => Ok(()),
            Request::SetWatches(set) => self.rearm(id, set, view),
            Request::AddWatch(add) => {
                let watch = Watch::of_mode(add.kind).ok_or(ErrorCode::MarshallingError)?;
                let path = add.path.ok_or(ErrorCode::MarshallingError)?;
                self.watches.add(path, id, watch, view.at()).map_err(|_| Refused::TooManyWatches)?;
                out.int(0);
                Ok(())
            }
            Request::CheckWatches(check) => {
                let kind = WatchType::from_i32(check.kind).ok_or(ErrorCode::MarshallingError)?;
                let found = check.path.is_some_and(|path| self.watches.check(path, id, kind));
                if found { Ok(()) } else { Err(ErrorCode::NoWatcher.into()) }
            }
            Request::RemoveWatches(remove) => {
                let kind = WatchType::from_i32(remove.kind).ok_or(ErrorCode::MarshallingError)?;
                let found = remove.path.is_some_and(|path| self.watches.remove(path, id, kind));
                if found { Ok(()) } else { Err(ErrorCode::NoWatcher.into()) }
            }
            Request::GetAllChildrenNumber(path) => self.count_descendants(id, *path, view, out),
            request => {
                let Some(mut reader) = self.reader(id, view, limits::LISTING_WHOLE_MAX) else {
                    return Ok(());
                };
                match reader.answer(request, out) {
                    Err(Refused::Later) => Err(self.begin_names(id, xid, request, view)),
                    result => result,
                }
            }
        }
    }

    /// Reads `view` for a connection; lists of up to `listing_max` children are answered whole.
    pub(super) fn reader<'a>(
        &'a mut self,
        id: ConnectionId,
        view: &'a View<'a>,
        listing_max: u32,
    ) -> Option<Reader<'a>> {
        Some(Reader {
            view,
            identities: self.connections.get(&id)?.asker(),
            policy: &self.settings.policy,
            watches: &mut self.watches,
            connection: id,
            listing_max,
        })
    }
}
