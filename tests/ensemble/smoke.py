"""What an ensemble does while all its servers are well. Each check gets the ensemble and a path of its own."""

import struct

import raw_client as zk
from ensemble import TICK_MS, until
from raw_client import ConnectionLost, SessionRefused
from sessions import catch_up, data_and_stat
from trees import check_equal_everywhere

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4


def ok(reply, error=zk.OK):
    if reply.error != error:
        raise AssertionError(f"answered with {reply.error}, not {error}")
    return reply


def equal(expected, found, what):
    if expected != found:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


def create(client, path, data=b"", flags=zk.PERSISTENT):
    """The path that was created."""
    return zk.parse_buffer(ok(client.call(zk.CREATE, zk.create_body(path, data, flags))).body)[0].decode()


def set_data(client, path, data, version=-1):
    return ok(client.call(zk.SET_DATA, zk.set_data_body(path, data, version)))


def read(client, path):
    return data_and_stat(ok(client.call(zk.GET_DATA, zk.read_body(path))))[0]


def exists(client, path):
    return client.call(zk.EXISTS, zk.read_body(path)).error == zk.OK


def children(client, path):
    return sorted(zk.parse_children(ok(client.call(zk.GET_CHILDREN, zk.read_body(path))).body))


def gone_everywhere(ensemble, clients, path, what):
    def gone():
        # All are asked, and so kept alive.
        return not any([exists(client, path) for client in clients.values()])

    until(what, gone)


def short_lived(ensemble, sid, path, timeout_ms=3 * TICK_MS):
    """Opens a session that ends soon, with an ephemeral; on a busy machine it may end before it has made one."""
    while True:
        client = ensemble.client(sid, timeout_ms)
        try:
            if client.call(zk.CREATE, zk.create_body(path, b"", zk.EPHEMERAL)).error == zk.OK:
                return client
        except ConnectionLost:
            pass
        client.abandon()


def next_event(client):
    """The next watch event as (type, path); pings let it come in."""

    def come():
        ok(client.call(zk.PING))
        return client.events

    until("a watch event", come)
    return client.events.pop(0)


def on_all(ensemble):
    return {sid: ensemble.client(sid) for sid in ensemble.sids}


def m32_what_is_written_through_each_server_is_read_through_each(ensemble, path):
    clients = on_all(ensemble)
    for writer, client in clients.items():
        data = b"%d" % writer
        create(client, f"{path}/from{writer}", data)
        set_data(client, f"{path}/from{writer}", data + b" again", 0)
        for reader, other in clients.items():
            catch_up(other)
            equal(data + b" again", read(other, f"{path}/from{writer}"), f"{writer}'s node on {reader}")
    for client in clients.values():
        client.close()


def m30_m31_all_servers_give_one_sequence_of_zxids(ensemble, path):
    clients = on_all(ensemble)
    bodies = [(zk.CREATE, zk.create_body(f"{path}/s-", b"", zk.SEQUENTIAL))] * 100
    for client in clients.values():
        client.send_all(bodies)
    given = []
    for client in clients.values():
        for _ in bodies:
            reply = ok(client.receive())
            given.append((reply.zxid, zk.parse_buffer(reply.body)[0].decode()))
    given.sort()
    numbers = [int(name[-10:]) for _, name in given]
    equal(list(range(len(given))), numbers, "numbers in the order of zxids")
    equal(len(given), len({zxid for zxid, _ in given}), "zxids")
    for client in clients.values():
        catch_up(client)
        equal(len(given), len(children(client, path)), "children")
        client.close()


def m12_m13_a_closed_session_takes_its_ephemerals_from_all_servers(ensemble, path):
    clients = on_all(ensemble)
    owner = ensemble.client(1)
    mine = create(owner, f"{path}/e-", b"", zk.EPHEMERAL_SEQUENTIAL)
    for client in clients.values():
        catch_up(client)
        node = data_and_stat(ok(client.call(zk.GET_DATA, zk.read_body(mine))))[1]
        equal(owner.session_id, node["ephemeral_owner"], "owner")
    ok(owner.close())
    for sid, client in clients.items():
        catch_up(client)
        if exists(client, mine):
            raise AssertionError(f"{mine} is on server {sid} after its session was closed")
        client.close()


def m24_an_abandoned_session_expires_on_all_servers(ensemble, path):
    clients = on_all(ensemble)
    for sid in ensemble.sids:
        mine = f"{path}/e{sid}"
        owner = short_lived(ensemble, sid, mine)
        owner.abandon()
        gone_everywhere(ensemble, clients, mine, f"the end of the session that server {sid} had")
        for other in ensemble.sids:
            try:
                ensemble.client(other, session=owner.session)
                raise AssertionError(f"server {other} resumed an expired session")
            except SessionRefused:
                pass
    for client in clients.values():
        client.close()


def m23_a_session_moves_to_another_server_with_its_ephemerals(ensemble, path):
    watcher = ensemble.client(1)
    for origin in ensemble.sids:
        mine = f"{path}/e{origin}"
        client = ensemble.client(origin)
        create(client, mine, b"", zk.EPHEMERAL)
        for goal in ensemble.sids:
            moved = ensemble.client(goal, session=client.session, last_zxid=0)
            equal(client.session_id, moved.session_id, "the session's id")
            equal(client.password, moved.password, "the session's password")
            set_data(moved, mine, b"on %d" % goal)
            client.abandon()
            client = moved
        ok(client.close())
        catch_up(watcher)
        equal(False, exists(watcher, mine), "the ephemeral after the end")
    watcher.close()


def a_wrong_password_moves_no_session(ensemble, path):
    owner = ensemble.client(1)
    create(owner, f"{path}/e", b"", zk.EPHEMERAL)
    for sid in ensemble.sids:
        try:
            ensemble.client(sid, session=(owner.session_id, b"\1" * 16))
            raise AssertionError(f"server {sid} took a wrong password")
        except SessionRefused:
            pass
    # Stock closes the owner's connection when that happens on its server; the session lives.
    owner.abandon()
    owner = ensemble.client(2, session=owner.session)
    equal(True, exists(owner, f"{path}/e"), "the ephemeral")
    owner.close()


def an_old_connection_writes_nothing_after_its_session_moved(ensemble, path):
    watcher = ensemble.client(1)
    for origin in ensemble.sids:
        for goal in ensemble.sids:
            old = ensemble.client(origin)
            moved = ensemble.client(goal, session=old.session)
            node = f"{path}/n{origin}{goal}"
            try:
                error = old.call(zk.CREATE, zk.create_body(node, b"")).error
                equal(True, error != zk.OK, f"a write through server {origin} after a move to {goal} was accepted")
            except ConnectionLost:
                pass
            ok(moved.call(zk.EXISTS, zk.read_body("/")))
            moved.close()
            catch_up(watcher)
            equal(False, exists(watcher, node), f"{node}, written by the old connection")
    watcher.close()


def m29_watches_fire_on_every_other_server(ensemble, path):
    for writer_on in ensemble.sids:
        writer = ensemble.client(writer_on)
        here = create(writer, f"{path}/w{writer_on}", b"0")
        for watcher_on in ensemble.sids:
            watcher = ensemble.client(watcher_on)
            catch_up(watcher)
            node = f"{here}/x{watcher_on}"
            ok(watcher.call(zk.GET_DATA, zk.read_body(here, watch=True)))
            ok(watcher.call(zk.GET_CHILDREN, zk.read_body(here, watch=True)))
            ok(watcher.call(zk.EXISTS, zk.read_body(node, watch=True)), zk.NO_NODE)
            set_data(writer, here, b"%d" % watcher_on)
            equal((CHANGED, here), next_event(watcher), "the first event")
            # Who was told of it sees it.
            equal(b"%d" % watcher_on, read(watcher, here), "data after the event")
            create(writer, node)
            equal({(CREATED, node), (CHILDREN, here)}, {next_event(watcher), next_event(watcher)}, "two events")
            ok(watcher.call(zk.EXISTS, zk.read_body(node, watch=True)))
            ok(writer.call(zk.DELETE, zk.delete_body(node)))
            equal((DELETED, node), next_event(watcher), "the last event")
            watcher.close()
        writer.close()


def m23_watches_are_set_again_on_another_server(ensemble, path):
    writer = ensemble.client(1)
    changed, kept = create(writer, f"{path}/changed"), create(writer, f"{path}/kept")
    for origin in ensemble.sids:
        goal = origin % len(ensemble.sids) + 1
        client = ensemble.client(origin)
        catch_up(client)
        for node in (changed, kept):
            seen = ok(client.call(zk.GET_DATA, zk.read_body(node, watch=True))).zxid
        client.abandon()
        written = set_data(writer, changed, b"meanwhile").zxid
        moved = ensemble.client(goal, session=client.session)
        catch_up(moved)
        body = struct.pack(">q", seen) + struct.pack(">i", 2) + zk.text(changed) + zk.text(kept)
        moved.send_all([(zk.SET_WATCHES, body + struct.pack(">ii", 0, 0))])
        moved.receive()
        equal([(CHANGED, changed)], moved.events, f"what happened after {seen:#x}, among it {written:#x}")
        moved.events.clear()
        set_data(writer, kept, b"now")
        equal((CHANGED, kept), next_event(moved), "what happens later")
        moved.close()
    writer.close()


def m05_multi_is_all_or_nothing_on_all_servers(ensemble, path):
    clients = on_all(ensemble)
    for sid, client in clients.items():
        node = create(client, f"{path}/m{sid}", b"0")
        good = [(zk.SET_DATA, zk.set_data_body(node, b"1", 0)), (zk.CREATE, zk.create_body(f"{node}/a", b""))]
        bad = [(zk.CREATE, zk.create_body(f"{node}/b", b"")), (zk.SET_DATA, zk.set_data_body(node, b"2", 0))]
        ok(client.call(zk.MULTI, zk.multi_body(good)))
        client.call(zk.MULTI, zk.multi_body(bad))
        for other in clients.values():
            catch_up(other)
            equal((b"1", ["a"]), (read(other, node), children(other, node)), "what the two multis made")
    for client in clients.values():
        client.close()


def m32_sync_shows_every_server_what_was_acknowledged_before(ensemble, path):
    leader = ensemble.members[ensemble.leader()]
    clients = on_all(ensemble)
    # See BARRIER: stock's leader promises less.
    readers = {sid: client for sid, client in clients.items() if leader.called == "ours" or sid != leader.sid}
    node = create(clients[1], f"{path}/n", b"")
    for client in clients.values():
        catch_up(client)
    for number in range(300):
        writer = clients[number % len(clients) + 1]
        set_data(writer, node, b"%d" % number)
        for client in readers.values():
            client.send_all([(zk.SYNC, zk.text(node)), (zk.GET_DATA, zk.read_body(node))])
        for sid, client in readers.items():
            ok(client.receive())
            equal(b"%d" % number, data_and_stat(ok(client.receive()))[0], f"on server {sid} after sync")
    for client in clients.values():
        client.close()


def syncs_and_writes_of_many_clients_of_a_server_are_all_answered(ensemble, path):
    """A stock follower takes the answers to what it has forwarded in the order in which it did. One sync that a later write's
    commit overtakes, and none of its clients is ever answered again."""
    syncing = [ensemble.client(sid) for sid in ensemble.sids for _ in range(3)]
    writing = [ensemble.client(sid) for sid in ensemble.sids for _ in range(3)]
    nodes = [create(client, f"{path}/n{number}") for number, client in enumerate(writing)]
    for _ in range(30):
        for number in range(20):
            for client, node in zip(writing, nodes):
                client.send_all([(zk.SET_DATA, zk.set_data_body(node, b"%d" % number))])
            for client in syncing:
                client.send_all([(zk.SYNC, zk.text("/"))])
        for client in syncing + writing:
            for _ in range(20):
                ok(client.receive())
    for client in syncing + writing:
        ok(client.close())


def m19_a_session_reads_its_own_writes_in_order_on_a_follower(ensemble, path):
    for sid in ensemble.sids:
        client = ensemble.client(sid)
        node = create(client, f"{path}/n{sid}", b"")
        requests = []
        for number in range(200):
            requests += [
                (zk.SET_DATA, zk.set_data_body(node, b"%d" % number, number)),
                (zk.GET_DATA, zk.read_body(node)),
            ]
        replies = client.call_all(requests)
        for number in range(200):
            ok(replies[2 * number])
            equal(b"%d" % number, data_and_stat(ok(replies[2 * number + 1]))[0], f"read {number} on server {sid}")
        client.close()


def m20_session_ids_of_all_servers_differ(ensemble, path):
    clients = [ensemble.client(sid) for sid in ensemble.sids for _ in range(50)]
    equal(len(clients), len({client.session_id for client in clients}), "different ids")
    for client in clients:
        client.close()


def m31_all_servers_hold_one_tree_and_its_digest(ensemble, path):
    clients = on_all(ensemble)
    for number in range(300):
        client = clients[number % len(clients) + 1]
        create(client, f"{path}/n{number}", b"x" * number)
        if number % 3 == 0:
            ok(client.call(zk.DELETE, zk.delete_body(f"{path}/n{number}")))
    for client in clients.values():
        client.close()
    check_equal_everywhere(ensemble)


CHECKS = [
    m32_what_is_written_through_each_server_is_read_through_each,
    m30_m31_all_servers_give_one_sequence_of_zxids,
    m12_m13_a_closed_session_takes_its_ephemerals_from_all_servers,
    m24_an_abandoned_session_expires_on_all_servers,
    m23_a_session_moves_to_another_server_with_its_ephemerals,
    a_wrong_password_moves_no_session,
    an_old_connection_writes_nothing_after_its_session_moved,
    m29_watches_fire_on_every_other_server,
    m23_watches_are_set_again_on_another_server,
    m05_multi_is_all_or_nothing_on_all_servers,
    m32_sync_shows_every_server_what_was_acknowledged_before,
    syncs_and_writes_of_many_clients_of_a_server_are_all_answered,
    m19_a_session_reads_its_own_writes_in_order_on_a_follower,
    m20_session_ids_of_all_servers_differ,
    m31_all_servers_hold_one_tree_and_its_digest,
]
