#![forbid(unsafe_code)]
//! The service's unit as systemd would read it: the file and its drop-ins, the last assignment counts (systemd.unit(5)).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::setting::{Edit, Stop};

/// Where units are; the first hides the same name in the later.
const FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The name of our drop-in.
const DROP_IN: &str = "50-ringkeeper-tune.conf";

/// Whether the service has a unit here.
pub fn is_known(host: &Host) -> bool {
    FOLDERS.iter().any(|folder| host.exists(Path::new(folder).join(&host.options.unit)))
}

/// What the unit gives a key; `None` when it says nothing of it.
///
/// # Errors
/// A file cannot be read.
pub fn value(host: &Host, key: &str) -> Result<Option<String>, Stop> {
    let unit = &host.options.unit;
    let mut files: Vec<PathBuf> = Vec::new();
    files.extend(FOLDERS.iter().map(|folder| Path::new(folder).join(unit)).find(|path| host.exists(path)));
    let mut drop_ins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        let folder = Path::new(folder).join(format!("{unit}.d"));
        for name in host.names(&folder)?.into_iter().filter(|name| name.ends_with(".conf")) {
            drop_ins.entry(name.clone()).or_insert_with(|| folder.join(name));
        }
    }
    files.extend(drop_ins.into_values());
    let mut found = None;
    for file in files {
        if let Some(text) = host.lossy(&file)? {
            found = text.lines().filter_map(|line| assignment(line, key)).next_back().or(found);
        }
    }
    Ok(found)
}

/// A drop-in with this line, beside what an earlier change put there.
///
/// # Errors
/// The drop-in is there and cannot be read.
pub fn drop_in(host: &Host, key: &str, value: &str) -> Result<Edit, Stop> {
    let path = Path::new(FOLDERS[0]).join(format!("{}.d", host.options.unit)).join(DROP_IN);
    let head = "# Written by ringkeeper-tune apply; ringkeeper-tune apply --undo takes it back.\n[Service]";
    let text = host.text(&path)?;
    let mut lines: Vec<&str> = text.as_deref().map_or_else(|| vec![head], |text| text.lines().collect());
    lines.retain(|line| assignment(line, key).is_none());
    let line = format!("{key}={value}");
    lines.push(&line);
    Ok(Edit::File { path, to: lines.join("\n") + "\n", line: line.clone() })
}

fn assignment(line: &str, key: &str) -> Option<String> {
    let (name, value) = line.trim().split_once('=')?;
    (name.trim() == key).then(|| value.trim().to_owned())
}
