#![forbid(unsafe_code)]
//! The shell around the pure folders: threads, rings, files.

pub mod files;
