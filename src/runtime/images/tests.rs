#![forbid(unsafe_code)]
//! Tests.
