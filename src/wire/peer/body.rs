#![forbid(unsafe_code)]
//! The data of quorum packets (ensemble-protocol §3.1). Where stock takes more bytes than a body has, so do we; where it
//! takes no null (it dereferences it), neither do we: [`DecodeError::Null`], and the link is closed.
//!
//! Not here: PROPOSAL and INFORM ([`crate::wire::txn`]), NEWLEADER (a configuration's text).

use super::super::jute::{DecodeError, Reader, Writer};
use crate::base::{Epoch, ServerId, SessionId, Xid};

/// Version of the protocol between learner and leader since 3.4 (`Learner.registerWithLeader`).
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

/// Bytes of one entry of a PING's answer.
pub const TOUCHED_BYTES: usize = 12;

type Result<T> = std::result::Result<T, DecodeError>;

fn required(data: Option<&[u8]>) -> Result<&[u8]> {
    data.ok_or(DecodeError::Null)
}

/// Data of FOLLOWERINFO and OBSERVERINFO: who connects. Each release added a field; each is absent with those behind it
/// (`LearnerHandler.run`).
///
/// ```text
/// long serverid | int protocolVersion | long configVersion
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Its id; absent when the data are null: stock gives such a learner a negative number of its own choice.
    pub server: Option<ServerId>,
    /// [`PROTOCOL_VERSION`].
    pub protocol_version: Option<i32>,
    /// Version of its committed configuration; 0 without reconfiguration.
    pub config_version: Option<i64>,
}

impl LearnerInfo {
    /// The form of today's releases, 20 bytes.
    pub fn new(server: ServerId, config_version: i64) -> LearnerInfo {
        LearnerInfo {
            server: Some(server),
            protocol_version: Some(PROTOCOL_VERSION),
            config_version: Some(config_version),
        }
    }

    /// Appends 0, 8, 12 or 20 bytes: fields up to the first that is absent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(ServerId(server)) = self.server else { return };
        out.long(server);
        let Some(protocol_version) = self.protocol_version else { return };
        out.int(protocol_version);
        let Some(config_version) = self.config_version else { return };
        out.long(config_version);
    }

    /// Reads as much as is there. Data too short for a server's id are refused, which stock takes for server 0.
    pub fn decode(data: Option<&[u8]>) -> Result<LearnerInfo> {
        let mut info = LearnerInfo { server: None, protocol_version: None, config_version: None };
        let Some(data) = data else { return Ok(info) };
        let mut r = Reader::new(data);
        info.server = Some(ServerId(r.long()?));
        if data.len() >= 12 {
            info.protocol_version = Some(r.int()?);
        }
        if data.len() >= 20 {
            info.config_version = Some(r.long()?);
        }
        Ok(info)
    }
}

/// Data of LEADERINFO.
pub const LEADER_INFO: [u8; 4] = PROTOCOL_VERSION.to_be_bytes();

/// Reads the protocol version out of LEADERINFO (`Learner.registerWithLeader` compares nothing).
pub fn decode_leader_info(data: Option<&[u8]>) -> Result<i32> {
    Reader::new(required(data)?).int()
}

/// Data of ACKEPOCH: the learner's current epoch; `None` (-1) when it had accepted the epoch offered before and must not
/// be counted.
pub fn encode_ack_epoch(current: Option<Epoch>) -> [u8; 4] {
    match current {
        None => (-1i32).to_be_bytes(),
        Some(Epoch(epoch)) => {
            debug_assert_ne!(epoch, u32::MAX, "epoch -1 means none");
            epoch.to_be_bytes()
        }
    }
}

/// Reads what [`encode_ack_epoch`] wrote. Whether the number can be an epoch is the leader's to judge.
pub fn decode_ack_epoch(data: Option<&[u8]>) -> Result<Option<Epoch>> {
    let epoch = Reader::new(required(data)?).int()?;
    Ok((epoch != -1).then_some(Epoch(epoch as u32)))
}

/// Data of REQUEST: what a learner's client asks for.
///
/// ```text
/// long sessionId | int cxid | int opcode | the request's record, to the end
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForwardedRequest<'a> {
    /// Whose request it is.
    pub session: SessionId,
    /// The client's number for it; the txn carries both back.
    pub cxid: Xid,
    /// An [`crate::wire::OpCode`].
    pub op: i32,
    /// The record as the client sent it; an int timeout for createSession, nothing for closeSession.
    pub record: &'a [u8],
}

impl<'a> ForwardedRequest<'a> {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(16 + self.record.len());
        out.long(self.session.0);
        out.int(self.cxid.0);
        out.int(self.op);
        out.raw(self.record);
    }

    /// Reads the body; the record is not looked at.
    pub fn decode(data: Option<&'a [u8]>) -> Result<ForwardedRequest<'a>> {
        let mut r = Reader::new(required(data)?);
        let (session, cxid, op) = (SessionId(r.long()?), Xid(r.int()?), r.int()?);
        Ok(ForwardedRequest { session, cxid, op, record: r.rest() })
    }
}

/// Data of REVALIDATE from a learner: `long sessionId, int timeout` (ms).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidate {
    /// The session a client came with.
    pub session: SessionId,
    /// Its timeout, ms.
    pub timeout: i32,
}

impl Revalidate {
    /// Appends 12 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.long(self.session.0);
        out.int(self.timeout);
    }

    /// Reads them.
    pub fn decode(data: Option<&[u8]>) -> Result<Revalidate> {
        let mut r = Reader::new(required(data)?);
        Ok(Revalidate { session: SessionId(r.long()?), timeout: r.int()? })
    }
}

/// Data of REVALIDATE from the leader: `long sessionId, boolean valid`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidated {
    /// The session asked about.
    pub session: SessionId,
    /// Whether it lives; then it is the learner's from here on.
    pub valid: bool,
}

impl Revalidated {
    /// Appends 9 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.long(self.session.0);
        out.boolean(self.valid);
    }

    /// Reads them.
    pub fn decode(data: Option<&[u8]>) -> Result<Revalidated> {
        let mut r = Reader::new(required(data)?);
        Ok(Revalidated { session: SessionId(r.long()?), valid: r.boolean()? })
    }
}

/// Appends one session to the data of a PING's answer: heard of since the last one. An answer without any has empty
/// data, never null.
pub fn encode_touched(session: SessionId, timeout_ms: i32, out: &mut Vec<u8>) {
    out.long(session.0);
    out.int(timeout_ms);
}

/// The sessions and timeouts (ms) in a PING's answer; refused whole when an entry is torn.
pub fn decode_touched(data: Option<&[u8]>) -> Result<impl ExactSizeIterator<Item = (SessionId, i32)> + '_> {
    let (entries, torn) = required(data)?.as_chunks::<TOUCHED_BYTES>();
    if !torn.is_empty() {
        return Err(DecodeError::Short);
    }
    Ok(entries.iter().map(|entry| {
        let [a, b, c, d, e, f, g, h, timeout @ ..] = *entry;
        (SessionId(i64::from_be_bytes([a, b, c, d, e, f, g, h])), i32::from_be_bytes(timeout))
    }))
}

/// Appends the data of COMMITANDACTIVATE (`proposal` empty) or INFORMANDACTIVATE.
pub fn encode_activation(leader: ServerId, proposal: &[u8], out: &mut Vec<u8>) {
    out.long(leader.0);
    out.raw(proposal);
}

/// The leader designated by COMMITANDACTIVATE or INFORMANDACTIVATE, and the txn behind it in the latter.
pub fn decode_activation(data: Option<&[u8]>) -> Result<(ServerId, &[u8])> {
    let mut r = Reader::new(required(data)?);
    Ok((ServerId(r.long()?), r.rest()))
}
