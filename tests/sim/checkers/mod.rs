#![forbid(unsafe_code)]
//! Properties of Zab (Junqueira, Reed, Serafini: "Zab: High-performance broadcast for primary-backup systems", 2011,
//! §3 and §4) and of our own durability, judged after every turn of every server. One file a property; each names the
//! planted bugs that it has caught.

pub(crate) mod agreement;
pub(crate) mod durability;
pub(crate) mod epochs;
pub(crate) mod prefix_consistency;
pub(crate) mod primary_integrity;

/// All of them.
#[derive(Default)]
pub(crate) struct Checkers {
    pub(crate) primary_integrity: primary_integrity::Checker,
    pub(crate) agreement: agreement::Checker,
    pub(crate) prefix_consistency: prefix_consistency::Checker,
    pub(crate) epochs: epochs::Checker,
    pub(crate) durability: durability::Checker,
}
