# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from collections.abc import Callable
from types import GetSetDescriptorType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.build import response_to
from sip.errors import ForbiddenCharacter, ParseError
from sip.message import Message, Request, Response
from sip.parser import parse

Write = Callable[..., bytes]

COMPACT = {
    "Via": "v",
    "From": "f",
    "To": "t",
    "Call-ID": "i",
    "Contact": "m",
    "Content-Type": "c",
    "Content-Length": "l",
    "Supported": "k",
}
TYPED = [
    ("Via", "SIP|/|2.0|/|UDP~192.0.2.7|:|5060|;|branch|=|z9hG4bKa|,|SIP|/|2.0|/|TCP~[2001:db8::7]|;|rport"),
    ("From", '"Anna \\"A,;\\" B"|<sip:anna@example.org;x=y>|;|tag|=|1a'),
    ("To", "sip:bert@example.org|;|tag|=|2b"),
    ("Call-ID", "f81d4fae@192.0.2.7"),
    ("CSeq", "7~INVITE"),
    ("Contact", 'Anna~B|<sip:anna@example.org>|;|q|=|0.5|,|<sip:a,b@example.org>|;|+x|=|"1,2;3"'),
    ("Route", "<sip:one.example.org;lr>|,|<sip:two.example.org;lr>|;|y"),
    ("Max-Forwards", "70"),
    ("Supported", "timer|,|100rel"),
    ("Content-Type", "application/sdp"),
    ("X-Own", "as it is"),
]
SPACES = st.sampled_from(["", " ", "\t", "   ", "\r\n ", " \r\n\t "])


def plain(pattern: str) -> str:
    return pattern.replace("|", "").replace("~", " ")


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """The message of TYPED with other names, spaces and folds; values of lists on one line or several."""
    lines = ["INVITE sip:bert@example.org SIP/2.0"]
    for name, pattern in TYPED:
        names = [name, name.lower(), name.upper(), name.swapcase(), COMPACT.get(name, name)]
        values = pattern.split("|,|") if draw(st.booleans()) else [pattern]
        for value in values:
            text = "".join(draw(SPACES) if c == "|" else " " + draw(SPACES) if c == "~" else c for c in value)
            lines.append(
                f"{draw(st.sampled_from(names))}{draw(st.sampled_from(['', ' ', chr(9)]))}:{draw(SPACES)}{text}"
            )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


PLAIN = parse(
    b"INVITE sip:bert@example.org SIP/2.0\r\n"
    + "".join(f"{name}: {plain(pattern)}\r\n" for name, pattern in TYPED).encode()
    + b"\r\n"
)


def view_names() -> list[str]:
    """Properties, compiled or not, of what is no text as it came."""
    properties = (property, GetSetDescriptorType)
    found = {name for name, value in vars(Message).items() if isinstance(value, properties) and name[0] != "_"}
    return sorted(found - {"body", "start_line", "via"})


@given(spelled())
def test_a_message_spelled_otherwise_is_equal(data: bytes) -> None:
    message = parse(data)
    for name in view_names():
        assert getattr(message, name) == getattr(PLAIN, name), name
    assert message.get("x-own") == "as it is"
    assert message.to_bytes() == data


def test_plain_views() -> None:
    assert isinstance(PLAIN, Request)
    assert [(via.host, via.port) for via in PLAIN.vias] == [("192.0.2.7", 5060), ("2001:db8::7", None)]
    assert PLAIN.via.branch == "z9hG4bKa"
    assert (PLAIN.from_.display, PLAIN.from_.tag, PLAIN.to.tag) == ('Anna "A,;" B', "1a", "2b")
    assert (PLAIN.cseq.number, PLAIN.cseq.method, PLAIN.call_id) == (7, "INVITE", "f81d4fae@192.0.2.7")
    assert [contact.uri.user for contact in PLAIN.contacts] == ["anna", "a,b"]
    assert PLAIN.contacts[1].params.get("+x") == "1,2;3"
    assert [route.uri.host for route in PLAIN.routes] == ["one.example.org", "two.example.org"]
    assert (PLAIN.max_forwards, PLAIN.supported, PLAIN.expires) == (70, ("timer", "100rel"), None)
    assert PLAIN.vias is PLAIN.vias


def test_unknown_headers_are_kept_byte_for_byte(invite: Write) -> None:
    odd = "x-Odd\t:  a \udcff b\r\n\t c\r\nx-ODD:\r\n"
    data = invite(extra=odd)
    message = parse(data)
    assert message.to_bytes() == data
    assert message.values("X-Odd") == ["a \udcff b c", ""]
    assert b"x-Odd\t:  a \xff b\r\n\t c" in message.raw_lines()
    assert ("Call-ID", "f81d4fae@192.0.2.7") in list(message.fields())


def test_body_is_cut_at_content_length(invite: Write) -> None:
    assert parse(invite(length="5") + b"rest").body == b"v=0\r\n"
    assert parse(invite({"Content-Type": None}, body=b"\x00\xff\r\n\r\n")).body == b"\x00\xff\r\n\r\n"


def test_body_without_content_length_is_the_rest(invite: Write, offer: bytes) -> None:
    data = invite().replace(b"Content-Length: %d\r\n" % len(offer), b"")
    assert parse(data).body == offer


def test_empty_lines_before_the_start_line_are_passed_over(invite: Write) -> None:
    assert parse(b"\r\n\r\n" + invite()).to_bytes() == invite()


@pytest.mark.parametrize("line", ["SIP/2.0 200 OK", "sip/2.0 180 ", "SIP/2.0 699 = 2**3 не"])
def test_responses(invite: Write, line: str) -> None:
    response = parse(invite(start=line))
    assert isinstance(response, Response)
    assert response.status == int(line.split()[1])
    assert response.reason == line.split(" ", 2)[2]


def test_a_stamp_changes_the_top_via_alone(invite: Write) -> None:
    request = parse(
        invite({"v": "SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKa, SIP/2.0/UDP  odd.example.org", "Via": None})
    )
    assert isinstance(request, Request)
    request.stamp("203.0.113.4", 40000)
    assert request.values("Via") == [
        "SIP/2.0/UDP 10.0.0.9;rport=40000;branch=z9hG4bKa;received=203.0.113.4, SIP/2.0/UDP  odd.example.org"
    ]
    assert request.via.reply_to == ("203.0.113.4", 40000)
    again = parse(request.to_bytes())
    assert (again.vias, again.body) == (request.vias, request.body)


def test_replaced_and_with_body(invite: Write) -> None:
    message = parse(invite())
    other = message.replaced("call-id", ["new"]).replaced("X-New", ["1", "2"]).with_body(b"hi", "text/plain")
    again = parse(other.to_bytes())
    assert (again.call_id, again.values("x-new"), again.body) == ("new", ["1", "2"], b"hi")
    assert again.content_type == "text/plain"
    assert [name for name, _ in again.fields()][:6] == [name for name, _ in message.fields()][:6]


@pytest.mark.parametrize("bad", ["a\r\nVia: x", "a\nb", "a\rb", "a\0b", "a\x7fb", "\x1b[2J"])
def test_no_control_can_be_written(invite: Write, bad: str) -> None:
    message = parse(invite())
    with pytest.raises(ForbiddenCharacter):
        message.replaced("Subject", [bad])
    with pytest.raises(ForbiddenCharacter):
        Request("OPTIONS", f"sip:{bad}", [])
    with pytest.raises(ForbiddenCharacter):
        Request("OPTIONS", "sip:a", [("Subject", bad)])
    with pytest.raises(ForbiddenCharacter):
        Response(200, bad)
    assert isinstance(message, Request)
    with pytest.raises(ForbiddenCharacter):
        response_to(message, 200, to_tag=bad)


def test_star_contact(invite: Write) -> None:
    register = {"CSeq": "7 REGISTER", "Contact": "*", "Expires": "0"}
    message = parse(invite(register, start="REGISTER sip:example.org SIP/2.0"))
    assert message.is_star_contact
    assert message.contacts == ()


@pytest.mark.parametrize("view", view_names())
def test_a_view_of_an_empty_message_is_empty_or_refused(view: str) -> None:
    message = Request("OPTIONS", "sip:example.org")
    if view in ("vias", "from_", "to", "call_id", "cseq"):
        with pytest.raises(ParseError, match="400 Missing") as refusal:
            getattr(message, view)
        assert refusal.value.partial is message
    else:
        assert getattr(message, view) in (None, (), False, 0)


def test_any_mutation_is_read_or_refused(invite: Write) -> None:
    """10,000 messages with up to four bytes changed, cut or doubled: ParseError, or a message that can be answered."""
    dice = random.Random(7315)
    base = invite(extra='Authorization: Digest realm="a", nonce="b"\r\nRoute: <sip:p;lr>,\r\n <sip:q>\r\nDate: x\r\n')
    bases = [base.replace(b"Date: x\r\n", b""), base, invite(start="SIP/2.0 200 OK"), invite({"Contact": "*"})]
    read = sum(_survives(_mutated(dice.choice(bases), dice)) for _ in range(10_000))
    assert 500 < read < 9_500


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    _survives(data)


def _mutated(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[place] = dice.choice((dice.randrange(256), *b'\r\n\0 ",;:<>@[]%='))
            case 1:
                del changed[place : place + dice.randint(1, 30)]
            case 2:
                changed[place:place] = changed[place : place + dice.randint(1, 60)]
            case _:
                changed.insert(place, dice.randrange(256))
    return bytes(changed)


def _survives(data: bytes) -> bool:
    """Whether it was read; then or not, an answer must be possible where there was a request."""
    message = _parsed(data)
    if isinstance(message, ParseError):
        if isinstance(message.partial, Request):
            response_to(message.partial, message.status, to_tag="t").to_bytes()
        return False
    for name in set(view_names()) - {"refer_to", "path", "asserted_identities"}:
        getattr(message, name)
    if isinstance(message, Request):
        answer = parse(response_to(message, 200, to_tag="t").to_bytes())
        assert (answer.vias, answer.call_id) == (message.vias, message.call_id)
        message.stamp("203.0.113.4", 40000)
        assert parse(message.to_bytes()).vias == message.vias
    return True


def _parsed(data: bytes) -> Request | Response | ParseError:
    try:
        return parse(data)
    except ParseError as error:
        return error
