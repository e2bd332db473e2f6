#![forbid(unsafe_code)]
//! Attempts to connect: names, several addresses, time.

use std::net::IpAddr;

use super::network::*;
use crate::base::ServerId;
use crate::runtime::peers::Server;
use crate::zab::message::LinkId;

const LINK: LinkId = LinkId(LinkId::OURS + 1);

/// Server 2 of two; server 1 is known by these hosts.
fn beside(hosts: &[&str]) -> World {
    let mut world = World::new();
    let at = |port: u16| hosts.iter().map(|host| address(host, port)).collect();
    let one = Server { id: ServerId(1), quorum: at(2888), election: at(3888) };
    world.start(settings(2, vec![one, server(2)]));
    world
}

fn stands_for(world: &World, name: &str, ips: Result<&[&str], &str>) {
    let ips = ips.map(|ips| ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect());
    world.zone.borrow_mut().insert(name.to_owned(), ips.map_err(str::to_owned));
}

#[test]
fn a_name_is_resolved_before_every_attempt() {
    let mut world = beside(&["one"]);
    world.notify(2, 1, &notification(2, 1));
    world.pass(100);
    assert_eq!(world.words(2), [""; 0], "the resolver has not answered");
    stands_for(&world, "one", Ok(&["10.0.0.1"]));
    world.run();
    assert_eq!(world.words(2), ["1 lost"], "nobody there");
    // It has moved.
    world.script_listens(election(7));
    stands_for(&world, "one", Ok(&["10.0.0.7"]));
    world.pass(1_000);
    assert_eq!(world.words(2), ["1 up"]);
}

#[test]
fn without_a_resolver_the_addresses_of_before_are_used() {
    for answer in [Some("the network is down"), None] {
        let mut world = beside(&["one"]);
        stands_for(&world, "one", Ok(&["10.0.0.1"]));
        world.script_listens(election(1));
        world.script_listens(quorum(1));
        world.notify(2, 1, &notification(2, 1));
        world.run();
        world.hang_up(world.script_accepts(election(1)).unwrap());
        match answer {
            Some(why) => stands_for(&world, "one", Err(why)),
            None => drop(world.zone.borrow_mut().remove("one")),
        }
        world.pass(3_000);
        assert_eq!(world.words(2), ["1 up", "1 lost", "1 up"], "{answer:?}");
        world.connect(2, LINK, 1);
        world.pass(1_000);
        assert_eq!(world.words(2), ["connected 1'"]);
    }
}

#[test]
fn a_name_that_never_resolved_fails_in_time() {
    let mut world = beside(&["one"]);
    world.connect(2, LINK, 1);
    world.pass(4_999);
    assert_eq!(world.words(2), [""; 0]);
    world.pass(1);
    assert_eq!(world.words(2), ["lost 1'"]);
    stands_for(&world, "one", Err("no such name"));
    world.connect(2, LinkId(LinkId::OURS + 2), 1);
    world.run();
    assert_eq!(world.words(2), ["lost 2'"]);
}

#[test]
fn addresses_are_tried_one_after_the_other_and_none_takes_long() {
    let mut world = beside(&["10.0.0.3", "one", "10.0.0.5"]);
    stands_for(&world, "one", Ok(&["10.0.0.4", "10.0.0.6"]));
    world.silence(3, true);
    world.silence(4, true);
    world.script_listens(quorum(5));
    world.connect(2, LINK, 1);
    world.pass(1_999);
    assert_eq!(world.words(2), [""; 0], "two of them are silent, and get a second each");
    world.pass(1);
    assert_eq!(world.words(2), ["connected 1'"]);
    assert!(world.script_accepts(quorum(5)).is_some());
    assert_eq!(world.node(2).peers.address(LINK), Some(quorum(5)));
}

#[test]
fn a_silent_host_is_given_up_and_called_again() {
    let mut world = World::of(2, &[2]);
    world.silence(1, true);
    world.notify(2, 1, &notification(2, 1));
    world.pass(4_999);
    // It is asked for again and again meanwhile, and one attempt is enough.
    world.notify(2, 1, &notification(2, 2));
    assert_eq!(world.words(2), [""; 0]);
    world.pass(1);
    assert_eq!(world.words(2), ["1 lost"]);
    world.silence(1, false);
    world.script_listens(election(1));
    world.pass(1_000);
    assert_eq!(world.words(2), ["1 up"]);
}

#[test]
fn a_server_that_does_not_call_back_is_called_again() {
    let mut world = World::of(2, &[1]);
    world.script_listens(election(2));
    world.notify(1, 2, &notification(1, 1));
    world.pass(999);
    assert_eq!(world.words(1), [""; 0]);
    world.pass(1);
    assert_eq!(world.words(1), ["2 lost"]);
    world.pass(60_000);
    let calls = std::iter::from_fn(|| world.script_accepts(election(2))).count();
    assert!((5..20).contains(&calls), "{calls} calls");
}

#[test]
fn who_refuses_at_once_is_not_asked_as_fast_as_the_network_allows() {
    let mut world = World::of(2, &[2]);
    let mut lost = 0;
    for ms in 0..1_000 {
        world.notify(2, 1, &notification(2, ms));
        world.pass(1);
        lost += world.words(2).len();
    }
    assert!((5..=11).contains(&lost), "{lost} attempts in a second");
}

#[test]
fn what_keeps_the_election_port_from_opening_is_said_at_start() {
    let mut world = World::of(2, &[2]);
    let check = |world: &mut World, servers: Vec<Server>, expected: &str| {
        let why = world.try_start(settings(2, servers)).expect_err(expected).to_string();
        assert!(why.contains(expected), "{why}");
    };
    let taken = "cannot open the election port 10.0.0.2:3888";
    check(&mut world, vec![server(1), server(2)], taken);
    check(&mut world, vec![server(1), server(3)], "server 2 is not in the configuration");
    let nowhere = Server { election: vec![address("", 3888)], ..server(2) };
    check(&mut world, vec![nowhere], "our own address :3888 does not resolve");
}
