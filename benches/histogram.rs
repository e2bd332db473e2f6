//! What it costs to count: every request is recorded in a histogram on its shard, and whoever reports merges them.
//! Relative; recording is on the way of each read and must stay far below one (`tree/…/lookup/hot`).
#![allow(clippy::unwrap_used)] // What a bench expects, it says by unwrapping, as tests do.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringkeeper::base::histogram::Latencies;

/// Latencies as they come, µs: most are short, few very long.
fn latencies() -> Vec<u64> {
    (0..1024_u64).map(|n| if n % 128 == 0 { 1000 * n } else { 20 + n * 37 % 400 }).collect()
}

fn histogram(c: &mut Criterion) {
    let mut group = c.benchmark_group("histogram");
    let latencies = latencies();
    let (mut recorded, mut count) = (Latencies::new(), 0);
    group.bench_function("record/spread=true", |b| {
        b.iter(|| {
            recorded.record(black_box(latencies[count as usize % latencies.len()]));
            count += 1;
        });
    });
    assert_eq!(recorded.count(), count);
    let mut same = Latencies::new();
    group.bench_function("record/spread=false", |b| b.iter(|| same.record(black_box(39))));
    assert_eq!(same.sum_us(), 39 * same.count());

    latencies.iter().for_each(|us| recorded.record(*us));
    let mut merged = Latencies::new();
    group.bench_function("merge", |b| {
        b.iter(|| {
            merged.reset();
            merged.merge(black_box(&recorded));
        });
        assert_eq!(merged.count(), recorded.count());
    });
    group.bench_function("quantile/q=0.99", |b| b.iter(|| recorded.quantile_us(black_box(0.99))));
    assert!(recorded.quantile_us(0.99) >= 20);
    group.finish();
}

criterion_group!(benches, histogram);
criterion_main!(benches);
