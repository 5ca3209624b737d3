# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from ctl.sessions.policing import limit


@pytest.mark.parametrize(
    ("codec", "ptimes", "expected"),
    [
        ("PCMU", (None, None), (150, 150)),
        ("PCMU", (20, 20), (150, 150)),
        ("PCMU", (None, 10), (300, 300)),
        ("PCMU", (60, 60), (150, 150)),  # a sender need not heed what its peer would like
        ("opus", (2.5, None), (1200, 1200)),
        ("opus", (0.001, None), (1200, 1200)),
        ("G723", (None, None), (100, 100)),
        ("G723", (30, 20), (150, 150)),
        ("", (None, None), (150, 150)),
    ],
)
def test_rtp_may_come_three_times_as_fast_as_its_codec_sends(codec, ptimes, expected) -> None:
    assert limit("rtp", codec, ptimes, 3.0) == expected


def test_a_port_shared_with_rtcp_has_room_for_both() -> None:
    assert limit("rtp", "PCMU", (20, 20), 3.0, mux=True) == (180, 180)


def test_rtcp_is_seldom() -> None:
    assert limit("rtcp", "", (None, None), 3.0) == (30, 50)


def test_no_factor_is_no_limit() -> None:
    assert limit("rtp", "PCMU", (20, 20), 0) is None
