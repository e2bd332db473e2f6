#![forbid(unsafe_code)]
//! The gauges of quotas in `mntr`: limits and usage summed by the first component of the managed path (stock
//! `QuotaMetricsUtils`). Lives on: the shard that answers the word.
//!
//! Anybody may fill /zookeeper/quota with anything: the walk is bounded, and past the bound there are no gauges rather
//! than wrong ones.

use std::collections::BTreeMap;

use super::words::QuotaView;
use crate::base::limits::QUOTA_GAUGE_ZNODES_MAX;
use crate::pipeline::quota::{LIMITS_NAME, QUOTA_ROOT, QuotaText, STATS_NAME};
use crate::tree::View;

/// One for each namespace, in the order of their names.
pub(super) fn gauges(view: &View<'_>) -> Vec<QuotaView> {
    let mut gauges: BTreeMap<Vec<u8>, QuotaView> = BTreeMap::new();
    let mut paths = vec![QUOTA_ROOT.to_vec()];
    let mut visited = 0;
    while let Some(path) = paths.pop() {
        let Some(znode) = view.find(&path) else { continue };
        visited += 1;
        if visited + paths.len() > QUOTA_GAUGE_ZNODES_MAX {
            return Vec::new();
        }
        if znode.child_count() > 0 {
            let room = QUOTA_GAUGE_ZNODES_MAX.saturating_sub(visited + paths.len()) + 1;
            paths.extend(znode.children().take(room).map(|name| [&path, &b"/"[..], name].concat()));
            continue;
        }
        let mut components = path[QUOTA_ROOT.len()..].split(|&b| b == b'/');
        // The first is what stands before the first slash: nothing.
        let (Some(_), Some(namespace), Some(name)) =
            (components.next(), components.next(), components.next_back())
        else {
            continue;
        };
        let Some(text) = QuotaText::parse(znode.data()).filter(|_| name == LIMITS_NAME || name == STATS_NAME)
        else {
            continue;
        };
        let gauge = gauges.entry(namespace.to_vec()).or_insert_with(|| QuotaView {
            namespace: namespace.into(),
            count_limit: 0,
            bytes_limit: 0,
            count_usage: 0,
            bytes_usage: 0,
        });
        if name == LIMITS_NAME {
            gauge.count_limit += hard_or_soft(text.count_hard_limit(), text.count());
            gauge.bytes_limit += hard_or_soft(text.byte_hard_limit(), text.bytes());
        } else {
            gauge.count_usage += text.count();
            gauge.bytes_usage += text.bytes();
        }
    }
    gauges.into_values().collect()
}

fn hard_or_soft(hard: i64, soft: i64) -> i64 {
    if hard > -1 { hard } else { soft }
}
