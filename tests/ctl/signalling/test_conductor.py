# SPDX-License-Identifier: GPL-3.0-or-later
"""Signalling, media and both journals joined as in the controller, but for the kernel and the wire."""

import asyncio
import os
import secrets
import time
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

import ctl.journal
from ctl.journal import Journal, read
from ctl.observe.metrics import Meters
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.inactivity import Inactivity
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.sessions.relay_choice import ANY
from ctl.signalling.conductor import Conductor
from ctl.signalling.records import Records
from ctl.signalling.resolver import Resolver
from ctl.signalling.restore import Restorer
from ctl.signalling.silent_calls import SilentCalls
from media.flows import EngineError
from provisioning.cdr import cdr_id
from provisioning.journal import CdrJournal
from provisioning.routing import Refusal
from sip.build import response_to
from sip.core import Core
from sip.digest import authorization, choose, ha1
from sip.effects import Address, UriTarget, UserTarget
from sip.message import Request, Response
from sip.parser import parse
from sip.settings import Settings
from tests.patience import PATIENCE
from tests.provisioning.lines import decode

REALM = "example.org"
US = Address("192.0.2.1", 5060)
ANNA, BERT = Address("192.0.2.7", 5060), Address("198.51.100.8", 5060)
RELAYS = ("192.0.2.1", "198.51.100.1")
SDP = "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {1} RTP/AVP 0\r\n"
PASSWORD = "secret"


class Users:
    """A directory of anna and bert."""

    ready = True

    def __init__(self):
        self.sides = {}

    def ice(self, trunk, transport, user=""):
        return "lite" if transport == "wss" else "remove"

    def facing(self, trunk, user):
        return self.sides.get((trunk, user), ANY)

    def serves(self, domain):
        return domain == REALM

    def credentials(self, realm, username):
        if username not in ("anna", "bert"):
            return None
        return {name: ha1(name, username, realm, PASSWORD) for name in ("SHA-256", "MD5")}

    def route(self, question):
        known = question.dialled in ("anna", "bert")
        return (UserTarget(question.dialled),) if known else Refusal(404, "Not Found")


class Host:
    """One controller's life, from its start to its death or end; the flow table outlives it."""

    def __init__(self, path, table, hops, now=None):
        self.path, self.wire = path, []
        self.looked = time.monotonic() if now is None else now
        self.programmer = Programmer(hops, KernelCarrier(table, hops))
        interfaces = dict(zip(RELAYS, ("eth0", "eth1"), strict=True))
        ports = Ports(RELAYS, 20000, 20999, secrets.randbelow)
        self.sessions = MediaSessions(
            ports, hops, self.programmer, DataPlane(interfaces, frozenset(interfaces.values()), engine=False)
        )
        self.core = self.make_core()
        self.live, self.recovered = Journal.open(path / "live", time.time() - time.monotonic())
        self.cdrs = CdrJournal(path / "cdr")
        self.records = Records(self.cdrs)
        self.meters = Meters()
        self.users = Users()
        self.conductor = Conductor(
            self.core, self.wire.append, self.sessions, self.users, self.live, self.records, self.meters
        )
        inactivity = Inactivity(120, 3600, self.looked)
        self.silent_calls = SilentCalls(self.core, self.sessions, self.programmer, self.conductor, inactivity)
        restorer = (self.make_core, self.conductor, self.sessions, self.programmer, self.live, self.records)
        self.restorer = Restorer(self.core, *restorer)

    def make_core(self):
        settings = Settings(realm=REALM, secret=b"k" * 32)
        return Core(settings, lambda: secrets.token_hex(8), lambda peer: US)

    async def __aenter__(self):
        await self.cdrs.open()
        self.restored = self.restorer.restore(self.recovered)
        return self

    async def __aexit__(self, *_):
        self.conductor.close()
        await self.records.close()
        await self.cdrs.close()
        self.live.close()

    def looks(self, until):
        """What the controller does each second, up to that time."""
        while self.looked < until:
            self.looked = min(self.looked + 1, until)
            self.silent_calls.look(self.looked)

    def say(self, message, source):
        self.conductor.received(message.to_bytes(), source, US)

    def heard(self, target):
        """What went out to that address since the last look."""
        found = [send for send in self.wire if send.target == target]
        self.wire[:] = [send for send in self.wire if send.target != target]
        return [parse(send.data) for send in found]

    async def stored(self):
        """Every call record that is on disk."""
        await self.records.close()
        batch = await asyncio.wait_for(self.cdrs.next_batch(), PATIENCE)
        return [decode(record) for record in batch.records]


def request(method, user, address, number, *extra, to="", body=b"", call="", uri=""):
    """A request of that user, with a branch of its own."""
    to = to or f"<sip:{user}@{REALM}>"
    headers = [
        ("Via", f"SIP/2.0/UDP {address.host}:{address.port};branch=z9hG4bK{secrets.token_hex(6)}"),
        ("From", f"<sip:{user}@{REALM}>;tag={user}"),
        ("To", to),
        ("Call-ID", call or f"{user}-{method}"),
        ("CSeq", f"{number} {method}"),
        ("Contact", f"<sip:{user}@{address.host}:{address.port}>"),
        ("Max-Forwards", "70"),
        *extra,
    ]
    if body:
        headers.append(("Content-Type", "application/sdp"))
    uri = uri or (f"sip:{REALM}" if method == "REGISTER" else to.strip("<>"))
    return Request(method, uri, headers, body)


def answer(challenge, user, uri, method):
    """The header that answers a 401 or 407."""
    proxy = challenge.status == 407
    chosen = choose(challenge.proxy_authenticate if proxy else challenge.www_authenticate)
    secret = ha1(chosen.algorithm, user, REALM, PASSWORD)
    value = authorization(chosen, method, uri, user, ha1=secret, cnonce="c", nc=1)
    return ("Proxy-Authorization" if proxy else "Authorization", value)


def register(host, user, address):
    host.say(request("REGISTER", user, address, 1), address)
    credentials = answer(host.heard(address)[-1], user, f"sip:{REALM}", "REGISTER")
    host.say(request("REGISTER", user, address, 2, credentials), address)
    assert host.heard(address)[-1].status == 200


def call(host, dialled="bert", sdp=None, name=""):
    """Anna's INVITE, authenticated; what comes next is for the test to hear. name: its Call-ID."""
    body = (sdp or SDP.format(ANNA.host, 40000)).encode()
    to = f"<sip:{dialled}@{REALM}>"
    first = request("INVITE", "anna", ANNA, 1, to=to, body=body, call=name)
    host.say(first, ANNA)
    challenge = next(message for message in host.heard(ANNA) if message.status == 407)
    credentials = answer(challenge, "anna", to.strip("<>"), "INVITE")
    host.say(request("INVITE", "anna", ANNA, 2, credentials, to=to, body=body, call=name), ANNA)


def talk(host):
    """A call that both have answered; returns Anna's 200 and Bert's INVITE."""
    register(host, "bert", BERT)
    call(host)
    invite = next(message for message in host.heard(BERT) if isinstance(message, Request))
    contact = ("Contact", f"<sip:bert@{BERT.host}:{BERT.port}>")
    typed = ("Content-Type", "application/sdp")
    body = SDP.format(BERT.host, 50000).encode()
    host.say(response_to(invite, 180, to_tag="bert-tag", headers=[contact]), BERT)
    host.say(response_to(invite, 200, to_tag="bert-tag", headers=[contact, typed], body=body), BERT)
    accepted = next(each for each in host.heard(ANNA) if isinstance(each, Response) and each.status == 200)
    host.say(in_dialog("ACK", accepted, 2), ANNA)
    assert [message.method for message in host.heard(BERT)] == ["ACK"]
    return accepted, invite


def in_dialog(method, accepted, number, body=b""):
    """Anna's request in the dialog of that 200."""
    (contact,) = accepted.contacts
    to = str(accepted.to)
    return request(method, "anna", ANNA, number, to=to, call=accepted.call_id, uri=str(contact.uri), body=body)


def change(host, accepted, number, direction):
    """Anna's re-INVITE with that direction, which Bert takes as it is."""
    sdp = SDP + f"a={direction}\r\n"
    host.say(in_dialog("INVITE", accepted, number, sdp.format(ANNA.host, 40000).encode()), ANNA)
    (passed_on,) = host.heard(BERT)
    headers = [("Contact", f"<sip:bert@{BERT.host}:{BERT.port}>"), ("Content-Type", "application/sdp")]
    host.say(response_to(passed_on, 200, headers=headers, body=sdp.format(BERT.host, 50000).encode()), BERT)
    assert [each.status for each in host.heard(ANNA)] == [100, 200]
    host.say(in_dialog("ACK", accepted, number), ANNA)
    assert [message.method for message in host.heard(BERT)] == ["ACK"]


async def test_a_call_is_programmed_before_the_caller_hears_of_it(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        accepted, _ = talk(host)
        (view,) = host.core.calls()
        flows = host.programmer.flows(view.id)
        assert {(flow.kind, flow.path) for flow in flows} == {("rtp", "kernel"), ("rtcp", "kernel")}
        assert b"c=IN IP4 192.0.2.1" in accepted.body
        assert set(read(host.live.path).states) == {("bindings", "bert"), ("call", view.id)}


async def test_hang_up_leaves_one_record_and_nothing_live(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()
        rtp = [flow for flow in host.programmer.flows(view.id) if flow.kind == "rtp"]
        for flow in rtp:
            table.count(flow.local, packets=100, bytes=17200, lost=1)
        host.conductor.hang_up(view.id, 16)
        assert table.active() == []
        (cdr,) = await host.stored()
        assert (cdr.id, cdr.caller, cdr.dialled, cdr.status, cdr.cause) == (cdr_id(view.id), "anna", "bert", 200, 16)
        assert {(media.sender, media.packets, media.lost, media.path) for media in cdr.media} == {
            ("a", 100, 1, "kernel"),
            ("b", 100, 1, "kernel"),
        }
        for message in host.heard(ANNA) + host.heard(BERT):
            if isinstance(message, Request):
                host.say(response_to(message, 200), ANNA if "anna" in str(message.to) else BERT)
        assert ("call", view.id) not in read(host.live.path).states
        assert host.meters.calls["", "answered", "16"] == 1


async def test_a_killed_controller_is_followed_by_one_that_knows(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        accepted, _ = talk(host)
        (view,) = host.core.calls()
        rules = dict(table.rules)
        table.writes.clear()
    async with Host(tmp_path, table, hops) as host:
        assert (host.restored.calls, host.restored.users, host.restored.pairs_written) == (1, 1, 0)
        assert (table.writes, table.rules) == ([], rules)
        host.say(in_dialog("BYE", accepted, 3), ANNA)
        assert [each.status for each in host.heard(ANNA)] == [200]
        assert [each.method for each in host.heard(BERT)] == ["BYE"]
        (cdr,) = await host.stored()
        assert (cdr.call, cdr.ended_by, cdr.status) == (view.id, "a", 200)
        assert table.active() == []


async def test_flows_of_no_known_call_are_removed(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        assert len(table.active()) == 4
    (tmp_path / "live").unlink()
    async with Host(tmp_path, table, hops) as host:
        assert host.restored.flows_removed == 4
        assert table.active() == []


async def test_after_a_boot_a_call_yields_its_record_and_nothing_else(tmp_path, table, hops, monkeypatch):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()
        before = datetime.now(UTC)
    boot = tmp_path / "boot"
    boot.write_text("another boot\n")
    monkeypatch.setattr(ctl.journal, "BOOT_ID", boot)
    table.rules.clear()
    async with Host(tmp_path, table, hops) as host:
        assert (host.restored.lost, host.restored.calls, host.core.calls(), host.wire) == (1, 0, [], [])
        (cdr,) = await host.stored()
        assert (cdr.id, cdr.cause, cdr.ended_by) == (cdr_id(view.id), 41, "server")
        assert abs(cdr.ended - before) < timedelta(seconds=5)
    async with Host(tmp_path, table, hops) as host:
        assert host.restored.lost == 0


async def test_registrations_outlive_a_boot_by_what_is_left_of_them(tmp_path, table, hops, monkeypatch):
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        (before,) = host.core.bindings()
    boot, wall = tmp_path / "boot", time.time
    boot.write_text("another boot\n")
    monkeypatch.setattr(ctl.journal, "BOOT_ID", boot)
    monkeypatch.setattr(time, "time", lambda: wall() + 100.0)
    for lives in (1, 2):
        async with Host(tmp_path, table, hops) as host:
            (after,) = host.core.bindings()
            left = before.bindings[0].expires - after.bindings[0].expires
            assert (host.restored.users, round(left)) == (1, 100), lives
    async with Host(tmp_path, table, hops) as host:
        call(host)
        assert [each.method for each in host.heard(BERT)] == ["INVITE"]


async def test_a_call_whose_media_has_stopped_is_ended_on_both_legs(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()
        for flow in host.programmer.flows(view.id):
            table.count(flow.local, packets=9, last_seen=view.answered + 30)
        with capture_logs() as logs:
            host.looks(view.answered + 149)
            assert host.core.calls()[0].state == "talking"
            host.looks(view.answered + 151)
        (told,) = [each for each in logs if each["event"] == "no media any more"]
        assert told["call"] == view.id
        assert 120 <= told["silent_seconds"] <= 121
        for peer in (ANNA, BERT):
            (bye,) = host.heard(peer)
            assert (bye.method, bye.get("Reason")) == ("BYE", "Q.850;cause=102")
        assert (table.active(), host.sessions.calls(), host.meters.silent) == ([], frozenset(), 1)
        (cdr,) = await host.stored()
        assert (cdr.status, cdr.cause, cdr.ended_by, cdr.reason) == (200, 102, "server", "Media Timeout")
        assert sum(media.packets for media in cdr.media) == 18


async def test_a_call_with_media_is_not_ended_and_neither_is_one_on_hold(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        accepted, _ = talk(host)
        (view,) = host.core.calls()
        rtcp = next(flow for flow in host.programmer.flows(view.id) if flow.kind == "rtcp")
        table.count(rtcp.local, last_seen=view.answered + 100)
        host.looks(view.answered + 210)
        change(host, accepted, 3, "inactive")
        host.looks(view.answered + 900)
        change(host, accepted, 4, "sendrecv")
        host.looks(view.answered + 1015)
        assert [(call.state, call.answered) for call in host.core.calls()] == [("talking", view.answered)]
        host.looks(view.answered + 1025)
        assert host.meters.silent == 1


async def test_a_restarted_controller_gives_its_calls_time(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()
    later = view.answered + 600
    async with Host(tmp_path, table, hops, later) as host:
        host.looks(later + 119)
        assert [call.state for call in host.core.calls()] == ["talking"]
        host.looks(later + 121)
        assert host.meters.silent == 1


async def test_a_call_that_only_rings_is_not_silent(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        call(host)
        host.looks(time.monotonic() + 600)
        assert [view.answered for view in host.core.calls()] == [None]
        assert host.meters.silent == 0


async def test_an_engine_that_cannot_tell_ends_no_call(tmp_path, table, hops, monkeypatch):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()

        def fail(calls):
            raise EngineError("system", "out of files")

        monkeypatch.setattr(table, "columns", fail)
        host.looks(view.answered + 130)
        assert [call.state for call in host.core.calls()] == ["talking"]


async def test_our_own_fault_in_ending_one_call_leaves_the_look_to_go_on(tmp_path, table, hops, monkeypatch):
    async with Host(tmp_path, table, hops) as host:
        talk(host)
        (view,) = host.core.calls()

        def fail(index):
            raise RuntimeError("a fault")

        monkeypatch.setattr(table, "off", fail)
        with capture_logs() as logs:
            host.looks(view.answered + 121)
        assert ("silent call not ended", view.id) in [(each["event"], each.get("call")) for each in logs]


async def test_a_refused_description_ends_in_488_and_a_record(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        call(host, sdp=SDP.format("127.0.0.1", 40000))
        assert host.heard(ANNA)[-1].status == 488
        (cdr,) = await host.stored()
        assert (cdr.status, cdr.media) == (488, ())


async def test_an_unknown_callee_is_not_found(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        call(host, "nobody")
        assert host.heard(ANNA)[-1].status == 404


async def test_the_name_of_a_target_is_looked_up(tmp_path, table, hops, monkeypatch):
    found = asyncio.Event()

    async def locate(_, uri):
        found.set()
        return (BERT,) if uri.host == "carrier.example" else ()

    monkeypatch.setattr(Resolver, "locate", locate)
    async with Host(tmp_path, table, hops) as host:
        monkeypatch.setattr(host.users, "route", lambda *_: (UriTarget("sip:7@carrier.example"),))
        call(host, "7")
        await found.wait()
        await asyncio.sleep(0)
        (invite,) = host.heard(BERT)
        assert invite.uri == "sip:7@carrier.example"


async def test_before_the_users_are_known_a_client_is_asked_to_wait(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        host.users.ready = False
        host.say(request("REGISTER", "anna", ANNA, 1), ANNA)
        (challenge,) = host.heard(ANNA)
        credentials = answer(challenge, "anna", f"sip:{REALM}", "REGISTER")
        host.say(request("REGISTER", "anna", ANNA, 2, credentials), ANNA)
        host.say(request("INVITE", "anna", ANNA, 3, body=SDP.format(ANNA.host, 40000).encode()), ANNA)
        answers = host.heard(ANNA)
        assert [(each.cseq.method, each.status, each.retry_after) for each in answers] == [
            ("REGISTER", 503, 5),
            ("INVITE", 503, 5),
        ]


async def test_our_own_fault_ends_one_call_and_no_other(tmp_path, table, hops, monkeypatch):
    async with Host(tmp_path, table, hops) as host:
        talk(host)

        def fail(*arguments, **more):
            raise RuntimeError("a fault")

        monkeypatch.setattr(hops, "route", fail)
        call_number_two = request(
            "INVITE", "anna", ANNA, 5, to=f"<sip:bert@{REALM}>", body=SDP.format(ANNA.host, 4).encode(), call="two"
        )
        host.say(call_number_two, ANNA)
        challenge = host.heard(ANNA)[-1]
        credentials = answer(challenge, "anna", f"sip:bert@{REALM}", "INVITE")
        again = request(
            "INVITE",
            "anna",
            ANNA,
            6,
            credentials,
            to=f"<sip:bert@{REALM}>",
            body=SDP.format(ANNA.host, 4).encode(),
            call="two",
        )
        host.say(again, ANNA)
        assert host.heard(ANNA)[-1].status == 500
        assert [view.state for view in host.core.calls() if view.a.call_id != "two"] == ["talking"]


async def test_a_full_disk_costs_no_call(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        host.live.close()
        host.live._file = os.open("/dev/full", os.O_WRONLY)
        talk(host)
        assert [view.state for view in host.core.calls()] == ["talking"]


@pytest.mark.parametrize("data", [b"\x00" * 20, b"INVITE sip:a SIP/2.0\r\n\r\n", b"SIP/2.0 200\r\n\r\n", b"x" * 70_000])
async def test_what_is_no_message_changes_nothing(tmp_path, table, hops, data):
    async with Host(tmp_path, table, hops) as host:
        host.conductor.received(data, ANNA, US)
        assert host.core.counts() == dict.fromkeys(host.core.counts(), 0)
