#!/usr/bin/env python3
"""The statements of the mission that are whole programs: masters, workers, clients, contenders and members in processes of
their own, on kazoo, started and killed from here.

    tests/mission/run_programs.py [--server stock|ringkeeper] [PATTERN…]
    tests/mission/run_programs.py --connect HOST:PORT        a server that runs already (the one that is killed is left out)
    tests/mission/run_programs.py --servers ours,ours,ours   over an ensemble, whose servers are killed meanwhile; or `stock`

Run by a Python that has kazoo (tests/support/fetch_kazoo prints where). One line for each statement, its number first in
the name, and the count at the end.
"""

import argparse
import contextlib
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "ensemble"), str(HERE / "programs")]
import over_ensemble  # noqa: E402
import recipes_over_ensemble  # noqa: E402
from common import connect  # noqa: E402
from ensemble import Ensemble, kinds  # noqa: E402
from network import Network  # noqa: E402
from proxy import Proxy  # noqa: E402
from server import Server  # noqa: E402
from stage import (  # noqa: E402
    TICK_MS,
    Stage,
    check_equal,
    check_lock,
    check_nothing_left,
    check_results,
    group_of_eight,
    leave,
    next_master,
    play,
    sleep_too_long,
)

# Room for a busy machine, beyond what the statement allows.
SLACK = 5.0


def m02_masters_workers_and_clients(stage):
    masters, workers = play(stage, masters=3, workers=4)
    clients = [stage.start("client", stage.root, str(first), "10") for first in (0, 10)]
    check_results(clients, first=0, count=10)
    check_nothing_left(stage, 20)
    check_equal(1, sum(len(master.said("elected")) for master in masters), "elections")
    check_equal(20, sum(len(worker.said("done")) for worker in workers), "tasks done")
    check_equal(4, sum(1 for worker in workers if worker.said("done")), "workers that did something")


def m03_master_is_killed_and_a_standby_recovers_from_the_tree(stage):
    masters, _ = play(stage, masters=3, workers=2)
    # Each of the two workers holds half of its tasks back, so that there is state to recover.
    holder = stage.start("worker", stage.root, "holder", "hold")
    holder.expect("ready")
    clients = [stage.start("client", stage.root, str(first), "20") for first in (0, 20)]
    holder.expect("working")
    assigned_to_holder = len(stage.children("assign/holder"))
    if assigned_to_holder == 0:
        raise AssertionError("nothing is assigned, so there is nothing to recover")
    for alive in (2, 1):
        killed = masters.pop(0)
        killed.kill()
        elected = next_master(stage, masters)
        masters.remove(elected)
        masters.insert(0, elected)
        recovered = int(elected.expect("recovered")[0].split()[1])
        if recovered < 1:
            raise AssertionError(f"with {alive} masters left, the new one found no assigned task in the tree")
    # The last master sees the holder die, and gives its tasks to others.
    holder.kill()
    check_results(clients, first=0, count=20)
    check_nothing_left(stage, 40)


def m04_killed_worker_loses_its_task_to_another(stage):
    masters, workers = play(stage, masters=1, workers=0)
    holder = stage.start("worker", stage.root, "holder", "hold")
    holder.expect("ready")
    client = stage.start("client", stage.root, "7", "1")
    task = holder.expect("working")[0].split()[1]
    check_equal([task], stage.children("partial"), "partial results")
    other = stage.start("worker", stage.root, "other")
    other.expect("ready")
    holder.kill()
    check_equal([f"reassigned {task} holder"], masters[0].expect("reassigned"), "what the master did")
    check_results([client], first=7, count=1)
    check_equal([f"done {task}"], other.said("done"), "what the other did")
    check_nothing_left(stage, 1)


def m06_group_membership_is_true_within_the_time_out(stage):
    members = group_of_eight(stage)
    check_equal(sorted(members), stage.children("group"), "members")
    # Who leaves politely is gone when it says so.
    leave(members, "member0")
    check_equal(sorted(members), stage.children("group"), "members after one left")
    # Who is killed is gone after the time-out of 2 s and at most a tick.
    begun = time.monotonic()
    for name in ("member1", "member2"):
        members.pop(name).kill()
    stage.eventually("the end of the killed", lambda: stage.children("group") == sorted(members))
    took = time.monotonic() - begun
    print(f"    killed members were gone after {took:.2f} s (time-out 2 s, tick {TICK_MS / 1000} s)")
    if took > 2.0 + TICK_MS / 1000 + SLACK:
        raise AssertionError(f"killed members were listed for {took:.2f} s")
    # Who sleeps too long is gone too, is told so when it wakes up, and joins again.
    sleep_too_long(stage, "member3", members["member3"])
    check_equal(sorted(members), stage.children("group"), "members at the end")


def m07_lock_recipe_fifty_contenders(stage):
    lock = stage.client.create(f"{stage.root}/lock", b"")
    holder = stage.start("contender", lock, "hold")
    holder.expect("held")
    contenders = [stage.start("contender", lock) for _ in range(49)]
    stage.eventually("fifty in the queue", lambda: len(stage.children("lock")) == 50, seconds=180)
    # One in the middle of the queue gives up the hard way; the holder is killed with the lock in its hand.
    queued = sorted(contenders, key=lambda contender: contender.expect("queued")[0])
    victim = queued.pop(20)
    victim.kill()
    holder.kill()
    for contender in queued:
        contender.expect("released", seconds=120)
    check_lock(queued)
    check_equal([], stage.children("lock"), "the queue at the end")


def m18_states_as_kazoo_sees_them(stage):
    host, port = stage.address.split(":")
    proxy = Proxy(host, int(port))
    states = queue.Queue()
    client = connect(proxy.address, timeout=2.0, announce=False)
    try:
        client.add_listener(states.put)
        session = client.client_id[0]
        path = client.create(f"{stage.root}/e", b"", ephemeral=True)
        proxy.cut()
        check_equal("SUSPENDED", states.get(timeout=30), "after a cut")
        check_equal("CONNECTED", states.get(timeout=30), "after the return")
        check_equal(session, client.client_id[0], "session id")
        proxy.refuse()
        check_equal("SUSPENDED", states.get(timeout=30), "after the second cut")
        stage.eventually("expiry", lambda: stage.client.exists(path) is None)
        proxy.accept()
        check_equal("LOST", states.get(timeout=30), "after expiry")
        check_equal("CONNECTED", states.get(timeout=30), "with a new session")
        if client.client_id[0] == session:
            raise AssertionError("the new session has the old id")
        client.stop()
        check_equal("LOST", states.get(timeout=30), "after stop")
    finally:
        client.stop()
        proxy.close()


def m22_time_outs_as_kazoo_negotiates_them(stage):
    for asked, given in ((0.5, 2 * TICK_MS), (3.0, 3000), (100.0, 20 * TICK_MS)):
        client = connect(stage.address, timeout=asked, announce=False)
        mine = f"sid={client.client_id[0]:#x},"
        line = next(line for line in client.command(b"cons").splitlines() if mine in line)
        check_equal(str(given), re.search(r",to=(\d+),", line)[1], f"time-out for {asked} s")
        client.stop()


def m38_programs_go_on_through_a_sigkill_of_the_server(stage):
    masters, workers = play(stage, masters=2, workers=3)
    clients = [stage.start("client", stage.root, str(first), "60") for first in (0, 60)]
    for client in clients:
        client.expect("submitted")
    # `clients` wait for their results through watches that have to outlive the server too.
    for kill in range(3):
        stage.eventually(
            "some progress", lambda: sum(len(worker.said("done")) for worker in workers) > 5 + 20 * kill
        )
        stage.server.kill()
        stage.server.start()
    check_results(clients, first=0, count=60)
    check_nothing_left(stage, 120)
    for program in masters + workers:
        check_equal([], program.said("lost"), f"sessions lost by {program.title}")


STATEMENTS = [
    m02_masters_workers_and_clients,
    m03_master_is_killed_and_a_standby_recovers_from_the_tree,
    m04_killed_worker_loses_its_task_to_another,
    m06_group_membership_is_true_within_the_time_out,
    m07_lock_recipe_fifty_contenders,
    m18_states_as_kazoo_sees_them,
    m22_time_outs_as_kazoo_negotiates_them,
    m38_programs_go_on_through_a_sigkill_of_the_server,
]
KILLS_THE_SERVER = {m38_programs_go_on_through_a_sigkill_of_the_server}
# Sessions of a few seconds, held by clients that a busy machine may keep from pinging: such a one that fails gets one more
# try, alone, and is counted apart.
TIMED = {
    m03_master_is_killed_and_a_standby_recovers_from_the_tree,
    m04_killed_worker_loses_its_task_to_another,
    m06_group_membership_is_true_within_the_time_out,
    m18_states_as_kazoo_sees_them,
    m38_programs_go_on_through_a_sigkill_of_the_server,
}


def run(statement, address, server, again):
    """Whether it holds; `again` collects those that needed their second try."""
    if isinstance(server, Ensemble):
        return run_once(statement, address, server, "FAIL", over_ensemble.SESSION_SECONDS)
    if run_once(statement, address, server, "again" if statement in TIMED else "FAIL"):
        return True
    if statement not in TIMED:
        return False
    print(f"one more try, alone: {statement.__name__}", flush=True)
    again.append(statement)
    return run_once(statement, address, server, "FAIL")


def run_once(statement, address, server, verdict, session_seconds=None):
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            stage = Stage(address, statement.__name__[:3], server, session_seconds)
            stack.callback(stage.close)
            statement(stage)
        except Exception as failure:  # Whatever it was, it is this statement that does not hold.
            print(f"{verdict} {statement.__name__} {failure}", flush=True)
            if not isinstance(failure, AssertionError):
                traceback.print_exc()
            return False
    print(f"ok {statement.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def run_over_ensemble(arguments, folder, statements):
    """Each in a folder of one ensemble, which is whole again before the next one. What cannot run has failed."""
    outcomes = []
    if not statements:
        return outcomes
    servers = arguments.servers
    # One place more than servers, for a program that is cut off.
    with Network(len(servers) + 1) if arguments.in_network else contextlib.nullcontext() as network:
        with Ensemble(folder, servers, network=network) as ensemble:
            for statement in statements:
                outcomes.append(run(statement, ensemble.connect_string, ensemble, []))
                if not outcomes[-1]:
                    print(ensemble.logs(), file=sys.stderr, flush=True)
                ensemble.heal()
    return outcomes


def run_parted(arguments, statements):
    """Those that need a network in one: this script again, in a namespace of its own."""
    if not statements:
        return []
    problem = Network.problem()
    if problem:
        for statement in statements:
            print(f"NOT RUN: {statement.__name__}: this machine gives no namespaces ({problem})", flush=True)
        return []
    command = [*Network.command(), sys.executable, __file__, "--in-network", "--servers", ",".join(arguments.servers)]
    names = [statement.__name__ for statement in statements]
    # Its own lines have said which, if several.
    return [subprocess.run([*command, *names]).returncode == 0] * len(statements)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=["stock", "ringkeeper"], default="ringkeeper")
    parser.add_argument("--connect", metavar="HOST:PORT", help="use this server, whose tickTime must be 500")
    parser.add_argument("--servers", type=kinds, metavar="KIND,KIND,KIND", help="an ensemble: `ours`, `stock`, `stock-3.8`")
    parser.add_argument("--in-network", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="parts of the names of statements")
    arguments = parser.parse_args()

    def wanted(statements):
        patterns = arguments.patterns or [""]
        return [each for each in statements if any(pattern in each.__name__ for pattern in patterns)]

    statements = wanted(STATEMENTS)
    again = []
    with tempfile.TemporaryDirectory(prefix="ringkeeper-mission-") as folder:
        if arguments.in_network:
            outcomes = run_over_ensemble(arguments, folder, wanted(over_ensemble.PARTED))
            sys.exit(0 if outcomes and all(outcomes) else 1)
        elif arguments.servers:
            together = [*over_ensemble.STATEMENTS, *recipes_over_ensemble.STATEMENTS]
            outcomes = run_over_ensemble(arguments, folder, wanted(together))
            outcomes += run_parted(arguments, wanted(over_ensemble.PARTED))
        elif arguments.connect:
            statements = [statement for statement in statements if statement not in KILLS_THE_SERVER]
            outcomes = [run(statement, arguments.connect, None, again) for statement in statements]
        else:
            with Server(arguments.server, folder, tick_ms=TICK_MS) as server:
                outcomes = [run(statement, server.address, server, again) for statement in statements]
                if not all(outcomes):
                    print(f"--- the server's log ends with:\n{server.log_tail(15)}", file=sys.stderr)
    passed = sum(outcomes)
    if again:
        print(f"{len(again)} at the second try: {' '.join(statement.__name__ for statement in again)}")
    print(f"{passed} passed, {len(outcomes) - passed} failed")
    sys.exit(0 if outcomes and all(outcomes) else 1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    os.environ["PYTHONPATH"] = str(HERE / "programs")
    main()
