#![forbid(unsafe_code)]
//! What a run leaves behind: lines on the terminal, JSON lines, an HdrHistogram log, an HTML report.

pub mod hdr_log;
pub mod html;
pub mod overview;
pub mod page;
pub mod read;
pub mod records;
pub mod svg;
pub mod terminal;
