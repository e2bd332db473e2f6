#![forbid(unsafe_code)]
//! toy
