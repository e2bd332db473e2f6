"""What an ensemble does whose disks are slow, stand still, fail, fill up or lose their power. Every server has its data on a
`FaultDisk` of its own; clients and servers reach each other throughout."""

import contextlib
import errno
import os
import re
import signal

import raw_client as zk
from ensemble import Ensemble, until
from fault_disk import FaultDisk, run
from partitions import leads_among, sides
from quorum_relay import behind_relays
from raw_client import ConnectionLost
from sessions import Load, Session, catch_up
from smoke import create, equal, ok, read, set_data
from trees import check_equal_everywhere

THROTTLED = -127
# With which a server of ours ends whose log could not be written: README "All exit statuses".
LOG_FAILED = 21
# Snapshots and purges come often, so that a loss of power meets the names of files as well.
CONFIG = {"snapCount": "300"}


class OnDisks(Ensemble):
    """An ensemble in which each server's data folder is a file system on a disk of its own."""

    MEGABYTES = 128

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.disks = {}
        try:
            for sid, member in self.members.items():
                self.disks[sid] = FaultDisk(self.folder / f"disk-{sid}", member.data_folder, self.MEGABYTES)
                (member.data_folder / "myid").write_text(str(sid))
                # It shall be there whatever is lost.
                run("sync", "--file-system", str(member.data_folder))
        except BaseException:
            self.stop()
            raise

    def ended(self, sid):
        """The status with which a server ends by itself."""
        member = self.members[sid]
        until(f"{member} to end", lambda: member.process.poll() is not None)
        code, member.process = member.process.returncode, None
        return code

    def bring_back(self, *sids):
        """Starts servers that are down on disks that are well, as an operator would: mounted again, after errors."""
        for sid in sids:
            self.disks[sid].resume()
            self.disks[sid].remount()
        for sid in sids:
            self.members[sid].launch()
        self.wait()

    def lose_power(self, sids, seed):
        """Of these servers, at once."""
        found = [self.disks[sid].lose_power(seed * 16 + sid) for sid in sids]
        # They stand still on their disks; they see no error of theirs and write nothing more.
        for sid in sids:
            self.members[sid].process.send_signal(signal.SIGKILL)
        for sid in sids:
            self.disks[sid].go_away()
            self.members[sid].kill()
        return sum(disk["unflushed"] for disk in found), sum(disk["lost"] for disk in found)

    def heal(self):
        for sid, member in self.members.items():
            disk = self.disks[sid]
            disk.resume()
            disk.delay()
            with contextlib.suppress(FileNotFoundError):
                (member.data_folder / "filler").unlink()
            if member.process is not None and member.process.poll() is not None:
                member.process = None
            if member.process is None:
                disk.remount()
        super().heal()

    def stop(self):
        # A process that waits for its disk would not die.
        for disk in self.disks.values():
            disk.resume()
        super().stop()
        for disk in self.disks.values():
            disk.close()
        self.disks = {}


class BehindRelays(OnDisks):
    """The same, with a relay before each server's quorum port."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.relays = behind_relays(self)


def addresses_of(ensemble, sids):
    return [ensemble.addresses[sid - 1] for sid in sids]


def write_one_by_one(ensemble, sids, node, count, what):
    """Each is sent when the one before it was acknowledged."""
    writer = Session(addresses_of(ensemble, sids), timeout_ms=120000)
    for number in range(count):
        writer.must(zk.SET_DATA, zk.set_data_body(node, b"%d %s" % (number, what)))
    writer.close()


def f12_a_follower_whose_disk_stands_still_holds_nobody_up(ensemble, path):
    leader, others = sides(ensemble)
    victim, disk = others[0], ensemble.disks[others[0]]
    client = ensemble.client(leader)
    node = create(client, f"{path}/n")
    client.close()
    disk.stall()
    write_one_by_one(ensemble, [leader, others[1]], node, 500, b"while it stands still")
    held = disk.status()["held"]
    equal(True, sum(held.values()) > 0, f"it stands still to the end, with {held} waiting")
    disk.resume()
    equal(leader, ensemble.leader(), "the leader")
    reader = Session(addresses_of(ensemble, [victim]))
    reader.catch_up()
    found = zk.parse_buffer(reader.must(zk.GET_DATA, zk.read_body(node)).body)[0]
    equal(b"499 while it stands still", found, "data on the one that stood still")
    reader.close()
    check_equal_everywhere(ensemble)


def f12_a_follower_whose_disk_is_slow_holds_nobody_up(ensemble, path):
    leader, others = sides(ensemble)
    disk = ensemble.disks[others[0]]
    client = ensemble.client(leader)
    node = create(client, f"{path}/n")
    client.close()
    # Some thousand times what it takes otherwise.
    disk.delay(flush=500)
    before = disk.status()["done"]["flush"]
    write_one_by_one(ensemble, [leader, others[1]], node, 400, b"while it is slow")
    flushes = disk.status()["done"]["flush"] - before
    # Were it waited for, there would be one for each.
    equal(True, flushes < 400, f"400 writes one after the other took {flushes} flushes of the slow disk")
    print(f"    400 writes one after the other during {flushes} flushes of the slow disk")
    disk.delay()
    equal(leader, ensemble.leader(), "the leader")
    check_equal_everywhere(ensemble)


def f12_a_leader_whose_disk_stands_still_steps_down_and_returns(ensemble, path):
    leader, others = sides(ensemble)
    disk = ensemble.disks[leader]
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        disk.stall()
        until("another leader", lambda: leads_among(ensemble, others))
        load.pass_by(200)
        equal(True, sum(disk.status()["held"].values()) > 0, "its disk stands still to the end")
        disk.resume()
        ensemble.wait()
        load.pass_by(50)
    print(f"    the longest time without an acknowledged write {load.findings.gap * 1000:.0f} ms")
    check_equal_everywhere(ensemble)


def f12_a_stalled_disk_of_the_leader_loses_nothing(ensemble, path):
    """Whoever leads meanwhile: stock's leader stays it, and goes on with what its followers have written."""
    leader, _ = sides(ensemble)
    disk = ensemble.disks[leader]
    with Load(ensemble, f"{path}/load") as load:
        for _ in range(3):
            load.pass_by(100)
            disk.stall("flush")
            until("a flush that waits", lambda: disk.status()["held"]["flush"])
            disk.resume()
            load.pass_by(100)
    check_equal_everywhere(ensemble)


def is_ours(ensemble, sid):
    return ensemble.kinds[sid - 1] == "ours"


def lead_by_ours(ensemble):
    """Kills stock leaders until one of ours leads."""
    while not is_ours(ensemble, leader := ensemble.leader()):
        ensemble.members[leader].kill()
        ensemble.wait()
        ensemble.heal()


def break_disk(ensemble, path, of_leader, kind):
    """An error of one write or flush of the log of a server of ours: it ends, acknowledges nothing, and comes back."""
    if of_leader:
        lead_by_ours(ensemble)
    leader, others = sides(ensemble)
    sid = next(sid for sid in ([leader] if of_leader else others) if is_ours(ensemble, sid))
    disk, member = ensemble.disks[sid], ensemble.members[sid]
    marker = f"meets an error at {path}".encode()
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n", b"before")
    with Load(ensemble, f"{path}/load") as load:
        load.pass_by(100)
        before = disk.status()["failed"][kind]
        if kind == "flush":
            disk.fail("flush", after=marker)
        else:
            disk.fail("write", holding=marker)
        client.send_all([(zk.SET_DATA, zk.set_data_body(node, marker))])
        until("the error", lambda: disk.status()["failed"][kind] > before)
        equal(LOG_FAILED, ensemble.ended(sid), f"exit status of {member}")
        acknowledged = True
        try:
            ok(client.receive())
        except (ConnectionLost, OSError):
            acknowledged = False
        if of_leader:
            equal(False, acknowledged, "the leader acknowledged what its own disk did not take")
        load.pass_by(200)
        reader = Session(addresses_of(ensemble, [other for other in ensemble.sids if other != sid]))
        reader.catch_up()
        found = zk.parse_buffer(reader.must(zk.GET_DATA, zk.read_body(node)).body)[0]
        equal(True, found == marker or (not acknowledged and found == b"before"), f"data {found!r}")
        reader.close()
        ensemble.bring_back(sid)
        load.pass_by(50)
    client.abandon()
    check_equal_everywhere(ensemble)
    # And it reads again from its disk what it wrote after the error.
    member.kill()
    ensemble.heal()
    check_equal_everywhere(ensemble)


def f10_a_follower_whose_flush_fails_ends_and_returns(ensemble, path):
    break_disk(ensemble, path, of_leader=False, kind="flush")


def f10_a_leader_whose_flush_fails_ends_and_returns(ensemble, path):
    break_disk(ensemble, path, of_leader=True, kind="flush")


def f09_a_follower_whose_write_fails_ends_and_returns(ensemble, path):
    break_disk(ensemble, path, of_leader=False, kind="write")


def f09_a_leader_whose_write_fails_ends_and_returns(ensemble, path):
    break_disk(ensemble, path, of_leader=True, kind="write")


def without_power(ensemble, path, victims):
    """Rounds of loss of power under load. Every other one comes while flushes are under way for certain."""
    with Load(ensemble, f"{path}/load") as load:
        for seed in range(6):
            sids = victims(seed)
            for sid in sids:
                ensemble.disks[sid].delay(flush=3)
            load.pass_by(150)
            if seed % 2:
                for sid in sids:
                    ensemble.disks[sid].stall("flush")
                for sid in sids:
                    until("a flush that waits", lambda: ensemble.disks[sid].status()["held"]["flush"])
            unflushed, lost = ensemble.lose_power(sids, seed)
            print(f"    round {seed}: of {unflushed} sectors that were not flushed {lost} are lost")
            for sid in sids:
                ensemble.disks[sid].delay()
            ensemble.bring_back(*sids)
            load.pass_by(50)
    check_equal_everywhere(ensemble)


def f02_a_server_that_loses_its_power_loses_no_acknowledged_write(ensemble, path):
    def victims(seed):
        leader, others = sides(ensemble)
        ours = [sid for sid in [leader, *others] if is_ours(ensemble, sid)]
        return [ours[seed // 2 % min(2, len(ours))]]

    without_power(ensemble, path, victims)


def f02_all_servers_lose_their_power_and_no_acknowledged_write_is_lost(ensemble, path):
    without_power(ensemble, path, lambda _: list(ensemble.sids))


def fill(member, leave):
    """Leaves so many bytes free on its disk."""
    free = os.statvfs(member.data_folder)
    descriptor = os.open(member.data_folder / "filler", os.O_CREAT | os.O_WRONLY, 0o600)
    size = free.f_bavail * free.f_frsize - leave
    while True:
        try:
            os.posix_fallocate(descriptor, 0, size)
            break
        except OSError as error:
            # The server took some of it meanwhile.
            if error.errno != errno.ENOSPC or size <= 0:
                raise
            size -= 64 << 10
    os.close(descriptor)


def f11_a_leader_whose_disk_is_nearly_full_refuses_growth_until_there_is_space(ensemble, path):
    leader, _ = sides(ensemble)
    member = ensemble.members[leader]
    client = ensemble.client(leader, timeout_ms=120000)
    nodes = [create(client, f"{path}/n{number}", b"before") for number in range(3)]
    fill(member, leave=2 << 20)

    def answer():
        return client.call(zk.SET_DATA, zk.set_data_body(nodes[0], b"more")).error

    until("growth to be refused", lambda: answer() == THROTTLED)
    equal(THROTTLED, client.call(zk.CREATE, zk.create_body(f"{path}/more", b"")).error, "a create")
    ok(client.call(zk.DELETE, zk.delete_body(nodes[1])))
    equal(b"before", read(client, nodes[2]), "what is read meanwhile")
    (member.data_folder / "filler").unlink()
    until("growth to be taken", lambda: answer() == zk.OK)
    create(client, f"{path}/more")
    ok(client.close())
    equal(leader, ensemble.leader(), "the leader")
    check_equal_everywhere(ensemble)


def f11_a_follower_whose_disk_is_full_costs_nobody_anything(ensemble, path):
    leader, others = sides(ensemble)
    sid = others[0]
    member = ensemble.members[sid]
    client = ensemble.client(leader, timeout_ms=120000)
    nodes = [create(client, f"{path}/n{number}") for number in range(10)]
    fill(member, leave=0)
    # More than its log has room for.
    for number in range(60):
        client.call_all([(zk.SET_DATA, zk.set_data_body(node, b"%d" % number * 10000)) for node in nodes])
    set_data(client, nodes[0], b"the others go on")
    (member.data_folder / "filler").unlink()
    everything = ensemble.members[leader].zxid()

    def has_ended():
        return member.process.poll() is not None

    # It may be on its way out still: a stock server leaves its leader first, and meets the full disk on its way back.
    until(f"{member} to have it all or to end", lambda: has_ended() or member.zxid() >= everything)
    if has_ended():
        code = ensemble.ended(sid)
        print(f"    it has ended with {code}")
        if member.called == "ours":
            equal(LOG_FAILED, code, f"exit status of {member}")
        ensemble.bring_back(sid)
    ok(client.close())
    equal(leader, ensemble.leader(), "the leader")
    check_equal_everywhere(ensemble)


def f08_an_end_of_the_log_that_cannot_be_read_is_not_taken_for_its_end(ensemble, path):
    """Whoever cannot read what it has promised has no vote: with one who never had it, it would make a majority without it."""
    leader, others = sides(ensemble)
    sid, never = others
    disk, member = ensemble.disks[sid], ensemble.members[sid]
    client = ensemble.client(leader)
    node = create(client, f"{path}/n", b"before")
    marker = f"cannot be read at {path}".encode()
    ensemble.members[never].kill()
    # By the leader and the one that will not be able to read it.
    set_data(client, node, marker)
    member.kill()
    ensemble.members[leader].kill()
    # Not before: the end of the session would be in the log behind it, and show that this is not the end.
    client.abandon()
    # Nothing of it is in the kernel's memory.
    disk.remount()
    disk.fail("read", 1 << 30, holding=marker)
    known = len(member.log_path.read_bytes())
    member.launch()
    ensemble.members[never].launch()

    def standing():
        """What it says of itself when it starts."""
        said = member.log_path.read_bytes()[known:].decode(errors="replace")
        return re.search(r"member of an ensemble .*admitted=(\w+)", said)

    equal("false", until("its first words", standing).group(1), "whether it has a vote")
    equal(True, disk.status()["failed"]["read"] > 0, "reads have failed")
    ensemble.members[leader].launch()
    ensemble.wait()
    for each in ensemble.sids:
        reader = ensemble.client(each)
        catch_up(reader)
        equal(marker, read(reader, node), f"data on {ensemble.members[each]}")
        reader.close()
    check_equal_everywhere(ensemble)


def a_proposal_leaves_its_leader_before_the_own_flush_has_ended(ensemble, path):
    """On a `BehindRelays`. In order, with no time measured: the flush is let go only when the proposals have been seen."""
    leader, others = sides(ensemble)
    disk, relay = ensemble.disks[leader], ensemble.relays[leader]
    client = ensemble.client(leader, timeout_ms=120000)
    node = create(client, f"{path}/n")
    marker = f"proposed at {path}".encode()
    relay.record()
    disk.stall("flush")
    client.send_all([(zk.SET_DATA, zk.set_data_body(node, marker))])
    until("proposals to both", lambda: set(relay.times(marker, from_server=True)) == set(others))
    until("the flush that waits", lambda: disk.status()["held"]["flush"])
    relay.stop()
    disk.resume()
    # A machine that stood still meanwhile may have cost it its leadership; that is another matter.
    with contextlib.suppress(ConnectionLost, OSError):
        ok(client.receive())
    client.abandon()
    ensemble.wait()
    check_equal_everywhere(ensemble)


# What stock does not promise: its leader stays one with a disk that stands still, and goes on with what its followers have
# written; it looks at no free space; it votes with what it could read of its log; and it never starts again when the power
# went between the making of a log file and the first flush of it (an EOFException from FileHeader).
OURS = [
    f02_all_servers_lose_their_power_and_no_acknowledged_write_is_lost,
    f12_a_leader_whose_disk_stands_still_steps_down_and_returns,
    f11_a_leader_whose_disk_is_nearly_full_refuses_growth_until_there_is_space,
    f08_an_end_of_the_log_that_cannot_be_read_is_not_taken_for_its_end,
]
CHECKS = [
    f12_a_follower_whose_disk_stands_still_holds_nobody_up,
    f12_a_follower_whose_disk_is_slow_holds_nobody_up,
    f12_a_stalled_disk_of_the_leader_loses_nothing,
    f12_a_leader_whose_disk_stands_still_steps_down_and_returns,
    f10_a_follower_whose_flush_fails_ends_and_returns,
    f10_a_leader_whose_flush_fails_ends_and_returns,
    f09_a_follower_whose_write_fails_ends_and_returns,
    f09_a_leader_whose_write_fails_ends_and_returns,
    f02_a_server_that_loses_its_power_loses_no_acknowledged_write,
    f02_all_servers_lose_their_power_and_no_acknowledged_write_is_lost,
    f11_a_leader_whose_disk_is_nearly_full_refuses_growth_until_there_is_space,
    f11_a_follower_whose_disk_is_full_costs_nobody_anything,
    f08_an_end_of_the_log_that_cannot_be_read_is_not_taken_for_its_end,
]
# What befalls only our servers: for that last reason, and because a stock server goes on after a flush that failed. It takes
# its place again with what it has in memory, and leaves a gap in its log ("Committed proposal cached out of order" at its
# next start).
OF_OURS = [
    f10_a_follower_whose_flush_fails_ends_and_returns,
    f10_a_leader_whose_flush_fails_ends_and_returns,
    f09_a_follower_whose_write_fails_ends_and_returns,
    f09_a_leader_whose_write_fails_ends_and_returns,
    f02_a_server_that_loses_its_power_loses_no_acknowledged_write,
]
# On an ensemble `BehindRelays`.
RELAYED = [a_proposal_leaves_its_leader_before_the_own_flush_has_ended]
