"""The statements that are whole programs, over an ensemble: unmodified clients that are given all of its servers, while
servers are killed, the leader among them.

Nothing here is judged by the clock. Whoever loses an answer reads the tree again, so that what is asserted is what the tree and
the clients' results say, not how often a program was told that its write was done.
"""

import sys
import threading

from stage import (
    HERE,
    PATIENCE,
    build_tree,
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

sys.path.insert(0, str(HERE.parent / "ensemble"))
from ensemble import until  # noqa: E402

# Of programs: more than an election takes, and as long as one waits for the end of a program that was killed.
SESSION_SECONDS = 10.0


class Storm:
    """Kills servers, one at a time, for as long as it is open: the leader, then a follower, and so on. Each is back, and a
    write has been acknowledged, before the next one goes."""

    def __init__(self, stage):
        self.stage, self.ensemble = stage, stage.server
        self.leaders = self.followers = 0
        self.failure = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self._over.is_set():
                leader = self.ensemble.leader()
                self._kill(leader)
                self.leaders += 1
                if self._over.is_set():
                    break
                followers = self.ensemble.followers()
                self._kill(followers[self.followers % len(followers)])
                self.followers += 1
        except (AssertionError, RuntimeError) as failure:
            self.failure = failure

    def _kill(self, sid):
        self.ensemble.members[sid].kill()
        self.stage.catch_up()
        self.ensemble.heal()
        self.stage.catch_up()

    def enough(self):
        """Whether it has killed what a statement wants killed."""
        if self.failure:
            raise self.failure
        return self.leaders >= 2 and self.followers >= 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._over.set()
        self._thread.join(PATIENCE)
        if kind is None and (self.failure or self._thread.is_alive()):
            raise self.failure or AssertionError("the servers did not come back")


def kill_leader(ensemble):
    ensemble.members[ensemble.leader()].kill()


def m02_masters_workers_and_clients_while_servers_are_killed(stage):
    play(stage, masters=3, workers=4)
    count, first = 10, 0
    with Storm(stage) as storm:
        while not storm.enough():
            clients = [stage.start("client", stage.root, str(first + offset), str(count)) for offset in (0, count)]
            check_results(clients, first, count)
            first += 2 * count
    print(f"    {first} tasks while {storm.leaders} leaders and {storm.followers} followers were killed")
    check_nothing_left(stage, first)


def m03_master_and_leader_are_killed_together_and_a_standby_recovers(stage):
    masters, _ = play(stage, masters=3, workers=2)
    # It holds what it is given back, so that there is state to recover.
    holder = stage.start("worker", stage.root, "holder", "hold")
    holder.expect("ready")
    clients = [stage.start("client", stage.root, str(first), "20") for first in (0, 20)]
    holder.expect("working")
    for alive in (2, 1):
        kill_leader(stage.server)
        masters.pop(0).kill()
        elected = next_master(stage, masters)
        masters.remove(elected)
        masters.insert(0, elected)
        recovered = int(elected.expect("recovered")[0].split()[1])
        if recovered < 1:
            raise AssertionError(f"with {alive} masters left, the new one found no assigned task in the tree")
        stage.server.heal()
    holder.kill()
    check_results(clients, first=0, count=20)
    check_nothing_left(stage, 40)


def m04_worker_and_leader_are_killed_together_and_the_task_goes_to_another(stage):
    play(stage, masters=1, workers=0)
    holder = stage.start("worker", stage.root, "holder", "hold")
    holder.expect("ready")
    client = stage.start("client", stage.root, "7", "1")
    task = holder.expect("working")[0].split()[1]
    stage.catch_up()
    check_equal([task], stage.children("partial"), "partial results")
    other = stage.start("worker", stage.root, "other")
    other.expect("ready")
    holder.kill()
    kill_leader(stage.server)
    check_equal(f"working {task}", other.expect("working")[0], "what the other did")
    check_results([client], first=7, count=1)
    stage.server.heal()
    check_nothing_left(stage, 1)


def m05_a_master_whose_node_is_gone_writes_nothing_under_its_old_term(stage):
    masters, workers = play(stage, masters=2, workers=2)
    old, new = masters
    # Its session lives and nobody tells it that it is no master any more.
    stage.client.retry(stage.client.delete, f"{stage.root}/master")
    new.expect("elected")
    kill_leader(stage.server)
    # Only the old one is there to take the task.
    new.freeze()
    assigned = len(old.said("assigned"))
    client = stage.start("client", stage.root, "3", "1")
    client.expect("submitted")
    old.expect("fenced")
    stage.catch_up()
    check_equal(["task-0000000003"], stage.children("tasks"), "waiting tasks")
    check_equal([], [line for worker in workers for line in worker.said("working")], "tasks that were begun")
    new.thaw()
    check_results([client], first=3, count=1)
    check_equal(assigned, len(old.said("assigned")), "tasks assigned by the old master")
    stage.server.heal()
    check_nothing_left(stage, 1)


def m05_split_brain(stage):
    """The old master and the leading server on one side, the others and everybody else on the other one."""
    ensemble = stage.server
    aside = ensemble.sids[-1] + 1
    build_tree(stage)
    old = stage.start("master", stage.root, "old", prefix=ensemble.network.prefix(aside))
    term = int(old.expect("elected")[0].split()[1])
    new = stage.start("master", stage.root, "new")
    new.expect("standby")
    for number in range(2):
        stage.start("worker", stage.root, f"w{number}").expect("ready")
    check_results([stage.start("client", stage.root, "0", "3")], first=0, count=3)

    leader = ensemble.leader()
    assigned = len(old.said("assigned"))
    others = [sid for sid in ensemble.sids if sid != leader]
    ensemble.network.part([leader, aside], others)
    until("the old leader to stop serving", lambda: ensemble.members[leader].mode() is None)
    # From here on, what is written is the majority's. Who was cut off is told of nothing, and has no way to ask.
    terms = [int(line.split()[1]) for line in new.expect("elected")]
    check_equal([], old.said("lost"), "what the old master knows of its end")
    check_equal(True, terms[0] > term, f"term {terms[0]} after {term}")
    check_results([stage.start("client", stage.root, "10", "5")], first=10, count=5)
    check_equal(assigned, len(old.said("assigned")), "tasks assigned by the master that was cut off")

    # It comes back and learns of its end.
    ensemble.heal()
    old.expect("lost")
    check_results([stage.start("client", stage.root, "20", "1")], first=20, count=1)
    check_equal(assigned, len(old.said("assigned")), "tasks assigned by the master that came back")
    check_nothing_left(stage, 9)


def m06_no_living_member_is_missing_while_servers_are_killed(stage):
    members = group_of_eight(stage)

    def look():
        """Who is missing was told that its session is over."""
        stage.catch_up()
        listed = stage.children("group")
        check_equal([], sorted(set(listed) - set(members)), "members that are none")
        for name in set(members) - set(listed):
            members[name].expect("lost")

    with Storm(stage) as storm:
        while not storm.enough():
            look()
    # Who leaves politely is gone when it says so.
    leave(members, "member0")
    look()
    # Who is killed together with a server is gone in the end, and nobody else is.
    dead = {name: members.pop(name) for name in ("member1", "member2")}
    for member in dead.values():
        member.kill()
    kill_leader(stage.server)
    stage.eventually("the end of the killed", lambda: not set(dead) & set(stage.children("group")))
    look()
    # Who sleeps too long is gone too, is told so when it wakes up, and joins again.
    sleep_too_long(stage, "member3", members["member3"])
    stage.server.heal()
    stage.eventually("all who live", lambda: stage.children("group") == sorted(members))


def m07_lock_recipe_fifty_contenders_while_servers_are_killed(stage):
    lock = stage.client.create(f"{stage.root}/lock", b"")
    holder = stage.start("contender", lock, "hold")
    holder.expect("held")
    contenders = [stage.start("contender", lock) for _ in range(49)]
    with Storm(stage) as storm:
        # Those who enter the queue lose answers too: each must find the one node that it made.
        for contender in contenders:
            contender.expect("queued")
        stage.eventually("a storm", storm.enough)
    stage.catch_up()
    check_equal(50, len(stage.children("lock")), "the queue")
    queued = sorted(contenders, key=lambda contender: contender.said("queued")[0])
    killed = queued.pop(20)
    killed.kill()
    holder.kill()

    def released():
        return sum(len(contender.said("released")) for contender in queued)

    # The lock is on its way from one to the next.
    stage.eventually("a release", released)
    # Each new leader gives sessions their whole time again, so that none ends in a storm in which leaders live for less.
    _, its_node = killed.said("queued")[0].split()
    stage.eventually("the end of the killed one's session", lambda: its_node not in stage.children("lock"))
    with Storm(stage):
        for contender in queued:
            contender.expect("released")
    check_lock(queued)
    stage.catch_up()
    check_equal([], stage.children("lock"), "the queue at the end")


STATEMENTS = [
    m02_masters_workers_and_clients_while_servers_are_killed,
    m03_master_and_leader_are_killed_together_and_a_standby_recovers,
    m04_worker_and_leader_are_killed_together_and_the_task_goes_to_another,
    m05_a_master_whose_node_is_gone_writes_nothing_under_its_old_term,
    m06_no_living_member_is_missing_while_servers_are_killed,
    m07_lock_recipe_fifty_contenders_while_servers_are_killed,
]
# On a network that can be cut, with a place aside of the servers.
PARTED = [m05_split_brain]
