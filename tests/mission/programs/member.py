"""A member of a group: member.py ADDRESS GROUP NAME

Its ephemeral node is its membership. It leaves when its standard input ends. Told that its session expired, it joins again
with a new one. Says `joined`, `lost`, `left`.
"""

import sys

from common import connect, say
from kazoo.protocol.states import KazooState


def main(address, group, name):
    client = connect(address, timeout=2.0)
    path = f"{group}/{name}"
    client.create(path, b"", ephemeral=True)
    lost = False

    def told(state):
        nonlocal lost
        if state == KazooState.LOST:
            lost = True
        elif state == KazooState.CONNECTED and lost:
            lost = False
            client.handler.spawn(join_again)

    def join_again():
        client.retry(client.create, path, b"", ephemeral=True)
        say("joined")

    client.add_listener(told)
    say("joined")
    sys.stdin.read()
    client.stop()
    say("left")


if __name__ == "__main__":
    main(*sys.argv[1:])
