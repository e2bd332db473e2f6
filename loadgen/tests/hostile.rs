#![forbid(unsafe_code)]
//! The program against servers that behave and servers that do not: exit status, message, and what it measured.

#![allow(clippy::unwrap_used)] // A test: it says what it expects by unwrapping.

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ringkeeper_loadgen::results::records::{Line, Record, SCHEMA, Summary};
use support::{Double, Fault};

/// Short times: every wait of the program has an end of its own.
const QUICK: &[&str] = &[
    "--keys",
    "50",
    "--fan",
    "10",
    "--value-size",
    "64",
    "--connections",
    "2",
    "--duration",
    "400ms",
    "--warm-up",
    "100ms",
    "--interval",
    "100ms",
    "--stall",
    "300ms",
    "--connect-timeout",
    "600ms",
    "--give-up",
    "500ms",
    "--drain",
    "300ms",
    "--seed",
    "7",
    "--plain",
];

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringkeeper-loadgen")).args(arguments).output().unwrap()
}

fn run(double: &Double, more: &[&str]) -> Output {
    let target = double.target();
    loadgen(&[&["run", &target, "--json", "-"], QUICK, more].concat())
}

fn records(output: &Output) -> Vec<Record> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).expect(line));
    lines
        .map(|line| {
            assert_eq!(line.schema, SCHEMA);
            line.record
        })
        .collect()
}

fn summary(output: &Output) -> Summary {
    let found = records(output).into_iter().find_map(|record| match record {
        Record::Summary(summary) => Some(*summary),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no summary: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The status, what the last line says, and that the last record says the same.
fn check(output: &Output, status: i32, said: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.lines().last().unwrap_or_default().contains(said), "{said:?} is not in {stderr}");
    if output.stdout.starts_with(b"{") {
        let Some(Record::End(end)) = records(output).pop() else { panic!("the last record is not the end") };
        assert_eq!(i32::from(end.exit), status);
        assert!(status == 0 || end.message.unwrap().contains(said));
    }
}

#[test]
fn an_honest_server_is_measured_and_verified() {
    let double = Double::start(Fault::None);
    let mix = "create=2,delete=1,set=3,get=3,exists=1,list=1,multi=1,ephemeral=1";
    let output = run(&double, &["--verify", "--rate", "2000", "--mix", mix, "--threads", "2"]);
    check(&output, 0, "");
    let summary = summary(&output);
    let verified = summary.verified.clone().unwrap();
    assert_eq!((verified.wrong, verified.findings.len()), (0, 0));
    assert!(verified.checked > 50, "{verified:?}");
    assert_eq!(summary.kinds.len(), 8, "every kind occurred: {:?}", summary.kinds.keys());
    assert!(summary.errors.is_empty() && summary.lost.is_empty(), "{summary:?}");
    // 400 ms of 2000 a second; what the schedule owes at the edges may differ by a few.
    assert!((700..=900).contains(&(summary.completed + summary.unsent)), "{}", summary.completed);
    assert_eq!(double.below("/loadgen/ephemerals/"), 0, "sessions were closed");
    let numbers: Vec<i64> = records(&output)
        .iter()
        .filter_map(
            |record| if let Record::Interval(interval) = record { Some(interval.number) } else { None },
        )
        .collect();
    assert_eq!(numbers, [-1, 0, 1, 2, 3]);
}

#[test]
fn known_delays_are_found_in_the_histogram() {
    let double = Double::start(Fault::Slow(Duration::from_millis(20)));
    let output = run(&double, &["--rate", "20", "--mix", "read", "--duration", "1s", "--depth", "1"]);
    check(&output, 0, "");
    let latency = summary(&output).latency;
    assert!((20_000.0..40_000.0).contains(&latency.p50_us), "{latency:?}");
    assert!(latency.min_us >= 20_000.0, "{latency:?}");
}

#[test]
fn requests_leave_on_schedule() {
    let double = Double::start(Fault::None);
    let output = run(&double, &["--rate", "250", "--mix", "read", "--duration", "1s", "--warm-up", "0"]);
    check(&output, 0, "");
    let arrivals = double.arrivals();
    assert!((248..=250).contains(&arrivals.len()), "{}", arrivals.len());
    let mut gaps: Vec<f64> = arrivals.windows(2).map(|two| (two[1] - two[0]).as_secs_f64() * 1e3).collect();
    gaps.sort_by(f64::total_cmp);
    // Every 4 ms; others use the machine too, so the middle of them is looked at, and the whole does not drift.
    assert!((3.8..4.2).contains(&gaps[gaps.len() / 2]), "{gaps:?}");
    let whole = (arrivals[arrivals.len() - 1] - arrivals[0]).as_secs_f64();
    assert!((0.95..1.05).contains(&(whole / 0.996)), "{whole}");
    assert!(summary(&output).late.p50_us < 1_000.0, "{:?}", summary(&output).late);
}

#[test]
fn an_open_loop_counts_what_a_closed_one_hides() {
    // 50 a second is what it can do on 1 x 1; 200 are asked of it.
    let double = Double::start(Fault::Slow(Duration::from_millis(20)));
    let narrow =
        ["--connections", "1", "--depth", "1", "--mix", "read", "--duration", "1s", "--warm-up", "0"];
    let measured = |pace: &[&str]| {
        let output = run(&double, &[&narrow, pace].concat());
        check(&output, 0, "");
        summary(&output)
    };
    let (open, closed) = (measured(&["--rate", "200"]), measured(&["--saturate"]));
    assert!(closed.latency.p50_us < 45_000.0, "{:?}", closed.latency);
    assert!(open.latency.p50_us > 200_000.0, "{:?}", open.latency);
    assert!(open.unsent > 100, "{open:?}");
    assert_eq!(closed.unsent, 0);
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let double = Double::start(Fault::None);
    let target = double.target();
    drop(double);
    let output = loadgen(&[&["run", &target], QUICK].concat());
    check(&output, 3, "cannot reach");
}

#[test]
fn a_server_that_cannot_start_is_named() {
    let double = Double::start(Fault::None);
    let target = double.target();
    drop(double);
    let output = loadgen(&[&["run", &target, "--start", "false"], QUICK].concat());
    check(&output, 3, "\"false\" ended: exit status: 1");
}

#[test]
fn servers_that_give_no_session_are_unreachable() {
    for (fault, said) in [(Fault::Mute, "no answer for"), (Fault::CloseAtHello, "closed the connection")] {
        check(&run(&Double::start(fault), &[]), 3, said);
    }
}

#[test]
fn whatever_is_not_the_protocol_is_a_lie() {
    for (fault, said) in [
        (Fault::GarbageAtHello, "a frame of 1213486160 bytes"),
        (Fault::BadFrame(100, -7), "a frame of -7 bytes"),
        (Fault::BadFrame(100, i32::MAX), "a frame of 2147483647 bytes"),
        (Fault::ShortBody(100), "cannot be read"),
        (Fault::WrongXid(100), "where"),
        (Fault::ZxidBack(100), "zxid 0x1 after"),
    ] {
        check(&run(&Double::start(fault), &["--rate", "2000"]), 5, said);
    }
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let output = run(&Double::start(Fault::Stall(100)), &["--rate", "1000", "--duration", "20s"]);
    check(&output, 4, "no answer for");
    let summary = summary(&output);
    assert!(summary.lost["stalled"] >= 2 && summary.unanswered > 0, "{summary:?}");
}

#[test]
fn a_server_that_dies_is_given_up_soon() {
    let began = Instant::now();
    let output = run(&Double::start(Fault::Die(100)), &["--rate", "1000", "--duration", "60s"]);
    check(&output, 4, "cannot connect");
    assert!(began.elapsed() < Duration::from_secs(20));
    let Some(Record::Summary(_)) = records(&output).into_iter().rev().nth(1) else {
        panic!("what was measured until then is reported")
    };
}

#[test]
fn connections_that_are_closed_now_and_then_are_counted_and_made_again() {
    let double = Double::start(Fault::CloseEvery(150));
    let output = run(&double, &["--rate", "2000", "--verify"]);
    check(&output, 0, "");
    let summary = summary(&output);
    assert!(summary.lost["closed"] >= 2 && summary.unanswered >= 2, "{summary:?}");
    assert!(summary.completed > 300, "{summary:?}");
    // Renewed sessions, not new ones: two of the load, eight that filled, one for folders, up to three that read back.
    assert!(double.sessions() <= 14, "{}", double.sessions());
}

#[test]
fn lost_acknowledged_writes_and_stale_reads_are_found() {
    for (fault, mix, said) in [
        // Nobody reads meanwhile, so only reading back finds it.
        (Fault::Forget(20), "write", "a write at"),
        (Fault::Forget(20), "default", "which this session saw"),
        (Fault::Stale(50), "read", "which this session saw"),
    ] {
        check(&run(&Double::start(fault), &["--rate", "2000", "--verify", "--mix", mix]), 5, said);
    }
}

#[test]
fn a_write_that_was_done_and_never_answered_is_unknown_and_not_a_lie() {
    let double = Double::start(Fault::Swallow(300));
    // The drain ends before the stall is noticed, so the requests are in flight to the last.
    let patient =
        ["--stall", "20s", "--give-up", "20s", "--drain", "100ms", "--mix", "write", "--rate", "1000"];
    let output = run(&double, &[&patient[..], &["--verify"]].concat());
    check(&output, 0, "");
    let summary = summary(&output);
    assert_eq!(summary.verified.as_ref().map(|verified| verified.wrong), Some(0), "{summary:?}");
    // Two connections with eight in flight each.
    assert_eq!(summary.unanswered, 16);
    assert!(summary.unsent > 100);
}

#[test]
fn a_server_that_refuses_every_request_has_not_been_measured() {
    let output = run(&Double::start(Fault::Fail(-102)), &["--mix", "read", "--rate", "500"]);
    check(&output, 4, "every request failed");
    assert!(summary(&output).errors["NoAuth"] > 50);
}

#[test]
fn wrong_arguments_and_unwritable_files_have_their_status() {
    let double = Double::start(Fault::None);
    let target = double.target();
    check(&loadgen(&["run", &target, "--mix", "get=0", "-q"]), 2, "");
    check(&loadgen(&["run", "nowhere", "-q"]), 2, "HOST:PORT");
    check(&loadgen(&["run", &target, "--connections", "0", "-q"]), 2, "at least 1");
    check(&loadgen(&["run", &target, "--pid", "999999999", "-q"]), 2, "--pid 999999999");
    let folder = tempfile::tempdir().unwrap();
    check(&loadgen(&["run", &target, "--json", folder.path().to_str().unwrap()]), 1, "directory");
    assert_eq!(double.sessions(), 0, "nothing was sent");
}

#[test]
fn a_fill_makes_every_key_even_if_connections_break() {
    for fault in [Fault::None, Fault::CloseEvery(100)] {
        let double = Double::start(fault);
        let target = double.target();
        let output =
            loadgen(&["fill", &target, "--keys", "1000", "--value-size", "10", "--threads", "2", "-q"]);
        check(&output, 0, "");
        assert_eq!(double.below("/loadgen/d") - 10, 1000, "{fault:?}");
        // A second time they exist, and are set.
        let output = loadgen(&["fill", &target, "--keys", "1000", "--value-size", "10", "-q", "--json", "-"]);
        check(&output, 0, "");
        assert_eq!(summary(&output).completed, 1000, "{fault:?}");
    }
}
