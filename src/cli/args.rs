#![forbid(unsafe_code)]
//! The command line. Everything a script written for `zkServer.sh` or `QuorumPeerMain` passes is understood: a bare
//! configuration file, the legacy form `port dataDir [tickTime [maxClientCnxns]]`, glued `-Dkey=value` items, and
//! flags of a Java machine, which are accepted and do nothing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use crate::config::DateStyle;

/// A coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.
#[derive(Debug, Parser)]
#[command(
    name = "ringkeeper",
    version = super::version::full(DateStyle::Iso),
    after_help = Exit::table(),
    disable_help_subcommand = true,
    long_about = "A coordination server that ZooKeeper's clients cannot tell from ZooKeeper 3.9.\n\n\
        Without arguments it serves on 127.0.0.1:2181 and keeps its data in ./data. `ringkeeper CONFIG` and \
        `ringkeeper PORT DATADIR` are short for `ringkeeper serve …`."
)]
pub(super) struct Arguments {
    /// A Java property, as in -Dzookeeper.snapCount=1000; the configuration file wins over it
    #[arg(short = 'D', value_name = "KEY=VALUE", global = true, hide_possible_values = true)]
    pub(super) properties: Vec<String>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Serve {
        /// CONFIG (a zoo.cfg), or the legacy form PORT DATADIR [TICKTIME [MAXCLIENTCNXNS]]; none: 127.0.0.1:2181, ./data
        #[arg(value_name = "CONFIG", num_args = 0..=4)]
        source: Vec<String>,
        /// Print the effective values with their origins, and stop: status 0, or 2 if the configuration is refused
        #[arg(long)]
        check_config: bool,
    },
    /// Decode files without changing them
    #[command(subcommand)]
    Inspect(Inspect),
    /// Decide about the vote of a stopped member that lost data; without --yes it only says what it holds
    ///
    /// For an ensemble that has no leader because too few servers have a vote: those that lost a part of their data, or
    /// began with none, wait for a leader to bring them up to date. Says what this server holds, what it lost, and what
    /// follows from giving it its vote back. What no server with a vote holds then is given up for ever.
    ///
    /// Status 0: it is done, or was so already; 2: nothing was changed, --yes is missing, or this configuration has no
    /// vote to decide about; 3: the folders are in use, or cannot be read or written.
    Admit {
        /// CONFIG, as for serve
        #[arg(value_name = "CONFIG", required = true, num_args = 1..=4)]
        source: Vec<String>,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// The other way round: take the vote of a server whose folders were replaced by an old copy
        #[arg(long)]
        strip: bool,
    },
}

/// Which files to decode.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(super) enum Inspect {
    /// Segments of the write-ahead log
    Wal {
        /// Segment files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Snapshots
    Snapshot {
        /// Snapshot files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// The command line, taken apart.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) command: Command,
    /// `-D` items and flags of a Java machine, as words.
    pub(super) flags: Vec<String>,
}

/// Parses the words after the program's name.
///
/// # Errors
/// Clap's own: help and version count as such, and print to standard output.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let (machine, mut words): (Vec<OsString>, Vec<OsString>) =
        words.into_iter().partition(|word| is_machine_flag(&word.to_string_lossy()));
    if stands_for_serve(&words) {
        words.insert(0, "serve".into());
    }
    let program = std::iter::once(OsString::from("ringkeeper"));
    let arguments = Arguments::try_parse_from(program.chain(words))?;
    let mut flags: Vec<String> = arguments.properties.iter().map(|item| format!("-D{item}")).collect();
    flags.extend(machine.iter().map(|word| word.to_string_lossy().into_owned()));
    Ok(Parsed { command: arguments.command, flags })
}

fn is_machine_flag(word: &str) -> bool {
    ["-X", "-javaagent:", "-agentlib:", "-agentpath:", "-server", "-ea", "-verbose:", "--add-opens"]
        .iter()
        .any(|beginning| word.starts_with(beginning))
}

/// Whether no command is named: the first word that is no flag is a file or a port, or there is none.
fn stands_for_serve(words: &[OsString]) -> bool {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.as_ref() {
            "serve" | "inspect" | "admit" | "-h" | "--help" | "-V" | "--version" => return false,
            // The item follows as a word of its own.
            "-D" => drop(words.next()),
            flag if flag.starts_with('-') && flag != "-" => {}
            _ => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let found = match parse(line.split_whitespace().map(OsString::from)) {
            Ok(Parsed { command: Command::Serve { source, check_config }, flags }) => {
                format!("serve {source:?} check={check_config} {flags:?}")
            }
            Ok(Parsed { command: Command::Inspect(inspect), .. }) => format!("{inspect:?}"),
            Ok(Parsed { command: Command::Admit { source, yes, strip }, flags }) => {
                format!("admit {source:?} yes={yes} strip={strip} {flags:?}")
            }
            Err(error) => format!("{:?}", error.kind()),
        };
        assert_eq!(found, expected, "for {line:?}");
    }

    #[test]
    fn every_form_scripts_use_is_understood() {
        check("", "serve [] check=false []");
        check("serve", "serve [] check=false []");
        check("zoo.cfg", r#"serve ["zoo.cfg"] check=false []"#);
        check("serve zoo.cfg --check-config", r#"serve ["zoo.cfg"] check=true []"#);
        check("--check-config zoo.cfg", r#"serve ["zoo.cfg"] check=true []"#);
        check("2181 ./d", r#"serve ["2181", "./d"] check=false []"#);
        check("serve 2181 ./d 2000 60", r#"serve ["2181", "./d", "2000", "60"] check=false []"#);
        check("-Dzookeeper.a=b", r#"serve [] check=false ["-Dzookeeper.a=b"]"#);
        check(
            "-Dzookeeper.a=b=c zoo.cfg -Dd=",
            r#"serve ["zoo.cfg"] check=false ["-Dzookeeper.a=b=c", "-Dd="]"#,
        );
        check("-D a=b zoo.cfg", r#"serve ["zoo.cfg"] check=false ["-Da=b"]"#);
        check("serve -Da=b zoo.cfg", r#"serve ["zoo.cfg"] check=false ["-Da=b"]"#);
        check(
            "-Xmx512m zoo.cfg -XX:+UseG1GC",
            r#"serve ["zoo.cfg"] check=false ["-Xmx512m", "-XX:+UseG1GC"]"#,
        );
        check("inspect wal a b", r#"Wal { files: ["a", "b"] }"#);
        check("inspect snapshot a", r#"Snapshot { files: ["a"] }"#);
        check("admit zoo.cfg", r#"admit ["zoo.cfg"] yes=false strip=false []"#);
        check(
            "admit zoo.cfg --yes -Da=b -Dc=d",
            r#"admit ["zoo.cfg"] yes=true strip=false ["-Da=b", "-Dc=d"]"#,
        );
        check("admit --strip zoo.cfg -Xmx1g", r#"admit ["zoo.cfg"] yes=false strip=true ["-Xmx1g"]"#);
        check("./admit", r#"serve ["./admit"] check=false []"#);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check("1 2 3 4 5", "TooManyValues");
        check("--no-such-flag", "UnknownArgument");
        check("inspect", "DisplayHelpOnMissingArgumentOrSubcommand");
        check("inspect wal", "MissingRequiredArgument");
        check("admit", "MissingRequiredArgument");
        check("--help", "DisplayHelp");
        check("--version", "DisplayVersion");
    }
}
