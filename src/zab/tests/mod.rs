#![forbid(unsafe_code)]
//! Zab, tried out.

mod alone;
