#![forbid(unsafe_code)]
//! Texts an operator or a script sees, compared with texts kept here, driven through the real binary.
//!
//! A golden file holds blocks: `=== name`, the zoo.cfg, `--- status`, standard error.

mod admit;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in a folder of its own, without the flags of whoever runs the tests.
fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringkeeper"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("JVMFLAGS")
        .env_remove("SERVER_JVMFLAGS")
        .env_remove("RINGKEEPER_LOG")
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Writes a zoo.cfg and asks whether it would do.
fn check_config(file: &[u8], flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("zoo.cfg"), file).expect("written");
    run(folder.path(), &[&["zoo.cfg", "--check-config"], flags].concat(), &[])
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn refused_configurations_say_why_and_touch_nothing() {
    let golden = include_str!("invalid_config.txt");
    let mut blocks = 0;
    for block in golden.split("=== ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name");
        let (file, rest) = rest.split_once("--- ").expect("a status");
        let (status, expected) = rest.split_once('\n').expect("a text");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("zoo.cfg"), file).expect("written");
        // Started in earnest: a refused configuration must not get as far as its folders.
        let output = run(folder.path(), &["serve", "zoo.cfg"], &[]);
        assert_eq!(stderr(&output), expected, "{name}");
        assert_eq!(output.status.code(), Some(status.parse().expect("a number")), "{name}");
        assert_eq!(names_in(folder.path()), ["zoo.cfg"], "{name} left something behind");
        blocks += 1;
    }
    assert!(blocks > 15, "{blocks} blocks were read");
}

#[test]
fn check_config_prints_each_value_with_its_origin() {
    let file = b"# Sample\ntickTime=2000\ndataDir=./data\nclientPort=2181\nmaxResponseCacheSize=4\nbogusKey=1\njute.maxbuffer=0x1000\n";
    let output = check_config(file, &["-Dzookeeper.snapCount=7", "-Xmx1g"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stderr(&output),
        "WARN: jute.maxbuffer has no effect in stock ZooKeeper's zoo.cfg; honouring it\n\
         WARN: -Xmx1g has no effect: there is no Java machine\n\
         WARN: maxResponseCacheSize has no effect here: replies are not cached in serialised form\n\
         INFO: unknown key bogusKey kept as property zookeeper.bogusKey\n"
    );
    let table = stdout(&output);
    for expected in [
        "tickTime 2000 zoo.cfg:2",
        "snapCount 7 -D",
        "jute.maxbuffer 4096 zoo.cfg:7",
        "maxClientCnxns 60 default",
    ] {
        let words: Vec<&str> = expected.split(' ').collect();
        assert!(
            table.lines().any(|row| row.split_whitespace().eq(words.iter().copied())),
            "no row {expected} in\n{table}"
        );
    }
}

#[test]
fn check_config_of_a_bad_file_is_status_2_and_creates_nothing() {
    let output = check_config(b"dataDir=./data\nclientPort=many\n", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "Invalid config, exiting abnormally\nzoo.cfg:2: clientPort: \"many\" is not a number\n"
    );
    assert_eq!(stdout(&output), "");
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(run(folder.path(), &["--check-config"], &[]).status.code(), Some(0));
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn line_ends_a_mark_and_trailing_blanks_are_taken() {
    let plain = stdout(&check_config(b"tickTime=2000\ndataDir=./data\nclientPort=2181\n", &[]));
    assert!(plain.contains("2181"));
    for variant in [
        &b"tickTime=2000\r\ndataDir=./data\r\nclientPort=2181\r\n"[..],
        b"\xef\xbb\xbftickTime=2000\ndataDir=./data\nclientPort=2181\n",
        b"tickTime=2000 \t\ndataDir = ./data  \nclientPort: 2181   \n",
    ] {
        let output = check_config(variant, &[]);
        assert_eq!(stdout(&output), plain, "{:?}: {}", String::from_utf8_lossy(variant), stderr(&output));
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn arguments_that_cannot_be_meant_are_status_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, expected) in [
        (&["nowhere.cfg"][..], "Invalid config, exiting abnormally\nnowhere.cfg file is missing\n"),
        (
            &["port", "./data"],
            "Invalid arguments, exiting abnormally\nargument: clientPort: \"port\" is not a number\n",
        ),
        (&["2181", "./data", "0"], "Invalid arguments, exiting abnormally\nargument: tickTime is not set\n"),
    ] {
        let output = run(folder.path(), arguments, &[]);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(2), expected), "{arguments:?}");
    }
    for arguments in [&["--no-such-flag"][..], &["1", "2", "3", "4", "5"], &["inspect"]] {
        let output = run(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_data_folder_that_cannot_be_is_status_3() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("written");
    for (file, expected) in [
        ("dataDir=./file\nclientPort=0\n", "./file is not a directory"),
        ("dataDir=./none\nclientPort=0\ndatadir.autocreate=false\n", "Missing data directory ./none"),
    ] {
        std::fs::write(folder.path().join("zoo.cfg"), file).expect("written");
        let output = run(folder.path(), &["zoo.cfg"], &[]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(
            text.contains("Unable to access datadir, exiting abnormally\n") && text.contains(expected),
            "{text}"
        );
    }
}

#[test]
fn help_shows_the_exit_statuses_and_version_is_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let help = run(folder.path(), &["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    for row in ["   2  bad arguments or configuration", "  20  io_uring is forbidden here"] {
        assert!(stdout(&help).contains(row), "{}", stdout(&help));
    }
    let version = run(folder.path(), &["--version"], &[]);
    assert!(stdout(&version).starts_with("ringkeeper 3.9.5-ringkeeper-"), "{}", stdout(&version));
}

/// Reliability M66, through the process: the canary is in the file, the environment and the arguments, and in no output.
#[test]
fn secrets_are_in_no_output_of_the_process() {
    const CANARY: &str = "canary7f3a";
    let folder = tempfile::tempdir().expect("a folder");
    let valid = format!(
        "dataDir=./file\nclientPort=0\nDigestAuthenticationProvider.superDigest=super:{CANARY}\n\
         ssl.keyStore.password={CANARY}\nssl.quorum.trustStore.password={CANARY}\nsuperDigest={CANARY}\nunknown={CANARY}\n"
    );
    // Refused in its last line, after the secrets were read; and refused by its folder, after the table was logged.
    let refused = format!("{valid}reconfigEnabled=maybe\n");
    std::fs::write(folder.path().join("file"), "").expect("written");
    std::fs::write(folder.path().join("valid.cfg"), valid).expect("written");
    std::fs::write(folder.path().join("refused.cfg"), refused).expect("written");
    let flag = format!("-Dzookeeper.DigestAuthenticationProvider.superDigest=super:{CANARY}");
    let odd = format!("-Dzookeeper.ssl.keyStore.password={CANARY} -Dx={CANARY} -javaagent:a={CANARY}");
    let environment =
        [("JVMFLAGS", odd.as_str()), ("SERVER_JVMFLAGS", flag.as_str()), ("RINGKEEPER_LOG", "trace")];
    for arguments in [
        &["valid.cfg", "--check-config", &flag][..],
        &["valid.cfg", &flag],
        &["refused.cfg", &flag],
        &["a", "b", "c", "d", "e", &flag],
        &["--no-such-flag", &flag],
    ] {
        let output = run(folder.path(), arguments, &environment);
        let printed = stdout(&output) + &stderr(&output);
        assert!(!printed.is_empty(), "{arguments:?}");
        assert!(!printed.contains(CANARY), "{arguments:?}: {printed}");
    }
    let output = run(folder.path(), &["valid.cfg", "--check-config"], &environment);
    assert!(stdout(&output).contains("********"), "{}", stdout(&output));
}

#[test]
fn log_lines_take_the_form_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("written");
    let file = "dataDir=./file\nclientPort=0\nbogusKey=1\nmaxResponseCacheSize=1\n";
    let form = |extra: &str, environment: &[(&str, &str)]| {
        std::fs::write(folder.path().join("zoo.cfg"), format!("{file}{extra}")).expect("written");
        stderr(&run(folder.path(), &["zoo.cfg"], environment))
    };
    let text = form("", &[]);
    assert!(text.contains("Z INFO  config: unknown key bogusKey"), "{text}");
    let json = form("ringkeeper.logFormat=json", &[]);
    assert!(json.contains(r#","level":"INFO","target":"config","message":"unknown key bogusKey"#), "{json}");
    let quiet = form("ringkeeper.logLevel=warn", &[]);
    assert!(!quiet.contains("bogusKey") && quiet.contains("maxResponseCacheSize has no effect"), "{quiet}");
    let environment_wins = form("ringkeeper.logLevel=warn", &[("RINGKEEPER_LOG", "info")]);
    assert!(environment_wins.contains("bogusKey"), "{environment_wins}");
}
