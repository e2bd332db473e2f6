"""A client: client.py ADDRESS ROOT FIRST COUNT

Submits the tasks "square FIRST", "square FIRST + 1" and so on, and waits for the result of each through a watch. A task is
made in one multi with a node that stays when the task moves on, so that it is submitted once, however often it is sent. Says
`submitted`, `result NUMBER SQUARE` and, at the end, `finished`.
"""

import sys

from common import Bell, again_when_interrupted, connect, say
from kazoo.exceptions import NodeExistsError


def submit(client, root, task, number):
    transaction = client.transaction()
    transaction.create(f"{root}/submitted/{task}")
    transaction.create(f"{root}/tasks/{task}", str(number).encode())
    outcome = transaction.commit()[0]
    # A task that is there already is one's own, from before an interruption.
    if isinstance(outcome, Exception) and not isinstance(outcome, NodeExistsError):
        raise outcome


def main(address, root, first, count):
    client = connect(address, timeout=3.0)
    waiting = {}
    for number in range(int(first), int(first) + int(count)):
        task = f"task-{number:010}"
        again_when_interrupted(client, lambda: submit(client, root, task, number))
        waiting[task] = number
    say("submitted")
    bell = Bell()
    while waiting:
        for task, number in sorted(waiting.items()):
            path = f"{root}/status/{task}"
            if client.retry(client.exists, path, watch=bell.ring):
                say("result", number, client.retry(client.get, path)[0].decode())
                del waiting[task]
        if waiting:
            bell.wait()
    client.stop()
    say("finished")


if __name__ == "__main__":
    main(*sys.argv[1:])
