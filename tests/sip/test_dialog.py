# SPDX-License-Identifier: GPL-3.0-or-later
"""What dialogs remember: route sets, targets, numbers (RFC 3261 §12)."""

from __future__ import annotations

import json

import pytest

from sip.dialog import dialog_of_request, dialog_of_response, key_of, restored
from sip.effects import Address
from sip.errors import ProtocolError
from sip.parser import parse

PEER, OURS = Address("192.0.2.7", 40000), Address("198.51.100.1", 5060)


def invite(*extra: str, contact: str = "<sip:anna@10.0.0.9:5062>", cseq: int = 7):
    lines = "".join(f"{line}\r\n" for line in extra)
    lines += f"Contact: {contact}\r\n" if contact else ""
    return parse(
        "INVITE sip:bert@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx\r\n"
        'From: "Anna" <sip:anna@example.org>;tag=theirs\r\nTo: <sip:bert@example.org>\r\n'
        f"Call-ID: c\r\nCSeq: {cseq} INVITE\r\n{lines}\r\n".encode()
    )


def accepted(*extra: str):
    lines = "".join(f"{line}\r\n" for line in extra)
    return parse(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx\r\nFrom: <sip:anna@example.org>;tag=theirs\r\n"
        f"To: <sip:bert@example.org>;tag=b\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n{lines}\r\n".encode()
    )


def test_sides_are_swapped_for_whoever_answers():
    dialog = dialog_of_request(invite(), "ours", PEER, OURS)
    assert (dialog.ours, dialog.theirs) == ("<sip:bert@example.org>", '"Anna" <sip:anna@example.org>')
    assert dialog.key == ("c", "ours", "theirs")
    assert (dialog.target, dialog.peer, dialog.their_cseq) == ("sip:anna@10.0.0.9:5062", PEER, 7)
    assert dialog.next_cseq() == 1


@pytest.mark.parametrize("contact", ["", "<tel:+1>", "<sip:a@h>, <sip:b@h>"])
def test_an_invite_needs_one_contact(contact):
    with pytest.raises(ProtocolError, match="400"):
        dialog_of_request(invite(contact=contact), "ours", PEER, OURS)


def test_routes_are_copied_by_one_side_and_reversed_by_the_other():
    records = ["Record-Route: <sip:p2;lr>, <sip:p1;lr=on>", "Record-Route: <sip:p0;lr>"]
    uas = dialog_of_request(invite(*records), "ours", PEER, OURS)
    assert uas.routes == ("<sip:p2;lr>", "<sip:p1;lr=on>", "<sip:p0;lr>")
    uac = dialog_of_response(invite(), accepted(*records, "Contact: <sip:b@192.0.2.7>"), PEER, OURS)
    assert uac.routes == ("<sip:p0;lr>", "<sip:p1;lr=on>", "<sip:p2;lr>")


def test_loose_and_strict_routers():
    loose = dialog_of_request(invite("Record-Route: <sip:192.0.2.50:5080;lr=on>"), "ours", PEER, OURS, routed=True)
    assert loose.request_line() == ("sip:anna@10.0.0.9:5062", ("<sip:192.0.2.50:5080;lr=on>",))
    assert loose.next_hop() == Address("192.0.2.50", 5080)
    strict = dialog_of_request(invite("Record-Route: <sip:p1>, <sip:p2;lr>"), "ours", PEER, OURS)
    assert strict.request_line() == ("sip:p1", ("<sip:p2;lr>", "<sip:anna@10.0.0.9:5062>"))
    assert strict.next_hop() == PEER


CONNECTED = Address("192.0.2.7", 40000, "tls", inbound=True)


@pytest.mark.parametrize(
    ("route", "peer", "hop"),
    [
        ("sip:192.0.2.50:5080;lr", PEER, PEER),
        ("sip:127.0.0.1:22;transport=tcp;lr", PEER, PEER),
        ("sip:198.51.100.1;lr", PEER, PEER),
        ("sip:192.0.2.7:5070;lr", PEER, Address("192.0.2.7", 5070)),
        ("sip:192.0.2.7:5070;transport=tcp;lr", PEER, Address("192.0.2.7", 5070)),
        ("sip:192.0.2.50;lr", CONNECTED, CONNECTED),
        ("sip:192.0.2.7;lr", CONNECTED, CONNECTED),
    ],
)
def test_nobody_but_a_trunk_leads_us_to_a_third_party_by_its_routes(route, peer, hop):
    asked = dialog_of_request(invite(f"Record-Route: <{route}>"), "ours", peer, OURS)
    answered = dialog_of_response(invite(), accepted(f"Record-Route: <{route}>"), peer, OURS)
    for dialog in (asked, answered):
        assert dialog.next_hop() == hop
        assert dialog.request_line()[1] == (f"<{route}>",)


def test_numbers_only_grow():
    dialog = dialog_of_request(invite(), "ours", PEER, OURS)
    dialog.accept(invite(cseq=100))
    for cseq in (100, 99, 7):
        with pytest.raises(ProtocolError, match="500"):
            dialog.accept(invite(cseq=cseq))
    dialog.accept(invite(cseq=2**31 - 1))


def test_target_is_refreshed_and_the_third_party_is_not_reached():
    dialog = dialog_of_request(invite(), "ours", PEER, OURS)
    assert dialog.refresh(invite(contact="<sip:anna@203.0.113.1:9>"), PEER)
    assert (dialog.target, dialog.peer) == ("sip:anna@203.0.113.1:9", PEER)
    assert dialog.refresh(invite(contact="<sip:anna@192.0.2.7:5070>"), PEER)
    assert dialog.peer == Address("192.0.2.7", 5070)
    assert not dialog.refresh(invite(contact=""), PEER)


def test_a_response_without_contact_leaves_the_request_uri():
    assert dialog_of_response(invite(), accepted(), PEER, OURS).target == "sip:bert@example.org"


def test_what_a_request_line_may_not_name_is_left_out():
    dialog = dialog_of_request(invite(contact="<sip:anna@10.0.0.9;method=BYE;x=1?Subject=hi>"), "ours", PEER, OURS)
    assert dialog.request_line() == ("sip:anna@10.0.0.9;x=1", ())


def test_through_json_and_back():
    dialog = dialog_of_request(invite("Record-Route: <sip:p2;lr>"), "ours", PEER, OURS)
    assert restored(json.loads(json.dumps(dialog.state()))) == dialog


def test_key_is_found_from_the_peers_side():
    assert key_of(accepted()) == ("c", "b", "theirs")
