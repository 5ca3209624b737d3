# SPDX-License-Identifier: GPL-3.0-or-later
"""Telephone events (RFC 4733) and tones: a digit is told once, however often, late or incompletely it is reported."""

import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.dsp import MS, ffi, largest_step, level, lib, samples, tone_level

NOTHING, BEGUN, GOES_ON, ENDED = range(4)
DIGITS = "0123456789*#ABCD"


def event(digit: int, duration: int, end: bool = False, volume: int = 10) -> bytes:
    return bytes([digit, (128 if end else 0) | volume]) + duration.to_bytes(2, "big")


class Receiver:
    def __init__(self) -> None:
        self.state = ffi.new("struct dtmf_receiver *")
        self.now = 0

    def __call__(self, timestamp: int, payload: bytes, ms: int = 20) -> int:
        self.now += ms * MS
        return lib.dtmf_receive(self.state, timestamp, payload, len(payload), self.now)

    def duration(self) -> int:
        return lib.dtmf_duration(self.state)


def test_a_digit_is_told_once():
    receive = Receiver()
    news = [receive(1000, event(5, 160 * n)) for n in range(1, 6)]
    news += [receive(1000, event(5, 960, end=True)) for _ in range(3)]
    assert news == [BEGUN, GOES_ON, GOES_ON, GOES_ON, GOES_ON, ENDED, NOTHING, NOTHING]
    assert receive.duration() == 960


def test_the_same_digit_again_is_another_one():
    receive = Receiver()
    for timestamp in (1000, 3000):
        assert receive(timestamp, event(5, 160)) == BEGUN
        assert receive(timestamp, event(5, 320, end=True)) == ENDED


def test_an_end_that_is_lost_is_noticed():
    receive = Receiver()
    receive(1000, event(5, 160))
    assert lib.dtmf_expire(receive.state, receive.now - 1 * MS) == NOTHING, "a late tick is of before"
    assert lib.dtmf_expire(receive.state, receive.now + 100 * MS) == NOTHING
    assert lib.dtmf_expire(receive.state, receive.now + 250 * MS) == ENDED
    assert lib.dtmf_expire(receive.state, receive.now + 500 * MS) == NOTHING


def test_only_the_end_arrives():
    receive = Receiver()
    assert receive(1000, event(7, 800, end=True)) == ENDED
    assert receive(1000, event(7, 800, end=True)) == NOTHING


def test_late_reports_of_an_earlier_digit_are_nothing():
    receive = Receiver()
    receive(5000, event(1, 160))
    assert receive(1000, event(9, 800, end=True)) == NOTHING
    assert receive(5000, event(1, 80)) == NOTHING


def test_a_long_digit_goes_on_in_segments():
    """RFC 4733 section 2.5.1.3."""
    receive = Receiver()
    assert receive(1000, event(3, 0xFFFF)) == BEGUN
    assert receive(1000 + 0xFFFF, event(3, 160)) == GOES_ON
    assert receive(1000 + 0xFFFF, event(3, 320, end=True)) == ENDED
    assert receive.duration() == 0xFFFF + 320


def test_time_stamps_wrap():
    receive = Receiver()
    assert receive(0xFFFFFF00, event(1, 160, end=True)) == ENDED
    assert receive(0x00000500, event(2, 160)) == BEGUN


@pytest.mark.parametrize("payload", [b"", b"\x01\x0a\x00", event(16, 100), event(255, 100)])
def test_what_is_no_digit_is_nothing(payload):
    assert Receiver()(1000, payload) == NOTHING


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=12), st.integers(0, 2**32 - 1), st.randoms())
def test_every_digit_is_told_once_whatever_is_lost_but_one_report(digits, start, dice):
    receive, told = Receiver(), []
    for number, digit in enumerate(digits):
        timestamp = (start + number * 2000) % 2**32
        reports = [event(digit, 160 * n) for n in range(1, 6)] + [event(digit, 800, end=True)] * 3
        kept = sorted(dice.sample(range(len(reports)), dice.randrange(1, len(reports) + 1)))
        before = receive.state.active
        for place in kept:
            news = receive(timestamp, reports[place])
            if news == BEGUN or (news == ENDED and not receive_began(told, number)):
                told.append((number, digit))
        assert before in (0, 1)
    assert told == list(enumerate(digits))


def receive_began(told: list, number: int) -> bool:
    return bool(told) and told[-1][0] == number


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 2**32 - 1), st.integers(0, 300)), max_size=40))
def test_random_reports_harm_nothing(reports):
    receive = Receiver()
    for payload, timestamp, ms in reports:
        assert receive(timestamp, payload, ms) in (NOTHING, BEGUN, GOES_ON, ENDED)
        assert receive.state.now.event < 16


class Sender:
    def __init__(self) -> None:
        self.state = ffi.new("struct dtmf_sender *")

    def queue(self, digit: int, ms: int) -> int:
        return lib.dtmf_queue(self.state, ffi.new("struct dtmf_digit *", [digit, 10, ms]))

    def step(self, ms: int = 20) -> tuple[int, int, bool] | None:
        report = ffi.new("struct dtmf_event *")
        if not lib.dtmf_step(self.state, ms, report):
            return None
        return report.event, report.duration, bool(report.end)


def test_a_digit_is_sent_with_three_ends_and_a_pause():
    sender = Sender()
    sender.queue(5, 100)
    sender.queue(6, 40)
    reports = [sender.step() for _ in range(14)]
    assert reports[:4] == [(5, 20, False), (5, 40, False), (5, 60, False), (5, 80, False)]
    assert reports[4:7] == [(5, 100, True)] * 3
    assert reports[7:9] == [None, None]
    assert [report for report in reports[9:] if report] == [(6, 20, False)] + [(6, 40, True)] * 3


def test_a_digit_lasts_until_it_is_released():
    sender = Sender()
    sender.queue(1, 0)
    assert [sender.step() for _ in range(50)][-1] == (1, 1000, False)
    lib.dtmf_release(sender.state)
    assert sender.step()[2]


def test_a_digit_released_before_its_turn_is_short():
    sender = Sender()
    sender.queue(1, 0)
    lib.dtmf_release(sender.state)
    assert [sender.step() for _ in range(4)] == [(1, 20, False)] + [(1, 40, True)] * 3


def test_the_queue_is_bounded():
    sender = Sender()
    assert [sender.queue(1, 50) for _ in range(33)] == [0] * 32 + [-1]
    assert sender.queue(16, 50) == -1


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("digit", DIGITS)
def test_each_tone_is_heard_as_its_digit(digit, rate):
    tone, pcm = ffi.new("struct tone *"), ffi.new("int16_t[]", rate // 10)
    lib.tone_start(tone, DIGITS.index(digit), rate, -10.0)
    lib.tone_make(tone, pcm, rate // 10)
    detector = ffi.new("struct tone_detector *")
    assert lib.tone_detector_open(detector, rate) == 0
    assert lib.tone_detect(detector, pcm, rate // 10) == DIGITS.index(digit)
    assert lib.tone_detect(detector, ffi.new("int16_t[]", rate // 10), rate // 10) == -1
    assert lib.tone_character(DIGITS.index(digit)).decode() == digit
    assert lib.tone_number(digit.encode()) == DIGITS.index(digit)


def test_a_tone_has_its_frequencies_its_level_and_no_click():
    tone, pcm = ffi.new("struct tone *"), ffi.new("int16_t[800]")
    lib.tone_start(tone, 5, 8000, -10.0)
    lib.tone_make(tone, pcm, 640)
    lib.tone_end(tone)
    lib.tone_make(tone, pcm + 640, 160)
    made = array("h", bytes(ffi.buffer(pcm)))
    for frequency in (770, 1336):
        assert tone_level(made[80:560], 8000, frequency) == pytest.approx(-10 - 3.14 - 3.01, abs=0.5)
    assert level(made[-100:]) == -127
    assert largest_step([0, *made]) < 12000


def test_speech_is_no_digit():
    dice, detector = random.Random(4), ffi.new("struct tone_detector *")
    lib.tone_detector_open(detector, 8000)
    for _ in range(100):
        pcm = array("h", (dice.randrange(-8000, 8000) for _ in range(160)))
        assert lib.tone_detect(detector, samples(pcm), 160) == -1


def test_a_rate_that_is_no_multiple_of_8_khz_is_refused():
    assert lib.tone_detector_open(ffi.new("struct tone_detector *"), 44100) == -1
