#![forbid(unsafe_code)]
//! One attempt to connect to a server: its names, the addresses of each, one after the other, until one answers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::names::Answer;
use super::{Address, Asker, Context, Route, Sockets};
use crate::base::Millis;
use crate::runtime::sys::{self, SocketId};

/// What an address may take while there are others to try (stock `multiAddress.reachabilityCheckTimeoutMs`), ms.
const ONE_OF_SEVERAL_MS: u64 = 1_000;
/// How long the resolver is waited for where the addresses of before are known, ms.
const RESOLVE_MS: u64 = 1_000;
/// Names and addresses of one attempt; more are left out.
const TARGETS_MAX: usize = 16;

/// See the module.
pub(super) struct Dial {
    asker: Asker,
    route: Route,
    targets: VecDeque<Address>,
    addresses: VecDeque<SocketAddr>,
    step: Step,
    /// Why what was tried so far failed.
    failures: Vec<String>,
}

enum Step {
    Idle,
    Resolving { query: u64, target: Address, until: Millis },
    Connecting { socket: SocketId, address: SocketAddr, until: Millis },
}

/// What an attempt has come to.
pub(super) enum Progress {
    /// Goes on.
    Waiting,
    /// There is a connection; its route is still the attempt's.
    Connected(SocketId, SocketAddr),
    /// Nothing is left to try, and why.
    Failed(String),
}

impl Dial {
    pub(super) fn start<S: Sockets>(
        cx: &mut Context<'_, S>,
        asker: Asker,
        route: Route,
        targets: impl IntoIterator<Item = Address>,
    ) -> (Dial, Progress) {
        let mut dial = Dial {
            asker,
            route,
            targets: VecDeque::new(),
            addresses: VecDeque::new(),
            step: Step::Idle,
            failures: Vec::new(),
        };
        targets.into_iter().for_each(|target| dial.add(target));
        let progress = dial.proceed(cx);
        (dial, progress)
    }

    /// One more name to try.
    pub(super) fn add(&mut self, target: Address) {
        if self.targets.len() < TARGETS_MAX && !self.targets.contains(&target) {
            self.targets.push_back(target);
        }
    }

    pub(super) fn until(&self) -> Option<Millis> {
        match self.step {
            Step::Idle => None,
            Step::Resolving { until, .. } | Step::Connecting { until, .. } => Some(until),
        }
    }

    /// Goes on with what comes next, while nothing is under way.
    fn proceed<S: Sockets>(&mut self, cx: &mut Context<'_, S>) -> Progress {
        loop {
            if let Some(address) = self.addresses.pop_front() {
                match self.connect(cx, address) {
                    Ok(()) => return Progress::Waiting,
                    Err(error) => self.failures.push(format!("{address}: {error}")),
                }
            } else if let Some(target) = self.targets.pop_front() {
                if let Ok(ip) = target.host.parse::<IpAddr>() {
                    self.addresses.push_back(SocketAddr::new(ip, target.port));
                    continue;
                }
                let query = cx.shared.next_query;
                cx.shared.next_query += 1;
                cx.shared.queries.insert(query, self.asker);
                cx.shared.names.ask(query, &target.host);
                let known = cx.shared.known.contains_key(&target.host);
                let ms = if known { RESOLVE_MS } else { cx.shared.settings.connect_timeout_ms };
                self.step = Step::Resolving { query, target, until: cx.now().plus(ms) };
                return Progress::Waiting;
            } else {
                let failures = std::mem::take(&mut self.failures);
                return Progress::Failed(match failures.is_empty() {
                    true => "no address is known".to_owned(),
                    false => failures.join("; "),
                });
            }
        }
    }

    fn connect<S: Sockets>(&mut self, cx: &mut Context<'_, S>, address: SocketAddr) -> std::io::Result<()> {
        let fd = cx.sockets.fresh(address)?;
        if let Route::Attempt(_) = self.route {
            sys::configure_peer(fd.as_fd(), cx.shared.unanswered_ms());
        }
        let socket = cx.sockets.add_socket(fd);
        cx.shared.routes.insert(socket, self.route);
        cx.sockets.connect(socket, address);
        let whole_ms = cx.shared.settings.connect_timeout_ms;
        let last = self.addresses.is_empty() && self.targets.is_empty();
        let ms = if last { whole_ms } else { whole_ms.min(ONE_OF_SEVERAL_MS) };
        self.step = Step::Connecting { socket, address, until: cx.now().plus(ms) };
        Ok(())
    }

    /// A name was resolved, or not.
    pub(super) fn on_answer<S: Sockets>(&mut self, cx: &mut Context<'_, S>, answer: Answer) -> Progress {
        match &self.step {
            Step::Resolving { query, .. } if *query == answer.query => {}
            _ => return Progress::Waiting,
        }
        self.resolved(cx, answer.addresses)
    }

    fn resolved<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        addresses: Result<Vec<IpAddr>, String>,
    ) -> Progress {
        let Step::Resolving { target, .. } = std::mem::replace(&mut self.step, Step::Idle) else {
            unreachable!("a name is resolved that was not asked for")
        };
        let known = &mut cx.shared.known;
        let ips = match addresses {
            Ok(ips) => {
                // Names that others tell us are not remembered: there is no end of them.
                let mut configured = cx
                    .shared
                    .settings
                    .servers
                    .iter()
                    .flat_map(|server| server.election.iter().chain(&server.quorum));
                if configured.any(|address| address.host == target.host) {
                    known.insert(target.host.clone(), ips.clone());
                }
                ips
            }
            Err(error) => {
                self.failures.push(format!("{target}: {error}"));
                known.get(&target.host).cloned().unwrap_or_default()
            }
        };
        self.addresses.extend(ips.into_iter().take(TARGETS_MAX).map(|ip| SocketAddr::new(ip, target.port)));
        self.proceed(cx)
    }

    /// The connection is there, or not.
    pub(super) fn on_connected<S: Sockets>(
        &mut self,
        cx: &mut Context<'_, S>,
        socket: SocketId,
        result: Result<(), i32>,
    ) -> Progress {
        let Step::Connecting { socket: ours, address, .. } = self.step else { return Progress::Waiting };
        assert!(ours == socket, "a connection that was not asked for");
        self.step = Step::Idle;
        match result {
            Ok(()) => Progress::Connected(socket, address),
            Err(error) => {
                cx.close(socket);
                self.failures.push(format!("{address}: {}", std::io::Error::from_raw_os_error(error)));
                self.proceed(cx)
            }
        }
    }

    /// Gives up what takes too long.
    pub(super) fn tick<S: Sockets>(&mut self, cx: &mut Context<'_, S>) -> Progress {
        if self.until().is_none_or(|until| until > cx.now()) {
            return Progress::Waiting;
        }
        if let Step::Resolving { query, .. } = self.step {
            cx.shared.queries.remove(&query);
            return self.resolved(cx, Err("the resolver does not answer".to_owned()));
        }
        if let Step::Connecting { socket, address, .. } = self.step {
            cx.close(socket);
            self.failures.push(format!("{address}: no answer"));
        }
        self.step = Step::Idle;
        self.proceed(cx)
    }

    /// Forgets it.
    pub(super) fn abandon<S: Sockets>(self, cx: &mut Context<'_, S>) {
        match self.step {
            Step::Idle => {}
            Step::Resolving { query, .. } => drop(cx.shared.queries.remove(&query)),
            Step::Connecting { socket, .. } => cx.close(socket),
        }
    }
}
