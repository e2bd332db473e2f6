#![forbid(unsafe_code)]
//! What a host should be set to for ringkeeper: checked, said, changed, and put back.

pub mod cli;
