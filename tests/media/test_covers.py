# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of digits that go through the codecs, where they are not to be known: others, or a tone that is none."""

from __future__ import annotations

import pytest

from tests.media.dsp import MS, Side, Transcoder, heard, packets, sine, timed, tone_level
from tests.media.test_transcoder import DIGIT, PCMA, PCMU, event_packets, settings_of


def covering(mode: int, target: Side = PCMA, digit: int = 0) -> Transcoder:
    settings = settings_of(PCMU, target, digits=mode)
    settings.cover.digit, settings.cover.frequency, settings.cover.volume = digit, 1000, 12
    return Transcoder(settings)


@pytest.mark.parametrize("mode", [2, 3])
def test_a_digit_goes_on_as_another_one(mode):
    transcoder = covering(mode, digit=9)
    sent = transcoder.feed(list(event_packets(3, 0)))
    assert [(kind, digit) for kind, digit, *_ in transcoder.news] == [(DIGIT, 3)]
    events = {packet.payload[:1] + bytes([packet.payload[1] & 63]) for packet in sent if packet.payload_type == 101}
    assert len(events) == 1
    assert mode == 3 or events == {bytes([9, 12])}


def test_a_digit_becomes_a_tone_as_long_as_it_lasts():
    transcoder = covering(4)
    stream = timed(packets(PCMU, sine(8000, 440, 200)), 20)
    sent = transcoder.feed(stream + list(event_packets(3, 200 * MS, sequence=10, timestamp=1600)))
    assert {packet.payload_type for packet in sent} == {8}
    out = heard(PCMA, sent)
    levels = [tone_level(out[at : at + 400], 8000, 1000) for at in range(0, len(out) - 400, 400)]
    assert 1 <= sum(level > -20 for level in levels) <= 4
    assert levels[-1] < -40
