# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine tells of ICE: pairs found, changed and lost, to the flows that follow, the log and the meters."""

from __future__ import annotations

import struct
from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import structlog

from ctl.sessions.ice import Endpoint, IcePair
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from media.flows import EngineEvent
from media.ice import IceState

log = structlog.get_logger()

STATES: tuple[IceState, ...] = ("off", "checking", "selected", "lost", "failed")
"""By their numbers in media/engine.h."""
_PORT = struct.Struct("!H")
_MAPPED = bytes(10) + b"\xff\xff"


class IceWatch:
    """counted: by state, how often it was entered."""

    def __init__(self, sessions: MediaSessions, counted: Counter[tuple[str, ...]]) -> None:
        self._counted = counted
        self._sessions = sessions

    def take(self, event: EngineEvent) -> None:
        """Let the flows follow an event of ICE."""
        pair = pair_of(event)
        self._counted[(pair.state,)] += 1
        try:
            call = self._sessions.paired(event.flow, pair)
        except MediaRefused as refused:
            log.error("media does not follow ICE", flow=_text(event.flow), why=refused.reason)
            return
        if call is not None:
            _log(call, event.flow, pair)


def pair_of(event: EngineEvent) -> IcePair:
    """What an event of ICE says: 16 bytes of address, a port in network order, and the state as its kind."""
    packed = event.data[:16]
    (port,) = _PORT.unpack(event.data[16:18])
    return IcePair(STATES[event.kind], (_address(packed), port) if port else None)


def _address(packed: bytes) -> str:
    return str(IPv4Address(packed[12:]) if packed.startswith(_MAPPED) else IPv6Address(packed))


def _log(call: str, local: Endpoint, pair: IcePair) -> None:
    known = {"call": call, "flow": _text(local)}
    match pair.state:
        case "selected" if pair.remote:
            log.info("ICE selected a pair", **known, remote=_text(pair.remote))
        case "lost":
            log.warning("ICE: the peer consents no more, its media has ceased", **known)
        case "failed":
            log.warning("ICE found no pair", **known)
        case _:
            log.debug("ICE", **known, state=pair.state)


def _text(endpoint: Endpoint) -> str:
    return f"[{endpoint[0]}]:{endpoint[1]}" if ":" in endpoint[0] else f"{endpoint[0]}:{endpoint[1]}"
