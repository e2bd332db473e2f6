#![forbid(unsafe_code)]
//! How the data folder takes a durable write: found out by writing there, into a file without a name.

use std::time::Duration;

use crate::probe::Method;
use crate::setting::{Change, Finding, Lasts, Profile, Setting, Severities, Severity};

/// `O_DIRECT` and `RWF_DSYNC`.
pub static DIRECT_IO: Setting = Setting {
    name: "direct-io",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: Some(Severity::Warning),
        laptop: Some(Severity::Info),
    },
    check: |host| {
        let writes = host.durable_writes()?;
        let wanted = Method::DirectDsync.name();
        let holds = writes.iter().all(|(_, writes)| writes.method == Method::DirectDsync);
        let words: Vec<String> =
            writes.iter().map(|(at, w)| format!("{} in {}", w.method.name(), at.display())).collect();
        let finding = Finding::new(holds, words.join("; "), wanted);
        let refused = writes.iter().flat_map(|(_, writes)| &writes.refused);
        let refused: Vec<String> = refused.map(|(method, why)| format!("{}: {why}", method.name())).collect();
        Ok(if refused.is_empty() { finding } else { finding.noting(refused.join("; ")) })
    },
    change: |_| {
        Ok(Change::by_hand("put dataLogDir on ext4 or xfs, on a disk of this machine: see file-system"))
    },
    lasts: Lasts::ByHand,
    why: "one call then writes a batch and makes it durable; through the page cache the log takes two, and memory from the tree",
    undo: "move the data back",
};

/// Measured.
pub static FLUSH_LATENCY: Setting = Setting {
    name: "flush-latency",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: Some(Severity::Warning),
        laptop: None,
    },
    check: |host| {
        let (median_max, most_max) = bounds(host.options.profile);
        let mut words = Vec::new();
        let mut holds = true;
        for (folder, writes) in host.durable_writes()? {
            let (median, most) = (writes.percentile(50), writes.percentile(99));
            holds &= median <= median_max && most <= most_max;
            words.push(format!("median {}, p99 {} in {}", millis(median), millis(most), folder.display()));
        }
        let wanted = format!("median {}, p99 {} at most", millis(median_max), millis(most_max));
        Ok(Finding::new(holds, words.join("; "), wanted)
            .noting("4 KiB each, 100 of them; look again under load"))
    },
    change: |_| {
        Ok(Change::by_hand(
            "a disk of its own for dataLogDir, with power-loss protection; see write-cache, disk-scheduler and mount-options",
        ))
    },
    lasts: Lasts::ByHand,
    why: "every write waits for one flush here and on another server; a slow one of a leader is everybody's",
    undo: "nothing was changed",
};

/// Median and 99th percentile. A server's disk with a protected cache takes 0.02 to 0.2 ms, a good consumer's SSD 1 ms, a
/// turning disk 8 ms; at 1,000 ms the server warns (`fsync.warningthresholdms`).
fn bounds(profile: Profile) -> (Duration, Duration) {
    let (median, most) = if profile == Profile::Dedicated { (1, 10) } else { (5, 50) };
    (Duration::from_millis(median), Duration::from_millis(most))
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
