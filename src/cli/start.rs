#![forbid(unsafe_code)]
//! From the command line to a checked configuration: reads the files, asks the environment, and says what was found.
//! The only place that reads either (STYLE §14).

use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use crate::config::{
    Checked, ConfigError, FlagSource, Folders, Host, Inputs, ListenAddress, NoticeLevel, Origin, Raw, check,
    shown,
};

/// Longest configuration file, bytes. Stock has no bound; nobody writes a megabyte.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The file is not there (stock's text).
    #[error("{0} file is missing")]
    Missing(String),
    /// It cannot be read (stock's text, with the reason).
    #[error("Error processing {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    /// It cannot be a configuration.
    #[error("{path}: longer than {FILE_BYTES_MAX} bytes")]
    TooLong { path: String },
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

/// Reads and checks what the arguments name. Touches nothing.
pub(super) fn load(
    source: &[String],
    flags: &[String],
    environment: &Environment,
) -> Result<Checked, StartError> {
    let mut raw = match source {
        [] => {
            let mut raw = Raw::default();
            raw.set("clientPort", "2181", Origin::Default);
            raw.set("clientPortAddress", "127.0.0.1", Origin::Default);
            raw.set("dataDir", "./data", Origin::Default);
            raw
        }
        [path] => Raw::from_file(&shown(path), &read(path)?)?,
        legacy => Raw::from_arguments(legacy),
    };
    raw.add_flags(environment.server_jvm_flags.split_whitespace(), FlagSource::ServerJvmFlags);
    raw.add_flags(environment.jvm_flags.split_whitespace(), FlagSource::JvmFlags);
    raw.add_flags(flags.iter().map(String::as_str), FlagSource::CommandLine);
    let dynamic = match raw.get("dynamicConfigFile") {
        Some(item) => Some(Raw::from_file(&shown(&item.value), &read(&item.value)?)?),
        None => None,
    };
    let my_id = raw.get("dataDir").and_then(|item| read_my_id(Path::new(&item.value)));
    Ok(check(&Inputs { raw, dynamic, my_id })?)
}

/// What we ask of the environment, read once.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) server_jvm_flags: String,
    pub(super) jvm_flags: String,
    pub(super) log_filter: Option<String>,
    pub(super) journal_stream: Option<String>,
}

impl Environment {
    pub(super) fn read() -> Environment {
        let text = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Environment {
            server_jvm_flags: text("SERVER_JVMFLAGS").unwrap_or_default(),
            jvm_flags: text("JVMFLAGS").unwrap_or_default(),
            log_filter: text("RINGKEEPER_LOG"),
            journal_stream: text("JOURNAL_STREAM"),
        }
    }
}

fn read(path: &str) -> Result<Vec<u8>, StartError> {
    let name = shown(path);
    let file = std::fs::File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StartError::Missing(name.clone()),
        _ => StartError::Unreadable { path: name.clone(), source },
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| StartError::Unreadable { path: name.clone(), source })?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(StartError::TooLong { path: name }),
        false => Ok(bytes),
    }
}

/// First line of `dataDir/myid`, if that is a file (`QuorumPeerConfig.setupMyId`).
fn read_my_id(data: &Path) -> Option<String> {
    let file = std::fs::File::open(data.join("myid"))
        .ok()
        .filter(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))?;
    let mut bytes = Vec::new();
    file.take(4096).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).lines().next().unwrap_or("").to_owned())
}

/// Puts the table of effective values and everything worth saying into the log (operations §2.7).
pub(super) fn report(checked: &Checked) {
    for notice in &checked.notices {
        match notice.level {
            NoticeLevel::Warn => tracing::warn!(target: super::logging::UNLIMITED, "{}", notice.text),
            NoticeLevel::Info => tracing::info!(target: super::logging::UNLIMITED, "{}", notice.text),
        }
    }
    for line in checked.table.to_string().lines() {
        tracing::info!(target: super::logging::UNLIMITED, "{line}");
    }
}

/// Why a data folder cannot be used (exit status 3), in stock's words (`FileTxnSnapLog`).
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is missing and may not be made.
    #[error(
        "Missing data directory {0}, automatic data directory creation is disabled \
         (zookeeper.datadir.autocreate is false). Please create this directory manually."
    )]
    Missing(String),
    /// It cannot be made.
    #[error("Unable to create data directory {path}: {source}")]
    Create {
        /// The folder.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something else stands there.
    #[error("{0} is not a directory")]
    NotAFolder(String),
}

/// Makes `dataDir` and `dataLogDir` if they are missing and may be made.
pub fn prepare_folders(folders: &Folders) -> Result<(), FolderError> {
    for folder in [&folders.data, &folders.log] {
        let path = || shown(&folder.to_string_lossy());
        match std::fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(FolderError::NotAFolder(path())),
            Err(_) if !folders.create_missing => return Err(FolderError::Missing(path())),
            Err(_) => {
                std::fs::create_dir_all(folder)
                    .map_err(|source| FolderError::Create { path: path(), source })?;
            }
        }
    }
    Ok(())
}

/// Resolves an address to listen on, once, at start. [`Host::Any`] gives the IPv6 wildcard first, which takes IPv4
/// too where the machine has both.
///
/// # Errors
/// The resolver's.
pub fn resolve(address: &ListenAddress) -> io::Result<Vec<SocketAddr>> {
    use std::net::{Ipv4Addr, Ipv6Addr};
    let port = address.port;
    match &address.host {
        Host::Any => Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]),
        Host::Ip(ip) => Ok(vec![(*ip, port).into()]),
        Host::Name(name) => Ok((name.as_ref(), port).to_socket_addrs()?.collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn no_arguments_mean_a_server_on_the_loopback_address() {
        let config = load(&[], &[], &Environment::default()).expect("complete").config;
        let client = config.net.client.expect("an address");
        assert_eq!(client.to_string(), "127.0.0.1:2181");
        assert_eq!(config.folders.data, Path::new("./data"));
    }

    #[test]
    fn a_file_a_dynamic_file_and_myid_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("myid"), "7\n").expect("written");
        std::fs::write(path("dynamic"), "server.7=h:1:2;2182").expect("written");
        let file = format!("dataDir={}\nclientPort=2181\ndynamicConfigFile={}\n", path(""), path("dynamic"));
        std::fs::write(path("zoo.cfg"), file).expect("written");
        let error = load(&[path("zoo.cfg")], &[], &Environment::default()).expect_err("two client addresses");
        assert!(error.to_string().contains("(id = 7)"), "{error}");
        std::fs::write(path("myid"), "seven").expect("written");
        let error = load(&[path("zoo.cfg")], &[], &Environment::default()).expect_err("no number");
        assert_eq!(error.to_string(), "serverid seven is not a number");
    }

    #[test]
    fn flags_come_from_the_environment_and_the_command_line() {
        let environment = Environment {
            server_jvm_flags: "-Xmx1g -Dzookeeper.snapCount=10 -Dzookeeper.commitLogCount=900".to_owned(),
            jvm_flags: "-Dzookeeper.snapCount=20".to_owned(),
            ..Environment::default()
        };
        let checked = load(&[], &words("-Dringkeeper.threads=2"), &environment).expect("complete");
        let storage = checked.config.storage;
        assert_eq!((storage.snap_count, storage.commit_log_count), (20, 900));
        assert_eq!(checked.config.own.threads, Some(2));
        let expected = "-Xmx1g (SERVER_JVMFLAGS) has no effect: there is no Java machine";
        assert!(checked.notices.iter().any(|notice| notice.text == expected), "{:?}", checked.notices);
    }

    #[test]
    fn folders_are_made_only_if_they_may_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("a/b");
        let mut folders = crate::config::Config::for_tests(&missing).folders;
        folders.create_missing = false;
        let error = prepare_folders(&folders).expect_err("missing");
        assert!(error.to_string().starts_with("Missing data directory"), "{error}");
        assert!(!missing.exists());
        folders.create_missing = true;
        prepare_folders(&folders).expect("made");
        assert!(missing.is_dir());
        folders.log = folder.path().join("file");
        std::fs::write(&folders.log, "").expect("written");
        assert!(prepare_folders(&folders).is_err());
    }

    #[test]
    fn addresses_resolve() {
        let any = ListenAddress { host: Host::Any, port: 5 };
        assert_eq!(resolve(&any).expect("no look-up")[0].to_string(), "[::]:5");
        let name = ListenAddress { host: Host::Name("localhost".into()), port: 5 };
        assert!(resolve(&name).expect("known everywhere").iter().all(|address| address.ip().is_loopback()));
    }
}
