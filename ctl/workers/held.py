# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that wait until what they say is written down: a 200 to a REGISTER must not be forgotten by a kill.

It is the controller that writes, and each input's changes are asked for at once; so what waits is a round trip on a
socket pair, in which other messages are served, and whatever came meanwhile is written with one system call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sip.effects import Address, Send


@dataclass(slots=True)
class _Batch:
    """What one input has us send. open: how many changes of it are not written down yet."""

    sends: list[Send] = field(default_factory=list)
    open: int = 0


class HeldAnswers:
    """send: sends what has waited long enough."""

    def __init__(self, send: Callable[[Send], None]) -> None:
        self._send = send
        self._batch: _Batch | None = None
        self._waiting: set[tuple[bytes, Address]] = set()

    def begin(self) -> Callable[[object], None]:
        """Hold what is sent from now to `end`; return what is to be called when a change is written down."""
        batch = self._batch = self._batch or _Batch()
        batch.open += 1
        return partial(self._written, batch)

    def end(self) -> None:
        """All that comes of one input has been performed."""
        self._batch = None

    def takes(self, effect: Send) -> bool:
        """Whether not to send this: it is held, or is the same as what is, for a request that came again."""
        if self._batch is not None:
            self._batch.sends.append(effect)
            self._waiting.add((effect.data, effect.target))
            return True
        return bool(self._waiting) and (effect.data, effect.target) in self._waiting

    def _written(self, batch: _Batch, _answer: object) -> None:
        batch.open -= 1
        if batch.open:
            return
        for effect in batch.sends:
            self._waiting.discard((effect.data, effect.target))
            self._send(effect)
