#![forbid(unsafe_code)]
//! Decisions as text: lines that say what happens to one server, and below each, indented, the exact actions that come
//! of it, in their order.
//!
//! ```text
//! me 2 of 1 2 3 observers 4          a server, with its ensemble; nobody linked; `weights 3=0` after it
//! begin 1:7                          looks, with a history of epoch 1 up to zxid 7; `begin none` without a vote
//! up 1 / lost 1                      the link to 1
//! at 200                             time, and a tick
//! from 1 looking 3@1:7 round 1       a notification: vote for 3, epoch 1, zxid 7; `version 0` after it
//! settle following 3@5:7 round 1     what `answer` is given from now on
//! when                               when the next tick is due
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::base::{Millis, ServerId, Zxid};
use crate::zab::election::{CurrentVote, Elected, Election, NO_VOTE};
use crate::zab::event::{Action, Observation};
use crate::zab::membership::{Membership, Quorum};
use crate::zab::message::{Notification, State, Vote};
use crate::zab::settings::Settings;

pub(super) fn settings(me: i64) -> Settings {
    Settings {
        me: ServerId(me),
        tick_ms: 2000,
        init_limit: 10,
        sync_limit: 5,
        connect_limit: 0,
        notification_min_ms: 200,
        notification_max_ms: 60_000,
        finalize_wait_ms: 200,
        history_txns_max: 500,
        history_bytes_max: 1 << 20,
        outstanding_max: 1000,
        snaps_max: 1,
        diffs_max: 1,
        observer_masters: false,
        observer_election_delay_ms: 0,
        observer_reconnect_delay_ms: 0,
        seed: 1,
        counter_max: u32::MAX - 1000,
    }
}

/// Runs a script and compares all of it, so that a failure shows the text that would pass.
#[track_caller]
pub(super) fn check(script: &str) {
    let mut run = Run::default();
    let mut actual = String::new();
    for line in script.lines().map(str::trim_end) {
        let line = line.strip_prefix("        ").unwrap_or(line);
        if line.is_empty() || line.starts_with(' ') {
            continue;
        }
        writeln!(actual, "{line}").unwrap();
        for result in run.line(line) {
            writeln!(actual, "  {result}").unwrap();
        }
    }
    let expected: String = script
        .lines()
        .map(|line| line.trim_end().strip_prefix("        ").unwrap_or(line.trim_end()))
        .filter(|line| !line.is_empty())
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(actual == expected, "this came out:\n\n{actual}");
}

#[derive(Default)]
struct Run {
    now: Millis,
    server: Option<(Election, Membership)>,
    current: Option<CurrentVote>,
}

impl Run {
    fn line(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut actions = Vec::new();
        if words[0] == "me" {
            self.server = Some(server(&words));
            self.current = None;
            self.now = Millis(0);
            return Vec::new();
        }
        let (election, membership) = self.server.as_mut().expect("a line `me` comes first");
        let id = |word: &str| ServerId(word.parse().unwrap());
        let elected = match words[0] {
            "begin" => {
                self.current = None;
                let own = if words[1] == "none" {
                    NO_VOTE
                } else {
                    vote(&format!("{}@{}", election.me.0, words[1]))
                };
                election.begin(self.now, own, membership, &mut actions);
                None
            }
            "up" => election.peer_up(self.now, id(words[1]), membership, &mut actions),
            "lost" => election.peer_lost(self.now, id(words[1]), membership, &mut actions),
            "at" => {
                self.now = Millis(words[1].parse().unwrap());
                election.tick(self.now, membership, &mut actions)
            }
            "when" => return vec![election.next_tick().map_or("never".to_owned(), |at| at.0.to_string())],
            "settle" => {
                let round = number(words[4]);
                self.current = Some(CurrentVote { state: state(words[1]), vote: vote(words[2]), round });
                None
            }
            "from" => {
                let version = if words.get(6) == Some(&"version") { words[7].parse().unwrap() } else { 2 };
                let notification = Notification {
                    state: state(words[2]),
                    vote: vote(words[3]),
                    round: number(words[5]),
                    version,
                    config: membership.document.clone(),
                };
                match &self.current {
                    None => {
                        election.notified(self.now, id(words[1]), &notification, membership, &mut actions)
                    }
                    Some(current) => {
                        election.answer(id(words[1]), &notification, current, membership, &mut actions);
                        None
                    }
                }
            }
            other => panic!("no such line: {other}"),
        };
        let mut results = render(&actions, membership);
        if let Some(Elected { leader, round, vote }) = elected {
            assert_eq!(vote.leader, leader);
            results.push(format!("end {} round {round}", render_vote(&vote)));
            let state = if leader == election.me { State::Leading } else { State::Following };
            self.current = Some(CurrentVote { state, vote, round });
        }
        results
    }
}

fn server(words: &[&str]) -> (Election, Membership) {
    let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut list = "me";
    for word in words {
        match *word {
            "me" | "of" | "observers" | "weights" => list = word,
            word => lists.entry(list).or_default().push(word),
        }
    }
    let ids = |list: &str| -> Vec<i64> {
        lists.get(list).into_iter().flatten().map(|word| word.parse().unwrap()).collect()
    };
    let voters = ids("of");
    let mut membership = Membership::majority(&voters, &ids("observers"), b"config");
    if let Some(weights) = lists.get("weights") {
        let pair = |word: &&str| {
            let (server, weight) = word.split_once('=').unwrap();
            (ServerId(server.parse().unwrap()), weight.parse().unwrap())
        };
        membership.quorum = Quorum::Hierarchical {
            group: voters.iter().map(|voter| (ServerId(*voter), 1)).collect(),
            weight: weights.iter().map(pair).collect(),
        };
    }
    (Election::new(&settings(ids("me")[0])), membership)
}

fn state(word: &str) -> State {
    match word {
        "looking" => State::Looking,
        "following" => State::Following,
        "leading" => State::Leading,
        "observing" => State::Observing,
        other => panic!("no such state: {other}"),
    }
}

fn vote(word: &str) -> Vote {
    if word == "none" {
        return NO_VOTE;
    }
    let (leader, rest) = word.split_once('@').unwrap();
    let (epoch, zxid) = rest.split_once(':').unwrap();
    Vote { leader: ServerId(number(leader)), zxid: Zxid(number(zxid)), peer_epoch: number(epoch) }
}

fn number(word: &str) -> i64 {
    if word == "max" { i64::MAX } else { word.parse().unwrap() }
}

pub(super) fn render_vote(vote: &Vote) -> String {
    if *vote == NO_VOTE {
        return "none".to_owned();
    }
    format!("{}@{}:{}", vote.leader.0, vote.peer_epoch, vote.zxid.0)
}

/// One line an action; the same notification to several servers in one.
pub(super) fn render(actions: &[Action], membership: &Membership) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut last: Option<&Notification> = None;
    for action in actions {
        match action {
            Action::Notify { to, notification } if last == Some(notification) => {
                let line = lines.last_mut().unwrap();
                let (targets, rest) = line.split_once(':').unwrap();
                *line = format!("{targets} {}:{rest}", to.0);
            }
            Action::Notify { to, notification } => {
                assert_eq!(notification.config, membership.document);
                assert_eq!(notification.version, 2);
                let state = format!("{:?}", notification.state).to_lowercase();
                let vote = render_vote(&notification.vote);
                lines.push(format!("to {}: {state} {vote} round {}", to.0, notification.round));
            }
            Action::Observed(Observation::ElectionStarted { round }) => {
                lines.push(format!("started round {round}"));
            }
            Action::Observed(Observation::Elected { leader, round, took_ms }) => {
                lines.push(format!("elected {} round {round} after {took_ms}", leader.0));
            }
            Action::Observed(Observation::Ignored { from: Some(from), what: "notification", why }) => {
                lines.push(format!("ignored {}: {why}", from.0));
            }
            other => panic!("election does not do this: {other:?}"),
        }
        last = match action {
            Action::Notify { notification, .. } => Some(notification),
            _ => None,
        };
    }
    lines
}
