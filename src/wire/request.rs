#![forbid(unsafe_code)]
//! Requests as clients send them, borrowed from their frame. Null strings and lists are kept apart from empty ones,
//! since stock answers them differently (client-protocol §4); bytes behind a record are ignored.

use super::OpCode;
use super::jute::{DecodeError, Reader};

type Result<T> = std::result::Result<T, DecodeError>;

/// Header of every request but the first frame: 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// Echoed in the reply.
    pub xid: i32,
    /// An [`OpCode`], or anything a client likes to send.
    pub op: i32,
}

impl RequestHeader {
    /// Splits a frame into header and body.
    pub fn split(frame: &[u8]) -> Result<(RequestHeader, &[u8])> {
        let mut r = Reader::new(frame);
        let header = RequestHeader { xid: r.int()?, op: r.int()? };
        Ok((header, r.rest()))
    }
}

/// One entry of an ACL list as sent: parts may be null.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawAcl<'a> {
    /// Permission bits, unchecked.
    pub perms: i32,
    /// Scheme, null allowed.
    pub scheme: Option<&'a [u8]>,
    /// Id, null allowed.
    pub id: Option<&'a [u8]>,
}

/// Body of create, create2, createContainer and createTTL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create<'a> {
    /// Path asked for; a sequential mode appends ten digits.
    pub path: Option<&'a [u8]>,
    /// Null differs from empty.
    pub data: Option<&'a [u8]>,
    /// `None` for a null list.
    pub acl: Option<Vec<RawAcl<'a>>>,
    /// 0 to 6 are modes.
    pub flags: i32,
    /// Only createTTL carries one; `None` counts as -1.
    pub ttl: Option<i64>,
}

/// Path and expected version: delete, check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathVersion<'a> {
    /// The znode.
    pub path: Option<&'a [u8]>,
    /// -1 matches any.
    pub version: i32,
}

/// Path and watch flag: exists, getData, getChildren, getChildren2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathWatch<'a> {
    /// The znode.
    pub path: Option<&'a [u8]>,
    /// Set a one-shot watch as well.
    pub watch: bool,
}

/// Body of setData.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetData<'a> {
    /// The znode.
    pub path: Option<&'a [u8]>,
    /// The new data; null allowed.
    pub data: Option<&'a [u8]>,
    /// Expected data version, -1 matches any.
    pub version: i32,
}

/// Body of setACL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAcl<'a> {
    /// The znode.
    pub path: Option<&'a [u8]>,
    /// `None` for a null list.
    pub acl: Option<Vec<RawAcl<'a>>>,
    /// Expected ACL version, -1 matches any.
    pub version: i32,
}

/// Body of setWatches and setWatches2. A null list ends processing with MarshallingError after the lists before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetWatches<'a> {
    /// Changes up to it were seen by the client.
    pub relative_zxid: i64,
    /// data, exist, child, and for setWatches2 persistent and persistent recursive.
    pub lists: Vec<Option<Vec<Option<&'a [u8]>>>>,
}

/// Path and a small enumeration: addWatch (mode), checkWatches and removeWatches (type).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathKind<'a> {
    /// Any string; it need not be a znode.
    pub path: Option<&'a [u8]>,
    /// Meaning depends on the operation.
    pub kind: i32,
}

/// Body of auth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// `digest`, `ip`, …
    pub scheme: Option<&'a [u8]>,
    /// Credentials; null allowed. Never logged.
    pub auth: Option<&'a [u8]>,
}

/// Body of reconfig.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconfig<'a> {
    /// Comma list of `server.N=…`.
    pub joining: Option<&'a [u8]>,
    /// Comma list of ids.
    pub leaving: Option<&'a [u8]>,
    /// Whole membership.
    pub members: Option<&'a [u8]>,
    /// Expected configuration version, -1 matches any.
    pub config_id: i64,
}

/// One write inside a multi; `op` is what the entry asked for after stock's conversions (`MultiOperationRecord`,
/// `Op.create`): flags 4 make a createContainer whatever the type was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiOp<'a> {
    /// Create, Create2, CreateContainer or CreateTtl.
    Create(OpCode, Create<'a>),
    /// Delete.
    Delete(PathVersion<'a>),
    /// SetData.
    SetData(SetData<'a>),
    /// Version check.
    Check(PathVersion<'a>),
}

/// One read inside a multiRead; its watch flag is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadOp<'a> {
    /// Names of the children.
    GetChildren(Option<&'a [u8]>),
    /// Data and Stat.
    GetData(Option<&'a [u8]>),
    /// An operation that has no place here.
    Write,
}

/// A decoded request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// create, create2, createContainer, createTTL.
    Create(OpCode, Create<'a>),
    /// delete.
    Delete(PathVersion<'a>),
    /// deleteContainer.
    DeleteContainer(Option<&'a [u8]>),
    /// exists.
    Exists(PathWatch<'a>),
    /// getData.
    GetData(PathWatch<'a>),
    /// setData.
    SetData(SetData<'a>),
    /// getACL.
    GetAcl(Option<&'a [u8]>),
    /// setACL.
    SetAcl(SetAcl<'a>),
    /// getChildren.
    GetChildren(PathWatch<'a>),
    /// getChildren2.
    GetChildren2(PathWatch<'a>),
    /// sync.
    Sync(Option<&'a [u8]>),
    /// ping.
    Ping,
    /// multi.
    Multi(Vec<MultiOp<'a>>),
    /// multiRead.
    MultiRead(Vec<ReadOp<'a>>),
    /// reconfig.
    Reconfig(Reconfig<'a>),
    /// checkWatches.
    CheckWatches(PathKind<'a>),
    /// removeWatches.
    RemoveWatches(PathKind<'a>),
    /// setWatches and setWatches2.
    SetWatches(SetWatches<'a>),
    /// addWatch.
    AddWatch(PathKind<'a>),
    /// auth.
    Auth(Auth<'a>),
    /// sasl; the token is never logged.
    Sasl(&'a [u8]),
    /// getEphemerals, by prefix.
    GetEphemerals(Option<&'a [u8]>),
    /// getAllChildrenNumber.
    GetAllChildrenNumber(Option<&'a [u8]>),
    /// whoAmI.
    WhoAmI,
    /// createSession, which no client sends; its timeout.
    CreateSession(i32),
    /// closeSession.
    CloseSession,
}

impl<'a> Request<'a> {
    /// Reads the body of a request of kind `op`. Operations that are not requests ([`OpCode::Check`],
    /// [`OpCode::Error`]) give [`DecodeError::Kind`].
    pub fn decode(op: OpCode, body: &'a [u8]) -> Result<Request<'a>> {
        let mut r = Reader::new(body);
        let r = &mut r;
        Ok(match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => Request::Create(op, create(r)?),
            OpCode::CreateTtl => Request::Create(op, create_ttl(r)?),
            OpCode::Delete => Request::Delete(path_version(r)?),
            OpCode::DeleteContainer => Request::DeleteContainer(r.buffer()?),
            OpCode::Exists => Request::Exists(path_watch(r)?),
            OpCode::GetData => Request::GetData(path_watch(r)?),
            OpCode::SetData => Request::SetData(set_data(r)?),
            OpCode::GetAcl => Request::GetAcl(r.string()?),
            OpCode::SetAcl => {
                Request::SetAcl(SetAcl { path: r.string()?, acl: raw_acls(r)?, version: r.int()? })
            }
            OpCode::GetChildren => Request::GetChildren(path_watch(r)?),
            OpCode::GetChildren2 => Request::GetChildren2(path_watch(r)?),
            OpCode::Sync => Request::Sync(r.string()?),
            OpCode::Ping => Request::Ping,
            OpCode::Multi => Request::Multi(multi(r)?),
            OpCode::MultiRead => Request::MultiRead(multi_read(r)?),
            OpCode::Reconfig => Request::Reconfig(Reconfig {
                joining: r.string()?,
                leaving: r.string()?,
                members: r.string()?,
                config_id: r.long()?,
            }),
            OpCode::CheckWatches => Request::CheckWatches(path_kind(r)?),
            OpCode::RemoveWatches => Request::RemoveWatches(path_kind(r)?),
            OpCode::SetWatches => Request::SetWatches(set_watches(r, 3)?),
            OpCode::SetWatches2 => Request::SetWatches(set_watches(r, 5)?),
            OpCode::AddWatch => Request::AddWatch(path_kind(r)?),
            OpCode::Auth => {
                r.int()?;
                Request::Auth(Auth { scheme: r.string()?, auth: r.buffer()? })
            }
            OpCode::Sasl => Request::Sasl(r.buffer()?.ok_or(DecodeError::Null)?),
            OpCode::GetEphemerals => Request::GetEphemerals(r.string()?),
            OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber(r.string()?),
            OpCode::WhoAmI => Request::WhoAmI,
            OpCode::CreateSession => Request::CreateSession(r.int()?),
            OpCode::CloseSession => Request::CloseSession,
            OpCode::Check | OpCode::Error => return Err(DecodeError::Kind(op as i32)),
        })
    }
}

fn path_watch<'a>(r: &mut Reader<'a>) -> Result<PathWatch<'a>> {
    Ok(PathWatch { path: r.string()?, watch: r.boolean()? })
}

fn path_version<'a>(r: &mut Reader<'a>) -> Result<PathVersion<'a>> {
    Ok(PathVersion { path: r.string()?, version: r.int()? })
}

fn path_kind<'a>(r: &mut Reader<'a>) -> Result<PathKind<'a>> {
    Ok(PathKind { path: r.string()?, kind: r.int()? })
}

fn set_data<'a>(r: &mut Reader<'a>) -> Result<SetData<'a>> {
    Ok(SetData { path: r.string()?, data: r.buffer()?, version: r.int()? })
}

fn create<'a>(r: &mut Reader<'a>) -> Result<Create<'a>> {
    Ok(Create { path: r.string()?, data: r.buffer()?, acl: raw_acls(r)?, flags: r.int()?, ttl: None })
}

fn create_ttl<'a>(r: &mut Reader<'a>) -> Result<Create<'a>> {
    let create = create(r)?;
    Ok(Create { ttl: Some(r.long()?), ..create })
}

fn raw_acls<'a>(r: &mut Reader<'a>) -> Result<Option<Vec<RawAcl<'a>>>> {
    let Some(count) = r.count()? else { return Ok(None) };
    let mut acls = Vec::with_capacity((count as usize).min(r.rest().len() / 12));
    for _ in 0..count {
        acls.push(RawAcl { perms: r.int()?, scheme: r.string()?, id: r.string()? });
    }
    Ok(Some(acls))
}

/// Lists are decoded as far as they go: a null list stops stock in the middle, which the read path reproduces.
fn set_watches<'a>(r: &mut Reader<'a>, lists: usize) -> Result<SetWatches<'a>> {
    let relative_zxid = r.long()?;
    let lists = (0..lists).map(|_| r.strings()).collect::<Result<_>>()?;
    Ok(SetWatches { relative_zxid, lists })
}

/// Header of an entry in a multi: type, done, err (ignored).
fn multi_header(r: &mut Reader<'_>) -> Result<Option<i32>> {
    let (kind, done) = (r.int()?, r.boolean()?);
    r.int()?;
    Ok(if done { None } else { Some(kind) })
}

/// Stock decodes reads and writes in one pass and refuses a mixture once the operation that makes it one is decoded,
/// and reads alone at the end (`MultiOperationRecord`): a null that its decoder trips over comes first.
fn multi<'a>(r: &mut Reader<'a>) -> Result<Vec<MultiOp<'a>>> {
    let mut ops = Vec::new();
    let mut read = None;
    while let Some(kind) = multi_header(r)? {
        let op = match OpCode::from_i32(kind) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer)) => {
                multi_create(op, create(r)?)?
            }
            Some(op @ OpCode::CreateTtl) => multi_create(op, create_ttl(r)?)?,
            Some(OpCode::Delete) => MultiOp::Delete(path_version(r)?),
            Some(OpCode::SetData) => MultiOp::SetData(set_data(r)?),
            Some(OpCode::Check) => MultiOp::Check(path_version(r)?),
            Some(OpCode::GetChildren | OpCode::GetData) if ops.is_empty() => {
                path_watch(r)?;
                read = Some(kind);
                continue;
            }
            _ => return Err(DecodeError::Kind(kind)),
        };
        if let Some(read) = read {
            return Err(DecodeError::Kind(read));
        }
        ops.push(op);
    }
    read.map_or(Ok(ops), |read| Err(DecodeError::Kind(read)))
}

/// Null paths are left to prep, which refuses them when it gets there, as stock does.
fn multi_create<'a>(op: OpCode, create: Create<'a>) -> Result<MultiOp<'a>> {
    // Stock's decoder itself trips over this one (`CreateOptions`), but not for createTTL.
    if create.acl.is_none() && op != OpCode::CreateTtl {
        return Err(DecodeError::Null);
    }
    let (op, ttl) = match create.flags {
        4 => (OpCode::CreateContainer, None),
        5 | 6 if op == OpCode::CreateTtl => (OpCode::CreateTtl, create.ttl),
        0..=3 if op == OpCode::CreateTtl => (OpCode::Create, None),
        0..=3 => (op, None),
        flags => return Err(DecodeError::Kind(flags)),
    };
    Ok(MultiOp::Create(op, Create { ttl, ..create }))
}

/// Stock tells reads from writes while it decodes and refuses a mixture; writes alone, and null paths, it refuses only
/// while it evaluates.
fn multi_read<'a>(r: &mut Reader<'a>) -> Result<Vec<ReadOp<'a>>> {
    let mut ops = Vec::new();
    while let Some(kind) = multi_header(r)? {
        ops.push(match OpCode::from_i32(kind) {
            Some(OpCode::GetChildren) => ReadOp::GetChildren(path_watch(r)?.path),
            Some(OpCode::GetData) => ReadOp::GetData(path_watch(r)?.path),
            Some(op) => {
                match op {
                    OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                        multi_create(op, create(r)?)?;
                    }
                    OpCode::CreateTtl => {
                        multi_create(op, create_ttl(r)?)?;
                    }
                    OpCode::Delete | OpCode::Check => {
                        path_version(r)?;
                    }
                    OpCode::SetData => {
                        set_data(r)?;
                    }
                    _ => return Err(DecodeError::Kind(kind)),
                }
                ReadOp::Write
            }
            None => return Err(DecodeError::Kind(kind)),
        });
    }
    let writes = ops.iter().filter(|op| **op == ReadOp::Write).count();
    if writes != 0 && writes != ops.len() {
        Err(DecodeError::Malformed("reads and writes in one"))
    } else {
        Ok(ops)
    }
}
