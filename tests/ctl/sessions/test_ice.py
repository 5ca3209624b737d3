# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read of ICE in descriptions, what is said in them, and who leads."""

import random
import re

import pytest

from ctl.sessions import ice
from ctl.sessions.ice import Candidate, IceOwn, IcePair, IceSaid
from media.ice import IceCandidate
from sip.sdp import SessionDescription

LINES = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
    "a=candidate:1 1 UDP 2130706431 192.0.2.10 4000 typ host\r\n"
    "a=candidate:1 2 UDP 2130706430 192.0.2.10 4001 typ host\r\n"
)
SAID = IceSaid("abcd", "0123456789012345678901", candidates=(Candidate(1, "192.0.2.10", 4000, 9),))


def described(lines: str = LINES, session: str = "", port: int = 4000, where: str = "192.0.2.10") -> IceSaid | None:
    text = f"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 {where}\r\nt=0 0\r\n{session}"
    sdp = SessionDescription.parse(f"{text}m=audio {port} RTP/AVP 0\r\n{lines}".encode())
    return ice.read(sdp, sdp.media[0])


def draw(count: int) -> bytes:
    return random.Random(count).randbytes(count)


def test_a_description_is_read() -> None:
    said = described()
    assert said
    assert (said.name, said.password, said.lite, said.complete) == ("abcd", "0123456789012345678901", False, True)
    assert said.candidates == (
        Candidate(1, "192.0.2.10", 4000, 2130706431),
        Candidate(2, "192.0.2.10", 4001, 2130706430),
    )


def test_names_of_the_session_count_for_every_medium() -> None:
    session = "a=ice-lite\r\na=ice-ufrag:sess\r\na=ice-pwd:9876543210987654321098\r\na=ice-options:trickle\r\n"
    said = described("", session)
    assert said
    assert (said.name, said.lite, said.complete, said.trickle) == ("sess", True, False, True)
    assert described("a=end-of-candidates\r\n", session).complete  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "lines",
    ["", "a=ice-ufrag:abcd\r\n", "a=ice-pwd:0123\r\n", LINES + "a=ice-mismatch\r\n", LINES.replace("abcd", "a b")],
)
def test_what_could_not_be_checked_is_no_ice(lines: str) -> None:
    assert described(lines) is None


@pytest.mark.parametrize(
    "line",
    [
        "1 1 TCP 1 192.0.2.10 9 typ host tcptype active",
        "1 1 UDP 1 4f1c0a5e.local 4000 typ host",
        "1 3 UDP 1 192.0.2.10 4000 typ host",
        "1 1 UDP 1 192.0.2.10 0 typ host",
        "1 1 UDP 1 192.0.2.10 70000 typ host",
        "nonsense",
    ],
)
def test_candidates_that_cannot_be_sent_to_are_left_out(line: str) -> None:
    said = described(f"{LINES}a=candidate:{line}\r\n")
    assert said
    assert len(said.candidates) == 2


def test_somebody_between_who_changed_the_address_is_noticed() -> None:
    assert described(where="203.0.113.1").mismatch  # type: ignore[union-attr]
    assert described(port=5000).mismatch  # type: ignore[union-attr]
    assert not described(where="0.0.0.0", port=9).mismatch  # type: ignore[union-attr]
    assert ice.answer("full", described(port=5000), None, None, draw) is None


def test_names_and_passwords_are_as_long_as_they_must_be() -> None:
    own = ice.offer("lite", None, draw, relayed=False, trickle=False)
    assert own
    assert re.fullmatch(r"[A-Za-z0-9+/]{8}", own.name)
    assert re.fullmatch(r"[A-Za-z0-9+/]{26}", own.password)
    assert own.password not in repr(own)


@pytest.mark.parametrize(
    ("policy", "peer_lite", "expected"),
    [
        ("lite", False, (True, False)),
        ("full", False, (False, False)),
        ("lite", True, (False, True)),
        ("full", True, (False, True)),
    ],
)
def test_who_answers_leads_only_where_the_offerer_is_lite(policy, peer_lite, expected) -> None:  # type: ignore[no-untyped-def]
    said = IceSaid("a", "b", lite=peer_lite)
    own = ice.answer(policy, said, None, None, draw)
    assert own
    assert (own.lite, own.controlling) == expected


def test_without_ice_in_the_offer_or_where_it_is_removed_there_is_none() -> None:
    assert ice.answer("full", None, None, None, draw) is None
    assert ice.answer("remove", SAID, None, None, draw) is None
    assert ice.offer("remove", None, draw, relayed=False, trickle=False) is None
    own = ice.offer("full", None, draw, relayed=False, trickle=False)
    assert ice.accept(own, None) is None
    assert ice.accept(None, SAID) is None
    assert ice.accept(own, SAID) == own


def test_a_restart_of_theirs_is_one_of_ours_and_nothing_else_is() -> None:
    before = IceOwn("old", "oldest", lite=True, controlling=False)
    assert ice.answer("lite", SAID, before, SAID, draw) == before
    other = IceSaid("else", "0123456789012345678901")
    assert ice.answer("lite", SAID, before, other, draw) != before
    assert ice.offer("lite", before, draw, relayed=False, trickle=False) == before


def test_two_that_are_lite_check_nothing() -> None:
    own = ice.offer("lite", None, draw, relayed=False, trickle=False)
    assert ice.side(own, IceSaid("a", "b", lite=True), {}) is None
    assert ice.side(own, SAID, {}) is not None
    assert ice.side(None, SAID, {}) is None


def test_our_lines() -> None:
    own = IceOwn("ufrag", "password", lite=False, controlling=True)
    assert list(ice.lines(own, "192.0.2.1", 20000, 20001)) == [
        ("ice-ufrag", "ufrag"),
        ("ice-pwd", "password"),
        ("candidate", "c0000201h 1 UDP 2130706431 192.0.2.1 20000 typ host"),
        ("candidate", "c0000201h 2 UDP 2130706430 192.0.2.1 20001 typ host"),
    ]
    relayed = IceOwn("ufrag", "password", lite=False, controlling=True, relayed=True, trickle=True)
    assert list(ice.lines(relayed, "2001:db8::1", 20000, None))[2:] == [
        ("ice-options", "trickle"),
        ("candidate", "00000001r 1 UDP 16777215 2001:db8::1 20000 typ relay raddr 2001:db8::1 rport 20000"),
        ("end-of-candidates", ""),
    ]


def test_the_engine_is_told_of_one_component_and_family() -> None:
    candidates = (
        Candidate(1, "192.0.2.10", 4000, 5),
        Candidate(2, "192.0.2.10", 4001, 6),
        Candidate(1, "2001:db8::7", 4000, 7),
        Candidate(1, "192.0.2.11", 4002, 8),
    )
    own = IceOwn("o", "p", lite=False, controlling=False, tiebreaker=77)
    side = ice.side(
        own, IceSaid("a", "b", candidates=candidates), {("192.0.2.1", 20000): IcePair("selected", ("x", 1))}
    )
    assert side
    told = side.engine(("192.0.2.1", 20000), ice.RTP)
    assert (told.role, told.own_name, told.peer_password, told.tiebreaker) == ("controlled", "o", "b", 77)
    assert told.candidates == (IceCandidate("192.0.2.11", 4002, 8), IceCandidate("192.0.2.10", 4000, 5))
    assert (told.selected, told.priority) == (("x", 1), 0x6EFFFFFF)
    assert side.engine(("192.0.2.1", 20001), ice.RTCP).candidates == (IceCandidate("192.0.2.10", 4001, 6),)


def test_where_nothing_may_be_sent_to_is_left_out() -> None:
    said = IceSaid("a", "b", candidates=(Candidate(1, "127.0.0.1", 1, 1), Candidate(1, "192.0.2.10", 2, 2)))
    assert ice.usable(said, lambda address: address.startswith("127.")).candidates == said.candidates[1:]


def test_a_fragment_is_read_part_by_part() -> None:
    body = (
        b"a=ice-ufrag:abcd\r\na=ice-pwd:x\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
        b"a=candidate:1 1 UDP 9 192.0.2.10 4000 typ host\r\na=candidate:nonsense\r\n"
        b"m=video 9 RTP/AVP 0\r\na=candidate:1 1 UDP 8 x.local 1 typ host\r\na=end-of-candidates\r\n"
    )
    found = ice.fragment(body)
    assert found == ice.Fragment("abcd", (((Candidate(1, "192.0.2.10", 4000, 9),), False), ((), True)))
    assert ice.fragment(b"a=end-of-candidates\r\nm=audio 9 RTP/AVP 0\r\n").parts == (((), True),)
    assert ice.fragment(b"a=end-of-candidates\r\n").parts == (((), True),)
    assert ice.fragment(b"\xff\x00 nothing at all") == ice.Fragment(None, (((), False),))


def test_candidates_that_come_later_are_added_once_and_of_no_other_credentials() -> None:
    fresh = Candidate(1, "192.0.2.11", 4000, 5)
    waiting = IceSaid("a", "b", candidates=SAID.candidates, complete=False)
    more = ice.trickled(waiting, "a", [fresh, *SAID.candidates, fresh], ended=True)
    assert (more.candidates, more.complete) == ((*SAID.candidates, fresh), True)
    assert ice.trickled(waiting, "other", [fresh], ended=True) == waiting
    many = [Candidate(1, "192.0.2.12", port, 1) for port in range(1, 5000)]
    assert len(ice.trickled(waiting, None, many, ended=False).candidates) == 96
