# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two relays code Opus alike is read from their packets."""

import pytest

from tests.bench.carrying import Heard
from tests.bench.transcoding import CODECS, coded, configuration

ALIKE = next(codec for codec in CODECS if codec.alike)


@pytest.mark.parametrize(
    ("number", "way"),
    [
        (1, "SILK in narrow band"),
        (9, "SILK in wide band"),
        (13, "SILK and CELT in super-wide band"),
        (15, "SILK and CELT in full band"),
        (19, "CELT in narrow band"),
        (23, "CELT in wide band"),
        (31, "CELT in full band"),
    ],
)
def test_the_first_byte_tells_mode_band_and_channels(number, way):
    assert configuration(number << 3) == f"{way}, mono"
    assert configuration(number << 3 | 4) == f"{way}, stereo"


def test_what_is_coded_alike_is_told_with_its_bit_rate():
    heard = {"sockets": Heard(100, 3750, 9 << 3, 100), "rtpengine": Heard(200, 7100, 9 << 3, 180)}
    told = coded(ALIKE, heard)
    assert told.split("; ")[1:] == [
        "sockets sends SILK in wide band, mono, 15.0 kbit/s",
        "rtpengine sends SILK in wide band, mono, 14.2 kbit/s",
    ]


@pytest.mark.parametrize(
    "ours",
    [
        Heard(100, 3750, 15 << 3, 100),
        Heard(100, 3750, 9 << 3 | 4, 100),
        Heard(100, 3750, 9 << 3, 80),
        Heard(100, 3150, 9 << 3, 100),
    ],
    ids=["band", "channels", "some packets", "bit rate"],
)
def test_no_figure_is_made_of_what_is_not_coded_alike(ours):
    with pytest.raises(RuntimeError, match="is not coded alike"):
        coded(ALIKE, {"sockets": ours, "rtpengine": Heard(100, 3550, 9 << 3, 93)})
