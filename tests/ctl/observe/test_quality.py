# SPDX-License-Identifier: GPL-3.0-or-later
"""Intervals and reports in, figures out: known where measured, unknown else."""

import json

import pytest

from ctl.observe.quality import Quality, Sample
from ctl.observe.rtcp import Report, ReportBlock

CALL = ("call", 0)
NTP = 0x11110000


def look(quality, now, packets, lost=0, leg="a", jitter=1.0, codec="PCMU"):
    """Look at the moment `now` of a call that began at 100."""
    return quality.look(*CALL, leg, Sample(packets, lost, jitter, 100.0 + now, codec), 100.0 + now)


def block(last=0, delay=0.0, fraction=0.0, jitter=0):
    return ReportBlock(7, fraction, 0, 0, jitter, last, delay)


def report(quality, leg, at, time=None, last=0, delay=0.0, fraction=0.0, jitter=0):
    blocks = (block(last, delay, fraction, jitter),)
    quality.report(*CALL, leg, Report(9, time, blocks), 8000, at)


@pytest.fixture
def quality():
    return Quality()


def test_nothing_is_known_before_there_are_packets(quality):
    assert quality.of(*CALL, "a") is None
    assert look(quality, 0, 9) is None
    assert (quality.of(*CALL, "a").mos, quality.of(*CALL, "a").mos_avg, quality.round_trip(*CALL)) == (None,) * 3


def test_an_interval_is_judged_by_its_own_loss(quality):
    first = look(quality, 0, 1000, lost=1000)
    good = look(quality, 5, 1250, lost=1000)
    bad = look(quality, 10, 1475, lost=1025)
    assert (first.loss, good.loss, bad.loss) == (0.5, 0, 0.1)
    assert good.mos == pytest.approx(4.38, abs=0.01)
    assert bad.mos == pytest.approx(3.35, abs=0.01)
    here = quality.of(*CALL, "a")
    assert (here.mos, here.mos_min) == (bad.mos, first.mos)
    assert here.mos_avg == pytest.approx((first.mos + good.mos + bad.mos) / 3)
    assert here.packets_per_second == 45


def test_late_packets_are_no_negative_loss(quality):
    look(quality, 0, 0, lost=10)
    assert look(quality, 5, 250, lost=2).loss == 0


def test_a_silent_interval_is_unknown_and_leaves_the_summary(quality):
    look(quality, 0, 0)
    look(quality, 5, 250)
    assert look(quality, 10, 252) is None
    here = quality.of(*CALL, "a")
    assert (here.mos, here.loss, here.intervals, here.packets_per_second) == (None, None, 1, 0.4)
    assert here.mos_avg is not None


def test_the_end_of_a_call_is_an_interval_if_it_is_long_enough(quality):
    quality.finish(*CALL, "a", Sample(150, 0, 1.0, 103.0, "PCMU"))
    look(quality, 0, 50, leg="b")
    quality.finish(*CALL, "b", Sample(100, 50, 1.0, 101.0, "PCMU"))
    assert [quality.of(*CALL, leg).intervals for leg in ("a", "b")] == [1, 1]
    assert quality.of(*CALL, "b").mos_min > 4.3


def test_after_its_end_a_direction_is_counted_from_zero(quality):
    look(quality, 0, 100, lost=10)
    quality.finish(*CALL, "a", Sample(110, 10, 1.0, 101.0, "PCMU"))
    assert look(quality, 5, 240, lost=10).loss == 0.04


def test_silence_is_told_once(quality):
    assert [quality.idle(*CALL, "a", silent) for silent in (False, True, True, False, True)] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_another_carriers_counters_begin_an_interval(quality):
    look(quality, 0, 5000, lost=100)
    interval = look(quality, 5, 100, lost=5)
    assert interval.loss == pytest.approx(5 / 105)


def test_without_a_known_clock_or_codec(quality):
    assert look(quality, 5, 250, jitter=None).mos is not None
    assert quality.of(*CALL, "a").jitter_max_ms is None
    assert look(quality, 5, 250, leg="b", codec="VP8").mos is None
    assert quality.of(*CALL, "b").mos_min is None


def test_round_trips_of_both_legs_make_that_of_the_call(quality):
    report(quality, "a", 100.0, time=NTP)  # on its way to b
    report(quality, "b", 100.530, time=NTP + 1, last=NTP, delay=0.5)
    assert quality.of(*CALL, "b").leg_round_trip == pytest.approx(0.030)
    assert quality.round_trip(*CALL) is None
    report(quality, "a", 102.580, time=NTP + 2, last=NTP + 1, delay=2.0)
    assert quality.of(*CALL, "a").leg_round_trip == pytest.approx(0.050)
    assert quality.round_trip(*CALL) == pytest.approx(0.080)
    report(quality, "a", 103.600, last=NTP + 1, delay=3.0)
    assert quality.round_trip(*CALL) == pytest.approx(0.100)
    assert quality.round_trip_avg(*CALL) == pytest.approx(0.090)


@pytest.mark.parametrize(("last", "delay"), [(NTP, 0.2), (NTP + 5, 0.0), (0, 0.0)], ids=["before", "unknown", "none"])
def test_an_impossible_round_trip_is_none(quality, last, delay):
    report(quality, "a", 100.0, time=NTP)
    report(quality, "b", 100.1, last=last, delay=delay)
    assert quality.of(*CALL, "b").leg_round_trip is None


def test_a_stranger_to_the_clock_is_ignored(quality):
    report(quality, "a", 100.0, time=NTP)
    report(quality, "b", 200.0, last=NTP)
    assert quality.of(*CALL, "b").leg_round_trip is None


def test_only_the_last_sender_reports_are_kept(quality):
    for number in range(100):
        report(quality, "a", float(number), time=number)
    assert list(quality.of(*CALL, "a").reports) == list(range(92, 100))


def test_the_far_end_counts_where_it_has_it_worse(quality):
    look(quality, 0, 0)
    report(quality, "b", 103.0, fraction=0.05, jitter=240)
    interval = look(quality, 5, 250)
    here = quality.of(*CALL, "a")
    assert (interval.loss, here.far_loss, here.far_jitter_ms) == (0, 0.05, 30)
    assert interval.mos < 3.9
    assert look(quality, 30, 1500).mos > 4.3  # the report is old


def test_where_our_own_stream_reaches_the_far_end_both_halves_of_the_way_count(quality):
    look(quality, 0, 0)
    quality.report(*CALL, "b", Report(9, None, (block(fraction=0.5),)), 8000, 103.0, whole=False)
    halves = look(quality, 5, 200, 50)
    quality.report(*CALL, "b", Report(9, None, (block(fraction=0.5),)), 8000, 106.0)
    assert halves.mos < look(quality, 10, 400, 100).mos


def test_the_round_trip_costs(quality):
    look(quality, 0, 0)
    near = look(quality, 5, 250).mos
    report(quality, "a", 6.0, time=NTP)
    report(quality, "b", 6.6, last=NTP)
    assert look(quality, 10, 500).mos < near - 0.7


def test_what_is_known_survives_a_restart(quality):
    look(quality, 0, 0)
    look(quality, 5, 240, lost=10)
    report(quality, "b", 3.0, fraction=0.05)
    quality.digit(*CALL, "b", "5")
    later = Quality()
    later.restore([["torn"], ["call", 0, "a", [1]], 7, *json.loads(json.dumps(quality.to_json({"call", "other"})))])
    assert later.calls() == {"call"}
    assert later.to_json({"call"}) == quality.to_json({"call"})
    assert look(later, 10, 490, lost=10).loss == 0
    assert (later.of(*CALL, "a").intervals, later.of(*CALL, "a").packets_per_second) == (2, 50)
    later.forget("call")
    later.forget("call")
    assert later.calls() == set()


def test_digits_are_remembered_to_a_length(quality):
    for digit in "0123456789" * 5:
        quality.digit(*CALL, "a", digit)
    assert quality.of(*CALL, "a").digits == ("0123456789" * 5)[-32:]
