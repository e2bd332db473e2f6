#![forbid(unsafe_code)]
//! The files beside this crate say what `check` wants, and the operators' page names every setting.

use std::path::Path;

use ringkeeper_tuning::check::{Row, Selection, check};
use ringkeeper_tuning::setting::{Profile, Setting, Verdict};
use ringkeeper_tuning::settings;

use crate::fake::Fake;

fn data_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn only(fake: &Fake, names: &[&str]) -> Vec<Row> {
    let only = names.iter().map(|name| (*name).to_owned()).collect();
    check(&fake.host(Profile::Dedicated), &Selection { only, skip: vec![] })
}

#[test]
fn the_sysctl_file_makes_every_parameter_hold() {
    let fake = Fake::healthy();
    let text = data_file("sysctl.conf");
    for folder in ["/etc/sysctl.d", "/usr/lib/sysctl.d"] {
        std::fs::remove_dir_all(fake.at(folder)).unwrap();
    }
    fake.write("/etc/sysctl.d/99-ringkeeper.conf", &text);
    let mut keys = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (key, value) = line.split_once(" = ").expect("a parameter");
        fake.write(&format!("/proc/sys/{}", key.replace('.', "/")), format!("{value}\n"));
        keys.push(key);
    }
    let kept = settings::ALL.iter().filter(|setting| setting.undo.starts_with("sysctl -w "));
    let names: Vec<_> = kept.map(|setting: &&Setting| setting.name).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for row in only(&fake, &names) {
        assert_eq!(row.finding.verdict, Verdict::Holds, "{}: {:?}", row.setting.name, row.finding);
    }
    // And it says no more than that: each key is one that some setting wants.
    for key in keys {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let good = fake.read(&path);
        let bad = if good.trim().parse::<u64>().unwrap() > 1 { "0\n" } else { "100\n" };
        fake.write(&path, bad);
        let fails = only(&fake, &names).iter().filter(|row| row.finding.verdict == Verdict::Fails).count();
        assert_eq!(fails, 1, "{key}");
        fake.write(&path, good);
    }
}

#[test]
fn the_unit_and_the_limits_file_give_enough() {
    let fake = Fake::healthy();
    fake.write("/usr/lib/systemd/system/ringkeeper.service", data_file("ringkeeper.service"));
    for row in only(&fake, &["memlock", "open-files"]) {
        assert_eq!(row.finding.verdict, Verdict::Holds, "{:?}", row.finding);
        assert_eq!(row.finding.note.as_deref(), Some("of ringkeeper.service"));
    }
    std::fs::remove_file(fake.at("/usr/lib/systemd/system/ringkeeper.service")).unwrap();
    fake.edit("/proc/self/limits", "8388608", "65536");
    fake.edit("/proc/self/limits", "524288", "1024");
    fake.write("/etc/security/limits.d/90-ringkeeper.conf", data_file("limits.conf"));
    for row in only(&fake, &["memlock", "open-files"]) {
        assert_eq!(row.finding.verdict, Verdict::Pending, "{:?}", row.finding);
    }
}

#[test]
fn the_unit_permits_io_uring_and_names_it() {
    let text = data_file("ringkeeper.service");
    let value = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(value("Type"), "notify");
    assert!(value("SystemCallFilter").split(' ').any(|set| set == "@aio"));
    assert!(!value("SystemCallFilter").contains('~'), "nothing is taken away again");
    // These would hide what the server reads of cores, limits and io_uring before it starts.
    assert_eq!((value("ProcSubset"), value("ProtectProc")), (String::new(), String::new()));
}

#[test]
fn the_seccomp_profile_allows_io_uring_to_everybody_in_the_container() {
    let profile: serde_json::Value = serde_json::from_str(&data_file("seccomp-io-uring.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    for call in
        ["io_uring_setup", "io_uring_enter", "io_uring_register", "openat", "pwritev2", "mlock", "eventfd2"]
    {
        let allowed = rules.iter().any(|rule| {
            let names = rule["names"].as_array().unwrap();
            let conditions = ["includes", "excludes", "args"].iter().any(|key| {
                !rule[*key].is_null()
                    && rule[*key] != serde_json::json!({})
                    && rule[*key] != serde_json::json!([])
            });
            names.iter().any(|name| name == call) && rule["action"] == "SCMP_ACT_ALLOW" && !conditions
        });
        assert!(allowed, "{call}");
    }
}

#[test]
fn the_operators_page_names_every_setting_with_its_severities() {
    let page = data_file("README.md");
    let letter = |severity: Option<ringkeeper_tuning::setting::Severity>| severity.map_or("-", |s| s.name());
    for setting in settings::ALL {
        let p = setting.profiles;
        let severities = [p.dedicated, p.shared, p.container, p.laptop].map(letter).join(" | ");
        let row = format!("| `{}` | {severities} |", setting.name);
        assert!(page.contains(&row), "tuning/README.md has no row that begins with {row}");
    }
}
