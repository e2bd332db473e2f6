"""What the statements that are whole programs are played on: processes of their own, and a folder of the tree to play in."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "programs"))
from common import connect  # noqa: E402

TICK_MS = 500
# When something that has not happened does not happen any more.
PATIENCE = 120.0


class Program:
    """A process of its own that says lines; what it said is kept."""

    def __init__(self, name, *arguments, prefix=(), session_seconds=None):
        self.title = " ".join((name, *arguments[2:]))
        self.lines = []
        self._arrived = threading.Condition()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-u", str(HERE / "programs" / f"{name}.py"), *arguments],
            env={**os.environ, **({"SESSION_SECONDS": str(session_seconds)} if session_seconds else {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self._arrived:
                self.lines.append(line.rstrip("\n"))
                self._arrived.notify_all()
        with self._arrived:
            self.lines.append("(ended)")
            self._arrived.notify_all()

    def said(self, word):
        return [line for line in self.lines if line.split(" ")[0] == word]

    def expect(self, word, count=1, seconds=PATIENCE):
        """Waits until the program has said the word so often; returns those lines."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.said(word)) >= count or self.ended(), seconds)
        if not came or len(self.said(word)) < count:
            raise AssertionError(f"{self.title} never said `{word}` {count} times; it said {self.lines[-12:]}")
        return self.said(word)

    def ended(self):
        return self.lines[-1:] == ["(ended)"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """Stands still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Stage:
    """A folder on the server, a client to look at it, and the programs that play in it.

    `address` is what clients are given: one server, or all of them. `server` is who can be killed. `session_seconds`, when
    given, takes the place of the programs' own time-outs.
    """

    def __init__(self, address, name, server, session_seconds=None):
        self.address, self.server, self.session_seconds = address, server, session_seconds
        self.client = connect(address, timeout=8.0 if session_seconds is None else 60.0, announce=False)
        self.root = self.client.create(f"/{name}-", b"", sequence=True)
        self.programs = []

    def start(self, name, *arguments, prefix=()):
        program = Program(name, self.address, *arguments, prefix=prefix, session_seconds=self.session_seconds)
        self.programs.append(program)
        return program

    def close(self):
        for program in self.programs:
            program.kill()
        self.client.stop()

    def catch_up(self):
        """What is read from now on is not older than this. A sync alone is not enough where stock leads."""
        self.client.retry(self.client.set, self.root, b"")

    def children(self, path):
        return sorted(self.client.retry(self.client.get_children, f"{self.root}/{path}"))

    def eventually(self, what, condition, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                ended = [f"{program.title}: {program.lines[-3:]}" for program in self.programs if program.ended()]
                raise AssertionError(f"never came: {what}; ended meanwhile: {ended}")
            time.sleep(0.01)


def build_tree(stage):
    """The folders that master.py tells of."""
    for folder in ("submitted", "workers", "tasks", "assign", "partial", "status", "term"):
        stage.client.ensure_path(f"{stage.root}/{folder}")


def play(stage, masters, workers):
    """Builds the tree of master.py and starts masters and workers. Returns them, the elected master first."""
    build_tree(stage)
    cast = [stage.start("master", stage.root, f"m{number}") for number in range(masters)]
    stage.eventually("a master", lambda: any(master.said("elected") for master in cast))
    elected = [master for master in cast if master.said("elected")]
    check_equal(1, len(elected), "masters")
    standbys = [master for master in cast if master is not elected[0]]
    for master in standbys:
        master.expect("standby")
    hands = [stage.start("worker", stage.root, f"w{number}") for number in range(workers)]
    for worker in hands:
        worker.expect("ready")
    return elected + standbys, hands


def check_results(clients, first, count):
    """Each client was told the square of each of its numbers, once."""
    for offset, client in enumerate(clients):
        client.expect("finished")
        numbers = range(first + offset * count, first + (offset + 1) * count)
        check_equal(sorted(f"result {n} {n * n}" for n in numbers), sorted(client.said("result")), client.title)


def check_nothing_left(stage, tasks):
    """Every task has one result; none waits, none is assigned, no half-done work lies about."""
    stage.catch_up()
    check_equal(tasks, len(stage.children("status")), "results")
    check_equal([], stage.children("tasks"), "waiting tasks")
    check_equal([], stage.children("partial"), "partial results")
    for worker in stage.children("assign"):
        check_equal([], stage.children(f"assign/{worker}"), f"tasks of {worker}")


def group_of_eight(stage):
    """A group and its members, who have joined, by name."""
    group = stage.client.create(f"{stage.root}/group", b"")
    members = {f"member{number}": stage.start("member", group, f"member{number}") for number in range(8)}
    for member in members.values():
        member.expect("joined")
    return members


def leave(members, name):
    """A member leaves politely."""
    members[name].process.stdin.close()
    members.pop(name).expect("left")


def sleep_too_long(stage, name, sleeper):
    """A member that is frozen until its session is over, is told so when it wakes up, and joins again."""
    joined = len(sleeper.said("joined"))
    sleeper.freeze()
    stage.eventually("the end of the sleeper", lambda: name not in stage.children("group"))
    sleeper.thaw()
    sleeper.expect("lost")
    sleeper.expect("joined", count=joined + 1)


def check_lock(contenders):
    """One after the other has held the lock, in the order of the queue, and nobody was woken for nothing."""
    violations = [line for contender in contenders for line in contender.said("VIOLATION")]
    check_equal([], violations, "two holders at once")
    held = [contender.said("held")[0].split()[1:] for contender in contenders]
    check_equal(48, len(held), "holders")
    by_time = sorted(held, key=lambda name_and_zxid: int(name_and_zxid[1]))
    check_equal(sorted(held), by_time, "first come, first served")
    events = sum(int(contender.said("events")[0].split()[1]) for contender in contenders)
    # One for each release and for the contender that died, at most: who has lost the connection looks by itself. A herd would
    # be hundreds.
    if events > 49:
        raise AssertionError(f"{events} events for 49 releases and deaths")


def check_equal(expected, got, what):
    if expected != got:
        raise AssertionError(f"{what}: expected {expected}, got {got}")


def next_master(stage, masters):
    stage.eventually("the next master", lambda: any(master.said("elected") for master in masters))
    return next(master for master in masters if master.said("elected"))
