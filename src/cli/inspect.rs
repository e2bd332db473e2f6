#![forbid(unsafe_code)]
//! `ringkeeper inspect`: reads files, never changes them, and decodes as much as it can of each.

use std::io::{self, Write};
use std::path::Path;

use super::args::Inspect;
use super::exit::Exit;

/// Decodes every file named. A file that cannot be read or is damaged does not keep the others from being decoded; the
/// status then is 1.
pub(super) fn run(inspect: &Inspect, out: &mut dyn Write) -> Exit {
    let (files, decode): (_, Decode) = match inspect {
        Inspect::Wal { files } => (files, wal),
        Inspect::Snapshot { files } => (files, snapshot),
    };
    let mut exit = Exit::Finished;
    for file in files {
        let outcome = writeln!(out, "{}:", file.display())
            .and_then(|()| std::fs::read(file))
            .and_then(|bytes| decode(file, &bytes, out));
        if let Err(error) = outcome {
            let _ = writeln!(io::stderr(), "{}: {error}", file.display());
            exit = Exit::Unexpected;
        }
    }
    exit
}

/// Writes what the bytes of a file hold; the error says where it stops making sense.
type Decode = fn(&Path, &[u8], &mut dyn Write) -> io::Result<()>;

/// The seam to `crate::storage::wal`.
fn wal(_: &Path, _: &[u8], _: &mut dyn Write) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this build cannot decode segments"))
}

/// The seam to `crate::storage::snapshot`.
fn snapshot(_: &Path, _: &[u8], _: &mut dyn Write) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this build cannot decode snapshots"))
}
