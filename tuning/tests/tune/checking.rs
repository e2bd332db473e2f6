#![forbid(unsafe_code)]
//! What `check` says of hosts of every kind.

use std::path::Path;

use ringkeeper_tuning::check::{Row, Selection, check, worst};
use ringkeeper_tuning::report::{json, table};
use ringkeeper_tuning::setting::{Profile, Severity, Verdict};
use ringkeeper_tuning::settings;

use crate::fake::{BREAKS, Fake};
use crate::faulty::Faulty;

const PROFILES: [Profile; 4] = [Profile::Dedicated, Profile::Shared, Profile::Container, Profile::Laptop];

fn rows(fake: &Fake, profile: Profile) -> Vec<Row> {
    check(&fake.host(profile), &Selection::default())
}

/// The names of what has a verdict.
fn with(rows: &[Row], verdict: Verdict) -> Vec<&'static str> {
    rows.iter().filter(|row| row.finding.verdict == verdict).map(|row| row.setting.name).collect()
}

fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    rows.iter().find(|row| row.setting.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn everything_holds_on_a_healthy_host_under_every_profile() {
    let fake = Fake::healthy();
    for profile in PROFILES {
        let rows = rows(&fake, profile);
        let names: Vec<_> = rows.iter().map(|row| row.setting.name).collect();
        assert_eq!(with(&rows, Verdict::Holds), names, "{profile:?}: {}", table::check(&rows, false));
        assert_eq!(worst(&rows), None);
    }
    assert_eq!(rows(&fake, Profile::Dedicated).len(), settings::ALL.len());
}

#[test]
fn each_setting_fails_on_the_host_that_breaks_it_and_no_other_does() {
    let broken: Vec<_> = BREAKS.iter().map(|(name, _)| *name).collect();
    let all: Vec<_> = settings::ALL.iter().map(|setting| setting.name).collect();
    assert_eq!(broken, all, "a setting without a host that breaks it");
    for (name, break_it) in BREAKS {
        let mut fake = Fake::healthy();
        break_it(&mut fake);
        let rows = rows(&fake, Profile::Dedicated);
        assert_eq!(with(&rows, Verdict::Fails), [*name], "{}", table::check(&rows, true));
        let change = &row(&rows, name).change;
        assert!(!change.edits.is_empty() || change.by_hand.is_some(), "{name}: nothing to do about it");
    }
}

#[test]
fn an_empty_host_fails_nothing_and_only_its_data_folder_is_a_matter() {
    let of_data = ["file-system", "write-barriers", "mount-options", "disk-scheduler", "write-cache"];
    for profile in PROFILES {
        let rows = rows(&Fake::empty(), profile);
        assert!(with(&rows, Verdict::Fails).is_empty(), "{}", table::check(&rows, false));
        let unknown = with(&rows, Verdict::Unknown);
        assert!(unknown.iter().all(|name| of_data.contains(name)), "{unknown:?}");
        assert!(unknown.contains(&"file-system"), "it was named, and is not there");
    }
}

/// Whatever a file of the system says, or is, `check` answers; and what it then finds failing is not made worse.
#[test]
fn no_content_of_any_file_makes_check_panic() {
    let healthy = Fake::healthy();
    let files: Vec<_> = healthy
        .tree()
        .into_iter()
        .filter(|(path, (bytes, _))| bytes.is_some() && !path.is_symlink())
        .map(|(path, _)| path)
        .collect();
    assert!(files.len() > 100, "{}", files.len());
    let contents: [&[u8]; 9] = [
        b"",
        b"\n",
        b"\xff\xfe\0",
        b"garbage",
        b"-1",
        b"99999999999999999999999",
        b"[",
        b" - ",
        b"\xf0\x9f\x8e\x89][",
    ];
    let mut unknown = 0;
    for path in files {
        let before = std::fs::read(&path).unwrap();
        for bytes in contents {
            std::fs::write(&path, bytes).unwrap();
            let rows = rows(&healthy, Profile::Dedicated);
            unknown += with(&rows, Verdict::Unknown).len();
            assert!(!table::check(&rows, true).is_empty());
        }
        std::fs::remove_file(&path).unwrap();
        rows(&healthy, Profile::Dedicated);
        std::fs::create_dir(&path).unwrap();
        rows(&healthy, Profile::Dedicated);
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, before).unwrap();
    }
    assert!(unknown > 200, "{unknown}: garbage is not passed off as a value");
    assert_eq!(worst(&rows(&healthy, Profile::Dedicated)), None, "all is back");
}

#[test]
fn what_cannot_be_read_is_unknown_and_a_warning() {
    let fake = Fake::healthy();
    for (path, expected) in [
        ("/proc/sys/vm/swappiness", &["swappiness"][..]),
        (
            "/proc/self/mountinfo",
            &["file-system", "write-barriers", "mount-options", "disk-scheduler", "write-cache"],
        ),
        ("/sys/kernel/mm/transparent_hugepage/enabled", &["transparent-hugepages"]),
        (
            "/etc/sysctl.conf",
            &["io-uring-sysctl", "swappiness", "numa", "somaxconn", "syn-backlog", "device-backlog"],
        ),
    ] {
        let mut files = Faulty::new(fake.files());
        files.unreadable = vec![path.into()];
        let rows = check(&fake.host_with(Box::new(files), Profile::Dedicated), &Selection::default());
        assert_eq!(with(&rows, Verdict::Unknown), expected, "{path}");
        assert!(with(&rows, Verdict::Fails).is_empty(), "{path}");
        assert_eq!(worst(&rows), Some(Severity::Warning), "{path}");
        let note = row(&rows, expected[0]).finding.note.as_deref().unwrap();
        assert!(note.contains(path) && note.contains("ermission denied"), "{note}");
    }
}

#[test]
fn a_value_that_the_next_boot_takes_back_does_not_hold() {
    let fake = Fake::healthy();
    let current = |name: &str| {
        let rows = rows(&fake, Profile::Dedicated);
        let row = row(&rows, name);
        (row.finding.verdict, row.finding.current.clone())
    };
    // A file that is read later than the good one.
    fake.write("/etc/sysctl.d/99-zz.conf", "vm.swappiness = 60\n");
    let expected = "1, 60 from the next boot on (/etc/sysctl.d/99-zz.conf)";
    assert_eq!(current("swappiness"), (Verdict::Fails, expected.to_owned()));
    let rows = rows(&fake, Profile::Dedicated);
    let change = &row(&rows, "swappiness").change;
    assert!(change.by_hand.as_ref().unwrap().contains("99-zz.conf is read after ours"), "{change:?}");
    std::fs::remove_file(fake.at("/etc/sysctl.d/99-zz.conf")).unwrap();
    // No file at all, and the kernel's own value is another one.
    std::fs::remove_file(fake.at("/etc/sysctl.d/60-site.conf")).unwrap();
    std::fs::remove_file(fake.at("/usr/lib/sysctl.d/60-site.conf")).unwrap();
    std::fs::remove_file(fake.at("/usr/lib/sysctl.d/10-default.conf")).unwrap();
    let expected = "1, 60 from the next boot on (no file says)";
    assert_eq!(current("swappiness"), (Verdict::Fails, expected.to_owned()));
    assert_eq!(current("somaxconn"), (Verdict::Holds, "4096".to_owned()), "that is the kernel's own");
}

#[test]
fn profiles_want_different_things() {
    let fake = Fake::healthy();
    fake.write("/proc/sys/vm/swappiness", "10\n");
    fake.edit("/etc/sysctl.d/60-site.conf", "vm.swappiness=1", "vm.swappiness=10");
    let verdict = |profile| row(&rows(&fake, profile), "swappiness").finding.verdict;
    assert_eq!(verdict(Profile::Dedicated), Verdict::Fails);
    assert_eq!(verdict(Profile::Shared), Verdict::Holds);
    let names = |profile| rows(&fake, profile).iter().map(|row| row.setting.name).collect::<Vec<_>>();
    assert!(names(Profile::Shared).contains(&"cpu-governor"));
    assert!(!names(Profile::Container).contains(&"cpu-governor"), "that is the host's");
    assert!(!names(Profile::Laptop).contains(&"swappiness"));
    for profile in PROFILES {
        assert!(names(profile).contains(&"io-uring-tried"));
        assert!(names(profile).contains(&"write-barriers"));
    }
}

#[test]
fn limits_are_those_of_the_process_that_is_named() {
    let fake = Fake::healthy();
    let limits = fake.read("/proc/self/limits").replace("8388608", "1048576");
    fake.write("/proc/77/limits", limits);
    let check_memlock = |pid, expected, note: &str| {
        let mut host = fake.host(Profile::Shared);
        host.options.pid = pid;
        let rows = check(&host, &Selection { only: vec!["memlock".into()], skip: vec![] });
        assert_eq!(rows[0].finding.verdict, expected, "{pid:?}");
        assert!(rows[0].finding.note.as_ref().unwrap().contains(note), "{:?}", rows[0].finding);
    };
    check_memlock(None, Verdict::Holds, "of ringkeeper.service");
    // Its unit was changed and it was not started again.
    check_memlock(Some(77), Verdict::Pending, "of process 77");
    check_memlock(Some(78), Verdict::Unknown, "no process 78");
    std::fs::remove_file(fake.at("/usr/lib/systemd/system/ringkeeper.service")).unwrap();
    check_memlock(None, Verdict::Holds, "of this process");
    fake.edit("/proc/self/limits", "8388608", "65536");
    let rows = rows(&fake, Profile::Shared);
    assert_eq!(row(&rows, "memlock").finding.verdict, Verdict::Fails, "eight executors want 4 MiB");
}

#[test]
fn disks_are_found_below_mappers_and_partitions() {
    let fake = Fake::healthy();
    let found = |name: &str| row(&rows(&fake, Profile::Dedicated), name).finding.clone();
    assert_eq!(found("disk-scheduler").current, "none on nvme0n1", "the mapper's partition's disk");
    fake.edit("/proc/self/mountinfo", "22 20 252:0", "22 20 259:1");
    assert_eq!(found("disk-scheduler").current, "none on nvme0n1", "the partition's disk");
    fake.edit("/proc/self/mountinfo", "22 20 259:1", "22 20 0:44");
    assert_eq!(found("disk-scheduler").verdict, Verdict::Absent);
    assert_eq!(found("file-system").current, "ext4 on /var/lib");
}

#[test]
fn a_quota_of_a_group_above_counts_in_both_versions() {
    let fake = Fake::healthy();
    let found = || row(&rows(&fake, Profile::Dedicated), "cpu-quota").finding.clone();
    fake.write("/sys/fs/cgroup/system.slice/ssh.service/cpu.max", "800000 100000\n");
    fake.write("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
    assert_eq!(found().current, "1.50 cores");
    assert_eq!(found().note.unwrap(), "of the group /system.slice, stopped 7 times so far");
    fake.write("/proc/self/cgroup", "3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n");
    assert_eq!(found().verdict, Verdict::Holds);
    fake.write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000\n");
    fake.write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    assert_eq!(found().current, "0.50 cores");
    fake.write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
    assert_eq!(found().verdict, Verdict::Holds);
}

#[test]
fn members_of_the_group_may_use_io_uring_when_others_may_not() {
    let fake = Fake::healthy();
    fake.write("/proc/sys/kernel/io_uring_disabled", "1\n");
    let verdict = || row(&rows(&fake, Profile::Shared), "io-uring-sysctl").finding.clone();
    fake.write("/proc/sys/kernel/io_uring_group", "-1\n");
    assert_eq!(verdict().verdict, Verdict::Fails);
    fake.write("/proc/sys/kernel/io_uring_group", "983\n");
    fake.write("/etc/passwd", "root:x:0:0::/:/bin/sh\nzookeeper:x:984:984::/:/bin/false\n");
    fake.write("/etc/group", "zookeeper:x:984:\nuring:x:983:postgres\n");
    assert_eq!(verdict().verdict, Verdict::Fails);
    fake.edit("/etc/group", "postgres", "postgres,zookeeper");
    // The live value alone: the next boot sets 0, the kernel's own.
    assert_eq!(
        (verdict().verdict, verdict().current.as_str()),
        (Verdict::Holds, "1, and zookeeper is in group 983")
    );
    fake.write("/etc/group", "");
    fake.edit("/etc/passwd", "984:984", "984:983");
    assert_eq!(verdict().verdict, Verdict::Holds);
    fake.edit("/usr/lib/systemd/system/ringkeeper.service", "[Service]", "[Service]\nUser=other");
    assert_eq!(verdict().verdict, Verdict::Fails, "the unit's user counts");
    fake.edit("/usr/lib/systemd/system/ringkeeper.service", "User=other", "User=zookeeper");
    fake.write("/etc/sysctl.conf", "kernel.io_uring_disabled = 2\n");
    assert_eq!(verdict().verdict, Verdict::Fails, "nobody may after the next boot");
    fake.write("/proc/sys/kernel/io_uring_disabled", "2\n");
    assert_eq!(verdict().current, "2");
}

#[test]
fn the_units_own_quota_counts_until_a_process_is_named() {
    let fake = Fake::healthy();
    fake.write("/etc/systemd/system/ringkeeper.service.d/quota.conf", "[Service]\nCPUQuota=150%\n");
    let mut host = fake.host(Profile::Dedicated);
    let quota = Selection { only: vec!["cpu-quota".into()], skip: vec![] };
    assert_eq!(check(&host, &quota)[0].finding.current, "CPUQuota=150% in ringkeeper.service");
    host.options.pid = Some(77);
    fake.write("/proc/77/cgroup", "0::/system.slice\n");
    assert_eq!(check(&host, &quota)[0].finding.verdict, Verdict::Holds);
}

#[test]
fn what_others_wrote_in_another_encoding_is_no_obstacle() {
    let fake = Fake::healthy();
    for path in ["/etc/sysctl.d/60-site.conf", "/usr/lib/systemd/system/ringkeeper.service"] {
        let text = [b"# caf\xe9\n", fake.read(path).as_bytes()].concat();
        fake.write(path, text);
    }
    let mounts =
        [fake.read("/proc/self/mountinfo").as_bytes(), b"23 20 0:9 / /mnt/\xe9 rw - tmpfs none rw\n"]
            .concat();
    fake.write("/proc/self/mountinfo", mounts);
    assert_eq!(worst(&rows(&fake, Profile::Dedicated)), None);
}

#[test]
fn a_default_that_depends_on_the_machine_is_no_promise_broken() {
    let fake = Fake::healthy();
    fake.edit("/etc/sysctl.d/60-site.conf", "-net/ipv4/tcp_max_syn_backlog = 8192\n", "");
    let rows = rows(&fake, Profile::Dedicated);
    assert_eq!(row(&rows, "syn-backlog").finding.verdict, Verdict::Holds);
}

#[test]
fn interrupts_piled_on_one_core_fail() {
    let fake = Fake::healthy();
    for irq in [40, 41, 42, 43, 50] {
        fake.write(&format!("/proc/irq/{irq}/smp_affinity_list"), "2\n");
    }
    let rows = rows(&fake, Profile::Dedicated);
    let row = row(&rows, "irq-affinity");
    assert_eq!(
        (row.finding.verdict, row.finding.current.as_str()),
        (Verdict::Fails, "all 5 interrupts on core 2")
    );
    let edits: Vec<String> = row.change.edits.iter().map(|edit| edit.command()).collect();
    assert_eq!(edits.len(), 4, "one may stay: {edits:?}");
}

#[test]
fn a_host_of_few_cores_is_not_pinned() {
    let fake = Fake::healthy();
    fake.write("/sys/devices/system/cpu/online", "0-1\n");
    let rows = rows(&fake, Profile::Dedicated);
    assert_eq!(with(&rows, Verdict::Absent), ["irq-affinity", "rps"]);
}

/// Compares with a file beside this one; what came instead is left where the message says.
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tune/golden").join(name);
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if actual != expected {
        let instead = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&instead, actual).unwrap();
        panic!("{} differs from {}:\n{actual}", path.display(), instead.display());
    }
}

#[test]
fn the_table_of_check_is_the_recorded_one() {
    let (healthy, broken) = (Fake::healthy(), Fake::broken());
    golden("healthy_dedicated.txt", &table::check(&rows(&healthy, Profile::Dedicated), false));
    for profile in PROFILES {
        golden(&format!("broken_{}.txt", profile.name()), &table::check(&rows(&broken, profile), false));
    }
}

#[test]
fn the_json_of_check_is_the_recorded_one_and_reads_back() {
    let rows = rows(&Fake::broken(), Profile::Dedicated);
    let settings: Vec<_> = rows.iter().map(json::Checked::of).collect();
    let text = serde_json::to_string_pretty(&settings).unwrap() + "\n";
    golden("broken_dedicated.json", &text);
    assert_eq!(serde_json::from_str::<Vec<json::Checked>>(&text).unwrap(), settings);
}
