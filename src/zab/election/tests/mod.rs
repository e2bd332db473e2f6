#![forbid(unsafe_code)]
//! Tests of election: decisions as text, and a toy network with faults.

mod decisions;
mod network;
mod script;
