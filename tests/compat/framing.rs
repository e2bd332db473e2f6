#![forbid(unsafe_code)]
//! Client-protocol §11.1: frames and the encoding of what is in them.

use super::{DEFAULT, line};
use crate::support::client::{DATA_CHANGED, body, err, flags, op, request};
use crate::support::jute::{ALL, acl, open, out, world};
use crate::support::raw::{Hello, Raw, frame};

/// The longest frame a server takes, bytes: stock's default `jute.maxbuffer`.
const FRAME_BYTES_MAX: usize = 1_048_575;

#[test]
fn these_tests_send_the_bytes_of_the_specification() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // Client-protocol §2.6.
    let zeros = "00".repeat(16);
    let hello = format!("0000002d000000000000000000000000000075300000000000000000000000{}{zeros}00", "10");
    assert_eq!(hex(frame(&Hello::default().body())), hello);
    assert_eq!(hex(request(-2, op::PING, &[])), "00000008fffffffe0000000b");
    let create = "000000320000000100000001000000022f610000000178000000010000001f00000005776f726c6400000006616e796f6e6500000000";
    assert_eq!(hex(request(1, op::CREATE, &body::create("/a", Some(b"x"), &open(), 0))), create);
    assert_eq!(hex(request(7, op::CLOSE_SESSION, &[])), "0000000800000007fffffff5");
}

line!(c001_the_frame_limit_is_1048575, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("large");
    let bare = 8 + body::create(&path, Some(b""), &open(), 0).len();
    let data = vec![b'x'; FRAME_BYTES_MAX - bare];
    assert_eq!(client.create(&path, &data), Ok(path.clone()));
    assert_eq!(client.get(&path, false).unwrap().0, Some(data));

    let mut client = s.open();
    client.raw.send(&(FRAME_BYTES_MAX as i32 + 1).to_be_bytes());
    client.expect_close();
});

line!(c002_a_negative_length_closes, DEFAULT, |s| {
    for length in [-1, i32::MIN] {
        let mut client = s.open();
        client.raw.send(&length.to_be_bytes());
        client.expect_close();
        let mut raw = Raw::connect(s.address());
        raw.send(&length.to_be_bytes());
        raw.expect_close();
    }
});

line!(c003_an_empty_frame_closes, DEFAULT, |s| {
    let mut client = s.open();
    client.raw.send_frame(&[]);
    client.expect_close();
});

line!(c004_a_frame_shorter_than_a_header_closes, DEFAULT, |s| {
    for length in [1, 4, 7] {
        let mut client = s.open();
        client.raw.send_frame(&[0, 0, 0, 1, 0, 0, 0, 11][..length]);
        client.expect_close();
    }
});

line!(c005_a_request_in_segments_of_a_byte, DEFAULT, |s| {
    let mut client = s.open();
    for byte in request(1, op::EXISTS, &body::read("/", false)) {
        client.raw.send(&[byte]);
    }
    let reply = client.reply();
    assert_eq!((reply.xid, reply.err), (1, 0));
});

line!(c006_two_requests_in_one_segment, DEFAULT, |s| {
    let mut client = s.open();
    let mut both = request(1, op::EXISTS, &body::read("/", false));
    both.extend(request(2, op::EXISTS, &body::read("/zookeeper", false)));
    client.raw.send(&both);
    assert_eq!([client.reply().xid, client.reply().xid], [1, 2]);
});

line!(c007_bytes_behind_a_record_are_ignored, DEFAULT, |s| {
    let mut client = s.open();
    let mut long = body::read("/", false);
    long.extend(b"behind");
    assert_eq!(client.call(op::EXISTS, &long).err, 0);
    let mut long = body::create(s.path("a"), None, &open(), 0);
    long.extend(b"behind");
    assert_eq!(client.call(op::CREATE, &long).err, 0);
    client.send_as(-2, op::PING, b"behind");
    client.reply().expect_header(0);
});

line!(c008_any_byte_but_zero_is_true, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    assert_eq!(client.call(op::EXISTS, &out().str(&path).byte(2).done()).err, 0);
    client.set(&path, b"", -1).unwrap();
    assert_eq!(client.briefs(), [(DATA_CHANGED, path)]);
});

line!(c009_null_data_stays_null, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.call(op::CREATE, &body::create(&path, None, &open(), 0)).result().unwrap();
    let (data, stat) = client.get(&path, false).unwrap();
    assert_eq!((data, stat.data_length), (None, 0));
});

line!(c010_empty_data_stays_empty, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    client.create(&path, b"").unwrap();
    let (data, stat) = client.get(&path, false).unwrap();
    assert_eq!((data, stat.data_length), (Some(vec![]), 0));
});

line!(c011_a_vector_count_below_null_is_an_empty_list, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.call(op::CREATE, &out().str(s.path("a")).null().int(-2).int(0).done());
    reply.expect_header(err::INVALID_ACL);
});

line!(c012_a_truncated_write_is_answered, DEFAULT, |s| {
    let mut client = s.open();
    let create = body::create(s.path("a"), Some(b"data"), &open(), 0);
    for length in [0, 3, 4, create.len() - 1] {
        client.call(op::CREATE, &create[..length]).expect_header(err::MARSHALLING);
    }
    for opcode in [op::DELETE, op::SET_DATA, op::SET_ACL, op::MULTI, op::CREATE2] {
        client.call(opcode, &[0, 0]).expect_header(err::MARSHALLING);
    }
    assert_eq!(client.call(op::CREATE, &create).err, 0);
});

line!(c013_a_truncated_read_is_answered, DEFAULT, |s| {
    let mut client = s.open();
    let get = body::read("/", false);
    for length in 0..get.len() {
        client.call(op::GET_DATA, &get[..length]).expect_header(err::MARSHALLING);
    }
    for opcode in
        [op::EXISTS, op::GET_ACL, op::GET_CHILDREN, op::SYNC, op::MULTI_READ, op::SET_WATCHES, op::ADD_WATCH]
    {
        client.call(opcode, &[0, 0]).expect_header(err::MARSHALLING);
    }
    assert_eq!(client.call(op::GET_DATA, &get).err, 0);
});

line!(c014_a_string_length_below_null_is_an_error, DEFAULT, |s| {
    let mut client = s.open();
    client.call(op::GET_DATA, &out().int(-2).bool(false).done()).expect_header(err::MARSHALLING);
    client.call(op::CREATE, &out().int(-2).null().acl(&open()).int(0).done()).expect_header(err::MARSHALLING);
    client
        .call(op::CREATE, &out().str(s.path("a")).int(-2).acl(&open()).int(0).done())
        .expect_header(err::MARSHALLING);
    client.ping();
});

line!(c015_a_null_path_is_a_marshalling_error, DEFAULT, |s| {
    let mut client = s.open();
    let read = out().null().bool(false).done();
    for opcode in [op::GET_DATA, op::EXISTS, op::GET_CHILDREN, op::GET_CHILDREN2] {
        client.call(opcode, &read).expect_header(err::MARSHALLING);
    }
    client.call(op::GET_ACL, &out().null().done()).expect_header(err::MARSHALLING);
    client.call(op::CREATE, &out().null().null().acl(&open()).int(0).done()).expect_header(err::MARSHALLING);
    client.call(op::DELETE, &out().null().int(-1).done()).expect_header(err::MARSHALLING);
    client.ping();
});

line!(c016_a_null_path_to_set_is_a_bad_argument, DEFAULT, |s| {
    let mut client = s.open();
    client.call(op::SET_DATA, &out().null().null().int(-1).done()).expect_header(err::BAD_ARGUMENTS);
    client.call(op::SET_ACL, &out().null().acl(&open()).int(-1).done()).expect_header(err::BAD_ARGUMENTS);
});

line!(c017_opcode_0_is_unimplemented, DEFAULT, |s| {
    let mut client = s.open();
    let reply = client.call(0, &[]);
    reply.expect_header(err::UNIMPLEMENTED);
    assert_eq!(reply.zxid, -1);
    client.expect_close();
});

line!(c018_unknown_opcodes_are_unimplemented, DEFAULT, |s| {
    for opcode in [10, 23, 108, -1, -2, 99, i32::MAX, i32::MIN] {
        let mut client = s.open();
        client.call(opcode, &[]).expect_header(err::UNIMPLEMENTED);
        client.expect_close();
    }
});

line!(c019_check_alone_is_unimplemented, DEFAULT, |s| {
    let mut client = s.open();
    client.call(op::CHECK, &body::versioned("/", -1)).expect_header(err::UNIMPLEMENTED);
    client.expect_close();
});

line!(c020_a_four_byte_character_comes_back_as_two_surrogates, DEFAULT, |s| {
    let mut client = s.open();
    let path = s.path("a");
    let list = [&world(ALL)[..], &[acl(1, "digest", "\u{1f600}:x")]].concat();
    client.create_with(&path, b"", &list, flags::PERSISTENT).unwrap();
    let ids: Vec<Vec<u8>> = client.acl(&path).unwrap().0.into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [b"anyone".to_vec(), b"\xed\xa0\xbd\xed\xb8\x80:x".to_vec()]);
});
