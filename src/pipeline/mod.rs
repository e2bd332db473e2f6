#![forbid(unsafe_code)]
//! From a request to a change and from a change to its effects: the one place where tree, sessions and watches meet.
//!
//! [`acl`] and [`quota`] are the two questions that both the write path and the read path ask: may this connection, and
//! is there room. Both are pure: identities, lists and texts in, verdicts out.

pub mod acl;
pub mod digest;
pub mod ip;
pub mod quota;
