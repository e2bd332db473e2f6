#![forbid(unsafe_code)]
//! Requests that are answered from a view of the tree, without the sequencer (stock `FinalRequestProcessor`). The order
//! of checks in each is that of client-protocol §4.
//!
//! Lives on: each shard. Every answer is from the view's one zxid, which the reply header names (reliability P4).

use crate::base::{ConnectionId, path};
use crate::pipeline::acl::{self, Identities, Policy};
use crate::tree::{View, Znode};
use crate::watches::{Watch, WatchTable};
use crate::wire::jute::Writer;
use crate::wire::request::{PathWatch, ReadOp, Request};
use crate::wire::{ErrorCode, OpCode, encode_acls, jute, perms, reply};

/// Who reads, and what a watch is set in.
pub(super) struct Reader<'a> {
    pub view: &'a View<'a>,
    pub identities: &'a Identities,
    pub policy: &'a Policy,
    pub watches: &'a mut WatchTable,
    pub connection: ConnectionId,
    /// Longest list of children that is answered here.
    pub listing_max: u32,
}

/// Why a read has no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// The reply carries this code.
    Code(ErrorCode),
    /// The reply carries MarshallingError and, all the same, the body so far.
    Halfway,
    /// The connection has too many watches: close it.
    TooManyWatches,
    /// Nothing is refused: the answer is long, and a job of the connection makes it.
    Later,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Refused::Code(code)
    }
}

type Result<T> = std::result::Result<T, Refused>;

/// The watch that answering `request` will set, if any; its interest must be armed first.
pub(super) fn watch_of<'a>(request: &Request<'a>) -> Option<(&'a [u8], Watch)> {
    let (read, watch) = match request {
        Request::Exists(read) | Request::GetData(read) => (read, Watch::Data),
        Request::GetChildren(read) | Request::GetChildren2(read) => (read, Watch::Child),
        _ => return None,
    };
    match read {
        PathWatch { path: Some(path), watch: true } => Some((path, watch)),
        _ => None,
    }
}

impl<'a> Reader<'a> {
    /// Appends the body of the answer; whatever was appended before an error is the caller's to remove.
    pub(super) fn answer(&mut self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<()> {
        match request {
            Request::Exists(read) => self.exists(read, out),
            Request::GetData(read) => {
                let (znode, path) = self.readable(read.path)?;
                out.buffer(znode.data());
                znode.stat().encode(out);
                self.set_watch(path, read.watch, Watch::Data)
            }
            Request::GetChildren(read) => {
                let (znode, path) = self.listable(read.path)?;
                names(&znode, out);
                self.set_watch(path, read.watch, Watch::Child)
            }
            Request::GetChildren2(read) => {
                let (znode, path) = self.listable(read.path)?;
                names(&znode, out);
                znode.stat().encode(out);
                self.set_watch(path, read.watch, Watch::Child)
            }
            Request::GetAcl(path) => self.get_acl(*path, out),
            Request::MultiRead(ops) => self.multi_read(ops, out),
            Request::WhoAmI => {
                let users: Vec<_> = self.identities.who_am_i(self.policy).collect();
                out.int(users.len() as i32);
                for (scheme, user) in users {
                    out.string(scheme);
                    out.string(user);
                }
                Ok(())
            }
            // The others are not reads of the tree.
            _ => Err(ErrorCode::Unimplemented.into()),
        }
    }

    fn find<'p>(&self, path: Option<&'p [u8]>) -> Result<(Option<Znode<'a>>, &'p [u8])> {
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        Ok((self.view.find(path), path))
    }

    /// The znode, if it exists and may be read.
    pub(super) fn readable<'p>(&self, path: Option<&'p [u8]>) -> Result<(Znode<'a>, &'p [u8])> {
        let (znode, path) = self.find(path)?;
        let znode = znode.ok_or(ErrorCode::NoNode)?;
        self.check(&znode, perms::READ)?;
        Ok((znode, path))
    }

    /// The same, for its children; [`Refused::Later`] when they are too many.
    fn listable<'p>(&self, path: Option<&'p [u8]>) -> Result<(Znode<'a>, &'p [u8])> {
        let (znode, path) = self.readable(path)?;
        if znode.child_count() > self.listing_max { Err(Refused::Later) } else { Ok((znode, path)) }
    }

    fn check(&self, znode: &Znode<'_>, wanted: i32) -> Result<()> {
        if znode.has_open_acl() || acl::check(znode.acl(), wanted, self.identities, self.policy) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth.into())
        }
    }

    pub(super) fn set_watch(&mut self, path: &[u8], wanted: bool, watch: Watch) -> Result<()> {
        if !wanted {
            return Ok(());
        }
        self.watches.add(path, self.connection, watch, self.view.at()).map_err(|_| Refused::TooManyWatches)
    }

    /// client-protocol §4.6: a missing znode gets the watch, an unreadable one does not.
    fn exists(&mut self, read: &PathWatch<'_>, out: &mut Vec<u8>) -> Result<()> {
        let path = read.path.ok_or(ErrorCode::MarshallingError)?;
        if !path::is_valid_for_exists(path) {
            return Err(ErrorCode::BadArguments.into());
        }
        let znode = self.view.find(path);
        if let Some(znode) = &znode {
            self.check(znode, perms::READ)?;
        }
        self.set_watch(path, read.watch, Watch::Data)?;
        znode.ok_or(ErrorCode::NoNode)?.stat().encode(out);
        Ok(())
    }

    /// client-protocol §4.9.
    fn get_acl(&self, path: Option<&[u8]>, out: &mut Vec<u8>) -> Result<()> {
        let (znode, _) = self.find(path)?;
        let znode = znode.ok_or(ErrorCode::NoNode)?;
        self.check(&znode, perms::READ | perms::ADMIN)?;
        if znode.has_open_acl() {
            encode_acls(znode.acl(), out);
        } else {
            encode_acls(&acl::shown_to(znode.acl(), self.identities, self.policy), out);
        }
        znode.stat().encode(out);
        Ok(())
    }

    /// client-protocol §4.15: each on its own, no watches. What is no read, or has a null path, ends stock's evaluation
    /// with MarshallingError, and the results so far stand behind the error (`FinalRequestProcessor`, 3.9.5).
    fn multi_read(&self, ops: &[ReadOp<'_>], out: &mut Vec<u8>) -> Result<()> {
        let mut halfway = false;
        for op in ops {
            let at = out.len();
            let result = match op {
                ReadOp::GetChildren(path @ Some(_)) => self.readable(*path).map(|(znode, _)| {
                    reply::multi_header(out, OpCode::GetChildren, false, 0);
                    names(&znode, out);
                }),
                ReadOp::GetData(path @ Some(_)) => self.readable(*path).map(|(znode, _)| {
                    reply::multi_header(out, OpCode::GetData, false, 0);
                    out.buffer(znode.data());
                    znode.stat().encode(out);
                }),
                ReadOp::GetChildren(None) | ReadOp::GetData(None) | ReadOp::Write => {
                    halfway = true;
                    break;
                }
            };
            if let Err(Refused::Code(code)) = result {
                out.truncate(at);
                reply::multi_error(out, code.code());
            }
        }
        reply::multi_end(out);
        if halfway { Err(Refused::Halfway) } else { Ok(()) }
    }
}

fn names(znode: &Znode<'_>, out: &mut Vec<u8>) {
    out.int(i32::try_from(znode.child_count()).unwrap_or(i32::MAX));
    for name in znode.children() {
        out.string(name);
    }
}

/// The body of a sync's answer: its path, as stock echoes it.
pub(super) fn echo(path: &[u8], out: &mut Vec<u8>) {
    out.string(&jute::echo_bytes(path));
}
