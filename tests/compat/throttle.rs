#![forbid(unsafe_code)]
//! Admission of connections and requests (operations §11.1, §11.2), and that long answers let others pass.

use super::{Group, Scene, Setup, line};
use crate::support::PATIENCE;
use crate::support::client::{
    CHILDREN_CHANGED, CREATED, Client, DATA_CHANGED, DELETED, Part, Reply, body, flags, op, request,
};
use crate::support::jute::{In, open, out};
use crate::support::raw::Hello;
use crate::support::server::Kind;
use std::time::{Duration, Instant};

/// A value of `mntr`.
fn counted(s: &Scene, key: &str) -> String {
    let text = s.word("mntr");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("zk_{key}\t")));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
}

line!(
    t01_a_connect_request_without_a_token_is_closed,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("connection_throttle_tokens", "3"),
            ("connection_throttle_fill_time", "1000000000"),
        ],
        properties: &[],
    }),
    |s| {
        let clients: Vec<Client> = (0..3).map(|_| Client::open(s)).collect();
        assert!(Client::greet(s, &Hello::default()).is_none(), "three tokens, and none comes back");
        assert!(Client::greet(s, &Hello::renewal(&clients[0].session)).is_none());
        assert_eq!(counted(s, "connection_rejected"), "2");
        assert_eq!(counted(s, "max_connection_token_deficit"), "3");
        assert_eq!(counted(s, "connection_drop_probability"), "0.0");
    }
);

line!(
    t02_with_weights_a_renewal_costs_less_than_a_new_session,
    Group::Fresh(Setup {
        keys: &[
            ("connection_throttle_tokens", "2"),
            ("connection_throttle_fill_time", "1000000000"),
            ("connection_throttle_weight_enabled", "true"),
        ],
        properties: &[],
    }),
    |s| {
        // Two new sessions are six tokens: three are left behind the first, one behind its renewal.
        let session = Client::open(s).abandon();
        drop(Client::resume(s, &session));
        assert!(Client::greet(s, &Hello::default()).is_none());
    }
);

line!(
    t03_an_empty_bucket_makes_drops_likely,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("connection_throttle_tokens", "1"),
            ("connection_throttle_fill_time", "1000000000"),
            ("connection_throttle_freeze_time", "0"),
            ("connection_throttle_drop_increase", "0.25"),
        ],
        properties: &[],
    }),
    |s| {
        let _only = Client::open(s);
        while counted(s, "connection_drop_probability") != "1.0" {
            assert!(Client::greet(s, &Hello::default()).is_none());
        }
    }
);

/// One core serves everybody: what passes in between passes on that core.
const ONE_CORE: Group =
    Group::Fresh(Setup { keys: &[("ringkeeper.threads", "1"), ("maxClientCnxns", "0")], properties: &[] });

/// Makes `count` znodes below `parent`.
fn grow(client: &mut Client, parent: &str, count: usize) {
    client.create(parent, b"").unwrap();
    for first in (0..count).step_by(2000) {
        let parts: Vec<Part> = (first..count.min(first + 2000))
            .map(|n| Part::create(format!("{parent}/{n:06}"), b"", 0))
            .collect();
        client.multi(&parts).unwrap();
    }
}

/// Sends the request on `long`, and heartbeats on `short` one after the other until its reply is there. Gives the reply,
/// and how many heartbeats were answered before.
fn heartbeats_during(long: &mut Client, short: &mut Client, opcode: i32, body: &[u8]) -> (Reply, usize) {
    long.send(opcode, body);
    let stream = long.raw.stream();
    for answered in 0.. {
        short.ping();
        stream.set_nonblocking(true).unwrap();
        let has_come = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        if has_come {
            return (long.reply(), answered);
        }
    }
    unreachable!()
}

/// Asks until several heartbeats were answered before the reply was there, and gives the last one. A busy machine may
/// keep this client from sending any in time; but an answer in one go never lets more than one pass, the one that was
/// read before the long request.
fn reply_that_lets_heartbeats_pass(
    s: &Scene,
    long: &mut Client,
    short: &mut Client,
    opcode: i32,
    body: &[u8],
) -> Reply {
    let began = Instant::now();
    while began.elapsed() < 3 * PATIENCE {
        let (reply, answered) = heartbeats_during(long, short, opcode, body);
        if answered > 1 || s.kind == Kind::Stock {
            return reply;
        }
    }
    panic!("no heartbeat passed in {:?}", 3 * PATIENCE)
}

line!(t04_heartbeats_pass_while_a_large_tree_is_counted, ONE_CORE, |s| {
    let mut long = Client::open(s);
    long.create("/t", b"").unwrap();
    for part in 0..4 {
        grow(&mut long, &format!("/t/{part}"), 50_000);
    }
    let mut short = Client::open(s);
    let body = out().str("/t").done();
    let reply = reply_that_lets_heartbeats_pass(s, &mut long, &mut short, op::GET_ALL_CHILDREN_NUMBER, &body);
    assert_eq!(reply.result().map(|body| In(body).int()), Ok(200_004));
});

line!(t05_a_large_directory_is_listed_whole_and_in_its_turn, ONE_CORE, |s| {
    let mut long = Client::open(s);
    grow(&mut long, "/t", 20_000);
    let (_, stat) = long.get("/t", false).unwrap();
    let listing = |reply: &Reply| {
        let mut body = In(reply.result().unwrap());
        let mut names = body.strings();
        names.sort_unstable();
        assert_eq!((body.stat(), body.0.len()), (stat, 0));
        assert!(names.iter().enumerate().all(|(n, name)| *name == format!("{n:06}")));
        names.len()
    };
    let body = body::read("/t", true);
    let reply = long.call(op::GET_CHILDREN2, &body);
    assert_eq!(listing(&reply), 20_000);
    assert_eq!(reply.zxid, long.ping().zxid);
    // The watch is there, and what was sent behind the listing is answered behind it.
    let children = long.send(op::GET_CHILDREN2, &body);
    let created = long.send(op::CREATE, &body::create("/t/new", Some(b""), &open(), 0));
    let reply = long.reply();
    assert_eq!((reply.xid, listing(&reply)), (children, 20_000));
    assert_eq!(long.reply().xid, created);
    assert_eq!(long.briefs(), [(CHILDREN_CHANGED, "/t".to_owned())]);
});

line!(t06_a_listing_that_changes_while_it_is_made_is_whole, ONE_CORE, |s| {
    let mut long = Client::open(s);
    grow(&mut long, "/t", 50_000);
    let mut other = Client::open(s);
    for round in 0..20 {
        long.send(op::GET_CHILDREN, &body::read("/t", true));
        let made = other.create_with(format!("/t/new{round}"), b"", &open(), flags::PERSISTENT);
        made.unwrap();
        let reply = long.reply();
        let count = In(reply.result().unwrap()).strings().len();
        // Either the child is in the list, or its event is on the way: never neither.
        let events = long.briefs();
        let told = events.contains(&(CHILDREN_CHANGED, "/t".to_owned()));
        assert_eq!(count + usize::from(told), 50_000 + round + 1, "round {round}: {events:?}");
        if !told {
            // The watch of this round waits still: let the next child be its end.
            other.create(format!("/t/end{round}"), b"").unwrap();
            assert_eq!(long.briefs(), [(CHILDREN_CHANGED, "/t".to_owned())]);
            other.delete(format!("/t/end{round}"), -1).unwrap();
        }
    }
});

line!(t07_a_long_set_watches_arms_every_path, ONE_CORE, |s| {
    let (mut client, mut other) = (Client::open(s), Client::open(s));
    grow(&mut client, "/t", 5000);
    let missed = other.create("/t/gone", b"").map(|_| other.zxid).unwrap();
    other.delete("/t/gone", -1).unwrap();
    other.set("/t/000003", b"missed", -1).unwrap();
    let mut data: Vec<String> = (0..5000).map(|n| format!("/t/{n:06}")).collect();
    data.push("/t/gone".to_owned());
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    let exist: Vec<String> = (0..3000).map(|n| format!("/t/later{n}")).collect();
    let exist: Vec<&str> = exist.iter().map(String::as_str).collect();
    client.set_watches(missed, &data, &exist, &["/t"]).expect_header(0);
    let mut events = client.briefs();
    events.sort_unstable();
    let missed = [
        (DELETED, "/t/gone".to_owned()),
        (DATA_CHANGED, "/t/000003".to_owned()),
        (CHILDREN_CHANGED, "/t".to_owned()),
    ];
    assert_eq!(events, missed);
    for n in [0, 1023, 1024, 4999] {
        other.set(format!("/t/{n:06}"), b"", -1).unwrap();
        assert_eq!(client.briefs(), [(DATA_CHANGED, format!("/t/{n:06}"))]);
    }
    other.create("/t/later2999", b"").unwrap();
    assert_eq!(client.briefs(), [(CREATED, "/t/later2999".to_owned())]);
});

/// Values of `mntr` need the word; one request in process at a time.
const ONE_AT_A_TIME: Group = Group::Fresh(Setup {
    keys: &[
        ("4lw.commands.whitelist", "*"),
        ("request_throttle_max_requests", "1"),
        ("throttled_op_wait_time", "1"),
    ],
    properties: &[],
});

line!(t08_a_request_that_waited_too_long_is_not_executed, ONE_AT_A_TIME, |s| {
    let mut client = Client::open(s);
    // Alone it is refused as well where the server, or a fresh JVM, is that slow.
    while client.create("/t", b"") == Err(-127) {}
    let before: usize = counted(s, "throttled_ops").parse().unwrap();
    let mut burst = Vec::new();
    for n in 0..500 {
        burst.extend(request(n + 10, op::CREATE, &body::create(format!("/t/{n}"), Some(b""), &open(), 0)));
    }
    burst.extend(request(-2, op::PING, &[]));
    client.raw.send(&burst);
    let replies: Vec<Reply> = (0..500).map(|_| client.reply()).collect();
    let ping = client.reply();
    assert_eq!((ping.xid, ping.err), (-2, 0), "a heartbeat is exempt");
    // Stock's intake is one for all, and slow on a fresh JVM.
    assert!(s.kind == Kind::Stock || replies[0].err == 0, "nothing was before it");
    for (n, reply) in replies.iter().enumerate() {
        assert_eq!(reply.xid, n as i32 + 10);
        assert!(matches!(reply.err, 0 | -127), "{reply:?}");
    }
    let refused = replies.iter().filter(|reply| reply.err == -127).count();
    assert!(refused > 0, "500 writes, each for itself, take longer than 1 ms");
    assert_eq!(counted(s, "throttled_ops"), (before + refused).to_string());
    loop {
        match client.children("/t", false) {
            // A request that had to wait may itself be refused.
            Err(-127) => {}
            names => break assert_eq!(names.unwrap().len(), 500 - refused),
        }
    }
});

line!(
    t09_requests_in_process_stall_the_intake,
    Group::Fresh(Setup {
        keys: &[("4lw.commands.whitelist", "*"), ("request_throttle_max_requests", "2")],
        properties: &[],
    }),
    |s| {
        let (mut one, mut other) = (Client::open(s), Client::open(s));
        one.create("/t", b"").unwrap();
        let write = body::set("/t", Some(b""), -1);
        // In one go each, so that the third is there before the first can be answered.
        for client in [&mut one, &mut other] {
            client.raw.send(&crate::hostile::repeated(op::SET_DATA, &write, 300));
        }
        for _ in 0..300 {
            one.reply().result().unwrap();
            other.reply().result().unwrap();
        }
        assert_ne!(counted(s, "request_throttle_wait_count"), "0");
    }
);

line!(
    t10_more_requests_than_the_server_takes_wait_and_none_is_refused,
    Group::Fresh(Setup { keys: &[("globalOutstandingLimit", "2")], properties: &[] }),
    |s| {
        let mut clients: Vec<Client> = (0..4).map(|_| Client::open(s)).collect();
        clients[0].create("/t", b"").unwrap();
        for client in &mut clients {
            for _ in 0..200 {
                client.send(op::SET_DATA, &body::set("/t", Some(b""), -1));
                client.send(op::GET_DATA, &body::read("/t", false));
            }
        }
        for client in &mut clients {
            for _ in 0..400 {
                client.reply().result().unwrap();
            }
        }
    }
);

line!(
    t11_large_requests_beyond_their_bytes_close_the_connection,
    Group::Fresh(Setup {
        keys: &[
            ("4lw.commands.whitelist", "*"),
            ("largeRequestThreshold", "1000"),
            ("largeRequestMaxBytes", "5000"),
        ],
        properties: &[],
    }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        // One after the other they fit, however many.
        for _ in 0..5 {
            client.set("/t", &[0; 4000], -1).unwrap();
        }
        // This one is refused for its length, before its body is there.
        client.raw.send(&5001i32.to_be_bytes());
        client.expect_close();
        assert_eq!(counted(s, "large_requests_rejected"), "1");
        let mut client = Client::open(s);
        client.set("/t", &[0; 900], -1).unwrap();
    }
);

line!(
    t12_a_flush_waits_for_company_as_long_as_asked,
    Group::Fresh(Setup { keys: &[("flushDelay", "300")], properties: &[] }),
    |s| {
        let mut client = Client::open(s);
        client.create("/t", b"").unwrap();
        // The last flush was just now: each write waits a third of the delay in case another one comes.
        let began = Instant::now();
        for _ in 0..5 {
            client.set("/t", b"", -1).unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(5 * 90), "{:?}", began.elapsed());
        // Together they wait once: each for itself they would take ten seconds, on any machine.
        let mut together = || {
            let began = Instant::now();
            for _ in 0..100 {
                client.send(op::SET_DATA, &body::set("/t", Some(b""), -1));
            }
            (0..100).for_each(|_| assert_eq!(client.reply().err, 0));
            println!("a hundred writes took {:?}", began.elapsed());
            began.elapsed()
        };
        assert!((0..10).any(|_| together() < Duration::from_secs(8)));
    }
);
