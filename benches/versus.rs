//! Stock ZooKeeper and ringkeeper under the same load, A B A B in one run: throughput, latency and CPU time an
//! operation, as ratios (DESIGN §7; the load issue brings the real generator). Absolute figures mean little on a
//! machine that others use; the ratio of two neighbours in one run does.
//!
//! `cargo bench --bench versus` runs both; as a test (`cargo test --bench versus`) a few hundred operations against
//! ringkeeper alone, so that it cannot rot. `VERSUS_SECONDS` sets the length of a run (5), `VERSUS_ROUNDS` how often (3),
//! `VERSUS_ONLY=ringkeeper` leaves stock out, `VERSUS_LARGE=1` adds a million znodes and the restart with them.

#![allow(dead_code, clippy::unwrap_used)] // A driver of tests: it says what it expects by unwrapping.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::client::{Client, body, op, request};
use support::server::{Kind, Server, Setup};

/// Connections, requests in flight on each, writes among three requests, bytes of a value.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    connections: usize,
    depth: usize,
    writes_of_three: usize,
    bytes: usize,
}

const LOADS: [Load; 5] = [
    Load { name: "reads 32x8 128B", connections: 32, depth: 8, writes_of_three: 0, bytes: 128 },
    Load { name: "mix 2:1 32x8 128B", connections: 32, depth: 8, writes_of_three: 1, bytes: 128 },
    Load { name: "writes 32x8 128B", connections: 32, depth: 8, writes_of_three: 3, bytes: 128 },
    Load { name: "reads 1x1 128B", connections: 1, depth: 1, writes_of_three: 0, bytes: 128 },
    Load { name: "writes 1x1 128B", connections: 1, depth: 1, writes_of_three: 3, bytes: 128 },
];

const PLAIN: Setup = Setup { keys: &[("maxClientCnxns", "0"), ("tickTime", "2000")], properties: &[] };

#[derive(Clone, Copy, Default)]
struct Measured {
    per_second: f64,
    cpu_us: f64,
    p50_us: u64,
    p99_us: u64,
    resident_mb: f64,
}

fn main() {
    let bench = std::env::args().any(|argument| argument == "--bench");
    let seconds = env("VERSUS_SECONDS", if bench { 5.0 } else { 0.2 });
    let rounds = env("VERSUS_ROUNDS", if bench { 3.0 } else { 1.0 }) as usize;
    let only = std::env::var("VERSUS_ONLY").ok();
    let kinds: &[Kind] = match (bench, only.as_deref()) {
        (true, None) => &[Kind::Stock, Kind::Ringkeeper],
        (true, Some("stock")) => &[Kind::Stock],
        _ => &[Kind::Ringkeeper],
    };
    let servers: Vec<Server> = kinds.iter().map(|&kind| Server::start(kind, PLAIN).unwrap()).collect();
    for server in &servers {
        let mut client = Client::open(server);
        for i in 0..100 {
            client.create(format!("/k{i}"), &[b'x'; 128]).unwrap();
        }
    }
    if bench {
        // A JVM compiles what runs often: warm both alike.
        for server in &servers {
            run(server, &LOADS[1], Duration::from_secs_f64(seconds.max(3.0)));
        }
    }
    println!(
        "{:<20} {:>10} {:>10} {:>9} {:>9} {:>9} {:>8}",
        "", "", "ops/s", "cpu us", "p50 us", "p99 us", "MB"
    );
    for load in &LOADS {
        let mut medians = Vec::new();
        for server in &servers {
            medians.push((server.kind, Vec::new()));
            let _ = server;
        }
        for _ in 0..rounds {
            for (server, (_, runs)) in servers.iter().zip(&mut medians) {
                runs.push(run(server, load, Duration::from_secs_f64(seconds)));
            }
        }
        let mut rows = Vec::new();
        for (kind, mut runs) in medians {
            runs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
            let m = runs[runs.len() / 2];
            println!(
                "{:<20} {:>10} {:>10.0} {:>9.2} {:>9} {:>9} {:>8.0}",
                load.name,
                format!("{kind:?}").to_lowercase(),
                m.per_second,
                m.cpu_us,
                m.p50_us,
                m.p99_us,
                m.resident_mb
            );
            rows.push(m);
        }
        if let [stock, ours] = rows[..] {
            println!(
                "{:<20} {:>10} {:>9.2}x {:>8.3}x {:>8.2}x {:>8.2}x",
                load.name,
                "ratio",
                ours.per_second / stock.per_second,
                ours.cpu_us / stock.cpu_us,
                ours.p50_us as f64 / stock.p50_us as f64,
                ours.p99_us as f64 / stock.p99_us as f64
            );
        }
    }
    let (watchers, rounds, idle) = if bench { (1000, 11, 5000) } else { (10, 2, 50) };
    for server in &servers {
        events(server, watchers, rounds);
    }
    for server in &servers {
        sessions(server, idle);
    }
    drop(servers);
    if !bench || env("VERSUS_LARGE", 0.0) > 0.0 {
        for &kind in kinds {
            large(kind, if bench { 1_000_000 } else { 2000 });
        }
    }
}

fn env(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// CPU time of a process, microseconds, user and system.
fn cpu_us(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // USER_HZ is 100 on every Linux this runs on.
    ticks * 10_000.0
}

fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

struct Connection {
    socket: TcpStream,
    input: Vec<u8>,
    sent: VecDeque<Instant>,
    next: usize,
}

/// Closed loop over plain sockets: one thread, `depth` requests in flight on each connection.
fn run(server: &Server, load: &Load, time: Duration) -> Measured {
    // setpriv replaces itself by the server.
    let pid = server.pid().unwrap();
    let mut connections: Vec<Connection> =
        (0..load.connections).map(|i| connect(server.address(), i * 7)).collect();
    let value = vec![b'v'; load.bytes];
    let requests: Vec<(Vec<u8>, Vec<u8>)> = (0..100)
        .map(|i| {
            let path = format!("/k{i}");
            let get = request(1, op::GET_DATA, &body::read(&path, false));
            (get, request(1, op::SET_DATA, &body::set(&path, Some(&value), -1)))
        })
        .collect();
    let mut latencies = Vec::with_capacity(1 << 20);
    let began = Instant::now();
    let cpu = cpu_us(pid);
    for connection in &mut connections {
        let mut out = Vec::new();
        for _ in 0..load.depth {
            out.extend_from_slice(connection.choose(&requests, load));
            connection.sent.push_back(Instant::now());
        }
        connection.socket.write_all(&out).unwrap();
    }
    let mut scratch = vec![0; 256 << 10];
    let mut done = 0u64;
    while began.elapsed() < time {
        let mut polled: Vec<rustix::event::PollFd<'_>> = connections
            .iter()
            .map(|c| rustix::event::PollFd::new(&c.socket, rustix::event::PollFlags::IN))
            .collect();
        rustix::event::poll(&mut polled, None).unwrap();
        let ready: Vec<bool> =
            polled.iter().map(|p| p.revents().contains(rustix::event::PollFlags::IN)).collect();
        drop(polled);
        for (connection, _) in connections.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let read = connection.socket.read(&mut scratch).unwrap();
            assert!(read > 0, "the server closed a connection under load");
            connection.input.extend_from_slice(&scratch[..read]);
            let now = Instant::now();
            let (mut at, mut out) = (0, Vec::new());
            while let Some(length) = connection.input.get(at..at + 4) {
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                let Some(frame) = connection.input.get(at + 4..at + 4 + length) else { break };
                assert_eq!(&frame[12..16], [0; 4], "an error under load");
                at += 4 + length;
                done += 1;
                latencies.push((now - connection.sent.pop_front().unwrap()).as_micros() as u64);
                out.extend_from_slice(connection.choose(&requests, load));
                connection.sent.push_back(now);
            }
            connection.input.drain(..at);
            connection.socket.write_all(&out).unwrap();
        }
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = cpu_us(pid) - cpu;
    latencies.sort_unstable();
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    Measured {
        per_second: done as f64 / took,
        cpu_us: cpu / done as f64,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        resident_mb: resident_mb(pid),
    }
}

/// One change, and everybody waits for it: the time until the last watcher has its event.
fn events(server: &Server, watchers: usize, rounds: usize) {
    let pid = server.pid().unwrap();
    let mut writer = Client::open(server);
    let mut connections: Vec<Connection> = (0..watchers).map(|_| connect(server.address(), 0)).collect();
    let get = request(1, op::GET_DATA, &body::read("/k0", true));
    let (mut times, mut cpu) = (Vec::new(), 0.0);
    for _ in 0..rounds {
        for connection in &mut connections {
            connection.socket.write_all(&get).unwrap();
        }
        for connection in &mut connections {
            frame(&mut connection.socket);
        }
        let (before, began) = (cpu_us(pid), Instant::now());
        writer.set("/k0", &[b'e'; 128], -1).unwrap();
        for connection in &mut connections {
            frame(&mut connection.socket);
        }
        times.push(began.elapsed());
        cpu += cpu_us(pid) - before;
    }
    times.sort();
    println!(
        "event to {watchers} watchers: {:?} {:.1} ms (median), {:.1} us CPU an event",
        server.kind,
        times[times.len() / 2].as_secs_f64() * 1e3,
        cpu / (rounds * watchers) as f64
    );
}

/// Sessions opened one behind the other on as many connections, and what each costs while it idles.
fn sessions(server: &Server, count: usize) {
    let pid = server.pid().unwrap();
    let (before, began) = (resident_mb(pid), Instant::now());
    let mut open = Vec::with_capacity(count);
    let hello = support::jute::out()
        .int(45)
        .int(0)
        .long(0)
        .int(30_000)
        .long(0)
        .int(16)
        .bytes(&[0; 16])
        .bool(false)
        .done();
    for _ in 0..count.div_ceil(250) {
        let first = open.len();
        for _ in 0..250.min(count - first) {
            let mut socket = TcpStream::connect(server.address()).unwrap();
            socket.write_all(&hello).unwrap();
            open.push(socket);
        }
        for socket in &mut open[first..] {
            frame(socket);
        }
    }
    let took = began.elapsed().as_secs_f64();
    println!(
        "{count} sessions: {:?} {:.0} a second, {:.1} KB each",
        server.kind,
        count as f64 / took,
        (resident_mb(pid) - before).max(0.0) * 1024.0 / count as f64
    );
}

/// A million znodes of 100 bytes under 25-byte names: memory, and the time to come back after SIGKILL.
fn large(kind: Kind, znodes: usize) {
    let server = Server::start(kind, PLAIN).unwrap();
    let mut client = Client::open(&server);
    client.create("/large", b"").unwrap();
    let before = resident_mb(server.pid().unwrap());
    let began = Instant::now();
    let mut connections: Vec<Connection> = (0..8).map(|_| connect(server.address(), 0)).collect();
    let batch = 128;
    for first in (0..znodes).step_by(batch * connections.len()) {
        for (at, connection) in connections.iter_mut().enumerate() {
            let mut out = Vec::new();
            for i in first + at * batch..(first + (at + 1) * batch).min(znodes) {
                let path = format!("/large/{i:025}");
                out.extend(request(
                    1,
                    op::CREATE,
                    &body::create(path, Some(&[b'd'; 100]), &support::jute::open(), 0),
                ));
                connection.sent.push_back(began);
            }
            connection.socket.write_all(&out).unwrap();
        }
        for connection in &mut connections {
            for _ in connection.sent.drain(..) {
                assert_eq!(frame(&mut connection.socket)[12..16], [0; 4]);
            }
        }
    }
    let filled = began.elapsed().as_secs_f64();
    let resident = resident_mb(server.pid().unwrap());
    drop(connections);
    let restarting = Instant::now();
    server.restart().unwrap();
    println!(
        "{znodes} znodes: {kind:?} filled in {filled:.1} s, {resident:.0} MB resident ({:.0} B a znode), back after SIGKILL in {:.2} s with {:.0} MB",
        (resident - before) * 1048576.0 / znodes as f64,
        restarting.elapsed().as_secs_f64(),
        resident_mb(server.pid().unwrap())
    );
}

fn frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}

impl Connection {
    fn choose<'a>(&mut self, requests: &'a [(Vec<u8>, Vec<u8>)], load: &Load) -> &'a [u8] {
        self.next += 1;
        let (get, set) = &requests[(self.next * 31) % requests.len()];
        if self.next % 3 < load.writes_of_three { set } else { get }
    }
}

fn connect(address: SocketAddr, seed: usize) -> Connection {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let hello =
        support::jute::out().int(45).int(0).long(0).int(30_000).long(0).int(16).bytes(&[0; 16]).bool(false);
    socket.write_all(&hello.done()).unwrap();
    let mut welcome = [0; 41];
    socket.read_exact(&mut welcome).unwrap();
    Connection { socket, input: Vec::new(), sent: VecDeque::new(), next: seed }
}
