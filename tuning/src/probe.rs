#![forbid(unsafe_code)]
//! What can only be found out by trying: whether a ring can be had, how a durable write is done, and what one takes.
//!
//! It tries what the server tries at its start (`ringkeeper`'s `runtime/sys.rs` and `runtime/files.rs`), in the same
//! order, so that the two agree. A trait, so that a test decides what the machine says.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::ReadWriteFlags;

/// Tries things on the machine.
pub trait Probe {
    /// Whether this process may use io_uring.
    ///
    /// # Errors
    /// Which call was refused.
    fn io_uring(&self) -> Result<(), Refused>;

    /// How a durable write into `folder` is done, and what each of a hundred takes.
    ///
    /// # Errors
    /// No write of any kind works.
    fn durable_writes(&self, folder: &Path) -> io::Result<DurableWrites>;
}

/// A system call that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its name.
    pub call: &'static str,
    /// `errno`.
    pub error: i32,
}

/// Ways of a durable write, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `O_DIRECT`, `RWF_DSYNC`.
    DirectDsync,
    /// Through the page cache, `RWF_DSYNC`.
    BufferedDsync,
    /// Through the page cache, then `fdatasync`.
    BufferedFdatasync,
}

impl Method {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Method::DirectDsync => "O_DIRECT and RWF_DSYNC",
            Method::BufferedDsync => "page cache and RWF_DSYNC",
            Method::BufferedFdatasync => "page cache and fdatasync",
        }
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DurableWrites {
    /// The best way that works.
    pub method: Method,
    /// The better ones, and what they were refused with.
    pub refused: Vec<(Method, String)>,
    /// What each write took, shortest first; never empty.
    pub took: Vec<Duration>,
}

impl DurableWrites {
    /// The time that `percent` of the writes did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let nth = (self.took.len() * percent).div_ceil(100).clamp(1, self.took.len());
        self.took[nth - 1]
    }
}

/// One block, the least the log writes.
const BLOCK_BYTES: usize = 4096;
/// Writes that are measured, at most.
const WRITES: usize = 100;
/// A disk that is slower than this shows it in fewer.
const MEASURE_MAX: Duration = Duration::from_secs(3);

/// The machine we run on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Probe for Machine {
    fn io_uring(&self) -> Result<(), Refused> {
        let refused =
            |call| move |error: io::Error| Refused { call, error: error.raw_os_error().unwrap_or(0) };
        let ring = io_uring::IoUring::new(2).map_err(refused("io_uring_setup"))?;
        let submitter = ring.submitter();
        submitter.submit().map_err(refused("io_uring_enter"))?;
        let mut known = io_uring::Probe::new();
        submitter.register_probe(&mut known).map_err(refused("io_uring_register"))
    }

    fn durable_writes(&self, folder: &Path) -> io::Result<DurableWrites> {
        let mut refused = Vec::new();
        for method in [Method::DirectDsync, Method::BufferedDsync, Method::BufferedFdatasync] {
            match measure(folder, method) {
                Ok(took) => return Ok(DurableWrites { method, refused, took }),
                // Neither room nor permission is about the method.
                Err(error) if !is_about_the_method(&error) => return Err(error),
                Err(error) => refused.push((method, error.to_string())),
            }
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "no way of a durable write works"))
    }
}

fn is_about_the_method(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let methods = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS];
    error.raw_os_error().is_some_and(|raw| methods.iter().any(|errno| errno.raw_os_error() == raw))
}

/// Times durable writes over blocks that were written before, as the log's are.
fn measure(folder: &Path, method: Method) -> io::Result<Vec<Duration>> {
    let (direct, flags) = match method {
        Method::DirectDsync => (OFlags::DIRECT, ReadWriteFlags::DSYNC),
        Method::BufferedDsync => (OFlags::empty(), ReadWriteFlags::DSYNC),
        Method::BufferedFdatasync => (OFlags::empty(), ReadWriteFlags::empty()),
    };
    let file = File::from(nameless(folder, direct)?);
    // Direct writes want their memory aligned; a vector of bytes is aligned to nothing.
    let memory = vec![0x5a_u8; 2 * BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = &memory[start..start + BLOCK_BYTES];
    let write = |nth: usize, flags| {
        let offset = (nth * BLOCK_BYTES) as u64;
        match rustix::io::pwritev2(&file, &[IoSlice::new(block)], offset, flags)? {
            BLOCK_BYTES => Ok(()),
            written => Err(io::Error::other(format!("wrote {written} of {BLOCK_BYTES} bytes"))),
        }
    };
    for nth in 0..WRITES {
        write(nth, ReadWriteFlags::empty())?;
    }
    rustix::fs::fsync(&file)?;
    let began = Instant::now();
    let mut took = Vec::with_capacity(WRITES);
    for nth in 0..WRITES {
        let start = Instant::now();
        write(nth, flags)?;
        if method == Method::BufferedFdatasync {
            rustix::fs::fdatasync(&file)?;
        }
        took.push(start.elapsed());
        if began.elapsed() > MEASURE_MAX {
            break;
        }
    }
    took.sort();
    Ok(took)
}

/// A file without a name, which is gone when we are, however we go.
fn nameless(folder: &Path, direct: OFlags) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o600);
    let flags = OFlags::RDWR | OFlags::CLOEXEC | direct;
    match rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        Ok(fd) => return Ok(fd),
        // Some file systems, NFS among them, have no files without names.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    let path = folder.join(format!(".ringkeeper-tune-{}", std::process::id()));
    let fd = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode);
    // ext4 makes the file before it finds out that it cannot open it directly.
    let _ = rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::empty());
    Ok(fd?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_writes_are_measured_and_leave_nothing_behind() {
        // Not below the system's folder for such, which may be a tmpfs.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let found = Machine.durable_writes(folder.path()).unwrap();
        assert!(found.took.is_sorted());
        assert!(!found.took.is_empty());
        assert!(found.percentile(50) <= found.percentile(99));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_no_method() {
        let folder = tempfile::tempdir().unwrap();
        let error = Machine.durable_writes(&folder.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn percentiles_of_few_writes_are_among_them() {
        let took = [1, 2, 3, 4].map(Duration::from_micros).to_vec();
        let found = DurableWrites { method: Method::DirectDsync, refused: vec![], took };
        let check = |percent, micros| assert_eq!(found.percentile(percent), Duration::from_micros(micros));
        check(0, 1);
        check(50, 2);
        check(99, 4);
        check(100, 4);
    }

    #[test]
    fn a_ring_can_be_had_where_these_tests_run() {
        assert_eq!(Machine.io_uring(), Ok(()));
    }
}
