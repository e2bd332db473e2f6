#![forbid(unsafe_code)]
//! Links, over a network that is made up ([`network`]) and over real sockets ([`real`]).

mod attempts;
mod elections;
mod images;
mod network;
mod observers;
mod quorum;
mod real;
mod translate;
