# SPDX-License-Identifier: GPL-3.0-or-later
"""Contacts of one worker are those of all, and the controller's journal has them."""

import time

import pytest

from ctl.journal import Journal
from ctl.signalling.conductor import BINDINGS
from ctl.workers.bindings import Registrations, WorkerBindings
from sip.core import Core
from sip.effects import Address, SaveBindings
from sip.registrar import _binding
from sip.settings import Settings

US = Address("198.51.100.1", 5060)
PHONE, CONNECTED = Address("192.0.2.7", 5060), Address("192.0.2.8", 40000, "tcp", inbound=True)


def core():
    return Core(Settings(realm="example.org", secret=b"k" * 32), lambda: "t", lambda peer: US)


def contact(uri, received=PHONE, call_id="r1", cseq=1):
    return {
        "uri": uri,
        "q": 1.0,
        "expires": time.monotonic() + 60,
        "call_id": call_id,
        "cseq": cseq,
        "agent": "",
        "path": (),
        "received": received.packed,
        "local": US.packed,
    }


class All:
    """The controller and two workers."""

    def __init__(self, directory):
        self.journal, _ = Journal.open(directory / "live", 0.0)
        self.core, self.cores = core(), [core(), core()]
        self.connected = []
        self.workers = [WorkerBindings(each, self._connection(number)) for number, each in enumerate(self.cores)]
        self.hub = Registrations(self.core, self.journal, self._broadcast, lambda: None)

    def registers(self, worker, *contacts):
        """A phone registers there: its core has these contacts, and has the conductor save them."""
        self.cores[worker].restore_binding("anna", contacts, time.monotonic())
        change = self.workers[worker].save(SaveBindings("anna", tuple(map(_binding, contacts))))
        if change:
            self.hub.changed(worker, *change)

    def uris(self):
        return [sorted(each["uri"] for each in one.bindings_state("anna")) for one in (self.core, *self.cores)]

    def _connection(self, number):
        return lambda peer, worker: self.connected.append((number, peer, worker))

    def _broadcast(self, but, name, *change):
        for number, worker in enumerate(self.workers):
            if number != but:
                worker.merge(*change)


@pytest.fixture
def all_(tmp_path):
    return All(tmp_path)


def test_what_one_registers_all_have_and_the_journal_keeps(all_, tmp_path):
    first, second = contact("sip:a@192.0.2.7"), contact("sip:b@192.0.2.8", CONNECTED, "r2")
    all_.registers(0, first)
    all_.registers(1, first, second)
    expected = ["sip:a@192.0.2.7", "sip:b@192.0.2.8"]
    assert all_.uris()[0] == all_.uris()[1] == expected
    assert all_.connected == [(0, CONNECTED, 1)]
    _, kept = Journal.open(tmp_path / "live", 0.0)
    assert sorted(each["uri"] for each in kept.of(BINDINGS)["anna"]) == expected


def test_a_worker_that_begins_is_told_of_all(all_):
    all_.registers(0, contact("sip:a@192.0.2.7"), contact("sip:b@192.0.2.8", CONNECTED, "r2"))
    told = []
    all_.hub.tell_all(lambda name, worker, user, there, gone: told.append((worker, there[0]["uri"])))
    assert sorted(told) == [(-1, "sip:a@192.0.2.7"), (0, "sip:b@192.0.2.8")]


def test_connections_end_with_their_worker_and_other_contacts_do_not(all_):
    all_.registers(0, contact("sip:a@192.0.2.7"), contact("sip:b@192.0.2.8", CONNECTED, "r2"))
    all_.hub.lost(0)
    assert all_.uris()[0] == all_.uris()[2] == ["sip:a@192.0.2.7"]
    all_.hub.lost(0)


def test_the_last_contact_leaves_nothing_in_the_journal(all_, tmp_path):
    all_.registers(0, contact("sip:a@192.0.2.7"))
    all_.registers(0)
    assert all_.uris() == [[], [], []]
    _, kept = Journal.open(tmp_path / "live", 0.0)
    assert kept.of(BINDINGS) == {}
