#![forbid(unsafe_code)]
//! Whether the server may use io_uring: the kernel's switch, and the calls themselves, which a seccomp profile may refuse.

use super::sysctl::{self, Bound, Want};
use super::{everywhere, unit};
use crate::host::Host;
use crate::probe::Refused;
use crate::setting::{Change, Finding, Lasts, Setting, Severity, Stop, Verdict};

const DISABLED: Want = Want { key: "kernel.io_uring_disabled", default: Some(0), bound: Bound::Most(0) };

/// `kernel.io_uring_disabled`.
pub static SYSCTL: Setting = Setting {
    name: "io-uring-sysctl",
    profiles: everywhere(Severity::Critical),
    check: check_sysctl,
    change: |host| sysctl::change(host, &[DISABLED]),
    lasts: Lasts::Always,
    why: "with 2 nobody may use io_uring, with 1 only members of kernel.io_uring_group: the server ends with status 20",
    undo: "sysctl -w kernel.io_uring_disabled=OLD, and take its line out of /etc/sysctl.d/99-ringkeeper.conf",
};

fn check_sysctl(host: &Host) -> Result<Finding, Stop> {
    let finding = match sysctl::check(host, &[DISABLED]) {
        // The switch came with Linux 6.6.
        Err(Stop::Absent(_)) => {
            return Err(Stop::absent("this kernel has no switch for io_uring (Linux before 6.6): it is on"));
        }
        finding => finding?,
    };
    let boot = sysctl::boot_value(host, DISABLED.key)?.map(|(value, _)| value);
    if finding.current != "1" || boot.as_deref() == Some("2") {
        return Ok(finding);
    }
    Ok(match member(host)? {
        Some(member) => Finding { verdict: Verdict::Holds, current: format!("1, and {member}"), ..finding },
        None => finding.noting("to admit the server alone: its group into kernel.io_uring_group"),
    })
}

/// With 1, members of a group are admitted: whether the server's user is one, in words.
fn member(host: &Host) -> Result<Option<String>, Stop> {
    // -1: nobody.
    let Some(group) = host.text("/proc/sys/kernel/io_uring_group")?.and_then(|text| text.parse::<u32>().ok())
    else {
        return Ok(None);
    };
    let user = unit::value(host, "User")?.unwrap_or_else(|| host.options.user.clone());
    let group = group.to_string();
    let is_users = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.first() == Some(&user.as_str()) && fields.get(3) == Some(&group.as_str())
    };
    let lists_user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.get(2) == Some(&group.as_str())
            && fields.get(3).is_some_and(|users| users.split(',').any(|name| name == user))
    };
    let users = host.lossy("/etc/passwd")?.unwrap_or_default();
    let groups = host.lossy("/etc/group")?.unwrap_or_default();
    let is_member = users.lines().any(is_users) || groups.lines().any(lists_user);
    Ok(is_member.then(|| format!("{user} is in group {group}")))
}

/// The three calls, tried.
pub static TRIED: Setting = Setting {
    name: "io-uring-tried",
    profiles: everywhere(Severity::Critical),
    check: tried,
    change: |host| match host.probe()?.io_uring() {
        Ok(()) => Ok(Change::default()),
        Err(refused) => Ok(Change::by_hand(cure(&refused))),
    },
    lasts: Lasts::ByHand,
    why: "shards and the log run on io_uring: refused by a seccomp profile or an old kernel, the server ends with status 20",
    undo: "start the container without the profile, or the service without its drop-in",
};

fn tried(host: &Host) -> Result<Finding, Stop> {
    let wanted = "io_uring_setup, _enter and _register allowed";
    Ok(match host.probe()?.io_uring() {
        Ok(()) => {
            Finding::new(true, "allowed", wanted).noting("to this process; a unit or a container may differ")
        }
        Err(Refused { call, error }) => Finding::new(false, format!("{call}: error {error}"), wanted),
    })
}

fn cure(refused: &Refused) -> &'static str {
    use rustix::io::Errno;
    let is = |errno: Errno| refused.error == errno.raw_os_error();
    if is(Errno::NOSYS) {
        "Linux 5.15 or later, built with CONFIG_IO_URING; some sandboxes answer the same: allow the three calls there"
    } else if is(Errno::NOMEM) {
        "raise the limit of locked memory: see memlock"
    } else if is(Errno::MFILE) || is(Errno::NFILE) {
        "raise the limit of open files: see open-files"
    } else {
        "see io-uring-sysctl first; if that holds, a seccomp profile refuses: in a container start it with \
         --security-opt seccomp=seccomp-io-uring.json (tuning/), in a unit allow SystemCallFilter=@aio"
    }
}
