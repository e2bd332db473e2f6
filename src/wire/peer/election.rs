#![forbid(unsafe_code)]
//! The election links: the message that opens one, the frames behind it, and the only message in them
//! (ensemble-protocol §2.1, §2.2; stock `QuorumCnxManager`, `FastLeaderElection`).
//!
//! ```text
//! opening   long version (-65536, -65535) | long sid | int n | n bytes of addresses         once, by who connected
//! frame     int length 1..=524288 | payload                                                 both ways, from then on
//! payload   int state | long leader | long zxid | long round | long peerEpoch | int version | int n | n bytes of config
//! ```

use super::super::jute::{DecodeError, Reader, Writer};
use crate::base::{ServerId, Zxid};

/// First word of an opening with one address: what to send (`QuorumCnxManager.PROTOCOL_VERSION_V1`).
pub const VERSION_ONE_ADDRESS: i64 = -65536;

/// First word of an opening with several addresses, which 3.5 refuses (`PROTOCOL_VERSION_V2`).
pub const VERSION_ADDRESSES: i64 = -65535;

/// Longest addresses of an opening, bytes (`QuorumCnxManager.maxBuffer`; reliability M55).
pub const ADDRESS_BYTES_MAX: usize = 2048;

/// Longest frame, bytes (`QuorumCnxManager.PACKETMAXSIZE`).
pub const FRAME_BYTES_MAX: usize = 512 << 10;

/// The id under which an observer without one connects (`QuorumPeer.OBSERVER_ID`).
pub const ANONYMOUS_OBSERVER: ServerId = ServerId(i64::MAX);

/// Version of the notifications of 3.5 to 3.10: with a configuration.
pub const NOTIFICATION_VERSION: i32 = 2;

/// Bytes of a notification without configuration: the six numbers every release since 3.4.6 sends.
const FIXED_BYTES: usize = 40;

/// Why an election link cannot be read further.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ElectionError {
    /// The first word is neither a version we know nor a server's id.
    #[error("unknown version {0} of the election protocol")]
    Version(i64),
    /// The addresses take more than [`ADDRESS_BYTES_MAX`], or nothing at all.
    #[error("unreasonable length {0} of addresses")]
    AddressLength(i32),
    /// The addresses are no `host:port`, joined with `|`.
    #[error("badly formed election address")]
    Address,
    /// A frame past [`FRAME_BYTES_MAX`], or empty.
    #[error("unreasonable length {0} of an election frame")]
    FrameLength(i32),
}

/// Where a server can be called back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElectionAddress {
    /// A name as configured, or an address, without brackets.
    pub host: Box<str>,
    /// Its election port.
    pub port: u16,
}

impl ElectionAddress {
    /// Whether it names no machine; the configured address is to be used then (ZOOKEEPER-2164).
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    fn parse(text: &str) -> Option<ElectionAddress> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:")?,
            None => text.split_once(':')?,
        };
        // Java's `Integer.parseInt` takes a plus sign.
        let port = port.strip_prefix('+').unwrap_or(port).parse().ok()?;
        if host.is_empty() { None } else { Some(ElectionAddress { host: host.into(), port }) }
    }
}

impl std::fmt::Display for ElectionAddress {
    /// IPv6 in brackets (`NetUtils.formatInetAddr`).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ElectionAddress { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What the server that connects says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Who it is; [`ANONYMOUS_OBSERVER`] asks for a number.
    pub server: ServerId,
    /// Where it can be called back, wildcards included; empty from releases before 3.5, which send their id alone.
    pub addresses: Vec<ElectionAddress>,
}

impl Opening {
    /// Appends the message, to be sent with one write: stock reads the addresses with one read. One address goes as the
    /// first version, several as the second; none is the form of 3.4, and only an id that is not negative has it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.addresses.is_empty() {
            assert!(self.server.0 >= 0, "a negative id is taken for a version");
            return out.long(self.server.0);
        }
        out.long(if self.addresses.len() == 1 { VERSION_ONE_ADDRESS } else { VERSION_ADDRESSES });
        out.long(self.server.0);
        let text: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let text = text.join("|");
        assert!(text.len() <= ADDRESS_BYTES_MAX, "addresses of {} bytes", text.len());
        out.string(text.as_bytes());
    }

    /// Reads the message at the front of `received`: with it the bytes it took, or `None` when more must be received.
    pub fn decode(received: &[u8]) -> Result<Option<(Opening, usize)>, ElectionError> {
        let Some((version, rest)) = split_long(received) else { return Ok(None) };
        if version >= 0 {
            return Ok(Some((Opening { server: ServerId(version), addresses: Vec::new() }, 8)));
        }
        if version != VERSION_ONE_ADDRESS && version != VERSION_ADDRESSES {
            return Err(ElectionError::Version(version));
        }
        let Some((server, rest)) = split_long(rest) else { return Ok(None) };
        let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        let bytes = match usize::try_from(length) {
            Ok(bytes @ 1..=ADDRESS_BYTES_MAX) => bytes,
            _ => return Err(ElectionError::AddressLength(length)),
        };
        let Some(text) = rest.get(..bytes) else { return Ok(None) };
        let text = std::str::from_utf8(text).map_err(|_| ElectionError::Address)?;
        // Stock splits whatever the version says; empty parts at the end vanish as in every Java split.
        let addresses = text.trim_end_matches('|').split('|').map(ElectionAddress::parse);
        let addresses = addresses.collect::<Option<Vec<_>>>().ok_or(ElectionError::Address)?;
        Ok(Some((Opening { server: ServerId(server), addresses }, 20 + bytes)))
    }
}

fn split_long(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (long, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*long), rest))
}

/// The payload of the frame at the front of `received`, and the bytes the frame took; `None` when more must be received.
pub fn decode_frame(received: &[u8]) -> Result<Option<(&[u8], usize)>, ElectionError> {
    let Some((length, rest)) = received.split_first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(bytes @ 1..=FRAME_BYTES_MAX) => Ok(rest.get(..bytes).map(|payload| (payload, 4 + bytes))),
        _ => Err(ElectionError::FrameLength(length)),
    }
}

/// What a server is at the moment (`QuorumPeer.ServerState`, its ordinals).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerState {
    /// In an election.
    Looking = 0,
    /// Has a leader, votes.
    Following = 1,
    /// Leads, or tries to.
    Leading = 2,
    /// Has a leader, has no vote.
    Observing = 3,
}

impl PeerState {
    /// The state of that ordinal.
    pub fn from_i32(ordinal: i32) -> Option<PeerState> {
        use PeerState::{Following, Leading, Looking, Observing};
        [Looking, Following, Leading, Observing].into_iter().find(|state| *state as i32 == ordinal)
    }
}

/// A vote, and how far the voter's election is. Numbers as sent: servers without a vote send `i64::MIN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification<'a> {
    /// What the sender is.
    pub state: PeerState,
    /// Whom it wants.
    pub leader: ServerId,
    /// Where that server's history ends.
    pub zxid: Zxid,
    /// The sender's round; of its past election when it is not looking.
    pub round: i64,
    /// The current epoch of the server it wants.
    pub peer_epoch: i64,
    /// [`NOTIFICATION_VERSION`]; 0 from before 3.4.6.
    pub version: i32,
    /// The sender's committed configuration, raw: text that does not parse spoils nothing but itself. `None` below
    /// version 2.
    pub config: Option<&'a [u8]>,
}

/// Why a notification is passed over; the link lives (`FastLeaderElection.Messenger.WorkerReceiver`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotificationError {
    /// Shorter than it says, or than any form there ever was.
    #[error("notification of {0} bytes ends early")]
    Short(usize),
    /// A configuration of negative length, or longer than the message.
    #[error("configuration of {0} bytes in a notification")]
    ConfigLength(i32),
    /// A state that no release has.
    #[error("state {0} in a notification")]
    State(i32),
}

impl<'a> Notification<'a> {
    /// Appends the frame of today's form, length included: version 2, with a configuration even if that is empty.
    pub fn encode_frame(&self, out: &mut Vec<u8>) {
        let config = self.config.unwrap_or_default();
        let bytes = FIXED_BYTES + 4 + config.len();
        assert!(bytes <= FRAME_BYTES_MAX, "a configuration of {} bytes", config.len());
        out.reserve(4 + bytes);
        out.int(i32::try_from(bytes).expect("at most a frame"));
        out.int(self.state as i32);
        out.long(self.leader.0);
        out.long(self.zxid.0);
        out.long(self.round);
        out.long(self.peer_epoch);
        out.int(NOTIFICATION_VERSION);
        out.string(config);
    }

    /// Reads the payload of a frame, of today's form or an older one: exactly 28 bytes lack the epoch, which is the
    /// zxid's; exactly 40 carry a version that means nothing (3.4).
    pub fn decode(payload: &'a [u8]) -> Result<Notification<'a>, NotificationError> {
        let short = |_: DecodeError| NotificationError::Short(payload.len());
        let mut r = Reader::new(payload);
        let state = r.int().map_err(short)?;
        let (leader, zxid) = (ServerId(r.long().map_err(short)?), Zxid(r.long().map_err(short)?));
        let round = r.long().map_err(short)?;
        let (peer_epoch, version) = match payload.len() {
            28 => (zxid.0 >> 32, 0),
            40 => (r.long().map_err(short)?, 0),
            _ => (r.long().map_err(short)?, r.int().map_err(short)?),
        };
        let config = if version > 1 {
            let length = r.int().map_err(short)?;
            let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= payload.len());
            let bytes = bytes.ok_or(NotificationError::ConfigLength(length))?;
            Some(r.rest().get(..bytes).ok_or(NotificationError::Short(payload.len()))?)
        } else {
            None
        };
        let state = PeerState::from_i32(state).ok_or(NotificationError::State(state))?;
        Ok(Notification { state, leader, zxid, round, peer_epoch, version, config })
    }
}
