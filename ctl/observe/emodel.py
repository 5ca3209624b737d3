# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call sounds, by the E-model: ITU-T G.107 (narrowband) and G.107.1 (wideband), codecs as in ITU-T G.113.

Pure. What a relay cannot know, such as echo, noise in the room and loudness, has the standard's default. Each codec
is judged on the scale of its own band: MOS-CQE for narrowband, MOS-CQEW for wideband, which are not to be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

BASIC_RATING = 93.355
"""Ro - Is of G.107 with every default; without delay and loss R is 93.2."""

WIDE_RATING = 129.0
"""The same of G.107.1, whose scale is divided by 1.29 before it becomes a MOS."""

WIDE_SCALE = 1.29
SIGNAL_TO_NOISE = 94.77  # Ro of G.107 7.2, by the defaults
NOISE = -61.18  # No, dBm0p
RLR, TELR, WEPL = 2.0, 65.0, 110.0  # dB, G.107 table 2
BEARABLE = 100.0  # mT, ms


@dataclass(frozen=True, slots=True)
class CodecQuality:
    """impairment: Ie; robustness: Bpl, against random loss. frame_ms: audio in a packet where nobody says more.

    look_ahead_ms: what an encoder waits for beyond its frame.
    """

    impairment: float
    robustness: float
    wide: bool = False
    frame_ms: float = 20.0
    look_ahead_ms: float = 0.0


G711 = CodecQuality(0, 25.1)
"""With the loss concealment of G.711 appendix I, which every phone has; without it Bpl is 4.3."""

CODECS = {
    "pcmu": G711,
    "pcma": G711,
    "g729": CodecQuality(11, 19.0, look_ahead_ms=5),
    "g723": CodecQuality(15, 16.1, frame_ms=30, look_ahead_ms=7.5),
    "gsm-efr": CodecQuality(5, 10.0),
    "amr": CodecQuality(5, 10.0, look_ahead_ms=5),
    "g722": CodecQuality(13, 4.3, wide=True, look_ahead_ms=1.5),
    "amr-wb": CodecQuality(13, 4.3, wide=True, look_ahead_ms=5),
    "opus": CodecQuality(7, 10.0, wide=True, look_ahead_ms=6.5),
}
"""By the name in a=rtpmap, lower case. G.113 appendices I and IV; the robustness of G.722 and AMR-WB, and all of
Opus, which G.113 does not list, are ours: see docs/decisions."""


def mos(codec: str, loss: float, delay_ms: float) -> float | None:
    """Return the MOS, 1 to 4.5; None for a codec of which no impairment is known.

    loss: share of the packets, 0 to 1. delay_ms: from mouth to ear, see `mouth_to_ear`.
    """
    quality = CODECS.get(codec.lower())
    if quality is None:
        return None
    return _mos(quality, round(min(max(loss, 0.0), 1.0), 4), round(max(delay_ms, 0.0)))


def mouth_to_ear(codec: str, round_trip_ms: float | None, jitter_ms: float) -> float:
    """Return the delay of one direction in ms: half the round trip, the codec's own, and the far jitter buffer's.

    The buffer is taken to hold twice the jitter, at least one packet. An unknown round trip counts as 0, so that
    the MOS says at most too much by what was not measured.
    """
    quality = CODECS.get(codec.lower(), G711)
    buffer = max(2 * jitter_ms, quality.frame_ms)
    return (round_trip_ms or 0.0) / 2 + quality.frame_ms + quality.look_ahead_ms + buffer


def rating_to_mos(rating: float) -> float:
    """G.107 annex B: R to MOS."""
    if rating <= 0:
        return 1.0
    if rating >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6)


def loss_impairment(quality: CodecQuality, loss: float) -> float:
    """G.107 7.5, random loss: Ie,eff. loss: share of the packets."""
    percent = 100 * loss
    return quality.impairment + (95 - quality.impairment) * percent / (percent + quality.robustness)


def delay_impairment(delay_ms: float) -> float:
    """G.107 7.4: Id, with the default echo losses, for one and the same delay in both directions."""
    return _talker_echo(delay_ms) + _listener_echo(2 * delay_ms) + _too_long(delay_ms)


@lru_cache(maxsize=1 << 14)
def _mos(quality: CodecQuality, loss: float, delay_ms: int) -> float:
    impairment = delay_impairment(delay_ms) + loss_impairment(quality, loss)
    if quality.wide:
        return rating_to_mos((WIDE_RATING - impairment) / WIDE_SCALE)
    return rating_to_mos(BASIC_RATING - impairment)


def _talker_echo(delay: float) -> float:
    echo_loss = TELR - 40 * math.log10((1 + delay / 10) / (1 + delay / 150)) + 6 * math.exp(-0.3 * delay**2)
    gap = -1.5 * (NOISE - RLR) - (80 + 2.5 * (echo_loss - 14))
    return (gap / 2 + math.sqrt(gap**2 / 4 + 100) - 1) * (1 - math.exp(-delay))


def _listener_echo(round_trip: float) -> float:
    gap = SIGNAL_TO_NOISE - 10.5 * (WEPL + 7) * math.pow(round_trip + 1, -0.25)
    return gap / 2 + math.sqrt(gap**2 / 4 + 169)


def _too_long(delay: float) -> float:
    if delay <= BEARABLE:
        return 0.0
    octaves = math.log2(delay / BEARABLE)
    return 25 * (_root(1 + octaves**6) - 3 * _root(1 + (octaves / 3) ** 6) + 2)


def _root(value: float) -> float:
    return math.pow(value, 1 / 6)
