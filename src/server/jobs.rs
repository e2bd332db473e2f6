#![forbid(unsafe_code)]
//! Long answers in slices, so that heartbeats and short requests pass in between (DESIGN §2 rule 9): the count of a
//! large subtree, the names of a large directory, a setWatches with many paths.
//!
//! Lives on: each shard. A job belongs to the request at the head of its connection's queue, which stays there until
//! the job is done: the connection's later requests wait, those of others do not. One slice a turn; the shard does not
//! park while there is a job.
//!
//! Invariant: an answer is from the zxid of the turn that ends it, so that what a connection sees never goes back: a
//! listing that changed while it was copied is copied anew, in one go. A count may mix zxids, as
//! stock's does.
//!
//! Not here: what a short request answers (`reads.rs`), multiReads, which are bounded by the frame they came in.

use super::connection::{Held, Pending, Phase};
use super::reads::Refused;
use super::replies::Answer;
use super::shard::Shard;
use crate::base::{ConnectionId, Millis, Zxid, limits};
use crate::pipeline::acl;
use crate::tree::{Descendants, Listing, Progress as Counting, View, Znode};
use crate::watches::{Hold, NodeZxids, Progress, Rearm, SetWatchesRun, Watch};
use crate::wire::jute::{Writer, echo_bytes};
use crate::wire::reply;
use crate::wire::request::{Request, SetWatches};
use crate::wire::{ErrorCode, OpCode, perms};

/// An answer in the making.
pub(super) struct Job {
    work: Work,
    /// Interest in the paths whose watches the next slice, or the end, sets.
    pub(super) holds: Vec<Hold>,
}

enum Work {
    Count(Descendants),
    Names(Names),
    Rearm(SetWatchesRun),
}

/// A copy of a list of children.
struct Names {
    listing: Listing,
    czxid: Zxid,
    pzxid: Zxid,
    /// The frame of the reply; its zxid is put in last.
    frame: Vec<u8>,
    end: reply::FrameEnd,
}

impl Names {
    fn of(znode: &Znode<'_>, xid: i32) -> Names {
        let listing = znode.listing();
        let mut frame = Vec::new();
        let end = reply::begin(&mut frame, xid, 0, 0);
        frame.int(i32::try_from(listing.count()).unwrap_or(i32::MAX));
        Names { listing, czxid: znode.czxid(), pzxid: znode.pzxid(), frame, end }
    }

    /// Copies further names; whether there are more.
    fn next_slice(&mut self) -> bool {
        let first = self.frame.len() < 64;
        let frame = &mut self.frame;
        let more = self.listing.next_slice(limits::SLICE_NAMES, |name| frame.string(name));
        if first {
            // Room for names as long as these, so that what is there is not copied again and again.
            let bytes = frame.len() / limits::SLICE_NAMES * self.listing.count() as usize;
            frame.reserve(bytes.saturating_sub(frame.len()));
        }
        more
    }
}

/// What the reply says. Stock keeps the root under both of its names, and counts the other one for the empty path
/// (`DataTree.getAllChildrenNumber`).
fn shown_count(descendants: &Descendants, path: &[u8]) -> i32 {
    i32::try_from(descendants.count() + u64::from(path.is_empty())).unwrap_or(i32::MAX)
}

/// How a slice ended.
enum Slice {
    More,
    /// Body of the reply.
    Done(Vec<u8>),
    /// The whole frame of the reply.
    Framed(Vec<u8>),
    Refused(Refused),
    /// What the job stood on is gone: answer the request from the start.
    Again,
}

impl Shard {
    /// The request goes on later: its connection's queue stands still until then.
    fn begin_job(&mut self, id: ConnectionId, work: Work) -> Refused {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.job = Some(Box::new(Job { work, holds: Vec::new() }));
            self.jobs.push_back(id);
        }
        Refused::Later
    }

    /// Gives back what a job holds.
    pub(super) fn end_job(&mut self, job: Job) {
        for hold in job.holds {
            self.watches.disarm(hold);
        }
    }

    /// One slice of the job whose turn it is.
    pub(super) fn continue_jobs(&mut self, view: &View<'_>, now: Millis) {
        let Some(id) = self.jobs.pop_front() else { return };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(mut job) = connection.job.take() else { return };
        let held = match connection.pending.pop_front() {
            Some(Pending::Held(held)) if connection.phase != Phase::Closing && !connection.abort => {
                connection.held_bytes -= held.body.len();
                connection.asked_as.clone_from(&held.identities);
                held
            }
            _ => return self.end_job(*job),
        };
        match self.slice(id, &mut job, &held, view) {
            Slice::More => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.held_bytes += held.body.len();
                    connection.pending.push_front(Pending::Held(held));
                    connection.job = Some(job);
                    self.jobs.push_back(id);
                }
                return;
            }
            Slice::Again => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.held_bytes += held.body.len();
                    connection.pending.push_front(Pending::Held(held));
                }
                self.end_job(*job);
                return self.may_move(id);
            }
            Slice::Done(body) => self.replied(id, &held, view.at(), Ok(()), &body, now),
            Slice::Refused(refused) => self.replied(id, &held, view.at(), Err(refused), &[], now),
            Slice::Framed(frame) => {
                let op = OpCode::from_i32(held.op).unwrap_or(OpCode::GetChildren);
                let answer = Answer { xid: held.xid, zxid: view.at(), op, received: held.received, err: 0 };
                self.reply_framed(id, answer, frame, now);
            }
        }
        self.end_job(*job);
        self.may_move(id);
    }

    fn slice(&mut self, id: ConnectionId, job: &mut Job, held: &Held, view: &View<'_>) -> Slice {
        let request = OpCode::from_i32(held.op).and_then(|op| Request::decode(op, &held.body).ok());
        match (&mut job.work, request) {
            (Work::Count(descendants), _) => match descendants.next_slice(view, limits::SLICE_ZNODES) {
                Counting::More => Slice::More,
                Counting::Aborted => Slice::Again,
                Counting::Done => {
                    let mut body = Vec::new();
                    let asked = Request::decode(OpCode::GetAllChildrenNumber, &held.body);
                    let path = match asked {
                        Ok(Request::GetAllChildrenNumber(path)) => path.unwrap_or_default(),
                        _ => b"/",
                    };
                    body.int(shown_count(descendants, path));
                    Slice::Done(body)
                }
            },
            (Work::Names(names), Some(request)) => {
                if names.next_slice() {
                    Slice::More
                } else {
                    self.finish_names(id, names, &request, view)
                }
            }
            (Work::Rearm(run), Some(Request::SetWatches(set))) => {
                if job.holds.is_empty() {
                    job.holds = self.arm_slice(run, &set, view);
                }
                if job.holds.iter().any(|hold| hold.ready_at > view.at()) {
                    return Slice::More;
                }
                let result = self.set_watches(id, &set, run, limits::SLICE_WATCHES, view);
                for hold in job.holds.drain(..) {
                    self.watches.disarm(hold);
                }
                match result {
                    Ok(Progress::More) => Slice::More,
                    Ok(Progress::Done) => Slice::Done(Vec::new()),
                    Err(refused) => Slice::Refused(refused),
                }
            }
            // The request decoded when its job began, and is the same.
            (Work::Names(_) | Work::Rearm(_), _) => Slice::Refused(ErrorCode::MarshallingError.into()),
        }
    }

    /// All names are copied: sets the watch and seals the frame, if the list is still what was copied.
    fn finish_names(
        &mut self,
        id: ConnectionId,
        names: &mut Names,
        request: &Request<'_>,
        view: &View<'_>,
    ) -> Slice {
        let (Request::GetChildren(read) | Request::GetChildren2(read)) = request else { return Slice::Again };
        let Some(mut reader) = self.reader(id, view, u32::MAX) else { return Slice::Done(Vec::new()) };
        let (znode, path) = match reader.readable(read.path) {
            Ok(found) => found,
            Err(refused) => return Slice::Refused(refused),
        };
        let mut frame = std::mem::take(&mut names.frame);
        if (znode.czxid(), znode.pzxid()) != (names.czxid, names.pzxid) {
            let mut body = Vec::new();
            return match reader.answer(request, &mut body) {
                Ok(()) => Slice::Done(body),
                Err(refused) => Slice::Refused(refused),
            };
        }
        if let Err(refused) = reader.set_watch(path, read.watch, Watch::Child) {
            return Slice::Refused(refused);
        }
        if matches!(request, Request::GetChildren2(_)) {
            znode.stat().encode(&mut frame);
        }
        names.end.finish_at(&mut frame, view.at().0);
        Slice::Framed(frame)
    }

    /// The names of a large directory, which the request may read.
    pub(super) fn begin_names(
        &mut self,
        id: ConnectionId,
        xid: i32,
        request: &Request<'_>,
        view: &View<'_>,
    ) -> Refused {
        let (Request::GetChildren(read) | Request::GetChildren2(read)) = request else {
            return ErrorCode::Unimplemented.into();
        };
        match read.path.and_then(|path| view.find(path)) {
            Some(znode) => self.begin_job(id, Work::Names(Names::of(&znode, xid))),
            None => ErrorCode::NoNode.into(),
        }
    }

    /// client-protocol §4.18: at once if it is soon done.
    pub(super) fn count_descendants(
        &mut self,
        id: ConnectionId,
        path: Option<&[u8]>,
        view: &View<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let znode = view.find(path.ok_or(ErrorCode::MarshallingError)?).ok_or(ErrorCode::NoNode)?;
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        if !acl::check(znode.acl(), perms::READ, connection.asker(), &self.settings.policy) {
            return Err(ErrorCode::NoAuth.into());
        }
        let mut descendants = Descendants::of(&znode);
        if descendants.next_slice(view, limits::SLICE_ZNODES) == Counting::More {
            return Err(self.begin_job(id, Work::Count(descendants)));
        }
        out.int(shown_count(&descendants, path.unwrap_or_default()));
        Ok(())
    }

    /// A setWatches: at once, or in slices.
    pub(super) fn rearm(
        &mut self,
        id: ConnectionId,
        set: &SetWatches<'_>,
        view: &View<'_>,
    ) -> Result<(), Refused> {
        if is_long(set) {
            return Err(self.begin_job(id, Work::Rearm(SetWatchesRun::default())));
        }
        self.set_watches(id, set, &mut SetWatchesRun::default(), usize::MAX, view).map(|_| ())
    }

    /// Interest in what the next slice of `run` watches. A path that ends the run with an error is its own matter.
    fn arm_slice(&mut self, run: &SetWatchesRun, set: &SetWatches<'_>, view: &View<'_>) -> Vec<Hold> {
        let mut holds = Vec::new();
        let watches = &mut self.watches;
        // As if nothing had changed: every entry but those of exists registers its watch, and theirs is on data.
        let node = |_: &[u8]| Some(NodeZxids { mzxid: i64::MIN, pzxid: i64::MIN });
        let act = |path: &[u8], rearm: Rearm| {
            let watch = match rearm {
                Rearm::Register(watch) => watch,
                Rearm::Fire(_) => Watch::Data,
            };
            holds.push(watches.arm(path, watch, || view.begun()));
            Ok::<(), ErrorCode>(())
        };
        let mut ahead = *run;
        let _the_run_itself_says = ahead.advance(set, limits::SLICE_WATCHES, node, act);
        holds
    }

    /// client-protocol §6.5: an event now, or a watch; events leave before the reply, with zxid -1.
    fn set_watches(
        &mut self,
        id: ConnectionId,
        set: &SetWatches<'_>,
        run: &mut SetWatchesRun,
        entries_max: usize,
        view: &View<'_>,
    ) -> Result<Progress, Refused> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(Progress::Done) };
        let watches = &mut self.watches;
        let metrics = &mut self.metrics;
        let at = view.at();
        let node = |path: &[u8]| {
            let znode = view.find(path)?;
            Some(NodeZxids { mzxid: znode.mzxid().0, pzxid: znode.pzxid().0 })
        };
        let act = |path: &[u8], rearm: Rearm| match rearm {
            Rearm::Register(watch) => watches.add(path, id, watch, at).map_err(|_| Refused::TooManyWatches),
            Rearm::Fire(event) => {
                let before = connection.output.buffer().len();
                reply::notification(connection.output.buffer(), -1, event, &echo_bytes(path));
                metrics.event_sent(connection.output.buffer().len() - before);
                connection.stats.packet_sent();
                Ok(())
            }
        };
        let progress = run.advance(set, entries_max, node, act);
        self.mark(id);
        progress
    }
}

/// Whether a setWatches is worth slices.
pub(super) fn is_long(set: &SetWatches<'_>) -> bool {
    let entries = set.lists.iter().flatten().map(Vec::len).sum::<usize>();
    entries > limits::SLICE_WATCHES
}
