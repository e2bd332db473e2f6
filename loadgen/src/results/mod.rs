#![forbid(unsafe_code)]
//! What a run leaves behind: lines on the terminal, JSON lines, an HdrHistogram log, an HTML report.

pub mod records;
pub mod terminal;
