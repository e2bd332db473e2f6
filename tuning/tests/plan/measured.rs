#![forbid(unsafe_code)]
//! Sets of runs of a real server that are kept, a folder each under `benches/results/plan`: whole, readable, and enough
//! to fit and to tell the error by. How large the error is on which machine is for people to read, not for a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ringkeeper_tuning::plan::said::{self, Plan};
use ringkeeper_tuning::plan::workload::Workload;
use ringkeeper_tuning::plan::{self, chart};

/// What `benches/results/plan/measure` leaves in a folder.
const FILES: [&str; 3] = ["capacity.jsonl", "train.jsonl", "held-out.jsonl"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of the sets that a text speaks of: `benches/results/plan/NAME`.
fn cited(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| -> String {
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect()
    };
    let names = text.split("benches/results/plan/").skip(1).map(name);
    // The program that makes them, and a place for a name.
    names.filter(|name| !name.is_empty() && name != "measure" && name != "NEW_FOLDER").collect()
}

/// Names of the sets that are there.
fn kept(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Some workload: what is answered is not looked at.
pub(crate) fn workload() -> Workload {
    Workload {
        clients: 32.0,
        sessions: 1000.0,
        reads_per_second: 2000.0,
        writes_per_second: 1000.0,
        value_bytes: 1024.0,
        znodes: 1e4,
        watches: 1000.0,
        growth: 1.0,
        down: 1,
        p99_bound_us: 1e4,
        cores_max: None,
        round_trip_us: 500.0,
        snap_count: 1e5,
    }
}

/// What is wrong with a set.
fn check(folder: &Path) -> Result<Plan, String> {
    for name in FILES {
        if !folder.join(name).is_file() {
            return Err(format!(
                "{} lacks {name}: benches/results/plan/measure makes a whole set",
                folder.display()
            ));
        }
    }
    let files = |name: &str| vec![folder.join(name)];
    // Is there where the server had cores to itself: how many.
    let cores = std::fs::read_to_string(folder.join("server-cores")).ok();
    let cores = cores.map(|text| text.trim().parse::<u32>()).transpose();
    let cores = cores.map_err(|error| format!("{}: server-cores: {error}", folder.display()))?;
    let made = plan::plan(&workload(), &files("train.jsonl"), &files("held-out.jsonl"), cores);
    let (plan, model) = made.map_err(|error| error.to_string())?;
    if plan.blind.is_empty() || plan.held_out.is_empty() {
        return Err(format!("{}: nothing tells the error of the fit", folder.display()));
    }
    if plan.errors.iter().any(|error| error.held_out.is_none_or(|off| !off.worst.is_finite())) {
        return Err(format!("{}: a figure has no error on held-out runs", folder.display()));
    }
    let page = chart::page(&plan, &model);
    if page.contains("NaN") || page.contains("nothing was measured") {
        return Err(format!("{}: a chart has nothing to show", folder.display()));
    }
    Ok(plan)
}

#[test]
fn every_set_that_is_kept_is_whole_and_can_be_planned_with() {
    let folder = root().join("benches/results/plan");
    for name in kept(&folder) {
        let plan = check(&folder.join(&name)).unwrap();
        println!("{name}:\n{}", said::text(&plan));
    }
}

#[test]
fn every_set_that_an_operator_is_told_of_is_kept() {
    let kept = kept(&root().join("benches/results/plan"));
    for text in ["README.md", "tuning/README.md"] {
        let cited = cited(&std::fs::read_to_string(root().join(text)).unwrap());
        assert!(cited.is_subset(&kept), "{text} speaks of {cited:?}; kept are {kept:?}");
    }
}

#[test]
fn a_set_that_is_not_whole_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let lessons = crate::made::lessons_file;
    assert!(check(folder.path()).unwrap_err().contains("capacity.jsonl"));
    for name in FILES {
        lessons().write(folder.path(), name);
    }
    // What was fitted is not held out.
    assert!(check(folder.path()).unwrap_err().contains("nothing tells the error"));
    let unseen = crate::made::Asked { reads: 1e4, writes: 2e4, value: 700.0, znodes: 2e4, connections: 90.0 };
    crate::made::File::on(crate::made::CORES).run(&unseen).write(folder.path(), "held-out.jsonl");
    assert_eq!(check(folder.path()).unwrap().held_out.len(), 1);
    std::fs::remove_file(folder.path().join("train.jsonl")).unwrap();
    assert!(check(folder.path()).unwrap_err().contains("train.jsonl"));
    assert_eq!(
        cited("benches/results/plan/measure X, benches/results/plan/2026-11/train.jsonl"),
        BTreeSet::from(["2026-11".to_owned()])
    );
}
