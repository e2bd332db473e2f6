#![forbid(unsafe_code)]
//! Election links: who calls, who keeps what, and what strangers may do (ensemble-protocol §13 lines 1-7; reliability
//! M55).

use super::network::*;
use crate::base::ServerId;
use crate::runtime::peers::Server;
use crate::runtime::peers::translate::{decode_notification, encode_notification};
use crate::wire::peer::election::{ANONYMOUS_OBSERVER, ElectionAddress, Opening, decode_frame};
use crate::zab::message::Notification;

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/golden/ensemble/", $name)).as_slice()
    };
}

fn opening(id: i64, host: &str, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let addresses = vec![ElectionAddress { host: host.into(), port }];
    Opening { server: ServerId(id), addresses }.encode(&mut bytes);
    bytes
}

/// The opening of a server that is where it is configured.
fn opening_of(id: i64) -> Vec<u8> {
    opening(id, &ip(id).to_string(), 3888)
}

fn frame(notification: &Notification) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_notification(notification, &mut bytes);
    bytes
}

/// Rounds of the notifications in what was received.
fn rounds(mut bytes: &[u8]) -> Vec<i64> {
    let mut rounds = Vec::new();
    while let Some((payload, taken)) = decode_frame(bytes).unwrap() {
        rounds.push(decode_notification(payload).unwrap().round);
        bytes = &bytes[taken..];
    }
    assert!(bytes.is_empty(), "torn");
    rounds
}

/// Server 2 of three, linked with a scripted server 3, which called it.
fn linked() -> (World, End) {
    let mut world = World::of(3, &[2]);
    let three = world.dial(3, election(2)).unwrap();
    world.write(three, &opening_of(3));
    world.run();
    assert_eq!(world.words(2), ["3 up"]);
    (world, three)
}

/// The link of [`linked`] still carries messages both ways.
fn check_still_linked(world: &mut World, three: End) {
    world.read(three);
    world.seen(2);
    world.write(three, &frame(&notification(3, 77)));
    world.notify(2, 3, &notification(2, 78));
    world.run();
    assert_eq!(world.words(2), ["3 says 77"]);
    assert_eq!(rounds(&world.read(three)), [78]);
}

#[test]
fn a_server_with_the_smaller_id_introduces_itself_as_stock_does_hangs_up_and_is_called_back() {
    let check = |recorded: &[u8], own: &[(&str, u16)]| {
        let mut world = World::new();
        let own = own.iter().map(|(host, port)| address(host, *port)).collect();
        let one = Server { id: ServerId(1), quorum: vec![address("127.0.0.1", 2888)], election: own };
        world.script_listens(election(2));
        world.start(settings(1, vec![one.clone(), server(2)]));
        world.notify(1, 2, &notification(1, 1));
        world.run();
        let called = world.script_accepts(election(2)).unwrap();
        assert_eq!(world.read(called), recorded);
        assert!(world.is_over(called), "the connection is the other's to open");
        assert_eq!(world.words(1), [""; 0]);
        // It calls back, and is told what is true now.
        let to = format!("{}:{}", one.election[0].host, one.election[0].port).parse().unwrap();
        let back = world.dial(2, to).unwrap();
        world.write(back, &opening_of(2));
        world.run();
        assert_eq!(world.words(1), ["2 up"]);
        world.notify(1, 2, &notification(1, 2));
        world.run();
        assert_eq!(rounds(&world.read(back)), [2]);
        world.pass(60_000);
        assert!(world.script_accepts(election(2)).is_none(), "a link is enough");
    };
    check(recorded!("opening"), &[("127.0.0.1", 54885)]);
    check(recorded!("opening_addresses"), &[("127.0.0.2", 58403), ("127.0.0.1", 40423)]);
}

#[test]
fn a_server_with_the_larger_id_keeps_the_connection_it_opened() {
    let mut world = World::of(2, &[2]);
    world.script_listens(election(1));
    let (payload, _) = decode_frame(recorded!("notification_looking")).unwrap().unwrap();
    let said = decode_notification(payload).unwrap();
    world.notify(2, 1, &said);
    world.run();
    let one = world.script_accepts(election(1)).unwrap();
    assert_eq!(world.read(one), opening_of(2), "the notification is old by now");
    world.notify(2, 1, &said);
    world.run();
    assert_eq!(world.read(one), recorded!("notification_looking"));
    assert!(!world.is_over(one));
    world.write(one, recorded!("notification_following"));
    world.run();
    assert_eq!(world.words(2), ["1 up", "1 says 1"]);
}

#[test]
fn called_by_a_smaller_id_a_server_hangs_up_and_calls_the_address_it_was_told() {
    let check = |host: &str, port: u16, expected: std::net::SocketAddr| {
        let mut world = World::of(3, &[3]);
        world.script_listens(expected);
        let call = world.dial(1, election(3)).unwrap();
        world.write(call, &opening(1, host, port));
        world.run();
        assert!(world.is_over(call));
        let back = world.script_accepts(expected).expect("called back");
        assert_eq!(world.read(back), opening_of(3));
        assert_eq!(world.words(3), ["1 up"]);
    };
    check("10.0.0.77", 4000, "10.0.0.77:4000".parse().unwrap());
    // Where it says "here", or where nobody is, the configuration knows better (ZOOKEEPER-2164).
    check("0.0.0.0", 3888, election(1));
    check("::", 3888, election(1));
    check("10.0.0.99", 3888, election(1));
}

#[test]
fn an_opening_of_before_3_5_is_an_id_alone() {
    let (mut world, _) = linked();
    world.script_listens(election(1));
    let call = world.dial(1, election(2)).unwrap();
    world.write(call, &1i64.to_be_bytes());
    world.run();
    assert!(world.is_over(call));
    let back = world.script_accepts(election(1)).unwrap();
    assert_eq!(world.read(back), opening_of(2));
}

#[test]
fn servers_that_call_each_other_at_once_end_with_one_link_a_pair() {
    for nth in 0..4 {
        let mut world = World::of(3, &[1, 2, 3]);
        // In one turn, or with some ahead of the others.
        for turns in 0..3 {
            for (me, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
                if (me + turns + nth) % 3 == 0 {
                    world.notify(me, to, &notification(me, 1));
                }
            }
            world.turn();
        }
        for _again in 0..2 {
            for (me, to) in [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)] {
                world.notify(me, to, &notification(me, 2));
            }
            world.pass(30_000);
        }
        for me in [1, 2, 3] {
            let linked: Vec<i64> = world.node(me).peers.linked().map(|server| server.0).collect();
            let others: Vec<i64> = [1, 2, 3].into_iter().filter(|id| *id != me).collect();
            assert_eq!(linked, others);
            let seen = world.words(me);
            for other in others {
                assert!(seen.contains(&format!("{other} says 2")), "{me}: {seen:?}");
            }
            assert!(!seen.iter().any(|word| word.ends_with("lost")), "{me}: {seen:?}");
            // One port and two links: everything else was closed.
            assert_eq!(world.node(me).host.open(), 3);
        }
    }
}

#[test]
fn a_server_that_calls_although_it_is_linked_gets_a_new_link_and_nothing_is_lost_meanwhile() {
    let (mut world, _) = linked();
    world.script_listens(election(1));
    let call = world.dial(1, election(2)).unwrap();
    world.write(call, &opening_of(1));
    world.run();
    let old = world.script_accepts(election(1)).unwrap();
    world.read(old);
    // It came back without the old connection having ended; while it cannot be called, the old one stays.
    world.silence(1, true);
    let call = world.dial(1, election(2)).unwrap();
    world.write(call, &opening_of(1));
    world.run();
    assert!(!world.is_over(old));
    world.silence(1, false);
    world.run();
    let new = world.script_accepts(election(1)).unwrap();
    // The other end closes the old one when it has the new one, lest it should think for a moment that there is none.
    assert!(!world.is_over(old));
    world.write(old, &frame(&notification(1, 5)));
    world.run();
    world.hang_up(old);
    world.run();
    assert_eq!(world.words(2), ["1 up", "1 up"]);
    world.read(new);
    world.notify(2, 1, &notification(2, 9));
    world.run();
    assert_eq!(rounds(&world.read(new)), [9]);
    assert_eq!(world.node(2).host.open(), 3, "the port, and a link each");
    // If the other end does not, we do.
    let call = world.dial(1, election(2)).unwrap();
    world.write(call, &opening_of(1));
    world.pass(4_999);
    assert!(!world.is_over(new));
    world.pass(1);
    assert!(world.is_over(new));
    assert_eq!(world.words(2), ["1 up"]);
    // Likewise the larger one, which simply opens another.
    let again = world.dial(3, election(2)).unwrap();
    world.write(again, &opening_of(3));
    world.run();
    assert_eq!(world.words(2), ["3 up"]);
    check_still_linked(&mut world, again);
}

#[test]
fn a_lost_link_is_opened_again_without_anybody_asking() {
    let mut world = World::of(2, &[1, 2]);
    world.notify(1, 2, &notification(1, 1));
    world.notify(2, 1, &notification(2, 1));
    world.pass(1_000);
    world.seen(1);
    world.kill(2);
    world.run();
    assert_eq!(world.words(1), ["2 lost"]);
    world.pass(60_000);
    let lost = world.words(1);
    assert!(lost.iter().all(|word| word == "2 lost"));
    // It was tried with growing waits, up to ten seconds and a quarter.
    assert!((5..20).contains(&lost.len()), "{lost:?}");
    world.start(settings(2, vec![server(1), server(2)]));
    world.pass(20_000);
    assert_eq!(world.words(1), ["2 up"]);
    assert_eq!(world.words(2), ["1 up"]);
}

#[test]
fn of_what_could_not_be_sent_the_newest_is_kept() {
    let (mut world, three) = linked();
    world.window(0);
    for round in 1..=9 {
        world.notify(2, 3, &notification(2, round));
        world.run();
    }
    world.window(64 << 10);
    world.run();
    assert_eq!(rounds(&world.read(three)), [1, 9], "the first was on its way");
}

#[test]
fn of_what_came_at_once_the_newest_is_reported() {
    let (mut world, three) = linked();
    let many: Vec<u8> = (1..=500).flat_map(|round| frame(&notification(3, round))).collect();
    world.write(three, &many);
    world.run();
    assert_eq!(world.words(2), ["3 says 500"]);
}

#[test]
fn bytes_that_come_one_by_one_are_the_same_messages() {
    let mut world = World::of(3, &[2]);
    world.receive_at_most(1);
    let three = world.dial(3, election(2)).unwrap();
    world.write(three, &[opening_of(3), frame(&notification(3, 1)), frame(&notification(3, 2))].concat());
    world.run();
    assert_eq!(world.words(2), ["3 up", "3 says 1", "3 says 2"]);
}

#[test]
fn a_frame_of_impossible_length_costs_its_link_alone() {
    for length in [0, -1, i32::MIN, 524_289, i32::MAX] {
        let (mut world, three) = linked();
        world.script_listens(election(1));
        world.notify(2, 1, &notification(2, 1));
        world.run();
        let one = world.script_accepts(election(1)).unwrap();
        world.seen(2);
        world.write(one, &[frame(&notification(1, 4)), length.to_be_bytes().to_vec()].concat());
        world.run();
        assert_eq!(world.words(2), ["1 says 4", "1 lost"], "{length}");
        assert!(world.is_over(one));
        check_still_linked(&mut world, three);
    }
}

#[test]
fn a_message_that_says_nothing_is_passed_over_and_the_link_lives() {
    let (mut world, three) = linked();
    let mut bytes = frame(&notification(3, 1));
    for payload in [vec![0], vec![0; 27], vec![0xff; 40], vec![0; 524_288 - 100]] {
        bytes.extend_from_slice(&(payload.len() as i32).to_be_bytes());
        bytes.extend_from_slice(&payload);
    }
    // Whatever fits the window, in pieces.
    world.window(1 << 20);
    world.write(three, &bytes[..bytes.len() - 5]);
    world.run();
    assert_eq!(world.words(2), ["3 says 1"]);
    world.write(three, &bytes[bytes.len() - 5..]);
    world.run();
    // Zeros of that length are a vote of sorts.
    assert_eq!(world.words(2), ["3 says 0"]);
    check_still_linked(&mut world, three);
}

#[test]
fn strangers_are_refused_and_nobody_else_notices() {
    let version = |version: i64| [version.to_be_bytes(), 3i64.to_be_bytes()].concat();
    let addressed = |length: i32, text: &[u8]| [&version(-65536)[..], &length.to_be_bytes(), text].concat();
    for words in [
        version(-65537),
        version(i64::MIN),
        addressed(0, b""),
        addressed(-1, b""),
        addressed(2049, b""),
        addressed(9, b"no port!!"),
        addressed(4, b"\xff\xff:1"),
        // Unknown ids, larger and smaller; programs of other trades; ourselves.
        opening_of(9),
        opening(-5, "10.0.0.9", 3888),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec(),
        opening_of(2),
    ] {
        let (mut world, three) = linked();
        let call = world.dial(9, election(2)).unwrap();
        world.write(call, &words);
        world.pass(10_000);
        assert!(world.is_over(call), "{words:x?}");
        assert_eq!(world.words(2), [""; 0], "{words:x?}");
        check_still_linked(&mut world, three);
    }
}

#[test]
fn a_server_of_another_ensemble_is_hung_up_on_unheard_and_counted_s28() {
    let (mut world, three) = linked();
    // It shares the entry of server 2 with ours.
    let list = format!(
        "server.1=10.9.9.1:2888:3888\nserver.2={}:2888:3888\nserver.3=10.9.9.3:2888:3888\nversion=0",
        ip(2)
    );
    let config = std::rc::Rc::from(list.as_bytes());
    world.write(three, &frame(&Notification { config, ..notification(3, 77) }));
    world.run();
    assert!(world.is_over(three));
    assert_eq!(world.words(2), ["3 lost"]);
    assert_eq!(world.node(2).peers.take_refused(), 1);
    // The one that we mean comes back.
    let three = world.dial(3, election(2)).unwrap();
    world.write(three, &opening_of(3));
    world.run();
    assert_eq!(world.words(2), ["3 up"]);
    check_still_linked(&mut world, three);
}

#[test]
fn a_stranger_that_is_silent_is_hung_up_on_in_time() {
    let (mut world, three) = linked();
    let silent = world.dial(9, election(2)).unwrap();
    let slow = world.dial(9, election(2)).unwrap();
    world.write(slow, &opening_of(3)[..20]);
    world.pass(4_999);
    assert!(!world.is_over(silent) && !world.is_over(slow));
    world.pass(1);
    assert!(world.is_over(silent) && world.is_over(slow));
    check_still_linked(&mut world, three);
}

#[test]
fn a_flood_of_strangers_makes_room_for_servers() {
    let (mut world, three) = linked();
    let flood: Vec<End> = (0..500).map(|_| world.dial(9, election(2)).unwrap()).collect();
    world.run();
    let open = flood.iter().filter(|end| !world.is_over(**end)).count();
    assert_eq!(open, 2 * 3 + 16);
    assert!(!world.is_over(*flood.last().unwrap()), "the oldest go");
    check_still_linked(&mut world, three);
    let again = world.dial(3, election(2)).unwrap();
    world.write(again, &opening_of(3));
    world.run();
    check_still_linked(&mut world, again);
}

#[test]
fn observers_without_an_id_get_one_and_keep_what_they_opened() {
    let (mut world, _) = linked();
    let observers: Vec<End> = (0..17)
        .map(|_| {
            let end = world.dial(8, election(2)).unwrap();
            world.write(end, &opening(ANONYMOUS_OBSERVER.0, "10.0.0.8", 3888));
            world.run();
            end
        })
        .collect();
    let expected: Vec<String> = (1..=16).map(|n| format!("-{n} up")).collect();
    assert_eq!(world.words(2), expected, "so many and no more");
    assert!(world.is_over(observers[16]) && !world.is_over(observers[0]));
    world.write(observers[3], &frame(&notification(3, 6)));
    world.notify(2, -4, &notification(2, 7));
    world.run();
    assert_eq!(world.words(2), ["-4 says 6"]);
    assert_eq!(rounds(&world.read(observers[3])), [7]);
    world.hang_up(observers[3]);
    world.pass(60_000);
    assert_eq!(world.words(2), ["-4 lost"], "nobody can call it back");
    world.notify(2, -4, &notification(2, 8));
    world.run();
}

#[test]
fn a_reset_link_is_lost_once() {
    let (mut world, three) = linked();
    world.reset(three);
    world.notify(2, 3, &notification(2, 1));
    world.run();
    assert_eq!(world.words(2), ["3 lost"]);
    world.pass(60_000);
    let again = world.words(2);
    assert!(again.len() >= 5 && again.iter().all(|word| word == "3 lost"), "each call is in vain: {again:?}");
}
