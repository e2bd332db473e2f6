"""Starts, stops, kills and restarts one server of either kind, for every suite that is not Rust.

`Server("stock", …)` is ZooKeeper 3.9.5, `Server("ringkeeper", …)` our release binary (or what RINGKEEPER_BIN names). Both
get the same configuration file and the same -D flags, so whatever a suite sees differently is the server's doing.

Only the standard library is used, so that the SIGKILL loop needs nothing but Python.
"""

import glob
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import time

REPO_ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE_DIR = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "ringkeeper-tests"

# Digest of super:test, the one kazoo's own harness uses.
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="

# Bare names are bare in stock too: the container sweep is the one setting without the `zookeeper.` prefix.
PROPERTIES = {
    "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "znode.container.checkIntervalMs": "500",
    "znode.container.maxNeverUsedIntervalMs": "1000",
}

CONFIG = {
    "maxClientCnxns": "0",
    "4lw.commands.whitelist": "*",
    "admin.enableServer": "false",
    "extendedTypesEnabled": "true",
    "enforceQuota": "true",
}

# The kinds that are ZooKeeper's own, and which release each is.
STOCK_RELEASES = {"stock": "3.9.5", "stock-3.8": "3.8.6"}

LOGBACK = """<configuration>
  <appender name="err" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%d{ISO8601} %-5level [%thread] %logger{20} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="err"/></root>
</configuration>
"""


def free_port():
    """A port nobody listens on now. Bound and released: the window is small and a loser fails loudly."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def four_letter_word(host, port, word, seconds=5.0):
    """The whole reply to a four-letter word, or "" when nobody answers."""
    try:
        with socket.create_connection((host, port), timeout=seconds) as stream:
            stream.sendall(word.encode())
            reply = b""
            while chunk := stream.recv(65536):
                reply += chunk
            return reply.decode(errors="replace")
    except OSError:
        return ""


def is_serving(host, port, seconds=5.0):
    return four_letter_word(host, port, "srvr", seconds).startswith("Zookeeper version")


def stock_jars(release="3.9.5"):
    pattern = str(CACHE_DIR / f"stock-{release}" / "*.jar")
    if not glob.glob(pattern):
        subprocess.run([str(REPO_ROOT / "tests/support/fetch_stock"), release], check=True, stdout=subprocess.DEVNULL)
    return sorted(glob.glob(pattern))


def ringkeeper_binary():
    return os.environ.get("RINGKEEPER_BIN") or str(REPO_ROOT / "target/release/ringkeeper")


class Server:
    """One server with a folder of its own. `kind` is "ringkeeper" or one of STOCK_RELEASES; `command`, when given, is a
    shell command line in which {config} stands for the configuration file, and replaces what `kind` would start."""

    # What the process is started through, as `nsenter` would be.
    prefix = ()
    # For the JVM alone.
    java_flags = ()

    def __init__(
        self, kind, folder, tick_ms=2000, config=None, properties=None, port=None, command=None, host="127.0.0.1"
    ):
        self.kind = kind
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.port = port or free_port()
        self.command = command
        self.process = None
        self.log_path = self.folder / "server.log"
        self.config_path = self.folder / "zoo.cfg"
        self.properties = {**PROPERTIES, **(properties or {})}
        settings = {
            "tickTime": str(tick_ms),
            "dataDir": str(self.folder / "data"),
            "clientPort": str(self.port),
            "clientPortAddress": self.host,
            **CONFIG,
            **(config or {}),
        }
        (self.folder / "data").mkdir(exist_ok=True)
        self.config_path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def arguments(self):
        if self.command:
            return shlex.split(self.command.replace("{config}", str(self.config_path)))
        flags = [f"-D{key}={value}" for key, value in self.properties.items()]
        if self.kind == "ringkeeper":
            return [ringkeeper_binary(), "serve", str(self.config_path), *flags]
        logback = self.folder / "logback.xml"
        logback.write_text(LOGBACK)
        return [
            os.environ.get("RINGKEEPER_TESTS_JAVA", "java"),
            "-Xmx512m",
            *self.java_flags,
            "-cp",
            os.pathsep.join(stock_jars(STOCK_RELEASES[self.kind])),
            f"-Dlogback.configurationFile={logback}",
            *flags,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(self.config_path),
        ]

    def start(self, seconds=120.0):
        """Starts the process and returns once it answers. Returns the seconds that took."""
        begun = time.monotonic()
        self.launch()
        self.wait_until_serving(seconds)
        return time.monotonic() - begun

    def launch(self):
        """Starts the process. One that is in an ensemble may need others before it can serve."""
        assert self.process is None, "this server runs already"
        with open(self.log_path, "ab") as log:
            command = [*self.prefix, *self.arguments()]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_until_serving(self, seconds=120.0):
        """Returns once it answers a client, however long that takes in a sane run."""
        begun = time.monotonic()
        # There is no event to wait for that both servers give; the port is asked until it answers. The patience for one
        # answer is short, because stock accepts connections before it has loaded its data, and then forgets them.
        patience = 0.25
        while not is_serving(self.host, self.port, seconds=patience):
            # On a busy machine an answer takes its time.
            patience = min(patience * 1.1, 10.0)
            if self.process.poll() is not None:
                code = self.process.returncode
                self.process = None
                raise RuntimeError(f"the server ended with {code} before it answered:\n{self.log_tail()}")
            if time.monotonic() - begun > seconds:
                self.kill()
                raise RuntimeError(f"the server did not answer within {seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.005)

    def kill(self):
        """SIGKILL, and the process is gone when this returns."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self, seconds=60.0):
        """SIGTERM; returns the exit status and the seconds it took. SIGKILL, and status -9, if it is not obeyed."""
        if self.process is None:
            return 0, 0.0
        begun = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        code = self.process.returncode
        self.process = None
        return code, time.monotonic() - begun

    def log_tail(self, lines=40):
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
