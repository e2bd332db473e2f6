//! A transaction log that a stock server wrote: every record is read by our codec and written again, byte for byte.
//!
//! ```text
//! header  int magic "ZKLG", int version 2, long dbid
//! record  long Adler-32 of the payload, int length, payload, byte 'B'      (ensemble-protocol §7.2)
//! ```

use ringkeeper::wire::jute::{DecodeError, Reader};
use ringkeeper::wire::txn::{self, Lifetime, Txn};
use ringkeeper::wire::{Acl, ErrorCode, OpCode};

const LOG: &[u8] = include_bytes!("../golden/wire/log.1");

fn adler32(bytes: &[u8]) -> i64 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    i64::from((b << 16) | a)
}

/// The payloads of a log, each with its checksum verified.
fn payloads(log: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let mut r = Reader::new(log);
    assert_eq!((r.int()?, r.int()?, r.long()?), (0x5a4b_4c47, 2, 0));
    let mut payloads = Vec::new();
    while !r.is_empty() {
        let checksum = r.long()?;
        let payload = r.buffer()?.ok_or(DecodeError::Null)?;
        assert_eq!(adler32(payload), checksum, "record {}", payloads.len());
        assert_eq!(r.byte()?, b'B');
        payloads.push(payload);
    }
    Ok(payloads)
}

#[test]
fn every_record_of_a_stock_log_is_read_and_written_byte_for_byte() {
    let payloads = payloads(LOG).unwrap();
    let mut zxid = 0;
    for payload in &payloads {
        let decoded = txn::decode(payload).unwrap();
        zxid += 1;
        assert_eq!(decoded.header.zxid, zxid);
        assert_eq!(txn::zxid_of(payload), Ok(zxid));
        // Failed requests have no digest, everything else does.
        assert_eq!(decoded.digest.is_none(), decoded.header.op == OpCode::Error as i32, "{decoded:?}");
        let mut again = Vec::new();
        txn::encode(&decoded.header, &decoded.txn, decoded.digest, &mut again);
        assert_eq!(&again, payload, "{decoded:?}");
    }
    assert_eq!(zxid, 30);
}

/// A create with the open ACL that the client gave.
fn create<'a>(
    op: OpCode,
    path: &'a [u8],
    data: Option<&'a [u8]>,
    lifetime: Lifetime,
    parent_cversion: i32,
) -> Txn<'a> {
    Txn::Create { op, path: path.into(), data, acl: vec![Acl::open()], lifetime, parent_cversion }
}

#[test]
fn the_log_holds_what_the_client_did() {
    let payloads = payloads(LOG).unwrap();
    let txns: Vec<_> = payloads.iter().map(|payload| txn::decode(payload).unwrap().txn).collect();
    assert_eq!(txns[0], Txn::CreateSession(30_000));
    let (persistent, ephemeral) = (Lifetime::Persistent, Lifetime::Ephemeral);
    assert_eq!(txns[1], create(OpCode::Create, b"/a", Some(b"x"), persistent, 1));
    assert_eq!(txns[2], Txn::Error(ErrorCode::NodeExists.code()));
    assert_eq!(txns[3], create(OpCode::Create2, b"/a/s-0000000000", None, persistent, 1));
    assert_eq!(txns[4], create(OpCode::Create, b"/a/e", Some(b""), ephemeral, 2));
    assert_eq!(txns[5], create(OpCode::Create, b"/a/es-0000000002", Some(b""), ephemeral, 3));
    assert_eq!(txns[6], create(OpCode::CreateContainer, b"/c", None, Lifetime::Container, 2));
    let ttl = Lifetime::Ttl(600_000);
    assert_eq!(txns[7], create(OpCode::CreateTtl, b"/t", Some(b"ttl"), ttl, 3));
    assert_eq!(txns[8], create(OpCode::CreateTtl, b"/ts-0000000003", Some(b"ttl"), ttl, 4));
    assert_eq!(txns[10], Txn::Delete { path: b"/nope", container: false });
    assert_eq!(txns[11], Txn::SetData { path: b"/a", data: Some(b"y"), version: 1, reconfig: false });
    assert!(matches!(&txns[14], Txn::SetAcl { path: b"/a", version: 1, acl } if acl.len() == 2));
    match &txns[16] {
        Txn::Multi(parts) => {
            let ops: Vec<_> = parts.iter().map(Txn::op).collect();
            assert_eq!(
                ops,
                [
                    OpCode::Create,
                    OpCode::SetData,
                    OpCode::Check,
                    OpCode::CreateContainer,
                    OpCode::CreateTtl,
                    OpCode::Delete
                ]
            );
        }
        other => panic!("{other:?}"),
    }
    // A failed multi is logged with what came before the failure as it was prepared; nothing of it is applied. The
    // version of a check is the one expected plus one, as if it had written.
    let (no_node, after) = (ErrorCode::NoNode.code(), ErrorCode::RuntimeInconsistency.code());
    let before = Txn::Check { path: b"/m", version: 2 };
    assert_eq!(txns[17], Txn::Multi(vec![before, Txn::Error(no_node), Txn::Error(after)]));
    let closed: [&[u8]; 2] = [b"/a/es-0000000002", b"/a/e"];
    assert_eq!(txns[21], Txn::CloseSession(Some(closed.map(Into::into).to_vec())));
    assert_eq!(txns[29], Txn::CloseSession(Some(vec![])));
}

#[test]
fn a_bit_that_flips_in_a_payload_fails_its_checksum() {
    let first = payloads(LOG).unwrap()[0];
    for at in 0..first.len() * 8 {
        let mut damaged = first.to_vec();
        damaged[at / 8] ^= 1 << (at % 8);
        assert_ne!(adler32(&damaged), adler32(first), "bit {at}");
    }
}
