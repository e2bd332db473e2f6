#!/usr/bin/env python3
"""Load from several sessions, SIGKILL, restart, and a look for every acknowledged write; again and again.

    tests/recovery/sigkill_loop.py [--server ringkeeper|stock] [--rounds 20] [--seed N]
    tests/recovery/sigkill_loop.py --command 'target/debug/ringkeeper serve {config}' --rounds 200

What must hold after every kill, and which of these checks has caught a planted fault is said in tests/README.md:

    acknowledged_writes      each writer's subtree is what its acknowledged requests made of it, plus a prefix (in the
                             order sent) of those that were on their way
    sequential_names         every acknowledged sequential node is there; no name is given twice
    zxids                    no zxid is given to two acknowledged writes, and none goes back, over all kills
    session_ids              no session id is given twice, over all kills
    sessions_resume          a session that was alive at the kill goes on with its id, its ephemeral in place
    closed_ephemerals_gone   no ephemeral of a session whose close was acknowledged comes back
    expired_ephemerals_gone  no ephemeral of a session that was seen to expire comes back, and it cannot be resumed
    abandoned_expire         ephemerals of sessions nobody resumes are there after the restart, and go in their time
    old_rounds_intact        at the end, every earlier round's writes are still there, over all restarts

Only Python's standard library is used.
"""

import argparse
import pathlib
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import raw_client as zk  # noqa: E402
from raw_client import ConnectionLost, RawClient, SessionRefused  # noqa: E402
from server import Server  # noqa: E402

TICK_MS = 200
WRITER_TIMEOUT_MS = 3000
SHORT_TIMEOUT_MS = 2 * TICK_MS
# What looks at the server must not be expired by a machine that stands still.
LONG_TIMEOUT_MS = 60000
LONG_SESSIONS = {"maxSessionTimeout": str(LONG_TIMEOUT_MS)}
WINDOW = 16
WRITERS = 6
ABANDONED = 3
# When an expiry that has not been seen does not come any more. How late it was is measured and printed.
SLACK_SECONDS = 60.0

CHECKS = [
    "acknowledged_writes",
    "sequential_names",
    "zxids",
    "session_ids",
    "sessions_resume",
    "closed_ephemerals_gone",
    "expired_ephemerals_gone",
    "abandoned_expire",
    "old_rounds_intact",
]


class Findings:
    """What went wrong, by check, and the figures of the whole run. Shared by the threads of a round."""

    def __init__(self):
        self._lock = threading.Lock()
        self.faults = {check: [] for check in CHECKS}
        self.zxids = set()
        self.zxid_max = 0
        self.session_ids = set()
        self.acknowledged = 0
        # The longest that an ephemeral of an abandoned session was seen after a restart, seconds.
        self.expired_after = 0.0

    def fault(self, check, message):
        with self._lock:
            self.faults[check].append(message)

    def acknowledge(self, zxid):
        with self._lock:
            self.acknowledged += 1
            if zxid in self.zxids:
                self.faults["zxids"].append(f"zxid {zxid:#x} was given to two acknowledged writes")
            self.zxids.add(zxid)
            self.zxid_max = max(self.zxid_max, zxid)

    def opened(self, session_id):
        with self._lock:
            if session_id in self.session_ids:
                self.faults["session_ids"].append(f"session id {session_id:#x} was given twice")
            self.session_ids.add(session_id)


class Loader(threading.Thread):
    """A session that works until the connection breaks. Subclasses say how.

    `ready` is set when the work has begun, or cannot begin. `last_heard` is when the server last answered; a session that
    had been waiting for long when the server was killed may have expired before, on a machine that is busy enough.
    """

    timeout_ms = WRITER_TIMEOUT_MS

    def __init__(self, server, findings, path, seed):
        super().__init__(daemon=True)
        self.server, self.findings, self.path = server, findings, path
        self.random = random.Random(seed)
        self.ready = threading.Event()
        self.working = False
        self.client = None
        self.last_heard = 0.0

    def prepare(self):
        """What comes before the work."""

    def was_alive(self, killed):
        """Whether the session cannot have expired before the server was killed."""
        return self.working and killed - self.last_heard < 0.5 * WRITER_TIMEOUT_MS / 1000

    def open_session(self, timeout_ms=None):
        client = RawClient(self.server.host, self.server.port, timeout_ms or self.timeout_ms)
        self.findings.opened(client.session_id)
        return client

    def must_succeed(self, op, body, client=None):
        reply = (client or self.client).call(op, body)
        if reply.error != zk.OK:
            self.findings.fault("acknowledged_writes", f"{self.path}: operation {op} failed with {reply.error}")
        else:
            self.findings.acknowledge(reply.zxid)
        self.last_heard = time.monotonic()
        return reply

    def run(self):
        try:
            self.client = self.open_session()
            self.must_succeed(zk.CREATE, zk.create_body(self.path, b""))
            self.prepare()
            self.working = True
            self.ready.set()
            while True:
                self.work()
        except (ConnectionLost, OSError):
            self.ready.set()
            if self.client:
                self.client.abandon()


class Writer(Loader):
    """Creates, changes and deletes nodes of its own, WINDOW requests on their way at a time, and keeps count."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.state = {}  # name -> data, as acknowledged
        self.pending = []  # sent, not acknowledged: lists of (name, data or None for deleted)
        self.counter = 0
        self.ephemeral = f"{self.path}/ephemeral"

    def prepare(self):
        self.must_succeed(zk.CREATE, zk.create_body(self.ephemeral, b"e", zk.EPHEMERAL))
        for register in ("register", "register2"):
            self.must_succeed(zk.CREATE, zk.create_body(f"{self.path}/{register}", b"0"))
            self.state[register] = b"0"

    def work(self):
        requests = []
        for _ in range(WINDOW):
            effects, op, body = self.next_operation()
            self.pending.append(effects)
            requests.append((op, body))
        self.client.send_all(requests)
        for _ in requests:
            reply = self.client.receive()
            if reply.error != zk.OK:
                self.findings.fault("acknowledged_writes", f"{self.path}: a write failed with {reply.error}")
            self.findings.acknowledge(reply.zxid)
            self.last_heard = time.monotonic()
            apply(self.state, self.pending.pop(0))

    def next_operation(self):
        self.counter += 1
        number = self.counter
        data = f"{number}-".encode() + b"x" * self.random.choice((0, 10, 100, 1000, 5000))
        kind = number % 4
        if kind == 0:
            return [("register", data)], zk.SET_DATA, zk.set_data_body(f"{self.path}/register", data)
        if kind == 1:
            name = f"n{number}"
            return [(name, data)], zk.CREATE, zk.create_body(f"{self.path}/{name}", data)
        if kind == 2 and number > 8:
            # The node of two operations of kind 1 ago, so that deletes and creates of one window overlap.
            name = f"n{number - 5}"
            return [(name, None)], zk.DELETE, zk.delete_body(f"{self.path}/{name}")
        name = f"m{number}"
        operations = [
            (zk.CREATE, zk.create_body(f"{self.path}/{name}", data)),
            (zk.SET_DATA, zk.set_data_body(f"{self.path}/register2", data)),
        ]
        return [(name, data), ("register2", data)], zk.MULTI, zk.multi_body(operations)

    def verify(self, client, check):
        """Compares the persistent nodes; the ephemeral one is looked at by itself."""
        actual = read_subtree(client, self.path)
        actual.pop("ephemeral", None)
        expected = dict(self.state)
        if actual == expected:
            # None of what was on its way was logged.
            self.pending = []
            return
        for count, effects in enumerate(self.pending, start=1):
            apply(expected, effects)
            if actual == expected:
                # What was found is what every later look must find.
                for applied in self.pending[:count]:
                    apply(self.state, applied)
                self.pending = []
                return
        missing = sorted(set(self.state) - set(actual))
        extra = sorted(set(actual) - set(self.state))
        changed = sorted(name for name in set(actual) & set(self.state) if actual[name] != self.state[name])
        self.findings.fault(
            check,
            f"{self.path} is not what {len(self.state)} acknowledged nodes and a prefix of {len(self.pending)} requests"
            f" make: missing {missing[:5]}, unexpected {extra[:5]}, different {changed[:5]}",
        )


class SequenceWriter(Loader):
    """Creates sequential nodes and remembers the names that were acknowledged."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.names = set()

    def work(self):
        requests = [(zk.CREATE, zk.create_body(f"{self.path}/s-", b"", zk.SEQUENTIAL))] * WINDOW
        self.client.send_all(requests)
        for _ in requests:
            reply = self.client.receive()
            self.findings.acknowledge(reply.zxid)
            name = zk.parse_buffer(reply.body)[0].decode().rsplit("/", 1)[1]
            if name in self.names:
                self.findings.fault("sequential_names", f"{self.path}/{name} was given twice")
            self.names.add(name)

    def verify(self, client, check):
        actual = set(zk.parse_children(client.call(zk.GET_CHILDREN, zk.read_body(self.path)).body))
        lost = self.names - actual
        if lost:
            self.findings.fault(check, f"{self.path}: lost {len(lost)}, the first is {min(lost)}")
        if len(actual) > len(self.names) + WINDOW:
            self.findings.fault(check, f"{self.path}: {len(actual)} nodes, {len(self.names)} acknowledged")
        if check == "sequential_names":
            reply = client.call(zk.CREATE, zk.create_body(f"{self.path}/s-", b"", zk.SEQUENTIAL))
            name = zk.parse_buffer(reply.body)[0].decode().rsplit("/", 1)[1]
            if actual and name <= max(actual):
                self.findings.fault(check, f"{self.path}: {name} was given after {max(actual)}")
            actual.add(name)
            self.findings.acknowledge(reply.zxid)
        # Those that were on their way and are there now must stay as well.
        self.names = actual


class Closer(Loader):
    """Opens a session, makes an ephemeral, closes the session; the node must stay gone once the close is acknowledged."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.closed = []
        self.counter = 0

    def work(self):
        self.counter += 1
        path = f"{self.path}/e{self.counter}"
        client = self.open_session()
        self.must_succeed(zk.CREATE, zk.create_body(path, b"", zk.EPHEMERAL), client)
        if client.close().error == zk.OK:
            self.closed.append(path)


class Expirer(Loader):
    """Leaves short sessions alone until a watch tells that their ephemeral is gone."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.expired = []  # (path, session)
        self.counter = 0

    def work(self):
        self.counter += 1
        path = f"{self.path}/e{self.counter}"
        silent = self.open_session()
        self.must_succeed(zk.CREATE, zk.create_body(path, b"", zk.EPHEMERAL), silent)
        silent.abandon()
        # Short at the last: on a busy machine a session of two ticks may not live to make its node.
        RawClient(self.server.host, self.server.port, SHORT_TIMEOUT_MS, silent.session).abandon()
        self.client.call(zk.EXISTS, zk.read_body(path, watch=True))
        while not any(event_path == path for _, event_path in self.client.events):
            # Pings keep this session alive and let the event come in.
            self.client.call(zk.PING)
            time.sleep(0.02)
        self.expired.append((path, silent.session))


def apply(state, effects):
    for name, data in effects:
        if data is None:
            state.pop(name, None)
        else:
            state[name] = data


def read_subtree(client, path):
    names = zk.parse_children(client.call(zk.GET_CHILDREN, zk.read_body(path)).body)
    replies = client.call_all([(zk.GET_DATA, zk.read_body(f"{path}/{name}")) for name in names])
    return {
        name: zk.parse_buffer(reply.body)[0] or b"" if reply.error == zk.OK else f"error {reply.error}"
        for name, reply in zip(names, replies)
    }


def exists(client, path):
    return client.call(zk.EXISTS, zk.read_body(path)).error == zk.OK


def open_client(server, findings, **arguments):
    client = RawClient(server.host, server.port, LONG_TIMEOUT_MS, **arguments)
    findings.opened(client.session_id)
    return client


def run_round(number, server, findings, chance):
    """One round of load, kill, restart and checks. Returns its loaders, for the look at the end, and its figures."""
    base = f"/kill/r{number}"
    client = open_client(server, findings)
    for path in ("/kill", base):
        client.call(zk.CREATE, zk.create_body(path, b""))
    seed = chance.random()
    writers = [Writer(server, findings, f"{base}/w{i}", f"{seed}-{i}") for i in range(WRITERS)]
    sequence = SequenceWriter(server, findings, f"{base}/seq", f"{seed}-seq")
    closer = Closer(server, findings, f"{base}/close", f"{seed}-close")
    expirer = Expirer(server, findings, f"{base}/expire", f"{seed}-expire")
    loaders = [*writers, sequence, closer, expirer]

    before = findings.acknowledged
    for loader in loaders:
        loader.start()
    for loader in loaders:
        if not loader.ready.wait(60):
            sys.exit(f"error: {loader.path} could not begin within a minute")
    load_seconds = chance.uniform(0.2, 1.5)
    time.sleep(load_seconds)  # The load is the point; there is nothing to wait for.
    killed = time.monotonic()
    server.kill()
    for loader in loaders:
        loader.join(30)
        if loader.is_alive():
            sys.exit(f"error: a client of {loader.path} hangs after the kill")
    acknowledged = findings.acknowledged - before
    client.abandon()

    recovery_seconds = server.start()
    restarted = time.monotonic()
    # Resumed and looked at first, before any time-out can have run out.
    client = open_client(server, findings)
    alive = [writer for writer in writers if writer.was_alive(killed)]
    abandoned, resumed = alive[:ABANDONED], alive[ABANDONED:]

    def in_time():
        """Whether a session left alone since the process started must be alive still, however slow this machine is."""
        return time.monotonic() - restarted + recovery_seconds < 0.75 * WRITER_TIMEOUT_MS / 1000

    for writer in abandoned:
        if not exists(client, writer.ephemeral) and in_time():
            findings.fault("abandoned_expire", f"{writer.ephemeral} is gone, and its session cannot have expired yet")
    resumed_alive = []
    for writer in resumed:
        try:
            writer.client = RawClient(server.host, server.port, WRITER_TIMEOUT_MS, writer.client.session)
            resumed_alive.append(writer)
            if not exists(writer.client, writer.ephemeral):
                findings.fault("sessions_resume", f"{writer.ephemeral} is gone, but its session lives")
        except SessionRefused:
            if in_time():
                findings.fault("sessions_resume", f"the session of {writer.path} was refused after the restart")
        except (ConnectionLost, OSError):
            if in_time():
                findings.fault("sessions_resume", f"the session of {writer.path} was cut off as it was resumed")
    reply = client.call(zk.EXISTS, zk.read_body("/"))
    if reply.zxid < findings.zxid_max:
        findings.fault("zxids", f"round {number}: {reply.zxid:#x} after {findings.zxid_max:#x} was acknowledged")
    for path in closer.closed:
        if exists(client, path):
            findings.fault("closed_ephemerals_gone", f"{path} is back")
    for path, session in expirer.expired:
        if exists(client, path):
            findings.fault("expired_ephemerals_gone", f"{path} is back")
        try:
            RawClient(server.host, server.port, SHORT_TIMEOUT_MS, session).abandon()
            findings.fault("expired_ephemerals_gone", f"the expired session of {path} was resumed")
        except SessionRefused:
            pass
    for writer in writers:
        writer.verify(client, "acknowledged_writes")
    sequence.verify(client, "sequential_names")
    for writer in resumed_alive:
        try:
            writer.client.close()
        except (ConnectionLost, OSError):
            if in_time():
                findings.fault("sessions_resume", f"the resumed session of {writer.path} was cut off")
            continue
        if exists(client, writer.ephemeral):
            findings.fault("closed_ephemerals_gone", f"{writer.ephemeral} outlived the close of its session")

    # The unresumed sessions' clocks began afresh with the restart.
    left_alone = [writer for writer in writers if writer not in resumed_alive]
    deadline = restarted + (WRITER_TIMEOUT_MS + 2 * TICK_MS) / 1000 + SLACK_SECONDS
    left = [writer.ephemeral for writer in left_alone]
    while left and time.monotonic() < deadline:
        left = [path for path in left if exists(client, path)]
        if left:
            time.sleep(0.05)
    if left_alone:
        findings.expired_after = max(findings.expired_after, time.monotonic() - restarted)
    for path in left:
        findings.fault("abandoned_expire", f"{path} outlived its session")
    client.close()
    return [*writers, sequence], acknowledged, load_seconds, recovery_seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["stock", "ringkeeper"], default="ringkeeper")
    parser.add_argument("--command", help="shell words that start the server; {config} is its configuration file")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", help="where the server's files go; kept, when given")
    arguments = parser.parse_args()

    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    folder = arguments.folder or tempfile.mkdtemp(prefix="ringkeeper-sigkill-")
    findings = Findings()
    # A snapshot every thousand or so txns, so that kills meet snapshots and purges too.
    server = Server(arguments.server, folder, TICK_MS, {"snapCount": "1000", **LONG_SESSIONS}, command=arguments.command)
    print(f"seed {seed}, {arguments.rounds} rounds", flush=True)
    recoveries, kept, total = [], [], 0
    try:
        server.start()
        for number in range(1, arguments.rounds + 1):
            loaders, acknowledged, load_seconds, recovery_seconds = run_round(number, server, findings, chance)
            kept += loaders
            total += acknowledged
            recoveries.append(recovery_seconds)
            faults = sum(len(messages) for messages in findings.faults.values())
            print(
                f"round {number}/{arguments.rounds}: {acknowledged} writes acknowledged in {load_seconds:.2f} s,"
                f" serving again after {recovery_seconds * 1000:.0f} ms, {faults} faults",
                flush=True,
            )
        client = open_client(server, findings)
        for loader in kept:
            loader.verify(client, "old_rounds_intact")
        client.close()
    except (RuntimeError, OSError, ConnectionLost) as failure:
        # What was not looked at has not held.
        for check in CHECKS:
            findings.fault(check, f"the run ended early: {failure!r}")
        print(f"--- the server's log ends with:\n{server.log_tail()}")
    finally:
        server.stop()
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)

    for check, messages in findings.faults.items():
        if messages:
            print(f"FAIL {check}: {len(messages)} faults, seed {seed}")
            for message in messages[:10]:
                print(f"    {message}")
        else:
            print(f"ok {check}")
    if recoveries:
        print(
            f"{len(recoveries)} SIGKILLs, {total} writes acknowledged under load;"
            f" abandoned sessions of {WRITER_TIMEOUT_MS / 1000:.0f} s were gone {findings.expired_after:.1f} s after a"
            f" restart at the latest; serving again after p50 {statistics.median(recoveries) * 1000:.0f} ms, max {max(recoveries) * 1000:.0f} ms"
        )
    failed = sum(1 for messages in findings.faults.values() if messages)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    # Stopped by `timeout` or by hand: the server must not be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
