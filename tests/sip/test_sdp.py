# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.errors import ForbiddenCharacter, SdpError
from sip.sdp import SessionDescription
from sip.sdp_parts import STATIC_TYPES, Candidate, Codec, Connection, Crypto, Fingerprint

FULL = (
    b"v=0\r\no=- 20518 18446744073709551616 IN IP4 203.0.113.1\r\ns= \r\nb=AS:80\r\nt=0 0\r\na=group:BUNDLE 1 2\r\n"
    b"a=sendonly\r\na=fingerprint:SHA-256 0A:ff\r\nx=odd\r\n"
    b"m=audio 54400/2 RTP/SAVPF 0 111 101 18 96\r\ni=mic\r\nc=IN IP4 224.2.1.1/127/3\r\na=mid:1\r\n"
    b"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:101 Telephone-Event/8000\r\n"
    b"a=rtcp-fb:111 nack\r\na=rtcp:54401 IN IP4 203.0.113.2\r\na=rtcp-mux\r\na=ptime:20\r\na=setup:actpass\r\n"
    b"a=ice-ufrag:abcd\r\na=candidate:1 1 UDP 2130706431 203.0.113.1 54400 typ host generation 0\r\n"
    b"a=candidate:2 1 tcp 1 fe80::1 9 TYP srflx raddr 10.0.1.1 rport 9\r\na=candidate:broken\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 KDR=0\r\n"
    b"m=video 0 RTP/AVP 31\r\na=recvonly\r\na=inactive\r\n"
)


def full() -> SessionDescription:
    return SessionDescription.parse(FULL)


def simple(body: bytes) -> SessionDescription:
    return SessionDescription.parse(b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n" + body)


def test_what_is_not_edited_stays() -> None:
    assert full().to_bytes() == FULL
    for ending in (b"\n", b"\r", b"\r\n"):
        body = FULL.replace(b"\r\n", ending)
        for cut in (body, body.rstrip(), body + ending):
            assert SessionDescription.parse(cut).to_bytes() == cut


def test_session_values() -> None:
    description = full()
    origin = description.origin
    assert (origin.username, origin.version, origin.connection.address) == ("-", str(2**64), "203.0.113.1")
    assert description.session.value("s") == " "
    assert description.session.values("b") == ["AS:80"]
    assert description.session.connection is None
    audio, video = description.media
    assert description.connection_of(audio) == Connection(4, "224.2.1.1")
    assert description.connection_of(video) is None
    assert [description.direction_of(medium) for medium in (audio, video)] == ["sendonly", "inactive"]
    assert description.fingerprints_of(audio) == [Fingerprint("sha-256", b"\x0a\xff")]


def test_media_values() -> None:
    audio, video = full().media
    assert (audio.media, audio.port, audio.port_count, audio.proto) == ("audio", 54400, 2, "RTP/SAVPF")
    assert audio.formats == ["0", "111", "101", "18", "96"]
    assert audio.codecs == {
        0: Codec("PCMU", 8000),
        111: Codec("opus", 48000, 2, "minptime=10;useinbandfec=1"),
        101: Codec("Telephone-Event", 8000),
        18: Codec("G729", 8000),
    }
    assert (audio.rtcp, audio.rtcp_mux, audio.ptime) == ((54401, "203.0.113.2"), True, 20.0)
    assert (audio.attribute("mid"), audio.attribute("setup"), audio.attribute("ice-ufrag")) == ("1", "actpass", "abcd")
    assert (video.rtcp, video.rtcp_mux, video.ptime, video.attribute("mid")) == (None, False, None, None)
    assert video.codecs == {31: Codec("H261", 90000)}


def test_candidates() -> None:
    first, second = full().media[0].candidates
    assert first == Candidate("1", 1, "udp", 2130706431, "203.0.113.1", 54400, "host", ("generation", "0"))
    assert (second.kind, second.address, second.extensions[:2]) == ("srflx", "fe80::1", ("raddr", "10.0.1.1"))


def test_crypto() -> None:
    (crypto,) = full().media[0].cryptos
    assert (crypto.tag, crypto.suite, crypto.lifetime, crypto.mki, crypto.params) == (
        1,
        "AES_CM_128_HMAC_SHA1_80",
        "2^20",
        "1:4",
        "KDR=0",
    )
    assert len(crypto.key) == 30
    assert "WVNf" not in repr(crypto)
    assert str(crypto.key) not in repr(crypto)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1 AES_CM_128_HMAC_SHA1_80",
        "x AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        "1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=",
        "1 AES_CM_128_HMAC_SHA1_80 inline:!!!!",
        "1 AES_CM_128_HMAC_SHA1_80 uri:x",
        "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz;inline:WVNf",
    ],
)
def test_crypto_that_cannot_be_used(value: str) -> None:
    assert Crypto.parse(value) is None


def test_static_types_of_rfc3551() -> None:
    assert STATIC_TYPES[9] == Codec("G722", 8000)
    assert STATIC_TYPES[10] == Codec("L16", 44100, 2)
    assert STATIC_TYPES[17].clock == 22050
    assert len(STATIC_TYPES) == 24
    assert Codec("opus", 48000, 2).same_as(Codec("OPUS", 48000, 2, "x=1"))
    assert not Codec("G722", 8000).same_as(Codec("G722", 16000))


@pytest.mark.parametrize("value", ["0", "0 PCMU", "128 X/8000", "0 PCMU/0", "x PCMU/8000", "0 PCMU/8000/x", "٣ X/8000"])
def test_a_broken_rtpmap_is_passed_over(value: str) -> None:
    description = simple(f"m=audio 4 RTP/AVP 0 96\na=rtpmap:{value}\n".encode())
    assert description.media[0].codecs == {0: Codec("PCMU", 8000)}


def test_a_relay_moves_media_and_touches_nothing_else() -> None:
    description = full()
    audio = description.media[0]
    origin = description.origin
    description.origin = replace(origin, version="7", connection=Connection.to("2001:db8::1"))
    audio.connection = Connection.to("2001:db8::1")
    audio.set_port(30000)
    audio.set_attribute("rtcp", "30001 IN IP6 2001:db8::1")
    audio.remove_attributes("candidate", "ice-ufrag")
    expected = (
        FULL.replace(b"o=- 20518 18446744073709551616 IN IP4 203.0.113.1", b"o=- 20518 7 IN IP6 2001:db8::1")
        .replace(b"c=IN IP4 224.2.1.1/127/3", b"c=IN IP6 2001:db8::1")
        .replace(b"54400/2", b"30000")
        .replace(b"54401 IN IP4 203.0.113.2", b"30001 IN IP6 2001:db8::1")
    )
    lines = [line for line in expected.splitlines(True) if not line.startswith((b"a=candidate", b"a=ice-ufrag"))]
    assert description.to_bytes() == b"".join(lines)
    assert SessionDescription.parse(description.to_bytes()).media[0].port == 30000


def test_what_was_missing_is_put_where_it_belongs() -> None:
    description = simple(b"m=audio 4 RTP/AVP 0\na=x\nm=video 6 RTP/AVP 31")
    audio, video = description.media
    audio.connection = Connection.to("192.0.2.9")
    video.connection = Connection.to("192.0.2.8")
    audio.set_attribute("rtcp-mux")
    description.session.set_value("b", "AS:1")
    description.session.direction = "inactive"
    assert description.to_bytes() == (
        b"v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nb=AS:1\nt=0 0\na=inactive\n"
        b"m=audio 4 RTP/AVP 0\nc=IN IP4 192.0.2.9\na=x\na=rtcp-mux\nm=video 6 RTP/AVP 31\nc=IN IP4 192.0.2.8\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"a=sendonly\n"),
        (b"a=sendrecv\na=x\n", b"a=sendonly\na=x\n"),
        (b"a=x\na=recvonly\na=y\na=inactive\n", b"a=x\na=sendonly\na=y\n"),
    ],
)
def test_direction_is_said_once(before: bytes, after: bytes) -> None:
    description = simple(b"m=audio 4 RTP/AVP 0\n" + before)
    description.media[0].direction = "sendonly"
    assert description.to_bytes().endswith(b"m=audio 4 RTP/AVP 0\n" + after)


def test_formats_go_with_their_attributes() -> None:
    description = full()
    audio = description.media[0]
    audio.set_formats(["0", "101"])
    assert audio.lines[0] == b"m=audio 54400/2 RTP/SAVPF 0 101\r\n"
    assert not [line for line in audio.lines if b":111 " in line]
    assert list(audio.codecs) == [0, 101]
    audio.set_proto("RTP/AVP")
    assert SessionDescription.parse(description.to_bytes()).media[0].proto == "RTP/AVP"


@pytest.mark.parametrize("value", ["1\r\nm=audio", "1\n", "1\0"])
def test_no_line_can_be_smuggled_in(value: str) -> None:
    with pytest.raises(ForbiddenCharacter):
        full().session.add_attribute("x", value)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"o=- 1 1 IN IP4 a\r\n", 400),
        (b"v=1\r\n", 400),
        (b"v=0\r\nm=audio\r\n", 400),
        (b"v=0\r\nm=audio 65536 RTP/AVP 0\r\n", 400),
        (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", 400),
        (b"v=0\r\nm =audio 1 RTP/AVP 0\r\n", 400),
        (b"v=0\r\nnonsense\r\n", 400),
        (b"v=0\r\ns=a\0b\r\n", 400),
        (b"v=0\r\n" + b"m=audio 1 RTP/AVP 0\r\n" * 17, 488),
        (b"v=0\r\n" + b"a=x\r\n" * 257, 488),
        (b"v=0\r\n" + b"s=" + b"x" * 65536, 413),
    ],
)
def test_refused(body: bytes, status: int) -> None:
    with pytest.raises(SdpError) as refusal:
        SessionDescription.parse(body)
    assert refusal.value.status == status


@pytest.mark.parametrize("value", ["IN IP5 1.2.3.4", "IN IP4", "x", "IN IP4 a b"])
def test_connection_refused(value: str) -> None:
    description = simple(f"m=audio 1 RTP/AVP 0\nc={value}\n".encode())
    with pytest.raises(SdpError):
        description.connection_of(description.media[0])


def test_origin_refused() -> None:
    with pytest.raises(SdpError):
        _ = SessionDescription.parse(b"v=0\r\ns=-\r\n").origin


@pytest.mark.alone
def test_the_largest_description_is_read_in_five_milliseconds() -> None:
    section = (
        b"m=audio 1 RTP/AVP " + b" ".join(b"%d" % i for i in range(128)) + b"\r\n" + b"a=rtpmap:99 x/8000\r\n" * 170
    )
    body = b"v=0\r\n" + section * 16
    assert 60_000 < len(body) < 65536

    def once() -> float:
        begun = time.process_time()
        SessionDescription.parse(body)
        return time.process_time() - begun

    assert min(once() for _ in range(5)) < 0.005


@given(st.binary(max_size=300), st.integers(0, len(FULL)), st.integers(0, 40))
def test_any_bytes_are_kept_or_refused(noise: bytes, place: int, gap: int) -> None:
    body = FULL[:place] + noise + FULL[place + gap :]
    with suppress(SdpError):
        description = SessionDescription.parse(body)
        assert description.to_bytes() == body
        for medium in description.media:
            _ = medium.codecs, medium.cryptos, medium.candidates, medium.rtcp, medium.ptime, medium.fingerprints
            _ = description.direction_of(medium)
            _ = description.connection_of(medium)
