#![forbid(unsafe_code)]
//! `report`: one page of what several commands wrote with `--json`.

use std::io::Write;

use super::args::ReportArgs;
use super::context::create;
use super::exit::Failure;
use crate::results::overview::Overview;
use crate::results::read::{ReadError, Records};

/// `report`.
pub fn report(arguments: &ReportArgs) -> Result<(), Failure> {
    let mut overview = Overview::default();
    for path in &arguments.results {
        let unusable = |error: ReadError| Failure::local(error);
        let mut records = Records::open(path).map_err(unusable)?;
        while let Some(record) = records.next() {
            let taken = overview.take(record.map_err(unusable)?);
            taken.map_err(|why| unusable(records.foreign(why)))?;
        }
    }
    if overview.is_empty() {
        return Err(Failure::local("no command's results are in these files"));
    }
    let page = overview.render(&arguments.title);
    let written = create(&arguments.html)?.write_all(page.as_bytes());
    written.map_err(|error| Failure::local(format!("{}: {error}", arguments.html.display())))
}
