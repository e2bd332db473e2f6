//! Statements 25 to 29: who is told, of what, and when.

use super::support::client::{
    CHILDREN_CHANGED, CREATED, Client, DATA_CHANGED, DELETED, Incoming, body, err, flags, op,
};
use super::support::jute::open;
use super::{plain, quick, rooted};

fn briefs(expected: &[(i32, &str)]) -> Vec<(i32, String)> {
    expected.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect()
}

#[test]
fn m25_data_and_child_watches_are_separate_lists() {
    let server = plain();
    let (mut actor, mut watcher) = (rooted(&server, "/m25"), Client::open(&server));
    let (p, a, b) = ("/m25", "/m25/a", "/m25/a/b");
    // create: the node's data watch, the parent's child watch.
    assert_eq!(watcher.exists(a, true), Err(err::NO_NODE));
    watcher.children(p, true).unwrap();
    actor.create(a, b"").unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(CREATED, a), (CHILDREN_CHANGED, p)]));
    // setData: the data watch alone.
    watcher.get(a, true).unwrap();
    watcher.children(a, true).unwrap();
    watcher.children(p, true).unwrap();
    actor.set(a, b"x", -1).unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(DATA_CHANGED, a)]));
    // A child: the child watch alone.
    watcher.get(a, true).unwrap();
    actor.create(b, b"").unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(CHILDREN_CHANGED, a)]));
    // delete: the node's data watch and the parent's child watch; then the node's child watch too.
    watcher.get(b, true).unwrap();
    watcher.children(a, true).unwrap();
    actor.delete(b, -1).unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(DELETED, b), (CHILDREN_CHANGED, a)]));
    watcher.children(a, true).unwrap();
    actor.delete(a, -1).unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(DELETED, a), (CHILDREN_CHANGED, p)]));
}

#[test]
fn m26_watches_are_one_shot() {
    let server = plain();
    let (mut actor, mut watcher) = (rooted(&server, "/m26"), Client::open(&server));
    for round in 0..3 {
        watcher.get("/m26", true).unwrap();
        watcher.get("/m26", true).unwrap();
        for _ in 0..3 {
            actor.set("/m26", b"x", -1).unwrap();
        }
        assert_eq!(watcher.briefs(), briefs(&[(DATA_CHANGED, "/m26")]), "round {round}");
        actor.set("/m26", b"x", -1).unwrap();
        assert_eq!(watcher.events(), []);
    }
}

/// Whatever the timing: a client that reads in a row, with a watch on the first, must be told before it reads what is new.
#[test]
fn m27_the_event_comes_before_the_new_data() {
    let server = plain();
    let mut actor = rooted(&server, "/m27");
    let mut watchers: Vec<Client> = (0..4).map(|_| Client::open(&server)).collect();
    let mut told = 0;
    for round in 1..=150i32 {
        for watcher in &mut watchers {
            watcher.get("/m27", true).unwrap();
        }
        actor.send(op::SET_DATA, &body::set("/m27", Some(&round.to_be_bytes()), -1));
        for watcher in &mut watchers {
            for _ in 0..8 {
                watcher.send(op::GET_DATA, &body::read("/m27", false));
            }
        }
        assert_eq!(actor.reply().err, 0);
        for watcher in &mut watchers {
            let (mut replies, mut events) = (0, 0);
            while replies < 8 || events == 0 {
                match Incoming::decode(&watcher.raw.frame().unwrap()) {
                    Incoming::Event(event) => {
                        assert_eq!(event.brief(), (DATA_CHANGED, "/m27"));
                        told += usize::from(replies < 8);
                        events += 1;
                    }
                    Incoming::Reply(reply) => {
                        replies += 1;
                        let data = super::support::jute::In(reply.result().unwrap()).bytes();
                        assert!(
                            events == 1 || data != round.to_be_bytes(),
                            "round {round}: data before the event"
                        );
                    }
                }
            }
            assert_eq!(events, 1);
        }
    }
    println!("m27: {told} of 600 events came between the reads");
}

#[test]
fn m28_events_and_replies_come_in_the_order_in_which_the_server_saw_the_changes() {
    let server = plain();
    let (mut actor, mut watcher) = (rooted(&server, "/m28"), Client::open(&server));
    watcher.add_watch("/m28", 1).unwrap();
    let mut expected = Vec::new();
    for round in 0..20 {
        let path = format!("/m28/{round}");
        actor.send(op::CREATE, &body::create(&path, None, &open(), flags::PERSISTENT));
        actor.send(op::SET_DATA, &body::set(&path, None, 0));
        // The watcher writes too: its own replies are in the same row.
        watcher.send(op::SET_DATA, &body::set("/m28", None, -1));
        expected.extend([(CREATED, path.clone()), (DATA_CHANGED, path)]);
    }
    let zxids: Vec<i64> = (0..40).map(|_| actor.reply().zxid).collect();
    assert!(zxids.is_sorted());
    let mut row = Vec::new();
    let (mut replies, mut events) = (0, Vec::new());
    while replies < 20 || events.len() < 60 {
        match Incoming::decode(&watcher.raw.frame().unwrap()) {
            Incoming::Reply(reply) => {
                replies += 1;
                row.push(reply.zxid);
            }
            Incoming::Event(event) => {
                row.push(event.zxid);
                events.push((event.kind, event.path));
            }
        }
    }
    assert!(row.is_sorted(), "one row of zxids, events and replies together: {row:?}");
    events.retain(|(_, path)| path != "/m28");
    assert_eq!(events, expected);
}

#[test]
fn m29_watches_are_set_again_elsewhere_and_what_changed_meanwhile_fires_at_once() {
    let server = quick();
    let mut actor = rooted(&server, "/m29");
    let mut watcher = Client::open(&server);
    for name in ["same", "changed", "gone"] {
        actor.create(format!("/m29/{name}"), b"").unwrap();
    }
    for name in ["same", "changed", "gone"] {
        watcher.get(format!("/m29/{name}"), true).unwrap();
    }
    assert_eq!(watcher.exists("/m29/made", true), Err(err::NO_NODE));
    assert_eq!(watcher.exists("/m29/brief", true), Err(err::NO_NODE));
    watcher.children("/m29", true).unwrap();
    let seen = watcher.zxid;
    let session = watcher.abandon();
    actor.set("/m29/changed", b"x", -1).unwrap();
    actor.delete("/m29/gone", -1).unwrap();
    actor.create("/m29/made", b"").unwrap();
    // The one gap: made and gone while away.
    actor.create("/m29/brief", b"").unwrap();
    actor.delete("/m29/brief", -1).unwrap();
    let mut watcher = Client::resume(&server, &session);
    assert_eq!(watcher.events(), [], "watches are the connection's");
    let data = ["/m29/same", "/m29/changed", "/m29/gone"];
    watcher.set_watches(seen, &data, &["/m29/made", "/m29/brief"], &["/m29"]).expect_header(0);
    let mut events = watcher.briefs();
    events.sort_unstable();
    let mut expected = briefs(&[
        (DATA_CHANGED, "/m29/changed"),
        (DELETED, "/m29/gone"),
        (CREATED, "/m29/made"),
        (CHILDREN_CHANGED, "/m29"),
    ]);
    expected.sort_unstable();
    assert_eq!(events, expected, "the brief one is not told of, as with stock");
    // What had not changed is watched again, and so is what is still missing.
    actor.set("/m29/same", b"x", -1).unwrap();
    actor.create("/m29/brief", b"").unwrap();
    assert_eq!(watcher.briefs(), briefs(&[(DATA_CHANGED, "/m29/same"), (CREATED, "/m29/brief")]));
}
