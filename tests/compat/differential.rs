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

use super::program::{Program, SESSIONS, Step};
use crate::support::PATIENCE;
use crate::support::client::{Incoming, err, op, request};
use crate::support::jute::{In, STAT_BYTES, out};
use crate::support::raw::{Got, Hello, Raw, Session, shake};
use crate::support::server::{Kind, Server, Setup};
use crate::support::stock;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

/// Both servers: TTL nodes allowed, and no sweep that would take zxids at its own times.
const SETUP: Setup = Setup {
    keys: &[("extendedTypesEnabled", "true")],
    properties: &[("znode.container.checkIntervalMs", "86400000")],
};

/// Requests kept for the report of a difference.
const HISTORY: usize = 60;

#[test]
fn random_programs_answer_alike_on_stock_and_ringkeeper() {
    let ops = number("RINGKEEPER_DIFF_OPS", 100_000);
    compare([Kind::Stock, Kind::Ringkeeper], ops as usize, None).unwrap_or_else(|report| panic!("{report}"));
}

/// Proves the normalisation: whatever differs between two runs of stock is not ours to match.
#[test]
fn random_programs_answer_alike_on_stock_and_stock() {
    let ops = number("RINGKEEPER_DIFF_OPS", 100_000) / 10;
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
    // A new program each run finds more than the same one each run; a failure names its seed.
    let seed = number("RINGKEEPER_DIFF_SEED", u64::from(std::process::id()) * 1_000_003);
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

/// One server and the program's sessions on it.
struct Side<'a> {
    server: &'a Server,
    links: Vec<Link>,
    /// Session id to the number of the session in order of creation, from 1.
    numbers: HashMap<i64, i64>,
}

struct Link {
    raw: Raw,
    session: Session,
}

/// What a server sent, with all taken out that may differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Welcome {
        timeout: i32,
        session: i64,
        bytes: usize,
    },
    Reply {
        xid: i32,
        zxid: i64,
        err: i32,
        body: Vec<u8>,
    },
    Event {
        zxid: i64,
        kind: i32,
        state: i32,
        path: Vec<u8>,
    },
    Closed,
    /// Nothing came in the time allowed, and something was due.
    Silence,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Item::Welcome { timeout, session, bytes } => {
                write!(f, "welcome: session {session}, {timeout} ms, {bytes} bytes")
            }
            Item::Reply { xid, zxid, err, body } => {
                write!(f, "reply to {xid}: zxid {zxid}, err {err}, body {}", body.escape_ascii())
            }
            Item::Event { zxid, kind, state, path } => {
                write!(f, "event {kind} at {zxid}, state {state}: {}", path.escape_ascii())
            }
            Item::Closed => write!(f, "closed"),
            Item::Silence => write!(f, "silence"),
        }
    }
}

/// Session (of the program) and what it received.
type Answers = Vec<(usize, Item)>;

impl<'a> Side<'a> {
    fn new(server: &'a Server) -> Side<'a> {
        let mut side = Side { server, links: Vec::new(), numbers: HashMap::new() };
        for _ in 0..SESSIONS {
            let link = side.open();
            side.links.push(link);
        }
        side
    }

    fn open(&mut self) -> Link {
        let hello = Hello { timeout: 60_000, ..Hello::default() };
        let (raw, welcome) = shake(self.server.address(), &hello);
        let session = welcome.expect("a session").session;
        let number = self.numbers.len() as i64 + 1;
        self.numbers.insert(session.id, number);
        Link { raw, session }
    }

    fn plant(&mut self) {
        self.links[0].raw.send(&request(1, op::CREATE, &out().str("/planted").null().acl(&[]).int(0).done()));
        let _its_error = self.links[0].raw.frame();
    }

    fn send(&mut self, session: usize, step: &Step, first_xid: i32) {
        let raw = &mut self.links[session].raw;
        match step {
            Step::Batch(requests) => {
                let all: Vec<u8> = requests
                    .iter()
                    .zip(first_xid..)
                    .flat_map(|(request_, xid)| request(xid, request_.opcode, &request_.body))
                    .collect();
                raw.send(&all);
            }
            Step::Auth { scheme, data } => {
                raw.send(&request(-4, op::AUTH, &out().int(0).str(scheme).str(data).done()));
            }
            Step::Fatal(bytes) => raw.send(bytes),
            Step::Reopen => raw.send(&request(first_xid, op::CLOSE_SESSION, &[])),
            Step::Resume(_) => {}
        }
    }

    /// Everything the step made the server say, to all sessions.
    fn receive(&mut self, session: usize, step: &Step, first_xid: i32) -> Answers {
        let mut own = match step {
            Step::Batch(requests) => self.replies(session, requests.iter().map(|request| request.opcode)),
            Step::Auth { .. } => self.replies(session, [op::AUTH]),
            Step::Fatal(_) => {
                let mut items = self.until_closed(session);
                items.extend(self.resume(session));
                items
            }
            Step::Resume(watches) => {
                let mut items = self.resume(session);
                self.links[session].raw.send(&request(first_xid, op::SET_WATCHES2, watches));
                items.extend(self.replies(session, [op::SET_WATCHES2]));
                items
            }
            Step::Reopen => {
                let mut items = self.until_closed(session);
                // Its ephemerals go in no promised order; events sort before nothing but each other.
                let events = items.iter().take_while(|item| matches!(item, Item::Event { .. })).count();
                items[..events].sort_unstable();
                self.links[session] = self.open();
                items
            }
        };
        let mut answers: Answers = own.drain(..).map(|item| (session, item)).collect();
        // A ping to everybody else brings what they were told.
        let others = (0..SESSIONS).filter(|other| *other != session);
        others.clone().for_each(|other| self.links[other].raw.send(&request(-2, op::PING, &[])));
        for other in others {
            let mut told = self.replies(other, [op::PING]);
            if matches!(step, Step::Reopen) {
                let events = told.len() - 1;
                told[..events].sort_unstable();
            }
            answers.extend(told.into_iter().map(|item| (other, item)));
        }
        answers
    }

    /// Renews the session on a new connection.
    fn resume(&mut self, session: usize) -> Vec<Item> {
        let before = self.links[session].session.clone();
        let (raw, welcome) = shake(self.server.address(), &Hello::renewal(&before));
        let Some(welcome) = welcome else { return vec![Item::Closed] };
        let session_number = self.numbers.get(&welcome.session.id).copied().unwrap_or_default();
        let item =
            Item::Welcome { timeout: welcome.session.timeout, session: session_number, bytes: welcome.bytes };
        self.links[session] = Link { raw, session: before };
        vec![item]
    }

    /// Replies to these requests and the events among them.
    fn replies(&mut self, session: usize, opcodes: impl IntoIterator<Item = i32>) -> Vec<Item> {
        let mut items = Vec::new();
        for opcode in opcodes {
            loop {
                let frame = match self.links[session].raw.frame_within(PATIENCE) {
                    Got::Frame(frame) => frame,
                    Got::Closed => {
                        items.push(Item::Closed);
                        return items;
                    }
                    Got::Nothing => {
                        items.push(Item::Silence);
                        return items;
                    }
                };
                let item = self.normalised(opcode, &frame);
                let is_reply = matches!(item, Item::Reply { .. });
                items.push(item);
                if is_reply {
                    break;
                }
            }
        }
        items
    }

    fn until_closed(&mut self, session: usize) -> Vec<Item> {
        let mut items = Vec::new();
        while let Some(frame) = self.links[session].raw.frame() {
            items.push(self.normalised(op::PING, &frame));
        }
        items.push(Item::Closed);
        items
    }

    fn normalised(&self, opcode: i32, frame: &[u8]) -> Item {
        match Incoming::decode(frame) {
            Incoming::Event(event) => {
                // The path as it was sent, not as text.
                let path = In(&frame[24..]).bytes();
                Item::Event { zxid: event.zxid, kind: event.kind, state: event.state, path }
            }
            Incoming::Reply(reply) => {
                let is_undecodable = reply.err == err::MARSHALLING;
                let body = if reply.err == 0 { self.body(opcode, &reply.body) } else { reply.body };
                let zxid = if is_undecodable { 0 } else { reply.zxid };
                Item::Reply { xid: reply.xid, zxid, err: reply.err, body }
            }
        }
    }

    fn body(&self, opcode: i32, body: &[u8]) -> Vec<u8> {
        let mut input = In(body);
        let mut clean = out().0;
        self.record(opcode, &mut input, &mut clean);
        clean.extend(input.0);
        clean
    }

    /// Copies one result record and takes out what may differ.
    fn record(&self, opcode: i32, input: &mut In<'_>, clean: &mut Vec<u8>) {
        match opcode {
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL | op::GET_DATA => {
                clean.extend(out().buffer(input.buffer().as_deref()).done());
                self.stat(input, clean);
            }
            op::CREATE => clean.extend(out().buffer(input.buffer().as_deref()).done()),
            op::EXISTS | op::SET_DATA | op::SET_ACL => self.stat(input, clean),
            op::GET_ACL => {
                clean.extend(out().acl(&input.acl()).done());
                self.stat(input, clean);
            }
            op::GET_CHILDREN | op::GET_CHILDREN2 | op::GET_EPHEMERALS => {
                let mut names: Vec<Vec<u8>> = (0..input.int()).map(|_| input.bytes()).collect();
                names.sort_unstable();
                clean.extend(out().strings(&names).done());
                if opcode == op::GET_CHILDREN2 {
                    self.stat(input, clean);
                }
            }
            op::WHO_AM_I => {
                let mut who: Vec<_> = (0..input.int()).map(|_| (input.bytes(), input.bytes())).collect();
                who.sort_unstable();
                who.iter().for_each(|(scheme, user)| clean.extend(out().str(scheme).str(user).done()));
            }
            op::MULTI | op::MULTI_READ => self.entries(input, clean),
            // Nothing in it that may differ: the caller copies it.
            _ => {}
        }
    }

    fn entries(&self, input: &mut In<'_>, clean: &mut Vec<u8>) {
        loop {
            let (kind, is_last, error) = (input.int(), input.byte(), input.int());
            clean.extend(out().int(kind).byte(is_last).int(error).done());
            if is_last != 0 {
                return;
            }
            match kind {
                -1 => clean.extend(input.take(4)),
                op::DELETE | op::CHECK => {}
                _ => self.record(kind, input, clean),
            }
        }
    }

    fn stat(&self, input: &mut In<'_>, clean: &mut Vec<u8>) {
        let mut stat: [u8; STAT_BYTES] = input.take(STAT_BYTES).try_into().expect("as many as asked for");
        for time in [16..24, 24..32] {
            let is_set = stat[time.clone()].iter().any(|byte| *byte != 0);
            stat[time].copy_from_slice(&i64::from(is_set).to_be_bytes());
        }
        let owner = i64::from_be_bytes(stat[44..52].try_into().expect("eight bytes"));
        // An owner nobody was given stays as it is, and so is seen.
        let number = self.numbers.get(&owner).copied().unwrap_or(owner);
        stat[44..52].copy_from_slice(&number.to_be_bytes());
        clean.extend(stat);
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
