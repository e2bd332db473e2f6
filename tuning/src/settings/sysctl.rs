#![forbid(unsafe_code)]
//! Kernel parameters: the live value, and the one that the next boot sets from a file. Both must hold, or the host is
//! another one after its next reboot.
//!
//! At boot, `sysctl.d` folders are read in the order of the files' names, whichever folder they are in (a file in `/etc`
//! hides one of the same name elsewhere), and `/etc/sysctl.conf` last; the last assignment of a key wins
//! (sysctl.d(5), sysctl(8)). Keys with `*` in files are not followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{Host, nonsense};
use crate::setting::{Change, Edit, Finding, Stop};

/// Our file.
pub const FILE: &str = "/etc/sysctl.d/99-ringkeeper.conf";

/// Where files of parameters are; the first hides the same name in the later.
const FOLDERS: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// A parameter and what it should be.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// `vm.swappiness`.
    pub key: &'static str,
    /// What the kernel makes of it at boot when no file says anything; where that differs between kernels, the worst of
    /// those from 5.15 on. `None` when it depends on the machine: what is live is then taken for it.
    pub default: Option<u64>,
    /// What it should be.
    pub bound: Bound,
}

/// What a number should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// This or less.
    Most(u64),
    /// This or more.
    Least(u64),
}

impl Bound {
    fn admits(self, value: u64) -> bool {
        match self {
            Bound::Most(most) => value <= most,
            Bound::Least(least) => value >= least,
        }
    }

    fn target(self) -> u64 {
        match self {
            Bound::Most(target) | Bound::Least(target) => target,
        }
    }

    fn words(self) -> String {
        match self {
            Bound::Most(0) => "0".into(),
            Bound::Most(most) => format!("{most} at most"),
            Bound::Least(least) => format!("{least} at least"),
        }
    }
}

/// How a parameter stands.
struct State {
    want: Want,
    live: u64,
    /// What the next boot makes it.
    boot: u64,
    /// The file that says so, if one does.
    file: Option<PathBuf>,
}

impl State {
    fn read(host: &Host, want: Want) -> Result<State, Stop> {
        let path = live_path(want.key);
        let live = host.number(&path)?;
        let live = live.ok_or_else(|| Stop::absent(format!("this kernel has no {}", want.key)))?;
        let (boot, file) = match boot_value(host, want.key)? {
            Some((value, file)) => match value.parse() {
                Ok(value) => (value, Some(file)),
                Err(_) => return Err(nonsense(&file, &format!("{} = {value}", want.key))),
            },
            None => (want.default.unwrap_or(live), None),
        };
        Ok(State { want, live, boot, file })
    }

    fn holds(&self) -> bool {
        self.want.bound.admits(self.live) && self.want.bound.admits(self.boot)
    }

    fn words(&self) -> String {
        let Want { bound, .. } = self.want;
        match (bound.admits(self.live), bound.admits(self.boot)) {
            (true, false) => {
                let source = self.file.as_ref().map_or("no file says".into(), |f| f.display().to_string());
                format!("{}, {} from the next boot on ({source})", self.live, self.boot)
            }
            _ => self.live.to_string(),
        }
    }
}

/// Checks parameters that belong together; one that this kernel lacks is left out.
///
/// # Errors
/// All are missing, or one cannot be read.
pub fn check(host: &Host, wants: &[Want]) -> Result<Finding, Stop> {
    let states = states(host, wants)?;
    let several = states.len() > 1;
    let join = |text: &dyn Fn(&State) -> String| {
        let parts = states.iter().map(|state| match several {
            true => format!("{} = {}", state.want.key, text(state)),
            false => text(state),
        });
        parts.collect::<Vec<_>>().join("; ")
    };
    let holds = states.iter().all(State::holds);
    Ok(Finding::new(holds, join(&|s| s.words()), join(&|s| s.want.bound.words())))
}

/// The live values, and lines in our file.
///
/// # Errors
/// As [`check`].
pub fn change(host: &Host, wants: &[Want]) -> Result<Change, Stop> {
    let mut change = Change::default();
    let mut ours = host.text(FILE)?;
    let mut by_hand = Vec::new();
    for state in states(host, wants)?.iter().filter(|state| !state.holds()) {
        let Want { key, bound, .. } = state.want;
        let target = bound.target().to_string();
        if !bound.admits(state.live) {
            change.edits.push(Edit::Value { path: live_path(key), to: target.clone() });
        }
        let line = format!("{key} = {target}");
        let had = ours.as_deref().unwrap_or_default();
        if assigned(had, key).as_deref() != Some(target.as_str()) {
            let text = with_line(ours.as_deref(), key, &line);
            ours = Some(text.trim_end().to_owned());
            change.edits.push(Edit::File { path: PathBuf::from(FILE), to: text, line });
        }
        if let Some(file) = &state.file
            && file != Path::new(FILE)
            && (is_after_ours(file) && !bound.admits(state.boot))
        {
            by_hand.push(format!("{} is read after ours: take {key} out of it", file.display()));
        }
    }
    if !by_hand.is_empty() {
        change.by_hand = Some(by_hand.join("; "));
    }
    Ok(change)
}

fn states(host: &Host, wants: &[Want]) -> Result<Vec<State>, Stop> {
    let mut states = Vec::new();
    let mut absent = None;
    for want in wants {
        match State::read(host, *want) {
            Ok(state) => states.push(state),
            Err(stop @ Stop::Absent(_)) => absent = Some(stop),
            Err(stop) => return Err(stop),
        }
    }
    match absent {
        Some(stop) if states.is_empty() => Err(stop),
        _ => Ok(states),
    }
}

fn live_path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

/// What files make of a key at boot, and which file has the last word.
///
/// # Errors
/// A file cannot be read.
pub fn boot_value(host: &Host, key: &str) -> Result<Option<(String, PathBuf)>, Stop> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for name in host.names(folder)?.into_iter().filter(|name| name.ends_with(".conf")) {
            files.entry(name.clone()).or_insert_with(|| Path::new(folder).join(name));
        }
    }
    let mut found = None;
    for file in files.into_values().chain([PathBuf::from("/etc/sysctl.conf")]) {
        // A link to nowhere, or to /dev/null, is how a packaged file is switched off.
        if let Some(value) = host.lossy(&file)?.and_then(|text| assigned(&text, key)) {
            found = Some((value, file));
        }
    }
    Ok(found)
}

fn is_after_ours(file: &Path) -> bool {
    file == Path::new("/etc/sysctl.conf") || file.file_name() > Path::new(FILE).file_name()
}

/// The last value that a file's text gives a key.
fn assigned(text: &str, key: &str) -> Option<String> {
    text.lines().filter_map(|line| assignment(line, key)).next_back().map(str::to_owned)
}

/// The value, if the line assigns the key: `key = value`, dots or slashes, perhaps after a `-`.
fn assignment<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.trim_start_matches('-').split_once('=')?;
    (name.trim().replace('/', ".") == key).then_some(value.trim())
}

/// A file's text with the line in the place of earlier assignments of the key, or at its end.
fn with_line(text: Option<&str>, key: &str, line: &str) -> String {
    let head = "# Written by ringkeeper-tune apply; ringkeeper-tune apply --undo takes it back.";
    let mut lines: Vec<&str> = text.map_or_else(|| vec![head], |text| text.lines().collect());
    lines.retain(|old| assignment(old, key).is_none());
    lines.push(line);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_sysctl_reads_them() {
        let check = |line, expected| assert_eq!(assignment(line, "vm.swappiness"), expected, "{line}");
        check("vm.swappiness = 1", Some("1"));
        check("  vm/swappiness=1  ", Some("1"));
        check("-vm.swappiness =1", Some("1"));
        check("# vm.swappiness = 1", None);
        check("; vm.swappiness = 1", None);
        check("vm.swappiness", None);
        check("vm.swappiness2 = 1", None);
        assert_eq!(assigned("a = 1\nb = 2\na = 3", "a").as_deref(), Some("3"));
    }

    #[test]
    fn a_line_takes_the_place_of_its_key() {
        let first = with_line(None, "a", "a = 1");
        let both = with_line(Some(&first), "b", "b = 2");
        assert!(both.starts_with("# Written by"));
        assert!(both.ends_with("\na = 1\nb = 2\n"));
        assert!(with_line(Some(&both), "a", "a = 3").ends_with("\nb = 2\na = 3\n"));
    }
}
