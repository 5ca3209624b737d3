# SPDX-License-Identifier: GPL-3.0-or-later
"""Two ends of a link: what is said comes in order, questions are answered, and the end is noticed."""

import asyncio
import socket

import pytest

from ctl.workers.link import Link, LinkLost, packed, read_one
from tests.patience import PATIENCE


class Ends:
    """Both ends, each with its own handlers."""

    def __init__(self):
        self.heard, self.lost = [], []
        self.here = Link({"note": self.heard.append}, lambda: self.lost.append("here"))
        answers = {"double": lambda number: 2 * number, "slow": self._slow, "broken": lambda: 1 / 0}
        self.there = Link({"note": self.heard.append, **answers}, lambda: self.lost.append("there"))

    async def open(self):
        one, other = socket.socketpair()
        await self.here.open(one)
        await self.there.open(other)
        return self

    async def _slow(self, word):
        await asyncio.sleep(0.01)
        return word


async def until(true):
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


def run(scene):
    async def whole():
        ends = await Ends().open()
        try:
            await scene(ends)
        finally:
            ends.here.close()
            ends.there.close()

    asyncio.run(whole())


def test_what_is_said_comes_in_order_whatever_its_size():
    async def scene(ends):
        said = [b"x" * size for size in (0, 1, 70_000, 3, 300_000)] + [{"a": (1, None, 2.5), "b": [True, "ü"]}]
        for each in said:
            ends.here.tell("note", each)
        await until(lambda: len(ends.heard) == len(said))
        assert ends.heard == said

    run(scene)


def test_questions_are_answered_each_with_its_own():
    async def scene(ends):
        asked = [ends.here.ask("slow", "late"), *(ends.here.ask("double", number) for number in range(5))]
        assert await asyncio.gather(*asked) == ["late", 0, 2, 4, 6, 8]
        ends.here.ask_then("double", (21,), ends.heard.append)
        await until(lambda: ends.heard == [42])

    run(scene)


def test_a_handler_that_fails_hinders_nobody():
    async def scene(ends):
        assert await ends.here.ask("broken") is None
        ends.here.tell("no such message")
        assert await ends.here.ask("double", 1) == 2

    run(scene)


def test_the_end_is_noticed_and_questions_are_given_up():
    async def scene(ends):
        asked = asyncio.ensure_future(ends.here.ask("slow", "never"))
        await asyncio.sleep(0)
        ends.there.close()
        with pytest.raises(LinkLost):
            await asked
        await until(lambda: len(ends.lost) == 2)
        with pytest.raises(LinkLost):
            await ends.here.ask("double", 1)
        ends.here.tell("note", "to nobody")

    run(scene)


def test_one_message_is_read_without_a_loop():
    one, other = socket.socketpair()
    with one, other:
        one.sendall(packed(("welcome", b"x" * 1000)))
        assert read_one(other) == ("welcome", b"x" * 1000)
        one.close()
        with pytest.raises(EOFError):
            read_one(other)
