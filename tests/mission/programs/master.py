"""One of several masters: master.py ADDRESS ROOT NAME

The tree under ROOT is the only memory:

    master         ephemeral; whoever made it is the master, the others watch it
    term           persistent; its version counts the masters: who becomes one raises it in the same multi. Every write of a
                   master is a multi that checks it, so that one who was superseded without knowing can write nothing
    submitted/T    that it was
    workers/W      ephemeral, one for each live worker
    tasks/T        waiting for a worker
    assign/W/T     given to worker W
    partial/T      what a worker has of an unfinished task
    status/T       done, with the result

Says `standby`, `elected TERM`, `recovered N` (tasks that it found assigned), `assigned T W`, `reassigned T W`,
and `fenced` for a write that another master's term has kept it from.
"""

import sys

from common import Bell, again_when_interrupted, connect, say
from kazoo.exceptions import BadVersionError, KazooException, NodeExistsError, NoNodeError


class Master:
    def __init__(self, address, root, name):
        self.client = connect(address, timeout=3.0)
        self.root, self.name = root, name
        self.bell = Bell()
        self.turn = 0

    def run(self):
        while (term := again_when_interrupted(self.client, self.try_to_become_master)) is None:
            say("standby")
            self.bell.wait()
        say("elected", term)
        self.term = term
        say("recovered", again_when_interrupted(self.client, self.count_assigned))
        while True:
            again_when_interrupted(self.client, self.reconcile)
            self.bell.wait()

    def try_to_become_master(self):
        """The term of this master, or None while there is another one."""
        transaction = self.client.transaction()
        transaction.create(f"{self.root}/master", self.name.encode(), ephemeral=True)
        transaction.set_data(f"{self.root}/term", self.name.encode())
        made, term = transaction.commit()
        if not isinstance(made, Exception):
            return term.version
        if not isinstance(made, NodeExistsError):
            raise made
        stat = self.client.exists(f"{self.root}/master", watch=self.bell.ring)
        if stat is None:
            self.bell.ring()
        elif stat.ephemeralOwner == self.client.client_id[0]:
            # One's own node, made by a request whose answer was lost; nobody has raised the term since.
            return self.client.exists(f"{self.root}/term").version
        return None

    def count_assigned(self):
        return sum(len(self.children(f"assign/{worker}")) for worker in self.children("assign"))

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
        results = transaction.commit()
        if isinstance(results[0], BadVersionError):
            say("fenced")
        return not any(isinstance(result, Exception) for result in results)

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
