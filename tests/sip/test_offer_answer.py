# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of offers and answers in each dialog: whose o= it is, and what an answer may say."""

from __future__ import annotations

import pytest

from sip.errors import SdpError
from sip.offer_answer import check_answer, check_offer, fresh_offer, renumbered
from sip.sdp import SessionDescription

BODY = b"v=0\r\no=anna 5 9 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


def media(*lines: str) -> bytes:
    return b"v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\n" + "".join(f"m={line}\r\n" for line in lines).encode()


def test_origin_is_ours_and_counts_only_changes():
    first = renumbered(BODY, b"", 77)
    assert b"o=- 77 1 IN IP4 192.0.2.7\r\n" in first
    assert first.replace(b"o=- 77 1", b"o=anna 5 9") == BODY
    same = renumbered(BODY.replace(b"5 9", b"6 3"), first, 77)
    assert same == first
    changed = renumbered(BODY.replace(b"RTP/AVP 0", b"RTP/AVP 8"), first, 77)
    assert b"o=- 77 2 IN IP4" in changed
    assert b"o=- 77 3 IN IP4" in renumbered(BODY, changed, 77)


def test_what_has_no_origin_is_left_alone():
    assert renumbered(b"v=0\r\n", b"", 1) == b"v=0\r\n"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (["audio 4000 RTP/AVP 0"], ["audio 5000 RTP/AVP 0"]),
        (["audio 4000 RTP/AVP 0"], ["audio 0 RTP/AVP 0"]),
        (["audio 4000 RTP/AVP 0", "video 4002 RTP/AVP 96"], ["audio 5000 RTP/AVP 0", "video 0 RTP/AVP 96"]),
        (["audio 4000 RTP/SAVPF 0"], ["audio 0 RTP/AVP 0"]),
        (["audio 4000/2 RTP/AVP 0"], ["AUDIO 5000 rtp/avp 0"]),
    ],
)
def test_answers_that_fit(offer, answer):
    check_answer(media(*offer), media(*answer))


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (["audio 4000 RTP/AVP 0"], []),
        (["audio 4000 RTP/AVP 0"], ["audio 5000 RTP/AVP 0", "video 5002 RTP/AVP 96"]),
        (["audio 4000 RTP/AVP 0"], ["video 5000 RTP/AVP 0"]),
        (["audio 0 RTP/AVP 0"], ["audio 5000 RTP/AVP 0"]),
        (["audio 4000 RTP/SAVP 0"], ["audio 5000 RTP/AVP 0"]),
    ],
)
def test_answers_that_are_none(offer, answer):
    with pytest.raises(SdpError, match="488"):
        check_answer(media(*offer), media(*answer))


def test_media_stay_for_ever():
    both = media("audio 4000 RTP/AVP 0", "video 4002 RTP/AVP 96")
    check_offer(both, media("audio 4000 RTP/AVP 0"))
    check_offer(media("audio 4000 RTP/AVP 0", "video 0 RTP/AVP 96"), both)
    with pytest.raises(SdpError, match="Fewer Media"):
        check_offer(media("audio 4000 RTP/AVP 0"), b"", both)


def test_fresh_offer_is_not_on_hold():
    held = BODY.replace(b"t=0 0\r\n", b"t=0 0\r\na=sendonly\r\n") + b"a=inactive\r\na=rtpmap:0 PCMU/8000\r\n"
    description = SessionDescription.parse(fresh_offer(held))
    assert description.direction_of(description.media[0]) == "sendrecv"
    assert description.media[0].attribute("rtpmap") == "0 PCMU/8000"
