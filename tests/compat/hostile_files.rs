#![forbid(unsafe_code)]
//! Reliability §6, M62–M65 through the real binary: what lies in the data directory when it starts, and what stands in
//! its configuration. Either it serves everything it ever acknowledged, or it refuses and touches nothing; a tree that
//! is emptier than the last one is never served.

use super::hostile::{ours, until};
use super::{Group, Scene, Setup};
use crate::support::client::{Client, Part};
use crate::support::server::{Kind, Server};
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Snapshots come often and segments are small.
const SMALL: Setup = Setup {
    keys: &[("snapCount", "20"), ("preAllocSize", "64"), ("autopurge.snapRetainCount", "3")],
    properties: &[],
};

const FRESH: Group = Group::Fresh(SMALL);

/// Znodes that were acknowledged.
const NODES: i32 = 400;

fn data(server: &Server) -> PathBuf {
    server.folder().join("data")
}

fn ours_in(server: &Server) -> PathBuf {
    data(server).join("ringkeeper-1")
}

/// Every file below `folder` with its bytes; a directory has none.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&path));
            found.insert(path, vec![]);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Puts `files` back as they were, and removes what came since.
fn put_back(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir_all(folder).unwrap();
    for (path, bytes) in files {
        // Directories come before what is in them.
        if files.keys().any(|other| other.parent() == Some(path)) {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

/// A server that made [`NODES`] znodes and some snapshots, and was killed.
fn filled(s: &Scene) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut client = s.open();
    for batch in 0..NODES / 4 {
        let creates: Vec<Part> =
            (0..4).map(|n| Part::create(s.path(&(batch * 4 + n).to_string()), &[7; 500], 0)).collect();
        client.multi(&creates).unwrap();
        client.set(&s.root, b"x", -1).unwrap();
    }
    let snapshots = || fs::read_dir(ours_in(s)).unwrap().flatten().filter(|e| is_snapshot(&e.path())).count();
    until("two snapshots are there", || snapshots() >= 2);
    client.ping();
    s.kill();
    drop(client.abandon());
    contents(&data(s))
}

fn is_snapshot(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rks")
}

/// Starts it again: all is there, or it refuses with a reason and has changed nothing.
#[track_caller]
fn all_or_nothing(s: &Scene, what: &str) -> bool {
    let before = contents(&data(s));
    match s.restart() {
        Ok(()) => {
            let mut client = Client::open(s);
            let found = client.children(&s.root, false).map(|names| names.len());
            assert_eq!(found, Ok(NODES as usize), "{what}: it serves a tree that lacks acknowledged znodes");
            drop(client.abandon());
            s.kill();
            true
        }
        Err(reason) => {
            assert!(!reason.contains("panic"), "{what}: {reason}");
            assert!(reason.contains("exit status: 3"), "{what}: {reason}");
            let mut after = contents(&data(s));
            after.retain(|path, _| path.file_name().is_some_and(|name| name != "lock"));
            let mut before = before;
            before.retain(|path, _| path.file_name().is_some_and(|name| name != "lock"));
            assert!(before == after, "{what}: a start that is refused changes nothing");
            false
        }
    }
}

ours!(m62_damaged_files_are_refused_or_done_without, FRESH, |s| {
    let pristine = filled(s);
    let mut served = 0;
    let mut tried = 0;
    for (path, bytes) in pristine.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) / 2;
        let damages: [(&str, Vec<u8>); 5] = [
            ("cut in half", bytes[..bytes.len() / 2].to_vec()),
            ("empty", vec![]),
            ("one bit in its middle", {
                let mut bytes = bytes.clone();
                bytes[middle] ^= 0x10;
                bytes
            }),
            ("zeros", vec![0; bytes.len()]),
            ("lengths of 0xff", {
                let mut bytes = bytes.clone();
                bytes[8..64].fill(0xff);
                bytes
            }),
        ];
        for (how, damaged) in damages {
            put_back(&data(s), &pristine);
            fs::write(path, damaged).unwrap();
            tried += 1;
            served += u32::from(all_or_nothing(s, &format!("{name}, {how}")));
        }
    }
    println!("{tried} kinds of damage: {served} starts served everything, the others were refused");
    assert!(served > 0, "the newest snapshot alone is no reason to refuse");
    put_back(&data(s), &pristine);
    assert!(all_or_nothing(s, "put back"));
});

ours!(m62_every_snapshot_damaged_is_no_empty_tree, FRESH, |s| {
    let pristine = filled(s);
    for path in pristine.keys().filter(|path| is_snapshot(path)) {
        let bytes = &pristine[path];
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    }
    all_or_nothing(s, "every snapshot lacks its last byte");
    put_back(&data(s), &pristine);
    for path in pristine.keys().filter(|path| is_snapshot(path)) {
        fs::remove_file(path).unwrap();
    }
    all_or_nothing(s, "no snapshot");
});

ours!(m63_files_that_nothing_explains_are_left_alone, FRESH, |s| {
    let pristine = filled(s);
    let strange = [
        "wal-.seg",
        "wal-zz.seg",
        "wal-ffffffffffffffffff.seg",
        "snapshot-1.rks.bak",
        "notes.txt",
        "snapshot-.rks",
    ];
    for name in strange {
        fs::write(ours_in(s).join(name), b"mine").unwrap();
    }
    assert!(all_or_nothing(s, "files of nobody's"));
    for name in strange {
        assert_eq!(fs::read(ours_in(s).join(name)).unwrap(), b"mine", "{name}");
    }
    drop(pristine);
});

ours!(m63_a_snapshot_of_another_server_is_not_ours, FRESH, |s| {
    let pristine = filled(s);
    let other = Server::start(Kind::Ringkeeper, SMALL).unwrap();
    let mut client = Client::open(&other);
    client.create("/other", b"").unwrap();
    for _ in 0..200 {
        client.set("/other", b"", -1).unwrap();
    }
    let snapshot =
        || fs::read_dir(ours_in(&other)).unwrap().flatten().map(|e| e.path()).find(|p| is_snapshot(p));
    until("it has a snapshot", || snapshot().is_some());
    drop(client.abandon());
    other.kill();
    let foreign = fs::read(snapshot().unwrap()).unwrap();
    // Under its own name's number, and in the place of our newest.
    let newest = pristine.keys().rfind(|path| is_snapshot(path)).unwrap();
    fs::write(newest, &foreign).unwrap();
    all_or_nothing(s, "another server's snapshot in the place of ours");
    put_back(&data(s), &pristine);
    fs::write(ours_in(s).join("snapshot-00ffffffffffffff.rks"), &foreign).unwrap();
    all_or_nothing(s, "another server's snapshot beside ours");
});

ours!(m64_stocks_files_are_refused_and_an_empty_folder_is_not, FRESH, |s| {
    s.kill();
    let stock = data(s).join("version-2");
    fs::create_dir(&stock).unwrap();
    s.restart().unwrap_or_else(|reason| panic!("an empty version-2: {reason}"));
    s.kill();
    fs::write(stock.join("snapshot.0"), b"ZKSN").unwrap();
    refused(s, "holds the files of a ZooKeeper server");
    fs::remove_dir_all(ours_in(s)).unwrap();
    refused(s, "holds the files of a ZooKeeper server");
    assert!(!ours_in(s).exists(), "nothing is made beside them");
});

/// It does not start, says so in these words with the status for folders, and has changed nothing.
#[track_caller]
fn refused(s: &Scene, why: &str) {
    let before = contents(&data(s));
    let reason = s.restart().expect_err(why);
    assert!(reason.contains(why) && reason.contains("exit status: 3"), "{reason}");
    assert!(before == contents(&data(s)), "a start that is refused changes nothing");
}

ours!(m64_a_newer_layout_is_refused, FRESH, |s| {
    s.kill();
    let newer = data(s).join("ringkeeper-2");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("wal"), b"of tomorrow").unwrap();
    refused(s, "newer release");
});

ours!(m64_links_and_folders_open_to_others_are_refused, FRESH, |s| {
    s.kill();
    let elsewhere = s.folder().join("elsewhere");
    fs::rename(ours_in(s), &elsewhere).unwrap();
    symlink(&elsewhere, ours_in(s)).unwrap();
    let reason = s.restart().expect_err("a link in the place of our folder");
    assert!(reason.contains("symlink") && reason.contains("exit status: 3"), "{reason}");
    fs::remove_file(ours_in(s)).unwrap();
    fs::rename(&elsewhere, ours_in(s)).unwrap();

    let epoch = ours_in(s).join("epoch.rec");
    fs::rename(&epoch, s.folder().join("epoch")).unwrap();
    symlink(s.folder().join("epoch"), &epoch).unwrap();
    let reason = s.restart().expect_err("a link in the place of a file");
    assert!(reason.contains("symlink") && reason.contains("exit status: 3"), "{reason}");
    fs::remove_file(&epoch).unwrap();
    fs::rename(s.folder().join("epoch"), &epoch).unwrap();

    fs::set_permissions(ours_in(s), fs::Permissions::from_mode(0o777)).unwrap();
    refused(s, "not be writable for others");
    fs::set_permissions(ours_in(s), fs::Permissions::from_mode(0o750)).unwrap();
    s.restart().unwrap_or_else(|reason| panic!("{reason}"));
});

ours!(m64_a_second_process_on_one_folder_is_refused, FRESH, |s| {
    let mut client = s.open();
    let second = Server::start(Kind::Ringkeeper, SMALL).unwrap();
    second.kill();
    let path = second.folder().join("zoo.cfg");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&*data(&second).to_string_lossy(), &data(s).to_string_lossy())).unwrap();
    let reason = second.restart().expect_err("the folder is in use");
    assert!(reason.contains("in use by another process") && reason.contains("exit status: 3"), "{reason}");
    // The first one notices nothing.
    client.create(s.path("a"), b"").unwrap();
    // And once it is gone, the second gets everything.
    s.kill();
    drop(client.abandon());
    second.restart().unwrap_or_else(|reason| panic!("{reason}"));
    Client::open(&second).exists(s.path("a"), false).unwrap();
});

ours!(m65_a_port_that_is_taken_ends_the_start, FRESH, |s| {
    s.kill();
    // The kernel takes the ring of a killed process apart, and closes its sockets, a moment after its end.
    let mut taken = None;
    until("the port is free", || {
        taken = TcpListener::bind(s.address()).ok();
        taken.is_some()
    });
    let reason = s.restart().expect_err("the port is taken");
    assert!(reason.contains("cannot listen on") && reason.contains("exit status: 1"), "{reason}");
});

ours!(m65_a_port_that_is_free_in_a_moment_is_waited_for, FRESH, |s| {
    s.kill();
    let mut taken = None;
    until("the port is free", || {
        taken = TcpListener::bind(s.address()).ok();
        taken.is_some()
    });
    let server: &Server = s;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            until("it has found the port taken", || server.said().contains("the port is taken"));
            drop(taken);
        });
        server.restart().unwrap_or_else(|reason| panic!("{reason}"));
    });
    Client::open(s).ping();
});

ours!(m65_a_broken_configuration_names_its_line_and_makes_nothing, FRESH, |s| {
    s.kill();
    let path = s.folder().join("zoo.cfg");
    let sound = fs::read_to_string(&path).unwrap();
    fs::remove_dir_all(data(s)).unwrap();
    let lines = sound.lines().count();
    let secret = "super:canary-digest:\u{1}";
    for line in [
        "tickTime=99999999999999999999",
        "tickTime=-1",
        "maxClientCnxns=lots",
        "initLimit=0x10",
        "clientPort=70000",
        &format!("DigestAuthenticationProvider.superDigest={secret}\ntickTime=none"),
    ] {
        fs::write(&path, format!("{sound}{line}\n")).unwrap();
        let reason = s.restart().expect_err(line);
        assert!(reason.contains("exit status: 2"), "{line}: {reason}");
        let number = lines + line.lines().count();
        assert!(reason.contains(&format!("zoo.cfg:{number}")), "{line}: {reason}");
        assert!(!reason.contains("canary-digest"), "{reason}");
        assert!(!data(s).exists(), "{line}: nothing is made");
    }
});
