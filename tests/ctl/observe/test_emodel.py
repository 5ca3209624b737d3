# SPDX-License-Identifier: GPL-3.0-or-later
"""The E-model against the recommendation's own defaults, and against what any listener would say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from ctl.observe import emodel
from ctl.observe.emodel import CODECS, delay_impairment, mos, mouth_to_ear, rating_to_mos


def test_the_constants_follow_from_the_defaults_of_g107():
    """G.107 7.2 and 7.3, written out, with table 2's defaults."""
    slr, rlr, ds, room, stmr, lstr, telr = 8, 2, 3, 35, 15, 18, 65
    olr = slr + rlr
    from_sender = room - slr - ds - 100 + 0.004 * (room - olr - ds - 14) ** 2
    heard = room + 10 * math.log10(1 + 10 ** ((10 - lstr) / 10))
    from_receiver = rlr - 121 + heard + 0.008 * (heard - 35) ** 2
    noise = 10 * math.log10(sum(10 ** (each / 10) for each in (-70, from_sender, from_receiver, -64 + rlr)))
    basic = 15 - 1.5 * (slr + noise)
    loud = (olr + 0.2 * (64 + noise - rlr)) / 8
    too_loud = 20 * ((1 + loud**8) ** (1 / 8) - loud)
    side = -10 * math.log10(10 ** (-stmr / 10) + 10 ** (-telr / 10))
    side_tone = 12 * (1 + ((side - 13) / 6) ** 8) ** (1 / 8) - 28 * (1 + ((side + 1) / 19.4) ** 35) ** (1 / 35)
    side_tone += 29 - 13 * (1 + ((side - 3) / 33) ** 13) ** (1 / 13)
    q = 37.0
    g = 1.07 + 0.258 * q + 0.0602 * q**2
    quantised = 15 * math.log10(1 + 10 ** ((basic - 100) / 15 + 46 / 8.4 - g / 9) + 10 ** (46 / 30 - g / 40))
    assert pytest.approx(noise, abs=0.005) == emodel.NOISE
    assert pytest.approx(basic, abs=0.005) == emodel.SIGNAL_TO_NOISE
    assert pytest.approx(basic - too_loud - side_tone - quantised, abs=0.005) == emodel.BASIC_RATING


def test_the_default_rating_is_93_2():
    assert emodel.BASIC_RATING - delay_impairment(0) == pytest.approx(93.2, abs=0.05)
    assert rating_to_mos(93.2) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(("rating", "expected"), [(0, 1), (50, 2.58), (60, 3.1), (70, 3.6), (80, 4.03), (90, 4.34)])
def test_ratings_are_mos_as_in_annex_b(rating, expected):
    assert rating_to_mos(rating) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("codec", "loss", "delay", "expected"),
    [
        ("PCMU", 0, 0, 4.41),
        ("PCMA", 0, 150, 4.32),
        ("PCMU", 0.01, 60, 4.28),
        ("PCMU", 0.05, 60, 3.85),
        ("PCMU", 0, 400, 3.21),
        ("G729", 0, 0, 4.10),
        ("G722", 0, 0, 4.33),
        ("opus", 0, 0, 4.43),
        ("PCMU", 1.0, 60, 1.14),
    ],
)
def test_known_values(codec, loss, delay, expected):
    assert mos(codec, loss, delay) == pytest.approx(expected, abs=0.01)


def test_a_codec_without_impairment_factors_is_unknown():
    assert mos("VP8", 0, 0) is None
    assert mos("", 0, 0) is None


@given(
    codec=some.sampled_from(sorted(CODECS)),
    loss=some.floats(0, 1),
    more=some.floats(0, 1),
    delay=some.floats(0, 5000),
    later=some.floats(0, 5000),
)
def test_more_loss_or_delay_is_never_better(codec, loss, more, delay, later):
    better = mos(codec, min(loss, more), min(delay, later))
    worse = mos(codec, max(loss, more), max(delay, later))
    assert better is not None
    assert worse is not None
    assert 1 <= worse <= better + 0.005 <= 4.51


def test_delay_is_half_the_round_trip_the_codec_and_a_jitter_buffer():
    assert mouth_to_ear("PCMU", 100, 2) == 50 + 20 + 20
    assert mouth_to_ear("G729", 100, 30) == 50 + 25 + 60
    assert mouth_to_ear("PCMU", None, 0) == 40
