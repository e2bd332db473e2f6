"""A worker: worker.py ADDRESS ROOT NAME [hold]

Registers under ROOT/workers, does what appears under ROOT/assign/NAME, and files the result and strikes the task off in
one multi, so that a task has one result however often it was begun. With `hold` it leaves its first task half done and
goes on only to be killed. Says `ready`, `working T`, `done T`.
"""

import sys

from common import Bell, again_when_interrupted, connect, say
from kazoo.exceptions import NodeExistsError, NoNodeError


class Worker:
    def __init__(self, address, root, name, hold=""):
        self.client = connect(address, timeout=3.0)
        self.root, self.name, self.hold = root, name, hold == "hold"
        self.mine = f"{root}/assign/{name}"
        self.bell = Bell()

    def run(self):
        again_when_interrupted(self.client, lambda: self.client.ensure_path(self.mine))
        again_when_interrupted(self.client, self.register)
        say("ready")
        while True:
            again_when_interrupted(self.client, self.work_through)
            self.bell.wait()

    def register(self):
        try:
            self.client.create(f"{self.root}/workers/{self.name}", b"", ephemeral=True)
        except NodeExistsError:
            # Ours, from before an interruption: names are used once.
            pass

    def work_through(self):
        for task in sorted(self.client.get_children(self.mine, watch=self.bell.ring)):
            self.work(task)

    def work(self, task):
        try:
            data, _ = self.client.get(f"{self.mine}/{task}")
        except NoNodeError:
            return
        try:
            self.client.create(f"{self.root}/partial/{task}", self.name.encode())
        except NodeExistsError:
            # Ours, from before an interruption: nobody else works on what is assigned to us.
            pass
        say("working", task)
        if self.hold:
            while True:
                self.bell.wait()
        result = str(int(data) ** 2).encode()
        transaction = self.client.transaction()
        transaction.delete(f"{self.mine}/{task}")
        transaction.delete(f"{self.root}/partial/{task}")
        transaction.create(f"{self.root}/status/{task}", result)
        if not any(isinstance(outcome, Exception) for outcome in transaction.commit()):
            say("done", task)


if __name__ == "__main__":
    Worker(*sys.argv[1:]).run()
