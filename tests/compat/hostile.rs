#![forbid(unsafe_code)]
//! What the tests of malicious and broken input share (reliability §6; DESIGN §8 says which of its limits are off by
//! default). Each test is named by the number of its line there.

use super::{Group, Scene, Setup};
use crate::support::PATIENCE;
use crate::support::client::{Client, request};
use crate::support::raw::Raw;
use crate::support::server::Server;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A server of the test's own: short ticks, no limit of connections an address, every word.
pub(super) const OPEN: Group = Group::Fresh(Setup {
    keys: &[
        ("tickTime", "200"),
        ("maxSessionTimeout", "120000"),
        ("maxClientCnxns", "0"),
        ("4lw.commands.whitelist", "*"),
        // Crowds take their time to come on a busy machine.
        ("nio.sessionlessCnxnTimeout", "300000"),
    ],
    properties: &[],
});

/// A line that only ringkeeper is held to: stock has no such bound, or is known to fall.
macro_rules! ours {
    ($name:ident, $group:expr, $body:expr) => {
        #[test]
        fn $name() {
            crate::run(crate::support::server::Kind::Ringkeeper, stringify!($name), $group, $body);
        }
    };
}
pub(super) use ours;

/// A session that was there before the attack, and the process that served it.
pub(super) struct Witness<'a> {
    scene: &'a Scene,
    pid: u32,
    client: Client,
}

impl<'a> Witness<'a> {
    pub(super) fn of(scene: &'a Scene) -> Witness<'a> {
        let pid = scene.pid().expect("a server that runs");
        // As long as a session may be: attacks take their time.
        Witness { scene, pid, client: scene.open_with(120_000) }
    }

    /// The same process serves the old session, and a new one as well: reads and durable writes.
    #[track_caller]
    pub(super) fn is_well(&mut self) {
        assert_eq!(self.scene.pid(), Some(self.pid));
        assert!(std::path::Path::new(&format!("/proc/{}/fd", self.pid)).exists(), "the process is gone");
        self.client.ping();
        // Tests of one number share a root, and may share a server.
        static CHECKS: AtomicU32 = AtomicU32::new(0);
        // A counter that only has to differ: nothing is published through it.
        let path = self.scene.path(&format!("witness-{}", CHECKS.fetch_add(1, Ordering::Relaxed)));
        let mut second = Client::open(self.scene);
        second.create(&path, b"well").expect("a write of a new session");
        assert_eq!(self.client.get(&path, false).expect("a read of the old one").0, Some(b"well".to_vec()));
        second.close();
        self.client.delete(&path, -1).expect("a write of the old one");
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Resident memory of the server, bytes.
pub(super) fn resident(server: &Server) -> u64 {
    let pid = server.pid().expect("a server that runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
}

/// Memory now is at most `mib` more than it was.
#[track_caller]
pub(super) fn grew_at_most(server: &Server, before: u64, mib: u64) {
    let grown = resident(server).saturating_sub(before) >> 20;
    println!("resident memory grew by {grown} MiB of {mib} allowed");
    assert!(grown <= mib, "resident memory grew by {grown} MiB, {mib} are allowed");
}

/// Asks again and again until it is so: for what a server does without telling anyone.
#[track_caller]
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connections as the server counts them, this question's own included.
pub(super) fn connections(server: &Server) -> usize {
    let said = server.word("srvr");
    let line = said.lines().find_map(|line| line.strip_prefix("Connections: "));
    line.unwrap_or_else(|| panic!("no count of connections in {said:?}")).parse().expect("a number")
}

/// Those that hold thousands of descriptors take turns.
pub(super) fn many_descriptors() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How many descriptors this process may have.
pub(super) fn descriptors_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("its line");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

/// `count` connections that say nothing.
pub(super) fn silent(server: &Server, count: usize) -> Vec<Raw> {
    (0..count).map(|_| Raw::connect(server.address())).collect()
}

/// `count` copies of one request, one behind the other.
pub(super) fn repeated(opcode: i32, body: &[u8], count: i32) -> Vec<u8> {
    (1..=count).flat_map(|xid| request(xid, opcode, body)).collect()
}
