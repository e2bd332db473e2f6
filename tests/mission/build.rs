//! Statement 39: the build that was asked for, as a live server shows it: its threads, where they may run, and what a
//! request costs in flushes, bytes, sleeps and locks.

use super::start;
use super::support::client::{Client, body, op};
use super::support::server::{Server, Setup};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PINNED: Setup = Setup {
    keys: &[
        ("4lw.commands.whitelist", "*"),
        ("maxClientCnxns", "0"),
        ("ringkeeper.pin", "yes"),
        ("ringkeeper.threads", "2"),
    ],
    properties: &[],
};

/// What the kernel says of a thread.
struct Thread {
    id: u32,
    cores: String,
    sleeps: u64,
}

fn threads(server: &Server) -> BTreeMap<String, Thread> {
    let tasks = format!("/proc/{}/task", server.pid().expect("it runs"));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(tasks).unwrap().flatten() {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let status = read("status");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches(':').trim().to_owned()).unwrap_or_default()
        };
        let thread = Thread {
            id: entry.file_name().to_string_lossy().parse().unwrap(),
            cores: field("Cpus_allowed_list"),
            sleeps: field("voluntary_ctxt_switches").parse().unwrap_or_default(),
        };
        found.insert(read("comm").trim().to_owned(), thread);
    }
    found
}

/// A number of `mntr`.
fn monitored(server: &Server, key: &str) -> f64 {
    let answer = server.word("mntr");
    let line = answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("no {key} in {answer}")).parse().unwrap()
}

/// Bytes the process had written to disks.
fn written(server: &Server) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/io", server.pid().unwrap())).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or_default()
}

#[test]
fn m39_threads_are_pinned_one_to_a_core() {
    let server = start(PINNED);
    let threads = threads(&server);
    for (name, thread) in &threads {
        println!("m39: {name} may run on {}", thread.cores);
    }
    let cores = |name: &str| threads.get(name).unwrap_or_else(|| panic!("no thread {name}")).cores.clone();
    let all = std::thread::available_parallelism().unwrap().get();
    for name in ["shard-0", "shard-1", "sequencer"] {
        assert!(cores(name).parse::<u32>().is_ok(), "{name} may run on {}", cores(name));
    }
    if all > 1 {
        assert_ne!(cores("sequencer"), cores("shard-0"), "the sequencer has a core of its own");
        assert_ne!(cores("sequencer"), cores("shard-1"));
    }
    // The disk shard blocks, and is not in anybody's way: of low priority, wherever there is room.
    assert!(threads.contains_key("disk-shard"));
    assert_eq!(threads.keys().filter(|name| *name == "sequencer").count(), 1);
}

/// The log is sealed when no write came for so long (reliability R4).
const SEALED_AFTER: Duration = Duration::from_millis(50);

#[test]
fn m39_flushes_are_shared_by_the_writes_that_wait() {
    const WRITES: usize = 2_560;
    let server = start(PINNED);
    let mut client = Client::open(&server);
    client.create("/m39", b"").unwrap();
    let record = body::set("/m39", Some(&[7; 128]), -1);
    for (concurrency, most) in [(1, 1.2), (32, 0.35), (256, 0.2)] {
        let (flushes, bytes) = (monitored(&server, "zk_cnt_fsynctime"), written(&server));
        let (mut pauses, mut begun) = (0, Instant::now());
        for _ in 0..WRITES / concurrency {
            let before = std::mem::replace(&mut begun, Instant::now());
            let mut window = Vec::new();
            for xid in 0..concurrency {
                window.extend(super::support::client::request(xid as i32 + 1, op::SET_DATA, &record));
            }
            client.raw.send(&window);
            (0..concurrency).for_each(|_| assert_eq!(client.reply().err, 0));
            pauses += usize::from(before.elapsed() >= SEALED_AFTER);
        }
        // A pause costs one flush more, for the seal; how often this client is kept from writing is the machine's affair.
        let seals = (monitored(&server, "zk_cnt_fsynctime") - flushes).min(pauses as f64);
        let flushes = (monitored(&server, "zk_cnt_fsynctime") - flushes - seals) / WRITES as f64;
        let bytes = (written(&server) - bytes) as f64 / WRITES as f64;
        println!(
            "m39: {concurrency} at a time: {flushes:.3} flushes and {bytes:.0} bytes to disk a write of 128 bytes"
        );
        assert!(flushes <= most, "{flushes} flushes a write at {concurrency}");
        assert!(flushes + seals > 0.0, "nothing is acknowledged without a flush");
        if concurrency == 1 {
            assert!(
                flushes + seals / WRITES as f64 >= 0.99,
                "each write alone has a flush of its own: {flushes}"
            );
        }
    }
}

/// Reads between the writes of one pipeline cost no flush each, and still see the write before them and none after.
#[test]
fn m39_a_pipeline_of_reads_and_writes_shares_its_flushes() {
    const PAIRS: i32 = 200;
    const PIPELINES: i32 = 5;
    let server = start(PINNED);
    let mut client = Client::open(&server);
    client.create("/m39", b"").unwrap();
    let flushes = monitored(&server, "zk_cnt_fsynctime");
    let read = body::read("/m39", false);
    for pipeline in 0..PIPELINES {
        let value = |pair: i32| (pipeline * PAIRS + pair).to_be_bytes();
        let mut window = Vec::new();
        for pair in 0..PAIRS {
            let write = body::set("/m39", Some(&value(pair)), -1);
            window.extend(super::support::client::request(2 * pair + 1, op::SET_DATA, &write));
            window.extend(super::support::client::request(2 * pair + 2, op::GET_DATA, &read));
        }
        client.raw.send(&window);
        for pair in 0..PAIRS {
            let write = client.reply();
            assert_eq!((write.xid, write.err), (2 * pair + 1, 0));
            let read = client.reply();
            assert_eq!((read.xid, read.err, read.zxid), (2 * pair + 2, 0, write.zxid));
            assert_eq!(super::support::jute::In(&read.body).bytes(), value(pair));
        }
    }
    let flushes = monitored(&server, "zk_cnt_fsynctime") - flushes;
    let writes = f64::from(PAIRS * PIPELINES);
    println!("m39: {:.3} flushes a write in a pipeline of writes and reads by turns", flushes / writes);
    assert!(flushes < writes / 4.0, "{flushes} flushes for {writes} writes");
}

const READS: usize = 100_000;
const WINDOW: usize = 1_000;

/// Pipelined reads over one connection.
fn read_all(client: &mut Client) {
    let record = body::read("/m39", false);
    let window: Vec<u8> = (0..WINDOW)
        .flat_map(|xid| super::support::client::request(xid as i32 + 1, op::GET_DATA, &record))
        .collect();
    for _ in 0..READS / WINDOW {
        client.raw.send(&window);
        (0..WINDOW).for_each(|_| assert_eq!(client.reply().err, 0));
    }
}

#[test]
fn m39_reads_neither_sleep_nor_leave_their_core_nor_take_a_lock() {
    let server = start(PINNED);
    let mut client = Client::open(&server);
    client.create("/m39", &[7; 128]).unwrap();
    read_all(&mut client);

    let before = threads(&server);
    read_all(&mut client);
    let after = threads(&server);
    let sleeps = |name: &str| (after[name].sleeps - before[name].sleeps) as f64 / READS as f64;
    let shards = sleeps("shard-0") + sleeps("shard-1");
    let sequencer = sleeps("sequencer");
    println!("m39: voluntary context switches a read: shards {shards:.5}, sequencer {sequencer:.5}");
    assert!(shards < 0.1, "a shard sleeps between windows, not between reads: {shards}");
    assert!(sequencer < 0.01, "a read does not wake the sequencer: {sequencer}");

    match count_futex_calls(&server, || read_all(&mut client)) {
        Ok(calls) => {
            let of = |name: &str| *calls.get(&after[name].id).unwrap_or(&0) as f64 / READS as f64;
            let all: usize = calls.values().sum();
            println!(
                "m39: {all} futex calls in {READS} reads, shards {:.5} a read",
                of("shard-0") + of("shard-1")
            );
            assert!(of("shard-0") + of("shard-1") < 0.001, "reads take locks: {calls:?}");
        }
        Err(reason) => println!("m39: futex calls are not counted on this machine: {reason}"),
    }
}

/// futex calls by thread while `work` runs.
///
/// # Errors
/// Why this machine cannot count them.
fn count_futex_calls(server: &Server, work: impl FnOnce()) -> Result<BTreeMap<u32, usize>, String> {
    let log = server.folder().join("futex");
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=futex", "-o"])
        .arg(&log)
        .args(["-p", &server.pid().unwrap().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).map_err(|error| error.to_string())?;
    if !line.contains("attached") {
        let _ended = strace.wait();
        return Err(line.trim().to_owned());
    }
    work();
    let interrupted = Command::new("kill").args(["-INT", &strace.id().to_string()]).status();
    interrupted.map_err(|error| error.to_string())?;
    strace.wait().map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
    let mut calls = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains("futex(")) {
        if let Some(thread) = line.split_whitespace().next().and_then(|id| id.parse().ok()) {
            *calls.entry(thread).or_default() += 1;
        }
    }
    Ok(calls)
}
