#![forbid(unsafe_code)]
//! Files below a root, which is `/` or the folder of another system: an image, a chroot, a test.
//!
//! Below another root every path is resolved inside it, symbolic links and `..` included (`openat2`, `RESOLVE_IN_ROOT`):
//! an image whose `/etc/sysctl.d` points to an absolute path must not make us write to the machine we run on.
//!
//! A file of the kernel (procfs, sysfs, control groups) and a file on a disk are written differently: the first takes a
//! value in one `write`, the second is replaced whole and atomically, so that a power cut leaves the old or the new one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};

/// No file that is read here is longer; a longer one is an error rather than a surprise.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file on a disk, with its permission bits.
    Regular {
        /// The lowest twelve bits of `st_mode`.
        mode: u32,
    },
    /// A file that the kernel makes up.
    Kernel,
    /// A device, a pipe, a socket.
    Other,
}

/// All that this crate does with files; paths are absolute and mean the root's. A trait, so that a test can let any one
/// step fail, and the power with it.
pub trait Files {
    /// The whole of a file.
    ///
    /// # Errors
    /// It is not there, may not be read, or is longer than [`FILE_BYTES_MAX`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// As for [`Files::read`].
    fn names(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Where a symbolic link points.
    ///
    /// # Errors
    /// It is no link.
    fn link(&self, path: &Path) -> io::Result<PathBuf>;
    /// The path without symbolic links.
    ///
    /// # Errors
    /// Nothing is there.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// What is there.
    ///
    /// # Errors
    /// Nothing is there, or it cannot be seen.
    fn kind(&self, path: &Path) -> io::Result<Kind>;
    /// Gives the kernel a value, in one call.
    ///
    /// # Errors
    /// The kernel's answer.
    fn write_value(&self, path: &Path, value: &str) -> io::Result<()>;
    /// Puts a file in the place of what is there; durable when it returns.
    ///
    /// # Errors
    /// The old file, or none, is still there.
    fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// It is still there, or was not.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder, for all to read.
    ///
    /// # Errors
    /// It is there already, or its parent is not.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    ///
    /// # Errors
    /// It is not empty.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Locks a folder against other processes while the result lives; `None` when another one has it.
    ///
    /// # Errors
    /// The folder is not there.
    fn lock(&self, path: &Path) -> io::Result<Option<OwnedFd>>;
}

/// The files of a root, for real.
#[derive(Debug)]
pub struct Rooted {
    root: PathBuf,
    folder: OwnedFd,
}

impl Rooted {
    /// The files below `root`.
    ///
    /// # Errors
    /// It is no folder.
    pub fn open(root: &Path) -> io::Result<Rooted> {
        let root = root.canonicalize()?;
        let folder =
            rustix::fs::open(&root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Rooted { root, folder })
    }

    /// Whether these are the files of the machine we run on.
    pub fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        if self.is_this_machine() {
            // Not by openat2, which containers of some years ago refuse.
            return Ok(rustix::fs::open(path, flags, mode)?);
        }
        let relative: PathBuf = path.components().filter(|part| *part != Component::RootDir).collect();
        let relative = if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative };
        loop {
            match rustix::fs::openat2(&self.folder, &relative, flags, mode, ResolveFlags::IN_ROOT) {
                // A rename elsewhere in the tree came between; the kernel asks us to try again.
                Err(rustix::io::Errno::AGAIN) => {}
                result => return Ok(result?),
            }
        }
    }

    /// The folder that holds `path`, and the name in it.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY, 0)?, name))
    }
}

impl Files for Rooted {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Without waiting: somebody may have put a pipe there.
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, 0)?);
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let folder = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn link(&self, path: &Path) -> io::Result<PathBuf> {
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        Ok(PathBuf::from(target.to_string_lossy().into_owned()))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        if self.is_this_machine() {
            return path.canonicalize();
        }
        use std::os::fd::AsRawFd;
        let fd = self.open_at(path, OFlags::PATH, 0)?;
        let whole = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let inside = whole.strip_prefix(&self.root).map_err(|_| io::Error::other("outside of the root"))?;
        Ok(Path::new("/").join(inside))
    }

    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let fd = self.open_at(path, OFlags::PATH, 0)?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile if is_kernel(&fd)? => Kind::Kernel,
            FileType::RegularFile => Kind::Regular { mode: stat.st_mode & 0o7777 },
            _ => Kind::Other,
        })
    }

    fn write_value(&self, path: &Path, value: &str) -> io::Result<()> {
        let mut file = File::from(self.open_at(path, OFlags::WRONLY, 0)?);
        let line = format!("{value}\n");
        // One call: the kernel takes each write as a value of its own.
        match file.write(line.as_bytes())? {
            written if written == line.len() => Ok(()),
            written => Err(io::Error::other(format!("the kernel took {written} of {} bytes", line.len()))),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(".ringkeeper-tune");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&parent, &part, flags, Mode::from_raw_mode(0o600))?);
        let written = (|| {
            file.write_all(bytes)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            file.sync_all()?;
            rustix::fs::renameat(&parent, &part, &parent, name)?;
            Ok::<(), io::Error>(())
        })();
        if written.is_err() {
            // What is left of the part helps nobody; the first error is the one to tell.
            let _ = rustix::fs::unlinkat(&parent, &part, AtFlags::empty());
        }
        written?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        Ok(rustix::fs::fsync(&parent)?)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let folder = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(folder)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a file is one that the kernel makes up, by the file system it is on (`linux/magic.h`).
fn is_kernel(fd: &OwnedFd) -> io::Result<bool> {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const CGROUP: u64 = 0x0027_e0eb;
    const CGROUP2: u64 = 0x6367_7270;
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64;
    Ok([PROC, SYSFS, CGROUP, CGROUP2].contains(&magic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_another_root_stay_inside_it() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::create_dir(inside.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("etc/away")).unwrap();
        std::os::unix::fs::symlink("../../../etc", inside.path().join("etc/up")).unwrap();
        let files = Rooted::open(inside.path()).unwrap();

        let error = files.replace(Path::new("/etc/away/file"), b"x", 0o644).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);

        files.replace(Path::new("/etc/up/file"), b"x", 0o640).unwrap();
        assert_eq!(std::fs::read(inside.path().join("etc/file")).unwrap(), b"x");
        assert_eq!(files.kind(Path::new("/etc/file")).unwrap(), Kind::Regular { mode: 0o640 });
        assert_eq!(files.resolve(Path::new("/etc/up/file")).unwrap(), Path::new("/etc/file"));
        assert_eq!(files.link(Path::new("/etc/up")).unwrap(), Path::new("../../../etc"));
    }

    #[test]
    fn the_kernels_files_are_told_from_a_disks() {
        let files = Rooted::open(Path::new("/")).unwrap();
        assert_eq!(files.kind(Path::new("/proc/sys/kernel/ostype")).unwrap(), Kind::Kernel);
        assert_eq!(files.kind(Path::new("/sys/devices/system/cpu/online")).unwrap(), Kind::Kernel);
        assert_eq!(files.kind(Path::new("/proc")).unwrap(), Kind::Folder);
        assert_eq!(files.kind(Path::new("/dev/null")).unwrap(), Kind::Other);
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside_it_also_when_it_fails() {
        let root = tempfile::tempdir().unwrap();
        let files = Rooted::open(root.path()).unwrap();
        files.replace(Path::new("/a"), b"one", 0o600).unwrap();
        files.replace(Path::new("/a"), b"two", 0o644).unwrap();
        assert_eq!(files.read(Path::new("/a")).unwrap(), b"two");
        files.make_folder(Path::new("/b")).unwrap();
        files.replace(Path::new("/b/c"), b"", 0o600).unwrap();
        assert!(files.replace(Path::new("/b"), b"three", 0o644).is_err(), "a folder is there");
        assert_eq!(files.names(Path::new("/")).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let files = Rooted::open(Path::new("/")).unwrap();
        assert!(files.read(Path::new("/dev/zero")).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn one_lock_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let files = Rooted::open(root.path()).unwrap();
        let held = files.lock(Path::new("/")).unwrap();
        assert!(held.is_some());
        assert!(files.lock(Path::new("/")).unwrap().is_none());
        drop(held);
        assert!(files.lock(Path::new("/")).unwrap().is_some());
    }
}
