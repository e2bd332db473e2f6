"""Starts, kills, freezes and replaces the servers of one ensemble, each of them stock ZooKeeper or ringkeeper.

    ensemble = Ensemble(folder, ["stock", "stock", "ours"])
    ensemble.start()
    ensemble.members[ensemble.leader()].kill()

Members are numbered from 1. Each has a loopback address of its own, so that all of them use ZooKeeper's well-known ports
and keep them while they are down; or, on a `Network`, a network namespace of its own.
"""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

from raw_client import RawClient
from server import STOCK_RELEASES, Server, four_letter_word, ringkeeper_binary

CLIENT_PORT, QUORUM_PORT, ELECTION_PORT = 2181, 2888, 3888
# What is called `ours` on the command lines of this folder is `ringkeeper` everywhere else.
KINDS = ["ours", *STOCK_RELEASES]
TICK_MS = 500
# When something that has not happened does not happen any more. Never part of a verdict on how fast it was.
PATIENCE = 120.0

CONFIG = {
    "initLimit": "20",
    "syncLimit": "10",
    # The tests' own sessions must not expire because the machine stands still.
    "maxSessionTimeout": "120000",
    # Stock writes 64 MiB of zeros ahead otherwise, for every server and every restart.
    "preAllocSize": "4096",
}


def kinds(text):
    """`stock,stock,ours` as a list, for argparse."""
    names = text.split(",")
    unknown = [name for name in names if name not in KINDS]
    if unknown or len(names) < 2:
        raise ValueError(text)
    return names


def until(what, condition, seconds=PATIENCE):
    """The first true value of `condition`, which is asked again and again: for what no event tells of."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)
    return value


class Member(Server):
    """A server of an ensemble."""

    def __init__(self, ensemble, sid, kind):
        self.sid, self.called = sid, kind
        self.frozen = False
        server_kind = "ringkeeper" if kind == "ours" else kind
        lines = {f"server.{other}": ensemble.line(other) for other in ensemble.sids}
        settings = {**CONFIG, **lines, **ensemble.config}
        # A server that takes another's place begins with an empty folder, as a new machine would.
        ensemble.folders += 1
        folder = ensemble.folder / f"{sid}-{kind}-{ensemble.folders}"
        super().__init__(
            server_kind, folder, ensemble.tick_ms, settings, ensemble.properties, CLIENT_PORT, host=ensemble.host(sid)
        )
        self.data_folder = self.folder / "data"
        (self.data_folder / "myid").write_text(str(sid))
        if ensemble.network:
            self.prefix = ensemble.network.prefix(sid)

    def __str__(self):
        return f"server {self.sid} ({self.called})"

    def mode(self):
        """`leader`, `follower`, `observer`, or None while it does not serve."""
        return self._says("Mode")

    def zxid(self):
        """Of the last change that it has applied; -1 while it does not serve."""
        return int(self._says("Zxid") or "-1", 0)

    def _says(self, key):
        if self.process is None or self.frozen:
            return None
        for line in four_letter_word(self.host, self.port, "srvr", 5.0).splitlines():
            if line.startswith(f"{key}: "):
                return line.removeprefix(f"{key}: ")
        return None

    def monitor(self):
        """`mntr` as a dictionary without the prefix of its keys."""
        lines = four_letter_word(self.host, self.port, "mntr", 30.0).splitlines()
        pairs = (line.split("\t", 1) for line in lines if "\t" in line)
        return {key.removeprefix("zk_"): value for key, value in pairs}

    def freeze(self):
        """SIGSTOP: alive for the kernel, silent for everybody else. All of its threads stand still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True
        until(f"{self} to stand still", self._stands_still)

    def _stands_still(self):
        # The state follows the name, which stands in brackets and may hold anything (proc(5)).
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        try:
            return all(task.read_text().rpartition(")")[2].split()[0] in "tT" for task in tasks)
        except OSError:
            return False  # One that ended meanwhile; so they do not stand still yet.

    def cpu_ns(self):
        """CPU time of all its threads so far, ns."""
        used = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            # One that ends meanwhile takes its time with it.
            with contextlib.suppress(OSError):
                used += int(task.read_text().split()[0])
        return used

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def kill(self):
        super().kill()
        self.frozen = False

    def stop(self, seconds=60.0):
        if self.frozen:
            self.thaw()
        return super().stop(seconds)

    def holds(self, marker):
        """Whether these bytes are in any file of its data folder."""
        for path in self.data_folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and marker in path.read_bytes():
                    return True
        return False

    def admit(self, *words):
        """`ringkeeper admit` on its configuration: exit status, standard output, standard error."""
        flags = [f"-D{key}={value}" for key, value in self.properties.items()]
        command = [*self.prefix, ringkeeper_binary(), "admit", str(self.config_path), *flags, *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def empty(self):
        """Throws its data away, all but its number."""
        for path in sorted(self.data_folder.rglob("*"), reverse=True):
            if path.name != "myid":
                path.rmdir() if path.is_dir() else path.unlink()


class Ensemble:
    """Members 1 to n, of which the last `observers` have no vote. `config` and `properties` are added to what every
    member gets."""

    def __init__(self, folder, kinds, tick_ms=TICK_MS, config=None, properties=None, network=None, observers=0):
        self.folder, self.kinds, self.tick_ms, self.network = pathlib.Path(folder), list(kinds), tick_ms, network
        self.config, self.properties = config or {}, properties or {}
        self.sids = range(1, len(kinds) + 1)
        self.voters, self.observers = self.sids[: len(kinds) - observers], self.sids[len(kinds) - observers :]
        self.folders = 0
        self._claim = None
        self._base = None if network else self._claim_addresses()
        self.members = {sid: Member(self, sid, kind) for sid, kind in zip(self.sids, kinds)}

    def _claim_addresses(self):
        """Three bytes of a loopback network that no other ensemble of this machine uses, for as long as we live."""
        for attempt in range(1000):
            number = os.getpid() + attempt * 7919
            base = f"127.{1 + number % 250}.{1 + number // 250 % 250}"
            claim = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                # In the abstract name space: gone with its owner.
                claim.bind(f"\0ringkeeper-ensemble-{base}")
                self._claim = claim
                return base
            claim.close()
        raise RuntimeError("every loopback network is in use")

    def host(self, sid):
        return self.network.host(sid) if self.network else f"{self._base}.{sid}"

    def line(self, sid):
        """Its `server.N`."""
        role = ":observer" if sid in self.observers else ""
        return f"{self.host(sid)}:{QUORUM_PORT}:{ELECTION_PORT}{role}"

    @property
    def addresses(self):
        """(host, port) of all members, for clients."""
        return [(self.host(sid), CLIENT_PORT) for sid in self.sids]

    @property
    def connect_string(self):
        return ",".join(f"{host}:{port}" for host, port in self.addresses)

    @property
    def running(self):
        return [member for member in self.members.values() if member.process is not None and not member.frozen]

    def start(self):
        """Starts whoever is down, and returns when all serve and one leads."""
        for member in self.members.values():
            if member.process is None:
                member.launch()
        self.wait()

    def wait(self):
        """Returns the leader's number once everybody who runs serves, under one leader that all of them follow."""
        return until(f"a leader over {self.describe()}", self._settled)

    def _settled(self):
        for member in self.running:
            if member.process.poll() is not None:
                code = member.process.returncode
                member.process = None
                raise RuntimeError(f"{member} ended with {code}:\n{member.log_tail()}")
        modes = {member.sid: member.mode() for member in self.running}
        leaders = [sid for sid, mode in modes.items() if mode == "leader"]
        if None in modes.values() or len(leaders) != 1:
            return None
        # Followers may serve a moment before their leader counts them.
        synced = self.members[leaders[0]].monitor().get("synced_followers")
        voters = [sid for sid in modes if sid in self.voters]
        return leaders[0] if synced == str(len(voters) - 1) else None

    def leader(self):
        return self.wait()

    def followers(self):
        leader = self.wait()
        return [member.sid for member in self.running if member.sid != leader and member.sid in self.voters]

    def heal(self):
        """Everybody is there again."""
        for member in self.members.values():
            if member.frozen:
                member.thaw()
        if self.network:
            self.network.heal()
        self.start()

    def replace(self, sid, kind):
        """Stops a server in good order and starts another kind in its place, under its number, with nothing on disk."""
        self.members[sid].stop()
        self.kinds[sid - 1] = kind
        self.members[sid] = Member(self, sid, kind)
        self.members[sid].launch()
        self.wait()

    def stop(self):
        for member in self.members.values():
            member.kill()
        if self._claim:
            self._claim.close()

    def client(self, sid, timeout_ms=60000, **options):
        """One connection to that member."""
        return RawClient(self.host(sid), CLIENT_PORT, timeout_ms, **options)

    def describe(self):
        return ", ".join(str(member) for member in self.members.values())

    def logs(self, lines=12):
        """The end of everybody's log, for a message."""
        return "\n".join(f"--- {member}:\n{member.log_tail(lines)}" for member in self.members.values())

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
