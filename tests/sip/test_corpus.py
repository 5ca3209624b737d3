# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of RFC 4475 and RFC 5118 and real session descriptions; collected where VOXDP_CORPUS is set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sip.build import response_to
from sip.effects import Address
from sip.errors import ParseError, SdpError
from sip.message import Request, Response
from sip.parser import parse
from sip.sdp import SessionDescription
from tests.sip.conftest import Peer, World

SOMEBODY = Address("192.0.2.77", 5060)
CORPUS = Path(os.environ["VOXDP_CORPUS"])
VALID = "wsinv intmeth esc01 escnull esc02 lwsdisp longreq dblreq semiuri transports mpart01 unreason noreason"
MALFORMED = {
    **dict.fromkeys(("badinv01", "clerr", "ncl", "scalar02", "quotbal", "ltgtruri", "lwsruri", "lwsstart"), 400),
    **dict.fromkeys(("trws", "escruri", "baddate", "regbadct", "badaspec", "baddn", "mismatch01", "mismatch02"), 400),
    **dict.fromkeys(("scalarlg", "bigcode"), 400),
    "badvers": 505,
}
READABLE = "badbranch unkscm novelsc unksm2 bext01 invut regaut01 bcast zeromf cparam01 cparam02 regescrt sdp01 inv2543"
INCOMPLETE = ("insuf", "multi01", "mcl01")
NO_SDP = {"fuzz-sdp_seed_corpus__input.6.sdp"}
"""Seeds of a fuzzer that are broken on purpose."""


def torture(name: str) -> bytes:
    return (CORPUS / "rfc4475" / f"{name}.dat").read_bytes()


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (CORPUS / folder).iterdir() if path.name != "SOURCE")


def test_every_message_of_rfc4475_is_named_here() -> None:
    named = {*VALID.split(), *MALFORMED, *READABLE.split(), *INCOMPLETE}
    assert {path.stem for path in files("rfc4475")} == named
    assert (len(VALID.split()), len(MALFORMED), len(READABLE.split()) + len(INCOMPLETE)) == (13, 19, 17)


@pytest.mark.parametrize("name", [*VALID.split(), *READABLE.split()])
def test_readable_messages_are_read_and_kept(name: str) -> None:
    data = torture(name)
    message = parse(data)
    assert data.startswith(message.to_bytes())
    if isinstance(message, Request):
        answer = parse(response_to(message, 200, to_tag="t").to_bytes())
        assert (answer.vias, answer.call_id, answer.cseq) == (message.vias, message.call_id, message.cseq)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_messages_are_refused(name: str) -> None:
    with pytest.raises(ParseError) as refusal:
        parse(torture(name))
    assert refusal.value.status == MALFORMED[name]
    partial = refusal.value.partial
    assert partial is not None
    assert all(field in partial for field in ("via", "from", "to", "call-id", "cseq"))


@pytest.mark.parametrize("name", INCOMPLETE)
def test_incomplete_messages_are_answered_with_400(name: str) -> None:
    with pytest.raises(ParseError) as refusal:
        parse(torture(name))
    assert refusal.value.status == 400
    assert isinstance(refusal.value.partial, Request)
    assert response_to(refusal.value.partial, 400, to_tag="t").values("via")


def test_the_statuses_of_the_application_layer_can_be_told() -> None:
    """RFC 4475 §3.3: what the core needs to answer 416, 420, 415, 401, 483, 406 is there."""
    read = {name: parse(torture(name)) for name in READABLE.split()}
    requests = {name: message for name, message in read.items() if isinstance(message, Request)}
    assert requests["unkscm"].request_uri.scheme == "nobodyknowsthisscheme"
    assert requests["novelsc"].request_uri.scheme == "soap.beep"
    assert requests["unksm2"].to.uri.scheme == "isbn"
    assert requests["bext01"].require == ("nothingSupportsThis", "nothingSupportsThisEither")
    assert requests["bext01"].proxy_require == ("noProxiesSupportThis", "norDoAnyProxiesSupportThis")
    assert requests["invut"].content_type == "application/unknownformat"
    assert requests["regaut01"].authorizations[0].scheme == "nooneknowsthisscheme"
    assert requests["zeromf"].max_forwards == 0
    assert requests["sdp01"].accept == ("text/nobodyKnowsThis",)
    assert not requests["badbranch"].via.has_cookie
    assert "unknownparam" in requests["cparam01"].contacts[0].params
    assert "unknownparam" in requests["cparam02"].contacts[0].uri.params
    assert isinstance(read["bcast"], Response)
    assert read["bcast"].vias[1].host == "255.255.255.255"


STATUSES = {
    "badbranch": 200,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 400,
    "bext01": 420,
    "invut": 415,
    "regaut01": 401,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 401,
    "cparam02": 401,
    "regescrt": 401,
    "sdp01": 406,
    "inv2543": 407,
    "insuf": 400,
    "multi01": 400,
    "mcl01": 400,
}


@pytest.mark.parametrize("name", STATUSES)
def test_the_core_answers_what_the_rfc_names(world: World, name: str) -> None:
    world.receive(torture(name), SOMEBODY)
    statuses = [int(send.data[8:11]) for _, send in world.wire]
    assert statuses == ([] if STATUSES[name] is None else [STATUSES[name]])
    for _, send in world.wire:
        assert b"\r\nVia: " in send.data


@pytest.mark.parametrize(("name", "user"), [("cparam01", "watson"), ("cparam02", "watson"), ("regescrt", "user")])
def test_a_registration_of_odd_spelling_is_taken_from_whom_it_is(world: World, name: str, user: str) -> None:
    world.passwords[user] = "secret"
    request = parse(torture(name))
    assert isinstance(request, Request)
    peer = Peer(world, user, SOMEBODY.host)
    peer.say(request)
    peer.say(peer.authorized(request, peer.hears(401)[0]))
    (answer,) = peer.hears(200)
    assert len(answer.contacts) == 1


@pytest.mark.parametrize("name", MALFORMED)
def test_the_core_refuses_what_is_malformed(world: World, name: str) -> None:
    world.receive(torture(name), SOMEBODY)
    statuses = [int(send.data[8:11]) for _, send in world.wire]
    assert statuses == ([] if torture(name).startswith(b"SIP/2.0") else [MALFORMED[name]])
    assert world.empty()


def uri(message: Request | Response) -> tuple[str, int | None]:
    assert isinstance(message, Request)
    return message.request_uri.host, message.request_uri.port


SAID_IN_IPV6 = {
    "ipv6-good": lambda m: (uri(m), m.via.host) == (("2001:db8::10", None), "2001:db8::9:1"),
    "port-ambiguous": lambda m: uri(m) == ("2001:db8::10:5070", None),
    "port-unambiguous": lambda m: uri(m) == ("2001:db8::10", 5070),
    "via-received-param-no-delim": lambda m: (m.via.host, m.via.received) == ("2001:db8::9:1", "2001:db8::9:255"),
    "via-received-param-with-delim": lambda m: (m.via.host, m.via.received) == ("2001:db8::9:1", "2001:db8::9:255"),
    "ipv6-in-sdp": lambda m: connections(m) == ["2001:db8::20", "2001:db8::20"],
    "mult-ip-in-sdp": lambda m: connections(m) == ["192.0.2.1", "2001:db8::1"],
    "mult-ip-in-header": lambda m: (
        [via.sent_by for via in m.vias] == [("2001:db8::9:1", 6050), ("192.0.2.1", 5060), ("2001:db8::9:255", 5060)]
    ),
    "ipv4-mapped-ipv6": lambda m: (
        [via.host for via in m.vias] == ["::ffff:192.0.2.10", "::ffff:192.0.2.2"]
        and m.contacts[0].uri.host == "::ffff:192.0.2.2"
    ),
    "ipv6-bug-abnf-3-colons": lambda m: m.request_uri.user == "user",
    "ipv6-correct-abnf-2-colons": lambda m: uri(m) == ("2001:db8::192.0.2.1", None),
}


def connections(message: Request | Response) -> list[str]:
    """The addresses of all media."""
    description = SessionDescription.parse(message.body)
    assert description.to_bytes() == message.body
    found = [description.connection_of(medium) for medium in description.media]
    return [each.address for each in found if each]


@pytest.mark.parametrize("path", files("rfc5118"), ids=lambda path: path.name)
def test_rfc5118(world: World, path: Path) -> None:
    data = path.read_bytes()
    world.receive(data, SOMEBODY)
    answers = [int(send.data[8:11]) for _, send in world.wire]
    if path.name == "ipv6-bad":
        with pytest.raises(ParseError, match="400"):
            parse(data)
        assert answers == [400]
        return
    message = parse(data)
    assert data.startswith(message.to_bytes())
    assert SAID_IN_IPV6[path.name](message)
    assert answers == [{"INVITE": 407, "REGISTER": 401, "OPTIONS": 200, "BYE": 481}[message.cseq.method]]


@pytest.mark.parametrize("path", files("kamailio-sip"), ids=lambda path: path.name)
def test_any_other_message_is_read_or_refused(path: Path) -> None:
    for data in (path.read_bytes(), path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        try:
            message = parse(data)
        except ParseError:
            continue
        assert data.lstrip(b"\r\n").startswith(message.to_bytes())


@pytest.mark.parametrize("path", files("sdp-transform", "pj-fuzz-sdp", "pj-fuzz-sdes"), ids=lambda path: path.name)
def test_session_descriptions_round_trip(path: Path) -> None:
    body = path.read_bytes()
    if path.name in NO_SDP:
        with pytest.raises(SdpError):
            SessionDescription.parse(body)
        return
    description = SessionDescription.parse(body)
    for medium in description.media:
        _ = medium.codecs, medium.cryptos, medium.candidates, medium.rtcp, description.direction_of(medium)
    assert description.to_bytes() == body
