"""A member of a group: member.py ADDRESS GROUP NAME

Its ephemeral node is its membership. It leaves when its standard input ends. Told that its session expired, it joins again
with a new one. Says `joined`, `lost`, `left`.
"""

import sys

from common import connect, delete_own, say
from kazoo.exceptions import NodeExistsError
from kazoo.protocol.states import KazooState


def main(address, group, name):
    client = connect(address, timeout=2.0)
    path = f"{group}/{name}"
    lost = False

    def join():
        try:
            client.retry(client.create, path, b"", ephemeral=True)
        except NodeExistsError:
            # One's own, when the answer to the first try was lost; a session's nodes are gone before it is told of its end.
            pass
        say("joined")

    def told(state):
        nonlocal lost
        if state == KazooState.LOST:
            lost = True
        elif state == KazooState.CONNECTED and lost:
            lost = False
            client.handler.spawn(join)

    client.add_listener(told)
    join()
    sys.stdin.read()
    delete_own(client, path)
    client.stop()
    say("left")


if __name__ == "__main__":
    main(*sys.argv[1:])
