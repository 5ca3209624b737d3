# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read by a short way is read as by the long one."""

from __future__ import annotations

import random
import re

import pytest

from sip import headers
from sip.build import response_bytes, response_to
from sip.digest import Credentials
from sip.errors import ParseError
from sip.headers import AuthValue, NameAddr, Via
from sip.message import Request
from sip.params import Params
from sip.parser import parse
from tests.sip.conftest import write_invite

ADDRESSES = """
    <sip:anna@example.org>  <sip:anna@example.org>;tag=1  "Anna B."<sip:anna@example.org:5060;transport=TCP>;q=0.5;x
    "" <sip:example.org>  <sip:a@1.2.3.4:59999;lr>;expires=300  sip:a@b;tag=1  <sips:a@b>  <sip:a@b:65536>  <sip:@b>
    <sip:a%40@b>  "x\\\\"" <sip:a@b>  <sip:a@[::1]>  <sip:a@b;=x>  <sip:a@b>;  A <sip:a@b>  <sip:a@b:99999>  <sip:a@b:0>
"""
CREDENTIALS = """
    Digest username="a", realm="b", nc=00000001, qop=auth
    Digest username="a",realm="b",uri="sip:x;y=z"
    Digest username="a" , realm="b"
    Digest username="a\\"b", realm="c"
    Digest username="a", username="b"
    Digest username="a", Username="b"
    Digest username="a",
    Digest a=b c=d
    Digest
    Basic dXNlcg==
    Digest  username="a"
    Digest username="", realm=x
"""
VIAS = """
    SIP/2.0/UDP a.b:5060;rport;branch=z9hG4bKx  SIP/2.0/UDP a;branch=z9hG4bKx;rport  SIP/2.0/TCP [::1];branch=z9hG4bK:x
    SIP/2.0/UDP a;branch="z9hG4bK"  SIP/2.0/UDP a;rport=5;branch=z9hG4bKx;received=1.2.3.4  SIP/2.0/UDP a;rport
    SIP/2.0/UDP a;x;branch=z9hG4bKx  SIP/2.0/UDP a;BRANCH=z9hG4bKx;RPORT  SIP/2.0/UDP a;branch=;rport  SIP/2.0/UDP a
    SIP/2.0/UDP a;rport;rport;branch=1  SIP/2.0/UDP a;x="y;rport";branch=1
"""
NEVER = re.compile(r"(?!)")


def damaged(text: str, count: int) -> list[str]:
    """Every element of a list, and variants with characters taken out, doubled or exchanged."""
    dice, found = random.Random(7), [each for each in re.split(r"\s{2,}", text) if each]
    for _ in range(count):
        letters = list(dice.choice(found))
        place = dice.randrange(len(letters))
        letters[place : place + 1] = dice.choice(["", letters[place] * 2, dice.choice('<>";:=@,. \\%a1')])
        found.append("".join(letters))
    return found


def outcome(read, text):
    try:
        value = read(text)
    except ParseError as error:
        return error.status
    return value, str(value) if not isinstance(value, AuthValue) else ""


@pytest.mark.parametrize(
    ("read", "texts", "names"),
    [
        (NameAddr.parse, ADDRESSES, ("_PLAIN_ADDRESS",)),
        (AuthValue.parse, CREDENTIALS, ("_PLAIN_CREDENTIALS",)),
        (lambda text: Via.parse(text).branch, VIAS, ("_BRANCH",)),
    ],
    ids=["addresses", "credentials", "branches"],
)
def test_the_short_way_reads_what_the_long_way_reads(monkeypatch, read, texts, names):
    words = damaged(texts, 4000)
    short = [outcome(read, word) for word in words]
    for name in names:
        monkeypatch.setattr(headers, name, NEVER)
    assert [outcome(read, word) for word in words] == short


def test_credentials_are_read_alike_by_both_ways():
    usual = str(Credentials("anna", "r", "n1", "sip:r", "0f", "SHA-256", "auth", "00000001", "c0"))
    spelled = [usual, usual.replace(", ", ","), f'{usual}, opaque="o"', f"{usual},", usual.replace("c0", "c,0")]
    words = [word for each in spelled for count in range(60) for word in damaged(each, count)]
    words += damaged(CREDENTIALS, 4000)
    plain = [(word, found) for word in words if (found := Credentials.plain(word))]
    assert len(plain) > 300
    assert all(Credentials.of(AuthValue.parse(word)) == found for word, found in plain)


def test_a_via_is_stamped_alike_by_both_ways(monkeypatch):
    def stamp(text):
        via = Via.parse(text).received_from("192.0.2.1", 4000)
        return {name: via.params.get(name) for name in via.params}

    words = damaged(VIAS, 2000)
    short = [outcome(stamp, word) for word in words]
    monkeypatch.setattr(headers, "_RPORT", NEVER)
    assert [outcome(stamp, word) for word in words] == short


def test_nothing_is_called_plain_that_cannot_be_read(monkeypatch):
    words = [word for word in damaged(ADDRESSES, 3000) if headers.plain_address(word)]
    monkeypatch.setattr(headers, "_PLAIN_ADDRESS", NEVER)
    assert all(NameAddr.parse(word) for word in words)


@pytest.mark.parametrize("text", [";a=b;c", ";a = b", ';a="b c"', ";a=;b", "", ";a\t=b"])
def test_parameters_are_written_as_they_were_read(text):
    matched = Params.parse(text)
    assert str(matched) == str(Params(matched.pairs))


@pytest.mark.parametrize("status", [100, 180, 200, 401, 503])
@pytest.mark.parametrize("body", [b"", b"v=0\r\n"])
def test_a_response_goes_out_the_same_by_both_ways(status, body):
    request = parse(write_invite(extra="Timestamp: 7\r\nRecord-Route: <sip:p;lr>\r\nVia: SIP/2.0/UDP b\r\n"))
    assert isinstance(request, Request)
    said = {"to_tag": "t", "headers": [("Server", "x")], "body": body, "content_type": "a/b" if body else None}
    assert response_bytes(request, status, **said) == response_to(request, status, **said).to_bytes()


@pytest.mark.parametrize("field", [("Server", "a\r\nX: y"), ("Ser\nver", "x"), ("Server", "\x00")])
def test_no_line_is_smuggled_into_a_response(field):
    request = parse(write_invite())
    assert isinstance(request, Request)
    with pytest.raises(ValueError, match="control character"):
        response_bytes(request, 200, headers=[field])
