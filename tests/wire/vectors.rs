//! The worked bytes of client-protocol §2.6 and §4.14, and of ensemble-protocol §14.

use crate::client::{Body, Reply, encode_request};
use crate::recorded::hex;
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES};
use ringkeeper::wire::reply::{EventType, XID_PING};
use ringkeeper::wire::request::{Request, RequestHeader};
use ringkeeper::wire::txn::{self, Txn, TxnHeader};
use ringkeeper::wire::{DecodeError, ErrorCode, OpCode};

#[test]
fn new_session_and_its_answer() {
    let frame = hex(
        "0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00000000000000000000000000000000 00",
    );
    let request = ConnectRequest::decode(&frame[4..]).unwrap();
    assert_eq!(
        request,
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout: 30_000,
            session_id: 0,
            password: Some(&[0; PASSWORD_BYTES]),
            read_only: Some(false),
        }
    );
    let mut out = Vec::new();
    ConnectResponse {
        timeout: 30_000,
        session_id: 0x1000123456789ab,
        password: hex("237710bc62d77989a42e8da77022789d").try_into().unwrap(),
        read_only: Some(false),
    }
    .encode_frame(&mut out);
    assert_eq!(
        out,
        hex("00000025 00000000 00007530 01000123456789ab 00000010 237710bc62d77989a42e8da77022789d 00")
    );
}

#[test]
fn an_old_client_gets_no_read_only_byte() {
    let mut out = Vec::new();
    ConnectResponse::refused(None).encode_frame(&mut out);
    assert_eq!(out.len(), 40);
    assert_eq!(out, hex(&format!("00000024 {} 00000010 {}", "00".repeat(16), "00".repeat(16))));
}

#[test]
fn requests_of_the_client_protocol() {
    let check = |frame: &str, xid: i32, op: OpCode| {
        let frame = hex(frame);
        let (header, body) = RequestHeader::split(&frame[4..]).unwrap();
        assert_eq!(header, RequestHeader { xid, op: op as i32 });
        let request = Request::decode(op, body).unwrap();
        let mut again = Vec::new();
        encode_request(&request, &mut again);
        assert_eq!(again, body, "{request:?}");
    };
    check("00000008 fffffffe 0000000b", XID_PING, OpCode::Ping);
    check(
        "00000032 00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64
         00000006 616e796f6e65 00000000",
        1,
        OpCode::Create,
    );
    check("00000008 00000007 fffffff5", 7, OpCode::CloseSession);
}

#[test]
fn replies_of_the_client_protocol() {
    let check = |frame: &str, reply: Reply| {
        assert_eq!(reply.encode(), hex(frame), "{reply:?}");
    };
    check(
        "00000010 fffffffe 0000000000000005 00000000",
        Reply { xid: XID_PING, zxid: 5, err: 0, body: Body::Nothing },
    );
    check(
        "00000016 00000001 0000000000000002 00000000 00000002 2f61",
        Reply { xid: 1, zxid: 2, err: 0, body: Body::Path(b"/a".to_vec()) },
    );
    check(
        "00000010 00000002 0000000000000003 ffffff92",
        Reply { xid: 2, zxid: 3, err: ErrorCode::NodeExists.code(), body: Body::Nothing },
    );
    check(
        "0000001e ffffffff 0000000000000004 00000000 00000003 00000003 00000002 2f61",
        Reply { xid: -1, zxid: 4, err: 0, body: Body::Event(EventType::NodeDataChanged, b"/a".to_vec()) },
    );
    let failed = |code: i32| (OpCode::Error as i32, Body::Error(code));
    check(
        "00000040 00000004 0000000000000006 00000000
         ffffffff 00 00000000 00000000   ffffffff 00 ffffff9b ffffff9b   ffffffff 00 fffffffe fffffffe   ffffffff 01 ffffffff",
        Reply {
            xid: 4,
            zxid: 6,
            err: 0,
            body: Body::Results(vec![
                failed(0),
                failed(ErrorCode::NoNode.code()),
                failed(ErrorCode::RuntimeInconsistency.code()),
            ]),
        },
    );
}

/// Puts a header in front of a record's bytes; decodes, compares, encodes, compares.
fn check_txn(record: &str, op: OpCode, txn: Txn<'_>, digest: Option<i64>) {
    let header = TxnHeader { session: 1, cxid: 2, zxid: 3, time: 4, op: op as i32 };
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    bytes.extend_from_slice(&hex(record));
    assert_eq!(txn::decode(&bytes), Ok(txn::Decoded { header, txn: txn.clone(), digest }));
    let mut again = Vec::new();
    txn::encode(&header, &txn, digest, &mut again);
    assert_eq!(again, bytes);
}

#[test]
fn txns_of_the_ensemble_protocol() {
    const EMPTY_TREE: i64 = 0x51c6d660;
    check_txn(
        "00007530 00000002 0000000051c6d660",
        OpCode::CreateSession,
        Txn::CreateSession(30_000),
        Some(EMPTY_TREE),
    );
    check_txn("ffffff92", OpCode::Error, Txn::Error(ErrorCode::NodeExists.code()), None);
    check_txn(
        "00000001 0000000e 2f612f6530303030303030303030 00000002 0000000051c6d660",
        OpCode::CloseSession,
        Txn::CloseSession(Some(vec![b"/a/e0000000000"[..].into()])),
        Some(EMPTY_TREE),
    );
    // Hazard R-12: no record, but a digest.
    check_txn("00000002 0000000051c6d660", OpCode::CloseSession, Txn::CloseSession(None), Some(EMPTY_TREE));
    check_txn("", OpCode::CloseSession, Txn::CloseSession(None), None);
}

#[test]
fn a_digest_of_another_version_is_not_ours_to_compare() {
    let mut bytes = Vec::new();
    let header = TxnHeader { session: 0, cxid: 0, zxid: 1, time: 0, op: OpCode::CreateSession as i32 };
    txn::encode(&header, &Txn::CreateSession(1), Some(9), &mut bytes);
    let version_at = bytes.len() - 9;
    bytes[version_at] = 3;
    assert_eq!(txn::decode(&bytes).unwrap().digest, None);
}

#[test]
fn a_create_of_very_old_logs_has_no_parent_cversion() {
    let record = "00000002 2f61 ffffffff 00000000 01";
    let mut bytes = Vec::new();
    TxnHeader { session: 1, cxid: 0, zxid: 1, time: 0, op: OpCode::Create as i32 }.encode(&mut bytes);
    bytes.extend_from_slice(&hex(record));
    match txn::decode(&bytes).unwrap().txn {
        Txn::Create { parent_cversion, data, lifetime, .. } => {
            assert_eq!((parent_cversion, data, lifetime), (-1, None, txn::Lifetime::Ephemeral));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_multi_inside_a_multi_is_refused() {
    let mut bytes = Vec::new();
    TxnHeader { session: 1, cxid: 0, zxid: 1, time: 0, op: OpCode::Multi as i32 }.encode(&mut bytes);
    bytes.extend_from_slice(&hex("00000001 0000000e 00000004 00000000"));
    assert_eq!(txn::decode(&bytes), Err(DecodeError::Kind(14)));
}

#[test]
fn bytes_behind_a_txn_are_ignored() {
    let header = TxnHeader { session: 1, cxid: 0, zxid: 1, time: 0, op: OpCode::Delete as i32 };
    let delete = Txn::Delete { path: b"/a", container: false };
    for digest in [None, Some(7)] {
        let mut bytes = Vec::new();
        txn::encode(&header, &delete, digest, &mut bytes);
        assert_eq!(txn::decode(&bytes).unwrap().digest, digest);
        // Without a digest, twelve that begin with its version would be one.
        for byte in [0, 2, 0xff].repeat(txn::DIGEST_BYTES) {
            bytes.push(byte);
            let expected = txn::Decoded { header, txn: delete.clone(), digest };
            assert_eq!(txn::decode(&bytes), Ok(expected), "{bytes:x?}");
        }
    }
}

#[test]
fn a_check_that_stands_alone_is_read() {
    check_txn("00000002 2f61 00000003", OpCode::Check, Txn::Check { path: b"/a", version: 3 }, None);
}

#[test]
fn a_close_session_without_a_record_is_told_from_one_with_two_paths() {
    // Two paths begin with the same bytes as a digest of version 2; they never take exactly twelve: only two
    // empty ones do, which no path is.
    let path = |text: &'static [u8]| text.into();
    check_txn(
        "00000002 00000002 2f61 00000002 2f62",
        OpCode::CloseSession,
        Txn::CloseSession(Some(vec![path(b"/a"), path(b"/b")])),
        None,
    );
}
