#![forbid(unsafe_code)]
// Whatever fails here is a test that fails; the panic is the message.
#![allow(clippy::unwrap_used)]
//! `check`, `apply` and `--undo` against systems made of files, and against this machine where it lets us.

mod applying;
mod checking;
mod data_files;
mod fake;
mod faulty;
mod program;
mod real;
