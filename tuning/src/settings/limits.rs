#![forbid(unsafe_code)]
//! Limits of a process: memory it may lock, files it may open.
//!
//! Whose? Of the running server, if `--pid` names it; else what its unit gives it, where there is a unit; else this
//! process's, which are those of a server started from the same shell. A change goes into a drop-in of the unit, or where
//! there is no unit into `limits.d`, and is in force from the next start or login on: a running process keeps its limits.

use std::path::Path;

use super::{everywhere, unit};
use crate::host::{Host, nonsense};
use crate::setting::{Change, Edit, Finding, Lasts, Profile, Setting, Severities, Severity, Stop, Verdict};

const FOLDER: &str = "/etc/security/limits.d";
const FILE: &str = "/etc/security/limits.d/90-ringkeeper.conf";

/// Memory that may be locked.
pub static MEMLOCK: Setting = Setting {
    name: "memlock",
    profiles: everywhere(Severity::Critical),
    check: |host| check(host, &Limit::memlock(host)?),
    change: |host| change(host, &Limit::memlock(host)?),
    lasts: Lasts::FromServiceStart,
    why: "buffers registered with io_uring are locked, 512 KiB a thread; with less the server ends with status 20",
    undo: "remove 50-ringkeeper-tune.conf of the unit (or /etc/security/limits.d/90-ringkeeper.conf), then systemctl daemon-reload",
};

/// Files that may be open.
pub static OPEN_FILES: Setting = Setting {
    name: "open-files",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: Some(Severity::Warning),
        laptop: Some(Severity::Info),
    },
    check: |host| check(host, &Limit::open_files()),
    change: |host| change(host, &Limit::open_files()),
    lasts: Lasts::FromServiceStart,
    why: "one descriptor a connection, and 512 of our own; past it clients are refused (the server raises the soft limit to the \
          hard one by itself)",
    undo: "remove 50-ringkeeper-tune.conf of the unit (or /etc/security/limits.d/90-ringkeeper.conf), then systemctl daemon-reload",
};

/// A limit, under its three names.
struct Limit {
    /// In `/proc/PID/limits`.
    label: &'static str,
    /// In a unit.
    unit_key: &'static str,
    /// In `limits.d`, which counts locked memory in KiB.
    item: &'static str,
    item_unit: u64,
    /// Docker's.
    ulimit: &'static str,
    /// The least that will do, in bytes or files.
    least: u64,
    /// What a change sets.
    target: &'static str,
    /// Whether the hard limit counts; else the soft one.
    hard_counts: bool,
    words: fn(u64) -> String,
}

impl Limit {
    fn memlock(host: &Host) -> Result<Limit, Stop> {
        // As the server counts before it starts: runtime/sys.rs, EXECUTOR_MEMLOCK_KIB.
        let least = host.executors()? * (512 << 10);
        Ok(Limit {
            label: "Max locked memory",
            unit_key: "LimitMEMLOCK",
            item: "memlock",
            item_unit: 1024,
            ulimit: "memlock=-1",
            least,
            target: "infinity",
            hard_counts: false,
            words: |bytes| format!("{} KiB", bytes / 1024),
        })
    }

    fn open_files() -> Limit {
        Limit {
            label: "Max open files",
            unit_key: "LimitNOFILE",
            item: "nofile",
            item_unit: 1,
            ulimit: "nofile=65536",
            least: 65_536,
            target: "65536",
            hard_counts: true,
            words: |files| files.to_string(),
        }
    }

    fn say(&self, value: u64) -> String {
        if value == u64::MAX { "unlimited".into() } else { (self.words)(value) }
    }
}

fn check(host: &Host, limit: &Limit) -> Result<Finding, Stop> {
    let wanted = format!("{} at least", limit.say(limit.least));
    let (value, whose) = match of_unit(host, limit)? {
        Some(None) if host.options.pid.is_none() => {
            let current = format!("no {} in {}", limit.unit_key, host.options.unit);
            return Ok(Finding::new(false, current, wanted));
        }
        Some(Some(value)) if host.options.pid.is_none() => (value, host.options.unit.clone()),
        _ => (of_process(host, limit)?, process_name(host)),
    };
    let mut finding =
        Finding::new(value >= limit.least, limit.say(value), wanted).noting(format!("of {whose}"));
    if finding.verdict == Verdict::Fails && is_in_a_file(host, limit)? {
        finding.verdict = Verdict::Pending;
        finding.note = Some(format!("of {whose}; a file gives enough to the next one that starts"));
    }
    Ok(finding)
}

fn change(host: &Host, limit: &Limit) -> Result<Change, Stop> {
    if host.options.profile == Profile::Container {
        return Ok(Change::by_hand(format!(
            "docker run --ulimit {}; for Kubernetes, in the runtime's own unit",
            limit.ulimit
        )));
    }
    if unit::is_known(host) {
        return Ok(Change::edits(vec![unit::drop_in(host, limit.unit_key, limit.target)?]));
    }
    if !host.has_folder(FOLDER) {
        return Ok(Change::by_hand(format!(
            "{}={} in the unit, or ulimit in a shell",
            limit.unit_key, limit.target
        )));
    }
    let head = "# Written by ringkeeper-tune apply; ringkeeper-tune apply --undo takes it back.";
    let text = host.text(FILE)?;
    let mut lines: Vec<&str> = text.as_deref().map_or_else(|| vec![head], |text| text.lines().collect());
    let user = &host.options.user;
    lines.retain(|line| item(line, user, limit.item).is_none());
    let target = if limit.target == "infinity" { "unlimited" } else { limit.target };
    let line = format!("{user} - {} {target}", limit.item);
    lines.push(&line);
    let to = lines.join("\n") + "\n";
    Ok(Change::edits(vec![Edit::File { path: FILE.into(), to, line: line.clone() }]))
}

fn process_name(host: &Host) -> String {
    host.options.pid.map_or("this process".into(), |pid| format!("process {pid}"))
}

/// From `/proc/PID/limits`: a name of fixed width, then soft and hard limit.
fn of_process(host: &Host, limit: &Limit) -> Result<u64, Stop> {
    let path = host.process("limits");
    let text = host.text(&path)?.ok_or_else(|| match host.options.pid {
        Some(pid) => Stop::unknown(format!("there is no process {pid}")),
        None => Stop::absent("limits of a process, and no process runs under another root"),
    })?;
    let line = text.lines().find_map(|line| line.strip_prefix(limit.label));
    let line = line.ok_or_else(|| nonsense(&path, &text))?;
    let mut fields = line.split_whitespace();
    let field = if limit.hard_counts { fields.nth(1) } else { fields.next() };
    match field {
        Some("unlimited") => Ok(u64::MAX),
        Some(number) => number.parse().map_err(|_| nonsense(&path, line)),
        None => Err(nonsense(&path, line)),
    }
}

/// `None`: no unit here. `Some(None)`: a unit that says nothing of it.
fn of_unit(host: &Host, limit: &Limit) -> Result<Option<Option<u64>>, Stop> {
    if !unit::is_known(host) {
        return Ok(None);
    }
    let Some(text) = unit::value(host, limit.unit_key)?.filter(|text| !text.is_empty()) else {
        return Ok(Some(None));
    };
    let (soft, hard) = text.split_once(':').unwrap_or((&text, &text));
    let value = parse_limit(if limit.hard_counts { hard } else { soft });
    let unit = Path::new(&host.options.unit);
    value.map(|value| Some(Some(value))).ok_or_else(|| nonsense(unit, &format!("{}={text}", limit.unit_key)))
}

/// `infinity`, or a number with K, M, G or T (systemd.exec(5)).
fn parse_limit(text: &str) -> Option<u64> {
    if text == "infinity" {
        return Some(u64::MAX);
    }
    let shift = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Whether a file that is read at the next start or login gives enough.
fn is_in_a_file(host: &Host, limit: &Limit) -> Result<bool, Stop> {
    if let Some(Some(value)) = of_unit(host, limit)? {
        return Ok(value >= limit.least);
    }
    let Some(text) = host.text(FILE)? else { return Ok(false) };
    let value = text.lines().filter_map(|line| item(line, &host.options.user, limit.item)).next_back();
    Ok(value.is_some_and(|value| match value {
        "unlimited" | "infinity" | "-1" => true,
        number => number.parse::<u64>().is_ok_and(|n| n.saturating_mul(limit.item_unit) >= limit.least),
    }))
}

/// The value of a line of limits.conf(5): user, type, item, value.
fn item<'a>(line: &'a str, user: &str, item: &str) -> Option<&'a str> {
    let mut fields = line.split_whitespace();
    let is_it = fields.next() == Some(user) && fields.next() == Some("-") && fields.next() == Some(item);
    if is_it { fields.next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_units() {
        let check = |text, expected| assert_eq!(parse_limit(text), expected, "{text}");
        check("infinity", Some(u64::MAX));
        check("65536", Some(65_536));
        check("8M", Some(8 << 20));
        check("1T", Some(1 << 40));
        for nonsense in ["", "M", "x", "-1", "99999999999T", "8m"] {
            check(nonsense, None);
        }
    }
}
