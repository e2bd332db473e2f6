#![forbid(unsafe_code)]
//! A control group's limit of processor time, which stops every thread at once when it is used up.

use std::path::{Path, PathBuf};

use super::unit;
use crate::host::{Host, nonsense};
use crate::setting::{Change, Finding, Lasts, Setting, Severities, Severity, Stop};

/// `cpu.max`, or `cpu.cfs_quota_us` of version 1.
pub static CPU_QUOTA: Setting = Setting {
    name: "cpu-quota",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: Some(Severity::Warning),
        laptop: None,
    },
    check,
    change: |_| {
        Ok(Change::by_hand(
            "give cores and not shares of time: AllowedCPUs= in place of CPUQuota= in the unit, --cpuset-cpus in place of \
             --cpus, Kubernetes' static CPU manager with whole cores",
        ))
    },
    lasts: Lasts::ByHand,
    why: "a quota that is used up stops all threads until the next period, up to 100 ms: sessions expire, leaders change",
    undo: "set the quota again",
};

/// A quota, and whose.
struct Quota {
    group: PathBuf,
    /// In thousandths of a core.
    millicores: u64,
    /// How often it stopped its threads.
    throttled: Option<u64>,
}

fn check(host: &Host) -> Result<Finding, Stop> {
    let wanted = "no quota";
    // Without a process the unit's word counts: this process is in another group.
    if host.options.pid.is_none()
        && let Some(quota) = unit::value(host, "CPUQuota")?.filter(|quota| !quota.is_empty())
    {
        return Ok(Finding::new(false, format!("CPUQuota={quota} in {}", host.options.unit), wanted));
    }
    let Some(quota) = smallest(host)? else { return Ok(Finding::new(true, wanted, wanted)) };
    let cores = format!("{}.{:02} cores", quota.millicores / 1000, quota.millicores % 1000 / 10);
    let finding = Finding::new(false, cores, wanted);
    let group = quota.group.display();
    Ok(match quota.throttled {
        Some(times) => finding.noting(format!("of the group {group}, stopped {times} times so far")),
        None => finding.noting(format!("of the group {group}")),
    })
}

/// The tightest quota of the process's group and those above it.
fn smallest(host: &Host) -> Result<Option<Quota>, Stop> {
    let path = host.process("cgroup");
    let text = host.text(&path)?.ok_or_else(|| Stop::absent("this kernel has no control groups"))?;
    let mut quotas = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(nonsense(&path, line));
        };
        // Version 2 names no controllers. Where both are mounted, version 2 may be below `unified`; a quota is then in
        // version 1.
        let roots: &[&str] = match controllers {
            "" => &["/sys/fs/cgroup"],
            _ if controllers.split(',').any(|name| name == "cpu") => {
                &["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]
            }
            _ => continue,
        };
        for root in roots {
            // In a container without a namespace of its own the path is the host's, and only the root is there.
            for group in Path::new(group).ancestors() {
                let folder = Path::new(root).join(group.strip_prefix("/").unwrap_or(group));
                quotas.extend(quota(host, &folder, group)?);
            }
        }
    }
    Ok(quotas.into_iter().min_by_key(|quota| quota.millicores))
}

fn quota(host: &Host, folder: &Path, group: &Path) -> Result<Option<Quota>, Stop> {
    let (limit, period) = if let Some(text) = host.text(folder.join("cpu.max"))? {
        match text.split_once(' ') {
            Some(("max", _)) => return Ok(None),
            Some((limit, period)) => match (limit.parse::<u64>(), period.parse::<u64>()) {
                (Ok(limit), Ok(period)) if period > 0 => (limit, period),
                _ => return Err(nonsense(&folder.join("cpu.max"), &text)),
            },
            None => return Err(nonsense(&folder.join("cpu.max"), &text)),
        }
    } else {
        match host.text(folder.join("cpu.cfs_quota_us"))?.as_deref() {
            None | Some("-1") => return Ok(None),
            Some(text) => {
                let limit = text.parse().map_err(|_| nonsense(&folder.join("cpu.cfs_quota_us"), text))?;
                let period = host.number(folder.join("cpu.cfs_period_us"))?.unwrap_or(100_000);
                (limit, period.max(1))
            }
        }
    };
    let stat = host.text(folder.join("cpu.stat"))?.unwrap_or_default();
    let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok());
    let millicores = limit.saturating_mul(1000) / period;
    Ok(Some(Quota { group: group.to_owned(), millicores, throttled }))
}
