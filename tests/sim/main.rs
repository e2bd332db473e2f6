#![forbid(unsafe_code)]
//! Many servers in one thread: production's sequencer, zab, links, log, snapshots and recovery on a made-up network, disk
//! and clock. One seed is one run, and the same run every time.
//!
//! ```text
//! cargo test --test sim                            scenarios, pinned seeds, a few more
//! cargo test --test sim -- --all --seeds 0..3000   those seeds, and every planted bug has to be found
//! cargo test --test sim -- --seed 7 --trace        one seed, told; --bug NAME plants a bug, --draws 1 as it was once
//! cargo test --test sim -- --seeds 0..100000       a campaign, on every core
//! cargo test --test sim -- --scenario s01 --trace  one scenario, told; --bug NAME plants a bug
//! ```
//!
//! A run hurts first (`cluster.rs`: crashes, freezes, cuts, resets, slow and emptied disks), heals then, and must serve
//! again with everything that was acknowledged. `checkers/` are Zab's properties, `oracle.rs` is what clients were
//! promised, `scenarios/` tells single stories, `seeds.txt` has every seed that ever failed. Not here: the logic of
//! shards (watches, reads).
// Helpers of tests say what they expect by unwrapping, as tests do.
#![allow(clippy::unwrap_used)]

mod checkers;
mod cluster;
// Shared with the tests of recovery, which do more to a disk.
#[allow(dead_code)]
#[path = "../recovery/disk.rs"]
mod disk;
mod folder;
mod guest;
mod network;
mod oracle;
mod scenarios;
mod server;
mod workload;
mod world;

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster::{Cluster, DRAWS, Tally};
use ringkeeper::base::planted::{Bug, plant};
use ringkeeper::runtime::fatal::{Fatal, on_fatal};

/// Seeds of a run that is not asked for any.
const DEFAULT_SEEDS: u64 = 100;
/// Every so many seeds one is run twice, and its traces compared: they are the same, whatever wall clocks say.
const TWICE_EVERY: u64 = 20;
/// Seeds within which a planted bug has to be found. The rarest has needed a third of them.
const BUG_SEEDS: u64 = 600;
/// Planted bugs that live, and why.
const SURVIVORS: [(Bug, &str); 1] = [(
    Bug::LaggardLeads,
    "elections go by what is on disk, so that nobody is elected who is behind: it is the second lock of one door",
)];

/// How a simulated process ends itself.
pub(crate) struct Died {
    pub(crate) fatal: Fatal,
    pub(crate) reason: String,
}

fn die(fatal: Fatal, reason: &str) -> ! {
    std::panic::panic_any(Died { fatal, reason: reason.to_owned() })
}

thread_local! {
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)).cloned()
    };
    if has("--list") {
        println!("sim: test");
        return ExitCode::SUCCESS;
    }
    let bug = value("--bug").map(|name| {
        let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
        bug.unwrap_or_else(|| panic!("there are the bugs {:?}", Bug::ALL))
    });
    on_fatal(die);
    let is_told = has("--trace") || has("--seed");
    std::panic::set_hook(Box::new(move |info| {
        let words = match info.payload().downcast_ref::<Died>() {
            Some(died) => format!("\n{:?}: {}", died.fatal, died.reason),
            None => info.to_string(),
        };
        if is_told {
            eprintln!("{words}");
        }
        // What a run says when it fails is printed with its seed.
        WORDS.with_borrow_mut(|known| *known = words);
    }));
    if let Some(seed) = value("--seed") {
        plant(bug);
        let seed: u64 = seed.parse().expect("--seed takes a number");
        let draws = value("--draws").map_or(DRAWS, |draws| draws.parse().expect("--draws takes a number"));
        Cluster::new(seed, draws, has("--trace")).run();
        println!("seed {seed} holds");
        return ExitCode::SUCCESS;
    }
    if let Some(name) = value("--scenario") {
        return if scenarios(Some(&name), bug, has("--trace")) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let seeds = value("--seeds").map(|range| {
        let (from, to) = range.split_once("..").expect("--seeds takes A..B");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    if let (Some(bug), Some(seeds)) = (bug, seeds.clone()) {
        println!("{bug:?}: {:?}", finds(bug, seeds));
        return ExitCode::SUCCESS;
    }
    let only_seeds = seeds.is_some() && !has("--all");
    let holds = [
        only_seeds || scenarios(None, None, false),
        only_seeds || pinned(),
        campaign(seeds.unwrap_or(0..DEFAULT_SEEDS)),
        !has("--all") || bugs(),
    ];
    if holds.iter().all(|holds| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs something that may panic; gives what it said then.
fn attempt<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|_| WORDS.take())
}

/// One seed, or why it fails.
fn run(seed: u64, draws: u32) -> Result<Tally, String> {
    attempt(|| {
        let (tally, trace) = Cluster::new(seed, draws, false).run();
        if seed.is_multiple_of(TWICE_EVERY) {
            let (_, again) = Cluster::new(seed, draws, false).with_other_clocks().run();
            let differs = trace.lines().zip(again.lines()).find(|(one, other)| one != other);
            assert!(trace == again, "two runs differ, though in their wall clocks alone: {differs:?}");
        }
        tally
    })
}

/// Calls `run` with each number of the range, on every core, until it says that it is enough.
fn on_every_core(range: Range<u64>, run: &(dyn Fn(u64) -> bool + Sync)) {
    let next = AtomicU64::new(range.start);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    // Relaxed: the number alone is shared.
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= range.end || !run(number) {
                        return;
                    }
                }
            });
        }
    });
}

fn campaign(seeds: Range<u64>) -> bool {
    let (sum, count) = (Mutex::new((Tally::default(), 0u64, 0u64, Instant::now())), seeds.end - seeds.start);
    on_every_core(seeds, &|seed| {
        let outcome = run(seed, DRAWS);
        let mut sum = sum.lock().unwrap();
        sum.2 += 1;
        match outcome {
            Ok(tally) => sum.0.add(&tally),
            Err(why) => {
                sum.1 += 1;
                println!("FAIL seed {seed}: {why}\n    cargo test --test sim -- --seed {seed} --trace");
            }
        }
        if sum.3.elapsed() > Duration::from_secs(30) {
            sum.3 = Instant::now();
            println!("{} of {count} seeds, {} failed", sum.2, sum.1);
        }
        true
    });
    let (tally, failed, ..) = sum.into_inner().unwrap();
    println!("{count} seeds, {failed} failed: {tally:?}");
    println!("test result: {}. {} passed; {failed} failed;", word(failed == 0), count - failed);
    failed == 0
}

/// Every seed that ever failed.
fn pinned() -> bool {
    let seeds = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut holds = true;
    for line in seeds {
        let mut words = line.split_whitespace();
        let seed = words.next().unwrap().parse().unwrap();
        let draws = words.next().unwrap().parse().unwrap();
        if let Err(why) = run(seed, draws) {
            println!("FAIL pinned seed {seed} of draws {draws}: {why}");
            holds = false;
        }
    }
    holds
}

/// What finds the bug, and what it says: the first of the scenarios, or of the seeds.
fn finds(bug: Bug, seeds: Range<u64>) -> Option<(String, String)> {
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let judge = |number: u64, outcome: Result<(), String>| {
        let mut found = found.lock().unwrap();
        if let Err(why) = outcome
            && found.as_ref().is_none_or(|(first, _)| number < *first)
        {
            *found = Some((number, why));
        }
        found.is_none()
    };
    on_every_core(0..scenarios::ALL.len() as u64, &|number| {
        plant(Some(bug));
        judge(number, attempt(|| scenarios::ALL[number as usize].1(false)))
    });
    let scenario = found.lock().unwrap().take();
    if let Some((number, why)) = scenario {
        return Some((scenarios::ALL[number as usize].0.to_owned(), why));
    }
    on_every_core(seeds, &|seed| {
        plant(Some(bug));
        judge(seed, attempt(|| drop(Cluster::new(seed, DRAWS, false).run())))
    });
    found.into_inner().unwrap().map(|(seed, why)| (format!("seed {seed}"), why))
}

/// Each planted bug has to be found, but for those that are named.
fn bugs() -> bool {
    let (mut killed, mut lives) = (0, 0);
    for bug in Bug::ALL {
        let expected = SURVIVORS.iter().find(|(survivor, _)| *survivor == bug);
        match (finds(bug, 0..BUG_SEEDS), expected) {
            (Some((by, why)), None) => {
                killed += 1;
                let line = why.lines().nth(1).unwrap_or_default();
                println!("bug {bug:?} found by {by}: {line}");
            }
            (Some((by, _)), Some(_)) => {
                lives += 1;
                println!("FAIL bug {bug:?} is named as a survivor, and {by} finds it");
            }
            (None, Some((_, why))) => println!("bug {bug:?} survives: {why}"),
            (None, None) => {
                lives += 1;
                println!("FAIL bug {bug:?} is not found within {BUG_SEEDS} seeds");
            }
        }
    }
    println!("test result: {}. {killed} passed; {lives} failed;", word(lives == 0));
    lives == 0
}

/// All scenarios, or those whose name begins so.
fn scenarios(name: Option<&str>, bug: Option<Bug>, is_told: bool) -> bool {
    let told = Mutex::new((0u64, 0u64));
    let asked: Vec<_> =
        scenarios::ALL.iter().filter(|(title, _)| name.is_none_or(|name| title.starts_with(name))).collect();
    on_every_core(0..asked.len() as u64, &|number| {
        let (title, scenario) = asked[number as usize];
        plant(bug);
        let outcome = attempt(|| scenario(is_told));
        let mut told = told.lock().unwrap();
        match outcome {
            Ok(()) => told.0 += 1,
            Err(why) => {
                told.1 += 1;
                println!("FAIL scenario {title}: {why}");
            }
        }
        true
    });
    let (passed, failed) = told.into_inner().unwrap();
    println!("scenarios: {passed} hold, {failed} fail");
    println!("test result: {}. {passed} passed; {failed} failed;", word(failed == 0 && passed > 0));
    failed == 0 && passed > 0
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "FAILED" }
}
