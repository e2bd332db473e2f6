#![forbid(unsafe_code)]
//! Txns: what a request amounts to, in the bytes that stock logs and broadcasts (ensemble-protocol §4.1; stock
//! `SerializeUtils`, `TxnHeader`). `TxnHeader ‖ record ‖ [TxnDigest]`.
//!
//! ```text
//! TxnHeader  32 bytes: long session, int cxid, long zxid, long time (wall clock of the leader, ms), int type
//! TxnDigest  12 bytes: int version (2), long digest of the tree after the txn; optional: absent = end of input
//! ```

use std::borrow::Cow;

use super::jute::{DecodeError, Reader, Writer};
use super::{Acl, OpCode, acls_bytes, decode_acls, encode_acls};

/// Version of the digest algorithm in every 3.6 to 3.10 release.
pub const DIGEST_VERSION: i32 = 2;

/// Bytes of an encoded digest with its version.
pub const DIGEST_BYTES: usize = 12;

/// What stands before each txn of a multi: its kind and its length.
pub const PART_HEADER_BYTES: usize = 8;

/// Who asked, when, and where in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    /// Session of the request, 0 for internal ones.
    pub session: i64,
    /// xid of the request.
    pub cxid: i32,
    /// Place in the order of all changes.
    pub zxid: i64,
    /// Wall clock of the server that prepared it, ms since 1970.
    pub time: i64,
    /// Kind of the record; [`OpCode::Error`] for a failed request.
    pub op: i32,
}

/// Bytes of an encoded [`TxnHeader`].
pub const HEADER_BYTES: usize = 32;

impl TxnHeader {
    /// Appends the 32 bytes.
    pub fn encode(&self, out: &mut impl Writer) {
        out.long(self.session);
        out.int(self.cxid);
        out.long(self.zxid);
        out.long(self.time);
        out.int(self.op);
    }

    /// Reads the 32 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<TxnHeader, DecodeError> {
        Ok(TxnHeader { session: r.long()?, cxid: r.int()?, zxid: r.long()?, time: r.long()?, op: r.int()? })
    }
}

/// How long a created node lives; decides the record's kind and the stored owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// Until deleted.
    Persistent,
    /// Until the header's session closes.
    Ephemeral,
    /// Until its last child went.
    Container,
    /// Until it had no child and no write for so many ms.
    Ttl(i64),
}

/// A change, decided in prep and applied everywhere without a further question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// create, create2, createContainer, createTTL; `op` keeps them apart on the wire.
    Create {
        /// Which of the four.
        op: OpCode,
        /// Final path, digits included.
        path: Cow<'a, [u8]>,
        /// Null differs from empty.
        data: Option<&'a [u8]>,
        /// Checked and expanded.
        acl: Vec<Acl>,
        /// Kind of node.
        lifetime: Lifetime,
        /// The parent's count of creations after this one; -1 in very old logs means one more than now.
        parent_cversion: i32,
    },
    /// delete; `container` for deleteContainer.
    Delete {
        /// The znode.
        path: &'a [u8],
        /// Whether the cleaner asked for it.
        container: bool,
    },
    /// setData; `reconfig` for a change of membership.
    SetData {
        /// The znode.
        path: &'a [u8],
        /// New data.
        data: Option<&'a [u8]>,
        /// New data version.
        version: i32,
        /// Whether it came from reconfig.
        reconfig: bool,
    },
    /// setACL.
    SetAcl {
        /// The znode.
        path: &'a [u8],
        /// Checked and expanded.
        acl: Vec<Acl>,
        /// New ACL version.
        version: i32,
    },
    /// check, inside a multi.
    Check {
        /// The znode.
        path: &'a [u8],
        /// Its version then.
        version: i32,
    },
    /// multi: all share the header. If one is an error none is applied, though those before it stand as they were
    /// prepared.
    Multi(Vec<Txn<'a>>),
    /// createSession with its negotiated timeout, ms.
    CreateSession(i32),
    /// closeSession; `None` when the record is absent (3.5, or `closeSessionTxn.enabled=false`).
    CloseSession(Option<Vec<Cow<'a, [u8]>>>),
    /// A request that failed with this code; in a multi also the entries behind the failing one, which nobody looked at
    /// (-2, RuntimeInconsistency).
    Error(i32),
}

impl<'a> Txn<'a> {
    /// The number that stands in the header, or before a sub-txn.
    pub fn op(&self) -> OpCode {
        match self {
            Txn::Create { op, .. } => *op,
            Txn::Delete { container: false, .. } => OpCode::Delete,
            Txn::Delete { container: true, .. } => OpCode::DeleteContainer,
            Txn::SetData { reconfig: false, .. } => OpCode::SetData,
            Txn::SetData { reconfig: true, .. } => OpCode::Reconfig,
            Txn::SetAcl { .. } => OpCode::SetAcl,
            Txn::Check { .. } => OpCode::Check,
            Txn::Multi(_) => OpCode::Multi,
            Txn::CreateSession(_) => OpCode::CreateSession,
            Txn::CloseSession(_) => OpCode::CloseSession,
            Txn::Error(_) => OpCode::Error,
        }
    }

    /// Appends the record alone, without header or digest.
    pub fn encode_record(&self, out: &mut Vec<u8>) {
        match self {
            Txn::Create { op, path, data, acl, lifetime, parent_cversion } => {
                out.string(path);
                out.buffer(*data);
                encode_acls(acl, out);
                match (op, lifetime) {
                    (OpCode::CreateContainer, _) => out.int(*parent_cversion),
                    (OpCode::CreateTtl, Lifetime::Ttl(ttl)) => {
                        out.int(*parent_cversion);
                        out.long(*ttl);
                    }
                    (_, lifetime) => {
                        out.boolean(*lifetime == Lifetime::Ephemeral);
                        out.int(*parent_cversion);
                    }
                }
            }
            Txn::Delete { path, .. } => out.string(path),
            Txn::SetData { path, data, version, .. } => {
                out.string(path);
                out.buffer(*data);
                out.int(*version);
            }
            Txn::SetAcl { path, acl, version } => {
                out.string(path);
                encode_acls(acl, out);
                out.int(*version);
            }
            Txn::Check { path, version } => {
                out.string(path);
                out.int(*version);
            }
            Txn::Multi(txns) => {
                out.int(i32::try_from(txns.len()).expect("a multi came from one frame"));
                for txn in txns {
                    out.int(txn.op() as i32);
                    let at = out.len();
                    out.int(0);
                    txn.encode_record(out);
                    let length = i32::try_from(out.len() - at - 4).expect("a multi came from one frame");
                    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
                }
            }
            Txn::CreateSession(timeout) => out.int(*timeout),
            Txn::CloseSession(None) => {}
            Txn::CloseSession(Some(paths)) => {
                out.int(i32::try_from(paths.len()).expect("bounded by the ephemerals of one session"));
                for path in paths {
                    out.string(path);
                }
            }
            Txn::Error(code) => out.int(*code),
        }
    }

    /// Bytes of what [`Txn::encode_record`] appends, without making them: how prep finds out what is too long.
    pub fn record_bytes(&self) -> usize {
        let string = |text: &[u8]| 4 + text.len();
        let buffer = |data: &Option<&[u8]>| 4 + data.map_or(0, <[u8]>::len);
        match self {
            Txn::Create { op, path, data, acl, lifetime, .. } => {
                let rest = match (op, lifetime) {
                    (OpCode::CreateContainer, _) => 4,
                    (OpCode::CreateTtl, Lifetime::Ttl(_)) => 12,
                    _ => 5,
                };
                string(path) + buffer(data) + acls_bytes(acl) + rest
            }
            Txn::Delete { path, .. } => string(path),
            Txn::SetData { path, data, .. } => string(path) + buffer(data) + 4,
            Txn::SetAcl { path, acl, .. } => string(path) + acls_bytes(acl) + 4,
            Txn::Check { path, .. } => string(path) + 4,
            Txn::Multi(txns) => {
                4 + txns.iter().map(|txn| PART_HEADER_BYTES + txn.record_bytes()).sum::<usize>()
            }
            Txn::CreateSession(_) | Txn::Error(_) => 4,
            Txn::CloseSession(None) => 0,
            Txn::CloseSession(Some(paths)) => 4 + paths.iter().map(|path| string(path)).sum::<usize>(),
        }
    }

    /// Reads the record of a txn of kind `op`.
    pub fn decode_record(op: i32, r: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
        Ok(match OpCode::from_i32(op) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl)) => {
                decode_create(op, r)?
            }
            Some(op @ (OpCode::Delete | OpCode::DeleteContainer)) => {
                Txn::Delete { path: path(r)?, container: op == OpCode::DeleteContainer }
            }
            Some(op @ (OpCode::SetData | OpCode::Reconfig)) => Txn::SetData {
                path: path(r)?,
                data: r.buffer()?,
                version: r.int()?,
                reconfig: op == OpCode::Reconfig,
            },
            Some(OpCode::SetAcl) => Txn::SetAcl { path: path(r)?, acl: decode_acls(r)?, version: r.int()? },
            Some(OpCode::Check) => Txn::Check { path: path(r)?, version: r.int()? },
            Some(OpCode::Multi) => {
                let count = r.count()?.unwrap_or(0);
                let mut txns = Vec::with_capacity((count as usize).min(r.rest().len() / 8));
                for _ in 0..count {
                    let kind = r.int()?;
                    // A multi inside a multi is never made; refusing it also bounds the recursion.
                    if kind == OpCode::Multi as i32 {
                        return Err(DecodeError::Kind(kind));
                    }
                    let record = r.buffer()?.ok_or(DecodeError::Null)?;
                    txns.push(Txn::decode_record(kind, &mut Reader::new(record))?);
                }
                Txn::Multi(txns)
            }
            Some(OpCode::CreateSession) => Txn::CreateSession(r.int()?),
            Some(OpCode::CloseSession) => decode_close_session(r)?,
            Some(OpCode::Error) => Txn::Error(r.int()?),
            _ => return Err(DecodeError::Kind(op)),
        })
    }
}

fn path<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    r.string()?.ok_or(DecodeError::Null)
}

fn decode_create<'a>(op: OpCode, r: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
    let (path, data, acl) = (Cow::Borrowed(path(r)?), r.buffer()?, decode_acls(r)?);
    let (lifetime, parent_cversion) = match op {
        OpCode::CreateContainer => (Lifetime::Container, r.int()?),
        OpCode::CreateTtl => {
            let parent_cversion = r.int()?;
            (Lifetime::Ttl(r.long()?), parent_cversion)
        }
        _ => {
            let lifetime = if r.boolean()? { Lifetime::Ephemeral } else { Lifetime::Persistent };
            // CreateTxnV0 has no parentCVersion; it is recognised by running out of bytes.
            (lifetime, if r.is_empty() { -1 } else { r.int()? })
        }
    };
    Ok(Txn::Create { op, path, data, acl, lifetime, parent_cversion })
}

/// A closeSession without a record may be followed by a digest, which stock misreads (hazard R-12); exactly 12 bytes
/// that start with the digest's version are one.
fn decode_close_session<'a>(r: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
    let rest = r.rest();
    if rest.is_empty() || (rest.len() == DIGEST_BYTES && rest.starts_with(&DIGEST_VERSION.to_be_bytes())) {
        return Ok(Txn::CloseSession(None));
    }
    let count = r.count()?.unwrap_or(0);
    let mut paths = Vec::with_capacity((count as usize).min(r.rest().len() / 4));
    for _ in 0..count {
        let path = path(r)?;
        // Two empty paths would look like a digest.
        if path.is_empty() {
            return Err(DecodeError::Malformed("an empty path"));
        }
        paths.push(Cow::Borrowed(path));
    }
    Ok(Txn::CloseSession(Some(paths)))
}

/// Appends header, record and digest.
pub fn encode(header: &TxnHeader, txn: &Txn<'_>, digest: Option<i64>, out: &mut Vec<u8>) {
    debug_assert_eq!(header.op, txn.op() as i32);
    out.reserve(encoded_bytes(txn, digest));
    header.encode(out);
    txn.encode_record(out);
    if let Some(digest) = digest {
        out.int(DIGEST_VERSION);
        out.long(digest);
    }
}

/// Bytes of what [`encode`] appends.
pub fn encoded_bytes(txn: &Txn<'_>, digest: Option<i64>) -> usize {
    HEADER_BYTES + txn.record_bytes() + digest.map_or(0, |_| DIGEST_BYTES)
}

/// A whole txn: header, record, digest if there is one of the version we know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded<'a> {
    /// Who, when, where.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn<'a>,
    /// Digest of the tree after it.
    pub digest: Option<i64>,
}

/// Reads what [`encode`] wrote, or what a stock server logged or proposed: also what no release should have, a check that
/// stands alone (ZOOKEEPER-2623); it changes nothing.
pub fn decode(bytes: &[u8]) -> Result<Decoded<'_>, DecodeError> {
    let mut r = Reader::new(bytes);
    let header = TxnHeader::decode(&mut r)?;
    let txn = Txn::decode_record(header.op, &mut r)?;
    // Fewer bytes than a digest, or some behind it, are a later release's (`SerializeUtils.deserializeTxn`).
    let digest = match (r.int(), r.long()) {
        (Ok(DIGEST_VERSION), Ok(digest)) => Some(digest),
        _ => None,
    };
    Ok(Decoded { header, txn, digest })
}

/// The zxid of an encoded txn, without decoding the rest.
pub fn zxid_of(bytes: &[u8]) -> Result<i64, DecodeError> {
    Ok(TxnHeader::decode(&mut Reader::new(bytes))?.zxid)
}
