# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker answers a REGISTER when the controller has written it down, and not before."""

from types import SimpleNamespace

import pytest

from ctl.journal import Journal
from ctl.observe.metrics import Meters
from ctl.signalling.records import Records
from ctl.workers.admission import AskingConductor, RemoteAdmission
from ctl.workers.bindings import WorkerBindings
from provisioning.journal import CdrJournal
from sip.core import Core
from sip.digest import Challenge, authorization, ha1
from sip.effects import Address
from sip.message import Response
from sip.parser import parse
from sip.settings import Settings

US, PHONE = Address("198.51.100.1", 5060), Address("192.0.2.7", 5060)
REALM = "example.org"


class Worker:
    """Its conductor, with a controller that writes when the test says so."""

    def __init__(self, path, sessions):
        self.core = Core(Settings(realm=REALM, secret=b"k" * 32, amplification=0.0), lambda: "t" * 16, lambda peer: US)
        self.sent, self.asked = [], []
        link = SimpleNamespace(ask_then=lambda name, change, then: self.asked.append((name, change, then)))
        secrets = {"SHA-256": ha1("SHA-256", "anna", REALM, "pa")}
        directory = SimpleNamespace(
            ready=True, credentials=lambda realm, name: secrets if name == "anna" else None, serves=REALM.__eq__
        )
        bindings = WorkerBindings(self.core, lambda peer, worker: None)
        self.journal, _ = Journal.open(path / "live", 0.0)
        self.conductor = AskingConductor(
            RemoteAdmission(lambda *message: None),
            link,
            bindings,
            self.core,
            lambda effect: self.sent.append(effect.data),
            sessions,
            directory,
            self.journal,
            Records(CdrJournal(path / "cdr")),
            Meters(),
        )

    def hear(self, data):
        self.conductor.received(data, PHONE, US)
        return self.statuses()

    def statuses(self):
        found, self.sent[:] = [parse(data) for data in self.sent], []
        return [each.status for each in found if isinstance(each, Response)]

    def write(self):
        waiting, self.asked[:] = list(self.asked), []
        for _, _, then in waiting:
            then(None)
        return self.statuses()


@pytest.fixture
async def worker(tmp_path, world):
    made = Worker(tmp_path, world.sessions)
    yield made
    made.conductor.close()
    made.journal.close()


def register(number, credentials=""):
    return (
        f"REGISTER sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK{number}\r\n"
        f"From: <sip:anna@{REALM}>;tag=1\r\nTo: <sip:anna@{REALM}>\r\nCall-ID: c1\r\nMax-Forwards: 70\r\n"
        f"CSeq: {number} REGISTER\r\nContact: <sip:anna@192.0.2.7:5060>\r\n{credentials}Content-Length: 0\r\n\r\n"
    ).encode()


def proven(worker):
    """REGISTERs that prove the password, one after the other."""
    worker.conductor.received(register(1), PHONE, US)
    challenge = Challenge.of(parse(worker.sent.pop()).www_authenticate[0])
    secret = ha1("SHA-256", "anna", REALM, "pa")
    for count in range(1, 9):
        value = authorization(challenge, "REGISTER", f"sip:{REALM}", "anna", ha1=secret, cnonce="c", nc=count)
        yield register(count + 1, f"Authorization: {value}\r\n")


async def test_a_register_is_answered_when_it_is_written_down(worker):
    for request in proven(worker):  # the first, and then refreshes
        assert worker.hear(request) == []
        assert worker.hear(request) == [], "a retransmission is not answered before either"
        ((name, (username, there, gone), _),) = worker.asked
        assert (name, username, len(there), gone) == ("bindings", "anna", 1, [])
        assert worker.write() == [200]
        assert worker.hear(request) == [200]


async def test_what_changes_nothing_does_not_wait(worker):
    requests = proven(worker)
    assert worker.hear(next(requests)) == []
    assert worker.hear(register(9)) == [401], "others are served meanwhile"
    options = b"OPTIONS" + register(10)[len("REGISTER") :].replace(b"10 REGISTER", b"10 OPTIONS")
    assert worker.hear(options) == [200]
    assert worker.write() == [200]
