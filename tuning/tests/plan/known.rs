#![forbid(unsafe_code)]
//! A law that is known is found again.

use ringkeeper_tuning::plan::forms::relative;
use ringkeeper_tuning::plan::laws::Demand;
use ringkeeper_tuning::plan::predict::{FIGURES, Figures, Model, each_left_out};
use ringkeeper_tuning::plan::runs;

use crate::made::{Asked, CORES, FLUSH_S, File, lessons, lessons_file};

/// A mix, a size and a number of sessions that no lesson has.
const UNSEEN: Asked = Asked { reads: 3e4, writes: 1e4, value: 2000.0, znodes: 3e4, connections: 150.0 };

fn model(file: File) -> Model {
    let folder = tempfile::tempdir().unwrap();
    Model::fit(&runs::read(&[file.write(folder.path(), "a.jsonl")]).unwrap()).unwrap()
}

fn said(model: &Model, asked: &Asked) -> Figures {
    let demand = Demand {
        reads: asked.reads,
        writes: asked.writes,
        value_bytes: asked.value,
        znodes: asked.znodes,
        connections: asked.connections,
    };
    model.at(&demand, CORES as f64, 0.0, 0.4)
}

fn check(said: &Figures, asked: &Asked, tolerance: f64) {
    let truth = asked.truth();
    for (name, said, true_one) in [
        ("CPU", Some(said.cpu), truth.cpu),
        ("memory", Some(said.memory), truth.memory),
        ("disk", said.disk, truth.disk),
        ("received", said.received, truth.received),
        ("sent", said.sent, truth.sent),
        ("read", said.read_p99_us, truth.read.1),
        ("write", said.write_p99_us, truth.write.1),
    ] {
        let off = relative(said.unwrap(), true_one);
        assert!(off.abs() <= tolerance, "{name}: {} is said, {true_one} is true", said.unwrap());
    }
}

#[test]
fn a_known_law_is_found_and_says_what_was_not_measured() {
    let model = model(lessons_file());
    assert!((model.flush_s - FLUSH_S).abs() < 1e-9, "{}", model.flush_s);
    check(&said(&model, &UNSEEN), &UNSEEN, 0.02);
    for asked in lessons() {
        if asked.reads > 0.0 && asked.writes > 0.0 {
            check(&said(&model, &asked), &asked, 0.02);
        }
    }
    let session = model.session.unwrap();
    assert_eq!((session.bytes, model.event_cpu), (2000.0, Some(4e-6)));
    assert!((session.cpu - 3e-6).abs() < 1e-12);
}

#[test]
fn the_error_on_what_was_left_out_is_small_where_the_law_holds() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs::read(&[lessons_file().write(folder.path(), "a.jsonl")]).unwrap();
    let blind = each_left_out(&runs).unwrap();
    assert_eq!(blind.len(), lessons().len(), "each run once");
    for run in &blind {
        for (name, figure) in FIGURES {
            // The others do not tell everything: znodes and bytes of values are hard to tell apart without the large values.
            let bound = if name == "memory" { 0.2 } else { 0.02 };
            let off = run.off(figure).unwrap_or(0.0).abs();
            assert!(off < bound, "{name} of {}: off by {off}", run.label);
        }
    }
}

#[test]
fn more_than_one_form_is_tried_and_each_error_is_kept() {
    let laws = model(lessons_file()).fitted();
    for (figure, form) in [
        ("CPU", "a cost each, and each turn"),
        ("disk writes", "batches in blocks"),
        ("p99 of reads", "base and queue"),
    ] {
        let law = laws.iter().find(|law| law.figure == figure).unwrap();
        assert!(law.tried.len() >= 2 && law.tried.iter().all(|(_, error)| error.is_finite()), "{law:?}");
        let of = |name: &str| law.tried.iter().find(|(known, _)| known == name).unwrap().1;
        let best = law.tried.iter().map(|(_, error)| *error).fold(f64::MAX, f64::min);
        // A form with a term more may be as good; the simpler one is taken.
        assert!(law.form == form && of(form) <= best / 0.95 && best < 0.01, "{law:?}");
    }
}

#[test]
fn repetitions_are_one_run_and_a_noisy_one_of_them_says_nothing() {
    let file = lessons()
        .iter()
        .fold(File::on(CORES), |file, asked| file.run(asked).noisy_run(asked, 3.0).run(asked));
    let folder = tempfile::tempdir().unwrap();
    let runs = runs::read(&[file.write(folder.path(), "a.jsonl")]).unwrap();
    assert!(runs.runs.len() == lessons().len() && runs.runs.iter().all(|run| run.repetitions == 3));
    check(&said(&Model::fit(&runs).unwrap(), &UNSEEN), &UNSEEN, 0.02);
}

#[test]
fn repetitions_may_lie_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = ["a", "b"].iter().map(|name| lessons_file().write(folder.path(), name)).collect();
    let runs = runs::read(&paths).unwrap();
    assert!(runs.runs.len() == lessons().len() && runs.runs.iter().all(|run| run.repetitions == 2));
}

#[test]
fn figures_move_the_way_they_must() {
    let model = model(lessons_file());
    let at = |asked: Asked| said(&model, &asked);
    let (few, many) = (at(UNSEEN), at(Asked { reads: 6e4, writes: 2e4, ..UNSEEN }));
    assert!(many.cpu > few.cpu && many.disk > few.disk && many.p99_us > few.p99_us);
    let large = at(Asked { value: 4000.0, ..UNSEEN });
    assert!(large.memory > few.memory && large.sent > few.sent && large.disk > few.disk);
    let reads_alone = at(Asked { writes: 0.0, ..UNSEEN });
    assert!(reads_alone.write_p99_us.is_none() && reads_alone.disk.is_none());
    assert_eq!(reads_alone.p99_us, reads_alone.read_p99_us);
}
