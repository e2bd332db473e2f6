#![forbid(unsafe_code)]
//! Links, over a network that is made up and over real sockets.
