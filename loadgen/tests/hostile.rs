#![forbid(unsafe_code)]
//! The program against servers that behave and servers that do not: exit status, message, and what it measured.

#![allow(clippy::unwrap_used)] // A test: it says what it expects by unwrapping.

mod support;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ringkeeper_loadgen::results::records::{Line, Record, SCHEMA, Summary};
use support::{Double, Fault, measured};

/// Short runs; waits for a server are long, since a busy machine makes any server slow.
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
    "60s",
    "--connect-timeout",
    "60s",
    "--give-up",
    "60s",
    "--drain",
    "60s",
    "--seed",
    "7",
    "--plain",
];

/// Against a server of which nothing is to be had: every wait ends soon.
const IMPATIENT: &[&str] =
    &["--stall", "300ms", "--connect-timeout", "600ms", "--give-up", "500ms", "--drain", "300ms"];

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
    // 400 ms of 2000 a second. What the schedule owes at the edges may differ by a few, and what was due in the warm-up
    // of 100 ms may come late.
    assert!((780..=1020).contains(&(summary.completed + summary.unsent)), "{}", summary.completed);
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
    measured(|| {
        let output = run(&double, &["--rate", "20", "--mix", "read", "--duration", "1s", "--depth", "1"]);
        check(&output, 0, "");
        let latency = summary(&output).latency;
        assert!(latency.min_us >= 20_000.0 && latency.p50_us >= 20_000.0, "{latency:?}");
        if latency.p50_us < 40_000.0 { Ok(()) } else { Err(latency.p50_us) }
    });
}

#[test]
fn requests_leave_on_schedule() {
    measured(|| {
        let double = Double::start(Fault::None);
        let output = run(&double, &["--rate", "250", "--mix", "read", "--duration", "1s", "--warm-up", "0"]);
        check(&output, 0, "");
        let late = summary(&output).late.p50_us;
        let came = double.arrivals();
        if !(248..=250).contains(&came.len()) {
            return Err(format!("{} requests, {late} us late", came.len()));
        }
        // When each came, beyond its place in the schedule: one every 4 ms.
        let since = |at: usize| (came[at] - came[0]).as_secs_f64() * 1e3 - 4.0 * at as f64;
        let late_ms: Vec<f64> = (0..came.len()).map(since).collect();
        let least = |part: &[f64]| part.iter().copied().fold(f64::INFINITY, f64::min);
        // Others use the machine too and make requests late, never early. So it is the earliest of each quarter that
        // shows the schedule: it does not drift.
        let all = least(&late_ms);
        let drifts = late_ms.chunks(62).any(|quarter| least(quarter) > all + 3.0);
        // And requests leave one by one, not in heaps.
        let gaps =
            came.windows(2).filter(|two| (3.5..4.5).contains(&((two[1] - two[0]).as_secs_f64() * 1e3)));
        let gaps = gaps.count();
        if !drifts && gaps >= 25 { Ok(()) } else { Err(format!("{gaps} gaps of 4 ms; {late_ms:?}")) }
    });
}

#[test]
fn an_open_loop_counts_what_a_closed_one_hides() {
    // 50 a second is what it can do on 1 x 1; 200 are asked of it.
    let double = Double::start(Fault::Slow(Duration::from_millis(20)));
    let narrow =
        ["--connections", "1", "--depth", "1", "--mix", "read", "--duration", "1s", "--warm-up", "0"];
    let run = |pace: &[&str]| {
        let output = run(&double, &[&narrow, pace].concat());
        check(&output, 0, "");
        summary(&output)
    };
    let open = run(&["--rate", "200"]);
    assert!(open.latency.p50_us > 200_000.0, "{:?}", open.latency);
    assert!(open.unsent > 100, "{open:?}");
    measured(|| {
        let closed = run(&["--saturate"]);
        assert_eq!(closed.unsent, 0);
        if closed.latency.p50_us < 45_000.0 { Ok(()) } else { Err(closed.latency.p50_us) }
    });
}

#[test]
fn a_port_where_nobody_listens_is_unreachable() {
    let double = Double::start(Fault::None);
    let target = double.target();
    drop(double);
    let output = loadgen(&[&["run", &target], QUICK, IMPATIENT].concat());
    check(&output, 3, "cannot reach");
}

#[test]
fn a_server_that_cannot_start_is_named() {
    let double = Double::start(Fault::None);
    let target = double.target();
    drop(double);
    let output =
        loadgen(&[&["run", &target, "--start", "false"], QUICK, &["--connect-timeout", "5s"]].concat());
    check(&output, 3, "\"false\" ended: exit status: 1");
}

#[test]
fn servers_that_give_no_session_are_unreachable() {
    for (fault, said) in [(Fault::Mute, "no answer for"), (Fault::CloseAtHello, "closed the connection")] {
        check(&run(&Double::start(fault), IMPATIENT), 3, said);
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
    measured(|| {
        let more = ["--rate", "1000", "--duration", "60s", "--stall", "300ms", "--give-up", "2s"];
        let output = run(&Double::start(Fault::Stall(100)), &more);
        check(&output, 4, "no answer for");
        let summary = summary(&output);
        // Both connections are found stalled, unless this program itself stood still until it gave up.
        let stalled = summary.lost.get("stalled").copied().unwrap_or(0);
        if stalled >= 2 && summary.unanswered > 0 { Ok(()) } else { Err((stalled, summary.unanswered)) }
    });
}

#[test]
fn a_server_that_dies_is_given_up_soon() {
    let began = Instant::now();
    let more = ["--rate", "1000", "--duration", "120s"];
    let output = run(&Double::start(Fault::Die(100)), &[IMPATIENT, &more].concat());
    check(&output, 4, "cannot connect");
    // Long before the run would have ended.
    assert!(began.elapsed() < Duration::from_secs(100));
    let Some(Record::Summary(_)) = records(&output).into_iter().rev().nth(1) else {
        panic!("what was measured until then is reported")
    };
}

#[test]
fn connections_that_are_closed_now_and_then_are_counted_and_made_again() {
    let double = Double::start(Fault::CloseEvery(150));
    let output = run(&double, &["--rate", "2000", "--verify", "--duration", "2s"]);
    check(&output, 0, "");
    let summary = summary(&output);
    assert!(summary.lost["closed"] >= 2 && summary.unanswered >= 2, "{summary:?}");
    assert!(summary.completed >= 300, "{summary:?}");
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
        let more = ["--rate", "2000", "--verify", "--mix", mix, "--duration", "2s"];
        check(&run(&Double::start(fault), &more), 5, said);
    }
}

#[test]
fn a_write_that_was_done_and_never_answered_is_unknown_and_not_a_lie() {
    let double = Double::start(Fault::Swallow(300));
    // The drain ends before the stall is noticed, so the requests are in flight to the last.
    let patient = ["--drain", "100ms", "--mix", "write", "--rate", "1000", "--duration", "3s"];
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
    assert!(summary(&output).errors["NoAuth"] > 0);
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
