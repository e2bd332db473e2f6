#![forbid(unsafe_code)]
//! The sockets that links are made of: the sequencer's ring, or a network that a test makes up.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::runtime::sys::{self, Buffer, Ring, SocketId};

/// Connections waiting at a port. Servers are few, and come again.
const BACKLOG: i32 = 128;

/// What [`Ring`] does for the sockets of other servers; results come as [`sys::SocketEvent`]s.
pub trait Sockets {
    /// A listening socket.
    ///
    /// # Errors
    /// The port is taken, the address is not ours.
    fn listening(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        sys::listen(address, BACKLOG)
    }

    /// A socket that is to connect to `address`.
    ///
    /// # Errors
    /// Out of descriptors.
    fn fresh(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        sys::stream_socket(address)
    }

    /// See [`Ring::add_socket`].
    fn add_socket(&mut self, fd: OwnedFd) -> SocketId;
    /// See [`Ring::accept`].
    fn accept(&mut self, id: SocketId);
    /// See [`Ring::connect`].
    fn connect(&mut self, id: SocketId, address: SocketAddr);
    /// See [`Ring::receive`].
    fn receive(&mut self, id: SocketId);
    /// See [`Ring::received`].
    fn received(&self, id: SocketId) -> &[u8];
    /// See [`Ring::send`].
    fn send(&mut self, id: SocketId, bytes: Vec<u8>);
    /// See [`Ring::finish`].
    fn finish(&mut self, id: SocketId);
    /// See [`Ring::close`].
    fn close(&mut self, id: SocketId);
    /// See [`Ring::peer_address`].
    fn peer_address(&self, id: SocketId) -> Option<SocketAddr>;
}

impl<B: Buffer> Sockets for Ring<B> {
    fn add_socket(&mut self, fd: OwnedFd) -> SocketId {
        Ring::add_socket(self, fd)
    }
    fn accept(&mut self, id: SocketId) {
        Ring::accept(self, id);
    }
    fn connect(&mut self, id: SocketId, address: SocketAddr) {
        Ring::connect(self, id, address);
    }
    fn receive(&mut self, id: SocketId) {
        Ring::receive(self, id);
    }
    fn received(&self, id: SocketId) -> &[u8] {
        Ring::received(self, id)
    }
    fn send(&mut self, id: SocketId, bytes: Vec<u8>) {
        Ring::send(self, id, bytes);
    }
    fn finish(&mut self, id: SocketId) {
        Ring::finish(self, id);
    }
    fn close(&mut self, id: SocketId) {
        Ring::close(self, id);
    }
    fn peer_address(&self, id: SocketId) -> Option<SocketAddr> {
        Ring::peer_address(self, id)
    }
}
