# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable

import pytest

from sip.agent import Agent
from sip.build import REASONS, response_to
from sip.effects import Address, Send
from sip.errors import ForbiddenCharacter, ParseError
from sip.message import Request
from sip.parser import parse
from sip.settings import Settings

Write = Callable[..., bytes]


def read(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def test_response_copies_what_belongs_to_the_transaction(invite: Write) -> None:
    via = "SIP/2.0/UDP a.example.org;branch=z9hG4bK2, SIP/2.0/UDP b.example.org"
    extra = "v: SIP/2.0/TCP c.example.org\r\nRecord-Route: <sip:p;lr>, <sip:q;lr>\r\nTimestamp: 54\r\n"
    asked = read(invite({"Via": via}, extra=extra))
    answer = response_to(asked, 180, to_tag="b-2", headers=[("Contact", "<sip:bert@192.0.2.9>")])
    assert answer.to_bytes() == (
        b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP a.example.org;branch=z9hG4bK2, SIP/2.0/UDP b.example.org\r\n"
        b'Via: SIP/2.0/TCP c.example.org\r\nFrom: "Anna" <sip:anna@example.org>;tag=a-1\r\n'
        b"To: <sip:bert@example.org>;tag=b-2\r\nCall-ID: f81d4fae@192.0.2.7\r\nCSeq: 7 INVITE\r\n"
        b"Record-Route: <sip:p;lr>, <sip:q;lr>\r\nContact: <sip:bert@192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
    )


def test_trying_has_no_tag_but_the_timestamp(invite: Write) -> None:
    answer = response_to(read(invite(extra="Timestamp: 54\r\nRecord-Route: <sip:p;lr>\r\n")), 100, to_tag="b-2")
    assert answer.to.tag is None
    assert answer.get("timestamp") == "54"
    assert "record-route" not in answer


def test_a_tag_that_is_there_stays(invite: Write) -> None:
    answer = response_to(read(invite({"To": "sip:bert@example.org;TAG=old"})), 200, to_tag="new")
    assert answer.to.tag == "old"


def test_a_failure_carries_no_record_route(invite: Write) -> None:
    answer = response_to(read(invite(extra="Record-Route: <sip:p;lr>\r\n")), 486, to_tag="t")
    assert "record-route" not in answer


def test_body_and_type(invite: Write, offer: bytes) -> None:
    answer = response_to(read(invite()), 200, to_tag="t", body=offer, content_type="application/sdp")
    again = parse(answer.to_bytes())
    assert (again.body, again.content_type, again.content_length) == (offer, "application/sdp", len(offer))


@pytest.mark.parametrize("status", [200, 404, 299])
def test_reason(invite: Write, status: int) -> None:
    assert response_to(read(invite()), status).reason == REASONS.get(status, "Unknown")
    assert response_to(read(invite()), status, "Own Words").reason == "Own Words"


def test_a_broken_request_is_answered_with_what_it_had(invite: Write) -> None:
    data = invite({"From": "Anna, B <sip:anna@example.org>;tag=1", "CSeq": "7 BYE"})
    with pytest.raises(ParseError) as refusal:
        parse(data)
    partial = refusal.value.partial
    assert isinstance(partial, Request)
    answer = response_to(partial, refusal.value.status, refusal.value.reason, to_tag="t").to_bytes()
    assert answer.startswith(b"SIP/2.0 400 Malformed Address\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-1a2b3c")
    assert b"\r\nFrom: Anna, B <sip:anna@example.org>;tag=1\r\n" in answer
    assert b"\r\nCSeq: 7 BYE\r\n" in answer


FIELDS = (
    ("Via", "SIP/2.0/UDP 192.0.2.1:5060;received=192.0.2.1;rport=5060;branch=z9hG4bKone"),
    ("Route", "<sip:p;lr>"),
    ("Route", "<sip:q;lr>"),
    ("From", '"A \\"B\\"" <sip:anna@example.org>;tag=1'),
    ("To", "<sip:bert@example.org>"),
    ("Call-ID", "c-1"),
    ("CSeq", "3 INVITE"),
)


def built(*more: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:bert@192.0.2.9", [*FIELDS, *more], b"v=0\r\n")


def test_request_is_read_back_as_it_was_built() -> None:
    message, again = built(("Supported", "timer")), read(built(("Supported", "timer")).to_bytes())
    for view in ("vias", "from_", "to", "call_id", "cseq", "routes", "supported"):
        assert getattr(message, view) == getattr(again, view)
    assert again.body == b"v=0\r\n"


def test_content_length_is_ours() -> None:
    assert Request("OPTIONS", "sip:a", [("l", "99")], b"xy").values("Content-Length") == ["2"]


@pytest.mark.parametrize("field", [("Call-ID", "b\r\nX-C: d"), ("X-A", "b\nX-C: d"), ("X-A", "b\0")])
def test_nothing_can_be_smuggled_into_a_request(field: tuple[str, str]) -> None:
    with pytest.raises(ForbiddenCharacter):
        built(field)


def test_nothing_can_be_smuggled_into_a_request_line() -> None:
    with pytest.raises(ForbiddenCharacter):
        Request("INVITE", "sip:a SIP/2.0\r\nX-C: d", FIELDS)


def test_a_header_name_must_be_a_token() -> None:
    with pytest.raises(ParseError):
        Request("OPTIONS", "sip:a", [("X-A: b\r\nX-C", "d")])


def test_ack_and_cancel_share_the_invites_transaction() -> None:
    peer = Address("192.0.2.9", 5060)
    agent = Agent(Settings("example.org", b"k" * 32), lambda: "t", lambda _: peer)
    invite = built()
    refused = response_to(invite, 486, to_tag="busy")
    agent.cancel(invite, peer, peer, 0.0)
    (cancelled,) = agent.effects
    assert isinstance(cancelled, Send)
    for data, method, tag in (
        (agent.failure_ack(invite, refused, peer), "ACK", "busy"),
        (cancelled.data, "CANCEL", None),
    ):
        again = read(data)
        assert (again.method, str(again.cseq), again.to.tag) == (method, f"3 {method}", tag)
        assert again.vias == (invite.via,)
        assert (again.uri, again.routes, again.from_) == (invite.uri, invite.routes, invite.from_)
