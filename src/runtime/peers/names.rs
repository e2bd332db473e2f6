#![forbid(unsafe_code)]
//! Names to addresses, by `getaddrinfo` and never on the sequencer: a resolver may take half a minute.
//!
//! Each look-up has a thread of its own for as long as it takes, so that one name whose resolver is silent does not keep
//! the others waiting (ZOOKEEPER-3756). There is at most one for each thing that is being dialled.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::runtime::sys::Bell;

/// What came of a look-up: addresses, IPv4 first as in Java; or why there are none.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) query: u64,
    pub(super) addresses: Result<Vec<IpAddr>, String>,
}

/// Looks names up; the answers come later.
pub(super) trait Names {
    fn ask(&mut self, query: u64, host: &str);
    fn take(&mut self) -> Option<Answer>;
}

/// The system's resolver.
pub(super) struct SystemNames {
    bell: Bell,
    sender: Sender<Answer>,
    answers: Receiver<Answer>,
}

impl SystemNames {
    /// Rings `bell` when an answer is there.
    pub(super) fn new(bell: Bell) -> SystemNames {
        let (sender, answers) = channel();
        SystemNames { bell, sender, answers }
    }
}

impl Names for SystemNames {
    fn ask(&mut self, query: u64, host: &str) {
        // An address is its own answer, and takes no thread.
        if let Ok(address) = host.parse::<IpAddr>() {
            let _ = self.sender.send(Answer { query, addresses: Ok(vec![address]) });
            return self.bell.ring();
        }
        let (sender, bell, host) = (self.sender.clone(), self.bell.clone(), host.to_owned());
        let look_up = move || {
            let addresses = look_up(&host).map_err(|error| error.to_string());
            // Without a receiver the server is stopping.
            let _ = sender.send(Answer { query, addresses });
            bell.ring();
        };
        let thread = std::thread::Builder::new().name("names".to_owned()).stack_size(256 << 10);
        if let Err(error) = thread.spawn(look_up) {
            let why = format!("no thread to resolve it: {error}");
            let _ = self.sender.send(Answer { query, addresses: Err(why) });
            self.bell.ring();
        }
    }

    fn take(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// The addresses of a host; blocks.
pub(super) fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()? {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    // Stable: otherwise in the resolver's order.
    addresses.sort_by_key(IpAddr::is_ipv6);
    if addresses.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addresses) }
}
