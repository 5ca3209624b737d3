# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine tells by itself: workers that were replaced, handshakes that ended, news of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from media.flows import EngineError, EngineEvent

log = structlog.get_logger()


Take = Callable[[EngineEvent], None]


def tell(events: Callable[[], Iterable[EngineEvent]], staged: Take, paired: Take, reported: Take) -> None:
    """Log what has happened since the engine was asked last; nothing if it does not answer.

    staged: takes what stages tell, digits for example, which are not for the log. paired: takes what ICE tells;
    reported: RTCP.
    """
    try:
        told = tuple(events())
    except EngineError:
        return  # whoever looks after the process tells that
    for event in told:
        flow = f"{event.flow[0]}:{event.flow[1]}"
        match event.type:
            case "restart":
                log.error("engine worker replaced, its calls go on", worker=event.kind, flow=flow)
            case "failed":
                log.warning("DTLS handshake failed", flow=flow, why=event.data.decode(errors="replace"))
            case "stage":
                staged(event)
            case "ice":
                paired(event)
            case "rtcp":
                reported(event)
            case "secure":
                log.info("DTLS handshake done", flow=flow)
