//! Frames recorded between a Java client and a stock server: each is read by our codec and written again, byte for
//! byte.

use crate::client::{Body, Reply, encode_request};
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::jute::{Reader, Writer};
use ringkeeper::wire::request::{Request, RequestHeader};
use ringkeeper::wire::{DecodeError, ErrorCode, OpCode};
use std::collections::{BTreeMap, BTreeSet};

const SESSION: &str = include_str!("../golden/wire/session.hex");
const RAW: &str = include_str!("../golden/wire/raw.hex");

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// (from the client, frame) in the order recorded.
fn frames(text: &str) -> Vec<(bool, Vec<u8>)> {
    text.lines().map(|line| (line.starts_with('>'), hex(&line[2..]))).collect()
}

/// The frame of a request, written by the test's client.
fn request_frame(header: RequestHeader, request: &Request<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    body.int(header.xid);
    body.int(header.op);
    encode_request(request, &mut body);
    let mut out = Vec::new();
    out.buffer(Some(&body));
    out
}

fn check_handshake(request: &[u8], response: &[u8]) {
    let decoded = ConnectRequest::decode(&request[4..]).unwrap();
    assert_eq!((decoded.timeout, decoded.session_id), (30_000, 0));
    let mut body = Vec::new();
    decoded.encode(&mut body);
    assert_eq!(body, &request[4..]);

    let mut r = Reader::new(response);
    let (_, version, timeout, session_id) =
        (r.int().unwrap(), r.int().unwrap(), r.int().unwrap(), r.long().unwrap());
    let password = r.buffer().unwrap().unwrap().try_into().unwrap();
    let read_only = (!r.is_empty()).then(|| r.boolean().unwrap());
    assert_eq!((version, read_only.is_some()), (0, decoded.read_only.is_some()));
    let mut out = Vec::new();
    ConnectResponse { timeout, session_id, password, read_only }.encode_frame(&mut out);
    assert_eq!(out, response);
}

#[test]
fn a_java_clients_session_is_read_and_written_byte_for_byte() {
    let frames = frames(SESSION);
    check_handshake(&frames[0].1, &frames[1].1);
    let (mut asked, mut seen, mut events) = (BTreeMap::new(), BTreeSet::new(), 0);
    for (from_client, frame) in &frames[2..] {
        if *from_client {
            let (header, body) = RequestHeader::split(&frame[4..]).unwrap();
            let op = OpCode::from_i32(header.op).unwrap();
            let request = Request::decode(op, body).unwrap();
            assert_eq!(&request_frame(header, &request), frame, "{request:?}");
            asked.insert(header.xid, op);
            seen.insert(header.op);
        } else {
            let reply = Reply::decode(frame, |xid| asked[&xid]).unwrap();
            assert_eq!(&reply.encode(), frame, "{reply:?}");
            events += usize::from(matches!(reply.body, Body::Event(..)));
        }
    }
    assert_eq!(events, 7);
    // All that a Java client can send to one server, pings and what raw.hex adds apart.
    let missing: Vec<_> =
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 100, 103, 104, 106, 107, -11]
            .into_iter()
            .filter(|op| !seen.contains(op))
            .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn frames_no_java_client_sends_are_judged_as_stock_judged_them() {
    let frames = frames(RAW);
    check_handshake(&frames[0].1, &frames[1].1);
    let mut asked = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for (from_client, frame) in &frames[2..] {
        if *from_client {
            let (header, body) = RequestHeader::split(&frame[4..]).unwrap();
            let op = OpCode::from_i32(header.op).unwrap();
            asked.insert(header.xid, op);
            match Request::decode(op, body) {
                Ok(request) => {
                    let again = request_frame(header, &request);
                    assert_eq!(Request::decode(op, &again[12..]).as_ref(), Ok(&request));
                    // Bytes behind a record, and a vector's count below -1, are read and not written again.
                    assert_eq!(&again == frame, ![1, 3].contains(&header.xid), "{request:?}");
                }
                Err(error) => {
                    refused.insert(header.xid, error);
                }
            }
        } else {
            let reply = Reply::decode(frame, |xid| asked[&xid]).unwrap();
            assert_eq!(&reply.encode(), frame, "{reply:?}");
            // What our codec refuses, stock refused.
            if refused.contains_key(&reply.xid) {
                let codes = [ErrorCode::MarshallingError, ErrorCode::Unimplemented].map(ErrorCode::code);
                assert!(codes.contains(&reply.err), "{reply:?}");
            }
        }
    }
    // Bad flags inside a multi; check outside one.
    assert_eq!(refused, BTreeMap::from([(6, DecodeError::Kind(9)), (8, DecodeError::Kind(13))]));
}
