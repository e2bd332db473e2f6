//! The codecs between servers: round trips, totality at every cut, and the vectors of ensemble-protocol §14.

use crate::recorded::hex;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use ringkeeper::base::{Epoch, ServerId, SessionId, Xid, Zxid};
use ringkeeper::wire::jute::Reader;
use ringkeeper::wire::peer::body::*;
use ringkeeper::wire::peer::election::*;
use ringkeeper::wire::peer::packet::{
    PacketError, PacketKind, QuorumPacket, decode_identities, encode_identities,
};
use ringkeeper::wire::{DecodeError, Id};

/// `jute.maxbuffer` and its extra size, as they are unless set.
const LIMIT: usize = 2 * 0xf_ffff;

fn encoded(packet: &QuorumPacket<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

fn check_packet(bytes: &str, packet: &QuorumPacket<'_>) {
    let bytes = hex(bytes);
    assert_eq!(encoded(packet), bytes, "{packet:?}");
    assert_eq!(QuorumPacket::decode(&bytes, LIMIT), Ok(Some((packet.clone(), bytes.len()))));
}

#[test]
fn packets_of_the_ensemble_protocol() {
    let epoch_1 = Zxid(1 << 32);
    check_packet(
        "00000011 0000000100000000 00000004 00010000 ffffffff",
        &QuorumPacket::with(PacketKind::LEADERINFO, epoch_1, &LEADER_INFO),
    );
    check_packet(
        "00000012 0000000000000000 00000004 00000000 ffffffff",
        &QuorumPacket::with(PacketKind::ACKEPOCH, Zxid::ZERO, &encode_ack_epoch(Some(Epoch(0)))),
    );
    check_packet(
        "0000000d 0000000000000000 ffffffff ffffffff",
        &QuorumPacket::bare(PacketKind::DIFF, Zxid::ZERO),
    );
    check_packet(
        "0000000c ffffffffffffffff ffffffff ffffffff",
        &QuorumPacket::bare(PacketKind::UPTODATE, Zxid(-1)),
    );
    let local = Some(vec![Id::new("ip", "127.0.0.1")]);
    check_packet(
        "00000001 ffffffffffffffff 00000010 0000000000000007 00000001 00000001
         00000001 00000002 6970 00000009 3132372e302e302e31",
        &QuorumPacket {
            data: Some(&hex("0000000000000007 00000001 00000001")),
            authinfo: local,
            ..QuorumPacket::bare(PacketKind::REQUEST, Zxid(-1))
        },
    );
    assert_eq!(PacketKind::INFORMANDACTIVATE.name(), Some("INFORMANDACTIVATE"));
    assert_eq!(PacketKind::REQUEST.name(), Some("REQUEST"));
    assert_eq!([0, 20, -1].map(|kind| PacketKind(kind).name()), [None; 3]);
}

#[test]
fn bodies_of_the_ensemble_protocol() {
    let mut out = Vec::new();
    LearnerInfo::new(ServerId(1), 0).encode(&mut out);
    assert_eq!(out, hex("0000000000000001 00010000 0000000000000000"));
    assert_eq!(LearnerInfo::decode(Some(&out)), Ok(LearnerInfo::new(ServerId(1), 0)));
    assert_eq!(decode_leader_info(Some(&hex("00010000"))), Ok(PROTOCOL_VERSION));
    assert_eq!(encode_ack_epoch(None), [0xff; 4]);
    assert_eq!(decode_ack_epoch(Some(&[0xff; 4])), Ok(None));
    let touched = hex("0100000000000001 00007530");
    assert_eq!(
        decode_touched(Some(&touched)).unwrap().collect::<Vec<_>>(),
        [(SessionId(0x100_0000_0000_0001), 30_000)]
    );
    assert_eq!(decode_touched(Some(b"")).unwrap().len(), 0);
}

#[test]
fn learners_of_every_release_introduce_themselves() {
    let full = hex("0000000000000005 00010000 0000000100000002");
    let decode = |bytes: usize| LearnerInfo::decode(Some(&full[..bytes]));
    let info = |protocol_version, config_version| {
        Ok(LearnerInfo { server: Some(ServerId(5)), protocol_version, config_version })
    };
    assert_eq!(decode(8), info(None, None));
    assert_eq!(decode(11), info(None, None));
    assert_eq!(decode(12), info(Some(0x10000), None));
    assert_eq!(decode(19), info(Some(0x10000), None));
    assert_eq!(decode(20), info(Some(0x10000), Some(0x1_0000_0002)));
    assert_eq!(decode(7), Err(DecodeError::Short));
    let nobody = LearnerInfo { server: None, protocol_version: None, config_version: None };
    assert_eq!(LearnerInfo::decode(None), Ok(nobody));
}

#[test]
fn a_body_that_is_null_or_torn_is_refused() {
    let check = |whole: &[u8], decode: fn(Option<&[u8]>) -> Option<DecodeError>| {
        assert_eq!(decode(Some(whole)), None);
        assert_eq!(decode(None), Some(DecodeError::Null));
        for cut in 0..whole.len() {
            assert_eq!(decode(Some(&whole[..cut])), Some(DecodeError::Short), "cut at {cut}");
        }
        // Bytes behind a body are ignored, as in stock.
        assert_eq!(decode(Some(&[whole, b"behind"].concat())), None);
    };
    check(&[0; 4], |data| decode_leader_info(data).err());
    check(&[0; 4], |data| decode_ack_epoch(data).err());
    check(&[0; 16], |data| ForwardedRequest::decode(data).err());
    check(&[0; 12], |data| Revalidate::decode(data).err());
    check(&[0; 9], |data| Revalidated::decode(data).err());
    check(&[0; 8], |data| decode_activation(data).err());
    assert_eq!(decode_touched(None).err(), Some(DecodeError::Null));
    assert_eq!(decode_touched(Some(&[0; 13])).err(), Some(DecodeError::Short));
}

#[test]
fn lengths_are_judged_before_the_bytes_are_there() {
    let check = |bytes: &str, limit: usize, expected: Result<(), PacketError>| {
        let received = hex(bytes);
        let decoded = QuorumPacket::decode(&received, limit);
        match expected {
            Ok(()) => assert_eq!(decoded, Ok(None), "{bytes}"),
            Err(error) => assert_eq!(decoded, Err(error), "{bytes}"),
        }
    };
    let data = |length: &str| format!("00000002 0000000000000001 {length}");
    check(&data("00000064"), 100, Ok(()));
    check(&data("00000065"), 100, Err(PacketError::Length { length: 101, limit: 100 }));
    check(&data("fffffffe"), 100, Err(PacketError::Length { length: -2, limit: 100 }));
    let ids = |rest: &str| format!("00000001 0000000000000001 ffffffff {rest}");
    check(&ids("7fffffff"), 100, Ok(()));
    check(&ids("7fffffff 00000065"), 100, Err(PacketError::Length { length: 101, limit: 100 }));
    check(&ids("00000001 ffffffff"), 100, Err(PacketError::NullIdentity));
    check(&ids("00000001 00000000 ffffffff"), 100, Err(PacketError::NullIdentity));
    let endless = ids(&format!("7fffffff {}", "00000000".repeat(30)));
    check(&endless, 100, Err(PacketError::Identities { limit: 100 }));
}

#[test]
fn openings_of_the_ensemble_protocol() {
    let first = hex("ffffffffffff0000 0000000000000002 0000000f 3132372e302e302e313a3331383932");
    let address = |host: &str, port| ElectionAddress { host: host.into(), port };
    let opening = Opening { server: ServerId(2), addresses: vec![address("127.0.0.1", 31892)] };
    let mut out = Vec::new();
    opening.encode(&mut out);
    assert_eq!(out, first);
    assert_eq!(Opening::decode(&first), Ok(Some((opening.clone(), 35))));
    for cut in 0..first.len() {
        assert_eq!(Opening::decode(&first[..cut]), Ok(None));
    }
    let two = Opening { addresses: vec![address("a", 1), address("::1", 2)], ..opening };
    let mut out = Vec::new();
    two.encode(&mut out);
    assert!(out.starts_with(&hex("ffffffffffff0001")) && out.ends_with(b"a:1|[::1]:2"));
    assert_eq!(Opening::decode(&out), Ok(Some((two, out.len()))));
    // A release before 3.5 sends its id alone; an observer without an id the largest there is.
    let old = Opening { server: ServerId(3), addresses: Vec::new() };
    assert_eq!(Opening::decode(&hex("0000000000000003 0000000000000002")), Ok(Some((old, 8))));
    let (anonymous, 8) = Opening::decode(&hex("7fffffffffffffff")).unwrap().unwrap() else { panic!() };
    assert_eq!(anonymous.server, ANONYMOUS_OBSERVER);
}

#[test]
fn an_opening_out_of_bounds_is_refused() {
    let check = |bytes: Vec<u8>, error: ElectionError| {
        assert_eq!(Opening::decode(&bytes), Err(error), "{bytes:x?}");
    };
    let opening = |length: i32, text: &[u8]| {
        [&(-65536i64).to_be_bytes(), &1i64.to_be_bytes(), &length.to_be_bytes()[..], text].concat()
    };
    check(hex("fffffffffffeffff"), ElectionError::Version(-65537));
    check(hex("8000000000000000"), ElectionError::Version(i64::MIN));
    check(opening(0, b""), ElectionError::AddressLength(0));
    check(opening(-1, b""), ElectionError::AddressLength(-1));
    check(opening(2049, b""), ElectionError::AddressLength(2049));
    assert_eq!(Opening::decode(&opening(2048, b"")), Ok(None));
    for text in
        [&b"h"[..], b":1", b"h:", b"h:x", b"h:70000", b"h:1:2", b"h:1||g:2", b"[::1:1", b"|", b"\xff:1"]
    {
        check(opening(text.len() as i32, text), ElectionError::Address);
    }
    for (text, wildcard) in [("0.0.0.0:1", true), ("[::]:1", true), ("h:1|", false), ("127.0.0.1:1", false)] {
        let (found, _) = Opening::decode(&opening(text.len() as i32, text.as_bytes())).unwrap().unwrap();
        assert_eq!(found.addresses[0].is_wildcard(), wildcard, "{text}");
    }
}

#[test]
fn a_frame_out_of_bounds_is_refused() {
    let frame = |length: i32| [&length.to_be_bytes()[..], b"payload"].concat();
    assert_eq!(decode_frame(&frame(7)), Ok(Some((&b"payload"[..], 11))));
    assert_eq!(decode_frame(&frame(3)), Ok(Some((&b"pay"[..], 7))));
    assert_eq!(decode_frame(&frame(524_288)), Ok(None));
    for length in [0, -1, i32::MIN, 524_289] {
        assert_eq!(decode_frame(&frame(length)), Err(ElectionError::FrameLength(length)));
    }
    for cut in 0..4 {
        assert_eq!(decode_frame(&frame(0)[..cut]), Ok(None));
    }
}

/// The configuration of ensemble-protocol §14.
const CONFIG: &[u8] =
    b"server.1=127.0.0.1:31881:31891:participant\nserver.2=127.0.0.1:31882:31892:participant\nversion=0";

#[test]
fn notifications_of_the_ensemble_protocol() {
    let fixed =
        "00000000 0000000000000001 0000000000000000 0000000000000001 0000000000000000 00000002 0000005f";
    let expected = [&hex("0000008b")[..], &hex(fixed), CONFIG].concat();
    let notification = Notification {
        state: PeerState::Looking,
        leader: ServerId(1),
        zxid: Zxid::ZERO,
        round: 1,
        peer_epoch: 0,
        version: NOTIFICATION_VERSION,
        config: Some(CONFIG),
    };
    let mut out = Vec::new();
    notification.encode_frame(&mut out);
    assert_eq!(out, expected);
    let (payload, bytes) = decode_frame(&out).unwrap().unwrap();
    assert_eq!((payload.len(), bytes), (139, 143));
    assert_eq!(Notification::decode(payload), Ok(notification));
}

#[test]
fn older_and_torn_notifications_are_told_apart() {
    let whole = hex(
        "00000002 0000000000000003 0000000500000007 0000000000000009 0000000000000006 00000002 00000003 616263",
    );
    assert_eq!(whole.len(), 47);
    let read = |bytes: usize| Notification::decode(&whole[..bytes]);
    let current = read(47).unwrap();
    assert_eq!((current.peer_epoch, current.version, current.config), (6, 2, Some(&b"abc"[..])));
    let oldest = read(28).unwrap();
    assert_eq!((oldest.peer_epoch, oldest.version, oldest.config), (5, 0, None));
    let old = read(40).unwrap();
    assert_eq!((old.peer_epoch, old.version, old.config), (6, 0, None));
    for cut in (0..47).filter(|cut| ![28, 40].contains(cut)) {
        // With the configuration cut short, its length is at times that of the whole message at most.
        assert_eq!(read(cut), Err(NotificationError::Short(cut)), "cut at {cut}");
    }
    let change = |at: usize, int: i32| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&int.to_be_bytes());
        Notification::decode(&bytes).map(|notification| notification.version)
    };
    assert_eq!(change(40, -1), Err(NotificationError::ConfigLength(-1)));
    assert_eq!(change(40, 48), Err(NotificationError::ConfigLength(48)));
    assert_eq!(change(40, 47), Err(NotificationError::Short(47)));
    assert_eq!(change(0, 4), Err(NotificationError::State(4)));
    assert_eq!(change(0, -1), Err(NotificationError::State(-1)));
    // Version 1 has no configuration, whatever follows; a later one has it.
    assert_eq!(change(36, 1), Ok(1));
    assert_eq!(change(36, 3), Ok(3));
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..max)
}

fn ids() -> impl Strategy<Value = Vec<Id>> {
    let id = (bytes(9), bytes(9)).prop_map(|(scheme, id)| Id { scheme: scheme.into(), id: id.into() });
    vec(id, 0..4)
}

/// Numbers, data, identities.
type Fields = (i32, i64, Option<Vec<u8>>, Option<Vec<Id>>);

fn packet() -> impl Strategy<Value = Fields> {
    (any::<i32>(), any::<i64>(), option::weighted(0.8, bytes(40)), option::weighted(0.3, ids()))
}

fn packet_of(fields: &Fields) -> QuorumPacket<'_> {
    let (kind, zxid, data, authinfo) = fields;
    QuorumPacket {
        kind: PacketKind(*kind),
        zxid: Zxid(*zxid),
        data: data.as_deref(),
        authinfo: authinfo.clone(),
    }
}

fn state() -> impl Strategy<Value = PeerState> {
    (0..4i32).prop_map(|ordinal| PeerState::from_i32(ordinal).unwrap())
}

proptest! {
    #[test]
    fn packets_round_trip_behind_each_other_and_wait_at_every_cut(fields in vec(packet(), 1..4)) {
        let mut stream = Vec::new();
        fields.iter().for_each(|fields| packet_of(fields).encode(&mut stream));
        let mut rest = &stream[..];
        for fields in &fields {
            let (packet, taken) = QuorumPacket::decode(rest, LIMIT).unwrap().unwrap();
            prop_assert_eq!(&packet, &packet_of(fields));
            for cut in 0..taken {
                prop_assert_eq!(QuorumPacket::decode(&rest[..cut], LIMIT), Ok(None));
            }
            rest = &rest[taken..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_bytes_are_a_stable_packet_or_none(bytes in bytes(120)) {
        if let Ok(Some((packet, taken))) = QuorumPacket::decode(&bytes, 64) {
            let again = encoded(&packet);
            // A count below -1 is read as none and written as 0; everything else comes back as it was.
            prop_assert_eq!(again.len(), taken);
            prop_assert_eq!(QuorumPacket::decode(&again, 64), Ok(Some((packet, taken))));
        }
    }

    #[test]
    fn identities_round_trip(ids in option::of(ids())) {
        let mut out = Vec::new();
        encode_identities(ids.as_deref(), &mut out);
        prop_assert_eq!(decode_identities(&mut Reader::new(&out)), Ok(ids));
    }

    #[test]
    fn bodies_round_trip(
        (long, int, short, flag) in (any::<i64>(), any::<i32>(), any::<i32>(), any::<bool>()),
        record in bytes(40), touched in vec((any::<i64>(), any::<i32>()), 0..5), epoch in 0..u32::MAX,
    ) {
        let session = SessionId(long);
        let mut out = Vec::new();
        let request = ForwardedRequest { session, cxid: Xid(int), op: short, record: &record };
        request.encode(&mut out);
        prop_assert_eq!(ForwardedRequest::decode(Some(&out)), Ok(request));
        let mut out = Vec::new();
        Revalidate { session, timeout: int }.encode(&mut out);
        prop_assert_eq!(Revalidate::decode(Some(&out)), Ok(Revalidate { session, timeout: int }));
        let mut out = Vec::new();
        Revalidated { session, valid: flag }.encode(&mut out);
        prop_assert_eq!(Revalidated::decode(Some(&out)), Ok(Revalidated { session, valid: flag }));
        let mut out = Vec::new();
        encode_activation(ServerId(long), &record, &mut out);
        prop_assert_eq!(decode_activation(Some(&out)), Ok((ServerId(long), &record[..])));
        let touched: Vec<_> = touched.into_iter().map(|(id, timeout)| (SessionId(id), timeout)).collect();
        let mut out = Vec::new();
        touched.iter().for_each(|(session, timeout)| encode_touched(*session, *timeout, &mut out));
        prop_assert_eq!(decode_touched(Some(&out)).unwrap().collect::<Vec<_>>(), touched);
        prop_assert_eq!(decode_ack_epoch(Some(&encode_ack_epoch(Some(Epoch(epoch))))), Ok(Some(Epoch(epoch))));
        let info = LearnerInfo {
            server: Some(ServerId(long)), protocol_version: Some(int), config_version: flag.then_some(long),
        };
        let mut out = Vec::new();
        info.encode(&mut out);
        prop_assert_eq!(LearnerInfo::decode(Some(&out)), Ok(info));
    }

    #[test]
    fn openings_round_trip(
        server in 0..i64::MAX, hosts in vec(("[a-z0-9.-]{1,20}|[0-9a-f]{1,4}:(:[0-9a-f]{1,4}){1,3}", any::<u16>()), 0..5),
    ) {
        let addresses =
            hosts.into_iter().map(|(host, port)| ElectionAddress { host: host.into(), port }).collect();
        let opening = Opening { server: ServerId(server), addresses };
        let mut out = Vec::new();
        opening.encode(&mut out);
        prop_assert_eq!(Opening::decode(&out), Ok(Some((opening, out.len()))));
        let whole = out.len();
        for cut in (8.min(whole)..whole).chain(0..8) {
            prop_assert_eq!(Opening::decode(&out[..cut]), Ok(None));
        }
    }

    #[test]
    fn any_bytes_open_a_link_or_do_not(bytes in bytes(60), known in any::<bool>()) {
        let bytes = if known { [&(-65536i64).to_be_bytes()[..], &bytes].concat() } else { bytes };
        if let Ok(Some((_, taken))) = Opening::decode(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn notifications_round_trip(
        state in state(), numbers in any::<[i64; 4]>(), config in bytes(60), tail in bytes(4),
    ) {
        let notification = Notification {
            state,
            leader: ServerId(numbers[0]),
            zxid: Zxid(numbers[1]),
            round: numbers[2],
            peer_epoch: numbers[3],
            version: NOTIFICATION_VERSION,
            config: Some(&config),
        };
        let mut out = Vec::new();
        notification.encode_frame(&mut out);
        let (payload, taken) = decode_frame(&out).unwrap().unwrap();
        prop_assert_eq!(taken, out.len());
        prop_assert_eq!(Notification::decode(payload), Ok(notification.clone()));
        let longer = [payload, &tail].concat();
        prop_assert_eq!(Notification::decode(&longer), Ok(notification));
    }

    #[test]
    fn any_bytes_are_a_notification_or_passed_over(payload in bytes(80)) {
        if let Ok(notification) = Notification::decode(&payload) {
            prop_assert_eq!(notification.config.is_some(), notification.version > 1);
        }
    }
}
