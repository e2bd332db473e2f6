#![forbid(unsafe_code)]
//! `conf`, `envi`, `dirs` (stock `ConfCommand`, `EnvCommand`, `DirsCommand`).

use super::answer::Answer;
use super::version::Version;
use crate::base::ServerId;
use crate::config::{ConfigDocument, MemberRole};

/// Settings in use, as `conf` shows them.
#[derive(Clone, Debug)]
pub struct ConfView {
    /// -1 if there is none.
    pub client_port: i32,
    /// -1 if there is none.
    pub secure_client_port: i32,
    /// Absolute, the format's own folder included; bytes of a file name.
    pub data_dir: Vec<u8>,
    /// Bytes of the files in it.
    pub data_dir_bytes: u64,
    /// As `data_dir`.
    pub data_log_dir: Vec<u8>,
    /// Bytes of the files in it.
    pub data_log_bytes: u64,
    /// ms.
    pub tick_time_ms: u32,
    /// Connections of one address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// ms.
    pub min_session_timeout_ms: u32,
    /// ms.
    pub max_session_timeout_ms: u32,
    /// -1 leaves it to the system.
    pub client_port_listen_backlog: i32,
    /// `myid`; 0 on a standalone server.
    pub server_id: i64,
    /// What a member adds.
    pub member: Option<ConfMember>,
}

/// What `conf` shows of a member of an ensemble (stock `QuorumZooKeeperServer.dumpConf`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfMember {
    /// Ticks.
    pub init_limit: u32,
    /// Ticks.
    pub sync_limit: u32,
    /// Where votes travel, each once.
    pub election_ports: Vec<u16>,
    /// Where learners connect, each once.
    pub quorum_ports: Vec<u16>,
    /// Without a vote.
    pub observes: bool,
    /// The configuration document (ensemble-protocol §1.3), unless the server is read-only.
    pub membership: Option<String>,
}

impl ConfMember {
    /// The member `me` of the ensemble that `document` describes; `None` when it is not in it. Limits in ticks.
    pub fn new(
        document: &ConfigDocument,
        me: ServerId,
        init_limit: u32,
        sync_limit: u32,
    ) -> Option<ConfMember> {
        let member = document.members.get(&me)?;
        let (mut election_ports, mut quorum_ports) = (Vec::new(), Vec::new());
        for address in &member.addresses {
            for (ports, port) in
                [(&mut election_ports, address.election_port), (&mut quorum_ports, address.quorum_port)]
            {
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
        }
        let observes = member.role == MemberRole::Observer;
        let membership = Some(document.to_string());
        Some(ConfMember { init_limit, sync_limit, election_ports, quorum_ports, observes, membership })
    }

    fn lines(&self) -> String {
        let joined = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|");
        format!(
            "initLimit={}\nsyncLimit={}\nelectionAlg=3\nelectionPort={}\nquorumPort={}\npeerType={}\n{}",
            self.init_limit,
            self.sync_limit,
            joined(&self.election_ports),
            joined(&self.quorum_ports),
            u8::from(self.observes),
            self.membership.as_ref().map(|document| format!("membership: \n{document}")).unwrap_or_default(),
        )
    }
}

/// `conf`.
pub fn conf(view: &ConfView) -> Answer {
    let mut out =
        format!("clientPort={}\nsecureClientPort={}\ndataDir=", view.client_port, view.secure_client_port)
            .into_bytes();
    out.extend_from_slice(&view.data_dir);
    out.extend_from_slice(format!("\ndataDirSize={}\ndataLogDir=", view.data_dir_bytes).as_bytes());
    out.extend_from_slice(&view.data_log_dir);
    out.extend_from_slice(
        format!(
            "\ndataLogSize={}\ntickTime={}\nmaxClientCnxns={}\nminSessionTimeout={}\nmaxSessionTimeout={}\n\
             clientPortListenBacklog={}\nserverId={}\n",
            view.data_log_bytes,
            view.tick_time_ms,
            view.max_client_cnxns,
            view.min_session_timeout_ms,
            view.max_session_timeout_ms,
            view.client_port_listen_backlog,
            view.server_id,
        )
        .as_bytes(),
    );
    if let Some(member) = &view.member {
        out.extend_from_slice(member.lines().as_bytes());
    }
    Answer::text(out)
}

/// `dirs`: bytes of the two data directories.
pub fn dirs(data_dir_bytes: u64, data_log_bytes: u64) -> Answer {
    Answer::text(format!("datadir_size: {data_dir_bytes}\nlogdir_size: {data_log_bytes}\n"))
}

/// Host and process, as `envi` shows them. Memory is that of the process: in use, its limit, resident.
#[derive(Clone, Debug)]
pub struct EnvView {
    /// Which build.
    pub version: Version,
    /// Version of ringkeeper, shown in place of what only a JVM has.
    pub ringkeeper: &'static str,
    /// Canonical name of the host.
    pub host_name: String,
    /// Temporary directory.
    pub tmpdir: String,
    /// `Linux`.
    pub os_name: String,
    /// Java's name for it: `amd64`, `aarch64`.
    pub os_arch: String,
    /// Release of the kernel.
    pub os_version: String,
    /// Who runs the process.
    pub user_name: String,
    /// Home directory.
    pub user_home: String,
    /// Working directory.
    pub user_dir: String,
    /// MiB that could still be taken.
    pub memory_free_mb: u64,
    /// MiB that may be taken in all.
    pub memory_max_mb: u64,
    /// MiB taken from the system.
    pub memory_total_mb: u64,
}

/// `envi`. kazoo takes the server's version from here.
pub fn envi(view: &EnvView) -> Answer {
    let none = format!("n/a (ringkeeper {})", view.ringkeeper);
    let memory = [view.memory_free_mb, view.memory_max_mb, view.memory_total_mb].map(|mb| format!("{mb}MB"));
    let entries: [(&str, &str); 18] = [
        ("zookeeper.version", view.version.text()),
        ("host.name", &view.host_name),
        ("java.version", &none),
        ("java.vendor", &none),
        ("java.home", &none),
        ("java.class.path", &none),
        ("java.library.path", &none),
        ("java.io.tmpdir", &view.tmpdir),
        ("java.compiler", &none),
        ("os.name", &view.os_name),
        ("os.arch", &view.os_arch),
        ("os.version", &view.os_version),
        ("user.name", &view.user_name),
        ("user.home", &view.user_home),
        ("user.dir", &view.user_dir),
        ("os.memory.free", &memory[0]),
        ("os.memory.max", &memory[1]),
        ("os.memory.total", &memory[2]),
    ];
    let mut out = String::from("Environment:\n");
    for (key, value) in entries {
        // A value is one line, whatever the environment holds.
        let value = value.replace(['\n', '\r'], " ");
        out.push_str(&format!("{key}={value}\n"));
    }
    Answer::text(out)
}
