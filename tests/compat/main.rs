#![forbid(unsafe_code)]
// Whatever fails here is a test that fails; the panic's place is the message.
#![allow(clippy::unwrap_used)]
//! The conformance checklist of client-protocol §11, a test a line, each run against stock ZooKeeper 3.9.5 and
//! against ringkeeper; then habits of real clients, what stock gets wrong and ringkeeper does not (hazards), malicious
//! and broken input (hostile, by the numbers of reliability §6), and random programs whose answers are compared byte by
//! byte.
//!
//! `cNNN_...::stock` proves the test: it shows that stock does what the line says, or what the test says in its place
//! where 3.9.5 differs. `cNNN_...::ringkeeper` is the same body. Tests share servers (one process a configuration)
//! and keep apart by path; those that count zxids or connections take turns on a server of their own.
//!
//! `RINGKEEPER_HERMETIC=1` leaves stock out. `RINGKEEPER_DIFF_OPS`, `RINGKEEPER_DIFF_SEED`: see `differential`.

#[path = "../support/mod.rs"]
mod support;

mod acl;
mod create;
mod delete_set_read;
mod differential;
mod framing;
mod habits;
mod handshake;
mod hazards;
mod hostile;
mod hostile_files;
mod hostile_frames;
mod hostile_limits;
mod hostile_sessions;
mod multi;
mod neighbours;
mod program;
mod quotas;
mod replies;
mod sessions;
mod settings;
mod side;
mod stat;
mod throttle;
mod watches;

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;
use support::client::{Client, err};
use support::raw::{Hello, Session};
use support::server::{Kind, Server, Setup};
use support::stock;

/// Lines of the checklist that no test here covers, and why.
const NOT_HERE: &[(u32, &str)] = &[
    (48, "needs an ensemble that lost its quorum: tests/ensemble/read_only.py"),
    (49, "needs an ensemble that lost its quorum: tests/ensemble/read_only.py"),
    (
        124,
        "2^32 - 2 writes to one node away from the wire: the version arithmetic has its own test in pipeline",
    ),
    (181, "needs an ensemble"),
    (182, "needs an ensemble"),
];

/// The server a test runs against.
#[derive(Clone, Copy)]
enum Group {
    /// One server for all tests of the group, at the same time.
    Shared(Setup),
    /// One server for all tests of the group, one after the other: nobody else takes a zxid or a connection.
    InTurn(Setup),
    /// A server for this test alone, empty at its start.
    Fresh(Setup),
}

const PLAIN: Setup = Setup { keys: &[], properties: &[] };

/// Default settings.
const DEFAULT: Group = Group::Shared(PLAIN);
/// Default settings, and nobody else.
const QUIET: Group = Group::InTurn(PLAIN);
/// Default settings, nobody else, and an empty database.
const FRESH: Group = Group::Fresh(PLAIN);
/// What is off by default, on; short ticks, so that sessions may be short. The sweep for containers runs often.
const RICH: Group = Group::Shared(RICH_SETUP);

const RICH_SETUP: Setup = Setup {
    keys: &[
        ("tickTime", "200"),
        ("maxSessionTimeout", "60000"),
        ("maxClientCnxns", "0"),
        ("extendedTypesEnabled", "true"),
        ("enforceQuota", "true"),
        ("4lw.commands.whitelist", "*"),
        ("DigestAuthenticationProvider.superDigest", "super:xQJmxLMiHGwaqBvst5y6rkB6HQs="),
    ],
    properties: &[("znode.container.checkIntervalMs", "200")],
};
/// Who logs in as super in [`RICH`].
const SUPER: &str = "super:admin";

/// What a test gets: a server, and a path of its own on it.
struct Scene {
    server: Lent,
    root: String,
    is_root_made: Cell<bool>,
}

impl Scene {
    fn open(&self) -> Client {
        self.rooted(Client::open(&self.server))
    }

    fn open_with(&self, timeout: i32) -> Client {
        self.rooted(Client::with_timeout(&self.server, timeout))
    }

    fn resume(&self, session: &Session) -> Client {
        Client::resume(&self.server, session)
    }

    /// Whether the server grants `session` again; if so it is closed.
    fn grants(&self, session: &Session) -> bool {
        Client::greet(&self.server, &Hello::renewal(session)).is_some()
    }

    /// A path below this test's own.
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    fn rooted(&self, mut client: Client) -> Client {
        if !self.is_root_made.replace(true) {
            let made = client.create(&self.root, b"");
            assert!(matches!(made, Ok(_) | Err(err::NODE_EXISTS)), "{}: {made:?}", self.root);
        }
        client
    }
}

impl Deref for Scene {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

enum Lent {
    Shared(Arc<Server>),
    InTurn(Arc<Server>, #[allow(dead_code, reason = "held for its drop")] MutexGuard<'static, ()>),
    Own(Box<Server>),
}

impl Deref for Lent {
    type Target = Server;
    fn deref(&self) -> &Server {
        match self {
            Lent::Shared(server) | Lent::InTurn(server, _) => server,
            Lent::Own(server) => server,
        }
    }
}

/// A running server, or why there is none; and the turn of those that want it alone.
struct Slot {
    server: OnceLock<Result<Arc<Server>, String>>,
    turn: Mutex<()>,
}

impl Slot {
    fn server(&self, kind: Kind, setup: Setup) -> Arc<Server> {
        let server = self.server.get_or_init(|| Server::start(kind, setup).map(Arc::new));
        server.clone().unwrap_or_else(|reason| panic!("{reason}"))
    }
}

fn slot(kind: Kind, setup: Setup, in_turn: bool) -> &'static Slot {
    type Slots = Mutex<HashMap<(Kind, Setup, bool), &'static Slot>>;
    static SLOTS: OnceLock<Slots> = OnceLock::new();
    let mut slots = SLOTS.get_or_init(Slots::default).lock().unwrap();
    slots.entry((kind, setup, in_turn)).or_insert_with(|| {
        // As long-lived as the servers, which last until the process ends.
        Box::leak(Box::new(Slot { server: OnceLock::new(), turn: Mutex::new(()) }))
    })
}

fn lend(kind: Kind, group: Group) -> Lent {
    match group {
        Group::Shared(setup) => Lent::Shared(slot(kind, setup, false).server(kind, setup)),
        Group::InTurn(setup) => {
            let slot = slot(kind, setup, true);
            // A test that failed in its turn says nothing about the server for the next one.
            let turn = slot.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            Lent::InTurn(slot.server(kind, setup), turn)
        }
        Group::Fresh(setup) => {
            let server = Server::start(kind, setup).unwrap_or_else(|reason| panic!("{reason}"));
            Lent::Own(Box::new(server))
        }
    }
}

/// Runs one line against one kind of server.
fn run(kind: Kind, name: &str, group: Group, body: fn(&Scene)) {
    if kind == Kind::Stock && stock::is_hermetic() {
        println!("{name}: hermetic run, stock is not asked");
        return;
    }
    let server = lend(kind, group);
    let number = name.split('_').next().expect("a name begins with its number");
    let scene = Scene { server, root: format!("/{number}"), is_root_made: Cell::new(false) };
    let began = Instant::now();
    body(&scene);
    println!("{name} {kind:?} {} ms", began.elapsed().as_millis());
}

/// One line of the checklist: its name, the server it needs, what is true.
macro_rules! line {
    ($name:ident, $group:expr, $body:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn stock() {
                crate::run(crate::support::server::Kind::Stock, stringify!($name), $group, $body);
            }

            #[test]
            fn ringkeeper() {
                crate::run(crate::support::server::Kind::Ringkeeper, stringify!($name), $group, $body);
            }
        }
    };
}
use line;

#[test]
fn every_line_of_the_checklist_is_tested_or_named_as_left_out() {
    let sources = [
        include_str!("framing.rs"),
        include_str!("handshake.rs"),
        include_str!("replies.rs"),
        include_str!("create.rs"),
        include_str!("delete_set_read.rs"),
        include_str!("stat.rs"),
        include_str!("multi.rs"),
        include_str!("watches.rs"),
        include_str!("sessions.rs"),
        include_str!("acl.rs"),
        include_str!("quotas.rs"),
    ];
    let mut tested: Vec<u32> = sources
        .iter()
        .flat_map(|source| source.split("line!(").skip(1))
        .filter_map(|rest| rest.trim_start().strip_prefix('c')?.get(..3)?.parse().ok())
        .collect();
    tested.dedup();
    let mut all: Vec<u32> =
        tested.iter().copied().chain(NOT_HERE.iter().map(|(number, _)| *number)).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=206).collect::<Vec<_>>(), "each number once, in order within its file");
}
