# SPDX-License-Identifier: GPL-3.0-or-later
"""Channels of trunks that several processes take: never more than there are, and none lost with a process."""

import os

import pytest

from ctl.workers import channels
from ctl.workers.channels import SharedChannels


@pytest.fixture
def both(tmp_path):
    found = [SharedChannels(tmp_path / "channels", number) for number in range(2)]
    yield found
    for each in found:
        each.close()


def test_a_limit_holds_over_all(both):
    one, other = both
    assert [one.take("t", 3), other.take("t", 3), one.take("t", 3)] == [True] * 3
    assert not one.take("t", 3)
    assert not other.take("t", 3)
    assert one.calls("t") == other.calls("t") == 3
    one.add("t", -1)
    assert other.take("t", 3)
    assert one.take("other", 1)


def test_no_limit_and_what_is_over_a_limit_is_counted(both):
    one, other = both
    assert one.take("t", 0)
    other.add("t", 5)
    assert one.calls("t") == 6
    assert not one.take("t", 2)
    one.add("t", -9)
    assert one.calls("t") == 5


def test_the_successor_of_a_process_begins_anew(both, tmp_path):
    one, other = both
    one.take("t", 9)
    other.take("t", 9)
    again = SharedChannels(tmp_path / "channels", 0)
    assert again.calls("t") == 1
    again.close()


def test_a_trunk_without_room_in_the_table_is_counted_by_itself(both, monkeypatch):
    monkeypatch.setattr(channels, "TRUNKS", 2)
    one, other = both
    for name in ("a", "b", "c"):
        assert one.take(name, 1)
        assert not one.take(name, 1)
    assert other.calls("b") == 1
    assert other.take("c", 1)


def test_processes_that_race_never_take_more_than_there_are(tmp_path):
    path, limit, tries = tmp_path / "channels", 500, 400
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            mine = SharedChannels(path, number)
            os._exit(sum(mine.take("t", limit) for _ in range(tries)) // 2)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    last = SharedChannels(path, 9)
    assert last.calls("t") == limit
    last.close()
