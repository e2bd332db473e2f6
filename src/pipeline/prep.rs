#![forbid(unsafe_code)]
//! Request to txn, before broadcast: everything that can fail is decided here, against the committed tree and the
//! outstanding changes; the result is a txn, or an error that takes its place in the order all the same (stock
//! `PrepRequestProcessor`). The order of checks in each function is the order of client-protocol §4; the first that
//! fails decides.
//!
//! Lives on: the sequencer. Time is an argument. Not here: anything that changes the tree (`apply.rs`).

use std::borrow::Cow;
use std::sync::Arc;

use super::acl::{self, Identities};
use super::outstanding::Change;
use super::quota::{self, Charge};
use super::{PendingSession, Pipeline, Strangers};
use crate::base::planted::{Bug, planted};
use crate::base::{SessionId, WallMillis, Xid, Zxid, path};
use crate::sessions::SessionIds;
use crate::tree::{OwnerKind as Kind, StoredStat};
use crate::wire::request::{Create, MultiOp, PathVersion, RawAcl, Request, SetAcl, SetData};
use crate::wire::txn::{self, DIGEST_BYTES, HEADER_BYTES, Lifetime, PART_HEADER_BYTES, Txn, TxnHeader};
use crate::wire::{Acl, ErrorCode, OpCode, perms};

/// Who asks, and under which number.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The session, or [`SessionId::NONE`] for the server itself.
    pub session: SessionId,
    /// The client's number for the request.
    pub cxid: Xid,
    /// Identities the connection had when the request was received.
    pub identities: &'a Identities,
}

/// One request's place: what all its parts share.
#[derive(Clone, Copy)]
struct Context<'a> {
    zxid: Zxid,
    time: i64,
    asker: Asker<'a>,
}

/// Bytes of an error inside a multi, without which no other txn of one can do either.
const ERROR_PART_BYTES: usize = PART_HEADER_BYTES + 4;

/// Largest time to live, ms: 40 bits (stock `EphemeralType.TTL`).
const TTL_MS_MAX: i64 = (1 << 40) - 1;

type Result<T> = std::result::Result<T, ErrorCode>;

/// Whether the request would add to the state: what is refused first when memory or disk run short. Deletes always pass.
pub fn grows(request: &Request<'_>) -> bool {
    match request {
        Request::Create(..) | Request::SetData(_) | Request::SetAcl(_) => true,
        Request::Multi(ops) => ops.iter().any(|op| matches!(op, MultiOp::Create(..) | MultiOp::SetData(_))),
        _ => false,
    }
}

impl Pipeline {
    /// Prepares the txn that `request` amounts to, at `zxid` and wall time `now`; gives its bytes, header and digest
    /// included. Each call takes exactly one zxid, also when the request fails.
    ///
    /// No payload is longer than [`Settings::payload_bytes_max`](super::Settings::payload_bytes_max): a request that
    /// would take more is refused with MarshallingError (reliability M27), but for closeSession, which must not fail.
    pub fn prepare(
        &mut self,
        zxid: Zxid,
        now: WallMillis,
        asker: Asker<'_>,
        request: &Request<'_>,
    ) -> Vec<u8> {
        let context = Context { zxid, time: now.0, asker };
        self.prepared = zxid;
        let result = match request {
            Request::Multi(ops) => self.prepare_multi(&context, ops),
            request => self.prepare_single(&context, request),
        };
        let result = result.and_then(|txn| self.check_length(txn));
        let (txn, digest) = match result {
            Ok(txn) => {
                self.outstanding.keep(zxid);
                (txn, self.outstanding.digest())
            }
            Err(code) => {
                self.roll_back(zxid, asker.session);
                (Txn::Error(code.code()), None)
            }
        };
        let header = TxnHeader {
            session: asker.session.0,
            cxid: asker.cxid.0,
            zxid: zxid.0,
            time: now.0,
            op: txn.op() as i32,
        };
        let mut payload = Vec::new();
        txn::encode(&header, &txn, digest, &mut payload);
        assert!(payload.len() <= self.settings.payload_bytes_max, "a txn of {} bytes", payload.len());
        payload
    }

    /// The error that a request amounts to which is refused before any check: it takes a zxid like any other. A multi
    /// whose body does not decode is one (stock 3.9.5), and what would make the state grow while there is no room.
    pub fn prepare_refused(
        &mut self,
        zxid: Zxid,
        now: WallMillis,
        asker: Asker<'_>,
        code: ErrorCode,
    ) -> Vec<u8> {
        self.prepared = zxid;
        let op = OpCode::Error as i32;
        let header =
            TxnHeader { session: asker.session.0, cxid: asker.cxid.0, zxid: zxid.0, time: now.0, op };
        let mut payload = Vec::new();
        txn::encode(&header, &Txn::Error(code.code()), None, &mut payload);
        payload
    }

    fn prepare_single<'a>(&mut self, context: &Context<'_>, request: &Request<'a>) -> Result<Txn<'a>> {
        match request {
            Request::Create(op, create) => self.prepare_create(context, *op, create),
            Request::Delete(delete) => self.prepare_delete(context, delete),
            Request::DeleteContainer(path) => self.prepare_delete_container(context, *path),
            Request::SetData(set) => self.prepare_set_data(context, set),
            Request::SetAcl(set) => self.prepare_set_acl(context, set),
            Request::CreateSession(timeout) => {
                self.pending_sessions.insert(context.asker.session, PendingSession::Open);
                Ok(Txn::CreateSession(*timeout))
            }
            Request::CloseSession => Ok(self.prepare_close_session(context)),
            Request::Reconfig(_) if !self.settings.reconfig_enabled => Err(ErrorCode::ReconfigDisabled),
            Request::Reconfig(_) => {
                self.check_session(context, false)?;
                Err(ErrorCode::Unimplemented)
            }
            // What is no write never reaches the sequencer as a request to prepare.
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    /// All or nothing: at the first failure nothing stays outstanding. What was prepared before it is logged as it is, as
    /// in stock, and [`Pipeline::apply`] does none of it since an error stands beside it; what comes after is not looked at.
    /// What stock trips over in the middle, a null path or list, fails the request as a whole; so does the part that makes
    /// the txn longer than the log takes, whatever may come after it.
    fn prepare_multi<'a>(&mut self, context: &Context<'_>, ops: &[MultiOp<'a>]) -> Result<Txn<'a>> {
        let mut txns = Vec::with_capacity(ops.len());
        let mut failed = None;
        // With errors for all that is not prepared yet, which no other part is shorter than: it only ever shrinks.
        let mut room = self.record_bytes_max().checked_sub(4 + ops.len() * ERROR_PART_BYTES);
        for op in ops {
            let result = match op {
                MultiOp::Create(op, create) => self.prepare_create(context, *op, create),
                MultiOp::Delete(delete) => self.prepare_delete(context, delete),
                MultiOp::SetData(set) => self.prepare_set_data(context, set),
                MultiOp::Check(check) => self.prepare_check(context, check),
            };
            match result {
                Ok(txn) => {
                    let longer = PART_HEADER_BYTES + txn.record_bytes() - ERROR_PART_BYTES;
                    room = room.and_then(|room| room.checked_sub(longer));
                    room.ok_or(ErrorCode::MarshallingError)?;
                    txns.push(txn);
                }
                Err(ErrorCode::MarshallingError) => return Err(ErrorCode::MarshallingError),
                Err(code) => {
                    failed = Some(code);
                    break;
                }
            }
        }
        if let Some(code) = failed {
            self.roll_back(context.zxid, context.asker.session);
            txns.push(Txn::Error(code.code()));
            txns.resize(ops.len(), Txn::Error(ErrorCode::RuntimeInconsistency.code()));
        }
        Ok(Txn::Multi(txns))
    }

    /// client-protocol §4.4; stock `pRequest2TxnCreate`.
    fn prepare_create<'a>(
        &mut self,
        context: &Context<'_>,
        op: OpCode,
        create: &Create<'a>,
    ) -> Result<Txn<'a>> {
        let mode = CreateMode::from_flags(create.flags).ok_or(ErrorCode::BadArguments)?;
        let ttl = create.ttl.unwrap_or(-1);
        if mode.ttl {
            if !self.settings.extended_types {
                return Err(ErrorCode::Unimplemented);
            }
            if !(1..=TTL_MS_MAX).contains(&ttl) {
                return Err(ErrorCode::BadArguments);
            }
        } else if ttl >= 0 || op == OpCode::CreateTtl {
            // A negative ttl with a mode that has none passes stock's checks and stops it in the apply step
            // (client-protocol §A).
            return Err(ErrorCode::BadArguments);
        }
        self.check_session(context, mode.ephemeral)?;
        let asked = create.path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = path::parent_for_create(asked).ok_or(ErrorCode::BadArguments)?;
        let acls = self.fix_up(context, create.acl.as_deref())?;
        let parent = self.outstanding.get(&self.tree, parent_path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(context, &parent, perms::CREATE)?;
        let path: Cow<'a, [u8]> = if mode.sequential {
            Cow::Owned(sequential_path(asked, parent.fields.cversion))
        } else {
            Cow::Borrowed(asked)
        };
        if !path::is_valid(&path) || quota::is_hazardous_create(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.outstanding.get(&self.tree, &path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if self.is_ephemeral(parent.fields.owner) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.check_quota(&path, Charge::create(create.data.map_or(0, <[u8]>::len)))?;

        let (lifetime, kind) = match op {
            OpCode::CreateContainer => (Lifetime::Container, Kind::Container),
            OpCode::CreateTtl => (Lifetime::Ttl(ttl), Kind::Ttl(ttl)),
            _ if mode.ephemeral => (Lifetime::Ephemeral, Kind::Session(context.asker.session.0)),
            _ => (Lifetime::Persistent, Kind::None),
        };
        let parent_cversion = parent.fields.cversion.wrapping_add(1);
        let fields = StoredStat {
            czxid: context.zxid.0,
            mzxid: context.zxid.0,
            pzxid: context.zxid.0,
            ctime: context.time,
            mtime: context.time,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: kind.stored(),
        };
        let node = self.outstanding.created(&path, create.data, fields, shared(&acls));
        let mut parent_after = parent.clone();
        parent_after.child_count += 1;
        // The apply step moves the parent only upwards (`DataTree.createNode`); after 2^31 creations nothing moves.
        if parent_cversion > parent.fields.cversion {
            parent_after.fields.cversion = parent_cversion;
            parent_after.fields.pzxid = context.zxid.0;
        }
        self.outstanding.put(parent_path, Some(&parent), parent_after, context.zxid);
        self.outstanding.put(&path, None, node, context.zxid);
        if lifetime == Lifetime::Ephemeral {
            let pending = self.pending_ephemerals.entry(context.asker.session).or_default();
            pending.push_back((context.zxid, Arc::from(&*path)));
        }
        Ok(Txn::Create { op, path, data: create.data, acl: acls, lifetime, parent_cversion })
    }

    /// client-protocol §4.5.
    fn prepare_delete<'a>(&mut self, context: &Context<'_>, delete: &PathVersion<'a>) -> Result<Txn<'a>> {
        self.check_session(context, false)?;
        let path = delete.path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = path::parent_for_delete(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.outstanding.get(&self.tree, parent_path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(context, &parent, perms::DELETE)?;
        let node = self.outstanding.get(&self.tree, path).ok_or(ErrorCode::NoNode)?;
        check_version(delete.version, node.fields.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.put_deleted(context, path, parent_path, node, parent);
        Ok(Txn::Delete { path, container: false })
    }

    /// client-protocol §4.20: the cleaner's request, without session or ACL; it looks again whether the node is still
    /// one to be removed. A client that sends it is answered as stock does until the point where stock would delete,
    /// whoever asks and whatever the ACL says (§A): there it has no right.
    fn prepare_delete_container<'a>(
        &mut self,
        context: &Context<'_>,
        path: Option<&'a [u8]>,
    ) -> Result<Txn<'a>> {
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let parent_path = path::parent_for_delete(path).ok_or(ErrorCode::BadArguments)?;
        let node = self.outstanding.get(&self.tree, path).ok_or(ErrorCode::NoNode)?;
        let parent = self.outstanding.get(&self.tree, parent_path).ok_or(ErrorCode::NoNode)?;
        if self.is_ephemeral(node.fields.owner) {
            return Err(ErrorCode::BadVersion);
        }
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if context.asker.session != SessionId::NONE {
            return Err(ErrorCode::NoAuth);
        }
        self.put_deleted(context, path, parent_path, node, parent);
        Ok(Txn::Delete { path, container: true })
    }

    fn put_deleted(
        &mut self,
        context: &Context<'_>,
        path: &[u8],
        parent_path: &[u8],
        node: Change,
        parent: Change,
    ) {
        let mut parent_after = parent.clone();
        parent_after.child_count -= 1;
        parent_after.fields.pzxid = parent.fields.pzxid.max(context.zxid.0);
        self.outstanding.put(parent_path, Some(&parent), parent_after, context.zxid);
        let mut gone = node.clone();
        gone.exists = false;
        self.outstanding.put(path, Some(&node), gone, context.zxid);
    }

    /// client-protocol §4.8: the quota is looked at before the version.
    fn prepare_set_data<'a>(&mut self, context: &Context<'_>, set: &SetData<'a>) -> Result<Txn<'a>> {
        self.check_session(context, false)?;
        let path = set.path.filter(|path| path::is_valid(path)).ok_or(ErrorCode::BadArguments)?;
        let before = self.outstanding.get(&self.tree, path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(context, &before, perms::WRITE)?;
        self.check_quota(path, Charge::set_data(before.data_length, set.data.map_or(0, <[u8]>::len)))?;
        let version = next_version(set.version, before.fields.version)?;
        let mut after = self.outstanding.with_data(before.clone(), path, set.data);
        after.fields.version = version;
        after.fields.mzxid = context.zxid.0;
        after.fields.mtime = context.time;
        self.outstanding.put(path, Some(&before), after, context.zxid);
        Ok(Txn::SetData { path, data: set.data, version, reconfig: false })
    }

    /// client-protocol §4.10.
    fn prepare_set_acl<'a>(&mut self, context: &Context<'_>, set: &SetAcl<'a>) -> Result<Txn<'a>> {
        self.check_session(context, false)?;
        let path = set.path.filter(|path| path::is_valid(path)).ok_or(ErrorCode::BadArguments)?;
        let acls = self.fix_up(context, set.acl.as_deref())?;
        let before = self.outstanding.get(&self.tree, path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(context, &before, perms::ADMIN)?;
        let version = next_version(set.version, before.fields.aversion)?;
        let mut after = before.clone();
        after.acl = shared(&acls);
        after.fields.aversion = version;
        self.outstanding.put(path, Some(&before), after, context.zxid);
        Ok(Txn::SetAcl { path, acl: acls, version })
    }

    /// client-protocol §4.13; only inside a multi.
    fn prepare_check<'a>(&mut self, context: &Context<'_>, check: &PathVersion<'a>) -> Result<Txn<'a>> {
        self.check_session(context, false)?;
        let path = check.path.filter(|path| path::is_valid(path)).ok_or(ErrorCode::BadArguments)?;
        let node = self.outstanding.get(&self.tree, path).ok_or(ErrorCode::NoNode)?;
        self.check_acl(context, &node, perms::READ)?;
        let version = next_version(check.version, node.fields.version)?;
        Ok(Txn::Check { path, version })
    }

    /// client-protocol §7.6: the session's ephemerals in the pending view, and the session is closing from here on. A list
    /// longer than the log takes is left out, as all are without `closeSessionTxn.enabled`: what the session owns when the
    /// txn is applied is what would have been listed (reliability M29).
    fn prepare_close_session<'a>(&mut self, context: &Context<'_>) -> Txn<'a> {
        let session = context.asker.session;
        self.sessions.mark_closing(session);
        if let Some(pending) = self.pending_sessions.get_mut(&session) {
            *pending = PendingSession::Closing;
        }
        let pending = self.pending_ephemerals.remove(&session).unwrap_or_default();
        // Which of these are still there, and ours, is asked below; a path in both lists is gone the second time.
        let committed = self.sessions.image().ephemerals_of(session).cloned();
        let mut candidates: Vec<Arc<[u8]>> =
            committed.chain(pending.into_iter().map(|(_, path)| path)).collect();
        // In the order of paths, whether or not the flush of some was faster than this request: the log and the order of
        // events follow from the requests alone.
        candidates.sort_unstable();
        let mut paths = self.settings.close_session_txn.then(Vec::new);
        let mut room = self.record_bytes_max().saturating_sub(4);
        for path in candidates {
            let Some(node) = self.outstanding.get(&self.tree, &path) else { continue };
            if Kind::of(node.fields.owner, self.settings.extended_types) != Kind::Session(session.0) {
                continue;
            }
            let parent_path = path::parent(&path).expect("a stored path is absolute");
            let parent = self.outstanding.get(&self.tree, parent_path).expect("a znode's parent exists");
            self.put_deleted(context, &path, parent_path, node, parent);
            match room.checked_sub(4 + path.len()) {
                Some(rest) => {
                    room = rest;
                    paths.iter_mut().for_each(|paths| paths.push(Cow::Owned(path.to_vec())));
                }
                None => paths = None,
            }
        }
        Txn::CloseSession(paths)
    }

    /// What the log takes, without what is around each record.
    fn record_bytes_max(&self) -> usize {
        let digest_bytes = if self.settings.digest { DIGEST_BYTES } else { 0 };
        self.settings.payload_bytes_max - HEADER_BYTES - digest_bytes
    }

    fn check_length<'a>(&self, txn: Txn<'a>) -> Result<Txn<'a>> {
        let fits = txn.record_bytes() <= self.record_bytes_max() || planted(Bug::LongTxnsPass);
        if fits { Ok(txn) } else { Err(ErrorCode::MarshallingError) }
    }

    fn is_ephemeral(&self, owner: i64) -> bool {
        matches!(Kind::of(owner, self.settings.extended_types), Kind::Session(_))
    }

    /// Nothing of the txn being prepared stays outstanding.
    fn roll_back(&mut self, zxid: Zxid, session: SessionId) {
        self.outstanding.roll_back();
        if let Some(pending) = self.pending_ephemerals.get_mut(&session) {
            while pending.back().is_some_and(|(of, _)| *of == zxid) {
                pending.pop_back();
            }
        }
    }

    fn check_session(&self, context: &Context<'_>, ephemeral: bool) -> Result<()> {
        let session = context.asker.session;
        if self.is_open(session) {
            // It would have been upgraded ahead of the request, were that allowed (stock `checkUpgradeSession`).
            let refused = ephemeral && self.sessions.is_local(session);
            return if refused { Err(ErrorCode::EphemeralOnLocalSession) } else { Ok(()) };
        }
        if ephemeral || self.sessions.contains(session) || self.pending_sessions.contains_key(&session) {
            return Err(ErrorCode::SessionExpired);
        }
        match self.settings.strangers {
            Strangers::Unknown => Err(ErrorCode::UnknownSession),
            Strangers::Expired => Err(ErrorCode::SessionExpired),
            Strangers::LocalElsewhere(me) if SessionIds::made_by(session, me) => {
                Err(ErrorCode::SessionExpired)
            }
            Strangers::LocalElsewhere(_) => Ok(()),
        }
    }

    fn check_acl(&self, context: &Context<'_>, node: &Change, wanted: i32) -> Result<()> {
        if acl::check_or_open(node.acl.as_deref(), wanted, context.asker.identities, &self.settings.acl) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    fn fix_up(&self, context: &Context<'_>, acls: Option<&[RawAcl<'_>]>) -> Result<Vec<Acl>> {
        let acls = acl::fix_up(acls, context.asker.identities, &self.settings.acl)?;
        // Those on their way are not counted: so many more there may be.
        if self.tree.is_full_for_acl(&acls, self.settings.acl_lists_max) {
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(acls)
    }

    fn check_quota(&self, path: &[u8], charge: Charge) -> Result<()> {
        if !self.settings.enforce_quota {
            return Ok(());
        }
        let Some(managed) = self.quota.deepest(path) else { return Ok(()) };
        let limits = self.tree.get(&quota::limits_path(managed));
        let stats = self.tree.get(&quota::stats_path(managed));
        let (limits, stats) = (limits.as_ref().and_then(|n| n.data()), stats.as_ref().and_then(|n| n.data()));
        quota::check(limits, stats, charge, &mut |_| {})
    }
}

/// Appends the parent's count of creations as Java's `%010d` does: the sign counts in the width.
fn sequential_path(asked: &[u8], counter: i32) -> Vec<u8> {
    let mut path = Vec::with_capacity(asked.len() + 11);
    path.extend_from_slice(asked);
    path.extend_from_slice(format!("{counter:010}").as_bytes());
    path
}

/// The list as a change keeps it: nothing for the open one.
fn shared(acls: &[Acl]) -> Option<Arc<[Acl]>> {
    if matches!(acls, [only] if only.perms == perms::ALL && only.is_world()) {
        None
    } else {
        Some(Arc::from(acls))
    }
}

fn check_version(expected: i32, current: i32) -> Result<()> {
    let is_fine = expected == -1 || expected == current || planted(Bug::VersionsAreIgnored);
    if is_fine { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// Stock 3.9.5 `checkAndIncVersion`: one more, wrapping; -2 is followed by -1 in released lines.
fn next_version(expected: i32, current: i32) -> Result<i32> {
    check_version(expected, current)?;
    Ok(current.wrapping_add(1))
}

/// `CreateMode` of stock, by its flags.
struct CreateMode {
    ephemeral: bool,
    sequential: bool,
    ttl: bool,
}

impl CreateMode {
    fn from_flags(flags: i32) -> Option<CreateMode> {
        if !(0..=6).contains(&flags) {
            return None;
        }
        Some(CreateMode {
            ephemeral: matches!(flags, 1 | 3),
            sequential: matches!(flags, 2 | 3 | 6),
            ttl: matches!(flags, 5 | 6),
        })
    }
}
