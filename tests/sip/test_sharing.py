# SPDX-License-Identifier: GPL-3.0-or-later
"""Two cores on the same addresses: contacts of each reach the other, Call-IDs are their own, channels are shared."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from sip.core import Core
from sip.effects import Address, Send, TrunkTarget
from sip.registrar import Binding
from sip.settings import Settings
from sip.sharing import Among, OwnChannels, change_of
from sip.steering import call_id_of, drawn_for, kin, slot_of
from sip.trunk import Trunk, network
from tests.sip.conftest import REALM, SERVER

CARRIER = Trunk("carrier", "carrier.example", (Address("198.51.100.71", 5060),), sources=(network("198.51.100.71"),))
SOURCE = Address("192.0.2.7", 5060)
WORKERS = 2


def among(worker: int, channels: OwnChannels) -> Among:
    numbers = count()

    def token() -> str:
        return f"t{worker}x{next(numbers):08}"

    def call_id(other: str) -> str:
        return kin(token(), slot_of(other.encode())) if other else drawn_for(worker, WORKERS, token)

    return Among(call_id, channels, leads=worker == 0)


@pytest.fixture
def cores() -> list[Core]:
    channels = OwnChannels()
    numbers = count()
    settings = Settings(realm=REALM, secret=b"k" * 32)
    return [
        Core(settings, lambda: f"t{next(numbers):08}", lambda peer: SERVER, among=among(worker, channels))
        for worker in range(WORKERS)
    ]


def contact(
    uri: str, call_id: str = "r1", cseq: int = 1, expires: float = 100.0, received: Address = SOURCE
) -> Binding:
    return Binding(uri, 1.0, expires, call_id, cseq, received, SERVER)


def uris(core: Core) -> dict[str, list[str]]:
    return {user.username: [binding.uri for binding in user.bindings] for user in core.bindings()}


def test_contacts_of_one_are_the_others_too(cores):
    one, other = cores
    first, second = contact("sip:anna@192.0.2.7"), contact("sip:anna@192.0.2.8", "r2")
    one.merge_bindings(change_of("anna", [], [first]), 0.0)
    other.merge_bindings(change_of("anna", [], [second]), 0.0)
    one.merge_bindings(change_of("anna", [], [second]), 0.0)
    other.merge_bindings(change_of("anna", [], [first]), 0.0)
    assert sorted(uris(one)["anna"]) == sorted(uris(other)["anna"]) == ["sip:anna@192.0.2.7", "sip:anna@192.0.2.8"]
    assert list(one.bindings_state("anna")) == [first.state, second.state]
    gone = change_of("anna", [first, second], [second])
    assert gone.gone == (("sip:anna@192.0.2.7", "r1", 1),)
    assert not gone.there
    assert one.merge_bindings(gone, 0.0) == []
    assert uris(one)["anna"] == ["sip:anna@192.0.2.8"]
    assert not other.defence.dropped["banned"]
    assert other.defence.knows(SOURCE, 1.0)


def test_a_contact_that_was_touched_again_does_not_go(cores):
    one, _ = cores
    before, again = contact("sip:anna@192.0.2.7"), contact("sip:anna@192.0.2.7", cseq=2)
    one.merge_bindings(change_of("anna", [], [again]), 0.0)
    one.merge_bindings(change_of("anna", [before], []), 0.0)
    assert uris(one) == {"anna": ["sip:anna@192.0.2.7"]}


def test_a_refresh_elsewhere_is_the_same_contact_for_longer(cores):
    one, _ = cores
    near, far = Address("192.0.2.7", 5060), Address("198.51.100.9", 4000, inbound=True)
    states = [contact("sip:anna@192.0.2.7", "r1", 1, 100.0, near)]
    states.append(contact("sip:anna@192.0.2.7", "r1", 2, 200.0, near))  # a refresh
    states.append(contact("sip:anna@192.0.2.7", "r1", 3, 300.0, far))  # from elsewhere
    states.append(contact("sip:anna@192.0.2.7", "r2", 1, 400.0, far))  # of a phone that began anew
    states.append(contact("sip:anna@192.0.2.7", "r2", 2, 350.0, far))  # for less long
    for before, after in zip([None, *states], states, strict=False):
        one.merge_bindings(change_of("anna", [before] if before else [], [after]), 0.0)
        assert one.bindings_state("anna") == [after.state]
    one.expire(349.0)
    assert uris(one) == {"anna": ["sip:anna@192.0.2.7"]}
    one.expire(351.0)
    assert uris(one) == {}


def test_merged_contacts_end_in_their_time(cores):
    one, _ = cores
    one.merge_bindings(change_of("anna", [], [contact("sip:anna@192.0.2.7", expires=10.0)]), 0.0)
    assert one.next_expiry() == 10.0
    one.expire(10.0)
    assert uris(one) == {}


def test_one_registers_with_trunks_and_the_other_follows(cores):
    trunk = replace(CARRIER, register=True, probe=30.0)
    sent = []
    for core in cores:
        core.set_trunks([trunk], 0.0)
        sent.append([effect for effect in core.expire(2.0) if isinstance(effect, Send)])
    assert {effect.data.split()[0] for effect in sent[0]} == {b"REGISTER", b"OPTIONS"}
    assert sent[1] == []
    for effect in sent[0]:
        call_id = call_id_of(effect.data)
        assert call_id is not None
        assert slot_of(call_id) % WORKERS == 0
    cores[0].expire(100.0)
    (standing,) = cores[0].standings()
    assert standing.error == "no answer"
    assert standing.down == trunk.addresses
    cores[1].follow_trunks([standing])
    assert cores[1].standings() == [standing]
    assert not cores[1].trunks()[0].addresses[0][1]
    assert cores[1].set_trunks([], 101.0) == []


def test_a_ban_of_one_is_a_ban_of_all(cores):
    one, other = cores
    one.defence.tell = lambda host: other.defence.ban(host, 0.0)
    assert one.defence.scans("friendly-scanner", SOURCE, 0.0)
    assert not other.defence.admits(SOURCE, 1.0)


def test_channels_are_taken_once_for_a_leg(cores, world, anna):
    channels = OwnChannels()
    assert channels.take("carrier", 1)
    assert not channels.take("carrier", 1)
    channels.add("carrier", -1)
    assert channels.calls("carrier") == 0
    world.run(world.core.set_trunks([replace(CARRIER, channels=1)], world.now))
    world.routes["49301"] = (TrunkTarget("carrier", "+49301"), TrunkTarget("carrier", "+49302", beside=True))
    anna.invite("49301")
    assert world.core.trunks()[0].calls == 1
