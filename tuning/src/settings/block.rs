#![forbid(unsafe_code)]
//! The disks under the data: how requests are ordered, and what a flush costs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::mounts::Mount;
use super::on_servers;
use crate::host::{Host, chosen, nonsense};
use crate::setting::{Change, Edit, Finding, Lasts, Setting, Severity, Stop};

/// `queue/scheduler`.
pub static SCHEDULER: Setting = Setting {
    name: "disk-scheduler",
    profiles: on_servers(Severity::Warning, Severity::Info),
    check: |host| {
        let schedulers = schedulers(host)?;
        let words: Vec<String> = schedulers.iter().map(|s| format!("{} on {}", s.current, s.disk)).collect();
        let holds = schedulers.iter().all(|s| GOOD.contains(&s.current.as_str()));
        Ok(Finding::new(holds, words.join("; "), "none or mq-deadline"))
    },
    change: |host| {
        let wrong = schedulers(host)?.into_iter().filter(|s| !GOOD.contains(&s.current.as_str()));
        let edits = wrong.filter_map(|s| {
            // A disk that seeks is served best in order; one that does not, at once.
            let best = if s.rotates { "mq-deadline" } else { "none" };
            let to = [best, "mq-deadline", "none"].into_iter().find(|word| s.available.contains(*word))?;
            Some(Edit::Value { path: s.path, to: to.to_owned() })
        });
        Ok(Change::edits(edits.collect()))
    },
    lasts: Lasts::UntilBoot,
    why: "bfq and kyber hold requests back to be fair or to keep a target; the log is one small write at a time, which should \
          leave at once",
    undo: "echo OLD > /sys/block/DISK/queue/scheduler",
};

const GOOD: [&str; 2] = ["none", "mq-deadline"];

struct Scheduler {
    disk: String,
    path: PathBuf,
    current: String,
    available: BTreeSet<String>,
    rotates: bool,
}

fn schedulers(host: &Host) -> Result<Vec<Scheduler>, Stop> {
    let mut found = Vec::new();
    for disk in disks(host)? {
        let path = PathBuf::from(format!("/sys/block/{disk}/queue/scheduler"));
        let Some(text) = host.text(&path)? else { continue };
        let current = chosen(&text).to_owned();
        if current.is_empty() || current.contains(char::is_whitespace) {
            return Err(nonsense(&path, &text));
        }
        let available =
            text.split_whitespace().map(|word| word.trim_matches(['[', ']']).to_owned()).collect();
        let rotates = host.number(format!("/sys/block/{disk}/queue/rotational"))? == Some(1);
        found.push(Scheduler { disk, path, current, available, rotates });
    }
    match found.is_empty() {
        true => Err(Stop::absent("the disk has no scheduler")),
        false => Ok(found),
    }
}

/// `queue/write_cache` and `queue/fua`.
pub static WRITE_CACHE: Setting = Setting {
    name: "write-cache",
    profiles: on_servers(Severity::Info, Severity::Info),
    check: |host| {
        let mut words = Vec::new();
        let mut holds = true;
        for disk in disks(host)? {
            let path = PathBuf::from(format!("/sys/block/{disk}/queue/write_cache"));
            let Some(text) = host.text(&path)? else { continue };
            let fua = host.number(format!("/sys/block/{disk}/queue/fua"))? == Some(1);
            let (good, word) = match (text.as_str(), fua) {
                ("write through", _) => (true, "no volatile cache"),
                ("write back", true) => (true, "volatile cache, FUA"),
                ("write back", false) => (false, "volatile cache, no FUA"),
                _ => return Err(nonsense(&path, &text)),
            };
            holds &= good;
            words.push(format!("{word} on {disk}"));
        }
        match words.is_empty() {
            true => Err(Stop::absent("the disk does not say")),
            false => Ok(Finding::new(holds, words.join("; "), "no volatile cache, or FUA")),
        }
    },
    change: |_| {
        Ok(Change::by_hand(
            "take a disk with power-loss protection for dataLogDir; never write \"write through\" into write_cache: that only \
             stops the kernel from flushing",
        ))
    },
    lasts: Lasts::ByHand,
    why: "without FUA each batch of the log is a write and a flush of the disk's whole cache, also of what others wrote",
    undo: "nothing was changed",
};

/// The disks that hold the data, below partitions, mappers and arrays.
fn disks(host: &Host) -> Result<BTreeSet<String>, Stop> {
    let mut disks = BTreeSet::new();
    for mount in Mount::of_data(host)? {
        let link = PathBuf::from(format!("/sys/dev/block/{}", mount.device));
        // btrfs, tmpfs and network file systems have numbers that are no device's.
        let Ok(target) = host.files.link(&link) else { continue };
        let names: Vec<String> = target.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let is_partition = host.exists(link.join("partition"));
        let name = if is_partition { names.iter().nth_back(1) } else { names.last() };
        if let Some(name) = name {
            below(host, name, 0, &mut disks)?;
        }
    }
    match disks.is_empty() {
        true => Err(Stop::absent("no disk of this machine is behind the data folder")),
        false => Ok(disks),
    }
}

/// Deeper than this nobody stacks devices.
const DEPTH_MAX: usize = 8;

fn below(host: &Host, name: &str, depth: usize, disks: &mut BTreeSet<String>) -> Result<(), Stop> {
    let slaves = host.names(format!("/sys/block/{name}/slaves"))?;
    if slaves.is_empty() || depth == DEPTH_MAX {
        disks.insert(name.to_owned());
        return Ok(());
    }
    for slave in slaves {
        // A slave may be a partition, which is a folder in its disk's.
        let path = PathBuf::from(format!("/sys/class/block/{slave}"));
        let disk =
            match host.exists(path.join("partition")) {
                true => host.files.link(&path).ok().and_then(|target| {
                    target.iter().nth_back(1).map(|name| name.to_string_lossy().into_owned())
                }),
                false => None,
            };
        below(host, disk.as_deref().unwrap_or(&slave), depth + 1, disks)?;
    }
    Ok(())
}
