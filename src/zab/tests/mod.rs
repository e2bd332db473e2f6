#![forbid(unsafe_code)]
//! Zab, tried out: one server with its exact actions (`alone`, `leading`, `learning`), named schedules of several
//! (`scenarios`), and random ones (`random`).

mod alone;
mod cluster;
mod leading;
mod learning;
mod observer_master;
mod random;
mod scenarios;
mod solo;
