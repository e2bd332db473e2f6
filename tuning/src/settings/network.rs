#![forbid(unsafe_code)]
//! Queues in front of the server: connections that wait to be accepted, and packets that wait for a core.

use super::sysctl::{self, Bound, Want};
use super::{on_dedicated, on_servers};
use crate::setting::{Lasts, Setting, Severities, Severity};

/// The server asks `listen` for this many (`clientPortListenBacklog` unset); the kernel cuts it to `somaxconn`.
pub const LISTEN_BACKLOG: u64 = 4096;

/// Linux had 128 before 5.4, and distributions kept it in files.
const ACCEPT: Want =
    Want { key: "net.core.somaxconn", default: Some(4096), bound: Bound::Least(LISTEN_BACKLOG) };

/// `net.core.somaxconn`.
pub static SOMAXCONN: Setting = Setting {
    name: "somaxconn",
    profiles: Severities {
        dedicated: Some(Severity::Warning),
        shared: Some(Severity::Warning),
        container: Some(Severity::Warning),
        laptop: Some(Severity::Info),
    },
    check: |host| sysctl::check(host, &[ACCEPT]),
    change: |host| sysctl::change(host, &[ACCEPT]),
    lasts: Lasts::Always,
    why: "when a server comes back, all its clients connect within a second; past this queue their handshakes are dropped \
          and tried again a second later (in a container: its own value, docker run --sysctl net.core.somaxconn=4096)",
    undo: "sysctl -w net.core.somaxconn=OLD, and take its line out of /etc/sysctl.d/99-ringkeeper.conf",
};

/// The kernel scales it by the memory of the machine, from 128 to 4096.
const HALF_OPEN: Want =
    Want { key: "net.ipv4.tcp_max_syn_backlog", default: None, bound: Bound::Least(4096) };

/// `net.ipv4.tcp_max_syn_backlog`.
pub static SYN_BACKLOG: Setting = Setting {
    name: "syn-backlog",
    profiles: on_servers(Severity::Info, Severity::Info),
    check: |host| sysctl::check(host, &[HALF_OPEN]),
    change: |host| sysctl::change(host, &[HALF_OPEN]),
    lasts: Lasts::Always,
    why: "handshakes under way of a storm of clients; past it the kernel falls back on SYN cookies, which forget options",
    undo: "sysctl -w net.ipv4.tcp_max_syn_backlog=OLD, and take its line out of /etc/sysctl.d/99-ringkeeper.conf",
};

const PACKETS: Want =
    Want { key: "net.core.netdev_max_backlog", default: Some(1000), bound: Bound::Least(4096) };

/// `net.core.netdev_max_backlog`.
pub static DEVICE_BACKLOG: Setting = Setting {
    name: "device-backlog",
    profiles: on_dedicated(Severity::Info),
    check: |host| sysctl::check(host, &[PACKETS]),
    change: |host| sysctl::change(host, &[PACKETS]),
    lasts: Lasts::Always,
    why: "packets that wait for a core, with RPS and on loopback; past it they are dropped and sent again 200 ms later",
    undo: "sysctl -w net.core.netdev_max_backlog=OLD, and take its line out of /etc/sysctl.d/99-ringkeeper.conf",
};
