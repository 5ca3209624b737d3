# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of counted delays."""

import pytest

from tests.bench.carrying import TooFew
from tests.bench.delay import Passed


def test_a_part_of_the_packets_kept_to_the_time_of_the_last_one_of_them():
    passed = Passed([0, 50, 0, 48, 1, 1], load=0.5, waited=0.0, lost=0)
    assert passed.timed == 100
    assert [passed.within(part) for part in (0.5, 0.51, 0.95, 0.98, 0.99, 1.0)] == [1, 3, 3, 3, 4, 5]


def test_without_packets_there_is_no_delay():
    with pytest.raises(TooFew):
        Passed([0, 0], load=0.0, waited=0.0, lost=0).within(0.99)
