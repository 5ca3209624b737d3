# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of the kinds of RFC 4475 and RFC 5118, in our own spelling."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sip.effects import Address
from sip.errors import ParseError
from sip.message import Message, Request
from sip.parser import parse
from tests.sip.conftest import World

Write = Callable[..., bytes]
Case = dict[str, Any]
SOMEBODY = Address("192.0.2.77", 5060)

ACCEPTED: dict[str, tuple[Case, Callable[[Message], object]]] = {
    "method of odd token characters": (
        {"start": "!x-Y_*+`.%'~ sip:bert@example.org SIP/2.0", "changes": {"CSeq": "7 !x-Y_*+`.%'~"}},
        lambda m: m.cseq.method == "!x-Y_*+`.%'~",
    ),
    "escaped method is another method": (
        {"start": "INV%49TE sip:bert@example.org SIP/2.0", "changes": {"CSeq": "7 INV%49TE"}},
        lambda m: m.cseq.method != "INVITE",
    ),
    "controls as quoted pairs": (
        {"changes": {"To": '"\\\x07 \\\0 \\\x7f" <sip:b@example.org>'}},
        lambda m: m.to.uri.user == "b",
    ),
    "no space before the bracket": (
        {"changes": {"From": "anna<sip:a@example.org>;tag=1"}},
        lambda m: m.from_.display == "anna",
    ),
    "percent in a display name": (
        {"changes": {"To": '"%Z%45" <sip:b@example.org>'}},
        lambda m: m.to.display == "%Z%45",
    ),
    "escaped header name is unknown": ({"extra": "C%6Fntact: <sip:x@y>\r\n"}, lambda m: len(m.contacts) == 1),
    "escaped NUL": ({"changes": {"To": "sip:a%00b@example.org"}}, lambda m: m.to.uri.user == "a%00b"),
    "forty Vias of all forms": (
        {"extra": "V : SIP/2.0/TCP h.example.org\r\nvIa: SIP/2.0/TCP h\r\n" * 20},
        lambda m: len(m.vias) == 41,
    ),
    "unknown transport in a lower Via": (
        {"extra": "Via: SIP/2.0/UNKNOWN t\r\n"},
        lambda m: m.vias[1].transport == "UNKNOWN",
    ),
    "very long values": (
        {"changes": {"To": f'"{"x" * 3000}" <sip:b@h;{"y" * 3000}>'}},
        lambda m: len(m.to.display) == 3000,
    ),
    "leading zeros": ({"changes": {"CSeq": "0007 INVITE", "Max-Forwards": "0070"}}, lambda m: m.max_forwards == 70),
    "Max-Forwards 0": ({"changes": {"Max-Forwards": "0"}}, lambda m: m.max_forwards == 0),
    "no Max-Forwards, no tag, no branch": (
        {"changes": {"Max-Forwards": None, "From": "sip:a@b", "Via": "SIP/2.0/UDP a.example.org"}},
        lambda m: (m.max_forwards, m.from_.tag, m.via.branch) == (None, None, None),
    ),
    "branch is the cookie alone": (
        {"changes": {"Via": "SIP/2.0/UDP h;branch=z9hG4bK"}},
        lambda m: not m.via.has_cookie,
    ),
    "strange but legal header value": ({"extra": "X-Odd: ;;,,;;,;\r\n"}, lambda m: m.get("x-odd") == ";;,,;;,;"),
    "empty Subject": ({"extra": "s :\r\n"}, lambda m: m.get("Subject") == ""),
    "unknown scheme of the request URI": (
        {"start": "INVITE nobody.knows:this SIP/2.0"},
        lambda m: isinstance(m, Request) and m.request_uri.scheme == "nobody.knows",
    ),
    "unknown schemes of addresses": (
        {"changes": {"To": "isbn:2983792873", "From": "<http://www.example.com>;tag=3"}},
        lambda m: m.to.uri.scheme == "isbn",
    ),
    "expires beyond all numbers": ({"extra": f"Expires: {'9' * 200}\r\n"}, lambda m: m.expires == 2**32 - 1),
    "unknown authorization scheme": (
        {"extra": "Authorization: NoOne a=b\r\n"},
        lambda m: m.authorizations[0].scheme == "noone",
    ),
    "header in a bracketed Contact": (
        {"changes": {"Contact": "<sip:a@b?Route=%3Csip:c%3E>"}},
        lambda m: m.contacts[0].uri.headers == "Route=%3Csip:c%3E",
    ),
    "params without brackets are the header's": (
        {"changes": {"Contact": "sip:+1@gw.example.net;unknown"}},
        lambda m: "unknown" in m.contacts[0].params and "unknown" not in m.contacts[0].uri.params,
    ),
    "params within brackets are the URI's": (
        {"changes": {"Contact": "<sip:+1@gw.example.net;unknown>"}},
        lambda m: "unknown" in m.contacts[0].uri.params,
    ),
    "IPv6 everywhere": (
        {
            "start": "INVITE sip:b@[2001:db8::10]:5070 SIP/2.0",
            "changes": {"Via": "SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255"},
        },
        lambda m: (m.via.host, m.via.port, m.via.received) == ("2001:db8::9:1", 6050, "2001:db8::9:255"),
    ),
    "IPv4 mapped into IPv6": (
        {"changes": {"Contact": "<sip:t@[::ffff:192.0.2.2]>"}},
        lambda m: m.contacts[0].uri.host == "::ffff:192.0.2.2",
    ),
    "line of 8 KiB": ({"extra": f"X-A: {'b' * 8187}\r\n"}, lambda m: len(m.get("x-a") or "") == 8187),
    "line of 8 KiB in fewer characters": ({"extra": f"X-A: {'ü' * 4093}b\r\n"}, lambda m: "x-a" in m),
    "200 headers": ({"extra": "X-A: b\r\n" * 191}, lambda m: len(m.raw_lines()) == 200),
    "70 Vias": ({"extra": "v: " + ",".join(["SIP/2.0/UDP a"] * 69) + "\r\n"}, lambda m: len(m.vias) == 70),
    "a port behind the brackets": (
        {"start": "INVITE sip:[2001:db8::10]:5070 SIP/2.0"},
        lambda m: isinstance(m, Request) and (m.request_uri.host, m.request_uri.port) == ("2001:db8::10", 5070),
    ),
    "a port within the brackets is none": (
        {"start": "INVITE sip:[2001:db8::10:5070] SIP/2.0"},
        lambda m: isinstance(m, Request) and (m.request_uri.host, m.request_uri.port) == ("2001:db8::10:5070", None),
    ),
    "received in brackets": (
        {"changes": {"Via": "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKa"}},
        lambda m: m.via.received == "2001:db8::9:255",
    ),
    "addresses of both families": (
        {"extra": "Via: SIP/2.0/UDP 192.0.2.1\r\nVia: SIP/2.0/TCP [2001:db8::9:255];received=192.0.2.200\r\n"},
        lambda m: [via.received or via.host for via in m.vias] == ["192.0.2.7", "192.0.2.1", "192.0.2.200"],
    ),
    "IPv4 at the end of IPv6": (
        {"start": "INVITE sip:b@[2001:db8::192.0.2.1] SIP/2.0"},
        lambda m: isinstance(m, Request) and m.request_uri.host == "2001:db8::192.0.2.1",
    ),
    "three colons of the old grammar": ({"changes": {"To": "sip:u@[2001:db8:::192.0.2.1]"}}, lambda m: m.to.uri.is_sip),
}

REFUSED: dict[str, tuple[Case, int]] = {
    "empty parameters": ({"changes": {"Via": "SIP/2.0/UDP 192.0.2.15;;,;,,"}}, 400),
    "empty contact parameters": ({"changes": {"Contact": '"J" <sip:j@example.org>;;;;'}}, 400),
    "length beyond the message": ({"length": "9999"}, 400),
    "negative length": ({"length": "-999"}, 400),
    "length that is no number": ({"length": "1 2"}, 400),
    "two lengths": ({"extra": "l: 5\r\n"}, 400),
    "CSeq beyond 31 bits": ({"changes": {"CSeq": "36893488147419103232 INVITE"}}, 400),
    "Max-Forwards beyond 255": ({"changes": {"Max-Forwards": "300"}}, 400),
    "quote left open": ({"changes": {"To": '"Mr. B <sip:b@example.org>'}}, 400),
    "brackets round the request URI": ({"start": "INVITE <sip:b@example.org> SIP/2.0"}, 400),
    "space in the request URI": ({"start": "INVITE sip:b@example.org; lr SIP/2.0"}, 400),
    "two spaces in the request line": ({"start": "INVITE  sip:b@example.org  SIP/2.0"}, 400),
    "space behind the request line": ({"start": "INVITE sip:b@example.org SIP/2.0  "}, 400),
    "headers in the request URI": ({"start": "INVITE sip:b@example.org?Route=%3Csip:c%3E SIP/2.0"}, 400),
    "date of another zone": ({"extra": "Date: Fri, 01 Jan 2010 16:00:00 EST\r\n"}, 400),
    "headers in a bare Contact": ({"changes": {"Contact": "sip:u@example.com?Route=%3Csip:c%3E"}}, 400),
    "spaces within the brackets": ({"changes": {"To": '"W, T" < sip:t@example.org >'}}, 400),
    "comma in a bare display name": ({"changes": {"From": "Bell, A <sip:a@example.com>;tag=43"}}, 400),
    "another version": ({"start": "INVITE sip:b@example.org SIP/7.0", "changes": {"Via": "SIP/7.0/UDP c"}}, 505),
    "method and CSeq differ": ({"changes": {"CSeq": "7 OPTIONS"}}, 400),
    "status beyond all numbers": ({"start": "SIP/2.0 4294967301 better not break"}, 400),
    "status 99": ({"start": "SIP/2.0 099 Low"}, 400),
    "no From": ({"changes": {"From": None}}, 400),
    "no Via": ({"changes": {"Via": None}}, 400),
    "two CSeq": ({"extra": "CSeq: 59 INVITE\r\n"}, 400),
    "two To": ({"extra": "t: <sip:c@d>\r\n"}, 400),
    "IPv6 without brackets": ({"start": "INVITE sip:2001:db8::10 SIP/2.0"}, 400),
    "star beside a contact": ({"changes": {"Contact": "*"}, "extra": "m: <sip:a@b>\r\n"}, 400),
    "star without Expires 0": (
        {"start": "REGISTER sip:b SIP/2.0", "changes": {"Contact": "*", "CSeq": "7 REGISTER"}},
        400,
    ),
    "star in an INVITE": ({"changes": {"Contact": "*"}, "extra": "Expires: 0\r\n"}, 400),
    "control in a value": ({"extra": "Subject: a\x00b\r\n"}, 400),
    "control quoted but not paired": ({"changes": {"To": '"a\x07" <sip:b@example.org>'}}, 400),
    "bare LF": ({"extra": "X-A: b\nX-C: d\r\n"}, 400),
    "bare CR": ({"extra": "X-A: b\rX-C: d\r\n"}, 400),
    "line without a colon": ({"extra": "X-A\r\n"}, 400),
    "empty name": ({"extra": ": x\r\n"}, 400),
    "name that is no token": ({"extra": "X A: b\r\n"}, 400),
    "Call-ID of two words": ({"changes": {"Call-ID": "a b"}}, 400),
    "line beyond 8 KiB": ({"extra": f"X-A: {'b' * 8188}\r\n"}, 400),
    "line beyond 8 KiB in fewer characters": ({"extra": f"X-A: {'ü' * 4094}\r\n"}, 400),
    "folded line beyond 8 KiB": ({"extra": f"X-A: {'b' * 4090}\r\n {'b' * 4095}\r\n"}, 400),
    "201 headers": ({"extra": "X-A: b\r\n" * 192}, 400),
    "71 Vias": ({"extra": "v: " + ",".join(["SIP/2.0/UDP a"] * 70) + "\r\n"}, 400),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(invite: Write, name: str) -> None:
    case, holds = ACCEPTED[name]
    data = invite(**case)
    message = parse(data)
    assert holds(message)
    assert message.to_bytes() == data


@pytest.mark.parametrize("name", REFUSED)
def test_refused(invite: Write, name: str) -> None:
    case, status = REFUSED[name]
    with pytest.raises(ParseError) as refusal:
        parse(invite(**case))
    assert refusal.value.status == status
    assert refusal.value.partial is not None
    assert "cseq" in refusal.value.partial


TOLD_OTHERWISE = {
    "method of odd token characters": 501,
    "escaped method is another method": 501,
    "Max-Forwards 0": 483,
    "unknown scheme of the request URI": 416,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_core_goes_on_with_what_is_accepted(world: World, invite: Write, name: str) -> None:
    """Whoever it is from must say so; but for what cannot be done whoever asks."""
    world.receive(invite(**ACCEPTED[name][0]), SOMEBODY)
    assert statuses(world) == [TOLD_OTHERWISE.get(name, 407)]
    assert world.empty()


@pytest.mark.parametrize("name", REFUSED)
def test_the_core_answers_what_is_refused_and_keeps_nothing(world: World, invite: Write, name: str) -> None:
    case, status = REFUSED[name]
    world.receive(invite(**case), SOMEBODY)
    request = not str(case.get("start", "")).startswith("SIP/")
    assert statuses(world) == ([status] if request and name != "no Via" else [])
    assert world.empty()


def statuses(world: World) -> list[int]:
    """Of all answers that went to where the message came from."""
    return [int(send.data.removeprefix(b"SIP/2.0 ")[:3]) for _, send in world.wire if send.target == SOMEBODY]


def test_a_message_of_64_kib_is_read_and_no_longer_one(invite: Write) -> None:
    size = 65536 - len(invite(body=b"x" * 60000)) + 60000
    assert len(parse(invite(body=b"x" * size)).to_bytes()) == 65536
    with pytest.raises(ParseError) as refusal:
        parse(invite(body=b"x" * (size + 1)))
    assert refusal.value.status == 513
    assert refusal.value.partial is not None
    assert "cseq" in refusal.value.partial


def test_nothing_is_parsed_that_nobody_asks_for(invite: Write) -> None:
    """What is wrong in a header that is not needed for routing is told to who reads it, and to nobody else."""
    message = parse(invite(extra="Session-Expires: soon\r\nReplaces: ;\r\nRefer-To: <<\r\n"))
    with pytest.raises(ParseError, match="400"):
        _ = message.refer_to
    assert b"Session-Expires: soon" in message.raw_lines()


def test_header_section_without_end() -> None:
    with pytest.raises(ParseError) as refusal:
        parse(b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nCall-ID: c\r\n")
    assert isinstance(refusal.value.partial, Request)
    assert refusal.value.partial.values("call-id") == ["c"]


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"\x00\x01\x00\x00!\x12\xa4B", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 70000]
)
def test_what_is_no_sip_at_all_has_no_partial(data: bytes) -> None:
    with pytest.raises(ParseError) as refusal:
        parse(data)
    assert refusal.value.partial is None


HEAD = b"INVITE sip:b@example.org SIP/2.0\r\n"
HOSTILE = {
    "spaces in the start line": b"A" + b" " * 65000 + b"\r\n\r\n",
    "versions in the start line": b"A " + b"SIP/2. " * 9000 + b"x\r\n\r\n",
    "a value of spaces with a fold": HEAD + b"X:" + b" " * 8000 + b"x\r\n " + b"x\r\n\r\n",
    "folds alone": HEAD + b"X:" + b"\r\n " * 2600 + b"\r\n\r\n",
    "an open quote of quoted quotes": HEAD + b'X: "' + b'\\"' * 4000 + b"\0\r\n\r\n",
    "open quotes in each line": HEAD + (b'X: "' + b'\\"' * 4000 + b"\r\n") * 7 + b"Y: \0\r\n\r\n",
    "commas": HEAD + b"Via: " + b"," * 8000 + b"\r\n\r\n",
    "brackets": HEAD + b"Contact: " + b"<" * 8000 + b"\r\n\r\n",
    "semicolons": HEAD + b"From: <sip:a>" + b"; " * 4000 + b"\r\n\r\n",
    "words": HEAD + b"From: " + b"a " * 4000 + b"\r\n\r\n",
    "escapes": HEAD + b"From: <sip:" + b"%41" * 2600 + b"%>\r\n\r\n",
    "digits": HEAD + b"CSeq: " + b"9" * 8000 + b" INVITE\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.alone
def test_hostile_spelling_is_refused_in_linear_time(name: str) -> None:
    """No pattern may backtrack: a message of the largest size costs milliseconds, whatever is in it."""

    def cost() -> float:
        begun = time.process_time()
        with pytest.raises(ParseError):
            parse(HOSTILE[name])
        return time.process_time() - begun

    assert min(cost() for _ in range(3)) < 0.02


@pytest.mark.parametrize("unit", ['"\\', "<", "a ", ";a=", "; ", "%41", "1:", ",", "\r\n "])
def test_repetition_is_refused(invite: Write, unit: str) -> None:
    for name in ("From", "Via", "Contact"):
        with pytest.raises(ParseError):
            parse(invite({name: (unit * 8000)[:8000] + "\x80?"}))
