#![forbid(unsafe_code)]
//! QuorumPacket, the unit of the quorum links (ensemble-protocol §3.1; `zookeeper.jute`, numbers from stock's `Leader`).
//!
//! ```text
//! int type | long zxid | buffer data | vector<Id> authinfo        Id = ustring scheme, ustring id
//! ```
//!
//! Null data has length -1, null authinfo count -1. Packets follow each other without framing: the end of one is found
//! only by reading it, and a torn one is told from a malformed one by nothing but its lengths.

use std::fmt;

use super::super::jute::{DecodeError, Reader, Writer};
use super::super::{Id, records};
use crate::base::Zxid;

/// The kind of a packet: a number, since kinds that nobody knows are passed over, not refused (`Learner.syncWithLeader`,
/// `LearnerHandler.run`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketKind(pub i32);

impl PacketKind {
    /// A learner's client asks for a change.
    pub const REQUEST: PacketKind = PacketKind(1);
    /// A txn has got its zxid.
    pub const PROPOSAL: PacketKind = PacketKind(2);
    /// A proposal, or the leader's history, is durable at the sender.
    pub const ACK: PacketKind = PacketKind(3);
    /// A proposal is decided.
    pub const COMMIT: PacketKind = PacketKind(4);
    /// Sign of life; its answer carries the sessions heard of.
    pub const PING: PacketKind = PacketKind(5);
    /// A client came with a session of another server, and the answer.
    pub const REVALIDATE: PacketKind = PacketKind(6);
    /// Answers the oldest open sync.
    pub const SYNC: PacketKind = PacketKind(7);
    /// Proposal and commit in one, for observers.
    pub const INFORM: PacketKind = PacketKind(8);
    /// The commit of a reconfiguration.
    pub const COMMITANDACTIVATE: PacketKind = PacketKind(9);
    /// The whole of the leader's history was sent before.
    pub const NEWLEADER: PacketKind = PacketKind(10);
    /// A follower introduces itself.
    pub const FOLLOWERINFO: PacketKind = PacketKind(11);
    /// The history is committed: serve.
    pub const UPTODATE: PacketKind = PacketKind(12);
    /// What the learner lacks follows.
    pub const DIFF: PacketKind = PacketKind(13);
    /// The learner drops its tail.
    pub const TRUNC: PacketKind = PacketKind(14);
    /// The raw image follows ([`super::snap`]).
    pub const SNAP: PacketKind = PacketKind(15);
    /// An observer introduces itself.
    pub const OBSERVERINFO: PacketKind = PacketKind(16);
    /// The epoch that the leader offers.
    pub const LEADERINFO: PacketKind = PacketKind(17);
    /// The epoch is accepted.
    pub const ACKEPOCH: PacketKind = PacketKind(18);
    /// INFORM of a reconfiguration.
    pub const INFORMANDACTIVATE: PacketKind = PacketKind(19);

    /// Its name in stock (`LearnerHandler.packetToString`), or `None` for a number that has none.
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 19] = [
            "REQUEST",
            "PROPOSAL",
            "ACK",
            "COMMIT",
            "PING",
            "REVALIDATE",
            "SYNC",
            "INFORM",
            "COMMITANDACTIVATE",
            "NEWLEADER",
            "FOLLOWERINFO",
            "UPTODATE",
            "DIFF",
            "TRUNC",
            "SNAP",
            "OBSERVERINFO",
            "LEADERINFO",
            "ACKEPOCH",
            "INFORMANDACTIVATE",
        ];
        let at = usize::try_from(self.0).ok()?.checked_sub(1)?;
        NAMES.get(at).copied()
    }
}

impl fmt::Debug for PacketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "kind {}", self.0),
        }
    }
}

/// A packet, its data borrowed from the receive buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct QuorumPacket<'a> {
    /// What it is.
    pub kind: PacketKind,
    /// What the kind makes of it; -1 where it has no use for one.
    pub zxid: Zxid,
    /// One of the bodies of [`super::body`]; null differs from empty.
    pub data: Option<&'a [u8]>,
    /// Whom the client of a REQUEST has shown itself to be; null in every other kind.
    pub authinfo: Option<Vec<Id>>,
}

/// Data by length, identities by number: both are clients' own.
impl fmt::Debug for QuorumPacket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.zxid)?;
        match self.data {
            None => f.write_str(" null")?,
            Some(data) => write!(f, " {} B", data.len())?,
        }
        self.authinfo.as_ref().map_or(Ok(()), |ids| write!(f, " {} ids", ids.len()))
    }
}

/// Why a quorum link cannot be read further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PacketError {
    /// A length that is negative, or past the limit (`BinaryInputArchive.checkLength`).
    #[error("unreasonable length {length} in a packet, the limit is {limit}")]
    Length {
        /// As sent.
        length: i32,
        /// As given.
        limit: usize,
    },
    /// The identities together take more than one string may.
    #[error("identities of a packet take more than {limit} bytes")]
    Identities {
        /// As given.
        limit: usize,
    },
    /// An identity without scheme or name, which stock never makes.
    #[error("null in an identity")]
    NullIdentity,
}

impl<'a> QuorumPacket<'a> {
    /// A packet without data or identities.
    pub fn bare(kind: PacketKind, zxid: Zxid) -> QuorumPacket<'static> {
        QuorumPacket { kind, zxid, data: None, authinfo: None }
    }

    /// A packet with data.
    pub fn with(kind: PacketKind, zxid: Zxid, data: &'a [u8]) -> QuorumPacket<'a> {
        QuorumPacket { kind, zxid, data: Some(data), authinfo: None }
    }

    /// Appends the packet; many may follow each other in one send.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(24 + self.data.map_or(0, <[u8]>::len));
        out.int(self.kind.0);
        out.long(self.zxid.0);
        out.buffer(self.data);
        encode_identities(self.authinfo.as_deref(), out);
    }

    /// Reads the packet at the front of `received`: with it the bytes it took, or `None` when more must be received.
    /// `limit` holds for each string and buffer, and for the identities together: `jute.maxbuffer` and its extra size.
    pub fn decode(
        received: &'a [u8],
        limit: usize,
    ) -> Result<Option<(QuorumPacket<'a>, usize)>, PacketError> {
        let mut r = Reader::new(received);
        match read(&mut r, limit) {
            Ok(packet) => Ok(Some((packet, received.len() - r.rest().len()))),
            Err(Stop::More) => Ok(None),
            Err(Stop::Malformed(error)) => Err(error),
        }
    }
}

/// Appends a packet whose identities are encoded already, by [`encode_identities`].
pub fn encode_with_identities(
    kind: PacketKind,
    zxid: Zxid,
    data: &[u8],
    identities: &[u8],
    out: &mut Vec<u8>,
) {
    out.reserve(20 + data.len() + identities.len());
    out.int(kind.0);
    out.long(zxid.0);
    out.string(data);
    out.raw(identities);
}

/// How far a packet that is not all there has been looked through, so that bytes that come one by one are looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketScan {
    /// Bytes of it that are accounted for.
    at: usize,
    /// Where the identities begin, and their strings that are still to come, two each; once their count is known.
    identities: Option<(usize, u64)>,
}

impl PacketScan {
    /// Looks further through the packet at the front of `received`, to which bytes were only added since the last look.
    /// Its length, once it is all there; the next look is at another packet then. `limit` as in [`QuorumPacket::decode`].
    pub fn look(&mut self, received: &[u8], limit: usize) -> Result<Option<usize>, PacketError> {
        if self.at == 0 {
            let Some(length) = int_at(received, 12) else { return Ok(None) };
            self.at = 16 + reasonable(length, limit)?;
        }
        let (begin, mut left) = match self.identities {
            Some(identities) => identities,
            None => {
                let Some(count) = int_at(received, self.at) else { return Ok(None) };
                self.at += 4;
                (self.at, 2 * u64::try_from(count).unwrap_or(0))
            }
        };
        while left > 0 {
            self.identities = Some((begin, left));
            let Some(length) = int_at(received, self.at) else { return Ok(None) };
            if length == -1 {
                return Err(PacketError::NullIdentity);
            }
            let end = self.at + 4 + reasonable(length, limit)?;
            if end - begin > limit {
                return Err(PacketError::Identities { limit });
            }
            if end > received.len() {
                return Ok(None);
            }
            (self.at, left) = (end, left - 1);
        }
        Ok(Some(std::mem::take(self).at))
    }
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Bytes behind a length; none behind that of null.
fn reasonable(length: i32, limit: usize) -> Result<usize, PacketError> {
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        _ if length == -1 => Ok(0),
        _ => Err(PacketError::Length { length, limit }),
    }
}

/// Appends a vector of identities, -1 for `None`: the last field of a packet, and how identities are kept where they
/// are only passed on.
pub fn encode_identities(identities: Option<&[Id]>, out: &mut Vec<u8>) {
    let Some(identities) = identities else { return out.int(-1) };
    out.int(i32::try_from(identities.len()).expect("identities of one connection"));
    for id in identities {
        out.string(&id.scheme);
        out.string(&id.id);
    }
}

/// Reads what [`encode_identities`] wrote.
pub fn decode_identities(r: &mut Reader<'_>) -> Result<Option<Vec<Id>>, DecodeError> {
    let Some(count) = r.count()? else { return Ok(None) };
    let mut ids = Vec::with_capacity((count as usize).min(r.rest().len() / 8));
    for _ in 0..count {
        ids.push(records::decode_id(r)?);
    }
    Ok(Some(ids))
}

/// Why a packet is not there.
enum Stop {
    /// It ends behind what was received.
    More,
    /// It never will be.
    Malformed(PacketError),
}

impl From<DecodeError> for Stop {
    /// Lengths are judged before a reader sees them, so what is left is [`DecodeError::Short`].
    fn from(_: DecodeError) -> Stop {
        Stop::More
    }
}

fn read<'a>(r: &mut Reader<'a>, limit: usize) -> Result<QuorumPacket<'a>, Stop> {
    let (kind, zxid) = (PacketKind(r.int()?), Zxid(r.long()?));
    check_length(r, limit)?;
    let data = r.buffer()?;
    // The identities are looked through before the first is copied: a torn packet costs no allocation.
    let behind = *r;
    let Some(count) = r.count()? else { return Ok(QuorumPacket { kind, zxid, data, authinfo: None }) };
    let all = r.rest().len();
    for _ in 0..count {
        for _part in ["scheme", "id"] {
            check_length(r, limit)?;
            r.string()?.ok_or(Stop::Malformed(PacketError::NullIdentity))?;
            if all - r.rest().len() > limit {
                return Err(Stop::Malformed(PacketError::Identities { limit }));
            }
        }
    }
    let authinfo = decode_identities(&mut { behind })?;
    Ok(QuorumPacket { kind, zxid, data, authinfo })
}

/// Looks at the length that comes next, without taking it.
fn check_length(r: &Reader<'_>, limit: usize) -> Result<(), Stop> {
    reasonable({ *r }.int()?, limit).map(|_| ()).map_err(Stop::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_comes_byte_by_byte_is_whole_with_its_last_byte_and_not_before() {
        let ids = |count: usize| Some((0..count).map(|n| Id::new("ip", format!("10.0.0.{n}"))).collect());
        for (data, authinfo) in
            [(None, None), (Some(&b""[..]), ids(0)), (Some(&b"data"[..]), ids(1)), (None, ids(9))]
        {
            let mut bytes = Vec::new();
            QuorumPacket { kind: PacketKind::REQUEST, zxid: Zxid(-1), data, authinfo }.encode(&mut bytes);
            let whole = bytes.len();
            bytes.extend_from_slice(b"the next one");
            let mut scan = PacketScan::default();
            for end in 0..whole {
                assert_eq!(scan.look(&bytes[..end], 1000), Ok(None), "{end} of {whole}");
                assert_eq!(QuorumPacket::decode(&bytes[..end], 1000), Ok(None));
            }
            assert_eq!(scan.look(&bytes[..whole], 1000), Ok(Some(whole)));
            assert_eq!(scan.look(&bytes, 1000), Ok(Some(whole)), "at its beginning again, and all at once");
        }
    }

    #[test]
    fn what_cannot_be_a_packet_is_found_in_the_looking_as_in_the_reading() {
        let with = |data: i32, rest: &[i32]| {
            let mut bytes = vec![0; 12];
            bytes.int(data);
            rest.iter().for_each(|int| bytes.int(*int));
            bytes
        };
        let long = PacketError::Length { length: 101, limit: 100 };
        let negative = PacketError::Length { length: -2, limit: 100 };
        for (bytes, error) in [
            (with(101, &[]), long),
            (with(-2, &[]), negative),
            (with(-1, &[1, 101]), long),
            (with(-1, &[1, -2]), negative),
            (with(-1, &[1, -1]), PacketError::NullIdentity),
            (with(-1, &[1, 0, -1]), PacketError::NullIdentity),
            (with(-1, &[&[99][..], &[0; 26]].concat()), PacketError::Identities { limit: 100 }),
        ] {
            assert_eq!(PacketScan::default().look(&bytes, 100), Err(error), "{bytes:?}");
            assert_eq!(QuorumPacket::decode(&bytes, 100), Err(error), "{bytes:?}");
        }
    }
}
