# SPDX-License-Identifier: GPL-3.0-or-later
"""Contacts: what a REGISTER does to them, and what is refused (RFC 3261 §10.3)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sip.effects import Address, SaveBindings
from sip.errors import ProtocolError
from sip.parser import parse
from sip.registrar import Binding, IntervalTooBrief, Registrar, bindings_text, contact_value
from sip.settings import Settings
from tests.sip.conftest import Peer

BOUND = {"uri": "sip:a@h", "q": 1.0, "expires": 3600.0, "call_id": "c", "cseq": 1, "agent": ""}
PHONE, OURS = Address("192.0.2.7", 40000), Address("198.51.100.1", 5060)


@pytest.fixture
def registrar():
    return Registrar(Settings(realm="example.org", secret=b"k" * 32))


@pytest.fixture
def put(registrar):
    numbers = iter(range(1, 1000))

    def register(
        *contacts: str, expires: int | None = None, now: float = 0.0, call_id: str = "c", cseq: int = 0, by: str = "udp"
    ):
        lines = "".join(f"Contact: {contact}\r\n" for contact in contacts)
        lines += "" if expires is None else f"Expires: {expires}\r\n"
        request = parse(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx\r\n"
            "From: <sip:anna@example.org>;tag=1\r\nTo: <sip:anna@example.org>\r\n"
            f"Call-ID: {call_id}\r\nCSeq: {cseq or next(numbers)} REGISTER\r\n{lines}\r\n".encode()
        )
        changed = registrar.update("anna", request, replace(PHONE, transport=by), OURS, now)
        return changed, [contact_value(binding, now) for binding in registrar.contacts("anna", now)]

    return register


def test_expires_of_the_contact_wins_over_header_over_default(put):
    assert put("<sip:a@h1>;expires=100", "<sip:a@h2>", expires=200)[1] == [
        "<sip:a@h2>;expires=200",
        "<sip:a@h1>;expires=100",
    ]
    assert "<sip:a@h3>;expires=3600" in put("<sip:a@h3>")[1]


def test_too_long_is_cut_and_too_short_refused_as_a_whole(put, registrar):
    assert put("<sip:a@h>", expires=999999)[1] == ["<sip:a@h>;expires=7200"]
    with pytest.raises(IntervalTooBrief):
        put("<sip:a@h>;expires=0", "<sip:a@h2>;expires=59")
    assert len(registrar.contacts("anna", 0)) == 1


def test_how_long_is_for_the_operator_to_say(world, anna):
    world.settings = replace(world.settings, min_expires=10, default_expires=20, max_expires=30)
    world.core = world.fresh_core()
    granted = {}
    for number, wish in enumerate(("", "10", "30", "31", "9")):
        fields = [("Expires", wish)] if wish else []
        granted[wish] = anna.register(*fields, call_id=f"r{number}")
    lives = {wish: answer.contacts[0].params.get("expires") for wish, answer in granted.items() if answer.contacts}
    assert lives == {"": "20", "10": "10", "30": "30", "31": "30"}
    assert (granted["9"].status, granted["9"].get("Min-Expires")) == (423, "10")


@pytest.mark.parametrize("expires", ["0", "60", ""])
@pytest.mark.parametrize("contact", ["*", "*, <sip:bert@other>"])
def test_a_star_stands_alone_and_only_to_remove(world, bert, expires, contact):
    fields, right = [("Expires", expires)] if expires else [], (contact, expires) == ("*", "0")
    if right:
        assert bert.register(*fields, call_id="star", contact=contact).status == 200
    else:
        bert.say(bert.request("REGISTER", "sip:example.org", *fields, to="sip:bert@example.org", contact=contact))
        bert.hears(400)
    assert len(world.core.bindings()) == (0 if right else 1)


def test_time_runs(put, registrar):
    put("<sip:a@h>", expires=100)
    assert contact_value(registrar.contacts("anna", 40)[0], 40) == "<sip:a@h>;expires=60"
    assert registrar.contacts("anna", 100) == []
    assert registrar.next_expiry("anna") == 100
    assert registrar.purge("anna", 100)
    assert len(registrar) == 0


EQUAL = [
    ("sip:anna@Host.example", "sip:anna@hOST.EXAMPLE", True),
    ("sip:anna@h;transport=UDP", "sip:anna@h;transport=udp", True),
    ("sip:anna@h;x=1", "sip:anna@h", True),
    ("sip:%61nna@h", "sip:anna@h", True),
    ("sip:Anna@h", "sip:anna@h", False),
    ("sip:anna@h;transport=tcp", "sip:anna@h", False),
    ("sip:anna@h:5060", "sip:anna@h", False),
    ("sip:anna@h", "sip:anna@h2", False),
]


@pytest.mark.parametrize(("one", "other", "same"), EQUAL)
def test_the_same_contact_in_another_spelling(put, one, other, same):
    put(f"<{one}>")
    assert len(put(f"<{other}>")[1]) == (1 if same else 2)


def test_one_is_removed_and_all_are(put):
    put("<sip:a@h1>", "<sip:a@h2>")
    assert put("<sip:a@h1>;expires=0")[1] == ["<sip:a@h2>;expires=3600"]
    assert put("*", expires=0) == (True, [])
    assert put("*", expires=0) == (False, [])


def test_question_changes_nothing(put):
    put("<sip:a@h>;q=0.5")
    assert put() == (False, ["<sip:a@h>;q=0.5;expires=3600"])


@pytest.mark.parametrize("contacts", [["<sip:a@h>"], ["*"]])
def test_what_was_overtaken_is_not_applied(put, registrar, contacts):
    put("<sip:a@h>", cseq=7)
    before = registrar.contacts("anna", 0)
    for cseq in (7, 6):
        with pytest.raises(ProtocolError, match="CSeq Out Of Order"):
            put(*contacts, expires=0, cseq=cseq)
    assert registrar.contacts("anna", 0) == before
    assert put(*contacts, expires=0, cseq=1, call_id="other")[1] == []


def test_preferred_first(put):
    _, shown = put("<sip:a@h1>;q=0.1", "<sip:a@h2>;q=0.9", "<sip:a@h3>")
    assert [line.split(">")[0] for line in shown] == ["<sip:a@h3", "<sip:a@h2", "<sip:a@h1"]


def test_at_most_ten(put, registrar):
    with pytest.raises(ProtocolError, match="Too Many Contacts"):
        put(*[f"<sip:a@h{n}>" for n in range(11)])
    for number in range(15):
        put(f"<sip:a@h{number}>")
    assert {binding.uri for binding in registrar.contacts("anna", 0)} == {f"sip:a@h{n}" for n in range(5, 15)}


TARGETS = [
    ("sip:a@10.0.0.1:5060", PHONE),
    ("sip:a@192.0.2.7:5062", Address("192.0.2.7", 5062)),
    ("sip:a@192.0.2.7", Address("192.0.2.7", 5060)),
    ("sip:a@some.name", PHONE),
    ("sip:a@198.51.100.99", PHONE),
]


@pytest.mark.parametrize(("uri", "target"), TARGETS)
def test_where_a_contact_is_reached(put, registrar, uri, target):
    put(f"<{uri}>")
    assert registrar.contacts("anna", 0)[0].target == target


def test_restored_from_json(put, registrar):
    put("<sip:a@h1>;q=0.3", "<sip:a@h2>;expires=60")
    state = json.loads(bindings_text(registrar.bindings("anna")))
    other = Registrar(Settings(realm="example.org", secret=b"k" * 32))
    other.restore("anna", state, 60)
    assert other.contacts("anna", 60) == registrar.contacts("anna", 60)
    assert len(other.contacts("anna", 60)) == 1


def test_what_is_written_is_the_state_in_json(registrar):
    near = Address("192.0.2.1", 5060)
    names = 'sip:"ä\\\n@h', "c\udcff", "A \u2028 phone"
    far = Address("2001:db8::1", 4000, "tls", inbound=True, name="phone.example")
    path = ("<sip:p1;lr>", '"q" <sip:p2>')
    bindings = (Binding(names[0], 0.3, 12345.678901234, names[1], 7, far, near, names[2], path),)
    bindings += (Binding("sip:a@h", 1.0, 1e22, "", 2**31, near, far),)
    state = [binding.state for binding in bindings]
    assert bindings_text(bindings) == json.dumps(state, separators=(",", ":"))
    assert bindings_text(()) == ""


def test_restored_after_a_boot_by_another_clock_and_without_what_hung_on_connections(put, registrar):
    put("<sip:a@h1>;expires=100")
    state = [binding.state for binding in registrar.bindings("anna")]
    connected = {**state[0], "uri": "sip:a@h2", "received": Address("192.0.2.7", 4000, "tcp", inbound=True).packed}
    other = Registrar(Settings(realm="example.org", secret=b"k" * 32))
    assert other.restore("anna", [*state, connected], -950.0, -1000.0)
    assert [(each.uri, each.expires) for each in other.contacts("anna", -950.0)] == [("sip:a@h1", -900.0)]


def test_who_parts_takes_along_what_its_connection_led_to(world, anna):
    """Nobody waits for a contact that there is no way to; one that came back by another connection stays."""
    here, again, beside = (Address("203.0.113.5", port, "tls", inbound=True) for port in (4000, 4001, 4002))
    bert = Peer(world, "bert", "203.0.113.5")
    for address, contact in ((here, "<sip:bert@one>"), (beside, "<sip:bert@two>"), (again, "<sip:bert@one>")):
        bert.address = address
        assert bert.register(contact=contact).status == 200
    left = [["sip:bert@one", "sip:bert@two"], ["sip:bert@one"], []]
    for address, uris in zip((here, beside, again), left, strict=True):
        world.run(world.core.parted(address, world.now))
        assert sorted(item["uri"] for item in world.core.bindings_state("bert")) == uris
        assert len(world.effects(SaveBindings)[-1].bindings) == len(uris)
    assert world.core.bindings() == []


def test_a_path_is_kept_and_leads_to_the_contact(world, anna):
    """RFC 3327: an edge proxy between the phone and us."""
    bert = Peer(world, "bert", "203.0.113.5")
    path = ("Path", "<sip:edge@203.0.113.5:5070;lr>")
    answer = bert.register(path, ("Require", "path"), contact="<sip:bert@10.0.0.9>")
    assert (answer.status, answer.values("Path")) == (200, [path[1]])
    bert.address = Address("203.0.113.5", 5070)
    anna.invite("bert")
    (invite,) = bert.hears("INVITE")
    assert (invite.uri, [str(route) for route in invite.routes]) == ("sip:bert@10.0.0.9", [path[1]])


def test_a_path_points_at_no_third_party(world, anna):
    bert = Peer(world, "bert", "203.0.113.5")
    assert bert.register(("Path", "<sip:198.51.100.99;lr>")).status == 200
    anna.invite("bert")
    assert len(bert.hears("INVITE")) == 1


def test_ten_thousand_users_are_kept_and_found(registrar):
    state = [{**BOUND, "received": PHONE.packed, "local": OURS.packed}]
    for number in range(10_000):
        registrar.restore(f"u{number}", state, 0.0)
    assert (len(registrar), len(registrar.contacts("u9999", 0.0))) == (10_000, 1)
    assert all(registrar.purge(f"u{number}", 4000.0) for number in range(10_000))
    assert len(registrar) == 0


def test_other_schemes_are_no_contact(put):
    with pytest.raises(ProtocolError, match="No SIP URI"):
        put("<tel:+1234>")


@pytest.mark.parametrize("transport", ["udp", "tcp", "ws"])
def test_a_secure_contact_is_not_registered_where_it_could_not_be_reached_securely(put, transport):
    with pytest.raises(ProtocolError, match="SIPS Contact Needs TLS"):
        put("<sip:a@h>", "<sips:a@h>", by=transport)
    assert put() == (False, [])


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_by_tls_it_is_and_goes_by_whatever_else(put, transport):
    assert put("<sips:a@h>", by=transport) == (True, ["<sips:a@h>;expires=3600"])
    assert put("<sips:a@h>;expires=0") == (True, [])


@pytest.mark.parametrize(
    ("uri", "to", "status"),
    [
        ("sip:example.org", "sip:bert@example.org", 200),
        ("sip:198.51.100.1", "sip:bert@198.51.100.1", 200),
        ("sip:example.net", "sip:bert@example.org", 404),
        ("sip:example.org", "sip:bert@example.net", 404),
        ("sip:example.net", "sip:bert@example.net", 404),
        ("sip:example.net", "sip:anna@example.net", 403),
        ("sip:example.org", "tel:+4930", 403),
    ],
)
def test_only_users_of_the_domain_register_here(world, uri, to, status):
    """RFC 3261 §10.3: we are no proxy to registrars of other domains, be the password right."""
    world.core.serve_domains(lambda host: host in ("example.org", "198.51.100.1"))
    bert = Peer(world, "bert", "203.0.113.5")
    request = bert.request("REGISTER", uri, to=to)
    bert.say(request)
    bert.say(bert.authorized(request, bert.hears(401)[0]))
    bert.hears(status)
    assert bool(world.core.bindings()) == (status == 200)
