//! Every message there is, read and written once: what a client sends, what it gets, txns, and what servers say to each
//! other. Relative: compare a codec with itself after a change, and messages with each other. `limits/memcpy` of as many
//! bytes is what no encoder can beat; a decoder can, since it borrows. Before it is measured, each message is checked:
//! it decodes, and what can be written and read comes back the same.
//!
//! Paths have 25 bytes, data 100, multis two parts and setWatches 16 paths.
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::borrow::Cow;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{ServerId, SessionId, Xid, Zxid};
use ringkeeper::wire::connect::{ConnectRequest, ConnectResponse};
use ringkeeper::wire::jute::{Reader, Writer};
use ringkeeper::wire::peer::body::{ForwardedRequest, LearnerInfo};
use ringkeeper::wire::peer::election::{self, NOTIFICATION_VERSION, Notification, PeerState};
use ringkeeper::wire::peer::{PacketKind, QuorumPacket};
use ringkeeper::wire::reply::{self, EventType};
use ringkeeper::wire::request::{Request, RequestHeader};
use ringkeeper::wire::txn::{self, Lifetime, Txn, TxnHeader};
use ringkeeper::wire::{Acl, Id, OpCode, Stat, encode_acls};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATH: &[u8] = b"/bench/znode-000000000123";
const DATA: [u8; 100] = [7; 100];
const SET_WATCHES: usize = 16;
const PACKET_BYTES_MAX: usize = 1 << 20;

const STAT: Stat = Stat {
    czxid: 1,
    mzxid: 2,
    ctime: 3,
    mtime: 4,
    version: 5,
    cversion: 6,
    aversion: 7,
    ephemeral_owner: 8,
    data_length: 100,
    num_children: 10,
    pzxid: 11,
};

fn encode<'m>(group: &mut BenchmarkGroup<'m, WallTime>, name: &str, write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut out = Vec::with_capacity(bytes.len());
    group.bench_function(format!("encode/{name}"), |b| {
        b.iter(|| {
            out.clear();
            write(black_box(&mut out));
            black_box(out.len())
        });
        assert_eq!(out, bytes);
    });
    bytes
}

fn decode<'b, T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    bytes: &'b [u8],
    read: impl Fn(&'b [u8]) -> T,
) {
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(format!("decode/{name}"), |b| b.iter(|| read(black_box(bytes))));
}

fn connect(c: &mut Criterion) {
    let group = &mut c.benchmark_group("wire/connect");
    let password = [9; 16];
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 5,
        timeout: 30_000,
        session_id: 0x1_0000_0001,
        password: Some(&password),
        read_only: Some(false),
    };
    let bytes = encode(group, "request", |out| request.encode(out));
    assert_eq!(ConnectRequest::decode(&bytes).unwrap(), request);
    decode(group, "request", &bytes, |bytes| ConnectRequest::decode(bytes).unwrap());
    let response =
        ConnectResponse { timeout: 30_000, session_id: 0x1_0000_0001, password, read_only: Some(false) };
    encode(group, "response", |out| response.encode_frame(out));
}

fn create_body(out: &mut Vec<u8>, flags: i32) {
    out.string(PATH);
    out.string(&DATA);
    encode_acls(&[Acl::open()], out);
    out.int(flags);
}

fn watch_lists(out: &mut Vec<u8>, lists: usize) {
    out.long(5);
    for list in 0..lists {
        let paths = if list == 0 { SET_WATCHES } else { 0 };
        out.int(paths as i32);
        (0..paths).for_each(|_| out.string(PATH));
    }
}

/// A request's frame without its length; `None` where clients have no such request.
fn request_frame(op: OpCode) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    let out = &mut frame;
    out.int(1);
    out.int(op as i32);
    match op {
        OpCode::Create | OpCode::Create2 => create_body(out, 0),
        OpCode::CreateContainer => create_body(out, 4),
        OpCode::CreateTtl => {
            create_body(out, 5);
            out.long(60_000);
        }
        OpCode::Delete | OpCode::CheckWatches | OpCode::RemoveWatches | OpCode::AddWatch => {
            out.string(PATH);
            out.int(1);
        }
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            out.string(PATH);
            out.boolean(true);
        }
        OpCode::DeleteContainer
        | OpCode::GetAcl
        | OpCode::Sync
        | OpCode::GetEphemerals
        | OpCode::GetAllChildrenNumber
        | OpCode::Sasl => out.string(PATH),
        OpCode::SetData => {
            out.string(PATH);
            out.string(&DATA);
            out.int(-1);
        }
        OpCode::SetAcl => {
            out.string(PATH);
            encode_acls(&[Acl::open()], out);
            out.int(-1);
        }
        OpCode::Multi => {
            reply::multi_header(out, OpCode::Create, false, -1);
            create_body(out, 0);
            reply::multi_header(out, OpCode::SetData, false, -1);
            out.string(PATH);
            out.string(&DATA);
            out.int(-1);
            reply::multi_end(out);
        }
        OpCode::MultiRead => {
            for op in [OpCode::GetData, OpCode::GetChildren] {
                reply::multi_header(out, op, false, -1);
                out.string(PATH);
                out.boolean(false);
            }
            reply::multi_end(out);
        }
        OpCode::Reconfig => {
            out.string(b"server.4=10.0.0.4:2888:3888:participant;10.0.0.4:2181");
            out.buffer(None);
            out.buffer(None);
            out.long(-1);
        }
        OpCode::SetWatches => watch_lists(out, 3),
        OpCode::SetWatches2 => watch_lists(out, 5),
        OpCode::Auth => {
            out.int(0);
            out.string(b"digest");
            out.string(b"someone:secret");
        }
        OpCode::CreateSession => out.int(30_000),
        OpCode::Ping | OpCode::WhoAmI | OpCode::CloseSession => {}
        OpCode::Check | OpCode::Error => return None,
    }
    Some(frame)
}

fn requests(c: &mut Criterion) {
    let group = &mut c.benchmark_group("wire/request");
    let mut kinds = 0;
    for &op in OpCode::ALL {
        let Some(frame) = request_frame(op) else { continue };
        kinds += 1;
        decode(group, &format!("op={op:?}"), &frame, |frame| {
            let (header, body) = RequestHeader::split(frame).unwrap();
            Request::decode(OpCode::from_i32(header.op).unwrap(), body).unwrap()
        });
    }
    assert_eq!(kinds, OpCode::ALL.len() - 2);
}

fn replies(c: &mut Criterion) {
    let group = &mut c.benchmark_group("wire/reply");
    encode(group, "header", |out| reply::header_only(out, 7, 8, None));
    let bytes = encode(group, "header+stat", |out| {
        let end = reply::begin(out, 7, 8, 0);
        STAT.encode(out);
        end.finish(out);
    });
    let stat = &bytes[4 + reply::HEADER_BYTES..];
    assert_eq!(Stat::decode(&mut Reader::new(stat)).unwrap(), STAT);
    decode(group, "stat", stat, |bytes| Stat::decode(&mut Reader::new(bytes)).unwrap());
    encode(group, "data+stat/bytes=100", |out| {
        let end = reply::begin(out, 7, 8, 0);
        out.string(&DATA);
        STAT.encode(out);
        end.finish(out);
    });
    encode(group, "event", |out| reply::notification(out, -1, EventType::NodeDataChanged, PATH));
    encode(group, "multi/parts=2", |out| {
        let end = reply::begin(out, 7, 8, 0);
        reply::multi_header(out, OpCode::Create, false, 0);
        out.string(PATH);
        reply::multi_header(out, OpCode::SetData, false, 0);
        STAT.encode(out);
        reply::multi_end(out);
        end.finish(out);
    });
}

fn txns(c: &mut Criterion) {
    let group = &mut c.benchmark_group("wire/txn");
    let acl = || vec![Acl::open()];
    let create = |op, lifetime| Txn::Create {
        op,
        path: Cow::Borrowed(PATH),
        data: Some(&DATA),
        acl: acl(),
        lifetime,
        parent_cversion: 3,
    };
    let set = || Txn::SetData { path: PATH, data: Some(&DATA), version: 4, reconfig: false };
    let all = [
        create(OpCode::Create, Lifetime::Persistent),
        create(OpCode::CreateContainer, Lifetime::Container),
        create(OpCode::CreateTtl, Lifetime::Ttl(60_000)),
        Txn::Delete { path: PATH, container: false },
        set(),
        Txn::SetData { path: PATH, data: Some(&DATA), version: 4, reconfig: true },
        Txn::SetAcl { path: PATH, acl: acl(), version: 4 },
        Txn::Check { path: PATH, version: 4 },
        Txn::Multi(vec![create(OpCode::Create, Lifetime::Ephemeral), set()]),
        Txn::CreateSession(30_000),
        Txn::CloseSession(Some(vec![Cow::Borrowed(PATH)])),
        Txn::Error(-110),
    ];
    for txn in &all {
        let header = TxnHeader { session: 1, cxid: 2, zxid: 3, time: 4, op: txn.op() as i32 };
        let name = format!("op={:?}", txn.op());
        let bytes = encode(group, &name, |out| txn::encode(&header, txn, Some(5), out));
        assert_eq!(txn::decode(&bytes).unwrap().txn, *txn);
        decode(group, &name, &bytes, |bytes| txn::decode(bytes).unwrap());
    }
}

fn peers(c: &mut Criterion) {
    let group = &mut c.benchmark_group("wire/peer");
    let mut txn = Vec::new();
    let header = TxnHeader { session: 1, cxid: 2, zxid: 3, time: 4, op: OpCode::SetData as i32 };
    let set = Txn::SetData { path: PATH, data: Some(&DATA), version: 4, reconfig: false };
    txn::encode(&header, &set, Some(5), &mut txn);
    let mut forwarded = Vec::new();
    let frame = request_frame(OpCode::SetData).unwrap();
    let request = ForwardedRequest {
        session: SessionId(1),
        cxid: Xid(2),
        op: OpCode::SetData as i32,
        record: &frame[8..],
    };
    request.encode(&mut forwarded);
    assert_eq!(ForwardedRequest::decode(Some(&forwarded)).unwrap(), request);
    let mut info = Vec::new();
    LearnerInfo::new(ServerId(2), 0).encode(&mut info);
    let zxid = Zxid(3);
    let packets = [
        QuorumPacket {
            authinfo: Some(vec![Id::new("ip", "10.0.0.4")]),
            ..QuorumPacket::with(PacketKind::REQUEST, zxid, &forwarded)
        },
        QuorumPacket::with(PacketKind::PROPOSAL, zxid, &txn),
        QuorumPacket::bare(PacketKind::ACK, zxid),
        QuorumPacket::bare(PacketKind::COMMIT, zxid),
        QuorumPacket::with(PacketKind::INFORM, zxid, &txn),
        QuorumPacket::with(PacketKind::FOLLOWERINFO, zxid, &info),
    ];
    for packet in &packets {
        let name = format!("packet={}", packet.kind.name().unwrap());
        let bytes = encode(group, &name, |out| packet.encode(out));
        assert_eq!(QuorumPacket::decode(&bytes, PACKET_BYTES_MAX), Ok(Some((packet.clone(), bytes.len()))));
        decode(group, &name, &bytes, |bytes| QuorumPacket::decode(bytes, PACKET_BYTES_MAX).unwrap().unwrap());
    }
    let config =
        b"server.1=10.0.0.1:2888:3888:participant;2181\nserver.2=10.0.0.2:2888:3888:participant;2181\n\
        server.3=10.0.0.3:2888:3888:participant;2181\nversion=0";
    let vote = Notification {
        state: PeerState::Looking,
        leader: ServerId(3),
        zxid,
        round: 1,
        peer_epoch: 1,
        version: NOTIFICATION_VERSION,
        config: Some(config),
    };
    let bytes = encode(group, "notification", |out| vote.encode_frame(out));
    let (payload, _) = election::decode_frame(&bytes).unwrap().unwrap();
    assert_eq!(Notification::decode(payload).unwrap(), vote);
    decode(group, "notification", &bytes, |bytes| {
        let (payload, _) = election::decode_frame(bytes).unwrap().unwrap();
        Notification::decode(payload).unwrap().zxid
    });
}

criterion_group!(benches, connect, requests, replies, txns, peers);
criterion_main!(benches);
