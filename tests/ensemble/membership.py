"""Servers whose lists or numbers are wrong, and lists that change. Each on an ensemble of its own."""

import time

import raw_client as zk
from ensemble import Ensemble, Member, until
from sessions import Load
from smoke import create, equal, ok, read
from trees import check_equal_everywhere


class Listed(Ensemble):
    """An ensemble whose list changes: servers move to other addresses, come and go."""

    def __init__(self, *arguments, beside=None, moved=None, **options):
        self.beside, self.moved = beside, moved or {}
        super().__init__(*arguments, **options)

    def _claim_addresses(self):
        return self.beside._base if self.beside else super()._claim_addresses()

    def host(self, sid):
        return f"{self._base}.{self.moved.get(sid, sid)}"

    def another(self, name, moved):
        """Servers on the same network, none of which runs, by a list in which these are elsewhere."""
        return Listed(
            self.folder / name, self.kinds, self.tick_ms, self.config, self.properties, beside=self, moved=moved
        )

    def resize(self, count, kind):
        """From here on, so many servers are on the list. Who is no longer on it must be stopped."""
        for sid in range(count + 1, len(self.kinds) + 1):
            del self.members[sid]
        self.kinds = [*self.kinds[:count], *[kind] * (count - len(self.kinds))]
        self.sids = self.voters = range(1, count + 1)
        for sid in self.sids:
            if sid not in self.members:
                self.members[sid] = Member(self, sid, kind)

    def tell(self, sid):
        """Restarts a server with the list as it is now, and its data."""
        member = self.members[sid]
        member.stop()
        lines = member.config_path.read_text().splitlines()
        lines = [line for line in lines if not line.startswith(("server.", "clientPortAddress="))]
        member.host = self.host(sid)
        lines += [f"clientPortAddress={member.host}", *(f"server.{other}={self.line(other)}" for other in self.sids)]
        member.config_path.write_text("".join(f"{line}\n" for line in lines))
        member.launch()


def logged(member, text):
    return text in member.log_path.read_text(errors="replace")


def s28_a_second_server_of_an_id_is_refused_while_the_first_answers(ensemble, path):
    """A copy of a follower, its number too, at another address, with nothing on its disk."""
    leader = ensemble.leader()
    taken = ensemble.followers()[0]
    client = ensemble.client(taken)
    rogues = ensemble.another("rogues", {taken: 10 + taken})
    rogue = rogues.members[taken]
    try:
        with Load(ensemble, f"{path}/load", workers=2) as load:
            rogue.launch()
            until("a refusal", lambda: logged(ensemble.members[leader], "another server has this id"))
            load.pass_by(300)
            equal(None, rogue.mode(), "what the second one serves as")
            # The session is on the first one, which never was without its leader.
            create(client, f"{path}/n", b"still")
            refused = ensemble.members[leader].monitor()["servers_refused"]
            equal(True, int(refused) > 0, "refusals counted")
            rogue.kill()
            load.pass_by(50)
        equal(leader, ensemble.leader(), "leader")
        client.close()
    finally:
        rogues.stop()
    check_equal_everywhere(ensemble)


def s28_two_ensembles_that_share_an_entry_stay_two(ensemble, path):
    """Server 2 of the one is on the other's list as well. Of each so few are left that they are many enough together."""
    others = ensemble.another("others", {1: 11, 3: 13})
    try:
        for sid in (1, 3):
            others.members[sid].launch()
        theirs = until("the others' leader", lambda: {others.members[sid].mode() for sid in (1, 3)} >= {"leader"})
        equal(True, theirs, "the others serve")
        until("both of the others", lambda: None not in {others.members[sid].mode() for sid in (1, 3)})
        client = others.client(1)
        create(client, "/theirs", b"theirs")
        client.close()
        client = ensemble.client(2)
        create(client, f"{path}/ours", b"ours")
        client.close()
        for member in (ensemble.members[1], ensemble.members[3], others.members[3]):
            member.kill()
        alone = (ensemble.members[2], others.members[1])
        until("both to look for a leader", lambda: {member.mode() for member in alone} == {None})
        until("a refusal", lambda: any(logged(member, "another ensemble") for member in alone))
        # Nothing tells that they go on refusing each other. Elections that succeed take a fraction of this.
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            equal({None}, {member.mode() for member in alone}, "what servers of two ensembles serve as")
        others.members[3].launch()
        ensemble.start()
        for home, sid, name, not_there in ((ensemble, 2, f"{path}/ours", "/theirs"), (others, 1, "/theirs", path)):
            until("everybody to serve", lambda: home.members[sid].mode())
            client = home.client(sid)
            ok(client.call(zk.SYNC, zk.text("/")))
            read(client, name)
            ok(client.call(zk.EXISTS, zk.read_body(not_there)), zk.NO_NODE)
            client.close()
    finally:
        others.stop()


def z88_a_server_moves_to_another_address_by_restarts(ensemble, path):
    leader = ensemble.leader()
    first, second = ensemble.followers()
    with Load(ensemble, f"{path}/load", workers=2) as load:
        ensemble.moved[first] = 10 + first
        # Who moves, then who is to find it, and the leader last: it is never looked for where it is not.
        for sid in (first, second, leader):
            load.pass_by(50)
            ensemble.tell(sid)
            ensemble.wait()
        load.pass_by(50)
    check_equal_everywhere(ensemble)


def z88_three_servers_become_five_and_three_again_by_restarts(ensemble, path):
    kind = ensemble.kinds[0]
    with Load(ensemble, f"{path}/load", workers=2) as load:
        load.pass_by(50)
        order = [*ensemble.followers(), ensemble.leader()]
        ensemble.resize(5, kind)
        # A majority of five is none of three: everybody has the new list before it gets its new servers, or those and
        # one of the old would be a majority beside the rest.
        for sid in order:
            ensemble.tell(sid)
        ensemble.wait()
        load.pass_by(50)
        for sid in (4, 5):
            ensemble.members[sid].launch()
            ensemble.wait()
        load.pass_by(50)
        # And the other way round: they leave first.
        for sid in (4, 5):
            ensemble.members[sid].stop()
        order = [*ensemble.followers(), ensemble.leader()]
        ensemble.resize(3, kind)
        for sid in order:
            ensemble.tell(sid)
            ensemble.wait()
        load.pass_by(50)
    check_equal_everywhere(ensemble)


# Stock takes the second server of an id for the first one come back, and whoever has the number for a member.
OURS = [
    s28_a_second_server_of_an_id_is_refused_while_the_first_answers,
    s28_two_ensembles_that_share_an_entry_stay_two,
]
CHECKS = [
    *OURS,
    z88_a_server_moves_to_another_address_by_restarts,
    z88_three_servers_become_five_and_three_again_by_restarts,
]
