//! Zab, tried out.

mod alone;
