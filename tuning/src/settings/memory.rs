#![forbid(unsafe_code)]
//! Memory: swap, huge pages, nodes.

use std::path::PathBuf;

use super::on_servers;
use super::sysctl::{self, Bound, Want};
use crate::host::{Host, chosen, nonsense, parse_cpu_list};
use crate::setting::{Change, Edit, Finding, Lasts, Profile, Setting, Severities, Severity, Stop};

/// `vm.swappiness`.
pub static SWAPPINESS: Setting = Setting {
    name: "swappiness",
    profiles: on_servers(Severity::Warning, Severity::Warning),
    check: |host| match has_swap(host)? {
        false => Ok(Finding::new(true, "no swap", "no swap, or vm.swappiness 1 at most")),
        true => sysctl::check(host, &[swappiness(host)]),
    },
    change: |host| sysctl::change(host, &[swappiness(host)]),
    lasts: Lasts::Always,
    why: "the tree is read with no other core waiting; a page of it that was swapped out stops a core for milliseconds",
    undo: "sysctl -w vm.swappiness=OLD, and take its line out of /etc/sysctl.d/99-ringkeeper.conf",
};

/// Other services of a shared host may want a little of it.
fn swappiness(host: &Host) -> Want {
    let most = if host.options.profile == Profile::Dedicated { 1 } else { 10 };
    Want { key: "vm.swappiness", default: Some(60), bound: Bound::Most(most) }
}

fn has_swap(host: &Host) -> Result<bool, Stop> {
    // A header, then a line for each; no such file in a kernel without swap.
    Ok(host.text("/proc/swaps")?.is_some_and(|text| text.lines().count() > 1))
}

const HUGEPAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// `/sys/kernel/mm/transparent_hugepage`.
pub static TRANSPARENT_HUGEPAGES: Setting = Setting {
    name: "transparent-hugepages",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: None,
        laptop: Some(Severity::Info),
    },
    check: check_hugepages,
    change: change_hugepages,
    lasts: Lasts::UntilBoot,
    why: "with always, a page fault may compact memory for milliseconds, and small records of the tree take 2 MiB pages",
    undo: "echo OLD > /sys/kernel/mm/transparent_hugepage/enabled (and defrag)",
};

fn hugepages(host: &Host, file: &str) -> Result<Option<(PathBuf, String)>, Stop> {
    let path = PathBuf::from(format!("{HUGEPAGES}/{file}"));
    let Some(text) = host.text(&path)? else { return Ok(None) };
    let word = chosen(&text);
    match ["always", "defer", "defer+madvise", "madvise", "never"].contains(&word) {
        true => Ok(Some((path, word.to_owned()))),
        false => Err(nonsense(&path, &text)),
    }
}

fn check_hugepages(host: &Host) -> Result<Finding, Stop> {
    let (_, enabled) = hugepages(host, "enabled")?
        .ok_or_else(|| Stop::absent("this kernel has no transparent huge pages"))?;
    let defrag = hugepages(host, "defrag")?.map(|(_, word)| word);
    let holds = enabled != "always" && defrag.as_deref() != Some("always");
    let current = match defrag {
        Some(defrag) => format!("enabled {enabled}, defrag {defrag}"),
        None => format!("enabled {enabled}"),
    };
    Ok(Finding::new(holds, current, "madvise or never, neither always"))
}

fn change_hugepages(host: &Host) -> Result<Change, Stop> {
    let mut edits = Vec::new();
    for file in ["enabled", "defrag"] {
        if let Some((path, word)) = hugepages(host, file)?
            && word == "always"
        {
            edits.push(Edit::Value { path, to: "madvise".into() });
        }
    }
    Ok(Change::edits(edits))
}

const BALANCING: Want = Want { key: "kernel.numa_balancing", default: Some(1), bound: Bound::Most(0) };
const RECLAIM: Want = Want { key: "vm.zone_reclaim_mode", default: Some(0), bound: Bound::Most(0) };

/// More than one memory node.
pub static NUMA: Setting = Setting {
    name: "numa",
    profiles: on_servers(Severity::Warning, Severity::Info),
    check: |host| {
        let nodes = host.text("/sys/devices/system/node/online")?;
        let Some(nodes) = nodes else { return Err(Stop::absent("this kernel knows no memory nodes")) };
        match parse_cpu_list(&nodes) {
            None => Err(nonsense("/sys/devices/system/node/online".as_ref(), &nodes)),
            Some(nodes) if nodes.len() < 2 => Err(Stop::absent("one memory node")),
            Some(nodes) => Ok(sysctl::check(host, &[BALANCING, RECLAIM])?.noting(format!(
                "{} nodes: keep the server on one, with CPUAffinity=numa, NUMAPolicy=bind and NUMAMask= in its unit",
                nodes.len()
            ))),
        }
    },
    change: |host| sysctl::change(host, &[BALANCING, RECLAIM]),
    lasts: Lasts::Always,
    why: "balancing unmaps pages to see who uses them: each is a fault on a core that should answer, and a reclaim of one \
          node stops who allocates while another node has room",
    undo: "sysctl -w kernel.numa_balancing=OLD vm.zone_reclaim_mode=OLD, and take the lines out of /etc/sysctl.d/99-ringkeeper.conf",
};
