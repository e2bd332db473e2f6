#![forbid(unsafe_code)]
//! `fanout`, `storm`, `idle`, `lock` and `election`. Each may take several targets, which then have their turns in
//! alternation.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ringkeeper::wire::OpCode;

use super::args::{self, ContendArgs, FanoutArgs, IdleArgs, SceneArgs, StormArgs};
use super::compare::{self, Figures};
use super::context::Context;
use super::exit::Failure;
use crate::client;
use crate::codec;
use crate::process::Sample;
use crate::results::html::Table;
use crate::results::records::{Latency, Record, Scene};
use crate::results::terminal::{bytes, count, time};
use crate::run::Target;
use crate::scenes::{Fanout, Limits, Recipe, Recipes, Sessions};
use crate::schedule::SECOND;

/// What a scene at one target came to.
#[derive(Default)]
struct Played {
    figures: Figures,
    latencies: Vec<(&'static str, Latency)>,
}

impl Played {
    fn latency(&mut self, of: &'static str, histogram: &Histogram<u64>) {
        self.latencies.push((of, Latency::of(histogram)));
    }
}

/// `fanout`.
pub fn fanout(context: &mut Context, arguments: &FanoutArgs) -> Result<(), Failure> {
    let (watchers, writes) = (arguments.watchers, arguments.writes);
    if watchers == 0 || writes == 0 {
        return Err(Failure::Usage("--watchers and --writes must be at least 1".to_owned()));
    }
    take_turns(context, "fanout", &arguments.scene, watchers, |context, target, limits, folder| {
        let path = format!("{folder}/watched");
        prepare(context, target, &path)?;
        let fanned = Fanout::play(target, limits, &path, arguments.value_size, (watchers, writes))?;
        sweep_up(context, target, &path)?;
        let mut played = Played::default();
        let last = Latency::of(&fanned.last);
        played.figures = vec![("last_event_p50_us", last.p50_us), ("last_event_max_us", last.max_us)];
        played.figures.push(("event_p50_us", Latency::of(&fanned.event).p50_us));
        if let Some(cpu_s) = fanned.cpu_s {
            let events = f64::from(writes) * watchers as f64;
            played.figures.push(("cpu_us_per_event", cpu_s * 1e6 / events));
        }
        played.latency("last event", &fanned.last);
        played.latency("event", &fanned.event);
        played.latency("write", &fanned.write);
        Ok(played)
    })
}

/// `storm`.
pub fn storm(context: &mut Context, arguments: &StormArgs) -> Result<(), Failure> {
    let sessions = arguments.sessions;
    take_turns(context, "storm", &arguments.scene, sessions, |_, target, limits, _| {
        let held = Sessions::play(target, limits, sessions, 0)?;
        let all_up_s = held.all_up as f64 / SECOND as f64;
        let figures = vec![("all_up_s", all_up_s), ("per_second", sessions as f64 / all_up_s.max(1e-9))];
        let mut played = Played { figures, latencies: Vec::new() };
        if let [Some(before), Some(after), _] = &held.samples {
            played.figures.push(("cpu_us_per_session", cpu_us(before, after) / sessions as f64));
        }
        played.figures.push(("lost", held.lost as f64));
        played.latency("session", &held.latency);
        Ok(played)
    })
}

/// `idle`.
pub fn idle(context: &mut Context, arguments: &IdleArgs) -> Result<(), Failure> {
    let sessions = arguments.sessions;
    if let Some(target) = context.targets.iter().find(|target| target.pids.is_empty()) {
        return Err(Failure::Usage(format!("idle needs the process of {}: --pid or --start", target.name)));
    }
    let hold = args::nanos(arguments.hold);
    take_turns(context, "idle", &arguments.scene, sessions, |_, target, limits, _| {
        let held = Sessions::play(target, limits, sessions, hold)?;
        let mut played = Played::default();
        let [Some(before), Some(up), Some(after)] = &held.samples else {
            return Err(Failure::local(format!("the process of {} cannot be looked at", target.name)));
        };
        let grown = after.resident.saturating_sub(before.resident) as f64;
        let seconds = held.held as f64 / SECOND as f64;
        played.figures = vec![
            ("resident_bytes_per_session", grown / sessions as f64),
            ("cpu_us_per_session_second", cpu_us(up, after) / sessions as f64 / seconds.max(1e-9)),
            ("all_up_s", held.all_up as f64 / SECOND as f64),
            ("lost", held.lost as f64),
        ];
        played.latency("session", &held.latency);
        Ok(played)
    })
}

/// `lock` and `election`.
pub fn contend(context: &mut Context, arguments: &ContendArgs, recipe: Recipe) -> Result<(), Failure> {
    let contenders = arguments.contenders;
    let duration = args::nanos(arguments.duration);
    if duration == 0 {
        return Err(Failure::Usage("--duration must not be 0".to_owned()));
    }
    let name = if recipe == Recipe::Lock { "lock" } else { "election" };
    take_turns(context, name, &arguments.scene, contenders, |context, target, limits, folder| {
        let folder = format!("{folder}/{name}-{:08x}", context.seed as u32);
        prepare(context, target, &folder)?;
        let contended = Recipes::play(target, limits, recipe, &folder, (contenders, duration))?;
        sweep_up(context, target, &folder)?;
        let mut played = Played::default();
        let seconds = contended.took as f64 / SECOND as f64;
        let handover = Latency::of(&contended.handover);
        played.figures = vec![
            ("per_second", contended.acquired as f64 / seconds),
            ("handover_p50_us", handover.p50_us),
            ("handover_p99_us", handover.p99_us),
        ];
        if let Some((before, after)) = contended.samples {
            let each = cpu_us(&before, &after) / contended.acquired.max(1) as f64;
            played.figures.push(("cpu_us_per_handover", each));
        }
        played.latency("handover", &contended.handover);
        Ok(played)
    })
}

fn cpu_us(before: &Sample, after: &Sample) -> f64 {
    (after.cpu_s - before.cpu_s) * 1e6
}

/// Plays a scene at each target in turn, reports each, and the ratios.
fn take_turns(
    context: &mut Context,
    scene: &str,
    arguments: &SceneArgs,
    sessions: usize,
    mut play: impl FnMut(&mut Context, &Target, &Limits, &str) -> Result<Played, Failure>,
) -> Result<(), Failure> {
    if sessions == 0 || arguments.rounds == 0 {
        return Err(Failure::Usage(format!("{scene}: every number must be at least 1")));
    }
    let root = args::root(&arguments.root)?;
    let limits = Limits {
        connect: args::nanos(context.options.connect_timeout),
        stall: args::nanos(context.options.stall),
        session_timeout_ms: context.options.session_timeout_ms(),
        stop: context.stop.clone(),
    };
    let targets = context.targets.clone();
    for target in &targets {
        // Until it answers: it may be starting.
        context.client(target)?.close();
    }
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
    let mut table = Table::default();
    for round in 0..arguments.rounds {
        for (target, figures) in targets.iter().zip(&mut rounds) {
            context.live.progress(&format!("{}: {scene} of {}", target.name, count(sessions as f64)));
            let played = play(context, target, &limits, &root)?;
            context.say(&text(scene, target, sessions, &played));
            if table.rows.is_empty() {
                table.title = format!("{scene} of {}", count(sessions as f64));
                table.head = vec![String::new()];
                table.head.extend(played.figures.iter().map(|(name, _)| (*name).to_owned()));
            }
            let mut row = vec![format!("{} #{}", target.name, round + 1)];
            row.extend(played.figures.iter().map(|(_, value)| format!("{value:.2}")));
            table.rows.push(row);
            context.record(Record::Scene(Scene {
                scene: scene.to_owned(),
                target: target.name.clone(),
                round,
                count: sessions,
                figures: owned(played.figures.iter().copied()),
                latencies: owned(played.latencies),
            }))?;
            figures.push(played.figures);
        }
    }
    context.page.table(table);
    compare::report(context, &rounds)
}

fn owned<T>(pairs: impl IntoIterator<Item = (&'static str, T)>) -> BTreeMap<String, T> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(scene: &str, target: &Target, sessions: usize, played: &Played) -> String {
    let mut text = format!("{}: {scene} of {}\n", target.name, count(sessions as f64));
    for (name, value) in &played.figures {
        let value = match name {
            name if name.ends_with("_us") => time(*value).trim().to_owned(),
            name if name.contains("bytes") => bytes(*value),
            _ => format!("{value:.2}"),
        };
        text.push_str(&format!("  {name:<30} {value:>12}\n"));
    }
    for (of, latency) in &played.latencies {
        text.push_str(&format!(
            "  {of:<10} {:>8}  p50 {}  p90 {}  p99 {}  max {}\n",
            count(latency.count as f64),
            time(latency.p50_us),
            time(latency.p90_us),
            time(latency.p99_us),
            time(latency.max_us)
        ));
    }
    text
}

/// Makes a znode and those above it.
fn prepare(context: &Context, target: &Target, path: &str) -> Result<(), Failure> {
    let mut client = context.client(target)?;
    let mut all: Vec<String> = path.match_indices('/').skip(1).map(|(at, _)| path[..at].to_owned()).collect();
    all.push(path.to_owned());
    client::ensure(&mut client, &all).map_err(|why| Failure::lost(&target.name, &why))?;
    client.close();
    Ok(())
}

/// Deletes it again. What is left in it stays.
fn sweep_up(context: &Context, target: &Target, path: &str) -> Result<(), Failure> {
    let mut client = context.client(target)?;
    let deleted = client.call(OpCode::Delete, |out| codec::delete(out, path.as_bytes()));
    deleted.map_err(|why| Failure::lost(&target.name, &why))?;
    client.close();
    Ok(())
}
