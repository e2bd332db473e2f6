#![forbid(unsafe_code)]
//! Zab, tried out.

mod alone;
mod cluster;
mod random;
