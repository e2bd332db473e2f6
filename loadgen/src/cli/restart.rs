#![forbid(unsafe_code)]
//! `restart`: znodes are made, then each server in turn is killed (SIGKILL) and started again; measured is the time from
//! the start of its process to the first answer that holds a znode made before.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringkeeper::wire::OpCode;

use super::args::RestartArgs;
use super::compare::{self, Figures};
use super::context::Context;
use super::exit::Failure;
use super::load;
use crate::client::{Client, Patience};
use crate::codec;
use crate::keys::Layout;
use crate::process::{Sample, Started};
use crate::results::html::Table;
use crate::results::records::{Record, Scene};
use crate::results::terminal::{bytes, count};
use crate::run::{Target, Trouble};

/// Between two attempts to connect: as much may be missing from a result.
const RETRY: Duration = Duration::from_millis(2);
/// How long one attempt waits: stock accepts connections before it has loaded its data, and then forgets them.
const ATTEMPT: Duration = Duration::from_millis(250);

/// `restart`.
pub fn restart(context: &mut Context, arguments: &RestartArgs) -> Result<(), Failure> {
    let targets = context.targets.clone();
    if arguments.rounds == 0 {
        return Err(Failure::Usage("--rounds must be at least 1".to_owned()));
    }
    if let Some(target) = targets.iter().find(|target| target.addresses.len() > 1) {
        return Err(Failure::Usage(format!("{}: restart takes single servers", target.name)));
    }
    let of_each: Option<Vec<usize>> = targets.iter().map(|target| started(context, target)).collect();
    let Some(of_each) = of_each else {
        return Err(Failure::Usage(
            "restart needs --start for each target: it ends it and starts it".to_owned(),
        ));
    };
    let mut filled = Vec::new();
    for target in &targets {
        let summary = load::fill_one(context, target, &arguments.fill)?;
        filled.push(vec![compare::figures(&summary)]);
    }
    compare::report(context, &filled)?;

    let layout = arguments.fill.keys.layout()?;
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
    let mut table = Table {
        title: format!("Back after SIGKILL with {} znodes", count(layout.count as f64)),
        head: ["", "answers after", "CPU until then", "resident then"].map(str::to_owned).into(),
        rows: Vec::new(),
    };
    for round in 0..arguments.rounds {
        for (nth, of) in of_each.iter().enumerate() {
            // The process is another one after each round.
            let target = context.targets[nth].clone();
            context.live.progress(&format!("{}: killed and started", target.name));
            let (command, mut killed) = context.started.swap_remove(*of);
            killed.kill();
            let began = Instant::now();
            let again = Started::run(&command).map_err(Failure::local)?;
            let pid = again.pid();
            context.started.push((command, again));
            // Where it was, so that the other targets' places hold.
            let last = context.started.len() - 1;
            context.started.swap(*of, last);
            context.targets[nth].pids = vec![pid];
            wait(context, &target, &layout, began + arguments.patience)?;
            let ready_s = began.elapsed().as_secs_f64();
            let sample = Sample::take(&[pid]).map_err(Failure::local)?;
            let figures: Figures = vec![
                ("ready_s", ready_s),
                ("ready_cpu_s", sample.cpu_s),
                ("ready_resident_bytes", sample.resident as f64),
            ];
            let row = vec![
                format!("{} #{}", target.name, round + 1),
                format!("{:.0} ms", ready_s * 1e3),
                format!("{:.2} s", sample.cpu_s),
                bytes(sample.resident as f64),
            ];
            context.say(&format!("{}: back after {}, CPU {}, resident {}\n", row[0], row[1], row[2], row[3]));
            table.rows.push(row);
            context.record(Record::Scene(Scene {
                scene: "restart".to_owned(),
                target: target.name.clone(),
                round,
                count: layout.count as usize,
                figures: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                latencies: Default::default(),
            }))?;
            rounds[nth].push(figures);
        }
    }
    context.page.table(table);
    compare::report(context, &rounds)
}

/// Which of the started servers a target is.
fn started(context: &Context, target: &Target) -> Option<usize> {
    context.started.iter().position(|(_, started)| target.pids == [started.pid()])
}

/// Until the znode made last is there.
fn wait(context: &mut Context, target: &Target, layout: &Layout, until: Instant) -> Result<(), Failure> {
    let patience = Patience { connect: ATTEMPT, answer: ATTEMPT, retry: RETRY, ..context.options.patience() };
    let key = layout.key(layout.count - 1);
    loop {
        let asked = Client::open(&target.addresses, patience).and_then(|mut client| {
            let (error, _) =
                client.call(OpCode::GetData, |out| codec::path_watch(out, key.as_bytes(), false))?;
            client.close();
            Ok(error)
        });
        let trouble = match asked {
            Ok(0) => return Ok(()),
            Ok(error) => {
                let said = format!("after its restart {key} answers {}", codec::error_name(error));
                Trouble::Lied(target.name.clone(), said)
            }
            Err(_) if context.stop.load(Ordering::Relaxed) => Trouble::Interrupted,
            Err(why) => match context.started.iter_mut().find_map(|(_, started)| started.ended()) {
                Some(status) => Trouble::Died(target.name.clone(), format!("it ended: {status}")),
                None if Instant::now() < until => continue,
                None => Trouble::Died(target.name.clone(), format!("not back in time: {why}")),
            },
        };
        return Err(trouble.into());
    }
}
