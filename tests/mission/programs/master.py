"""One of several masters: master.py ADDRESS ROOT NAME

The tree under ROOT is the only memory:

    master         ephemeral; whoever made it is the master, the others watch it
    term           persistent; its version counts the masters, and every write of a master is a multi that checks it, so
                   that one who was superseded without knowing can write nothing
    workers/W      ephemeral, one for each live worker
    tasks/T        waiting for a worker
    assign/W/T     given to worker W
    partial/T      what a worker has of an unfinished task
    status/T       done, with the result

Says `standby`, `elected TERM`, `recovered N` (tasks that it found assigned), `assigned T W`, `reassigned T W`.
"""

import sys

from common import Bell, again_when_interrupted, connect, say
from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError


class Master:
    def __init__(self, address, root, name):
        self.client = connect(address, timeout=3.0)
        self.root, self.name = root, name
        self.bell = Bell()
        self.turn = 0

    def run(self):
        while not again_when_interrupted(self.client, self.try_to_become_master):
            say("standby")
            self.bell.wait()
        term = self.client.set(f"{self.root}/term", self.name.encode()).version
        say("elected", term)
        self.term = term
        assigned = sum(len(self.children(f"assign/{worker}")) for worker in self.children("assign"))
        say("recovered", assigned)
        while True:
            again_when_interrupted(self.client, self.reconcile)
            self.bell.wait()

    def try_to_become_master(self):
        try:
            self.client.create(f"{self.root}/master", self.name.encode(), ephemeral=True)
            return True
        except NodeExistsError:
            # One's own node, made by a request whose answer was lost, counts as well.
            if self.client.exists(f"{self.root}/master", watch=self.bell.ring) is None:
                self.bell.ring()
                return False
            data, stat = self.client.get(f"{self.root}/master")
            return stat.ephemeralOwner == self.client.client_id[0]

    def children(self, path, watch=None):
        try:
            return sorted(self.client.get_children(f"{self.root}/{path}", watch=watch))
        except NoNodeError:
            return []

    def commit(self, *operations):
        """One multi, fenced by the term. False if it did not apply as a whole."""
        transaction = self.client.transaction()
        transaction.check(f"{self.root}/term", self.term)
        for verb, *arguments in operations:
            getattr(transaction, verb)(*arguments)
        return not any(isinstance(result, Exception) for result in transaction.commit())

    def reconcile(self):
        """Compares the tree with what it should be, and acts. Watches are set before anything is read."""
        workers = self.children("workers", watch=self.bell.ring)
        for worker in self.children("assign"):
            if worker not in workers:
                for task in self.children(f"assign/{worker}"):
                    self.take_back(task, worker)
        for task in self.children("tasks", watch=self.bell.ring):
            if workers:
                self.turn += 1
                self.assign(task, workers[self.turn % len(workers)])

    def take_back(self, task, worker):
        try:
            data, _ = self.client.get(f"{self.root}/assign/{worker}/{task}")
        except NoNodeError:
            return
        operations = [
            ("create", f"{self.root}/tasks/{task}", data),
            ("delete", f"{self.root}/assign/{worker}/{task}"),
        ]
        if self.client.exists(f"{self.root}/partial/{task}"):
            operations.append(("delete", f"{self.root}/partial/{task}"))
        if self.commit(*operations):
            say("reassigned", task, worker)

    def assign(self, task, worker):
        try:
            data, _ = self.client.get(f"{self.root}/tasks/{task}")
        except NoNodeError:
            return
        done = self.commit(
            ("create", f"{self.root}/assign/{worker}/{task}", data),
            ("delete", f"{self.root}/tasks/{task}"),
        )
        if done:
            say("assigned", task, worker)


if __name__ == "__main__":
    try:
        Master(*sys.argv[1:4]).run()
    except KazooException as failure:
        say("ended", repr(failure))
        sys.exit(1)
