#![forbid(unsafe_code)]
//! The architecture's rules, checked by reading the sources (STYLE §4, §5, §10): which folder may name which, what the
//! pure folders may not touch, where unsafe code and each fenced crate live, how long a file is.
//!
//! A rule is a function from a file to what is wrong with it; each is tried on a planted violation too, because a rule
//! that cannot fail checks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "support/tables.rs"]
mod tables;

/// Which folders of `src/` a folder may name.
#[rustfmt::skip]
const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("config", &["base"]),
    ("zab", &["base"]),
    ("storage", &["wire", "base"]),
    ("tree", &["wire", "base"]),
    ("sessions", &["wire", "base"]),
    ("watches", &["wire", "base"]),
    ("pipeline", &["tree", "sessions", "watches", "wire", "base"]),
    ("runtime", &["zab", "storage", "pipeline", "tree", "sessions", "watches", "wire", "config", "base"]),
    ("server", &["runtime", "zab", "storage", "pipeline", "tree", "sessions", "watches", "wire", "config", "base"]),
    ("cli", &["server", "runtime", "zab", "storage", "pipeline", "tree", "sessions", "watches", "wire", "config", "base"]),
];

/// Folders that know no clock, no randomness, no input or output, and no threads.
const PURE: &[&str] =
    &["base", "config", "pipeline", "sessions", "storage", "tree", "wire", "watches", "zab"];

/// What a pure folder may not say, and why.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("now_utc", "time is an argument"),
    ("std::thread", "threads belong to runtime"),
    ("thread::spawn", "threads belong to runtime"),
    ("async fn", "nothing pure waits"),
    ("async move", "nothing pure waits"),
    (".await", "nothing pure waits"),
    ("std::fs", "files belong to runtime and cli"),
    ("std::process", "the process belongs to cli"),
    ("std::env", "the environment belongs to cli"),
    ("println!", "output belongs to cli"),
    ("TcpStream", "sockets belong to runtime"),
    ("TcpListener", "sockets belong to runtime"),
    ("UdpSocket", "sockets belong to runtime"),
    ("UnixStream", "sockets belong to runtime"),
    ("ToSocketAddrs", "names are resolved in cli"),
    ("rand::", "seeds are arguments"),
    ("getrandom", "seeds are arguments"),
    ("thread_rng", "seeds are arguments"),
    ("RandomState::new", "seeds are arguments"),
    ("RandomState::default", "seeds are arguments"),
    ("hash_map::RandomState", "seeds are arguments"),
    ("tracing::", "the core observes, the shell logs"),
];

/// The files that may hold unsafe code.
const UNSAFE_HOMES: &[&str] =
    &["tree/reclaim.rs", "tree/index.rs", "storage/archive.rs", "runtime/ring.rs", "runtime/sys.rs"];

/// "Only X knows Y": a crate, and the beginning of the paths that may name it.
const FENCES: &[(&str, &str)] = &[
    ("glommio", "runtime/"),
    ("io_uring", "runtime/sys.rs"),
    ("core_affinity", "runtime/placement.rs"),
    ("crossbeam_epoch", "tree/reclaim.rs"),
    ("memmap2", "storage/aligned.rs"),
    ("rkyv", "storage/archive.rs"),
    ("dashmap", "server/registry.rs"),
    ("hdrhistogram", "base/histogram.rs"),
    ("imbl", "sessions/"),
    ("clap", "cli/"),
    ("tracing_subscriber", "cli/"),
];

/// Longest file, lines.
const LINES_MAX: usize = 1200;

/// A source file: its path below `src/` (or below the repository, for others) and its text.
struct Source<'a> {
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn folder(&self) -> &str {
        self.path.split_once('/').map_or("", |(folder, _)| folder)
    }

    /// Code alone: comments and the contents of literals are blanked, and tests are cut off.
    fn code(&self) -> String {
        if self.path.ends_with("tests.rs")
            || self.path.ends_with("loom_models.rs")
            || self.path.contains("/tests/")
        {
            return String::new();
        }
        let code = blank(self.text);
        let lines: Vec<&str> = code.lines().collect();
        let gate = |line: &str| line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        let tests = lines
            .windows(2)
            .position(|two| gate(two[0]) && two[1].starts_with("mod ") && two[1].ends_with('{'));
        lines[..tests.unwrap_or(lines.len())].join("\n")
    }
}

/// A rule: what is wrong with a file.
type Rule = fn(&Source<'_>) -> Vec<String>;

fn arrows(source: &Source<'_>) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(folder, _)| *folder == source.folder()) else {
        let known = ["lib.rs", "main.rs"].contains(&source.path);
        return if known { Vec::new() } else { vec!["a folder without arrows; see ARROWS".to_owned()] };
    };
    let code = blank(source.text);
    let named = code.match_indices("crate::").flat_map(|(at, mark)| names_after(&code[at + mark.len()..]));
    let folders = named.filter(|name| ARROWS.iter().any(|(folder, _)| folder == name));
    let wrong = folders.filter(|name| name != source.folder() && !allowed.contains(&name.as_str()));
    wrong.map(|name| format!("{} must not name {name}", source.folder())).collect()
}

/// The first names of a path, or of each path of a braced list.
fn names_after(code: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(list) = code.strip_prefix('{') else { return vec![name(code)] };
    let mut names = vec![name(list)];
    let mut depth = 1;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(name(&list[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn purity(source: &Source<'_>) -> Vec<String> {
    if !PURE.contains(&source.folder()) {
        return Vec::new();
    }
    let code = source.code();
    let said = IMPURE.iter().filter(|(word, _)| contains_word(&code, word));
    said.map(|(word, why)| format!("{word}: {why}")).collect()
}

fn unsafe_homes(source: &Source<'_>) -> Vec<String> {
    let home = UNSAFE_HOMES.contains(&source.path);
    // An attribute of a mod.rs reaches the whole folder, the crate's root everything.
    let above_a_home = source.path == "lib.rs"
        || source.path.ends_with("mod.rs")
            && UNSAFE_HOMES.iter().any(|home| home.starts_with(source.folder()));
    let code = blank(source.text);
    let mut wrong = Vec::new();
    if !home && contains_word(&code.replace("forbid(unsafe_code)", ""), "unsafe") {
        wrong.push("unsafe code outside its homes".to_owned());
    }
    if !home && !above_a_home && !code.trim_start().starts_with("#![forbid(unsafe_code)]") {
        wrong.push("does not begin with #![forbid(unsafe_code)]".to_owned());
    }
    wrong
}

fn fences(source: &Source<'_>) -> Vec<String> {
    let code = blank(source.text);
    let outside = FENCES.iter().filter(|(_, home)| !source.path.starts_with(home));
    let named = outside.filter(|(name, _)| {
        // A path of the crate, not a field or a function that shares its name.
        contains_word(&code, &format!("{name}::")) || contains_word(&code, &format!("use {name}"))
    });
    named.map(|(name, home)| format!("only {home} knows {name}")).collect()
}

fn length(source: &Source<'_>) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > LINES_MAX { vec![format!("{lines} lines: what second idea moved in?")] } else { Vec::new() }
}

/// Unfinished work and paths of one machine; in any tracked text.
fn leftovers(source: &Source<'_>) -> Vec<String> {
    // Put together here, so that this file does not hold them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["todo", "!("], ["unimplemented", "!("]];
    let places = [["/ro", "ot/"], ["/wo", "rk/"], ["\"/t", "mp"]];
    let mut wrong = Vec::new();
    for mark in marks {
        if contains_word(source.text, &mark.concat()) {
            wrong.push(format!("holds {}", mark.concat()));
        }
    }
    for place in places {
        if source.text.contains(&place.concat()) {
            wrong.push(format!("holds a path of one machine: {}", place.concat()));
        }
    }
    wrong
}

/// Whether `word` occurs where no longer name begins or ends.
fn contains_word(code: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(joins);
        let after = code[at + word.len()..].chars().next().is_some_and(joins);
        let open_start = !word.starts_with(joins);
        let open_end = !word.ends_with(joins);
        (open_start || !before) && (open_end || !after)
    })
}

/// Replaces comments and the contents of string and character literals by blanks; lines stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let starts =
        |at: usize, word: &str| word.chars().enumerate().all(|(nth, c)| chars.get(at + nth) == Some(&c));
    while at < chars.len() {
        let begin = at;
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|&&c| c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            loop {
                if starts(at, "/*") {
                    (depth, at) = (depth + 1, at + 2);
                } else if starts(at, "*/") {
                    (depth, at) = (depth - 1, at + 2);
                } else {
                    at += 1;
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some(after) = raw_string_end(&chars, at) {
            at = after;
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''))
        {
            // A lifetime has no closing quote two characters on.
            at += if chars.get(at + 1) == Some(&'\\') { 3 } else { 2 };
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        let end = at.min(chars.len());
        code.push(' ');
        code.extend(chars[begin..end].iter().filter(|&&c| c == '\n'));
    }
    code
}

/// Where the raw string that begins at `at` ends, if one does.
fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let name_before = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] != 'r' || name_before && chars[at - 1] != 'b' {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return None;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        end += 1;
        if chars[end - 1] == '"' && chars[end..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
        {
            return Some(end + hashes);
        }
    }
    Some(chars.len())
}

/// Every file below `folder` with one of the endings, in order of their names.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
            found.push(path);
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Applies a rule to files named relative to `base`; everything wrong at once.
fn check_files(rule: Rule, base: &Path, paths: &[PathBuf]) {
    let mut wrong = Vec::new();
    for path in paths {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(base).expect("below its base").to_string_lossy().replace('\\', "/");
        let source = Source { path: &name, text: &text };
        wrong.extend(rule(&source).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(!paths.is_empty(), "no file was read");
}

fn check_sources(rule: Rule) {
    let src = root().join("src");
    check_files(rule, &src, &files(&src, &["rs"]));
}

/// A rule must find something in `path` with `text`, and nothing once `text` is replaced by `fine`.
fn check_planted(rule: Rule, path: &str, text: &str, fine: &str) {
    assert!(!rule(&Source { path, text }).is_empty(), "{text:?} in {path} was not found");
    assert_eq!(rule(&Source { path, text: fine }), [""; 0], "{fine:?} in {path}");
}

#[test]
fn folders_name_only_those_below_them() {
    check_sources(arrows);
}

#[test]
fn pure_folders_are_pure() {
    check_sources(purity);
}

#[test]
fn unsafe_code_stays_in_its_homes() {
    check_sources(unsafe_homes);
}

#[test]
fn each_fenced_crate_is_known_to_one_place() {
    check_sources(fences);
}

#[test]
fn no_file_is_too_long() {
    let mut paths = files(&root().join("src"), &["rs"]);
    for folder in ["tests", "benches", "loadgen", "tuning"] {
        paths.extend(files(&root().join(folder), &["rs"]));
    }
    check_files(length, root(), &paths);
}

#[test]
fn nothing_unfinished_and_no_path_of_one_machine_is_left() {
    let endings = ["rs", "md", "txt", "toml", "sh", "py", "cfg"];
    let mut paths = vec![root().join("Cargo.toml")];
    for folder in ["src", "tests", "benches", "loadgen", "tuning"] {
        paths.extend(files(&root().join(folder), &endings));
    }
    let readme = root().join("README.md");
    paths.extend(readme.exists().then_some(readme));
    check_files(leftovers, root(), &paths);
}

#[test]
fn the_arrow_rule_catches_a_planted_arrow() {
    check_planted(arrows, "zab/sync.rs", "use crate::wire::Txn;", "use crate::base::Zxid;");
    check_planted(
        arrows,
        "tree/node.rs",
        "use crate::{base::Zxid, sessions::Owner};",
        "use crate::{base::Zxid};",
    );
    check_planted(
        arrows,
        "runtime/shard.rs",
        "fn f() { crate::server::run() }",
        "// crate::server\nuse crate::zab::Peer;",
    );
    check_planted(
        arrows,
        "server/admin.rs",
        "pub(in crate::cli) fn f() {}",
        "const A: &str = \"crate::cli\";",
    );
    assert!(!arrows(&Source { path: "attic/old.rs", text: "" }).is_empty(), "a new folder needs its arrows");
}

#[test]
fn the_purity_rule_catches_each_planted_word() {
    for (word, _) in IMPURE {
        let text = format!("fn f() {{ let _ = {word} }}");
        check_planted(purity, "zab/election.rs", &text, &format!("// {word}\nfn f() {{ g(\"{word}\") }}"));
        // The shell may, and so may tests.
        assert_eq!(purity(&Source { path: "runtime/clock.rs", text: &text }), [""; 0]);
        let in_tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{word}\n}}\n");
        assert_eq!(purity(&Source { path: "zab/election.rs", text: &in_tests }), [""; 0]);
    }
}

#[test]
fn the_unsafe_rule_catches_planted_unsafe_and_a_missing_attribute() {
    let forbid = "#![forbid(unsafe_code)]\n";
    let fine = format!("{forbid}//! unsafe is a word here.\nfn f() {{}}");
    check_planted(unsafe_homes, "wire/jute.rs", "fn f() {}", &fine);
    check_planted(unsafe_homes, "tree/mod.rs", "unsafe fn f() {}", "fn f() {}");
    check_planted(unsafe_homes, "server/mod.rs", "fn f() {}", &fine);
    check_planted(unsafe_homes, "wire/jute.rs", &format!("{forbid}fn f() {{ unsafe {{ g() }} }}"), &fine);
    assert_eq!(unsafe_homes(&Source { path: "tree/reclaim.rs", text: "unsafe fn f() {}" }), [""; 0]);
}

#[test]
fn the_fence_rule_catches_each_planted_crate() {
    for (name, home) in FENCES {
        let elsewhere = "zab/message.rs";
        check_planted(fences, elsewhere, &format!("use {name}::Thing;"), &format!("// {name}::Thing"));
        check_planted(
            fences,
            elsewhere,
            &format!("use {name} as other;"),
            &format!("let {name}_count = \"{name}::\";"),
        );
        let inside = if home.ends_with('/') { format!("{home}mod.rs") } else { (*home).to_owned() };
        assert_eq!(fences(&Source { path: &inside, text: &format!("use {name}::Thing;") }), [""; 0]);
    }
}

#[test]
fn the_other_rules_catch_planted_violations() {
    check_planted(length, "zab/replica.rs", &"\n".repeat(LINES_MAX + 1), &"\n".repeat(LINES_MAX));
    for planted in [
        ["// TO", "DO: later"],
        ["// FIX", "ME"],
        ["todo", "!()"],
        ["dir = /ro", "ot/x"],
        ["a = \"/t", "mp/x\""],
    ] {
        check_planted(leftovers, "README.md", &planted.concat(), "// done");
    }
}

#[test]
fn blanking_keeps_code_and_nothing_else() {
    for (text, expected) in [
        ("a // b\nc", "a  \nc"),
        ("a /* b /* c */ d */ e", "a   e"),
        ("a(\"x\\\"y\") b", "a( ) b"),
        ("a(r#\"x\"y\"#) b", "a( ) b"),
        ("a(b\"x\") b", "a(b ) b"),
        ("a('\"') \"b\" c", "a( )   c"),
        ("a('\\'') b", "a( ) b"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("for r in x {}", "for r in x {}"),
    ] {
        assert_eq!(blank(text), expected, "for {text:?}");
    }
}

/// The part of README.md under a heading, down to the next one of any level.
fn readme_section(heading: &str) -> String {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n#").next().expect("a split has a first part").to_owned()
}

/// What stands between backticks in the rows of a section's tables.
fn quoted_in_tables(section: &str) -> Vec<String> {
    let rows = section.lines().filter(|line| line.starts_with('|'));
    rows.flat_map(tables::quoted).map(str::to_owned).collect()
}

/// Whether `name` is one of the names that `pattern` stands for; `*` is any text.
fn stands_for(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && stands_for(after, &rest[at..]))
        }),
    }
}

fn source(path: &str) -> String {
    std::fs::read_to_string(root().join("src").join(path)).expect(path)
}

#[test]
fn the_readme_names_every_key() {
    let table = source("config/keys.rs");
    let (table, _) = table.split_once("static LABELS").expect("the table ends where the labels begin");
    let keys: Vec<(&str, bool)> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("key(\"")?.split_once("\", "))
        .map(|(name, rest)| (name, rest.contains("Ensemble)")))
        .collect();
    assert!(keys.len() > 150, "{} keys: has the table another shape?", keys.len());
    let named = quoted_in_tables(&readme_section("### Settings"));
    let is_named = |name: &str| named.iter().any(|pattern| stands_for(pattern, name));
    // "All others" of the table are those that concern ensembles.
    let missing: Vec<_> = keys.iter().filter(|(name, ensemble)| !ensemble && !is_named(name)).collect();
    assert!(missing.is_empty(), "README.md names none of {missing:?}");
    let of_no_key = |pattern: &&String| {
        let is_value = ["yes", "no", "auto", "info", "iso", "us", "false", "text", "json", "error", "trace"];
        !keys.iter().any(|(name, _)| stands_for(pattern, name)) && !is_value.contains(&pattern.as_str())
    };
    let unknown: Vec<_> =
        named.iter().filter(of_no_key).filter(|name| !name.contains("RINGKEEPER_LOG")).collect();
    let unknown: Vec<_> = unknown.into_iter().filter(|name| !name.contains("ringkeeper::")).collect();
    assert!(unknown.is_empty(), "README.md names what is no key: {unknown:?}");
}

#[test]
fn the_readme_names_every_word_and_every_operation() {
    let words = source("server/words/mod.rs");
    let words: Vec<&str> = words
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\";")?.split_once(" = \""))
        .map(|(_, word)| word)
        .filter(|word| word.len() == 4)
        .collect();
    assert!(words.len() > 15, "{words:?}: has the table another shape?");
    let named = quoted_in_tables(&readme_section("### Four-letter words"));
    let missing: Vec<_> = words.iter().filter(|word| !named.iter().any(|name| name == *word)).collect();
    assert!(missing.is_empty(), "README.md lacks {missing:?}");

    let operations = readme_section("### Operations");
    let table = source("wire/op_code.rs");
    let (_, table) = table.split_once("op_codes! {").expect("the table");
    let numbers: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\";")?.split_once(" = "))
        .filter_map(|(name, rest)| Some((name, rest.split_once(',')?.0)))
        .collect();
    assert!(numbers.len() > 25, "{numbers:?}: has the table another shape?");
    for (name, number) in numbers {
        // -1 marks errors in the log; nobody sends it.
        assert!(
            number == "-1" || operations.contains(&format!("({number})")),
            "README.md lacks {name} ({number})"
        );
    }
}

#[test]
fn a_pattern_stands_for_what_it_says() {
    for (pattern, name, expected) in [
        ("ab", "ab", true),
        ("a*", "ab", true),
        ("a*c*", "abcd", true),
        ("*.b", "a.b", true),
        ("a*", "ba", false),
        ("ab", "abc", false),
        ("a*c", "abcd", false),
    ] {
        assert_eq!(stands_for(pattern, name), expected, "{pattern} {name}");
    }
}

/// What tests are called in a Rust file: functions with the attribute, lines of tests/compat, scenarios of tests/sim.
fn rust_tests(text: &str) -> BTreeSet<&str> {
    let name = |part| -> Option<&str> {
        let end = str::find(part, |c: char| !c.is_alphanumeric() && c != '_')?;
        Some(&part[..end]).filter(|name| !name.is_empty())
    };
    let functions = text.split("#[test]\n").skip(1).filter_map(|rest| Some(rest.split_once("fn ")?.1));
    let macros = ["line!(", "ours!("].into_iter().flat_map(|opening| text.split(opening).skip(1));
    let mut found: BTreeSet<&str> = functions.chain(macros.map(str::trim_start)).filter_map(name).collect();
    if text.contains(": &[(&str, Scenario)]") {
        let entries = text.lines().filter_map(|line| line.trim().strip_prefix("(\""));
        found.extend(entries.filter_map(|entry| Some(entry.split_once("\", ")?.0)));
    }
    found
}

/// Functions of a Python file that a list of it holds too.
fn python_tests(text: &str) -> BTreeSet<&str> {
    let defined = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("def ")?.split_once('(')?.0))
        .collect::<Vec<_>>();
    let is_listed = |name: &&str| {
        [",", ":", "]"].iter().any(|end| {
            let listed = format!("{name}{end}");
            text.match_indices(&listed).any(|(at, _)| text[..at].ends_with([' ', '[']))
        })
    };
    defined.into_iter().filter(is_listed).collect()
}

/// Numbers of scenarios in the name of a test: `s07_…`, `…_s6_s8`.
fn scenario_numbers(name: &str) -> impl Iterator<Item = u32> + '_ {
    name.split('_').filter_map(|word| word.strip_prefix('s')?.parse().ok())
}

#[test]
fn every_named_scenario_is_in_the_table_and_has_its_tests() {
    let tests = root().join("tests");
    let sources: Vec<(PathBuf, String)> = [files(&root().join("src"), &["rs"]), files(&tests, &["rs", "py"])]
        .concat()
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).expect("a source reads")))
        .collect();
    let mut defined = BTreeSet::new();
    for (path, text) in &sources {
        let is_rust = path.extension().is_some_and(|ending| ending == "rs");
        let here = if is_rust { rust_tests(text) } else { python_tests(text) };
        // Settings have numbers of their own.
        let is_settings = path.ends_with("tests/compat/settings.rs");
        defined.extend(here.into_iter().map(|name| (name, is_rust && !is_settings)));
    }
    let readme = std::fs::read_to_string(tests.join("README.md")).expect("tests/README.md");
    let (_, section) = readme.split_once("\n## The named scenarios\n").expect("the table");
    let rows = tables::rows(section.split("\n## ").next().expect("a first part"), 3);
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=66).collect::<Vec<_>>(), "each scenario once, in order");
    let rows: BTreeMap<u32, &str> = rows.into_iter().map(|(number, cells)| (number, cells[1])).collect();
    for (number, by) in &rows {
        let names = tables::quoted(by);
        let is_left_out = by.strip_prefix("— ").is_some_and(|why| why.split_whitespace().count() >= 4);
        assert!(is_left_out || !names.is_empty(), "S{number} has neither a test nor a reason");
        for name in names {
            let is_there = defined.contains(&(name, true)) || defined.contains(&(name, false));
            assert!(is_there, "S{number}: there is no test {name}");
        }
    }
    for (name, _) in defined.iter().filter(|(_, counts)| *counts) {
        for number in scenario_numbers(name) {
            let row = rows.get(&number).unwrap_or_else(|| panic!("{name}: there is no S{number}"));
            assert!(tables::quoted(row).contains(name), "{name} is not in the row of S{number}");
        }
    }
}

#[test]
fn names_of_tests_are_found_where_they_are_and_nowhere_else() {
    let rust =
        "#[test]\nfn one() {}\nfn helper() {}\nline!(\n    two,\n    X)\nours!(three, X)\nours!($name)";
    assert_eq!(rust_tests(rust), BTreeSet::from(["one", "two", "three"]));
    let list = "const ALL: &[(&str, Scenario)] = &[\n    (\"s01_four\", four),\n];\nfn four() {}";
    assert_eq!(rust_tests(list), BTreeSet::from(["s01_four"]));
    let python = "def five(a):\ndef six(a):\n    pass\nCHECKS = [five,\n]\nAPART = {\n    seven: 1}";
    assert_eq!(python_tests(python), BTreeSet::from(["five"]));
    assert_eq!(scenario_numbers("s6_s8_diff_3911_of_sets_s41").collect::<Vec<_>>(), [6, 8, 41]);
}
