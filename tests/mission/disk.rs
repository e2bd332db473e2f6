//! Statement 38: what is acknowledged is on the disk.

use super::support::PATIENCE;
use super::support::client::{Client, Incoming, body, flags, op};
use super::support::jute::open;
use super::support::raw::Got;
use super::support::server::Setup;
use super::{QUICK, start};
use std::collections::BTreeMap;
use std::time::Instant;

#[test]
fn m38_every_acknowledged_write_survives_sigkill_and_nothing_refused_appears() {
    let server = start(QUICK);
    let mut client = Client::open(&server);
    client.create("/m38", b"").unwrap();
    drop(client);
    let mut acknowledged: BTreeMap<String, u8> = BTreeMap::new();
    let mut last_zxid = 0;
    for round in 0..4u8 {
        let mut client = Client::open(&server);
        let mut sent = Vec::new();
        for number in 0..400 {
            let path = format!("/m38/{round}-{number}");
            let xid = if number % 7 == 3 {
                // Refused: its parent is missing.
                client.send(op::CREATE, &body::create(format!("{path}/none/x"), Some(&[round]), &open(), 0))
            } else {
                client.send(op::CREATE, &body::create(&path, Some(&[round]), &open(), flags::PERSISTENT))
            };
            sent.push((xid, path));
        }
        // The kill comes at another point each time, with writes on the way.
        let wanted = 60 * usize::from(round) + 5;
        let mut answered = 0;
        let mut sent = sent.into_iter();
        while answered < wanted {
            let reply = client.reply();
            let (xid, path) = sent.next().unwrap();
            assert_eq!(reply.xid, xid);
            answered += 1;
            if reply.err == 0 {
                acknowledged.insert(path, round);
                last_zxid = reply.zxid;
            }
        }
        server.kill();
        // What was on its way to us counts as well.
        while let Got::Frame(frame) = client.frame_within(PATIENCE) {
            let Incoming::Reply(reply) = Incoming::decode(&frame) else { continue };
            let (_, path) = sent.next().unwrap();
            if reply.err == 0 {
                acknowledged.insert(path, round);
                last_zxid = reply.zxid;
            }
        }
        drop(client.abandon());
        let began = Instant::now();
        server.restart().unwrap();
        println!("m38: round {round}, {} acknowledged, back in {:?}", acknowledged.len(), began.elapsed());

        let mut client = Client::open(&server);
        let names = client.children("/m38", false).unwrap();
        for (path, data) in &acknowledged {
            assert_eq!(client.get(path, false).unwrap().0, Some(vec![*data]), "{path} was acknowledged");
        }
        for name in &names {
            let number: u32 = name.split_once('-').unwrap().1.parse().unwrap();
            assert!(number % 7 != 3, "{name} was refused");
            assert_eq!(client.children(format!("/m38/{name}"), false).unwrap(), [""; 0]);
        }
        client.set("/m38", b"", -1).unwrap();
        assert!(client.zxid > last_zxid, "zxids go on");
        last_zxid = client.zxid;
    }
}

/// With a snapshot every so often, neither the log that is kept nor a restart grows with the history.
#[test]
fn m38_a_restart_does_not_grow_with_history() {
    let setup = Setup {
        keys: &[("4lw.commands.whitelist", "*"), ("snapCount", "200"), ("preAllocSize", "1024")],
        properties: &[],
    };
    let server = start(setup);
    let mut client = Client::open(&server);
    client.create("/m38", b"").unwrap();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        for _ in 0..40 {
            for _ in 0..50 {
                client.send(op::SET_DATA, &body::set("/m38", Some(&[7; 2_000]), -1));
            }
            (0..50).for_each(|_| assert_eq!(client.reply().err, 0));
        }
        sizes.push(bytes_below(&server.folder().join("data")));
    }
    println!("m38: bytes on disk after each 2000 writes of 2000 bytes: {sizes:?}");
    // 16 MB of data went through the log; segments of 1 MiB go round.
    assert!(sizes[3] < 12 << 20, "the folder grows with history: {sizes:?}");
    drop(client);
    server.restart().unwrap();
    let mut client = Client::open(&server);
    assert_eq!(client.exists("/m38", false).unwrap().version, 8_000);
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        // A file may go between the listing and the look.
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
