"""A client: client.py ADDRESS ROOT FIRST COUNT

Submits the tasks "square FIRST", "square FIRST + 1" and so on, and waits for the result of each through a watch. Says
`submitted`, `result NUMBER SQUARE` and, at the end, `finished`.
"""

import sys

from common import Bell, connect, say


def main(address, root, first, count):
    client = connect(address, timeout=3.0)
    waiting = {}
    for number in range(int(first), int(first) + int(count)):
        path = client.create(f"{root}/tasks/task-", str(number).encode(), sequence=True)
        waiting[path.rsplit("/", 1)[1]] = number
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
