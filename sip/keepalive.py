# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the way to contacts behind NAT open: an OPTIONS every so often, which the phone answers.

It is the answer that counts: many translators let what goes out prolong a way, and not what comes in (RFC 4787 REQ-6).
No transaction waits for it, so that ten thousand phones cost no more than their messages; a stray response is dropped.
"""

from __future__ import annotations

from zlib import crc32

from sip.agent import MAX_FORWARDS, Agent
from sip.effects import Send
from sip.message import Request
from sip.reach import request_uri
from sip.registrar import Binding, Registrar
from sip.timers import Alarm
from sip.uri import Uri, host_port

_TURN = 1.0
"""Seconds between two looks: users take turns, so that not all are asked at once."""


class Keepalive:
    """One per core. It holds a timer as long as there is anybody behind NAT."""

    def __init__(self, agent: Agent, registrar: Registrar) -> None:
        self._agent = agent
        self._registrar = registrar
        self._turns: tuple[set[str], ...] = tuple(set() for _ in range(int(agent.settings.nat_keepalive)))
        self._place = 0
        self._users = 0
        self._alarm: Alarm | None = None

    def watch(self, username: str, now: float) -> None:
        """The contacts of a user are others now."""
        if not self._turns:
            return
        turn = self._turns[crc32(username.encode("utf-8", "surrogateescape")) % len(self._turns)]
        before = len(turn)
        if any(map(behind_nat, self._registrar.bindings(username))):
            turn.add(username)
        else:
            turn.discard(username)
        self._users += len(turn) - before
        if self._users and self._alarm is None:
            self._alarm = self._agent.timers.start(self, "", now + _TURN)
        elif not self._users:
            self._agent.timers.stop(self._alarm)
            self._alarm = None

    def ring(self, name: str, now: float) -> None:
        """It is the next ones' turn."""
        self._place = (self._place + 1) % len(self._turns)
        for username in self._turns[self._place]:
            for binding in self._registrar.contacts(username, now):
                if behind_nat(binding):
                    self._ask(binding)
        self._alarm = self._agent.timers.start(self, "", now + _TURN)

    def _ask(self, binding: Binding) -> None:
        agent, uri = self._agent, request_uri(Uri.parse(binding.uri))
        own = f"<sip:{host_port(agent.settings.host, None)}>"
        fields = [
            ("Via", agent.via(binding.local)),
            ("Max-Forwards", str(MAX_FORWARDS)),
            *(("Route", route) for route in binding.path),
            ("From", f"{own};tag={agent.token()}"),
            ("To", f"<{uri}>"),
            ("Call-ID", agent.token()),
            ("CSeq", "1 OPTIONS"),
            ("User-Agent", agent.settings.server),
        ]
        request = Request("OPTIONS", uri, fields)
        agent.effects.append(Send(request.to_bytes(), binding.target, binding.local))


def behind_nat(binding: Binding) -> bool:
    """Whether a contact is reached by datagrams through a way that it has opened itself."""
    target = binding.target
    return target.inbound and not target.reliable
