//! Frames of clients, txns of the log and of peers, and what servers say to each other.

use crate::counting::bounded;
use crate::target;
use ringkeeper::wire::OpCode;
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::jute::{echo_bytes, to_java_bytes};
use ringkeeper::wire::peer::body::{
    ForwardedRequest, LearnerInfo, Revalidate, Revalidated, decode_ack_epoch, decode_activation,
    decode_leader_info, decode_touched,
};
use ringkeeper::wire::peer::checked::decode_offer;
use ringkeeper::wire::peer::election::{Notification, Opening, decode_frame};
use ringkeeper::wire::peer::snap::{SnapDecoder, SnapError, SnapLimits};
use ringkeeper::wire::peer::{PacketKind, QuorumPacket};
use ringkeeper::wire::request::{MultiOp, Request, RequestHeader};
use ringkeeper::wire::txn::{self, Txn, TxnHeader};

/// What decoding one request may hold, in multiples of its frame: a string takes four bytes at least and sixteen in
/// memory.
const REQUEST_TIMES: usize = 4;

/// The same for a multi: its smallest entry takes 17 bytes, and a growing list holds three times its entries.
const MULTI_TIMES: usize = 1 + 3 * size_of::<MultiOp<'_>>() / 17;

/// The same for a txn: the smallest entry of a multi takes eight bytes, and the list is made in one piece. ACLs and
/// paths inside take four times their bytes.
const TXN_TIMES: usize = 5 + size_of::<Txn<'_>>() / 8;

/// What a packet may hold beside its bytes: the smallest identity takes eight and 32 in memory.
const PACKET_TIMES: usize = 5;

/// Limits of an element of a snapshot: whatever such a stream holds, decoding it takes less than the 64 KiB that every
/// target may have, so it is held to no multiple of its length.
const SNAP_LIMITS: SnapLimits =
    SnapLimits { string_bytes_max: 4096, data_bytes_max: 4096, acl_bytes_max: 4096 };

/// Elements until the stream ends or is refused, in chunks of `size`.
fn snap_elements(stream: &[u8], size: usize) -> (usize, Result<bool, SnapError>) {
    let mut decoder = SnapDecoder::new(SNAP_LIMITS);
    let mut elements = 0;
    for mut chunk in stream.chunks(size) {
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(_)) => elements += 1,
                Ok(None) => break,
                Err(error) => return (elements, Err(error)),
            }
        }
    }
    assert!(decoder.taken() <= stream.len() as u64);
    (elements, Ok(decoder.is_done()))
}

target!(
    /// First frame of a connection.
    connect_frame,
    |input| {
        let decoded = bounded(input.len(), 0, || ConnectRequest::decode(input));
        if let Ok(request) = decoded {
            let mut again = Vec::new();
            request.encode(&mut again);
            assert_eq!(ConnectRequest::decode(&again), Ok(request));
        }
    }
);

target!(
    /// Any other frame: header, then a body of the kind it names; a number that names none counts round the table.
    request_frame,
    |input| {
        let Ok((header, body)) = RequestHeader::split(input) else { return };
        let op = OpCode::from_i32(header.op)
            .unwrap_or(OpCode::ALL[header.op.unsigned_abs() as usize % OpCode::ALL.len()]);
        let times = if matches!(op, OpCode::Multi | OpCode::MultiRead) { MULTI_TIMES } else { REQUEST_TIMES };
        let decoded = bounded(body.len(), times, || Request::decode(op, body));
        if let Ok(Request::Multi(ops)) = &decoded {
            assert!(ops.len() <= body.len() / 17);
        }
    }
);

target!(
    /// Body of a multi, and of a multiRead.
    multi,
    |input| {
        for op in [OpCode::Multi, OpCode::MultiRead] {
            let decoded = bounded(input.len(), MULTI_TIMES, || Request::decode(op, input));
            // Null paths are prep's to refuse; of null lists only createTTL's get so far, as in stock.
            if let Ok(Request::Multi(ops)) = decoded {
                for op in ops {
                    if let MultiOp::Create(op, create) = op {
                        assert!(create.acl.is_some() || op == OpCode::CreateTtl || create.flags <= 4);
                    }
                }
            }
        }
    }
);

target!(
    /// A record of the log: header, record, digest.
    txn,
    |input| {
        let decoded = bounded(input.len(), TXN_TIMES, || txn::decode(input));
        if let Ok(decoded) = decoded {
            let mut again = Vec::new();
            txn::encode(&TxnHeader { ..decoded.header }, &decoded.txn, decoded.digest, &mut again);
            assert_eq!(txn::decode(&again), Ok(decoded));
        }
    }
);

target!(
    /// Strings that are echoed to clients.
    echo,
    |input| {
        // A replacement character takes three bytes for one.
        let echoed = bounded(input.len(), 12, || echo_bytes(input).into_owned());
        assert!(echoed.len() <= 3 * input.len());
        assert_eq!(to_java_bytes(input).is_some(), std::str::from_utf8(input).is_ok());
    }
);

target!(
    /// Packets of a quorum link, one behind the other, and the data of each read as every body there is.
    quorum_packet,
    |input| {
        const LIMIT: usize = 1 << 20;
        let mut rest = input;
        let mut again = Vec::new();
        while let Ok(Some((packet, taken))) =
            bounded(rest.len(), PACKET_TIMES, || QuorumPacket::decode(rest, LIMIT))
        {
            again.clear();
            packet.encode(&mut again);
            // A count below -1 reads as none and is written as 0; all else comes back as it was.
            assert_eq!(QuorumPacket::decode(&again, LIMIT), Ok(Some((packet.clone(), taken))));
            let data = packet.data;
            bounded(rest.len(), 0, || {
                let _ = (LearnerInfo::decode(data), decode_leader_info(data), decode_ack_epoch(data));
                let _ = (Revalidate::decode(data), Revalidated::decode(data), decode_activation(data));
                let _ = decode_touched(data).map(|touched| assert!(touched.len() <= taken / 12));
                if let Ok(request) = ForwardedRequest::decode(data) {
                    assert!(request.record.len() + 16 == data.map_or(0, <[u8]>::len));
                }
                for (kind, plain) in [(PacketKind::OBSERVERINFO, 20), (PacketKind::LEADERINFO, 4)] {
                    let offers = decode_offer(&QuorumPacket { kind, zxid: packet.zxid, data, authinfo: None });
                    assert!(offers != Ok(true) || data.is_some_and(|data| data.len() == plain + 8));
                }
            });
            rest = &rest[taken..];
        }
    }
);

target!(
    /// An election link from its opening on: frames, and notifications in them. The input is also read as frames alone.
    election_message,
    |input| {
        let opened = bounded(input.len(), 0, || Opening::decode(input));
        let behind = match opened {
            Ok(Some((opening, taken))) => {
                assert!(taken <= input.len() && opening.addresses.len() < 2048);
                taken
            }
            Ok(None) | Err(_) => input.len(),
        };
        for mut rest in [&input[behind..], input] {
            while let Ok(Some((payload, taken))) = decode_frame(rest) {
                if let Ok(notification) = bounded(rest.len(), 0, || Notification::decode(payload)) {
                    assert!(notification.config.unwrap_or_default().len() <= payload.len());
                }
                rest = &rest[taken..];
            }
        }
    }
);

target!(
    /// The raw stream behind a SNAP, in chunks of a size that its own bytes give, and whole.
    snap_stream,
    |input| {
        let size = 1 + usize::from(input.first().copied().unwrap_or(0) ^ input.last().copied().unwrap_or(0));
        let chunked = bounded(0, 0, || snap_elements(input, size));
        let whole = bounded(0, 0, || snap_elements(input, input.len().max(1)));
        assert_eq!(chunked, whole, "in chunks of {size}");
    }
);
