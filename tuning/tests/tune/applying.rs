#![forbid(unsafe_code)]
//! `apply` and its undo: only what fails, everything said, every byte put back, also when the power fails in between.

use std::path::Path;

use ringkeeper_tuning::apply::{Applied, apply};
use ringkeeper_tuning::check::{Selection, check};
use ringkeeper_tuning::files::Files;
use ringkeeper_tuning::journal::{self, Journal, JournalError};
use ringkeeper_tuning::setting::{Profile, Verdict};
use ringkeeper_tuning::undo::{Outcome, Undone, undo};

use crate::fake::{BREAKS, Fake, Tree};
use crate::faulty::Faulty;

const JOURNAL: &str = journal::PATH;

fn apply_with(fake: &Fake, files: Box<dyn Files>, dry_run: bool) -> (Vec<Applied>, Result<(), JournalError>) {
    let host = fake.host_with(files, Profile::Dedicated);
    let mut said = Vec::new();
    let result =
        apply(&host, &Selection::default(), Path::new(JOURNAL), dry_run, &mut |applied| said.push(applied));
    (said, result)
}

fn apply_all(fake: &Fake) -> Vec<Applied> {
    let (said, result) = apply_with(fake, Box::new(fake.files()), false);
    result.unwrap();
    said
}

fn undo_with(files: &dyn Files, force: bool) -> Vec<Undone> {
    let mut said = Vec::new();
    undo(files, Path::new(JOURNAL), false, force, &mut |undone| said.push(undone)).unwrap();
    said
}

fn undo_all(fake: &Fake) -> Vec<Undone> {
    undo_with(&fake.files(), false)
}

/// Edits that were made.
fn made(said: &[Applied]) -> usize {
    said.iter().flat_map(|applied| &applied.edits).filter(|edit| edit.refused.is_none()).count()
}

/// What differs between two trees, by path below the root.
fn differences(fake: &Fake, before: &Tree, after: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differ = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    differ.map(|path| format!("/{}", path.strip_prefix(fake.root()).unwrap().display())).collect()
}

fn assert_same(fake: &Fake, before: &Tree, when: &str) {
    assert_eq!(differences(fake, before, &fake.tree()), [""; 0], "{when}");
}

#[test]
fn each_change_makes_its_setting_hold_changes_nothing_twice_and_is_undone() {
    for (name, break_it) in BREAKS {
        let mut fake = Fake::healthy();
        break_it(&mut fake);
        let before = fake.tree();
        let said = apply_all(&fake);
        assert_eq!(said.iter().map(|applied| applied.setting.name).collect::<Vec<_>>(), [*name]);
        let applied = &said[0];
        assert!(!applied.is_refused(), "{name}");
        if applied.edits.is_empty() {
            assert!(applied.by_hand.is_some(), "{name}");
            assert_same(&fake, &before, name);
            continue;
        }
        let left = applied.left.as_ref().unwrap();
        assert!(matches!(left.verdict, Verdict::Holds | Verdict::Pending), "{name}: {left:?}");
        let once = fake.tree();
        assert!(apply_all(&fake).is_empty(), "{name}: it holds now");
        assert_same(&fake, &once, name);
        let undone = undo_all(&fake);
        assert!(undone.iter().all(|undone| undone.outcome == Outcome::Restored), "{undone:?}");
        assert_same(&fake, &before, name);
    }
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let fake = Fake::broken();
    let before = fake.tree();
    let (dry, result) = apply_with(&fake, Box::new(fake.files()), true);
    result.unwrap();
    assert_same(&fake, &before, "dry run");
    let wet = apply_all(&fake);
    let edits = |said: &[Applied]| said.iter().map(|a| (a.setting.name, a.edits.len())).collect::<Vec<_>>();
    assert_eq!(edits(&dry), edits(&wet));
    assert!(made(&wet) >= 15, "{}", made(&wet));

    let changed = fake.tree();
    let mut would = Vec::new();
    undo(&fake.files(), Path::new(JOURNAL), true, false, &mut |undone| would.push(undone)).unwrap();
    assert_same(&fake, &changed, "dry undo");
    assert_eq!(would, undo_all(&fake), "it says what it then does");
    assert_same(&fake, &before, "undone");
}

#[test]
fn only_what_was_asked_for_is_changed() {
    let fake = Fake::broken();
    let before = fake.tree();
    let host = fake.host(Profile::Dedicated);
    let selection = Selection { only: vec!["somaxconn".into(), "rps".into()], skip: vec!["rps".into()] };
    apply(&host, &selection, Path::new(JOURNAL), false, &mut |_| {}).unwrap();
    assert_eq!(
        differences(&fake, &before, &fake.tree()),
        [
            "/etc/sysctl.d/99-ringkeeper.conf",
            "/proc/sys/net/core/somaxconn",
            "/var/lib/ringkeeper-tune",
            JOURNAL
        ],
    );
    assert_eq!(fake.read("/proc/sys/net/core/somaxconn"), "4096\n");
    assert!(fake.read("/etc/sysctl.d/99-ringkeeper.conf").ends_with("\nnet.core.somaxconn = 4096\n"));
}

#[test]
fn what_others_wrote_beside_ours_stays() {
    let fake = Fake::broken();
    fake.write("/etc/sysctl.d/99-ringkeeper.conf", "# mine\nkernel.panic = 10\nnet.core.somaxconn = 512");
    fake.write("/etc/systemd/system/ringkeeper.service.d/50-ringkeeper-tune.conf", "[Service]\nNice=-5\n");
    let before = fake.tree();
    apply_all(&fake);
    let text = fake.read("/etc/sysctl.d/99-ringkeeper.conf");
    assert!(text.starts_with("# mine\nkernel.panic = 10\n"), "{text}");
    assert_eq!(text.matches("net.core.somaxconn").count(), 1, "{text}");
    let text = fake.read("/etc/systemd/system/ringkeeper.service.d/50-ringkeeper-tune.conf");
    assert_eq!(text, "[Service]\nNice=-5\nLimitMEMLOCK=infinity\nLimitNOFILE=65536\n");
    undo_all(&fake);
    assert_same(&fake, &before, "also the missing newline at the end");
}

/// The power goes at each change in turn, before or after it reached the disk; undo then puts every byte back.
#[test]
fn an_apply_that_is_cut_off_anywhere_can_be_undone() {
    for last_one_lands in [false, true] {
        let mut at = 1;
        loop {
            let fake = Fake::broken();
            let before = fake.tree();
            let mut files = Faulty::new(fake.files());
            files.last_one_lands = last_one_lands;
            files.changes_left.set(at);
            let left = files.changes_left.clone();
            let (said, result) = apply_with(&fake, Box::new(files), false);
            let when = format!("cut off at change {at}, landed {last_one_lands}");
            if left.get() > 0 {
                result.unwrap();
                assert!(at > 40, "{at} changes in all");
                break;
            }
            // Either the journal could not be written, and nothing was done after that, or a change was refused.
            let refused = said.iter().flat_map(|applied| &applied.edits).any(|edit| edit.refused.is_some());
            assert!(result.is_err() || refused, "{when}: it is said");
            undo_all(&fake);
            let made_for_it = ["/var/lib/ringkeeper-tune"];
            let differences = differences(&fake, &before, &fake.tree());
            let differences: Vec<_> =
                differences.iter().filter(|path| !made_for_it.contains(&path.as_str())).collect();
            assert!(differences.is_empty(), "{when}: {differences:?}");
            at += 1;
        }
    }
}

/// The power goes at each change of the undo in turn; the next undo finishes it.
#[test]
fn an_undo_that_is_cut_off_anywhere_goes_on() {
    for last_one_lands in [false, true] {
        let mut at = 1;
        loop {
            let fake = Fake::broken();
            let before = fake.tree();
            apply_all(&fake);
            let mut files = Faulty::new(fake.files());
            files.last_one_lands = last_one_lands;
            files.changes_left.set(at);
            let left = files.changes_left.clone();
            let _ = undo(&files, Path::new(JOURNAL), false, false, &mut |_| {});
            let is_over = left.get() > 0;
            undo_all(&fake);
            let mut after = fake.tree();
            // Emptied by the first undo when it was cut off between the journal and its folder.
            if !last_one_lands || !is_over {
                after.remove(&fake.at("/var/lib/ringkeeper-tune"));
            }
            assert_eq!(
                differences(&fake, &before, &after),
                [""; 0],
                "cut off at {at}, landed {last_one_lands}"
            );
            if is_over {
                break;
            }
            at += 1;
        }
    }
}

#[test]
fn a_refused_change_is_said_and_the_others_are_made() {
    let fake = Fake::broken();
    let before = fake.tree();
    let mut files = Faulty::new(fake.files());
    files.unwritable =
        vec!["/proc/sys/vm/swappiness".into(), "/sys/kernel/mm/transparent_hugepage/enabled".into()];
    let (said, result) = apply_with(&fake, Box::new(files), false);
    result.unwrap();
    let refused: Vec<_> = said.iter().filter(|a| a.is_refused()).map(|a| a.setting.name).collect();
    assert_eq!(refused, ["swappiness", "transparent-hugepages"]);
    let swappiness = said.iter().find(|a| a.setting.name == "swappiness").unwrap();
    assert!(swappiness.edits[0].refused.as_ref().unwrap().contains("ead-only file system"));
    assert_eq!(swappiness.left.as_ref().unwrap().verdict, Verdict::Fails);
    assert_eq!(fake.read("/proc/sys/net/core/somaxconn"), "4096\n");
    undo_all(&fake);
    assert_same(&fake, &before, "undone");
}

#[test]
fn a_link_that_somebody_put_where_our_file_goes_is_left() {
    let fake = Fake::broken();
    fake.write("/srv/config/sysctl", "# managed\n");
    std::os::unix::fs::symlink("../../srv/config/sysctl", fake.at("/etc/sysctl.d/99-ringkeeper.conf"))
        .unwrap();
    let before = fake.tree();
    let said = apply_all(&fake);
    let somaxconn = said.iter().find(|applied| applied.setting.name == "somaxconn").unwrap();
    assert!(somaxconn.edits[1].refused.as_ref().unwrap().contains("symbolic link"));
    assert_eq!(fake.read("/srv/config/sysctl"), "# managed\n");
    undo_all(&fake);
    assert_same(&fake, &before, "undone");
}

#[test]
fn without_a_journal_nothing_is_changed() {
    let fake = Fake::broken();
    let before = fake.tree();
    let mut files = Faulty::new(fake.files());
    files.unwritable = vec![JOURNAL.into()];
    let (said, result) = apply_with(&fake, Box::new(files), false);
    assert!(matches!(result, Err(JournalError::Unusable(..))), "{result:?}");
    assert_eq!(made(&said), 0);
    assert_eq!(differences(&fake, &before, &fake.tree()), ["/var/lib/ringkeeper-tune"]);
}

#[test]
fn a_damaged_or_foreign_journal_stops_apply_and_undo_and_is_kept() {
    let fake = Fake::broken();
    apply_all(&fake);
    let good = fake.read(JOURNAL);
    for (bad, is_damaged) in [
        (good[..good.len() / 2].to_owned(), true),
        (good.replace("swappiness", "swappyness"), true),
        (String::new(), true),
        ("{}\ncrc32 a3a6bf43\n".to_owned(), false),
    ] {
        fake.write(JOURNAL, &bad);
        fake.write("/proc/sys/net/core/somaxconn", "128\n");
        let before = fake.tree();
        let is_it = |error: &JournalError| matches!(error, JournalError::Damaged(..)) == is_damaged;
        let (said, result) = apply_with(&fake, Box::new(fake.files()), false);
        assert!(said.is_empty());
        assert!(is_it(&result.unwrap_err()), "{bad}");
        let result = undo(&fake.files(), Path::new(JOURNAL), false, true, &mut |_| panic!("{bad}"));
        assert!(is_it(&result.unwrap_err()), "{bad}");
        assert_same(&fake, &before, &bad);
    }
    // The disk of another machine, or this one's under another name.
    fake.write(JOURNAL, &good);
    fake.write("/etc/machine-id", "fedcba9876543210fedcba9876543210\n");
    let result = undo(&fake.files(), Path::new(JOURNAL), false, true, &mut |_| panic!("foreign"));
    assert!(result.unwrap_err().to_string().contains("0123456789abcdef"));
}

#[test]
fn what_somebody_else_changed_since_is_left_alone_unless_forced() {
    let fake = Fake::broken();
    let before = fake.tree();
    apply_all(&fake);
    fake.write("/proc/sys/net/core/somaxconn", "8192\n");
    let text = fake.read("/etc/sysctl.d/99-ringkeeper.conf") + "kernel.panic = 10\n";
    fake.write("/etc/sysctl.d/99-ringkeeper.conf", &text);
    let left: Vec<_> = undo_all(&fake).into_iter().filter(|undone| !undone.is_over()).collect();
    let paths: Vec<_> = left.iter().map(|undone| undone.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["/proc/sys/net/core/somaxconn", "/etc/sysctl.d/99-ringkeeper.conf"]);
    assert!(left.iter().all(|undone| undone.outcome == Outcome::Changed));
    assert_eq!(fake.read("/proc/sys/net/core/somaxconn"), "8192\n");
    let kept = Journal::load(&fake.files(), Path::new(JOURNAL)).unwrap().unwrap();
    assert_eq!(kept.entries.len(), 2, "what is left can still be undone");
    assert!(undo_with(&fake.files(), true).iter().all(|undone| undone.outcome == Outcome::Restored));
    assert_same(&fake, &before, "forced");
}

#[test]
fn a_file_that_somebody_changed_between_two_applies_keeps_their_change() {
    let fake = Fake::healthy();
    fake.write("/proc/sys/net/core/somaxconn", "128\n");
    apply_all(&fake);
    fake.write("/etc/sysctl.d/99-ringkeeper.conf", "kernel.panic = 10\n");
    fake.write("/proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n");
    fake.edit("/etc/sysctl.d/60-site.conf", "-net/ipv4/tcp_max_syn_backlog = 8192\n", "");
    apply_all(&fake);
    undo_all(&fake);
    assert_eq!(fake.read("/etc/sysctl.d/99-ringkeeper.conf"), "kernel.panic = 10\n");
}

#[test]
fn an_undo_after_a_reboot_finds_the_values_as_they_were() {
    let fake = Fake::broken();
    let before = fake.tree();
    apply_all(&fake);
    // A reboot: the kernel's files are new, those on disk are not; a card is gone.
    for (path, (bytes, _)) in &before {
        let inside = path.strip_prefix(fake.root()).unwrap();
        if let Some(bytes) =
            bytes.as_ref().filter(|_| inside.starts_with("proc") || inside.starts_with("sys"))
            && !path.is_symlink()
        {
            std::fs::write(path, bytes).unwrap();
        }
    }
    let undone = undo_all(&fake);
    for Undone { path, outcome, .. } in &undone {
        let expected = if path.starts_with("/etc") { Outcome::Restored } else { Outcome::WasSo };
        assert_eq!(*outcome, expected, "{}", path.display());
    }
    assert_same(&fake, &before, "undone");
    // And apply at each boot does not let the journal grow.
    let mut sizes = Vec::new();
    for _ in 0..3 {
        apply_all(&fake);
        sizes.push(fake.read(JOURNAL).len());
        fake.write("/proc/sys/net/core/somaxconn", "128\n");
    }
    assert_eq!(sizes[1], sizes[2]);
}

#[test]
fn two_at_a_time_are_one_too_many() {
    let fake = Fake::broken();
    apply_all(&fake);
    fake.write("/proc/sys/net/core/somaxconn", "128\n");
    let before = fake.tree();
    let files = fake.files();
    let _held = journal::lock(&files, Path::new(JOURNAL)).unwrap();
    let (_, result) = apply_with(&fake, Box::new(fake.files()), false);
    assert!(matches!(result, Err(JournalError::Locked(_))), "{result:?}");
    let result = undo(&fake.files(), Path::new(JOURNAL), false, false, &mut |_| panic!("locked"));
    assert!(matches!(result, Err(JournalError::Locked(_))), "{result:?}");
    assert_same(&fake, &before, "locked");
}

#[test]
fn limits_go_where_they_are_read() {
    // A unit: a drop-in. No unit: limits.d. A container: neither.
    let fake = Fake::broken();
    apply_all(&fake);
    let text = fake.read("/etc/systemd/system/ringkeeper.service.d/50-ringkeeper-tune.conf");
    assert!(text.ends_with("[Service]\nLimitMEMLOCK=infinity\nLimitNOFILE=65536\n"), "{text}");

    let fake = Fake::healthy();
    std::fs::remove_file(fake.at("/usr/lib/systemd/system/ringkeeper.service")).unwrap();
    fake.edit("/proc/self/limits", "8388608", "65536");
    fake.edit("/proc/self/limits", "524288", "4096");
    let said = apply_all(&fake);
    assert!(said.iter().all(|applied| applied.left.as_ref().unwrap().verdict == Verdict::Pending));
    let text = fake.read("/etc/security/limits.d/90-ringkeeper.conf");
    assert!(text.ends_with("\nzookeeper - memlock unlimited\nzookeeper - nofile 65536\n"), "{text}");

    let rows = check(&Fake::broken().host(Profile::Container), &Selection::default());
    let memlock = rows.iter().find(|row| row.setting.name == "memlock").unwrap();
    assert!(memlock.change.edits.is_empty());
    assert!(memlock.change.by_hand.as_ref().unwrap().contains("--ulimit memlock=-1"));
}
