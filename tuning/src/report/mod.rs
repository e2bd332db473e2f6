#![forbid(unsafe_code)]
//! What was found and done, for people and for scripts.

pub mod json;
pub mod table;
