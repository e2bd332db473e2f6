#![forbid(unsafe_code)]
//! Checksums behind the packets of a quorum link, between two servers of ours: what TCP lets through altered, a faulty
//! switch or memory between, is found before anybody acts on it (reliability F21, S26). Stock has none, and no words for it:
//!
//! ```text
//!  learner ─► FOLLOWERINFO, OBSERVERINFO: 20 bytes as stock's, then an offer
//!  leader  ─► LEADERINFO: 4 bytes as stock's, then an offer; only to who made one
//!  both    ─► every packet after that of their own, and behind it: int CRC32C of the packet
//!             the raw image behind SNAP, and behind it: int CRC32C of the image
//!
//!  offer: int MARK | int CRC32C of type, zxid and data up to here
//! ```
//!
//! A stock leader reads the front of what a learner introduces itself with, and nothing behind it (`LearnerHandler.run`); a
//! stock learner offers nothing and is offered nothing. So a link with one stays as it was.

use super::packet::{PacketKind, QuorumPacket};
use crate::base::planted::{Bug, planted};

/// Begins an offer.
const MARK: [u8; 4] = *b"rk\xc5\x01";

/// Bits by which what stands in its place may differ and be it still, altered.
const MARK_BITS_MAX: u32 = 8;

/// Bytes behind a packet.
pub const CHECKSUM_BYTES: usize = 4;

/// What came is not what was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "what came was altered on its way: its checksum is {found:08x} and should be {sent:08x}. The network between, or memory, is faulty"
)]
pub struct Altered {
    /// By what was sent.
    pub sent: u32,
    /// By what came.
    pub found: u32,
}

/// Appends a packet that introduces its sender, FOLLOWERINFO, OBSERVERINFO or LEADERINFO, with an offer.
///
/// # Panics
///
/// When it has no data of its own, which stock would miss.
pub fn encode_offering(packet: &QuorumPacket<'_>, out: &mut Vec<u8>) {
    let mut data = packet.data.expect("who offers has said who it is").to_vec();
    data.extend_from_slice(&MARK);
    let checksum = introduction(packet, &data);
    data.extend_from_slice(&checksum.to_be_bytes());
    QuorumPacket { data: Some(&data), ..packet.clone() }.encode(out);
}

/// Whether this packet introduces its sender with an offer. One that seems to, and does not bear its checksum out, was altered;
/// what else a later stock may append is none.
pub fn decode_offer(packet: &QuorumPacket<'_>) -> Result<bool, Altered> {
    let plain = match packet.kind {
        PacketKind::FOLLOWERINFO | PacketKind::OBSERVERINFO => 20,
        PacketKind::LEADERINFO => 4,
        _ => return Ok(false),
    };
    let data = packet.data.unwrap_or_default();
    let Some(mark) = data.get(plain..).and_then(|rest| rest.first_chunk()) else { return Ok(false) };
    if (u32::from_be_bytes(*mark) ^ u32::from_be_bytes(MARK)).count_ones() > MARK_BITS_MAX {
        return Ok(false);
    }
    let (covered, checksum) = data.split_at(plain + MARK.len());
    let found = introduction(packet, covered);
    let sent = <[u8; CHECKSUM_BYTES]>::try_from(checksum).map_or(!found, u32::from_be_bytes);
    compare(sent, found)?;
    Ok(*mark == MARK)
}

/// Appends the checksum of the packet that begins in `out` at `begin`.
pub fn seal(begin: usize, out: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(&out[begin..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Holds a packet's bytes against the checksum that came behind it.
pub fn check(packet: &[u8], checksum: [u8; CHECKSUM_BYTES]) -> Result<(), Altered> {
    compare(u32::from_be_bytes(checksum), crc32c::crc32c(packet))
}

/// The checksum of an image, that goes or that comes, from its pieces.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ImageChecksum(u32);

impl ImageChecksum {
    /// The next piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, piece);
    }

    /// What is sent behind the image.
    pub fn seal(self) -> [u8; CHECKSUM_BYTES] {
        self.0.to_be_bytes()
    }

    /// Holds the image against the checksum that came behind it. Where it ends, only who decodes it finds: `behind` are the
    /// bytes of the pieces that were of it no more.
    pub fn check(self, behind: BehindImage, checksum: [u8; CHECKSUM_BYTES]) -> Result<(), Altered> {
        let sent = u32::from_be_bytes(checksum);
        compare(crc32c::crc32c_combine(sent, behind.checksum, behind.bytes), self.0)
    }
}

/// Bytes that came in the same piece as the end of an image.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BehindImage {
    checksum: u32,
    bytes: usize,
}

impl BehindImage {
    /// These.
    pub fn of(bytes: &[u8]) -> BehindImage {
        BehindImage { checksum: crc32c::crc32c(bytes), bytes: bytes.len() }
    }
}

fn introduction(packet: &QuorumPacket<'_>, data: &[u8]) -> u32 {
    let kind = crc32c::crc32c(&packet.kind.0.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(kind, &packet.zxid.0.to_be_bytes()), data)
}

fn compare(sent: u32, found: u32) -> Result<(), Altered> {
    if sent == found || planted(Bug::ChecksumsAreIgnored) { Ok(()) } else { Err(Altered { sent, found }) }
}

#[cfg(test)]
mod tests {
    use super::super::body::{LEADER_INFO, LearnerInfo, decode_leader_info};
    use super::*;
    use crate::base::{ServerId, Zxid};

    const LIMIT: usize = 1000;

    /// With an offer, and the data without it.
    fn offering(kind: PacketKind) -> (Vec<u8>, Vec<u8>) {
        let mut data = Vec::new();
        match kind {
            PacketKind::LEADERINFO => data.extend_from_slice(&LEADER_INFO),
            _ => LearnerInfo::new(ServerId(3), 5).encode(&mut data),
        }
        let mut bytes = Vec::new();
        encode_offering(&QuorumPacket::with(kind, Zxid(4 << 32), &data), &mut bytes);
        (bytes, data)
    }

    fn decoded(bytes: &[u8]) -> Option<QuorumPacket<'_>> {
        QuorumPacket::decode(bytes, LIMIT).ok()?.map(|(packet, _)| packet)
    }

    #[test]
    fn who_reads_as_stock_does_finds_what_stock_sends() {
        for kind in [PacketKind::FOLLOWERINFO, PacketKind::OBSERVERINFO] {
            let (bytes, plain) = offering(kind);
            let packet = decoded(&bytes).unwrap();
            assert_eq!(decode_offer(&packet), Ok(true));
            assert_eq!(packet.data.unwrap()[..20], plain);
            assert_eq!(LearnerInfo::decode(packet.data), Ok(LearnerInfo::new(ServerId(3), 5)));
            assert_eq!(decode_offer(&QuorumPacket { data: Some(&plain), ..packet.clone() }), Ok(false));
            let more = [&plain[..], &[0; 8]].concat();
            let later = QuorumPacket { data: Some(&more), ..packet };
            assert_eq!(decode_offer(&later), Ok(false), "a field that some later stock may have");
        }
        let (bytes, _) = offering(PacketKind::LEADERINFO);
        assert_eq!(decode_leader_info(decoded(&bytes).unwrap().data), decode_leader_info(Some(&LEADER_INFO)));
    }

    #[test]
    fn a_flipped_bit_of_an_introduction_is_found() {
        for kind in [PacketKind::FOLLOWERINFO, PacketKind::OBSERVERINFO, PacketKind::LEADERINFO] {
            let (bytes, plain) = offering(kind);
            let authinfo = bytes.len() - 4;
            for bit in 0..authinfo * 8 {
                let mut altered = bytes.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                // One of another kind introduces nobody; one cut short before its offer leaves a rest that is no packet.
                if let Some(packet) = decoded(&altered)
                    && (bit >= 4 * 8 || packet.kind == PacketKind::FOLLOWERINFO)
                    && packet.data.is_some_and(|data| data.len() > plain.len())
                {
                    assert!(decode_offer(&packet).is_err(), "bit {bit} of {kind:?}");
                }
            }
        }
    }

    #[test]
    fn an_image_is_held_against_its_checksum_wherever_its_pieces_end() {
        let image: Vec<u8> = (0..3_000u32).map(|n| (n * 7) as u8).collect();
        let mut sent = ImageChecksum::default();
        image.chunks(900).for_each(|piece| sent.add(piece));
        for behind in [0, 3, 4, 70] {
            let stream = [&image[..], &[0x33; 70][..behind]].concat();
            for at in [None, Some(0), Some(2_999)] {
                let mut stream = stream.clone();
                if let Some(at) = at {
                    stream[at] ^= 4;
                }
                let mut came = ImageChecksum::default();
                stream.chunks(1_000).for_each(|piece| came.add(piece));
                let found = came.check(BehindImage::of(&stream[3_000..]), sent.seal());
                assert_eq!(found.is_ok(), at.is_none(), "{behind} bytes behind it, {at:?} altered");
            }
        }
    }

    #[test]
    fn a_flipped_bit_of_a_packet_is_found() {
        let mut bytes = b"before".to_vec();
        QuorumPacket::with(PacketKind::PROPOSAL, Zxid(7), &[0x55; 200]).encode(&mut bytes);
        seal(6, &mut bytes);
        let (packet, checksum) = bytes[6..].split_last_chunk::<CHECKSUM_BYTES>().unwrap();
        assert_eq!(check(packet, *checksum), Ok(()));
        for bit in 0..packet.len() * 8 {
            let mut altered = packet.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&altered, *checksum).is_err(), "bit {bit}");
        }
        assert_eq!(
            crc32c::crc32c(b"123456789"),
            0xe306_9283,
            "the check value of CRC-32C, RFC 3720 and others"
        );
    }
}
