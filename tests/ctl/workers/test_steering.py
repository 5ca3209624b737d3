# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages and connections of two workers: each message reaches its worker, each answer its connection."""

import pytest

from ctl.workers.affinity import Affinity
from ctl.workers.steering import SendFor, Steered, pack
from sip.effects import Address, Send
from sip.steering import drawn_for
from tests.sip.conftest import write_invite

WORKERS = 2
PHONE = Address("192.0.2.7", 40000, "tls", inbound=True, certified=("example.org",))
US = Address("198.51.100.1", 5061, "tls")


class Conductor:
    def __init__(self):
        self.heard, self.undelivered_, self.peers = [], [], set()

    def received(self, data, source, local):
        self.heard.append((data, source, local))

    def undelivered(self, effect):
        self.undelivered_.append(effect)

    def wanted(self):
        return self.peers


class Worker:
    """One of them, with a conductor and transports that only write down."""

    def __init__(self, number, others):
        self.number, self.others, self.connections, self.sent = number, others, set(), []
        self.conductor = Conductor()
        affinity = Affinity(number, WORKERS, lambda *_: None)
        self.steered = Steered(
            number, affinity, self.conductor, self.tell, self.sent.append, lambda peer: peer in self.connections
        )

    def tell(self, name, to, *rest):
        """As the controller passes it on."""
        there = self.others[to].steered
        if name == "hand":
            there.handed_over(*rest)
        else:
            {"send": there.send_for, "lost": there.lost_for_us}[name](self.number, *rest)


@pytest.fixture
def workers():
    found = []
    found += [Worker(number, found) for number in range(WORKERS)]
    return found


def message(worker):
    return write_invite({"Call-ID": drawn_for(worker, WORKERS, lambda: "x")})


def test_a_message_reaches_its_worker_and_the_answer_goes_back_by_the_connection(workers):
    one, other = workers
    one.connections.add(PHONE)
    one.steered.received(message(0), PHONE, US)
    one.steered.received(message(1), PHONE, US)
    assert one.conductor.heard == [(message(0), PHONE, US)]
    ((data, source, local),) = other.conductor.heard
    assert (data, source.certified, source.inbound, local) == (message(1), ("example.org",), True, US)
    other.steered.send(Send(b"SIP/2.0 200 OK", source, local))
    (sent,) = one.sent
    assert (sent.data, sent.target, sent.worker) == (b"SIP/2.0 200 OK", PHONE, 1)
    assert other.sent == []
    assert one.steered.handed == 1


def test_what_cannot_go_out_there_is_told_to_who_sent_it(workers):
    one, other = workers
    other.steered.connected(PHONE, 0)
    effect = Send(b"INVITE", PHONE, US)
    other.steered.send(effect)
    one.steered.undelivered(one.sent[0])
    assert [(each.data, each.target) for each in other.conductor.undelivered_] == [(b"INVITE", PHONE)]
    other.steered.send(effect)
    assert other.sent == [effect]
    one.steered.undelivered(effect)
    assert one.conductor.undelivered_ == [effect]


def test_datagrams_and_connections_of_ones_own_go_out_at_once(workers):
    one, _ = workers
    one.steered.connected(PHONE, 1)
    one.connections.add(PHONE)
    for effect in (Send(b"a", PHONE, US), Send(b"b", Address("192.0.2.7", 5060), None)):
        one.steered.send(effect)
    assert [type(each) for each in one.sent] == [Send, Send]


def test_connections_that_others_need_are_wanted(workers):
    one, other = workers
    other.steered.connected(PHONE, 0)
    other.conductor.peers = {PHONE, Address("192.0.2.9", 1, "tcp")}
    needs = other.steered.needs()
    assert needs == {0: [PHONE.packed]}
    one.steered.needed(1, needs[0])
    assert one.steered.wanted() == {PHONE}
    assert pack(None) is None
    assert SendFor(b"", PHONE).worker == -1
