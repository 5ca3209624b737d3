# SPDX-License-Identifier: GPL-3.0-or-later
from collections import Counter
from itertools import islice

import pytest

from ctl.randomness import dice, fractions, numbers, texts


@pytest.mark.parametrize("size", [8, 12, 100])
def test_texts_are_hex_of_their_size_and_never_the_same(size: int) -> None:
    drawn = list(islice(texts(size), 1000))
    assert {len(bytes.fromhex(each)) for each in drawn} == {size}
    assert len(set(drawn)) == len(drawn)


def test_two_sources_draw_differently() -> None:
    assert not set(islice(numbers(), 1000)) & set(islice(numbers(), 1000))


def test_each_face_of_a_die_comes_as_often() -> None:
    throw = dice()
    faces = Counter(throw(6) for _ in range(60_000))
    assert set(faces) == set(range(6))
    assert all(9_500 < count < 10_500 for count in faces.values())


def test_fractions_fill_the_span_from_0_to_1() -> None:
    draw = fractions()
    drawn = [draw() for _ in range(10_000)]
    assert all(0.0 <= each < 1.0 for each in drawn)
    assert {int(each * 10) for each in drawn} == set(range(10))
