#![forbid(unsafe_code)]
//! Capacity planning from measured runs: how large the smallest ensemble is that holds a bound on p99 under a workload.
//!
//! ```text
//! result files ──► runs ──► predict (laws chosen by forms, fitted by fit) ──► answer ──► said (text, JSON), chart (HTML)
//!                                                       workload ──────────────►
//! ```
//!
//! - [`workload`]: what is planned for. [`runs`]: result files of `ringkeeper-loadgen`, repetitions made one.
//! - [`laws`]: what may depend on what. [`flush`]: how writes become batches of the log.
//! - [`fit`]: least squares without negative costs. [`forms`]: which form of a law says most of runs it has not seen.
//! - [`predict`]: the model of one server. [`answer`]: from one server to several.
//! - [`said`] and [`chart`]: the results.
//!
//! What is said of one server is fitted, with its error on runs that were left out. What is said of several is reasoned
//! from one, and says so.

pub mod answer;
pub mod chart;
pub mod fit;
pub mod flush;
pub mod forms;
pub mod laws;
pub mod predict;
pub mod runs;
pub mod said;
pub mod workload;

use std::path::PathBuf;

use predict::{Compared, FitError, Model};
use runs::{Runs, RunsError};
use said::Plan;
use workload::Workload;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The workload makes no sense.
    #[error("{0}")]
    Workload(String),
    /// The result files.
    #[error("{0}")]
    Runs(#[from] RunsError),
    /// Server and load were not on the same cores, and nobody said so.
    #[error(
        "server and load kept {busy:.2} cores busy, and the load saw {cores}: they ran on cores of their own. Say how many the server had: --server-cores"
    )]
    Apart {
        /// Cores that were busy.
        busy: f64,
        /// Cores the load saw.
        cores: f64,
    },
    /// The fit.
    #[error("{0}; see \"Capacity planning\" in tuning/README.md for a set of runs that does")]
    Fit(#[from] FitError),
}

/// More than all cores cannot be busy; clocks are this exact.
const BUSY_TOLERANCE: f64 = 1.05;

/// Makes a plan from result files, and the model it is made with. `server_cores`: cores the server had to itself, if the
/// load ran on others.
///
/// # Errors
/// A workload that makes no sense, files that are no results, too little to fit.
pub fn plan(
    workload: &Workload,
    results: &[PathBuf],
    held_out: &[PathBuf],
    server_cores: Option<u32>,
) -> Result<(Plan, Model), PlanError> {
    let grown = workload.grown().map_err(PlanError::Workload)?;
    let mut measured = runs::read(results)?;
    let mut held_out = if held_out.is_empty() { None } else { Some(unseen(&measured, held_out)?) };
    match server_cores {
        Some(cores) => {
            measured.apart(cores as usize);
            held_out.iter_mut().for_each(|runs| runs.apart(cores as usize));
        }
        // The load counts the cores it may use. Held against those alone, the server's time is nonsense.
        None => {
            let cores = measured.machine.cores as f64;
            let busy = measured.runs.iter().map(|run| run.cpu + run.load_cpu).fold(0.0, f64::max);
            if busy > cores * BUSY_TOLERANCE {
                return Err(PlanError::Apart { busy, cores });
            }
        }
    }
    let model = Model::fit(&measured)?;
    // With one workload less there may be too few to fit.
    let blind = predict::each_left_out(&measured).unwrap_or_default();
    let compare = |runs: &Runs| -> Vec<Compared> {
        runs.runs.iter().filter(|run| run.asked.rate.is_some()).map(|run| model.compare(run)).collect()
    };
    let compared = held_out.as_ref().map(compare).unwrap_or_default();
    let of_all = [Some(&measured), held_out.as_ref()];
    let repeated: Vec<Compared> = of_all.into_iter().flatten().flat_map(predict::repeated).collect();
    let answer = answer::answer(&model, &grown);
    let scheduled = || measured.runs.iter().filter(|run| run.asked.rate.is_some());
    let plan = Plan {
        schema: said::SCHEMA,
        kind: "plan".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        workload: *workload,
        grown,
        machine: measured.machine.clone(),
        runs: scheduled().count(),
        measurements: scheduled().map(|run| run.repetitions).sum(),
        left_out: measured
            .left_out
            .iter()
            .chain(held_out.iter().flat_map(|runs| &runs.left_out))
            .cloned()
            .collect(),
        flush_us: model.flush_s * 1e6,
        laws: model.fitted(),
        errors: said::errors(&blind, &compared, &repeated),
        pauses: said::Pauses::of(measured.runs.iter().chain(held_out.iter().flat_map(|runs| &runs.runs))),
        blind,
        held_out: compared,
        assumptions: said::assumptions(&answer),
        answer,
    };
    Ok((plan, model))
}

/// Runs to tell the error by; none of them may have been fitted.
fn unseen(measured: &Runs, paths: &[PathBuf]) -> Result<Runs, RunsError> {
    let mut held_out = runs::read(paths)?;
    let machine = |machine: &ringkeeper_loadgen::results::records::Machine| {
        format!("{} × {}", machine.cores, machine.processor)
    };
    let (here, there) = (machine(&measured.machine), machine(&held_out.machine));
    if here != there {
        let file = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        return Err(RunsError::OtherMachine { file, other: there, machine: here });
    }
    let (seen, unseen): (Vec<_>, Vec<_>) = held_out
        .runs
        .into_iter()
        .partition(|run| measured.runs.iter().any(|known| known.asked.is_same_but_rate(&run.asked)));
    held_out.runs = unseen;
    for run in seen {
        held_out.left_out.push(format!("{} of --held-out: its workload was fitted", run.asked.mix));
    }
    Ok(held_out)
}
