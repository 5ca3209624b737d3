# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller does for `voxdp ng ctl`: the lists that rtpengine-ctl shows, and ending calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ctl.exits import NOT_FOUND
from ctl.ng.calls import Call
from ctl.ng.relay import Relay
from ctl.sessions.ports import Ports
from ctl.verbs.control import ControlError, Verb


class NgVerbs:
    """Answers with plain values that JSON can carry."""

    def __init__(self, relay: Relay, ports: Ports) -> None:
        self._relay = relay
        self._ports = ports

    def table(self) -> Mapping[str, Verb]:
        """Return every verb."""
        return {"ng.list": self.list, "ng.terminate": self.terminate}

    def list(self, arguments: dict[str, Any]) -> Any:
        """Return numsessions, sessions, totals or interfaces."""
        what = arguments.get("what")
        if what == "sessions":
            return [self._session(call) for call in self._relay.calls]
        if what == "interfaces":
            return [self._interface(each.name, each.address) for each in self._relay.sessions.data_plane.addresses]
        statistics = self._relay.handle({"command": "statistics"}, "voxdp ng ctl", time.time())["statistics"]
        return statistics["currentstatistics" if what == "numsessions" else "totalstatistics"]

    def terminate(self, arguments: dict[str, Any]) -> int:
        """End a call, or `all`; return how many were. Raises ControlError."""
        call_id, now = str(arguments.get("call_id", "")), time.time()
        if call_id == "all":
            return sum(self._relay.end(call.call_id, now) for call in self._relay.calls)
        if not self._relay.end(call_id, now):
            raise ControlError(f"no call-id {call_id!r}; see: voxdp ng ctl list sessions", NOT_FOUND)
        return 1

    def _session(self, call: Call) -> dict[str, Any]:
        return {
            "callid": call.call_id,
            "created": datetime.fromtimestamp(call.created, UTC).isoformat(timespec="seconds"),
            "tags": [each.tag for each in call.participants if each.tag],
            "ending": call.ending is not None,
        }

    def _interface(self, name: str, address: str) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "name": name or "default",
            "address": address,
            "used": self._ports.taken(address),
            "free": self._ports.free(address, now),
        }
