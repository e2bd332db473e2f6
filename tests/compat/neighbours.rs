#![forbid(unsafe_code)]
//! A session ends while the requests of another one queue behind it on the same thread: the other one gets all of its
//! replies and events, in order (reliability S55). `src/server/tests/neighbours.rs` goes through every order of the
//! steps inside; here are sockets, a disk, and time.

use super::{Group, Setup, line};
use crate::support::client::{
    Client, DATA_CHANGED, DELETED, Event, Incoming, Reply, body, err, flags, op, request,
};
use crate::support::jute::{In, open, out};

/// All connections on one thread, and sessions that may be short.
const ONE_THREAD: Group = Group::Shared(Setup {
    keys: &[
        ("ringkeeper.threads", "1"),
        ("tickTime", "200"),
        ("maxSessionTimeout", "60000"),
        ("maxClientCnxns", "0"),
    ],
    properties: &[],
});

/// Which way the neighbour ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Closed,
    Dropped,
    Moved,
    Malformed,
}

const PING: i32 = -2;

/// A client's requests by their number: writes that are flushed, reads behind them, reads that set watches, a sync.
fn asked(xid: i32, node: &str, watched: &str) -> Vec<u8> {
    match xid {
        1 | 5 | 9 => request(xid, op::SET_DATA, &body::set(node, Some(&xid.to_be_bytes()), -1)),
        3 => request(xid, op::EXISTS, &body::read(watched, true)),
        6 => request(xid, op::EXISTS, &body::read(node, true)),
        7 => request(xid, op::SYNC, &out().str(node).done()),
        10 => request(PING, op::PING, &[]),
        _ => request(xid, op::EXISTS, &body::read(node, false)),
    }
}

/// The same in pieces, between which a neighbour may end.
fn pieces(node: &str, watched: &str) -> [Vec<u8>; 3] {
    [1..=4, 5..=8, 9..=11].map(|xids| xids.flat_map(|xid| asked(xid, node, watched)).collect())
}

/// All replies to the pieces. Gives the events between them, without that of the client's own last write, and whether
/// `watched` was there.
fn replies(client: &mut Client, node: &str) -> (Vec<Event>, bool) {
    let (mut xids, mut events, mut newest, mut written, mut was_there) =
        (Vec::new(), Vec::new(), 0, 0, false);
    let mut own_event = None;
    while xids.len() < 11 {
        let reply = match Incoming::decode(&client.raw.frame().expect("replies, not a close")) {
            Incoming::Event(event) => {
                assert!(event.zxid > newest, "{event:?} behind a reply from {newest}");
                newest = event.zxid;
                match event.path == node {
                    true => assert_eq!(own_event.replace(event), None, "an event twice"),
                    false => events.push(event),
                }
                continue;
            }
            Incoming::Reply(reply) => reply,
        };
        assert!(reply.zxid >= newest, "{reply:?} behind {newest}");
        newest = reply.zxid;
        let Reply { xid, zxid, err: error, body } = reply;
        xids.push(xid);
        match xid {
            1 | 5 | 9 => {
                assert!((error, zxid > written) == (0, true), "write {xid}: {error}, {zxid} after {written}");
                written = zxid;
            }
            3 => {
                assert!([0, err::NO_NODE].contains(&error), "{error}");
                was_there = error == 0;
            }
            7 | PING => assert_eq!(error, 0, "{xid}"),
            _ => assert_eq!((error, In(&body).stat().mzxid), (0, written), "read {xid}"),
        }
    }
    assert_eq!(xids, [1, 2, 3, 4, 5, 6, 7, 8, 9, PING, 11], "replies");
    let own = Event { zxid: written, kind: DATA_CHANGED, state: 3, path: node.to_owned() };
    assert_eq!(own_event, Some(own), "the event of the last write");
    (events, was_there)
}

line!(s55_a_neighbour_that_ends_costs_nobody_a_reply_or_an_event, ONE_THREAD, |s| {
    let mut client = s.open();
    let (node, its_node) = (s.path("node"), s.path("its node"));
    client.create(&node, b"").unwrap();
    client.create(&its_node, b"").unwrap();
    for round in 0..96 {
        let end = [End::Closed, End::Dropped, End::Moved, End::Malformed][round % 4];
        let mut neighbour = Some(s.open());
        let mine = s.path(&format!("mine {round}"));
        let its = neighbour.as_mut().unwrap();
        its.create_with(&mine, b"", &open(), flags::EPHEMERAL).unwrap();
        its.get(&node, true).unwrap();
        its.exists(&mine, true).unwrap();
        let session = its.session.clone();
        // Its own requests queue too, or do not.
        if round / 4 % 2 == 1 {
            its.raw.send(&pieces(&its_node, &node).concat());
        }
        let mut resumed = None;
        let mut end_it = |neighbour: &mut Option<Client>| match end {
            End::Closed => _ = neighbour.as_mut().unwrap().send(op::CLOSE_SESSION, &[]),
            End::Dropped => _ = neighbour.take().unwrap().abandon(),
            End::Moved => resumed = Some(s.resume(&session)),
            End::Malformed => neighbour.as_mut().unwrap().raw.send(&(-1i32).to_be_bytes()),
        };
        let at = round / 8 % 4;
        for (number, piece) in pieces(&node, &mine).iter().enumerate() {
            if number == at {
                end_it(&mut neighbour);
            }
            client.raw.send(piece);
        }
        if at == 3 {
            end_it(&mut neighbour);
        }
        println!("round {round}: {end:?} before piece {at}");
        let (mut events, was_there) = replies(&mut client, &node);
        if let Some(mut its) = neighbour {
            while its.try_reply().is_some() {}
            drop(its.abandon());
        }
        if end != End::Closed {
            assert!(was_there && events.is_empty(), "its session has not ended: {events:?}");
            resumed.unwrap_or_else(|| s.resume(&session)).close();
        }
        events.extend(client.events());
        let told: Vec<(i32, &str)> = events.iter().map(Event::brief).collect();
        assert_eq!(told, if was_there { vec![(DELETED, &*mine)] } else { vec![] });
    }
});

line!(s55_neighbours_that_expire_cost_nobody_a_reply_or_an_event, ONE_THREAD, |s| {
    let mut client = s.open();
    let (node, nothing) = (s.path("node beside"), s.path("nothing"));
    client.create(&node, b"").unwrap();
    let names: Vec<String> = (0..8).map(|number| s.path(&format!("expiring {number}"))).collect();
    let neighbours = names.iter().map(|mine| {
        let mut neighbour = s.open();
        neighbour.create_with(mine, b"", &open(), flags::EPHEMERAL).unwrap();
        client.exists(mine, true).unwrap();
        neighbour
    });
    let neighbours: Vec<Client> = neighbours.collect();
    // One after the other, so that they end so.
    let neighbours: Vec<Client> = neighbours
        .into_iter()
        .enumerate()
        .map(|(at, its)| its.shortened(s, 1_000 + 200 * at as i32))
        .collect();
    let mut gone = Vec::new();
    while gone.len() < names.len() {
        client.raw.send(&pieces(&node, &nothing).concat());
        let (events, was_there) = replies(&mut client, &node);
        assert!(!was_there);
        gone.extend(events.into_iter().map(|event| (event.kind, event.path)));
    }
    gone.sort_unstable();
    assert_eq!(gone, names.into_iter().map(|name| (DELETED, name)).collect::<Vec<_>>());
    assert_eq!(client.events(), []);
    neighbours.into_iter().for_each(|its| drop(its.abandon()));
});
