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
use support::tables::{self, quoted};

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

/// Of the table in tests/README.md: number, who has to show it, tests on one server, tests over an ensemble.
struct Row<'a> {
    number: u32,
    by: &'a str,
    one: Vec<&'a str>,
    ensemble: Vec<&'a str>,
}

fn rows(readme: &str) -> Vec<Row<'_>> {
    tables::rows(readme, 5).into_iter().map(row).collect()
}

fn row<'a>((number, cells): (u32, Vec<&'a str>)) -> Row<'a> {
    let [_, by, one, ensemble] = cells[..] else { unreachable!("a row has five cells") };
    Row { number, by, one: quoted(one), ensemble: quoted(ensemble) }
}

/// The text of all files of a folder that end so.
fn texts(folder: &str, ending: &str) -> String {
    let files =
        std::fs::read_dir(repository().join(folder)).expect(folder).map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

/// The names of tests of statements that are defined in a text.
fn defined(text: &str) -> Vec<&str> {
    let is_statement =
        |name: &&str| name.len() > 4 && name.starts_with('m') && name[1..3].parse::<u32>().is_ok();
    let name = |line| -> Option<&str> {
        let rest = str::strip_prefix(line, "fn ").or_else(|| line.strip_prefix("def "))?;
        rest.split_once('(').map(|(name, _)| name)
    };
    text.lines().filter_map(name).filter(is_statement).collect()
}

#[test]
fn every_statement_is_in_the_table_and_has_its_tests() {
    let readme = std::fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let rows = rows(&readme);
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    let mission = texts("tests/mission", ".py");
    let (over, one): (String, String) = (
        texts("tests/mission", "over_ensemble.py") + &texts("tests/ensemble", ".py"),
        texts("tests/mission", ".rs"),
    );
    let one = one + &mission + &texts("tests/compat/clients/java/src", ".java");
    for Row { number, by, one: on_one, ensemble } in &rows {
        assert!(["S", "E", "S/E"].contains(by), "{number}: by {by}");
        assert!(!by.contains('S') || !on_one.is_empty(), "{number} has no test on one server");
        assert!(!by.contains('E') || !ensemble.is_empty(), "{number} has no test over an ensemble");
        for name in on_one {
            let is_file = name.contains('/') && repository().join(name).is_file();
            // Defined, or in a list of the checks of a foreign client.
            let is_there = one.contains(&format!("{name}(")) || one.contains(&format!("\"{name}\""));
            assert!(is_file || is_there, "{number}: there is no {name}");
            assert!(is_file || name.contains(&format!("m{number:02}_")), "{number}: {name} is another's");
        }
        for name in ensemble {
            // Once where it is defined, and once in a list of what is run.
            assert!(over.contains(&format!("def {name}(")), "{number}: there is no {name}");
            let runs = over
                .lines()
                .any(|line| line.trim().strip_prefix(name).is_some_and(|rest| rest.starts_with([',', ':'])));
            assert!(runs || over.contains(&format!("[{name}]")), "{number}: no list runs {name}");
            assert!(name.contains(&format!("m{number:02}_")), "{number}: {name} is another's");
        }
    }
    let listed: Vec<&str> =
        rows.iter().flat_map(|row| row.one.iter().chain(&row.ensemble)).copied().collect();
    for name in defined(&over).into_iter().chain(defined(&mission)) {
        assert!(listed.contains(&name), "{name} is not in the table");
    }
    // What this suite does not run itself.
    let versus = std::fs::read_to_string(repository().join("benches/versus.rs")).unwrap();
    let mix =
        "Load { name: \"mix 2:1 32x8 128B\", connections: 32, depth: 8, writes_of_three: 1, bytes: 128 }";
    assert!(versus.contains(mix), "40: the mix that headlines are about");
}
