#![forbid(unsafe_code)]
//! Replies and notifications: whole frames, length prefix included, appended to an output buffer.

use super::jute::Writer;
use super::{ErrorCode, OpCode};

/// Bytes of a ReplyHeader behind the length prefix.
pub const HEADER_BYTES: usize = 16;

/// xid of a watch notification.
pub const XID_NOTIFICATION: i32 = -1;
/// xid that every ping reply carries, whatever was sent.
pub const XID_PING: i32 = -2;

/// State in every event a server sends: SyncConnected.
pub const STATE_SYNC_CONNECTED: i32 = 3;

/// Types of watch events a server sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum EventType {
    /// The znode was created.
    NodeCreated = 1,
    /// The znode was deleted.
    NodeDeleted = 2,
    /// Its data were set.
    NodeDataChanged = 3,
    /// A child came or went.
    NodeChildrenChanged = 4,
}

/// Starts a reply frame in `out`; [`FrameEnd::finish`] writes the length once the body is in.
pub fn begin(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) -> FrameEnd {
    let at = out.len();
    out.int(0);
    out.int(xid);
    out.long(zxid);
    out.int(err);
    FrameEnd { at }
}

/// Where an unfinished frame began.
#[must_use]
#[derive(Debug)]
pub struct FrameEnd {
    at: usize,
}

impl FrameEnd {
    /// As [`FrameEnd::finish`], for a reply whose zxid is known only now.
    pub fn finish_at(&self, out: &mut [u8], zxid: i64) {
        out[self.at + 8..self.at + 16].copy_from_slice(&zxid.to_be_bytes());
        FrameEnd { at: self.at }.finish(out);
    }

    /// Writes the length prefix over everything appended since [`begin`].
    pub fn finish(self, out: &mut [u8]) {
        let length = i32::try_from(out.len() - self.at - 4).expect("a reply is far below 2 GiB");
        out[self.at..self.at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A reply without a body: an error, or an operation that has none.
pub fn header_only(out: &mut Vec<u8>, xid: i32, zxid: i64, err: Option<ErrorCode>) {
    begin(out, xid, zxid, err.map_or(0, ErrorCode::code)).finish(out);
}

/// A watch notification; `path` must be as Java writes it.
pub fn notification(out: &mut Vec<u8>, zxid: i64, event: EventType, path: &[u8]) {
    let end = begin(out, XID_NOTIFICATION, zxid, 0);
    out.int(event as i32);
    out.int(STATE_SYNC_CONNECTED);
    out.string(path);
    end.finish(out);
}

/// Header of an entry in a multi response (`MultiHeader`).
pub fn multi_header(out: &mut impl Writer, op: OpCode, done: bool, err: i32) {
    out.int(op as i32);
    out.boolean(done);
    out.int(err);
}

/// The end of a multi response.
pub fn multi_end(out: &mut impl Writer) {
    multi_header(out, OpCode::Error, true, -1);
}

/// A failed entry: its code stands twice.
pub fn multi_error(out: &mut impl Writer, code: i32) {
    multi_header(out, OpCode::Error, false, code);
    out.int(code);
}
