# SPDX-License-Identifier: GPL-3.0-or-later
"""One trunk as it stands: its registration, which of its addresses answer, how many calls it carries."""

from __future__ import annotations

from collections.abc import Callable

from sip.agent import ALLOWED, MAX_FORWARDS, Agent
from sip.client_auth import ClientAuth
from sip.effects import Address
from sip.facts import fact
from sip.identity import escaped
from sip.message import Request, Response
from sip.timers import Alarm
from sip.trunk import Trunk
from sip.uri import Uri, equivalent, host_port

REGISTER, PROBE = "register", "probe"
_RENEW = 0.8
"""Part of the granted time after which a registration is renewed."""
_PATIENCE = (30.0, 60.0, 120.0, 300.0)
"""Seconds until a failed registration is tried again; the last for ever."""
_OUT_OF_ORDER = (408, 503)


@fact
class Standing:
    """What is known of a trunk by asking it: whether it has registered us, why not, which addresses do not answer."""

    trunk: str
    registered: bool | None
    error: str
    down: tuple[Address, ...]


class TrunkState:
    """registered: whether it lets us be called, None where we do not register. error: why not, "" where it does.

    carried: how many calls a trunk has, by its name; they may be older than what we know of it.
    """

    def __init__(self, agent: Agent, trunk: Trunk, carried: Callable[[str], int]) -> None:
        self.trunk = trunk
        self._carried = carried
        self.registered: bool | None = False if trunk.register else None
        self.error = ""
        self._agent = agent
        self._auth = ClientAuth(trunk.login) if trunk.login else None
        self._down: set[Address] = set()
        self._call_id, self._tag = agent.call_id(""), agent.token()
        self._cseq = 0
        self._place = 0
        self._failures = 0
        self._expires = trunk.expires
        self._alarms: dict[str, Alarm] = {}

    # --- what there is ---

    @property
    def calls(self) -> int:
        """How many calls it carries."""
        return self._carried(self.trunk.name)

    @property
    def standing(self) -> Standing:
        """How it stands."""
        return Standing(self.trunk.name, self.registered, self.error, tuple(self._down))

    @standing.setter
    def standing(self, found: Standing) -> None:
        self.registered, self.error, self._down = found.registered, found.error, set(found.down)

    def up(self, address: Address) -> bool:
        """Whether an address answered when it was last asked."""
        return address not in self._down

    # --- its life ---

    def start(self, now: float) -> None:
        """Register, and ask whether it is there, a moment later: all trunks start at the same time."""
        if self.trunk.register:
            self._later(REGISTER, now + self._agent.chance())
        if self.trunk.probe:
            self._later(PROBE, now + self._agent.chance())

    def stop(self, now: float) -> None:
        """It is no trunk of ours any more."""
        for alarm in self._alarms.values():
            self._agent.timers.stop(alarm)
        self._alarms.clear()
        if self.registered:
            self._register(0, now)
        self.registered = None

    def ring(self, name: str, now: float) -> None:
        """It is time to register, or to ask."""
        if name == REGISTER:
            self._register(self._expires, now)
        else:
            for address in self.trunk.addresses:
                self._probe(address, now)
            self._later(PROBE, now + self.trunk.probe)

    # --- registration ---

    def _register(self, expires: int, now: float) -> None:
        address = self.trunk.addresses[self._place % len(self.trunk.addresses)]
        local = self._agent.local_for(address)
        headers = [("Contact", f"<{self._contact(local)}>"), ("Expires", str(expires))]
        uri = f"sip:{host_port(self.trunk.domain, None)}"
        request = self._request("REGISTER", uri, self._own(), local, self._call_id, self._tag, headers)
        self._send(request, address, local, now)

    def _send(self, request: Request, address: Address, local: Address, now: float) -> None:
        if self._auth:
            request = self._auth.sign(request, self._agent.token())

        def answered(response: Response | None, when: float) -> None:
            if response is not None and response.status < 200:
                return
            if response and self._auth and self._auth.answers(response):
                self._cseq += 1
                again = self._agent.repeated(request, self._cseq, local, None)
                self._send(again, address, local, when)
            elif self.registered is not None:
                self._registered(response, local, when)

        self._agent.begin(request, address, local, now, answered)

    def _registered(self, response: Response | None, local: Address, now: float) -> None:
        if response and response.status == 423 and (response.min_expires or 0) > self._expires:
            self._expires = response.min_expires or self._expires
            self._register(self._expires, now)
        elif response and response.status < 300:
            self.registered, self.error, self._failures = True, "", 0
            self._later(REGISTER, now + _RENEW * self._granted(response, local))
        else:
            self._refused(response, now)

    def _refused(self, response: Response | None, now: float) -> None:
        """Try the next address at once where this one is out of order, and all of them again later."""
        self.registered = False
        self.error = f"{response.status} {response.reason}" if response else "no answer"
        self._place += 1
        self._failures += 1
        elsewhere = self._failures % len(self.trunk.addresses) != 0
        if elsewhere and (response is None or response.status in _OUT_OF_ORDER):
            self._register(self._expires, now)
            return
        rounds = min(self._failures // len(self.trunk.addresses), len(_PATIENCE) - 1)
        wait = response.retry_after if response else None
        self._later(REGISTER, now + max(_PATIENCE[rounds], float(wait or 0)))

    def _granted(self, response: Response, local: Address) -> int:
        ours = Uri.parse(self._contact(local))
        mine = (contact.expires for contact in response.contacts if equivalent(contact.uri, ours))
        granted = next((seconds for seconds in mine if seconds), None)
        return granted or response.expires or self._expires

    # --- probing ---

    def _probe(self, address: Address, now: float) -> None:
        def answered(response: Response | None, when: float) -> None:
            if response is None or response.status in _OUT_OF_ORDER:
                self._down.add(address)
            elif response.status >= 200:
                self._down.discard(address)

        local = self._agent.local_for(address)
        uri = f"sip:{host_port(self.trunk.domain, None)}"
        request = self._request("OPTIONS", uri, uri, local, self._agent.call_id(""), self._agent.token(), [ALLOWED])
        self._agent.begin(request, address, local, now, answered)

    # --- helpers ---

    def _request(
        self,
        method: str,
        uri: str,
        to: str,
        local: Address,
        call_id: str,
        tag: str,
        headers: list[tuple[str, str]],
    ) -> Request:
        self._cseq += 1
        fields = [
            ("Via", self._agent.via(local)),
            ("Max-Forwards", str(MAX_FORWARDS)),
            ("From", f"<{self._own()}>;tag={tag}"),
            ("To", f"<{to}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{self._cseq} {method}"),
            *headers,
            ("User-Agent", self._agent.settings.server),
        ]
        return Request(method, uri, fields)

    def _own(self) -> str:
        return f"sip:{self._user()}@{host_port(self.trunk.ours or self.trunk.domain, None)}"

    def _contact(self, local: Address) -> str:
        _, value = self._agent.contact(local, self._user())
        return value[1:-1]

    def _user(self) -> str:
        return escaped(self.trunk.known_as or self._agent.settings.server)

    def _later(self, name: str, due: float) -> None:
        self._agent.timers.stop(self._alarms.pop(name, None))
        self._alarms[name] = self._agent.timers.start(self, name, due)
