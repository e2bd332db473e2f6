#![forbid(unsafe_code)]
//! The raw snapshot behind a SNAP packet (ensemble-protocol §3.5; stock `ZKDatabase.serializeSnapshot`,
//! `DataTree.serialize`, `LearnerHandler.run`).
//!
//! ```text
//! int nSessions | each: long sessionId, int timeout (ms)
//! int nAcls     | each: long aclId, vector<ACL>
//! nodes, parents first: ustring path ("" is the root), buffer data, long aclId (-1 is world:anyone:31), StatPersisted
//! ustring "/"          ends the nodes
//! ustring "BenWasHere" ends the stream; packets follow
//! StatPersisted  60 bytes: long czxid, mzxid, ctime, mtime; int version, cversion, aversion; long ephemeralOwner, pzxid
//! ```
//!
//! No header, no checksum: a stream cut short is known by its missing end alone. Up to its second seal a stock snapshot
//! file holds the same (§7.4).
//!
//! The decoder holds one element at most. That bounds a stream that is malformed, never one that is endless or lies:
//! whoever takes the elements bounds their number and [`SnapDecoder::taken`], and judges what they name (a path that
//! `base::path::is_valid` refuses, one that was there before, a node without a parent, an ACL nobody listed).

use super::super::jute::{DecodeError, Reader, Writer};
use super::super::{Acl, decode_acls, encode_acls};
use crate::base::SessionId;

/// What ends the nodes: a path that none of them has.
const NODES_END: &[u8] = b"\0\0\0\x01/";

/// The last string of the stream, with its length (stock `LearnerHandler.run`, `Learner.syncWithLeader`).
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// Id of the list that gives everyone everything; never in the map (stock `ReferenceCountedACLCache`).
pub const OPEN_ACL: i64 = -1;

/// Bytes of an encoded [`StatPersisted`].
pub const STAT_PERSISTED_BYTES: usize = 60;

/// Bytes behind the data of a node: its ACL's id and its Stat.
const NODE_TAIL_BYTES: usize = 8 + STAT_PERSISTED_BYTES;

/// What is kept of a znode beside data, ACL and children (`zookeeper.jute`); ZooKeeper's field names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatPersisted {
    /// zxid that created it.
    pub czxid: i64,
    /// zxid of the last data change; creation counts.
    pub mzxid: i64,
    /// Wall clock of the creation, ms since 1970.
    pub ctime: i64,
    /// Wall clock of the last data change, ms since 1970.
    pub mtime: i64,
    /// Data version.
    pub version: i32,
    /// Count of creations below it; clients see something else.
    pub cversion: i32,
    /// ACL version.
    pub aversion: i32,
    /// Session, or the mark of a container or TTL node (§4.3); 0 for none.
    pub ephemeral_owner: i64,
    /// zxid of the last creation or deletion of a direct child.
    pub pzxid: i64,
}

impl StatPersisted {
    /// Appends the 60 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for long in [self.czxid, self.mzxid, self.ctime, self.mtime] {
            out.long(long);
        }
        for int in [self.version, self.cversion, self.aversion] {
            out.int(int);
        }
        out.long(self.ephemeral_owner);
        out.long(self.pzxid);
    }

    /// Reads the 60 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<StatPersisted, DecodeError> {
        Ok(StatPersisted {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            pzxid: r.long()?,
        })
    }
}

/// A znode of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapNode<'a> {
    /// `/` for the root, here, in both directions. Raw: a path out of a decoder may be anything.
    pub path: &'a [u8],
    /// Null differs from empty.
    pub data: Option<&'a [u8]>,
    /// [`OPEN_ACL`], or an id of the map; stock's fuzzy images name some that are missing there (ZOOKEEPER-4846).
    pub acl: i64,
    /// The rest.
    pub stat: StatPersisted,
}

/// Writes the stream in pieces, each appended to a buffer that the caller sends when it likes.
///
/// ```
/// use ringkeeper::base::SessionId;
/// use ringkeeper::wire::peer::snap::{OPEN_ACL, SnapEncoder, SnapNode, StatPersisted};
/// let mut out = Vec::new();
/// let mut encoder = SnapEncoder::begin(1, &mut out);
/// encoder.session(SessionId(7), 30_000, &mut out);
/// encoder.begin_acls(0, &mut out);
/// let root = SnapNode { path: b"/", data: Some(b""), acl: OPEN_ACL, stat: StatPersisted::default() };
/// encoder.node(&root, &mut out);
/// encoder.end(&mut out);
/// assert!(out.ends_with(b"\0\0\0\x01/\0\0\0\x0aBenWasHere"));
/// ```
#[derive(Debug)]
pub struct SnapEncoder {
    sessions_left: u32,
    acls_left: Option<u32>,
    root_written: bool,
}

impl SnapEncoder {
    /// Begins with the number of sessions that will come.
    pub fn begin(sessions: u32, out: &mut Vec<u8>) -> SnapEncoder {
        out.int(i32::try_from(sessions).expect("sessions are counted in 31 bits"));
        SnapEncoder { sessions_left: sessions, acls_left: None, root_written: false }
    }

    /// A session and its timeout, ms.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32, out: &mut Vec<u8>) {
        self.sessions_left = self.sessions_left.checked_sub(1).expect("more sessions than announced");
        out.long(session.0);
        out.int(timeout_ms);
    }

    /// Goes on with the number of ACL lists that will come.
    pub fn begin_acls(&mut self, acls: u32, out: &mut Vec<u8>) {
        assert_eq!(self.sessions_left, 0, "sessions announced and not written");
        assert!(self.acls_left.is_none(), "ACL lists begun twice");
        out.int(i32::try_from(acls).expect("ACL lists are counted in 31 bits"));
        self.acls_left = Some(acls);
    }

    /// A list under the id that nodes name; the open list has none.
    pub fn acl(&mut self, id: i64, acl: &[Acl], out: &mut Vec<u8>) {
        assert_ne!(id, OPEN_ACL, "the open list is not in the map");
        let left = self.acls_left.and_then(|left| left.checked_sub(1));
        self.acls_left = Some(left.expect("more ACL lists than announced"));
        out.long(id);
        encode_acls(acl, out);
    }

    /// A node, after its parent; the root first.
    pub fn node(&mut self, node: &SnapNode<'_>, out: &mut Vec<u8>) {
        assert_eq!(self.acls_left, Some(0), "ACL lists announced and not written");
        assert_eq!(node.path == b"/", !self.root_written, "the root comes once, and first");
        self.root_written = true;
        out.reserve(8 + node.path.len() + node.data.map_or(0, <[u8]>::len) + NODE_TAIL_BYTES);
        out.string(if node.path == b"/" { b"" } else { node.path });
        out.buffer(node.data);
        out.long(node.acl);
        node.stat.encode(out);
    }

    /// Ends nodes and stream.
    pub fn end(self, out: &mut Vec<u8>) {
        assert!(self.root_written, "a tree has a root");
        out.raw(NODES_END);
        out.raw(SIGNATURE);
    }
}

/// What a stream may hold in one element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapLimits {
    /// Longest path, scheme or id, bytes.
    pub string_bytes_max: usize,
    /// Longest data of a node, bytes.
    pub data_bytes_max: usize,
    /// Longest ACL list, bytes as encoded.
    pub acl_bytes_max: usize,
}

impl SnapLimits {
    /// The same limit for all: `jute.maxbuffer` and its extra size, which stock holds strings and buffers to here too.
    pub fn uniform(limit: usize) -> SnapLimits {
        SnapLimits { string_bytes_max: limit, data_bytes_max: limit, acl_bytes_max: limit }
    }
}

/// A piece of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapElement<'a> {
    /// So many sessions are announced. Nothing has been reserved for them.
    Sessions(u32),
    /// A session and its timeout, ms.
    Session(SessionId, i32),
    /// So many ACL lists are announced.
    Acls(u32),
    /// A list under its id.
    Acl(i64, Vec<Acl>),
    /// A node.
    Node(SnapNode<'a>),
    /// The end, and all of it was there: whatever follows is a packet.
    End,
}

/// Why a stream was refused; nothing of it may be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapError {
    /// A string, data or list that is too long, or of negative length.
    #[error("unreasonable length {length} in a snapshot, the limit is {limit}")]
    Length {
        /// As sent, or bytes of a list so far.
        length: i64,
        /// As given.
        limit: usize,
    },
    /// Null for a path, a list, a scheme or an id.
    #[error("null in a snapshot where a value is required")]
    Null,
    /// The first node is not the root, so it has no parent.
    #[error("a snapshot does not begin with the root")]
    NoRoot,
    /// The stream does not end as it must.
    #[error("a snapshot's signature is wrong")]
    Signature,
}

/// Where in the stream the next element is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    SessionCount,
    Session { left: u32 },
    AclCount,
    Acl { left: u32 },
    Node { root: bool },
    Done,
    Failed(SnapError),
}

/// How far the element that comes next has been looked through, so that bytes that come one by one are looked at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Scan {
    /// Bytes of it that are accounted for.
    at: usize,
    /// Strings of an ACL list that are still to come, once its count is known; two an entry.
    strings_left: Option<u64>,
}

/// Reads the stream from chunks of any size.
///
/// ```
/// use ringkeeper::wire::peer::snap::{SnapDecoder, SnapElement, SnapLimits};
/// # fn received() -> Vec<Vec<u8>> { vec![b"\0\0\0\0\0\0".to_vec(), b"\0\0".to_vec()] }
/// let mut decoder = SnapDecoder::new(SnapLimits::uniform(1 << 20));
/// let mut seen = Vec::new();
/// for chunk in received() {
///     let mut rest = chunk.as_slice();
///     while let Some(element) = decoder.next(&mut rest)? {
///         seen.push(format!("{element:?}"));
///     }
/// }
/// assert_eq!(seen, ["Sessions(0)", "Acls(0)"]);
/// assert!(!decoder.is_done());
/// # Ok::<(), ringkeeper::wire::peer::snap::SnapError>(())
/// ```
#[derive(Debug)]
pub struct SnapDecoder {
    limits: SnapLimits,
    phase: Phase,
    scan: Scan,
    /// The beginning of the next element, when a chunk ended inside it; else of an element that is given out.
    pending: Vec<u8>,
    /// Whether `pending` is of an element already given out.
    given: bool,
    taken: u64,
}

impl SnapDecoder {
    /// At the beginning of a stream.
    pub fn new(limits: SnapLimits) -> SnapDecoder {
        let (phase, scan) = (Phase::SessionCount, Scan::default());
        SnapDecoder { limits, phase, scan, pending: Vec::new(), given: false, taken: 0 }
    }

    /// Bytes taken from chunks so far; what bounds an endless stream is the caller's.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the whole stream was there.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The next element, off the front of `chunk`; `None` when the chunk is used up, or the stream is over and the rest
    /// of the chunk belongs to packets. An error is final.
    pub fn next<'a, 'c: 'a>(
        &'a mut self,
        chunk: &mut &'c [u8],
    ) -> Result<Option<SnapElement<'a>>, SnapError> {
        if std::mem::take(&mut self.given) {
            self.pending.clear();
        }
        loop {
            match self.phase {
                Phase::Done => return Ok(None),
                Phase::Failed(error) => return Err(error),
                _ => {}
            }
            let bytes: &[u8] = if self.pending.is_empty() { chunk } else { &self.pending };
            let need = match self.limits.scan(self.phase, &mut self.scan, bytes) {
                Ok(need) => need,
                Err(error) => {
                    self.phase = Phase::Failed(error);
                    return Err(error);
                }
            };
            if need <= bytes.len() {
                break;
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            // Never more than is known to belong to the element: memory is bounded by its limits.
            let missing = (need - self.pending.len()).min(chunk.len());
            self.take(missing, chunk);
        }
        let bytes = std::mem::take(&mut self.scan).at;
        let element: &'a [u8] = if self.pending.is_empty() {
            let (element, rest) = chunk.split_at(bytes);
            *chunk = rest;
            self.taken += bytes as u64;
            element
        } else {
            debug_assert_eq!(self.pending.len(), bytes);
            self.given = true;
            &self.pending
        };
        let decoded = decode(self.phase, element);
        match decoded {
            Ok((element, next)) => {
                self.phase = next;
                Ok(Some(element))
            }
            Err(error) => {
                self.phase = Phase::Failed(error);
                Err(error)
            }
        }
    }

    fn take(&mut self, bytes: usize, chunk: &mut &[u8]) {
        let (head, rest) = chunk.split_at(bytes);
        self.pending.extend_from_slice(head);
        *chunk = rest;
        self.taken += bytes as u64;
    }
}

impl SnapLimits {
    /// Looks further through an element of which `bytes` are there. Returns how many it takes as far as is known: when
    /// that many are there and `scan.at` has reached it, the element is whole.
    fn scan(&self, phase: Phase, scan: &mut Scan, bytes: &[u8]) -> Result<usize, SnapError> {
        match phase {
            Phase::SessionCount | Phase::AclCount => Ok(fixed(scan, 4)),
            Phase::Session { .. } => Ok(fixed(scan, 12)),
            Phase::Acl { .. } => self.scan_acl(scan, bytes),
            Phase::Node { .. } => self.scan_node(scan, bytes),
            Phase::Done | Phase::Failed(_) => Ok(0),
        }
    }

    fn scan_acl(&self, scan: &mut Scan, bytes: &[u8]) -> Result<usize, SnapError> {
        let left = match scan.strings_left {
            Some(left) => left,
            None => {
                let Some(count) = int_at(bytes, 8) else { return Ok(12) };
                if count == -1 {
                    return Err(SnapError::Null);
                }
                scan.at = 12;
                2 * u64::try_from(count).unwrap_or(0)
            }
        };
        let mut left = left;
        while left > 0 {
            // Each entry begins with its permissions, and these are followed by two strings.
            let perms = if left.is_multiple_of(2) { 4 } else { 0 };
            scan.strings_left = Some(left);
            let Some(length) = int_at(bytes, scan.at + perms) else { return Ok(scan.at + perms + 4) };
            let length = string_length(length, self.string_bytes_max)?;
            let end = scan.at + perms + 4 + length;
            // The list begins behind its id.
            if end - 8 > self.acl_bytes_max {
                return Err(SnapError::Length { length: end as i64 - 8, limit: self.acl_bytes_max });
            }
            if end > bytes.len() {
                return Ok(end);
            }
            scan.at = end;
            left -= 1;
        }
        scan.strings_left = Some(0);
        Ok(scan.at)
    }

    fn scan_node(&self, scan: &mut Scan, bytes: &[u8]) -> Result<usize, SnapError> {
        let Some(length) = int_at(bytes, 0) else { return Ok(4) };
        let path_end = 4 + string_length(length, self.string_bytes_max)?;
        let Some(path) = bytes.get(4..path_end) else { return Ok(path_end) };
        if path == b"/" {
            // What follows must be the signature, so a longer string is not waited for.
            return Ok(fixed(scan, path_end + SIGNATURE.len()));
        }
        let Some(length) = int_at(bytes, path_end) else { return Ok(path_end + 4) };
        let data = if length == -1 { 0 } else { string_length(length, self.data_bytes_max)? };
        scan.at = path_end + 4 + data + NODE_TAIL_BYTES;
        Ok(scan.at)
    }
}

fn fixed(scan: &mut Scan, bytes: usize) -> usize {
    scan.at = bytes;
    bytes
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn string_length(length: i32, limit: usize) -> Result<usize, SnapError> {
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        _ if length == -1 => Err(SnapError::Null),
        _ => Err(SnapError::Length { length: length.into(), limit }),
    }
}

impl From<DecodeError> for SnapError {
    /// The scan saw to lengths before an element is read, so what can be left is a null.
    fn from(_: DecodeError) -> SnapError {
        SnapError::Null
    }
}

/// Reads a whole element, and what comes behind it.
fn decode(phase: Phase, bytes: &[u8]) -> Result<(SnapElement<'_>, Phase), SnapError> {
    let r = &mut Reader::new(bytes);
    Ok(match phase {
        // Stock counts down while the number is positive (`SerializeUtils.deserializeSnapshot`).
        Phase::SessionCount => {
            let count = u32::try_from(r.int()?).unwrap_or(0);
            (SnapElement::Sessions(count), sessions(count))
        }
        Phase::Session { left } => (SnapElement::Session(SessionId(r.long()?), r.int()?), sessions(left - 1)),
        Phase::AclCount => {
            let count = u32::try_from(r.int()?).unwrap_or(0);
            (SnapElement::Acls(count), acls(count))
        }
        Phase::Acl { left } => (SnapElement::Acl(r.long()?, decode_acls(r)?), acls(left - 1)),
        Phase::Node { root } if bytes.starts_with(NODES_END) => {
            if !root {
                return Err(SnapError::NoRoot);
            }
            if bytes[NODES_END.len()..] != *SIGNATURE {
                return Err(SnapError::Signature);
            }
            (SnapElement::End, Phase::Done)
        }
        Phase::Node { root } => {
            let node = decode_node(r)?;
            if !root && node.path != b"/" {
                return Err(SnapError::NoRoot);
            }
            (SnapElement::Node(node), Phase::Node { root: true })
        }
        Phase::Done | Phase::Failed(_) => unreachable!("nothing is read behind the end"),
    })
}

fn sessions(left: u32) -> Phase {
    if left == 0 { Phase::AclCount } else { Phase::Session { left } }
}

fn acls(left: u32) -> Phase {
    if left == 0 { Phase::Node { root: false } } else { Phase::Acl { left } }
}

fn decode_node<'a>(r: &mut Reader<'a>) -> Result<SnapNode<'a>, DecodeError> {
    let path = r.string()?.ok_or(DecodeError::Null)?;
    let path = if path.is_empty() { b"/" } else { path };
    Ok(SnapNode { path, data: r.buffer()?, acl: r.long()?, stat: StatPersisted::decode(r)? })
}
