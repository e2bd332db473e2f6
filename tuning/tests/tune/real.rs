#![forbid(unsafe_code)]
//! This machine, for real: kernel parameters of a network namespace of our own, with folders of our own in the place of
//! those that would be written. Nothing of the machine is changed.

use std::io::Write;
use std::process::{Command, Output};

/// In namespaces of its own, a tmpfs over each folder that apply writes.
fn in_namespaces(script: &str) -> Output {
    let tune = env!("CARGO_BIN_EXE_ringkeeper-tune");
    let prelude = "set -eu
        for folder in /etc/sysctl.d /var/lib; do mount -t tmpfs none $folder; done
        tune=$1
        live=/proc/sys/net/core/somaxconn
        settled() { cat $live; find /etc/sysctl.d /var/lib -mindepth 1; }
    ";
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare
        .args(["--net", "--mount", "sh", "-c", &format!("{prelude}\n{script}"), "sh", tune])
        .output()
        .expect("util-linux is on every Linux")
}

/// Whether such namespaces can be had; if not, that is said where nobody overlooks it.
fn is_possible(test: &str) -> bool {
    let probe = in_namespaces("test -w $live");
    if !probe.status.success() {
        let why = String::from_utf8_lossy(&probe.stderr).trim().to_owned();
        // Past the test harness, which keeps the output of tests that pass to itself.
        let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: this machine gives no namespaces ({why})\n");
    }
    probe.status.success()
}

#[test]
fn apply_and_undo_for_real_in_a_network_namespace() {
    if !is_possible("apply_and_undo_for_real_in_a_network_namespace") {
        return;
    }
    let output = in_namespaces(
        "echo 77 > $live
        before=$(settled)
        only='--profile dedicated --only somaxconn,syn-backlog --no-measure'
        status=0; $tune check $only || status=$?; echo check $status
        $tune apply $only; echo apply $?
        echo live $(cat $live)
        cat /etc/sysctl.d/99-ringkeeper.conf
        $tune check $only; echo check $?
        $tune apply $only; echo again $?
        $tune apply --undo; echo undo $?
        [ \"$before\" = \"$(settled)\" ] && echo as before",
    );
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in [
        "check 3\n",
        "somaxconn: changed  /proc/sys/net/core/somaxconn: 77 -> 4096\n",
        "apply 0\n",
        "live 4096\n",
        "\nnet.core.somaxconn = 4096\n",
        "check 0\n",
        "nothing to change\nagain 0\n",
        "somaxconn: restored /proc/sys/net/core/somaxconn\n",
        "undo 0\n",
        "as before\n",
    ] {
        assert!(out.contains(expected), "no {expected:?} in\n{out}{err}");
    }
    assert!(output.status.success(), "{out}{err}");
}

#[test]
fn a_kernel_that_refuses_is_quoted_and_the_rest_is_done() {
    if !is_possible("a_kernel_that_refuses_is_quoted_and_the_rest_is_done") {
        return;
    }
    let output = in_namespaces(
        "echo 77 > $live
        mount --bind $live $live
        mount -o remount,ro,bind $live
        status=0; $tune apply --profile shared --only somaxconn --no-measure || status=$?; echo apply $status
        $tune apply --undo; echo undo $?
        echo live $(cat $live)
        find /etc/sysctl.d /var/lib -mindepth 1",
    );
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for expected in [
        "somaxconn: REFUSED  /proc/sys/net/core/somaxconn: 77 -> 4096: Read-only file system",
        "somaxconn: changed  /etc/sysctl.d/99-ringkeeper.conf",
        "apply 5\n",
        "/proc/sys/net/core/somaxconn is as it was already\n",
        "undo 0\nlive 77\n",
    ] {
        assert!(out.contains(expected), "no {expected:?} in\n{out}{err}");
    }
    assert!(out.ends_with("live 77\n"), "nothing is left: {out}{err}");
}

#[test]
fn check_of_this_machine_ends_with_a_status_of_its_own() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper-tune"))
        .args(["check", "--json", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!([0, 3, 4].contains(&output.status.code().unwrap()), "{output:?}");
    let check: ringkeeper_tuning::report::json::Check = serde_json::from_slice(&output.stdout).unwrap();
    let direct = check.settings.iter().find(|setting| setting.name == "direct-io");
    // A laptop is not measured, whatever else this machine is.
    if let Some(direct) = direct {
        assert!(direct.current.contains(folder.path().to_str().unwrap()), "{direct:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
