#![forbid(unsafe_code)]
//! The handshake: ConnectRequest and ConnectResponse (client-protocol §2). The only messages without a header.

use super::jute::{DecodeError, Reader, Writer};

/// Bytes of a session password (stock `ZooKeeperServer.generatePasswd`).
pub const PASSWORD_BYTES: usize = 16;

/// First frame of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest<'a> {
    /// Ignored; clients send 0.
    pub protocol_version: i32,
    /// Latest zxid the client saw.
    pub last_zxid_seen: i64,
    /// Session timeout asked for, ms.
    pub timeout: i32,
    /// 0 asks for a new session.
    pub session_id: i64,
    /// Compared on renewal only; may be null or of any length.
    pub password: Option<&'a [u8]>,
    /// Whether the client takes a read-only server; `None` for old clients that send no such byte, whose response
    /// then lacks it as well (3.8.x and 3.9.3 and later).
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads the body of the first frame. Bytes behind the readOnly byte are ignored, as stock does in every record
    /// (DESIGN §8 settles this against reliability M7).
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let request = ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: r.long()?,
            timeout: r.int()?,
            session_id: r.long()?,
            password: r.buffer()?,
            read_only: None,
        };
        let read_only = if r.is_empty() { None } else { Some(r.boolean()?) };
        Ok(ConnectRequest { read_only, ..request })
    }

    /// Appends the body, without a length prefix.
    pub fn encode(&self, out: &mut impl Writer) {
        out.int(self.protocol_version);
        out.long(self.last_zxid_seen);
        out.int(self.timeout);
        out.long(self.session_id);
        out.buffer(self.password);
        if let Some(read_only) = self.read_only {
            out.boolean(read_only);
        }
    }
}

/// First frame of the server. A timeout of 0 tells the client that its session is no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Negotiated timeout, ms; 0 for a refused renewal.
    pub timeout: i32,
    /// The session; 0 for a refused renewal.
    pub session_id: i64,
    /// Its password; zeros for a refused renewal.
    pub password: [u8; PASSWORD_BYTES],
    /// Present when the client sent the byte.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// The answer to a renewal that is refused.
    pub fn refused(read_only: Option<bool>) -> Self {
        ConnectResponse { timeout: 0, session_id: 0, password: [0; PASSWORD_BYTES], read_only }
    }

    /// Appends the whole frame, length prefix included.
    pub fn encode_frame(&self, out: &mut impl Writer) {
        out.int(if self.read_only.is_some() { 37 } else { 36 });
        out.int(0);
        out.int(self.timeout);
        out.long(self.session_id);
        out.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.boolean(read_only);
        }
    }
}
