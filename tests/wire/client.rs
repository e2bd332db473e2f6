//! A client's half of the codec, which the server has no use for: writes requests, reads replies.

use ringkeeper::wire::jute::{DecodeError, Reader, Writer};
use ringkeeper::wire::reply::{self, EventType};
use ringkeeper::wire::request::{Create, MultiOp, PathVersion, RawAcl, ReadOp, Request, SetData};
use ringkeeper::wire::{Acl, ErrorCode, OpCode, Stat, decode_acls, encode_acls};

/// Appends the body of a request, as a client writes it. The operation's number goes into the header.
pub(crate) fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) {
    match request {
        Request::Create(_, create) => encode_create(create, out),
        Request::Delete(p) => encode_path_version(p, out),
        Request::DeleteContainer(path)
        | Request::GetAcl(path)
        | Request::Sync(path)
        | Request::GetEphemerals(path)
        | Request::GetAllChildrenNumber(path) => out.buffer(*path),
        Request::Exists(p) | Request::GetData(p) | Request::GetChildren(p) | Request::GetChildren2(p) => {
            out.buffer(p.path);
            out.boolean(p.watch);
        }
        Request::SetData(set) => encode_set_data(set, out),
        Request::SetAcl(set) => {
            out.buffer(set.path);
            encode_raw_acls(set.acl.as_deref(), out);
            out.int(set.version);
        }
        Request::Ping | Request::WhoAmI | Request::CloseSession => {}
        Request::Multi(ops) => {
            for op in ops {
                encode_multi_op(op, out);
            }
            reply::multi_header(out, OpCode::Error, true, -1);
        }
        Request::MultiRead(ops) => {
            for op in ops {
                let (kind, path) = match op {
                    ReadOp::GetChildren(path) => (OpCode::GetChildren, path),
                    ReadOp::GetData(path) => (OpCode::GetData, path),
                    // Its fields are not kept, since it is refused; any write stands for it.
                    ReadOp::Write => {
                        reply::multi_header(out, OpCode::Delete, false, -1);
                        out.string(b"/");
                        out.int(-1);
                        continue;
                    }
                };
                reply::multi_header(out, kind, false, -1);
                out.buffer(*path);
                out.boolean(false);
            }
            reply::multi_header(out, OpCode::Error, true, -1);
        }
        Request::Reconfig(r) => {
            out.buffer(r.joining);
            out.buffer(r.leaving);
            out.buffer(r.members);
            out.long(r.config_id);
        }
        Request::CheckWatches(p) | Request::RemoveWatches(p) | Request::AddWatch(p) => {
            out.buffer(p.path);
            out.int(p.kind);
        }
        Request::SetWatches(set) => {
            out.long(set.relative_zxid);
            for list in &set.lists {
                encode_strings(list.as_deref(), out);
            }
        }
        Request::Auth(auth) => {
            out.int(0);
            out.buffer(auth.scheme);
            out.buffer(auth.auth);
        }
        Request::Sasl(token) => out.buffer(Some(token)),
        Request::CreateSession(timeout) => out.int(*timeout),
    }
}

fn encode_strings(strings: Option<&[Option<&[u8]>]>, out: &mut Vec<u8>) {
    let Some(strings) = strings else { return out.int(-1) };
    out.int(strings.len() as i32);
    for string in strings {
        out.buffer(*string);
    }
}

fn encode_raw_acls(acls: Option<&[RawAcl<'_>]>, out: &mut Vec<u8>) {
    let Some(acls) = acls else { return out.int(-1) };
    out.int(acls.len() as i32);
    for acl in acls {
        out.int(acl.perms);
        out.buffer(acl.scheme);
        out.buffer(acl.id);
    }
}

fn encode_create(create: &Create<'_>, out: &mut Vec<u8>) {
    out.buffer(create.path);
    out.buffer(create.data);
    encode_raw_acls(create.acl.as_deref(), out);
    out.int(create.flags);
    if let Some(ttl) = create.ttl {
        out.long(ttl);
    }
}

fn encode_path_version(p: &PathVersion<'_>, out: &mut Vec<u8>) {
    out.buffer(p.path);
    out.int(p.version);
}

fn encode_set_data(set: &SetData<'_>, out: &mut Vec<u8>) {
    out.buffer(set.path);
    out.buffer(set.data);
    out.int(set.version);
}

fn encode_multi_op(op: &MultiOp<'_>, out: &mut Vec<u8>) {
    let kind = match op {
        MultiOp::Create(op, _) => *op,
        MultiOp::Delete(_) => OpCode::Delete,
        MultiOp::SetData(_) => OpCode::SetData,
        MultiOp::Check(_) => OpCode::Check,
    };
    reply::multi_header(out, kind, false, -1);
    match op {
        MultiOp::Create(_, create) => encode_create(create, out),
        MultiOp::Delete(p) | MultiOp::Check(p) => encode_path_version(p, out),
        MultiOp::SetData(set) => encode_set_data(set, out),
    }
}

/// One result inside a multi's reply, or of a reply on its own.
#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Nothing,
    Error(i32),
    Path(Vec<u8>),
    PathStat(Vec<u8>, Stat),
    Stat(Stat),
    Data(Option<Vec<u8>>, Stat),
    Acls(Vec<Acl>, Stat),
    Strings(Vec<Vec<u8>>),
    StringsStat(Vec<Vec<u8>>, Stat),
    Pairs(Vec<(Vec<u8>, Vec<u8>)>),
    Int(i32),
    Results(Vec<(i32, Body)>),
    Event(EventType, Vec<u8>),
}

/// A reply or an event.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) err: i32,
    pub(crate) body: Body,
}

fn owned(r: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    Ok(r.string()?.ok_or(DecodeError::Null)?.to_vec())
}

fn owned_strings(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let strings = r.strings()?.ok_or(DecodeError::Null)?;
    strings.into_iter().map(|s| s.map(<[u8]>::to_vec).ok_or(DecodeError::Null)).collect()
}

impl Reply {
    /// Reads a frame, length prefix included; `op` is what the request with this xid asked for.
    pub(crate) fn decode(frame: &[u8], op: impl Fn(i32) -> OpCode) -> Result<Reply, DecodeError> {
        let mut r = Reader::new(frame);
        assert_eq!(r.int()? as usize, frame.len() - 4);
        let (xid, zxid, err) = (r.int()?, r.long()?, r.int()?);
        let body = match xid {
            reply::XID_NOTIFICATION => {
                let event = r.int()?;
                assert_eq!(r.int()?, reply::STATE_SYNC_CONNECTED);
                let event = [
                    EventType::NodeCreated,
                    EventType::NodeDeleted,
                    EventType::NodeDataChanged,
                    EventType::NodeChildrenChanged,
                ]
                .into_iter()
                .find(|known| *known as i32 == event)
                .ok_or(DecodeError::Kind(event))?;
                Body::Event(event, owned(&mut r)?)
            }
            _ if err != 0 => Body::Nothing,
            _ => Body::decode(op(xid), &mut r)?,
        };
        assert!(r.is_empty(), "{} bytes behind {body:?}", r.rest().len());
        Ok(Reply { xid, zxid, err, body })
    }

    /// Writes the frame with the server's own functions.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.body {
            Body::Event(event, path) => reply::notification(&mut out, self.zxid, *event, path),
            Body::Nothing => {
                let err = (self.err != 0).then(|| ErrorCode::from_i32(self.err).expect("a code we know"));
                reply::header_only(&mut out, self.xid, self.zxid, err);
            }
            body => {
                let end = reply::begin(&mut out, self.xid, self.zxid, self.err);
                body.encode(&mut out);
                end.finish(&mut out);
            }
        }
        out
    }
}

impl Body {
    fn decode(op: OpCode, r: &mut Reader<'_>) -> Result<Body, DecodeError> {
        Ok(match op {
            OpCode::Create | OpCode::Sync => Body::Path(owned(r)?),
            OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
                Body::PathStat(owned(r)?, Stat::decode(r)?)
            }
            OpCode::Exists | OpCode::SetData | OpCode::SetAcl => Body::Stat(Stat::decode(r)?),
            OpCode::GetData => Body::Data(r.buffer()?.map(<[u8]>::to_vec), Stat::decode(r)?),
            OpCode::GetAcl => Body::Acls(decode_acls(r)?, Stat::decode(r)?),
            OpCode::GetChildren | OpCode::GetEphemerals => Body::Strings(owned_strings(r)?),
            OpCode::GetChildren2 => Body::StringsStat(owned_strings(r)?, Stat::decode(r)?),
            OpCode::WhoAmI => {
                let count = r.count()?.unwrap_or(0);
                Body::Pairs(
                    (0..count).map(|_| Ok((owned(r)?, owned(r)?))).collect::<Result<_, DecodeError>>()?,
                )
            }
            OpCode::GetAllChildrenNumber | OpCode::AddWatch => Body::Int(r.int()?),
            OpCode::Multi | OpCode::MultiRead => {
                let mut results = Vec::new();
                loop {
                    let (kind, done, err) = (r.int()?, r.boolean()?, r.int()?);
                    if done {
                        assert_eq!((kind, err), (-1, -1));
                        break Body::Results(results);
                    }
                    results.push((
                        kind,
                        match OpCode::from_i32(kind) {
                            Some(OpCode::Error) => {
                                assert_eq!(r.int()?, err);
                                Body::Error(err)
                            }
                            Some(OpCode::Delete | OpCode::Check) => Body::Nothing,
                            Some(op) => Body::decode(op, r)?,
                            None => return Err(DecodeError::Kind(kind)),
                        },
                    ));
                }
            }
            _ => Body::Nothing,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let strings = |strings: &[Vec<u8>], out: &mut Vec<u8>| {
            out.int(strings.len() as i32);
            for string in strings {
                out.string(string);
            }
        };
        match self {
            Body::Nothing => {}
            Body::Error(code) => out.int(*code),
            Body::Path(path) => out.string(path),
            Body::PathStat(path, stat) => {
                out.string(path);
                stat.encode(out);
            }
            Body::Stat(stat) => stat.encode(out),
            Body::Data(data, stat) => {
                out.buffer(data.as_deref());
                stat.encode(out);
            }
            Body::Acls(acls, stat) => {
                encode_acls(acls, out);
                stat.encode(out);
            }
            Body::Strings(list) => strings(list, out),
            Body::StringsStat(list, stat) => {
                strings(list, out);
                stat.encode(out);
            }
            Body::Pairs(pairs) => {
                out.int(pairs.len() as i32);
                for (a, b) in pairs {
                    out.string(a);
                    out.string(b);
                }
            }
            Body::Int(v) => out.int(*v),
            Body::Results(results) => {
                for (kind, body) in results {
                    match body {
                        Body::Error(code) => reply::multi_error(out, *code),
                        body => {
                            let op = OpCode::from_i32(*kind).expect("decoded from a known kind");
                            reply::multi_header(out, op, false, 0);
                            body.encode(out);
                        }
                    }
                }
                reply::multi_end(out);
            }
            Body::Event(..) => unreachable!("events are whole frames"),
        }
    }
}
