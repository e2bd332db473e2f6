#![forbid(unsafe_code)]
//! The client's half of the protocol: requests out, replies in. The server's half is `ringkeeper::wire`, of which only
//! the primitive types and the records are used here, so that a codec that is wrong twice does not agree with itself.
//!
//! Replies come from a server that may be wrong or hostile: nothing here trusts a length.

use ringkeeper::wire::jute::{Reader, Writer};
use ringkeeper::wire::{Acl, DecodeError, OpCode, Stat, encode_acls};

/// Longest reply taken, bytes. A listing of a million children is legal; a frame beyond this is a lie.
pub const FRAME_BYTES_MAX: usize = 256 << 20;

/// xid of a ping and its reply.
pub const XID_PING: i32 = -2;
/// xid of a watch notification.
pub const XID_NOTIFICATION: i32 = -1;

/// Flags of create: the znode goes with its session.
pub const EPHEMERAL: i32 = 1;
/// Flags of create: ten digits are appended to the name.
pub const SEQUENTIAL: i32 = 2;

/// Appends one request frame; `body` writes what stands behind the header.
pub fn request(out: &mut Vec<u8>, xid: i32, op: OpCode, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.int(0);
    out.int(xid);
    out.int(op as i32);
    body(out);
    let length = i32::try_from(out.len() - at - 4).expect("a request is far below 2 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Body of create: an open ACL.
pub fn create(out: &mut Vec<u8>, path: &[u8], data: &[u8], flags: i32) {
    out.string(path);
    out.buffer(Some(data));
    encode_acls(&[Acl::open()], out);
    out.int(flags);
}

/// Body of delete, any version.
pub fn delete(out: &mut Vec<u8>, path: &[u8]) {
    out.string(path);
    out.int(-1);
}

/// Body of setData, any version.
pub fn set_data(out: &mut Vec<u8>, path: &[u8], data: &[u8]) {
    out.string(path);
    out.buffer(Some(data));
    out.int(-1);
}

/// Body of exists, getData and getChildren.
pub fn path_watch(out: &mut Vec<u8>, path: &[u8], watch: bool) {
    out.string(path);
    out.boolean(watch);
}

/// Body of a multi of setData entries, one for each path, all with the same data.
pub fn multi_set<'a>(out: &mut Vec<u8>, paths: impl Iterator<Item = &'a [u8]>, data: &[u8]) {
    for path in paths {
        out.int(OpCode::SetData as i32);
        out.boolean(false);
        out.int(-1);
        set_data(out, path, data);
    }
    out.int(-1);
    out.boolean(true);
    out.int(-1);
}

/// One reply: its header and what stands behind it.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The request's number.
    pub xid: i32,
    /// What the server had seen when it answered.
    pub zxid: i64,
    /// 0 or a `KeeperException` code.
    pub err: i32,
    /// The record of the operation.
    pub body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Splits a frame.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(frame);
        Ok(Reply { xid: r.int()?, zxid: r.long()?, err: r.int()?, body: r.rest() })
    }

    /// The Stat that answers setData and exists.
    pub fn stat(&self) -> Result<Stat, DecodeError> {
        Stat::decode(&mut Reader::new(self.body))
    }

    /// Data and Stat, the answer to getData.
    pub fn data_and_stat(&self) -> Result<(&'a [u8], Stat), DecodeError> {
        let mut r = Reader::new(self.body);
        let data = r.buffer()?.unwrap_or_default();
        Ok((data, Stat::decode(&mut r)?))
    }

    /// The path that answers create.
    pub fn path(&self) -> Result<&'a [u8], DecodeError> {
        Reader::new(self.body).string()?.ok_or(DecodeError::Null)
    }

    /// The names that answer getChildren.
    pub fn children(&self) -> Result<Vec<&'a [u8]>, DecodeError> {
        let names = Reader::new(self.body).strings()?.ok_or(DecodeError::Null)?;
        names.into_iter().map(|name| name.ok_or(DecodeError::Null)).collect()
    }

    /// The Stats of a multi of setData entries; an error's code if an entry failed.
    pub fn multi_stats(&self) -> Result<Result<Vec<Stat>, i32>, DecodeError> {
        let mut r = Reader::new(self.body);
        let mut stats = Vec::new();
        loop {
            let (kind, done, _err) = (r.int()?, r.boolean()?, r.int()?);
            if done {
                return Ok(Ok(stats));
            }
            if kind == OpCode::Error as i32 {
                let code = r.int()?;
                // The entries before the one that failed say 0.
                if code != 0 {
                    return Ok(Err(code));
                }
            } else {
                stats.push(Stat::decode(&mut r)?);
            }
        }
    }
}

/// What a notification says: type of the event and its path.
pub fn event(body: &[u8]) -> Result<(i32, &[u8]), DecodeError> {
    let mut r = Reader::new(body);
    let (kind, _state) = (r.int()?, r.int()?);
    Ok((kind, r.string()?.ok_or(DecodeError::Null)?))
}

/// Where the next whole frame of `input` from `at` on lies, if it is there.
///
/// # Errors
/// The length, when no server that speaks the protocol would send it.
pub fn next_frame(input: &[u8], at: usize) -> Result<Option<std::ops::Range<usize>>, i32> {
    let rest = input.get(at..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= FRAME_BYTES_MAX => Ok((rest.len() >= bytes).then_some(at + 4..at + 4 + bytes)),
        _ => Err(length),
    }
}

/// What an error code is called, for people.
pub fn error_name(code: i32) -> String {
    match ringkeeper::wire::ErrorCode::from_i32(code) {
        Some(known) => format!("{known:?}"),
        None => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringkeeper::wire::request::{MultiOp, Request, RequestHeader};

    /// The server's decoder reads what we write.
    fn check(op: OpCode, body: impl FnOnce(&mut Vec<u8>), expected: impl FnOnce(Request<'_>)) {
        let mut out = Vec::new();
        request(&mut out, 7, op, body);
        let frame = next_frame(&out, 0).unwrap().unwrap();
        assert_eq!(frame.end, out.len());
        let (header, body) = RequestHeader::split(&out[frame]).unwrap();
        assert_eq!((header.xid, header.op), (7, op as i32));
        expected(Request::decode(op, body).unwrap());
    }

    #[test]
    fn requests_are_what_the_server_reads() {
        check(
            OpCode::Create,
            |out| create(out, b"/a", b"x", EPHEMERAL | SEQUENTIAL),
            |request| {
                let Request::Create(OpCode::Create, create) = request else { panic!("{request:?}") };
                assert_eq!((create.path, create.data, create.flags), (Some(&b"/a"[..]), Some(&b"x"[..]), 3));
            },
        );
        check(
            OpCode::GetData,
            |out| path_watch(out, b"/a", true),
            |request| assert!(matches!(request, Request::GetData(get) if get.watch)),
        );
        check(
            OpCode::Multi,
            |out| multi_set(out, [&b"/a"[..], b"/b"].into_iter(), b"v"),
            |request| {
                let Request::Multi(ops) = request else { panic!("{request:?}") };
                assert_eq!(ops.len(), 2);
                assert!(
                    matches!(ops[1], MultiOp::SetData(set) if set.path == Some(b"/b") && set.version == -1)
                );
            },
        );
    }

    #[test]
    fn a_frame_is_cut_when_it_is_whole_and_refused_when_it_cannot_be() {
        let input = [0, 0, 0, 2, 9, 9, 0, 0, 0, 1];
        assert_eq!(next_frame(&input, 0), Ok(Some(4..6)));
        assert_eq!(next_frame(&input, 6), Ok(None));
        assert_eq!(next_frame(&input[..5], 0), Ok(None));
        assert_eq!(next_frame(&(-5i32).to_be_bytes(), 0), Err(-5));
        assert_eq!(next_frame(&i32::MAX.to_be_bytes(), 0), Err(i32::MAX));
    }

    #[test]
    fn no_answer_makes_a_decoder_panic_or_run_away() {
        use rand::rngs::SmallRng;
        use rand::{Rng, SeedableRng};
        let mut random = SmallRng::seed_from_u64(4);
        let mut decoded = 0;
        for _ in 0..20_000 {
            let mut frame = vec![0; random.random_range(0..200)];
            random.fill(&mut frame[..]);
            // Small numbers are likelier to be taken for lengths.
            frame.iter_mut().for_each(|byte| *byte = if random.random_bool(0.8) { 0 } else { *byte });
            let _ = next_frame(&frame, random.random_range(0..210));
            let _ = event(&frame);
            let Ok(reply) = Reply::decode(&frame) else { continue };
            let _ = (reply.stat(), reply.data_and_stat(), reply.path(), reply.multi_stats());
            decoded += usize::from(reply.children().is_ok());
        }
        assert!(decoded > 100, "{decoded}: the noise must reach the decoders");
    }
}
