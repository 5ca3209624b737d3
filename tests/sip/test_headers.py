# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from sip.errors import ParseError
from sip.headers import AuthValue, CSeq, NameAddr, Via, has_tag, seconds, split_list, tokens
from sip.names import header_key, header_name
from sip.params import Params


def test_via_parts() -> None:
    via = Via.parse("SIP / 2.0 / tcp\t[2001:db8::9:1]:5080 ; Branch = z9hG4bKx ;received=[2001:db8::9:255]; RPORT")
    assert (via.transport, via.protocol, via.host, via.port) == ("tcp", "tcp", "2001:db8::9:1", 5080)
    assert (via.branch, via.received, via.rport, via.wants_rport) == ("z9hG4bKx", "2001:db8::9:255", None, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/7.0/UDP 192.0.2.1",
        "SIP/2.0/UDP 192.0.2.1;;branch=x",
        "SIP/2.0/UDP 192.0.2.1;branch=x;",
        "SIP/2.0/UDP 192.0.2.1;",
        "SIP/2.0/UDP 192.0.2.1:",
        "SIP/2.0/UDP 192.0.2.1 branch=x",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP 192.0.2.1:99999",
    ],
)
def test_via_refused(text: str) -> None:
    with pytest.raises(ParseError):
        Via.parse(text)


@pytest.mark.parametrize(
    ("text", "cookie"),
    [("z9hG4bKx", True), ("Z9HG4BKx", True), ("z9hG4bK", False), ("390skdjuw", False)],
)
def test_magic_cookie(text: str, cookie: bool) -> None:
    assert Via.parse(f"SIP/2.0/UDP 192.0.2.1;branch={text}").has_cookie is cookie


def test_sent_by_fills_in_the_default_port() -> None:
    assert Via.parse("SIP/2.0/UDP EXAMPLE.org").sent_by == ("example.org", 5060)
    assert Via.parse("SIP/2.0/TLS example.org").sent_by == ("example.org", 5061)


@pytest.mark.parametrize(
    ("text", "host", "port", "reply"),
    [
        ("10.0.0.9:5060;rport", "203.0.113.4", 40000, ("203.0.113.4", 40000)),
        ("10.0.0.9:5080", "203.0.113.4", 40000, ("203.0.113.4", 5080)),
        ("203.0.113.4", "203.0.113.4", 40000, ("203.0.113.4", 5060)),
        ("203.0.113.4;received=198.51.100.1;rport=9", "203.0.113.4", 40000, ("203.0.113.4", 40000)),
        ("10.0.0.9;maddr=203.0.113.77", "203.0.113.4", 40000, ("203.0.113.4", 5060)),
    ],
)
def test_response_goes_to_the_source(text: str, host: str, port: int, reply: tuple[str, int]) -> None:
    assert Via.parse(f"SIP/2.0/UDP {text}").received_from(host, port).reply_to == reply


@pytest.mark.parametrize("text", ["0", "65536", "x", "", "٣", "123456"])
def test_rport_that_is_no_port(text: str) -> None:
    assert Via("UDP", "a", None, Params([("rport", text)])).rport is None


def test_rport_is_filled_in_its_place() -> None:
    via = Via.parse("SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKq").received_from("203.0.113.4", 40000)
    assert str(via) == "SIP/2.0/UDP 10.0.0.9;rport=40000;branch=z9hG4bKq;received=203.0.113.4"


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ("sip:anna@example.org;tag=1", "", "sip:anna@example.org", "1"),
        ("<sip:anna@example.org;tag=0>;TAG=1", "", "sip:anna@example.org;tag=0", "1"),
        ('"A, \\"B\\" <c>"<sip:anna@example.org> ; x="a;b" ; tag = 1', 'A, "B" <c>', "sip:anna@example.org", "1"),
        ("Anna van der Berg <sip:anna@example.org>", "Anna van der Berg", "sip:anna@example.org", None),
        ("Jürgen <sip:j@example.org>", "Jürgen", "sip:j@example.org", None),
        ("<tel:+4930>", "", "tel:+4930", None),
    ],
)
def test_name_addr(text: str, display: str, uri: str, tag: str | None) -> None:
    address = NameAddr.parse(text)
    assert (address.display, str(address.uri), address.tag) == (display, uri, tag)
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<>",
        "sip:anna@example.org?Route=%3Csip:x%3E",
        "Anna, B <sip:anna@example.org>",
        '"Anna <sip:anna@example.org>',
        "< sip:anna@example.org >",
        "<sip:anna@example.org>;;tag=1",
        "<sip:anna@example.org>x",
        "<sip:anna@example.org>;",
        "<sip:anna@example.org>;tag=1;",
        "sip:anna@example.org;",
        "sip:anna@example.org;tag=1;,",
        "<sip:anna@example.org;>",
        "<sip:anna@example.org",
    ],
)
def test_name_addr_refused(text: str) -> None:
    with pytest.raises(ParseError):
        NameAddr.parse(text)


@pytest.mark.parametrize(
    ("params", "q", "expires"),
    [
        (";q=0.5;expires=60", 0.5, 60),
        (";q=7;expires=x", 1.0, 3600),
        ("", 1.0, None),
        (";expires=9" + "0" * 90, 1.0, 2**32 - 1),
    ],
)
def test_contact_params(params: str, q: float, expires: int | None) -> None:
    contact = NameAddr.parse(f"<sip:anna@example.org>{params}")
    assert (contact.q, contact.expires) == (q, expires)


@pytest.mark.parametrize(
    "text", ["1", "x INVITE", "-1 INVITE", "2147483648 INVITE", "1 IN VITE", "9" * 5000 + " INVITE"]
)
def test_cseq_refused(text: str) -> None:
    with pytest.raises(ParseError):
        CSeq.parse(text)


def test_cseq() -> None:
    assert CSeq.parse("0009  INVITE") == CSeq(9, "INVITE")
    assert str(CSeq(9, "INVITE")) == "9 INVITE"


def test_params_keep_order_and_spelling() -> None:
    params = Params.parse('; A = "x;y" ;b;C=d')
    assert (params.get("a"), params.get("b"), params.get("c"), params.get("d")) == ("x;y", "", "d", None)
    assert str(params.set("b", "2").set("e")) == ';A="x;y";b=2;C=d;e'
    assert str(params.without("a", "c")) == ";b"
    assert params == Params.parse(';C=D;B;a="x;y"')
    assert params != Params.parse(';C=D;B;a="X;y"')
    assert list(params) == ["a", "b", "c"]
    assert len({params, Params.parse(';C=D;B;a="x;y"')}) == 1


def test_split_list_respects_quotes_and_brackets() -> None:
    assert split_list('"a, b" <sip:x,y@z> , <sip:q>') == ['"a, b" <sip:x,y@z>', "<sip:q>"]
    for text in ("a,,b", "a,", ",a", '"a,b', "<a,b"):
        with pytest.raises(ParseError):
            split_list(text)


def test_tokens_pass_over_empty_elements() -> None:
    assert tokens(["a, ,b", "", "c"]) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "value"), [("60", 60), ("60;refresher=uac", 60), ("", 3600), ("-1", 3600), ("٣", 3600)]
)
def test_seconds(text: str, value: int) -> None:
    assert seconds(text) == value


def test_auth_value() -> None:
    value = AuthValue.parse('DIGEST Realm="a, \\"b\\"" , nc=00000001,uri="sip:x;y=z"')
    assert value == AuthValue("digest", {"realm": 'a, "b"', "nc": "00000001", "uri": "sip:x;y=z"})
    assert AuthValue.parse("NoOneKnows opaque-data=here") == AuthValue("nooneknows", {"opaque-data": "here"})
    for text in ("", "Digest", "Digest realm", 'Digest realm="a', "Digest a=1,a=2", "Digest a=1 b=2"):
        assert AuthValue.parse(text).params == {}


@pytest.mark.parametrize(
    ("value", "found"),
    [("<sip:a;tag=1>", False), ("<sip:a>;TAG = 1", True), ("sip:a;tag=1", True), ("sip:a", False)],
)
def test_has_tag(value: str, found: bool) -> None:
    assert has_tag(value) is found


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("i", "Call-ID"),
        ("CALL-id ", "Call-ID"),
        ("V", "Via"),
        ("cseq", "CSeq"),
        ("X-Own", "X-Own"),
        ("www-authenticate", "WWW-Authenticate"),
    ],
)
def test_header_names(spelling: str, name: str) -> None:
    assert header_name(spelling) == name
    assert header_key(spelling) == name.lower()


@pytest.mark.parametrize("name", ["", "a b", "a:", "ä", " Via"])
def test_header_name_refused(name: str) -> None:
    with pytest.raises(ParseError):
        header_key(name)
