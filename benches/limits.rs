//! What this machine can do at all, measured without a line of the server: the echo of a message over loopback with
//! epoll, one durable write, a copy, a read that no cache holds, a system call. Absolute numbers, of this machine and
//! this moment; the other benches are read beside them (`benches/report`), since a share of a limit travels between
//! machines and a time does not.
//!
//! Files are made where cargo builds, so put `target/` on the disk whose limit is wanted. A durable write goes over bytes
//! that were written before, as into a log segment made ahead: no block is allocated, no size changes.
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

/// Bytes of an echoed message: about a request of getData and its answer.
const MESSAGE: usize = 128;
/// Bytes of a durable write: one block of the log.
const BLOCK: usize = 4096;
const FILE_BLOCKS: u64 = 1024;

fn is_tiny() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// Sockets that do not block, and the epoll that watches them for reading, level-triggered.
struct Ends {
    epoll: OwnedFd,
    streams: Vec<TcpStream>,
}

impl Ends {
    fn over(streams: Vec<TcpStream>) -> Ends {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        for (at, stream) in streams.iter().enumerate() {
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            epoll::add(&epoll, stream, EventData::new_u64(at as u64), EventFlags::IN).unwrap();
        }
        Ends { epoll, streams }
    }

    /// Waits, then hands each readable end to `take`, which gives `false` when the end is closed.
    fn turn(&mut self, take: &mut impl FnMut(usize, &mut TcpStream) -> bool) -> usize {
        let mut events = Vec::with_capacity(64);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Err(Errno::INTR) => {}
                waited => break waited.map(|_| ()).unwrap(),
            }
        }
        let mut closed = 0;
        for event in &events {
            let at = event.data.u64() as usize;
            if !take(at, &mut self.streams[at]) {
                epoll::delete(&self.epoll, &self.streams[at]).unwrap();
                closed += 1;
            }
        }
        closed
    }
}

/// What a read gives: bytes, nothing yet, or `None` at the end.
fn received(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    match stream.read(buffer) {
        Ok(0) => None,
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
        Err(error) => panic!("loopback: {error}"),
    }
}

/// Sends back whatever comes until every peer has closed. What is in flight is far below a socket's buffer, so that a
/// write never blocks.
fn serve(streams: Vec<TcpStream>) {
    let mut open = streams.len();
    let mut ends = Ends::over(streams);
    let mut buffer = vec![0; 64 << 10];
    while open > 0 {
        open -= ends.turn(&mut |_, stream| {
            let Some(bytes) = received(stream, &mut buffer) else { return false };
            stream.write_all(&buffer[..bytes]).unwrap();
            true
        });
    }
}

/// Sends `messages` over all connections, each with up to `depth` unanswered, and waits for every answer.
fn ask(ends: &mut Ends, depth: usize, messages: u64) -> Duration {
    let request = vec![b'x'; depth * MESSAGE];
    let mut buffer = vec![0; 64 << 10];
    let mut answered_bytes = vec![0_usize; ends.streams.len()];
    let (mut left, mut answered) = (messages, 0);
    let begun = Instant::now();
    let send = |stream: &mut TcpStream, wanted: usize, left: &mut u64| {
        let now = (*left).min(wanted as u64);
        *left -= now;
        if now > 0 {
            stream.write_all(&request[..now as usize * MESSAGE]).unwrap();
        }
    };
    ends.streams.iter_mut().for_each(|stream| send(stream, depth, &mut left));
    while answered < messages {
        ends.turn(&mut |at, stream| {
            let bytes = received(stream, &mut buffer).unwrap();
            assert!(buffer[..bytes].iter().all(|byte| *byte == b'x'));
            answered_bytes[at] += bytes;
            let whole = answered_bytes[at] / MESSAGE;
            answered_bytes[at] %= MESSAGE;
            answered += whole as u64;
            send(stream, whole, &mut left);
            true
        });
    }
    begun.elapsed()
}

fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits/echo");
    group.throughput(Throughput::Elements(1));
    for (connections, depth) in [(1, 1), (32, 8)] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let pair = |_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        let (asking, serving): (Vec<_>, Vec<_>) = (0..connections).map(pair).unzip();
        let server = std::thread::spawn(move || serve(serving));
        let mut ends = Ends::over(asking);
        let name = format!("connections={connections}/depth={depth}/bytes={MESSAGE}");
        group.bench_function(name, |b| b.iter_custom(|messages| ask(&mut ends, depth, messages)));
        drop(ends);
        server.join().unwrap();
    }
    group.finish();
}

#[derive(Clone, Copy, Debug)]
enum Flush {
    DirectDsync,
    BufferedDsync,
    BufferedFdatasync,
}

impl Flush {
    /// `None` where the file system takes no direct writes.
    fn open(self, path: &std::path::Path) -> Option<File> {
        let mut options = OpenOptions::new();
        options.write(true);
        if matches!(self, Flush::DirectDsync) {
            options.custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
        }
        match options.open(path) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => None,
            opened => Some(opened.unwrap()),
        }
    }

    fn write(self, file: &File, bytes: &[u8], at: u64) -> usize {
        let slices = [IoSlice::new(bytes)];
        match self {
            Flush::DirectDsync | Flush::BufferedDsync => {
                pwritev2(file, &slices, at, ReadWriteFlags::DSYNC).unwrap()
            }
            Flush::BufferedFdatasync => {
                let written = pwritev2(file, &slices, at, ReadWriteFlags::empty()).unwrap();
                rustix::fs::fdatasync(file).unwrap();
                written
            }
        }
    }
}

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits/flush");
    group.sample_size(20);
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = temporary.path().join("flushed");
    let mut written = File::create(&path).unwrap();
    (0..FILE_BLOCKS).for_each(|_| written.write_all(&[1; BLOCK]).unwrap());
    written.sync_all().unwrap();
    // Direct writes want memory on a block's boundary.
    let memory = vec![7_u8; 2 * BLOCK];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let block = &memory[aligned..aligned + BLOCK];
    for method in [Flush::DirectDsync, Flush::BufferedDsync, Flush::BufferedFdatasync] {
        let Some(file) = method.open(&path) else {
            println!("limits/flush: no direct writes on this file system");
            continue;
        };
        let mut at = 0;
        group.throughput(Throughput::Bytes(BLOCK as u64));
        group.bench_function(format!("method={method:?}/bytes={BLOCK}"), |b| {
            b.iter(|| {
                at = (at + 1) % FILE_BLOCKS;
                assert_eq!(method.write(&file, block, at * BLOCK as u64), BLOCK);
            });
        });
    }
    group.finish();
}

fn memcpy(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits/memcpy");
    for bytes in [64_usize, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
        let from = vec![3_u8; bytes];
        let mut to = vec![0_u8; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("bytes={bytes}"), |b| {
            b.iter(|| {
                black_box(&mut to[..]).copy_from_slice(black_box(&from));
                black_box(&to);
            });
            assert_eq!(to, from);
        });
    }
    group.finish();
}

/// Each read depends on the one before it and goes where no prefetcher follows: a walk over one cycle through all lines.
fn memory(c: &mut Criterion) {
    const LINE_WORDS: usize = 8;
    let mut group = c.benchmark_group("limits/memory");
    let mib: usize = if is_tiny() { 1 } else { 256 };
    let lines = (mib << 20) / (8 * LINE_WORDS);
    // With an odd addend and a multiplier one above a multiple of four, a linear congruence modulo a power of two visits
    // every line before it comes back (Hull and Dobell).
    let next = |line: usize| line.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(3_037_000_493) % lines;
    let mut memory = vec![0_usize; lines * LINE_WORDS];
    (0..lines).for_each(|line| memory[line * LINE_WORDS] = next(line) * LINE_WORDS);
    let mut at = 0;
    group.bench_function(format!("read/random/mib={mib}"), |b| {
        b.iter(|| {
            at = memory[at];
            black_box(at)
        });
    });
    let mut visited = vec![false; lines];
    let mut walk = 0;
    (0..lines).for_each(|_| {
        visited[walk / LINE_WORDS] = true;
        walk = memory[walk];
    });
    assert!(visited.iter().all(|line| *line));
    group.finish();
}

fn system_call(c: &mut Criterion) {
    let mut group = c.benchmark_group("limits/syscall");
    let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
    group.bench_function("eventfd_write", |b| {
        b.iter(|| assert_eq!(rustix::io::write(&fd, &1_u64.to_ne_bytes()), Ok(8)));
        let mut counted = [0; 8];
        assert_eq!(rustix::io::read(&fd, &mut counted), Ok(8));
        assert!(u64::from_ne_bytes(counted) > 0);
    });
    group.finish();
}

criterion_group!(benches, echo, flush, memcpy, memory, system_call);
criterion_main!(benches);
