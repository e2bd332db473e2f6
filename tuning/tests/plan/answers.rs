#![forbid(unsafe_code)]
//! What is answered, and how the program says it.

use std::path::PathBuf;
use std::process::{Command, Output};

use ringkeeper_tuning::plan::said::{self, Plan};

use crate::made::{Asked, File, lessons_file};

struct Files {
    folder: tempfile::TempDir,
    results: PathBuf,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let results = lessons_file().write(folder.path(), "results.jsonl");
        Files { folder, results }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// `plan` of 20,000 reads and 10,000 writes a second of 32 clients, and what else is said.
    fn plan(&self, more: &[&str]) -> Output {
        let usual = ["--clients", "32", "--reads", "20000", "--writes", "10000"];
        self.raw(&[&usual[..], more].concat())
    }

    fn raw(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper-tune"));
        command.arg("plan").arg(&self.results).args(arguments).output().unwrap()
    }

    fn json(&self, status: i32, more: &[&str]) -> Plan {
        let output = self.plan(&[more, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(status), "{}", said_by(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn said_by(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn expect(output: &Output, status: i32, parts: &[&str]) {
    let text = said_by(output);
    assert_eq!(output.status.code(), Some(status), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

fn inputs(plan: &Plan) -> Vec<&str> {
    plan.answer.extrapolated.iter().map(|found| found.input.as_str()).collect()
}

#[test]
fn one_server_within_what_was_measured_is_answered_without_reserve() {
    let files = Files::new();
    let output = files.plan(&["--down", "0"]);
    expect(&output, 0, &["1 server of", "workload  20,000 reads/s", "error of the model", "assumes"]);
    for absent in ["EXTRAPOLATES", "NOT MEASURED"] {
        assert!(!said_by(&output).contains(absent), "{}", said_by(&output));
    }
    let plan = files.json(0, &["--down", "0"]);
    let smallest = plan.answer.smallest.as_ref().unwrap();
    // By the law about 0.28 cores for requests and 0.13 for turns.
    assert!((smallest.servers, smallest.is_measured, smallest.server.cores) == (1, true, 1), "{smallest:?}");
    let asked = Asked { reads: 2e4, writes: 1e4, value: 1024.0, znodes: 1e4, connections: 32.0 };
    let truth = asked.truth();
    assert!((smallest.server.busy / truth.cpu - 1.0).abs() < 0.02, "{smallest:?}");
    assert!((smallest.server.memory_bytes / (truth.memory * 1.25) - 1.0).abs() < 0.02, "{smallest:?}");
    assert!((smallest.server.sent_per_second.unwrap() / truth.sent - 1.0).abs() < 0.02);
    // The log, and a snapshot now and then.
    let disk = smallest.server.disk_bytes_per_second.unwrap();
    assert!(disk > truth.disk && disk < truth.disk * 1.2, "{disk} {}", truth.disk);
    assert_eq!((plan.schema, plan.kind.as_str(), plan.errors.len()), (said::SCHEMA, "plan", 8));
}

#[test]
fn several_servers_are_said_to_be_reasoned() {
    let files = Files::new();
    let output = files.plan(&[]);
    expect(
        &output,
        3,
        &["3 servers of", "NOT MEASURED", "ENSEMBLES ARE NOT MEASURED", "servers (the fit is of one)"],
    );
    let plan = files.json(3, &[]);
    let (one, three) = (files.json(0, &["--down", "0"]), plan.answer.smallest.as_ref().unwrap());
    assert!((three.servers, three.up, three.is_measured) == (3, 2, false), "{three:?}");
    // A round trip more, whatever else.
    let one = one.answer.smallest.unwrap();
    assert!(
        three.write_p99_us.unwrap() >= one.write_p99_us.unwrap() - 500.0 && three.p99_us.unwrap() > 500.0
    );
    // The leader sends each write to two others.
    assert!(
        three.server.sent_per_second.unwrap()
            > one.server.sent_per_second.unwrap() / 2.0 + 2.0 * 1e4 * 1024.0
    );
    assert_eq!(files.json(3, &["--down", "2"]).answer.smallest.unwrap().servers, 5);
}

#[test]
fn what_lies_outside_is_named_each_by_itself() {
    let files = Files::new();
    for (more, input) in [
        (&["--value-size", "20000"][..], "bytes of a value"),
        (&["--znodes", "5000000"], "znodes"),
        (&["--clients", "2000"], "clients on a server"),
        (&["--cores", "64", "--reads", "500000", "--p99", "60ms"], "requests a second on a server"),
        (&["--growth", "20", "--cores", "64", "--p99", "60ms"], "writes a second"),
    ] {
        let arguments = [&["--down", "0", "--p99", "50ms"][..], more].concat();
        // What is said later counts.
        let arguments = overridden(&arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = files.raw(&[&arguments[..], &["--json"]].concat());
        let plan: Plan =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said_by(&output)));
        assert!(inputs(&plan).contains(&input), "{input}: {:?}", inputs(&plan));
        assert!(matches!(output.status.code(), Some(3 | 4)), "{}", said_by(&output));
        expect(&files.raw(&arguments), output.status.code().unwrap(), &["EXTRAPOLATES", input, "fitted"]);
    }
    let without_scenes = {
        let text = std::fs::read_to_string(&files.results).unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.contains("\"scene\"")).collect();
        let path = files.path("without.jsonl");
        std::fs::write(&path, kept.join("\n")).unwrap();
        Files { results: path.into(), folder: tempfile::tempdir().unwrap() }
    };
    let more = ["--down", "0", "--sessions", "50", "--watches", "1000"];
    assert_eq!(inputs(&files.json(0, &more)), [""; 0]);
    let named = without_scenes.json(3, &more);
    assert!(
        inputs(&named)[0].starts_with("idle sessions") && inputs(&named)[1].starts_with("watches"),
        "{:?}",
        inputs(&named)
    );
}

/// The usual workload with some of its numbers replaced.
fn overridden(more: &[&str]) -> Vec<String> {
    let usual = ["--clients", "32", "--reads", "20000", "--writes", "10000"];
    let mut all: Vec<(String, String)> = Vec::new();
    for pair in usual.chunks(2).chain(more.chunks(2)) {
        all.retain(|(name, _)| name != pair[0]);
        all.push((pair[0].to_owned(), pair[1].to_owned()));
    }
    all.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

#[test]
fn a_bound_that_nothing_holds_is_said_with_the_reason() {
    let files = Files::new();
    expect(&files.plan(&["--p99", "300us"]), 4, &["no ensemble of up to 4 cores", "p99 "]);
    expect(
        &files.plan(&["--down", "0", "--growth", "40"]),
        4,
        &["no ensemble", "one thread orders all writes"],
    );
    let plan = files.json(4, &["--p99", "300us"]);
    assert!(plan.answer.smallest.is_none());
    assert_eq!(plan.answer.tried.iter().map(|tried| tried.servers).collect::<Vec<_>>(), [3, 5, 7, 9]);
}

#[test]
fn the_least_that_holds_is_the_answer() {
    let files = Files::new();
    let cores =
        |bound: &str| files.json(0, &["--down", "0", "--p99", bound]).answer.smallest.unwrap().server.cores;
    // The law's p99 falls with the share of the cores that is busy, so a tighter bound takes more cores.
    let (loose, tight) = (cores("10ms"), cores("1500us"));
    assert!(loose == 1 && tight > 1, "{loose} {tight}");
    let p99 = files.json(0, &["--down", "0", "--p99", "1500us"]).answer.smallest.unwrap().p99_us.unwrap();
    assert!(p99 <= 1500.0);
    // One core less breaks it.
    let less = (tight - 1).to_string();
    assert!(
        files.json(4, &["--down", "0", "--p99", "1500us", "--cores", &less]).answer.tried[0].broken.is_some()
    );
}

#[test]
fn growth_multiplies_the_workload() {
    let files = Files::new();
    let grown = files.json(0, &["--down", "0", "--growth", "1.2"]);
    assert_eq!((grown.workload.reads_per_second, grown.grown.reads_per_second), (2e4, 2.4e4));
    let by_hand =
        ["--clients", "38.4", "--reads", "24000", "--writes", "12000", "--znodes", "12000", "--down", "0"];
    let by_hand: Plan =
        serde_json::from_slice(&files.raw(&[&by_hand[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(grown.answer.smallest, by_hand.answer.smallest);
}

#[test]
fn wrong_arguments_and_files_have_their_status() {
    let files = Files::new();
    expect(&files.raw(&["--clients", "1", "--reads", "5"]), 2, &["--writes"]);
    expect(&files.plan(&["--growth", "0.5"]), 2, &["--growth"]);
    expect(&files.plan(&["--sessions", "3"]), 2, &["--sessions"]);
    expect(&files.plan(&["--p99", "soon"]), 2, &["soon"]);
    let broken = files.path("broken.jsonl");
    std::fs::write(&broken, "{").unwrap();
    expect(&files.plan(&["--held-out", &broken]), 1, &["broken.jsonl:1", "not a result"]);
    let single = File::on(4).run(&crate::made::lessons()[0]).write(files.folder.path(), "single.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_ringkeeper-tune"))
        .args(["plan", single.to_str().unwrap(), "--clients", "1", "--reads", "5", "--writes", "1"])
        .output()
        .unwrap();
    expect(&output, 1, &["1 different runs", "Capacity planning"]);
    expect(&files.plan(&["--down", "0", "--html", &files.path("no/such/folder.html")]), 1, &["folder.html"]);
}

#[test]
fn what_was_fitted_is_not_held_out() {
    let files = Files::new();
    let unseen = Asked { reads: 1e4, writes: 2e4, value: 700.0, znodes: 2e4, connections: 90.0 };
    let held_out =
        File::on(4).run(&unseen).run(&crate::made::lessons()[0]).write(files.folder.path(), "held-out.jsonl");
    let plan = files.json(0, &["--down", "0", "--held-out", held_out.to_str().unwrap()]);
    assert_eq!((plan.held_out.len(), plan.left_out.len()), (1, 1));
    assert!(plan.left_out[0].contains("was fitted"), "{:?}", plan.left_out);
    let cpu = plan.errors.iter().find(|error| error.figure == "CPU").unwrap();
    assert!(cpu.held_out.unwrap().worst < 0.02, "{cpu:?}");
    let elsewhere = File::on(8).run(&unseen).write(files.folder.path(), "elsewhere.jsonl");
    expect(&files.plan(&["--held-out", elsewhere.to_str().unwrap()]), 1, &["elsewhere", "one kind of host"]);
}

#[test]
fn the_page_needs_nothing_else_and_is_well_formed() {
    let files = Files::new();
    let (html, unseen) = (
        files.path("plan.html"),
        Asked { reads: 1e4, writes: 2e4, value: 700.0, znodes: 2e4, connections: 90.0 },
    );
    let held_out = File::on(4).run(&unseen).write(files.folder.path(), "held-out.jsonl");
    expect(
        &files.plan(&["--html", &html, "--held-out", held_out.to_str().unwrap()]),
        3,
        &["held out: get=33,set=67"],
    );
    let page = std::fs::read_to_string(html).unwrap();
    assert_eq!(page.matches("<figure>").count(), 4);
    assert!(
        page.contains("Extrapolates") && page.contains("ENSEMBLES ARE NOT MEASURED") && !page.contains("NaN")
    );
    for outside in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}: the page needs nothing else");
    }
    for tag in ["table", "svg", "figure", "ul", "li", "p", "body", "html", "tr", "td", "text"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}
