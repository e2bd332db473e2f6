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

fn wal(_: &Path, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    through_text(out, |text| crate::storage::inspect::wal(bytes, text))
}

fn snapshot(_: &Path, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    through_text(out, |text| crate::storage::inspect::snapshot(bytes, true, text))
}

/// Inspectors write text; a failure can only be the output's.
fn through_text(
    out: &mut dyn Write,
    inspect: impl FnOnce(&mut dyn std::fmt::Write) -> std::fmt::Result,
) -> io::Result<()> {
    struct Text<'a> {
        out: &'a mut dyn Write,
        failed: Option<io::Error>,
    }
    impl std::fmt::Write for Text<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.out.write_all(text.as_bytes()).map_err(|error| {
                self.failed = Some(error);
                std::fmt::Error
            })
        }
    }
    let mut text = Text { out, failed: None };
    match inspect(&mut text) {
        Ok(()) => Ok(()),
        Err(std::fmt::Error) => Err(text.failed.unwrap_or_else(|| io::Error::other("cannot write the text"))),
    }
}
