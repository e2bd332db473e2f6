//! The only module that knows rkyv: the records inside a snapshot's chunks, which are flat (no shared pointers, no
//! hash tables) and read by checked access always (reliability M62). A chunk's checksum was verified before its bytes
//! get here; the check of the archive is for the bytes that a checksum cannot speak for.
//!
//! Each chunk is one archive: a list of fixed-size entries and one string of bytes that the entries point into. So
//! encoding allocates nothing for a znode, and checking an archive costs a bound on two lists.
//!
//! This is one of the five homes of unsafe code: the derives expand to it. None is written by hand.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// A range of a chunk's bytes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct Span {
    offset: u32,
    length: u32,
}

/// Stands for null data.
const NULL: u32 = u32::MAX;

/// A znode. Field names are ZooKeeper's.
#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct NodeEntry {
    path: Span,
    /// Its length is [`NULL`] for null.
    data: Span,
    czxid: i64,
    mzxid: i64,
    pzxid: i64,
    ctime: i64,
    mtime: i64,
    owner: i64,
    version: i32,
    cversion: i32,
    aversion: i32,
    acl: u32,
}

#[derive(Archive, Serialize, Deserialize, Default)]
struct NodeChunk {
    nodes: Vec<NodeEntry>,
    bytes: Vec<u8>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct AclEntry {
    id: u32,
    /// The list in stock's encoding.
    list: Span,
}

#[derive(Archive, Serialize, Deserialize, Default)]
struct AclChunk {
    lists: Vec<AclEntry>,
    bytes: Vec<u8>,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy)]
struct SessionEntry {
    id: i64,
    timeout_ms: i32,
}

#[derive(Archive, Serialize, Deserialize, Default)]
struct SessionChunk {
    sessions: Vec<SessionEntry>,
}

/// A znode as a snapshot holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeView<'a> {
    /// Absolute path.
    pub path: &'a [u8],
    /// Null differs from empty.
    pub data: Option<&'a [u8]>,
    /// Which of the snapshot's ACL lists.
    pub acl: u32,
    /// Zxid of the creation.
    pub czxid: i64,
    /// Zxid of the last change of data.
    pub mzxid: i64,
    /// Zxid of the last change of children.
    pub pzxid: i64,
    /// Time of the creation, ms since 1970.
    pub ctime: i64,
    /// Time of the last change of data, ms since 1970.
    pub mtime: i64,
    /// Version of the data.
    pub version: i32,
    /// Version of the children, as stored: creations only, not what a client is shown.
    pub cversion: i32,
    /// Version of the ACL.
    pub aversion: i32,
    /// The stored owner: a session, 0, or one of stock's marks for containers and TTL nodes.
    pub owner: i64,
}

/// The archive was not what its kind of chunk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the archive in the chunk is malformed")]
pub(super) struct Malformed;

/// Collects znodes until [`NodesEncoder::bytes`] says the chunk is full.
#[derive(Default)]
pub(super) struct NodesEncoder {
    chunk: NodeChunk,
}

impl NodesEncoder {
    /// Takes a znode.
    pub(super) fn push(&mut self, node: &NodeView<'_>) {
        let path = push_span(&mut self.chunk.bytes, node.path);
        let data = match node.data {
            Some(data) => push_span(&mut self.chunk.bytes, data),
            None => Span { offset: 0, length: NULL },
        };
        let NodeView { acl, czxid, mzxid, pzxid, ctime, mtime, version, cversion, aversion, owner, .. } =
            *node;
        self.chunk.nodes.push(NodeEntry {
            path,
            data,
            czxid,
            mzxid,
            pzxid,
            ctime,
            mtime,
            owner,
            version,
            cversion,
            aversion,
            acl,
        });
    }

    /// Bytes the archive will take, about.
    pub(super) fn bytes(&self) -> usize {
        self.chunk.bytes.len() + self.chunk.nodes.len() * size_of::<ArchivedNodeEntry>()
    }

    /// Records taken.
    pub(super) fn count(&self) -> u32 {
        self.chunk.nodes.len() as u32
    }

    /// Writes the archive and begins anew.
    pub(super) fn finish(&mut self) -> AlignedVec {
        let archive = encode(&self.chunk);
        self.chunk.nodes.clear();
        self.chunk.bytes.clear();
        archive
    }
}

/// The znodes of a chunk.
pub(super) fn nodes(
    archive: &[u8],
) -> Result<impl ExactSizeIterator<Item = Result<NodeView<'_>, Malformed>>, Malformed> {
    let chunk = rkyv::access::<ArchivedNodeChunk, Error>(archive).map_err(|_| Malformed)?;
    let bytes = &chunk.bytes[..];
    Ok(chunk.nodes.iter().map(move |node| {
        let data = if node.data.length == NULL { None } else { Some(span(bytes, &node.data)?) };
        Ok(NodeView {
            path: span(bytes, &node.path)?,
            data,
            acl: node.acl.into(),
            czxid: node.czxid.into(),
            mzxid: node.mzxid.into(),
            pzxid: node.pzxid.into(),
            ctime: node.ctime.into(),
            mtime: node.mtime.into(),
            version: node.version.into(),
            cversion: node.cversion.into(),
            aversion: node.aversion.into(),
            owner: node.owner.into(),
        })
    }))
}

/// Archives ACL lists: id and the list in stock's encoding.
pub(super) fn encode_acls<'a>(lists: impl Iterator<Item = (u32, &'a [u8])>) -> AlignedVec {
    let mut chunk = AclChunk::default();
    for (id, list) in lists {
        let list = push_span(&mut chunk.bytes, list);
        chunk.lists.push(AclEntry { id, list });
    }
    encode(&chunk)
}

/// The ACL lists of a chunk.
pub(super) fn acls(
    archive: &[u8],
) -> Result<impl ExactSizeIterator<Item = Result<(u32, &[u8]), Malformed>>, Malformed> {
    let chunk = rkyv::access::<ArchivedAclChunk, Error>(archive).map_err(|_| Malformed)?;
    let bytes = &chunk.bytes[..];
    Ok(chunk.lists.iter().map(move |entry| Ok((entry.id.into(), span(bytes, &entry.list)?))))
}

/// Archives sessions: id and timeout, ms.
pub(super) fn encode_sessions(sessions: impl Iterator<Item = (i64, i32)>) -> AlignedVec {
    let sessions = sessions.map(|(id, timeout_ms)| SessionEntry { id, timeout_ms }).collect();
    encode(&SessionChunk { sessions })
}

/// The sessions of a chunk.
pub(super) fn sessions(archive: &[u8]) -> Result<impl ExactSizeIterator<Item = (i64, i32)>, Malformed> {
    let chunk = rkyv::access::<ArchivedSessionChunk, Error>(archive).map_err(|_| Malformed)?;
    Ok(chunk.sessions.iter().map(|session| (session.id.into(), session.timeout_ms.into())))
}

fn push_span(bytes: &mut Vec<u8>, part: &[u8]) -> Span {
    let offset = u32::try_from(bytes.len()).expect("a chunk ends long before 4 GiB");
    let length = u32::try_from(part.len()).expect("a part came from one frame");
    bytes.extend_from_slice(part);
    Span { offset, length }
}

fn span<'a>(bytes: &'a [u8], span: &ArchivedSpan) -> Result<&'a [u8], Malformed> {
    let offset = u32::from(span.offset) as usize;
    let rest = bytes.get(offset..).ok_or(Malformed)?;
    rest.get(..u32::from(span.length) as usize).ok_or(Malformed)
}

fn encode<T>(value: &T) -> AlignedVec
where
    T: for<'a> Serialize<
        rkyv::api::high::HighSerializer<AlignedVec, rkyv::ser::allocator::ArenaHandle<'a>, Error>,
    >,
{
    rkyv::to_bytes::<Error>(value).expect("flat records always archive")
}
