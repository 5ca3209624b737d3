# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core has asked the world and not been told yet. Each wait has a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sip.facts import fact
from sip.timers import Timers

PATIENCE = 20.0
"""Seconds until an answer that does not come is a refusal (504): less than a client's 32 s."""

Answer = Callable[[Any, float], None]
Refuse = Callable[[int, str, float], None]


@fact
class Described:
    """What media has made of a description. sdp: for the other leg; shapes: how many others there are with it, of an
    offer, should that leg not like this one.
    """

    sdp: bytes
    shapes: int = 1


class Question:
    """One open question: what to do with the answer, and what with a refusal. due: when it is one."""

    __slots__ = ("answer", "due", "refuse")

    def __init__(self, answer: Answer, refuse: Refuse, due: float) -> None:
        self.answer = answer
        self.refuse = refuse
        self.due = due


class Questions:
    """The open questions by token, the oldest first. An answer to none of them, or to one answered before, is nothing.

    All wait as long, and nearly all are answered at once: one alarm looks after all of them.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[int, Question] = {}
        self._last = 0
        self._watched = False

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, answer: Answer, refuse: Refuse, now: float) -> int:
        """A new token."""
        self._last += 1
        self._open[self._last] = Question(answer, refuse, now + PATIENCE)
        self._watch()
        return self._last

    def ring(self, name: str, now: float) -> None:
        """Look whom nobody has answered."""
        self._watched = False
        for token in [token for token, question in self._open.items() if question.due <= now]:
            self.refuse(token, 504, "Server Time-out", now)
        self._watch()

    def answer(self, token: int, value: object, now: float) -> bool:
        """Go on with the answer; whether the question was open."""
        question = self._open.pop(token, None)
        if question:
            question.answer(value, now)
        return question is not None

    def refuse(self, token: int, status: int, reason: str, now: float) -> None:
        """Go on with the refusal."""
        question = self._open.pop(token, None)
        if question:
            question.refuse(status, reason, now)

    def _watch(self) -> None:
        if self._open and not self._watched:
            self._timers.start(self, "patience", next(iter(self._open.values())).due)
            self._watched = True
