#![forbid(unsafe_code)]
// Whatever fails here is a test that fails; the panic's place is the message.
#![allow(clippy::unwrap_used)]
//! What the system is for, statement by statement: `mNN_…` is statement NN of the mission, driven through real sockets by
//! a client written from the specification (`tests/support`). Statements that are whole programs are programs:
//! `run_programs.py`, which the test here starts where Python's client can be had. Other clients drive many of the same
//! statements once more, under the same numbers (`tests/compat/clients`).
//!
//! Times by the clock on the wall are printed; a verdict leaves room for a busy machine. Ratios and counts do not need it.

#[path = "../support/mod.rs"]
mod support;

mod build;
mod data;
mod disk;
mod sessions;
mod watches;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use support::client::Client;
use support::server::{Kind, Server, Setup};
use support::stock::is_hermetic;

/// Statements for one server whose test is not a function here: the file, and what stands in it.
const ELSEWHERE: &[(u32, &str, &str)] = &[
    (2, "tests/mission/run_programs.py", "def m02_masters_workers_and_clients"),
    (3, "tests/mission/run_programs.py", "def m03_master_is_killed_and_a_standby_recovers_from_the_tree"),
    (4, "tests/mission/run_programs.py", "def m04_killed_worker_loses_its_task_to_another"),
    (6, "tests/mission/run_programs.py", "def m06_group_membership_is_true_within_the_time_out"),
    (7, "tests/mission/run_programs.py", "def m07_lock_recipe_fifty_contenders"),
    // The states are a client's; each arrow is driven by the clients that have it.
    (18, "tests/mission/run_programs.py", "def m18_states_as_kazoo_sees_them"),
    (18, "tests/compat/clients/java/src/SessionChecks.java", "m18_not_connected_connecting_connected_closed"),
    (18, "tests/compat/clients/java/src/SessionChecks.java", "m18_connected_to_connecting_and_back"),
    (18, "tests/compat/clients/java/src/SessionChecks.java", "m18_connecting_to_closed_by_close"),
    (18, "tests/compat/clients/java/src/SessionChecks.java", "m18_connecting_to_closed_by_expiry"),
    // When a client pings and when it looks for another server is the client's; the server's half is here.
    (21, "tests/compat/clients/java/src/SessionChecks.java", "m21_an_idle_client_keeps_its_session"),
    (
        40,
        "benches/versus.rs",
        "Load { name: \"mix 2:1 32x8 128B\", connections: 32, depth: 8, writes_of_three: 1, bytes: 128 }",
    ),
];

/// Statements that need several servers.
const ENSEMBLE: &[u32] = &[5, 8, 23, 30, 31, 32, 33, 34, 35, 36, 37];

/// Ticks of three seconds, as stock has them unless told otherwise.
const PLAIN: Setup =
    Setup { keys: &[("4lw.commands.whitelist", "*"), ("maxClientCnxns", "0")], properties: &[] };
/// Short ticks, so that sessions may be short.
const QUICK_TICK_MS: u64 = 200;
/// And long ones may be, which must outlive what a busy machine does to a test.
const QUICK: Setup = Setup {
    keys: &[
        ("tickTime", "200"),
        ("maxSessionTimeout", "60000"),
        ("4lw.commands.whitelist", "*"),
        ("maxClientCnxns", "0"),
    ],
    properties: &[],
};

/// The server that tests share who do not mind each other's paths.
fn plain() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Arc::new(start(PLAIN))).clone()
}

/// The same with short ticks.
fn quick() -> Arc<Server> {
    static SERVER: OnceLock<Arc<Server>> = OnceLock::new();
    SERVER.get_or_init(|| Arc::new(start(QUICK))).clone()
}

fn start(setup: Setup) -> Server {
    Server::start(Kind::Ringkeeper, setup).unwrap_or_else(|reason| panic!("{reason}"))
}

/// A client with a root of its own, so that tests share a server.
fn rooted(server: &Server, root: &str) -> Client {
    let mut client = Client::open(server);
    client.create(root, b"").unwrap();
    client
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn m02_m03_m04_m06_m07_are_whole_programs() {
    if is_hermetic() {
        println!("hermetic run: whole programs need Python's client, see the suite `programs`");
        return;
    }
    let fetched = Command::new(repository().join("tests/support/fetch_kazoo")).output().expect("fetch_kazoo");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let said = String::from_utf8(fetched.stdout).unwrap();
    let python = Path::new(said.lines().last().expect("a folder")).join("bin/python");
    let run = Command::new(python)
        .arg(repository().join("tests/mission/run_programs.py"))
        .args(["--server", "ringkeeper", "m02", "m03", "m04", "m06", "m07"])
        .env("RINGKEEPER_BIN", env!("CARGO_BIN_EXE_ringkeeper"))
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&run.stdout);
    println!("{said}");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let last = said.lines().last().unwrap_or_default();
    assert_eq!(last, "5 passed, 0 failed", "each statement ran");
}

#[test]
fn every_statement_is_tested_or_says_where() {
    let sources = [
        include_str!("data.rs"),
        include_str!("sessions.rs"),
        include_str!("watches.rs"),
        include_str!("disk.rs"),
        include_str!("build.rs"),
    ];
    let here = |source: &'static str| {
        source.split("#[test]\nfn m").skip(1).map(|rest| rest[..2].parse::<u32>().expect("mNN_…"))
    };
    let mut all: Vec<u32> = sources.into_iter().flat_map(here).collect();
    for (number, file, text) in ELSEWHERE {
        let found = std::fs::read_to_string(repository().join(file)).expect(file);
        assert!(found.contains(text), "{number}: {file} has no {text}");
        all.push(*number);
    }
    all.extend(ENSEMBLE);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=40).collect::<Vec<_>>());
}
