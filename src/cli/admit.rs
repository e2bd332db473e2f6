#![forbid(unsafe_code)]
//! `ringkeeper admit`: what a stopped member holds and what it lost, in plain words, and an operator's decision about its
//! vote (reliability R11, F13). Whoever reads this is likely to have been woken up for it: every consequence is spelled
//! out, and nothing happens without `--yes`.

use std::fmt::{self, Write as _};
use std::io::Write;

use super::exit::Exit;
use super::progress::Stages;
use crate::base::{ServerId, Zxid};
use crate::config::{Config, ConfigDocument, Ensemble, MemberRole};
use crate::server::vote::{self, Examined};
use crate::storage::decision::Decision;
use crate::storage::epoch;

/// Says what is there, and does what is decided if `yes` is said.
pub(super) fn run(config: &Config, decision: Decision, yes: bool, out: &mut dyn Write) -> Exit {
    let ensemble = match voter(config) {
        Ok(ensemble) => ensemble,
        Err(why) => return refuse(Exit::Invalid, why),
    };
    let mut stages = Stages::default();
    let examined = vote::examine(config, &mut |label, done, total| stages.update(label, done, total));
    stages.finish();
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => return refuse(Exit::DataFolder, error),
    };
    let mut text = holdings(ensemble, &examined);
    if examined.is_so(decision) {
        text.push_str(match decision {
            Decision::Admit => "\nIt has its vote. Nothing is to be done, and nothing was changed.\n",
            Decision::Strip => "\nIt has no vote already. Nothing was changed.\n",
        });
        say(out, &text);
        return Exit::Finished;
    }
    let last = examined.report.last;
    text.push_str(&match decision {
        Decision::Admit => before_admitting(ensemble, last),
        Decision::Strip => before_stripping(last),
    });
    if !yes {
        text.push_str("\nNothing was changed. To do it: the same command with --yes.\n");
        say(out, &text);
        return Exit::Invalid;
    }
    say(out, &text);
    match examined.decide(decision) {
        Ok(()) => {
            say(out, after(decision));
            Exit::Finished
        }
        Err(error) => refuse(Exit::DataFolder, error),
    }
}

/// A reader that left early changes nothing about what is done.
fn say(out: &mut dyn Write, text: &str) {
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn refuse(exit: Exit, why: impl fmt::Display) -> Exit {
    let _ = writeln!(std::io::stderr(), "{why}\nNothing was decided: this server's vote is as it was.");
    exit
}

/// The ensemble in which this server may have a vote.
fn voter(config: &Config) -> Result<&Ensemble, String> {
    let Some(ensemble) = &config.ensemble else {
        return Err("This configuration has no server.N lines: a server by itself needs no vote.".to_owned());
    };
    match ensemble.document.members.get(&ensemble.me).map(|member| member.role) {
        Some(MemberRole::Participant) => Ok(ensemble),
        _ => Err(format!("Server {} is an observer: it never has a vote.", ensemble.me.0)),
    }
}

/// Where a server is, as an operator knows it.
fn place(document: &ConfigDocument, id: ServerId) -> String {
    let hosts = document.members.get(&id).into_iter().flat_map(|member| &member.addresses);
    let hosts: Vec<&str> = hosts.map(|address| &*address.host).collect();
    format!("server {} ({})", id.0, hosts.join(", "))
}

/// What is there.
fn holdings(ensemble: &Ensemble, examined: &Examined) -> String {
    let Examined { record, report, znodes, applied, .. } = examined;
    let (data, log) = examined.folders();
    let voters = ensemble.document.voters().count();
    let mut text = String::new();
    let mut row = |name: &str, value: &dyn fmt::Display| {
        writeln!(text, "  {name:<16}{value}").expect("a string takes all");
    };
    row("data", &data.display());
    row("log", &log.display());
    row("last zxid", &format_args!("{} ({})", report.last, in_words(report.last)));
    row("committed", &format_args!("{applied}, as far as it knows; {znodes} znodes there"));
    row("epochs", &format_args!("{} accepted, {} current", record.accepted.0, record.current.0));
    row("epoch record", &format_args!("{} of {} copies equal", report.epoch_copies, epoch::COPIES));
    let vote = match (&report.lost, record.provisional) {
        (Some(_), _) => "none until a leader has brought it up to date",
        (None, true) => {
            "for a new ensemble only: it began with empty folders, and gives it up when it hears of a leader"
        }
        (None, false) => "yes",
    };
    row("vote", &vote);
    match &report.lost {
        Some(why) => row("lost", why),
        None if record.provisional => row("lost", &"perhaps everything: its folders were empty"),
        None => row("lost", &"nothing that it knows of"),
    }
    if let Some(torn) = &report.torn {
        row("end of the log", &format_args!("{torn:?}"));
    }
    for (name, fault) in &report.skipped {
        row("not loaded", &format_args!("{name}: {fault}"));
    }
    format!("{}, one of {voters} voting members:\n{text}", capital(&place(&ensemble.document, ensemble.me)))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

fn in_words(zxid: Zxid) -> String {
    match zxid {
        Zxid::ZERO => "nothing".to_owned(),
        _ => format!("epoch {}, number {}", zxid.epoch().0, zxid.counter()),
    }
}

/// What has to be known before a server is admitted.
fn before_admitting(ensemble: &Ensemble, last: Zxid) -> String {
    let Ensemble { document, me, .. } = ensemble;
    let others: Vec<String> = document
        .voters()
        .filter(|member| member.id != *me)
        .map(|member| place(document, member.id))
        .collect();
    let others = others.join(", ");
    let held = match last {
        Zxid::ZERO => "\
  - This server holds NOTHING. It can lend its vote to a server that holds the data, and that is all. Two such servers
    would elect each other and begin with an empty tree: start a server that holds data before you start this one."
            .to_owned(),
        _ => format!(
            "\
  - Every write after {last} that no other server with a vote holds is given up for ever, also if a client was told
    that it is done."
        ),
    };
    format!(
        "
If you admit it, it votes again, and can be elected:
{held}
  - It may have acknowledged writes, and votes, that it does not know of any more. Whoever relied on them loses them.
  - A server that comes back later with more than the new leader holds has to drop it.

So, before you do:
  1. Is there a leader, or can there be one? Start every server that still has its data and its vote. If they are a
     majority, do NOT admit: start this one, they bring it up to date and it has its vote again by itself.
  2. Ask the others first: {others}.
     Stop each and run \"ringkeeper admit CONFIG\" on it: without --yes it changes nothing and shows its last zxid. A
     ZooKeeper server's is the last one that bin/zkTxnLogToolkit.sh shows of the newest version-2/log.*.
  3. Choose the server with the highest last zxid. Admit no more servers than are missing for a majority, counting
     those that have their vote; the others get theirs by themselves, from the leader.
  4. Copy the data folders of each server before you change anything.
"
    )
}

fn before_stripping(last: Zxid) -> String {
    format!(
        "
If you strip it, it has no vote until a leader has brought it up to date, which then gives it back by itself. That is right
for a server whose folders were replaced by an old copy: it has promised things since, which are not in the copy.
  - Until then the others must be a majority without it. If they are not, there will be no leader.
  - What it holds ({last} is the last) does not count in an election. Do not strip the server that holds most.
"
    )
}

/// What to do next.
fn after(decision: Decision) -> &'static str {
    match decision {
        Decision::Admit => {
            "
Done, and on the disk: this server has its vote.
Next: start the server with the highest last zxid of those with a vote, then the others with a vote. Once \"srvr\" shows
a leader, start the rest as they are: they are brought up to date and get their votes by themselves. Do not admit them.
"
        }
        Decision::Strip => {
            "
Done, and on the disk: this server has no vote.
Next: start it. Its log says \"this server has no vote\", then \"being brought up to date\"; after that it is a follower like
any other, with its vote.
"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::runtime::files::DataDirs;

    fn config(folder: &std::path::Path, lines: &str) -> Config {
        std::fs::create_dir_all(folder.join("data")).expect("made");
        std::fs::write(folder.join("data/myid"), "2").expect("written");
        let text = format!(
            "dataDir={}\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n{lines}",
            folder.join("data").display()
        );
        let path = folder.join("zoo.cfg");
        std::fs::write(&path, text).expect("written");
        let source = [path.to_string_lossy().into_owned()];
        super::super::start::load(&source, &[], &super::super::start::Environment::default())
            .expect("a configuration")
            .config
    }

    const THREE: &str =
        "server.1=a.example:2888:3888\nserver.2=b.example:2888:3888\nserver.3=c.example:2888:3888\n";

    fn run_on(config: &Config, decision: Decision, yes: bool) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = run(config, decision, yes, &mut out);
        (exit, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_server_that_cannot_have_a_vote_is_refused_in_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let alone = config(folder.path(), "");
        assert_eq!(
            voter(&alone).map(drop),
            Err("This configuration has no server.N lines: a server by itself needs no vote.".to_owned())
        );
        assert_eq!(run_on(&alone, Decision::Admit, true), (Exit::Invalid, String::new()));
        let lines = THREE.replace("b.example:2888:3888", "b.example:2888:3888:observer");
        let observer = config(folder.path(), &lines);
        assert_eq!(
            voter(&observer).map(drop),
            Err("Server 2 is an observer: it never has a vote.".to_owned())
        );
        assert_eq!(run_on(&observer, Decision::Admit, true).0, Exit::Invalid);
        let member = config(folder.path(), THREE);
        assert_eq!(voter(&member).map(|ensemble| ensemble.me), Ok(ServerId(2)));
    }

    #[test]
    fn what_follows_names_the_zxid_the_others_and_what_an_empty_server_may_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path(), THREE);
        let ensemble = config.ensemble.as_ref().expect("an ensemble");
        let text = before_admitting(ensemble, Zxid::from_parts(Epoch(2), 7));
        for expected in [
            "Every write after 0x200000007 that no other server with a vote holds is given up for ever",
            "Ask the others first: server 1 (a.example), server 3 (c.example).",
            "Choose the server with the highest last zxid",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        assert!(!text.contains("NOTHING"), "{text}");
        let text = before_admitting(ensemble, Zxid::ZERO);
        assert!(text.contains("This server holds NOTHING") && !text.contains("0x0"), "{text}");
    }

    #[test]
    fn nothing_is_done_without_yes_and_nothing_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path(), THREE);
        config.folders.accept_empty = false;
        assert_eq!(run_on(&config, Decision::Admit, true), (Exit::DataFolder, String::new()));
        let dirs = DataDirs::open(&config.folders.data, &config.folders.log).expect("opened");
        let settings = crate::runtime::files::RecoverSettings {
            server: ServerId(2),
            mode: crate::storage::recovery::Mode::Member { empty: crate::storage::recovery::Empty::Lost },
            new_cluster: crate::storage::ClusterId([7; 16]),
            new_generation: 3,
            limits: crate::storage::wal::WalLimits::for_segments_of(1 << 20, 100_000),
            distrusted: &[],
        };
        crate::runtime::files::recover(&dirs, &settings, &mut |_| {}).expect("begun");
        assert_eq!(run_on(&config, Decision::Admit, true).0, Exit::DataFolder, "a server runs");
        drop(dirs);

        let (exit, asked) = run_on(&config, Decision::Admit, false);
        assert_eq!(exit, Exit::Invalid);
        assert!(asked.starts_with("Server 2 (b.example), one of 3 voting members:\n"), "{asked}");
        for expected in [
            "  last zxid       0x0 (nothing)\n",
            "  epoch record    4 of 4 copies equal\n",
            "  vote            none until a leader has brought it up to date\n",
            "  lost            it lost a part of its data before, or began with none\n",
            "\nNothing was changed. To do it: the same command with --yes.\n",
        ] {
            assert!(asked.contains(expected), "{expected:?} is not in {asked}");
        }
        assert_eq!(run_on(&config, Decision::Admit, false), (Exit::Invalid, asked), "it changed nothing");
        let (exit, done) = run_on(&config, Decision::Admit, true);
        assert_eq!(exit, Exit::Finished);
        assert!(done.contains("\nDone, and on the disk: this server has its vote.\n"), "{done}");
        for yes in [false, true] {
            let (exit, again) = run_on(&config, Decision::Admit, yes);
            assert_eq!(exit, Exit::Finished);
            assert!(
                again.contains("  vote            yes\n") && again.contains("\nIt has its vote."),
                "{again}"
            );
        }
        assert_eq!(run_on(&config, Decision::Strip, false).0, Exit::Invalid);
        let (exit, done) = run_on(&config, Decision::Strip, true);
        assert_eq!(exit, Exit::Finished);
        assert!(done.contains("\nDone, and on the disk: this server has no vote.\n"), "{done}");
        assert_eq!(run_on(&config, Decision::Strip, false).0, Exit::Finished);
        assert_eq!(run_on(&config, Decision::Admit, false).0, Exit::Invalid);
    }
}
