# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a call is from: what is believed of whom, and what each callee is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sip.effects import Diversion, FindRoute, TrunkTarget, UserTarget
from sip.identity import escaped
from sip.settings import Settings
from sip.uri import Uri
from tests.sip.conftest import Peer
from tests.sip.talk import ANSWER, HOLD
from tests.sip.test_trunks import CARRIER, FIRST

TRUSTED = replace(CARRIER, trusted=True)


def by_trunk(world, anna, trunk, *extra, **target):
    """The INVITE that a trunk gets of Anna's."""
    world.run(world.core.set_trunks([trunk], world.now))
    world.routes["1"] = (TrunkTarget(trunk.name, "1", **target),)
    anna.invite("1", HOLD, *extra)
    return Peer(world, "host", FIRST.host).hears("INVITE")[0]


def from_trunk(world, bert, trunk, *extra):
    """The INVITE that Bert gets of a trunk's call."""
    world.run(world.core.set_trunks([trunk], world.now))
    host = Peer(world, "4930555", FIRST.host)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", *extra, sdp=HOLD))
    return bert.hears("INVITE")[0]


def test_trusted_trunk_is_told_who_calls(world, anna):
    out = by_trunk(world, anna, TRUSTED, caller_id="+49301234")
    assert str(out.asserted_identities[0].uri) == "sip:+49301234@example.org"
    assert str(out.from_.uri) == "sip:+49301234@example.org"


def test_what_a_user_asserts_is_not_believed(world, anna):
    lie = ("P-Asserted-Identity", "<sip:+1900@evil.example>")
    out = by_trunk(world, anna, TRUSTED, lie, ("P-Preferred-Identity", "<sip:+1900@evil.example>"), ("Diversion", "x"))
    assert b"1900" not in out.to_bytes()
    assert out.asserted_identities[0].uri.user == "anna"
    assert "Diversion" not in out


@pytest.mark.parametrize("trusted", [True, False])
def test_hidden_caller(world, anna, trusted):
    out = by_trunk(world, anna, replace(CARRIER, trusted=trusted), ("Privacy", "id"))
    assert str(out.from_.uri) == "sip:anonymous@anonymous.invalid"
    assert out.from_.display == "Anonymous"
    assert out.get("Privacy") == "id"
    assert (b"anna" in out.to_bytes()) is trusted


@pytest.mark.parametrize(
    "wish", ["id", "user", "header", "full", "ID", "header;user", "id;critical", "critical; id", "none", ""]
)
def test_hidden_caller_stays_so_for_users(world, anna, bert, wish):
    anna.invite("bert", HOLD, *([("Privacy", wish)] if wish else []))
    (out,) = bert.hears("INVITE")
    assert (b"anna" in out.to_bytes()) is (wish in ("none", ""))


def test_trunk_with_a_number_of_its_own(world, anna):
    out = by_trunk(world, anna, replace(CARRIER, from_user="4930555", ours="carrier.example"))
    assert str(out.from_.uri) == "sip:4930555@carrier.example"


def test_trusted_trunk_is_believed(world, bert):
    out = from_trunk(world, bert, TRUSTED, ("P-Asserted-Identity", '"Chief" <sip:+49891@c.example>, <tel:+49891>'))
    assert (out.from_.uri.user, out.from_.display) == ("+49891", "Chief")
    assert world.effects(FindRoute)[0].caller == "+49891"
    assert "P-Asserted-Identity" not in out


def test_other_trunks_are_not_believed(world, bert):
    out = from_trunk(world, bert, CARRIER, ("P-Asserted-Identity", "<sip:+49891@c.example>"))
    assert out.from_.uri.user == "4930555"


@pytest.mark.parametrize("trunk", [TRUSTED, CARRIER])
def test_a_trunk_that_names_nobody_calls_for_somebody_who_hides(world, bert, trunk):
    """Its Privacy may have got lost on the way; whom it asserts is still not for users (RFC 3323 §4.1.1.3)."""
    world.run(world.core.set_trunks([trunk], world.now))
    host = Peer(world, "4930555", FIRST.host)
    asserted = ("P-Asserted-Identity", '"Chief" <sip:+49891@c.example>')
    invite = host.request("INVITE", "sip:bert@198.51.100.1", asserted, sdp=HOLD)
    host.say(invite.replaced("From", ["<sip:anonymous@anonymous.invalid>;tag=a"]))
    (out,) = bert.hears("INVITE")
    assert (out.from_.display, str(out.from_.uri)) == ("Anonymous", "sip:anonymous@anonymous.invalid")
    assert b"+49891" not in out.to_bytes()


def test_identity_that_cannot_be_read(world, bert):
    assert from_trunk(world, bert, TRUSTED, ("P-Asserted-Identity", "<<>")).from_.uri.user == "4930555"


def test_diversion_passes_between_trusted_trunks(world, anna):
    value = "<sip:+49891@c.example>;reason=user-busy"
    world.run(world.core.set_trunks([TRUSTED], world.now))
    world.routes["bert"] = (TrunkTarget("carrier", "2"),)
    host = Peer(world, "4930555", FIRST.host)
    host.say(host.request("INVITE", "sip:bert@198.51.100.1", ("Diversion", value), sdp=HOLD))
    assert host.heard()[-1].get("Diversion") == value


SENT_ON = (Diversion("+4930301", "no-answer", hidden=True), Diversion("bert", "unconditional"))
TOLD = [
    "<sip:+4930301@example.org>;reason=no-answer;counter=1;privacy=full",
    "<sip:bert@example.org>;reason=unconditional;counter=1",
]


def test_forwarded_call_names_who_forwarded(world, anna):
    assert by_trunk(world, anna, TRUSTED, diversions=SENT_ON).values("Diversion") == TOLD


def test_a_trunk_that_is_not_trusted_is_not_told_who_forwarded(world, anna):
    assert by_trunk(world, anna, replace(TRUSTED, trusted=False), diversions=SENT_ON).get("Diversion") is None


@pytest.mark.parametrize(("policy", "told"), [("all", TOLD[1:]), ("trunks", []), ("none", [])])
def test_users_are_told_who_forwarded_where_the_settings_let_them(world, anna, bert, policy, told):
    """But for those who do not want to be shown."""
    world.settings = replace(world.settings, diversion=policy)
    world.core = world.fresh_core()
    assert bert.register(call_id="anew").status == 200
    world.routes["1"] = (UserTarget("bert", diversions=SENT_ON),)
    anna.invite("1")
    assert bert.hears("INVITE")[0].values("Diversion") == told


def test_no_trunk_is_told_where_the_settings_say_nobody(world, anna):
    world.settings = replace(world.settings, diversion="none")
    world.core = world.fresh_core()
    assert by_trunk(world, anna, TRUSTED, diversions=SENT_ON).get("Diversion") is None


def test_who_deflects_is_told_before_those_who_forwarded_to_it(world, anna, bert):
    """Also where it was not the first to ring: its own rights count."""
    carl = Peer(world, "carl", "203.0.113.30")
    world.settings = replace(world.settings, redirections=3)
    world.core = world.fresh_core()
    world.run(world.core.set_trunks([TRUSTED], world.now))
    bert.register(call_id="anew")
    carl.register(call_id="anew")
    world.routes["1"] = (UserTarget("bert"), UserTarget("carl", beside=True, diversions=SENT_ON[1:]))
    world.routes["49301"] = (TrunkTarget("carrier", "49301", diversions=SENT_ON[:1]),)
    anna.invite("1")
    bert.reply(bert.hears("INVITE")[0], 480)
    carl.reply(carl.hears("INVITE")[0], 302, b"", ("Contact", "<sip:49301@example.org>"))
    assert world.effects(FindRoute)[-1].diverted == "carl"
    (out,) = Peer(world, "host", FIRST.host).hears("INVITE")
    assert out.values("Diversion") == [TOLD[0], "<sip:carl@example.org>;reason=deflection;counter=1", TOLD[1]]


def test_headers_that_the_settings_let_pass(world, anna, bert):
    world.settings = Settings(realm="example.org", secret=b"k" * 32, pass_headers=("X-Ticket", "x-crm-*", "Via"))
    world.core = world.fresh_core()
    bert.register(call_id="anew")
    anna.invite("bert", HOLD, ("X-Ticket", "7"), ("X-CRM-Id", "8"), ("X-Other", "9"))
    (out,) = bert.hears("INVITE")
    assert (out.get("X-Ticket"), out.get("X-CRM-Id"), out.get("X-Other"), len(out.vias)) == ("7", "8", None, 1)


def test_reason_of_a_refusal_and_of_a_cancel(world, anna, bert):
    invite = anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 180)
    anna.say(anna.beside(invite, "CANCEL").replaced("Reason", ["Q.850;cause=31"]))
    assert bert.hears("CANCEL")[0].get("Reason") == "Q.850;cause=31"
    assert anna.heard()[-1].get("Reason") == "Q.850;cause=31"


def redirected(world, anna, bert, contact, limit=3):
    world.settings = Settings(realm="example.org", secret=b"k" * 32, redirections=limit)
    world.core = world.fresh_core()
    assert bert.register(call_id="anew").status == 200
    world.log.clear()
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 302, b"", ("Contact", contact))
    bert.hears("ACK")


def test_redirection_goes_by_the_routing_of_the_one_who_redirects(world, anna, bert):
    carl = Peer(world, "carl", "203.0.113.30")
    world.routes["carl"] = (UserTarget("carl"),)
    redirected(world, anna, bert, "<sip:carl@example.org>")
    second = world.effects(FindRoute)[1]
    assert (second.caller, second.dialled, second.domain, second.diverted) == ("anna", "carl", "example.org", "bert")
    assert anna.heard()[-1].status == 480
    assert carl


def test_trunk_is_told_who_deflected_a_call(world, anna, bert):
    world.routes["49301"] = (TrunkTarget("carrier", "49301"),)
    world.settings = Settings(realm="example.org", secret=b"k" * 32, redirections=3)
    world.core = world.fresh_core()
    world.run(world.core.set_trunks([TRUSTED], world.now))
    bert.register(call_id="anew")
    anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], 302, b"", ("Contact", "<sip:49301@example.org>"))
    (out,) = Peer(world, "host", FIRST.host).hears("INVITE")
    assert out.get("Diversion") == "<sip:bert@example.org>;reason=deflection;counter=1"


def test_trunk_is_told_of_a_transfer_who_referred(world, bert, talk):
    world.routes["49301"] = (TrunkTarget("carrier", "49301"),)
    world.run(world.core.set_trunks([TRUSTED], world.now))
    bert.say(bert.within(talk.out, "REFER", ("Refer-To", "<sip:49301@example.org>")))
    (out,) = Peer(world, "host", FIRST.host).hears("INVITE")
    assert "Diversion" not in out
    assert out.get("Referred-By") == "<sip:bert@example.org>"


def test_redirection_in_a_circle_ends(world, anna, bert):
    redirected(world, anna, bert, "<sip:bert@example.org>")
    assert anna.heard()[-1].status == 482
    assert len(world.effects(FindRoute)) == 1


def test_two_that_forward_to_each_other_end_at_once(world, anna, bert):
    carl = Peer(world, "carl", "203.0.113.30")
    world.settings = Settings(realm="example.org", secret=b"k" * 32, redirections=5)
    world.core = world.fresh_core()
    for peer in (bert, carl):
        assert peer.register(call_id=f"{peer.user}-anew").status == 200
    anna.invite("bert")
    bert.reply(bert.hears("INVITE")[0], 302, b"", ("Contact", "<sip:carl@example.org>"))
    carl.reply(carl.hears("INVITE")[0], 302, b"", ("Contact", "<sip:bert@example.org>"))
    bert.hears("ACK")
    assert anna.heard()[-1].status == 482


def test_redirections_are_refused_by_default(world, anna, bert):
    redirected(world, anna, bert, "<sip:carl@example.org>", limit=0)
    assert anna.heard()[-1].status == 480
    assert len(world.effects(FindRoute)) == 1


@pytest.mark.parametrize("name", ["anna", "+49 30", "a@b", "a;b", "ä<>", 'x"y'])
def test_names_can_be_written_as_users(name):
    assert Uri.parse(f"sip:{escaped(name)}@h.example").decoded_user() == name


def test_answer_hides_the_callee(world, anna, bert):
    anna.invite("bert")
    (out,) = bert.hears("INVITE")
    bert.reply(out, 200, ANSWER, ("X-Inside", "203.0.113.9"), ("Server", "Phone 1"))
    text = anna.heard()[-1].to_bytes()
    assert b"203.0.113" not in text
    assert b"Phone 1" not in text
