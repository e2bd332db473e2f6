#![forbid(unsafe_code)]
//! The same random program against two servers, and every byte they answer compared.
//!
//! One session acts at a time and the program waits for its answers, so the order of all requests is the same on both
//! servers, and with it every zxid, every version, every event and its place among the replies. What may differ is
//! taken out first, and nothing else: wall-clock times (zero stays zero), session ids (they become the session's
//! number), passwords, the order of child lists and of other sets, the order in which the ephemerals of a closing
//! session go, and the zxid of a reply to a write that could not be decoded (client-protocol §A).
//!
//! `RINGKEEPER_DIFF_OPS` (default 100000) and `RINGKEEPER_DIFF_SEED` choose length and program; the seed is printed.
//! `RINGKEEPER_DIFF_SHRINK=1` looks for a shorter program after a difference.

use super::program::{Program, Step};
use super::side::{Answers, Item, Side};
use crate::support::server::{Kind, Server, Setup};
use crate::support::stock;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Operations of one run.
const OPS: u64 = 100_000;

/// Both servers: TTL nodes allowed, and no sweep that would take zxids at its own times.
const SETUP: Setup = Setup {
    keys: &[("extendedTypesEnabled", "true")],
    properties: &[("znode.container.checkIntervalMs", "86400000")],
};

/// Requests kept for the report of a difference.
const HISTORY: usize = 60;

#[test]
fn random_programs_answer_alike_on_stock_and_ringkeeper() {
    let ops = number("RINGKEEPER_DIFF_OPS", OPS);
    compare([Kind::Stock, Kind::Ringkeeper], ops as usize, None).unwrap_or_else(|report| panic!("{report}"));
}

/// Proves the normalisation: whatever differs between two runs of stock is not ours to match.
#[test]
fn random_programs_answer_alike_on_stock_and_stock() {
    let ops = number("RINGKEEPER_DIFF_OPS", OPS) / 10;
    compare([Kind::Stock, Kind::Stock], ops as usize, None).unwrap_or_else(|report| panic!("{report}"));
}

/// Proves the comparison: one write that only the second server gets must not go unnoticed.
#[test]
fn a_planted_difference_is_found() {
    if stock::is_hermetic() {
        println!("hermetic run: there is no stock to compare with");
        return;
    }
    let found = compare([Kind::Stock, Kind::Stock], 5_000, Some(20));
    assert!(found.is_err_and(|report| report.contains("differ")), "the planted write went unnoticed");
}

/// Another program each run: the seed is printed, and what it found becomes a test of its own.
fn fresh_seed() -> u64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    u64::from(since.subsec_nanos()) ^ since.as_secs() << 20
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Runs one program of `ops` operations on two fresh servers. With `plant`, the second server gets one write more
/// before that step.
///
/// # Errors
/// What differed first, and what led to it; the shortest program found that still differs, if that was asked for.
fn compare(kinds: [Kind; 2], ops: usize, plant: Option<usize>) -> Result<(), String> {
    if stock::is_hermetic() {
        println!("hermetic run: there is no stock to compare with");
        return Ok(());
    }
    let seed = number("RINGKEEPER_DIFF_SEED", fresh_seed());
    println!("seed {seed}: RINGKEEPER_DIFF_SEED={seed} RINGKEEPER_DIFF_OPS={ops} runs it again");
    let mut pair = Pair::new(kinds);
    let mut servers = [&pair.servers[0], &pair.servers[1]].map(Side::new);
    let mut program = Program::new(seed);
    let mut history = History(VecDeque::new());
    let mut all = Vec::new();
    let (began, mut done) = (Instant::now(), 0);
    let mut tally = Tally::default();
    while done < ops {
        if plant == Some(all.len()) {
            servers[1].plant();
        }
        let (session, step) = program.step();
        let differs = take_step(&mut servers, session, &step, done as i32 + 1, &mut history, &mut tally);
        done += step.ops();
        program.zxid = tally.zxid;
        all.push((session, step));
        if let Err(difference) = differs {
            let mut text = format!("the servers differ at step {} of seed {seed}.\n{difference}", all.len());
            if number("RINGKEEPER_DIFF_SHRINK", 0) > 0 {
                drop(servers);
                pair = Pair::new(kinds);
                text.push_str(&shrunk(&mut pair, kinds, all));
            }
            return Err(text);
        }
    }
    let Tally { replies, events, errors, .. } = tally;
    let rate = done as f64 / began.elapsed().as_secs_f64();
    println!(
        "{kinds:?}: {done} operations, {replies} replies and {events} events alike in {:?} ({rate:.0}/s)",
        began.elapsed()
    );
    println!("replies by error: {errors:?}");
    // A program whose requests all fail would agree about nothing of interest.
    assert!(errors[&0] > replies / 3, "{errors:?}");
    assert!(events > done / 100, "only {events} events in {done} operations");
    Ok(())
}

/// Two servers on empty folders.
struct Pair {
    servers: [Server; 2],
}

impl Pair {
    fn new(kinds: [Kind; 2]) -> Pair {
        Pair {
            servers: kinds.map(|kind| Server::start(kind, SETUP).unwrap_or_else(|reason| panic!("{reason}"))),
        }
    }
}

/// What was alike so far.
#[derive(Default)]
struct Tally {
    zxid: i64,
    replies: usize,
    events: usize,
    errors: BTreeMap<i32, usize>,
}

/// One step on both servers.
///
/// # Errors
/// The report of a difference.
fn take_step(
    sides: &mut [Side<'_>; 2],
    session: usize,
    step: &Step,
    first_xid: i32,
    history: &mut History,
    tally: &mut Tally,
) -> Result<(), String> {
    history.remember(session, step, first_xid);
    // Both servers have the requests before either is waited for.
    sides.iter_mut().for_each(|side| side.send(session, step, first_xid));
    let kinds = [sides[0].server.kind, sides[1].server.kind];
    let [first, second] = sides;
    let answers = [first.receive(session, step, first_xid), second.receive(session, step, first_xid)];
    for (place, (left, right)) in answers[0].iter().zip(&answers[1]).enumerate() {
        if left != right {
            return Err(report(kinds, history, &answers, place));
        }
        match &left.1 {
            Item::Reply { zxid, err, .. } => {
                tally.replies += 1;
                *tally.errors.entry(*err).or_default() += 1;
                tally.zxid = tally.zxid.max(*zxid);
            }
            Item::Event { .. } => tally.events += 1,
            Item::Welcome { .. } | Item::Closed | Item::Silence => {}
        }
    }
    if answers[0].len() != answers[1].len() {
        let place = answers[0].len().min(answers[1].len());
        return Err(report(kinds, history, &answers, place));
    }
    Ok(())
}

/// Takes steps out of a program, and then requests out of its batches, as long as the servers still differ. Each
/// attempt wants empty servers, so this takes minutes and is done when `RINGKEEPER_DIFF_SHRINK=1` asks for it.
fn shrunk(servers: &mut Pair, kinds: [Kind; 2], mut steps: Vec<(usize, Step)>) -> String {
    let mut latest = String::new();
    let mut differs = |steps: &[(usize, Step)]| {
        *servers = Pair::new(kinds);
        let mut sides = [&servers.servers[0], &servers.servers[1]].map(Side::new);
        let (mut history, mut tally) = (History(VecDeque::new()), Tally::default());
        let mut xid = 1;
        let difference = steps.iter().find_map(|(session, step)| {
            let first_xid = xid;
            xid += step.ops() as i32;
            take_step(&mut sides, *session, step, first_xid, &mut history, &mut tally).err()
        });
        difference.inspect(|difference| latest.clone_from(difference)).is_some()
    };
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < steps.len() {
            let without = [&steps[..from], &steps[(from + chunk).min(steps.len())..]].concat();
            if differs(&without) {
                steps = without;
            } else {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    for place in 0..steps.len() {
        let Step::Batch(requests) = &steps[place].1 else { continue };
        let (mut requests, mut chunk) = (requests.clone(), requests.len().div_ceil(2));
        while chunk > 0 {
            let mut from = 0;
            while from < requests.len() {
                let without = [&requests[..from], &requests[(from + chunk).min(requests.len())..]].concat();
                let before = std::mem::replace(&mut steps[place].1, Step::Batch(without.clone()));
                if !without.is_empty() && differs(&steps) {
                    requests = without;
                } else {
                    steps[place].1 = before;
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }
    if !differs(&steps) {
        return "\nOn empty servers the same steps do not differ: it is a matter of time as well.\n"
            .to_owned();
    }
    format!("\nThe shortest program found:\n{steps:#?}\n{latest}")
}

impl Step {
    fn ops(&self) -> usize {
        match self {
            Step::Batch(requests) => requests.len(),
            _ => 1,
        }
    }
}

/// The latest requests, for whoever has to explain a difference; told also when a test ends in a panic.
struct History(VecDeque<String>);

impl History {
    fn remember(&mut self, session: usize, step: &Step, first_xid: i32) {
        match step {
            Step::Batch(requests) => {
                for (request, xid) in requests.iter().zip(first_xid..) {
                    self.keep(format!("session {session}: xid {xid} {request:?}"));
                }
            }
            other => self.keep(format!("session {session}: {other:?}")),
        }
    }

    fn keep(&mut self, line: String) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the latest requests:");
            self.0.iter().for_each(|line| println!("  {line}"));
        }
    }
}

fn report(kinds: [Kind; 2], history: &History, answers: &[Answers; 2], place: usize) -> String {
    let mut text = "The latest requests:\n".to_owned();
    history.0.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text.push_str("What both said before:\n");
    for (session, item) in &answers[0][place.saturating_sub(5)..place] {
        text.push_str(&format!("  session {session}: {item:?}\n"));
    }
    for (kind, answer) in kinds.iter().zip(answers) {
        text.push_str(&format!("{kind:?} went on:\n"));
        for (session, item) in answer.iter().skip(place).take(4) {
            text.push_str(&format!("  session {session}: {item:?}\n"));
        }
    }
    text
}
