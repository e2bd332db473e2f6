#![forbid(unsafe_code)]
//! The program as a script sees it: arguments, output, exit statuses.

use std::process::{Command, Output};

use ringkeeper_tuning::report::json;
use ringkeeper_tuning::setting::{Profile, Severity, Verdict};

use crate::fake::Fake;

fn run(fake: &Fake, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-tune"));
    command.args(args).arg("--root").arg(fake.root()).output().unwrap()
}

#[track_caller]
fn expect(output: &Output, status: i32, text: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    assert!(out.contains(text) || err.contains(text), "{text:?} is not in:\n{out}{err}");
}

#[test]
fn the_status_says_how_bad_it_is() {
    let fake = Fake::healthy();
    let check = ["check", "--profile", "dedicated"];
    expect(&run(&fake, &check), 0, "0 fail");
    fake.write("/proc/sys/net/core/netdev_max_backlog", "10\n");
    expect(&run(&fake, &check), 0, "1 fail (0 critical, 0 warning, 1 info)");
    fake.write("/proc/sys/net/core/somaxconn", "10\n");
    expect(&run(&fake, &check), 3, "somaxconn");
    fake.write("/proc/sys/kernel/io_uring_disabled", "1\n");
    expect(&run(&fake, &check), 4, "1 critical");
    expect(&run(&fake, &["check", "--only", "somaxconn", "--skip", "somaxconn"]), 0, "0 hold");
}

#[test]
fn wrong_arguments_are_named() {
    let fake = Fake::healthy();
    expect(&run(&fake, &["check", "--only", "nonsense"]), 2, "no such setting; there are io-uring-sysctl");
    expect(&run(&fake, &["apply", "--force"]), 2, "--undo");
    expect(&run(&fake, &["check", "--unit", "../x"]), 2, "letters, digits");
    expect(&run(&fake, &["check", "--user", "a b"]), 2, "letters, digits");
    expect(&run(&fake, &["check", "--data", "data"]), 2, "an absolute path");
    expect(&run(&fake, &[]), 2, "Usage");
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper-tune"))
        .args(["check", "--root"])
        .arg(fake.at("/etc/machine-id"))
        .output()
        .unwrap();
    expect(&output, 1, "root");
}

#[test]
fn apply_and_undo_from_the_command_line() {
    let fake = Fake::broken();
    let before = fake.tree();
    let apply = ["apply", "--profile", "dedicated", "--data", "/var/lib/zookeeper"];
    expect(&run(&fake, &[&apply[..], &["--dry-run"]].concat()), 0, "somaxconn: would change");
    assert!(fake.tree() == before);
    expect(&run(&fake, &apply), 0, "somaxconn: changed  /proc/sys/net/core/somaxconn: 128 -> 4096");
    expect(&run(&fake, &apply), 0, "nothing to change");
    expect(&run(&fake, &["apply", "--undo", "--dry-run"]), 0, "would restore");
    fake.write("/proc/sys/net/core/somaxconn", "9999\n");
    expect(&run(&fake, &["apply", "--undo"]), 5, "LEFT /proc/sys/net/core/somaxconn");
    expect(&run(&fake, &["apply", "--undo", "--force"]), 0, "restored /proc/sys/net/core/somaxconn");
    expect(&run(&fake, &["apply", "--undo"]), 0, "nothing to undo");
    assert!(fake.tree() == before);
}

#[test]
fn what_cannot_be_changed_and_a_bad_journal_have_statuses_of_their_own() {
    let fake = Fake::healthy();
    fake.write("/proc/sys/net/core/somaxconn", "128\n");
    // A folder where our file goes: refused, whoever asks.
    std::fs::create_dir(fake.at("/etc/sysctl.d/99-ringkeeper.conf")).unwrap();
    expect(&run(&fake, &["apply", "--profile", "shared"]), 0, "nothing to change");
    expect(&run(&fake, &["check", "--profile", "shared", "--only", "somaxconn"]), 3, "unknown");
    std::fs::remove_dir(fake.at("/etc/sysctl.d/99-ringkeeper.conf")).unwrap();
    std::fs::remove_dir(fake.at("/etc/sysctl.d/")).unwrap_err();
    fake.write("/var/lib/ringkeeper-tune/undo.json", "half a jour");
    expect(&run(&fake, &["apply", "--profile", "shared"]), 6, "is damaged (cut short); nothing was changed");
    expect(&run(&fake, &["apply", "--undo"]), 6, "is damaged");
    assert_eq!(fake.read("/proc/sys/net/core/somaxconn"), "128\n");
    assert_eq!(fake.read("/var/lib/ringkeeper-tune/undo.json"), "half a jour");
}

#[test]
fn a_read_only_place_refuses_with_status_5() {
    let fake = Fake::healthy();
    fake.write("/proc/sys/net/core/somaxconn", "128\n");
    // A folder under the name of the file that is written before it takes the other's place.
    std::fs::create_dir(fake.at("/proc/sys/net/core/.somaxconn.ringkeeper-tune")).unwrap();
    let output = run(&fake, &["apply", "--profile", "shared"]);
    expect(&output, 5, "somaxconn: REFUSED  /proc/sys/net/core/somaxconn: 128 -> 4096");
    expect(&output, 5, "somaxconn: changed  /etc/sysctl.d/99-ringkeeper.conf");
    expect(&output, 5, "somaxconn: still fails");
    expect(&run(&fake, &["apply", "--undo"]), 0, "/proc/sys/net/core/somaxconn is as it was already");
}

#[test]
fn json_of_every_command_reads_back() {
    let fake = Fake::broken();
    let output = run(&fake, &["check", "--json", "--profile", "dedicated"]);
    expect(&output, 4, "{\"schema\":1,\"kind\":\"check\",");
    let check: json::Check = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((check.profile, check.profile_guessed), (Profile::Dedicated, false));
    assert_eq!(check.worst, Some(Severity::Critical));
    assert_eq!(check.settings.len(), 24);
    let tried = check.settings.iter().find(|setting| setting.name == "io-uring-tried").unwrap();
    assert_eq!(tried.verdict, Verdict::Absent, "nothing is tried under another root");

    let output = run(&fake, &["apply", "--json", "--profile", "dedicated"]);
    let apply: json::Apply = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((apply.kind.as_str(), apply.dry_run, apply.error), ("apply", false, None));
    let somaxconn = apply.settings.iter().find(|setting| setting.name == "somaxconn").unwrap();
    assert_eq!(somaxconn.verdict, Some(Verdict::Holds));
    assert_eq!(somaxconn.edits[0].from.as_deref(), Some("128"));

    let output = run(&fake, &["apply", "--undo", "--json"]);
    let undo: json::Undo = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(undo.kind, "undo");
    assert!(undo.paths.len() > 10);
    assert!(undo.paths.iter().all(|path| path.outcome == "restored"));
}

#[test]
fn the_profile_is_guessed_and_never_dedicated() {
    let fake = Fake::healthy();
    expect(&run(&fake, &["check"]), 0, "profile shared, guessed");
    fake.write("/sys/class/power_supply/BAT0/type", "Battery\n");
    expect(&run(&fake, &["check"]), 0, "profile laptop, guessed");
    fake.write("/.dockerenv", "");
    expect(&run(&fake, &["check"]), 0, "profile container, guessed");
    expect(&run(&fake, &["check", "--profile", "laptop"]), 0, "profile laptop;");
}
