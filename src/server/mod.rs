#![forbid(unsafe_code)]
//! What the outside sees of a server: the four-letter words and the counts behind them.

pub mod metrics;
pub mod words;
