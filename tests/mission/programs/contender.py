"""One who wants a lock: contender.py ADDRESS LOCK [hold]

The lock recipe in its five steps, without the help of a library: (1) create an ephemeral sequential child under the
lock's node, (2) list the children without a watch, (3) the smallest number holds the lock, (4) otherwise ask with
`exists` and a watch for the child just before one's own, (5) on its event go back to the list.

A holder proves that it is alone by an ephemeral node of its own beside the lock. With `hold` it never lets go. Says
`queued NAME`, `held NAME CZXID` (of that proof), `events COUNT` (watch events it was told), `released NAME`, `VIOLATION`.
"""

import sys

from common import Bell, connect, create_own_child, delete_own, say
from kazoo.exceptions import NodeExistsError


def main(address, lock, hold=""):
    client = connect(address, timeout=8.0)
    me = create_own_child(client, lock, "c-")
    say("queued", me)
    bell = Bell()
    events = 0

    def told(event):
        nonlocal events
        # kazoo calls watchers when the connection goes, too; those have no path and are not the lock's doing.
        events += event.path is not None
        bell.ring()

    while True:
        queue = sorted(client.retry(client.get_children, lock))
        if queue[0] == me:
            break
        before = queue[queue.index(me) - 1]
        if client.retry(client.exists, f"{lock}/{before}", watch=told):
            bell.wait()
    try:
        client.retry(client.create, f"{lock}-holder", me.encode(), ephemeral=True)
    except NodeExistsError:
        # One's own, when the answer to the first try was lost.
        pass
    holder, stat = client.retry(client.get, f"{lock}-holder")
    if holder.decode() != me:
        say("VIOLATION", me, holder)
        return
    say("held", me, stat.czxid)
    if hold == "hold":
        while True:
            bell.wait()
    delete_own(client, f"{lock}-holder")
    say("events", events)
    delete_own(client, f"{lock}/{me}")
    say("released", me)
    client.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
