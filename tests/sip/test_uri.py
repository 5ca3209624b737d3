# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ParseError
from sip.uri import Uri, equivalent, host_port

SPELLINGS = [
    "sip:anna@example.org",
    "SIP:anna@EXAMPLE.org:5061;Transport=TCP;lr",
    "sips:anna:pa%20ss@[2001:db8::7]:5061",
    "sip:anna@[fe80::1%25eth0]".replace("%25", "%"),
    "sip:a;b=c,d/e?f@example.org;method=INVITE?subject=x%20y&priority=urgent",
    "sip:*98#@192.0.2.1",
    "sip:+4930123;phone-context=example.org@gw.example.net;user=phone",
    "sip:null-%00-null@example.org",
    "sip:example.org.;lr=on",
    "tel:+49-30-123;phone-context=+49",
    "soap.beep://192.0.2.103:3002",
    "urn:service:sos",
]

REFUSED = [
    "",
    "anna@example.org",
    "sip:",
    "sip:@example.org",
    "sip:anna@",
    "sip:anna@example.org:65536",
    "sip:anna@example.org:x",
    "sip:2001:db8::10",
    "sip:anna@[2001:db8::g]",
    "sip:anna@[1:2]",
    "sip:anna@example.org;;lr",
    "sip:anna@example.org;",
    "sip:anna@example.org;lr;",
    "sip:anna@example.org:",
    "sip:anna%4@example.org",
    "tel:+49;",
    "sip:anna@example.org; lr",
    "sip:an%4a%zz@example.org",
    "sip:an na@example.org",
    "sip:anna@example.org:٣",
    "<sip:anna@example.org>",
    "tel:",
    "tel:anna",
    "9x:y",
    "http://a b",
]

SAME = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:anna@[2001:db8:0::7]", "sip:anna@[2001:DB8::7]"),
    ("sip:anna@example.org.", "sip:anna@example.org"),
    ("tel:+49-30-12", "tel:+493012"),
    ("urn:service:sos", "urn:service:sos"),
]

DIFFERENT = [
    ("SIP:ALICE@AtlanTa.CoM;Transport=udp", "sip:alice@AtlanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
    ("sip:bob@biloxi.com;maddr=192.0.2.9", "sip:bob@biloxi.com"),
    ("sip:a%2Fb@biloxi.com", "sip:a/b@biloxi.com"),
    ("sip:a:b@biloxi.com", "sip:a@biloxi.com"),
    ("tel:+493012", "tel:+493013"),
    ("urn:service:sos", "urn:service:SOS"),
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_spelling_is_kept(text: str) -> None:
    assert str(Uri.parse(text)) == text


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ParseError) as refusal:
        Uri.parse(text)
    assert refusal.value.status == 400


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equivalent(one: str, other: str) -> None:
    assert equivalent(Uri.parse(one), Uri.parse(other))
    assert equivalent(Uri.parse(other), Uri.parse(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_not_equivalent(one: str, other: str) -> None:
    assert not equivalent(Uri.parse(one), Uri.parse(other))
    assert not equivalent(Uri.parse(other), Uri.parse(one))


def test_parts() -> None:
    uri = Uri.parse("sips:anna:secret@[2001:db8::7]:5061;transport=TLS;lr?a=b")
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == ("sips", "anna", "secret", "2001:db8::7", 5061)
    assert uri.transport == "tls"
    assert uri.is_loose_router
    assert uri.headers == "a=b"
    assert uri.is_sip


def test_semicolons_belong_to_the_user() -> None:
    uri = Uri.parse("sip:user;par=u%40example.net@example.com")
    assert uri.user == "user;par=u%40example.net"
    assert uri.decoded_user() == "user;par=u@example.net"
    assert "par" not in uri.params


@pytest.mark.parametrize("text", ["sip:a%00b@example.org", "sip:a%0d%0aVia@example.org", "sip:%FF@example.org"])
def test_a_user_that_hides_a_control_is_not_decoded(text: str) -> None:
    assert Uri.parse(text).decoded_user() is None


def test_decoded_user_is_utf8() -> None:
    assert Uri.parse("sip:j%C3%BCrgen@example.org").decoded_user() == "jürgen"


def test_changed_is_spelled_anew() -> None:
    uri = Uri.parse("sip:anna@example.org;x=Y")
    assert str(uri.changed(user="bert", host="2001:db8::9", port=5080)) == "sip:bert@[2001:db8::9]:5080;x=Y"
    with pytest.raises(ParseError):
        uri.changed(user="a b")


def test_host_port() -> None:
    assert host_port("2001:db8::1", 5060) == "[2001:db8::1]:5060"
    assert host_port("example.org", None) == "example.org"


@given(st.text())
def test_any_text_is_a_uri_or_refused(text: str) -> None:
    with suppress(ParseError):
        assert str(Uri.parse(text)) == text


@given(st.text(alphabet="sip:@[]%;=?0a.,-/2", min_size=5, max_size=60))
def test_what_is_a_uri_equals_itself(tail: str) -> None:
    try:
        uri = Uri.parse("sip:" + tail)
    except ParseError:
        return
    assert equivalent(uri, uri)
