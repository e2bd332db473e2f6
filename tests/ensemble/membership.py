"""Servers whose lists or numbers are wrong. Each on an ensemble of its own."""

import time

import raw_client as zk
from ensemble import Ensemble, until
from sessions import Load
from smoke import create, equal, ok, read
from trees import check_equal_everywhere


class Listed(Ensemble):
    """An ensemble whose servers may be elsewhere than usual."""

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


# Stock takes the second server of an id for the first one come back, and whoever has the number for a member.
OURS = [
    s28_a_second_server_of_an_id_is_refused_while_the_first_answers,
    s28_two_ensembles_that_share_an_entry_stay_two,
]
CHECKS = [*OURS]
