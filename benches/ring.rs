//! The way from one core to another: the queue (`runtime/ring.rs`), the parked flag, the bell, and a sleep in io_uring
//! that a bell ends. Relative, but for the bell: it is one system call, and `limits/syscall/eventfd_write` is what it
//! cannot beat. The queue across two threads shows what a value costs when its cache line has to travel; on a machine
//! whose cores are busy it shows the scheduler instead.
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::runtime::ring::{Parked, queue};
use ringkeeper::runtime::sys::{Bell, Buffer, Ring};

/// About as large as what travels: a ticket, a zxid, a boxed body.
type Message = [u64; 8];

fn message(n: u64) -> Message {
    [n; 8]
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/push+pop");
    for batch in [1_u64, 64, 1024] {
        let (mut producer, mut consumer) = queue::<Message>();
        let mut next = 0;
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("threads=1/batch={batch}/bytes={}", size_of::<Message>()), |b| {
            b.iter(|| {
                (next..next + batch).for_each(|n| producer.push(message(n)));
                let mut popped = 0;
                while let Some(value) = consumer.pop() {
                    assert_eq!(value[7], next + popped);
                    popped += 1;
                }
                next += popped;
                assert_eq!(popped, batch);
            });
        });
    }
    let (_producer, mut consumer) = queue::<Message>();
    group.throughput(Throughput::Elements(1));
    group.bench_function("empty", |b| b.iter(|| assert!(consumer.pop().is_none())));
    group.finish();
}

/// Looks for the next value a while, then lets somebody else run.
fn popped<T: Send>(consumer: &mut ringkeeper::runtime::ring::Consumer<T>) -> T {
    loop {
        for _ in 0..1000 {
            if let Some(value) = consumer.pop() {
                return value;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }
}

/// `iterations` values there, each sent back by the other thread; up to `depth` under way.
fn across(iterations: u64, depth: u64) -> Duration {
    let (mut to, mut there) = queue::<Message>();
    let (mut back, mut from) = queue::<Message>();
    std::thread::scope(|scope| {
        scope.spawn(move || (0..iterations).for_each(|_| back.push(popped(&mut there))));
        let begun = Instant::now();
        let (mut sent, mut seen) = (0, 0);
        while seen < iterations {
            while sent < iterations && sent < seen + depth {
                to.push(message(sent));
                sent += 1;
            }
            assert_eq!(popped(&mut from)[0], seen);
            seen += 1;
        }
        begun.elapsed()
    })
}

fn two_threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/there+back");
    group.throughput(Throughput::Elements(1));
    for depth in [1, 64] {
        group.bench_function(format!("threads=2/in_flight={depth}"), |b| {
            b.iter_custom(|iterations| across(iterations, depth));
        });
    }
    group.finish();
}

/// Nothing is written here.
struct NoWrite;

impl Buffer for NoWrite {
    fn bytes(&self) -> &[u8] {
        &[]
    }
}

fn doorbell(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/doorbell");
    let parked = Parked::new();
    group.bench_function("parked=false", |b| b.iter(|| assert!(!parked.must_wake())));
    group.bench_function("parked=true", |b| {
        b.iter(|| {
            parked.park();
            assert!(parked.must_wake());
        });
    });
    let bell = Bell::new().unwrap();
    group.bench_function("bell/ring", |b| b.iter(|| bell.ring()));
    let mut ring = Ring::<NoWrite>::new(bell.clone()).unwrap();
    bell.ring();
    assert!(ring.turn(None).unwrap().bell, "the rings above are one wake");
    group.bench_function("bell/ring+wake/threads=1", |b| {
        b.iter(|| {
            bell.ring();
            assert!(ring.turn(None).unwrap().bell);
        });
    });
    group.bench_function("bell/ring+wake/threads=2", |b| b.iter_custom(between_sleepers));
    group.finish();
}

/// Two threads that sleep in their rings and wake each other in turn; time a wake, of which there are two a round.
fn between_sleepers(rounds: u64) -> Duration {
    let (mine, theirs) = (Bell::new().unwrap(), Bell::new().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (bell, answer, ended) = (theirs.clone(), mine.clone(), over.clone());
        scope.spawn(move || {
            let mut ring = Ring::<NoWrite>::new(bell).unwrap();
            loop {
                sleep(&mut ring);
                // Acquire: pairs with the Release below, though the bell orders them already.
                if ended.load(Ordering::Acquire) {
                    return;
                }
                answer.ring();
            }
        });
        let mut ring = Ring::<NoWrite>::new(mine).unwrap();
        let begun = Instant::now();
        for _ in 0..rounds {
            theirs.ring();
            sleep(&mut ring);
        }
        let took = begun.elapsed();
        over.store(true, Ordering::Release);
        theirs.ring();
        took / 2
    })
}

fn sleep(ring: &mut Ring<NoWrite>) {
    while !ring.turn(None).unwrap().bell {}
}

criterion_group!(benches, one_thread, two_threads, doorbell);
criterion_main!(benches);
