#![forbid(unsafe_code)]
//! Who connected to the election port and has not said who it is: a bounded number, for a bounded time, and an opening of
//! bounded length (reliability M55).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::{Context, LinkError, Route, Sockets, shown};
use crate::base::Millis;
use crate::runtime::sys::{self, SocketId};
use crate::wire::peer::election::Opening;

/// All of them; the oldest is the first.
#[derive(Default)]
pub(super) struct Strangers {
    waiting: BTreeMap<SocketId, Stranger>,
}

/// One of them.
pub(super) struct Stranger {
    pub(super) address: Option<SocketAddr>,
    /// What it has said, once its opening is taken off: frames.
    pub(super) received: Vec<u8>,
    until: Millis,
}

impl Strangers {
    /// One more; of too many the oldest goes.
    pub(super) fn take<S: Sockets>(&mut self, cx: &mut Context<'_, S>, fd: OwnedFd) {
        sys::configure_peer(fd.as_fd(), cx.shared.unanswered_ms());
        let socket = cx.sockets.add_socket(fd);
        let address = cx.sockets.peer_address(socket);
        let until = cx.now().plus(cx.shared.settings.connect_timeout_ms);
        cx.shared.routes.insert(socket, Route::Stranger);
        self.waiting.insert(socket, Stranger { address, received: Vec::new(), until });
        cx.sockets.receive(socket);
        if self.waiting.len() > cx.shared.connections_max() {
            let oldest = self.waiting.keys().next().copied().expect("there is one more than allowed");
            self.refuse(cx, oldest, &LinkError::Crowded);
        }
    }

    /// Hangs up.
    fn refuse<S: Sockets>(&mut self, cx: &mut Context<'_, S>, socket: SocketId, why: &LinkError) {
        let Some(Stranger { address, received, .. }) = self.waiting.remove(&socket) else { return };
        cx.close(socket);
        if received.is_empty() && *why == LinkError::Closed {
            // A probe of the port.
            tracing::debug!(
                address = shown(address),
                "a connection to the election port closed without a word"
            );
        } else if let Some(left_out) = cx.shared.refusals.may_log(cx.now()) {
            let hint = "something else than a server of this ensemble connects here";
            tracing::warn!(address = shown(address), %why, left_out, "closed a connection to the election port: {hint}");
        }
    }

    /// What one of them says: once it is an opening, that, and it is a stranger no more.
    pub(super) fn on_received<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        socket: SocketId,
        result: Result<usize, i32>,
    ) -> Option<(Opening, Stranger)> {
        if let Err(why) = super::something(result) {
            self.refuse(cx, socket, &why);
            return None;
        }
        let stranger = self.waiting.get_mut(&socket).expect("its socket has a route");
        stranger.received.extend_from_slice(cx.sockets.received(socket));
        match Opening::decode(&stranger.received) {
            Ok(None) => {
                cx.sockets.receive(socket);
                None
            }
            Ok(Some((opening, taken))) => {
                let mut stranger = self.waiting.remove(&socket)?;
                stranger.received.drain(..taken);
                Some((opening, stranger))
            }
            Err(error) => {
                self.refuse(cx, socket, &error.into());
                None
            }
        }
    }

    /// Hangs up on those that were silent for too long.
    pub(super) fn tick<S: Sockets>(&mut self, cx: &mut Context<'_, S>) {
        let (now, ms) = (cx.now(), cx.shared.settings.connect_timeout_ms);
        let silent = self.waiting.iter().filter(|(_, stranger)| stranger.until <= now);
        for socket in silent.map(|(socket, _)| *socket).collect::<Vec<_>>() {
            self.refuse(cx, socket, &LinkError::Late { ms });
        }
    }

    pub(super) fn next_tick(&self) -> Option<Millis> {
        self.waiting.values().map(|stranger| stranger.until).min()
    }
}
