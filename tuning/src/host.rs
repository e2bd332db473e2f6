#![forbid(unsafe_code)]
//! The host as the checks see it: its files, what can be tried on it, and what the operator said about it.

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

use crate::files::{Files, Kind};
use crate::probe::{DurableWrites, Probe};
use crate::setting::{Profile, Stop};

/// What the operator said, or what stands in for it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the host is for.
    pub profile: Profile,
    /// `dataDir` and `dataLogDir`.
    pub data: Vec<PathBuf>,
    /// A server that runs: its limits and its place count, not those of a unit or of this process.
    pub pid: Option<u32>,
    /// The service.
    pub unit: String,
    /// Who runs the server where there is no service.
    pub user: String,
}

/// A host.
pub struct Host {
    /// Its files.
    pub files: Box<dyn Files>,
    /// What can be tried on it; `None` where there is nothing to try: another root, or the operator said not to.
    pub probe: Option<Box<dyn Probe>>,
    /// What the operator said.
    pub options: Options,
    /// Measured once, though two settings look at it.
    writes: OnceCell<Vec<(PathBuf, DurableWrites)>>,
}

impl Host {
    /// A host; nothing is looked at yet.
    pub fn new(files: Box<dyn Files>, probe: Option<Box<dyn Probe>>, options: Options) -> Host {
        Host { files, probe, options, writes: OnceCell::new() }
    }

    /// A file's text without white space at its ends; `None` if it is not there.
    ///
    /// # Errors
    /// It is there and cannot be read, or is no text.
    pub fn text(&self, path: impl AsRef<Path>) -> Result<Option<String>, Stop> {
        let path = path.as_ref();
        let bytes = match self.files.read(path) {
            Ok(bytes) => bytes,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(unreadable(path, &error)),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err(Stop::unknown(format!("{} is no text", path.display()))),
        }
    }

    /// The same of a file in which others may have written anything: what is not UTF-8 reads as replacement characters.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn lossy(&self, path: impl AsRef<Path>) -> Result<Option<String>, Stop> {
        let path = path.as_ref();
        match self.files.read(path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// A number from a file; `None` if it is not there.
    ///
    /// # Errors
    /// As [`Host::text`], and when it is no number.
    pub fn number(&self, path: impl AsRef<Path>) -> Result<Option<u64>, Stop> {
        let path = path.as_ref();
        let Some(text) = self.text(path)? else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(nonsense(path, &text)),
        }
    }

    /// Whether anything is there.
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.files.kind(path.as_ref()).is_ok()
    }

    /// Whether a folder is there.
    pub fn has_folder(&self, path: impl AsRef<Path>) -> bool {
        self.files.kind(path.as_ref()).is_ok_and(|kind| kind == Kind::Folder)
    }

    /// Names in a folder; none if it is not there.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn names(&self, path: impl AsRef<Path>) -> Result<Vec<String>, Stop> {
        let path = path.as_ref();
        match self.files.names(path) {
            Ok(names) => Ok(names),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(unreadable(path, &error)),
        }
    }

    /// `/proc/PID` of the server, or of this process.
    pub fn process(&self, file: &str) -> PathBuf {
        match self.options.pid {
            Some(pid) => PathBuf::from(format!("/proc/{pid}/{file}")),
            None => PathBuf::from(format!("/proc/self/{file}")),
        }
    }

    /// The cores that are online, in order.
    ///
    /// # Errors
    /// [`Stop::Absent`] when the kernel does not say, as below another root; [`Stop::Unknown`] when it says nonsense.
    pub fn cores(&self) -> Result<Vec<usize>, Stop> {
        let path = Path::new("/sys/devices/system/cpu/online");
        let none =
            || Stop::absent(format!("the kernel does not say which cores there are: no {}", path.display()));
        let text = self.text(path)?.ok_or_else(none)?;
        match parse_cpu_list(&text) {
            Some(cores) if !cores.is_empty() => Ok(cores),
            _ => Err(nonsense(path, &text)),
        }
    }

    /// The cores when the server gives each thread one of its own, which it does on four and more; the last one is the
    /// sequencer's (`ringkeeper`'s `runtime/placement.rs`).
    ///
    /// # Errors
    /// [`Stop::Absent`] on fewer.
    pub fn pinned_cores(&self) -> Result<Vec<usize>, Stop> {
        let cores = self.cores()?;
        match cores.len() {
            0..4 => Err(Stop::absent("fewer than four cores: the server shares them with everything else")),
            _ => Ok(cores),
        }
    }

    /// How many executors a server with the default number of threads has here: one a core but the sequencer's, 63 at
    /// most, and the sequencer.
    ///
    /// # Errors
    /// As [`Host::cores`].
    pub fn executors(&self) -> Result<u64, Stop> {
        Ok((self.cores()?.len() as u64 - 1).clamp(1, 63) + 1)
    }

    /// The data folders.
    ///
    /// # Errors
    /// [`Stop::Absent`] when none is known.
    pub fn data(&self) -> Result<&[PathBuf], Stop> {
        match self.options.data.as_slice() {
            [] => Err(Stop::absent("no data folder is known: name it with --data")),
            folders => Ok(folders),
        }
    }

    /// What can be tried.
    ///
    /// # Errors
    /// [`Stop::Absent`] where nothing can.
    pub fn probe(&self) -> Result<&dyn Probe, Stop> {
        self.probe.as_deref().ok_or_else(|| Stop::absent("found out by trying only, which was not done"))
    }

    /// How durable writes into each data folder are done, and what they take.
    ///
    /// # Errors
    /// A folder cannot be written, or is not there.
    pub fn durable_writes(&self) -> Result<&[(PathBuf, DurableWrites)], Stop> {
        if let Some(known) = self.writes.get() {
            return Ok(known);
        }
        let probe = self.probe()?;
        let mut found = Vec::new();
        for folder in self.data()? {
            let writes = probe
                .durable_writes(folder)
                .map_err(|error| Stop::unknown(format!("writing into {}: {error}", folder.display())))?;
            found.push((folder.clone(), writes));
        }
        Ok(self.writes.get_or_init(|| found))
    }
}

/// Whether an error says that there is no such file. A path through a file that is no folder counts, and so does a
/// device that went while we looked.
pub fn is_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let missing = [Errno::NOENT, Errno::NOTDIR, Errno::NXIO, Errno::NODEV, Errno::SRCH];
    error.raw_os_error().is_some_and(|raw| missing.iter().any(|errno| errno.raw_os_error() == raw))
}

/// A file that is there and cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Stop {
    Stop::unknown(format!("cannot read {}: {error}", path.display()))
}

/// A file that says what it never says.
pub fn nonsense(path: &Path, text: &str) -> Stop {
    let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    Stop::unknown(format!("{} says \"{shown}\", which makes no sense there", path.display()))
}

/// The one of several words that is chosen, as in `always [madvise] never`; the whole text where none is marked.
pub fn chosen(text: &str) -> &str {
    let text = text.trim();
    match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some((word, _)) => word,
        None => text,
    }
}

/// `0-3,8` as numbers, in order; `None` if it is no such list, or one of more cores than any machine has.
pub fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    const CORES_MAX: usize = 1 << 16;
    let mut cores = std::collections::BTreeSet::new();
    for part in text.split([',', ' ', '\t', '\n']).filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if from > to || to >= CORES_MAX {
            return None;
        }
        cores.extend(from..=to);
    }
    Some(cores.into_iter().collect())
}

/// The reverse of [`parse_cpu_list`].
pub fn cpu_list(cores: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &core in cores {
        match parts.last_mut() {
            Some((_, to)) if *to + 1 == core => *to = core,
            _ => parts.push((core, core)),
        }
    }
    let words = parts.iter().map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_read_back() {
        let check = |text: &str, cores: &[usize]| {
            assert_eq!(parse_cpu_list(text).as_deref(), Some(cores), "{text}");
            assert_eq!(parse_cpu_list(&cpu_list(cores)).as_deref(), Some(cores), "{text}");
        };
        check("0-3,8", &[0, 1, 2, 3, 8]);
        check("0", &[0]);
        check("", &[]);
        check("2 4\n", &[2, 4]);
        for nonsense in ["a", "3-1", "1-", "-", "0-99999999999", "0-4000000000"] {
            assert_eq!(parse_cpu_list(nonsense), None, "{nonsense}");
        }
        assert_eq!(cpu_list(&[0, 1, 3]), "0-1,3");
    }

    #[test]
    fn the_chosen_word() {
        for (text, expected) in
            [("always [madvise] never\n", "madvise"), ("none", "none"), ("[a", "[a"), ("", "")]
        {
            assert_eq!(chosen(text), expected);
        }
    }
}
