#![forbid(unsafe_code)]
//! The file system under the data, and how it is mounted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::everywhere;
use crate::host::{Host, nonsense};
use crate::setting::{Change, Finding, Lasts, Setting, Severities, Severity, Stop};

/// A mount, from `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Major and minor number of the device.
    pub device: String,
    /// Where.
    pub point: PathBuf,
    /// ext4.
    pub kind: String,
    /// Options, of the mount and of the file system.
    pub options: BTreeSet<String>,
}

impl Mount {
    /// The mount that holds a path.
    ///
    /// # Errors
    /// Nothing is there, or the kernel does not say.
    pub fn of(host: &Host, path: &Path) -> Result<Mount, Stop> {
        let there = host.files.resolve(path);
        let there =
            there.map_err(|error| Stop::unknown(format!("data folder {}: {error}", path.display())))?;
        let table = Path::new("/proc/self/mountinfo");
        let text = host.lossy(table)?.ok_or_else(|| Stop::absent("no table of mounts here"))?;
        let mut best: Option<Mount> = None;
        for line in text.lines() {
            let mount = Mount::parse(line).ok_or_else(|| nonsense(table, line))?;
            let length = |mount: &Mount| mount.point.components().count();
            // A later line covers an earlier one at the same place.
            if there.starts_with(&mount.point)
                && best.as_ref().is_none_or(|best| length(best) <= length(&mount))
            {
                best = Some(mount);
            }
        }
        best.ok_or_else(|| Stop::unknown(format!("{} is on no mount", path.display())))
    }

    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, any number of tags before the
    /// hyphen.
    fn parse(line: &str) -> Option<Mount> {
        let (own, system) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(2);
        let (device, _, point, options) = (own.next()?, own.next()?, own.next()?, own.next()?);
        let mut system = system.split(' ');
        let (kind, _, more) = (system.next()?, system.next()?, system.next()?);
        Some(Mount {
            device: device.to_owned(),
            point: PathBuf::from(unescape(point)),
            kind: kind.to_owned(),
            options: options.split(',').chain(more.split(',')).map(str::to_owned).collect(),
        })
    }

    /// The mounts of all data folders, each once.
    ///
    /// # Errors
    /// As [`Mount::of`].
    pub fn of_data(host: &Host) -> Result<Vec<Mount>, Stop> {
        let mut mounts: Vec<Mount> = Vec::new();
        for folder in host.data()? {
            let mount = Mount::of(host, folder)?;
            if !mounts.contains(&mount) {
                mounts.push(mount);
            }
        }
        Ok(mounts)
    }
}

/// Spaces and the like are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// ext4 or xfs.
pub static FILE_SYSTEM: Setting = Setting {
    name: "file-system",
    profiles: Severities {
        dedicated: Some(Severity::Critical),
        shared: Some(Severity::Critical),
        container: Some(Severity::Critical),
        laptop: Some(Severity::Warning),
    },
    check: |host| {
        let mounts = Mount::of_data(host)?;
        let holds = mounts.iter().all(|mount| KINDS.contains(&mount.kind.as_str()));
        let words: Vec<String> =
            mounts.iter().map(|m| format!("{} on {}", m.kind, m.point.display())).collect();
        let finding = Finding::new(holds, words.join("; "), "ext4 or xfs");
        Ok(match mounts.iter().find_map(|mount| what_is_wrong(&mount.kind)) {
            Some(wrong) => finding.noting(wrong),
            None => finding,
        })
    },
    change: |_| {
        Ok(Change::by_hand(
            "put dataDir and dataLogDir on ext4 or xfs (in a container: on a volume); stop the server, copy, start it",
        ))
    },
    lasts: Lasts::ByHand,
    why: "what is acknowledged must survive a power cut, and the log is written with O_DIRECT; the others lose it, refuse it, or \
          copy on each write",
    undo: "move the data back",
};

const KINDS: [&str; 2] = ["ext4", "xfs"];

fn what_is_wrong(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ext4" | "xfs" => return None,
        "tmpfs" | "ramfs" => "in memory: all is lost with the power",
        "overlay" | "aufs" => "the container's own layer: gone with the container",
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" => {
            "over a network or another system: a flush means what that side makes of it"
        }
        "btrfs" | "zfs" | "bcachefs" => {
            "copies on write: each flush writes a tree of blocks, and segments fragment"
        }
        _ => "never tried",
    })
}

/// Barriers, which some switch off.
pub static WRITE_BARRIERS: Setting = Setting {
    name: "write-barriers",
    profiles: everywhere(Severity::Critical),
    check: |host| {
        let off = options(host, |option| ["nobarrier", "barrier=0"].contains(&option))?;
        let current = if off.is_empty() { "on".to_owned() } else { off.join("; ") };
        Ok(Finding::new(off.is_empty(), current, "on"))
    },
    change: |_| {
        Ok(Change::by_hand("mount -o remount,barrier=1 MOUNT, and nobarrier or barrier=0 out of /etc/fstab"))
    },
    lasts: Lasts::ByHand,
    why: "without barriers a flush leaves data in the disk's own cache: a power cut loses acknowledged writes",
    undo: "put the option back into /etc/fstab",
};

/// Options that cost.
pub static MOUNT_OPTIONS: Setting = Setting {
    name: "mount-options",
    profiles: everywhere(Severity::Info),
    check: |host| {
        let costly = options(host, |option| COSTLY.contains(&option))?;
        let current = if costly.is_empty() { "none of them".to_owned() } else { costly.join("; ") };
        Ok(Finding::new(costly.is_empty(), current, format!("none of {}", COSTLY.join(", "))))
    },
    change: |_| {
        Ok(Change::by_hand("change /etc/fstab and remount; for discard enable fstrim.timer in its place"))
    },
    lasts: Lasts::ByHand,
    why: "discard trims in the way of a flush, data=journal writes everything twice, sync and strictatime write more often",
    undo: "put the option back into /etc/fstab",
};

const COSTLY: [&str; 5] = ["discard", "data=journal", "sync", "dirsync", "strictatime"];

/// Options of the data's mounts that a test picks, with where.
fn options(host: &Host, is_picked: fn(&str) -> bool) -> Result<Vec<String>, Stop> {
    let mut found = Vec::new();
    for mount in Mount::of_data(host)? {
        let picked = mount.options.iter().filter(|option| is_picked(option));
        found.extend(picked.map(|option| format!("{option} on {}", mount.point.display())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table() {
        let mount =
            Mount::parse(r"36 35 98:0 /a /m\040n rw,noatime shared:1 master:2 - ext4 /dev/x rw,barrier=0")
                .unwrap();
        assert_eq!((mount.device.as_str(), mount.kind.as_str()), ("98:0", "ext4"));
        assert_eq!(mount.point, Path::new("/m n"));
        assert_eq!(mount.options.iter().collect::<Vec<_>>(), ["barrier=0", "noatime", "rw"]);
        for nonsense in ["", "36 35 98:0 / /m rw", "1 2 3:4 / - ext4", "a - b"] {
            assert_eq!(Mount::parse(nonsense), None, "{nonsense}");
        }
        assert_eq!(unescape(r"a\011b\"), "a\tb\\");
    }
}
