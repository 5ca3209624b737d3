# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from provisioning.cdr import TEXT_LIMIT, Cdr, at, cdr_id, encode
from tests.provisioning.lines import decode

MakeCdr = Callable[..., Cdr]


def test_what_is_encoded_is_decoded(make_cdr: MakeCdr) -> None:
    whole = make_cdr("c1")
    bare = make_cdr("c2", b_call_id=None, ringing=None, answered=None, media=(), status=486, cause=17)
    for cdr in (whole, bare):
        assert decode(encode(cdr)) == cdr


def test_hostile_texts_become_one_line_that_a_database_takes(make_cdr: MakeCdr) -> None:
    line = encode(make_cdr("c", caller="a\0\n\x1b[2J", dialled="\ud800", reason="x" * 5000))
    assert line.isascii()
    assert not set(line) & set(range(32))
    cdr = decode(line)
    assert (cdr.caller, cdr.dialled) == ("a\N{REPLACEMENT CHARACTER}\n\x1b[2J", "?")
    assert len(cdr.reason) == TEXT_LIMIT


def test_a_time_needs_a_zone(make_cdr: MakeCdr) -> None:
    with pytest.raises(ValueError, match="need a zone"):
        encode(replace(make_cdr("c"), ended=datetime(2026, 1, 1)))


def test_the_record_of_a_call_has_one_identity() -> None:
    assert cdr_id("abc") == cdr_id("abc") != cdr_id("abd")


def test_times_follow_the_monotonic_clock() -> None:
    wall = datetime(2026, 3, 29, 3, 0, tzinfo=timezone(timedelta(hours=2)))
    started, ended = at(100.0, 162.5, wall), at(160.25, 162.5, wall)
    assert ended - started == timedelta(seconds=60.25)
    assert at(162.5, 162.5, wall) == wall.astimezone(UTC)
