# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers to whoever is not let in: without a transaction, and to strangers hardly more bytes than came from them.

The source of a datagram can be forged, and whoever is at the forged address then hears us. So an answer that is out of
proportion to its request is written as short as can be; and one that still is goes out at the cost of a credit, or
not at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from sip.agent import Agent, Fields
from sip.build import response_bytes
from sip.defence import Defence
from sip.effects import Address, Send
from sip.message import Request
from sip.stun import binding_response

METHOD_NOT_ALLOWED = 405
_KEPT = frozenset({"Retry-After", "Unsupported"})
_CHALLENGES = frozenset({"WWW-Authenticate", "Proxy-Authenticate"})


class Refusals:
    """Writes them, so that a flood of requests leaves nothing behind."""

    def __init__(self, agent: Agent, defence: Defence) -> None:
        self._agent = agent
        self._defence = defence

    def answer(
        self,
        request: Request,
        source: Address,
        local: Address,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Fields = (),
    ) -> None:
        """Answer a request. What comes of one that is not answered is its client's to find out."""
        tag = self._agent.tag_for(request)
        signed = self._agent.signed(headers)
        data = response_bytes(request, status, reason, to_tag=tag, headers=signed)
        if not self._defence.fits(source, request.size, len(data), now):
            forms = (response_bytes(request, status, to_tag=tag, headers=each) for each in shorter(status, signed))
            found = next((form for form in forms if self._affordable(source, request.size, len(form), now)), None)
            if found is None:
                self._defence.refrain()
                return
            data = found
        self._agent.effects.append(Send(data, source, local))

    def echo(self, data: bytes, source: Address, local: Address, now: float) -> None:
        """Answer a Binding request of STUN."""
        answer = binding_response(data, source)
        if answer and self._affordable(source, len(data), len(answer), now):
            self._agent.effects.append(Send(answer, source, local))
        elif answer:
            self._defence.refrain()

    def _affordable(self, source: Address, asked: int, answer: int, now: float) -> bool:
        return self._defence.fits(source, asked, answer, now) or self._defence.spares(source, asked, answer, now)


def shorter(status: int, headers: Fields) -> Iterator[Fields]:
    """What a client cannot do without, the best form first; of several challenges the one that all can answer.

    A 405 has to name the methods that there are (RFC 3261 §8.2.1): as long as there is credit for so many bytes.
    """
    kept = [header for header in headers if header[0] in _KEPT]
    if status == METHOD_NOT_ALLOWED:
        yield [header for header in headers if header[0] in _KEPT or header[0] == "Allow"]
    challenges = [header for header in headers if header[0] in _CHALLENGES]
    common = [header for header in challenges if "algorithm=MD5," in header[1]]
    yield kept + (common or challenges)[:1]
