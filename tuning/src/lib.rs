#![forbid(unsafe_code)]
//! What a host should be set to for ringkeeper: checked, said, changed, and put back. And how many such hosts a workload
//! needs.
//!
//! # How it works
//!
//! ```text
//! cli ──► check ──► settings: each a check and a change ──► host: files below a root, probes of the machine
//!  │        ▲
//!  ├──► apply ──► journal (before each change) ──► files
//!  ├──► undo  ◄── journal
//!  └──► report: a table for people, JSON for scripts
//! ```
//!
//! A setting ([`setting::Setting`]) looks and says what to change; it never changes anything. `apply` does, for those that
//! fail: it writes what is there into the undo journal, changes it, and looks again. `--root` puts another system's files
//! in the place of `/`; what can only be found out by trying is not tried there.
//!
//! # What lasts
//!
//! | | live | after a reboot |
//! | --- | --- | --- |
//! | kernel parameters | set at once | by `/etc/sysctl.d/99-ringkeeper.conf`; `check` looks at both |
//! | sysfs: governor, idle states, huge pages, disk scheduler, clock, interrupts | set at once | no; the unit `ringkeeper-tune.service` runs `apply` at each boot |
//! | limits | not of a running process | by a drop-in of the unit, or `limits.d` |
//! | mounts, disks, isolated cores, quotas, seccomp | by hand | by hand |
//!
//! # Modules
//!
//! - [`cli`]: arguments and exit statuses.
//! - [`check`], [`apply`], [`undo`]: what the commands do. [`journal`]: what was there before.
//! - [`setting`]: what a setting is. [`settings`]: all of them, a file a subject.
//! - [`host`]: what settings look at. [`files`]: files below a root. [`probe`]: what can only be tried.
//! - results are said by [`report`].
//! - [`plan`]: capacity planning, a world of its own: it looks at result files of `ringkeeper-loadgen`, never at a host.
//!
//! Not here: anything of the server; the two only agree on what they look at (`probe`).

pub mod apply;
pub mod check;
pub mod cli;
pub mod files;
pub mod host;
pub mod journal;
pub mod plan;
pub mod probe;
pub mod report;
pub mod setting;
pub mod settings;
pub mod undo;
