#![forbid(unsafe_code)]
//! `ringkeeper admit` as a script sees it: exit statuses, which stream says what, and files that it leaves alone.

use std::collections::BTreeMap;
use std::path::Path;

use ringkeeper::base::ServerId;
use ringkeeper::runtime::files::{self, DataDirs, RecoverSettings};
use ringkeeper::storage::ClusterId;
use ringkeeper::storage::recovery::{Empty, Mode};
use ringkeeper::storage::wal::WalLimits;

use super::{run, stderr, stdout};

const MEMBER: &str = "dataDir=./data\nclientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.1=localhost:2888:3888\n\
                      server.2=localhost:2889:3889\nserver.3=localhost:2890:3890\n";

/// A member that began with nothing and says that it has no vote.
fn begun(folder: &Path) {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).expect("made");
    std::fs::write(data.join("myid"), "3\n").expect("written");
    std::fs::write(folder.join("zoo.cfg"), MEMBER).expect("written");
    let dirs = DataDirs::open(&data, &data).expect("opened");
    let settings = RecoverSettings {
        server: ServerId(3),
        mode: Mode::Member { empty: Empty::Lost },
        new_cluster: ClusterId([5; 16]),
        new_generation: 11,
        limits: WalLimits::for_segments_of(1 << 20, 100_000),
        distrusted: &[],
    };
    files::recover(&dirs, &settings, &mut |_| {}).expect("begun");
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("data/ringkeeper-1")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file"))).collect()
}

#[test]
fn admit_says_and_changes_nothing_until_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    begun(folder.path());
    let before = contents(folder.path());
    let asked = run(folder.path(), &["admit", "zoo.cfg"], &[]);
    assert_eq!((asked.status.code(), stderr(&asked).as_str()), (Some(2), ""), "{}", stdout(&asked));
    assert!(
        stdout(&asked).starts_with("Server 3 (localhost), one of 3 voting members:\n"),
        "{}",
        stdout(&asked)
    );
    assert!(stdout(&asked).ends_with("\nNothing was changed. To do it: the same command with --yes.\n"));
    assert!(contents(folder.path()) == before, "asking changed a file");

    let done = run(folder.path(), &["-Dzookeeper.db.autocreate=false", "admit", "zoo.cfg", "--yes"], &[]);
    assert_eq!((done.status.code(), stderr(&done).as_str()), (Some(0), ""), "{}", stdout(&done));
    let after = contents(folder.path());
    let changed: Vec<&str> = before
        .keys()
        .filter(|name| before.get(*name) != after.get(*name))
        .filter_map(|name| name.rsplit('/').next())
        .collect();
    // The log is made to go on from where it ends, as at a start.
    assert_eq!((changed, before.len()), (vec!["epoch.rec", "wal-0000000000000001.seg"], after.len()));
    for arguments in [&["admit", "zoo.cfg"][..], &["admit", "--yes", "zoo.cfg"]] {
        let again = run(folder.path(), arguments, &[]);
        assert_eq!(again.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&again).contains("\nIt has its vote. Nothing is to be done"), "{}", stdout(&again));
    }
    assert!(contents(folder.path()) == after, "nothing was to be done");

    assert_eq!(run(folder.path(), &["admit", "--strip", "zoo.cfg"], &[]).status.code(), Some(2));
    assert!(contents(folder.path()) == after, "asking changed a file");
    assert_eq!(run(folder.path(), &["admit", "--strip", "zoo.cfg", "--yes"], &[]).status.code(), Some(0));
    assert_eq!(run(folder.path(), &["admit", "zoo.cfg"], &[]).status.code(), Some(2));
}

#[test]
fn admit_is_refused_where_a_server_runs_and_where_there_is_nothing_to_decide() {
    let folder = tempfile::tempdir().expect("a folder");
    begun(folder.path());
    let data = folder.path().join("data");
    let before = contents(folder.path());
    // What a running server holds.
    let held = DataDirs::open(&data, &data).expect("opened");
    for arguments in
        [&["admit", "zoo.cfg"][..], &["admit", "zoo.cfg", "--yes"], &["admit", "--strip", "zoo.cfg", "--yes"]]
    {
        let refused = run(folder.path(), arguments, &[]);
        assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(3), ""), "{arguments:?}");
        assert!(
            stderr(&refused).contains("ringkeeper-1 is in use by another process\n"),
            "{}",
            stderr(&refused)
        );
    }
    drop(held);
    assert!(contents(folder.path()) == before, "a refusal changed a file");

    let alone = run(folder.path(), &["admit", "2181", "./data", "--yes"], &[]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(stderr(&alone).starts_with("This configuration has no server.N lines"), "{}", stderr(&alone));

    std::fs::write(data.join("myid"), "2").expect("written");
    let other = run(folder.path(), &["admit", "zoo.cfg", "--yes"], &[]);
    assert_eq!(other.status.code(), Some(3));
    assert!(stderr(&other).contains("the data belong to server 3"), "{}", stderr(&other));

    std::fs::remove_dir_all(data.join("ringkeeper-1")).expect("removed");
    let nothing = run(folder.path(), &["admit", "zoo.cfg", "--yes"], &[]);
    assert_eq!(nothing.status.code(), Some(3));
    assert!(stderr(&nothing).contains("no server has run on this folder"), "{}", stderr(&nothing));
    assert!(!data.join("ringkeeper-1").exists());
}
