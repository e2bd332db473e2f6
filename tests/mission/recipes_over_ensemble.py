"""Statement 8: kazoo's own recipes over an ensemble whose servers are killed, the leader among them.

kazoo's double barrier is not here: it waits for ever when its watch goes with a connection, on stock as well.
"""

import contextlib
import threading

from common import INTERRUPTED, again_when_interrupted, connect
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.recipe.barrier import Barrier
from kazoo.recipe.election import Election
from kazoo.recipe.queue import LockingQueue
from stage import build_tree, check_equal, next_master

from over_ensemble import Storm

# Longer than any election: a session's end is no part of these.
TIMEOUT = 60.0


@contextlib.contextmanager
def clients_of(stage, count):
    clients = [connect(stage.address, TIMEOUT, announce=False) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.stop()


class Cast:
    """Threads whose failures are the statement's."""

    def __init__(self, stage, function, arguments):
        self.stage, self.failures = stage, []
        self.threads = [threading.Thread(target=self._run, args=(function, each), daemon=True) for each in arguments]
        for thread in self.threads:
            thread.start()

    def _run(self, function, argument):
        try:
            function(argument)
        except Exception as failure:  # Whatever it was, it must reach the statement.
            self.failures.append(failure)

    def check(self):
        if self.failures:
            raise AssertionError(f"{self.failures[0]!r}") from self.failures[0]

    def finish(self):
        def all_over():
            self.check()
            return not any(thread.is_alive() for thread in self.threads)

        self.stage.eventually("the end of all threads", all_over)
        self.check()


def m08_leader_election_of_kazoo_has_one_leader_at_a_time(stage):
    path, proof = f"{stage.root}/election", f"{stage.root}/proof"
    led, over = [], threading.Event()

    def lead(client):
        # Two at once would meet here.
        try:
            client.retry(client.create, proof, b"", ephemeral=True)
        except NodeExistsError:
            pass
        stat = client.retry(client.get, proof)[1]
        check_equal(client.client_id[0], stat.ephemeralOwner, "whose proof it is")
        led.append(client.client_id[0])
        client.retry(client.set, stage.root, b"")
        try:
            client.retry(client.delete, proof)
        except NoNodeError:
            # By the first try, whose answer was lost.
            pass

    def run(client):
        election = Election(client, path)
        while not over.is_set():
            election.run(lead, client)

    with clients_of(stage, 4) as clients:
        candidates = Cast(stage, run, clients)
        with Storm(stage) as storm:
            stage.eventually("a storm", lambda: (candidates.check(), storm.enough())[1])
        stage.eventually("each to lead", lambda: (candidates.check(), len(set(led)) == 4)[1])
        over.set()
        candidates.finish()
    print(f"    {len(led)} times a leader was elected")


def into(told, what):
    """What DataWatch calls: keeps what it is told. It looks at how many arguments a function has."""

    def call(data, stat):
        told.append(what(data, stat))

    return call


def m08_configuration_push_reaches_all_and_never_goes_back(stage):
    path = stage.client.create(f"{stage.root}/configuration", b"0")
    with clients_of(stage, 6) as clients:
        seen = [[] for _ in clients]
        for client, mine in zip(clients, seen):
            client.DataWatch(path, into(mine, lambda data, stat: (stat.mzxid, data)))
        number = 0
        with Storm(stage) as storm:
            while not storm.enough():
                number += 1
                stage.client.retry(stage.client.set, path, b"%d" % number)
        last = b"%d" % number
        stage.eventually("the last configuration", lambda: all(mine[-1:] and mine[-1][1] == last for mine in seen))
    for mine in seen:
        check_equal(sorted(mine, key=lambda each: each[0]), mine, "what one was told, in order")
    told = {}
    for zxid, data in (each for mine in seen for each in mine):
        check_equal(data, told.setdefault(zxid, data), f"the configuration of zxid {zxid:#x}")


def m08_barrier_of_kazoo_holds_all_until_it_is_removed(stage):
    path = f"{stage.root}/barrier"
    with clients_of(stage, 8) as clients:
        barriers = [Barrier(client, path) for client in clients]
        barriers[0].create()
        stage.catch_up()
        removed, passed = threading.Event(), []

        def wait(barrier):
            # What kazoo waits for may be gone with its connection, so that it has to ask again.
            while not again_when_interrupted(barrier.client, lambda: barrier.wait(timeout=0.5)):
                pass
            check_equal(True, removed.is_set(), "whether the barrier was removed")
            passed.append(barrier)

        for barrier in barriers:
            # A server that is behind has no barrier yet.
            barrier.client.retry(barrier.client.set, stage.root, b"")
        waiting = Cast(stage, wait, barriers)
        with Storm(stage) as storm:
            stage.eventually("a storm", lambda: (waiting.check(), storm.enough())[1])
            check_equal([], passed, "who went ahead")
            removed.set()
            barriers[0].remove()
            waiting.finish()
    check_equal(len(barriers), len(passed), "who passed")


def m08_queue_of_kazoo_loses_nothing(stage):
    path = f"{stage.root}/queue"
    stage.client.ensure_path(f"{path}/taken")
    stage.client.ensure_path(f"{path}/entries")
    finished, taken = threading.Event(), []
    put = {producer: 0 for producer in range(2)}
    over = threading.Event()

    def produce(producer):
        with clients_of(stage, 1) as (client,):
            queue = LockingQueue(client, path)
            while not over.is_set():
                # Put again when the answer is lost: twice is possible, never is not.
                again_when_interrupted(client, lambda: queue.put(b"%d-%d" % (producer, put[producer])))
                put[producer] += 1

    def consume(_):
        while not finished.is_set():
            # kazoo does not know an entry that it took when the answer was lost; the end of the session gives it back.
            with clients_of(stage, 1) as (client,), contextlib.suppress(*INTERRUPTED):
                queue = LockingQueue(client, path)
                while (entry := queue.get(timeout=1.0)) is not None:
                    taken.append(entry)
                    queue.consume()

    consumers = Cast(stage, consume, range(3))
    producers = Cast(stage, produce, put)
    with Storm(stage) as storm:
        stage.eventually("a storm", lambda: (producers.check(), consumers.check(), storm.enough())[2])
    over.set()
    producers.finish()

    def empty():
        consumers.check()
        stage.catch_up()
        return not stage.children("queue/entries")

    stage.eventually("an empty queue", empty)
    finished.set()
    consumers.finish()
    expected = {b"%d-%d" % (producer, number) for producer, count in put.items() for number in range(count)}
    check_equal([], sorted(expected - set(taken)), "entries that nobody got")
    check_equal([], sorted(set(taken) - expected), "entries that nobody put")
    print(f"    {len(expected)} entries, taken {len(taken)} times")


def m08_exactly_one_master_and_where_everything_is(stage):
    """As HBase has it: everybody finds the master, and the servers that live, by watching nodes."""
    build_tree(stage)
    masters = [stage.start("master", stage.root, f"m{number}") for number in range(3)]
    with clients_of(stage, 4) as clients:
        terms, where, alive = ([[] for _ in clients] for _ in range(3))
        for client, *told in zip(clients, terms, where, alive):
            client.DataWatch(f"{stage.root}/term", into(told[0], lambda data, stat: (stat.version, data)))
            client.DataWatch(f"{stage.root}/master", into(told[1], lambda data, stat: data))
            client.ChildrenWatch(f"{stage.root}/workers", told[2].append)
        servers = [stage.start("worker", stage.root, f"w{number}") for number in range(3)]
        for server in servers:
            server.expect("ready")
        with Storm(stage) as storm:
            elected = next_master(stage, masters)
            elected.kill()
            masters.remove(elected)
            servers[0].kill()
            stage.eventually("a storm", storm.enough)
        # Not before: whoever begins to lead gives each session its whole time again.
        next_master(stage, masters)

        def agreed():
            stage.catch_up()
            master = stage.client.retry(stage.client.exists, f"{stage.root}/master")
            listed = stage.children("workers")
            if master is None or "w0" in listed:
                return False
            data = stage.client.retry(stage.client.get, f"{stage.root}/master")[0]
            newest = [(sorted(living[-1]), at[-1], term[-1][1]) for living, at, term in zip(alive, where, terms)]
            return newest == [(listed, data, data)] * len(clients)

        stage.eventually("all to know who is master and who lives", agreed)
    names = {}
    for mine in terms:
        check_equal(sorted(mine, key=lambda each: each[0]), mine, "terms that one was told, in order")
        for term, name in mine:
            check_equal(name, names.setdefault(term, name), f"the master of term {term}")


STATEMENTS = [
    m08_leader_election_of_kazoo_has_one_leader_at_a_time,
    m08_configuration_push_reaches_all_and_never_goes_back,
    m08_barrier_of_kazoo_holds_all_until_it_is_removed,
    m08_queue_of_kazoo_loses_nothing,
    m08_exactly_one_master_and_where_everything_is,
]
