"""Observers that learn from followers (`observerMasterPort`): two of them, of whatever kinds `--observers` names, beside the
voters of `--servers`. Checks that want an ensemble of their own: settings and properties beside each."""

import time

import raw_client as zk
from ensemble import until
from raw_client import ConnectionLost
from read_only import arrive
from sessions import catch_up
from smoke import create, equal, exists, gone_everywhere, next_event, ok, read, set_data

MASTER_PORT = "2889"
CHANGED = 3
# Kept alive by its observer, which tells its master, which tells the leader.
KEPT_ALIVE_MS = 8_000


def master_of(ensemble, observer):
    """Who serves that observer, once somebody does who says so as well."""

    def served():
        member = ensemble.members[observer]
        if member.mode() != "observer":
            return None
        master = int(member.monitor().get("observer_master_id", "-1"))
        return master if master > 0 and ensemble.members[master].mode() else None

    return until(f"a master of observer {observer}", served)


def counted(ensemble, sid):
    """Observers that a server says it serves."""
    return int(ensemble.members[sid].monitor().get("synced_observers", "0"))


def arrives(ensemble, sid, client):
    """The client's session on that server, as soon as it takes it."""

    def connect():
        try:
            return arrive(ensemble, sid, client, 0)
        except OSError:
            return None

    moved = until(f"server {sid} takes the session", connect)
    equal(client.session_id, moved.session_id, f"the session on {sid}")
    return moved


def an_observer_learns_from_a_follower_and_serves_as_any_server(ensemble, path):
    leader = ensemble.leader()
    for observer in ensemble.observers:
        master = master_of(ensemble, observer)
        if master == leader:
            raise AssertionError(f"observer {observer} learns from the leader, {leader}")
        equal("follower", ensemble.members[master].mode(), f"the mode of {observer}'s master")
    until(
        "masters count their observers",
        lambda: sum(counted(ensemble, sid) for sid in ensemble.voters) == len(ensemble.observers),
    )
    equal(0, counted(ensemble, leader), "observers of the leader itself")

    for observer in ensemble.observers:
        here = f"{path}/of{observer}"
        client = ensemble.client(observer)
        create(client, here, b"1")
        mine = create(client, f"{here}/mine", flags=zk.EPHEMERAL)
        # Written there, read everywhere.
        others = {sid: ensemble.client(sid) for sid in ensemble.sids}
        for sid, other in others.items():
            catch_up(other)
            equal((b"1", True), (read(other, here), exists(other, mine)), f"observer {observer}'s nodes on {sid}")
        # Written elsewhere, and told there.
        ok(client.call(zk.GET_DATA, zk.read_body(here, watch=True)))
        set_data(others[leader], here, b"2")
        equal((CHANGED, here), next_event(client), "the event on the observer")
        catch_up(client)
        equal(b"2", read(client, here), "after a sync")
        # Pipelined, in order; a failed one has its place.
        bodies = [(zk.CREATE, zk.create_body(f"{here}/s-", b"", zk.SEQUENTIAL))] * 200
        client.send_all([*bodies, (zk.DELETE, zk.delete_body("/nothing is called so")), *bodies])
        replies = [client.receive() for _ in range(401)]
        equal([zk.OK] * 200 + [zk.NO_NODE] + [zk.OK] * 200, [reply.error for reply in replies], "answers in order")
        zxids = [reply.zxid for reply in replies]
        equal(sorted(zxids), zxids, "zxids in order")

        # Its session goes to its master, to the leader, to another observer, and comes back, with its ephemeral.
        session = client
        for sid in [master_of(ensemble, observer), leader, *ensemble.observers, observer]:
            moved = arrives(ensemble, sid, session)
            session.abandon()
            session = moved
            set_data(session, here, b"from %d" % sid)
            equal(True, exists(session, mine), f"the ephemeral, from {sid}")
        ok(session.close())
        gone_everywhere(ensemble, others, mine, "the ephemeral after the end")
        figures = ensemble.members[master_of(ensemble, observer)].monitor()
        for what in ("proposal", "commit"):
            handed_on = int(figures[f"cnt_om_{what}_process_time_ms"])
            equal(True, handed_on > 400, f"{handed_on} times it took to hand on a {what}")
        for other in others.values():
            other.close()


def a_session_on_an_observer_lives_while_its_client_pings_and_no_longer(ensemble, path):
    for observer in ensemble.observers:
        node = f"{path}/of{observer}"
        witness = ensemble.client(1)
        while True:
            # A machine that stands still between two pings proves nothing.
            client = ensemble.client(observer, KEPT_ALIVE_MS)
            begun = last = time.monotonic()
            longest = 0.0
            alive = client.call(zk.CREATE, zk.create_body(node, b"", zk.EPHEMERAL)).error == zk.OK
            while alive and last - begun < 2 * KEPT_ALIVE_MS / 1000:
                time.sleep(0.05)
                try:
                    alive = client.call(zk.PING).error == zk.OK
                except ConnectionLost:
                    alive = False
                longest = max(longest, time.monotonic() - last)
                last = time.monotonic()
            catch_up(witness)
            if alive and exists(witness, node):
                break
            client.abandon()
            if longest < KEPT_ALIVE_MS / 4000:
                raise AssertionError(f"a session on observer {observer} ended, its longest silence was {longest:.1f} s")
            until("it is gone", lambda: not exists(witness, node))
        # Now it is silent.
        client.abandon()

        def gone():
            catch_up(witness)
            return not exists(witness, node)

        until(f"the session on observer {observer} ends", gone)
        witness.close()


def an_observer_whose_master_dies_goes_to_the_next_one(ensemble, path):
    for observer in ensemble.observers:
        first = master_of(ensemble, observer)
        client = ensemble.client(observer)
        node = create(client, f"{path}/of{observer}", b"before", zk.EPHEMERAL)
        ensemble.members[first].kill()

        def served_by_another():
            member = ensemble.members[observer]
            found = member.monitor().get("observer_master_id") if member.mode() == "observer" else None
            return found and int(found) not in (-1, first)

        until(f"observer {observer} finds another master than {first}", served_by_another)
        back = arrives(ensemble, observer, client)
        equal((b"before", True), (read(back, node), exists(back, node)), "the session's node, with the next master")
        set_data(back, node, b"after")
        ensemble.heal()
        again = ensemble.client(first)
        catch_up(again)
        equal(b"after", read(again, node), f"what was written meanwhile, on {first}")
        ok(back.close())
        again.close()


def observers_are_dropped_with_their_masters_leader_and_come_back(ensemble, path):
    sessions = {sid: ensemble.client(sid) for sid in ensemble.observers}
    for sid, client in sessions.items():
        create(client, f"{path}/of{sid}", b"before", zk.EPHEMERAL)
    leader = ensemble.leader()
    ensemble.members[leader].kill()
    for client in sessions.values():

        def is_closed(client=client):
            try:
                client.call(zk.PING)
            except (ConnectionLost, OSError):
                return True
            return False

        until("its connection ends", is_closed)
    for sid, client in sessions.items():
        back = arrives(ensemble, sid, client)
        set_data(back, f"{path}/of{sid}", b"after")
        for other in ensemble.observers:
            equal(True, exists(back, f"{path}/of{other}"), f"the node of {other}'s session, on {sid}")
        sessions[sid] = back
    ensemble.heal()
    for client in sessions.values():
        ok(client.close())


MASTERS = {"observerMasterPort": MASTER_PORT}
APART = {
    check: (MASTERS, {})
    for check in [
        an_observer_learns_from_a_follower_and_serves_as_any_server,
        a_session_on_an_observer_lives_while_its_client_pings_and_no_longer,
        an_observer_whose_master_dies_goes_to_the_next_one,
        observers_are_dropped_with_their_masters_leader_and_come_back,
    ]
}
