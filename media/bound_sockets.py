# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that are bound before their flow is known, so that what a peer sends ahead of its answer waits for it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from media._engine import ffi, lib
from media.engine_structs import new_keys
from media.flows import EngineFlow, FlowKey

UNBOUND = -1


class BoundSockets:
    """By the names that their flows will have. Whoever has this closes what is left by `drop`."""

    def __init__(self) -> None:
        self._descriptors: dict[FlowKey, int] = {}

    def __len__(self) -> int:
        return len(self._descriptors)

    def __contains__(self, key: object) -> bool:
        return key in self._descriptors

    def names(self) -> list[FlowKey]:
        """Of all that wait."""
        return list(self._descriptors)

    def bind(self, key: FlowKey) -> int:
        """Bind one; a status of engine.h."""
        descriptor = ffi.new("int *")
        status = int(lib.engine_bind(new_keys([key]), descriptor))
        if status == lib.ENGINE_OK:
            self._descriptors[key] = descriptor[0]
        return status

    def drop(self, keys: Iterable[FlowKey]) -> None:
        """Close those of them that there are, with whatever waits there."""
        for key in keys:
            descriptor = self._descriptors.pop(key, UNBOUND)
            if descriptor != UNBOUND:
                os.close(descriptor)

    def of(self, flow: EngineFlow) -> int:
        """The descriptor for a flow that is opened now, UNBOUND for none.

        Only a handshake is worth having waited for: before it nothing else passes, and after it the flow has been told
        all. Sound would go on its way at once, before the flow's stage is set.
        """
        if not flow.dtls and not flow.ice:
            self.drop([flow.key])
        return self._descriptors.get(flow.key, UNBOUND)
