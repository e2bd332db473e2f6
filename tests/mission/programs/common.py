"""What the programs of the mission share: a kazoo client, and a line to the driver for each thing that happened."""

import logging
import os
import queue

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, ConnectionLoss, NoNodeError, OperationTimeoutError
from kazoo.protocol.states import KazooState

logging.basicConfig(level=logging.ERROR)
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


def say(*words):
    print(*words, flush=True)


# What a request may meet while the server is away. Its outcome is then unknown: the tree has to be read again.
INTERRUPTED = (ConnectionLoss, ConnectionClosedError, OperationTimeoutError)


def connect(address, timeout, announce=True):
    """A started client that reconnects for as long as it takes, and says `lost` when its session is over.

    SESSION_SECONDS in the environment takes the place of the time-out: servers that are killed need time to elect.
    """
    client = KazooClient(
        address,
        timeout=float(os.environ.get("SESSION_SECONDS", timeout)),
        connection_retry={"max_tries": -1, "delay": 0.05, "backoff": 1.5, "max_delay": 0.5},
        command_retry={"max_tries": -1, "delay": 0.05, "backoff": 1.5, "max_delay": 0.5},
    )

    def told(state):
        if state == KazooState.LOST and announce:
            say("lost")

    client.start(timeout=30)
    client.add_listener(told)
    return client


def again_when_interrupted(client, action):
    """Runs an action that reads the tree before it acts, and runs it anew when the connection went in the middle."""
    while True:
        try:
            return action()
        except INTERRUPTED:
            client.retry(client.exists, "/")


def create_own_child(client, parent, prefix):
    """The name of an ephemeral sequential child, of which there is exactly one, whatever became of the answers."""
    while True:
        try:
            made = client.create(f"{parent}/{prefix}", b"", ephemeral=True, sequence=True)
            return made.rsplit("/", 1)[1]
        except INTERRUPTED:
            # What is read after a write of one's own is not older than that write, nor than what was sent before it.
            client.retry(client.set, parent, b"")
            for name in client.retry(client.get_children, parent):
                stat = client.retry(client.exists, f"{parent}/{name}")
                if stat and stat.ephemeralOwner == client.client_id[0]:
                    return name


def delete_own(client, path):
    """Deletes what nobody else deletes or makes again meanwhile."""
    try:
        client.retry(client.delete, path)
    except NoNodeError:
        # By the first try, whose answer was lost.
        pass


class Bell:
    """Rung by watches, waited for by the main thread; many rings while nobody waits are one."""

    def __init__(self):
        self._rings = queue.Queue()

    def ring(self, *_):
        self._rings.put(None)

    def wait(self):
        self._rings.get()
        while not self._rings.empty():
            self._rings.get_nowait()
