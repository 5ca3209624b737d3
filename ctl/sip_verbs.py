# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for `voxdp sip`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ctl.control import ControlError, Verb
from ctl.tls import TlsError
from ctl.transports import Transports
from sip.core import Core
from sip.uri import host_port


class SipVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, core: Core, transports: Transports, reload: Callable[[], str]) -> None:
        self._core = core
        self._transports = transports
        self._reload = reload

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {"sip.status": self.status, "sip.reload": self.reload, "sip.drain": self.drain}

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

    def reload(self, _arguments: dict[str, Any]) -> str:
        """Read certificates anew."""
        try:
            return self._reload()
        except TlsError as error:
            raise ControlError(f"{error}; what was read before is still used") from None
