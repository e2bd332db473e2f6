#![forbid(unsafe_code)]
//! What is no result, or too little, is refused in words that help.

use std::path::Path;

use ringkeeper_tuning::plan::predict::{FitError, Model};
use ringkeeper_tuning::plan::runs::{self, RunsError};

use crate::made::{Asked, CORES, File, lessons, lessons_file};

/// What is said of a file with this text.
fn refused(text: impl AsRef<[u8]>) -> RunsError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    std::fs::write(&path, text).unwrap();
    runs::read(&[path]).unwrap_err()
}

#[track_caller]
fn expect(error: &RunsError, said: &[&str]) {
    let text = error.to_string();
    assert!(said.iter().all(|part| text.contains(part)), "{text:?} lacks one of {said:?}");
}

#[test]
fn what_is_no_result_is_refused_with_its_line() {
    expect(&refused(""), &["x.jsonl is empty", "--json FILE"]);
    expect(&refused("rps,p99\n1,2\n"), &["x.jsonl:1", "not a result of ringkeeper-loadgen"]);
    expect(&refused([0xff, 0xfe, 0, b'\n']), &["x.jsonl:1", "not text"]);
    expect(&refused("{\"type\":\"start\"}\n"), &["names no schema"]);
    expect(
        &refused("{\"schema\":\"ringkeeper-loadgen/2\",\"type\":\"start\"}\n"),
        &["/2", "reads ringkeeper-loadgen/1"],
    );
    expect(&refused("{\"schema\":\"ringkeeper-loadgen/1\"}\n"), &["names no type"]);
    expect(
        &refused("{\"schema\":\"ringkeeper-loadgen/1\",\"type\":\"start\"}\n"),
        &["x.jsonl:1", "missing field"],
    );
    let whole = lessons_file().text();
    let cut = &whole[..whole.len() - 40];
    let line = format!("x.jsonl:{}", whole.lines().count());
    expect(&refused(cut), &[&line, "not a result"]);
    let headless: String = whole.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    expect(&refused(headless), &["no start record"]);
    expect(&refused(vec![b'['; 3 << 20]), &["x.jsonl:1"]);
}

#[test]
fn a_missing_file_is_named() {
    let error = runs::read(&[Path::new("nowhere.jsonl")]).unwrap_err();
    expect(&error, &["nowhere.jsonl"]);
    assert!(runs::read(&[] as &[&Path]).is_err());
}

#[test]
fn a_later_kind_of_record_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let text = lessons_file().text() + "{\"schema\":\"ringkeeper-loadgen/1\",\"type\":\"later\",\"x\":1}\n\n";
    std::fs::write(&path, text).unwrap();
    assert_eq!(runs::read(&[path]).unwrap().runs.len(), lessons().len());
}

#[test]
fn runs_that_say_nothing_of_a_server_are_left_out_and_named() {
    let one = lessons()[0];
    let nothing = |file: File| refused(file.text());
    let run = |change: fn(&mut _)| File::on(CORES).changed_run(&one, 1.0, change);
    expect(
        &nothing(run(|summary| summary.server = None)),
        &["holds no run to learn from", "--pid or --start"],
    );
    expect(&nothing(run(|summary| summary.workload.mix = "fill".to_owned())), &["holds no run"]);
    let bad = File::on(CORES)
        .run(&one)
        .changed_run(&one, 1.0, |summary| summary.server = None)
        .changed_run(&one, 1.0, |summary| summary.trouble = Some("it lied".to_owned()))
        .changed_run(&one, 1.0, |summary| summary.unsent = 5_000)
        .changed_run(&one, 1.0, |summary| summary.seconds = 0.5)
        .changed_run(&one, 1.0, |summary| {
            summary.errors.insert("NoNode".to_owned(), 5_000);
        });
    let folder = tempfile::tempdir().unwrap();
    let runs = runs::read(&[bad.write(folder.path(), "x")]).unwrap();
    assert_eq!((runs.runs.len(), runs.runs[0].repetitions, runs.left_out.len()), (1, 1, 5));
    for (line, said) in
        runs.left_out.iter().zip(["--pid", "it lied", "5000 requests were due", "a second", "failed"])
    {
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn figures_of_two_kinds_of_host_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let here = lessons_file().write(folder.path(), "here");
    let there = File::on(64).run(&lessons()[0]).write(folder.path(), "there");
    let error = runs::read(&[&here, &there]).unwrap_err();
    expect(&error, &["there", "64 × a processor", "4 × a processor", "one kind of host"]);
}

#[test]
fn too_little_is_no_fit() {
    let fit = |asked: &[Asked]| {
        let folder = tempfile::tempdir().unwrap();
        let file = asked.iter().fold(File::on(CORES), |file, asked| file.run(asked));
        Model::fit(&runs::read(&[file.write(folder.path(), "x")]).unwrap()).map(|_| ())
    };
    assert_eq!(fit(&lessons()[..1]), Err(FitError::TooFew(1)));
    assert!(
        FitError::TooFew(1).to_string().contains("1 different runs")
            && FitError::TooFew(1).to_string().contains("8")
    );
    let alike: Vec<Asked> = (1..=10)
        .map(|nth| Asked { reads: 2e3 * f64::from(nth), writes: 1e3 * f64::from(nth), ..lessons()[0] })
        .collect();
    assert_eq!(fit(&alike), Err(FitError::TooAlike(1)));
    assert_eq!(fit(&lessons()[..12]), Ok(()));
    // The same run again is no other run.
    assert_eq!(fit(&[lessons()[0]; 20]), Err(FitError::TooFew(1)));
}
