# SPDX-License-Identifier: GPL-3.0-or-later
"""What the core has asked the world and not been told yet. Each wait has a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sip.facts import fact
from sip.timers import Alarm, Timers

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
    """One open question: what to do with the answer, and what with a refusal."""

    __slots__ = ("_questions", "alarm", "answer", "refuse", "token")

    def __init__(self, questions: Questions, token: int, answer: Answer, refuse: Refuse) -> None:
        self._questions = questions
        self.token = token
        self.answer = answer
        self.refuse = refuse
        self.alarm: Alarm | None = None

    def ring(self, name: str, now: float) -> None:
        """Nobody answered."""
        self._questions.refuse(self.token, 504, "Server Time-out", now)


class Questions:
    """The open questions by token. An answer to none of them, or to one answered before, is nothing."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[int, Question] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, answer: Answer, refuse: Refuse, now: float) -> int:
        """A new token."""
        self._last += 1
        question = Question(self, self._last, answer, refuse)
        question.alarm = self._timers.start(question, "patience", now + PATIENCE)
        self._open[self._last] = question
        return self._last

    def answer(self, token: int, value: object, now: float) -> None:
        """Go on with the answer."""
        question = self._close(token)
        if question:
            question.answer(value, now)

    def refuse(self, token: int, status: int, reason: str, now: float) -> None:
        """Go on with the refusal."""
        question = self._close(token)
        if question:
            question.refuse(status, reason, now)

    def _close(self, token: int) -> Question | None:
        question = self._open.pop(token, None)
        if question:
            self._timers.stop(question.alarm)
        return question
