#![forbid(unsafe_code)]
//! Counting and merging.

use super::*;
use crate::base::{Millis, Zxid};
use crate::wire::OpCode;

#[test]
fn merging_two_cores_counts_what_one_core_would_have_counted() {
    let (mut one, mut a, mut b) = (ShardMetrics::default(), ShardMetrics::default(), ShardMetrics::default());
    for (at, us) in [700, 1_200, 80, 4_000_000].into_iter().enumerate() {
        for shard in [&mut one, if at % 2 == 0 { &mut a } else { &mut b }] {
            shard.packet_received(12);
            shard.request_done(OpCode::GetData, us);
            shard.reply_sent(20 + at);
            shard.read(b"/app/x", 7);
        }
    }
    a.merge(&b);
    assert_eq!(a.latency, one.latency);
    assert_eq!((a.packets_received, a.packets_sent, a.response_bytes), (4, 4, 86));
    assert_eq!((a.response_sizes.min, a.response_sizes.max), (Some(20), Some(23)));
    assert_eq!(a.operations(OpCode::GetData), 4);
    assert_eq!(a.read_latency.quantile_ms(1.0) / 100, 40);
    assert_eq!(a.update_latency.timing().us().count(), 0);
    assert!(a.reads.into_summaries().eq(one.reads.into_summaries()));
}

#[test]
fn merging_an_empty_core_does_not_lower_the_minimum() {
    let mut summary = Summary::default();
    summary.record(5);
    summary.merge(&Summary::default());
    assert_eq!((summary.min(), summary.max(), summary.count(), summary.sum()), (5, 5, 1, 5));
    let mut empty = Summary::default();
    empty.merge(&summary);
    assert_eq!(empty, summary);
}

#[test]
fn the_least_recently_used_namespace_goes_first() {
    let mut namespaces = Namespaces::default();
    for n in 0..NAMESPACES_MAX {
        namespaces.record(format!("/n{n}").as_bytes(), 1);
    }
    namespaces.record(b"/n0/again", 1);
    namespaces.record(b"/new", 1);
    namespaces.record(b"/", 1);
    assert_eq!(namespaces.dropped(), 1);
    let names: Vec<_> = namespaces.into_summaries().map(|(name, _)| name).collect();
    assert_eq!(names.len(), NAMESPACES_MAX);
    assert!(names.contains(&b"n0"[..].into()));
    assert!(names.contains(&b"new"[..].into()));
    assert!(!names.contains(&b"n1"[..].into()));
}

#[test]
fn merged_namespaces_stay_bounded() {
    let (mut a, mut b) = (Namespaces::default(), Namespaces::default());
    for n in 0..NAMESPACES_MAX {
        a.record(format!("/a{n}").as_bytes(), 1);
        b.record(format!("/b{n}").as_bytes(), 1);
    }
    a.merge(&b);
    assert_eq!(a.dropped(), NAMESPACES_MAX as u64);
    assert_eq!(a.into_summaries().count(), NAMESPACES_MAX);
}

#[test]
fn a_ping_does_not_hide_the_last_real_xid() {
    let mut stats = ConnectionStats::default();
    assert_eq!((stats.last_operation(), stats.last_cxid(), stats.last_zxid()), ("NA", None, Zxid(-1)));
    stats.answered(OpCode::SetData, 7, Zxid(9), Millis(100), 2_600);
    stats.answered(OpCode::Ping, -2, Zxid(9), Millis(200), 300);
    assert_eq!((stats.last_operation(), stats.last_cxid()), ("PING", Some(7)));
    assert_eq!((stats.last_latency_ms(), stats.avg_latency_ms(), stats.latency().max_ms()), (0, 1, 3));
    stats.packet_received();
    stats.reset();
    assert_eq!((stats.received(), stats.last_operation(), stats.avg_latency_ms()), (0, "NA", 0));
}
