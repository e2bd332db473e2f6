#![forbid(unsafe_code)]
//! Starts a server, stock or ours, on a configuration and a free port, and takes it down again.
//!
//! Processes: each child is started by one thread that lives as long as the test binary and asks the kernel to kill
//! the child when that thread ends (`setpriv --pdeathsig`). So nothing outlives the binary, whether it returns,
//! panics or is killed; a server that is dropped earlier is killed by its own handle.
//!
//! Folders: under cargo's folder for tests, one a process. A folder whose process is gone is removed by the next run.

use super::raw::{self, Hello, Raw};
use super::stock;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long a server may take to answer after it was started.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// Whose server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Stock,
    Ringkeeper,
}

/// What a server is started with, beside the port and the folder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Setup {
    /// Lines of zoo.cfg.
    pub keys: &'static [(&'static str, &'static str)],
    /// System properties that zoo.cfg of stock cannot set: `-D` there, `SERVER_JVMFLAGS` for ringkeeper.
    pub properties: &'static [(&'static str, &'static str)],
}

/// A server and its folder.
pub struct Server {
    pub kind: Kind,
    setup: Setup,
    folder: PathBuf,
    address: SocketAddr,
    /// Keeps other test processes off the port.
    claim: UdpSocket,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts a server on an empty folder and waits until it answers.
    ///
    /// # Errors
    /// Why it does not, with the last lines it wrote.
    pub fn start(kind: Kind, setup: Setup) -> Result<Server, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A counter that only has to differ: nothing is published through it.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = run_folder().join(format!("{kind:?}-{number}").to_lowercase());
        std::fs::create_dir_all(folder.join("data"))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let (address, claim) = free_address();
        let server = Server { kind, setup, folder, address, claim, child: Mutex::new(None) };
        server.write_config()?;
        server.spawn()?;
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A four-letter word's answer.
    pub fn word(&self, word: &str) -> String {
        raw::word(self.address, word)
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _exited_already = child.kill();
            let _status = child.wait();
        }
    }

    /// SIGTERM; waits for the end, and returns the exit status.
    pub fn terminate(&self) -> std::process::ExitStatus {
        let mut child = self.child.lock().unwrap().take().expect("a server that runs");
        let status = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        assert!(status.success());
        child.wait().expect("wait")
    }

    /// Starts it again on the same folder and port, and waits until it answers.
    pub fn restart(&self) -> Result<(), String> {
        self.kill();
        self.spawn()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// The last lines it wrote, for a message.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn write_config(&self) -> Result<(), String> {
        // Small log files: stock writes 64 MiB of zeros ahead otherwise, a server and a test run.
        let mut text = format!(
            "dataDir={}\nclientPortAddress={}\nclientPort={}\nadmin.enableServer=false\npreAllocSize=4096\n",
            self.folder.join("data").display(),
            self.address.ip(),
            self.address.port()
        );
        for (key, value) in self.setup.keys {
            text.push_str(&format!("{key}={value}\n"));
        }
        let path = self.folder.join("zoo.cfg");
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn spawn(&self) -> Result<(), String> {
        let properties = self.setup.properties.iter().map(|(key, value)| format!("-D{key}={value}"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        match self.kind {
            Kind::Stock => {
                // One compiler and one collector thread: a test server lives for seconds.
                command
                    .args(["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"])
                    .args(properties);
                command.args([
                    "-cp",
                    stock::classpath()?,
                    "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                ]);
            }
            Kind::Ringkeeper => {
                command.args([env!("CARGO_BIN_EXE_ringkeeper"), "serve"]);
                command.env("SERVER_JVMFLAGS", properties.collect::<Vec<_>>().join(" "));
            }
        }
        let log =
            File::options().create(true).append(true).open(self.log_path()).map_err(|e| e.to_string())?;
        command.arg(self.folder.join("zoo.cfg")).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
        let child = spawn_on_the_lasting_thread(command).map_err(|error| format!("setpriv: {error}"))?;
        *self.child.lock().unwrap() = Some(child);
        let began = Instant::now();
        self.wait_until_it_answers()?;
        println!("started {:?} on {} in {} ms", self.kind, self.address, began.elapsed().as_millis());
        Ok(())
    }

    /// Whether `srvr` says that it serves. Stock now and then forgets a connection that it accepted while it was
    /// starting, and neither answers nor closes; so one such question must not be waited for.
    fn answers(&self, patience: Duration) -> bool {
        let Ok(mut raw) = Raw::try_connect(self.address) else { return false };
        raw.send(b"srvr");
        let said = raw.rest_within(patience).unwrap_or_default();
        String::from_utf8_lossy(&said).contains("Zookeeper version:")
    }

    fn wait_until_it_answers(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        let mut patience = Duration::from_secs(1);
        loop {
            if let Some(status) = self.exit_status() {
                return Err(format!("{:?} ended at its start ({status}):\n{}", self.kind, self.said()));
            }
            let asked = Instant::now();
            if self.answers(patience) {
                return Ok(());
            }
            if asked.elapsed() >= patience {
                // Forgotten, or slow: who knows.
                patience *= 2;
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{:?} did not answer in {START_PATIENCE:?}:\n{}",
                    self.kind,
                    self.said()
                ));
            }
            // A process that is starting has no event to wait for.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn exit_status(&self) -> Option<std::process::ExitStatus> {
        self.child.lock().unwrap().as_mut().and_then(|child| child.try_wait().expect("try_wait"))
    }

    /// A connection with a session of its own on it, or not, as `hello` turns out.
    pub fn shake(&self, hello: &Hello) -> (Raw, Option<raw::Welcome>) {
        raw::shake(self.address, hello)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            let _left_for_the_next_run = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// The kernel's "parent died" is the death of the *thread* that forked, and a test's thread ends with its test. So
/// one thread that never returns starts every server.
fn spawn_on_the_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static JOBS: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (send, receive) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in receive {
                let _asker_gone = answer.send(command.spawn());
            }
        });
        Mutex::new(send)
    });
    let (answer, result) = channel();
    jobs.lock().unwrap().send((command, answer)).expect("the thread lasts");
    result.recv().expect("the thread lasts")
}

/// A port below the kernel's ephemeral range, so that no outgoing connection of anybody's takes it between our look
/// and the server's bind, nor while the server is down between two starts. Other test processes keep away from it for
/// as long as the UDP socket of the same number is held: that is all the socket is for.
fn free_address() -> (SocketAddr, UdpSocket) {
    const LOW: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Neighbouring processes begin far apart.
    let start = std::process::id().wrapping_mul(7_919) % u32::from(COUNT);
    for _ in 0..COUNT {
        // A counter that only has to differ: nothing is published through it.
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = LOW + ((start + step) % u32::from(COUNT)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Ok(claim) = UdpSocket::bind(address) else { continue };
        if TcpListener::bind(address).is_ok() {
            return (address, claim);
        }
    }
    panic!("no free port between {LOW} and {}", LOW + COUNT);
}

/// This process's folder for servers. The first call removes those of processes that are gone.
fn run_folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("servers");
            std::fs::create_dir_all(&base).expect("the folder for tests");
            for entry in std::fs::read_dir(&base).expect("the folder for tests").flatten() {
                let name = entry.file_name();
                if !Path::new("/proc").join(&name).exists() {
                    let _another_run_was_faster = std::fs::remove_dir_all(entry.path());
                }
            }
            base.join(std::process::id().to_string())
        })
        .clone()
}
