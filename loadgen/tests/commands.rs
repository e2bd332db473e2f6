#![forbid(unsafe_code)]
//! Each command against doubles that behave: what it writes and where.

#![allow(clippy::unwrap_used)] // A test: it says what it expects by unwrapping.

mod support;

use std::process::{Command, Output};
use std::time::Duration;

use ringkeeper_loadgen::results::records::{Line, Record, SCHEMA};
use support::{Double, Fault, measured};

/// Short times.
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
    "300ms",
    "--warm-up",
    "50ms",
    "--interval",
    "100ms",
    "--seed",
    "7",
];

fn loadgen(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper-loadgen")).args(arguments).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs it, expects a status, and returns its records.
fn records(status: i32, arguments: &[&str]) -> Vec<Record> {
    let output = loadgen(&[arguments, &["--json", "-", "-q"]].concat());
    assert_eq!(output.status.code(), Some(status));
    parsed(&output)
}

fn parsed(output: &Output) -> Vec<Record> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).expect(line));
    lines.inspect(|line| assert_eq!(line.schema, SCHEMA)).map(|line| line.record).collect()
}

fn pick<T>(records: &[Record], of: impl Fn(&Record) -> Option<T>) -> Vec<T> {
    records.iter().filter_map(of).collect()
}

#[test]
fn results_are_written_in_every_form() {
    let double = Double::start(Fault::None);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html, hdr) = (path("a.json"), path("a.html"), path("a.hlog"));
    let target = format!("<x>={}", double.target());
    let own = std::process::id().to_string();
    let outputs = ["--json", &json, "--html", &html, "--hdr", &hdr, "--pid", &own];
    let output = loadgen(&[&["run", &target, "--rate", "1000"], QUICK, &outputs].concat());
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("µs CPU a request") && stdout.contains("p99.9"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("warm-up") && stderr.contains("100%") && !stderr.contains('\x1b'), "{stderr}");

    let html = std::fs::read_to_string(html).unwrap();
    assert_eq!(html.matches("<figure>").count(), 3);
    assert!(html.contains("&lt;x&gt;") && !html.contains("<x>"), "names are escaped");
    for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}: the report needs nothing else");
    }
    for tag in ["table", "svg", "figure", "dl", "body", "html", "tr", "td", "text"] {
        let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }

    let hdr = std::fs::read_to_string(hdr).unwrap();
    assert!(hdr.starts_with("#[Histogram log format version 1.3]\n"));
    assert!(hdr.lines().any(|line| line.starts_with("Tag=<x>/0/get,") && line.contains(",HISTF")), "{hdr}");

    let json = std::fs::read_to_string(json).unwrap();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["schema"].as_str(), first["type"].as_str()), (Some(SCHEMA), Some("start")));
    assert!(first["machine"]["memory_bytes"].as_u64().unwrap() > 1 << 20);
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!((last["type"].as_str(), last["exit"].as_u64()), (Some("end"), Some(0)));
}

#[test]
fn the_server_is_watched_by_its_process_id() {
    let double = Double::start(Fault::None);
    // The double lives in this process.
    let own = std::process::id().to_string();
    let (target, more) = (double.target(), ["--saturate", "--pid", &own]);
    let records = records(0, &[&["run", &target], QUICK, &more].concat());
    let usage =
        pick(&records, |record| if let Record::Summary(summary) = record { summary.server } else { None });
    assert!(usage[0].cpu_s > 0.0 && usage[0].resident_bytes > 1 << 20, "{usage:?}");
    let summary = pick(&records, |record| match record {
        Record::Summary(summary) => Some(summary.clone()),
        _ => None,
    });
    let network = summary[0].network.unwrap();
    let (moved, values) =
        (network.sent_per_second + network.received_per_second, summary[0].value_bytes_per_second);
    // A frame and a header each way beside the values: 4 and at least 8 bytes to the server, 4 and 16 back.
    assert!(moved > values + summary[0].per_second * 32.0, "{network:?} {values}");
    let samples =
        pick(&records, |record| if let Record::Interval(interval) = record { interval.server } else { None });
    assert!(samples.windows(2).all(|two| two[0].cpu_s <= two[1].cpu_s) && samples.len() >= 3, "{samples:?}");
}

#[test]
fn a_comparison_alternates_and_reports_ratios() {
    let (fast, slow) = (Double::start(Fault::None), Double::start(Fault::Slow(Duration::from_millis(5))));
    let targets = [format!("fast={}", fast.target()), format!("slow={}", slow.target())];
    let more = ["--saturate", "--rounds", "2", "--mix", "read", "--warm-first", "0"];
    let records = records(0, &[&["compare", &targets[0], &targets[1]], QUICK, &more].concat());
    let order = pick(&records, |record| match record {
        Record::Summary(summary) => Some(format!("{}{}", summary.target, summary.round)),
        _ => None,
    });
    assert_eq!(order, ["fast0", "slow0", "fast1", "slow1"]);
    let ratios =
        pick(&records, |record| if let Record::Ratio(ratio) = record { Some(ratio.clone()) } else { None });
    let of = |figure: &str| ratios.iter().find(|ratio| ratio.figure == figure).unwrap();
    let summaries = pick(&records, |record| match record {
        Record::Summary(summary) => Some((summary.per_second, summary.latency.p50_us)),
        _ => None,
    });
    assert!(summaries[1].1 >= 5_000.0 && summaries[3].1 >= 5_000.0, "every answer takes 5 ms: {summaries:?}");
    // Which of the two is faster is the machine's affair; the ratio is that of each round.
    let of_rounds = |figure: fn(&(f64, f64)) -> f64| {
        let mut rounds = [0, 2].map(|round| figure(&summaries[round + 1]) / figure(&summaries[round]));
        rounds.sort_by(f64::total_cmp);
        rounds
    };
    for (figure, [low, high]) in [("per_second", of_rounds(|s| s.0)), ("p50_us", of_rounds(|s| s.1))] {
        let ratio = of(figure);
        let is = |found: f64, expected: f64| (found - expected).abs() <= expected * 1e-3;
        assert!(is(ratio.low, low) && is(ratio.high, high), "{ratio:?} of {low} and {high}");
        assert!(ratio.low <= ratio.median && ratio.median <= ratio.high, "{ratio:?}");
        assert_eq!((ratio.rounds, ratio.target.as_str(), ratio.base.as_str()), (2, "slow", "fast"));
    }
    assert!(ratios.iter().all(|ratio| ratio.figure != "resident_bytes"), "no process is known");
}

#[test]
fn a_comparison_needs_two_targets_and_stops_at_the_first_that_fails() {
    let (good, bad) = (Double::start(Fault::None), Double::start(Fault::WrongXid(100)));
    let targets = [format!("good={}", good.target()), format!("bad={}", bad.target())];
    records(2, &[&["compare", &targets[0]], QUICK].concat());
    let records = records(
        5,
        &[&["compare", &targets[0], &targets[1], "--rate", "2000", "--warm-first", "0"], QUICK].concat(),
    );
    assert!(pick(&records, |record| matches!(record, Record::Ratio(_)).then_some(())).is_empty());
}

#[test]
fn a_sweep_finds_the_rate_and_says_when_there_is_none() {
    // 4 in flight at 10 ms each: 400 a second at most.
    let double = Double::start(Fault::Slow(Duration::from_millis(10)));
    let target = double.target();
    let narrow =
        ["--connections", "4", "--depth", "1", "--mix", "read", "--from", "100", "--precision", "0.3"];
    let sweep = |more: &[&str]| loadgen(&[&["sweep", &target], QUICK, &narrow, more].concat());
    let (records, found) = measured(|| {
        let output = sweep(&["--p99", "250ms", "--duration", "1s", "--json", "-", "-q"]);
        let records = parsed(&output);
        let found =
            pick(
                &records,
                |record| if let Record::Found(found) = record { Some(found.clone()) } else { None },
            );
        // A machine that stood still keeps no rate.
        if output.status.code() == Some(0) { Ok((records, found)) } else { Err(found) }
    });
    let rate = found[0].rate.unwrap();
    // In a second, whatever is asked beyond 400 waits in a row: 2.5 ms each, 250 ms for a hundred.
    assert!((100.0..=520.0).contains(&rate), "{found:?}");
    assert!(found[0].broken_at.unwrap() > rate);
    let tried =
        pick(&records, |record| if let Record::Point(point) = record { Some(point.kept) } else { None });
    assert!(tried.contains(&true) && tried.contains(&false), "{tried:?}");
    let output = sweep(&["--p99", "1ms", "--json", "-", "-q"]);
    assert_eq!(output.status.code(), Some(6));
    let records = parsed(&output);
    let end = pick(&records, |record| if let Record::End(end) = record { end.message.clone() } else { None });
    assert!(end[0].contains("no rate tried keeps p99 under"), "{end:?}");
}

#[test]
fn a_named_mix_is_replayed_and_an_unknown_one_refused() {
    let double = Double::start(Fault::None);
    let target = double.target();
    let records_of =
        |status, name| records(status, &[&["replay", name, &target, "--rate", "3000"], QUICK].concat());
    let summaries = pick(&records_of(0, "raftkeeper"), |record| match record {
        Record::Summary(summary) => Some(summary.clone()),
        _ => None,
    });
    assert_eq!(summaries[0].workload.mix, "create=1,delete=1,set=8,get=45,list=45");
    let count = |kind: &str| summaries[0].kinds.get(kind).map_or(0, |latency| latency.count) as f64;
    // As many of one as of the other: within five standard deviations, however many there were.
    let (gets, lists) = (count("get"), count("list"));
    assert!(gets > 0.0 && lists > 0.0, "{:?}", summaries[0].kinds);
    assert!((gets - lists).abs() <= 5.0 * (gets + lists).sqrt(), "{:?}", summaries[0].kinds);
    records_of(2, "get=1");
}

#[test]
fn a_failover_reports_the_longest_gap() {
    // Nobody dies: the gap is what lies between two writes.
    let double = Double::start(Fault::None);
    let target = double.target();
    let gap = |records: &[Record]| {
        let found =
            pick(
                records,
                |record| if let Record::Failover(found) = record { Some(found.clone()) } else { None },
            );
        found.into_iter().next().unwrap()
    };
    let calm = measured(|| {
        let calm = gap(&records(0, &[&["failover", &target, "--rate", "500"], QUICK].concat()));
        if calm.gap_ms < 250.0 { Ok(calm) } else { Err(calm) }
    });
    assert!(calm.gap_ms > 0.5 && calm.killed_at_s.is_none(), "{calm:?}");
    // Each write takes 50 ms, one after the other.
    let slow = Double::start(Fault::Slow(Duration::from_millis(50)));
    let narrow = ["--connections", "1", "--depth", "1", "--bound", "20ms"];
    let records = records(6, &[&["failover", &slow.target()], QUICK, &narrow].concat());
    assert!(gap(&records).gap_ms >= 50.0);
}

/// The figures and latencies of every turn of a scene.
fn scenes(records: &[Record]) -> Vec<ringkeeper_loadgen::results::records::Scene> {
    pick(records, |record| if let Record::Scene(scene) = record { Some(scene.clone()) } else { None })
}

#[test]
fn every_watcher_hears_of_every_write() {
    let double = Double::start(Fault::None);
    let target = double.target();
    let own = std::process::id().to_string();
    let fanout = ["fanout", &target, "--watchers", "50", "--writes", "4", "--pid", &own];
    let found = scenes(&records(0, &fanout));
    assert!(found[0].figures["cpu_us_per_event"] >= 0.0);
    let count = |of: &str| found[0].latencies[of].count;
    assert_eq!([count("last event"), count("event"), count("write")], [4, 200, 4]);
    assert!(found[0].latencies["last event"].p50_us >= found[0].latencies["event"].p50_us);
    assert_eq!((double.below("/loadgen/"), double.sessions()), (0, 51 + 3), "and nothing is left");
}

#[test]
fn a_storm_waits_for_every_session() {
    let double = Double::start(Fault::None);
    let found = scenes(&records(0, &["storm", &double.target(), "--sessions", "200"]));
    assert_eq!((found[0].count, found[0].latencies["session"].count, double.sessions()), (200, 200, 201));
    let longest = found[0].latencies["session"].max_us / 1e6;
    // The same moment, as the histogram has it.
    assert!((found[0].figures["all_up_s"] - longest).abs() <= longest * 2e-3 + 1e-5, "{found:?}");
}

#[test]
fn idle_sessions_are_weighed_and_need_a_process() {
    let double = Double::start(Fault::None);
    let (target, own) = (double.target(), std::process::id().to_string());
    let idle = ["idle", &target, "--sessions", "20", "--hold", "200ms", "--session-timeout", "150ms"];
    assert!(scenes(&records(2, &idle)).is_empty());
    let found = scenes(&records(0, &[&idle[..], &["--pid", &own]].concat()));
    assert!(found[0].figures["resident_bytes_per_session"] >= 0.0);
    assert!(found[0].figures["cpu_us_per_session_second"] >= 0.0);
    assert_eq!(found[0].figures["lost"], 0.0, "pings kept them");
}

#[test]
fn locks_and_leadership_go_round() {
    let double = Double::start(Fault::None);
    let target = double.target();
    for recipe in ["lock", "election"] {
        let more = ["--contenders", "5", "--duration", "300ms"];
        measured(|| {
            let found = scenes(&records(0, &[&[recipe, &target], &more[..]].concat()));
            let (handovers, rate) = (found[0].latencies["handover"].count, found[0].figures["per_second"]);
            if handovers > 10 && rate > 30.0 { Ok(()) } else { Err((recipe, handovers, rate)) }
        });
    }
    assert_eq!(double.below("/loadgen/"), 0, "nothing is left");
}

#[test]
fn scenes_take_turns_and_end_as_runs_do() {
    let (a, b) = (Double::start(Fault::None), Double::start(Fault::None));
    let targets = [format!("a={}", a.target()), format!("b={}", b.target())];
    let records_of = |status, targets: &[&str]| {
        records(status, &[&["storm"], targets, &["--sessions", "5", "--rounds", "2"]].concat())
    };
    let both = records_of(0, &[&targets[0], &targets[1]]);
    let order: Vec<String> =
        scenes(&both).iter().map(|scene| format!("{}{}", scene.target, scene.round)).collect();
    assert_eq!(order, ["a0", "b0", "a1", "b1"]);
    let ratios =
        pick(
            &both,
            |record| if let Record::Ratio(ratio) = record { Some(ratio.figure.clone()) } else { None },
        );
    assert!(ratios.contains(&"per_second".to_owned()), "{ratios:?}");
    let mute = Double::start(Fault::Mute);
    let arguments = ["storm", &mute.target(), "--connect-timeout", "300ms", "--stall", "200ms"];
    records(3, &arguments);
}

#[test]
fn a_restart_is_timed_from_the_process_to_the_first_answer_with_the_data() {
    // What is killed and started is a process that does nothing; the double answers all along.
    let double = Double::start(Fault::None);
    let target = format!("x={}", double.target());
    let few = ["--keys", "300", "--fan", "10", "--value-size", "16"];
    assert!(scenes(&records(2, &[&["restart", &target], &few[..]].concat())).is_empty(), "nothing to start");
    let start = ["--start", "sleep 1000", "--rounds", "2"];
    let all = records(0, &[&["restart", &target], &few[..], &start].concat());
    let found = scenes(&all);
    assert_eq!((found.len(), found[1].round, found[1].count), (2, 1, 300));
    for figure in ["ready_s", "ready_cpu_s", "ready_resident_bytes"] {
        assert!(found.iter().all(|scene| scene.figures[figure] >= 0.0), "{figure}: {found:?}");
    }
    assert!(found[0].figures["ready_s"] > 0.0 && double.below("/loadgen/d") == 330);
    let fills = pick(&all, |record| match record {
        Record::Summary(summary) => Some((summary.workload.mix.clone(), summary.completed)),
        _ => None,
    });
    assert_eq!(fills, [("fill".to_owned(), 300)]);
}

#[test]
fn one_report_is_made_of_what_several_commands_wrote() {
    let (a, b) = (Double::start(Fault::None), Double::start(Fault::None));
    let targets = [format!("a={}", a.target()), format!("b={}", b.target())];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second, html) = (path("1.jsonl"), path("2.jsonl"), path("all.html"));
    let compare = ["compare", &targets[0], &targets[1], "--saturate", "--warm-first", "0", "--rounds", "2"];
    let named = ["--title", "a <mix>", "-q", "--json", &first];
    assert_eq!(loadgen(&[&compare[..], QUICK, &named].concat()).status.code(), Some(0));
    let storm = ["storm", &targets[0], &targets[1], "--sessions", "5", "-q", "--json", &second];
    assert_eq!(loadgen(&storm).status.code(), Some(0));
    let report = |results: &[&str]| {
        let output = loadgen(&[&["report", "--html", &html, "--title", "both"], results].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(report(&[&first, &second]).0, Some(0));
    let page = std::fs::read_to_string(&html).unwrap();
    for part in
        ["<h1>both</h1>", "a &lt;mix&gt;: a second", "storm: all up", "At a glance", "storm of 5, every turn"]
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!(page.matches("<figure>").count(), 3, "a storm has no charts");
    for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}: the report needs nothing else");
    }
    let broken = path("broken.jsonl");
    std::fs::write(&broken, "{").unwrap();
    let (status, said) = report(&[&first, &broken]);
    assert!(status == Some(1) && said.contains("broken.jsonl:1"), "{said}");
    std::fs::write(&broken, "").unwrap();
    assert_eq!(report(&[&broken]).0, Some(1));
}
