#![forbid(unsafe_code)]
//! Runs of a real server that were kept (`benches/results/plan`): the model is fitted on some and held against others.

use std::path::{Path, PathBuf};

use ringkeeper_tuning::plan::predict::{Compared, FIGURES, Figures, Model};
use ringkeeper_tuning::plan::runs::{self, Runs};

fn kept(name: &str) -> Runs {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/results/plan");
    runs::read(&[PathBuf::from(folder.join(name))]).unwrap()
}
