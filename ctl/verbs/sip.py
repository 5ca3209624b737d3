# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for `voxdp sip`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ctl.exits import NOT_FOUND
from ctl.signalling.tls import TlsError
from ctl.signalling.transports import Transports
from ctl.verbs.control import ControlError, Verb
from sip.core import Core
from sip.uri import host_port
from sip.views import TrunkView


class SipVerbs:
    """Answers with plain values that JSON can carry. nowhere: trunks that have no address, with their domains."""

    def __init__(
        self,
        core: Core,
        transports: Transports,
        reload: Callable[[], str],
        nowhere: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._core = core
        self._transports = transports
        self._reload = reload
        self._nowhere = nowhere

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {
            "sip.status": self.status,
            "sip.reload": self.reload,
            "sip.drain": self.drain,
            "trunk.status": self.trunks,
        }

    def status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what is listened on and how much signalling holds."""
        addresses = self._transports.addresses
        return {
            "listen": [f"{each.transport}:{host_port(each.host, each.port)}" for each in addresses],
            "connections": self._transports.connections(),
            "undelivered": self._transports.dropped,
            "dropped": dict(self._core.defence.dropped),
            "draining": self._core.draining,
            "overloaded": self._core.overloaded,
            "registered_users": len(self._core.bindings()),
            **self._core.counts(),
        }

    def drain(self, arguments: dict[str, Any]) -> str:
        """Take no new calls, or take them again."""
        self._core.draining = not arguments.get("end")
        calls = len(self._core.calls())
        return f"no new calls; {calls} go on" if self._core.draining else "new calls are taken"

    def trunks(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        """Return how trunks stand, or one of them by its `name`. Raises ControlError."""
        name = str(arguments.get("name") or "")
        known = [_trunk(view) for view in self._core.trunks()]
        lost = [_nowhere(each, domain) for each, domain in self._nowhere().items()]
        found = [row for row in (*known, *lost) if name in ("", row["name"])]
        if name and not found:
            raise ControlError(f"no trunk {name!r}; see: voxdp trunk status", NOT_FOUND)
        return found

    def reload(self, _arguments: dict[str, Any]) -> str:
        """Read certificates anew."""
        try:
            return self._reload()
        except TlsError as error:
            raise ControlError(f"{error}; what was read before is still used") from None


def _trunk(view: TrunkView) -> dict[str, Any]:
    return {
        "name": view.name,
        "domain": view.domain,
        "addresses": [
            {"address": f"{each.transport}:{host_port(each.host, each.port)}", "up": up} for each, up in view.addresses
        ],
        "registered": view.registered,
        "error": view.error,
        "calls": view.calls,
        "channels": view.channels,
    }


def _nowhere(name: str, domain: str) -> dict[str, Any]:
    error = f"{domain} leads to no address; look it up: dig SRV _sip._udp.{domain}; dig {domain}"
    return {
        "name": name,
        "domain": domain,
        "addresses": [],
        "registered": None,
        "error": error,
        "calls": 0,
        "channels": 0,
    }
