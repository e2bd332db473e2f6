#![forbid(unsafe_code)]
//! Latencies are told by the median second, pauses beside it; what differs between repetitions is no model's fault; and
//! what makes a turn long is work, not waking.

use ringkeeper_loadgen::results::records::Summary;
use ringkeeper_tuning::plan;
use ringkeeper_tuning::plan::predict::{FIGURES, Model, each_left_out, repeated};
use ringkeeper_tuning::plan::runs::{self, INTERVAL_REQUESTS_MIN, Run, Runs};
use ringkeeper_tuning::plan::said::{Pauses, errors};

use crate::made::{Asked, CORES, File, LOAD_CPU, lessons, lessons_file};

const ASKED: Asked = Asked { reads: 8e3, writes: 4e3, value: 1024.0, znodes: 1e4, connections: 32.0 };
/// A pause, as a factor of every p99.
const PAUSE: f64 = 20.0;

fn read(file: File) -> Runs {
    let folder = tempfile::tempdir().unwrap();
    runs::read(&[file.write(folder.path(), "a.jsonl")]).unwrap()
}

/// Seconds that are off by these factors, and then a run that the pause is in.
fn paused(seconds: &[f64], count: u64) -> Run {
    let second = |file: File, (nth, noise): (usize, &f64)| file.second(&ASKED, nth as i64, *noise, count);
    let file = seconds.iter().enumerate().fold(File::on(CORES), second);
    read(file.noisy_run(&ASKED, PAUSE)).runs.remove(0)
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn a_second_in_which_the_machine_paused_is_one_second() {
    let quiet = read(File::on(CORES).run(&ASKED)).runs.remove(0);
    let run = paused(&[1.0, PAUSE, 1.0, 1.1, 0.9], INTERVAL_REQUESTS_MIN);
    close(run.p99_us.unwrap(), quiet.p99_us.unwrap());
    close(run.read.unwrap().p99_us, quiet.read.unwrap().p99_us);
    close(run.write.unwrap().p99_us, quiet.write.unwrap().p99_us);
    // It is said all the same.
    close(run.whole_p99_us.unwrap(), quiet.p99_us.unwrap() * PAUSE);
    close(Pauses::of([&run].into_iter()).unwrap().worst, PAUSE);
    assert_eq!(Pauses::of([&quiet].into_iter()), None);
}

#[test]
fn a_machine_that_pauses_in_most_seconds_is_slow() {
    let run = paused(&[PAUSE, 1.0, PAUSE, PAUSE], INTERVAL_REQUESTS_MIN);
    close(run.p99_us.unwrap(), run.whole_p99_us.unwrap());
}

#[test]
fn few_seconds_or_few_requests_in_one_leave_the_whole_run() {
    for run in [paused(&[1.0, 1.0], INTERVAL_REQUESTS_MIN), paused(&[1.0; 9], INTERVAL_REQUESTS_MIN - 1)] {
        close(run.p99_us.unwrap(), run.whole_p99_us.unwrap());
    }
}

#[test]
fn seconds_of_the_warm_up_and_of_another_start_do_not_count() {
    let many = INTERVAL_REQUESTS_MIN;
    let warm = (-9..0).fold(File::on(CORES), |file, number| file.second(&ASKED, number, 1.0, many));
    let run = read(warm.noisy_run(&ASKED, PAUSE)).runs.remove(0);
    close(run.p99_us.unwrap(), run.whole_p99_us.unwrap());
    // A run that was broken off left its seconds, and no summary.
    let broken = (0..9).fold(File::on(CORES), |file, number| file.second(&ASKED, number, 1.0, many));
    let folder = tempfile::tempdir().unwrap();
    let text = broken.text() + &File::on(CORES).noisy_run(&ASKED, PAUSE).text();
    let path = folder.path().join("a.jsonl");
    std::fs::write(&path, text).unwrap();
    let run = runs::read(&[path]).unwrap().runs.remove(0);
    close(run.p99_us.unwrap(), run.whole_p99_us.unwrap());
}

#[test]
fn what_repetitions_differ_by_is_told_beside_the_error() {
    let runs = read(File::on(CORES).run(&ASKED).noisy_run(&ASKED, 2.0).run(&ASKED));
    let repeated = repeated(&runs);
    let mut off: Vec<f64> = repeated.iter().map(|one| one.off(FIGURES[0].1).unwrap()).collect();
    off.sort_by(f64::total_cmp);
    // The noisy one is said to be half of itself; the others half as much again.
    for (found, expected) in off.iter().zip([-0.5, 0.5, 0.5]) {
        assert!((found - expected).abs() < 1e-9, "{off:?}");
    }
    let errors = errors(&[], &[], &repeated);
    let said = errors.iter().find(|error| error.figure == "CPU").unwrap().repeated.unwrap();
    assert_eq!((said.runs, said.within_quarter), (3, 0));
    // One alone differs from nothing.
    assert!(ringkeeper_tuning::plan::predict::repeated(&read(lessons_file())).is_empty());
}

#[test]
fn a_load_with_cores_of_its_own_is_not_held_against_the_servers() {
    let busy = |runs: &Runs| each_left_out(runs).unwrap()[0].busy;
    let mut runs = read(lessons_file());
    let shared = busy(&runs);
    runs.apart(CORES / 2);
    let cpu = lessons()[0].truth().cpu;
    close(shared, (cpu + LOAD_CPU) / CORES as f64);
    close(busy(&runs), cpu / (CORES / 2) as f64);
    assert_eq!(Model::fit(&runs).unwrap().cores, (CORES / 2) as f64);
}

#[test]
fn cores_of_its_own_must_be_said_where_more_were_busy_than_the_load_saw() {
    let folder = tempfile::tempdir().unwrap();
    let few = |summary: &mut Summary| summary.own_cpu_s = CORES as f64 * summary.seconds;
    let file =
        lessons().iter().fold(File::on(CORES), |file, asked| file.changed_run(asked, 1.0, few)).scenes();
    let files = [file.write(folder.path(), "a.jsonl")];
    let made = |cores| plan::plan(&crate::measured::workload(), &files, &[], cores);
    let error = made(None).unwrap_err().to_string();
    assert!(error.contains("--server-cores"), "{error}");
    made(Some(CORES as u32)).unwrap();
}

#[test]
fn a_tail_that_grows_with_the_turn_is_found_on_workloads_that_were_left_out() {
    // T = t / (1 - w), and work is not what the host shows as busy: turns are a part of that.
    let tail = |asked: &Asked| 300.0 + 900.0 / (1.0 - asked.work());
    let change = |asked: Asked| {
        move |summary: &mut Summary| {
            for latency in summary.kinds.values_mut().chain([&mut summary.latency]) {
                latency.p99_us = tail(&asked);
            }
        }
    };
    let file = lessons()
        .into_iter()
        .fold(File::on(CORES), |file, asked| file.changed_run(&asked, 1.0, change(asked)));
    let runs = read(file);
    let laws = Model::fit(&runs).unwrap().fitted();
    for figure in ["p99 of reads", "p99 of writes"] {
        let law = laws.iter().find(|law| law.figure == figure).unwrap();
        assert_eq!(law.form, "base and turn", "{law:?}");
    }
    for run in each_left_out(&runs).unwrap() {
        for (name, figure) in FIGURES.into_iter().filter(|(name, _)| name.starts_with("p99")) {
            let off = run.off(figure).unwrap_or(0.0);
            assert!(off.abs() < 0.02, "{name} of {}: off by {off}", run.label);
        }
    }
}
