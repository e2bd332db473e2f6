//! Frames of clients, and txns of the log and of peers.

use crate::counting::bounded;
use crate::target;
use ringkeeper::wire::OpCode;
use ringkeeper::wire::connect::ConnectRequest;
use ringkeeper::wire::jute::{echo_bytes, to_java_bytes};
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
