#![forbid(unsafe_code)]
//! What this process is told of the machine it runs on, and what it may have of it: memory, descriptors, names, random
//! numbers. Lives on: any thread; read at start, at accept and by words, never on the path of a request.

use std::io;

use crate::base::limits::DESCRIPTORS_KEPT;

/// Four random numbers from the kernel.
///
/// # Errors
/// When the kernel's source cannot be read.
pub fn random() -> io::Result<[u64; 4]> {
    use std::io::Read;
    let mut bytes = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut numbers = [0; 4];
    for (number, chunk) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = chunk.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    }
    Ok(numbers)
}

/// Descriptors open, and how many may be.
pub fn descriptors() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    (open, descriptors_max())
}

fn descriptors_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Clients that may be connected at once, each with a descriptor of its own: [`DESCRIPTORS_KEPT`] are not theirs, or half
/// where there are few.
pub fn clients_max() -> u64 {
    let most = descriptors_max();
    most - DESCRIPTORS_KEPT.min(most / 2)
}

/// Raises the soft limit of descriptors to the hard one: each connection takes one.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Staying at the soft limit is no failure; the banner's numbers come from what is.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// MiB resident, and MiB this process may take: the control group's limit, or the machine's memory.
pub fn memory_mb() -> (u64, u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let pages: u64 =
        read("/proc/self/statm").split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let resident = pages * rustix::param::page_size() as u64;
    let limit = read("/sys/fs/cgroup/memory.max").trim().parse::<u64>().ok();
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit);
    (resident >> 20, limit.unwrap_or(machine).min(machine) >> 20)
}

/// Bytes that are free to us on the disk of a folder, and bytes it has in all.
pub fn disk_bytes(folder: &std::path::Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

/// Bytes of the files in a folder; 0 where it cannot be read.
pub fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}

/// The file system a path is on, by the mount table.
pub fn file_system(path: &std::path::Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let longest = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(folder).then_some((folder.len(), kind))
    });
    longest
        .max_by_key(|(length, _)| *length)
        .map_or_else(|| "an unknown file system".into(), |(_, kind)| kind.into())
}

/// Name and home of the user that runs the process.
pub fn user() -> (String, String) {
    let id = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).and_then(|text| text.parse::<u32>().ok()) == Some(id));
    match entry.as_deref() {
        Some([name, _, _, _, _, home, ..]) => ((*name).into(), (*home).into()),
        _ => (id.to_string(), "?".into()),
    }
}

/// Operating system, its release, and the architecture as Java names it.
pub fn host() -> (String, String, String) {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let arch = match text(name.machine()).as_str() {
        "x86_64" => "amd64".into(),
        other => other.to_owned(),
    };
    (text(name.sysname()), text(name.release()), arch)
}

/// Name of the host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
